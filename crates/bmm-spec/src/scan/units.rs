//! Texts that a model reads: every string of a spec that a client may put into a prompt, with what it is and whose.

use crate::json::{push_index, push_segment};
use serde_json::Value;

/// What a text is to the model that reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum UnitKind {
    /// The name of a tool, resource, prompt, argument or the server.
    Name,
    /// A title.
    Title,
    /// A description of the server, a tool, a resource, a prompt or a secret.
    Description,
    /// The server's instructions: the one place that may speak of all tools.
    Instructions,
    /// A key of a schema, such as a parameter's name.
    Key,
    /// Any string inside a schema, annotations or headers.
    Schema,
    /// Content: text of a resource, message of a prompt.
    Content,
}

/// A text with its place.
#[derive(Debug)]
pub(crate) struct Unit<'v> {
    pub(crate) pointer: &'v str,
    pub(crate) text: &'v str,
    pub(crate) kind: UnitKind,
    /// Index of the tool it belongs to.
    pub(crate) tool: Option<usize>,
}

/// The lists of a spec, with the fields of their items that can reach a model.
const PARTS: [(&str, &[&str]); 4] = [
    (
        "tools",
        &[
            "name",
            "title",
            "description",
            "inputSchema",
            "outputSchema",
            "annotations",
            "headers",
        ],
    ),
    (
        "resources",
        &[
            "name",
            "title",
            "description",
            "uri",
            "uriTemplate",
            "mimeType",
            "text",
        ],
    ),
    (
        "prompts",
        &["name", "title", "description", "arguments", "messages"],
    ),
    ("requiredSecrets", &["name", "description"]),
];

/// Shows every string of a spec that can reach a model, keys of schemas included.
pub(crate) fn units(spec: &Value, see: &mut impl FnMut(&Unit<'_>)) {
    let mut pointer = String::new();
    for key in ["name", "description", "instructions"] {
        field(spec, key, &mut pointer, (kind_of(key), None), see);
    }
    for (part, _) in PARTS {
        let items = spec.get(part).and_then(Value::as_array).into_iter().flatten();
        for (index, item) in items.enumerate() {
            let tool = (part == "tools").then_some(index);
            of_item(part, item, &format!("/{part}/{index}"), tool, see);
        }
    }
}

/// The same of one item of one list, at this pointer.
pub(crate) fn of_item(
    part: &str,
    item: &Value,
    pointer: &str,
    tool: Option<usize>,
    see: &mut impl FnMut(&Unit<'_>),
) {
    let keys = PARTS
        .iter()
        .find(|(name, _)| *name == part)
        .map(|(_, keys)| *keys);
    // One buffer for all: most texts are judged and forgotten.
    let mut pointer = pointer.to_owned();
    for key in keys.unwrap_or_default() {
        field(item, key, &mut pointer, (kind_of(key), tool), see);
    }
}

/// The kind of the texts under a field.
fn kind_of(field: &str) -> UnitKind {
    match field {
        "name" => UnitKind::Name,
        "title" => UnitKind::Title,
        "description" => UnitKind::Description,
        "instructions" => UnitKind::Instructions,
        "text" | "messages" => UnitKind::Content,
        _ => UnitKind::Schema,
    }
}

fn field(
    item: &Value,
    key: &str,
    pointer: &mut String,
    of: (UnitKind, Option<usize>),
    see: &mut impl FnMut(&Unit<'_>),
) {
    let Some(value) = item.get(key) else { return };
    let length = pointer.len();
    push_segment(pointer, key);
    strings(value, pointer, of, see);
    pointer.truncate(length);
}

fn strings(
    value: &Value,
    pointer: &mut String,
    of: (UnitKind, Option<usize>),
    see: &mut impl FnMut(&Unit<'_>),
) {
    let (kind, tool) = of;
    let length = pointer.len();
    match value {
        Value::String(text) => see(&Unit {
            pointer,
            text,
            kind,
            tool,
        }),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                push_index(pointer, index);
                strings(item, pointer, of, see);
                pointer.truncate(length);
            }
        }
        Value::Object(map) => {
            for (key, value) in map {
                push_segment(pointer, key);
                see(&Unit {
                    pointer,
                    text: key,
                    kind: UnitKind::Key,
                    tool,
                });
                strings(value, pointer, of, see);
                pointer.truncate(length);
            }
        }
        _ => {}
    }
}
