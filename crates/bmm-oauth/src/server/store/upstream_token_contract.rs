//! What every store of upstream tokens must do.

use std::sync::Arc;

use super::{Store, UpstreamTokenRow};
use crate::clock::Timestamp;
use crate::verifier::Subject;

/// Part of [`store_contract`](super::store_contract).
///
/// # Panics
///
/// Where the store does not do what [`UpstreamTokenStore`](super::UpstreamTokenStore) says.
pub(super) async fn upstream_tokens_change_one_step_at_a_time(store: &Arc<dyn Store>, racers: usize) {
    let alice = Subject::new("https://id.example#alice");
    let first = row(&alice, 1, 1);
    assert_eq!(store.upstream_token(&alice).await.expect("reads"), None);
    let put = async |row: UpstreamTokenRow| store.put_upstream_token(row).await.expect("writes");
    assert!(!put(row(&alice, 2, 1)).await, "there is no revision 1 before it");
    assert!(put(first.clone()).await);
    assert!(!put(first.clone()).await, "it is there already");
    assert_eq!(
        store.upstream_token(&alice).await.expect("reads"),
        Some(first.clone())
    );

    for generation in [0, 3, 9] {
        let stranger = row(&alice, 2, generation);
        assert!(!put(stranger).await, "it follows on other tokens than these");
    }

    // One row, many replicas that start from it.
    let racers: Vec<_> = (0..racers)
        .map(|_| {
            let (store, row) = (Arc::clone(store), row(&alice, 2, 2));
            tokio::spawn(async move { store.put_upstream_token(row).await.expect("writes") })
        })
        .collect();
    let mut won = 0;
    for racer in racers {
        won += u32::from(racer.await.expect("no racer panics"));
    }
    assert_eq!(won, 1, "one of them gets its change in");

    let leased = UpstreamTokenRow {
        sealed: "sealed before a key rotation".to_owned(),
        lease_until: Some(Timestamp::from_secs(70)),
        needs_sign_in: true,
        upstream: "other".to_owned(),
        ..row(&alice, 3, 2)
    };
    assert!(put(leased.clone()).await);
    let stands = store.upstream_token(&alice).await.expect("reads");
    let expected = UpstreamTokenRow {
        sealed: row(&alice, 2, 2).sealed,
        ..leased
    };
    assert_eq!(
        stands,
        Some(expected),
        "what is sealed changes with the generation only"
    );

    let bob = Subject::new("https://id.example#bob");
    let ends_later = UpstreamTokenRow {
        ends_at: Timestamp::from_secs(2_000),
        ..row(&bob, 1, 1)
    };
    assert!(put(ends_later).await);
    let swept = store
        .sweep_upstream_tokens(Timestamp::from_secs(1_000), 100)
        .await;
    assert_eq!(swept.expect("sweeps"), 1);
    assert_eq!(store.upstream_token(&alice).await.expect("reads"), None);
    assert!(put(first).await, "a removed row starts again");
    store.remove_upstream_token(&alice).await.expect("removes");
    store.remove_upstream_token(&bob).await.expect("removes");
    assert_eq!(store.upstream_token(&bob).await.expect("reads"), None);
}

fn row(subject: &Subject, revision: u64, generation: u64) -> UpstreamTokenRow {
    UpstreamTokenRow {
        subject: subject.clone(),
        upstream: "id".to_owned(),
        revision,
        generation,
        sealed: format!("sealed {generation}"),
        lease_until: None,
        needs_sign_in: false,
        ends_at: Timestamp::from_secs(1_000),
    }
}
