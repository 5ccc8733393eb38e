//! Both stores keep the same contract, and SQLite keeps it across a restart.

use std::sync::Arc;

use bmm_oauth::{
    AsConfig, AuthorizationCode, AuthorizationRequest, Grant, MemoryStore, NewRefresh, Redemption, Scopes,
    SecretHash, SqlStore, Store, Subject, Timestamp, store_contract,
};
use http::StatusCode;

use crate::app::App;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_memory_store_keeps_the_contract() {
    store_contract(Arc::new(MemoryStore::new()), 64).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_sqlite_store_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).await;
    store_contract(Arc::new(store), 64).await;
}

/// Writes share commits; a failed one is undone alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_write_that_fails_spoils_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).await;
    store.put_code(hash(0), code(0)).await.unwrap();
    let writers: Vec<_> = (0..100)
        .map(|index| {
            let store = store.clone();
            // Every other one has a key that is taken.
            let key = if index % 2 == 0 { 0 } else { index };
            tokio::spawn(async move { store.put_code(hash(key), code(index)).await.is_ok() })
        })
        .collect();
    for (index, writer) in writers.into_iter().enumerate() {
        assert_eq!(writer.await.unwrap(), index % 2 == 1, "write {index}");
    }
    for index in (1..100).step_by(2) {
        let kept = store.code(hash(index)).await.unwrap().unwrap();
        assert_eq!(kept, code(index));
    }
    assert_eq!(store.code(hash(0)).await.unwrap().unwrap(), code(0));
}

/// A step of several statements that fails at its last one.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_step_that_fails_is_undone_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).await;
    let (now, later) = (
        Timestamp::from_secs(1_800_000_000),
        Timestamp::from_secs(1_900_000_000),
    );
    let redeem = |index: usize, id: &str| {
        let refresh = NewRefresh {
            hash: hash(1000 + index),
            expires_at: later,
        };
        let grant = Grant {
            id: id.to_owned(),
            client_id: "client".to_owned(),
            subject: Subject::new("alice"),
            resource: crate::app::RESOURCE.parse().unwrap(),
            scopes: Scopes::empty(),
            expires_at: later,
            revoked: false,
        };
        store.redeem_code(hash(index), grant, refresh, now)
    };
    for index in 0..2 {
        store.put_code(hash(index), code(index)).await.unwrap();
    }
    redeem(0, "taken").await.unwrap();
    let (others, failed) = tokio::join!(
        async { tokio::join!(store.put_code(hash(2), code(2)), store.put_code(hash(3), code(3))) },
        redeem(1, "taken"),
    );
    assert!(failed.is_err(), "the grant's id is taken");
    assert!(others.0.is_ok() && others.1.is_ok());
    assert_eq!(
        store
            .refresh_token(hash(1001), Timestamp::from_secs(0))
            .await
            .unwrap(),
        None
    );
    assert_eq!(redeem(1, "fresh").await.unwrap(), Redemption::Redeemed);
}

/// On a shutdown every write is either done or refused, and its caller knows which.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn closing_a_store_loses_no_write_silently() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).await;
    let writers: Vec<_> = (0..500)
        .map(|index| {
            let store = store.clone();
            tokio::spawn(async move { store.put_code(hash(index), code(index)).await.is_ok() })
        })
        .collect();
    tokio::task::yield_now().await;
    store.close().await;
    let error = store.put_code(hash(1000), code(1000)).await.unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("writer has ended"), "{source}");
    let again = open(&folder).await;
    for (index, writer) in writers.into_iter().enumerate() {
        let (answered, kept) = (writer.await.unwrap(), again.code(hash(index)).await.unwrap());
        assert_eq!(answered, kept.is_some(), "write {index}");
    }
}

/// The writer is a task of the runtime that opened the store.
#[test]
fn a_store_whose_runtime_has_ended_refuses_to_write() {
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let folder = tempfile::tempdir().unwrap();
    let first = runtime();
    let store = first.block_on(open(&folder));
    first.block_on(store.put_code(hash(0), code(0))).unwrap();
    drop(first);
    let error = runtime().block_on(store.put_code(hash(1), code(1))).unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(source, "the database's writer has ended; nothing was written");
}

