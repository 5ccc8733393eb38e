
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

// --- Globals ---

for (const [name, value] of Object.entries({
  AbortController, AbortSignal, Buffer, Headers, Request, Response, TextDecoder, TextEncoder, URL, URLSearchParams, atob, btoa,
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

// An answer that is not there yet never comes in this call: the tool is called again with it, and hears it here.
function ask(kind, question) {
  const answer = host.ask(kind, text(stringify(question)));
  return answer === "" ? new Promise(() => {}) : parse(answer);
}

function context(secrets) {
  return {
    elicit: async (question) => ask("elicit", question),
    sample: async (question) => ask("sample", question),
    roots: async (question = {}) => (await ask("roots", question)).roots,
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
