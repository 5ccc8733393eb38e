//! Clients that are not who they say, or ask for what is not theirs (RFC 6749 section 10.1, RFC 7523 section 6, RFC 8725).

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bmm_oauth::{ClientAuthMethod, Clock, SecretHash};
use http::{StatusCode, header};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::app::*;
use crate::client_auth::*;
use crate::elsewhere::Elsewhere;
use crate::signer::Signer;

const FORM: [(&str, &str); 2] = [("grant_type", "refresh_token"), ("refresh_token", "x")];

/// RFC 7523 section 3, 7: the assertion is used once, and by nobody but the client: what does not verify uses nothing up.
#[tokio::test]
async fn an_assertion_is_used_once() {
    let app = App::new();
    let signer = Signer::new("k1");
    let client = key_client(&app, ("jwks", signer.jwks())).await;
    let stranger = Signer::new("k1");
    let forged = stranger.sign(None, &claims(&app, &client, "1"));
    app.token(&asserted(&FORM, &forged))
        .await
        .refused(401, "invalid_client");
    let assertion = signer.sign(None, &claims(&app, &client, "1"));
    app.token(&asserted(&FORM, &assertion))
        .await
        .refused(400, "invalid_grant");
    app.token(&asserted(&FORM, &assertion))
        .await
        .refused(401, "invalid_client");
    let again = signer.sign(None, &claims(&app, &client, "1"));
    app.token(&asserted(&FORM, &again))
        .await
        .refused(401, "invalid_client");
    let other = key_client(&app, ("jwks", signer.jwks())).await;
    let of_other = signer.sign(None, &claims(&app, &other, "1"));
    app.token(&asserted(&FORM, &of_other))
        .await
        .refused(400, "invalid_grant");
}

/// Every claim that is missing, of another type, for somebody else or for too long; each with the same answer.
#[tokio::test]
async fn an_assertion_with_any_wrong_claim_is_refused() {
    let app = App::new();
    let signer = Signer::new("k1");
    let client = key_client(&app, ("jwks", signer.jwks())).await;
    let now = app.clock.now().as_secs();
    let good = claims(&app, &client, "good");
    let changes: Vec<(&str, Value)> = vec![
        ("iss", json!("somebody")),
        ("iss", Value::Null),
        ("sub", Value::Null),
        ("aud", json!("https://other.example")),
        ("aud", json!([ORIGIN, "https://other.example"])),
        ("aud", json!([])),
        ("aud", Value::Null),
        ("aud", json!(format!("{ORIGIN}/"))),
        ("jti", Value::Null),
        ("jti", json!("")),
        ("jti", json!("x".repeat(257))),
        ("jti", json!(7)),
        ("exp", Value::Null),
        ("exp", json!(now)),
        ("exp", json!(now - 1)),
        ("exp", json!(now + 3600)),
        ("exp", json!((now + 60).to_string())),
        ("exp", json!(now as f64 + 60.5)),
        ("exp", json!(-1)),
        ("iat", json!(now + 60)),
        ("nbf", json!(now + 60)),
        ("nbf", json!("0")),
    ];
    let mut bodies = HashSet::new();
    for (name, value) in changes {
        let mut claims = good.clone();
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            ref value => claims[name] = value.clone(),
        }
        let mut form = asserted(&FORM, "").to_vec();
        let assertion = signer.sign(None, &claims);
        form.pop();
        form.push(("client_assertion", &assertion));
        form.push(("client_id", &client.id));
        let reply = app.token(&form).await;
        reply.refused(401, "invalid_client");
        bodies.insert((name.to_owned(), value.to_string(), reply.body).2);
    }
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    let assertion = signer.sign(None, &good);
    app.token(&asserted(&FORM, &assertion))
        .await
        .refused(400, "invalid_grant");
}

