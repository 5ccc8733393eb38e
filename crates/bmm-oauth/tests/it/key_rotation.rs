//! Signing keys come and go while tokens live: nobody meets a token of a key that is not published, and no key outlives its last token.

use std::collections::HashSet;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bmm_oauth::*;
use bmm_vault::{LocalKek, Vault};
use http::StatusCode;
use serde_json::{Value, json};

use crate::app::*;

const ALGORITHMS: [Algorithm; 3] = [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256];
/// From publication to the first signature.
const PROPAGATION: u64 = 600;
/// An access token's hour, and a minute for clocks.
const OVERLAP: u64 = 3660;

#[tokio::test]
async fn tokens_of_every_algorithm_are_accepted_here_and_elsewhere() {
    for algorithm in ALGORITHMS {
        let keys = SigningKeys::create(algorithm).unwrap();
        let keys = SigningKeys::from_bytes(&keys.to_sealable_bytes()).unwrap();
        let app = App::signing_with(keys, Arc::new(MemoryStore::new()), |_| {}, |server| server);
        let client = app.client().await;
        let (access, _) = app.tokens(&client).await;
        assert_eq!(header(&access)["alg"], algorithm.name());
        assert_eq!(header(&access)["typ"], "at+jwt");
        assert_eq!(app.call(&access).await.status, StatusCode::OK);
        let jwk = app.get("/oauth/jwks").await.json()["keys"][0].clone();
        assert_eq!(
            (&jwk["alg"], &jwk["kid"]),
            (&algorithm.name().into(), &header(&access)["kid"])
        );
        assert!(
            ["d", "p", "q", "k"]
                .iter()
                .all(|member| jwk.get(member).is_none())
        );
        // A judge of another make.
        let key = jsonwebtoken::DecodingKey::from_jwk(&serde_json::from_value(jwk).unwrap()).unwrap();
        let mut validation = jsonwebtoken::Validation::new(algorithm.name().parse().unwrap());
        validation.set_audience(&[RESOURCE]);
        validation.validate_exp = false;
        jsonwebtoken::decode::<Value>(&access, &key, &validation).unwrap();
    }
}

#[tokio::test]
async fn a_key_is_published_before_it_signs_and_until_its_last_token_has_ended() {
    for algorithm in ALGORITHMS {
        let replicas = Replicas::new();
        let app = replicas.start().await;
        let client = app.client().await;
        let (before, refresh) = app.tokens(&client).await;
        app.server.rotate_keys(&replicas.vault, algorithm).await.unwrap();
        let published = kids(&app).await;
        assert_eq!(published.len(), 2, "the new key is published at once");
        app.advance(PROPAGATION - 1);
        let (last_of_old, refresh) = app.refresh(&client, &refresh).await.tokens();
        assert_eq!(kid(&last_of_old), kid(&before), "and does not sign yet");
        app.advance(1);
        let (first_of_new, _) = app.refresh(&client, &refresh).await.tokens();
        assert_eq!(header(&first_of_new)["alg"], algorithm.name());
        assert_ne!(kid(&first_of_new), kid(&before));
        assert!(published.contains(&kid(&first_of_new)));
        app.advance(3600 - 2);
        assert_eq!(
            app.call(&last_of_old).await.status,
            StatusCode::OK,
            "to its last second"
        );
        assert_eq!(kids(&app).await, published);
        app.advance(OVERLAP - 3600 + 2);
        assert_eq!(
            kids(&app).await,
            HashSet::from([kid(&first_of_new)]),
            "then it is gone"
        );
    }
}

