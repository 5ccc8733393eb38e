//! YAML 1.2 (core schema) as JSON: what an API is described in more often than not.
//!
//! Only what means the same as JSON is read: aliases are copied within the bound on values, keys are scalars and unique, and
//! there are no merge keys and no tags of an application.

use super::bounds::{MAX_DEPTH, MAX_VALUES, twice};
use saphyr_parser::{Event, Parser, ScalarStyle, Tag};
use serde_json::{Map, Value};
use std::collections::HashMap;

/// The first document of a text, which must be its only one.
pub(super) fn read(text: &str) -> Result<Value, String> {
    let mut reader = Reader::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| error.to_string())?;
        reader.event(event).map_err(|message| {
            let (line, column) = (span.start.line(), span.start.col() + 1);
            format!("{message} at line {line} column {column}")
        })?;
    }
    reader.root.ok_or_else(|| "it is empty".to_owned())
}

#[derive(Default)]
struct Reader {
    open: Vec<Open>,
    root: Option<Value>,
    /// Values of finished anchors, with how many values each has.
    anchors: HashMap<usize, (Value, usize)>,
    values: usize,
}

/// A collection whose end has not come yet.
struct Open {
    anchor: usize,
    /// Values counted before it.
    before: usize,
    what: Collection,
}

enum Collection {
    List(Vec<Value>),
    Map(Map<String, Value>, Option<String>),
}

impl Reader {
    fn event(&mut self, event: Event<'_>) -> Result<(), String> {
        match event {
            Event::DocumentStart(_) if self.root.is_some() => Err("a second document starts".to_owned()),
            Event::Scalar(text, style, anchor, tag) => {
                if self.wants_key() {
                    return self.key(text.into_owned());
                }
                let value = scalar(&text, style, tag.as_deref())?;
                self.count(1)?;
                if anchor != 0 {
                    self.anchors.insert(anchor, (value.clone(), 1));
                }
                self.put(value)
            }
            Event::Alias(anchor) => {
                let Some((value, size)) = self.anchors.get(&anchor) else {
                    return Err("an alias of something that is not finished".to_owned());
                };
                if self.wants_key() {
                    return match value {
                        Value::String(text) => self.key(text.clone()),
                        _ => Err("a key that is no scalar".to_owned()),
                    };
                }
                // Counted before it is copied: aliases of aliases grow without bound.
                let size = *size;
                self.count(size)?;
                let value = self.anchors.get(&anchor).map(|(value, _)| value.clone());
                self.put(value.unwrap_or_default())
            }
            Event::SequenceStart(anchor, tag) => {
                known_tag(tag.as_deref(), "seq")?;
                self.open(anchor, Collection::List(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                known_tag(tag.as_deref(), "map")?;
                self.open(anchor, Collection::Map(Map::new(), None))
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(open) = self.open.pop() else {
                    return Err("an end without a start".to_owned());
                };
                let value = match open.what {
                    Collection::List(items) => Value::Array(items),
                    Collection::Map(map, _) => Value::Object(map),
                };
                if open.anchor != 0 {
                    let size = self.values - open.before;
                    self.anchors.insert(open.anchor, (value.clone(), size));
                }
                self.put(value)
            }
            _ => Ok(()),
        }
    }

    fn wants_key(&self) -> bool {
        matches!(
            self.open.last(),
            Some(Open {
                what: Collection::Map(_, None),
                ..
            })
        )
    }

    fn key(&mut self, key: String) -> Result<(), String> {
        if key == "<<" {
            return Err("merge keys (`<<`) are not part of YAML 1.2".to_owned());
        }
        if let Some(Open {
            what: Collection::Map(map, waiting),
            ..
        }) = self.open.last_mut()
        {
            if map.contains_key(&key) {
                return Err(twice(&key));
            }
            *waiting = Some(key);
        }
        Ok(())
    }

    fn open(&mut self, anchor: usize, what: Collection) -> Result<(), String> {
        if self.wants_key() {
            return Err("a key that is no scalar".to_owned());
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(format!("nested more than {MAX_DEPTH} levels deep"));
        }
        let before = self.values;
        self.count(1)?;
        self.open.push(Open { anchor, before, what });
        Ok(())
    }

    fn put(&mut self, value: Value) -> Result<(), String> {
        match self.open.last_mut().map(|open| &mut open.what) {
            Some(Collection::List(items)) => items.push(value),
            Some(Collection::Map(map, key)) => {
                if let Some(key) = key.take() {
                    map.insert(key, value);
                }
            }
            None => self.root = Some(value),
        }
        Ok(())
    }

    fn count(&mut self, more: usize) -> Result<(), String> {
        self.values = self.values.saturating_add(more);
        if self.values > MAX_VALUES {
            return Err(format!("more than {MAX_VALUES} values"));
        }
        Ok(())
    }
}

/// The core schema (YAML 1.2.2, section 10.3.2).
fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, String> {
    if let Some(tag) = tag {
        known_scalar_tag(tag)?;
        if tag.suffix == "str" {
            return Ok(Value::from(text));
        }
    } else if style != ScalarStyle::Plain {
        return Ok(Value::from(text));
    }
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => number(text).unwrap_or_else(|| Value::from(text)),
    })
}

