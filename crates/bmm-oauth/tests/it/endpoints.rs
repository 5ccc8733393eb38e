//! Revocation (RFC 7009), introspection (RFC 7662), managing a registration (RFC 7592) and pushed requests (RFC 9126), as they are meant.

use axum::body::Body;
use bmm_oauth::*;
use http::{Method, Request, StatusCode, header};
use serde_json::{Value, json};

use crate::app::*;
use crate::client_auth::{asserted, claims, key_client};
use crate::signer::Signer;

pub(crate) async fn post_form(app: &App, path: &str, form: &[(&str, &str)]) -> Reply {
    let request = Request::post(path).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    app.send(request.body(Body::from(encode(form))).unwrap()).await
}

pub(crate) async fn revoke(app: &App, client: &Registered, token: &str) -> Reply {
    let mut form = vec![("client_id", &*client.id), ("token", token)];
    form.extend(client.secret.as_deref().map(|secret| ("client_secret", secret)));
    post_form(app, "/oauth/revoke", &form).await
}

pub(crate) async fn introspect(app: &App, client: &Registered, token: &str) -> Reply {
    let mut form = vec![("client_id", &*client.id), ("token", token)];
    form.extend(client.secret.as_deref().map(|secret| ("client_secret", secret)));
    post_form(app, "/oauth/introspect", &form).await
}

/// A resource server for these resources, with a secret.
pub(crate) async fn resource_server(app: &App, resources: &[&str]) -> Registered {
    let mut metadata = ClientMetadata::default();
    metadata.grant_types = GrantTypes::new([]);
    metadata.resource_server_of = resources
        .iter()
        .map(|resource| resource.parse().unwrap())
        .collect();
    let client = Client {
        id: format!("rs {}", resources.len()),
        secret_hash: Some(SecretHash::of("resource server's secret")),
        auth_method: ClientAuthMethod::ClientSecretPost,
        name: "A resource server".to_owned(),
        redirect_uris: Vec::new(),
        created_at: app.clock.now(),
        used_at: Some(app.clock.now()),
        metadata,
    };
    let id = client.id.clone();
    app.store.put_client(client, 100).await.unwrap();
    Registered {
        id,
        secret: Some("resource server's secret".to_owned()),
    }
}

/// A registration, and the token that manages it.
pub(crate) async fn managed(app: &App, metadata: Value) -> (Value, String) {
    let reply = app.register(metadata).await;
    assert_eq!(reply.status, StatusCode::CREATED, "{}", reply.body);
    let document = reply.json();
    let token = document["registration_access_token"].as_str().unwrap().to_owned();
    (document, token)
}

pub(crate) async fn manage(app: &App, method: Method, id: &str, token: &str, body: Option<&Value>) -> Reply {
    let request = Request::builder()
        .method(method)
        .uri(format!("/oauth/register/{id}"))
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .header(header::CONTENT_TYPE, "application/json");
    let body = body.map_or(Body::empty(), |body| Body::from(body.to_string()));
    app.send(request.body(body).unwrap()).await
}

/// What is pushed for a client, with some of the usual parameters replaced.
pub(crate) async fn push(app: &App, client: &Registered, changes: &[(&str, &str)]) -> Reply {
    let query = authorize_request(client, changes)
        .uri()
        .query()
        .unwrap()
        .to_owned();
    let mut pairs: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    pairs.extend(
        client
            .secret
            .clone()
            .map(|secret| ("client_secret".to_owned(), secret)),
    );
    let form: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (&**name, &**value)).collect();
    post_form(app, "/oauth/par", &form).await
}

pub(crate) fn bring(client_id: &str, request_uri: &str) -> Request<Body> {
    let query = encode(&[("client_id", client_id), ("request_uri", request_uri)]);
    Request::get(format!("/oauth/authorize?{query}"))
        .body(Body::empty())
        .unwrap()
}

