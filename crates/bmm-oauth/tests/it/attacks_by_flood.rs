//! Floods, malformed requests and lying headers, at every endpoint.

use axum::body::Body;
use http::{Method, Request, header};
use serde_json::json;

use crate::app::*;

/// Registration is open: it must stay cheap.
#[tokio::test]
async fn a_registration_that_is_too_large_is_refused() {
    let app = App::new();
    let reply = app
        .register(json!({ "redirect_uris": [REDIRECT], "client_name": "x".repeat(20_000) }))
        .await;
    reply.refused(413, "invalid_request");
    let many: Vec<String> = (0..17).map(|n| format!("https://client.example/{n}")).collect();
    app.register(json!({ "redirect_uris": many }))
        .await
        .refused(400, "invalid_redirect_uri");
    app.register(json!({ "redirect_uris": [format!("https://client.example/{}", "x".repeat(3000))] }))
        .await
        .refused(400, "invalid_redirect_uri");
}

#[tokio::test]
async fn a_flood_of_registrations_is_cut_off_and_leaves_no_heap() {
    let app = App::with(|config| {
        config.max_registrations_per_minute = 20;
        config.max_unused_clients = 5;
    });
    let used = app.client().await;
    app.tokens(&used).await;
    let mut clients = Vec::new();
    for _ in 0..19 {
        app.advance(1);
        clients.push(app.client().await);
    }
    let reply = app.register(json!({ "redirect_uris": [REDIRECT] })).await;
    reply.refused(429, "temporarily_unavailable");
    assert_eq!(reply.header("retry-after"), "60");
    let mut kept = 0;
    for client in &clients {
        kept += usize::from(app.store.client(&client.id).await.unwrap().is_some());
    }
    assert_eq!(kept, 5, "the oldest that never got a token give way");
    assert!(
        app.store.client(&used.id).await.unwrap().is_some(),
        "who got a token stays"
    );
    app.advance(60);
    app.client().await;
}

#[tokio::test]
async fn malformed_requests_get_an_error_code_and_never_a_5xx() {
    let app = App::new();
    let client = app.client().await;
    let bodies: [&[u8]; 9] = [
        b"",
        b"\0",
        b"\xff\xfe",
        b"grant_type=%00",
        b"grant_type=%ff&client_id=x",
        b"%",
        b"{}",
        b"a=b&a=b",
        b"grant_type=authorization_code&code=\0",
    ];
    for body in bodies {
        for path in ["/oauth/token", "/oauth/register"] {
            for content_type in [
                "application/x-www-form-urlencoded",
                "application/json",
                "text/plain",
                "\u{7f}",
            ] {
                let mut request = Request::post(path).body(Body::from(body)).unwrap();
                request.headers_mut().extend(
                    content_type
                        .parse()
                        .ok()
                        .map(|value| (header::CONTENT_TYPE, value)),
                );
                let reply = app.send(request).await;
                assert!(reply.status.is_client_error(), "{path} {body:?} {}", reply.status);
                assert!(!reply.error().is_empty());
            }
        }
    }
    let large = [
        ("grant_type", "refresh_token"),
        ("client_id", &*client.id),
        ("refresh_token", &*"x".repeat(20_000)),
    ];
    app.token(&large).await.refused(413, "invalid_request");
    let (_, refresh) = app.tokens(&client).await;
    let good = [
        ("grant_type", "refresh_token"),
        ("client_id", &*client.id),
        ("refresh_token", &*refresh),
    ];
    let names: Vec<String> = (0..100).map(|n| format!("p{n}")).collect();
    let many: Vec<(&str, &str)> = good
        .into_iter()
        .chain(names.iter().map(|name| (&**name, "")))
        .collect();
    app.token(&many).await.refused(400, "invalid_request");
    app.token(&[good.as_slice(), &[("x", "\0")]].concat())
        .await
        .refused(400, "invalid_request");
    app.authorize(&client, &[("state", "\0")]).await.is_local_page();
    app.authorize(&client, &[("state", "\u{fffd}")])
        .await
        .is_local_page();
    assert!(
        app.token(&good).await.status.is_success(),
        "the refusals spent nothing"
    );
    app.token(&[("client_id", &client.id)])
        .await
        .refused(400, "invalid_request");
    app.token(&[("client_id", &client.id), ("grant_type", "password")])
        .await
        .refused(400, "unsupported_grant_type");
    for query in [
        "",
        "%",
        "client_id=%00",
        "client_id=%ff",
        "a=1&".repeat(100).as_str(),
    ] {
        app.send(as_user(
            "alice",
            request(Method::GET, &format!("/oauth/authorize?{query}")),
        ))
        .await
        .is_local_page();
    }
    for scope in ["\"", "a\\b", "\u{e9}", &"x".repeat(5000)] {
        app.authorize(&client, &[("scope", scope)])
            .await
            .redirects_error("invalid_scope");
    }
    for challenge in ["short", &"x".repeat(44), &"=".repeat(43)] {
        app.authorize(&client, &[("code_challenge", challenge)])
            .await
            .redirects_error("invalid_request");
    }
}

/// RFC 9110 section 17.1: the Host header and its forwarded kin are the client's words.
#[tokio::test]
async fn lies_about_the_host_change_nothing() {
    let app = App::new();
    let client = app.client().await;
    let lie = |mut request: Request<Body>| {
        for name in [
            "host",
            "x-forwarded-host",
            "forwarded",
            "x-forwarded-proto",
            "x-original-url",
            "x-forwarded-prefix",
        ] {
            request
                .headers_mut()
                .insert(name, "evil.example".parse().unwrap());
        }
        request
    };
    for path in [
        "/.well-known/oauth-authorization-server",
        "/.well-known/oauth-protected-resource/files/mcp",
        "/oauth/jwks",
    ] {
        let (honest, lying) = (
            app.get(path).await,
            app.send(lie(request(Method::GET, path))).await,
        );
        assert_eq!(honest.body, lying.body);
    }
    let unsigned = app.send(lie(authorize_request(&client, &[]))).await;
    let (page, challenge) = (
        app.send(lie(as_user("alice", authorize_request(&client, &[]))))
            .await,
        app.send(lie(request(Method::POST, "/files/mcp"))).await,
    );
    for reply in [unsigned, page, challenge] {
        assert!(!reply.body.contains("evil.example"));
        assert!(
            reply
                .headers
                .values()
                .all(|value| !value.to_str().unwrap().contains("evil.example")),
            "{:?}",
            reply.headers
        );
    }
}

/// OWASP HTTP response splitting, through `state`.
#[tokio::test]
async fn a_state_cannot_leave_its_parameter() {
    let app = App::new();
    let client = app.client().await;
    let state = "x\r\nset-cookie: a=b&code=stolen#\u{e9} \"";
    let page = app.consent_page_for("alice", &client, &[("state", state)]).await;
    let reply = app.decide(&page, "deny").await;
    assert_eq!(reply.location_parameter("state").as_deref(), Some(state));
    assert_eq!(reply.location_parameter("code"), None);
    assert!(!reply.headers.contains_key("set-cookie"));
}
