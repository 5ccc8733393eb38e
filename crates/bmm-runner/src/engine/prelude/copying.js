
// --- Copying and random numbers ---

function structuredClone(value) {
  const seen = new Map();
  const refuse = (what) => { throw new DOMException(`${what} cannot be cloned`, "DataCloneError"); };
  const copy = (original) => {
    if (typeof original === "function" || typeof original === "symbol") refuse(typeof original);
    if (typeof original !== "object" || original === null) return original;
    if (seen.has(original)) return seen.get(original);
    const keep = (made) => { seen.set(original, made); return made; };
    if (original instanceof Date) return keep(new Date(original.getTime()));
    if (original instanceof RegExp) return keep(new RegExp(original.source, original.flags));
    if (original instanceof ArrayBuffer) return keep(original.slice(0));
    if (original instanceof DataView) return keep(new DataView(copy(original.buffer), original.byteOffset, original.byteLength));
    if (ArrayBuffer.isView(original)) {
      return keep(new original.constructor(copy(original.buffer), original.byteOffset, original.length));
    }
    if (original instanceof Map) {
      const made = keep(new Map());
      for (const [key, each] of original) made.set(copy(key), copy(each));
      return made;
    }
    if (original instanceof Set) {
      const made = keep(new Set());
      for (const each of original) made.add(copy(each));
      return made;
    }
    if (original instanceof Error) {
      return keep(Object.assign(new Error(original.message), { name: original.name }));
    }
    if (original instanceof Promise || original instanceof WeakMap || original instanceof WeakSet) refuse("this object");
    const made = keep(Array.isArray(original) ? new Array(original.length) : {});
    for (const key of Object.keys(original)) made[key] = copy(original[key]);
    return made;
  };
  return copy(value);
}

const crypto = {
  getRandomValues(array) {
    if (!ArrayBuffer.isView(array) || array instanceof DataView) throw new TypeError("a typed array is needed");
    if (array.byteLength > 65536) throw new DOMException("at most 65536 bytes at once", "QuotaExceededError");
    bytesOf(array).set(host.random(array.byteLength));
    return array;
  },
  randomUUID() {
    const bytes = host.random(16);
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
  },
  subtle: {
    async digest(algorithm, data) {
      const name = text(algorithm?.name ?? algorithm);
      const digest = host.digest(name, packed(data));
      if (digest === undefined) throw new DOMException(`${name} is not supported`, "NotSupportedError");
      return digest.buffer;
    },
  },
};
