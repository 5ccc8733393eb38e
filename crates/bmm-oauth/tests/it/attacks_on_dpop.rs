//! Attacks on tokens that are bound to a key (RFC 9449 section 11), each with its source.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use bmm_oauth::{Dpop, Event, EventKind, EventSink, Outcome};
use http::{Request, StatusCode};
use serde_json::{Value, json};

use crate::app::*;
use crate::dpop::{Bound, NOW, ath};
use crate::key_pairs::Signer;

impl Bound {
    async fn refuses(&self, token: &str, proof: &str) {
        let reply = self.call(token, proof).await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{proof}");
        let challenge = reply.header("www-authenticate");
        assert!(
            challenge.starts_with("DPoP error=\"invalid_dpop_proof\""),
            "{challenge}"
        );
    }

    async fn refuses_claims(&self, token: &str, mut claims: Value) {
        if claims.get("ath").is_none() {
            claims["ath"] = ath(token).into();
        }
        self.refuses(token, &self.client.proof(claims)).await;
    }

    async fn refuses_header(&self, token: &str, header: Value) {
        let claims = json!({ "ath": ath(token) });
        self.refuses(token, &self.client.proof_with(claims, header)).await;
    }
}

fn bound() -> Bound {
    Bound::new(Some(Dpop::optional()))
}

/// RFC 9449 section 7.2: the downgrade. A stolen bound token must not work as a plain one, with or without a proof beside it.
#[tokio::test]
async fn a_bound_token_as_bearer_is_refused() {
    for dpop in [None, Some(Dpop::optional()), Some(Dpop::required())] {
        let bound = Bound::new(dpop);
        let token = bound.token();
        let bearer = format!("Bearer {token}");
        for headers in [
            vec![("authorization", bearer.as_str())],
            vec![("authorization", &bearer), ("dpop", &bound.proof(&token))],
        ] {
            let reply = bound.send(&headers).await;
            assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
            assert!(
                reply
                    .header("www-authenticate")
                    .contains("error=\"invalid_token\"")
            );
        }
    }
}

/// RFC 9449 section 7.1: the other way round, an unbound token gains nothing by the scheme.
#[tokio::test]
async fn an_unbound_token_as_dpop_is_refused() {
    let bound = bound();
    let token = bound.token_with(Value::Null);
    let reply = bound.call(&token, &bound.proof(&token)).await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    assert!(
        reply
            .header("www-authenticate")
            .starts_with("DPoP error=\"invalid_token\"")
    );
}

/// Where proofs are not taken, the scheme does not exist.
#[tokio::test]
async fn without_dpop_the_scheme_is_no_credential() {
    let bound = Bound::new(None);
    let token = bound.token();
    let reply = bound.call(&token, &bound.proof(&token)).await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    assert!(
        reply
            .header("www-authenticate")
            .starts_with("Bearer resource_metadata=")
    );
}

/// RFC 9449 section 11.1.
#[tokio::test]
async fn a_proof_is_used_once() {
    let bound = bound();
    let token = bound.token();
    let proof = bound.proof(&token);
    assert_eq!(bound.call(&token, &proof).await.status, StatusCode::OK);
    bound.refuses(&token, &proof).await;
    bound.clock.advance(Duration::from_secs(299));
    bound.refuses(&token, &proof).await;
    // A `jti` is its key's: nobody uses up another's.
    let fresh = json!({ "ath": ath(&token), "jti": "the same", "iat": NOW + 299 });
    let proof = bound.client.proof(fresh.clone());
    assert_eq!(bound.call(&token, &proof).await.status, StatusCode::OK);
    bound.refuses(&token, &bound.client.proof(fresh)).await;
    let other = Signer::es256();
    let token = bound.token_with(json!({ "jkt": other.thumbprint() }));
    let proof = other.proof(json!({ "ath": ath(&token), "jti": "the same", "iat": NOW + 299 }));
    assert_eq!(bound.call(&token, &proof).await.status, StatusCode::OK);
}

/// Many at once with one proof: one gets in.
#[tokio::test]
async fn of_racing_requests_with_one_proof_one_gets_in() {
    let bound = Arc::new(bound());
    let token = bound.token();
    let proof = bound.proof(&token);
    let racing: Vec<_> = (0..16)
        .map(|_| {
            let (bound, token, proof) = (bound.clone(), token.clone(), proof.clone());
            tokio::spawn(async move { bound.call(&token, &proof).await.status == StatusCode::OK })
        })
        .collect();
    let mut passed = 0;
    for request in racing {
        passed += usize::from(request.await.unwrap());
    }
    assert_eq!(passed, 1);
}

