//! Strangers at the endpoints for revocation, introspection, registrations and pushed requests.

use axum::body::Body;
use bmm_oauth::{EventKind, Outcome};
use http::{Method, Request, StatusCode, header};
use serde_json::json;

use crate::app::*;
use crate::endpoints::*;

/// RFC 7009 section 5: a client ends only what is its own, and the answer does not tell it whether there was anything.
#[tokio::test]
async fn a_stranger_ends_no_grant_and_learns_nothing() {
    let app = App::new();
    let (client, stranger) = (app.client().await, app.client().await);
    let (access, refresh) = app.tokens(&client).await;
    let unknown = revoke(&app, &stranger, "no token at all").await;
    let forged = format!("{}x", access);
    for token in [&access, &refresh, &forged, "..", "a.b.c", &"x".repeat(9000)] {
        let reply = revoke(&app, &stranger, token).await;
        assert_eq!((reply.status, &reply.body), (StatusCode::OK, &unknown.body));
    }
    let reply = revoke(&app, &client, &forged).await;
    assert_eq!((reply.status, &reply.body), (StatusCode::OK, &unknown.body));
    assert_eq!(app.call(&access).await.status, StatusCode::OK);
    assert_eq!(app.refresh(&client, &refresh).await.status, StatusCode::OK);
    let revoked = app.events.take();
    assert!(revoked.iter().all(|event| event.kind != EventKind::GrantRevoked));
    let nobody = Registered {
        id: "nobody".to_owned(),
        secret: None,
    };
    revoke(&app, &nobody, &access)
        .await
        .refused(401, "invalid_client");
    post_form(&app, "/oauth/revoke", &[("client_id", &client.id)])
        .await
        .refused(400, "invalid_request");
    assert_eq!(app.call(&access).await.status, StatusCode::OK);
}

/// RFC 7662 sections 2.1 and 4: nobody tries tokens out here. Public clients, strangers, and resource servers of another resource hear nothing.
#[tokio::test]
async fn introspection_tells_only_whom_it_concerns() {
    let app = App::new();
    let secret = json!({ "redirect_uris": [REDIRECT], "token_endpoint_auth_method": "client_secret_post" });
    let (client, stranger) = (
        app.client_with(secret.clone()).await,
        app.client_with(secret).await,
    );
    let public = app.client().await;
    let (access, refresh) = app.tokens(&client).await;
    let (of_public, _) = app.tokens(&public).await;
    let other = resource_server(&app, &[OTHER_RESOURCE]).await;
    let inactive = json!({ "active": false });
    for asking in [&stranger, &other] {
        for token in [&access, &refresh, &of_public, "x", "a.b.c"] {
            let reply = introspect(&app, asking, token).await;
            assert_eq!((reply.status, reply.json()), (StatusCode::OK, inactive.clone()));
        }
    }
    let refused = app.events.take();
    assert_eq!(refused.last().unwrap().outcome, Outcome::Refused("inactive"));
    introspect(&app, &public, &of_public)
        .await
        .refused(401, "invalid_client");
    let wrong = Registered {
        secret: Some("wrong".to_owned()),
        ..other
    };
    introspect(&app, &wrong, &access)
        .await
        .refused(401, "invalid_client");
    let bearer = Request::post("/oauth/introspect")
        .header(header::AUTHORIZATION, format!("Bearer {access}"))
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(encode(&[("token", &access)])))
        .unwrap();
    app.send(bearer).await.refused(401, "invalid_client");
}

