//! Attacks on the consent page and its answer, each with its source.

use axum::body::Body;
use http::{Method, Request, StatusCode, header};
use serde_json::json;

use crate::app::*;

/// RFC 9700 section 4.7: cross-site request forgery on the consent form.
#[tokio::test]
async fn a_consent_from_a_foreign_page_does_not_count() {
    let app = App::new();
    let client = app.client().await;
    for origin in [
        Some("https://evil.example"),
        Some("null"),
        Some("http://auth.example"),
        Some("https://auth.example:444"),
        None,
    ] {
        let page = app.consent_page(&client).await;
        let mut request = decision_request(&page, "alice", "allow")
            .body(decision_body(&page, "allow"))
            .unwrap();
        request.headers_mut().remove(header::ORIGIN);
        request
            .headers_mut()
            .extend(origin.map(|origin| (header::ORIGIN, origin.parse().unwrap())));
        let reply = app.send(request).await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN, "{origin:?}");
        assert!(!reply.headers.contains_key("location"));
    }
    let page = app.consent_page(&client).await;
    let request = decision_request(&page, "alice", "allow").header("sec-fetch-site", "cross-site");
    let reply = app
        .send(request.body(decision_body(&page, "allow")).unwrap())
        .await;
    assert_eq!(reply.status, StatusCode::FORBIDDEN);
}

/// MCP security best practices, "Confused Deputy Problem": single-use.
#[tokio::test]
async fn a_consent_handle_works_once_and_not_for_long() {
    let app = App::new();
    let client = app.client().await;
    let page = app.consent_page(&client).await;
    assert_eq!(app.decide(&page, "allow").await.status, StatusCode::SEE_OTHER);
    assert_eq!(app.decide(&page, "allow").await.status, StatusCode::FORBIDDEN);
    let page = app.consent_page(&client).await;
    assert_eq!(app.decide(&page, "deny").await.status, StatusCode::SEE_OTHER);
    assert_eq!(
        app.decide(&page, "allow").await.status,
        StatusCode::FORBIDDEN,
        "a denial cannot be turned"
    );
    let page = app.consent_page(&client).await;
    app.advance(600);
    assert_eq!(app.decide(&page, "allow").await.status, StatusCode::FORBIDDEN);
    let guessed = Page {
        handle: "A".repeat(43),
        ..app.consent_page(&client).await
    };
    assert_eq!(app.decide(&guessed, "allow").await.status, StatusCode::FORBIDDEN);
}

