//! Clients prove who they are.

use bmm_oauth::*;
use http::{StatusCode, header};
use serde_json::{Value, json};
use std::sync::Arc;

use crate::app::*;
use crate::elsewhere::Elsewhere;
use crate::signer::Signer;

pub(crate) const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
pub(crate) const KEYS: &str = "https://keys.example/jwks.json";

pub(crate) fn app_with(elsewhere: &Elsewhere, change: impl FnOnce(&mut AsConfig)) -> App {
    let fetcher = elsewhere.fetcher.clone();
    App::extended(Arc::new(MemoryStore::new()), change, |server| {
        server.with_fetcher(fetcher)
    })
}

/// The claims of a good assertion.
pub(crate) fn claims(app: &App, client: &Registered, jti: &str) -> Value {
    let now = app.clock.now().as_secs();
    json!({
        "iss": client.id, "sub": client.id, "aud": ORIGIN, "jti": jti, "iat": now, "exp": now + 60,
    })
}

/// A token request with an assertion in place of a secret.
pub(crate) fn asserted<'a>(form: &[(&'a str, &'a str)], assertion: &'a str) -> Vec<(&'a str, &'a str)> {
    let mut form = form.to_vec();
    form.push(("client_assertion_type", ASSERTION_TYPE));
    form.push(("client_assertion", assertion));
    form
}

pub(crate) async fn key_client(app: &App, keys: (&str, Value)) -> Registered {
    let mut metadata =
        json!({ "redirect_uris": [REDIRECT], "token_endpoint_auth_method": "private_key_jwt" });
    metadata[keys.0] = keys.1;
    app.client_with(metadata).await
}

/// A client that the host enrolled for tokens of its own, with a secret.
pub(crate) async fn robot(app: &App) -> Registered {
    let client = Client {
        id: "robot".to_owned(),
        secret_hash: Some(SecretHash::of("robot's secret")),
        auth_method: ClientAuthMethod::ClientSecretPost,
        name: "Robot".to_owned(),
        redirect_uris: Vec::new(),
        created_at: app.clock.now(),
        used_at: Some(app.clock.now()),
        metadata: {
            let mut metadata = ClientMetadata::default();
            metadata.grant_types = GrantTypes::new([GrantType::ClientCredentials]);
            metadata
        },
    };
    app.store.put_client(client, 100).await.unwrap();
    Registered {
        id: "robot".to_owned(),
        secret: Some("robot's secret".to_owned()),
    }
}

pub(crate) async fn for_itself(app: &App, client: &Registered, changes: &[(&str, &str)]) -> Reply {
    let mut form = vec![
        ("grant_type", "client_credentials"),
        ("client_id", &*client.id),
        ("resource", RESOURCE),
    ];
    form.extend(client.secret.as_deref().map(|secret| ("client_secret", secret)));
    form.retain(|(name, _)| changes.iter().all(|(changed, _)| changed != name));
    form.extend(changes.iter().filter(|(_, value)| !value.is_empty()));
    app.token(&form).await
}

#[tokio::test]
async fn a_client_with_keys_signs_who_it_is() {
    let app = App::new();
    let signer = Signer::new("k1");
    let client = key_client(&app, ("jwks", signer.jwks())).await;
    assert_eq!(client.secret, None);
    for (jti, aud) in [
        ("1", json!(ORIGIN)),
        ("2", json!([ORIGIN])),
        ("3", json!(format!("{ORIGIN}/oauth/token"))),
    ] {
        let code = app.code(&client).await;
        let mut claims = claims(&app, &client, jti);
        claims["aud"] = aud;
        let assertion = signer.sign(Some("JWT"), &claims);
        let mut form = code_form(&client, &code);
        form.retain(|(name, _)| *name != "client_id" || jti != "2");
        let reply = app.token(&asserted(&form, &assertion)).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
    }
}

#[tokio::test]
async fn keys_at_a_url_are_fetched_once_and_again_for_an_unknown_key_id() {
    let elsewhere = Elsewhere::new().await;
    let app = app_with(&elsewhere, |_| {});
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    elsewhere.put(KEYS, &old.jwks());
    let client = key_client(&app, ("jwks_uri", json!(KEYS))).await;
    let form = [("grant_type", "refresh_token"), ("refresh_token", "x")];
    let attempt = async |signer: &Signer, jti: &str| {
        let assertion = signer.sign(None, &claims(&app, &client, jti));
        app.token(&asserted(&form, &assertion)).await.error()
    };
    assert_eq!(attempt(&old, "1").await, "invalid_grant", "authenticated");
    assert_eq!(attempt(&old, "2").await, "invalid_grant");
    assert_eq!(elsewhere.asked(), [KEYS]);
    elsewhere.put(KEYS, &new.jwks());
    assert_eq!(
        attempt(&new, "3").await,
        "invalid_client",
        "too soon to ask again"
    );
    assert!(elsewhere.asked().is_empty());
    app.advance(30);
    assert_eq!(attempt(&new, "4").await, "invalid_grant");
    assert_eq!(attempt(&old, "5").await, "invalid_client", "withdrawn");
    assert_eq!(elsewhere.asked(), [KEYS]);
}

