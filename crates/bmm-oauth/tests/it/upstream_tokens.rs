//! The tokens that users bring from upstreams: kept sealed, refreshed by one, never lost.

use std::sync::Arc;
use std::time::Duration;

use bmm_oauth::*;

use crate::app::*;
use crate::upstream_app::*;

fn ada() -> Subject {
    Subject::new("https://id.example#7")
}

/// An application that keeps tokens, and a user who has signed in.
async fn keeping(world: &Arc<World>, store: Arc<dyn Store>) -> App {
    let app = app_with(store, vec![corp(world)], |server| {
        server.with_upstream_tokens(vault())
    });
    let client = app.client().await;
    let reply = Browser::default().sign_in(&app, world, &client, "corp").await;
    assert!(reply.location_parameter("code").is_some());
    app
}

async fn memory(world: &Arc<World>) -> App {
    keeping(world, Arc::new(MemoryStore::new())).await
}

fn refreshes(world: &World) -> u32 {
    world.state.lock().unwrap().refreshes
}

#[tokio::test]
async fn a_host_gets_the_users_token_and_a_fresh_one_before_it_expires() {
    let world = World::new();
    let app = memory(&world).await;
    let first = app.server.upstream_token(&ada()).await.unwrap();
    assert!(first.access_token().starts_with("access-7-"));
    assert_eq!(
        (first.upstream(), first.expires_at()),
        ("corp", Some(Timestamp::from_secs(START + 600)))
    );
    app.advance(539);
    assert_eq!(app.server.upstream_token(&ada()).await.unwrap(), first);
    app.advance(1);
    let second = app.server.upstream_token(&ada()).await.unwrap();
    assert_ne!(second.access_token(), first.access_token());
    assert!(second.generation() > first.generation());
    assert_eq!(refreshes(&world), 1);

    let third = app.server.renew_upstream_token(&ada(), &second).await.unwrap();
    assert_ne!(third, second, "the upstream refused it, so it is renewed early");
    let same = app.server.renew_upstream_token(&ada(), &second).await.unwrap();
    assert_eq!(same, third, "it is renewed once for all who were refused");
    assert_eq!(refreshes(&world), 2);
    let kinds: Vec<_> = app.events.take().iter().map(|event| event.kind).collect();
    assert!(kinds.contains(&EventKind::UpstreamRefreshed));

    app.server.forget_upstream_token(&ada()).await.unwrap();
    assert!(matches!(
        app.server.upstream_token(&ada()).await,
        Err(UpstreamTokenError::NotKept)
    ));
}

#[tokio::test]
async fn without_a_vault_nothing_is_kept() {
    let world = World::new();
    let app = app(&world);
    let client = app.client().await;
    let reply = Browser::default().sign_in(&app, &world, &client, "corp").await;
    assert!(reply.location_parameter("code").is_some());
    assert_eq!(app.store.upstream_token(&ada()).await.unwrap(), None);
    assert!(matches!(
        app.server.upstream_token(&ada()).await,
        Err(UpstreamTokenError::NotKept)
    ));
}

#[tokio::test]
async fn a_grant_that_ended_upstream_needs_a_new_sign_in_and_heals_by_it() {
    let world = World::new();
    let app = memory(&world).await;
    app.advance(600);
    world.state.lock().unwrap().refresh_token = None;
    for _ in 0..3 {
        assert!(matches!(
            app.server.upstream_token(&ada()).await,
            Err(UpstreamTokenError::NeedsSignIn)
        ));
    }
    assert_eq!(refreshes(&world), 1, "the upstream is not asked again");
    world.state.lock().unwrap().twist = Some(Box::new(|_, claims| claims["exp"] = (START + 900).into()));
    let client = app.client().await;
    Browser::default().sign_in(&app, &world, &client, "corp").await;
    assert!(app.server.upstream_token(&ada()).await.is_ok());
}