/// RFC 8725: `none`, HMAC with the public key, a key in the header, `crit`, and a token that was signed for something else.
#[tokio::test]
async fn the_header_of_an_assertion_chooses_nothing() {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let app = App::new();
    let signer = Signer::new("k1");
    let client = key_client(&app, ("jwks", signer.jwks())).await;
    let claims = claims(&app, &client, "1");
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let payload = part(&claims);
    let mut attempts = vec![
        format!("{}.{payload}.", part(&json!({ "alg": "none" }))),
        format!("{}.{payload}.", part(&json!({ "alg": "none", "kid": "k1" }))),
        format!("{}.{payload}", part(&json!({ "alg": "none" }))),
        "..".to_owned(),
        "x".to_owned(),
        "x".repeat(10_000),
    ];
    let mut hmac = Header::new(Algorithm::HS256);
    hmac.kid = Some("k1".to_owned());
    let public = signer.jwks()["keys"][0].to_string();
    attempts
        .push(jsonwebtoken::encode(&hmac, &claims, &EncodingKey::from_secret(public.as_bytes())).unwrap());
    for typ in ["at+jwt", "oauth-id-jag+jwt", "dpop+jwt"] {
        attempts.push(signer.sign(Some(typ), &claims));
    }
    let good = signer.sign(None, &claims);
    for member in ["jku", "jwk", "x5u", "x5c", "crit", "b64"] {
        let mut header = json!({ "alg": "ES256", "kid": "k1" });
        header[member] = json!("https://evil.example/");
        attempts.push(signer.sign_raw(&header, &claims));
    }
    for header in [
        json!({ "alg": "ES256", "kid": "k1", "typ": 7 }),
        json!({ "alg": "ES384", "kid": "k1" }),
        json!({ "alg": "RS256", "kid": "k1" }),
        json!({ "kid": "k1" }),
        json!({ "alg": "ES256", "kid": "" }),
        json!({ "alg": "ES256", "kid": "x".repeat(200) }),
    ] {
        attempts.push(signer.sign_raw(&header, &claims));
    }
    let mut unknown = Header::new(Algorithm::ES256);
    unknown.kid = Some("../../etc/passwd".to_owned());
    attempts.push(signer.sign_with(&unknown, &claims));
    for attempt in attempts {
        let mut form = FORM.to_vec();
        form.push(("client_id", &client.id));
        app.token(&asserted(&form, &attempt))
            .await
            .refused(401, "invalid_client");
    }
    app.token(&asserted(&FORM, &good))
        .await
        .refused(400, "invalid_grant");
}

/// RFC 6749 section 2.3: any two of header, secret and assertion, and two headers; each alone would do.
#[tokio::test]
async fn any_two_authentications_at_once_are_refused() {
    let app = App::new();
    let signer = Signer::new("k1");
    let client = key_client(&app, ("jwks", signer.jwks())).await;
    let assertion = signer.sign(None, &claims(&app, &client, "1"));
    let mut with_secret = asserted(&FORM, &assertion);
    with_secret.push(("client_secret", "x"));
    app.token(&with_secret).await.refused(400, "invalid_request");
    for (headers, form) in [
        (1, asserted(&FORM, &assertion)),
        (2, FORM.to_vec()),
        (
            1,
            [FORM.as_slice(), &[("client_id", "eA"), ("client_secret", "x")]].concat(),
        ),
    ] {
        let mut request = token_request(&form);
        for _ in 0..headers {
            let value = "Basic eDp5".parse().unwrap();
            request.headers_mut().append(header::AUTHORIZATION, value);
        }
        app.send(request).await.refused(400, "invalid_request");
    }
    app.token(&asserted(&FORM, &assertion))
        .await
        .refused(400, "invalid_grant");
}

