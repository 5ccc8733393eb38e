// What a tool finds in its world besides the language. This file runs once in every fresh context, before the tool; the others of this
// folder are parts, each a function that runs when something of it is first touched (most calls touch none, and a part takes as long to
// load as many a call to run). `host` holds the native functions (native.rs); nothing but what closes over it can reach it. A tool may
// replace anything here, before a part is loaded too: it would only cheat itself, since every limit and every permission is enforced on
// the other side of the channel.

const { host } = globalThis;
delete globalThis.host;

const text = (value) => String(value).toWellFormed();
const { defineProperty } = Reflect;
const define = (name, value) =>
  defineProperty(globalThis, name, { value, writable: true, configurable: true, enumerable: false });

// --- Parts ---

const parts = { __proto__: null };
const loaded = (part) => parts[part];
const use = (part) => parts[part] ??= host.part(part)({ host, loaded, show, text, use });

// Globals that become what they stand for when they are first read, as Node's are.
function offer(part, names) {
  for (const name of names) {
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
  }
}
offer("abort", ["AbortController", "AbortSignal"]);
offer("buffer", ["Buffer"]);
offer("bytes", ["TextDecoder", "TextEncoder", "atob", "btoa"]);
offer("console", ["console"]);
offer("copying", ["structuredClone"]);
offer("crypto", ["crypto"]);
offer("fetch", ["Headers", "Request", "Response"]);
offer("timers", ["clearInterval", "clearTimeout", "setInterval", "setTimeout"]);
offer("url", ["URL", "URLSearchParams"]);
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

// An answer that is not there yet never comes in this call: the tool is called again with it, and hears it here.
function ask(kind, question) {
  const answer = host.ask(kind, text(stringify(question)));
  return answer === "" ? new Promise(() => {}) : parse(answer);
}

function context(secrets) {
  let signal;
  return {
    elicit: async (question) => ask("elicit", question),
    sample: async (question) => ask("sample", question),
    roots: async (question = {}) => (await ask("roots", question)).roots,
    fetch: (input, init) => use("fetch").fetch(input, init),
    secrets: Object.freeze(Object.fromEntries(secrets)),
    basicAuth: (user, secret) => host.basicAuth(text(user), text(secret)),
    hmac: (algorithm, secret, data) => host.hmac(text(algorithm), text(secret), use("bytes").packed(data)),
    log: (...values) => use("console").info(...values),
    progress: (progress, total, message) =>
      host.progress(Number(progress), total === undefined ? undefined : Number(total), message === undefined ? undefined : text(message)),
    get signal() { return signal ??= new (use("abort").AbortController)().signal; },
    set signal(value) { signal = value; },
  };
}

const { parse, stringify } = JSON;
const run = async (tool, input, secrets) => tool(parse(input), context(parse(secrets)));
const output = (value) => stringify(value === undefined ? null : value) ?? "null";
const deliver = (...fetched) => use("fetch").deliver(...fetched);
// Without the part there is no timer.
const tick = () => loaded("timers")?.tick() ?? -1;

// The context cannot compile (script.rs). What would still pretend to goes as well, and with it what tells one call of another, or of time.
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
    "SuppressedError", "InternalError", "performance", "navigator", "gc", "print",
  ]) delete globalThis[name];
}

harden();
host.made = { deliver, describe, output, run, tick };