fn number(text: &str) -> Option<Value> {
    const MAX_CHARS: usize = 64;
    if text.len() > MAX_CHARS {
        return None;
    }
    let (radix, digits) = match (text.strip_prefix("0x"), text.strip_prefix("0o")) {
        (Some(digits), _) => (16, digits),
        (_, Some(digits)) => (8, digits),
        _ => (10, text),
    };
    if radix != 10 {
        let digits = Some(digits).filter(|digits| !digits.starts_with(['+', '-']));
        return digits
            .and_then(|digits| u64::from_str_radix(digits, radix).ok())
            .map(Value::from);
    }
    if let Ok(whole) = text.parse::<i64>() {
        return Some(Value::from(whole));
    }
    if let Ok(whole) = text.parse::<u64>() {
        return Some(Value::from(whole));
    }
    // What Rust reads besides, such as `inf` and `nan`, is a string here.
    let is_float = text.bytes().any(|b| b.is_ascii_digit())
        && text
            .bytes()
            .all(|b| matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
    let number = text.parse::<f64>().ok().filter(|n| is_float && n.is_finite())?;
    serde_json::Number::from_f64(number).map(Value::Number)
}

fn known_scalar_tag(tag: &Tag) -> Result<(), String> {
    let known = ["str", "int", "float", "bool", "null"];
    if tag.is_yaml_core_schema() && known.contains(&tag.suffix.as_str()) {
        return Ok(());
    }
    Err("a tag of an application".to_owned())
}

fn known_tag(tag: Option<&Tag>, name: &str) -> Result<(), String> {
    match tag {
        Some(tag) if !(tag.is_yaml_core_schema() && tag.suffix == name) => {
            Err("a tag of an application".to_owned())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::read;
    use serde_json::json;

    #[test]
    fn yaml_means_what_its_core_schema_says() {
        let text = "a: &x [1, -2.5, 0x10, 0o17, 1e3, yes, ~]\nb: *x\nc: '1'\nd: !!str 7\n200: {e: TRUE}\nf: |\n  two\n  lines\ng: .inf\nh:\n";
        let list = json!([1, -2.5, 16, 15, 1000.0, "yes", null]);
        assert_eq!(
            read(text).unwrap(),
            json!({
                "a": list, "b": list, "c": "1", "d": "7", "200": {"e": true}, "f": "two\nlines\n", "g": ".inf", "h": null,
            })
        );
    }

    #[test]
    fn what_json_has_no_word_for_is_refused() {
        for (text, why) in [
            ("a: 1\na: 2", "twice"),
            ("? [a]\n: 1", "no scalar"),
            ("a: !mine 1", "tag"),
            ("a: {<<: {b: 1}}", "merge"),
            ("a: 1\n---\nb: 2", "second"),
            ("a: &x [*x]", "not finished"),
            ("", "empty"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(why), "{text:?}: {error}");
        }
    }

    #[test]
    fn aliases_of_aliases_are_counted() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let list = vec![format!("*a{}", level - 1); 10].join(", ");
            text.push_str(&format!("a{level}: &a{level} [{list}]\n"));
        }
        assert!(read(&text).is_err());
        let deep = "[".repeat(100_000);
        assert!(read(&deep).is_err());
    }
}
