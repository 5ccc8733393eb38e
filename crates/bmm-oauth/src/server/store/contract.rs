//! What every store must do, as one test that any implementation runs.

use std::sync::Arc;
use std::time::Duration;

use super::{
    AuthorizationCode, AuthorizationRequest, Client, ClientAuthMethod, Grant, NewRefresh, PendingConsent,
    Redemption, Rotation, Store,
};
use crate::clock::Timestamp;
use crate::scope::Scopes;
use crate::server::secret::SecretHash;
use crate::verifier::Subject;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

/// Runs the contract against an empty store, with `racers` tasks that try each single-use step at once. Give it a runtime of several
/// threads. For tests only.
///
/// # Panics
/// If the store breaks the contract; the message names the clause.
pub async fn store_contract(store: Arc<dyn Store>, racers: usize) {
    clients_are_kept_and_the_oldest_unused_gives_way(&*store).await;
    a_consent_is_taken_once(&store, racers).await;
    a_code_is_redeemed_once(&store, racers).await;
    a_refresh_token_rotates_once(&store, racers).await;
    a_revoked_grant_rotates_no_more(&*store).await;
    what_has_ended_cannot_be_used(&*store).await;
    the_first_signing_keys_stand(&store, racers).await;
    a_sweep_takes_what_has_ended_in_batches(&*store).await;
}

async fn clients_are_kept_and_the_oldest_unused_gives_way(store: &dyn Store) {
    let mut first = client("contract-1", NOW);
    first.secret_hash = Some(SecretHash::of("secret"));
    first.auth_method = ClientAuthMethod::ClientSecretBasic;
    ok(store.put_client(first.clone(), 2).await);
    assert_eq!(
        ok(store.client("contract-1").await),
        Some(first),
        "a client comes back as it was put"
    );
    assert_eq!(
        ok(store.client("contract-0").await),
        None,
        "an unknown client is none"
    );
    ok(store.put_client(client("contract-2", later(1)), 2).await);
    ok(store.put_client(client("contract-3", later(2)), 2).await);
    assert_eq!(
        ok(store.client("contract-1").await),
        None,
        "the oldest unused client gives way"
    );
    assert!(
        ok(store.client("contract-3").await).is_some(),
        "the newest client stays"
    );
}

async fn a_consent_is_taken_once(store: &Arc<dyn Store>, racers: usize) {
    let handle = SecretHash::of("consent");
    let consent = PendingConsent {
        request: request("contract-2"),
        subject: Subject::new("alice"),
        browser: SecretHash::of("browser"),
        expires_at: later(600),
    };
    ok(store.put_consent(handle, consent.clone()).await);
    let taken = race(store, racers, move |store| async move {
        ok(store.take_consent(handle).await)
    })
    .await;
    let winners: Vec<_> = taken.into_iter().flatten().collect();
    assert_eq!(
        winners,
        [consent],
        "exactly one taker gets the consent, as it was put"
    );
}

async fn a_code_is_redeemed_once(store: &Arc<dyn Store>, racers: usize) {
    let hash = SecretHash::of("code");
    let code = code("contract-2", "grant-code");
    ok(store.put_code(hash, code.clone()).await);
    assert_eq!(
        ok(store.code(hash).await),
        Some(code),
        "a code comes back as it was put"
    );
    let outcomes = race(store, racers, move |store| async move {
        let refresh = refresh(&format!("refresh-{:?}", tokio::task::id()), 100);
        ok(store
            .redeem_code(hash, grant("grant-code", "contract-2", 1000), refresh, NOW)
            .await)
    })
    .await;
    let won = outcomes
        .iter()
        .filter(|outcome| **outcome == Redemption::Redeemed)
        .count();
    assert_eq!(won, 1, "exactly one racer redeems the code");
    let lost = outcomes
        .iter()
        .filter(|outcome| **outcome == Redemption::AlreadyUsed)
        .count();
    assert_eq!(lost, outcomes.len() - 1, "the others learn that it had been used");
    let used = ok(store.client("contract-2").await).and_then(|client| client.used_at);
    assert_eq!(used, Some(NOW), "redeeming marks the client as used");
    assert!(ok(store.code(hash).await).is_some(), "a used code is remembered");
}

