//! Clients that describe themselves in a document at their own URL.

use bmm_oauth::*;
use http::StatusCode;
use serde_json::{Value, json};

use crate::app::*;
use crate::client_auth::*;
use crate::elsewhere::Elsewhere;
use crate::signer::Signer;

pub(crate) const DOCUMENT: &str = "https://client.example/oauth/client.json";

/// A document that is as it should be.
pub(crate) fn document(url: &str) -> Value {
    json!({ "client_id": url, "client_name": "Documented", "redirect_uris": [REDIRECT] })
}

pub(crate) fn described(url: &str) -> Registered {
    Registered {
        id: url.to_owned(),
        secret: None,
    }
}

#[tokio::test]
async fn a_client_is_what_its_document_says() {
    let elsewhere = Elsewhere::new().await;
    let app = app_with(&elsewhere, |_| {});
    elsewhere.put(DOCUMENT, &document(DOCUMENT));
    let client = described(DOCUMENT);
    let page = app.consent_page(&client).await;
    assert!(page.reply.body.contains("Documented"));
    let (access, refresh) = app.tokens(&client).await;
    assert_eq!(app.call(&access).await.body, format!("alice {DOCUMENT} mcp:read"));
    assert_eq!(app.refresh(&client, &refresh).await.status, StatusCode::OK);
    assert_eq!(elsewhere.asked(), [DOCUMENT], "fetched once");
    assert_eq!(
        app.store.client(DOCUMENT).await.unwrap(),
        None,
        "nothing is stored"
    );
    let metadata = app.get("/.well-known/oauth-authorization-server").await.json();
    assert_eq!(metadata["client_id_metadata_document_supported"], true);
}

#[tokio::test]
async fn without_a_way_out_there_are_no_documents() {
    let app = App::new();
    let metadata = app.get("/.well-known/oauth-authorization-server").await.json();
    assert_eq!(metadata.get("client_id_metadata_document_supported"), None);
    app.authorize(&described(DOCUMENT), &[]).await.is_local_page();
    app.refresh(&described(DOCUMENT), "x")
        .await
        .refused(401, "invalid_client");
}

/// As ChatGPT does it: keys at a URL beside the document.
#[tokio::test]
async fn a_described_client_signs_with_its_keys() {
    let elsewhere = Elsewhere::new().await;
    let app = app_with(&elsewhere, |_| {});
    let signer = Signer::new("k1");
    let mut described_with_keys = document(DOCUMENT);
    described_with_keys["token_endpoint_auth_method"] = json!("private_key_jwt");
    described_with_keys["jwks_uri"] = json!(KEYS);
    elsewhere.put(DOCUMENT, &described_with_keys);
    elsewhere.put(KEYS, &signer.jwks());
    let client = described(DOCUMENT);
    let code = app.code(&client).await;
    app.exchange(&client, &code).await.refused(401, "invalid_client");
    let assertion = signer.sign(None, &claims(&app, &client, "1"));
    let reply = app.token(&asserted(&code_form(&client, &code), &assertion)).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
    assert_eq!(elsewhere.asked(), [DOCUMENT, KEYS]);
}

#[tokio::test]
async fn a_document_is_kept_as_long_as_its_server_says_but_an_hour_at_most() {
    for (header, kept) in [
        ("", 600),
        ("\ncache-control: max-age=60", 60),
        ("\ncache-control: max-age=31536000", 3600),
        ("\ncache-control: no-store", 30),
    ] {
        let elsewhere = Elsewhere::new().await;
        let app = app_with(&elsewhere, |_| {});
        let headers = format!("content-type: application/json; charset=utf-8{header}");
        elsewhere.put_raw(DOCUMENT, 200, &headers, &document(DOCUMENT).to_string());
        let client = described(DOCUMENT);
        app.consent_page(&client).await;
        app.advance(kept - 1);
        app.consent_page(&client).await;
        assert_eq!(elsewhere.asked().len(), 1, "{header}");
        app.advance(1);
        app.consent_page(&client).await;
        assert_eq!(elsewhere.asked().len(), 1, "{header}");
    }
}

