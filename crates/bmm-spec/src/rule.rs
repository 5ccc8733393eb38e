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
    DynamicCall "CODE-013" "dynamic-member-call" Medium "call a method by a name that stands in the code";
    Sloppy "CODE-014" "with-or-sloppy" High "write strict code: no `with`, no octal escapes, no `arguments` that alias parameters";
    Obfuscated "CODE-015" "obfuscation-shape" High "submit the code as a person wrote it";
    UnicodeSource "CODE-016" "unicode-source" High "write such characters as \\u{…} escapes inside string literals";
    SharedMemory "CODE-017" "shared-memory" High "use ArrayBuffer";
    UnboundedLoop "CODE-018" "unbounded-loop" Medium "give the loop an end that it can reach";
    Redos "CODE-019" "redos" Medium "do not nest quantifiers in an expression that runs on input";
    ParseOrLimit "CODE-020" "parse-or-limit" High "fix the syntax, or make the code smaller and flatter";

    UndeclaredHost "NET-001" "undeclared-host" Critical "add the host to allowedDomains if the tool should reach it";
    DynamicHost "NET-002" "dynamic-host" Medium "keep the host constant, or choose it from a list in the code";
    UnsafeTarget "NET-003" "unsafe-scheme-or-ip" High "use https and a host name";
    BroadAllow "NET-004" "broad-allow" Medium "name the hosts the tools need, and none where anybody can receive data";
    UnusedDomain "NET-005" "declared-unused" Low "remove the entry from allowedDomains";
    UndeclaredSecret "SEC-001" "undeclared-secret" High "declare it in requiredSecrets";
    SecretToOutput "SEC-002" "secret-to-output" Critical "send a secret only in the place and to the hosts it is declared for";
    HardcodedSecret "SEC-003" "hardcoded-secret" High "declare it in requiredSecrets and read it from ctx.secrets";
    SecretArgument "SEC-004" "secret-as-argument" High "declare a secret in requiredSecrets instead of asking the model for it";
    ArgumentExfiltration "SEC-005" "arg-exfil" High "send only what inputSchema declares";

    HiddenUnicode "META-001" "hidden-unicode" Critical "remove the invisible characters";
    ConfusableName "META-002" "confusable-name" High "use letters of one script, and names that cannot be mistaken for each other";
    InstructionOverride "META-003" "instruction-override" Critical "describe what the tool does; do not instruct the model about other instructions";
    GovernsOtherTool "META-004" "governs-other-tool" High "describe this tool only; what another tool needs is that tool's to say";
    ArgumentHijack "META-005" "argument-hijack" High "describe this tool's own arguments only";
    Concealment "META-006" "concealment" High "do not ask the model to keep anything from the user";
    PriorityClaim "META-007" "priority-claim" High "a tool has no rank over the user, the system or other tools; remove the claim";
    SensitivePath "META-008" "sensitive-path" High "do not name files of keys, credentials, shell profiles or agent settings";
    ExfilInstruction "META-009" "exfil-instruction" Critical "do not tell the model to send data anywhere";
    SessionPersistence "META-010" "session-persistence" Medium "a description speaks of one call; remove orders about later ones";
    Coercion "META-011" "coercion" Medium "say when the tool helps, not that the model must use it";
    Promotion "META-012" "promotion" Medium "say what the tool does, not how it compares";
    SideChannelParam "META-013" "sidechannel-param" High "ask only for arguments the tool needs for its work";
    EncodedPayload "META-014" "encoded-payload" High "write texts for the model in plain words";
    NearDuplicateTool "META-015" "near-duplicate-tool" Medium "make names and descriptions of tools distinct";
    AnnotationLie "META-016" "annotation-lie" Medium "make the annotations say what the code does";
    CapabilityMismatch "META-017" "capability-mismatch" Medium "say in the description what the code does, and use every argument the schema asks for";
    ShellSnippet "META-018" "shell-snippet" Medium "describe what the tool does instead of commands to run";

    Drift "PIN-001" "drift" Critical "scan and approve what changed again";
    StaleSuppression "SUP-001" "stale-suppression" Low "remove it, or look again and renew its reason and sha256";
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}
