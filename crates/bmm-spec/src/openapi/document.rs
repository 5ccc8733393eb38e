//! Bytes as a value, JSON or YAML, within bounds; and references inside of it.

pub(super) use super::bounds::brief;
use super::{
    bounds::{MAX_VALUES, twice},
    error::ImportError,
    yaml,
};
use crate::{schema_work, tool_schema};
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, HashSet},
    fmt,
};

/// Largest description of an API, in bytes: well-known ones have 12 MiB.
pub const MAX_OPENAPI_BYTES: usize = 32 * 1024 * 1024;
/// Most schemas, properties and the like that are converted for one import.
const MAX_WORK: usize = 8_000_000;
/// What a regular expression costs of that, beside its parts; and the largest.
const PATTERN_WORK: usize = 4000;
const MAX_PATTERN_PARTS: usize = 10_000;
/// Longest chain of `$ref` to `$ref`.
const MAX_CHAIN: usize = 16;
/// Refused wherever they stand: the format of the object would be theirs.
const REF: &str = "$ref";

/// A description of an API that was read.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) root: Value,
    /// JSON Schema is that of OpenAPI 3.1, which is 2020-12; not the dialect of 3.0.
    pub(super) is_3_1: bool,
    /// What may still be done: references let a small document ask for endless work.
    work: Cell<usize>,
    /// Which regular expressions can be compiled: finding out takes time.
    patterns: RefCell<HashMap<String, bool>>,
}

/// A value of a document and where it stands, references followed.
#[derive(Clone, Debug)]
pub(super) struct Found<'d> {
    pub(super) value: &'d Value,
    pub(super) pointer: String,
}

impl Document {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, ImportError> {
        if bytes.len() > MAX_OPENAPI_BYTES {
            return Err(ImportError::Unreadable(format!(
                "it has {} bytes, the most is {MAX_OPENAPI_BYTES}",
                bytes.len()
            )));
        }
        let text = std::str::from_utf8(bytes)
            .map_err(|error| ImportError::Unreadable(format!("byte {} is not UTF-8", error.valid_up_to())))?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let root = if text.trim_start().starts_with('{') {
            json(text)?
        } else {
            yaml::read(text).map_err(ImportError::Unreadable)?
        };
        let is_3_1 = match root.get("openapi").and_then(Value::as_str) {
            Some(version) if version == "3.0" || version.starts_with("3.0.") => false,
            Some(version) if version == "3.1" || version.starts_with("3.1.") => true,
            Some(version) => return Err(ImportError::Version(version.chars().take(20).collect())),
            None if root.get("swagger").is_some() => return Err(ImportError::Version("2.0".to_owned())),
            None => return Err(ImportError::NotOpenApi),
        };
        Ok(Self {
            root,
            is_3_1,
            work: Cell::new(MAX_WORK),
            patterns: RefCell::default(),
        })
    }

    /// Takes from what may still be done; false when it is over.
    pub(super) fn spend(&self, work: usize) -> bool {
        let left = self.work.get().checked_sub(work);
        self.work.set(left.unwrap_or(0));
        left.is_some()
    }

    /// Can this regular expression be compiled, and is there work left to find out?
    pub(super) fn pattern_compiles(&self, pattern: &str) -> bool {
        if let Some(known) = self.patterns.borrow().get(pattern) {
            return *known;
        }
        let parts = schema_work::pattern_parts(pattern);
        let compiles = parts <= MAX_PATTERN_PARTS
            && self.spend(PATTERN_WORK + parts)
            && tool_schema::pattern_compiles(pattern);
        self.patterns.borrow_mut().insert(pattern.to_owned(), compiles);
        compiles
    }

    /// The value at a place, through as many references as it takes.
    pub(super) fn follow<'d>(&'d self, value: &'d Value, pointer: &str) -> Result<Found<'d>, String> {
        let mut found = Found {
            value,
            pointer: pointer.to_owned(),
        };
        for _ in 0..MAX_CHAIN {
            let Some(target) = found.value.get(REF).and_then(Value::as_str) else {
                return Ok(found);
            };
            found = self.target(target)?;
        }
        Err(format!("more than {MAX_CHAIN} references in a row"))
    }

    /// What a reference points to, one step.
    pub(super) fn target(&self, target: &str) -> Result<Found<'_>, String> {
        let Some(pointer) = target.strip_prefix('#').filter(|p| p.starts_with('/')) else {
            return Err(format!(
                "refers to `{}`, which is not in this document",
                brief(target)
            ));
        };
        let pointer = percent_decoded(pointer);
        match self.root.pointer(&pointer) {
            Some(value) => Ok(Found { value, pointer }),
            None => Err(format!("refers to `{}`, which is not there", brief(target))),
        }
    }

    pub(super) fn is_reference(value: &Value) -> bool {
        value.get(REF).is_some_and(Value::is_string)
    }
}

/// A reference is a URI fragment (RFC 6901, section 6).
fn percent_decoded(pointer: &str) -> String {
    let mut bytes = Vec::with_capacity(pointer.len());
    let mut rest = pointer.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = match tail {
            [high, low, after @ ..] if *first == b'%' => {
                let digits = [*high, *low];
                let byte = std::str::from_utf8(&digits)
                    .ok()
                    .and_then(|hex| u8::from_str_radix(hex, 16).ok());
                byte.map(|byte| (byte, after))
            }
            _ => None,
        };
        let (byte, after) = escaped.unwrap_or((*first, tail));
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8(bytes).unwrap_or_else(|_| pointer.to_owned())
}

fn json(text: &str) -> Result<Value, ImportError> {
    let left = Cell::new(MAX_VALUES);
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = Bounded(&left).deserialize(&mut reader);
    let value = value.and_then(|value| reader.end().map(|()| value));
    value.map_err(|error| ImportError::Unreadable(error.to_string()))
}

/// A value of which no key stands twice (serde_json would let the last one win), and of bounded size.
#[derive(Clone, Copy)]
struct Bounded<'c>(&'c Cell<usize>);

impl<'de> DeserializeSeed<'de> for Bounded<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let Some(left) = self.0.get().checked_sub(1) else {
            return Err(D::Error::custom(format!("more than {MAX_VALUES} values")));
        };
        self.0.set(left);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Bounded<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            let value = access.next_value_seed(self)?;
            if map.contains_key(&key) {
                return Err(A::Error::custom(twice(&key)));
            }
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

/// Makes names distinct by a number at their end.
#[derive(Debug, Default)]
pub(super) struct Distinct {
    taken: HashSet<String>,
    /// The last number given out for a name.
    last: HashMap<String, usize>,
}

impl Distinct {
    /// The name, or the name with `_2`, `_3`, … at its end, within a length in bytes; names are ASCII.
    pub(super) fn name(&mut self, wanted: &str, max: usize) -> String {
        let mut name: String = wanted.chars().take(max).collect();
        let count = self.last.entry(name.to_ascii_lowercase()).or_insert(1);
        while !self.taken.insert(name.to_ascii_lowercase()) {
            *count += 1;
            let suffix = format!("_{count}");
            name = wanted.chars().take(max.saturating_sub(suffix.len())).collect();
            name.push_str(&suffix);
        }
        name
    }
}
