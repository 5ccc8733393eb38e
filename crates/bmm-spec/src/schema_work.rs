//! How much work a schema is: for its regular expressions, and for holding a value against it.
//!
//! A validator follows every branch of every composition at every level of a value, so that a union of recursive types takes
//! time exponential in the depth of a value, and stack with it. Nothing is held against a schema before its work was counted.

use crate::json::push_segment;
use serde_json::{Map, Value};

/// Keywords that hold a map of schemas.
const MAPS: [&str; 5] = [
    "properties",
    "patternProperties",
    "$defs",
    "definitions",
    "dependentSchemas",
];

/// Keywords that hold data, whatever it looks like.
const DATA: [&str; 6] = [
    "enum",
    "const",
    "default",
    "examples",
    "required",
    "dependentRequired",
];

/// What one spec may ask for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    /// Schemas applied to values, for all examples together.
    pub(crate) steps: usize,
    /// Parts of regular expressions, repetitions written out.
    pub(crate) pattern_parts: usize,
}

/// Does holding a value against a JSON Schema take a bounded number of steps, and little stack?
///
/// Whoever validates what strangers send asks first: a union of recursive types, harmless as it looks, takes a validator time
/// exponential in the depth of the value.
pub fn validation_is_bounded(schema: &Value, value: &Value) -> bool {
    Budget::default().take_steps(schema, value)
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            steps: 1_000_000,
            pattern_parts: 500_000,
        }
    }
}

/// Schemas applied inside of each other: deeper, a validator would need more stack than there is.
const MAX_NESTED: usize = 400;
/// What an expression that backtracks may cost, beside one that runs in linear time.
const BACKTRACKING_STEPS: usize = 200;
const BYTES_PER_STEP: usize = 64;
/// A class such as `\w` stands for hundreds of ranges.
const CLASS_PARTS: usize = 40;

impl Budget {
    /// Takes what holding the value against the schema costs; false if that is more than there is.
    pub(crate) fn take_steps(&mut self, schema: &Value, value: &Value) -> bool {
        let mut walk = Walk {
            root: schema,
            left: self.steps,
        };
        let fits = walk.apply(schema, value, 0).is_some();
        self.steps = walk.left;
        fits
    }

    /// Takes what compiling the pattern costs; false if that is more than there is.
    pub(crate) fn take_pattern(&mut self, pattern: &str) -> bool {
        let left = self.pattern_parts.checked_sub(pattern_parts(pattern));
        self.pattern_parts = left.unwrap_or(0);
        left.is_some()
    }
}

struct Walk<'s> {
    root: &'s Value,
    left: usize,
}

impl<'s> Walk<'s> {
    /// Counts as if every branch were followed; nothing when there is no budget left.
    fn apply(&mut self, schema: &'s Value, value: &Value, depth: usize) -> Option<()> {
        let Value::Object(schema) = schema else {
            return self.spend(1);
        };
        if depth > MAX_NESTED {
            self.left = 0;
            return None;
        }
        self.spend(1 + schema.len() / 4)?;
        for (key, word) in schema {
            match (key.as_str(), word) {
                ("$ref", Value::String(target)) => {
                    let target = self.root.pointer(target.trim_start_matches('#'));
                    self.apply(target?, value, depth + 1)?;
                }
                ("allOf" | "anyOf" | "oneOf", Value::Array(branches)) => {
                    for branch in branches {
                        self.apply(branch, value, depth + 1)?;
                    }
                }
                ("not" | "if" | "then" | "else", branch) => self.apply(branch, value, depth + 1)?,
                ("dependentSchemas", Value::Object(branches)) => {
                    for branch in branches.values() {
                        self.apply(branch, value, depth + 1)?;
                    }
                }
                ("pattern", Value::String(pattern)) => self.pattern(pattern, value.as_str()?.len())?,
                ("enum", Value::Array(values)) => self.spend(values.len() / 8)?,
                ("required", Value::Array(names)) => self.spend(names.len() / 8)?,
                _ => match value {
                    Value::Object(members) => self.members(key, word, members, depth)?,
                    Value::Array(items) => self.items(key, word, items, depth)?,
                    _ => {}
                },
            }
        }
        Some(())
    }

