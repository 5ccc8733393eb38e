//! A verifier in another process learns of revoked grants in time, and refuses when it cannot. The timer is paused: each of these
//! tests takes no time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bmm_oauth::*;
use bytes::Bytes;
use serde_json::json;
use tokio::sync::Notify;
use tokio::time::{advance, sleep};

use crate::app::*;
use crate::jwks::{Remote, jwks, token_for};

/// The feed's other end: a long poll of 20 s, as the authorization server answers it.
#[derive(Default)]
struct Issuer {
    feed: Mutex<Feed>,
    news: Notify,
}

#[derive(Default)]
struct Feed {
    epoch: u32,
    /// Number, grant, and until when.
    revoked: BTreeMap<u64, (String, u64)>,
    away: bool,
    answers: usize,
    asked_after: Vec<Option<u64>>,
}

impl Issuer {
    fn revoke(&self, grant: &str, until: u64) {
        let mut feed = self.feed.lock().unwrap();
        let next = feed.revoked.keys().last().copied().unwrap_or_default() + 1;
        feed.revoked.insert(next, (grant.to_owned(), until));
        drop(feed);
        self.news.notify_waiters();
    }

    fn set_away(&self, away: bool) {
        self.feed.lock().unwrap().away = away;
        self.news.notify_waiters();
    }

    fn fetch(self: &Arc<Self>) -> FetchRevocations {
        let issuer = Arc::clone(self);
        Arc::new(move |after| {
            let issuer = Arc::clone(&issuer);
            Box::pin(async move {
                issuer.feed.lock().unwrap().asked_after.push(after);
                if issuer.nothing_since(after) {
                    let _ = tokio::time::timeout(Duration::from_secs(20), issuer.news.notified()).await;
                }
                issuer.answer(after)
            })
        })
    }

    fn nothing_since(&self, after: Option<u64>) -> bool {
        let feed = self.feed.lock().unwrap();
        let last = feed.revoked.keys().last().copied().unwrap_or_default();
        // Who knows nothing yet hears at once that there is nothing.
        !feed.away && Some(last) == after
    }

    fn answer(&self, after: Option<u64>) -> Result<Bytes, BoxError> {
        let mut feed = self.feed.lock().unwrap();
        if feed.away {
            return Err("away".into());
        }
        feed.answers += 1;
        let revoked: Vec<_> = feed
            .revoked
            .range(after.map_or(0, |after| after + 1)..)
            .map(|(_, (grant, until))| json!({ "grant_id": grant, "until": until }))
            .collect();
        let next = feed.revoked.keys().last().copied().unwrap_or_default();
        let answer = json!({ "epoch": format!("epoch {}", feed.epoch), "next": next, "revoked": revoked });
        Ok(Bytes::from(answer.to_string()))
    }
}

struct World {
    app: App,
    issuer: Arc<Issuer>,
    feed: RevocationFeed,
    verifier: Arc<JwksVerifier>,
}

impl World {
    /// With a feed that is not followed yet.
    fn new() -> Self {
        let app = App::new();
        let issuer = Arc::<Issuer>::default();
        let feed = RevocationFeed::with_clock(issuer.fetch(), Arc::new(app.clock.clone()));
        let verifier =
            Remote::new(jwks(&app)).verifier_with(&app, |verifier| verifier.with_revocations(feed.clone()));
        Self {
            app,
            issuer,
            feed,
            verifier,
        }
    }

    fn following() -> Self {
        let world = Self::new();
        tokio::spawn(world.feed.clone().follow());
        world
    }

    async fn verify(&self, token: &str) -> Result<(), &'static str> {
        match self.verifier.verify(token).await {
            Ok(_) => Ok(()),
            Err(VerifyError::Invalid(reason)) => Err(reason),
            Err(VerifyError::Unavailable(_)) => Err("unavailable"),
            Err(_) => Err("?"),
        }
    }

    fn later(&self, seconds: u64) -> u64 {
        self.app.clock.now().as_secs() + seconds
    }
}

