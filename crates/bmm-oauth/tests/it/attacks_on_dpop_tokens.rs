//! Tokens bound to a client's key (RFC 9449), where they are issued: the walk, and attacks on it.

use axum::body::Body;
use bmm_oauth::*;
use http::{Request, StatusCode, header};
use serde_json::{Value, json};

use crate::app::*;
use crate::key_pairs::Signer;

const TOKEN_URL: &str = "https://auth.example/oauth/token";

/// A proof for the token endpoint.
fn proof(key: &Signer, mut changes: Value) -> String {
    if changes.get("htu").is_none() {
        changes["htu"] = TOKEN_URL.into();
    }
    key.proof(changes)
}

impl App {
    async fn token_with(&self, form: &[(&str, &str)], proofs: &[&str]) -> Reply {
        let mut request = token_request(form);
        for proof in proofs {
            request.headers_mut().append("dpop", proof.parse().unwrap());
        }
        self.send(request).await
    }

    async fn redeem(&self, client: &Registered, key: &Signer) -> Reply {
        let code = self.code(client).await;
        self.token_with(&code_form(client, &code), &[&proof(key, json!({}))])
            .await
    }

    async fn refresh_with(&self, client: &Registered, token: &str, proofs: &[&str]) -> Reply {
        self.token_with(&refresh_form(client, token), proofs).await
    }

    async fn code_bound_to(&self, client: &Registered, jkt: &str) -> String {
        let page = self.consent_page_for("alice", client, &[("dpop_jkt", jkt)]).await;
        let reply = self.decide(&page, "allow").await;
        reply.location_parameter("code").unwrap()
    }
}

fn refresh_form<'a>(client: &'a Registered, token: &'a str) -> Vec<(&'a str, &'a str)> {
    let mut form = vec![
        ("grant_type", "refresh_token"),
        ("client_id", &*client.id),
        ("refresh_token", token),
    ];
    form.extend(client.secret.as_deref().map(|secret| ("client_secret", secret)));
    form
}

fn claims(token: &str) -> Value {
    use base64::Engine as _;
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(
        &base64::engine::general_purpose::URL_SAFE_NO_PAD
            .decode(payload)
            .unwrap(),
    )
    .unwrap()
}

#[tokio::test]
async fn a_client_with_a_key_gets_tokens_for_it_alone() {
    let app = App::new();
    for (key, alg) in Signer::all() {
        let client = app.client().await;
        let reply = app.redeem(&client, &key).await;
        assert_eq!(reply.status, StatusCode::OK, "{alg} {}", reply.body);
        assert_eq!(reply.json()["token_type"], "DPoP");
        let (access, refresh) = reply.tokens();
        assert_eq!(claims(&access)["cnf"], json!({ "jkt": key.thumbprint() }));
        // The resource of these tests takes no proofs, so a bound token is none.
        assert_eq!(app.call(&access).await.status, StatusCode::UNAUTHORIZED);
        let next = app
            .refresh_with(&client, &refresh, &[&proof(&key, json!({}))])
            .await;
        assert_eq!(next.json()["token_type"], "DPoP", "{}", next.body);
        assert_eq!(
            claims(&next.tokens().0)["cnf"],
            json!({ "jkt": key.thumbprint() })
        );
    }
    let document = app.server.metadata();
    assert_eq!(
        document["dpop_signing_alg_values_supported"],
        json!(["ES256", "EdDSA", "RS256"])
    );
}

#[tokio::test]
async fn without_a_proof_tokens_are_as_ever() {
    let app = App::new();
    let client = app.client().await;
    let reply = app.exchange(&client, &app.code(&client).await).await;
    assert_eq!(reply.json()["token_type"], "Bearer");
    let (access, refresh) = reply.tokens();
    assert_eq!(claims(&access).get("cnf"), None);
    assert!(!refresh.contains('.'));
    // A client may begin with proofs later; from then on its refresh tokens are bound.
    let key = Signer::es256();
    let bound = app
        .refresh_with(&client, &refresh, &[&proof(&key, json!({}))])
        .await;
    assert_eq!(bound.json()["token_type"], "DPoP");
    let (_, refresh) = bound.tokens();
    app.refresh(&client, &refresh).await.refused(400, "invalid_grant");
}

