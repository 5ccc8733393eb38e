//! Texts that a model reads: which they are, and what hides in them.

use super::{Hit, override_grammar};
use crate::{hidden::hidden, json::push_segment, rule::Rule};
use serde_json::Value;

/// A text with its place.
#[derive(Debug)]
pub(crate) struct Unit<'v> {
    pub(crate) pointer: String,
    pub(crate) text: &'v str,
}

/// Every string of a spec that can reach a model, keys of schemas included.
pub(crate) fn units(spec: &Value) -> Vec<Unit<'_>> {
    let mut found = Vec::new();
    for key in ["name", "description", "instructions"] {
        strings(spec.get(key), &format!("/{key}"), &mut found);
    }
    let parts: [(&str, &[&str]); 4] = [
        (
            "tools",
            &[
                "name",
                "title",
                "description",
                "inputSchema",
                "outputSchema",
                "annotations",
                "headers",
            ],
        ),
        (
            "resources",
            &[
                "name",
                "title",
                "description",
                "uri",
                "uriTemplate",
                "mimeType",
                "text",
            ],
        ),
        (
            "prompts",
            &["name", "title", "description", "arguments", "messages"],
        ),
        ("requiredSecrets", &["name", "description"]),
    ];
    for (part, keys) in parts {
        for (index, item) in spec
            .get(part)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .enumerate()
        {
            for key in keys {
                strings(item.get(*key), &format!("/{part}/{index}/{key}"), &mut found);
            }
        }
    }
    found
}

/// Judges one text.
pub(crate) fn judge(text: &str) -> Vec<Hit> {
    let mut hits: Vec<Hit> = hidden_runs(text)
        .map(|(span, kind)| {
            Hit::new(
                Rule::HiddenUnicode,
                span,
                format!("a text for the model holds {kind}"),
            )
        })
        .collect();
    hits.extend(override_grammar::judge(text));
    hits
}

/// Hidden characters in code, where they make a reader see another program.
pub(crate) fn in_source(source: &str) -> Vec<Hit> {
    hidden_runs(source)
        .map(|(span, kind)| Hit::new(Rule::UnicodeSource, span, format!("the code holds {kind}")))
        .collect()
}

/// Runs of hidden characters, each reported once. Emoji may carry one presentation selector and be joined to each other.
fn hidden_runs(text: &str) -> impl Iterator<Item = (std::ops::Range<usize>, &'static str)> + '_ {
    let mut runs: Vec<(std::ops::Range<usize>, &'static str)> = Vec::new();
    let mut before = None;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let after = chars.peek().map(|(_, c)| *c);
        let allowed = match c {
            '\u{fe0e}' | '\u{fe0f}' => {
                before.is_some_and(|b| is_pictograph(b) || b.is_ascii_digit() || matches!(b, '#' | '*'))
            }
            '\u{200d}' => {
                before.is_some_and(|b| is_pictograph(b) || b == '\u{fe0f}')
                    && after.is_some_and(is_pictograph)
            }
            _ => false,
        };
        if let Some(kind) = hidden(c).filter(|_| !allowed) {
            let end = at + c.len_utf8();
            match runs.last_mut() {
                Some((run, _)) if run.end == at => run.end = end,
                _ => runs.push((at..end, kind)),
            }
        }
        before = Some(c);
    }
    runs.into_iter()
}

fn is_pictograph(c: char) -> bool {
    matches!(c, '\u{a9}' | '\u{ae}' | '\u{203c}' | '\u{2049}' | '\u{2100}'..='\u{2bff}' | '\u{3030}' | '\u{303d}' | '\u{3297}' | '\u{3299}' | '\u{1f000}'..='\u{1faff}')
}

fn strings<'v>(value: Option<&'v Value>, pointer: &str, found: &mut Vec<Unit<'v>>) {
    match value {
        Some(Value::String(text)) => found.push(Unit {
            pointer: pointer.to_owned(),
            text,
        }),
        Some(Value::Array(items)) => {
            for (index, item) in items.iter().enumerate() {
                strings(Some(item), &format!("{pointer}/{index}"), found);
            }
        }
        Some(Value::Object(map)) => {
            for (key, value) in map {
                let mut at = pointer.to_owned();
                push_segment(&mut at, key);
                found.push(Unit {
                    pointer: at.clone(),
                    text: key,
                });
                strings(Some(value), &at, found);
            }
        }
        _ => {}
    }
}
