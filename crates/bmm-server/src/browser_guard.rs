//! What protects people's browsers: checks of `Host` and `Origin`, and security headers.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::uri::Authority;
use http::{Method, StatusCode, Uri};
use serde_json::json;

use crate::public_url::PublicUrl;

/// Which hosts a request may name.
#[derive(Clone, Debug)]
pub(crate) struct HostGuard {
    public_url: PublicUrl,
    /// On a loopback address a web page of any site reaches us with a name of its own (DNS rebinding). Elsewhere a proxy may
    /// name us as it likes, and no URL is built from the name.
    loopback_only: bool,
}

impl HostGuard {
    pub(crate) fn new(public_url: PublicUrl, listening: SocketAddr) -> Self {
        Self {
            public_url,
            loopback_only: listening.ip().is_loopback(),
        }
    }

    fn admits(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        if !self.loopback_only {
            return true;
        }
        let mut named = headers.get_all(HOST).iter();
        let (first, second) = (named.next(), named.next());
        let header = first
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.parse::<Authority>().ok());
        match (uri.authority(), header, second) {
            (None, Some(host), None) => self.is_ours(&host),
            (Some(uri), Some(host), None) => self.is_ours(uri) && self.is_ours(&host),
            _ => false,
        }
    }

    fn is_ours(&self, authority: &Authority) -> bool {
        let host = authority.host();
        let address = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>();
        !authority.as_str().contains('@')
            && (host.eq_ignore_ascii_case("localhost")
                || host.eq_ignore_ascii_case(self.public_url.host())
                || address.is_ok_and(|address| address.is_loopback()))
    }
}

/// Refuses requests that name a foreign host.
pub(crate) async fn refuse_foreign_host(
    State(guard): State<Arc<HostGuard>>,
    request: Request,
    next: Next,
) -> Response {
    // A probe of the machine's own may use any name; it learns nothing.
    if request.uri().path() == "/health" || guard.admits(request.uri(), request.headers()) {
        next.run(request).await
    } else {
        refusal("foreign_host", "the Host header does not name this server")
    }
}

/// Refuses what another site's page sends with a browser's session (SameSite is the first line, this the second).
pub(crate) async fn refuse_foreign_origin(
    State(guard): State<Arc<HostGuard>>,
    request: Request,
    next: Next,
) -> Response {
    let safe = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let origin = request.headers().get(ORIGIN);
    let own = origin.is_none_or(|origin| {
        let host = request.headers().get(HOST);
        origin == guard.public_url.as_str()
            || (guard.loopback_only
                && origin
                    .to_str()
                    .ok()
                    .and_then(|origin| origin.strip_prefix("http://"))
                    .is_some_and(|authority| host.is_some_and(|host| host == authority)))
    });
    if safe || own {
        next.run(request).await
    } else {
        refusal(
            "foreign_origin",
            "this may only be sent from this server's own pages",
        )
    }
}

/// Headers of everything that is shown in a browser: no scripts, no frames, nothing from elsewhere, nothing kept.
pub(crate) async fn page_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    // No `form-action`: browsers apply it to the redirects after a form as well, and signing in may lead on to an application's
    // own address.
    let values: [(HeaderName, &str); 5] = [
        (
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'",
        ),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Not `no-referrer`: with it browsers send `Origin: null` with our own forms.
        (REFERRER_POLICY, "same-origin"),
        (CACHE_CONTROL, "no-store"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
    ];
    for (name, value) in values {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

fn refusal(error: &'static str, message: &'static str) -> Response {
    (
        StatusCode::FORBIDDEN,
        Json(json!({ "error": error, "message": message })),
    )
        .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(listening: &str, uri: &str, hosts: &[&str]) -> bool {
        let listening = listening.parse().expect("an address");
        let public_url = PublicUrl::decide(Some("https://mcp.example.com"), listening, false).expect("a URL");
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(HOST, HeaderValue::from_str(host).expect("a value"));
        }
        HostGuard::new(public_url, listening).admits(&uri.parse().expect("a URI"), &headers)
    }

    #[test]
    fn loopback_names_and_the_public_host_are_ours() {
        for host in [
            "127.0.0.1:4000",
            "localhost",
            "LOCALHOST:1",
            "[::1]:4000",
            "127.9.9.9",
            "mcp.example.com",
        ] {
            assert!(admits("127.0.0.1:4000", "/", &[host]), "{host}");
        }
    }

    #[test]
    fn rebound_and_ambiguous_names_are_foreign() {
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "x@localhost",
            "",
            "192.0.2.1",
        ] {
            assert!(!admits("127.0.0.1:4000", "/", &[host]), "{host}");
        }
        assert!(!admits("127.0.0.1:4000", "/", &[]));
        assert!(!admits("127.0.0.1:4000", "/", &["localhost", "evil.example"]));
        assert!(!admits("127.0.0.1:4000", "http://evil.example/", &["localhost"]));
    }

    #[test]
    fn behind_a_proxy_any_name_will_do() {
        assert!(admits("0.0.0.0:4000", "/", &["upstream"]));
    }
}