    fn members(
        &mut self,
        key: &str,
        word: &'s Value,
        members: &Map<String, Value>,
        depth: usize,
    ) -> Option<()> {
        match (key, word) {
            ("properties", Value::Object(schemas)) => {
                for (name, member) in members {
                    if let Some(schema) = schemas.get(name) {
                        self.apply(schema, member, depth + 1)?;
                    }
                }
            }
            ("patternProperties", Value::Object(schemas)) => {
                for (pattern, schema) in schemas {
                    for (name, member) in members {
                        self.pattern(pattern, name.len())?;
                        self.apply(schema, member, depth + 1)?;
                    }
                }
            }
            ("additionalProperties" | "unevaluatedProperties", schema) => {
                for member in members.values() {
                    self.apply(schema, member, depth + 1)?;
                }
            }
            ("propertyNames", schema) => {
                for name in members.keys() {
                    self.apply(schema, &Value::from(name.as_str()), depth + 1)?;
                }
            }
            _ => {}
        }
        Some(())
    }

    fn items(&mut self, key: &str, word: &'s Value, items: &[Value], depth: usize) -> Option<()> {
        match (key, word) {
            ("items" | "contains" | "unevaluatedItems", schema) => {
                for item in items {
                    self.apply(schema, item, depth + 1)?;
                }
            }
            ("prefixItems", Value::Array(schemas)) => {
                for (schema, item) in schemas.iter().zip(items) {
                    self.apply(schema, item, depth + 1)?;
                }
            }
            _ => {}
        }
        Some(())
    }

    fn pattern(&mut self, pattern: &str, bytes: usize) -> Option<()> {
        let each = if backtracks(pattern) {
            BACKTRACKING_STEPS
        } else {
            1
        };
        self.spend(each * (1 + bytes / BYTES_PER_STEP))
    }

    fn spend(&mut self, steps: usize) -> Option<()> {
        match self.left.checked_sub(steps) {
            Some(left) => {
                self.left = left;
                Some(())
            }
            None => {
                self.left = 0;
                None
            }
        }
    }
}

/// Lookaround, back references and the like cannot run in linear time.
fn backtracks(pattern: &str) -> bool {
    let bytes = pattern.as_bytes();
    bytes.windows(2).any(|pair| match pair {
        [b'(', b'?'] => true,
        [b'\\', after] => after.is_ascii_digit() || matches!(after, b'k' | b'b' | b'B' | b'K' | b'G'),
        [b'+' | b'*' | b'?' | b'}', b'+'] => true,
        _ => false,
    })
}

/// How many parts an expression has when its counted repetitions are written out.
pub(crate) fn pattern_parts(pattern: &str) -> usize {
    let (mut groups, mut sum, mut last) = (Vec::new(), 0usize, 0usize);
    let mut rest = pattern.chars();
    while let Some(c) = rest.next() {
        last = match c {
            '(' => {
                groups.push(sum);
                sum = 0;
                continue;
            }
            ')' => {
                let inside = sum.max(1);
                sum = groups.pop().unwrap_or(0);
                inside
            }
            '[' => {
                let (mut parts, mut escaped) = (4usize, false);
                for c in rest.by_ref() {
                    match c {
                        _ if escaped => {
                            parts =
                                parts.saturating_add(if c.is_ascii_alphabetic() { CLASS_PARTS } else { 1 });
                            escaped = false;
                        }
                        '\\' => escaped = true,
                        ']' => break,
                        _ => {}
                    }
                }
                parts
            }
            '\\' => match rest.next() {
                Some('w' | 'W' | 'd' | 'D' | 's' | 'S' | 'p' | 'P') => CLASS_PARTS,
                _ => 1,
            },
            '{' => {
                let inside: String = rest.as_str().chars().take_while(|c| *c != '}').take(24).collect();
                let most = inside
                    .split(',')
                    .filter_map(|n| n.trim().parse::<usize>().ok())
                    .max();
                let Some(most) = most else { continue };
                rest = rest.as_str().get(inside.len() + 1..).unwrap_or_default().chars();
                sum = sum.saturating_add(last.saturating_mul(most.saturating_sub(1)));
                last = last.saturating_mul(most.max(1));
                continue;
            }
            '.' => 4,
            '*' | '+' | '?' | '|' | '^' | '$' => continue,
            _ => 1,
        };
        sum = sum.saturating_add(last);
    }
    groups
        .into_iter()
        .fold(sum, usize::saturating_add)
        .saturating_add(1)
}

