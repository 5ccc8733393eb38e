//! Attacks on access tokens and on the resource server, each with its source.

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{Method, Request, StatusCode, header};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use serde_json::{Value, json};

use crate::app::*;

/// A walk's access token, taken apart for forging.
struct Forge {
    app: App,
    header: Value,
    claims: Value,
}

impl Forge {
    async fn new() -> Self {
        let app = App::new();
        let client = app.client().await;
        let (token, _) = app.tokens(&client).await;
        let part = |index| {
            serde_json::from_slice(
                &URL_SAFE_NO_PAD
                    .decode(token.split('.').nth(index).unwrap())
                    .unwrap(),
            )
            .unwrap()
        };
        let (header, claims) = (part(0), part(1));
        let forge = Self { app, header, claims };
        forge.accepts(|_, _| {}).await;
        forge
    }

    /// A token signed with the server's real key, after a change to header and claims.
    fn token(&self, change: impl FnOnce(&mut Value, &mut Value)) -> String {
        let (mut header, mut claims) = (self.header.clone(), self.claims.clone());
        change(&mut header, &mut claims);
        self.sign(&header.to_string(), &claims.to_string())
    }

    fn sign(&self, header: &str, claims: &str) -> String {
        let message = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(claims)
        );
        let key = EncodingKey::from_ec_der(&self.app.pkcs8);
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::ES256).unwrap();
        format!("{message}.{signature}")
    }

    async fn accepts(&self, change: impl FnOnce(&mut Value, &mut Value)) {
        let reply = self.app.call(&self.token(change)).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
    }

    async fn refuses(&self, change: impl FnOnce(&mut Value, &mut Value)) {
        let token = self.token(change);
        self.refuses_token(&token).await;
    }

    async fn refuses_token(&self, token: &str) {
        let reply = self.app.call(token).await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{token}");
        assert!(
            reply
                .header("www-authenticate")
                .starts_with("Bearer error=\"invalid_token\"")
        );
    }
}

/// RFC 8725 section 3.1.
#[tokio::test]
async fn alg_none_is_refused() {
    let forge = Forge::new().await;
    for alg in ["none", "None", "NONE", ""] {
        let token = forge.token(|header, _| header["alg"] = alg.into());
        let unsigned = token.rsplit_once('.').unwrap().0;
        forge.refuses_token(&token).await;
        forge.refuses_token(&format!("{unsigned}.")).await;
    }
}

/// RFC 8725 section 2.1: HMAC with the public key as the secret.
#[tokio::test]
async fn the_public_key_is_no_hmac_secret() {
    let forge = Forge::new().await;
    let jwk = forge.app.server.jwks()["keys"][0].clone();
    let (x, y) = (jwk["x"].as_str().unwrap(), jwk["y"].as_str().unwrap());
    let point = DecodingKey::from_ec_components(x, y)
        .unwrap()
        .try_get_as_bytes()
        .unwrap()
        .to_vec();
    for secret in [point, jwk.to_string().into_bytes(), x.as_bytes().to_vec()] {
        let mut header = forge.header.clone();
        header["alg"] = "HS256".into();
        let message = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode(forge.claims.to_string())
        );
        let key = EncodingKey::from_secret(&secret);
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
        forge.refuses_token(&format!("{message}.{signature}")).await;
    }
}

/// RFC 8725 section 3.1: the key decides the algorithm, the header has no say.
#[tokio::test]
async fn another_algorithm_name_over_a_good_signature_is_refused() {
    let forge = Forge::new().await;
    for alg in ["ES384", "RS256", "EdDSA", "HS256", "es256"] {
        forge.refuses(|header, _| header["alg"] = alg.into()).await;
    }
    forge.refuses(|header, _| header["alg"] = json!(["ES256"])).await;
}

/// RFC 9068 section 4, RFC 8725 section 3.11: an ID token is no access token.
#[tokio::test]
async fn a_token_of_another_type_is_refused() {
    let forge = Forge::new().await;
    forge
        .accepts(|header, _| header["typ"] = "application/at+jwt".into())
        .await;
    for typ in [
        json!("JWT"),
        json!("jwt"),
        json!("dpop+jwt"),
        json!(""),
        Value::Null,
    ] {
        forge.refuses(|header, _| header["typ"] = typ).await;
    }
    forge
        .refuses(|header, _| drop(header.as_object_mut().unwrap().remove("typ")))
        .await;
}

