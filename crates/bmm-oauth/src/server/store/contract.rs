//! What every store must do, as one test that any implementation runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::upstream_token_contract::upstream_tokens_change_one_step_at_a_time;
use super::{
    AuthorizationCode, AuthorizationRequest, Client, ClientAuthMethod, ClientMetadata, Grant, GrantType,
    GrantTypes, NewRefresh, OnceKind, Redemption, Replay, Rotation, Store,
};
use crate::clock::Timestamp;
use crate::jwk::Thumbprint;
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
    a_client_is_replaced_and_removed(&*store).await;
    a_grant_stands_without_a_refresh_token(&*store).await;
    a_value_is_taken_once(&store, racers).await;
    a_key_is_claimed_once(&store, racers).await;
    a_code_is_redeemed_once(&store, racers).await;
    a_refresh_token_rotates_once(&store, racers).await;
    a_revoked_grant_rotates_no_more(&*store).await;
    revocations_are_numbered_in_order(&store, racers).await;
    what_has_ended_cannot_be_used(&*store).await;
    the_first_signing_keys_stand(&store, racers).await;
    a_sweep_takes_what_has_ended_in_batches(&*store).await;
    upstream_tokens_change_one_step_at_a_time(&store, racers).await;
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

async fn a_client_is_replaced_and_removed(store: &dyn Store) {
    let put = client("contract-4", NOW);
    ok(store.put_client(put.clone(), 100).await);
    let mut other = client("contract-4", later(50));
    other.name = "Another name".to_owned();
    other.secret_hash = Some(SecretHash::of("another secret"));
    other.auth_method = ClientAuthMethod::PrivateKeyJwt;
    other.redirect_uris.clear();
    other.metadata.jwks_uri = Some("https://client.example/jwks".to_owned());
    other.metadata.registration_token = Some(SecretHash::of("registration"));
    other.metadata.grant_types = GrantTypes::new([GrantType::ClientCredentials]);
    assert!(
        ok(store.update_client(other.clone()).await),
        "a client that exists is replaced"
    );
    other.created_at = put.created_at;
    assert_eq!(
        ok(store.client("contract-4").await),
        Some(other.clone()),
        "all but its times is replaced"
    );
    assert!(
        ok(store.remove_client("contract-4").await),
        "a client that exists is removed"
    );
    assert!(
        !ok(store.remove_client("contract-4").await),
        "a client is removed once"
    );
    assert!(
        !ok(store.update_client(other).await),
        "a client that is gone stays gone"
    );
    assert_eq!(
        ok(store.client("contract-4").await),
        None,
        "a removed client is none"
    );
}

async fn a_grant_stands_without_a_refresh_token(store: &dyn Store) {
    ok(store.put_client(client("contract-5", NOW), 100).await);
    for (id, seconds) in [("live-1", 20), ("live-2", 20), ("ended", 5), ("revoked", 20)] {
        ok(store.put_grant(grant(id, "contract-5", seconds), later(1)).await);
    }
    ok(store.put_grant(grant("of another", "contract-6", 20), NOW).await);
    ok(store.revoke_grant("revoked", later(30)).await);
    assert!(
        ok(store.is_revoked("revoked").await),
        "such a grant can be revoked"
    );
    let used = ok(store.client("contract-5").await).and_then(|client| client.used_at);
    assert_eq!(used, Some(later(1)), "a client that got a grant is used");
    let before = ok(store.revocations(0, 1000, NOW).await).next;
    let step = |limit| store.revoke_grants_of("contract-5", later(10), later(30), limit);
    let mut revoked = ok(step(1).await);
    assert_eq!(revoked.len(), 1, "no more than asked for");
    revoked.extend(ok(step(100).await));
    revoked.sort();
    assert_eq!(
        revoked,
        ["live-1", "live-2"],
        "only grants that can still be used are revoked with their client"
    );
    assert!(ok(step(100).await).is_empty(), "they are revoked once");
    let listed = ok(store.revocations(before, 1000, NOW).await);
    assert_eq!(
        (listed.revoked.len(), listed.next),
        (2, before + 2),
        "each of them is listed, under a number of its own"
    );
    for id in &revoked {
        assert!(ok(store.is_revoked(id).await), "they are known here at once");
    }
    assert!(!ok(store.is_revoked("of another").await), "no others");
    ok(store.remove_client("contract-5").await);
    while ok(store.sweep(later(100), NOW, 100).await) > 0 {}
}

async fn a_value_is_taken_once(store: &Arc<dyn Store>, racers: usize) {
    let (kind, key) = (OnceKind::Consent, SecretHash::of("value"));
    ok(store.put(kind, key, b"old".to_vec(), later(10)).await);
    ok(store.put(kind, key, b"\0new".to_vec(), later(10)).await);
    let other_kind = ok(store.take(OnceKind::SignIn, key, NOW).await);
    assert_eq!(other_kind, None, "kinds do not meet");
    let taken = race(store, racers, move |store| async move {
        ok(store.take(kind, key, later(9)).await)
    })
    .await;
    let winners: Vec<_> = taken.into_iter().flatten().collect();
    assert_eq!(
        winners,
        [b"\0new".to_vec()],
        "exactly one taker gets the value, as it was put last"
    );
    ok(store.put(kind, key, b"again".to_vec(), later(10)).await);
    assert_eq!(
        ok(store.take(kind, key, later(10)).await),
        None,
        "a value ends at its second"
    );
}

