//! Finding the access token of a request (RFC 6750 section 2, RFC 9449 section 7.1). Only the `Authorization` header counts.

use http::{HeaderMap, Uri, header};

/// How a token is presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Bearer,
    /// With a proof of the key that it is bound to.
    Dpop,
}

impl Scheme {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bearer => "Bearer",
            Self::Dpop => "DPoP",
        }
    }
}

/// Where a request stands before any verification.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Presented<'a> {
    Nothing,
    Token(Scheme, &'a str),
    /// Two headers, a token that is none, or one in the query besides the header (RFC 6750 section 3.1, `invalid_request`).
    Malformed,
}

/// A token in the query string alone is as good as none: it is never read (MCP authorization, "Token Handling").
pub(crate) fn presented<'a>(headers: &'a HeaderMap, uri: &Uri) -> Presented<'a> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Presented::Nothing;
    };
    if values.next().is_some() {
        return Presented::Malformed;
    }
    let Ok(text) = value.to_str() else {
        return Presented::Malformed;
    };
    let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
    let schemes = [Scheme::Bearer, Scheme::Dpop];
    let Some(scheme) = schemes
        .into_iter()
        .find(|known| scheme.eq_ignore_ascii_case(known.name()))
    else {
        return Presented::Nothing;
    };
    let token = rest.trim_matches(' ');
    if !is_b64token(token) || has_token_in_query(uri) {
        Presented::Malformed
    } else {
        Presented::Token(scheme, token)
    }
}

/// `b64token` of RFC 6750 section 2.1.
fn is_b64token(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/".contains(&b);
    !body.is_empty() && body.bytes().all(allowed)
}

fn has_token_in_query(uri: &Uri) -> bool {
    let query = uri.query().unwrap_or_default();
    query
        .split('&')
        .any(|pair| pair.split('=').next() == Some("access_token"))
}