/// RFC 9449 section 5: a public client's refresh token is bound. Without the key it is worth nothing, and it ends nothing.
#[tokio::test]
async fn a_stolen_refresh_token_without_its_key_does_nothing() {
    let app = App::new();
    let (client, key, thief) = (app.client().await, Signer::es256(), Signer::es256());
    let (_, first) = app.redeem(&client, &key).await.tokens();
    let unbound = first.split('.').next().unwrap();
    let rebound = format!("{unbound}.{}", thief.thumbprint());
    for token in [&*first, unbound, &rebound] {
        app.refresh(&client, token).await.refused(400, "invalid_grant");
        app.refresh_with(&client, token, &[&proof(&thief, json!({}))])
            .await
            .refused(400, "invalid_grant");
    }
    let (_, second) = app
        .refresh_with(&client, &first, &[&proof(&key, json!({}))])
        .await
        .tokens();
    // Long after: the spent token in a thief's hands does not end the family either.
    app.advance(100);
    app.refresh(&client, &first).await.refused(400, "invalid_grant");
    let late = json!({ "iat": 1_800_000_100_u64 });
    app.refresh_with(&client, &first, &[&proof(&thief, late.clone())])
        .await
        .refused(400, "invalid_grant");
    let reply = app
        .refresh_with(&client, &second, &[&proof(&key, late.clone())])
        .await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
    // With the key it is the client itself that has it twice.
    app.refresh_with(&client, &first, &[&proof(&key, late.clone())])
        .await
        .refused(400, "invalid_grant");
    let (_, third) = reply.tokens();
    app.refresh_with(&client, &third, &[&proof(&key, late)])
        .await
        .refused(400, "invalid_grant");
}

/// A confidential client authenticates; its refresh token is not bound, and may be used with a new key.
#[tokio::test]
async fn a_client_that_authenticates_may_change_its_key() {
    let app = App::new();
    let client = app
        .client_with(json!({
            "redirect_uris": [REDIRECT], "token_endpoint_auth_method": "client_secret_post",
        }))
        .await;
    let (_, refresh) = app.redeem(&client, &Signer::es256()).await.tokens();
    let key = Signer::es256();
    let reply = app
        .refresh_with(&client, &refresh, &[&proof(&key, json!({}))])
        .await;
    assert_eq!(
        claims(&reply.tokens().0)["cnf"],
        json!({ "jkt": key.thumbprint() })
    );
}

/// A repeated refresh hears the same answer only with the same key: the answer holds tokens for it.
#[tokio::test]
async fn a_repeated_refresh_hears_its_answer_with_its_key_only() {
    let app = App::new();
    let (client, key) = (app.client().await, Signer::es256());
    let (_, refresh) = app.redeem(&client, &key).await.tokens();
    let first = app
        .refresh_with(&client, &refresh, &[&proof(&key, json!({}))])
        .await;
    let again = app
        .refresh_with(&client, &refresh, &[&proof(&key, json!({}))])
        .await;
    assert_eq!(
        (again.status, again.json()),
        (StatusCode::OK, first.json()),
        "{}",
        again.body
    );
    app.refresh(&client, &refresh).await.refused(400, "invalid_grant");
    // Also where the spent token named no key: the answer was for the key that came with it.
    let (_, unbound) = app.tokens(&client).await;
    let with = async |key: &Signer| {
        let proof = proof(key, json!({}));
        app.refresh_with(&client, &unbound, &[&proof]).await
    };
    let first = with(&key).await;
    assert_eq!(first.status, StatusCode::OK, "{}", first.body);
    app.refresh(&client, &unbound).await.refused(400, "invalid_grant");
    with(&Signer::es256()).await.refused(400, "invalid_grant");
    assert_eq!(with(&key).await.json(), first.json());
}

/// RFC 9449 section 10: a code that was asked for with a key's thumbprint is worth nothing without the key.
#[tokio::test]
async fn a_code_bound_to_a_key_needs_that_key() {
    let app = App::new();
    let (client, key, thief) = (app.client().await, Signer::es256(), Signer::es256());
    let code = app.code_bound_to(&client, &key.thumbprint()).await;
    let form = code_form(&client, &code);
    app.token(&form).await.refused(400, "invalid_grant");
    app.token_with(&form, &[&proof(&thief, json!({}))])
        .await
        .refused(400, "invalid_grant");
    let reply = app.token_with(&form, &[&proof(&key, json!({}))]).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
    for odd in [
        "x",
        &"A".repeat(44),
        &format!("{}=", key.thumbprint()),
        &"=".repeat(43),
    ] {
        app.authorize(&client, &[("dpop_jkt", odd)])
            .await
            .redirects_error("invalid_request");
    }
}

