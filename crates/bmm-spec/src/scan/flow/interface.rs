//! What a spec says about one piece of its code: the hosts, the secrets, the arguments.

use crate::{check, model::SecretPlace};
use bmm_net::HostPattern;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// What a spec declares for all of its code.
#[derive(Debug, Default)]
pub(crate) struct Declarations {
    pub(crate) hosts: Vec<HostPattern>,
    pub(crate) secrets: Vec<Secret>,
}

/// The declarations that one piece of code is held against.
#[derive(Debug)]
pub(crate) struct Interface<'d> {
    pub(crate) hosts: &'d [HostPattern],
    pub(crate) secrets: &'d [Secret],
    pub(crate) inputs: Inputs,
}

/// A declared secret.
#[derive(Debug)]
pub(crate) struct Secret {
    pub(crate) name: String,
    pub(crate) domains: Vec<HostPattern>,
    pub(crate) place: SecretPlace,
}

/// The arguments a piece of code is called with.
#[derive(Debug, Default)]
pub(crate) struct Inputs {
    /// Name of each, and whether it is one of a few values.
    pub(crate) known: BTreeMap<String, Kind>,
    /// There may be others, of any name.
    pub(crate) open: bool,
}

/// How much an argument may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One of a few, or a number.
    Closed,
    /// Any text.
    Free,
}

impl Declarations {
    pub(crate) fn of(spec: &Value) -> Self {
        let secrets = spec.get("requiredSecrets").and_then(Value::as_array);
        let secrets = secrets.into_iter().flatten().filter_map(|secret| {
            Some(Secret {
                name: secret.get("name")?.as_str()?.to_owned(),
                domains: check::domains(secret, "/domains", &mut Vec::new()),
                place: secret
                    .get("in")
                    .and_then(|place| serde_json::from_value(place.clone()).ok())
                    .unwrap_or_default(),
            })
        });
        Self {
            hosts: check::domains(spec, "/allowedDomains", &mut Vec::new()),
            secrets: secrets.collect(),
        }
    }

    /// For an item of a list of the spec: `tools`, `resources`, `prompts`.
    pub(crate) fn interface(&self, part: &str, item: &Value) -> Interface<'_> {
        Interface {
            hosts: &self.hosts,
            secrets: &self.secrets,
            inputs: match part {
                "tools" => Inputs::of_schema(item.get("inputSchema")),
                "resources" => Inputs::of_template(item.get("uriTemplate")),
                _ => Inputs::of_arguments(item.get("arguments")),
            },
        }
    }
}

impl Interface<'_> {
    /// Of code that stands alone: nothing is declared, and any argument may be.
    pub(crate) fn unknown() -> Self {
        let inputs = Inputs {
            open: true,
            ..Inputs::default()
        };
        Self {
            hosts: &[],
            secrets: &[],
            inputs,
        }
    }

    /// The index of a secret.
    pub(super) fn secret(&self, name: &str) -> Option<usize> {
        self.secrets.iter().position(|secret| secret.name == name)
    }
}

impl Inputs {
    /// The properties of an object schema; what stands behind a reference or a composition is followed.
    pub(crate) fn of_schema(schema: Option<&Value>) -> Self {
        let mut inputs = Self::default();
        match schema {
            Some(root) => inputs.add(root, root, 0, &mut 0),
            None => inputs.open = true,
        }
        inputs
    }

    /// `seen` counts schemas: references can lead to the same one in more ways than can be followed.
    fn add(&mut self, schema: &Value, root: &Value, depth: usize, seen: &mut usize) {
        const MAX_DEPTH: usize = 8;
        const MAX_SCHEMAS: usize = 500;
        *seen += 1;
        if depth >= MAX_DEPTH || *seen > MAX_SCHEMAS {
            self.open = true;
            return;
        }
        let Some(map) = schema.as_object() else {
            return;
        };
        for (name, property) in map
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            self.known.insert(name.clone(), kind(property));
        }
        self.open |= map.contains_key("patternProperties")
            || map.get("additionalProperties").is_some_and(Value::is_object)
            || map.get("unevaluatedProperties").is_some_and(Value::is_object);
        if let Some(target) = map.get("$ref").and_then(Value::as_str) {
            match target.strip_prefix('#').and_then(|pointer| root.pointer(pointer)) {
                Some(target) => self.add(target, root, depth + 1, seen),
                None => self.open = true,
            }
        }
        for key in [
            "allOf",
            "anyOf",
            "oneOf",
            "if",
            "then",
            "else",
            "dependentSchemas",
        ] {
            match map.get(key) {
                Some(Value::Array(parts)) => parts
                    .iter()
                    .for_each(|part| self.add(part, root, depth + 1, seen)),
                Some(Value::Object(parts)) if key == "dependentSchemas" => {
                    parts
                        .values()
                        .for_each(|part| self.add(part, root, depth + 1, seen));
                }
                Some(part) => self.add(part, root, depth + 1, seen),
                None => {}
            }
        }
    }

    fn of_template(template: Option<&Value>) -> Self {
        let template = template.and_then(Value::as_str).unwrap_or_default();
        let names = template
            .split('{')
            .skip(1)
            .filter_map(|rest| rest.split('}').next());
        Self {
            known: names
                .chain(["uri"])
                .map(|name| (name.to_owned(), Kind::Free))
                .collect(),
            open: false,
        }
    }

    fn of_arguments(arguments: Option<&Value>) -> Self {
        let names = arguments.and_then(Value::as_array).into_iter().flatten();
        let names = names.filter_map(|argument| argument.get("name").and_then(Value::as_str));
        Self {
            known: names.map(|name| (name.to_owned(), Kind::Free)).collect(),
            open: false,
        }
    }
}

fn kind(schema: &Value) -> Kind {
    let Some(map) = schema.as_object() else {
        return Kind::Free;
    };
    let closed_type = |kind: &Value| matches!(kind.as_str(), Some("integer" | "number" | "boolean" | "null"));
    let closed = map.contains_key("enum")
        || map.contains_key("const")
        || match map.get("type") {
            Some(Value::Array(kinds)) => !kinds.is_empty() && kinds.iter().all(closed_type),
            Some(kind) => closed_type(kind) || kind == "array" && items_closed(map),
            None => false,
        };
    if closed { Kind::Closed } else { Kind::Free }
}

fn items_closed(map: &Map<String, Value>) -> bool {
    map.get("items")
        .is_some_and(|items| items.is_object() && kind(items) == Kind::Closed)
}
