//! The JSON Schemas of a tool's arguments and results, checked as schemas: 2020-12, local references, bounded work.

use crate::{
    diagnostic::Diagnostic,
    json::push_segment,
    rule::Rule,
    schema_work::{self, Budget},
};
use jsonschema::{PatternOptions, Validator};
use serde_json::Value;
use std::collections::BTreeMap;

const MAX_MESSAGES: usize = 16;
/// For patterns of untrusted authors.
const PATTERN_STEPS: usize = 10_000;
const PATTERN_BYTES: usize = 1024 * 1024;

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";
/// Most schemas that one value can be held against at one place, references followed.
const MAX_COMPOSITION: usize = 1000;
/// Keywords whose schemas apply to the value itself.
const SAME_VALUE: [&str; 8] = [
    "allOf",
    "anyOf",
    "oneOf",
    "dependentSchemas",
    "not",
    "if",
    "then",
    "else",
];

/// A schema that passed, ready to check examples.
pub(crate) struct Checked<'s> {
    schema: &'s Value,
    validator: Validator,
}

/// Checks a schema that is an object; other values are the structure check's business.
pub(crate) fn check<'s>(
    schema: Option<&'s Value>,
    pointer: &str,
    budget: &mut Budget,
    problems: &mut Vec<Diagnostic>,
) -> Option<Checked<'s>> {
    let schema = schema.filter(|s| s.is_object())?;
    let before = problems.len();
    root(schema, pointer, problems);
    references(schema, &mut pointer.to_owned(), problems);
    patterns(schema, pointer, budget, problems);
    if problems.len() > before {
        return None;
    }
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
    if let Err(message) = Composition::check(schema) {
        problems.push(Diagnostic::new(Rule::BadSchema, pointer, message));
        return None;
    }
    match build(schema) {
        Ok(validator) => Some(Checked { schema, validator }),
        Err(error) => {
            let at = format!("{pointer}{}", error.instance_path().as_str());
            problems.push(Diagnostic::new(Rule::BadSchema, at, error.to_string()));
            None
        }
    }
}

/// Can schemas have this `pattern`?
pub(crate) fn pattern_compiles(pattern: &str) -> bool {
    build(&serde_json::json!({ "pattern": pattern })).is_ok()
}

/// Compiling takes time: not all expressions of all tools together may be large.
fn patterns(schema: &Value, pointer: &str, budget: &mut Budget, problems: &mut Vec<Diagnostic>) {
    let mut found = Vec::new();
    schema_work::patterns(schema, &mut pointer.to_owned(), &mut found);
    let large = found
        .into_iter()
        .find(|(_, pattern)| !budget.take_pattern(pattern));
    if let Some((at, _)) = large {
        let message =
            "the regular expressions of all schemas together are too large, repetitions written out";
        problems.push(Diagnostic::new(Rule::BadSchema, at, message));
    }
}

fn build(schema: &Value) -> Result<Validator, jsonschema::ValidationError<'_>> {
    let patterns = PatternOptions::fancy_regex()
        .backtrack_limit(PATTERN_STEPS)
        .size_limit(PATTERN_BYTES);
    jsonschema::draft202012::options()
        .with_pattern_options(patterns)
        .build(schema)
}

impl Checked<'_> {
    /// Notes where a value does not fit.
    pub(crate) fn fits(
        &self,
        value: &Value,
        pointer: &str,
        schema: &str,
        budget: &mut Budget,
        problems: &mut Vec<Diagnostic>,
    ) {
        if !budget.take_steps(self.schema, value) {
            let message =
                format!("holding this against {schema} takes too many steps; make the example smaller");
            problems.push(Diagnostic::new(Rule::ExampleMismatch, pointer, message));
            return;
        }
        for error in self.validator.iter_errors(value).take(MAX_MESSAGES) {
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
    for (key, value) in schema.as_object().into_iter().flatten() {
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
                "$id" | "$anchor" | "$dynamicRef" | "$dynamicAnchor" | "$recursiveRef" | "$recursiveAnchor",
                Value::String(_) | Value::Bool(_),
            ) => {
                let message = format!("`{key}` is not supported; refer with `$ref` to `#/$defs/…`");
                problems.push(Diagnostic::new(Rule::BadSchema, pointer.clone(), message));
            }
            _ => {
                for (segment, child) in schema_work::parts(key, value) {
                    let at = pointer.len();
                    segment
                        .into_iter()
                        .for_each(|segment| push_segment(pointer, &segment));
                    references(child, pointer, problems);
                    pointer.truncate(at);
                }
            }
        }
        pointer.truncate(above);
    }
}

/// Work at one place: references and composition keywords are followed, since each applies to the very same value.
struct Composition<'s> {
    root: &'s Value,
    /// Cost of the schema at a pointer; `None` while it is being found, so that a circle shows.
    known: BTreeMap<String, Option<usize>>,
    /// Schemas of parts of the value: a circle through them ends with the value.
    waiting: Vec<String>,
}

impl<'s> Composition<'s> {
    /// Checks every schema of a document.
    fn check(root: &'s Value) -> Result<(), String> {
        let mut composition = Self {
            root,
            known: BTreeMap::new(),
            waiting: vec![String::new()],
        };
        while let Some(pointer) = composition.waiting.pop() {
            composition.cost(&pointer, 0)?;
        }
        Ok(())
    }

    /// How many schemas the one at a pointer applies to its value.
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
        let mut cost = 1usize;
        for (key, value) in schema.as_object().into_iter().flatten() {
            if let ("$ref", Value::String(target)) = (key.as_str(), value) {
                cost = cost.saturating_add(self.cost(target.trim_start_matches('#'), depth + 1)?);
                continue;
            }
            for (segment, _) in schema_work::parts(key, value) {
                let mut at = pointer.to_owned();
                push_segment(&mut at, key);
                segment
                    .into_iter()
                    .for_each(|segment| push_segment(&mut at, &segment));
                if SAME_VALUE.contains(&key.as_str()) {
                    cost = cost.saturating_add(self.cost(&at, depth + 1)?);
                } else {
                    self.waiting.push(at);
                }
            }
        }
        if cost > MAX_COMPOSITION {
            return Err(format!(
                "more than {MAX_COMPOSITION} schemas apply to one value at `#{pointer}`"
            ));
        }
        self.known.insert(pointer.to_owned(), Some(cost));
        Ok(cost)
    }
}