#[tokio::test]
async fn an_upstream_that_is_away_ends_nothing() {
    let world = World::new();
    let app = memory(&world).await;
    app.advance(570);
    world.state.lock().unwrap().broken = Some(503);
    let token = app.server.upstream_token(&ada()).await.unwrap();
    assert_eq!(
        token.expires_at(),
        Some(Timestamp::from_secs(START + 600)),
        "still good for a while"
    );
    app.advance(30);
    assert!(matches!(
        app.server.upstream_token(&ada()).await,
        Err(UpstreamTokenError::Upstream(_))
    ));
    world.state.lock().unwrap().broken = None;
    assert!(app.server.upstream_token(&ada()).await.is_ok());
}

/// Two replicas on one database, thirty-two callers, one refresh.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_replica_refreshes_while_the_others_wait() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let open = async || {
        let store = SqlStore::open(&folder.path().join("auth.db")).await.unwrap();
        store.migrate().await.unwrap();
        Arc::new(store)
    };
    let vault = vault();
    let keeping = |server: AuthorizationServer| server.with_upstream_tokens(Arc::clone(&vault));
    let one = app_with(open().await, vec![corp(&world)], keeping);
    let two = app_with(open().await, vec![corp(&world)], keeping);
    one_refreshes(&world, one, two).await;
}

pub(crate) async fn one_refreshes(world: &Arc<World>, one: App, two: App) {
    let client = one.client().await;
    Browser::default().sign_in(&one, world, &client, "corp").await;
    one.advance(600);
    two.advance(600);
    let callers: Vec<_> = (0..32)
        .map(|index| {
            let server = if index % 2 == 0 { &one } else { &two }.server.clone();
            tokio::spawn(async move { server.upstream_token(&ada()).await.unwrap() })
        })
        .collect();
    let mut tokens = Vec::new();
    for caller in callers {
        tokens.push(caller.await.unwrap());
    }
    assert_eq!(refreshes(world), 1);
    assert!(tokens.windows(2).all(|pair| pair[0] == pair[1]));
}

#[tokio::test]
async fn a_lease_of_a_replica_that_is_gone_runs_out() {
    let world = World::new();
    let app = memory(&world).await;
    app.advance(600);
    let row = app.store.upstream_token(&ada()).await.unwrap().unwrap();
    let until = app.clock.now().plus(Duration::from_secs(60));
    let leased = UpstreamTokenRow {
        revision: row.revision + 1,
        lease_until: Some(until),
        ..row
    };
    assert!(app.store.put_upstream_token(leased).await.unwrap());
    let server = app.server.clone();
    let waiting = tokio::spawn(async move { server.upstream_token(&ada()).await });
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert_eq!(refreshes(&world), 0, "somebody may be at it");
    app.advance(60);
    assert!(waiting.await.unwrap().is_ok());
    assert_eq!(refreshes(&world), 1);
}

/// SQLite holds nothing of a token in the clear, and a row moved to another user does not open.
#[tokio::test]
async fn tokens_are_sealed_for_their_user_and_their_place() {
    let world = World::new();
    let app = memory(&world).await;
    let row = app.store.upstream_token(&ada()).await.unwrap().unwrap();
    assert!(!row.sealed.contains("access-7") && !row.sealed.contains("refresh-7"));
    assert!(!format!("{row:?}").contains(&row.sealed));
    let token = app.server.upstream_token(&ada()).await.unwrap();
    assert!(!format!("{token:?}").contains(token.access_token()));
    let mallory = Subject::new("https://id.example#666");
    for moved in [
        UpstreamTokenRow {
            subject: mallory.clone(),
            revision: 1,
            ..row.clone()
        },
        UpstreamTokenRow {
            subject: mallory.clone(),
            revision: 1,
            generation: 2,
            ..row.clone()
        },
    ] {
        app.store.put_upstream_token(moved).await.unwrap();
        let stolen = app.server.upstream_token(&mallory).await;
        assert!(matches!(stolen, Err(UpstreamTokenError::Store(_))), "{stolen:?}");
        app.store.remove_upstream_token(&mallory).await.unwrap();
    }
    // An older value beside newer numbers.
    let rolled_back = UpstreamTokenRow {
        revision: row.revision + 1,
        generation: row.generation + 1,
        ..row
    };
    assert!(app.store.put_upstream_token(rolled_back).await.unwrap());
    assert!(matches!(
        app.server.upstream_token(&ada()).await,
        Err(UpstreamTokenError::Store(_))
    ));
}

