//! Enterprise-managed authorization (ID-JAG): an identity provider's word for a user, and everything that is not quite that (RFC 7523 section 5, RFC 8725;
//! MCP extension `enterprise-managed-authorization`).

use std::collections::HashSet;
use std::sync::Arc;

use bmm_oauth::*;
use http::StatusCode;
use serde_json::{Value, json};

use crate::app::*;
use crate::client_auth::{asserted, claims as client_claims};
use crate::documents::{DOCUMENT, described, document};
use crate::elsewhere::Elsewhere;
use crate::signer::Signer;

const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const IDP: &str = "https://idp.example";
const IDP_KEYS: &str = "https://idp.example/jwks";
const TYPE: Option<&str> = Some("oauth-id-jag+jwt");

struct Company {
    app: App,
    elsewhere: Elsewhere,
    idp: Signer,
    client: Registered,
}

impl Company {
    async fn new() -> Self {
        let elsewhere = Elsewhere::new().await;
        let idp = Signer::new("idp-1");
        elsewhere.put(IDP_KEYS, &idp.jwks());
        let fetcher = elsewhere.fetcher.clone();
        let app = App::extended(
            Arc::new(MemoryStore::new()),
            |_| {},
            |server| {
                let provider =
                    IdentityProvider::with_jwks_at(IDP.parse().unwrap(), IDP_KEYS, fetcher.clone());
                server.with_identity_providers([provider]).with_fetcher(fetcher)
            },
        );
        let client = enrolled(&app, "enterprise app", ClientAuthMethod::ClientSecretPost).await;
        Self {
            app,
            elsewhere,
            idp,
            client,
        }
    }

    fn claims(&self, jti: &str) -> Value {
        let now = self.app.clock.now().as_secs();
        json!({
            "iss": IDP, "sub": "u-1", "aud": ORIGIN, "client_id": self.client.id, "jti": jti, "iat": now, "exp": now + 300,
            "resource": RESOURCE, "scope": "mcp:read mcp:write",
        })
    }

    async fn present(&self, assertion: &str, more: &[(&str, &str)]) -> Reply {
        let secret = self.client.secret.as_deref().unwrap();
        let mut form = vec![
            ("grant_type", GRANT),
            ("assertion", assertion),
            ("client_id", &*self.client.id),
            ("client_secret", secret),
        ];
        form.extend(more);
        self.app.token(&form).await
    }

    async fn exchange(&self, claims: &Value) -> Reply {
        self.present(&self.idp.sign(TYPE, claims), &[]).await
    }
}

async fn enrolled(app: &App, id: &str, method: ClientAuthMethod) -> Registered {
    let mut metadata = ClientMetadata::default();
    metadata.grant_types = GrantTypes::new([GrantType::JwtBearer]);
    let client = Client {
        id: id.to_owned(),
        secret_hash: Some(SecretHash::of("its secret")),
        auth_method: method,
        name: id.to_owned(),
        redirect_uris: Vec::new(),
        created_at: app.clock.now(),
        used_at: Some(app.clock.now()),
        metadata,
    };
    app.store.put_client(client, 100).await.unwrap();
    Registered {
        id: id.to_owned(),
        secret: Some("its secret".to_owned()),
    }
}

#[tokio::test]
async fn an_identity_assertion_becomes_an_access_token_and_nothing_more() {
    let company = Company::new().await;
    let reply = company.exchange(&company.claims("1")).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
    let document = reply.json();
    assert_eq!(document.get("refresh_token"), None);
    assert_eq!(document["scope"], "mcp:read mcp:write");
    let access = document["access_token"].as_str().unwrap();
    let said = company.app.call(access).await.body;
    assert_eq!(said, "https://idp.example#u-1 enterprise app mcp:read mcp:write");
    let events = company.app.events.take();
    let exchanged = events
        .iter()
        .find(|event| event.kind == EventKind::AssertionExchanged)
        .unwrap();
    assert_eq!(
        exchanged.subject.as_ref().unwrap().as_str(),
        "https://idp.example#u-1"
    );
    let metadata = company
        .app
        .get("/.well-known/oauth-authorization-server")
        .await
        .json();
    assert_eq!(
        metadata["authorization_grant_profiles_supported"],
        json!(["urn:ietf:params:oauth:grant-profile:id-jag"])
    );
    assert!(
        metadata["grant_types_supported"]
            .as_array()
            .unwrap()
            .contains(&json!(GRANT))
    );
    assert_eq!(company.elsewhere.asked(), [IDP_KEYS]);
}

