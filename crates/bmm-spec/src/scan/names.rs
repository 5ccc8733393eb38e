//! Names that decide: globals that exist at run time, globals and properties that are refused.

use crate::rule::Rule;

/// The globals that code may use besides its two arguments: what the engine of bmm-runner offers, where a test holds this
/// list against the engine.
pub const OFFERED_GLOBALS: &[&str] = &[
    "AbortController",
    "AbortSignal",
    "AggregateError",
    "Array",
    "ArrayBuffer",
    "BigInt",
    "BigInt64Array",
    "BigUint64Array",
    "Boolean",
    "DataView",
    "Date",
    "Error",
    "EvalError",
    "Float32Array",
    "Float64Array",
    "Headers",
    "Infinity",
    "Int16Array",
    "Int32Array",
    "Int8Array",
    "Iterator",
    "JSON",
    "Map",
    "Math",
    "NaN",
    "Number",
    "Object",
    "Promise",
    "RangeError",
    "ReferenceError",
    "RegExp",
    "Response",
    "Set",
    "String",
    "Symbol",
    "SyntaxError",
    "TextDecoder",
    "TextEncoder",
    "TypeError",
    "URIError",
    "URL",
    "URLSearchParams",
    "Uint16Array",
    "Uint32Array",
    "Uint8Array",
    "Uint8ClampedArray",
    "WeakMap",
    "WeakSet",
    "atob",
    "btoa",
    "clearInterval",
    "clearTimeout",
    "console",
    "crypto",
    "decodeURI",
    "decodeURIComponent",
    "encodeURI",
    "encodeURIComponent",
    "escape",
    "isFinite",
    "isNaN",
    "parseFloat",
    "parseInt",
    "queueMicrotask",
    "setInterval",
    "setTimeout",
    "structuredClone",
    "undefined",
    "unescape",
];

/// Does the engine offer this global?
pub(crate) fn offered(name: &str) -> bool {
    name == "arguments" || OFFERED_GLOBALS.binary_search(&name).is_ok()
}

/// The rule that a global breaks by being named.
pub(crate) fn global(name: &str) -> Option<Rule> {
    Some(match name {
        "eval" => Rule::Eval,
        "Function" | "AsyncFunction" | "GeneratorFunction" | "AsyncGeneratorFunction" => Rule::FunctionCtor,
        "require" | "module" | "exports" | "importScripts" | "createRequire" | "__dirname" | "__filename" => {
            Rule::ModuleLoad
        }
        "process" | "Deno" | "Bun" => Rule::ProcessAccess,
        "WebAssembly" | "ShadowRealm" | "Worker" | "SharedWorker" | "vm" | "child_process"
        | "worker_threads" => Rule::VmOrChild,
        "globalThis" | "self" | "window" | "global" | "frames" | "top" | "parent" => Rule::GlobalObject,
        "SharedArrayBuffer" | "Atomics" => Rule::SharedMemory,
        "Reflect" | "Proxy" => Rule::Reflection,
        _ => return None,
    })
}

/// The rule that a property breaks by being reached, whatever object it is on.
pub(crate) fn property(name: &str) -> Option<Rule> {
    Some(match name {
        "eval" => Rule::Eval,
        "Function" | "AsyncFunction" | "GeneratorFunction" | "AsyncGeneratorFunction" => Rule::FunctionCtor,
        "constructor" => Rule::CtorChain,
        "mainModule" | "getBuiltinModule" | "createRequire" | "_load" => Rule::ModuleLoad,
        "dlopen" => Rule::ProcessAccess,
        "runInThisContext" | "runInNewContext" | "runInContext" | "child_process" | "ShadowRealm"
        | "WebAssembly" => Rule::VmOrChild,
        "globalThis" => Rule::GlobalObject,
        "__proto__" | "setPrototypeOf" | "__defineGetter__" | "__defineSetter__" | "__lookupGetter__"
        | "__lookupSetter__" => Rule::ProtoTamper,
        "getOwnPropertyDescriptor" | "getOwnPropertyDescriptors" => Rule::Reflection,
        "prepareStackTrace" | "captureStackTrace" | "callee" => Rule::StackHooks,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_list_is_sorted_for_the_binary_search() {
        assert!(super::OFFERED_GLOBALS.is_sorted());
    }
}