/// A host that is away, or in trouble, is no verdict over the client: what was good is used for a day, and where there is nothing the client keeps
/// its refresh token and comes back.
#[tokio::test]
async fn a_document_that_cannot_be_fetched_loses_nothing() {
    for status in [302, 408, 429, 500, 503] {
        let elsewhere = Elsewhere::new().await;
        let app = app_with(&elsewhere, |config| {
            config.replay_window = std::time::Duration::ZERO
        });
        elsewhere.put(DOCUMENT, &document(DOCUMENT));
        let client = described(DOCUMENT);
        let (_, refresh) = app.tokens(&client).await;
        elsewhere.put_raw(DOCUMENT, status, "location: https://other.example/", "");
        app.advance(600);
        let (_, refresh) = app.refresh(&client, &refresh).await.tokens();
        app.consent_page(&client).await;
        app.advance(24 * 3600);
        for _ in 0..2 {
            app.refresh(&client, &refresh)
                .await
                .refused(429, "temporarily_unavailable");
            app.authorize(&client, &[]).await.is_local_page();
        }
        elsewhere.put(DOCUMENT, &document(DOCUMENT));
        app.advance(30);
        assert_eq!(app.refresh(&client, &refresh).await.status, StatusCode::OK);
    }
}

/// So it is with its keys.
#[tokio::test]
async fn keys_that_cannot_be_fetched_are_no_verdict_over_the_client() {
    let elsewhere = Elsewhere::new().await;
    let app = app_with(&elsewhere, |_| {});
    let signer = Signer::new("k1");
    let client = key_client(&app, ("jwks_uri", json!(KEYS))).await;
    let form = [("grant_type", "refresh_token"), ("refresh_token", "x")];
    let attempt = async |signer: &Signer, jti: &str| {
        let assertion = signer.sign(None, &claims(&app, &client, jti));
        app.token(&asserted(&form, &assertion)).await
    };
    elsewhere.put_raw(KEYS, 503, "x: y", "");
    attempt(&signer, "1")
        .await
        .refused(429, "temporarily_unavailable");
    elsewhere.put(KEYS, &signer.jwks());
    app.advance(30);
    attempt(&signer, "2").await.refused(400, "invalid_grant");
    elsewhere.put_raw(KEYS, 503, "x: y", "");
    app.advance(300);
    attempt(&signer, "3").await.refused(400, "invalid_grant");
    // A new key, while nobody can know it.
    let new = Signer::new("k2");
    for jti in ["4", "5"] {
        attempt(&new, jti).await.refused(429, "temporarily_unavailable");
    }
    elsewhere.put_raw(KEYS, 404, "x: y", "");
    app.advance(30);
    attempt(&signer, "6").await.refused(401, "invalid_client");
}

#[tokio::test]
async fn documents_may_be_limited_to_some_hosts() {
    let elsewhere = Elsewhere::new().await;
    let app = app_with(&elsewhere, |config| {
        config.client_document_hosts = Some(vec!["client.example".parse().unwrap()]);
    });
    let other = "https://other.example/client.json";
    elsewhere.put(DOCUMENT, &document(DOCUMENT));
    elsewhere.put(other, &document(other));
    app.consent_page(&described(DOCUMENT)).await;
    app.authorize(&described(other), &[]).await.is_local_page();
    assert_eq!(elsewhere.asked(), [DOCUMENT]);
    let refused = app.events.take();
    let refused = refused
        .iter()
        .find(|event| event.kind == EventKind::ClientDocumentFetched);
    assert_eq!(refused.unwrap().outcome, Outcome::Refused("invalid"));
}

/// Whom the host enrolled under a URL is what the host says.
#[tokio::test]
async fn a_client_that_is_stored_is_not_looked_for_elsewhere() {
    let elsewhere = Elsewhere::new().await;
    let app = app_with(&elsewhere, |_| {});
    let mut stored = app.store.client(&app.client().await.id).await.unwrap().unwrap();
    stored.id = DOCUMENT.to_owned();
    stored.name = "Enrolled".to_owned();
    app.store.put_client(stored, 100).await.unwrap();
    elsewhere.put(DOCUMENT, &document(DOCUMENT));
    let page = app.consent_page(&described(DOCUMENT)).await;
    assert!(page.reply.body.contains("Enrolled"));
    assert!(elsewhere.asked().is_empty());
}