async fn a_key_is_claimed_once(store: &Arc<dyn Store>, racers: usize) {
    let (kind, key) = (OnceKind::ClientAssertion, SecretHash::of("jti"));
    let claims = race(store, racers, move |store| async move {
        ok(store.claim(kind, key, later(10), NOW).await)
    })
    .await;
    let won = claims.into_iter().filter(|won| *won).count();
    assert_eq!(won, 1, "exactly one racer claims the key");
    assert!(
        !ok(store.claim(kind, key, later(20), later(9)).await),
        "a claim holds to its end"
    );
    assert!(
        ok(store.claim(OnceKind::DpopProof, key, later(20), NOW).await),
        "kinds do not meet"
    );
    let again = race(store, racers, move |store| async move {
        ok(store.claim(kind, key, later(20), later(10)).await)
    })
    .await;
    let won = again.into_iter().filter(|won| *won).count();
    assert_eq!(won, 1, "a claim that has ended can be made again, once");
    let fresh = SecretHash::of("late jti");
    for _ in 0..2 {
        assert!(
            !ok(store.claim(kind, fresh, NOW, NOW).await),
            "a claim that has ended is refused"
        );
    }
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
    let used = ok(store.code(hash).await).map(|code| code.expires_at);
    assert_eq!(
        used,
        Some(later(1000)),
        "a used code is remembered as long as its grant"
    );
}

