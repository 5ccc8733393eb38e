//! Attacks on codes, PKCE and client authentication. Each test replays one and cites where it is described; redirects, consent, refresh tokens, access
//! tokens and floods have files of their own.

use std::collections::HashSet;

use http::{StatusCode, header};
use serde_json::json;

use crate::app::*;

/// RFC 6749 section 4.1.2, RFC 9700 section 2.1.1.
#[tokio::test]
async fn a_replayed_code_revokes_what_it_issued() {
    let app = App::new();
    let client = app.client().await;
    let code = app.code(&client).await;
    let (access, refresh) = app.exchange(&client, &code).await.tokens();
    assert_eq!(app.call(&access).await.status, StatusCode::OK);
    app.exchange(&client, &code).await.refused(400, "invalid_grant");
    app.refresh(&client, &refresh).await.refused(400, "invalid_grant");
    assert_eq!(
        app.call(&access).await.status,
        StatusCode::UNAUTHORIZED,
        "the access token ends as well"
    );
}

/// A stranger who saw a code must not be able to end the grant with it.
#[tokio::test]
async fn a_code_replayed_by_a_stranger_revokes_nothing() {
    let app = App::new();
    let (client, stranger) = (app.client().await, app.client().await);
    let code = app.code(&client).await;
    app.exchange(&stranger, &code).await.refused(400, "invalid_grant");
    let (access, _) = app.exchange(&client, &code).await.tokens();
    app.exchange(&stranger, &code).await.refused(400, "invalid_grant");
    let mut form = code_form(&client, &code);
    form.retain(|(name, _)| *name != "code_verifier");
    form.push(("code_verifier", "a-wrong-verifier-of-the-right-length-0123456789"));
    app.token(&form).await.refused(400, "invalid_grant");
    assert_eq!(app.call(&access).await.status, StatusCode::OK);
}

/// Of racing redemptions one succeeds at most.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_racing_code_redemptions_one_wins() {
    let app = std::sync::Arc::new(App::new());
    let client = app.client().await;
    let code = app.code(&client).await;
    let racers: Vec<_> = (0..16)
        .map(|_| {
            let (app, client, code) = (app.clone(), client.clone(), code.clone());
            tokio::spawn(async move { app.exchange(&client, &code).await.status })
        })
        .collect();
    let mut won = 0;
    for racer in racers {
        won += usize::from(racer.await.unwrap() == StatusCode::OK);
    }
    assert_eq!(won, 1);
}

#[tokio::test]
async fn a_code_ends_after_a_minute() {
    let app = App::new();
    let client = app.client().await;
    let code = app.code(&client).await;
    app.advance(60);
    app.exchange(&client, &code).await.refused(400, "invalid_grant");
}

/// RFC 7636 section 4.4.1, OAuth 2.1 section 4.1.1.
#[tokio::test]
async fn a_request_without_pkce_is_refused() {
    let app = App::new();
    let client = app.client().await;
    app.authorize(&client, &[("code_challenge", ""), ("code_challenge_method", "")])
        .await
        .redirects_error("invalid_request");
}

/// RFC 7636 section 7.2: `plain`, also by leaving the method out.
#[tokio::test]
async fn plain_pkce_is_refused() {
    let app = App::new();
    let client = app.client().await;
    for method in ["plain", "", "s256", "S512"] {
        app.authorize(&client, &[("code_challenge_method", method)])
            .await
            .redirects_error("invalid_request");
    }
}

/// RFC 9700 section 4.8, CVE-2025-4144.
#[tokio::test]
async fn a_pkce_downgrade_at_the_token_endpoint_is_refused() {
    let app = App::new();
    let client = app.client().await;
    let code = app.code(&client).await;
    // The challenge itself is what `plain` would accept.
    for (verifier, error) in [
        ("", "invalid_request"),
        (CHALLENGE, "invalid_grant"),
        ("short", "invalid_grant"),
    ] {
        let mut form = code_form(&client, &code);
        form.retain(|(name, _)| *name != "code_verifier");
        form.push(("code_verifier", verifier));
        app.token(&form).await.refused(400, error);
    }
}

