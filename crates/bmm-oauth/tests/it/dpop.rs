//! Tokens bound to a key (RFC 9449), at the resource.

use std::sync::Arc;

use axum::body::Body;
use axum::{Router, routing};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bmm_oauth::*;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::app::*;
use crate::jwks::Remote;
use crate::key_pairs::Signer;

pub(crate) const NOW: u64 = 1_800_000_000;

/// A resource that takes tokens of one issuer, and a client with a key.
pub(crate) struct Bound {
    pub(crate) clock: ManualClock,
    issuer: Signer,
    pub(crate) client: Signer,
    pub(crate) service: Router,
}

impl Bound {
    pub(crate) fn new(dpop: Option<Dpop>) -> Self {
        Self::with_client(dpop, Signer::es256())
    }

    pub(crate) fn with_client(dpop: Option<Dpop>, client: Signer) -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(NOW)));
        let shared = clock.clone();
        let mut bound = Self::with_layer(client, move |guard| match dpop {
            Some(dpop) => guard.with_dpop(dpop.with_clock(shared)),
            None => guard,
        });
        bound.clock = (*clock).clone();
        bound
    }

    pub(crate) fn with_layer(
        client: Signer,
        change: impl FnOnce(RequireAuthLayer) -> RequireAuthLayer,
    ) -> Self {
        let app = App::new();
        let issuer = Signer::es256();
        let set = json!({ "keys": [issuer.jwk("k")] }).to_string();
        let verifier = Remote::new(Ok(Bytes::from(set))).verifier(&app);
        let guard = RequireAuthLayer::new(RESOURCE.parse().unwrap(), ORIGIN.parse().unwrap(), verifier)
            .with_scopes(["mcp:read"]);
        let guard = change(guard);
        let answer = |headers: HeaderMap| async move {
            assert!(!headers.contains_key("authorization") && !headers.contains_key("dpop"));
            "in"
        };
        let metadata = guard.metadata_router();
        let service = Router::new()
            .fallback(routing::any(answer))
            .layer(guard)
            .merge(metadata);
        Self {
            clock: app.clock,
            issuer,
            client,
            service,
        }
    }

    /// A token that is bound to the client's key.
    pub(crate) fn token(&self) -> String {
        self.token_with(json!({ "jkt": self.client.thumbprint() }))
    }

    pub(crate) fn token_with(&self, cnf: Value) -> String {
        let mut claims = json!({
            "iss": ORIGIN, "aud": RESOURCE, "sub": "alice", "client_id": "client", "grant_id": "grant", "jti": "1",
            "iat": NOW, "nbf": NOW, "exp": NOW + 3600, "scope": "mcp:read", "cnf": cnf,
        });
        if cnf.is_null() {
            claims.as_object_mut().unwrap().remove("cnf");
        }
        let header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": "k" });
        self.issuer.sign(&header.to_string(), &claims.to_string())
    }

    pub(crate) fn proof(&self, token: &str) -> String {
        self.client.proof(json!({ "ath": ath(token) }))
    }

    pub(crate) async fn send(&self, headers: &[(&str, &str)]) -> Reply {
        let mut request = Request::post("/files/mcp");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send_request(request.body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn send_request(&self, request: Request<Body>) -> Reply {
        Reply::read(self.service.clone().oneshot(request).await.unwrap()).await
    }

    /// A request as it should be.
    pub(crate) async fn call(&self, token: &str, proof: &str) -> Reply {
        self.send(&[("authorization", &format!("DPoP {token}")), ("dpop", proof)])
            .await
    }
}

pub(crate) fn ath(token: &str) -> String {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
    URL_SAFE_NO_PAD.encode(hash)
}

#[tokio::test]
async fn a_bound_token_with_a_proof_of_its_key_passes() {
    for (client, _) in Signer::all() {
        let bound = Bound::with_client(Some(Dpop::optional()), client);
        let token = bound.token();
        for _ in 0..3 {
            let reply = bound.call(&token, &bound.proof(&token)).await;
            assert_eq!((reply.status, &*reply.body), (StatusCode::OK, "in"));
            assert!(!reply.headers.contains_key("dpop-nonce"));
        }
        // The URL may be written in another way, with what RFC 9449 section 4.3 says to ignore.
        let written = RESOURCE.replace("https://auth", "HTTPS://AUTH") + "?a=b#c";
        let proof = bound.client.proof(json!({ "ath": ath(&token), "htu": written }));
        assert_eq!(bound.call(&token, &proof).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_layer_that_takes_both_says_so() {
    let bound = Bound::new(Some(Dpop::optional()));
    let reply = bound.send(&[]).await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    let challenges: Vec<_> = reply.headers.get_all("www-authenticate").iter().collect();
    let metadata = "resource_metadata=\"https://auth.example/.well-known/oauth-protected-resource/files/mcp\", scope=\"mcp:read\"";
    assert_eq!(challenges[0], format!("Bearer {metadata}").as_str());
    assert_eq!(
        challenges[1],
        format!("DPoP algs=\"ES256 EdDSA RS256\", {metadata}").as_str()
    );
    let unbound = bound.token_with(Value::Null);
    let reply = bound
        .send(&[("authorization", &format!("Bearer {unbound}"))])
        .await;
    assert_eq!(reply.status, StatusCode::OK);
    let path = "/.well-known/oauth-protected-resource/files/mcp";
    let document = bound
        .send_request(Request::get(path).body(Body::empty()).unwrap())
        .await
        .json();
    assert_eq!(
        document["dpop_signing_alg_values_supported"],
        json!(["ES256", "EdDSA", "RS256"])
    );
    assert_eq!(document.get("dpop_bound_access_tokens_required"), None);
}

#[tokio::test]
async fn a_layer_that_requires_proofs_takes_nothing_else() {
    let bound = Bound::new(Some(Dpop::required()));
    let unbound = bound.token_with(Value::Null);
    for headers in [vec![], vec![("authorization", format!("Bearer {unbound}"))]] {
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let reply = bound.send(&headers).await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
        let challenges: Vec<_> = reply.headers.get_all("www-authenticate").iter().collect();
        assert_eq!(challenges.len(), 1);
        assert!(challenges[0].to_str().unwrap().starts_with("DPoP "));
    }
    let token = bound.token();
    assert_eq!(
        bound.call(&token, &bound.proof(&token)).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn with_nonces_the_client_is_told_and_gets_in_with_the_next_proof() {
    let bound = Bound::new(Some(Dpop::optional().with_nonces(DpopNonces::random())));
    let token = bound.token();
    let reply = bound.call(&token, &bound.proof(&token)).await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    assert!(
        reply
            .header("www-authenticate")
            .starts_with("DPoP error=\"use_dpop_nonce\"")
    );
    let nonce = reply.header("dpop-nonce").to_owned();
    let with = |nonce: &str| bound.client.proof(json!({ "ath": ath(&token), "nonce": nonce }));
    let reply = bound.call(&token, &with(&nonce)).await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(reply.header("dpop-nonce"), nonce, "for the next request");
    for nonce in ["", "stale", &"A".repeat(43)] {
        assert_eq!(
            bound.call(&token, &with(nonce)).await.status,
            StatusCode::UNAUTHORIZED
        );
    }
    bound.clock.advance(std::time::Duration::from_secs(290));
    let old = with(&nonce);
    bound.clock.advance(std::time::Duration::from_secs(10));
    let reply = bound.call(&token, &old).await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    assert_ne!(reply.header("dpop-nonce"), nonce);
}

/// For a resource with more paths than its own URL.
#[tokio::test]
async fn proofs_may_be_for_the_path_of_each_request() {
    let bound = Bound::new(Some(Dpop::optional().with_request_paths()));
    let token = bound.token();
    let request = |path: &str, htu: &str| {
        let proof = bound.client.proof(json!({ "ath": ath(&token), "htu": htu }));
        let request = Request::post(path).header("authorization", format!("DPoP {token}"));
        request
            .header("dpop", proof)
            .header("host", "evil.example")
            .body(Body::empty())
            .unwrap()
    };
    for (path, htu, status) in [
        ("/files/mcp/a?x=y", "https://auth.example/files/mcp/a", 200),
        ("/files/mcp/a", "https://auth.example/files/mcp", 401),
        ("/files/mcp/a", "https://evil.example/files/mcp/a", 401),
    ] {
        let reply = bound.send_request(request(path, htu)).await;
        assert_eq!(reply.status.as_u16(), status, "{path} {htu}");
    }
}

/// A step-up keeps to the scheme of the token.
#[tokio::test]
async fn a_bound_token_with_too_few_scopes_is_challenged_in_its_scheme() {
    let bound = Bound::new(Some(Dpop::optional()));
    let info = AuthInfo::insecure_asserted(
        ORIGIN.parse().unwrap(),
        RESOURCE.parse().unwrap(),
        Subject::new("alice"),
        "client".to_owned(),
        Scopes::empty(),
        "grant".to_owned(),
        Timestamp::from_secs(NOW),
    )
    .with_bound_to(Thumbprint::parse(&bound.client.thumbprint()).unwrap());
    let guard = RequireAuthLayer::new(
        RESOURCE.parse().unwrap(),
        ORIGIN.parse().unwrap(),
        App::new().server.verifier(RESOURCE.parse().unwrap()),
    )
    .with_dpop(Dpop::optional());
    let answer = guard.step_up(&info, &Scopes::new(["files:write"]).unwrap());
    let challenge = answer.headers()["www-authenticate"].to_str().unwrap();
    assert!(
        challenge.starts_with("DPoP error=\"insufficient_scope\""),
        "{challenge}"
    );
}
