// What a tool finds in its world besides the language. Runs once in every fresh context, before the tool's module.
// `host` holds the native functions (script.rs); nothing but the closures below can reach it. A tool may replace anything
// here: it would only cheat itself, since every limit and every permission is enforced on the other side of the channel.
(function (host) {
  "use strict";

  const text = (value) => String(value).toWellFormed();
  const define = (name, value) =>
    Object.defineProperty(globalThis, name, { value, writable: true, configurable: true, enumerable: false });

  // --- Bytes and text: bytes go to native functions as base64, which the engine makes natively ---

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

  // --- URL ---

  class URLSearchParams {
    #pairs = [];
    #changed = null;
    constructor(init = "") {
      if (typeof init === "object" && init !== null) {
        const pairs = typeof init[Symbol.iterator] === "function" ? init : Object.entries(init);
        for (const [name, value] of pairs) this.#pairs.push([text(name), text(value)]);
      } else {
        this.#pairs = JSON.parse(host.parseQuery(text(init).replace(/^\?/, "")));
      }
    }
    static _of(search, changed) {
      const params = new URLSearchParams(search);
      params.#changed = changed;
      return params;
    }
    #touch() { this.#changed?.(this.toString()); }
    get size() { return this.#pairs.length; }
    append(name, value) { this.#pairs.push([text(name), text(value)]); this.#touch(); }
    delete(name, value) {
      this.#pairs = this.#pairs.filter(([n, v]) => n !== text(name) || (value !== undefined && v !== text(value)));
      this.#touch();
    }
    get(name) { return this.#pairs.find(([n]) => n === text(name))?.[1] ?? null; }
    getAll(name) { return this.#pairs.filter(([n]) => n === text(name)).map(([, v]) => v); }
    has(name, value) { return this.#pairs.some(([n, v]) => n === text(name) && (value === undefined || v === text(value))); }
    set(name, value) {
      const at = this.#pairs.findIndex(([n]) => n === text(name));
      if (at < 0) return this.append(name, value);
      this.#pairs = this.#pairs.filter(([n], index) => index <= at || n !== text(name));
      this.#pairs[at] = [text(name), text(value)];
      this.#touch();
    }
    sort() { this.#pairs.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)); this.#touch(); }
    forEach(callback, self) { for (const [name, value] of this) callback.call(self, value, name, this); }
    keys() { return this.#pairs.map(([name]) => name).values(); }
    values() { return this.#pairs.map(([, value]) => value).values(); }
    entries() { return this.#pairs.map(([name, value]) => [name, value]).values(); }
    [Symbol.iterator]() { return this.entries(); }
    toString() { return host.serializeQuery(JSON.stringify(this.#pairs)); }
  }
  const linkedParams = URLSearchParams._of;
  delete URLSearchParams._of;

  class URL {
    #parts;
    #params = null;
    constructor(url, base) {
      const parts = host.parseUrl(text(url), base === undefined ? undefined : text(base));
      if (parts === undefined) throw new TypeError(`not a URL: ${text(url)}`);
      this.#parts = JSON.parse(parts);
    }
    static canParse(url, base) { return host.parseUrl(text(url), base === undefined ? undefined : text(base)) !== undefined; }
    static parse(url, base) { return URL.canParse(url, base) ? new URL(url, base) : null; }
    _get(part) { return this.#parts[part]; }
    _set(part, value) {
      this.#parts = JSON.parse(host.changeUrl(this.#parts.href, part, text(value)));
      if (part === "search") this.#params = null;
    }
    get searchParams() {
      this.#params ??= linkedParams(this.#parts.search, (query) => {
        this.#parts = JSON.parse(host.changeUrl(this.#parts.href, "search", query));
      });
      return this.#params;
    }
    get href() { return this.#parts.href; }
    set href(url) { this.#parts = JSON.parse(host.parseUrl(text(url), undefined) ?? "null") ?? this.#parts; this.#params = null; }
    get origin() { return this.#parts.origin; }
    toString() { return this.#parts.href; }
    toJSON() { return this.#parts.href; }
  }
  const { _get: urlPart, _set: setUrlPart } = URL.prototype;
  delete URL.prototype._get;
  delete URL.prototype._set;
  for (const part of ["protocol", "username", "password", "host", "hostname", "port", "pathname", "search", "hash"]) {
    Object.defineProperty(URL.prototype, part, {
      get() { return urlPart.call(this, part); },
      set(value) { setUrlPart.call(this, part, value); },
      enumerable: true,
      configurable: true,
    });
  }

  // --- Abort ---

  const abortError = () => new DOMException("the operation was aborted", "AbortError");

  class AbortSignal {
    #listeners = [];
    #state = { aborted: false, reason: undefined };
    onabort = null;
    get aborted() { return this.#state.aborted; }
    get reason() { return this.#state.reason; }
    throwIfAborted() { if (this.aborted) throw this.reason; }
    addEventListener(type, listener) { if (type === "abort" && !this.aborted) this.#listeners.push(listener); }
    removeEventListener(_type, listener) { this.#listeners = this.#listeners.filter((each) => each !== listener); }
    _abort(reason) {
      if (this.aborted) return;
      this.#state = { aborted: true, reason: reason === undefined ? abortError() : reason };
      const event = { type: "abort", target: this };
      for (const listener of [this.onabort, ...this.#listeners.splice(0)]) {
        if (typeof listener === "function") listener.call(this, event);
        else listener?.handleEvent?.(event);
      }
    }
    static abort(reason) { return abortedBy((abort) => abort(reason)); }
    static timeout(ms) {
      return abortedBy((abort) => setTimeout(() => abort(new DOMException("the operation timed out", "TimeoutError")), ms));
    }
    static any(signals) {
      return abortedBy((abort) => {
        for (const signal of signals) {
          if (signal.aborted) return abort(signal.reason);
          signal.addEventListener("abort", () => abort(signal.reason));
        }
      });
    }
  }
  const abortSignal = AbortSignal.prototype._abort;
  delete AbortSignal.prototype._abort;
  function abortedBy(arrange) {
    const signal = new AbortSignal();
    arrange((reason) => abortSignal.call(signal, reason));
    return signal;
  }

  class AbortController {
    #signal = new AbortSignal();
    get signal() { return this.#signal; }
    abort(reason) { abortSignal.call(this.#signal, reason); }
  }

  // --- Timers: the pump calls `tick` when one is due ---

  const timers = new Map();
  let lastTimer = 0;
  function addTimer(callback, ms, every, args) {
    if (typeof callback !== "function") throw new TypeError("a timer needs a function");
    const delay = Math.max(every ? 1 : 0, Math.trunc(Number(ms)) || 0);
    timers.set(++lastTimer, { at: host.now() + delay, every: every ? delay : null, callback, args });
    return lastTimer;
  }
  const setTimeout = (callback, ms, ...args) => addTimer(callback, ms, false, args);
  const setInterval = (callback, ms, ...args) => addTimer(callback, ms, true, args);
  const clearTimeout = (id) => void timers.delete(Number(id));

  // Runs one timer that is due. Returns the milliseconds until the next one, or -1 when there is none.
  function tick() {
    const now = host.now();
    let next = null;
    for (const [id, timer] of timers) if (next === null || timer.at < next.timer.at) next = { id, timer };
    if (next === null) return -1;
    if (next.timer.at > now) return next.timer.at - now;
    if (next.timer.every === null) timers.delete(next.id);
    else next.timer.at = now + next.timer.every;
    next.timer.callback(...next.timer.args);
    return 0;
  }

  // --- fetch ---

  const headerName = (name) => {
    const lower = text(name).toLowerCase();
    if (!/^[!#$%&'*+.^_`|~0-9a-z-]+$/.test(lower)) throw new TypeError(`not a header name: ${lower}`);
    return lower;
  };
  const headerValue = (value) => {
    const trimmed = text(value).replace(/^[\t\n\r ]+|[\t\n\r ]+$/g, "");
    if (/[\0\r\n]/.test(trimmed)) throw new TypeError("a header's value holds a line break");
    return trimmed;
  };

  class Headers {
    #map = new Map();
    constructor(init = []) {
      const pairs = typeof init?.[Symbol.iterator] === "function" ? init : Object.entries(init ?? {});
      for (const [name, value] of pairs) this.append(name, value);
    }
    append(name, value) {
      const before = this.get(name);
      this.#map.set(headerName(name), before === null ? headerValue(value) : `${before}, ${headerValue(value)}`);
    }
    set(name, value) { this.#map.set(headerName(name), headerValue(value)); }
    get(name) { return this.#map.get(headerName(name)) ?? null; }
    has(name) { return this.#map.has(headerName(name)); }
    delete(name) { this.#map.delete(headerName(name)); }
    forEach(callback, self) { for (const [name, value] of this) callback.call(self, value, name, this); }
    keys() { return [...this.#map.keys()].sort().values(); }
    values() { return [...this.entries()].map(([, value]) => value).values(); }
    entries() { return [...this.#map].sort(([a], [b]) => (a < b ? -1 : 1)).values(); }
    [Symbol.iterator]() { return this.entries(); }
  }

  class Response {
    #body;
    #used = false;
    constructor(body, { status = 200, headers, url = "" } = {}) {
      this.#body = body === undefined || body === null ? new Uint8Array() : bytesOf(body);
      this.status = status;
      this.url = url;
      this.headers = new Headers(headers);
    }
    get ok() { return this.status >= 200 && this.status < 300; }
    get statusText() { return ""; }
    get bodyUsed() { return this.#used; }
    #take() {
      if (this.#used) throw new TypeError("the body was read before");
      this.#used = true;
      return this.#body;
    }
    async bytes() { return this.#take().slice(); }
    async arrayBuffer() { return this.#take().slice().buffer; }
    async text() { return decode(this.#take(), false, false); }
    async json() { return JSON.parse(await this.text()); }
    clone() { return new Response(this.#body, this); }
  }

  const fetches = new Map();

  async function fetch(input, init = {}) {
    const url = text(typeof input === "object" && input !== null && "url" in input ? input.url : input);
    const headers = new Headers(init.headers);
    let body;
    if (init.body !== undefined && init.body !== null) {
      body = packed(init.body instanceof URLSearchParams ? init.body.toString() : init.body);
      const type = init.body instanceof URLSearchParams ? "application/x-www-form-urlencoded;charset=UTF-8"
        : typeof init.body === "string" ? "text/plain;charset=UTF-8" : null;
      if (type !== null && !headers.has("content-type")) headers.set("content-type", type);
    }
    init.signal?.throwIfAborted();
    const id = host.fetch(url, text(init.method ?? "GET").toUpperCase(), [...headers].flat(), body, text(init.redirect ?? "follow"));
    return new Promise((resolve, reject) => {
      fetches.set(id, { resolve, reject });
      init.signal?.addEventListener("abort", () => reject(init.signal.reason));
    });
  }

  // Called by the pump.
  function deliver(id, error, head, body) {
    const waiting = fetches.get(id);
    fetches.delete(id);
    if (error === undefined) waiting?.resolve(new Response(body, JSON.parse(head)));
    else waiting?.reject(new TypeError(error));
  }

  // --- Log ---

  function show(value) {
    if (typeof value === "string") return value;
    if (value instanceof Error) return describe(value);
    try {
      return JSON.stringify(value) ?? String(value);
    } catch {
      return String(value);
    }
  }
  const logger = (level) => (...values) => host.log(level, text(values.map(show).join(" ")));
  const [debug, info, warn, error] = ["debug", "info", "warning", "error"].map(logger);
  const console = { debug, trace: debug, log: info, info, warn, error };

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

  for (const [name, value] of Object.entries({
    AbortController, AbortSignal, Headers, Response, TextDecoder, TextEncoder, URL, URLSearchParams, atob, btoa,
    clearInterval: clearTimeout, clearTimeout, console, crypto, setInterval, setTimeout, structuredClone,
  })) define(name, value);
  define("queueMicrotask", globalThis.queueMicrotask ?? ((callback) => void Promise.resolve().then(callback)));

  // --- For the engine ---

  function describe(thrown) {
    try {
      if (!(thrown instanceof Error)) return text(typeof thrown === "object" ? show(thrown) : thrown);
      const own = String(thrown.stack ?? "").split("\n").filter((line) => line.includes("tool.js"));
      return text([`${thrown.name}: ${thrown.message}`, ...own].join("\n"));
    } catch {
      return "the tool threw something that cannot be shown";
    }
  }

  function context(secrets) {
    return {
      fetch,
      secrets: Object.freeze(Object.fromEntries(secrets)),
      basicAuth: (user, secret) => host.basicAuth(text(user), text(secret)),
      hmac: (algorithm, secret, data) => host.hmac(text(algorithm), text(secret), packed(data)),
      log: info,
      progress: (progress, total, message) =>
        host.progress(Number(progress), total === undefined ? undefined : Number(total), message === undefined ? undefined : text(message)),
      signal: new AbortController().signal,
    };
  }

  const { parse, stringify } = JSON;
  const run = async (tool, input, secrets) => tool(parse(input), context(parse(secrets)));
  const output = (value) => stringify(value === undefined ? null : value) ?? "null";

  // After the tool's module is compiled and before it runs: no text becomes code any more.
  function harden() {
    const functions = [function () {}, async function () {}, function* () {}, async function* () {}];
    for (const prototype of functions.map(Object.getPrototypeOf)) {
      const refuse = function () { throw new EvalError("code cannot be made from text here"); };
      Object.defineProperty(refuse, "prototype", { value: prototype, writable: false });
      Object.defineProperty(prototype, "constructor", { value: refuse, writable: false, configurable: false });
    }
    define("Function", Object.getPrototypeOf(function () {}).constructor);
    // Call sites would hand out the functions of this file.
    Object.defineProperty(Error, "prepareStackTrace", { value: undefined, writable: false, configurable: false });
    for (const name of [
      "eval", "SharedArrayBuffer", "Atomics", "FinalizationRegistry", "WeakRef", "DisposableStack", "AsyncDisposableStack",
      "performance", "navigator", "gc", "print",
    ]) delete globalThis[name];
  }

  return { deliver, describe, harden, output, run, tick };
})