/// A key that was stolen long ago must not sign for ever.
#[tokio::test]
async fn a_key_that_has_ended_verifies_nothing() {
    let replicas = Replicas::new();
    let app = replicas.start().await;
    let client = app.client().await;
    let (old, refresh) = app.tokens(&client).await;
    app.server
        .rotate_keys(&replicas.vault, Algorithm::Es256)
        .await
        .unwrap();
    app.advance(PROPAGATION);
    let (new, _) = app.refresh(&client, &refresh).await.tokens();
    let forge = |claims: &Value| {
        let message = format!(
            "{}.{}",
            old.split('.').next().unwrap(),
            URL_SAFE_NO_PAD.encode(claims.to_string())
        );
        let key = jsonwebtoken::EncodingKey::from_ec_der(&app.pkcs8);
        let signature =
            jsonwebtoken::crypto::sign(message.as_bytes(), &key, jsonwebtoken::Algorithm::ES256).unwrap();
        format!("{message}.{signature}")
    };
    let mut claims = part(&new, 1);
    claims["exp"] = json!(1_800_000_000_u64 + 100_000);
    assert_eq!(
        app.call(&forge(&claims)).await.status,
        StatusCode::OK,
        "while it lives it does"
    );
    app.advance(OVERLAP);
    claims["iat"] = json!(1_800_000_000_u64 + PROPAGATION + OVERLAP - 10);
    claims["nbf"] = claims["iat"].clone();
    assert_eq!(app.call(&forge(&claims)).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn replicas_learn_of_a_key_before_it_signs() {
    let replicas = Replicas::new();
    let (one, two) = (replicas.start().await, replicas.start().await);
    let client = one.client().await;
    let (_, refresh) = one.tokens(&client).await;
    one.server
        .rotate_keys(&replicas.vault, Algorithm::EdDsa)
        .await
        .unwrap();
    assert_ne!(kids(&one).await, kids(&two).await);
    two.server.refresh_keys(&replicas.vault).await.unwrap();
    assert_eq!(kids(&one).await, kids(&two).await);
    for app in [&one, &two] {
        app.advance(PROPAGATION);
    }
    let (of_one, refresh) = one.refresh(&client, &refresh).await.tokens();
    let (of_two, _) = two.refresh(&client, &refresh).await.tokens();
    assert_eq!(
        kid(&of_one),
        kid(&of_two),
        "both sign with it from the same second on"
    );
    assert_eq!(one.call(&of_two).await.status, StatusCode::OK);
    assert_eq!(two.call(&of_one).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn replicas_that_rotate_at_once_make_one_key() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqlStore::open(&folder.path().join("auth.db")).await.unwrap();
    store.migrate().await.unwrap();
    let replicas = Replicas::on(Arc::new(store));
    let mut racing = Vec::new();
    let start = Arc::new(tokio::sync::Barrier::new(8));
    for _ in 0..8 {
        let (app, vault) = (replicas.start().await, Arc::clone(&replicas.vault));
        let start = Arc::clone(&start);
        racing.push(tokio::spawn(async move {
            start.wait().await;
            app.server.rotate_keys(&vault, Algorithm::Es256).await.unwrap();
            let told = app
                .events
                .take()
                .iter()
                .filter(|event| event.kind == EventKind::KeysRotated)
                .count();
            (kids(&app).await, told)
        }));
    }
    let (mut outcomes, mut told) = (Vec::new(), 0);
    for racer in racing {
        let (kids, events) = racer.await.unwrap();
        outcomes.push(kids);
        told += events;
    }
    assert_eq!(told, 1, "and one tells of it");
    assert!(
        outcomes
            .iter()
            .all(|kids| *kids == outcomes[0] && kids.len() == 2)
    );
    let app = replicas.start().await;
    app.server
        .rotate_keys(&replicas.vault, Algorithm::Es256)
        .await
        .unwrap();
    assert_eq!(kids(&app).await, outcomes[0], "nor does a repetition");
    app.server
        .rotate_keys(&replicas.vault, Algorithm::EdDsa)
        .await
        .unwrap();
    assert_eq!(kids(&app).await.len(), 3, "another algorithm is another wish");
}

#[tokio::test]
async fn keys_are_bounded_kept_and_never_shown() {
    let replicas = Replicas::new();
    let app = replicas.start().await;
    for round in 0..15 {
        let algorithm = ALGORITHMS[round % 2];
        app.server
            .rotate_keys(&replicas.vault, algorithm)
            .await
            .unwrap_or_else(|e| panic!("{round}: {e}"));
        if round % 2 == 1 {
            app.advance(PROPAGATION);
        }
    }
    let error = app.server.rotate_keys(&replicas.vault, Algorithm::Rs256).await;
    assert!(matches!(error, Err(KeyError::TooMany)), "{error:?}");
    let kept = SigningKeys::load_or_create(&replicas.vault, &replicas.store)
        .await
        .unwrap();
    let sealed = replicas.store.signing_keys().await.unwrap().unwrap();
    let file: Value = serde_json::from_slice(&kept.to_sealable_bytes()).unwrap();
    for key in file["keys"].as_array().unwrap() {
        let secret = key["pkcs8"].as_str().unwrap();
        assert!(!sealed.contains(secret) && !format!("{kept:?}").contains(secret));
    }
    let nowhere = App::new();
    let error = nowhere
        .server
        .rotate_keys(&replicas.vault, Algorithm::Es256)
        .await;
    assert!(matches!(error, Err(KeyError::NotKept)), "{error:?}");
}

#[tokio::test]
async fn damaged_keys_are_refused() {
    let file = |change: &dyn Fn(&mut Value)| {
        let keys = SigningKeys::create(Algorithm::EdDsa).unwrap();
        let mut file: Value = serde_json::from_slice(&keys.to_sealable_bytes()).unwrap();
        change(&mut file);
        SigningKeys::from_bytes(file.to_string().as_bytes())
    };
    assert!(file(&|_| {}).is_ok());
    let changes: [&dyn Fn(&mut Value); 6] = [
        &|file| file["version"] = json!(2),
        &|file| file["keys"] = json!([]),
        &|file| file["keys"][0]["alg"] = json!("ES256"),
        &|file| file["keys"][0]["alg"] = json!("HS256"),
        &|file| file["keys"][0]["pkcs8"] = json!("AAAA"),
        &|file| file["keys"][0]["ends_at"] = json!(1),
    ];
    for (index, change) in changes.into_iter().enumerate() {
        assert!(matches!(file(change), Err(KeyError::Damaged)), "change {index}");
    }
}

/// Servers over one store and one vault.
struct Replicas {
    store: Arc<dyn Store>,
    vault: Arc<Vault>,
}

impl Replicas {
    fn new() -> Self {
        Self::on(Arc::new(MemoryStore::new()))
    }

    fn on(store: Arc<dyn Store>) -> Self {
        let kek = LocalKek::from_bytes(zeroize::Zeroizing::new([7; 32]));
        Self {
            store,
            vault: Arc::new(Vault::create(&kek).unwrap()),
        }
    }

    async fn start(&self) -> App {
        let keys = SigningKeys::load_or_create(&self.vault, &self.store)
            .await
            .unwrap();
        App::signing_with(keys, Arc::clone(&self.store), |_| {}, |server| server)
    }
}

async fn kids(app: &App) -> HashSet<String> {
    let document = app.get("/oauth/jwks").await.json();
    let keys = document["keys"].as_array().unwrap().iter();
    keys.map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

fn kid(token: &str) -> String {
    header(token)["kid"].as_str().unwrap().to_owned()
}

fn header(token: &str) -> Value {
    part(token, 0)
}

fn part(token: &str, index: usize) -> Value {
    let part = token.split('.').nth(index).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}
