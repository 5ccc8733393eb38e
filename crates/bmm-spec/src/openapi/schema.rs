//! Schemas of OpenAPI (3.0 has a dialect of its own, 3.1 has 2020-12) as the JSON Schema 2020-12 of a tool's arguments.

use super::{
    Skipped,
    document::{Distinct, Document, brief},
    text,
};
use crate::json::push_segment;
use serde_json::{Map, Value, json};
use std::collections::{HashMap, HashSet, VecDeque};

/// How much of a schema is kept: descriptions of real services have request bodies that would fill a model's window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Detail {
    /// Levels of schemas.
    pub(super) depth: usize,
    /// Characters of a description.
    pub(super) text: usize,
}

/// From all to next to nothing; the first that fits is taken.
pub(super) const DETAILS: [Detail; 7] = [
    Detail {
        depth: 24,
        text: 1000,
    },
    Detail { depth: 12, text: 300 },
    Detail { depth: 8, text: 160 },
    Detail { depth: 6, text: 120 },
    Detail { depth: 4, text: 100 },
    Detail { depth: 3, text: 80 },
    Detail { depth: 2, text: 60 },
];

/// Most entries of `$defs`.
const MAX_DEFS: usize = 100;
/// Deepest and largest value of `enum`, `const` and `default`.
const MAX_VALUE_DEPTH: usize = 6;
const MAX_VALUE_PARTS: usize = 2000;
/// Longest name of a property: it is repeated in the place of everything below.
const MAX_PROPERTY_BYTES: usize = 256;
/// Most notes on one tool.
const MAX_NOTES: usize = 50;
const TYPES: [&str; 7] = [
    "string", "number", "integer", "boolean", "array", "object", "null",
];

/// What a value is in a request, for code that writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Scalar,
    Array,
    Object,
    /// Only known when it is there.
    Unknown,
}

/// Converts the schemas of one tool, which share their `$defs`.
pub(super) struct Converter<'d> {
    document: &'d Document,
    detail: Detail,
    /// Key in `$defs` of what stands at a pointer.
    names: HashMap<String, String>,
    distinct: Distinct,
    waiting: VecDeque<(String, String, usize)>,
    defs: Map<String, Value>,
    /// What could not be said.
    pub(super) notes: Vec<Skipped>,
    /// Something was left out for want of room.
    pub(super) was_cut: bool,
}

impl<'d> Converter<'d> {
    pub(super) fn new(document: &'d Document, detail: Detail) -> Self {
        Self {
            document,
            detail,
            names: HashMap::new(),
            distinct: Distinct::default(),
            waiting: VecDeque::new(),
            defs: Map::new(),
            notes: Vec::new(),
            was_cut: false,
        }
    }

    /// The schema at a pointer, as one of a part of the arguments.
    pub(super) fn schema(&mut self, schema: &Value, pointer: &str) -> Value {
        self.convert(schema, pointer, 1)
    }

    /// What the converted schemas refer to. Breadth first, so that what is near the arguments is kept whole.
    pub(super) fn into_defs(mut self) -> (Map<String, Value>, Vec<Skipped>, bool) {
        while let Some((pointer, key, depth)) = self.waiting.pop_front() {
            let document = self.document;
            let converted = match document.root.pointer(&pointer) {
                Some(schema) => self.convert(schema, &pointer, depth),
                None => json!({}),
            };
            self.defs.insert(key, converted);
        }
        (self.defs, self.notes, self.was_cut)
    }

