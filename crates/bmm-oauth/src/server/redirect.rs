//! Redirect URIs: which are safe, when two are the same, and how an answer is put into one. Pure functions.

use url::{Host, Url};

use crate::absolute_uri::is_loopback;

/// Longest accepted redirect URI, in bytes.
pub(crate) const MAX_REDIRECT_BYTES: usize = 2048;

/// Schemes that run code, read files or open other applications, whatever a configuration says.
const NEVER: [&str; 17] = [
    "about",
    "blob",
    "chrome",
    "chrome-extension",
    "content",
    "data",
    "file",
    "filesystem",
    "ftp",
    "intent",
    "javascript",
    "jar",
    "mailto",
    "vbscript",
    "view-source",
    "ws",
    "wss",
];

/// Where a redirect URI that may be used leads, as the consent page says it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// A web server.
    Https {
        /// Its host.
        host: String,
    },
    /// A program on the user's computer that listens on a port (RFC 8252 section 7.3).
    Loopback {
        /// `localhost`, or a loopback address.
        host: String,
    },
    /// A program on the user's computer that owns a scheme (RFC 8252 section 7.1).
    PrivateScheme {
        /// The scheme, without its colon.
        scheme: String,
    },
}

/// Why a redirect URI is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RedirectError {
    #[error("it is longer than 2048 bytes")]
    TooLong,
    #[error(
        "it is not an absolute URI in its plainest spelling (lower-case host, dotted IP address, no default port, no dot segments)"
    )]
    NotCanonical,
    #[error("it contains a fragment, user information or a wildcard")]
    ForbiddenPart,
    #[error(
        "its scheme must be https, http on a loopback address, or a private-use scheme such as com.example.app"
    )]
    Scheme,
}

/// Judges one URI. `known_app_schemes` are the schemes accepted without a dot.
pub(crate) fn classify(uri: &str, known_app_schemes: &[String]) -> Result<Target, RedirectError> {
    if uri.len() > MAX_REDIRECT_BYTES {
        return Err(RedirectError::TooLong);
    }
    if !uri.bytes().all(|b| b.is_ascii_graphic())
        || uri.contains(['\\', '"', '<', '>', '`', '{', '}', '|', '^'])
    {
        return Err(RedirectError::NotCanonical);
    }
    let url = Url::parse(uri).map_err(|_| RedirectError::NotCanonical)?;
    if uri.contains('#') || !url.username().is_empty() || url.password().is_some() {
        return Err(RedirectError::ForbiddenPart);
    }
    match url.scheme() {
        "https" | "http" => web_target(uri, &url),
        scheme => {
            let known = known_app_schemes.iter().any(|known| known == scheme);
            // The scheme as written: what the URL parser lower-cases, an operating system may not.
            let as_written = uri.starts_with(&format!("{scheme}:"));
            match as_written && !NEVER.contains(&scheme) && (known || scheme.contains('.')) {
                true => Ok(Target::PrivateScheme {
                    scheme: scheme.to_owned(),
                }),
                false => Err(RedirectError::Scheme),
            }
        }
    }
}

/// Whether an authorization request may use `requested`, given what the client registered: the very same bytes, or, for a loopback
/// http URI, the same but for the port (RFC 8252 section 7.3; clients do it with the name `localhost` as well).
pub(crate) fn matches(registered: &str, requested: &str) -> bool {
    if registered == requested {
        return true;
    }
    let without_port = |uri| {
        classify(uri, &[])
            .ok()
            .filter(|t| matches!(t, Target::Loopback { .. }))
            .and_then(|_| portless(uri))
    };
    matches!((without_port(registered), without_port(requested)), (Some(a), Some(b)) if a == b)
}

/// `uri` with the parameters of an authorization response; what its query holds already stays (RFC 6749 section 3.1.2).
pub(crate) fn with_parameters(uri: &str, parameters: &[(&str, &str)]) -> String {
    let separator = match uri.split_once('?') {
        None => "?",
        Some((_, "")) => "",
        Some((_, query)) if query.ends_with('&') => "",
        Some(_) => "&",
    };
    let encoded = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(parameters)
        .finish();
    format!("{uri}{separator}{encoded}")
}

fn web_target(uri: &str, url: &Url) -> Result<Target, RedirectError> {
    // The parser understands many spellings of one URL (`127.1`, `EXAMPLE.com`, `/a/../b`); only the one it would write itself is
    // taken, so that comparing bytes is comparing URLs.
    let plainest = url.as_str() == uri || url.as_str().strip_suffix('/') == Some(uri) && url.path() == "/";
    if !plainest {
        return Err(RedirectError::NotCanonical);
    }
    let host = url.host().ok_or(RedirectError::NotCanonical)?;
    let name = host.to_string();
    // The URL parser lets hosts contain `;`, `,` and quotes, which mean something else in the next grammar they stand in.
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    let plain_host = matches!(host, Host::Ipv6(_)) || name.bytes().all(plain);
    if !plain_host || name.ends_with('.') {
        return Err(RedirectError::ForbiddenPart);
    }
    match url.scheme() {
        "https" => Ok(Target::Https { host: name }),
        _ if is_loopback(&host) => Ok(Target::Loopback { host: name }),
        _ => Err(RedirectError::Scheme),
    }
}

