// Copying.
export default () => {
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

  return { structuredClone };
};
