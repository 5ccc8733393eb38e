//! Operations of a description, and the tool that each becomes.

use super::{
    arguments::{Arguments, is_header_value, is_json},
    document::{Distinct, Document, brief},
    error::{ImportError, Skipped},
    schema::{Converter, DETAILS},
    security::{Credential, Security},
    server::Server,
    text, write,
};
use crate::json::push_segment;
use bmm_net::HostPattern;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Most operations that are looked at.
const MAX_OPERATIONS: usize = 20_000;
/// Methods that make a tool; with the others nothing comes back that a model could read.
const METHODS: [(&str, &str); 5] = [
    ("get", "GET"),
    ("put", "PUT"),
    ("post", "POST"),
    ("delete", "DELETE"),
    ("patch", "PATCH"),
];
const OTHER_METHODS: [&str; 3] = ["options", "head", "trace"];
/// Most responses of an operation that are looked at, and most media types of each.
const MAX_RESPONSES: usize = 50;
/// Longest path, in bytes: it is repeated in the place of everything below.
const MAX_PATH: usize = 1000;
const MAX_NAME: usize = 64;
const MAX_TITLE: usize = 120;
const MAX_DESCRIPTION: usize = 2000;

/// An operation that was selected.
#[derive(Debug)]
pub(super) struct Operation<'d> {
    /// Name of its tool.
    name: String,
    method: &'static str,
    path: &'d str,
    pub(super) pointer: String,
    value: &'d Value,
    item: &'d Value,
    item_pointer: String,
}

/// A tool and what it needs of the spec around it.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) pointer: String,
    pub(super) tool: Value,
    pub(super) host: HostPattern,
    pub(super) credentials: Vec<Credential>,
    /// Its size in the file, indented.
    pub(super) bytes: usize,
    /// How many JSON values it is.
    pub(super) values: usize,
}

/// Which operations are wanted.
pub(super) struct Selection<'s> {
    operations: &'s [String],
    tags: &'s [String],
}

impl<'s> Selection<'s> {
    pub(super) fn new(operations: &'s [String], tags: &'s [String]) -> Self {
        Self { operations, tags }
    }

    /// The entries that name an operation: none if it is not wanted.
    fn matching(&self, id: &str, method: &str, path: &str, value: &Value) -> Vec<&'s str> {
        let named = self.operations.iter().filter(|wanted| {
            let as_path = wanted
                .split_once(' ')
                .is_some_and(|(m, p)| m.eq_ignore_ascii_case(method) && p.trim() == path);
            as_path || (!id.is_empty() && *wanted == id)
        });
        let tags: Vec<&str> = value
            .get("tags")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let tagged = self.tags.iter().filter(|tag| tags.contains(&tag.as_str()));
        named.chain(tagged).map(String::as_str).collect()
    }

    fn takes_all(&self) -> bool {
        self.operations.is_empty() && self.tags.is_empty()
    }

    fn check(&self, seen: &BTreeSet<&str>) -> Result<(), ImportError> {
        if let Some(name) = self.operations.iter().find(|name| !seen.contains(name.as_str())) {
            return Err(ImportError::UnknownOperation(brief(name)));
        }
        match self.tags.iter().find(|tag| !seen.contains(tag.as_str())) {
            Some(tag) => Err(ImportError::UnknownTag(brief(tag))),
            None => Ok(()),
        }
    }
}

