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
//! # Around a spec
//!
//! - [`scan_tools`] and [`scan_code`] judge what belongs to no spec: the tools any server lists, bare code; item by item.
//! - [`Report`] and [`Items`] print for a terminal, serialise, and become a [`Sarif`] log. [`Suppressions`] accept findings, each with a
//!   reason and bound to its text; what is stale among them is named, never honoured.
//! - [`manifest_drift`] and [`spec_drift`] name what changed since something was approved, when [`manifest_digest`] or [`spec_digest`]
//!   say that it did.
//! - [`SpecEdit`] changes words and schemas, never code, and judges the result as a whole again.
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

/// The program in README.md works.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod check;
mod code;
mod compiled;
mod diagnostic;
mod digest;
mod drift;
mod edit;
mod hidden;
mod items;
mod json;
mod model;
mod openapi;
mod report;
mod rule;
mod scan;
mod schema;
mod schema_work;
mod slug;
mod spec;
mod taxonomy;
mod tool_schema;

pub use compiled::{
    COMPILED_VERSION, CompiledCode, CompiledPrompt, CompiledResource, CompiledSpec, CompiledTool,
    DigestMismatch, LineMap, PromptContent, ResourceContent, ResourcePlace,
};
pub use diagnostic::{CodePlace, Diagnostic, Diagnostics, escape};
pub use digest::{manifest_digest, spec_digest};
pub use drift::{Change, ChangeKind, manifest_drift, spec_drift};
pub use edit::{EditRefusal, Edited, OrphanedParameter, SecretEdit, SpecEdit, ToolEdit};
pub use items::{Item, Items, MAX_LISTING_BYTES, scan_code, scan_codes, scan_tools};
pub use json::{MAX_DEPTH, MAX_SPEC_BYTES, MAX_VALUES};
pub use model::{
    Annotations, Example, FORMAT_VERSION, Icon, IconTheme, Limits, MAX_CODE_BYTES, Prompt, PromptArgument,
    PromptMessage, RecordedFetch, RequiredSecret, Resource, Role, SecretPlace, Spec, TextContent, TextKind,
    Tool,
};
pub use openapi::{ImportError, Imported, MAX_OPENAPI_BYTES, OpenApiImport, Skipped};
pub use report::{Finding, Report, Sarif, Suppression, Suppressions, Verdict};
pub use rule::{Confidence, Rule, Severity};
pub use scan::{Capabilities, OFFERED_GLOBALS, capabilities, scan};
pub use schema::json_schema;
pub use schema_work::validation_is_bounded;
pub use slug::{MAX_SLUG_CHARS, RESERVED_SLUGS, Slug, SlugError};
pub use spec::{ValidSpec, admit};
