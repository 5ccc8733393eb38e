//! The JSON Schemas of a tool's arguments and results, checked as schemas: 2020-12, local references, bounded work.

use crate::{diagnostic::Diagnostic, json::push_segment, rule::Rule};
use jsonschema::{PatternOptions, Validator};
use serde_json::Value;
use std::collections::BTreeMap;

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";
/// Most schemas that one value can be held against at one place, references followed.
const MAX_COMPOSITION: usize = 1000;
/// Keywords that hold a map of schemas.
const MAPS: [&str; 5] = [
    "/properties",
    "/patternProperties",
    "/$defs",
    "/definitions",
    "/dependentSchemas",
];
const MAX_MESSAGES: usize = 16;
/// For patterns of untrusted authors.
const PATTERN_STEPS: usize = 100_000;
const PATTERN_BYTES: usize = 1024 * 1024;

/// A schema that passed, ready to check examples.
pub(crate) struct Checked(Validator);

/// Checks a schema that is an object; other values are the structure check's business.
pub(crate) fn check(
    schema: Option<&Value>,
    pointer: &str,
    problems: &mut Vec<Diagnostic>,
) -> Option<Checked> {
    let schema = schema.filter(|s| s.is_object())?;
    let before = problems.len();
    root(schema, pointer, problems);
    references(schema, &mut pointer.to_owned(), problems);
    for error in jsonschema::draft202012::meta::validator()
        .iter_errors(schema)
        .take(MAX_MESSAGES)
    {
        let at = format!("{pointer}{}", error.instance_path().as_str());
        let message = if at.ends_with("/type") {
            format!("{} is no type of JSON Schema", error.instance())
        } else {
            error.to_string()
        };
        problems.push(Diagnostic::new(Rule::BadSchema, at, message));
    }
    if problems.len() > before {
        return None;
    }
    if let Err(message) = (Composition {
        root: schema,
        known: BTreeMap::new(),
    })
    .cost("", 0)
    {
        problems.push(Diagnostic::new(Rule::BadSchema, pointer, message));
        return None;
    }
    let patterns = PatternOptions::fancy_regex()
        .backtrack_limit(PATTERN_STEPS)
        .size_limit(PATTERN_BYTES);
    match jsonschema::draft202012::options()
        .with_pattern_options(patterns)
        .build(schema)
    {
        Ok(validator) => Some(Checked(validator)),
        Err(error) => {
            let at = format!("{pointer}{}", error.instance_path().as_str());
            problems.push(Diagnostic::new(Rule::BadSchema, at, error.to_string()));
            None
        }
    }
}

impl Checked {
    /// Notes where a value does not fit.
    pub(crate) fn fits(&self, value: &Value, pointer: &str, schema: &str, problems: &mut Vec<Diagnostic>) {
        for error in self.0.iter_errors(value).take(MAX_MESSAGES) {
            let at = format!("{pointer}{}", error.instance_path().as_str());
            let message = format!("does not fit {schema}: {error}");
            problems.push(Diagnostic::new(Rule::ExampleMismatch, at, message));
        }
    }
}

fn root(schema: &Value, pointer: &str, problems: &mut Vec<Diagnostic>) {
    if schema.get("type").and_then(Value::as_str) != Some("object") {
        problems.push(Diagnostic::new(
            Rule::BadSchema,
            pointer,
            "the schema must say `\"type\": \"object\"` at its root",
        ));
    }
    let dialect = schema.get("$schema").and_then(Value::as_str);
    if dialect.is_some_and(|dialect| dialect.trim_end_matches('#') != DIALECT) {
        let message = format!("the dialect must be {DIALECT}");
        problems.push(Diagnostic::new(
            Rule::BadSchema,
            format!("{pointer}/$schema"),
            message,
        ));
    }
}

