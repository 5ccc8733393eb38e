//! The published JSON Schema of the format, and the structure check that is that very schema.

use crate::{diagnostic::Diagnostic, json::push_segment, model::Spec, rule::Rule};
use jsonschema::{
    JsonType, Validator,
    error::{TypeKind, ValidationErrorKind},
};
use schemars::{generate::SchemaSettings, transform::RecursiveTransform};
use serde_json::{Value, json};
use std::sync::LazyLock;

static SCHEMA: LazyLock<Value> = LazyLock::new(generate);

static VALIDATOR: LazyLock<Validator> = LazyLock::new(|| {
    jsonschema::draft202012::new(&SCHEMA).expect("the generated schema is a schema; a test builds it")
});

/// The JSON Schema (2020-12) of the format, generated from the types of this crate.
pub fn json_schema() -> Value {
    SCHEMA.clone()
}

/// Unknown and missing fields, wrong types, lengths, patterns: everything the published schema says.
pub(crate) fn structure(spec: &Value) -> Vec<Diagnostic> {
    VALIDATOR
        .iter_errors(spec)
        .take(crate::diagnostic::MAX_DIAGNOSTICS)
        .flat_map(|error| diagnose(&error))
        .collect()
}

fn generate() -> Value {
    let settings = SchemaSettings::draft2020_12().with_transform(RecursiveTransform(tidy));
    let mut schema = settings
        .into_generator()
        .into_root_schema_for::<Spec>()
        .to_value();
    if let Some(object) = schema.as_object_mut() {
        object.insert("title".into(), json!("bmm spec, format version 1"));
    }
    schema
}

/// An optional field is left out, never null: one way to say a thing. Choices become a plain `enum`, which errors can name.
fn tidy(schema: &mut schemars::Schema) {
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    let choices = object.get("oneOf").and_then(Value::as_array);
    let choices: Option<Vec<Value>> =
        choices.and_then(|list| list.iter().map(|choice| choice.get("const").cloned()).collect());
    if let Some(choices) = choices {
        object.remove("oneOf");
        object.insert("type".into(), json!("string"));
        object.insert("enum".into(), Value::Array(choices));
    }
    if let Some(Value::Array(kinds)) = object.get_mut("type") {
        kinds.retain(|kind| kind != "null");
        if let [only] = kinds.as_slice() {
            let only = only.clone();
            object.insert("type".into(), only);
        }
    }
    if let Some(Value::Array(branches)) = object.get_mut("anyOf") {
        branches.retain(|branch| branch.get("type").and_then(Value::as_str) != Some("null"));
        if let [Value::Object(only)] = branches.as_slice() {
            let only = only.clone();
            object.remove("anyOf");
            for (key, value) in only {
                object.entry(key).or_insert(value);
            }
        }
    }
    if object.get("default").is_some_and(Value::is_null) {
        object.remove("default");
    }
}

fn diagnose(error: &jsonschema::ValidationError<'_>) -> Vec<Diagnostic> {
    let pointer = error.instance_path().as_str().to_owned();
    let simple = |rule, message: String| vec![Diagnostic::new(rule, pointer.clone(), message)];
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => unexpected
            .iter()
            .take(crate::diagnostic::MAX_DIAGNOSTICS)
            .map(|key| {
                let mut at = pointer.clone();
                push_segment(&mut at, key);
                Diagnostic::new(Rule::UnknownField, at, format!("unknown field `{key}`"))
            })
            .collect(),
        ValidationErrorKind::Required { property } => simple(
            Rule::MissingField,
            format!("the field `{}` is missing", property.as_str().unwrap_or_default()),
        ),
        ValidationErrorKind::Type { kind } => {
            let wanted = match kind {
                TypeKind::Single(kind) => article(*kind),
                TypeKind::Multiple(_) => "another type",
            };
            simple(
                Rule::WrongType,
                format!("expected {wanted}, found {}", article_of(error.instance())),
            )
        }
        ValidationErrorKind::Constant { .. } if pointer == "/bmm" => simple(
            Rule::Version,
            format!("format version {} is unknown", brief(error.instance())),
        ),
        ValidationErrorKind::Enum { options } => simple(
            Rule::BadValue,
            format!("{} is not one of {}", brief(error.instance()), brief(options)),
        ),
        ValidationErrorKind::Pattern { pattern } => simple(
            Rule::BadValue,
            format!("{} does not match `{pattern}`", brief(error.instance())),
        ),
        ValidationErrorKind::MaxItems { limit } => {
            simple(Rule::TooLarge, format!("more than {limit} entries"))
        }
        ValidationErrorKind::MaxProperties { limit } => {
            simple(Rule::TooLarge, format!("more than {limit} entries"))
        }
        ValidationErrorKind::MaxLength { limit } => {
            simple(Rule::TooLarge, format!("more than {limit} characters"))
        }
        ValidationErrorKind::MinItems { limit } => {
            simple(Rule::BadValue, format!("fewer than {limit} entries"))
        }
        ValidationErrorKind::MinLength { .. } => simple(Rule::BadValue, "the text is empty".into()),
        ValidationErrorKind::Maximum { limit } => {
            simple(Rule::BadValue, format!("more than the most, {limit}"))
        }
        ValidationErrorKind::Minimum { limit } => {
            simple(Rule::BadValue, format!("less than the least, {limit}"))
        }
        other => simple(Rule::BadValue, format!("does not satisfy `{}`", other.keyword())),
    }
}

/// A value in a message: short, whatever the file holds.
fn brief(value: &Value) -> String {
    const MAX_CHARS: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

fn article(kind: JsonType) -> &'static str {
    match kind {
        JsonType::Array => "an array",
        JsonType::Boolean => "true or false",
        JsonType::Integer => "a whole number",
        JsonType::Null => "null",
        JsonType::Number => "a number",
        JsonType::Object => "an object",
        JsonType::String => "a string",
    }
}

fn article_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
