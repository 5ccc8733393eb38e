// What a tool finds in its world besides the language. This file runs once in every fresh context, before the tool; the others of this
// folder are parts, each a function that runs when something of it is first touched (most calls touch none, and a part takes as long to
// load as many a call to run). The native functions (native.rs) are made when the first part needs them; nothing but the parts can reach
// them. A tool may replace anything here, before a part is loaded too: it would only cheat itself, since every limit and every permission
// is enforced on the other side of the channel.

const { host } = globalThis;
delete globalThis.host;

const text = (value) => String(value).toWellFormed();
const { parse, stringify } = JSON;
const { defineProperty } = Reflect;
const define = (name, value) =>
  defineProperty(globalThis, name, { value, writable: true, configurable: true, enumerable: false });

// --- Parts ---

const parts = { __proto__: null };
let made;
const natives = () => made ??= host.natives();
const loaded = (part) => parts[part];
const use = (part) => parts[part] ??= host.part(part)({ host: natives(), loaded, show, text, use });

// A global that becomes what it stands for when it is first read, as Node's do.
const offer = (part, name) =>
  defineProperty(globalThis, name, {
    get() {
      const value = use(part)[name];
      define(name, value);
      return value;
    },
    set(value) { define(name, value); },
    configurable: true,
    enumerable: false,
  });
offer("abort", "AbortController");
offer("abort", "AbortSignal");
offer("buffer", "Buffer");
offer("bytes", "TextDecoder");
offer("bytes", "TextEncoder");
offer("bytes", "atob");
offer("bytes", "btoa");
offer("console", "console");
offer("copying", "structuredClone");
offer("crypto", "crypto");
offer("fetch", "Headers");
offer("fetch", "Request");
offer("fetch", "Response");
offer("timers", "clearInterval");
offer("timers", "clearTimeout");
offer("timers", "setInterval");
offer("timers", "setTimeout");
offer("url", "URL");
offer("url", "URLSearchParams");
define("queueMicrotask", globalThis.queueMicrotask ?? ((callback) => void Promise.resolve().then(callback)));

// --- For the engine ---

function show(value) {
  if (typeof value === "string") return value;
  if (value instanceof Error) return describe(value);
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    return String(value);
  }
}
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
  let signal;
  return {
    elicit: (question) => use("asking").elicit(question),
    sample: (question) => use("asking").sample(question),
    roots: (question) => use("asking").roots(question),
    fetch: (input, init) => use("fetch").fetch(input, init),
    secrets: Object.freeze(Object.fromEntries(secrets)),
    basicAuth: (user, secret) => use("asking").basicAuth(user, secret),
    hmac: (algorithm, secret, data) => use("asking").hmac(algorithm, secret, data),
    log: (...values) => use("console").info(...values),
    progress: (progress, total, message) => use("asking").progress(progress, total, message),
    get signal() { return signal ??= new (use("abort").AbortController)().signal; },
    set signal(value) { signal = value; },
  };
}

const run = async (tool, input, secrets) => tool(parse(input), context(parse(secrets)));
const output = (value) => stringify(value === undefined ? null : value) ?? "null";
const deliver = (...fetched) => use("fetch").deliver(...fetched);
// Without the part there is no timer.
const tick = () => loaded("timers")?.tick() ?? -1;

// The context cannot compile (script.rs). What would still pretend to goes as well, and with it what tells one call of another, or of time.
function harden() {
  const { defineProperty, getPrototypeOf } = Object;
  const close = (prototype) => {
    const refuse = function () { throw new EvalError("code cannot be made from text here"); };
    defineProperty(refuse, "prototype", { value: prototype, writable: false });
    defineProperty(prototype, "constructor", { value: refuse, writable: false, configurable: false });
  };
  close(getPrototypeOf(function () {}));
  close(getPrototypeOf(async function () {}));
  close(getPrototypeOf(function* () {}));
  close(getPrototypeOf(async function* () {}));
  define("Function", getPrototypeOf(function () {}).constructor);
  // Call sites would hand out the functions of this file.
  defineProperty(Error, "prepareStackTrace", { value: undefined, writable: false, configurable: false });
  for (const name of [
    "eval", "SharedArrayBuffer", "Atomics", "FinalizationRegistry", "WeakRef", "DisposableStack", "AsyncDisposableStack",
    "SuppressedError", "InternalError", "performance", "navigator", "gc", "print",
  ]) delete globalThis[name];
}

harden();
host.made = { deliver, describe, output, run, tick };