    fn convert(&mut self, schema: &Value, pointer: &str, depth: usize) -> Value {
        let object = match schema {
            Value::Object(object) => object,
            Value::Bool(_) => return schema.clone(),
            _ => {
                self.note(pointer, "is no schema");
                return json!({});
            }
        };
        if depth > self.detail.depth || !self.document.spend(1 + object.len()) {
            self.was_cut = true;
            return self.stub(schema, pointer);
        }
        let mut out = Map::new();
        if Document::is_reference(schema) {
            self.reference(object, pointer, depth, &mut out);
            if !self.document.is_3_1 {
                // OpenAPI 3.0 ignores what stands beside a reference; a description does no harm.
                if let Some(description) = object.get("description") {
                    self.keyword("description", description, pointer, depth, &mut out);
                }
                return Value::Object(out);
            }
        }
        let hidden = read_only(object, self.document);
        for (key, value) in object {
            let mut at = pointer.to_owned();
            push_segment(&mut at, key);
            match (key.as_str(), value) {
                ("properties", Value::Object(properties)) => {
                    let kept = properties
                        .iter()
                        .filter(|(name, _)| !hidden.contains(name.as_str()));
                    let mut converted = Map::new();
                    for (name, property) in kept {
                        if name.len() > MAX_PROPERTY_BYTES {
                            self.note(&at, "a property's name is too long");
                            continue;
                        }
                        let mut at = at.clone();
                        push_segment(&mut at, name);
                        converted.insert(name.clone(), self.convert(property, &at, depth + 1));
                    }
                    out.insert(key.clone(), Value::Object(converted));
                }
                ("required", Value::Array(names)) => {
                    let mut seen = HashSet::new();
                    let names = names.iter().filter_map(Value::as_str);
                    let fits = |name: &&str| !hidden.contains(name) && name.len() <= MAX_PROPERTY_BYTES;
                    let kept: Vec<&str> = names.filter(fits).filter(|name| seen.insert(*name)).collect();
                    if !kept.is_empty() && self.document.spend(kept.len()) {
                        out.insert(key.clone(), json!(kept));
                    }
                }
                _ => self.keyword(key, value, &at, depth, &mut out),
            }
        }
        if !self.document.is_3_1 {
            bounds_of_3_0(&mut out, object);
        }
        self.discriminate(object, pointer, &mut out);
        if !self.document.is_3_1 && object.get("nullable") == Some(&Value::Bool(true)) {
            return nullable(out);
        }
        Value::Object(out)
    }

    fn keyword(&mut self, key: &str, value: &Value, at: &str, depth: usize, out: &mut Map<String, Value>) {
        let taken = match key {
            "type" => self.types(value),
            "items" if value.is_array() => {
                if let Some(list) = self.list(value, at, depth) {
                    out.insert("prefixItems".to_owned(), list);
                }
                return;
            }
            "items"
            | "not"
            | "if"
            | "then"
            | "else"
            | "additionalProperties"
            | "contains"
            | "propertyNames"
            | "unevaluatedItems"
            | "unevaluatedProperties" => match value {
                Value::Bool(_) => Some(value.clone()),
                Value::Object(_) => Some(self.convert(value, at, depth + 1)),
                _ => None,
            },
            "allOf" | "anyOf" | "oneOf" | "prefixItems" => self.list(value, at, depth),
            "patternProperties" | "dependentSchemas" => value.as_object().map(|map| {
                let mut converted = Map::new();
                for (name, schema) in map {
                    let mut at = at.to_owned();
                    push_segment(&mut at, name);
                    if key == "patternProperties"
                        && (name.len() > MAX_PROPERTY_BYTES || !self.document.pattern_compiles(name))
                    {
                        self.note(&at, "its pattern cannot be used");
                        continue;
                    }
                    converted.insert(name.clone(), self.convert(schema, &at, depth + 1));
                }
                Value::Object(converted)
            }),
            "minimum" | "maximum" => value.is_number().then(|| value.clone()),
            // Of 3.0, a boolean, which belongs to `minimum` and `maximum`.
            "exclusiveMinimum" | "exclusiveMaximum" if value.is_boolean() => return,
            "exclusiveMinimum" | "exclusiveMaximum" => value.is_number().then(|| value.clone()),
            "multipleOf" => value.as_f64().filter(|n| *n > 0.0).map(|_| value.clone()),
            "minLength" | "maxLength" | "minItems" | "maxItems" | "minProperties" | "maxProperties"
            | "minContains" | "maxContains" => value.as_u64().map(Value::from),
            "uniqueItems" | "deprecated" => value.is_boolean().then(|| value.clone()),
            "pattern" => value
                .as_str()
                .filter(|pattern| self.document.pattern_compiles(pattern))
                .map(Value::from),
            "format" | "contentEncoding" | "contentMediaType" => value.as_str().map(Value::from),
            "title" | "description" => match value.as_str().map(|text| text::plain(text, self.detail.text)) {
                Some(text) if text.is_empty() => return,
                text => text.map(Value::from),
            },
            "enum" => value
                .as_array()
                .filter(|list| !list.is_empty() && self.is_small(value))
                .map(|_| value.clone()),
            "const" | "default" => self.is_small(value).then(|| value.clone()),
            "dependentRequired" => value
                .as_object()
                .filter(|map| {
                    map.values()
                        .all(|list| list.as_array().is_some_and(|l| l.iter().all(Value::is_string)))
                })
                .map(|_| value.clone()),
            "example" if is_short(value) => {
                out.insert("examples".to_owned(), json!([value]));
                return;
            }
            "examples" => match value {
                Value::Array(list) => {
                    let short: Vec<&Value> = list.iter().filter(|each| is_short(each)).take(3).collect();
                    if !short.is_empty() {
                        out.insert(key.to_owned(), json!(short));
                    }
                    return;
                }
                _ => return,
            },
            // Handled elsewhere, or without a meaning for arguments.
            "$ref" | "$defs" | "definitions" | "$schema" | "$comment" | "nullable" | "discriminator"
            | "example" | "externalDocs" | "xml" | "readOnly" | "writeOnly" | "contentSchema" => return,
            // Extensions are notes of their authors.
            key if key.starts_with("x-") => return,
            _ => {
                self.note(at, "is not a keyword that can be kept");
                return;
            }
        };
        match taken {
            Some(value) => drop(out.insert(key.to_owned(), value)),
            None => self.note(at, "has a value that JSON Schema does not know for this keyword"),
        }
    }