/// A refused proof must not use up the `jti` of a good one, or anybody could spend other people's.
#[tokio::test]
async fn a_refused_proof_uses_nothing_up() {
    let bound = bound();
    let token = bound.token();
    let good = json!({ "ath": ath(&token), "jti": "one" });
    let mut bad = good.clone();
    bad["htm"] = "GET".into();
    bound.refuses(&token, &bound.client.proof(bad)).await;
    assert_eq!(
        bound.call(&token, &bound.client.proof(good)).await.status,
        StatusCode::OK
    );
}

/// RFC 9449 section 4.3: a stolen token with a proof of the thief's own key.
#[tokio::test]
async fn a_proof_of_another_key_is_refused() {
    let bound = bound();
    let token = bound.token();
    for (thief, _) in Signer::all() {
        bound
            .refuses(&token, &thief.proof(json!({ "ath": ath(&token) })))
            .await;
        // Claiming the victim's key in the header, signing with one's own.
        let mut jwk = bound.client.jwk("");
        jwk.as_object_mut().unwrap().remove("kid");
        let claims = json!({ "ath": ath(&token) });
        bound
            .refuses(&token, &thief.proof_with(claims, json!({ "jwk": jwk })))
            .await;
    }
}

/// RFC 9449 section 4.3 checks 8 to 12: made for another request, another token, another time.
#[tokio::test]
async fn a_proof_for_anything_else_is_refused() {
    let bound = bound();
    let token = bound.token();
    for claims in [
        json!({ "htm": "GET" }),
        json!({ "htm": "post" }),
        json!({ "htu": OTHER_RESOURCE }),
        json!({ "htu": format!("{RESOURCE}/") }),
        json!({ "htu": "http://auth.example/files/mcp" }),
        json!({ "htu": "https://auth.example@evil.example/files/mcp" }),
        json!({ "htu": "/files/mcp" }),
        json!({ "htu": 1 }),
        json!({ "ath": ath("another token") }),
        json!({ "ath": "" }),
        json!({ "ath": format!("{}=", ath(&token)) }),
        json!({ "iat": NOW - 301 }),
        json!({ "iat": NOW + 301 }),
        json!({ "iat": NOW.to_string() }),
        json!({ "iat": 1.8e9 }),
        json!({ "iat": u64::MAX }),
        json!({ "exp": NOW }),
        json!({ "exp": "soon" }),
        json!({ "nbf": NOW + 1000 }),
        json!({ "jti": "" }),
        json!({ "jti": 1 }),
        json!({ "jti": "x".repeat(257) }),
        json!({ "nonce": 1 }),
    ] {
        bound.refuses_claims(&token, claims).await;
    }
    for name in ["jti", "htm", "htu", "iat", "ath"] {
        bound.refuses_claims(&token, json!({ name: null })).await;
    }
    bound.refuses(&token, &bound.client.proof(json!({}))).await;
}

/// RFC 9449 section 4.3 checks 4 to 7, RFC 8725: what the header may say.
#[tokio::test]
async fn a_proof_with_an_odd_header_is_refused() {
    let bound = bound();
    let token = bound.token();
    let jwk = bound.client.jwk("");
    let with = |name: &str, value: Value| {
        let mut jwk = jwk.clone();
        jwk[name] = value;
        json!({ "jwk": jwk })
    };
    for header in [
        json!({ "typ": "JWT" }),
        json!({ "typ": "at+jwt" }),
        json!({ "typ": null }),
        json!({ "alg": "none" }),
        json!({ "alg": "HS256" }),
        json!({ "alg": "RS256" }),
        json!({ "alg": "es256" }),
        json!({ "alg": null }),
        json!({ "jwk": null }),
        json!({ "jwk": "x" }),
        json!({ "jwk": {} }),
        json!({ "jwk": { "kty": "oct", "k": "AAAA" } }),
        with("d", json!("AAAA")),
        with("alg", json!("RS256")),
        with("crv", json!("P-384")),
        with("x", json!("AAAA")),
        with("x", jwk["y"].clone()),
        json!({ "crit": ["exp"] }),
        json!({ "jku": "https://evil.example/" }),
        json!({ "x5c": ["MIIB"] }),
        json!({ "x5u": "https://evil.example/" }),
        json!({ "b64": false }),
    ] {
        bound.refuses_header(&token, header).await;
    }
}