async fn a_refresh_token_rotates_once(store: &Arc<dyn Store>, racers: usize) {
    let old = seed(&**store, "rotate", 1000, 100).await;
    let before = ok(store.refresh_token(old).await).expect("the refresh token was stored");
    assert_eq!(
        before.grant,
        grant("grant-rotate", "contract-2", 1000),
        "the grant comes back as it was put"
    );
    assert_eq!(
        (before.expires_at, before.rotated_at),
        (later(100), None),
        "a fresh token is not spent"
    );
    let outcomes = race(store, racers, move |store| async move {
        let successor = refresh(&format!("successor-{:?}", tokio::task::id()), 200);
        (
            successor.hash,
            ok(store.rotate_refresh(old, successor, later(5)).await),
        )
    })
    .await;
    let mut won = 0;
    for (successor, outcome) in outcomes {
        let exists = ok(store.refresh_token(successor).await).is_some();
        match outcome {
            Rotation::Rotated => won += 1,
            Rotation::Spent { rotated_at } => {
                assert_eq!(rotated_at, later(5), "losers learn when it was spent")
            }
            Rotation::Gone => assert_ne!(outcome, Rotation::Gone, "a spent token is still known"),
        }
        assert_eq!(
            exists,
            outcome == Rotation::Rotated,
            "only the winner's successor exists"
        );
    }
    assert_eq!(won, 1, "exactly one racer rotates the token");
    let after = ok(store.refresh_token(old).await).expect("a spent token is remembered");
    assert_eq!(after.rotated_at, Some(later(5)), "a spent token says when");
}

async fn a_revoked_grant_rotates_no_more(store: &dyn Store) {
    let token = seed(store, "revoked", 1000, 100).await;
    assert!(
        !ok(store.is_revoked("grant-revoked").await),
        "a grant begins unrevoked"
    );
    ok(store.revoke_grant("grant-revoked").await);
    assert!(
        ok(store.is_revoked("grant-revoked").await),
        "a revoked grant is known"
    );
    let outcome = ok(store
        .rotate_refresh(token, refresh("after-revocation", 100), NOW)
        .await);
    assert_eq!(outcome, Rotation::Gone, "nothing rotates in a revoked grant");
    let shown = ok(store.refresh_token(token).await).map(|token| token.grant.revoked);
    assert_eq!(shown, Some(true), "the token says that its grant is revoked");
    ok(store.revoke_grant("grant-nobody").await);
    assert!(
        !ok(store.is_revoked("grant-nobody").await),
        "revoking an unknown grant is no error"
    );
}

async fn what_has_ended_cannot_be_used(store: &dyn Store) {
    let hash = SecretHash::of("late code");
    ok(store.put_code(hash, code("contract-2", "grant-late")).await);
    let new = grant("grant-late", "contract-2", 1000);
    let outcome = ok(store
        .redeem_code(hash, new.clone(), refresh("late", 100), later(60))
        .await);
    assert_eq!(outcome, Redemption::Gone, "a code ends at its second");
    let unknown = ok(store
        .redeem_code(SecretHash::of("no code"), new, refresh("late", 100), NOW)
        .await);
    assert_eq!(unknown, Redemption::Gone, "an unknown code is gone");
    let idle = seed(store, "idle", 1000, 100).await;
    let outcome = ok(store
        .rotate_refresh(idle, refresh("idle-2", 200), later(100))
        .await);
    assert_eq!(outcome, Rotation::Gone, "a refresh token ends at its second");
    let ended = seed(store, "ended", 50, 100).await;
    let outcome = ok(store
        .rotate_refresh(ended, refresh("ended-2", 200), later(50))
        .await);
    assert_eq!(outcome, Rotation::Gone, "a grant ends at its second");
}

async fn the_first_signing_keys_stand(store: &Arc<dyn Store>, racers: usize) {
    assert_eq!(
        ok(store.signing_keys().await),
        None,
        "an empty store has no signing keys"
    );
    let adopted = race(store, racers, |store| async move {
        ok(store
            .init_signing_keys(format!("keys of {:?}", tokio::task::id()))
            .await)
    })
    .await;
    let stands = ok(store.signing_keys().await);
    assert!(stands.is_some(), "the signing keys are kept");
    assert!(
        adopted.into_iter().all(|keys| Some(keys) == stands),
        "everybody adopts the same signing keys"
    );
}