/// The replay store is required: an assertion is good once, whoever brings it again, and a failed look-up uses nothing up.
#[tokio::test]
async fn an_identity_assertion_is_used_once() {
    let company = Company::new().await;
    let assertion = company.idp.sign(TYPE, &company.claims("1"));
    company
        .app
        .banned
        .lock()
        .unwrap()
        .insert(RESOURCES_ARE_AWAY.to_owned());
    company
        .present(&assertion, &[])
        .await
        .refused(429, "temporarily_unavailable");
    company.app.banned.lock().unwrap().clear();
    assert_eq!(company.present(&assertion, &[]).await.status, StatusCode::OK);
    company
        .present(&assertion, &[])
        .await
        .refused(400, "invalid_grant");
    company
        .exchange(&company.claims("1"))
        .await
        .refused(400, "invalid_grant");
}

/// Every claim that is missing, of another type, or made out to others; all with one answer.
#[tokio::test]
async fn an_identity_assertion_with_any_wrong_claim_is_refused() {
    let company = Company::new().await;
    let now = company.app.clock.now().as_secs();
    let changes = [
        ("iss", json!("https://evil.example")),
        ("iss", json!("https://idp.example/")),
        ("iss", Value::Null),
        ("aud", json!("https://other.example")),
        ("aud", json!(format!("{ORIGIN}/oauth/token"))),
        ("aud", json!([ORIGIN, "https://other.example"])),
        ("aud", Value::Null),
        ("client_id", json!("another app")),
        ("client_id", Value::Null),
        ("sub", Value::Null),
        ("sub", json!("")),
        ("sub", json!(1)),
        ("sub", json!("x".repeat(600))),
        ("jti", Value::Null),
        ("iat", Value::Null),
        ("iat", json!(now + 120)),
        ("exp", Value::Null),
        ("exp", json!(now)),
        ("exp", json!(now + 86_400)),
        ("nbf", json!(now + 120)),
        ("resource", json!([RESOURCE, OTHER_RESOURCE])),
        ("resource", json!(7)),
        ("resource", json!("not a uri")),
        ("scope", json!(["mcp:read"])),
        ("cnf", json!({ "jkt": "x" })),
    ];
    let mut bodies = HashSet::new();
    for (name, value) in changes {
        let mut claims = company.claims("good");
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value,
        }
        let reply = company.exchange(&claims).await;
        assert_eq!(
            (reply.status.as_u16(), &*reply.error()),
            (400, "invalid_grant"),
            "{claims}"
        );
        bodies.insert(reply.body);
    }
    assert_eq!(bodies.len(), 1);
    assert_eq!(
        company.exchange(&company.claims("good")).await.status,
        StatusCode::OK
    );
}

/// The type, the signer and the algorithm are not the assertion's to choose.
#[tokio::test]
async fn an_assertion_of_another_kind_or_signer_is_refused() {
    let company = Company::new().await;
    let claims = company.claims("1");
    let stranger = Signer::new("idp-1");
    for assertion in [
        stranger.sign(TYPE, &claims),
        company.idp.sign(None, &claims),
        company.idp.sign(Some("JWT"), &claims),
        company.idp.sign(Some("at+jwt"), &claims),
        Signer::new("unknown").sign(TYPE, &claims),
        "x".to_owned(),
        "e30.e30.".to_owned(),
    ] {
        company
            .present(&assertion, &[])
            .await
            .refused(400, "invalid_grant");
    }
    let missing = [
        ("grant_type", GRANT),
        ("client_id", "enterprise app"),
        ("client_secret", "its secret"),
    ];
    company.app.token(&missing).await.refused(400, "invalid_request");
    assert_eq!(company.exchange(&claims).await.status, StatusCode::OK);
}

