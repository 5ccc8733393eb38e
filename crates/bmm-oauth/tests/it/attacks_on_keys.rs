//! Attacks on the verifier that fetches its keys. Each counts the fetches that it causes.

use std::sync::Arc;
use std::time::Duration;

use bmm_oauth::*;
use bytes::Bytes;
use serde_json::json;
use tokio::sync::Notify;

use crate::app::*;
use crate::jwks::*;

/// A token that names a key that nobody has. Nothing of it is checked before the key is looked for.
fn with_kid(app: &App, kid: &str) -> String {
    let header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": kid });
    sign(app, &header, &json!({}))
}

/// RFC 8725 section 3.10: the cool-down is claimed before the fetch and does not depend on its result.
#[tokio::test]
async fn a_flood_of_unknown_key_ids_fetches_once_per_cool_down() {
    let app = App::new();
    let remote = Remote::new(jwks(&app));
    let verifier = remote.verifier(&app);
    verifier.verify(&token(&app)).await.unwrap();
    app.advance(10);
    let flood = async |from: usize| {
        for n in from..from + 500 {
            let refused = verifier.verify(&with_kid(&app, &format!("kid {n}"))).await;
            assert!(matches!(refused, Err(VerifyError::Invalid("unknown key id"))));
        }
    };
    flood(0).await;
    assert_eq!(remote.fetches(), 2);
    *remote.answer.lock().unwrap() = Err("away".to_owned());
    app.advance(10);
    flood(1000).await;
    assert_eq!(remote.fetches(), 3, "a failed fetch cools down as well");
    *remote.answer.lock().unwrap() = Ok(Bytes::from_static(b"<html>"));
    app.advance(10);
    flood(2000).await;
    assert_eq!(remote.fetches(), 4, "and so does a useless answer");
    verifier.verify(&token(&app)).await.unwrap();
}

/// The same key id over and over is remembered for longer than the cool-down.
#[tokio::test]
async fn a_key_id_known_as_unknown_fetches_nothing_for_a_while() {
    let app = App::new();
    let remote = Remote::new(jwks(&app));
    let verifier = remote.verifier(&app);
    let unknown = with_kid(&app, "nobody's");
    for _ in 0..29 {
        assert!(verifier.verify(&unknown).await.is_err());
        app.advance(1);
    }
    assert_eq!(remote.fetches(), 1);
    app.advance(1);
    assert!(verifier.verify(&unknown).await.is_err());
    assert_eq!(remote.fetches(), 2);
}

/// Before any keys are known the same holds.
#[tokio::test]
async fn a_flood_against_an_issuer_that_is_away_fetches_once_per_cool_down() {
    let app = App::new();
    let remote = Remote::new(Err("away".to_owned()));
    let verifier = remote.verifier(&app);
    for n in 0..500 {
        let verdict = verifier.verify(&with_kid(&app, &n.to_string())).await;
        assert!(matches!(verdict, Err(VerifyError::Unavailable(_))));
    }
    assert_eq!(remote.fetches(), 1);
}

/// Many at once lead to one fetch, and no more of them wait for it than there are places.
#[tokio::test]
async fn a_burst_shares_one_fetch_and_waits_within_bounds() {
    let app = App::new();
    let remote = Remote::new(jwks(&app));
    let gate = Arc::new(Notify::new());
    *remote.gate.lock().unwrap() = Some(Arc::clone(&gate));
    let verifier = remote.verifier(&app);
    let mut burst: Vec<_> = (0..400)
        .map(|_| {
            let (verifier, token) = (Arc::clone(&verifier), token(&app));
            tokio::spawn(async move { verifier.verify(&token).await.is_ok() })
        })
        .collect();
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    let turned_away = burst.iter().filter(|request| request.is_finished()).count();
    assert_eq!(turned_away, 400 - 256);
    gate.notify_one();
    let mut served = 0;
    for request in burst.drain(..) {
        served += usize::from(request.await.unwrap());
    }
    assert_eq!((served, remote.fetches()), (256, 1));
}

/// Keys that are symmetric, private, weak or of another use are no keys (RFC 8725 section 3.2), and the set is bounded.
#[tokio::test]
async fn keys_that_must_not_verify_are_passed_over() {
    let app = App::new();
    let good = app.server.jwks()["keys"][0].clone();
    let change = |name: &str, value: serde_json::Value| {
        let mut jwk = good.clone();
        jwk[name] = value;
        json!({ "keys": [jwk] }).to_string()
    };
    let too_many: Vec<_> = (0..65).map(|_| good.clone()).collect();
    for set in [
        change("use", json!("enc")),
        change("use", json!(1)),
        change("alg", json!("RS256")),
        change("alg", json!("none")),
        change("d", json!("AAAA")),
        change("k", json!("AAAA")),
        change("kid", json!("")),
        change("kid", json!("k".repeat(129))),
        change("kid", json!(1)),
        change("crv", json!("P-384")),
        change("x", good["y"].clone()),
        json!({ "keys": too_many }).to_string(),
        json!([good]).to_string(),
        format!("{{\"keys\":[],\"keys\":[{good}]}}"),
        json!({ "keys": [good], "padding": "x".repeat(256 * 1024) }).to_string(),
    ] {
        let verifier = Remote::new(Ok(Bytes::from(set.clone()))).verifier(&app);
        let verdict = verifier.verify(&token(&app)).await;
        assert!(matches!(verdict, Err(VerifyError::Unavailable(_))), "{set}");
    }
}

/// Two keys under one id: the second must not take the first one's place.
#[tokio::test]
async fn a_second_key_under_a_known_id_verifies_nothing() {
    let (app, stranger) = (App::new(), App::new());
    let mut planted = stranger.server.jwks()["keys"][0].clone();
    planted["kid"] = json!(kid(&app));
    let set = json!({ "keys": [app.server.jwks()["keys"][0], planted] });
    let verifier = Remote::new(Ok(Bytes::from(set.to_string()))).verifier(&app);
    verifier.verify(&token(&app)).await.unwrap();
    let now = app.clock.now().as_secs();
    let forged = sign(
        &stranger,
        &json!({ "alg": "ES256", "typ": "at+jwt", "kid": kid(&app) }),
        &json!({
            "iss": ORIGIN, "aud": RESOURCE, "sub": "alice", "client_id": "c", "grant_id": "g", "jti": "1",
            "iat": now, "nbf": now, "exp": now + 60,
        }),
    );
    assert!(matches!(
        verifier.verify(&forged).await,
        Err(VerifyError::Invalid("signature does not verify"))
    ));
}

/// The verdict that is kept is not the token: a token that differs in its last character is judged by itself.
#[tokio::test]
async fn a_token_that_resembles_a_cached_one_is_not_that_one() {
    let app = App::new();
    let verifier = Remote::new(jwks(&app)).verifier(&app);
    let good = token(&app);
    verifier.verify(&good).await.unwrap();
    for index in [0, good.len() / 2, good.len() - 1] {
        let mut bytes = good.clone().into_bytes();
        bytes[index] = if bytes[index] == b'A' { b'B' } else { b'A' };
        let resembling = String::from_utf8(bytes).unwrap();
        assert!(verifier.verify(&resembling).await.is_err(), "{index}");
    }
    app.clock.advance(Duration::from_secs(1));
    verifier.verify(&good).await.unwrap();
}
