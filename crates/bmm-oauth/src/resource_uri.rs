//! The identifier of a protected resource (RFC 8707 section 2, RFC 9728 section 1.2).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use url::Url;

use crate::absolute_uri::{self, Http, UriError};

/// An absolute URI that names one protected resource: for an MCP server its exact URL.
///
/// Canonical: scheme and host in lower case, no default port, no slash after a bare origin. Everything
/// else is significant, so `https://h/a` and `https://h/a/` are two resources. Plain http is accepted only
/// on a loopback address or `localhost`.
///
/// ```
/// use bmm_oauth::ResourceUri;
/// let resource: ResourceUri = "HTTPS://MCP.example.com:443/files/mcp".parse()?;
/// assert_eq!(resource.to_string(), "https://mcp.example.com/files/mcp");
/// assert!("http://mcp.example.com/files/mcp".parse::<ResourceUri>().is_err());
/// # Ok::<(), bmm_oauth::UriError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ResourceUri {
    text: String,
}

impl ResourceUri {
    /// Like parsing, but plain http to any host is taken. Tokens then cross the network in the clear.
    pub fn insecure_http(text: &str) -> Result<Self, UriError> {
        Self::canonical(text, Http::Anywhere)
    }

    /// The canonical text, as it stands in `aud` and in the metadata.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// `scheme://host[:port]`.
    pub(crate) fn origin(&self) -> String {
        absolute_uri::origin(&self.url())
    }

    pub(crate) fn url(&self) -> Url {
        Url::parse(&self.text).expect("the text was written by the URL parser")
    }

    fn canonical(text: &str, http: Http) -> Result<Self, UriError> {
        let url = absolute_uri::parse(text, http)?;
        let mut text = String::from(url.clone());
        if url.path() == "/" && url.query().is_none() {
            text.pop();
        }
        Ok(Self { text })
    }
}

impl FromStr for ResourceUri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        Self::canonical(text, Http::LoopbackOnly)
    }
}

impl TryFrom<String> for ResourceUri {
    type Error = UriError;

    fn try_from(text: String) -> Result<Self, UriError> {
        text.parse()
    }
}

impl From<ResourceUri> for String {
    fn from(uri: ResourceUri) -> Self {
        uri.text
    }
}

impl fmt::Display for ResourceUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for ResourceUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
