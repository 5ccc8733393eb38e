//! Clients that hang up: the server drops the request's future wherever it is. What was begun must not stay half done.

use std::collections::HashSet;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::body::Body;
use bmm_oauth::{EventKind, SecretHash, SqlStore, Timestamp};
use http::{Request, header};
use tokio::time::Instant;

use crate::app::*;

/// More steps than any of these requests takes.
const MAX_STEPS: usize = 20;

/// A store that takes its time for each step, as a database does.
async fn app() -> (App, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let store = SqlStore::open(&folder.path().join("auth.db")).await.unwrap();
    store.migrate().await.unwrap();
    (App::on(Arc::new(store), |_| {}), folder)
}

/// Drops `work` when it has been polled so many times and would be polled again. Says whether it came to its end before.
async fn hang_up_after(polls: usize, work: impl Future) -> bool {
    let (mut work, mut left) = (pin!(work), polls);
    poll_fn(move |context| {
        if left == 0 {
            return Poll::Ready(false);
        }
        left -= 1;
        work.as_mut().poll(context).map(|_| true)
    })
    .await
}

async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !holds().await {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn revoked_grants(app: &App, known: &mut HashSet<String>) {
    let events = app.events.take().into_iter();
    let revoked = events.filter(|event| event.kind == EventKind::GrantRevoked);
    known.extend(revoked.filter_map(|event| event.grant_id));
}

#[tokio::test]
async fn a_revocation_that_has_begun_is_told_although_nobody_waits_for_it() {
    let (app, _folder) = app().await;
    for steps in 1..=MAX_STEPS {
        let grant = format!("grant {steps}");
        let done = hang_up_after(steps, app.server.revoke_grant(&grant)).await;
        let mut told = HashSet::new();
        eventually("the revocation is told", async || {
            revoked_grants(&app, &mut told);
            told.contains(&grant)
        })
        .await;
        assert!(app.store.is_revoked(&grant).await.unwrap());
        if done {
            return;
        }
    }
    panic!("it never came to its end");
}

#[tokio::test]
async fn a_client_that_hangs_up_is_removed_with_its_grants_or_not_at_all() {
    let (app, _folder) = app().await;
    for steps in 1..=MAX_STEPS {
        let document = app
            .register(serde_json::json!({ "redirect_uris": [REDIRECT] }))
            .await;
        let document = document.json();
        let client = Registered {
            id: document["client_id"].as_str().unwrap().to_owned(),
            secret: None,
        };
        let token = document["registration_access_token"].as_str().unwrap();
        let (first, second) = (app.tokens(&client).await.0, app.tokens(&client).await.0);
        let grants = [grant_of(&first), grant_of(&second)];
        let request = Request::delete(format!("/oauth/register/{}", client.id))
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .body(Body::empty())
            .unwrap();
        let mut told = HashSet::new();
        let done = hang_up_after(steps, app.send(request)).await;
        // One more write, behind whatever was begun.
        app.server
            .revoke_grant(&format!("another {steps}"))
            .await
            .unwrap();
        if app.store.client(&client.id).await.unwrap().is_none() {
            eventually("its grants are revoked, and that is told", async || {
                revoked_grants(&app, &mut told);
                grants.iter().all(|grant| told.contains(grant))
            })
            .await;
            for grant in &grants {
                assert!(app.store.is_revoked(grant).await.unwrap());
            }
        }
        if done {
            assert!(!told.is_empty(), "at last it was removed");
            return;
        }
    }
    panic!("it never came to its end");
}

/// A thief who repeats a spent token and hangs up must not keep the family alive once it was found out.
#[tokio::test]
async fn a_thief_who_hangs_up_does_not_stop_the_end_of_the_family() {
    let (app, _folder) = app().await;
    let client = app.client().await;
    let mut ends = 0;
    for steps in (1..=24).cycle().take(72) {
        let (access, spent) = app.tokens(&client).await;
        app.refresh(&client, &spent).await;
        app.advance(3600);
        let done = hang_up_after(steps, app.refresh(&client, &spent)).await;
        app.server
            .revoke_grant(&format!("another {steps}"))
            .await
            .unwrap();
        let hash = SecretHash::of(&spent);
        let ended = app
            .store
            .refresh_token(hash, Timestamp::from_secs(0))
            .await
            .unwrap()
            .unwrap()
            .grant
            .revoked;
        let grant = grant_of(&access);
        if ended {
            let mut told = HashSet::new();
            eventually("the end of the family is told", async || {
                revoked_grants(&app, &mut told);
                told.contains(&grant)
            })
            .await;
            let listed = app.store.revocations(0, 1000, Timestamp::from_secs(0)).await;
            assert!(
                listed
                    .unwrap()
                    .revoked
                    .iter()
                    .any(|revoked| revoked.grant_id == grant)
            );
        }
        ends += usize::from(done && ended);
    }
    assert_ne!(ends, 0, "some waited for the answer");
}
