//! Parameters and request body of an operation as the arguments of a tool, and how each is written into a request.

use super::{
    Skipped,
    document::{Distinct, Document, Found, brief},
    schema::{Converter, Kind, kind, scalar_type},
    security::is_token,
    text,
};
use crate::scan::refused_property;
use serde_json::{Map, Value, json};

/// Most arguments of one tool.
const MAX_ARGUMENTS: usize = 100;
/// Longest name of a parameter in a request.
const MAX_WIRE_BYTES: usize = 256;
/// Headers that the connection, the credentials or the body decide.
const TAKEN_HEADERS: [&str; 14] = [
    "accept",
    "content-type",
    "authorization",
    "cookie",
    "host",
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "content-length",
    "accept-encoding",
    "expect",
];

/// One argument of a tool.
#[derive(Clone, Debug)]
pub(super) struct Argument<'d> {
    /// Its name in the input.
    pub(super) property: String,
    /// Its name in the request.
    pub(super) wire: String,
    pub(super) way: Way,
    pub(super) kind: Kind,
    /// Its type in TypeScript, if it is a scalar.
    pub(super) scalar_type: &'static str,
    pub(super) required: bool,
    description: &'d str,
    schema: Found<'d>,
}

/// How an argument is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Path,
    /// `name=a&name=b`
    Repeated,
    /// `name=a,b` with this between the parts.
    Joined(&'static str),
    /// `name[key]=value`
    Deep,
    /// As JSON in one parameter.
    JsonParameter,
    Header,
}

/// The body of a request.
#[derive(Clone, Debug)]
pub(super) struct Body<'d> {
    pub(super) property: String,
    pub(super) media_type: String,
    pub(super) way: BodyWay,
    pub(super) required: bool,
    description: &'d str,
    schema: Option<Found<'d>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum BodyWay {
    Json,
    /// `application/x-www-form-urlencoded`, with the names of what is written as `name[key]=value`.
    Form {
        deep: Vec<String>,
    },
    Text,
}

/// All arguments of an operation.
#[derive(Clone, Debug)]
pub(super) struct Arguments<'d> {
    pub(super) list: Vec<Argument<'d>>,
    pub(super) body: Option<Body<'d>>,
}

