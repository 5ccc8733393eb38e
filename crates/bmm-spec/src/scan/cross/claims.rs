//! What a tool says of itself, held against what its code can do.

use super::{Notes, words, words::Topic};
use crate::{
    rule::{Confidence, Rule},
    scan::capability::Capabilities,
};
use serde_json::Value;

/// Names that start with these promise a loss.
const DESTROYS: &[&str] = &[
    "delete",
    "remove",
    "drop",
    "destroy",
    "purge",
    "wipe",
    "erase",
    "truncate",
    "kill",
    "terminate",
    "uninstall",
    "revoke",
];
/// Names that start with these promise a change.
const CHANGES: &[&str] = &[
    "create",
    "update",
    "write",
    "insert",
    "send",
    "upload",
    "modify",
    "rename",
    "publish",
    "deploy",
    "install",
    "execute",
    "transfer",
    "pay",
    "edit",
    "overwrite",
];
/// Reading that is done with POST all over the web.
const READS: &[&str] = &[
    "search",
    "query",
    "list",
    "get",
    "fetch",
    "find",
    "lookup",
    "graphql",
    "translate",
    "analyze",
    "classify",
    "calculate",
    "compute",
    "convert",
    "check",
    "validate",
    "preview",
    "read",
    "estimate",
    "count",
];

/// Annotations that the name or the code belies.
pub(super) fn annotations(tool: &Value, pointer: &str, can: Option<&Capabilities>, notes: &mut Notes) {
    let Some(annotations) = tool.get("annotations") else {
        return;
    };
    let hint = |key: &str| annotations.get(key).and_then(Value::as_bool);
    let name = tool.get("name").and_then(Value::as_str).unwrap_or_default();
    let verb = words::of_name(name).into_iter().next().unwrap_or_default();
    let (destroys, changes) = (
        DESTROYS.contains(&verb.as_str()),
        CHANGES.contains(&verb.as_str()),
    );
    let uses =
        |methods: &[&str]| can.is_some_and(|can| methods.iter().any(|method| can.methods.contains(*method)));
    let mut note = |key: &str, confidence: Confidence, message: String| {
        notes.add(
            Rule::AnnotationLie,
            confidence,
            &format!("{pointer}/annotations/{key}"),
            "",
            message,
        );
    };
    if hint("readOnlyHint") == Some(true) {
        if uses(&["PUT", "PATCH", "DELETE"]) {
            note(
                "readOnlyHint",
                Confidence::High,
                "says it only reads, and its code changes things over HTTP".to_owned(),
            );
        } else if destroys || changes {
            note(
                "readOnlyHint",
                Confidence::High,
                format!("says it only reads, and its name says `{verb}`"),
            );
        } else if uses(&["POST"]) && !Topic::of(tool).speaks_of_any(READS) {
            note(
                "readOnlyHint",
                Confidence::Medium,
                "says it only reads, and its code sends POST requests".to_owned(),
            );
        }
    }
    if hint("destructiveHint") == Some(false) && hint("readOnlyHint") != Some(true) {
        if uses(&["DELETE"]) {
            note(
                "destructiveHint",
                Confidence::High,
                "says it destroys nothing, and its code sends DELETE requests".to_owned(),
            );
        } else if destroys {
            note(
                "destructiveHint",
                Confidence::Medium,
                format!("says it destroys nothing, and its name says `{verb}`"),
            );
        }
    }
    if hint("openWorldHint") == Some(false) && can.is_some_and(Capabilities::network) {
        note(
            "openWorldHint",
            Confidence::Medium,
            "says it reaches nothing outside, and its code sends requests".to_owned(),
        );
    }
}

/// Arguments that the schema asks for and the code never reads.
pub(super) fn unread(tool: &Value, pointer: &str, can: &Capabilities, notes: &mut Notes) {
    if can.all_arguments {
        return;
    }
    let properties = tool.pointer("/inputSchema/properties").and_then(Value::as_object);
    let unread: Vec<String> = properties
        .into_iter()
        .flatten()
        .filter(|(name, _)| !can.arguments.contains(*name))
        .map(|(name, _)| format!("`{name}`"))
        .collect();
    if !unread.is_empty() {
        let list = unread
            .iter()
            .take(8)
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(", ");
        let message = format!("the code never reads {list}");
        let at = format!("{pointer}/inputSchema/properties");
        notes.add(Rule::CapabilityMismatch, Confidence::Medium, &at, "", message);
    }
}

/// Work that needs no network by its nature.
const COMPUTES: &[&str] = &[
    "add",
    "adds",
    "sum",
    "sums",
    "subtract",
    "subtracts",
    "multiply",
    "multiplies",
    "divide",
    "divides",
    "calculate",
    "calculates",
    "compute",
    "computes",
    "format",
    "formats",
    "reverse",
    "reverses",
    "sort",
    "sorts",
    "count",
    "counts",
    "hash",
    "hashes",
    "encode",
    "encodes",
    "decode",
    "decodes",
    "parse",
    "parses",
    "validate",
    "validates",
    "trim",
    "trims",
    "capitalize",
    "capitalizes",
    "greet",
    "greets",
    "echo",
    "echoes",
    "echos",
];
/// Words that tell of a network.
const NETWORK: &[&str] = &[
    "api", "online", "web", "http", "https", "url", "fetch", "download", "upload", "service", "server",
    "internet", "remote", "request", "live", "latest", "current", "cloud", "webhook", "post", "send",
    "website", "endpoint", "database", "account", "registry",
];
/// Promises that there is none.
const OFFLINE: &[&[&str]] = &[
    &["offline"],
    &["locally"],
    &["no", "network"],
    &["without", "network"],
    &["no", "internet"],
    &["without", "internet"],
    &["without", "a", "network"],
    &["never", "leaves"],
    &["does", "not", "leave"],
    &["nothing", "is", "sent"],
    &["no", "data", "is", "sent"],
    &["on", "your", "machine"],
];

/// A network that the description denies, or that its work does not need and it does not tell of.
pub(super) fn unsaid(spec: &Value, tool: &Value, pointer: &str, can: &Capabilities, notes: &mut Notes) {
    if !can.network() {
        return;
    }
    let description = tool
        .get("description")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let at = format!("{pointer}/description");
    let said: Vec<String> = words::of_text(description).collect();
    let denied = OFFLINE.iter().any(|phrase| {
        said.windows(phrase.len())
            .any(|words| words.iter().eq(phrase.iter()))
    });
    if denied {
        notes.add(
            Rule::CapabilityMismatch,
            Confidence::High,
            &at,
            description,
            "says it works without a network, and its code sends requests",
        );
        return;
    }
    let computes = said.first().is_some_and(|word| COMPUTES.contains(&word.as_str()));
    if !computes || !can.sends_arguments && can.secrets.is_empty() {
        return;
    }
    // Anything that lets a reader expect a request: a word for it, or the host's own name, in the tool's or the server's texts.
    let texts = [tool.get("title"), spec.get("name"), spec.get("description")]
        .map(|text| text.and_then(Value::as_str).unwrap_or_default());
    let all: Vec<String> = texts
        .iter()
        .flat_map(|text| words::of_text(text))
        .chain(said)
        .collect();
    let told = all.iter().any(|word| NETWORK.contains(&word.as_str()))
        || can
            .hosts
            .iter()
            .flat_map(|host| host.split(['.', '-', ':', '*']))
            .any(|label| label.len() > 3 && all.iter().any(|word| word == label));
    if !told {
        notes.add(
            Rule::CapabilityMismatch,
            Confidence::High,
            &at,
            description,
            "does not tell that arguments are sent over the network",
        );
    }
}
