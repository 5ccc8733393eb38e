//! The identifier of an authorization server (RFC 8414 section 2).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use url::Url;

use crate::absolute_uri::{self, Http, UriError};

/// An issuer identifier. It is configuration, never taken from a request, and clients compare it byte for
/// byte (RFC 9207 section 2.4), so a trailing slash is kept as written.
///
/// ```
/// use bmm_oauth::Issuer;
/// let issuer: Issuer = "https://mcp.example.com".parse()?;
/// assert_eq!(issuer.to_string(), "https://mcp.example.com");
/// assert_eq!(issuer.endpoint("/oauth/token"), "https://mcp.example.com/oauth/token");
/// # Ok::<(), bmm_oauth::UriError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Issuer {
    text: String,
}

impl Issuer {
    /// Like parsing, but plain http to any host is taken. Codes and tokens then cross the network in the clear.
    pub fn insecure_http(text: &str) -> Result<Self, UriError> {
        Self::canonical(text, Http::Anywhere)
    }

    /// The identifier as it stands in `iss` and in the metadata.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The absolute URL of an endpoint: `path` (with its slash) below the issuer's own path.
    pub fn endpoint(&self, path: &str) -> String {
        format!("{}{path}", self.text.trim_end_matches('/'))
    }

    /// The issuer's path without a trailing slash: empty, or `/…`.
    pub fn path(&self) -> String {
        self.url().path().trim_end_matches('/').to_owned()
    }

    /// `scheme://host[:port]`, what a browser sends in `Origin`.
    pub fn origin(&self) -> String {
        absolute_uri::origin(&self.url())
    }

    /// Whether browsers may be given `Secure` cookies.
    pub fn is_https(&self) -> bool {
        self.text.starts_with("https:")
    }

    pub(crate) fn url(&self) -> Url {
        Url::parse(&self.text).expect("the text was written by the URL parser")
    }

    fn canonical(text: &str, http: Http) -> Result<Self, UriError> {
        let url = absolute_uri::parse(text, http)?;
        if url.query().is_some() {
            return Err(UriError::Query);
        }
        let mut canonical = String::from(url.clone());
        if url.path() == "/" && !text.ends_with('/') {
            canonical.pop();
        }
        Ok(Self { text: canonical })
    }
}

impl FromStr for Issuer {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        Self::canonical(text, Http::LoopbackOnly)
    }
}

impl TryFrom<String> for Issuer {
    type Error = UriError;

    fn try_from(text: String) -> Result<Self, UriError> {
        text.parse()
    }
}

impl From<Issuer> for String {
    fn from(issuer: Issuer) -> Self {
        issuer.text
    }
}

impl fmt::Display for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
