//! Attacks on redirect URIs and on the authorization request, each with its source.

use http::{Method, StatusCode};
use serde_json::json;

use crate::app::*;

/// RFC 9700 section 4.1, CVE-2025-4143.
#[tokio::test]
async fn a_redirect_uri_that_is_not_registered_gets_nothing() {
    let app = App::new();
    let client = app.client().await;
    let wrong = [
        "https://evil.example/cb",
        "https://client.example/cb/",
        "https://client.example/cb?x",
        "https://client.example/CB",
        "https://client.example/cb#x",
        "https://client.example:444/cb",
        "http://client.example/cb",
        "https://client.example/x/../cb",
        "https://client.example@evil.example/cb",
        "https://client.example/cb%00",
        "//client.example/cb",
        "javascript:alert(1)",
    ];
    for uri in wrong {
        app.authorize(&client, &[("redirect_uri", uri)])
            .await
            .is_local_page();
    }
}

/// RFC 6749 section 4.1.3: the code goes with the URI it was sent to.
#[tokio::test]
async fn a_code_is_bound_to_its_redirect_uri() {
    let app = App::new();
    let client = app
        .client_with(json!({ "redirect_uris": [REDIRECT, "https://client.example/2"] }))
        .await;
    let code = app.code(&client).await;
    for uri in ["https://client.example/2", ""] {
        let mut form = code_form(&client, &code);
        form.retain(|(name, _)| *name != "redirect_uri");
        form.push(("redirect_uri", uri));
        app.token(&form).await.refused(400, "invalid_grant");
    }
}

/// RFC 8252 section 7.1, RFC 9700 section 4.11: schemes that run code.
#[tokio::test]
async fn dangerous_redirect_schemes_cannot_be_registered() {
    let app = App::with(|config| config.known_app_schemes.push("javascript".to_owned()));
    let wrong = [
        "javascript:alert(1)",
        "data:text/html,<script>",
        "vbscript:x",
        "file:///etc/passwd",
        "http://evil.example/",
        "blob:x",
        "",
    ];
    for uri in wrong {
        app.register(json!({ "redirect_uris": [uri] }))
            .await
            .refused(400, "invalid_redirect_uri");
    }
    app.register(json!({ "redirect_uris": [] }))
        .await
        .refused(400, "invalid_redirect_uri");
    app.register(json!({})).await.refused(400, "invalid_redirect_uri");
}

/// RFC 9700 section 4.11.2: an error is no reason to redirect to whoever asks.
#[tokio::test]
async fn errors_redirect_only_to_a_verified_client() {
    let app = App::new();
    let client = app.client().await;
    let nobody = Registered {
        id: "bmm_nobody".to_owned(),
        secret: None,
    };
    app.authorize(&nobody, &[]).await.is_local_page();
    app.authorize(&nobody, &[("response_type", "token")])
        .await
        .is_local_page();
    app.authorize(
        &client,
        &[
            ("redirect_uri", "https://evil.example/"),
            ("response_type", "token"),
        ],
    )
    .await
    .is_local_page();
    app.authorize(&client, &[("response_type", "token")])
        .await
        .redirects_error("unsupported_response_type");
    app.authorize(&client, &[("response_type", "code token")])
        .await
        .redirects_error("unsupported_response_type");
}

/// RFC 9700 section 4.11.2: whoever registers a client chooses where its errors go, so a link to us with an error in it is a link to a phishing
/// page, unless the user has signed in first.
#[tokio::test]
async fn an_error_redirects_nobody_who_is_not_signed_in() {
    let app = App::new();
    let client = app.client().await;
    for wrong in [
        ("response_type", "token"),
        ("scope", "\""),
        ("resource", "not a uri"),
        ("code_challenge", ""),
    ] {
        let reply = app.send(authorize_request(&client, &[wrong])).await;
        assert!(
            reply.header("location").starts_with("/login?"),
            "{wrong:?} leads to {}",
            reply.header("location")
        );
    }
}