#[tokio::test(start_paused = true)]
async fn a_revoked_grant_is_refused_within_five_seconds_cached_or_not() {
    let world = World::following();
    let (cached, uncached) = (token_for(&world.app, 3600), token_for(&world.app, 3600));
    assert_eq!(world.verify(&cached).await, Ok(()));
    for wait in [0, 7, 33] {
        sleep(Duration::from_secs(wait)).await;
        assert_eq!(world.verify(&cached).await, Ok(()), "after {wait} s");
    }
    world.issuer.revoke("grant", world.later(3600));
    sleep(Duration::from_secs(5)).await;
    assert_eq!(world.verify(&cached).await, Err("the grant is revoked"));
    assert_eq!(world.verify(&uncached).await, Err("the grant is revoked"));
}

#[tokio::test(start_paused = true)]
async fn a_feed_lost_for_a_minute_fails_closed_and_recovers() {
    let world = World::following();
    world.issuer.revoke("other", world.later(3600));
    let token = token_for(&world.app, 3600);
    assert_eq!(world.verify(&token).await, Ok(()));
    world.issuer.set_away(true);
    sleep(Duration::from_secs(59)).await;
    assert_eq!(
        world.verify(&token).await,
        Ok(()),
        "for a while what is known will do"
    );
    sleep(Duration::from_secs(2)).await;
    assert_eq!(world.verify(&token).await, Err("unavailable"));
    assert!(!world.feed.is_live());
    // What was revoked meanwhile is refused from the first moment on.
    world.issuer.revoke("grant", world.later(3600));
    world.issuer.set_away(false);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(world.verify(&token).await, Err("the grant is revoked"));
    assert!(world.feed.is_live());
}

/// An answer that never comes is as good as none.
#[tokio::test(start_paused = true)]
async fn a_feed_that_hangs_is_lost_as_well() {
    let app = App::new();
    let issuer = Arc::<Issuer>::default();
    let first = issuer.fetch();
    let asked = Arc::new(Mutex::new(0));
    let count = Arc::clone(&asked);
    let fetch: FetchRevocations = Arc::new(move |after| {
        let mut asked = count.lock().unwrap();
        *asked += 1;
        if *asked == 1 {
            first(after)
        } else {
            Box::pin(std::future::pending())
        }
    });
    let feed = RevocationFeed::with_clock(fetch, Arc::new(app.clock.clone()));
    tokio::spawn(feed.clone().follow());
    sleep(Duration::from_secs(1)).await;
    assert!(feed.is_live());
    sleep(Duration::from_secs(60)).await;
    assert!(!feed.is_live());
    assert!(*asked.lock().unwrap() > 2, "it is asked again");
}

#[tokio::test(start_paused = true)]
async fn without_the_first_answer_nothing_is_accepted() {
    let world = World::new();
    let token = token_for(&world.app, 3600);
    assert_eq!(world.verify(&token).await, Err("unavailable"), "nobody follows");
    world.issuer.set_away(true);
    tokio::spawn(world.feed.clone().follow());
    assert_eq!(world.verify(&token).await, Err("unavailable"));
    world.issuer.set_away(false);
    assert_eq!(
        world.verify(&token).await,
        Ok(()),
        "a request waits a little for it"
    );
}

/// The follower was dropped, or its task died: nothing may go on as if nothing had happened.
#[tokio::test(start_paused = true)]
async fn a_feed_that_nobody_follows_any_more_fails_closed() {
    let world = World::new();
    let follower = tokio::spawn(world.feed.clone().follow());
    let token = token_for(&world.app, 3600);
    assert_eq!(world.verify(&token).await, Ok(()));
    follower.abort();
    advance(Duration::from_secs(61)).await;
    assert_eq!(world.verify(&token).await, Err("unavailable"));
}

