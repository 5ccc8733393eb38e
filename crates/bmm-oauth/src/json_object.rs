//! JSON from outside that must be an object.

use serde::de::DeserializeOwned;

/// Reads a JSON object. A derived reader would take an array of the members' values as well, and what two readers understand
/// differently is an opening.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let object = bytes.trim_ascii_start().starts_with(b"{");
    serde_json::from_slice(bytes).ok().filter(|_| object)
}
