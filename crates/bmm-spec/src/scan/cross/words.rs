//! Words of names and of prose.

use serde_json::Value;
use std::{cell::OnceCell, collections::BTreeSet};

/// The words of an identifier in lower case: `getURLPart_two` is get, url, part, two.
pub(super) fn of_name(name: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let chars: Vec<char> = name.chars().collect();
    for (index, c) in chars.iter().copied().enumerate() {
        let before = index.checked_sub(1).and_then(|at| chars.get(at));
        let starts = c.is_uppercase()
            && (before.is_some_and(|b| b.is_lowercase() || b.is_ascii_digit())
                || before.is_some_and(|b| b.is_uppercase())
                    && chars.get(index + 1).is_some_and(|n| n.is_lowercase()));
        if (starts || !c.is_alphanumeric()) && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if c.is_alphanumeric() {
            word.extend(c.to_lowercase());
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// The words of a text in lower case.
pub(super) fn of_text(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
}

/// What a tool says it is for: the stems of its name, title and description.
pub(super) struct Topic<'v> {
    tool: &'v Value,
    /// Made when first asked for: few tools have anything that is held against their topic.
    stems: OnceCell<BTreeSet<String>>,
}

impl<'v> Topic<'v> {
    pub(super) fn of(tool: &'v Value) -> Self {
        Self {
            tool,
            stems: OnceCell::new(),
        }
    }

    fn stems(tool: &Value) -> BTreeSet<String> {
        let text = |key: &str| tool.get(key).and_then(Value::as_str).unwrap_or_default();
        let mut stems = BTreeSet::new();
        for word in of_name(text("name"))
            .into_iter()
            .chain(of_text(text("title")))
            .chain(of_text(text("description")))
        {
            stems.insert(stem(&word));
        }
        stems
    }

    pub(super) fn speaks_of(&self, word: &str) -> bool {
        self.stems
            .get_or_init(|| Self::stems(self.tool))
            .contains(&stem(word))
    }

    pub(super) fn speaks_of_any(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.speaks_of(word))
    }
}

/// Enough of a word to tell it by, whatever its ending.
fn stem(word: &str) -> String {
    word.chars().take(5).collect()
}
