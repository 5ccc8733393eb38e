//! Asking the issuer about tokens (RFC 7662): what counts as an answer, and for how long.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bmm_oauth::*;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::app::*;
use crate::key_pairs::Signer;

const NOW: u64 = 1_800_000_000;

struct Endpoint {
    answer: Mutex<Result<String, &'static str>>,
    forms: Mutex<Vec<String>>,
    questions: AtomicUsize,
    gate: Mutex<Option<Arc<Notify>>>,
    clock: ManualClock,
}

impl Endpoint {
    fn new(answer: Value) -> Arc<Self> {
        Arc::new(Self {
            answer: Mutex::new(Ok(answer.to_string())),
            forms: Mutex::default(),
            questions: AtomicUsize::new(0),
            gate: Mutex::default(),
            clock: ManualClock::new(Timestamp::from_secs(NOW)),
        })
    }

    fn verifier(self: &Arc<Self>) -> IntrospectionVerifier {
        let endpoint = Arc::clone(self);
        let introspect: Introspect = Arc::new(move |form: Bytes| {
            let endpoint = Arc::clone(&endpoint);
            endpoint.questions.fetch_add(1, Ordering::SeqCst);
            let form = String::from_utf8(form.to_vec()).unwrap();
            endpoint.forms.lock().unwrap().push(form);
            Box::pin(async move {
                let gate = endpoint.gate.lock().unwrap().clone();
                if let Some(gate) = gate {
                    gate.notified().await;
                }
                let answer = endpoint.answer.lock().unwrap().clone();
                answer.map(Bytes::from).map_err(BoxError::from)
            })
        });
        IntrospectionVerifier::new(ORIGIN.parse().unwrap(), RESOURCE.parse().unwrap(), introspect)
            .with_clock(Arc::new(self.clock.clone()))
    }

    fn set(&self, answer: Result<String, &'static str>) {
        *self.answer.lock().unwrap() = answer;
    }

    fn questions(&self) -> usize {
        self.questions.load(Ordering::SeqCst)
    }
}

fn active() -> Value {
    json!({
        "active": true, "iss": ORIGIN, "aud": RESOURCE, "sub": "alice", "client_id": "client", "grant_id": "grant",
        "scope": "mcp:read", "token_type": "Bearer", "exp": NOW + 60, "iat": NOW, "username": "Alice",
    })
}

fn with(name: &str, value: Value) -> Value {
    let mut answer = active();
    answer[name] = value;
    answer
}

fn without(name: &str) -> Value {
    let mut answer = active();
    answer.as_object_mut().unwrap().remove(name);
    answer
}

fn inactive() -> Result<String, &'static str> {
    Ok(json!({ "active": false }).to_string())
}

#[tokio::test]
async fn an_active_token_is_asked_about_once_per_five_seconds() {
    let endpoint = Endpoint::new(active());
    let verifier = endpoint.verifier();
    for _ in 0..10 {
        let info = verifier.verify("opaque+/=&token").await.unwrap();
        assert_eq!((info.subject().as_str(), info.grant_id()), ("alice", "grant"));
    }
    assert_eq!(endpoint.questions(), 1);
    assert_eq!(
        endpoint.forms.lock().unwrap()[0],
        "token=opaque%2B%2F%3D%26token&token_type_hint=access_token"
    );
    endpoint.set(inactive());
    endpoint.clock.advance(Duration::from_secs(4));
    verifier.verify("opaque+/=&token").await.unwrap();
    endpoint.clock.advance(Duration::from_secs(1));
    assert!(matches!(
        verifier.verify("opaque+/=&token").await,
        Err(VerifyError::Invalid("not active"))
    ));
}

#[tokio::test]
async fn an_answer_is_not_kept_beyond_the_tokens_expiry() {
    let endpoint = Endpoint::new(with("exp", json!(NOW + 2)));
    let verifier = endpoint.verifier().with_cache_ttl(Duration::from_secs(3600));
    verifier.verify("t").await.unwrap();
    endpoint.clock.advance(Duration::from_secs(2));
    assert!(matches!(
        verifier.verify("t").await,
        Err(VerifyError::Invalid("not valid now"))
    ));
    assert_eq!(endpoint.questions(), 2);
}

/// An inactive token is asked about again, and is never remembered as anything else.
#[tokio::test]
async fn an_inactive_answer_is_not_kept() {
    let endpoint = Endpoint::new(json!({ "active": false }));
    let verifier = endpoint.verifier();
    for n in 1..=3 {
        assert!(verifier.verify("t").await.is_err());
        assert_eq!(endpoint.questions(), n);
    }
    endpoint.set(Ok(active().to_string()));
    verifier.verify("t").await.unwrap();
}

#[tokio::test]
async fn with_no_time_to_keep_answers_every_request_asks() {
    let endpoint = Endpoint::new(active());
    let verifier = endpoint.verifier().with_cache_ttl(Duration::ZERO);
    verifier.verify("t").await.unwrap();
    endpoint.set(inactive());
    assert!(verifier.verify("t").await.is_err());
}