/// Only `#` and `#/…` may be referred to: a schema must mean the same everywhere, without a network.
fn references(schema: &Value, pointer: &mut String, problems: &mut Vec<Diagnostic>) {
    let above = pointer.len();
    match schema {
        Value::Object(object) => {
            for (key, value) in object {
                push_segment(pointer, key);
                let local = |text: &str| (text == "#" || text.starts_with("#/")) && !text.contains('%');
                match (key.as_str(), value) {
                    ("$ref", Value::String(target)) if !local(target) => {
                        let message = format!(
                            "`$ref` to `{target}`: only references inside this schema (`#/$defs/…`) are followed"
                        );
                        problems.push(Diagnostic::new(Rule::BadSchema, pointer.clone(), message));
                    }
                    (
                        "$id" | "$anchor" | "$dynamicRef" | "$dynamicAnchor" | "$recursiveRef",
                        Value::String(_),
                    ) => {
                        let message = format!("`{key}` is not supported; refer with `$ref` to `#/$defs/…`");
                        problems.push(Diagnostic::new(Rule::BadSchema, pointer.clone(), message));
                    }
                    // Data, not schemas.
                    ("enum" | "const" | "default" | "examples", _) => {}
                    _ => references(value, pointer, problems),
                }
                pointer.truncate(above);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                push_segment(pointer, &index.to_string());
                references(item, pointer, problems);
                pointer.truncate(above);
            }
        }
        _ => {}
    }
}

/// Work at one place: references and composition keywords are followed, since each applies to the very same value.
struct Composition<'s> {
    root: &'s Value,
    /// Cost of the schema at a pointer; `None` while it is being found, so that a circle shows.
    known: BTreeMap<String, Option<usize>>,
}

impl Composition<'_> {
    /// Checks every schema below a pointer; the answer is the cost of this one.
    fn cost(&mut self, pointer: &str, depth: usize) -> Result<usize, String> {
        match self.known.get(pointer) {
            Some(Some(cost)) => return Ok(*cost),
            Some(None) => {
                return Err(format!(
                    "the schema at `#{pointer}` applies itself to the same value again and again"
                ));
            }
            None => {}
        }
        if depth > 4 * crate::json::MAX_DEPTH {
            return Err("references are chained too long".to_owned());
        }
        let Some(schema) = self.root.pointer(pointer) else {
            return Err(format!("`$ref` to `#{pointer}` points to nothing"));
        };
        self.known.insert(pointer.to_owned(), None);
        let (mut cost, mut below) = (1usize, Vec::new());
        for (key, value) in schema.as_object().into_iter().flatten() {
            let mut at = pointer.to_owned();
            push_segment(&mut at, key);
            match key.as_str() {
                "$ref" => {
                    let target = value.as_str().unwrap_or_default().trim_start_matches('#');
                    cost = cost.saturating_add(self.cost(target, depth + 1)?);
                }
                "allOf" | "anyOf" | "oneOf" | "dependentSchemas" | "not" | "if" | "then" | "else" => {
                    for child in children(value, &at) {
                        cost = cost.saturating_add(self.cost(&child, depth + 1)?);
                    }
                }
                "enum" | "const" | "default" | "examples" => {}
                _ => below.extend(children(value, &at)),
            }
        }
        if cost > MAX_COMPOSITION {
            return Err(format!(
                "more than {MAX_COMPOSITION} schemas apply to one value at `#{pointer}`"
            ));
        }
        self.known.insert(pointer.to_owned(), Some(cost));
        // Schemas of parts of the value: a circle through them ends with the value.
        for child in below {
            if !self.known.contains_key(&child) {
                self.cost(&child, depth + 1)?;
            }
        }
        Ok(cost)
    }
}

/// Pointers of a keyword's value and, for lists and maps of schemas, of its entries.
fn children(value: &Value, at: &str) -> Vec<String> {
    let entry = |segment: &str| {
        let mut pointer = at.to_owned();
        push_segment(&mut pointer, segment);
        pointer
    };
    match value {
        Value::Array(items) => (0..items.len()).map(|index| entry(&index.to_string())).collect(),
        Value::Object(map) if MAPS.iter().any(|keyword| at.ends_with(keyword)) => {
            map.keys().map(|key| entry(key)).collect()
        }
        Value::Object(_) => vec![at.to_owned()],
        _ => Vec::new(),
    }
}