#[tokio::test]
async fn any_token_of_a_client_ends_its_grant() {
    let app = App::new();
    let client = app.client().await;
    for which in ["access", "refresh", "spent"] {
        let (access, refresh) = app.tokens(&client).await;
        let token = match which {
            "access" => access.clone(),
            "refresh" => refresh.clone(),
            _ => {
                assert_eq!(app.refresh(&client, &refresh).await.status, StatusCode::OK);
                refresh.clone()
            }
        };
        assert_eq!(app.call(&access).await.status, StatusCode::OK);
        app.events.take();
        let reply = revoke(&app, &client, &token).await;
        assert_eq!(
            (reply.status, reply.header("cache-control")),
            (StatusCode::OK, "no-store")
        );
        let events = app.events.take();
        assert_eq!(events.last().unwrap().kind, EventKind::TokenRevoked);
        assert!(events.last().unwrap().grant_id.is_some());
        assert_eq!(
            app.call(&access).await.status,
            StatusCode::UNAUTHORIZED,
            "{which}"
        );
        app.refresh(&client, &refresh).await.refused(400, "invalid_grant");
        assert_eq!(
            revoke(&app, &client, &token).await.status,
            StatusCode::OK,
            "again"
        );
    }
    let preflight = app.send(request(Method::OPTIONS, "/oauth/revoke")).await;
    assert_eq!(preflight.header("access-control-allow-origin"), "*");
}

#[tokio::test]
async fn a_resource_server_learns_what_a_token_says() {
    let app = App::new();
    let client = app.client().await;
    let (access, refresh) = app.tokens(&client).await;
    let server = resource_server(&app, &[RESOURCE]).await;
    let document = introspect(&app, &server, &access).await.json();
    let grant_id = document["grant_id"].clone();
    assert_eq!(
        document,
        json!({
            "active": true, "iss": ORIGIN, "sub": "alice", "aud": RESOURCE, "client_id": client.id, "scope": "mcp:read",
            "exp": app.clock.now().as_secs() + 3600, "grant_id": grant_id, "token_type": "Bearer",
        })
    );
    let inactive = json!({ "active": false });
    assert_eq!(introspect(&app, &server, &refresh).await.json(), inactive);
    app.server.revoke_grant(grant_id.as_str().unwrap()).await.unwrap();
    assert_eq!(introspect(&app, &server, &access).await.json(), inactive);
    let (access, _) = app.tokens(&client).await;
    app.advance(3600);
    assert_eq!(introspect(&app, &server, &access).await.json(), inactive);
}

#[tokio::test]
async fn a_client_asks_about_its_own_tokens() {
    let app = App::new();
    let client = app
        .client_with(
            json!({ "redirect_uris": [REDIRECT], "token_endpoint_auth_method": "client_secret_post" }),
        )
        .await;
    let (access, refresh) = app.tokens(&client).await;
    for token in [&access, &refresh] {
        let document = introspect(&app, &client, token).await.json();
        assert_eq!(
            (&document["active"], &document["sub"]),
            (&json!(true), &json!("alice"))
        );
    }
}

#[tokio::test]
async fn a_client_reads_replaces_and_removes_its_registration() {
    let app = App::new();
    let (document, token) = managed(&app, json!({ "redirect_uris": [REDIRECT], "client_name": "One" })).await;
    let id = document["client_id"].as_str().unwrap();
    let uri = format!("{ORIGIN}/oauth/register/{id}");
    assert_eq!(document["registration_client_uri"], *uri);
    let read = manage(&app, Method::GET, id, &token, None).await;
    assert_eq!(read.status, StatusCode::OK);
    assert_eq!(read.header("cache-control"), "no-store");
    let mut expected = document.clone();
    expected
        .as_object_mut()
        .unwrap()
        .remove("registration_access_token");
    assert_eq!(read.json(), expected);

    let new = json!({
        "client_id": id, "redirect_uris": ["https://client.example/new"], "client_name": "Two",
        "token_endpoint_auth_method": "client_secret_post",
    });
    let replaced = manage(&app, Method::PUT, id, &token, Some(&new)).await.json();
    assert_eq!(replaced["redirect_uris"], new["redirect_uris"]);
    assert_eq!(
        (&replaced["client_name"], &replaced["client_id"]),
        (&json!("Two"), &json!(id))
    );
    assert_eq!(replaced["client_id_issued_at"], document["client_id_issued_at"]);
    let secret = replaced["client_secret"].as_str().unwrap().to_owned();
    let token = replaced["registration_access_token"].as_str().unwrap().to_owned();
    let same = json!({
        "client_id": id, "client_secret": secret, "redirect_uris": [REDIRECT],
        "token_endpoint_auth_method": "client_secret_basic",
    });
    let replaced = manage(&app, Method::PUT, id, &token, Some(&same)).await.json();
    assert_eq!(replaced.get("client_secret"), None, "it has one");
    let token = replaced["registration_access_token"].as_str().unwrap().to_owned();
    let mut stored = app.store.client(id).await.unwrap().unwrap();
    assert_eq!(stored.secret_hash, Some(SecretHash::of(&secret)));
    assert_eq!(stored.auth_method, ClientAuthMethod::ClientSecretBasic);
    stored.auth_method = ClientAuthMethod::ClientSecretPost;
    app.store.update_client(stored).await.unwrap();

    let client = Registered {
        id: id.to_owned(),
        secret: Some(secret),
    };
    let (access, _) = app.tokens(&client).await;
    let (other, _) = app.tokens(&client).await;
    let gone = manage(&app, Method::DELETE, id, &token, None).await;
    assert_eq!((gone.status, &*gone.body), (StatusCode::NO_CONTENT, ""));
    for access in [access, other] {
        assert_eq!(app.call(&access).await.status, StatusCode::UNAUTHORIZED);
    }
    app.authorize(&client, &[]).await.is_local_page();
    manage(&app, Method::GET, id, &token, None)
        .await
        .refused(401, "invalid_token");
}

