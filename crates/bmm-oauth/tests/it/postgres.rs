//! The store on PostgreSQL. Each test makes a database of its own on the server that `BMM_TEST_POSTGRES` names.

use std::sync::Arc;
use std::time::Duration;

use bmm_oauth::{AsConfig, SqlStore, Store, Timestamp, store_contract};
use http::StatusCode;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::app::App;
use crate::upstream_app::{World, app_with, corp, vault};
use crate::upstream_tokens::one_refreshes;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs PostgreSQL: cargo xtask test"]
async fn the_postgres_store_keeps_the_contract() {
    let database = Database::create("contract").await;
    store_contract(Arc::new(database.open().await), 64).await;
}

/// Two replicas, thirty-two callers, one refresh at the upstream.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs PostgreSQL: cargo xtask test"]
async fn on_postgres_one_replica_refreshes_an_upstream_token_while_the_others_wait() {
    let database = Database::create("upstream").await;
    let (world, vault) = (World::new(), vault());
    let replica = async || {
        let store = Arc::new(database.open().await);
        let vault = Arc::clone(&vault);
        app_with(store, vec![corp(&world)], |server| {
            server.with_upstream_tokens(vault)
        })
    };
    let (one, two) = (replica().await, replica().await);
    one_refreshes(&world, one, two).await;
}

/// Replicas that start at once, and one that starts later.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs PostgreSQL: cargo xtask test"]
async fn replicas_may_migrate_at_once() {
    let database = Arc::new(Database::create("migrate").await);
    let starting: Vec<_> = (0..8)
        .map(|_| {
            let database = Arc::clone(&database);
            tokio::spawn(async move { database.open().await })
        })
        .collect();
    let mut epochs = Vec::new();
    for replica in starting {
        let store = replica.await.unwrap();
        epochs.push(
            store
                .revocations(0, 1, Timestamp::from_secs(0))
                .await
                .unwrap()
                .epoch,
        );
    }
    epochs.push(
        database
            .open()
            .await
            .revocations(0, 1, Timestamp::from_secs(0))
            .await
            .unwrap()
            .epoch,
    );
    epochs.dedup();
    assert_eq!(epochs.len(), 1);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: cargo xtask test"]
async fn a_postgres_database_of_a_newer_version_is_refused() {
    let database = Database::create("newer").await;
    drop(database.open().await);
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    connection
        .execute("INSERT INTO oauth_migrations (version) VALUES (99)")
        .await
        .unwrap();
    let store = SqlStore::connect(&database.url).await.unwrap();
    let error = store.migrate().await.unwrap_err();
    assert!(error.to_string().contains("newer version"), "{error}");
}

/// Rotation and revocation of one family at once, over and over: whichever is first, nothing works afterwards, and nobody waits for
/// ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs PostgreSQL: cargo xtask test"]
async fn on_postgres_a_rotation_in_flight_does_not_resurrect_a_revoked_family() {
    let database = Database::create("barrier").await;
    let (one, two) = (
        Arc::new(database.replica().await),
        Arc::new(database.replica().await),
    );
    let client = one.client().await;
    for round in 0..20 {
        let (access, mut refresh) = one.tokens(&client).await;
        let rotating = {
            let (app, client) = (two.clone(), client.clone());
            tokio::spawn(async move {
                let mut tokens = vec![refresh.clone()];
                while let reply = app.refresh(&client, &refresh).await
                    && reply.status == StatusCode::OK
                {
                    refresh = reply.tokens().1;
                    tokens.push(refresh.clone());
                }
                tokens
            })
        };
        tokio::time::sleep(Duration::from_millis(round)).await;
        one.server
            .revoke_grant(&crate::app::grant_of(&access))
            .await
            .unwrap();
        for token in rotating.await.unwrap() {
            two.refresh(&client, &token).await.refused(400, "invalid_grant");
        }
    }
}

/// A database on the test server, for one test.
pub(crate) struct Database {
    pub(crate) url: String,
}

impl Database {
    pub(crate) async fn create(name: &str) -> Self {
        let server = std::env::var("BMM_TEST_POSTGRES").expect("BMM_TEST_POSTGRES names a server");
        let name = format!("bmm_oauth_test_{name}_{}", std::process::id());
        let mut connection = PgConnection::connect(&server).await.unwrap();
        for sql in [
            format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"),
            format!("CREATE DATABASE {name}"),
        ] {
            connection.execute(AssertSqlSafe(sql)).await.unwrap();
        }
        let mut url: url::Url = server.parse().unwrap();
        url.set_path(&name);
        Self { url: url.into() }
    }

    pub(crate) async fn open(&self) -> SqlStore {
        let store = SqlStore::connect(&self.url).await.unwrap();
        store.migrate().await.unwrap();
        store
    }

    /// A server of its own over this database.
    pub(crate) async fn replica(&self) -> App {
        App::on(Arc::new(self.open().await), |_: &mut AsConfig| {})
    }
}

/// A registration that evicts waits for a client's row while that client gets its first token: it is used now, and stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: cargo xtask test"]
async fn a_client_that_is_used_while_it_gives_way_stays() {
    let database = Database::create("evict").await;
    let app = database.replica().await;
    let (first, second) = (app.client().await, app.client().await);
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    connection.execute("BEGIN").await.unwrap();
    sqlx::query("UPDATE oauth_clients SET used_at = 1 WHERE id = $1")
        .bind(&first.id)
        .execute(&mut connection)
        .await
        .unwrap();
    let new = app.store.client(&second.id).await.unwrap().unwrap();
    let new = bmm_oauth::Client {
        id: "new".to_owned(),
        created_at: Timestamp::from_secs(1_900_000_000),
        ..new
    };
    let store = Arc::clone(&app.store);
    let evicting = tokio::spawn(async move { store.put_client(new, 1).await });
    let waits = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    let mut observer = PgConnection::connect(&database.url).await.unwrap();
    loop {
        let waiting: i64 = sqlx::query_scalar(waits).fetch_one(&mut observer).await.unwrap();
        if waiting > 0 {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "it waits for the row");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    connection.execute("COMMIT").await.unwrap();
    evicting.await.unwrap().unwrap();
    assert!(app.store.client(&first.id).await.unwrap().is_some(), "it is used");
    assert!(
        app.store.client(&second.id).await.unwrap().is_none(),
        "it gave way"
    );
}