/// A method that was not registered is no way in, be it a weaker or a stronger one; and the answer says nothing.
#[tokio::test]
async fn a_client_cannot_change_its_method() {
    let app = App::new();
    let signer = Signer::new("k1");
    let client = key_client(&app, ("jwks", signer.jwks())).await;
    let public = app.client().await;
    let bare = [FORM.as_slice(), &[("client_id", &*client.id)]].concat();
    app.token(&bare).await.refused(401, "invalid_client");
    let secret = [bare.as_slice(), &[("client_secret", "")]].concat();
    app.token(&secret).await.refused(401, "invalid_client");
    let assertion = signer.sign(None, &claims(&app, &public, "1"));
    app.token(&asserted(&FORM, &assertion))
        .await
        .refused(401, "invalid_client");
    let of_client = signer.sign(None, &claims(&app, &client, "1"));
    let other_type = [
        FORM.as_slice(),
        &[
            ("client_assertion", &*of_client),
            (
                "client_assertion_type",
                "urn:ietf:params:oauth:client-assertion-type:saml2-bearer",
            ),
        ],
    ]
    .concat();
    app.token(&other_type).await.refused(401, "invalid_client");
    let untyped = [FORM.as_slice(), &[("client_assertion", &*of_client)]].concat();
    app.token(&untyped).await.refused(401, "invalid_client");
    let other_id = [
        asserted(&FORM, &of_client).as_slice(),
        &[("client_id", &*public.id)],
    ]
    .concat();
    app.token(&other_id).await.refused(400, "invalid_request");
}

/// A flood of key ids that nobody knows costs the client's host one request in half a minute.
#[tokio::test]
async fn unknown_key_ids_do_not_make_us_a_flooder() {
    let elsewhere = Elsewhere::new().await;
    let app = app_with(&elsewhere, |_| {});
    elsewhere.put(KEYS, &Signer::new("k1").jwks());
    let client = key_client(&app, ("jwks_uri", json!(KEYS))).await;
    for n in 0..50 {
        let assertion = Signer::new(&format!("unknown {n}")).sign(None, &claims(&app, &client, "1"));
        app.token(&asserted(&FORM, &assertion))
            .await
            .refused(401, "invalid_client");
    }
    assert_eq!(elsewhere.asked().len(), 1);
    elsewhere.remove(KEYS);
    app.advance(1000);
    for n in 0..50 {
        let assertion = Signer::new("k1").sign(None, &claims(&app, &client, &n.to_string()));
        app.token(&asserted(&FORM, &assertion))
            .await
            .refused(401, "invalid_client");
    }
    assert_eq!(elsewhere.asked().len(), 1, "a failure is remembered too");
}

/// RFC 6749 section 4.4: confidential clients alone, and those alone that the host enrolled; registration gives it to nobody.
#[tokio::test]
async fn nobody_gets_a_token_for_itself_unasked() {
    let closed = App::new();
    let enrolled = robot(&closed).await;
    for_itself(&closed, &enrolled, &[])
        .await
        .refused(400, "unsupported_grant_type");
    let app = App::with(|config| config.client_credentials = true);
    let public = app.client().await;
    for_itself(&app, &public, &[])
        .await
        .refused(400, "unauthorized_client");
    let greedy = json!({
        "redirect_uris": [REDIRECT], "token_endpoint_auth_method": "client_secret_post",
        "grant_types": ["authorization_code", "client_credentials"],
    });
    let reply = app.register(greedy).await;
    assert_eq!(
        reply.json()["grant_types"],
        json!(["authorization_code", "refresh_token"])
    );
    let greedy = Registered {
        id: reply.json()["client_id"].as_str().unwrap().to_owned(),
        secret: reply.json()["client_secret"].as_str().map(str::to_owned),
    };
    for_itself(&app, &greedy, &[])
        .await
        .refused(400, "unauthorized_client");
    let mut robot = app.store.client(&robot(&app).await.id).await.unwrap().unwrap();
    robot.id = "open robot".to_owned();
    robot.auth_method = bmm_oauth::ClientAuthMethod::None;
    app.store.put_client(robot, 100).await.unwrap();
    let open = Registered {
        id: "open robot".to_owned(),
        secret: None,
    };
    for_itself(&app, &open, &[])
        .await
        .refused(400, "unauthorized_client");
}

