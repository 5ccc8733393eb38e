//! The `WWW-Authenticate` header of RFC 6750 section 3 and RFC 9449 section 7.1, with the `resource_metadata` parameter of RFC 9728
//! section 5.1: one challenge for each scheme, every parameter a quoted string.

use http::{HeaderValue, StatusCode};

use crate::bearer::Scheme;
use crate::dpop::ALGORITHMS;
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
    /// A bound token without a good proof of its key.
    InvalidProof,
    /// The proof lacks the nonce that comes with this answer.
    UseNonce,
}

impl Refusal {
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::NoToken | Self::InvalidToken | Self::InvalidProof | Self::UseNonce => {
                StatusCode::UNAUTHORIZED
            }
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
            Self::InvalidProof => Some("invalid_dpop_proof"),
            Self::UseNonce => Some("use_dpop_nonce"),
        }
    }

    /// Clients search the header by substring: keep `scope=`, `error=` and quotes out of these texts.
    pub(crate) fn description(self) -> &'static str {
        match self {
            Self::NoToken => "this resource needs an access token",
            Self::MalformedRequest => "send exactly one access token, in the Authorization header",
            Self::InvalidToken => "the access token is not valid here",
            Self::InsufficientScope => "the access token does not cover this operation",
            Self::InvalidProof => "the DPoP proof is not valid for this request",
            Self::UseNonce => "the DPoP proof must hold the nonce of the DPoP-Nonce header",
        }
    }
}

/// The header value for one scheme; `scopes` is what this request needs. Without a refusal it only says that the scheme is taken.
pub(crate) fn challenge(
    scheme: Scheme,
    refusal: Option<Refusal>,
    resource: &ResourceUri,
    scopes: &Scopes,
) -> HeaderValue {
    let mut parameters = Vec::with_capacity(5);
    if let Some(refusal) = refusal
        && let Some(code) = refusal.code()
    {
        parameters.push(parameter("error", code));
        parameters.push(parameter("error_description", refusal.description()));
    }
    if scheme == Scheme::Dpop {
        parameters.push(parameter("algs", &ALGORITHMS.join(" ")));
    }
    parameters.push(parameter("resource_metadata", &metadata_url(resource)));
    if !scopes.is_empty() {
        parameters.push(parameter("scope", &scopes.to_string()));
    }
    let text = format!("{} {}", scheme.name(), parameters.join(", "));
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