    fn types(&mut self, value: &Value) -> Option<Value> {
        let known = |kind: &Value| kind.as_str().is_some_and(|kind| TYPES.contains(&kind));
        match value {
            Value::String(_) => known(value).then(|| value.clone()),
            Value::Array(kinds) => {
                let all_known = !kinds.is_empty() && kinds.iter().all(known);
                let mut unique: Vec<&Value> = Vec::new();
                for kind in kinds.iter().filter(|_| all_known) {
                    if !unique.contains(&kind) {
                        unique.push(kind);
                    }
                }
                all_known.then(|| json!(unique))
            }
            _ => None,
        }
    }

    fn list(&mut self, value: &Value, at: &str, depth: usize) -> Option<Value> {
        let list = value.as_array().filter(|list| !list.is_empty())?;
        let mut converted = Vec::with_capacity(list.len());
        for (index, schema) in list.iter().enumerate() {
            converted.push(self.convert(schema, &format!("{at}/{index}"), depth + 1));
        }
        Some(Value::Array(converted))
    }

    fn reference(
        &mut self,
        object: &Map<String, Value>,
        pointer: &str,
        depth: usize,
        out: &mut Map<String, Value>,
    ) {
        let target = object.get("$ref").and_then(Value::as_str).unwrap_or_default();
        match self.document.target(target) {
            Err(why) => self.note(pointer, format!("{why}; anything is taken there")),
            Ok(found) => {
                if let Some(key) = self.definition(&found.pointer, depth) {
                    out.insert("$ref".to_owned(), Value::from(format!("#/$defs/{key}")));
                }
            }
        }
    }

    /// The key in `$defs` of what stands at a pointer.
    fn definition(&mut self, pointer: &str, depth: usize) -> Option<String> {
        if let Some(key) = self.names.get(pointer) {
            return Some(key.clone());
        }
        if self.names.len() >= MAX_DEFS {
            self.was_cut = true;
            return None;
        }
        let last = pointer.rsplit('/').next().unwrap_or_default();
        let wanted = Some(text::identifier(last)).filter(|name| !name.is_empty());
        let key = self
            .distinct
            .name(&wanted.unwrap_or_else(|| "schema".to_owned()), 60);
        self.names.insert(pointer.to_owned(), key.clone());
        self.waiting
            .push_back((pointer.to_owned(), key.clone(), depth + 1));
        Some(key)
    }