/// RFC 9449 section 4.3 check 1; two of anything is how two readers come to disagree.
#[tokio::test]
async fn two_proofs_or_two_tokens_are_refused() {
    let bound = bound();
    let token = bound.token();
    let (authorization, proofs) = (
        format!("DPoP {token}"),
        [bound.proof(&token), bound.proof(&token)],
    );
    let reply = bound
        .send(&[
            ("authorization", &authorization),
            ("dpop", &proofs[0]),
            ("dpop", &proofs[1]),
        ])
        .await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    assert!(reply.header("www-authenticate").contains("invalid_dpop_proof"));
    for second in [authorization.clone(), format!("Bearer {token}")] {
        let reply = bound
            .send(&[
                ("authorization", &authorization),
                ("authorization", &second),
                ("dpop", &proofs[0]),
            ])
            .await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    }
    let joined = format!("{},{}", proofs[0], proofs[1]);
    bound.refuses(&token, &joined).await;
    let reply = bound.send(&[("authorization", &authorization)]).await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    // None of these used the proof up.
    assert_eq!(bound.call(&token, &proofs[0]).await.status, StatusCode::OK);
}

/// Nonsense in the header is refused with the code, and never a 5xx.
#[tokio::test]
async fn malformed_proofs_are_refused() {
    let bound = bound();
    let token = bound.token();
    for proof in ["", ".", "..", "a.b.c", "e30.e30.", "x", &"x".repeat(20_000)] {
        bound.refuses(&token, proof).await;
    }
    let request = Request::post("/files/mcp")
        .header("authorization", format!("DPoP {token}"))
        .header("dpop", b"\xff\xfe".as_slice())
        .body(Body::empty())
        .unwrap();
    let reply = bound.send_request(request).await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    let good = bound.proof(&token);
    let (message, signature) = good.rsplit_once('.').unwrap();
    for proof in [
        message.to_owned(),
        format!("{message}."),
        format!("{message}.{}", signature.replace(char::is_alphabetic, "A")),
        format!("{good}.{signature}"),
    ] {
        bound.refuses(&token, &proof).await;
    }
}

/// RFC 9449 section 9: the URL of a proof is compared with what is configured, never with what the request says of its host.
#[tokio::test]
async fn a_lie_about_the_host_does_not_make_a_proof_fit() {
    let bound = bound();
    let token = bound.token();
    let claims = json!({ "ath": ath(&token), "htu": "https://evil.example/files/mcp" });
    let proof = bound.client.proof(claims);
    let authorization = format!("DPoP {token}");
    let reply = bound
        .send(&[
            ("host", "evil.example"),
            ("x-forwarded-host", "evil.example"),
            ("forwarded", "host=evil.example;proto=https"),
            ("authorization", &authorization),
            ("dpop", &proof),
        ])
        .await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
}

/// Refusals are told to the host's record, with what is known and without the token or the proof.
#[tokio::test]
async fn refused_tokens_and_proofs_are_recorded() {
    let events = Arc::new(Mutex::new(Vec::new()));
    let bound = Bound::with_layer(Signer::es256(), |guard| {
        guard
            .with_dpop(Dpop::optional())
            .with_events(Recorder(Arc::clone(&events)))
    });
    let token = bound.token();
    bound.send(&[("authorization", "Bearer x.y.z")]).await;
    bound.send(&[("authorization", &format!("Bearer {token}"))]).await;
    bound.call(&token, "x").await;
    bound.send(&[]).await;
    let events = events.lock().unwrap();
    assert_eq!(events.len(), 3, "{events:?}");
    assert!(events.iter().all(|event| event.kind == EventKind::AccessChecked));
    assert_eq!(
        events[0].grant_id, None,
        "nothing of an unverified token is believed"
    );
    assert_eq!(
        events[1].outcome,
        Outcome::Refused("a bound token without its scheme")
    );
    assert_eq!(events[1].grant_id.as_deref(), Some("grant"));
    assert_eq!(events[2].outcome, Outcome::Refused("not a JWS"));
    assert!(!format!("{events:?}").contains(&token));
}

struct Recorder(Arc<Mutex<Vec<Event>>>);

impl EventSink for Recorder {
    fn record(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}