async fn a_refresh_token_rotates_once(store: &Arc<dyn Store>, racers: usize) {
    let old = seed(&**store, "rotate", 1000, 100).await;
    let before = ok(store.refresh_token(old, later(5)).await).expect("the refresh token was stored");
    assert_eq!(
        before.grant,
        grant("grant-rotate", "contract-2", 1000),
        "the grant comes back as it was put"
    );
    assert_eq!(
        (before.expires_at, before.rotated_at, before.replay),
        (later(100), None, None),
        "a fresh token is not spent"
    );
    let outcomes = race(store, racers, move |store| async move {
        let successor = refresh(&format!("successor-{:?}", tokio::task::id()), 200);
        let replay = Replay {
            sealed: successor.hash.as_bytes().to_vec(),
            expires_at: later(35),
        };
        let outcome = store.rotate_refresh(old, successor, Some(replay), later(5)).await;
        (successor.hash, ok(outcome))
    })
    .await;
    let winner = outcomes.iter().find(|(_, outcome)| *outcome == Rotation::Rotated);
    let answer = winner.map(|(successor, _)| successor.as_bytes().to_vec());
    let mut won = 0;
    for (successor, outcome) in outcomes {
        let exists = ok(store.refresh_token(successor, NOW).await).is_some();
        match outcome {
            Rotation::Rotated => won += 1,
            Rotation::Spent {
                rotated_at,
                ref replay,
            } => {
                assert_eq!(rotated_at, later(5), "losers learn when it was spent");
                assert_eq!(*replay, answer, "losers get what the winner kept");
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
    let after = ok(store.refresh_token(old, later(5)).await).expect("a spent token is remembered");
    assert_eq!(after.rotated_at, Some(later(5)), "a spent token says when");
    assert_eq!(after.replay, answer, "a spent token brings what was kept");
    for (now, kept) in [(later(34), answer), (later(35), None)] {
        let read = ok(store.refresh_token(old, now).await).and_then(|token| token.replay);
        assert_eq!(read, kept, "what was kept ends at its second, swept or not");
        let late = ok(store
            .rotate_refresh(old, refresh("too late", 200), None, now)
            .await);
        let rotated_at = later(5);
        assert_eq!(
            late,
            Rotation::Spent {
                rotated_at,
                replay: kept
            },
            "so it does for who loses a race"
        );
    }
    while ok(store.sweep(later(35), Timestamp::from_secs(0), 100).await) > 0 {}
    let swept = ok(store.refresh_token(old, later(5)).await).expect("a spent token outlives its window");
    assert_eq!(swept.replay, None, "what was kept goes with the window");
}

async fn a_revoked_grant_rotates_no_more(store: &dyn Store) {
    let token = seed(store, "revoked", 1000, 100).await;
    assert!(
        !ok(store.is_revoked("grant-revoked").await),
        "a grant begins unrevoked"
    );
    ok(store.revoke_grant("grant-revoked", later(3600)).await);
    assert!(
        ok(store.is_revoked("grant-revoked").await),
        "a revoked grant is known"
    );
    let outcome = ok(store
        .rotate_refresh(token, refresh("after-revocation", 100), None, NOW)
        .await);
    assert_eq!(outcome, Rotation::Gone, "nothing rotates in a revoked grant");
    let shown = ok(store.refresh_token(token, NOW).await).map(|token| token.grant.revoked);
    assert_eq!(shown, Some(true), "the token says that its grant is revoked");
    ok(store.revoke_grant("grant-nobody", later(60)).await);
    let until = async || {
        let all = ok(store.revocations(0, 1000, NOW).await).revoked;
        let listed = all.into_iter().find(|revoked| revoked.grant_id == "grant-nobody");
        listed.map(|revoked| revoked.until)
    };
    ok(store.revoke_grant("grant-nobody", later(3600)).await);
    ok(store.revoke_grant("grant-nobody", later(10)).await);
    assert_eq!(until().await, Some(later(3600)), "the latest end counts");
    assert!(
        ok(store.is_revoked("grant-nobody").await),
        "a grant that the store does not have can be revoked"
    );
}

async fn revocations_are_numbered_in_order(store: &Arc<dyn Store>, racers: usize) {
    let all = |after, limit| store.revocations(after, limit, NOW);
    let start = ok(all(0, 1000).await);
    assert_eq!(ok(all(start.next, 1000).await).revoked, [], "nothing is new");
    let done = Arc::new(AtomicBool::new(false));
    let follower = {
        let (store, done, first) = (Arc::clone(store), Arc::clone(&done), start.next);
        tokio::spawn(async move {
            let (mut next, mut seen) = (first, Vec::new());
            loop {
                let last = done.load(Ordering::SeqCst);
                let page = ok(store.revocations(next, 7, NOW).await);
                assert!(page.revoked.len() <= 7, "a page stays within its limit");
                assert!(page.next >= next, "numbers grow");
                if last && page.revoked.is_empty() {
                    return seen;
                }
                next = page.next;
                seen.extend(page.revoked.into_iter().map(|revoked| revoked.grant_id));
                tokio::task::yield_now().await;
            }
        })
    };
    race(store, racers, |store| async move {
        let id = format!("numbered-{:?}", tokio::task::id());
        ok(store.revoke_grant(&id, later(3600)).await);
        ok(store.revoke_grant(&id, later(3600)).await);
        assert!(
            ok(store.is_revoked(&id).await),
            "what was revoked here is known here at once"
        );
    })
    .await;
    done.store(true, Ordering::SeqCst);
    let mut seen = follower.await.expect("the follower came to the end");
    let total = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!(
        (total, seen.len()),
        (racers, racers),
        "a follower misses none and sees none twice"
    );
    let again = ok(all(start.next, 1000).await);
    assert_eq!(again.epoch, start.epoch, "the epoch stays");
    assert_eq!(again.revoked.len(), racers, "each grant is listed once");
    let future = ok(all(again.next + 1_000_000, 1000).await);
    assert_eq!(
        future.revoked,
        ok(all(0, 1000).await).revoked,
        "a number from the future starts again"
    );
    let later_on = ok(store.revocations(0, 1000, later(3600)).await);
    assert_eq!(
        (later_on.next, later_on.revoked),
        (again.next, Vec::new()),
        "what can no longer be used is not listed, and its numbers are not given again"
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
        .rotate_refresh(idle, refresh("idle-2", 200), None, later(100))
        .await);
    assert_eq!(outcome, Rotation::Gone, "a refresh token ends at its second");
    let ended = seed(store, "ended", 50, 100).await;
    let outcome = ok(store
        .rotate_refresh(ended, refresh("ended-2", 200), None, later(50))
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
    let old = stands.unwrap_or_default();
    let replaced = race(store, racers, move |store| {
        let old = old.clone();
        async move {
            let new = format!("new keys of {:?}", tokio::task::id());
            ok(store.replace_signing_keys(old, new.clone()).await).then_some(new)
        }
    })
    .await;
    let winners: Vec<_> = replaced.into_iter().flatten().collect();
    assert_eq!(winners.len(), 1, "exactly one racer replaces the signing keys");
    assert_eq!(
        ok(store.signing_keys().await).as_ref(),
        winners.first(),
        "and the winner's stand"
    );
}

async fn a_sweep_takes_what_has_ended_in_batches(store: &dyn Store) {
    for index in 0..5 {
        let key = SecretHash::of(&format!("swept-{index}"));
        ok(store
            .put(OnceKind::Consent, key, b"ended".to_vec(), later(10))
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
        ok(store
            .take(OnceKind::Consent, SecretHash::of("swept-0"), NOW)
            .await),
        None,
        "an ended value is swept"
    );
    assert!(
        ok(store.refresh_token(live, NOW).await).is_some(),
        "what lives stays"
    );
    let code = async |name| ok(store.code(SecretHash::of(name)).await).is_some();
    assert!(code("grant-live").await, "so does the code of a grant that lives");
    assert!(!code("grant-rotate").await, "the code of one that has ended goes");
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
        metadata: ClientMetadata::default(),
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
        dpop_jkt: Thumbprint::parse("0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"),
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