#[tokio::test]
async fn a_client_gets_a_token_for_itself_where_the_host_allows_it() {
    let app = App::with(|config| config.client_credentials = true);
    let robot = robot(&app).await;
    let reply = for_itself(&app, &robot, &[]).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
    let document = reply.json();
    assert_eq!(document.get("refresh_token"), None);
    assert_eq!(
        (&document["scope"], &document["expires_in"]),
        (&json!("mcp:read"), &json!(3600))
    );
    let access = document["access_token"].as_str().unwrap();
    assert_eq!(app.call(access).await.body, "robot robot mcp:read");
    for_itself(&app, &robot, &[("resource", "")])
        .await
        .refused(400, "invalid_target");
    for_itself(&app, &robot, &[("resource", "https://auth.example/none")])
        .await
        .refused(400, "invalid_target");
    for_itself(&app, &robot, &[("scope", "admin")])
        .await
        .refused(400, "invalid_scope");
    let wider = for_itself(&app, &robot, &[("scope", "mcp:write admin")]).await;
    assert_eq!(wider.json()["scope"], "mcp:write");
    app.banned.lock().unwrap().insert("robot".to_owned());
    for_itself(&app, &robot, &[]).await.refused(400, "invalid_target");
}

#[tokio::test]
async fn what_clients_may_do_is_in_the_metadata() {
    let document = App::new()
        .get("/.well-known/oauth-authorization-server")
        .await
        .json();
    assert_eq!(
        document["grant_types_supported"],
        json!(["authorization_code", "refresh_token"])
    );
    assert_eq!(
        document["token_endpoint_auth_methods_supported"],
        json!([
            "none",
            "client_secret_basic",
            "client_secret_post",
            "private_key_jwt"
        ])
    );
    assert_eq!(
        document["token_endpoint_auth_signing_alg_values_supported"],
        json!(["ES256", "EdDSA", "RS256"])
    );
    let app = App::with(|config| config.client_credentials = true);
    let document = app.get("/.well-known/oauth-authorization-server").await.json();
    assert!(
        document["grant_types_supported"]
            .as_array()
            .unwrap()
            .contains(&json!("client_credentials"))
    );
}

/// RFC 6749 section 2.3.1: both parts are form-encoded before they are joined, and clients that leave it out work as long as it changes nothing.
#[tokio::test]
async fn a_basic_header_is_decoded_as_a_form() {
    use base64::Engine as _;
    let app = App::with(|config| config.client_credentials = true);
    let mut client = app.store.client(&robot(&app).await.id).await.unwrap().unwrap();
    client.id = "a robot:1%".to_owned();
    client.secret_hash = Some(SecretHash::of("s:+ &=%41"));
    client.auth_method = ClientAuthMethod::ClientSecretBasic;
    app.store.put_client(client, 100).await.unwrap();
    let form = [("grant_type", "client_credentials"), ("resource", RESOURCE)];
    for (text, status) in [
        ("a+robot%3A1%25:s%3A%2B+%26%3D%2541", 200),
        ("a%20robot%3a1%25:s%3a%2b%20%26%3d%2541", 200),
        ("a robot%3A1%25:s:%2B+%26%3D%2541", 200),
        ("a+robot:1%25:s%3A%2B+%26%3D%2541", 401),
        ("a+robot%3A1%25:s%3A%2B+&=%2541", 401),
        ("a+robot%3A1%25:s%3A%2B+%26%3D%41", 401),
        ("a+robot%3A1%25", 401),
        ("a+robot%3A1%25:", 401),
        ("a+robot%3A1%25:%00", 401),
        ("a+robot%3A1%25:%ff", 401),
    ] {
        let mut request = token_request(&form);
        let encoded = base64::engine::general_purpose::STANDARD.encode(text);
        let value = format!("basic {encoded}").parse().unwrap();
        request.headers_mut().insert(header::AUTHORIZATION, value);
        let reply = app.send(request).await;
        assert_eq!(reply.status.as_u16(), status, "{text} {}", reply.body);
    }
}