/// A registration must not bring a private key, a symmetric one, or a place that we would not dial.
#[tokio::test]
async fn keys_that_prove_nothing_are_not_registered() {
    let elsewhere = Elsewhere::new().await;
    let (alone, dialling) = (App::new(), app_with(&elsewhere, |_| {}));
    let mut private = Signer::new("k1").jwks();
    private["keys"][0]["d"] = json!("AAAA");
    let symmetric = json!({ "keys": [{ "kty": "oct", "k": "AAAA", "kid": "k1", "alg": "HS256" }] });
    for (app, member, value) in [
        (&dialling, "jwks", private),
        (&dialling, "jwks", symmetric),
        (&dialling, "jwks", json!({ "keys": [] })),
        (&dialling, "jwks", json!("x")),
        (&dialling, "jwks_uri", json!("http://keys.example/")),
        (&dialling, "jwks_uri", json!("file:///etc/passwd")),
        (&dialling, "jwks_uri", json!("keys")),
        (&dialling, "nothing", json!("x")),
        (&alone, "jwks_uri", json!(KEYS)),
    ] {
        let mut metadata =
            json!({ "redirect_uris": [REDIRECT], "token_endpoint_auth_method": "private_key_jwt" });
        metadata[member] = value;
        app.register(metadata)
            .await
            .refused(400, "invalid_client_metadata");
    }
    let both = json!({
        "redirect_uris": [REDIRECT], "token_endpoint_auth_method": "private_key_jwt",
        "jwks": Signer::new("k1").jwks(), "jwks_uri": KEYS,
    });
    dialling
        .register(both)
        .await
        .refused(400, "invalid_client_metadata");
    assert!(elsewhere.asked().is_empty());
}

/// One address that floods must not lock the others out (RFC 7591 section 5).
#[tokio::test]
async fn one_address_cannot_use_up_all_registrations() {
    let app = App::with(|config| config.max_registrations_per_minute_per_address = 3);
    let from = async |address: &str| {
        let mut request = http::Request::post("/oauth/register")
            .header(header::CONTENT_TYPE, "application/json")
            .body(axum::body::Body::from(
                json!({ "redirect_uris": [REDIRECT] }).to_string(),
            ))
            .unwrap();
        let address = bmm_oauth::ClientAddress(address.parse().unwrap());
        request.extensions_mut().insert(address);
        app.send(request).await.status.as_u16()
    };
    for status in [201, 201, 201, 429] {
        assert_eq!(from("192.0.2.1").await, status);
    }
    assert_eq!(from("192.0.2.2").await, 201);
    for (address, status) in [
        ("2001:db8::1", 201),
        ("2001:db8::2", 201),
        ("2001:db8::3", 201),
        ("2001:db8::4", 429),
        ("2001:db8:0:1::", 201),
    ] {
        assert_eq!(from(address).await, status, "{address}");
    }
}

/// Every assertion leaves a row for a while, and anybody may register keys.
#[tokio::test]
async fn a_flood_of_assertions_is_cut_off() {
    let app = App::new();
    let signer = Signer::new("k1");
    let client = key_client(&app, ("jwks", signer.jwks())).await;
    let attempt = async |n: usize, address: [u8; 4]| {
        let assertion = signer.sign(None, &claims(&app, &client, &n.to_string()));
        let form = [("grant_type", "refresh_token"), ("refresh_token", "x")];
        let mut request = token_request(&asserted(&form, &assertion));
        request
            .extensions_mut()
            .insert(bmm_oauth::ClientAddress(address.into()));
        app.send(request).await
    };
    for n in 0..1200 {
        attempt(n, [192, 0, 2, 1]).await.refused(400, "invalid_grant");
    }
    attempt(1200, [192, 0, 2, 1])
        .await
        .refused(429, "temporarily_unavailable");
    attempt(1201, [192, 0, 2, 2]).await.refused(400, "invalid_grant");
}

