//! One binary, so that the crate is linked once.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod attacks;
mod attacks_on_import;
mod code;
mod cross;
mod diagnostics;
mod digests;
mod drift;
mod edits;
mod examples;
mod flow;
mod grammar;
mod items;
mod openapi;
mod properties;
mod readme;
mod reports;
mod rules;
mod texts;

use serde_json::{Value, json};

/// A spec with one tool of this code.
fn with_code(code: &str) -> Value {
    json!({
        "bmm": 1, "slug": "sample", "name": "Sample", "description": "A sample.",
        "allowedDomains": ["api.example.com", "*.example.org"],
        "requiredSecrets": [{ "name": "API_KEY", "description": "A key.", "domains": ["api.example.com"] }],
        "tools": [{
            "name": "run", "description": "Runs.",
            "inputSchema": { "type": "object", "properties": { "text": { "type": "string" } } },
            "implementation": code,
        }]
    })
}

/// A spec that is fine.
fn sample() -> Value {
    with_code("export default async (input: { text: string }, ctx) => input.text.length")
}

/// The sample with the value at a pointer replaced, or put there.
fn sample_with(pointer: &str, value: Value) -> Value {
    let mut spec = sample();
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer with a segment");
    match spec.pointer_mut(parent).expect("the parent exists") {
        Value::Array(items) => items[key.parse::<usize>().expect("an index")] = value,
        Value::Object(map) => drop(map.insert(key.to_owned(), value)),
        _ => unreachable!("{parent} holds nothing"),
    }
    spec
}

/// Rule and pointer of every problem.
fn problems(spec: &Value) -> Vec<(String, String)> {
    match bmm_spec::admit(spec.to_string().as_bytes()) {
        Ok(_) => Vec::new(),
        Err(found) => found
            .iter()
            .map(|d| (d.rule.id().to_owned(), d.pointer.clone()))
            .collect(),
    }
}

/// Ids of the rules that a piece of code breaks, in the order of the report, blocking or not.
fn findings(code: &str) -> Vec<&'static str> {
    let spec = bmm_spec::Spec::parse(with_code(code).to_string().as_bytes())
        .unwrap_or_else(|e| panic!("{code}\n{e}"));
    bmm_spec::scan(&spec)
        .findings
        .iter()
        .filter(|f| f.pointer.ends_with("/implementation"))
        .map(|f| f.rule.id())
        .collect()
}