#[tokio::test]
async fn tokens_go_when_no_grant_can_be_left() {
    let world = World::new();
    let app = memory(&world).await;
    app.advance(90 * 24 * 3600);
    app.server.sweep().await.unwrap();
    assert!(app.store.upstream_token(&ada()).await.unwrap().is_some());
    app.advance(60);
    app.server.sweep().await.unwrap();
    assert_eq!(app.store.upstream_token(&ada()).await.unwrap(), None);
}

/// The vault's keys are rotated under a running server: its sweep knows where these values belong.
#[tokio::test]
async fn a_rotation_of_the_vaults_keys_reseals_what_is_kept() {
    use bmm_vault::{LocalKek, SqlConfig, SqlVault, SweepConfig, Sweeper, VaultDb};
    let now = std::time::UNIX_EPOCH + Duration::from_secs(START);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("auth.db");
    let store = SqlStore::open(&file).await.unwrap();
    store.migrate().await.unwrap();
    let db = VaultDb::open(&file).await.unwrap();
    db.migrate().await.unwrap();
    let kek = Arc::new(LocalKek::from_bytes(zeroize::Zeroizing::new([7; 32])));
    let vault = SqlVault::open(db, kek, SqlConfig::default(), sealed_columns(), now)
        .await
        .unwrap();

    let world = World::new();
    let app = app_with(Arc::new(store), vec![corp(&world)], |server| {
        server.with_upstream_tokens(Arc::clone(vault.vault()))
    });
    let client = app.client().await;
    Browser::default().sign_in(&app, &world, &client, "corp").await;
    let before = app.store.upstream_token(&ada()).await.unwrap().unwrap();
    let token = app.server.upstream_token(&ada()).await.unwrap();

    let next = vault.stage(None, now).await.unwrap();
    vault
        .promote(&next, now + Duration::from_secs(24 * 3600))
        .await
        .unwrap();
    let sweeper = Sweeper::new(&vault, SweepConfig::default());
    let report = sweeper.run(now, |_| {}).await.unwrap();
    assert_eq!((report.moved, report.poison), (1, 0), "{report:?}");
    let after = app.store.upstream_token(&ada()).await.unwrap().unwrap();
    assert_ne!(after.sealed, before.sealed);
    assert_eq!(app.server.upstream_token(&ada()).await.unwrap(), token);
    assert_eq!(refreshes(&world), 0);
}

/// Forgejo says of a refresh token that is spent what others say of a client that they do not let refresh.
#[tokio::test]
async fn an_error_of_the_client_ends_nobodys_grant_except_where_it_means_that() {
    for (upstream, subject, ended) in [
        (corp as fn(&Arc<World>) -> _, "https://id.example#7", false),
        (forgejo, "https://forge.example#7", true),
    ] {
        let world = World::new();
        let upstream = upstream(&world);
        let name = upstream.name().to_owned();
        let app = app_with(Arc::new(MemoryStore::new()), vec![upstream], |server| {
            server.with_upstream_tokens(vault())
        });
        let client = app.client().await;
        Browser::default().sign_in(&app, &world, &client, &name).await;
        app.advance(600);
        world.state.lock().unwrap().refresh_error = Some("unauthorized_client");
        let failed = app.server.upstream_token(&Subject::new(subject)).await;
        match failed {
            Err(UpstreamTokenError::NeedsSignIn) => assert!(ended, "{name}"),
            Err(UpstreamTokenError::Upstream(_)) => assert!(!ended, "{name}"),
            other => panic!("{name}: {other:?}"),
        }
    }
}