impl<'d> Arguments<'d> {
    /// Reads them; an error is why the operation cannot become a tool.
    pub(super) fn read(
        document: &'d Document,
        path: &str,
        levels: [(&'d Value, &str); 2],
        takes_body: bool,
        notes: &mut Vec<Skipped>,
    ) -> Result<Self, String> {
        let [operation, item] = levels;
        let mut names = Distinct::default();
        let mut list: Vec<Argument<'d>> = Vec::new();
        for found in parameters(document, [operation, item])? {
            if let Some(argument) = argument(document, &found, path, &mut names, notes)? {
                list.push(argument);
            }
        }
        for name in path_names(path) {
            if !list
                .iter()
                .any(|argument| argument.way == Way::Path && argument.wire == name)
            {
                return Err(format!("its path names `{}`, which is no parameter", brief(name)));
            }
        }
        let body = match operation.0.get("requestBody") {
            Some(_) if !takes_body => {
                notes.push(Skipped::new(
                    &format!("{}/requestBody", operation.1),
                    "a GET request has no body",
                ));
                None
            }
            Some(body) => request_body(document, body, operation.1, &mut names, notes)?,
            None => None,
        };
        if list.len() > MAX_ARGUMENTS {
            return Err(format!(
                "it has {} parameters, the most is {MAX_ARGUMENTS}",
                list.len()
            ));
        }
        Ok(Self { list, body })
    }

    /// The schema of the input.
    pub(super) fn input_schema(
        &self,
        mut converter: Converter<'d>,
        text_chars: usize,
    ) -> (Value, Vec<Skipped>, bool) {
        let (mut properties, mut required) = (Map::new(), Vec::new());
        let mut add = |property: &str, mut schema: Value, description: &str, is_required: bool| {
            let description = text::plain(description, text_chars);
            if let (Value::Object(schema), false) = (&mut schema, description.is_empty()) {
                schema.insert("description".to_owned(), Value::from(description));
            }
            properties.insert(property.to_owned(), schema);
            if is_required {
                required.push(Value::from(property));
            }
        };
        for argument in &self.list {
            let schema = converter.schema(argument.schema.value, &argument.schema.pointer);
            add(
                &argument.property,
                schema,
                argument.description,
                argument.required,
            );
        }
        if let Some(body) = &self.body {
            let schema = body.schema.as_ref();
            let schema = schema.map_or_else(
                || json!({}),
                |found| converter.schema(found.value, &found.pointer),
            );
            add(&body.property, schema, body.description, body.required);
        }
        let (defs, notes, was_cut) = converter.into_defs();
        let mut schema = Map::new();
        schema.insert("type".to_owned(), json!("object"));
        schema.insert("properties".to_owned(), Value::Object(properties));
        if !required.is_empty() {
            schema.insert("required".to_owned(), Value::Array(required));
        }
        schema.insert("additionalProperties".to_owned(), Value::Bool(false));
        if !defs.is_empty() {
            schema.insert("$defs".to_owned(), Value::Object(defs));
        }
        (Value::Object(schema), notes, was_cut)
    }
}

/// The names between braces in a path.
pub(super) fn path_names(path: &str) -> Vec<&str> {
    path.split('{')
        .skip(1)
        .filter_map(|part| part.split_once('}'))
        .map(|(name, _)| name)
        .collect()
}

/// Of the operation, then those of its path that it does not have itself.
fn parameters<'d>(document: &'d Document, levels: [(&'d Value, &str); 2]) -> Result<Vec<Found<'d>>, String> {
    let mut all: Vec<Found<'d>> = Vec::new();
    for (value, pointer) in levels {
        let list = value.get("parameters").and_then(Value::as_array);
        for (index, parameter) in list.into_iter().flatten().take(2 * MAX_ARGUMENTS).enumerate() {
            let at = format!("{pointer}/parameters/{index}");
            let found = document
                .follow(parameter, &at)
                .map_err(|why| format!("one of its parameters {why}"))?;
            let identity = |found: &Found<'d>| (found.value.get("name"), found.value.get("in"));
            if !all.iter().any(|other| identity(other) == identity(&found)) {
                all.push(found);
            }
        }
    }
    Ok(all)
}

fn argument<'d>(
    document: &'d Document,
    found: &Found<'d>,
    path: &str,
    names: &mut Distinct,
    notes: &mut Vec<Skipped>,
) -> Result<Option<Argument<'d>>, String> {
    let field = |key: &str| found.value.get(key).and_then(Value::as_str).unwrap_or_default();
    let flag = |key: &str| found.value.get(key).and_then(Value::as_bool);
    let (wire, place) = (field("name"), field("in"));
    let shown = brief(wire);
    if wire.is_empty() {
        return Err("one of its parameters has no name".to_owned());
    }
    let content = found
        .value
        .get("content")
        .and_then(Value::as_object)
        .and_then(|map| map.iter().next());
    let (schema, is_json) = match content {
        Some((media_type, media)) => {
            if !is_json(media_type) {
                return Err(format!(
                    "its parameter `{shown}` is written as `{}`",
                    brief(media_type)
                ));
            }
            (media.get("schema"), true)
        }
        None => (found.value.get("schema"), false),
    };
    static ANY: Value = Value::Bool(true);
    let schema = Found {
        value: schema.unwrap_or(&ANY),
        pointer: format!("{}/schema", found.pointer),
    };
    let kind = kind(document, schema.value, &schema.pointer, 0);
    let style = field("style");
    let required = place == "path" || flag("required") == Some(true);
    let optional_note = |reason: String, notes: &mut Vec<Skipped>| {
        if required {
            return Err(format!("its parameter `{shown}` {reason}"));
        }
        notes.push(Skipped::new(&found.pointer, reason));
        Ok(None)
    };
    if wire.len() > MAX_WIRE_BYTES {
        return optional_note("has too long a name".to_owned(), notes);
    }
    let way = match (place, style) {
        ("path", _) if !path_names(path).contains(&wire) => {
            notes.push(Skipped::new(&found.pointer, "is not named in the path"));
            return Ok(None);
        }
        ("path", "" | "simple") if kind != Kind::Object && !is_json => Way::Path,
        ("query", _) if is_json => Way::JsonParameter,
        ("query", "" | "form") if flag("explode") != Some(false) => Way::Repeated,
        ("query", "" | "form") => Way::Joined(","),
        ("query", "spaceDelimited") => Way::Joined(" "),
        ("query", "pipeDelimited") => Way::Joined("|"),
        ("query", "deepObject") => Way::Deep,
        ("header", _) if TAKEN_HEADERS.contains(&wire.to_ascii_lowercase().as_str()) => {
            notes.push(Skipped::new(
                &found.pointer,
                "this header is not for a caller to set",
            ));
            return Ok(None);
        }
        ("header", "" | "simple") if is_token(wire) && kind != Kind::Object && !is_json => Way::Header,
        ("cookie", _) => return optional_note("is a cookie".to_owned(), notes),
        _ => {
            return optional_note(
                format!("is written in a way that is not supported (`{}`)", brief(style)),
                notes,
            );
        }
    };
    Ok(Some(Argument {
        property: property_name(wire, names),
        wire: wire.to_owned(),
        way,
        kind,
        scalar_type: scalar_type(document, schema.value, &schema.pointer),
        required,
        description: field("description"),
        schema,
    }))
}

/// A name that models and every client can write; one that code may reach as well.
fn property_name(wire: &str, names: &mut Distinct) -> String {
    let name = text::identifier(wire);
    let name = if name.is_empty() || refused_property(&name) {
        format!("arg_{name}")
    } else {
        name
    };
    names.name(&name, 64)
}

fn request_body<'d>(
    document: &'d Document,
    body: &'d Value,
    pointer: &str,
    names: &mut Distinct,
    notes: &mut Vec<Skipped>,
) -> Result<Option<Body<'d>>, String> {
    let found = document
        .follow(body, &format!("{pointer}/requestBody"))
        .map_err(|why| format!("its body {why}"))?;
    let required = found.value.get("required").and_then(Value::as_bool) == Some(true);
    let content = found.value.get("content").and_then(Value::as_object);
    let types: Vec<&String> = content
        .into_iter()
        .flatten()
        .map(|(media_type, _)| media_type)
        .take(MAX_ARGUMENTS)
        .collect();
    let form = |t: &&&String| essence(t) == "application/x-www-form-urlencoded";
    let chosen = types
        .iter()
        .find(|t| essence(t) == "application/json")
        .or_else(|| types.iter().find(|t| is_json(t)))
        .or_else(|| types.iter().find(form))
        .or_else(|| types.iter().find(|t| essence(t) == "*/*"))
        .or_else(|| types.iter().find(|t| essence(t).starts_with("text/")));
    let Some(media_type) = chosen.filter(|t| is_header_value(t)) else {
        let known: Vec<String> = types.iter().map(|t| brief(t)).collect();
        let reason = format!(
            "its body is `{}`, which a tool cannot write",
            brief(&known.join("`, `"))
        );
        if required {
            return Err(reason);
        }
        notes.push(Skipped::new(&found.pointer, reason));
        return Ok(None);
    };
    let media = content.and_then(|content| content.get(media_type.as_str()));
    let mut at = format!("{}/content", found.pointer);
    crate::json::push_segment(&mut at, media_type);
    let way = match essence(media_type).as_str() {
        "application/x-www-form-urlencoded" => BodyWay::Form {
            deep: deep_names(media),
        },
        text if text.starts_with("text/") => BodyWay::Text,
        _ => BodyWay::Json,
    };
    let media_type = if essence(media_type) == "*/*" {
        "application/json"
    } else {
        media_type.as_str()
    };
    let schema = media.and_then(|media| media.get("schema"));
    let description = found
        .value
        .get("description")
        .and_then(Value::as_str)
        .unwrap_or_default();
    Ok(Some(Body {
        property: names.name("body", 64),
        media_type: media_type.to_owned(),
        way,
        required,
        description,
        schema: schema.map(|value| Found {
            value,
            pointer: format!("{at}/schema"),
        }),
    }))
}

/// Properties of a form whose encoding is that of `deepObject`.
fn deep_names(media: Option<&Value>) -> Vec<String> {
    let encoding = media
        .and_then(|media| media.get("encoding"))
        .and_then(Value::as_object);
    encoding
        .into_iter()
        .flatten()
        .filter(|(_, encoding)| encoding.get("style").and_then(Value::as_str) == Some("deepObject"))
        .map(|(name, _)| name.clone())
        .take(MAX_ARGUMENTS)
        .collect()
}

pub(super) fn is_json(media_type: &str) -> bool {
    let essence = essence(media_type);
    essence == "application/json" || essence.ends_with("+json")
}

fn essence(media_type: &str) -> String {
    media_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase()
}

/// Visible ASCII, so that it can be a header's value.
pub(super) fn is_header_value(text: &str) -> bool {
    text.len() <= 200 && text.bytes().all(|b| (0x20..0x7f).contains(&b))
}
