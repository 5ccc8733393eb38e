//! What holds for descriptions in JSON and in YAML alike.

/// Most values in one description, and deepest nesting (serde_json stops there by itself).
pub(super) const MAX_VALUES: usize = 1_000_000;
pub(super) const MAX_DEPTH: usize = 120;

/// Text of strangers in a message: short.
pub(super) fn brief(text: &str) -> String {
    const MAX_CHARS: usize = 80;
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// The one message for a key that two readers could read differently.
pub(super) fn twice(key: &str) -> String {
    format!(
        "the key `{}` stands twice in one object",
        crate::diagnostic::escape(&brief(key))
    )
}
