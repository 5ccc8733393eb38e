//! Keys from a JWK Set: bounded, cooled down, usable while the issuer is away.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bmm_oauth::*;
use bytes::Bytes;
use tokio::sync::Notify;

use crate::app::*;

/// The issuer's address as a remote verifier sees it.
struct Remote {
    answer: Mutex<Result<Bytes, String>>,
    fetches: AtomicUsize,
    /// When set, a fetch waits for it.
    gate: Mutex<Option<Arc<Notify>>>,
}

impl Remote {
    fn new(answer: Result<Bytes, String>) -> Arc<Self> {
        Arc::new(Self {
            answer: Mutex::new(answer),
            fetches: AtomicUsize::new(0),
            gate: Mutex::default(),
        })
    }

    fn verifier(self: &Arc<Self>, app: &App) -> Arc<JwksVerifier> {
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
        Arc::new(verifier.with_clock(Arc::new(app.clock.clone())))
    }

    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }
}

fn jwks(app: &App) -> Result<Bytes, String> {
    Ok(Bytes::from(app.server.jwks().to_string()))
}

fn token(app: &App) -> String {
    let scopes = Scopes::new(["mcp:read"]).unwrap();
    app.server
        .mint_probe_token(&RESOURCE.parse().unwrap(), &scopes, Duration::from_secs(300))
}

#[tokio::test]
async fn keys_are_fetched_once_and_used_until_they_are_old() {
    let app = App::new();
    let remote = Remote::new(jwks(&app));
    let verifier = remote.verifier(&app);
    for _ in 0..10 {
        assert_eq!(
            verifier.verify(&token(&app)).await.unwrap().subject().as_str(),
            PROBE_CLIENT_ID
        );
    }
    assert_eq!(remote.fetches(), 1);
    app.advance(300);
    verifier.verify(&token(&app)).await.unwrap();
    assert_eq!(remote.fetches(), 2);
}

/// The cool-down is claimed before the fetch and does not depend on its result.
#[tokio::test]
async fn a_flood_of_unknown_key_ids_fetches_once_per_cool_down() {
    let (app, stranger) = (App::new(), App::new());
    let remote = Remote::new(jwks(&app));
    let verifier = remote.verifier(&app);
    verifier.verify(&token(&app)).await.unwrap();
    app.advance(10);
    for _ in 0..1000 {
        let refused = verifier.verify(&token(&stranger)).await;
        assert!(matches!(refused, Err(VerifyError::Invalid(_))));
    }
    assert_eq!(remote.fetches(), 2);
    *remote.answer.lock().unwrap() = Err("away".to_owned());
    app.advance(10);
    for _ in 0..1000 {
        assert!(verifier.verify(&token(&stranger)).await.is_err());
    }
    assert_eq!(remote.fetches(), 3, "a failed fetch cools down as well");
}

#[tokio::test]
async fn a_new_key_is_found_after_the_cool_down() {
    let app = App::new();
    let old = App::new();
    let remote = Remote::new(jwks(&old));
    let verifier = remote.verifier(&app);
    assert!(verifier.verify(&token(&app)).await.is_err());
    *remote.answer.lock().unwrap() = jwks(&app);
    assert!(verifier.verify(&token(&app)).await.is_err(), "still cooling down");
    app.advance(10);
    verifier.verify(&token(&app)).await.unwrap();
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
        assert!(futures_poll(&mut first).await, "it waits for the fetch");
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
async fn futures_poll<F: Future + Unpin>(future: &mut F) -> bool {
    std::future::poll_fn(|cx| std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(cx).is_pending()))
        .await
}
