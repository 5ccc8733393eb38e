// fetch, and what goes with it.
export default ({ host, loaded, text, use }) => {
  const { bytesOf, decode, packed } = use("bytes");
  // Where nobody has asked for the part, there is none.
  const isQuery = (value) => loaded("url") !== undefined && value instanceof loaded("url").URLSearchParams;

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

  // What requests and responses share.
  class Body {
    #body;
    #used = false;
    constructor(body) { this.#body = body === undefined || body === null ? null : bytesOf(isQuery(body) ? body.toString() : body); }
    get bodyUsed() { return this.#used; }
    // The bytes without using them up; for this file.
    _peek() {
      if (this.#used) throw new TypeError("the body was read before");
      return this.#body;
    }
    #take() {
      const body = peek.call(this) ?? new Uint8Array();
      this.#used = true;
      return body;
    }
    async bytes() { return new Uint8Array(this.#take()); }
    async arrayBuffer() { return new Uint8Array(this.#take()).buffer; }
    async text() { return decode(this.#take(), false, false); }
    async json() { return JSON.parse(decode(this.#take(), false, false)); }
  }
  const peek = Body.prototype._peek;
  delete Body.prototype._peek;

  const bodyType = (body) =>
    isQuery(body) ? "application/x-www-form-urlencoded;charset=UTF-8" : typeof body === "string" ? "text/plain;charset=UTF-8" : null;
  function withBodyType(headers, body) {
    const type = bodyType(body);
    if (type !== null && !headers.has("content-type")) headers.set("content-type", type);
    return headers;
  }

  class Request extends Body {
    constructor(input, init = {}) {
      const from = input instanceof Request ? input : null;
      const body = init.body ?? (from && peek.call(from));
      super(body);
      this.url = from ? from.url : text(input?.href ?? input?.url ?? input);
      this.method = text(init.method ?? from?.method ?? "GET").toUpperCase();
      this.headers = withBodyType(new Headers(init.headers ?? from?.headers), init.body);
      this.redirect = text(init.redirect ?? from?.redirect ?? "follow");
      this.signal = init.signal ?? from?.signal ?? new (use("abort").AbortController)().signal;
    }
    clone() { return new Request(this); }
  }

  class Response extends Body {
    constructor(body, { status = 200, statusText = "", headers, url = "", redirected = false } = {}) {
      super(body);
      this.status = status;
      this.statusText = text(statusText);
      this.url = url;
      this.redirected = redirected;
      this.headers = withBodyType(new Headers(headers), body);
    }
    static json(data, init = {}) {
      const headers = new Headers(init.headers);
      if (!headers.has("content-type")) headers.set("content-type", "application/json");
      return new Response(JSON.stringify(data), { ...init, headers });
    }
    get ok() { return this.status >= 200 && this.status < 300; }
    get type() { return "default"; }
    clone() { return new Response(peek.call(this), this); }
  }

  const fetches = new Map();

  async function fetch(input, init) {
    const request = new Request(input, init);
    const { signal } = request;
    signal.throwIfAborted();
    const body = peek.call(request);
    const packedBody = body === null ? undefined : packed(body);
    const id = host.fetch(request.url, request.method, [...request.headers].flat(), packedBody, request.redirect);
    return new Promise((resolve, reject) => {
      fetches.set(id, { resolve, reject });
      signal.addEventListener("abort", () => reject(signal.reason));
    });
  }

  // Called by the pump.
  function deliver(id, error, head, body) {
    const waiting = fetches.get(id);
    fetches.delete(id);
    if (error === undefined) waiting?.resolve(new Response(body, JSON.parse(head)));
    else waiting?.reject(new TypeError(error));
  }

  return { Headers, Request, Response, deliver, fetch };
};