#[tokio::test]
async fn a_pushed_request_is_brought_by_the_browser() {
    let app = App::with(|config| config.require_pushed_authorization_requests = true);
    let signer = Signer::new("k1");
    let client = key_client(&app, ("jwks", signer.jwks())).await;
    let assertion = claims(&app, &client, "1");
    let mut assertion = assertion.clone();
    assertion["aud"] = json!(format!("{ORIGIN}/oauth/par"));
    let assertion = signer.sign(None, &assertion);
    let query = authorize_request(&client, &[]).uri().query().unwrap().to_owned();
    let pairs: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let form: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (&**name, &**value)).collect();
    let reply = post_form(&app, "/oauth/par", &asserted(&form, &assertion)).await;
    assert_eq!(reply.status, StatusCode::CREATED, "{}", reply.body);
    assert_eq!(
        (&reply.json()["expires_in"], reply.header("cache-control")),
        (&json!(90), "no-store")
    );
    let request_uri = reply.json()["request_uri"].as_str().unwrap().to_owned();
    assert!(request_uri.starts_with("urn:ietf:params:oauth:request_uri:"));

    // Who has to sign in first comes back with the same request.
    let away = app.send(bring(&client.id, &request_uri)).await;
    assert!(away.header("location").starts_with("/login?next="));
    app.advance(300);
    let page = app.send(as_user("alice", bring(&client.id, &request_uri))).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.body);
    assert!(page.body.contains("client.example"));
    assert!(!page.body.contains(&assertion));
}

#[tokio::test]
async fn a_client_can_be_made_to_push() {
    let app = App::new();
    let client = app.client().await;
    assert_eq!(app.authorize(&client, &[]).await.status, StatusCode::OK);
    let mut stored = app.store.client(&client.id).await.unwrap().unwrap();
    stored.metadata.require_pushed_authorization_requests = true;
    app.store.update_client(stored).await.unwrap();
    app.authorize(&client, &[]).await.is_local_page();
    let reply = push(&app, &client, &[]).await;
    let request_uri = reply.json()["request_uri"].as_str().unwrap().to_owned();
    let page = app.send(as_user("alice", bring(&client.id, &request_uri))).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.body);
}

/// The metadata names what is mounted, and nothing that is mounted for clients is missing from it.
#[tokio::test]
async fn every_endpoint_of_the_metadata_is_there() {
    let app = App::new();
    let document = app.get("/.well-known/oauth-authorization-server").await.json();
    let endpoints = document
        .as_object()
        .unwrap()
        .iter()
        .filter(|(name, _)| name.ends_with("_endpoint") || *name == "jwks_uri");
    let mut paths = Vec::new();
    for (name, url) in endpoints {
        let path = url.as_str().unwrap().strip_prefix(ORIGIN).unwrap();
        let method = if name == "jwks_uri" || name == "authorization_endpoint" {
            Method::GET
        } else {
            Method::POST
        };
        let reply = app.send(request(method, path)).await;
        assert!(
            ![404, 405].contains(&reply.status.as_u16()),
            "{name} {}",
            reply.status
        );
        paths.push(path.trim_start_matches("/oauth/").to_owned());
    }
    paths.sort();
    assert_eq!(
        paths,
        [
            "authorize",
            "introspect",
            "jwks",
            "par",
            "register",
            "revoke",
            "token"
        ]
    );
}