/// RFC 9449 section 10.1: a proof that comes with a pushed request binds the code to its key.
#[tokio::test]
async fn a_code_pushed_for_with_a_proof_needs_that_key() {
    let app = App::new();
    let (client, key, thief) = (app.client().await, Signer::es256(), Signer::es256());
    let push = async |proof: &str, changes: &[(&str, &str)]| {
        let query = authorize_request(&client, changes)
            .uri()
            .query()
            .unwrap()
            .to_owned();
        let request = Request::post("/oauth/par")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header("dpop", proof);
        app.send(request.body(Body::from(query)).unwrap()).await
    };
    let here = || key.proof(json!({ "htu": "https://auth.example/oauth/par" }));
    let once = here();
    let reply = push(&once, &[]).await;
    assert_eq!(reply.status, StatusCode::CREATED, "{}", reply.body);
    let request_uri = reply.json()["request_uri"].as_str().unwrap().to_owned();
    for (odd, changes) in [
        (once, vec![]),
        (proof(&key, json!({})), vec![]),
        (here(), vec![("dpop_jkt", thief.thumbprint())]),
    ] {
        let changes: Vec<_> = changes
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        push(&odd, &changes).await.refused(400, "invalid_dpop_proof");
    }
    let agreed = push(&here(), &[("dpop_jkt", &key.thumbprint())]).await;
    assert_eq!(agreed.status, StatusCode::CREATED, "{}", agreed.body);

    let bring = crate::endpoints::bring(&client.id, &request_uri);
    let page = app.page_of(as_user("alice", bring)).await;
    let code = app
        .decide(&page, "allow")
        .await
        .location_parameter("code")
        .unwrap();
    let form = code_form(&client, &code);
    app.token(&form).await.refused(400, "invalid_grant");
    app.token_with(&form, &[&proof(&thief, json!({}))])
        .await
        .refused(400, "invalid_grant");
    let reply = app.token_with(&form, &[&proof(&key, json!({}))]).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
}

/// RFC 9449 section 11.1: at the token endpoint a proof is used once among all replicas, and refusing it spends nothing.
#[tokio::test]
async fn a_proof_for_a_token_is_used_once_across_replicas() {
    let store = std::sync::Arc::new(MemoryStore::new());
    let (app, replica) = (App::on(store.clone(), |_| {}), App::on(store, |_| {}));
    let (client, key) = (app.client().await, Signer::es256());
    let proof = proof(&key, json!({}));
    let first = app.code(&client).await;
    let reply = app.token_with(&code_form(&client, &first), &[&proof]).await;
    assert_eq!(reply.status, StatusCode::OK);
    for app in [&app, &replica] {
        let code = app.code(&client).await;
        app.token_with(&code_form(&client, &code), &[&proof])
            .await
            .refused(400, "invalid_dpop_proof");
        let reply = app.token(&code_form(&client, &code)).await;
        assert_eq!(reply.status, StatusCode::OK, "the code was not spent");
    }
}

/// RFC 9449 section 4.3, at the token endpoint: each has the code of section 5, and spends nothing.
#[tokio::test]
async fn a_bad_proof_gets_no_token_and_spends_nothing() {
    let app = App::new();
    let (client, key) = (app.client().await, Signer::es256());
    let code = app.code(&client).await;
    let form = code_form(&client, &code);
    let odd = [
        json!({ "htu": "https://evil.example/oauth/token" }),
        json!({ "htu": RESOURCE }),
        json!({ "htm": "GET" }),
        json!({ "iat": 1_800_000_301_u64 }),
        json!({ "iat": 1_799_999_699_u64 }),
        json!({ "jti": null }),
    ];
    for changes in odd {
        app.token_with(&form, &[&proof(&key, changes)])
            .await
            .refused(400, "invalid_dpop_proof");
    }
    for text in ["", "x", "a.b.c", &"x".repeat(5000)] {
        app.token_with(&form, &[text])
            .await
            .refused(400, "invalid_dpop_proof");
    }
    let two = [proof(&key, json!({})), proof(&key, json!({}))];
    app.token_with(&form, &[&two[0], &two[1]])
        .await
        .refused(400, "invalid_dpop_proof");
    let mut lying = token_request(&form);
    lying
        .headers_mut()
        .insert(header::HOST, "evil.example".parse().unwrap());
    let evil = proof(&key, json!({ "htu": "https://evil.example/oauth/token" }));
    lying.headers_mut().insert("dpop", evil.parse().unwrap());
    app.send(lying).await.refused(400, "invalid_dpop_proof");
    assert_eq!(app.token(&form).await.status, StatusCode::OK);
}