/// RFC 7515 section 4.1.11; RFC 8725 sections 2.9 and 3.10: keys and addresses in the token, CVE-2018-0114.
#[tokio::test]
async fn a_token_that_brings_a_key_or_a_critical_extension_is_refused() {
    let forge = Forge::new().await;
    let jwk = forge.app.server.jwks()["keys"][0].clone();
    for (name, value) in [
        ("jwk", jwk),
        ("jku", json!("https://evil.example/jwks")),
        ("x5u", json!("https://evil.example/cert")),
        ("x5c", json!(["MIIB"])),
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("b64", json!(false)),
        ("jwk", Value::Null),
    ] {
        forge.refuses(|header, _| header[name] = value).await;
    }
    // And a stranger's key of course signs nothing, even under our key id.
    let stranger = App::new();
    let message = forge.token(|_, _| {}).rsplit_once('.').unwrap().0.to_owned();
    let key = EncodingKey::from_ec_der(&stranger.pkcs8);
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::ES256).unwrap();
    forge.refuses_token(&format!("{message}.{signature}")).await;
}

/// RFC 8725 section 3.10: the key id is a key of a map, not a path and not a query.
#[tokio::test]
async fn odd_key_ids_find_nothing() {
    let forge = Forge::new().await;
    for kid in [
        "",
        "../../dev/null",
        "' OR 1=1 --",
        "\0",
        &"k".repeat(129),
        &"k".repeat(6000),
    ] {
        forge.refuses(|header, _| header["kid"] = kid.into()).await;
    }
    forge.refuses(|header, _| header["kid"] = json!(1)).await;
    forge
        .refuses(|header, _| drop(header.as_object_mut().unwrap().remove("kid")))
        .await;
}

/// RFC 8725 section 3.8, RFC 9207.
#[tokio::test]
async fn a_token_of_another_issuer_is_refused() {
    let forge = Forge::new().await;
    for issuer in [
        "https://evil.example",
        "https://auth.example/",
        "https://AUTH.example",
        "http://auth.example",
        "",
    ] {
        forge.refuses(|_, claims| claims["iss"] = issuer.into()).await;
    }
}

/// RFC 8707, RFC 9068 section 4: a token for one server used at another.
#[tokio::test]
async fn a_token_for_another_audience_is_refused() {
    let forge = Forge::new().await;
    let client = forge.app.client().await;
    let page = forge
        .app
        .consent_page_for("alice", &client, &[("resource", OTHER_RESOURCE)])
        .await;
    let code = forge
        .app
        .decide(&page, "allow")
        .await
        .location_parameter("code")
        .unwrap();
    let form: Vec<_> = code_form(&client, &code)
        .into_iter()
        .filter(|(name, _)| *name != "resource")
        .collect();
    let (mail, _) = forge.app.token(&form).await.tokens();
    forge.refuses_token(&mail).await;
    for audience in [
        json!(OTHER_RESOURCE),
        json!("https://auth.example"),
        json!(format!("{RESOURCE}/")),
        json!([]),
        json!(null),
    ] {
        forge.refuses(|_, claims| claims["aud"] = audience).await;
    }
    forge.accepts(|_, claims| claims["aud"] = json!([RESOURCE])).await;
    forge
        .refuses(|_, claims| claims["aud"] = json!([RESOURCE, OTHER_RESOURCE]))
        .await;
}

/// CVE-2026-25537: a claim of the wrong type was taken as absent; and absent claims passed.
#[tokio::test]
async fn claims_that_are_missing_doubled_or_of_another_type_are_refused() {
    let forge = Forge::new().await;
    for name in [
        "iss",
        "aud",
        "sub",
        "client_id",
        "grant_id",
        "jti",
        "iat",
        "nbf",
        "exp",
    ] {
        forge
            .refuses(|_, claims| drop(claims.as_object_mut().unwrap().remove(name)))
            .await;
        forge.refuses(|_, claims| claims[name] = Value::Null).await;
        forge.refuses(|_, claims| claims[name] = json!({})).await;
    }
    for name in ["sub", "client_id", "grant_id", "jti"] {
        forge.refuses(|_, claims| claims[name] = json!("")).await;
        forge.refuses(|_, claims| claims[name] = json!(1)).await;
    }
    for name in ["iat", "nbf", "exp"] {
        for value in [json!("1900000000"), json!(1.9e9), json!(-1), json!(true)] {
            forge.refuses(|_, claims| claims[name] = value).await;
        }
    }
    forge
        .refuses(|_, claims| claims["scope"] = json!(["mcp:read"]))
        .await;
    let values: Vec<&Value> = forge.claims.as_object().unwrap().values().collect();
    forge
        .refuses_token(&forge.sign(&forge.header.to_string(), &json!(values).to_string()))
        .await;
    let header = json!([forge.header["alg"], forge.header["typ"], forge.header["kid"]]);
    forge
        .refuses_token(&forge.sign(&header.to_string(), &forge.claims.to_string()))
        .await;
    // One name twice: two parsers would read two tokens.
    let doubled = forge.claims.to_string().replacen('{', "{\"sub\":\"root\",", 1);
    forge
        .refuses_token(&forge.sign(&forge.header.to_string(), &doubled))
        .await;
}

