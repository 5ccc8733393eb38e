//! What a request's path means, and which headers go on: decisions over plain data.

use http::header::{
    CONNECTION, EXPECT, FORWARDED, HeaderMap, HeaderName, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE,
};

use crate::site::is_slug;

/// Where the metadata document of a protected resource is, before and after the resource's own path (RFC 9728
/// section 3.1).
const RESOURCE_METADATA: &str = "/.well-known/oauth-protected-resource";

/// A path that belongs to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Destination<'a> {
    pub(crate) slug: &'a str,
    /// What the server sees; starts with `/`.
    pub(crate) path: &'a str,
}

/// Reads a path as it came over the wire. Nothing is decoded, so no spelling of a slug but its own leads to a server; and
/// what two readers could take for different paths (dot segments, empty segments, encoded or back slashes) is nobody's.
pub(crate) fn destination(path: &str) -> Option<Destination<'_>> {
    if let Some(resource) = path.strip_prefix(RESOURCE_METADATA) {
        let slug = resource.strip_prefix('/')?.strip_suffix("/mcp")?;
        return is_slug(slug).then_some(Destination {
            slug,
            path: RESOURCE_METADATA,
        });
    }
    let rest = path.strip_prefix('/')?;
    let (slug, path) = match rest.find('/') {
        Some(end) => rest.split_at(end),
        None => (rest, "/"),
    };
    (is_slug(slug) && is_plain(path)).then_some(Destination { slug, path })
}

/// Removes the headers that speak about one connection only (RFC 9110 section 7.6.1), those that `Connection` names
/// included.
pub(crate) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in [
        CONNECTION,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
        UPGRADE,
    ] {
        headers.remove(name);
    }
    headers.remove("keep-alive");
    headers.remove("proxy-connection");
}

/// Removes what a client could only lie with: who forwarded it, and for whom. `Expect` was answered here.
pub(crate) fn remove_claims(headers: &mut HeaderMap) {
    let claims: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().starts_with("x-forwarded-"))
        .cloned()
        .collect();
    for name in claims {
        headers.remove(name);
    }
    headers.remove(FORWARDED);
    headers.remove("x-real-ip");
    headers.remove(EXPECT);
}

/// What belongs to everything under the site's name, and not to the server that is asked: the session of its pages among it.
pub(crate) const OF_THE_SITE_IN_REQUESTS: [&str; 1] = ["cookie"];

/// What would hold for everything under the site's name, and is not for one server to say.
pub(crate) const OF_THE_SITE_IN_ANSWERS: [&str; 8] = [
    "set-cookie",
    "clear-site-data",
    "strict-transport-security",
    "service-worker-allowed",
    "alt-svc",
    "nel",
    "report-to",
    "accept-ch",
];

/// Removes from a request what a server has no business with.
pub(crate) fn keep_from_server(headers: &mut HeaderMap) {
    for name in OF_THE_SITE_IN_REQUESTS {
        headers.remove(name);
    }
}

/// Removes from an answer what would reach beyond the server.
pub(crate) fn keep_to_server(headers: &mut HeaderMap) {
    for name in OF_THE_SITE_IN_ANSWERS {
        headers.remove(name);
    }
}

/// Characters of a path segment beside letters, digits and escapes (RFC 3986 section 3.3), without `;`, which starts what some
/// cut off, and `!'()*`, which some spell as escapes. `pathmap/vhost.rs` says the same to other proxies.
const SEGMENT_MARKS: &[u8] = b"-._~$&+,=:@";

/// Whether everybody reads this path alike.
fn is_plain(path: &str) -> bool {
    let Some(segments) = path.strip_prefix('/') else {
        return false;
    };
    if segments.is_empty() {
        return true;
    }
    let trailing = segments.strip_suffix('/').unwrap_or(segments);
    trailing.split('/').all(|segment| {
        let dots = segment.replace("%2e", ".").replace("%2E", ".");
        !matches!(dots.as_str(), "" | "." | "..") && is_plain_segment(segment.as_bytes())
    })
}

