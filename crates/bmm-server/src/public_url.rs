//! Where clients reach this server: decided from flags, never from a request.

use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use url::{Host, Url};

/// An origin without a trailing slash, `https://mcp.example.com`: the issuer, and what all other URLs begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PublicUrl {
    url: Url,
    text: String,
}

impl PublicUrl {
    /// The public URL for these flags. `listening` is the address actually bound.
    ///
    /// # Errors
    ///
    /// One line that says what to do, if the URL is not an origin, or if others would talk plain http to it.
    pub(crate) fn decide(
        flag: Option<&str>,
        listening: SocketAddr,
        insecure_http: bool,
    ) -> anyhow::Result<Self> {
        let url = match flag {
            Some(text) => Url::parse(text).with_context(|| format!("--public-url {text:?} is not a URL"))?,
            None => Url::parse(&format!("http://{listening}")).context("the listening address as a URL")?,
        };
        let plain_origin = matches!(url.scheme(), "http" | "https")
            && url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        if !plain_origin {
            bail!("--public-url must be an origin such as https://mcp.example.com, without a path");
        }
        if flag.is_none() && listening.ip().is_unspecified() {
            bail!(
                "clients cannot connect to {}: name the address they use with --public-url",
                listening.ip()
            );
        }
        let stays_here = is_loopback(&url) && listening.ip().is_loopback();
        if url.scheme() != "https" && !stays_here && !insecure_http {
            bail!(
                "refusing plain http beyond this machine: give an https --public-url (and put a TLS proxy in front), \
                 or --insecure-http to let tokens travel unprotected"
            );
        }
        let text = url.as_str().trim_end_matches('/').to_owned();
        Ok(Self { url, text })
    }

    /// The URL without a trailing slash.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// `path` (with its leading slash) on this origin.
    pub(crate) fn join(&self, path: &str) -> String {
        format!("{}{path}", self.text)
    }

    pub(crate) fn is_https(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// The host, for comparing with a `Host` header: lower case, without port, IPv6 in brackets.
    pub(crate) fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(flag: Option<&str>, listen: &str, insecure_http: bool) -> Result<String, String> {
        PublicUrl::decide(flag, listen.parse().expect("an address"), insecure_http)
            .map(|url| url.as_str().to_owned())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_listening_address_is_the_default() {
        assert_eq!(
            decide(None, "127.0.0.1:4000", false).as_deref(),
            Ok("http://127.0.0.1:4000")
        );
        assert_eq!(decide(None, "[::1]:80", false).as_deref(), Ok("http://[::1]"));
    }

    #[test]
    fn plain_http_stays_on_this_machine() {
        assert!(decide(None, "192.0.2.1:4000", false).is_err());
        assert!(decide(Some("http://mcp.example.com"), "127.0.0.1:4000", false).is_err());
        assert!(decide(Some("http://127.0.0.1:4000"), "0.0.0.0:4000", false).is_err());
        assert!(decide(None, "192.0.2.1:4000", true).is_ok());
        assert_eq!(
            decide(Some("https://mcp.example.com/"), "0.0.0.0:4000", false).as_deref(),
            Ok("https://mcp.example.com")
        );
    }

    #[test]
    fn an_unspecified_address_is_no_url() {
        assert!(decide(None, "0.0.0.0:4000", true).is_err());
    }

    #[test]
    fn only_an_origin_will_do() {
        for url in [
            "https://h/a",
            "https://h/?a",
            "https://u@h",
            "ftp://h",
            "h",
            "https://h/#a",
        ] {
            assert!(decide(Some(url), "127.0.0.1:4000", false).is_err(), "{url}");
        }
    }
}