/// Nobody can register as a resource server, or as a client for itself, by asking for it.
#[tokio::test]
async fn what_the_host_alone_gives_cannot_be_registered() {
    let app = App::new();
    let greedy = json!({
        "redirect_uris": [REDIRECT], "token_endpoint_auth_method": "client_secret_post",
        "resource_server_of": [RESOURCE], "metadata": { "resource_server_of": [RESOURCE] },
        "registration_token": "x", "grant_types": ["authorization_code", "client_credentials"],
    });
    let (document, token) = managed(&app, greedy.clone()).await;
    let id = document["client_id"].as_str().unwrap();
    manage(&app, Method::PUT, id, &token, Some(&greedy)).await;
    let stored = app.store.client(id).await.unwrap().unwrap();
    assert!(stored.metadata.resource_server_of.is_empty());
    assert!(
        !stored
            .metadata
            .grant_types
            .contains(bmm_oauth::GrantType::ClientCredentials)
    );
}

/// Nor does an update take away, or bring back, what the host set after the registration.
#[tokio::test]
async fn an_update_leaves_what_the_host_set() {
    let app = App::new();
    let metadata = json!({ "redirect_uris": [REDIRECT], "token_endpoint_auth_method": "client_secret_post" });
    let (document, token) = managed(&app, metadata.clone()).await;
    let id = document["client_id"].as_str().unwrap();
    let mut set = app.store.client(id).await.unwrap().unwrap();
    set.metadata.grant_types = bmm_oauth::GrantTypes::new([bmm_oauth::GrantType::ClientCredentials]);
    set.metadata.resource_server_of = vec![RESOURCE.parse().unwrap()];
    set.metadata.require_pushed_authorization_requests = true;
    app.store.update_client(set.clone()).await.unwrap();
    let reply = manage(&app, Method::PUT, id, &token, Some(&metadata)).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
    let mut updated = app.store.client(id).await.unwrap().unwrap();
    updated.metadata.registration_token = set.metadata.registration_token;
    assert_eq!(updated.metadata, set.metadata);
}

/// RFC 7592 section 2: an unknown client, another client's token, a spent one and none have one answer, and change nothing.
#[tokio::test]
async fn a_registration_is_its_owners() {
    let app = App::new();
    let metadata = json!({ "redirect_uris": [REDIRECT] });
    let (document, token) = managed(&app, metadata.clone()).await;
    let (_, of_other) = managed(&app, metadata.clone()).await;
    let id = document["client_id"].as_str().unwrap();
    let evil = json!({ "client_id": id, "redirect_uris": ["https://evil.example/cb"] });
    let mut bodies = std::collections::HashSet::new();
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        for (id, token) in [
            (id, &*of_other),
            (id, ""),
            (id, "x"),
            ("bmm_unknown", &*token),
            ("%00", &*token),
        ] {
            let reply = manage(&app, method.clone(), id, token, Some(&evil)).await;
            reply.refused(401, "invalid_token");
            assert_eq!(reply.header("www-authenticate"), "Bearer error=\"invalid_token\"");
            bodies.insert(reply.body);
        }
    }
    let bare = app
        .send(request(Method::GET, &format!("/oauth/register/{id}")))
        .await;
    bare.refused(401, "invalid_token");
    bodies.insert(bare.body);
    assert_eq!(bodies.len(), 1);
    for wrong in [
        json!({ "client_id": "another", "redirect_uris": [REDIRECT] }),
        json!({ "client_id": id, "client_secret": "guessed", "redirect_uris": [REDIRECT] }),
        json!([]),
    ] {
        manage(&app, Method::PUT, id, &token, Some(&wrong))
            .await
            .refused(400, "invalid_client_metadata");
    }
    let unsafe_uri = json!({ "client_id": id, "redirect_uris": ["javascript:alert(1)"] });
    manage(&app, Method::PUT, id, &token, Some(&unsafe_uri))
        .await
        .refused(400, "invalid_redirect_uri");
    assert_eq!(
        manage(&app, Method::GET, id, &token, None).await.json()["redirect_uris"],
        json!([REDIRECT])
    );
    let replaced = manage(&app, Method::PUT, id, &token, Some(&metadata)).await;
    assert_eq!(replaced.status, StatusCode::OK, "{}", replaced.body);
    manage(&app, Method::GET, id, &token, None)
        .await
        .refused(401, "invalid_token");
    let host_made = resource_server(&app, &[RESOURCE]).await;
    let reply = manage(&app, Method::GET, &host_made.id.replace(' ', "%20"), "", None).await;
    reply.refused(401, "invalid_token");
}