fn is_plain_segment(mut rest: &[u8]) -> bool {
    while let Some((first, after)) = rest.split_first() {
        rest = match (first, after) {
            // Slash, backslash and zero are not hidden from anybody.
            (b'%', [b'2', b'f' | b'F', ..] | [b'5', b'c' | b'C', ..] | [b'0', b'0', ..]) => return false,
            (b'%', [a, b, after @ ..]) if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => after,
            (mark, after) if mark.is_ascii_alphanumeric() || SEGMENT_MARKS.contains(mark) => after,
            _ => return false,
        };
    }
    true
}

/// Whether a query is visible ASCII: it goes on byte for byte, and is the server's to read.
pub(crate) fn is_plain_query(query: &str) -> bool {
    query
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && !b"\"#".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(path: &str) -> Option<(&str, &str)> {
        destination(path).map(|found| (found.slug, found.path))
    }

    #[test]
    fn a_prefix_is_stripped() {
        assert_eq!(to("/demo/mcp"), Some(("demo", "/mcp")));
        assert_eq!(to("/demo"), Some(("demo", "/")));
        assert_eq!(to("/demo/"), Some(("demo", "/")));
        assert_eq!(to("/demo/a/b/"), Some(("demo", "/a/b/")));
        assert_eq!(
            to("/demo/.well-known/oauth-protected-resource"),
            Some(("demo", RESOURCE_METADATA))
        );
    }

    #[test]
    fn the_path_inserted_metadata_is_the_servers_own() {
        assert_eq!(
            to("/.well-known/oauth-protected-resource/demo/mcp"),
            Some(("demo", RESOURCE_METADATA))
        );
        for nobodys in [
            "/.well-known/oauth-protected-resource",
            "/.well-known/oauth-protected-resource/demo",
            "/.well-known/oauth-protected-resource/demo/mcp/",
            "/.well-known/oauth-protected-resource/demo/other/mcp",
            "/.well-known/oauth-protected-resource/Demo/mcp",
            "/.well-known/oauth-protected-resourcedemo/mcp",
            "/.well-known/oauth-protected-resource//mcp",
        ] {
            assert_eq!(to(nobodys), None, "{nobodys}");
        }
    }

    #[test]
    fn a_path_is_plain_or_nobodys() {
        for plain in [
            "/a%20b",
            "/...",
            "/.a",
            "/%2e%2e%2e",
            "/a/b/",
            "/$&+,=:@-._~",
            "/%25%32%66",
        ] {
            let path = format!("/demo{plain}");
            assert_eq!(to(&path), Some(("demo", plain)), "{plain}");
        }
        for odd in [
            "/..",
            "/.",
            "/%2e",
            "/.%2E/",
            "/a/%2E%2e/b",
            "//",
            "//a",
            "/a//b",
            "/a%2fb",
            "/a%5Cb",
            "/%00",
            "/a\\b",
            "/a;b",
            "/%",
            "/%4",
            "/%4g",
            "/a\"b",
            "/{a}",
            "/a|b",
            "/\u{e4}",
            "/a^b",
        ] {
            assert_eq!(to(&format!("/demo{odd}")), None, "{odd}");
        }
        assert!(is_plain_query("a=b&c=%2F..;{}|'<>`") && !is_plain_query("a b") && !is_plain_query("\u{e4}"));
    }

    #[test]
    fn headers_of_one_connection_and_claims_stay_behind() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Private, te"),
            ("x-private", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("proxy-authorization", "Basic x"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-host", "evil.example"),
            ("x-forwarded-anything", "x"),
            ("forwarded", "for=1.2.3.4"),
            ("x-real-ip", "1.2.3.4"),
            ("host", "mcp.example.com"),
            ("authorization", "Bearer t"),
            ("mcp-session-id", "s"),
        ] {
            headers.insert(HeaderName::from_static(name), value.parse().expect("valid"));
        }
        remove_hop_by_hop(&mut headers);
        remove_claims(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["authorization", "host", "mcp-session-id"]);
    }
}
