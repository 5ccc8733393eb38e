//! The bmm spec: a file that says what an MCP server offers and what its code may reach, and the gate every such file passes.
//!
//! A spec is one JSON object: tools with JSON Schemas and an implementation in JavaScript or TypeScript, resources, prompts, the secrets it
//! needs, the hosts it may talk to, and limits. This crate reads it within bounds, reports **all** problems at once (each with a rule
//! id, an RFC 6901 pointer and a byte span), scans code on its syntax tree and texts for attempts to steer a model, and compiles what
//! passed into what a runner takes. Nothing here does I/O.
//!
//! ```
//! use bmm_spec::{Rule, Spec, ValidSpec};
//!
//! let file = br#"{
//!   "bmm": 1, "slug": "greeter", "name": "Greeter", "description": "Greets people.",
//!   "tools": [{
//!     "name": "greet", "description": "Greets somebody by name.",
//!     "inputSchema": { "type": "object", "properties": { "name": { "type": "string" } }, "required": ["name"] },
//!     "examples": [{ "input": { "name": "Ada" }, "output": "Hello, Ada!" }],
//!     "implementation": "export default (input: { name: string }) => `Hello, ${input.name}!`"
//!   }]
//! }"#;
//!
//! let spec = Spec::parse(file)?;                    // bounded; every problem at once
//! let report = bmm_spec::scan(&spec);               // what can the code reach, what do the words try?
//! let valid: ValidSpec = spec.validate(&report)?;   // the only way to a ValidSpec
//! let compiled = valid.compile()?;                  // types stripped, digests taken
//! assert!(compiled.tools[0].code.contains("export default"));
//! assert_eq!(compiled.verify_digest(), Ok(()));
//!
//! // The same in one call, and a spec that does not pass.
//! let bad = String::from_utf8_lossy(file).replace("`Hello, ${input.name}!`", "globalThis['ev' + 'al'](input.name)");
//! let problems = bmm_spec::admit(bad.as_bytes()).unwrap_err();
//! let rules: Vec<Rule> = problems.iter().map(|problem| problem.rule).collect();
//! assert_eq!(rules, [Rule::GlobalObject, Rule::Eval]);
//! assert_eq!(problems.as_slice()[0].pointer, "/tools/0/implementation");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What you must supply
//!
//! A runner that gives code nothing but `input` and `ctx`, and that enforces [`CompiledSpec::allowed_domains`],
//! [`CompiledSpec::required_secrets`] and [`CompiledSpec::limits`]. One that receives a compiled spec as data calls
//! [`CompiledSpec::verify_digest`] before it uses it.
//!
//! # What it defends, and what it leaves to you
//!
//! Defended: files, schemas and code made to exhaust the reader; duplicate keys; code that reaches for evaluation, modules, the process
//! or the global object however the name is put together; hosts and secrets that were not declared; invisible characters and
//! instruction overrides in texts a model reads. The scan is an early warning: the sandbox, not this crate, is what holds code that
//! passed. Hosts that are only known at run time are judged by whoever makes the connection.

#![forbid(unsafe_code)]

mod check;
mod code;
mod compiled;
mod diagnostic;
mod digest;
mod hidden;
mod json;
mod model;
mod report;
mod rule;
mod scan;
mod schema;
mod slug;
mod spec;
mod tool_schema;

pub use compiled::{
    COMPILED_VERSION, CompiledCode, CompiledPrompt, CompiledResource, CompiledSpec, CompiledTool,
    DigestMismatch, LineMap, PromptContent, ResourceContent, ResourcePlace,
};
pub use diagnostic::{CodePlace, Diagnostic, Diagnostics};
pub use digest::{manifest_digest, spec_digest};
pub use json::{MAX_DEPTH, MAX_SPEC_BYTES, MAX_VALUES};
pub use model::{
    Annotations, Example, FORMAT_VERSION, Icon, IconTheme, Limits, MAX_CODE_BYTES, Prompt, PromptArgument,
    PromptMessage, RecordedFetch, RequiredSecret, Resource, Role, SecretPlace, Spec, TextContent, TextKind,
    Tool,
};
pub use report::{Finding, Report, Verdict};
pub use rule::{Confidence, Rule, Severity};
pub use scan::{OFFERED_GLOBALS, scan};
pub use schema::json_schema;
pub use slug::{MAX_SLUG_CHARS, RESERVED_SLUGS, Slug, SlugError};
pub use spec::{ValidSpec, admit};
