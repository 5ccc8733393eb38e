//! META-015: tools of one server that a model will mistake for each other.

use super::Hit;
use crate::rule::{Confidence, Rule};
use serde_json::Value;
use std::collections::HashMap;

/// Words below which two descriptions may well be the same.
const MIN_WORDS: usize = 4;

/// Names that differ in case and separators alone, and descriptions of the same words: each with the pointer of the later one.
pub(super) fn near_duplicates(tools: &[Value]) -> Vec<(String, Hit)> {
    let text = |index: usize, field: &str| tools.get(index).and_then(|tool| tool.get(field)?.as_str());
    let mut found = Vec::new();
    for (field, key, confidence) in [
        ("name", letters as fn(&str) -> Option<String>, Confidence::High),
        ("description", words, Confidence::Medium),
    ] {
        let mut seen: HashMap<String, usize> = HashMap::new();
        for index in 0..tools.len() {
            let Some((said, key)) = text(index, field).and_then(|said| Some((said, key(said)?))) else {
                continue;
            };
            let first = *seen.entry(key).or_insert(index);
            // The very same name is SPEC-008's.
            if first == index || field == "name" && text(first, field) == Some(said) {
                continue;
            }
            let other = text(first, "name").unwrap_or_default();
            let message = format!("the {field} is nearly that of the tool `{other}`");
            let hit = Hit::new(Rule::NearDuplicateTool, 0..said.len(), message).with_confidence(confidence);
            found.push((format!("/tools/{index}/{field}"), hit));
        }
    }
    found
}

/// A name without its case and separators.
fn letters(name: &str) -> Option<String> {
    let letters = name.chars().filter(|c| c.is_alphanumeric());
    Some(letters.flat_map(char::to_lowercase).collect())
}

/// The words of a description that is long enough to be of one tool only.
fn words(description: &str) -> Option<String> {
    let lower = description.to_lowercase();
    let words: Vec<&str> = lower
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    (words.len() >= MIN_WORDS).then(|| words.join(" "))
}