/// RFC 7662 section 4: the answer must be for us; one for another audience is an active token all the same.
#[tokio::test]
async fn an_active_token_for_somebody_else_is_refused() {
    for answer in [
        with("aud", json!(OTHER_RESOURCE)),
        with("aud", json!([RESOURCE, OTHER_RESOURCE])),
        without("aud"),
        with("iss", json!("https://evil.example")),
        with("exp", json!(NOW)),
        with("exp", json!((NOW + 60).to_string())),
        with("nbf", json!(NOW + 60)),
        with("nbf", json!("0")),
        without("exp"),
        without("sub"),
        with("sub", json!("")),
        without("client_id"),
        with("scope", json!(["mcp:read"])),
        with("grant_id", json!(1)),
        with("token_type", json!("DPoP")),
        with("cnf", json!({ "x5t#S256": "x" })),
        with(
            "cnf",
            json!({ "jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I" }),
        ),
    ] {
        let verdict = Endpoint::new(answer.clone()).verifier().verify("t").await;
        assert!(matches!(verdict, Err(VerifyError::Invalid(_))), "{answer}");
    }
    for answer in [without("iss"), without("grant_id"), without("token_type")] {
        assert!(
            Endpoint::new(answer.clone()).verifier().verify("t").await.is_ok(),
            "{answer}"
        );
    }
}

/// A failure is no verdict: it must become a 503, and neither let in nor sign out.
#[tokio::test]
async fn an_issuer_that_cannot_be_asked_gives_no_verdict() {
    let endpoint = Endpoint::new(active());
    let verifier = endpoint.verifier();
    for answer in [
        Err("connection refused"),
        Ok(String::new()),
        Ok("<html>".to_owned()),
        Ok("{}".to_owned()),
        Ok(json!({ "active": "true" }).to_string()),
        Ok(json!({ "active": 1 }).to_string()),
        Ok(json!([active()]).to_string()),
        Ok(r#"{"active":false,"active":true}"#.to_owned()),
        Ok(with("padding", json!("x".repeat(70_000))).to_string()),
    ] {
        endpoint.set(answer.clone());
        let verdict = verifier.verify("t").await;
        assert!(matches!(verdict, Err(VerifyError::Unavailable(_))), "{answer:?}");
    }
}

/// Anybody can send tokens: what that makes us ask has a bound.
#[tokio::test]
async fn a_flood_of_tokens_asks_no_more_than_64_questions_at_a_time() {
    let endpoint = Endpoint::new(json!({ "active": false }));
    *endpoint.gate.lock().unwrap() = Some(Arc::new(Notify::new()));
    let verifier = Arc::new(endpoint.verifier());
    let flood: Vec<_> = (0..500)
        .map(|n| {
            let verifier = Arc::clone(&verifier);
            tokio::spawn(async move { verifier.verify(&n.to_string()).await.is_ok() })
        })
        .collect();
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(endpoint.questions(), 64);
    assert_eq!(flood.iter().filter(|task| task.is_finished()).count(), 500 - 64);
    assert!(verifier.verify(&"x".repeat(9000)).await.is_err());
    assert_eq!(
        endpoint.questions(),
        64,
        "what is too long to be a token is not asked about"
    );
}

/// With the endpoint that the authorization server serves: a bound token keeps its binding, a revoked one ends within five seconds.
#[tokio::test]
async fn a_verifier_asks_the_servers_own_endpoint() {
    let app = Arc::new(App::new());
    let client = app.client().await;
    let server = crate::endpoints::resource_server(&app, &[RESOURCE]).await;
    let key = Signer::es256();
    let proof = key.proof(json!({ "htu": "https://auth.example/oauth/token" }));
    let code = app.code(&client).await;
    let mut bound = token_request(&code_form(&client, &code));
    bound.headers_mut().insert("dpop", proof.parse().unwrap());
    let (bound, _) = app.send(bound).await.tokens();
    let (plain, refresh) = app.tokens(&client).await;

    let asked = Arc::clone(&app);
    let introspect: Introspect = Arc::new(move |form: Bytes| {
        let (app, server) = (Arc::clone(&asked), server.clone());
        Box::pin(async move {
            let mut form: Vec<(String, String)> = form_urlencoded::parse(&form).into_owned().collect();
            form.push(("client_id".to_owned(), server.id));
            form.push(("client_secret".to_owned(), server.secret.unwrap()));
            let form: Vec<_> = form.iter().map(|(name, value)| (&**name, &**value)).collect();
            let reply = crate::endpoints::post_form(&app, "/oauth/introspect", &form).await;
            assert_eq!(reply.status, http::StatusCode::OK);
            Ok(Bytes::from(reply.body))
        })
    });
    let verifier = IntrospectionVerifier::new(ORIGIN.parse().unwrap(), RESOURCE.parse().unwrap(), introspect)
        .with_clock(Arc::new(app.clock.clone()));
    let info = verifier.verify(&plain).await.unwrap();
    assert_eq!((info.subject().as_str(), info.bound_to()), ("alice", None));
    let jkt = verifier.verify(&bound).await.unwrap().bound_to().cloned();
    assert_eq!(jkt.map(String::from), Some(key.thumbprint()));
    assert!(
        verifier.verify(&refresh).await.is_err(),
        "a refresh token is none"
    );
    app.server.revoke_grant(info.grant_id()).await.unwrap();
    app.advance(5);
    assert!(matches!(
        verifier.verify(&plain).await,
        Err(VerifyError::Invalid("not active"))
    ));
}
