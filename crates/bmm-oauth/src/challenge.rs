//! The `WWW-Authenticate` header of RFC 6750 section 3 with the `resource_metadata` parameter of RFC 9728
//! section 5.1: one `Bearer` challenge, every parameter a quoted string.

use http::{HeaderValue, StatusCode};

use crate::metadata::metadata_url;
use crate::resource_uri::ResourceUri;
use crate::scope::Scopes;

/// Why a request to a protected resource is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No credentials: RFC 6750 section 3.1 wants no error code then.
    NoToken,
    /// A malformed `Authorization`, or a token in two places.
    MalformedRequest,
    /// Expired, forged, for somebody else: which of these is only logged.
    InvalidToken,
    /// A good token that may not do this.
    InsufficientScope,
}

impl Refusal {
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::NoToken | Self::InvalidToken => StatusCode::UNAUTHORIZED,
            Self::MalformedRequest => StatusCode::BAD_REQUEST,
            Self::InsufficientScope => StatusCode::FORBIDDEN,
        }
    }

    pub(crate) fn code(self) -> Option<&'static str> {
        match self {
            Self::NoToken => None,
            Self::MalformedRequest => Some("invalid_request"),
            Self::InvalidToken => Some("invalid_token"),
            Self::InsufficientScope => Some("insufficient_scope"),
        }
    }

    /// Clients search the header by substring: keep `scope=`, `error=` and quotes out of these texts.
    pub(crate) fn description(self) -> &'static str {
        match self {
            Self::NoToken => "this resource needs an access token",
            Self::MalformedRequest => "send exactly one access token, in the Authorization header",
            Self::InvalidToken => "the access token is not valid here",
            Self::InsufficientScope => "the access token does not cover this operation",
        }
    }
}

/// The header value; `scopes` is what this request needs.
pub(crate) fn challenge(refusal: Refusal, resource: &ResourceUri, scopes: &Scopes) -> HeaderValue {
    let mut parameters = Vec::with_capacity(4);
    if let Some(code) = refusal.code() {
        parameters.push(parameter("error", code));
        parameters.push(parameter("error_description", refusal.description()));
    }
    parameters.push(parameter("resource_metadata", &metadata_url(resource)));
    if !scopes.is_empty() {
        parameters.push(parameter("scope", &scopes.to_string()));
    }
    let text = format!("Bearer {}", parameters.join(", "));
    HeaderValue::from_str(&text).expect("quoting leaves printable ASCII only")
}

/// `name="value"` with a quoted-string of RFC 9110 section 5.6.4. What cannot stand in one is dropped, so that no value can
/// end the header or begin another parameter.
fn parameter(name: &str, value: &str) -> String {
    let mut text = format!("{name}=\"");
    for c in value.chars().filter(|c| c.is_ascii_graphic() || *c == ' ') {
        if matches!(c, '"' | '\\') {
            text.push('\\');
        }
        text.push(c);
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_value_cannot_leave_its_quotes() {
        assert_eq!(
            parameter("scope", "a\", error=\"x\r\nSet-Cookie: y\\"),
            r#"scope="a\", error=\"xSet-Cookie: y\\""#
        );
    }
}