#[tokio::test]
async fn tokens_from_the_future_and_the_past_are_refused() {
    let forge = Forge::new().await;
    let now = 1_800_000_000_u64;
    forge.accepts(|_, claims| claims["nbf"] = json!(now + 5)).await;
    forge.refuses(|_, claims| claims["nbf"] = json!(now + 6)).await;
    forge.accepts(|_, claims| claims["iat"] = json!(now + 5)).await;
    forge.refuses(|_, claims| claims["iat"] = json!(now + 6)).await;
    forge.accepts(|_, claims| claims["exp"] = json!(now + 1)).await;
    forge.refuses(|_, claims| claims["exp"] = json!(now)).await;
}

#[tokio::test]
async fn changed_truncated_and_oversized_tokens_are_refused() {
    let forge = Forge::new().await;
    let token = forge.token(|_, _| {});
    let (message, signature) = token.rsplit_once('.').unwrap();
    let payload = URL_SAFE_NO_PAD.encode(forge.claims.to_string().replace("alice", "admin"));
    let header = message.split('.').next().unwrap();
    forge
        .refuses_token(&format!("{header}.{payload}.{signature}"))
        .await;
    forge.refuses_token(message).await;
    forge.refuses_token(&format!("{token}.{token}")).await;
    forge
        .refuses_token(&format!(
            "{message}.{}",
            STANDARD.encode([0; 64]).trim_end_matches('=')
        ))
        .await;
    forge
        .refuses_token(&format!("{message}.{}", URL_SAFE_NO_PAD.encode([0; 64])))
        .await;
    forge
        .refuses(|_, claims| claims["padding"] = json!("x".repeat(8192)))
        .await;
    forge.refuses_token("x").await;
    forge.refuses_token("..").await;
}

/// RFC 6750 section 2.3, MCP "Token Handling": a token in the URL ends up in logs.
#[tokio::test]
async fn a_token_in_the_query_is_not_read() {
    let forge = Forge::new().await;
    let token = forge.token(|_, _| {});
    let alone = forge
        .app
        .send(request(Method::POST, &format!("/files/mcp?access_token={token}")))
        .await;
    assert_eq!(alone.status, StatusCode::UNAUTHORIZED);
    assert!(!alone.header("www-authenticate").contains("error="));
    let both =
        Request::post("/files/mcp?access_token=x").header(header::AUTHORIZATION, format!("Bearer {token}"));
    let both = forge.app.send(both.body(Body::empty()).unwrap()).await;
    assert_eq!(both.status, StatusCode::BAD_REQUEST);
    assert!(
        both.header("www-authenticate")
            .starts_with("Bearer error=\"invalid_request\"")
    );
}

/// RFC 6750 section 3.1; two headers are how a proxy and a server come to disagree.
#[tokio::test]
async fn a_malformed_authorization_header_is_refused() {
    let forge = Forge::new().await;
    let token = forge.token(|_, _| {});
    let twice = Request::post("/files/mcp")
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .header(header::AUTHORIZATION, format!("Bearer {token}"));
    assert_eq!(
        forge.app.send(twice.body(Body::empty()).unwrap()).await.status,
        StatusCode::BAD_REQUEST
    );
    for value in [
        "Bearer",
        "Bearer ",
        "Bearer a b",
        "Bearer a,b",
        "Bearer \"a\"",
        "Bearer =",
        "bearer \u{e9}",
    ] {
        let request = Request::post("/files/mcp").header(header::AUTHORIZATION, value.as_bytes());
        assert_eq!(
            forge.app.send(request.body(Body::empty()).unwrap()).await.status,
            StatusCode::BAD_REQUEST,
            "{value}"
        );
    }
    let basic = Request::post("/files/mcp").header(header::AUTHORIZATION, "Basic YTpi");
    assert_eq!(
        forge.app.send(basic.body(Body::empty()).unwrap()).await.status,
        StatusCode::UNAUTHORIZED
    );
}

/// A row of sealed keys that was moved or changed does not open.
#[tokio::test]
async fn signing_keys_do_not_open_with_another_vault() {
    use bmm_oauth::{MemoryStore, SigningKeys, Store};
    use bmm_vault::{LocalKek, Vault};
    let vault = |byte: u8| Vault::create(&LocalKek::from_bytes(zeroize::Zeroizing::new([byte; 32]))).unwrap();
    let (ours, theirs) = (vault(1), vault(2));
    let store = MemoryStore::new();
    let first = SigningKeys::load_or_create(&ours, &store).await.unwrap();
    let again = SigningKeys::load_or_create(&ours, &store).await.unwrap();
    assert_eq!(
        first.to_sealable_bytes(),
        again.to_sealable_bytes(),
        "the keys are kept"
    );
    assert!(SigningKeys::load_or_create(&theirs, &store).await.is_err());
    let sealed = store.signing_keys().await.unwrap().unwrap();
    let plain = first.to_sealable_bytes();
    assert!(
        !sealed.contains(std::str::from_utf8(&plain[..40]).unwrap()),
        "sealed at rest"
    );
    assert!(!format!("{first:?}").contains("pkcs8"));
}
