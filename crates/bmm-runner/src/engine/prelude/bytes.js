// Bytes and text: bytes go to native functions as base64, which the engine makes natively.
export default ({ host, text }) => {
  const { toBase64 } = Uint8Array.prototype;
  const packed = (data) => toBase64.call(bytesOf(data));

  function bytesOf(data) {
    if (data instanceof Uint8Array) return data;
    if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    if (data instanceof ArrayBuffer) return new Uint8Array(data);
    return host.encode(text(data));
  }

  function decode(data, fatal, keepMark) {
    const decoded = host.decode(packed(data), fatal, keepMark);
    if (decoded === undefined) throw new TypeError("the bytes are not utf-8");
    return decoded;
  }

  class TextEncoder {
    get encoding() { return "utf-8"; }
    encode(input = "") { return host.encode(text(input)); }
    encodeInto(input, target) {
      let [read, written] = [0, 0];
      for (const character of text(input)) {
        const bytes = host.encode(character);
        if (written + bytes.length > target.length) break;
        target.set(bytes, written);
        read += character.length;
        written += bytes.length;
      }
      return { read, written };
    }
  }

  class TextDecoder {
    #fatal;
    #keepMark;
    constructor(label = "utf-8", { fatal = false, ignoreBOM = false } = {}) {
      if (!/^\s*(utf-?8|unicode-1-1-utf-8)\s*$/i.test(label)) throw new RangeError(`only utf-8 is supported, not ${label}`);
      this.#fatal = Boolean(fatal);
      this.#keepMark = Boolean(ignoreBOM);
    }
    get encoding() { return "utf-8"; }
    decode(input = new Uint8Array()) { return decode(input, this.#fatal, this.#keepMark); }
  }

  function atob(input) {
    const decoded = host.fromBase64(text(input));
    if (decoded === undefined) throw new DOMException("the string is not base64", "InvalidCharacterError");
    return decoded;
  }

  function btoa(input) {
    const encoded = host.toBase64(text(input));
    if (encoded === undefined) throw new DOMException("the string holds characters beyond U+00FF", "InvalidCharacterError");
    return encoded;
  }

  return { TextDecoder, TextEncoder, atob, btoa, bytesOf, decode, packed };
};
