//! Declarations held against each other and against what the code can do.

mod claims;
mod domains;
mod schema;
mod words;

use super::{Hit, capability::Capabilities, finding};
use crate::{
    report::Finding,
    rule::{Confidence, Rule},
};
use serde_json::Value;

/// Notes what is found about a place of a spec or a listing.
pub(super) struct Notes {
    pub(super) findings: Vec<Finding>,
}

impl Notes {
    /// A finding about a value; `text` is the value where it is a string.
    fn add(
        &mut self,
        rule: Rule,
        confidence: Confidence,
        pointer: &str,
        text: &str,
        message: impl Into<String>,
    ) {
        let hit = Hit::new(rule, 0..text.len(), message).with_confidence(confidence);
        self.findings.push(finding(pointer, text, hit));
    }
}

/// What the parts of a spec say about each other. `can` is what every piece of code can do, if all of it could be read.
pub(super) fn spec(spec: &Value, can: Option<&[Capabilities]>) -> Vec<Finding> {
    let mut notes = Notes { findings: Vec::new() };
    domains::broad(spec, can, &mut notes);
    domains::unused(spec, can, &mut notes);
    let tools = spec.get("tools").and_then(Value::as_array).into_iter().flatten();
    for (index, tool) in tools.enumerate() {
        let pointer = format!("/tools/{index}");
        let code = format!("{pointer}/implementation");
        let can = can.and_then(|all| all.iter().find(|one| one.pointer == code));
        schema::parameters(tool, &pointer, schema::Place::Spec, &mut notes);
        claims::annotations(tool, &pointer, can, &mut notes);
        if let Some(can) = can {
            claims::unread(tool, &pointer, can, &mut notes);
            claims::unsaid(spec, tool, &pointer, can, &mut notes);
        }
    }
    notes.findings
}

/// What the parts of a tool that a server lists say about each other.
pub(super) fn listed(tool: &Value, pointer: &str) -> Vec<Finding> {
    let mut notes = Notes { findings: Vec::new() };
    schema::parameters(tool, pointer, schema::Place::Listing, &mut notes);
    claims::annotations(tool, pointer, None, &mut notes);
    notes.findings
}
