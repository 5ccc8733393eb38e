//! Keys from a JWK Set: bounded, cooled down, usable while the issuer is away.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bmm_oauth::*;
use bytes::Bytes;
use jsonwebtoken::EncodingKey;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::app::*;

/// The issuer's address as a remote verifier sees it.
pub(crate) struct Remote {
    pub(crate) answer: Mutex<Result<Bytes, String>>,
    fetches: AtomicUsize,
    /// When set, a fetch waits for it.
    pub(crate) gate: Mutex<Option<Arc<Notify>>>,
}

impl Remote {
    pub(crate) fn new(answer: Result<Bytes, String>) -> Arc<Self> {
        Arc::new(Self {
            answer: Mutex::new(answer),
            fetches: AtomicUsize::new(0),
            gate: Mutex::default(),
        })
    }

    pub(crate) fn verifier(self: &Arc<Self>, app: &App) -> Arc<JwksVerifier> {
        self.verifier_with(app, |verifier| verifier)
    }

    pub(crate) fn verifier_with(
        self: &Arc<Self>,
        app: &App,
        change: impl FnOnce(JwksVerifier) -> JwksVerifier,
    ) -> Arc<JwksVerifier> {
        let remote = Arc::clone(self);
        let fetch: FetchJwks = Arc::new(move || {
            remote.fetches.fetch_add(1, Ordering::SeqCst);
            let remote = Arc::clone(&remote);
            let gate = remote.gate.lock().unwrap().clone();
            Box::pin(async move {
                if let Some(gate) = gate {
                    gate.notified().await;
                }
                remote.answer.lock().unwrap().clone().map_err(BoxError::from)
            })
        });
        let verifier = JwksVerifier::new(ORIGIN.parse().unwrap(), RESOURCE.parse().unwrap(), fetch);
        Arc::new(change(verifier.with_clock(Arc::new(app.clock.clone()))))
    }

    pub(crate) fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }
}

pub(crate) fn jwks(app: &App) -> Result<Bytes, String> {
    Ok(Bytes::from(app.server.jwks().to_string()))
}

pub(crate) fn token(app: &App) -> String {
    token_for(app, 300)
}

/// An access token that the server's own key signed, whatever a probe token may be.
pub(crate) fn token_for(app: &App, ttl_secs: u64) -> String {
    let now = app.clock.now().as_secs();
    sign(
        app,
        &json!({ "alg": "ES256", "typ": "at+jwt", "kid": kid(app) }),
        &json!({
            "iss": ORIGIN, "aud": RESOURCE, "sub": "alice", "client_id": "client", "grant_id": "grant", "jti": next_jti(),
            "iat": now, "nbf": now, "exp": now + ttl_secs, "scope": "mcp:read",
        }),
    )
}

pub(crate) fn kid(app: &App) -> String {
    app.server.jwks()["keys"][0]["kid"].as_str().unwrap().to_owned()
}

pub(crate) fn sign(app: &App, header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let key = EncodingKey::from_ec_der(&app.pkcs8);
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, jsonwebtoken::Algorithm::ES256);
    format!("{message}.{}", signature.unwrap())
}

fn next_jti() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NEXT.fetch_add(1, Ordering::SeqCst).to_string()
}

#[tokio::test]
async fn keys_are_fetched_once_and_used_until_they_are_old() {
    let app = App::new();
    let remote = Remote::new(jwks(&app));
    let verifier = remote.verifier(&app);
    for _ in 0..10 {
        let info = verifier.verify(&token(&app)).await.unwrap();
        assert_eq!(info.subject().as_str(), "alice");
    }
    assert_eq!(remote.fetches(), 1);
    app.advance(300);
    verifier.verify(&token(&app)).await.unwrap();
    assert_eq!(remote.fetches(), 2);
}

#[tokio::test]
async fn a_new_key_is_found_after_the_cool_down() {
    let app = App::new();
    let old = App::new();
    let remote = Remote::new(jwks(&old));
    let verifier = remote.verifier(&app);
    verifier.verify(&token(&old)).await.unwrap();
    *remote.answer.lock().unwrap() = jwks(&app);
    assert!(verifier.verify(&token(&app)).await.is_err(), "still cooling down");
    app.advance(10);
    verifier.verify(&token(&app)).await.unwrap();
    assert_eq!(remote.fetches(), 2);
}

#[tokio::test]
async fn a_key_that_was_asked_for_before_it_existed_is_found_in_the_end() {
    let (app, old) = (App::new(), App::new());
    let remote = Remote::new(jwks(&old));
    let verifier = remote.verifier(&app);
    assert!(verifier.verify(&token(&app)).await.is_err(), "it is not there");
    *remote.answer.lock().unwrap() = jwks(&app);
    app.advance(30);
    verifier.verify(&token(&app)).await.unwrap();
}