/// The URI as written, without its port; for URIs that [`classify`] accepts.
fn portless(uri: &str) -> Option<String> {
    let (scheme, rest) = uri.split_once("://")?;
    let (authority, tail) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let host = match authority.rfind(':') {
        Some(colon) if !authority.ends_with(']') => authority.get(..colon)?,
        _ => authority,
    };
    Some(format!("{scheme}://{host}{tail}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOSTS: [&str; 4] = ["127.0.0.1", "127.8.9.10", "[::1]", "localhost"];

    fn known() -> Vec<String> {
        vec!["cursor".to_owned(), "javascript".to_owned()]
    }

    #[test]
    fn schemes_are_judged_by_an_allow_list() {
        let accepted = [
            "https://a.example/cb",
            "http://localhost/cb",
            "http://[::1]:9/",
            "com.example.app:/cb",
            "cursor://x/y",
        ];
        for uri in accepted {
            assert!(classify(uri, &known()).is_ok(), "{uri}");
        }
        let refused = [
            "javascript:alert(1)",
            "JavaScript:alert(1)",
            "data:text/html,x",
            "file:///etc/passwd",
            "vbscript:x",
            "blob:https://a/b",
            "intent://x#Intent;end",
            "http://a.example/cb",
            "claude://x",
            "//a.example/cb",
            "/cb",
            "",
            "about:blank",
            "CURSOR://x",
        ];
        for uri in refused {
            assert!(classify(uri, &known()).is_err(), "{uri}");
        }
    }

    #[test]
    fn only_the_plainest_spelling_is_taken() {
        let refused = [
            "http://127.1/cb",
            "http://0x7f.0.0.1/cb",
            "http://2130706433/cb",
            "https://A.example/cb",
            "https://a.example:443/cb",
            "https://a.example/x/../cb",
            "https://a.example/%2e%2e/cb",
            "https://a.example\\@b.example/",
            "https://u@a.example/cb",
            "https://*.example/cb",
            "https://a.example/cb#x",
            "https://a.example./cb",
            "https://a.example/c b",
            " https://a.example/cb",
            "http://localhost.evil.example/cb",
            "http://127.0.0.1.evil.example/cb",
            "https:a.example/cb",
            "https://a.example;sandbox/cb",
            "https://a.example,b.example/cb",
            "https://a.example'/cb",
            "https:///a.example/cb",
        ];
        for uri in refused {
            assert!(classify(uri, &known()).is_err(), "{uri}");
        }
    }

    proptest! {
        #[test]
        fn a_loopback_port_never_matters(host in 0..HOSTS.len(), a: u16, b: u16, path in "(/[a-z0-9]{0,8}){0,3}") {
            let host = HOSTS[host];
            let (a, b) = (format!("http://{host}:{a}{path}"), format!("http://{host}:{b}{path}"));
            // Port 80 is not the plainest spelling.
            prop_assume!(!a.contains(":80/") && !a.ends_with(":80") && !b.contains(":80/") && !b.ends_with(":80"));
            prop_assert!(matches(&a, &b));
            let portless = format!("http://{host}{path}");
            prop_assert!(matches(&portless, &b));
        }

        #[test]
        fn everything_but_a_loopback_port_matters(
            a in "(https?://(127\\.0\\.0\\.1|localhost|a\\.example)(:[1-9][0-9]{1,3})?(/[ab]{0,2}){0,2}(\\?[ab])?)|(com\\.a:/[ab])",
            b in "(https?://(127\\.0\\.0\\.1|localhost|a\\.example)(:[1-9][0-9]{1,3})?(/[ab]{0,2}){0,2}(\\?[ab])?)|(com\\.a:/[ab])",
        ) {
            if a != b && matches(&a, &b) {
                let strip = |uri: &str| {
                    let url = Url::parse(uri).unwrap();
                    (url.scheme().to_owned(), url.host_str().unwrap().to_owned(), uri.splitn(4, '/').nth(3).map(str::to_owned))
                };
                prop_assert_eq!(strip(&a), strip(&b));
                prop_assert!(a.starts_with("http://127.0.0.1") || a.starts_with("http://localhost"));
            }
        }

        #[test]
        fn parameters_never_change_where_an_answer_goes(value in "\\PC{0,40}") {
            let url = Url::parse(&with_parameters("https://a.example/cb?x=1", &[("state", &value)])).unwrap();
            prop_assert_eq!(url.host_str(), Some("a.example"));
            prop_assert_eq!(url.path(), "/cb");
            let state = url.query_pairs().find(|(name, _)| name == "state").map(|(_, value)| value.into_owned());
            prop_assert_eq!(state, Some(value));
        }
    }
}
