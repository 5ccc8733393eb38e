//! Public addresses of servers, and what a slug may be at this border.

use url::Url;

/// Longest slug.
pub(crate) const MAX_SLUG_BYTES: usize = 40;

/// The public place under which all servers are reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Without a trailing slash.
    origin: String,
}

impl Site {
    /// `public_url` is an origin: `https://mcp.example.com`, or `http://127.0.0.1:4000` on one machine.
    pub fn new(public_url: &str) -> Result<Self, SiteError> {
        let url = Url::parse(public_url).map_err(|_| SiteError::NotAUrl)?;
        if !matches!(url.scheme(), "https" | "http") || !url.has_host() {
            return Err(SiteError::NotAUrl);
        }
        let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        if !bare || !url.username().is_empty() || url.password().is_some() {
            return Err(SiteError::MoreThanAnOrigin);
        }
        Ok(Self {
            origin: url.origin().ascii_serialization(),
        })
    }

    /// Scheme, host and port, without a trailing slash.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The MCP URL of a server: what its user is shown, what its runner is told, and the OAuth resource it protects.
    /// Nothing else may compute it; these three differed once and every client failed at discovery.
    pub fn mcp_url(&self, slug: &str) -> String {
        format!("{}/{slug}/mcp", self.origin)
    }
}

/// Why a text is not a site's URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SiteError {
    /// Not an absolute http(s) URL.
    #[error("the public URL must be an absolute URL such as https://mcp.example.com")]
    NotAUrl,
    /// It has a path, query, fragment or credentials.
    #[error("the public URL must be scheme, host and port alone, without path, query or credentials")]
    MoreThanAnOrigin,
}

/// A slug that may stand in a route, a file name or a proxy's map: `^[a-z][a-z0-9-]*$`, at most 40 characters.
///
/// Whoever gave the slug out has checked it before (`bmm-spec` also keeps a list of reserved ones); it is checked again
/// here because a route is built from it.
pub(crate) fn is_slug(text: &str) -> bool {
    text.len() <= MAX_SLUG_BYTES
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mcp_url_is_the_origin_the_slug_and_mcp() {
        for public in ["https://mcp.example.com", "https://MCP.example.com:443/"] {
            let site = Site::new(public).expect("valid");
            assert_eq!(site.mcp_url("weather"), "https://mcp.example.com/weather/mcp");
        }
        let local = Site::new("http://127.0.0.1:4000").expect("valid");
        assert_eq!(local.mcp_url("demo"), "http://127.0.0.1:4000/demo/mcp");
    }

    #[test]
    fn more_than_an_origin_is_refused() {
        for public in [
            "https://a.example/base",
            "https://a.example/?x",
            "https://u:p@a.example",
            "https://a.example/#f",
        ] {
            assert_eq!(Site::new(public), Err(SiteError::MoreThanAnOrigin), "{public}");
        }
        for public in ["", "a.example", "ftp://a.example", "file:///etc", "https://"] {
            assert_eq!(Site::new(public), Err(SiteError::NotAUrl), "{public}");
        }
    }

    #[test]
    fn slugs_are_lower_case_words() {
        for good in ["a", "demo", "my-server-2", &"a".repeat(40)] {
            assert!(is_slug(good), "{good}");
        }
        for bad in [
            "",
            "A",
            "1a",
            "-a",
            "a_b",
            "a/b",
            "a.b",
            "a b",
            "ä",
            "a\n",
            "a\";",
            &"a".repeat(41),
        ] {
            assert!(!is_slug(bad), "{bad:?}");
        }
    }
}
