//! Any bytes as an access token, as they are or as header and claims that somebody signs: what the issuer's key did not sign never
//! verifies, and what it did sign only as a token of this issuer for this resource, now.
//!
//! The first byte chooses who signs. Header and claims are separated by a line feed.
#![no_main]

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bmm_fuzz::{ORIGIN, RESOURCE, Signer};
use bmm_oauth::*;
use bytes::Bytes;
use serde_json::Value;
use tokio::runtime::Runtime;

const NOW: u64 = 1_800_000_000;

struct Fixture {
    runtime: Runtime,
    verifier: JwksVerifier,
    issuer: Signer,
    stranger: Signer,
}

static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| {
    let issuer = Signer::from_seed(1);
    let keys = Bytes::from(issuer.key_set());
    let fetch: FetchJwks = Arc::new(move || {
        let keys = keys.clone();
        Box::pin(async move { Ok(keys) })
    });
    let clock = ManualClock::new(Timestamp::from_secs(NOW));
    let verifier = JwksVerifier::new(ORIGIN.parse().unwrap(), RESOURCE.parse().unwrap(), fetch);
    Fixture {
        runtime: tokio::runtime::Builder::new_current_thread().build().unwrap(),
        verifier: verifier.with_clock(Arc::new(clock)),
        issuer,
        stranger: Signer::from_seed(2),
    }
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((who, rest)) = bytes.split_first() else {
        return;
    };
    let fixture = &*FIXTURE;
    let verdict = |token: &str| fixture.runtime.block_on(fixture.verifier.verify(token));
    let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    let (header, claims) = (&rest[..end], rest.get(end + 1..).unwrap_or_default());
    let forged = match who % 5 {
        0 => {
            let token = fixture.issuer.sign(header, claims);
            if let Ok(info) = verdict(&token) {
                judge(header, claims, &info);
            }
            return;
        }
        1 => fixture.stranger.sign(header, claims),
        2 => fixture.issuer.sign_with_public_key_as_secret(header, claims),
        3 => format!(
            "{}.{}.",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(claims)
        ),
        _ => String::from_utf8_lossy(rest).into_owned(),
    };
    assert!(verdict(&forged).is_err(), "{forged}");
});

/// By another parser than the verifier's.
fn judge(header: &[u8], claims: &[u8], info: &AuthInfo) {
    let header: Value = serde_json::from_slice(header).expect("a header is JSON");
    let claims: Value = serde_json::from_slice(claims).expect("claims are JSON");
    let typ = header["typ"]
        .as_str()
        .expect("it says its type")
        .to_ascii_lowercase();
    assert!(typ == "at+jwt" || typ == "application/at+jwt", "{typ}");
    assert_eq!((&header["alg"], &header["kid"]), (&"EdDSA".into(), &"ed".into()));
    for member in ["crit", "jwk", "jku", "x5u", "x5c"] {
        assert!(header.get(member).is_none(), "{member}");
    }
    assert_eq!(claims["iss"], ORIGIN);
    assert!(
        claims["aud"] == RESOURCE || claims["aud"] == serde_json::json!([RESOURCE]),
        "{}",
        claims["aud"]
    );
    assert!(claims["exp"].as_f64().expect("a number") > NOW as f64);
    for past in ["iat", "nbf"] {
        assert!(
            claims[past].as_f64().expect("a number") <= (NOW + 5) as f64,
            "{past}"
        );
    }
    assert_eq!(claims["sub"], info.subject().as_str());
    assert_eq!(claims["client_id"], info.client_id());
    assert_eq!(claims["grant_id"], info.grant_id());
    assert!(info.expires_at() > Timestamp::from_secs(NOW).plus(Duration::ZERO));
    assert_eq!(
        claims.get("cnf").is_some(),
        info.bound_to().is_some(),
        "a binding that was passed over"
    );
}