/// A replica whose clock is behind takes an assertion for valid a little longer: so long it is remembered.
#[tokio::test]
async fn an_assertion_is_remembered_by_the_clock_that_is_behind() {
    let store = std::sync::Arc::new(bmm_oauth::MemoryStore::new());
    let (behind, ahead) = (App::on(store.clone(), |_| {}), App::on(store, |_| {}));
    let signer = Signer::new("k1");
    let client = key_client(&behind, ("jwks", signer.jwks())).await;
    let assertion = signer.sign(None, &claims(&behind, &client, "1"));
    let form = [("grant_type", "refresh_token"), ("refresh_token", "x")];
    let form = asserted(&form, &assertion);
    behind.token(&form).await.refused(400, "invalid_grant");
    ahead.advance(61);
    ahead.server.sweep().await.unwrap();
    behind.token(&form).await.refused(401, "invalid_client");
}

/// What cannot be the id of a client is not even looked up: a store need not take any text.
#[tokio::test]
async fn what_cannot_be_a_client_id_is_nobody() {
    let app = App::new();
    let signer = Signer::new("k1");
    let client = key_client(&app, ("jwks", signer.jwks())).await;
    let stored = app.store.client(&client.id).await.unwrap().unwrap();
    for id in ["", "\0", "a\u{1}b", "a\u{85}", &"x".repeat(2049)] {
        let mut odd = stored.clone();
        odd.id = id.to_owned();
        odd.metadata.registration_token = Some(bmm_oauth::SecretHash::of("token"));
        app.store.put_client(odd, 100).await.unwrap();
        let odd = Registered {
            id: id.to_owned(),
            secret: None,
        };
        let assertion = signer.sign(None, &claims(&app, &odd, "1"));
        let form = [("grant_type", "refresh_token"), ("refresh_token", "x")];
        app.token(&asserted(&form, &assertion))
            .await
            .refused(401, "invalid_client");
        let encoded: String = id.bytes().map(|byte| format!("%{byte:02x}")).collect();
        if !id.is_empty() {
            crate::endpoints::manage(&app, http::Method::GET, &encoded, "token", None)
                .await
                .refused(401, "invalid_token");
        }
    }
}

/// What a client presents is read within bounds, to the byte, also where it would be right.
#[tokio::test]
async fn a_client_id_has_2048_bytes_at_most_and_a_secret_256() {
    let app = App::with(|config| config.client_credentials = true);
    let template = app.store.client(&robot(&app).await.id).await.unwrap().unwrap();
    for (id_bytes, secret_bytes, granted) in [
        (2048, 256, true),
        (2049, 256, false),
        (2048, 257, false),
        (2049, 257, false),
    ] {
        let (id, secret) = ("x".repeat(id_bytes), "y".repeat(secret_bytes));
        let mut client = template.clone();
        client.id.clone_from(&id);
        client.secret_hash = Some(SecretHash::of(&secret));
        app.store.put_client(client, 100).await.unwrap();
        let presented = Registered {
            id,
            secret: Some(secret),
        };
        let reply = for_itself(&app, &presented, &[]).await;
        if granted {
            assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
        } else {
            reply.refused(401, "invalid_client");
        }
    }
}

/// A host that enrolled a client with an empty secret, by mistake, has opened no door.
#[tokio::test]
async fn an_empty_secret_proves_nothing() {
    let app = App::with(|config| config.client_credentials = true);
    let mut client = app.store.client(&robot(&app).await.id).await.unwrap().unwrap();
    client.secret_hash = Some(SecretHash::of(""));
    client.auth_method = ClientAuthMethod::ClientSecretBasic;
    app.store.put_client(client, 100).await.unwrap();
    let form = [("grant_type", "client_credentials"), ("resource", RESOURCE)];
    let mut request = token_request(&form);
    let value = format!("Basic {}", STANDARD.encode("robot:"));
    request
        .headers_mut()
        .insert(header::AUTHORIZATION, value.parse().unwrap());
    app.send(request).await.refused(401, "invalid_client");
}