/// The operations that are wanted, in the order of the document.
pub(super) fn all<'d>(
    document: &'d Document,
    selection: &Selection<'_>,
    skipped: &mut Vec<Skipped>,
) -> Result<Vec<Operation<'d>>, ImportError> {
    let (mut operations, mut seen, mut names) = (Vec::new(), BTreeSet::new(), Distinct::default());
    if selection.takes_all() {
        for name in document
            .root
            .get("webhooks")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .map(|(name, _)| name)
        {
            let mut pointer = "/webhooks".to_owned();
            push_segment(&mut pointer, name);
            skipped.push(Skipped::new(
                &pointer,
                "a webhook calls somebody, it cannot be called",
            ));
        }
    }
    let paths = document.root.get("paths").and_then(Value::as_object);
    for (path, item) in paths
        .into_iter()
        .flatten()
        .filter(|(path, _)| path.starts_with('/'))
    {
        let mut pointer = "/paths".to_owned();
        push_segment(&mut pointer, path);
        let item = match document.follow(item, &pointer) {
            Ok(found) => found,
            Err(why) => {
                skipped.push(Skipped::new(&pointer, why));
                continue;
            }
        };
        for (key, value) in item.value.as_object().into_iter().flatten() {
            let at = format!("{pointer}/{key}");
            let Some((_, method)) = METHODS.iter().find(|(name, _)| name == key) else {
                if OTHER_METHODS.contains(&key.as_str()) && selection.takes_all() {
                    skipped.push(Skipped::new(
                        &at,
                        "only GET, PUT, POST, DELETE and PATCH become tools",
                    ));
                }
                continue;
            };
            let id = value
                .get("operationId")
                .and_then(Value::as_str)
                .unwrap_or_default();
            let matching = selection.matching(id, method, path, value);
            if matching.is_empty() && !selection.takes_all() {
                continue;
            }
            seen.extend(matching);
            if operations.len() >= MAX_OPERATIONS {
                skipped.push(Skipped::new(
                    &at,
                    format!("more than {MAX_OPERATIONS} operations"),
                ));
                continue;
            }
            let wanted = Some(text::identifier(id)).filter(|name| !name.is_empty());
            let wanted = wanted.unwrap_or_else(|| text::identifier(&format!("{key} {path}")));
            operations.push(Operation {
                name: names.name(wanted.trim_matches('_'), MAX_NAME),
                method,
                path,
                pointer: at,
                value,
                item: item.value,
                item_pointer: item.pointer.clone(),
            });
        }
    }
    selection.check(&seen)?;
    Ok(operations)
}

impl<'d> Operation<'d> {
    /// The tool, or why there is none. Notes are about what the tool does not have of the operation.
    pub(super) fn make(
        &self,
        document: &'d Document,
        security: &Security<'d>,
        server: Option<&Server>,
        schema_bytes: usize,
        notes: &mut Vec<Skipped>,
    ) -> Result<Made, String> {
        if self.path.len() > MAX_PATH {
            return Err(format!("its path is longer than {MAX_PATH} bytes"));
        }
        if self.path.contains(['?', '#']) {
            return Err("its path has a query or fragment".to_owned());
        }
        let server = match server {
            Some(server) => server.clone(),
            None => {
                let levels = [
                    (self.value, self.pointer.as_str()),
                    (self.item, self.item_pointer.as_str()),
                ];
                Server::of(document, &levels, notes)?
            }
        };
        let credentials = security.of(self.value, &self.pointer, notes)?;
        let levels = [
            (self.value, self.pointer.as_str()),
            (self.item, self.item_pointer.as_str()),
        ];
        let arguments = Arguments::read(document, self.path, levels, self.method != "GET", notes)?;
        let accept = self.accept(document)?;
        for key in ["callbacks"] {
            if self.value.get(key).is_some() {
                notes.push(Skipped::new(
                    &format!("{}/{key}", self.pointer),
                    "a callback calls somebody, it cannot be called",
                ));
            }
        }
        let call = write::Call {
            method: self.method,
            path: self.path,
            server: &server,
            arguments: &arguments,
            credentials: &credentials,
            accept: accept.as_deref(),
        };
        let mut tool = json!({
            "name": self.name,
            "title": self.title(),
            "description": self.description(),
            "inputSchema": self.input_schema(document, &arguments, schema_bytes, notes),
            "annotations": self.annotations(),
            "implementation": write::module(&call),
        });
        if let (Value::Object(tool), true) = (&mut tool, self.title().is_empty()) {
            tool.remove("title");
        }
        let indented = serde_json::to_string_pretty(&tool).unwrap_or_default();
        Ok(Made {
            pointer: self.pointer.clone(),
            bytes: indented.len() + 4 * indented.lines().count() + 8,
            values: values(&tool),
            tool,
            host: server.host,
            credentials,
        })
    }

