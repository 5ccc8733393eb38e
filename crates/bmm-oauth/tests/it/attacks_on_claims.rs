//! Attacks on the reading of a token: what its header and its claims may say, and in which form. Every token here has a good signature.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bmm_oauth::*;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::app::*;
use crate::jwks::Remote;
use crate::key_pairs::Signer;

fn header(alg: &str) -> Value {
    json!({ "alg": alg, "typ": "at+jwt", "kid": "k" })
}

fn claims() -> Value {
    let now = 1_800_000_000_u64;
    json!({
        "iss": ORIGIN, "aud": RESOURCE, "sub": "alice", "client_id": "client", "grant_id": "grant", "jti": "1",
        "iat": now, "nbf": now, "exp": now + 60, "scope": "mcp:read",
    })
}

struct World {
    signer: Signer,
    verifier: std::sync::Arc<JwksVerifier>,
}

impl World {
    fn new() -> Self {
        let signer = Signer::es256();
        let set = json!({ "keys": [signer.jwk("k")] }).to_string();
        let verifier = Remote::new(Ok(Bytes::from(set))).verifier(&App::new());
        Self { signer, verifier }
    }

    async fn verify(&self, header: &str, claims: &str) -> Result<AuthInfo, VerifyError> {
        self.verifier.verify(&self.signer.sign(header, claims)).await
    }

    async fn refuses(&self, header: &str, claims: &str) {
        let verdict = self.verify(header, claims).await;
        assert!(
            matches!(verdict, Err(VerifyError::Invalid(_))),
            "{header} {claims}"
        );
    }

    async fn refuses_claim(&self, name: &str, value: Value) {
        let mut claims = claims();
        claims[name] = value;
        self.refuses(&header("ES256").to_string(), &claims.to_string())
            .await;
    }
}

/// RFC 8725 section 3.1: each algorithm verifies with its own kind of key, and with no other.
#[tokio::test]
async fn every_algorithm_verifies_with_its_own_key_only() {
    let signers = Signer::all();
    for (signer, alg) in &signers {
        let set = json!({ "keys": [signer.jwk("k")] }).to_string();
        let verifier = Remote::new(Ok(Bytes::from(set))).verifier(&App::new());
        for name in ["ES256", "EdDSA", "RS256", "HS256", "none", "RS512", "PS256"] {
            for (other, _) in &signers {
                let token = other.sign(&header(name).to_string(), &claims().to_string());
                let own = name == *alg && std::ptr::eq(signer, other);
                assert_eq!(
                    verifier.verify(&token).await.is_ok(),
                    own,
                    "{alg} key, alg {name}"
                );
            }
        }
    }
}

/// RFC 8725 section 3.2, NIST SP 800-131A: a short RSA key is no key.
#[tokio::test]
async fn an_rsa_key_below_2048_bits_verifies_nothing() {
    let n = URL_SAFE_NO_PAD.encode([0xff; 128]);
    let set = json!({ "keys": [{ "kid": "k", "kty": "RSA", "n": n, "e": "AQAB" }] }).to_string();
    let verifier = Remote::new(Ok(Bytes::from(set))).verifier(&App::new());
    let token = Signer::es256().sign(&header("RS256").to_string(), &claims().to_string());
    assert!(matches!(
        verifier.verify(&token).await,
        Err(VerifyError::Unavailable(_))
    ));
}

/// CVE-2026-25537: a claim of the wrong type counted as absent. Every form of a number but the whole one is refused.
#[tokio::test]
async fn a_time_in_any_other_form_is_refused() {
    let world = World::new();
    for name in ["nbf", "iat", "exp"] {
        for value in [
            json!("1800000000"),
            json!(1.8e9),
            json!(-1),
            json!([1_800_000_000]),
            json!(true),
            Value::Null,
        ] {
            world.refuses_claim(name, value).await;
        }
        for text in ["1.8e9", "18e8", "18446744073709551616", "1800000000.0"] {
            let claims = claims().to_string();
            let start = claims.find(&format!("\"{name}\":")).unwrap() + name.len() + 3;
            let end = start + claims[start..].find([',', '}']).unwrap();
            let odd = format!("{}{text}{}", &claims[..start], &claims[end..]);
            world.refuses(&header("ES256").to_string(), &odd).await;
        }
    }
}

