//! The walk of an MCP client, from a bare URL to a refreshed token.

use http::{Method, StatusCode};
use serde_json::json;

use crate::app::*;

#[tokio::test]
async fn a_client_gets_from_a_bare_url_to_an_answer() {
    let app = App::new();
    let refused = app.send(request(Method::POST, "/files/mcp")).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    let challenge = refused.header("www-authenticate");
    let url = challenge
        .split("resource_metadata=\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    let metadata = app.get(url.strip_prefix(ORIGIN).unwrap()).await.json();
    assert_eq!(metadata["resource"], RESOURCE);
    assert_eq!(metadata["authorization_servers"], json!([ORIGIN]));
    let server = app.get("/.well-known/oauth-authorization-server").await.json();
    assert_eq!(server["issuer"], ORIGIN);

    let client = app.client().await;
    let code = app.code(&client).await;
    let reply = app.exchange(&client, &code).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
    assert_eq!(reply.header("cache-control"), "no-store");
    assert_eq!(reply.json()["expires_in"], 3600);
    assert_eq!(reply.json()["scope"], "mcp:read");
    let (access, refresh) = reply.tokens();
    let answer = app.call(&access).await;
    assert_eq!(
        (answer.status, answer.body),
        (StatusCode::OK, format!("alice {} mcp:read", client.id))
    );

    app.advance(3600);
    assert_eq!(
        app.call(&access).await.status,
        StatusCode::UNAUTHORIZED,
        "an access token ends at its second"
    );
    let reply = app.refresh(&client, &refresh).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
    assert_eq!(app.call(&reply.tokens().0).await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_answer_carries_state_and_issuer() {
    let app = App::new();
    let client = app.client().await;
    let reply = app.decide(&app.consent_page(&client).await, "allow").await;
    assert_eq!(reply.location_parameter("state").as_deref(), Some("xyz"));
    assert_eq!(reply.location_parameter("iss").as_deref(), Some(ORIGIN));
}

/// RFC 6749 section 3.1.2: the query that a redirect URI has stays.
#[tokio::test]
async fn an_answer_joins_the_query_that_is_there() {
    let app = App::new();
    for (registered, start) in [
        ("https://client.example/cb", "https://client.example/cb?code="),
        ("https://client.example/cb?", "https://client.example/cb?code="),
        (
            "https://client.example/cb?x=1",
            "https://client.example/cb?x=1&code=",
        ),
        (
            "https://client.example/cb?x=1&",
            "https://client.example/cb?x=1&code=",
        ),
    ] {
        let client = app.client_with(json!({ "redirect_uris": [registered] })).await;
        let page = app
            .consent_page_for("alice", &client, &[("redirect_uri", registered)])
            .await;
        let reply = app.decide(&page, "allow").await;
        let location = reply.header("location");
        assert!(location.starts_with(start), "{location}");
    }
}

#[tokio::test]
async fn a_user_who_denies_sends_access_denied() {
    let app = App::new();
    let client = app.client().await;
    let reply = app.decide(&app.consent_page(&client).await, "deny").await;
    reply.redirects_error("access_denied");
    assert_eq!(reply.location_parameter("state").as_deref(), Some("xyz"));
}

#[tokio::test]
async fn somebody_not_signed_in_is_sent_to_sign_in_and_back() {
    let app = App::new();
    let client = app.client().await;
    let reply = app.send(authorize_request(&client, &[])).await;
    assert_eq!(reply.status, StatusCode::SEE_OTHER);
    assert!(reply.header("location").starts_with("/login?next="));
    let back = reply.location_parameter("next").unwrap();
    let page = app.send(as_user("alice", request(Method::GET, &back))).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.body.contains("Test client"));
}

#[tokio::test]
async fn confidential_clients_authenticate_as_they_registered() {
    let app = App::new();
    for method in ["client_secret_basic", "client_secret_post"] {
        let metadata = json!({ "redirect_uris": [REDIRECT], "token_endpoint_auth_method": method });
        let client = app.client_with(metadata).await;
        let secret = client.secret.clone().unwrap();
        let code = app.code(&client).await;
        let public = Registered {
            id: client.id.clone(),
            secret: None,
        };
        let with_header = |form: &[(&str, &str)]| basic(token_request(form), &client.id, &secret);
        let without_secret = app.exchange(&public, &code).await;
        without_secret.refused(401, "invalid_client");
        let (right, wrong) = match method {
            "client_secret_basic" => (
                app.send(with_header(&code_form(&public, &code))).await,
                app.exchange(&client, &code).await,
            ),
            _ => (
                app.exchange(&client, &code).await,
                app.send(with_header(&code_form(&public, &code))).await,
            ),
        };
        assert_eq!(right.status, StatusCode::OK, "{method}: {}", right.body);
        wrong.refused(401, "invalid_client");
    }
}

#[tokio::test]
async fn a_loopback_client_may_listen_on_another_port() {
    let app = App::new();
    for host in ["localhost", "127.0.0.1", "[::1]"] {
        let client = app
            .client_with(json!({ "redirect_uris": [format!("http://{host}/callback")] }))
            .await;
        let asked = format!("http://{host}:41234/callback");
        let page = app
            .consent_page_for("alice", &client, &[("redirect_uri", &asked)])
            .await;
        assert!(
            page.reply.body.contains("Any program on this computer"),
            "a warning"
        );
        let reply = app.decide(&page, "allow").await;
        assert!(
            reply.header("location").starts_with(&format!("{asked}?code=")),
            "{}",
            reply.header("location")
        );
    }
}

#[tokio::test]
async fn a_private_scheme_works_and_is_warned_about() {
    let app = App::new();
    let uri = "claude://oauth/callback";
    let client = app.client_with(json!({ "redirect_uris": [uri] })).await;
    let page = app
        .consent_page_for("alice", &client, &[("redirect_uri", uri)])
        .await;
    assert!(page.reply.body.contains("Any program on this computer"));
    let reply = app.decide(&page, "allow").await;
    assert!(
        reply
            .header("location")
            .starts_with("claude://oauth/callback?code=")
    );
}

#[tokio::test]
async fn a_mixed_registration_is_kept_and_the_unsafe_uri_refused_when_used() {
    let app = App::new();
    let client = app
        .client_with(json!({ "redirect_uris": ["javascript:alert(1)", "https://*.evil.example/", REDIRECT] }))
        .await;
    app.authorize(&client, &[("redirect_uri", "javascript:alert(1)")])
        .await
        .is_local_page();
    app.authorize(&client, &[("redirect_uri", "https://*.evil.example/")])
        .await
        .is_local_page();
    assert_eq!(app.authorize(&client, &[]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn scopes_are_what_was_asked_and_exists() {
    let app = App::new();
    let client = app.client().await;
    let changes = [("scope", "mcp:write offline_access")];
    let page = app.consent_page_for("alice", &client, &changes).await;
    let code = app
        .decide(&page, "allow")
        .await
        .location_parameter("code")
        .unwrap();
    assert_eq!(app.exchange(&client, &code).await.json()["scope"], "mcp:write");
    app.authorize(&client, &[("scope", "nothing:here")])
        .await
        .redirects_error("invalid_scope");
}

#[tokio::test]
async fn a_refresh_may_narrow_the_scopes_but_not_widen_them() {
    let app = App::new();
    let client = app.client().await;
    let page = app
        .consent_page_for("alice", &client, &[("scope", "mcp:read mcp:write")])
        .await;
    let code = app
        .decide(&page, "allow")
        .await
        .location_parameter("code")
        .unwrap();
    let (_, refresh) = app.exchange(&client, &code).await.tokens();
    let form = |token, scope| {
        [
            ("grant_type", "refresh_token"),
            ("client_id", &*client.id),
            ("refresh_token", token),
            ("scope", scope),
        ]
    };
    app.token(&form(&refresh, "mcp:read admin"))
        .await
        .refused(400, "invalid_scope");
    let narrowed = app.token(&form(&refresh, "mcp:read")).await;
    assert_eq!(narrowed.json()["scope"], "mcp:read");
    let (_, next) = narrowed.tokens();
    assert_eq!(
        app.refresh(&client, &next).await.json()["scope"],
        "mcp:read mcp:write",
        "the grant is as it was"
    );
}

#[tokio::test]
async fn a_subject_who_lost_access_cannot_refresh() {
    let app = App::new();
    let client = app.client().await;
    let (_, refresh) = app.tokens(&client).await;
    app.banned.lock().unwrap().insert("alice".to_owned());
    app.refresh(&client, &refresh).await.refused(400, "invalid_grant");
    app.banned.lock().unwrap().clear();
    assert_eq!(
        app.refresh(&client, &refresh).await.status,
        StatusCode::OK,
        "the refusal spent nothing"
    );
}

#[tokio::test]
async fn a_subject_who_lost_every_scope_of_a_grant_cannot_refresh() {
    let app = App::new();
    let client = app.client().await;
    let (_, refresh) = app.tokens(&client).await;
    app.banned.lock().unwrap().insert(SCOPES_ARE_OTHERS.to_owned());
    app.refresh(&client, &refresh).await.refused(400, "invalid_grant");
    app.banned.lock().unwrap().clear();
    assert_eq!(
        app.refresh(&client, &refresh).await.json()["scope"],
        "mcp:read",
        "the refusal spent nothing"
    );
}

#[tokio::test]
async fn refresh_tokens_slide_and_end_with_their_grant() {
    const DAY: u64 = 24 * 3600;
    let app = App::new();
    let client = app.client().await;
    let (_, mut refresh) = app.tokens(&client).await;
    for _ in 0..3 {
        app.advance(29 * DAY);
        let reply = app.refresh(&client, &refresh).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
        refresh = reply.tokens().1;
    }
    app.advance(3 * DAY);
    app.refresh(&client, &refresh).await.refused(400, "invalid_grant");
    let (_, idle) = app.tokens(&client).await;
    app.advance(30 * DAY);
    app.refresh(&client, &idle).await.refused(400, "invalid_grant");
}

#[tokio::test]
async fn a_missing_resource_is_refused_unless_there_is_a_default() {
    let app = App::new();
    let client = app.client().await;
    app.authorize(&client, &[("resource", "")])
        .await
        .redirects_error("invalid_target");
    let app = App::with(|config| config.default_resource = Some(RESOURCE.parse().unwrap()));
    let client = app.client().await;
    assert_eq!(
        app.authorize(&client, &[("resource", "")]).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_redirect_uri_may_be_left_out_where_there_is_one_only() {
    let app = App::new();
    let client = app.client().await;
    let page = app
        .consent_page_for("alice", &client, &[("redirect_uri", "")])
        .await;
    let code = app
        .decide(&page, "allow")
        .await
        .location_parameter("code")
        .unwrap();
    let form: Vec<_> = code_form(&client, &code)
        .into_iter()
        .filter(|(name, _)| *name != "redirect_uri")
        .collect();
    assert_eq!(app.token(&form).await.status, StatusCode::OK);
    let two = app
        .client_with(json!({ "redirect_uris": [REDIRECT, "https://client.example/2"] }))
        .await;
    app.authorize(&two, &[("redirect_uri", "")]).await.is_local_page();
}

#[tokio::test]
async fn an_issuer_with_a_path_has_its_endpoints_below_it() {
    let app = App::with(|config| config.issuer = "https://auth.example/id".parse().unwrap());
    let metadata = app.get("/.well-known/oauth-authorization-server/id").await.json();
    assert_eq!(metadata["issuer"], "https://auth.example/id");
    assert_eq!(metadata["token_endpoint"], "https://auth.example/id/oauth/token");
    assert_eq!(app.get("/id/oauth/jwks").await.status, StatusCode::OK);
    assert_eq!(
        app.get("/.well-known/oauth-authorization-server").await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn the_hosts_probe_passes_its_own_resource_for_a_short_time() {
    let app = App::new();
    let scopes = bmm_oauth::Scopes::new(["mcp:read"]).unwrap();
    let ttl = std::time::Duration::from_secs(30);
    let token = app
        .server
        .mint_probe_token(&RESOURCE.parse().unwrap(), &scopes, ttl);
    assert_eq!(app.call(&token).await.status, StatusCode::OK);
    let elsewhere = app
        .server
        .mint_probe_token(&OTHER_RESOURCE.parse().unwrap(), &scopes, ttl);
    assert_eq!(app.call(&elsewhere).await.status, StatusCode::UNAUTHORIZED);
    app.advance(30);
    assert_eq!(app.call(&token).await.status, StatusCode::UNAUTHORIZED);
}

fn basic(
    mut request: http::Request<axum::body::Body>,
    id: &str,
    secret: &str,
) -> http::Request<axum::body::Body> {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(format!("{id}:{secret}"));
    request
        .headers_mut()
        .insert("authorization", format!("Basic {text}").parse().unwrap());
    request
}
