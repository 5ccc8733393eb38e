//! The catalogue: every rule a spec is judged by, with its stable id.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How bad it is when a rule is broken. `Critical` and `High` refuse a spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Low,
    /// Worth a look: the spec is admitted with a warning.
    Medium,
    /// Refused.
    High,
    /// Refused: the mark of an attack.
    Critical,
}

/// How sure the scanner is that a finding is what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// A guess from circumstance.
    Low,
    /// Likely; an innocent reading exists.
    Medium,
    /// Read directly from the syntax tree or the text.
    High,
}

macro_rules! catalogue {
    ($($variant:ident $id:literal $name:literal $severity:ident $help:literal;)*) => {
        /// A rule. Ids are stable: what is published under an id keeps its meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum Rule {
            $(
                #[doc = concat!("`", $id, "` ", $name)]
                #[serde(rename = $id)]
                $variant,
            )*
        }

        impl Rule {
            /// Every rule, in the order of the catalogue.
            pub const ALL: &'static [Rule] = &[$(Rule::$variant,)*];

            /// The stable id, such as `CODE-001`.
            pub fn id(self) -> &'static str {
                match self { $(Rule::$variant => $id,)* }
            }

            /// A short name in kebab case, such as `eval`.
            pub fn name(self) -> &'static str {
                match self { $(Rule::$variant => $name,)* }
            }

            /// How bad breaking this rule is.
            pub fn severity(self) -> Severity {
                match self { $(Rule::$variant => Severity::$severity,)* }
            }

            /// What to do about it, in one sentence.
            pub fn help(self) -> &'static str {
                match self { $(Rule::$variant => $help,)* }
            }
        }
    };
}

catalogue! {
    NotJson "SPEC-001" "not-json" High "a spec is one JSON object in UTF-8";
    TooLarge "SPEC-002" "too-large" High "stay within the published limits of the format";
    DuplicateKey "SPEC-003" "duplicate-key" High "keep one of the two; readers disagree about which one counts";
    UnknownField "SPEC-004" "unknown-field" High "remove it, or check its spelling against the published JSON Schema";
    MissingField "SPEC-005" "missing-field" High "add the field";
    WrongType "SPEC-006" "wrong-type" High "see the published JSON Schema for the type";
    BadValue "SPEC-007" "bad-value" High "see the published JSON Schema for what the field takes";
    DuplicateName "SPEC-008" "duplicate-name" High "give each one a name of its own";
    ReservedSlug "SPEC-009" "reserved-slug" High "choose another slug; this one is a path of the host itself";
    BadDomain "SPEC-010" "bad-domain" High "write a host such as `api.example.com`, `*.example.com` or `api.example.com:8443`";
    SecretDomain "SPEC-011" "secret-domain" High "a secret's domains must be covered by allowedDomains";
    BadSchema "SPEC-012" "bad-schema" High "use JSON Schema 2020-12 with `type: object` at the root and only local `$ref`s";
    ExampleMismatch "SPEC-013" "example-mismatch" High "make the example fit the tool's schemas";
    Content "SPEC-014" "content" High "give exactly one of the alternatives";
    Version "SPEC-015" "version" High "this release reads format version 1: `\"bmm\": 1`";
    DefaultExport "SPEC-016" "default-export" High "write `export default async (input, ctx) => { … }`";
    Header "SPEC-017" "header" High "map a string, integer or boolean property of inputSchema to a header name of its own";

    Eval "CODE-001" "eval" Critical "the engine cannot evaluate strings; parse data with JSON.parse";
    FunctionCtor "CODE-002" "function-ctor" Critical "the engine cannot build functions from strings; write the function out";
    CtorChain "CODE-003" "ctor-chain" Critical "do not reach for `constructor`; use the class by its name";
    StringTimer "CODE-004" "string-timer" High "pass a function to the timer";
    ModuleLoad "CODE-005" "module-load" Critical "a tool is one self-contained module; inline what you need";
    ProcessAccess "CODE-006" "process-access" Critical "there is no process; declare secrets in requiredSecrets and read them from ctx.secrets";
    VmOrChild "CODE-007" "vm-or-child" Critical "tools cannot start programs, workers or virtual machines";
    GlobalObject "CODE-008" "global-object" High "name the global you need instead of reaching it through the global object";
    UnknownGlobal "CODE-009" "unknown-global" Medium "only standard ECMAScript globals and the documented host API exist at run time";
    ProtoTamper "CODE-010" "proto-tamper" High "do not change prototypes; copy the object or use a Map";
    Reflection "CODE-011" "reflection" Medium "use plain property access";
    StackHooks "CODE-012" "stack-hooks" High "do not hook into stack traces";
    UnicodeSource "CODE-016" "unicode-source" High "write such characters as \\u{…} escapes inside string literals";
    SharedMemory "CODE-017" "shared-memory" High "use ArrayBuffer";
    ParseOrLimit "CODE-020" "parse-or-limit" High "fix the syntax, or make the code smaller and flatter";

    UndeclaredHost "NET-001" "undeclared-host" Critical "add the host to allowedDomains if the tool should reach it";
    UnsafeTarget "NET-003" "unsafe-scheme-or-ip" High "use https and a host name";
    UndeclaredSecret "SEC-001" "undeclared-secret" High "declare it in requiredSecrets";

    HiddenUnicode "META-001" "hidden-unicode" Critical "remove the invisible characters";
    InstructionOverride "META-003" "instruction-override" Critical "describe what the tool does; do not instruct the model about other instructions";
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}