/// Nobody waits for these writes, and nobody holds the store any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writes_that_were_queued_outlive_the_last_handle() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).await;
    for index in 0..100 {
        let mut write = store.put_code(hash(index), code(index));
        let pending = std::future::poll_fn(|context| std::task::Poll::Ready(write.as_mut().poll(context)));
        assert!(pending.await.is_pending(), "it is queued, not done");
    }
    drop(store);
    let again = open(&folder).await;
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    while again.code(hash(99)).await.unwrap().is_none() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "the queued writes are done"
        );
        tokio::task::yield_now().await;
    }
    for index in 0..100 {
        assert!(again.code(hash(index)).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn a_url_of_no_known_database_is_refused() {
    for url in ["", "mysql://host/db", "auth.db"] {
        assert!(SqlStore::connect(url).await.is_err(), "{url}");
    }
}

#[tokio::test]
async fn a_sqlite_store_remembers_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (client, refresh) = {
        let app = App::on(Arc::new(open(&folder).await), |_| {});
        let client = app.client().await;
        let (_, refresh) = app.tokens(&client).await;
        (client, refresh)
    };
    let app = App::on(Arc::new(open(&folder).await), |_| {});
    assert_eq!(app.refresh(&client, &refresh).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(&folder).await);
    let url = format!("sqlite://{}", folder.path().join("auth.db").display());
    let pool = sqlx::SqlitePool::connect(&url).await.unwrap();
    sqlx::query("INSERT INTO oauth_migrations (version) VALUES (99)")
        .execute(&pool)
        .await
        .unwrap();
    pool.close().await;
    let error = SqlStore::connect(&url)
        .await
        .unwrap()
        .migrate()
        .await
        .unwrap_err();
    assert!(error.to_string().contains("newer version"), "{error}");
}

/// A leaked database holds nothing that can be presented.
#[tokio::test]
async fn no_secret_is_stored_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let app = App::on(Arc::new(open(&folder).await), |_| {});
    let metadata = serde_json::json!({
        "redirect_uris": [crate::app::REDIRECT], "token_endpoint_auth_method": "client_secret_post",
    });
    let client = app.client_with(metadata).await;
    let page = app.consent_page(&client).await;
    let code = app
        .decide(&page, "allow")
        .await
        .location_parameter("code")
        .unwrap();
    let (access, refresh) = app.exchange(&client, &code).await.tokens();
    let cookie = page.cookie.split_once('=').unwrap().1.to_owned();
    let secrets = [client.secret.unwrap(), page.handle, cookie, code, access, refresh];
    let mut files = 0;
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        files += 1;
        for secret in &secrets {
            assert!(
                !bytes
                    .windows(secret.len())
                    .any(|window| window == secret.as_bytes()),
                "a secret stands in the database"
            );
        }
    }
    assert!(files >= 1);
}

#[tokio::test]
async fn requests_sweep_what_has_ended() {
    let store = MemoryStore::new();
    let app = App::on(Arc::new(store.clone()), |config: &mut AsConfig| {
        config.unused_client_ttl = std::time::Duration::from_secs(100)
    });
    let abandoned = app.client().await;
    let page = app.consent_page(&abandoned).await;
    app.advance(3600);
    app.client().await;
    assert_eq!(store.client(&abandoned.id).await.unwrap(), None);
    assert_eq!(
        store
            .sweep(Timestamp::from_secs(u64::MAX), Timestamp::from_secs(0), 100)
            .await
            .unwrap(),
        0,
        "{}",
        page.handle
    );
}

/// Whoever stays signed in for months never authorizes again, and every refresh adds a row.
#[tokio::test]
async fn refreshes_sweep_what_has_ended() {
    let store = MemoryStore::new();
    let app = App::on(Arc::new(store.clone()), |_| {});
    let client = app.client().await;
    let page = app.consent_page(&client).await;
    let (_, refresh) = app.tokens(&client).await;
    app.advance(3600);
    assert_eq!(app.refresh(&client, &refresh).await.status, StatusCode::OK);
    assert_eq!(ended(&store).await, 0, "{}", page.handle);
}

/// A flood adds more in a minute than one sweep takes away.
#[tokio::test]
async fn a_sweep_that_is_not_done_goes_on_with_the_next_request() {
    let store = MemoryStore::new();
    let app = App::on(Arc::new(store.clone()), |_| {});
    let client = app.client().await;
    for _ in 0..250 {
        app.consent_page(&client).await;
    }
    app.advance(3600);
    for _ in 0..3 {
        app.consent_page(&client).await;
    }
    assert_eq!(ended(&store).await, 0);
}

/// How many rows are left that ended before the hour of these tests was over.
async fn ended(store: &MemoryStore) -> u64 {
    let (end, never) = (Timestamp::from_secs(1_800_003_600), Timestamp::from_secs(0));
    store.sweep(end, never, 1000).await.unwrap()
}

async fn open(folder: &tempfile::TempDir) -> SqlStore {
    let store = SqlStore::open(&folder.path().join("auth.db")).await.unwrap();
    store.migrate().await.unwrap();
    store
}

fn hash(index: usize) -> SecretHash {
    SecretHash::of(&format!("code {index}"))
}

fn code(index: usize) -> AuthorizationCode {
    AuthorizationCode {
        request: AuthorizationRequest {
            client_id: "client".to_owned(),
            redirect_uri: crate::app::REDIRECT.to_owned(),
            redirect_uri_was_sent: true,
            state: None,
            code_challenge: crate::app::CHALLENGE.to_owned(),
            resource: crate::app::RESOURCE.parse().unwrap(),
            scopes: Scopes::empty(),
            dpop_jkt: None,
        },
        subject: Subject::new("alice"),
        grant_id: format!("grant {index}"),
        expires_at: Timestamp::from_secs(1_900_000_000),
    }
}
