//! What resource indicators and issuer identifiers have in common: absolute, https (or http to this very
//! machine), without user information and without fragment, written in one canonical way.

use url::{Host, Url};

/// Longest accepted identifier, in bytes.
const MAX_BYTES: usize = 2048;

/// Why a string is not an acceptable resource or issuer identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UriError {
    /// Longer than 2048 bytes.
    #[error("longer than 2048 bytes")]
    TooLong,
    /// Not an absolute URI with a host.
    #[error("not an absolute URI; write it like https://mcp.example.com/files/mcp")]
    NotAbsolute,
    /// Neither https, nor http on a loopback address or `localhost`.
    #[error("must be https (plain http only on localhost or a loopback address)")]
    NotSecure,
    /// `user:password@` in the authority.
    #[error("must not contain user information")]
    UserInfo,
    /// `#…` at the end (RFC 8707 section 2, RFC 8414 section 2).
    #[error("must not contain a fragment")]
    Fragment,
    /// `?…` in an issuer identifier (RFC 8414 section 2).
    #[error("must not contain a query")]
    Query,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Http {
    /// Plain http reaches loopback only.
    LoopbackOnly,
    /// The operator took the responsibility (`insecure_http`).
    Anywhere,
}

pub(crate) fn parse(text: &str, http: Http) -> Result<Url, UriError> {
    if text.len() > MAX_BYTES {
        return Err(UriError::TooLong);
    }
    // The URL parser forgives blanks, tabs, line feeds and backslashes; an identifier that is compared must not.
    if text
        .chars()
        .any(|c| c.is_control() || c.is_whitespace() || c == '\\')
    {
        return Err(UriError::NotAbsolute);
    }
    let url = Url::parse(text).map_err(|_| UriError::NotAbsolute)?;
    let Some(host) = url.host() else {
        return Err(UriError::NotAbsolute);
    };
    match url.scheme() {
        "https" => {}
        "http" if http == Http::Anywhere || is_loopback(&host) => {}
        _ => return Err(UriError::NotSecure),
    }
    if !url.username().is_empty() || url.password().is_some() || authority(text).contains('@') {
        return Err(UriError::UserInfo);
    }
    if url.fragment().is_some() {
        return Err(UriError::Fragment);
    }
    Ok(url)
}

/// 127.0.0.0/8, ::1 and the name `localhost`, which clients use interchangeably with the addresses.
pub(crate) fn is_loopback<S: AsRef<str>>(host: &Host<S>) -> bool {
    match host {
        Host::Domain(name) => name.as_ref().eq_ignore_ascii_case("localhost"),
        Host::Ipv4(ip) => ip.is_loopback(),
        Host::Ipv6(ip) => ip.is_loopback(),
    }
}

/// `scheme://host[:port]` of a URL that has a host.
pub(crate) fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

fn authority(text: &str) -> &str {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}