    /// Which branch it is by the value of a property: what `discriminator` means, in the words of JSON Schema.
    fn discriminate(&mut self, object: &Map<String, Value>, pointer: &str, out: &mut Map<String, Value>) {
        let Some(discriminator) = object.get("discriminator") else {
            return;
        };
        let Some(property) = discriminator.get("propertyName").and_then(Value::as_str) else {
            return;
        };
        let mapping = discriminator.get("mapping").and_then(Value::as_object);
        for keyword in ["oneOf", "anyOf"] {
            let branches = object.get(keyword).and_then(Value::as_array);
            let targets = branches.and_then(|list| {
                list.iter()
                    .map(|branch| branch.get("$ref").and_then(Value::as_str))
                    .collect::<Option<Vec<_>>>()
            });
            let (Some(targets), Some(Value::Array(converted))) = (targets, out.get_mut(keyword)) else {
                continue;
            };
            for (target, branch) in targets.iter().zip(converted) {
                let own_name = target.rsplit('/').next().unwrap_or_default();
                let mapped = mapping
                    .into_iter()
                    .flatten()
                    .filter(|(_, to)| to.as_str().is_some_and(|to| to == *target || to == own_name));
                let mut values: Vec<&str> = mapped.map(|(value, _)| value.as_str()).collect();
                if values.is_empty() {
                    values.push(own_name);
                }
                let tag = json!({ "properties": { property: { "enum": values } }, "required": [property] });
                let branch_schema = branch.take();
                *branch = json!({ "allOf": [branch_schema, tag] });
            }
            return;
        }
        if mapping.is_some() {
            self.note(
                pointer,
                "its discriminator stands beside no list of references, and is left out",
            );
        }
    }

    /// What is left of a schema for which there is no room.
    fn stub(&self, schema: &Value, pointer: &str) -> Value {
        let Ok(found) = self.document.follow(schema, pointer) else {
            return json!({});
        };
        let mut out = Map::new();
        if let Some(kind) = found
            .value
            .get("type")
            .filter(|kind| kind.as_str().is_some_and(|k| TYPES.contains(&k)))
        {
            out.insert("type".to_owned(), kind.clone());
        }
        let nullable_here = found.value.get("nullable") == Some(&Value::Bool(true));
        if nullable_here && !self.document.is_3_1 {
            nullable(out)
        } else {
            Value::Object(out)
        }
    }

    /// Can a value stand in a schema as it is?
    fn is_small(&self, value: &Value) -> bool {
        let mut parts = MAX_VALUE_PARTS;
        is_small(value, MAX_VALUE_DEPTH, &mut parts) && self.document.spend(MAX_VALUE_PARTS - parts)
    }

    fn note(&mut self, pointer: &str, reason: impl Into<String>) {
        let note = match self.notes.len() {
            0..MAX_NOTES => Skipped::new(pointer, reason),
            MAX_NOTES => Skipped::new(
                pointer,
                "here and further on, more of its schemas is not converted",
            ),
            _ => return,
        };
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}

/// What a value of this schema is.
pub(super) fn kind(document: &Document, schema: &Value, pointer: &str, depth: usize) -> Kind {
    const MAX_DEPTH: usize = 6;
    let Ok(found) = document.follow(schema, pointer) else {
        return Kind::Unknown;
    };
    let of_type = |kind: &str| match kind {
        "array" => Kind::Array,
        "object" => Kind::Object,
        _ => Kind::Scalar,
    };
    match found.value.get("type") {
        Some(Value::String(kind)) if TYPES.contains(&kind.as_str()) => return of_type(kind),
        Some(Value::Array(kinds)) => {
            let mut kinds = kinds
                .iter()
                .filter_map(Value::as_str)
                .filter(|kind| *kind != "null")
                .map(of_type);
            let first = kinds.next().unwrap_or(Kind::Unknown);
            return if kinds.all(|kind| kind == first) {
                first
            } else {
                Kind::Unknown
            };
        }
        _ => {}
    }
    if found.value.get("properties").is_some() {
        return Kind::Object;
    }
    if found
        .value
        .get("enum")
        .and_then(Value::as_array)
        .is_some_and(|list| list.iter().all(is_scalar))
    {
        return Kind::Scalar;
    }
    let branches = ["allOf", "anyOf", "oneOf"]
        .iter()
        .find_map(|keyword| found.value.get(*keyword)?.as_array());
    let mut kinds = branches.into_iter().flatten().map(|branch| {
        if depth < MAX_DEPTH {
            kind(document, branch, &found.pointer, depth + 1)
        } else {
            Kind::Unknown
        }
    });
    let first = kinds.next().unwrap_or(Kind::Unknown);
    if kinds.all(|kind| kind == first) {
        first
    } else {
        Kind::Unknown
    }
}

/// The type of a scalar in TypeScript.
pub(super) fn scalar_type(document: &Document, schema: &Value, pointer: &str) -> &'static str {
    let found = document.follow(schema, pointer);
    match found.ok().and_then(|found| found.value.get("type")?.as_str()) {
        Some("string") => "string",
        Some("number" | "integer") => "number",
        Some("boolean") => "boolean",
        _ => "string | number | boolean",
    }
}