/// A store that was restored from a backup counts anew: what it says after our number is not all that it says.
#[tokio::test(start_paused = true)]
async fn a_changed_epoch_starts_again() {
    let world = World::following();
    for n in 0..5 {
        world.issuer.revoke(&format!("old {n}"), world.later(3600));
    }
    let token = token_for(&world.app, 3600);
    assert_eq!(world.verify(&token).await, Ok(()));
    sleep(Duration::from_secs(1)).await;
    {
        let mut feed = world.issuer.feed.lock().unwrap();
        feed.epoch += 1;
        feed.asked_after.clear();
        feed.revoked = (1..=9)
            .map(|n| {
                (
                    n,
                    (
                        if n == 1 {
                            "grant".to_owned()
                        } else {
                            format!("new {n}")
                        },
                        u64::MAX,
                    ),
                )
            })
            .collect();
    }
    world.issuer.news.notify_waiters();
    sleep(Duration::from_secs(2)).await;
    assert_eq!(world.verify(&token).await, Err("the grant is revoked"));
    let asked = world.issuer.feed.lock().unwrap().asked_after.clone();
    assert_eq!(asked.first(), Some(&None), "{asked:?}");
    assert_eq!(world.feed.known_grants(), 5 + 9, "what was revoked stays so");
}

#[tokio::test(start_paused = true)]
async fn what_is_known_ends_with_the_last_token_of_the_grant() {
    let world = World::following();
    for n in 0..100 {
        world.issuer.revoke(&format!("grant {n}"), world.later(10));
    }
    world.issuer.revoke("gone already", world.later(0));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(world.feed.known_grants(), 100);
    world.app.advance(10);
    sleep(Duration::from_secs(90)).await;
    assert_eq!(world.feed.known_grants(), 0);
    assert!(world.feed.is_live());
}

/// Each of these answers comes at once: neither side may be kept busy by it, and none of them counts as news.
#[tokio::test(start_paused = true)]
async fn a_feed_that_talks_nonsense_is_lost_and_is_not_asked_in_a_loop() {
    for nonsense in [
        "",
        "{}",
        "[]",
        "<html>",
        r#"{"epoch":"a","next":"1","revoked":[]}"#,
        r#"{"epoch":"a","next":1,"revoked":[{"grant_id":1,"until":2}]}"#,
    ] {
        let asked = Arc::new(Mutex::new(0));
        let count = Arc::clone(&asked);
        let fetch: FetchRevocations = Arc::new(move |_| {
            *count.lock().unwrap() += 1;
            Box::pin(std::future::ready(Ok(Bytes::from_static(nonsense.as_bytes()))))
        });
        let feed = RevocationFeed::new(fetch);
        tokio::spawn(feed.clone().follow());
        sleep(Duration::from_secs(10)).await;
        assert!(!feed.is_live(), "{nonsense}");
        assert!(*asked.lock().unwrap() <= 11, "{nonsense}");
    }
}

/// With the feed that the authorization server serves, from a start without any revocations.
#[tokio::test(start_paused = true)]
async fn a_remote_verifier_follows_the_servers_own_feed() {
    let app = Arc::new(App::new());
    let served = Arc::clone(&app);
    let fetch: FetchRevocations = Arc::new(move |after| {
        let app = Arc::clone(&served);
        let query = after.map(|after| format!("?after={after}")).unwrap_or_default();
        Box::pin(async move {
            let reply = app.get(&format!("/oauth/revocations{query}")).await;
            Ok(Bytes::from(reply.body))
        })
    });
    let feed = RevocationFeed::with_clock(fetch, Arc::new(app.clock.clone()));
    tokio::spawn(feed.clone().follow());
    let verifier =
        Remote::new(jwks(&app)).verifier_with(&app, |verifier| verifier.with_revocations(feed.clone()));
    let client = app.client().await;
    let (token, refresh) = app.tokens(&client).await;
    let began = tokio::time::Instant::now();
    let info = verifier.verify(&token).await.unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "the first answer comes at once"
    );
    sleep(Duration::from_secs(100)).await;
    verifier.verify(&token).await.unwrap();
    app.server.revoke_grant(info.grant_id()).await.unwrap();
    sleep(Duration::from_secs(5)).await;
    assert!(matches!(
        verifier.verify(&token).await,
        Err(VerifyError::Invalid("the grant is revoked"))
    ));
    app.refresh(&client, &refresh).await.refused(400, "invalid_grant");
    // More than a page of them, for a verifier that starts now.
    for n in 0..2500 {
        app.server.revoke_grant(&format!("grant {n}")).await.unwrap();
    }
    sleep(Duration::from_secs(1)).await;
    assert_eq!(feed.known_grants(), 2501);
}