/// RFC 9126 section 7: a handle is used once, by the client that pushed, in time; and what was pushed cannot be changed on the way.
#[tokio::test]
async fn a_pushed_request_is_used_once_by_its_client_as_it_is() {
    let app = App::new();
    let (client, stranger) = (app.client().await, app.client().await);
    let pushed = async || {
        let reply = push(&app, &client, &[("state", "pushed")]).await;
        reply.json()["request_uri"].as_str().unwrap().to_owned()
    };
    let uri = pushed().await;
    let page = app.send(as_user("alice", bring(&client.id, &uri))).await;
    assert_eq!(page.status, StatusCode::OK);
    app.send(as_user("alice", bring(&client.id, &uri)))
        .await
        .is_local_page();

    let uri = pushed().await;
    app.send(as_user("alice", bring(&stranger.id, &uri)))
        .await
        .is_local_page();

    let uri = pushed().await;
    app.advance(90);
    app.send(as_user("alice", bring(&client.id, &uri)))
        .await
        .is_local_page();

    let uri = pushed().await;
    let changed = encode(&[
        ("client_id", &client.id),
        ("request_uri", &uri),
        ("redirect_uri", "https://evil.example/cb"),
        ("state", "changed"),
        ("scope", "mcp:write"),
    ]);
    let page = app
        .send(as_user(
            "alice",
            request(Method::GET, &format!("/oauth/authorize?{changed}")),
        ))
        .await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.body);
    assert!(!page.body.contains("evil.example") && !page.body.contains("mcp:write"));

    for uri in [
        "urn:ietf:params:oauth:request_uri:",
        "urn:ietf:params:oauth:request_uri:guessed",
    ] {
        app.send(as_user("alice", bring(&client.id, uri)))
            .await
            .is_local_page();
    }
    app.authorize(&client, &[("request_uri", "https://evil.example/request")])
        .await
        .redirects_error("request_uri_not_supported");
}

/// What the authorization endpoint would refuse is refused when it is pushed, and nothing is kept for strangers.
#[tokio::test]
async fn a_bad_request_is_not_taken_in() {
    let app = App::new();
    let client = app.client().await;
    for (changes, error) in [
        (("redirect_uri", "https://evil.example/cb"), "invalid_request"),
        (("redirect_uri", "javascript:alert(1)"), "invalid_request"),
        (("code_challenge", ""), "invalid_request"),
        (("code_challenge_method", "plain"), "invalid_request"),
        (("response_type", "token"), "unsupported_response_type"),
        (("resource", ""), "invalid_target"),
        (("scope", "\""), "invalid_scope"),
        (
            ("request_uri", "urn:ietf:params:oauth:request_uri:x"),
            "invalid_request",
        ),
        (("request", "e30.e30."), "request_not_supported"),
    ] {
        push(&app, &client, &[changes]).await.refused(400, error);
    }
    let nobody = Registered {
        id: "nobody".to_owned(),
        secret: None,
    };
    push(&app, &nobody, &[]).await.refused(401, "invalid_client");
    let unproven = app
        .client_with(
            json!({ "redirect_uris": [REDIRECT], "token_endpoint_auth_method": "client_secret_post" }),
        )
        .await;
    let unproven = Registered {
        secret: None,
        ..unproven
    };
    push(&app, &unproven, &[]).await.refused(401, "invalid_client");
    app.send(request(Method::GET, "/oauth/par"))
        .await
        .status
        .is_client_error();
}

