//! Both stores keep the same contract, and SQLite keeps it across a restart.

use std::sync::Arc;

use bmm_oauth::{AsConfig, MemoryStore, SqlStore, Store, Timestamp, store_contract};
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

/// Two processes on one file, as after an overlapping restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_sqlite_stores_on_one_file_agree_on_one_winner() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (
        App::on(Arc::new(open(&folder).await), |_| {}),
        App::on(Arc::new(open(&folder).await), |_| {}),
    );
    let (one, two) = (Arc::new(one), Arc::new(two));
    let client = one.client().await;
    let (_, refresh) = one.tokens(&client).await;
    let racers: Vec<_> = (0..16)
        .map(|index| {
            let app = Arc::clone(if index % 2 == 0 { &one } else { &two });
            let (client, refresh) = (client.clone(), refresh.clone());
            tokio::spawn(async move { app.refresh(&client, &refresh).await.status })
        })
        .collect();
    let mut won = 0;
    for racer in racers {
        won += usize::from(racer.await.unwrap() == StatusCode::OK);
    }
    assert_eq!(won, 1);
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
