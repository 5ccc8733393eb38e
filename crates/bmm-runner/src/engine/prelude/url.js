// URLs: parsed and changed natively.
export default ({ host, text }) => {
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

  return { URL, URLSearchParams };
};
