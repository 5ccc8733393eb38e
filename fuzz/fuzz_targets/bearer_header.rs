//! Any bytes as the headers `Authorization` and, after a line feed, `DPoP` of a request to a guarded service: it is reached with a good
//! token as `Bearer`, or with one that is bound to a key and a proof by that key, and with nothing else.
//!
//! `<T>` in the input stands for a good token, `<B>` for one that is bound to a key, `<P>` for a fresh proof by that key.
#![no_main]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bmm_fuzz::{ORIGIN, RESOURCE, Signer};
use bmm_oauth::*;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Empty;
use serde_json::json;
use tokio::runtime::Runtime;
use tower::{Layer, ServiceExt};

const NOW: u64 = 1_800_000_000;

struct Fixture {
    runtime: Runtime,
    guard: RequireAuthLayer,
    clock: ManualClock,
    good: String,
    bound: String,
    holder: Signer,
}

static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| {
    let (issuer, holder) = (Signer::from_seed(1), Signer::from_seed(3));
    let keys = Bytes::from(issuer.key_set());
    let fetch: FetchJwks = Arc::new(move || {
        let keys = keys.clone();
        Box::pin(async move { Ok(keys) })
    });
    // Tokens without an end, as far as the clock of a run goes.
    let mut claims = json!({
        "iss": ORIGIN, "aud": RESOURCE, "sub": "alice", "client_id": "public", "grant_id": "g", "jti": "j",
        "iat": NOW, "nbf": NOW, "exp": NOW + 1_000_000_000_000_u64, "scope": "mcp:read",
    });
    let header = br#"{"typ":"at+jwt","alg":"EdDSA","kid":"ed"}"#;
    let good = issuer.sign(header, claims.to_string().as_bytes());
    claims["cnf"] = json!({ "jkt": holder.thumbprint() });
    let bound = issuer.sign(header, claims.to_string().as_bytes());
    let clock = ManualClock::new(Timestamp::from_secs(NOW));
    let verifier = JwksVerifier::new(ORIGIN.parse().unwrap(), RESOURCE.parse().unwrap(), fetch)
        .with_clock(Arc::new(clock.clone()));
    let guard = RequireAuthLayer::new(RESOURCE.parse().unwrap(), ORIGIN.parse().unwrap(), verifier)
        .with_scopes(["mcp:read"])
        .with_dpop(Dpop::optional().with_clock(Arc::new(clock.clone())));
    Fixture {
        runtime: tokio::runtime::Builder::new_current_thread().build().unwrap(),
        guard,
        clock,
        good,
        bound,
        holder,
    }
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let fixture = &*FIXTURE;
    fixture.clock.advance(std::time::Duration::from_secs(1));
    let (authorization, proof) = match bytes.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&bytes[..end], Some(&bytes[end + 1..])),
        None => (bytes, None),
    };
    let fresh = fixture.proof();
    let mut request = Request::post("/files/mcp");
    let spelled = |bytes: &[u8]| fixture.spell(bytes, &fresh);
    let Ok(authorization) = HeaderValue::from_bytes(&spelled(authorization)) else {
        return;
    };
    let proof = proof.map(|proof| HeaderValue::from_bytes(&spelled(proof)));
    request = request.header(header::AUTHORIZATION, &authorization);
    match &proof {
        Some(Ok(proof)) => request = request.header("dpop", proof),
        Some(Err(_)) => return,
        None => {}
    }
    let service = fixture
        .guard
        .layer(tower::service_fn(|request: Request<Empty<Bytes>>| async move {
            assert!(
                !request.headers().contains_key(header::AUTHORIZATION),
                "the token stays outside"
            );
            assert!(request.extensions().get::<AuthInfo>().is_some());
            Ok::<_, std::convert::Infallible>(Response::new(Empty::<Bytes>::new()))
        }));
    let request = request.body(Empty::new()).unwrap();
    let response = fixture.runtime.block_on(service.oneshot(request)).unwrap();
    match response.status() {
        StatusCode::OK => {
            let text = authorization.to_str().expect("a token is text");
            let (scheme, token) = text.split_once(' ').expect("a scheme and a token");
            let token = token.trim_matches(' ');
            match scheme.to_ascii_lowercase().as_str() {
                "bearer" => assert_eq!(token, fixture.good),
                "dpop" => {
                    assert_eq!(token, fixture.bound);
                    assert_eq!(proof.unwrap().unwrap().as_bytes(), fresh.as_bytes());
                }
                _ => panic!("let in by {scheme}"),
            }
        }
        StatusCode::UNAUTHORIZED | StatusCode::BAD_REQUEST => {
            assert!(
                response.headers().contains_key(header::WWW_AUTHENTICATE),
                "every refusal is a challenge"
            );
        }
        other => panic!("{other}"),
    }
});

impl Fixture {
    fn proof(&self) -> String {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, self.bound.as_bytes());
        let header = json!({ "typ": "dpop+jwt", "alg": "EdDSA", "jwk": self.holder.jwk() });
        let claims = json!({
            "jti": NEXT.fetch_add(1, Ordering::Relaxed).to_string(), "htm": "POST", "htu": RESOURCE,
            "iat": self.clock.now().as_secs(), "ath": URL_SAFE_NO_PAD.encode(hash),
        });
        self.holder
            .sign(header.to_string().as_bytes(), claims.to_string().as_bytes())
    }

    fn spell(&self, bytes: &[u8], proof: &str) -> Vec<u8> {
        let places = [
            ("<T>", self.good.as_str()),
            ("<B>", self.bound.as_str()),
            ("<P>", proof),
        ];
        let mut spelled = Vec::new();
        let mut rest = bytes;
        while let Some(byte) = rest.first() {
            match places
                .iter()
                .find(|(place, _)| rest.starts_with(place.as_bytes()))
            {
                Some((place, text)) => {
                    spelled.extend_from_slice(text.as_bytes());
                    rest = &rest[place.len()..];
                }
                None => {
                    spelled.push(*byte);
                    rest = &rest[1..];
                }
            }
        }
        spelled
    }
}