/// CVE-2026-27124: a consent given in one browser, used in another.
#[tokio::test]
async fn a_consent_page_of_another_session_does_not_count() {
    let app = App::new();
    let client = app.client().await;
    let attackers = app.consent_page_for("mallory", &client, &[]).await;
    let victims = app.consent_page(&client).await;
    // The attacker's page in the victim's session, with and without the attacker's cookie.
    let planted = Page {
        cookie: victims.cookie.clone(),
        ..attackers
    };
    assert_eq!(app.decide(&planted, "allow").await.status, StatusCode::FORBIDDEN);
    let attackers = app.consent_page_for("mallory", &client, &[]).await;
    assert_eq!(
        app.decide(&attackers, "allow").await.status,
        StatusCode::FORBIDDEN
    );
    // The same user in another browser.
    let elsewhere = Page {
        cookie: "__Host-bmm_consent=".to_owned() + &"A".repeat(43),
        ..app.consent_page(&client).await
    };
    assert_eq!(
        app.decide(&elsewhere, "allow").await.status,
        StatusCode::FORBIDDEN
    );
    // Two cookies of the name: one of them was planted.
    let page = app.consent_page(&client).await;
    let doubled = Page {
        cookie: format!("{}; __Host-bmm_consent={}", page.cookie, "A".repeat(43)),
        ..page
    };
    assert_eq!(app.decide(&doubled, "allow").await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_consent_by_get_does_not_exist() {
    let app = App::new();
    let client = app.client().await;
    let page = app.consent_page(&client).await;
    let uri = format!(
        "/oauth/consent?{}",
        encode(&[("handle", &page.handle), ("decision", "allow")])
    );
    assert_eq!(
        app.send(as_user("alice", request(Method::GET, &uri)))
            .await
            .status,
        StatusCode::METHOD_NOT_ALLOWED
    );
}

/// Nothing that a form says beside its handle changes what is granted.
#[tokio::test]
async fn fields_added_to_the_consent_form_change_nothing() {
    let app = App::new();
    let client = app.client().await;
    let page = app.consent_page(&client).await;
    let extra = [
        ("redirect_uri", "https://evil.example/"),
        ("scope", "mcp:write"),
        ("resource", OTHER_RESOURCE),
        ("client_id", "x"),
    ];
    let form = [("handle", page.handle.as_str()), ("decision", "allow")]
        .into_iter()
        .chain(extra)
        .collect::<Vec<_>>();
    let request = decision_request(&page, "alice", "allow")
        .body(Body::from(encode(&form)))
        .unwrap();
    let reply = app.send(request).await;
    assert!(reply.header("location").starts_with(REDIRECT));
    let code = reply.location_parameter("code").unwrap();
    assert_eq!(app.exchange(&client, &code).await.json()["scope"], "mcp:read");
}

/// MCP security best practices, "Confused Deputy Problem", and RFC 9700 section 4.4: whoever copies a client's public id and redirect URI, or has
/// taken over another server that sends users on to us, rides on no consent that was given before.
#[tokio::test]
async fn a_consent_is_never_remembered() {
    let app = App::new();
    let client = app.client().await;
    app.tokens(&client).await;
    for prompt in ["", "none"] {
        let page = app
            .consent_page_for("alice", &client, &[("prompt", prompt)])
            .await;
        assert!(!page.reply.headers.contains_key("location"), "{prompt}");
        for said in ["Test client", "client.example", RESOURCE] {
            assert!(page.reply.body.contains(said), "the page names {said}");
        }
    }
}

/// RFC 7591 section 5: what a stranger calls its home page or its logo would be a link of theirs on our page, or a request that tells them who
/// looks.
#[tokio::test]
async fn links_and_pictures_of_a_client_are_never_shown() {
    let app = App::new();
    for url in [
        "javascript:alert(1)",
        "data:text/html,evil",
        "https://tracker.example/",
    ] {
        let members = ["client_uri", "logo_uri", "policy_uri", "tos_uri"];
        let mut metadata = json!({ "redirect_uris": [REDIRECT], "client_name": "A name" });
        for member in members {
            metadata[member] = url.into();
        }
        let reply = app.register(metadata.clone()).await;
        for member in members {
            assert!(reply.json().get(member).is_none(), "{member} is not taken");
        }
        let page = app
            .consent_page(&app.client_with(metadata).await)
            .await
            .reply
            .body;
        assert!(!page.contains(url), "{page}");
        assert!(!page.contains("<a ") && !page.contains("<img"), "{page}");
    }
}

/// Stored cross-site scripting: anybody may register any name.
#[tokio::test]
async fn markup_in_a_client_name_stays_text() {
    let app = App::new();
    let name = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\u{202e}txet\u{200b}\0";
    let client = app
        .client_with(json!({ "redirect_uris": [REDIRECT], "client_name": name }))
        .await;
    let page = app.consent_page(&client).await;
    assert!(
        !page.reply.body.contains("<script") && !page.reply.body.contains("<img"),
        "{}",
        page.reply.body
    );
    assert!(page.reply.body.contains("&lt;script&gt;"));
    assert!(
        !page.reply.body.contains(['\u{202e}', '\u{200b}', '\0']),
        "no character that turns or hides text"
    );
}

/// RFC 9700 section 4.16, OWASP clickjacking; RFC 9700 section 4.2 for the referrer.
#[tokio::test]
async fn the_consent_page_cannot_be_framed_scripted_kept_or_leaked() {
    let app = App::new();
    let client = app.client().await;
    let reply = app.consent_page(&client).await.reply;
    let policy = reply.header("content-security-policy");
    for directive in ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"] {
        assert!(policy.contains(directive), "{policy}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains("script-src"));
    // CSP Level 3, section 6.4.1: it would apply to where the client's redirect URI leads on to as well, and stop it there.
    assert!(!policy.contains("form-action"), "{policy}");
    assert_eq!(reply.header("x-frame-options"), "DENY");
    assert_eq!(reply.header("cache-control"), "no-store");
    assert_eq!(reply.header("referrer-policy"), "same-origin");
    let cookie = reply.header("set-cookie");
    for attribute in [
        "__Host-bmm_consent=",
        "HttpOnly",
        "Secure",
        "SameSite=Lax",
        "Path=/",
    ] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
}

/// Authorize and consent look at cookies, so no page may script them.
#[tokio::test]
async fn authorize_and_consent_answer_no_cors() {
    let app = App::new();
    let client = app.client().await;
    let mut request = as_user("alice", authorize_request(&client, &[]));
    request
        .headers_mut()
        .insert(header::ORIGIN, "https://evil.example".parse().unwrap());
    assert!(
        !app.send(request)
            .await
            .headers
            .contains_key("access-control-allow-origin")
    );
    for path in ["/oauth/authorize", "/oauth/consent"] {
        let preflight = Request::options(path)
            .header("origin", "https://evil.example")
            .header("access-control-request-method", "POST");
        let reply = app.send(preflight.body(Body::empty()).unwrap()).await;
        assert!(
            !reply.headers.contains_key("access-control-allow-origin"),
            "{path}"
        );
    }
}