/// Google gives a refresh token at the first sign-in only.
#[tokio::test]
async fn a_sign_in_without_a_refresh_token_leaves_the_one_there_is() {
    let world = World::new();
    let app = memory(&world).await;
    world.state.lock().unwrap().no_refresh_token = true;
    let client = app.client().await;
    Browser::default().sign_in(&app, &world, &client, "corp").await;
    let token = app.server.upstream_token(&ada()).await.unwrap();
    assert_eq!(token.access_token(), "access-7-again");
    app.advance(600);
    assert!(app.server.upstream_token(&ada()).await.is_ok());
}

/// The refresh began before: what it brings belongs to tokens that are forgotten.
#[tokio::test]
async fn a_refresh_from_before_the_tokens_were_forgotten_does_not_replace_the_new_ones() {
    for leased in [false, true] {
        let world = World::new();
        let app = memory(&world).await;
        app.advance(600);
        let gate = world.gate.acquire_many(100).await.unwrap();
        let server = app.server.clone();
        let refreshing = tokio::spawn(async move { server.upstream_token(&ada()).await });
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        let before = app.store.upstream_token(&ada()).await.unwrap().unwrap();
        assert!(before.lease_until.is_some(), "it is at the upstream");
        app.server.forget_upstream_token(&ada()).await.unwrap();
        world.state.lock().unwrap().twist = Some(Box::new(|_, claims| claims["exp"] = (START + 900).into()));
        let spent = world.state.lock().unwrap().refresh_token.clone();
        let client = app.client().await;
        Browser::default().sign_in(&app, &world, &client, "corp").await;
        let signed_in = app.store.upstream_token(&ada()).await.unwrap().unwrap();
        assert_ne!(signed_in.generation, before.generation);
        let stands = match leased {
            false => signed_in,
            true => {
                let leased = UpstreamTokenRow {
                    revision: signed_in.revision + 1,
                    ..signed_in
                };
                assert!(app.store.put_upstream_token(leased.clone()).await.unwrap());
                leased
            }
        };
        // The upstream still takes the old refresh token.
        world.state.lock().unwrap().refresh_token = spent;
        drop(gate);
        let _ = refreshing.await.unwrap();
        assert_eq!(refreshes(&world), 1);
        let row = app.store.upstream_token(&ada()).await.unwrap().unwrap();
        assert!(row == stands, "the new tokens stand");
    }
}

#[tokio::test]
async fn a_rotated_refresh_token_outlives_an_answer_that_is_no_use() {
    let world = World::new();
    let app = memory(&world).await;
    app.advance(600);
    world.state.lock().unwrap().refreshed_without = Some("access_token");
    for _ in 0..2 {
        let failed = app.server.upstream_token(&ada()).await;
        assert!(
            matches!(failed, Err(UpstreamTokenError::Upstream(_))),
            "{failed:?}"
        );
    }
    world.state.lock().unwrap().refreshed_without = None;
    let token = app.server.upstream_token(&ada()).await.unwrap();
    assert!(token.access_token().starts_with("access-7-"));
    assert_eq!(refreshes(&world), 3);
}

/// The code is spent and the tokens have replaced those from before: they must not be lost to a userinfo that fails once.
#[tokio::test(start_paused = true)]
async fn a_sign_in_outlives_an_upstream_that_stumbles() {
    let world = World::new();
    let app = app_with(Arc::new(MemoryStore::new()), vec![github(&world)], |server| {
        server.with_upstream_tokens(vault())
    });
    world.state.lock().unwrap().stumbles = 2;
    let client = app.client().await;
    let reply = Browser::default().sign_in(&app, &world, &client, "github").await;
    assert!(reply.location_parameter("code").is_some());
    let subject = Subject::new("https://github.com/login/oauth#7");
    assert!(app.server.upstream_token(&subject).await.is_ok());
}
