//! Digests: SHA-256 in hex over canonical JSON (RFC 8785), so that key order and white space never matter.

use crate::model::Spec;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// The digest of tools as `tools/list` shows them, the same whichever protocol revision listed them.
///
/// Takes the objects of the `tools` array. Only what every revision can show, and what a model or a client acts on, counts: name,
/// title, description, both schemas, annotations. Order of tools and keys, nulls, empty annotations, `$schema` at the root of a
/// schema, and fields of one revision only (`_meta`, `icons`, `execution`) do not.
pub fn manifest_digest(tools: &[Value]) -> String {
    let mut tools: Vec<Value> = tools.iter().map(public_fields).collect();
    tools.sort_by(|a, b| name(a).cmp(name(b)));
    hex_of(&Value::Array(tools))
}

/// The digest of a spec as it was written, everything except the slug. A field that says the default is as if it were not there.
pub fn spec_digest(spec: &Spec) -> String {
    without(serde_json::to_value(spec).unwrap_or_default(), &["slug"])
}

/// The digest of an object without some of its members.
pub(crate) fn without(mut value: Value, keys: &[&str]) -> String {
    if let Some(object) = value.as_object_mut() {
        for key in keys {
            object.remove(*key);
        }
    }
    hex_of(&value)
}

fn name(tool: &Value) -> &str {
    tool.get("name").and_then(Value::as_str).unwrap_or_default()
}

/// What of a tool counts.
pub(crate) fn public_fields(tool: &Value) -> Value {
    let mut public = Map::new();
    for key in [
        "name",
        "title",
        "description",
        "inputSchema",
        "outputSchema",
        "annotations",
    ] {
        let Some(value) = tool.get(key).filter(|v| !v.is_null()) else {
            continue;
        };
        let mut value = value.clone();
        if let Some(object) = value.as_object_mut() {
            match key {
                "annotations" => object.retain(|_, v| !v.is_null()),
                _ => {
                    object.remove("$schema");
                }
            }
            if key == "annotations" && object.is_empty() {
                continue;
            }
        }
        public.insert(key.to_owned(), value);
    }
    Value::Object(public)
}

fn hex_of(value: &Value) -> String {
    let canonical =
        serde_json_canonicalizer::to_vec(value).expect("a JSON value in memory always has a canonical form");
    sha256(&canonical)
}

/// The hash of one part of a spec: of the text itself if it is one, of the canonical JSON otherwise.
pub(crate) fn content(value: &Value) -> String {
    match value {
        Value::String(text) => sha256(text.as_bytes()),
        other => hex_of(other),
    }
}

/// SHA-256 in hex.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold(String::with_capacity(64), |mut hex, byte| {
            for nibble in [byte >> 4, byte & 15] {
                hex.push(char::from_digit(u32::from(nibble), 16).expect("a nibble is a hex digit"));
            }
            hex
        })
}
