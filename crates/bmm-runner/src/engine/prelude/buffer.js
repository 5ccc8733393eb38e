// Buffer: the part of Node's that real code uses to turn text into bytes and back.
export default ({ host, text, use }) => {
  const { decode, packed } = use("bytes");
  const { fromBase64, fromHex } = Uint8Array;
  const { toBase64, toHex } = Uint8Array.prototype;

  const bufferEncoding = (encoding = "utf8") => {
    const name = String(encoding).toLowerCase();
    const known = { "utf-8": "utf8", binary: "latin1" }[name] ?? name;
    if (!["utf8", "hex", "base64", "base64url", "latin1", "ascii"].includes(known)) throw new TypeError(`Unknown encoding: ${encoding}`);
    return known;
  };

  // As lenient as Node: what is no digit is skipped in base64 of either alphabet, and ends hex.
  function encoded(input, encoding) {
    switch (bufferEncoding(encoding)) {
      case "utf8": return host.encode(text(input));
      case "hex": {
        const end = input.search(/[^0-9a-f]/i);
        const digits = end < 0 ? input : input.slice(0, end);
        return fromHex.call(Uint8Array, digits.slice(0, digits.length & ~1));
      }
      case "latin1": case "ascii": {
        const bytes = new Uint8Array(input.length);
        for (let at = 0; at < input.length; at++) bytes[at] = input.charCodeAt(at);
        return bytes;
      }
      default: {
        const [digits] = input.split("=", 1);
        const clean = digits.replaceAll("-", "+").replaceAll("_", "/").replace(/[^0-9A-Za-z+/]+/g, "");
        const whole = clean.length % 4 === 1 ? clean.slice(0, -1) : clean;
        return fromBase64.call(Uint8Array, whole, { lastChunkHandling: "loose" });
      }
    }
  }

  const bytesAsBuffer = ({ buffer, byteOffset, byteLength }) => new Buffer(buffer, byteOffset, byteLength);

  class Buffer extends Uint8Array {
    constructor(value, ...rest) {
      if (typeof value === "string") throw new TypeError("new Buffer(text) is not offered; use Buffer.from(text)");
      super(value, ...rest);
    }
    static from(value, encodingOrOffset, length) {
      if (typeof value === "string") return bytesAsBuffer(encoded(value, encodingOrOffset));
      if (value instanceof ArrayBuffer) return new Buffer(value, encodingOrOffset, length);
      if (value?.type === "Buffer" && Array.isArray(value.data)) return new Buffer(value.data);
      if (typeof value !== "object" || value === null) throw new TypeError("a buffer is made from text, bytes or a list of numbers");
      return new Buffer(ArrayBuffer.isView(value) || typeof value[Symbol.iterator] === "function" ? value : Array.from(value));
    }
    static alloc(size, fill = 0, encoding) {
      const made = new Buffer(Number(size));
      if (typeof fill === "number") return fill === 0 ? made : made.fill(fill);
      const pattern = Buffer.from(fill, encoding);
      if (pattern.length > 0) for (let at = 0; at < made.length; at++) made[at] = pattern[at % pattern.length];
      return made;
    }
    static allocUnsafe(size) { return Buffer.alloc(size); }
    static byteLength(value, encoding) { return typeof value === "string" ? encoded(value, encoding).length : value.byteLength; }
    static compare(a, b) {
      for (let at = 0; at < Math.min(a.length, b.length); at++) if (a[at] !== b[at]) return a[at] < b[at] ? -1 : 1;
      return Math.sign(a.length - b.length);
    }
    static concat(list, length = list.reduce((sum, each) => sum + each.length, 0)) {
      const made = new Buffer(length);
      let at = 0;
      for (const each of list) {
        if (at >= length) break;
        const part = each.length > length - at ? each.subarray(0, length - at) : each;
        made.set(part, at);
        at += part.length;
      }
      return made;
    }
    static isBuffer(value) { return value instanceof Buffer; }
    static isEncoding(encoding) {
      try { return Boolean(bufferEncoding(encoding)); } catch { return false; }
    }
    equals(other) { return Buffer.compare(this, other) === 0; }
    compare(other) { return Buffer.compare(this, other); }
    // The same memory, as in Node.
    slice(start, end) { return this.subarray(start, end); }
    toJSON() { return { type: "Buffer", data: Array.from(this) }; }
    toString(encoding, start = 0, end = this.length) {
      const bytes = start <= 0 && end >= this.length ? this : this.subarray(Math.max(0, start), Math.max(0, end));
      switch (bufferEncoding(encoding)) {
        case "utf8": return decode(bytes, false, true);
        case "hex": return toHex.call(bytes);
        case "latin1": return host.fromBase64(packed(bytes));
        case "ascii": return host.fromBase64(packed(bytes.map((byte) => byte & 0x7f)));
        case "base64url": return toBase64.call(bytes, { alphabet: "base64url", omitPadding: true });
        default: return toBase64.call(bytes);
      }
    }
  }

  return { Buffer };
};