    /// As much of the schema as there is room for.
    fn input_schema(
        &self,
        document: &'d Document,
        arguments: &Arguments<'d>,
        schema_bytes: usize,
        notes: &mut Vec<Skipped>,
    ) -> Value {
        let mut least = (json!({ "type": "object" }), Vec::new(), true);
        for detail in DETAILS {
            least = arguments.input_schema(Converter::new(document, detail), detail.text);
            if serde_json::to_string_pretty(&least.0).is_ok_and(|text| text.len() <= schema_bytes) {
                break;
            }
        }
        let (schema, own, was_cut) = least;
        notes.extend(own);
        if was_cut {
            notes.push(Skipped::new(
                &self.pointer,
                "the schema of its arguments is cut where it is deepest",
            ));
        }
        schema
    }

    /// What to ask for; an error if the service only answers with what is no text.
    fn accept(&self, document: &Document) -> Result<Option<String>, String> {
        let responses = self.value.get("responses").and_then(Value::as_object);
        let good = responses
            .into_iter()
            .flatten()
            .filter(|(status, _)| status.starts_with('2') || *status == "default");
        let mut types: Vec<&str> = Vec::new();
        for (status, response) in good.take(MAX_RESPONSES) {
            let Ok(found) = document.follow(response, "") else {
                continue;
            };
            let content = found.value.get("content").and_then(Value::as_object);
            if status == "default" && !types.is_empty() {
                continue;
            }
            types.extend(
                content
                    .into_iter()
                    .flatten()
                    .map(|(media_type, _)| media_type.as_str())
                    .take(MAX_RESPONSES),
            );
        }
        let is_text = |t: &&&str| {
            let t = t.to_ascii_lowercase();
            t.starts_with("text/") || t.contains("xml") || t.contains("yaml") || t.starts_with("*/*")
        };
        let chosen = types
            .iter()
            .find(|t| is_json(t))
            .or_else(|| types.iter().find(is_text));
        match chosen {
            Some(media_type) if is_header_value(media_type) => Ok(Some((*media_type).to_owned())),
            _ if types.is_empty() => Ok(None),
            _ => Err(format!(
                "it answers with `{}`, which is no text",
                brief(&types.join("`, `"))
            )),
        }
    }

    fn text(&self, key: &str) -> &'d str {
        self.value.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    fn title(&self) -> String {
        text::first_line(self.text("summary"), MAX_TITLE)
    }

    fn description(&self) -> String {
        let (summary, description) = (self.text("summary"), self.text("description"));
        let summary = text::plain(summary, 500);
        let mut out = text::plain(description, MAX_DESCRIPTION);
        if out.is_empty() {
            out = summary;
        } else if !summary.is_empty() && !out.starts_with(summary.trim_end_matches('.')) {
            out = format!("{}.\n{out}", summary.trim_end_matches('.'));
        }
        if out.is_empty() {
            out = format!("{} {}", self.method, text::plain(self.path, 500));
        }
        if self.value.get("deprecated") == Some(&Value::Bool(true)) {
            out.push_str("\nDeprecated by the service.");
        }
        out
    }

    /// What HTTP says of a method (RFC 9110, section 9.2). A POST may do anything, so nothing is promised of it.
    fn annotations(&self) -> Value {
        match self.method {
            "GET" => json!({ "readOnlyHint": true, "openWorldHint": true }),
            method => json!({
                "readOnlyHint": false, "destructiveHint": true, "idempotentHint": matches!(method, "PUT" | "DELETE"), "openWorldHint": true,
            }),
        }
    }
}

fn values(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(values).sum(),
        Value::Object(map) => map.values().map(values).sum(),
        _ => 0,
    }
}