async fn a_sweep_takes_what_has_ended_in_batches(store: &dyn Store) {
    for index in 0..5 {
        let consent = PendingConsent {
            request: request("contract-2"),
            subject: Subject::new("alice"),
            browser: SecretHash::of("browser"),
            expires_at: later(10),
        };
        ok(store
            .put_consent(SecretHash::of(&format!("swept-{index}")), consent)
            .await);
    }
    let live = seed(store, "live", 1_000_000, 1_000_000).await;
    let early = Timestamp::from_secs(0);
    assert_eq!(
        ok(store.sweep(early, early, 100).await),
        0,
        "nothing has ended before it began"
    );
    assert!(
        ok(store.sweep(later(2000), early, 2).await) <= 10,
        "a sweep stays within its limit, for each kind"
    );
    while ok(store.sweep(later(2000), early, 2).await) > 0 {}
    assert_eq!(
        ok(store.take_consent(SecretHash::of("swept-0")).await),
        None,
        "an ended consent is swept"
    );
    assert!(ok(store.refresh_token(live).await).is_some(), "what lives stays");
    assert!(
        ok(store.client("contract-3").await).is_some(),
        "a young unused client stays"
    );
    ok(store.sweep(later(2000), later(1_000_000), 100).await);
    assert_eq!(
        ok(store.client("contract-3").await),
        None,
        "an old unused client is swept"
    );
    assert!(
        ok(store.client("contract-2").await).is_some(),
        "a used client stays"
    );
}

/// A grant `grant-<name>` and its first refresh token, stored the only way there is.
async fn seed(store: &dyn Store, name: &str, grant_secs: u64, refresh_secs: u64) -> SecretHash {
    let grant_id = format!("grant-{name}");
    let (code_hash, first) = (SecretHash::of(&grant_id), refresh(name, refresh_secs));
    ok(store.put_code(code_hash, code("contract-2", &grant_id)).await);
    let outcome = store
        .redeem_code(code_hash, grant(&grant_id, "contract-2", grant_secs), first, NOW)
        .await;
    assert_eq!(ok(outcome), Redemption::Redeemed, "a fresh code is redeemed");
    first.hash
}

async fn race<T, F, W>(store: &Arc<dyn Store>, racers: usize, work: F) -> Vec<T>
where
    T: Send + 'static,
    F: Fn(Arc<dyn Store>) -> W,
    W: Future<Output = T> + Send + 'static,
{
    let tasks: Vec<_> = (0..racers)
        .map(|_| tokio::spawn(work(Arc::clone(store))))
        .collect();
    let mut results = Vec::with_capacity(racers);
    for task in tasks {
        results.push(task.await.expect("a racer ran to its end"));
    }
    results
}

fn ok<T>(result: Result<T, super::StoreError>) -> T {
    result.expect("the store works")
}

fn later(seconds: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(seconds))
}

fn client(id: &str, created_at: Timestamp) -> Client {
    Client {
        id: id.to_owned(),
        secret_hash: None,
        auth_method: ClientAuthMethod::None,
        name: "Contract \u{2603}".to_owned(),
        redirect_uris: vec!["https://client.example/cb".to_owned(), "cursor://cb".to_owned()],
        created_at,
        used_at: None,
    }
}

fn request(client_id: &str) -> AuthorizationRequest {
    AuthorizationRequest {
        client_id: client_id.to_owned(),
        redirect_uri: "https://client.example/cb".to_owned(),
        redirect_uri_was_sent: true,
        state: Some("state \u{2603}".to_owned()),
        code_challenge: "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM".to_owned(),
        resource: "https://mcp.example.com/files/mcp".parse().expect("a resource"),
        scopes: Scopes::new(["a", "b"]).expect("two scopes"),
    }
}

fn code(client_id: &str, grant_id: &str) -> AuthorizationCode {
    AuthorizationCode {
        request: request(client_id),
        subject: Subject::new("alice"),
        grant_id: grant_id.to_owned(),
        expires_at: later(60),
    }
}

fn grant(id: &str, client_id: &str, seconds: u64) -> Grant {
    Grant {
        id: id.to_owned(),
        client_id: client_id.to_owned(),
        subject: Subject::new("alice"),
        resource: "https://mcp.example.com/files/mcp".parse().expect("a resource"),
        scopes: Scopes::new(["a", "b"]).expect("two scopes"),
        expires_at: later(seconds),
        revoked: false,
    }
}

fn refresh(name: &str, seconds: u64) -> NewRefresh {
    NewRefresh {
        hash: SecretHash::of(&format!("refresh {name}")),
        expires_at: later(seconds),
    }
}