fn is_scalar(value: &Value) -> bool {
    !value.is_array() && !value.is_object()
}

fn is_short(value: &Value) -> bool {
    match value {
        Value::String(text) => text.len() <= 100,
        Value::Null => false,
        value => is_scalar(value),
    }
}

/// Properties that only answers have.
fn read_only<'v>(object: &'v Map<String, Value>, document: &Document) -> HashSet<&'v str> {
    let properties = object
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten();
    properties
        .filter(|(_, property)| {
            let found = document.follow(property, "");
            found.is_ok_and(|found| found.value.get("readOnly") == Some(&Value::Bool(true)))
        })
        .map(|(name, _)| name.as_str())
        .collect()
}

/// `exclusiveMinimum: true` of 3.0 makes `minimum` exclusive.
fn bounds_of_3_0(out: &mut Map<String, Value>, object: &Map<String, Value>) {
    for (bound, exclusive) in [("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")] {
        if object.get(exclusive) == Some(&Value::Bool(true))
            && let Some(value) = out.remove(bound)
        {
            out.insert(exclusive.to_owned(), value);
        }
    }
}

fn nullable(mut out: Map<String, Value>) -> Value {
    let nothing = Value::from("null");
    let applies = ["$ref", "allOf", "anyOf", "oneOf"]
        .iter()
        .any(|key| out.contains_key(*key));
    match out.get_mut("type") {
        Some(Value::Array(kinds)) if !kinds.contains(&nothing) => kinds.push(nothing),
        Some(Value::Array(_)) => {}
        Some(kind) if *kind == nothing => {}
        Some(kind) => *kind = json!([kind.take(), nothing]),
        None if applies => return json!({ "anyOf": [Value::Object(out), { "type": "null" }] }),
        None => {}
    }
    if let Some(Value::Array(values)) = out.get_mut("enum")
        && !values.contains(&Value::Null)
    {
        values.push(Value::Null);
    }
    Value::Object(out)
}

/// Is it neither deeper than this nor of more parts?
fn is_small(value: &Value, levels: usize, parts: &mut usize) -> bool {
    const PART_BYTES: usize = 64;
    let cost = value.as_str().map_or(1, |text| 1 + text.len() / PART_BYTES);
    match parts.checked_sub(cost) {
        Some(left) => *parts = left,
        None => return false,
    }
    match value {
        Value::Array(items) => levels > 0 && items.iter().all(|item| is_small(item, levels - 1, parts)),
        Value::Object(map) => levels > 0 && map.values().all(|item| is_small(item, levels - 1, parts)),
        _ => true,
    }
}

impl Skipped {
    pub(super) fn new(pointer: &str, reason: impl Into<String>) -> Self {
        let reason: String = reason.into();
        Self {
            pointer: crate::diagnostic::escape(&brief_pointer(pointer)),
            reason: crate::diagnostic::escape(&reason.chars().take(400).collect::<String>()),
        }
    }
}

fn brief_pointer(pointer: &str) -> String {
    const MAX_BYTES: usize = 1000;
    if pointer.len() <= MAX_BYTES {
        pointer.to_owned()
    } else {
        brief(pointer)
    }
}