/// Of two members with one name one reader takes the first, another the last; also where no reader of ours looks.
#[tokio::test]
async fn a_member_that_stands_twice_is_refused_wherever_it_stands() {
    let world = World::new();
    let (header, claims) = (header("ES256").to_string(), claims().to_string());
    let with = |text: &str, more: &str| text.replacen('{', &format!("{{{more},"), 1);
    assert!(
        world
            .verify(&header, &with(&claims, r#""x":{"y":1}"#))
            .await
            .is_ok()
    );
    for more in [
        r#""sub":"root""#,
        r#""\u0073ub":"root""#,
        r#""exp":1800000060"#,
        r#""x":1,"x":2"#,
        r#""x":{"y":1,"y":2}"#,
        r#""x":[{"y":1,"y":2}]"#,
    ] {
        world.refuses(&header, &with(&claims, more)).await;
    }
    for more in [
        r#""alg":"none""#,
        r#""kid":"k""#,
        r#""typ":"JWT""#,
        r#""x":1,"x":1"#,
    ] {
        world.refuses(&with(&header, more), &claims).await;
    }
}

/// RFC 7515 section 4.1: members by which a token would bring its own key, or change how it is read.
#[tokio::test]
async fn a_header_that_brings_a_key_a_place_or_an_extension_is_refused() {
    let world = World::new();
    for name in ["crit", "b64", "jwk", "jku", "x5u", "x5c", "zip"] {
        for value in [Value::Null, json!([]), json!("x"), json!({}), json!(false)] {
            let mut header = header("ES256");
            header[name] = value;
            world.refuses(&header.to_string(), &claims().to_string()).await;
        }
    }
}

/// Identifiers go into logs, maps and databases: they have a bound.
#[tokio::test]
async fn identifiers_without_bound_or_content_are_refused() {
    let world = World::new();
    for name in ["sub", "client_id", "grant_id", "jti"] {
        for value in [json!(""), json!("x".repeat(513)), json!(1), json!(["x"])] {
            world.refuses_claim(name, value).await;
        }
    }
    let many: Vec<String> = (0..65).map(|n| format!("s{n}")).collect();
    world.refuses_claim("scope", json!(many.join(" "))).await;
    world.refuses_claim("scope", json!(["mcp:read"])).await;
    world.refuses_claim("scope", json!("a\"b")).await;
}

/// RFC 7800 section 3.1: a binding that is not understood must not be passed over.
#[tokio::test]
async fn a_binding_that_cannot_be_checked_is_refused() {
    let world = World::new();
    let jkt = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";
    for cnf in [
        json!({}),
        Value::Null,
        json!(jkt),
        json!({ "x5t#S256": jkt }),
        json!({ "jkt": jkt, "x5t#S256": jkt }),
        json!({ "jkt": "" }),
        json!({ "jkt": "short" }),
        json!({ "jkt": format!("{jkt}=") }),
        json!({ "jkt": 1 }),
        json!([{ "jkt": jkt }]),
    ] {
        world.refuses_claim("cnf", cnf).await;
    }
}

/// Deep nesting and trailing bytes are refused before they cost anything.
#[tokio::test]
async fn claims_that_are_not_one_flat_object_are_refused() {
    let world = World::new();
    let (header, claims) = (header("ES256").to_string(), claims().to_string());
    let deep = format!("{}{}", "[".repeat(2000), "]".repeat(2000));
    world
        .refuses(&header, &claims.replacen('{', &format!("{{\"x\":{deep},"), 1))
        .await;
    world.refuses(&header, &format!("{claims}{claims}")).await;
    world.refuses(&header, &format!("[{claims}]")).await;
    world.refuses(&header, &format!("\u{feff}{claims}")).await;
    world.refuses(&format!("{header} x"), &claims).await;
}

/// The bound of key ids is one: what the reader of key sets takes, a token may name.
#[tokio::test]
async fn a_key_id_has_128_bytes_at_most() {
    let signer = Signer::es256();
    let longest = "k".repeat(128);
    let set = json!({ "keys": [signer.jwk(&longest)] }).to_string();
    let verifier = Remote::new(Ok(Bytes::from(set))).verifier(&App::new());
    for (kid, found) in [(longest.clone(), true), (format!("{longest}k"), false)] {
        let mut header = header("ES256");
        header["kid"] = json!(kid);
        let token = signer.sign(&header.to_string(), &claims().to_string());
        assert_eq!(verifier.verify(&token).await.is_ok(), found, "{}", kid.len());
    }
}
