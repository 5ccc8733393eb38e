//! What a piece of code can do, read from its syntax tree: the manifest that declarations are held against.

use super::{Hit, code, flow};
use crate::{check, code as source, model::Spec, rule::Rule};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;

/// What one piece of code can reach, as far as its syntax tree tells. Made by [`capabilities`](crate::capabilities).
///
/// Over-approximates: what is listed may happen, on some path with some arguments. What is not listed cannot happen without a
/// computed name, and those are told by the `any_*` fields and by findings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct Capabilities {
    /// RFC 6901 pointer to the code in its spec.
    pub pointer: String,
    /// Hosts of requests: `api.example.com`, `api.example.com:8443`; `*.example.com` where the start is only known at run time.
    pub hosts: BTreeSet<String>,
    /// A request may go to a host that is only known at run time.
    pub any_host: bool,
    /// HTTP methods of requests; `*` for one that is only known at run time.
    pub methods: BTreeSet<String>,
    /// Names of secrets that are read, declared or not.
    pub secrets: BTreeSet<String>,
    /// A secret may be read whose name is only known at run time.
    pub any_secret: bool,
    /// Names of arguments that are read.
    pub arguments: BTreeSet<String>,
    /// The arguments are used as a whole, so that any of them may be read.
    pub all_arguments: bool,
    /// Something made of the arguments is part of a request.
    pub sends_arguments: bool,
    /// Globals that are named.
    pub globals: BTreeSet<String>,
    /// Code may be made from text, or loaded.
    pub code_generation: bool,
    /// Objects may be reached or changed other than by plain property access.
    pub reflection: bool,
    /// Timers are set.
    pub timers: bool,
    /// A loop may have no end.
    pub unbounded_loops: bool,
    /// Something is written to the log or told as progress.
    pub logs: bool,
}

/// What every piece of code of a spec can reach, in the order of the spec. Code that does not parse is left out.
///
/// ```
/// let file = br#"{
///   "bmm": 1, "slug": "sample", "name": "Sample", "description": "A sample.", "allowedDomains": ["api.example.com"],
///   "tools": [{
///     "name": "find", "description": "Finds items online.",
///     "inputSchema": { "type": "object", "properties": { "query": { "type": "string" } } },
///     "implementation": "export default (input, ctx) => ctx.fetch(`https://api.example.com/items?q=${input.query}`)"
///   }]
/// }"#;
/// let can = bmm_spec::capabilities(&bmm_spec::Spec::parse(file)?);
/// assert_eq!(can[0].pointer, "/tools/0/implementation");
/// assert!(can[0].hosts.contains("api.example.com") && can[0].methods.contains("GET"));
/// assert!(can[0].arguments.contains("query") && can[0].sends_arguments);
/// # Ok::<(), bmm_spec::Diagnostics>(())
/// ```
pub fn capabilities(spec: &Spec) -> Vec<Capabilities> {
    let spec = serde_json::to_value(spec).unwrap_or_default();
    let (declared, declarations) = (code::Declared::of(&spec), flow::Declarations::of(&spec));
    let judged = source::on_big_stack(|| {
        let pieces = check::implementations(&spec);
        let of = |(pointer, text): &(String, &str)| {
            source::with_module(text, |module| {
                of_module(module, pointer, &spec, &declared, &declarations).1
            })
            .ok()
        };
        pieces.iter().filter_map(of).collect()
    });
    judged.unwrap_or_default()
}

/// Every rule on one piece of code, and what it can do.
pub(super) fn of_module(
    module: &source::Module<'_>,
    pointer: &str,
    spec: &Value,
    declared: &code::Declared,
    declarations: &flow::Declarations,
) -> (Vec<Hit>, Capabilities) {
    let mut hits = code::judge(module, declared);
    let item = pointer
        .strip_suffix("/implementation")
        .and_then(|item| spec.pointer(item));
    let part = pointer.split('/').nth(1).unwrap_or_default();
    let interface = declarations.interface(part, item.unwrap_or(&Value::Null));
    let flow = flow::analyse(module, code::folder(module), &interface);
    let mut capabilities = flow.capabilities;
    pointer.clone_into(&mut capabilities.pointer);
    for hit in flow.hits {
        if !hits
            .iter()
            .any(|other| other.rule == hit.rule && other.span == hit.span)
        {
            hits.push(hit);
        }
    }
    hits.iter().for_each(|hit| capabilities.note(hit.rule));
    (hits, capabilities)
}

impl Capabilities {
    /// Notes what a finding says about the code.
    pub(crate) fn note(&mut self, rule: Rule) {
        match rule {
            Rule::Eval | Rule::FunctionCtor | Rule::StringTimer | Rule::ModuleLoad | Rule::VmOrChild => {
                self.code_generation = true;
            }
            Rule::CtorChain
            | Rule::GlobalObject
            | Rule::ProtoTamper
            | Rule::Reflection
            | Rule::StackHooks => {
                self.reflection = true;
            }
            Rule::UnboundedLoop => self.unbounded_loops = true,
            _ => {}
        }
    }

    /// Does any request leave?
    pub(crate) fn network(&self) -> bool {
        !self.methods.is_empty()
    }
}