/// A token for no other resource and no more scopes than both the provider and the host allow.
#[tokio::test]
async fn an_assertion_gives_no_more_than_it_says_and_the_host_allows() {
    let company = Company::new().await;
    let scoped = async |scope: Option<&str>, asked: &str| {
        let mut claims = company.claims(&format!("{scope:?} {asked}"));
        match scope {
            Some(scope) => claims["scope"] = scope.into(),
            None => drop(claims.as_object_mut().unwrap().remove("scope")),
        }
        let more: &[(&str, &str)] = if asked.is_empty() {
            &[]
        } else {
            &[("scope", asked)]
        };
        let reply = company
            .present(&company.idp.sign(TYPE, &claims), more)
            .await
            .json();
        reply.get("scope").or(reply.get("error")).unwrap().clone()
    };
    assert_eq!(scoped(Some("mcp:read"), "mcp:read mcp:write").await, "mcp:read");
    assert_eq!(scoped(Some("mcp:read"), "mcp:write").await, "invalid_scope");
    assert_eq!(scoped(Some("mcp:read admin"), "").await, "mcp:read");
    assert_eq!(scoped(Some("admin"), "").await, "invalid_scope");
    assert_eq!(scoped(None, "").await, "mcp:read");
    assert_eq!(scoped(None, "mcp:write admin").await, "mcp:write");
    let other = [("resource", OTHER_RESOURCE)];
    let assertion = company.idp.sign(TYPE, &company.claims("r"));
    company
        .present(&assertion, &other)
        .await
        .refused(400, "invalid_grant");
    let mut unknown = company.claims("u");
    unknown["resource"] = json!("https://auth.example/none");
    company.exchange(&unknown).await.refused(400, "invalid_target");
    company
        .app
        .banned
        .lock()
        .unwrap()
        .insert("https://idp.example#u-1".to_owned());
    company
        .exchange(&company.claims("b"))
        .await
        .refused(400, "invalid_target");
}

/// Clients that prove nothing, clients that merely registered, and servers that trust nobody.
#[tokio::test]
async fn only_proven_and_enrolled_clients_exchange_assertions() {
    let company = Company::new().await;
    let app = &company.app;
    let registered = app
        .client_with(json!({
            "redirect_uris": [REDIRECT], "token_endpoint_auth_method": "client_secret_post", "grant_types": ["authorization_code", GRANT],
        }))
        .await;
    let public = Registered {
        secret: None,
        ..enrolled(app, "public", ClientAuthMethod::None).await
    };
    for client in [registered, public] {
        let mut claims = company.claims("1");
        claims["client_id"] = json!(client.id);
        let assertion = company.idp.sign(TYPE, &claims);
        let mut form = vec![
            ("grant_type", GRANT),
            ("assertion", &*assertion),
            ("client_id", &*client.id),
        ];
        form.extend(client.secret.as_deref().map(|secret| ("client_secret", secret)));
        app.token(&form).await.refused(400, "unauthorized_client");
    }
    let alone = App::new();
    let client = enrolled(&alone, "enterprise app", ClientAuthMethod::ClientSecretPost).await;
    let form = [
        ("grant_type", GRANT),
        ("assertion", "x"),
        ("client_id", &*client.id),
        ("client_secret", "its secret"),
    ];
    alone.token(&form).await.refused(400, "unsupported_grant_type");
}

/// A client with a document proves itself by its keys, and needs no enrolment: the provider names it.
#[tokio::test]
async fn a_described_client_exchanges_with_its_own_keys() {
    let company = Company::new().await;
    let signer = Signer::new("client-1");
    let mut with_keys = document(DOCUMENT);
    with_keys["token_endpoint_auth_method"] = json!("private_key_jwt");
    with_keys["jwks"] = signer.jwks();
    company.elsewhere.put(DOCUMENT, &with_keys);
    let client = described(DOCUMENT);
    let mut claims = company.claims("1");
    claims["client_id"] = json!(DOCUMENT);
    let assertion = company.idp.sign(TYPE, &claims);
    let proof = signer.sign(None, &client_claims(&company.app, &client, "1"));
    let form = [("grant_type", GRANT), ("assertion", &*assertion)];
    let reply = company.app.token(&asserted(&form, &proof)).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
}

/// A provider that is away is no verdict, and is asked again once it has cooled down.
#[tokio::test]
async fn a_provider_that_is_away_is_no_refusal() {
    let company = Company::new().await;
    company.elsewhere.remove(IDP_KEYS);
    let claims = company.claims("1");
    for _ in 0..20 {
        company
            .exchange(&claims)
            .await
            .refused(429, "temporarily_unavailable");
    }
    assert_eq!(company.elsewhere.asked().len(), 1);
    company.elsewhere.put(IDP_KEYS, &company.idp.jwks());
    company.app.advance(60);
    assert_eq!(company.exchange(&claims).await.status, StatusCode::OK);
}