/// Appends the patterns of a schema with their pointers.
pub(crate) fn patterns<'s>(schema: &'s Value, pointer: &mut String, found: &mut Vec<(String, &'s str)>) {
    let above = pointer.len();
    for (key, value) in schema.as_object().into_iter().flatten() {
        push_segment(pointer, key);
        match (key.as_str(), value) {
            ("pattern", Value::String(pattern)) => found.push((pointer.clone(), pattern)),
            ("patternProperties", Value::Object(schemas)) => {
                found.extend(schemas.keys().map(|pattern| (pointer.clone(), pattern.as_str())));
            }
            _ => {}
        }
        for (segment, child) in parts(key, value) {
            let at = pointer.len();
            segment
                .into_iter()
                .for_each(|segment| push_segment(pointer, &segment));
            patterns(child, pointer, found);
            pointer.truncate(at);
        }
        pointer.truncate(above);
    }
}

/// The schemas in a keyword's value, each with its name or number there if it is one of several.
pub(crate) fn parts<'v>(key: &str, value: &'v Value) -> Vec<(Option<String>, &'v Value)> {
    match value {
        _ if DATA.contains(&key) => Vec::new(),
        Value::Object(map) if MAPS.contains(&key) => map
            .iter()
            .map(|(name, schema)| (Some(name.clone()), schema))
            .collect(),
        Value::Object(_) => vec![(None, value)],
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(index, schema)| (Some(index.to_string()), schema))
            .collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn repetitions_are_written_out() {
        for (pattern, parts) in [
            ("abc", 4),
            ("a{10}", 11),
            ("((a{10}){10}){10}", 1001),
            ("[a-f]{32}", 129),
            ("a{2,5}b", 7),
            ("a{,3}", 4),
            ("a{x}", 4),
            ("(a|b)*", 3),
            ("\\{a", 3),
            ("((", 1),
        ] {
            assert_eq!(pattern_parts(pattern), parts, "{pattern}");
        }
        assert!(pattern_parts(&format!("{}a{}", "(".repeat(40), "{1000})".repeat(40))) > 1_000_000_000);
    }

    #[test]
    fn every_branch_at_every_level_counts() {
        let union = json!({ "anyOf": [{ "properties": { "a": { "$ref": "#" } } }, { "properties": { "a": { "$ref": "#" } } }] });
        let nested = |depth: usize| (0..depth).fold(json!(1), |value, _| json!({ "a": value }));
        assert!(Budget::default().take_steps(&union, &nested(8)));
        assert!(!Budget::default().take_steps(&union, &nested(40)), "2^40");
        let list = json!({ "properties": { "a": { "$ref": "#" } } });
        assert!(
            Budget::default().take_steps(&list, &nested(60)),
            "one branch is linear"
        );
        let mut budget = Budget::default();
        let items = json!({ "items": { "anyOf": vec![json!({ "pattern": "(?=a)b" }); 100] } });
        assert!(!budget.take_steps(&items, &json!(vec!["x"; 1000])));
        assert_eq!(budget.steps, 0, "what was refused took all there was");
    }
}
