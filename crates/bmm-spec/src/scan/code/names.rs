//! Names that decide: globals that exist at run time, globals and properties that are refused.

use crate::rule::{Confidence, Rule};

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
    "Buffer",
    "DOMException",
    "DataView",
    "Date",
    "Error",
    "EvalError",
    "Float16Array",
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
    "Request",
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
        "eval" | "execScript" => Rule::Eval,
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

/// A symbol of `Symbol` by which code takes part in what the language itself does.
pub(crate) fn hooks(symbol: &str) -> bool {
    matches!(symbol, "species" | "hasInstance" | "unscopables")
}

/// A name that says of itself that it is nobody else's.
pub(crate) fn is_internal(name: &str) -> bool {
    name.contains("DO_NOT_USE") || name.contains("INTERNAL_STATE") || name.contains("_INTERNALS_")
}

macro_rules! properties {
    ($($($name:literal)|+ => $rule:ident $confidence:ident,)*) => {
        /// The rule that a property breaks by being reached, whatever object it is on.
        pub(crate) fn property(name: &str) -> Option<(Rule, Confidence)> {
            if !may_be_property(name) {
                return None;
            }
            Some(match name {
                $($($name)|+ => (Rule::$rule, Confidence::$confidence),)*
                _ => return None,
            })
        }

        const PROPERTIES: &[&str] = &[$($($name,)+)*];
    };
}

properties! {
    "eval" | "execScript" => Eval High,
    "Function" | "AsyncFunction" | "GeneratorFunction" | "AsyncGeneratorFunction" => FunctionCtor High,
    "constructor" => CtorChain High,
    "mainModule" | "getBuiltinModule" | "createRequire" | "_load" | "_linkedBinding" => ModuleLoad High,
    "dlopen" => ProcessAccess High,
    "allocUnsafe" | "allocUnsafeSlow" => ProcessAccess Medium,
    "runInThisContext" | "runInNewContext" | "runInContext" | "child_process" | "execSync" | "execFileSync"
        | "spawnSync" | "ShadowRealm" | "WebAssembly" => VmOrChild High,
    "globalThis" => GlobalObject High,
    "__proto__" | "setPrototypeOf" | "__defineGetter__" | "__defineSetter__" | "__lookupGetter__"
        | "__lookupSetter__" => ProtoTamper High,
    "getOwnPropertyDescriptor" | "getOwnPropertyDescriptors" => Reflection High,
    "prepareStackTrace" | "captureStackTrace" | "callee" | "getThis" | "getEvalOrigin" | "caller" => StackHooks High,
}

/// By first byte and length, for the many names that are none of these.
#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
const MAY_BE: [u32; 128] = {
    let mut table = [0u32; 128];
    let mut at = 0;
    while at < PROPERTIES.len() {
        let name = PROPERTIES[at].as_bytes();
        table[name[0] as usize] |= 1 << name.len();
        at += 1;
    }
    table
};

/// A quick look that rules most names out.
pub(crate) fn may_be_property(name: &str) -> bool {
    let first = name.as_bytes().first().map_or(0, |byte| usize::from(*byte));
    let lengths = MAY_BE.get(first).copied().unwrap_or(0);
    name.len() < 32 && lengths & (1 << name.len()) != 0
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_list_is_sorted_for_the_binary_search() {
        assert!(super::OFFERED_GLOBALS.is_sorted());
    }
}