/// Who is not the client's own does not get as far as its proof being used up.
#[tokio::test]
async fn a_proof_of_an_unknown_client_is_not_kept() {
    let app = App::new();
    let (client, key) = (app.client().await, Signer::es256());
    let proof = proof(&key, json!({}));
    let code = app.code(&client).await;
    let stranger = Registered {
        id: "nobody".to_owned(),
        secret: None,
    };
    let reply = app.token_with(&code_form(&stranger, &code), &[&proof]).await;
    reply.refused(401, "invalid_client");
    let reply = app.token_with(&code_form(&client, &code), &[&proof]).await;
    assert_eq!(reply.status, StatusCode::OK);
}

/// Anybody may register and make proofs: who brings no code and no refresh token of his own adds nothing to what is remembered.
#[tokio::test]
async fn a_proof_without_anything_to_issue_for_is_not_kept() {
    let app = App::new();
    let (client, key) = (app.client().await, Signer::es256());
    let proof = proof(&key, json!({}));
    let (code, stranger) = (app.code(&client).await, app.client().await);
    for form in [
        code_form(&client, "x"),
        code_form(&stranger, &code),
        refresh_form(&client, "x"),
        vec![("client_id", &*client.id), ("grant_type", "password")],
        vec![("client_id", &*client.id), ("grant_type", "client_credentials")],
    ] {
        let reply = app.token_with(&form, &[&proof]).await;
        assert_ne!(reply.error(), "invalid_dpop_proof", "{form:?}");
        assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    }
    let reply = app.token_with(&code_form(&client, &code), &[&proof]).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
}

/// RFC 9449 section 8.
#[tokio::test]
async fn a_server_that_gives_nonces_wants_them_in_every_proof() {
    let mut app = App::new();
    app.server = app.server.clone().with_dpop_nonces(DpopNonces::new(&[7; 32]));
    app.router = app.server.router();
    let (client, key) = (app.client().await, Signer::es256());
    let code = app.code(&client).await;
    let form = code_form(&client, &code);
    let reply = app.token_with(&form, &[&proof(&key, json!({}))]).await;
    reply.refused(400, "use_dpop_nonce");
    let nonce = reply.header("dpop-nonce").to_owned();
    assert_eq!(reply.header("access-control-expose-headers"), "dpop-nonce");
    for wrong in ["", "x", &nonce[1..]] {
        app.token_with(&form, &[&proof(&key, json!({ "nonce": wrong }))])
            .await
            .refused(400, "use_dpop_nonce");
    }
    let reply = app
        .token_with(&form, &[&proof(&key, json!({ "nonce": nonce }))])
        .await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
    assert!(reply.headers.contains_key("dpop-nonce"));
}

/// RFC 7009 asks for no proof: a client can give up its bound tokens, the spent ones as well, with which it names their family.
#[tokio::test]
async fn a_bound_refresh_token_can_be_revoked() {
    for spent in [false, true] {
        let app = App::new();
        let (client, key) = (app.client().await, Signer::es256());
        let (access, first) = app.redeem(&client, &key).await.tokens();
        let (_, second) = app
            .refresh_with(&client, &first, &[&proof(&key, json!({}))])
            .await
            .tokens();
        let token = if spent { &first } else { &second };
        let reply = crate::endpoints::revoke(&app, &client, token).await;
        assert_eq!(reply.status, StatusCode::OK);
        app.refresh_with(&client, &second, &[&proof(&key, json!({}))])
            .await
            .refused(400, "invalid_grant");
        let verifier = app.server.verifier(RESOURCE.parse().unwrap());
        assert!(verifier.verify(&access).await.is_err());
    }
}

/// Issued here, used at a resource that takes proofs.
#[tokio::test]
async fn what_is_issued_for_a_key_is_taken_with_its_proof() {
    let app = App::new();
    let (client, key) = (app.client().await, Signer::es256());
    let (access, _) = app.redeem(&client, &key).await.tokens();
    let guard = RequireAuthLayer::new(
        RESOURCE.parse().unwrap(),
        ORIGIN.parse().unwrap(),
        app.server.verifier(RESOURCE.parse().unwrap()),
    )
    .with_dpop(Dpop::required().with_clock(std::sync::Arc::new(app.clock.clone())));
    let service = axum::Router::new()
        .fallback(axum::routing::any(|| async { "in" }))
        .layer(guard);
    let ath = crate::dpop::ath(&access);
    let request = Request::post("/files/mcp")
        .header("authorization", format!("DPoP {access}"))
        .header("dpop", key.proof(json!({ "ath": ath })))
        .body(Body::empty())
        .unwrap();
    let reply = Reply::read(tower::ServiceExt::oneshot(service, request).await.unwrap()).await;
    assert_eq!((reply.status, &*reply.body), (StatusCode::OK, "in"));
}