/// RFC 8707 section 2.2: a grant is for one resource.
#[tokio::test]
async fn a_refresh_for_another_resource_is_refused() {
    let app = App::new();
    let client = app.client().await;
    let (_, refresh) = app.tokens(&client).await;
    let form = [
        ("grant_type", "refresh_token"),
        ("client_id", &*client.id),
        ("refresh_token", &*refresh),
        ("resource", OTHER_RESOURCE),
    ];
    app.token(&form).await.refused(400, "invalid_target");
    assert_eq!(
        app.refresh(&client, &refresh).await.status,
        StatusCode::OK,
        "the refusal spent nothing"
    );
}

/// RFC 8707 section 2.2, at the code grant.
#[tokio::test]
async fn a_code_for_another_resource_is_refused() {
    let app = App::new();
    let client = app.client().await;
    let code = app.code(&client).await;
    let mut form = code_form(&client, &code);
    form.retain(|(name, _)| *name != "resource");
    form.push(("resource", OTHER_RESOURCE));
    app.token(&form).await.refused(400, "invalid_target");
    app.authorize(&client, &[("resource", "https://auth.example/nowhere")])
        .await
        .redirects_error("invalid_target");
    app.authorize(&client, &[("resource", "not a uri")])
        .await
        .redirects_error("invalid_target");
}

/// RFC 6749 section 2.3.
#[tokio::test]
async fn two_client_authentications_at_once_are_refused() {
    use base64::Engine as _;
    let app = App::new();
    for method in ["client_secret_post", "client_secret_basic"] {
        let metadata = json!({ "redirect_uris": [REDIRECT], "token_endpoint_auth_method": method });
        let client = app.client_with(metadata).await;
        let code = app.code(&client).await;
        // Each of them would do alone.
        let credentials = format!("{}:{}", client.id, client.secret.clone().unwrap());
        let header = format!(
            "Basic {}",
            base64::engine::general_purpose::STANDARD.encode(credentials)
        );
        let mut request = token_request(&code_form(&client, &code));
        request
            .headers_mut()
            .insert(header::AUTHORIZATION, header.parse().unwrap());
        app.send(request).await.refused(400, "invalid_request");
    }
}

/// One answer for an unknown client, a wrong secret, a wrong method and a header that cannot be read: none tells which it is.
#[tokio::test]
async fn a_refused_client_learns_nothing() {
    let app = App::new();
    let secret = json!({ "redirect_uris": [REDIRECT], "token_endpoint_auth_method": "client_secret_post" });
    let (public, confidential) = (app.client().await, app.client_with(secret).await);
    let code = app.code(&confidential).await;
    let unknown = Registered {
        id: "bmm_unknown".to_owned(),
        secret: Some("x".to_owned()),
    };
    let wrong = Registered {
        secret: Some("wrong".to_owned()),
        ..confidential.clone()
    };
    let none = Registered {
        secret: None,
        ..confidential.clone()
    };
    let too_much = Registered {
        secret: Some("x".to_owned()),
        ..public
    };
    let mut bodies = HashSet::new();
    for client in [unknown, wrong, none, too_much] {
        let reply = app.exchange(&client, &code).await;
        reply.refused(401, "invalid_client");
        bodies.insert(reply.body);
    }
    for header_value in [
        "Basic",
        "Basic !!!",
        "Basic Ym1t",
        "Bearer x",
        "Basic OnNlY3JldA==",
    ] {
        let mut request = token_request(&[("grant_type", "refresh_token"), ("refresh_token", "x")]);
        request
            .headers_mut()
            .insert(header::AUTHORIZATION, header_value.parse().unwrap());
        let reply = app.send(request).await;
        reply.refused(401, "invalid_client");
        bodies.insert(reply.body);
    }
    assert_eq!(bodies.len(), 1);
    assert_eq!(app.exchange(&confidential, &code).await.status, StatusCode::OK);
}
