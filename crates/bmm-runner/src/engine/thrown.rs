//! What the engine throws, as text for the tool's author.

use rquickjs::{CaughtError, Exception, Type};

/// The name of a tool's module, as it stands in stack traces.
pub(super) const MODULE: &str = "tool.js";
/// Longest text of an error.
pub(super) const MAX_ERROR_BYTES: usize = 8 * 1024;

/// The engine throws `null`, or something uninitialized, when there is no memory left to make an error of.
pub(super) fn is_out_of_memory(error: &CaughtError<'_>) -> bool {
    match error {
        CaughtError::Exception(exception) => exception.message().as_deref() == Some("out of memory"),
        CaughtError::Value(value) => matches!(value.type_of(), Type::Null | Type::Uninitialized),
        CaughtError::Error(error) => matches!(error, rquickjs::Error::Allocation),
    }
}

/// An exception of a context in which no tool has run; `describe` in the prelude does it where one has. The two agree on the form.
pub(super) fn text_of(exception: &Exception<'_>) -> String {
    let name: String = exception.get("name").unwrap_or_else(|_| "Error".to_owned());
    let stack = exception.stack().unwrap_or_default();
    let mut text = format!("{name}: {}", exception.message().unwrap_or_default());
    for line in stack.lines().filter(|line| line.contains(MODULE)) {
        text.push('\n');
        text.push_str(line);
    }
    cut(text)
}

pub(super) fn cut(mut message: String) -> String {
    message.truncate(message.floor_char_boundary(MAX_ERROR_BYTES));
    message
}
