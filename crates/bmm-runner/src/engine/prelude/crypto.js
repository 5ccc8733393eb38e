// Random numbers and digests.
export default ({ host, text, use }) => {
  const { bytesOf, packed } = use("bytes");

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

  return { crypto };
};