/// A verdict is kept, but not beyond the key that it rests on.
#[tokio::test]
async fn a_withdrawn_key_ends_its_tokens_cached_or_not() {
    let (app, new) = (App::new(), App::new());
    let remote = Remote::new(jwks(&app));
    let verifier = remote.verifier(&app);
    let (cached, uncached) = (token_for(&app, 3600), token_for(&app, 3600));
    verifier.verify(&cached).await.unwrap();
    *remote.answer.lock().unwrap() = jwks(&new);
    app.advance(299);
    verifier.verify(&cached).await.unwrap();
    app.advance(1);
    for token in [cached, uncached] {
        assert!(matches!(
            verifier.verify(&token).await,
            Err(VerifyError::Invalid(_))
        ));
    }
    assert_eq!(remote.fetches(), 2);
}

#[tokio::test]
async fn a_cached_token_still_expires() {
    let app = App::new();
    let verifier = Remote::new(jwks(&app)).verifier(&app);
    let token = token(&app);
    verifier.verify(&token).await.unwrap();
    app.advance(299);
    verifier.verify(&token).await.unwrap();
    app.advance(1);
    assert!(matches!(
        verifier.verify(&token).await,
        Err(VerifyError::Invalid("expired"))
    ));
}

#[tokio::test]
async fn known_keys_outlive_a_failing_issuer_for_a_day() {
    let app = App::new();
    let remote = Remote::new(jwks(&app));
    let verifier = remote.verifier(&app);
    verifier.verify(&token(&app)).await.unwrap();
    *remote.answer.lock().unwrap() = Err("away".to_owned());
    app.advance(24 * 3600 - 1);
    for _ in 0..100 {
        verifier.verify(&token(&app)).await.unwrap();
    }
    assert_eq!(
        remote.fetches(),
        2,
        "old keys are renewed once per cool-down, not once per request"
    );
    app.advance(20);
    assert!(matches!(
        verifier.verify(&token(&app)).await,
        Err(VerifyError::Unavailable(_))
    ));
    *remote.answer.lock().unwrap() = jwks(&app);
    app.advance(10);
    verifier.verify(&token(&app)).await.unwrap();
}

#[tokio::test]
async fn without_any_keys_there_is_no_verdict() {
    let app = App::new();
    let large = Ok(Bytes::from(vec![b' '; 300 * 1024]));
    let hmac = Ok(Bytes::from_static(
        br#"{"keys":[{"kty":"oct","kid":"1","k":"AAAA","alg":"HS256"}]}"#,
    ));
    for answer in [
        Err("away".to_owned()),
        Ok(Bytes::from_static(b"<html>")),
        Ok(Bytes::from_static(b"{\"keys\":[]}")),
        large,
        hmac,
    ] {
        let verifier = Remote::new(answer).verifier(&app);
        assert!(matches!(
            verifier.verify(&token(&app)).await,
            Err(VerifyError::Unavailable(_))
        ));
    }
}

/// The first request may be cancelled by its client; the fetch it began must neither be lost nor lock out the others.
#[tokio::test]
async fn a_cancelled_first_request_does_not_stop_the_fetch() {
    let app = App::new();
    let remote = Remote::new(jwks(&app));
    let gate = Arc::new(Notify::new());
    *remote.gate.lock().unwrap() = Some(Arc::clone(&gate));
    let verifier = remote.verifier(&app);
    let good = token(&app);
    {
        let first = verifier.verify(&good);
        tokio::pin!(first);
        assert!(is_pending(&mut first).await, "it waits for the fetch");
    }
    let waiting: Vec<_> = (0..8)
        .map(|_| {
            let (verifier, good) = (Arc::clone(&verifier), good.clone());
            tokio::spawn(async move { verifier.verify(&good).await.is_ok() })
        })
        .collect();
    tokio::task::yield_now().await;
    gate.notify_one();
    for waiter in waiting {
        assert!(waiter.await.unwrap());
    }
    assert_eq!(remote.fetches(), 1);
}

/// Whether the future is still pending after one poll.
pub(crate) async fn is_pending<F: Future + Unpin>(future: &mut F) -> bool {
    std::future::poll_fn(|cx| std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(cx).is_pending()))
        .await
}

/// The request that began the fetch has hung up, and a later one drives it to its end: what it brings is as old as its beginning.
#[tokio::test]
async fn keys_are_as_old_as_the_fetch_that_brought_them() {
    let app = App::new();
    let remote = Remote::new(jwks(&app));
    let verifier = remote.verifier(&app);
    let gate = Arc::new(Notify::new());
    *remote.gate.lock().unwrap() = Some(Arc::clone(&gate));
    let text = token(&app);
    let hung_up = tokio::time::timeout(std::time::Duration::from_millis(10), verifier.verify(&text));
    assert!(hung_up.await.is_err());
    assert_eq!(remote.fetches(), 1);
    app.advance(290);
    gate.notify_one();
    verifier.verify(&token(&app)).await.unwrap();
    assert_eq!(remote.fetches(), 1);
    *remote.gate.lock().unwrap() = None;
    app.advance(10);
    verifier.verify(&token(&app)).await.unwrap();
    assert_eq!(remote.fetches(), 2);
}