/// Whatever arrives at these endpoints, the answer is an error code and never a 5xx.
#[tokio::test]
async fn malformed_requests_of_the_other_endpoints_get_an_error_code() {
    let app = App::new();
    let (document, token) = managed(&app, json!({ "redirect_uris": [REDIRECT] })).await;
    let id = document["client_id"].as_str().unwrap();
    let bodies: [&[u8]; 8] = [
        b"",
        b"\0",
        b"\xff\xfe",
        b"token=%00",
        b"client_id=%ff&token=x",
        b"{",
        b"a=b&a=b",
        b"token=x&client_id=x&client_id=x",
    ];
    for body in bodies {
        for path in ["/oauth/revoke", "/oauth/introspect", "/oauth/par"] {
            for content_type in ["application/x-www-form-urlencoded", "application/json", ""] {
                let request = Request::post(path).header(header::CONTENT_TYPE, content_type);
                let reply = app.send(request.body(Body::from(body)).unwrap()).await;
                assert!(reply.status.is_client_error(), "{path} {body:?} {}", reply.status);
                assert!(!reply.error().is_empty());
            }
        }
        let request = Request::put(format!("/oauth/register/{id}"))
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .header(header::CONTENT_TYPE, "application/json");
        let reply = app.send(request.body(Body::from(body)).unwrap()).await;
        reply.refused(400, "invalid_client_metadata");
    }
    let large = "x".repeat(20_000);
    for path in ["/oauth/revoke", "/oauth/introspect", "/oauth/par"] {
        post_form(&app, path, &[("token", &large)])
            .await
            .refused(413, "invalid_request");
    }
}

/// Public clients prove nothing, and what is pushed is kept: one address must not fill the store.
#[tokio::test]
async fn a_flood_of_pushed_requests_is_cut_off() {
    let app = App::new();
    let client = app.client().await;
    let from = async |address: [u8; 4]| {
        let query = authorize_request(&client, &[]).uri().query().unwrap().to_owned();
        let mut request = Request::post("/oauth/par")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::from(query))
            .unwrap();
        request
            .extensions_mut()
            .insert(bmm_oauth::ClientAddress(address.into()));
        app.send(request).await.status.as_u16()
    };
    for n in 0..70 {
        assert_eq!(from([192, 0, 2, 1]).await, if n < 60 { 201 } else { 429 }, "{n}");
    }
    assert_eq!(from([192, 0, 2, 2]).await, 201);
}

/// RFC 8628 sections 5.1 and 5.4 (a user code that is guessed, a device that somebody else is talked into approving), RFC 9700 sections 2.1.2 and
/// 2.4 (implicit grant, passwords): what is not there cannot be used.
#[tokio::test]
async fn a_grant_that_is_not_offered_is_refused() {
    let app = App::new();
    let client = app.client().await;
    let code = app.code(&client).await;
    for grant_type in [
        "urn:ietf:params:oauth:grant-type:device_code",
        "urn:openid:params:grant-type:ciba",
        "urn:ietf:params:oauth:grant-type:token-exchange",
        "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "urn:ietf:params:oauth:grant-type:saml2-bearer",
        "client_credentials",
        "password",
        "implicit",
    ] {
        // With everything that another grant would want.
        let mut form = code_form(&client, &code);
        form.retain(|(name, _)| *name != "grant_type");
        form.extend([
            ("grant_type", grant_type),
            ("device_code", &code),
            ("assertion", &code),
        ]);
        form.extend([("username", "alice"), ("password", "x"), ("subject_token", &code)]);
        app.token(&form).await.refused(400, "unsupported_grant_type");
    }
    for response_type in ["token", "code token", "id_token", "none"] {
        app.authorize(&client, &[("response_type", response_type)])
            .await
            .redirects_error("unsupported_response_type");
    }
    let metadata = app.get("/.well-known/oauth-authorization-server").await.json();
    assert!(metadata.get("device_authorization_endpoint").is_none());
    for path in ["/oauth/device_authorization", "/oauth/device", "/device"] {
        let request = Request::post(path).body(Body::from("client_id=x")).unwrap();
        assert_eq!(app.send(request).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    assert!(
        app.exchange(&client, &code).await.status.is_success(),
        "the refusals spent nothing"
    );
}
