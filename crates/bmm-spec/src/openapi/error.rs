//! Why a description, or a part of it, was not imported.

use crate::diagnostic::Diagnostics;
use serde::{Deserialize, Serialize};

/// Something in a description that the spec does not have, or has in other words.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Skipped {
    /// RFC 6901 pointer into the description; control characters are escaped.
    pub pointer: String,
    /// Why, in one line.
    pub reason: String,
}

/// Why nothing was imported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// Neither JSON nor YAML, or beyond a bound.
    #[error("the description cannot be read: {0}")]
    Unreadable(String),
    /// No `openapi` field.
    #[error("this is not a description of an API: it has no field `openapi`")]
    NotOpenApi,
    /// Another version.
    #[error("OpenAPI {0} is not supported; convert the description to 3.0 or 3.1")]
    Version(String),
    /// An operation was asked for that is not there.
    #[error("there is no operation `{0}`; name it by its operationId or as `GET /path`")]
    UnknownOperation(String),
    /// A tag was asked for that no operation has.
    #[error("no operation has the tag `{0}`")]
    UnknownTag(String),
    /// The server that was named cannot be used.
    #[error("the server cannot be used: {0}")]
    Server(String),
    /// The name for a secret that was given is none.
    #[error("`{0}` is no name of a secret; use capital letters, digits and `_`")]
    SecretName(String),
    /// No slug was given and the title of the API makes none.
    #[error("the title of the API makes no slug; choose one")]
    Slug,
    /// No operation could be converted.
    #[error("no operation can become a tool: {reason}")]
    Nothing {
        /// Why the last one cannot.
        reason: String,
        /// Everything that was not converted.
        skipped: Vec<Skipped>,
    },
    /// The spec does not pass for reasons that no single operation has.
    #[error("the imported spec does not pass: {0}")]
    Refused(Diagnostics),
}
