//! Attempts to reach what is not one's own.

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::json;

use crate::routing::{Mirror, json_of};
use crate::trials;

trials!(
    no_spelling_of_a_path_reaches_another_server,
    no_text_but_a_slug_becomes_a_route,
    forwarding_headers_from_outside_change_nothing,
);

/// Path confusion between proxies (CWE-22, CWE-436; CVE-2021-41773 and CVE-2020-5902 are of this kind): every server that sees
/// the path must read it alike, so what has two readings has none here.
async fn no_spelling_of_a_path_reaches_another_server() {
    let mirror = Mirror::new(&["mine", "victim"]);
    for path in [
        "/mine/../victim/mcp",
        "/mine/..%2fvictim/mcp",
        "/mine/%2e%2e/victim/mcp",
        "/mine/.%2E/victim/mcp",
        "/mine/./../victim/mcp",
        "/mine%2f..%2fvictim/mcp",
        "/mine/..;/victim/mcp",
        "/mine//victim/mcp",
        "//victim/mcp",
        "/./victim/mcp",
        "/%76ictim/mcp",
        "/VICTIM/mcp",
        "/Victim/mcp",
        "/victim%00/mcp",
        "/victim%20/mcp",
        "/victim./mcp",
        "/victim;x/mcp",
        "/victim%2Fmcp",
        "/mine/..%5cvictim/mcp",
        "/mine/%5c..%5cvictim",
        "/.well-known/oauth-protected-resource/mine/../victim/mcp",
        "/.well-known/oauth-protected-resource/mine%2f..%2fvictim/mcp",
        "/.well-known/oauth-protected-resource//victim/mcp",
        "/.well-known/oauth-protected-resource/VICTIM/mcp",
        "/.well-known/../victim/mcp",
        "/.well-known/oauth-protected-resource/victim/mcp/../../mine/mcp",
    ] {
        let (status, body) = mirror.get(path).await;
        assert_eq!(
            (status, &body["error"]),
            (StatusCode::NOT_FOUND, &json!("not_found")),
            "{path}: {body}"
        );
    }
    // The same in the absolute form, which carries a path of its own.
    let absolute = Request::get("http://mcp.example.com/mine/../victim/mcp")
        .body(Full::<Bytes>::default())
        .unwrap();
    assert_eq!(
        mirror.router.handle(absolute).await.status(),
        StatusCode::NOT_FOUND
    );
    let connect = Request::connect("victim:443")
        .body(Full::<Bytes>::default())
        .unwrap();
    assert_eq!(
        mirror.router.handle(connect).await.status(),
        StatusCode::NOT_FOUND
    );
}

async fn no_text_but_a_slug_becomes_a_route() {
    let mirror = Mirror::new(&["mine"]);
    let upstream = mirror.routes.get("mine").unwrap();
    for slug in [
        "",
        "..",
        ".",
        "a/b",
        "A",
        "a b",
        "a\n",
        "a;b",
        "a\" {",
        "-a",
        "1a",
        ".well-known",
        &"a".repeat(41),
    ] {
        assert!(mirror.routes.set(slug, upstream.clone()).is_err(), "{slug:?}");
    }
}

/// A runner builds no URL from a request, and is not told lies to build one from (CWE-644).
async fn forwarding_headers_from_outside_change_nothing() {
    let mirror = Mirror::new(&["mine"]);
    let mut request = Request::get("/mine/mcp").header("host", "mcp.example.com");
    for name in [
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-forwarded-prefix",
        "forwarded",
        "x-real-ip",
    ] {
        request = request.header(name, "evil");
    }
    let body = json_of(
        mirror
            .router
            .handle(request.body(Full::<Bytes>::default()).unwrap())
            .await,
    )
    .await;
    assert_eq!(body["headers"], json!({ "host": "mcp.example.com" }));
}
