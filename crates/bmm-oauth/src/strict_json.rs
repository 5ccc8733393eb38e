//! JSON from outside, read so that no two readers can understand it differently: an object with every member once, no
//! number but whole ones that fit, no nesting beyond what the formats here have. Everything signed or security-relevant that
//! the resource server reads goes through here (RFC 8725 section 2.4; CVE-2026-25537 is a reader that was lenient).

use std::fmt;

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};

/// Members of one object, and objects or arrays inside each other.
const MAX_MEMBERS: usize = 64;
const MAX_DEPTH: u8 = 8;

/// Why something is refused; for the log only.
pub(crate) type Reason = &'static str;

/// A JSON object in which every name stands once.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Object(Vec<(String, Value)>);

/// A JSON value. A number that is no whole number from 0 to 2^64-1 has no value here.
#[derive(Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Whole(u64),
    OtherNumber,
    Text(String),
    Array(Vec<Value>),
    Object(Object),
}

impl Object {
    /// Reads one object and nothing after it. The caller bounds the bytes.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        let value = Within(MAX_DEPTH).deserialize(&mut reader).ok()?;
        reader.end().ok()?;
        match value {
            Value::Object(object) => Some(object),
            _ => None,
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.0
            .iter()
            .find(|(member, _)| member == name)
            .map(|(_, value)| value)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether a member of one of these names is there, `null` included.
    pub(crate) fn has_any(&self, names: &[&str]) -> bool {
        self.0.iter().any(|(member, _)| names.contains(&member.as_str()))
    }

    /// A string that is there and not empty.
    pub(crate) fn text(&self, name: &str) -> Result<&str, Reason> {
        match self.optional_text(name)? {
            Some(text) if !text.is_empty() => Ok(text),
            _ => Err("a required member is missing or empty"),
        }
    }

    /// A string, or nothing. `null` is something.
    pub(crate) fn optional_text(&self, name: &str) -> Result<Option<&str>, Reason> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(_) => Err("a member is not the string it must be"),
        }
    }

    /// A whole number that is there: a `NumericDate` as this crate takes it.
    pub(crate) fn whole(&self, name: &str) -> Result<u64, Reason> {
        self.optional_whole(name)?.ok_or("a required number is missing")
    }

    /// A whole number, or nothing.
    pub(crate) fn optional_whole(&self, name: &str) -> Result<Option<u64>, Reason> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Whole(number)) => Ok(Some(*number)),
            Some(_) => Err("a member is not the whole number it must be"),
        }
    }
}

/// Reads a value at most so deep.
#[derive(Clone, Copy)]
struct Within(u8);

impl Within {
    fn inner<E: Error>(self) -> Result<Self, E> {
        self.0
            .checked_sub(1)
            .map(Self)
            .ok_or_else(|| E::custom("nested too deeply"))
    }
}

impl<'de> DeserializeSeed<'de> for Within {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Within {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Whole(value))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Value, E> {
        Ok(Value::OtherNumber)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Value, E> {
        Ok(Value::OtherNumber)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Value, E> {
        Ok(Value::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut object = Object(Vec::with_capacity(12));
        while let Some(name) = members.next_key::<String>()? {
            if object.get(&name).is_some() || object.0.len() >= MAX_MEMBERS {
                return Err(A::Error::custom("a member twice, or too many members"));
            }
            object.0.push((name, members.next_value_seed(inner)?));
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_object_with_every_member_once_is_read() {
        assert!(Object::parse(br#"{"a":1,"b":{"a":[{"a":null}]}}"#).is_some());
        let refused: [&[u8]; 10] = [
            b"",
            b"[1]",
            b"null",
            br#"{"a":1,"a":1}"#,
            br#"{"a":1,"\u0061":1}"#,
            br#"{"x":{"a":1,"a":1}}"#,
            br#"{"x":[{"a":1,"a":1}]}"#,
            br#"{"a":1} {}"#,
            br#"{"a":[[[[[[[[[1]]]]]]]]]}"#,
            b"{\"a\":\"\xff\"}",
        ];
        for text in refused {
            assert_eq!(Object::parse(text), None, "{}", String::from_utf8_lossy(text));
        }
        let many: Vec<String> = (0..65).map(|n| format!("\"m{n}\":0")).collect();
        assert_eq!(Object::parse(format!("{{{}}}", many.join(",")).as_bytes()), None);
    }

    #[test]
    fn a_number_that_is_not_whole_has_no_value() {
        for text in [
            "-1",
            "1.0",
            "1e3",
            "-0",
            "18446744073709551616",
            "\"1\"",
            "true",
            "null",
            "[1]",
        ] {
            let object = Object::parse(format!("{{\"exp\":{text}}}").as_bytes()).unwrap();
            assert!(object.whole("exp").is_err(), "{text}");
            assert!(object.optional_whole("exp").is_err(), "{text}");
        }
        let object = Object::parse(b"{\"exp\":18446744073709551615}").unwrap();
        assert_eq!(object.whole("exp"), Ok(u64::MAX));
    }
}