/// RFC 6749 section 3.1.
#[tokio::test]
async fn duplicated_parameters_are_refused() {
    let app = App::new();
    let client = app.client().await;
    let uri = authorize_request(&client, &[]).uri().to_string();
    for (extra, local) in [
        ("client_id=x", true),
        ("redirect_uri=https://evil.example/", true),
        ("state=2", false),
        ("scope=&scope=", false),
    ] {
        let reply = app
            .send(as_user("alice", request(Method::GET, &format!("{uri}&{extra}"))))
            .await;
        if local {
            reply.is_local_page()
        } else {
            reply.redirects_error("invalid_request")
        }
    }
    let two = app
        .send(as_user(
            "alice",
            request(
                Method::GET,
                &format!("{uri}&resource=https://auth.example/mail/mcp"),
            ),
        ))
        .await;
    two.redirects_error("invalid_target");
    let code = app.code(&client).await;
    let mut form = code_form(&client, &code);
    form.push(("code_verifier", VERIFIER));
    app.token(&form).await.refused(400, "invalid_request");
}

/// RFC 9101: what is not understood must not be ignored, or the parameters seen are not the ones meant.
#[tokio::test]
async fn request_objects_are_refused() {
    let app = App::new();
    let client = app.client().await;
    app.authorize(&client, &[("request", "e30.e30.")])
        .await
        .redirects_error("request_not_supported");
    app.authorize(&client, &[("request_uri", "https://evil.example/r")])
        .await
        .redirects_error("request_uri_not_supported");
    app.authorize(&client, &[("response_mode", "fragment")])
        .await
        .redirects_error("invalid_request");
}

/// RFC 9700 section 4.1.3, RFC 3986 section 6.2.1: URIs are compared byte by byte, so only the plainest spelling is taken; and what ends an
/// attribute or a header stands in none, whichever its scheme.
#[tokio::test]
async fn a_redirect_uri_in_another_spelling_cannot_be_registered() {
    let app = App::new();
    let wrong = [
        "https://CLIENT.example/",
        "https://client.example:443/",
        "https://client.example:443",
        "https:client.example",
        "https://client.example/x/..",
        "http://127.1/",
        "http://0x7f000001/",
        "com.example.app:/cb<script>",
        "com.example.app:/cb\"",
        "com.example.app:/cb\\x",
        "com.example.app:/c b",
        "com.example.app:/cb\r\nx",
        "com.example.app:/c\u{e9}",
    ];
    for uri in wrong {
        let reply = app.register(json!({ "redirect_uris": [uri] })).await;
        assert_eq!(reply.error(), "invalid_redirect_uri", "{uri:?}");
    }
}

/// A bound that holds to the byte, for each URI of a registration.
#[tokio::test]
async fn a_redirect_uri_has_2048_bytes_at_most() {
    let app = App::new();
    let of = |bytes: usize| format!("{REDIRECT}/{}", "x".repeat(bytes - REDIRECT.len() - 1));
    let longest = of(2048);
    let client = app.client_with(json!({ "redirect_uris": [longest] })).await;
    let reply = app.authorize(&client, &[("redirect_uri", &longest)]).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
    app.register(json!({ "redirect_uris": [of(2049), REDIRECT] }))
        .await
        .refused(400, "invalid_redirect_uri");
}

/// A registration is bounded in every direction.
#[tokio::test]
async fn a_client_has_sixteen_redirect_uris_at_most() {
    let app = App::new();
    for (count, status) in [(16, StatusCode::CREATED), (17, StatusCode::BAD_REQUEST)] {
        let uris: Vec<_> = (0..count)
            .map(|n| format!("https://client.example/{n}"))
            .collect();
        let reply = app.register(serde_json::json!({ "redirect_uris": uris })).await;
        assert_eq!(reply.status, status, "{}", reply.body);
    }
}
