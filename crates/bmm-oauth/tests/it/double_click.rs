//! Clients refresh twice at once: two windows, a double click, a proxy that repeats. Nobody is signed out by it, and no family gets two successors.

use std::sync::Arc;

use bmm_oauth::{SqlStore, Store};
use http::StatusCode;
use tokio::sync::Semaphore;

use crate::app::*;
use crate::postgres::Database;

const ROUNDS: usize = 5;
/// Families that refresh at the same time.
const AT_ONCE: usize = 64;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn double_clicks_on_sqlite_sign_nobody_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("auth.db");
    let store = SqlStore::open(&path).await.unwrap();
    store.migrate().await.unwrap();
    let app = Arc::new(App::on(Arc::new(store), |_| {}));
    double_click([app.clone(), app]).await;
    let pool = sqlx::SqlitePool::connect(&format!("sqlite://{}", path.display()))
        .await
        .unwrap();
    let per_family: Vec<(i64,)> = sqlx::query_as(SUCCESSORS).fetch_all(&pool).await.unwrap();
    every_family_has_one_line(per_family);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs PostgreSQL: cargo xtask test"]
async fn double_clicks_on_two_replicas_over_postgres_sign_nobody_out() {
    let database = Database::create("double_click").await;
    let replicas = [
        Arc::new(database.replica().await),
        Arc::new(database.replica().await),
    ];
    double_click(replicas).await;
    let pool = sqlx::PgPool::connect(&database.url).await.unwrap();
    let per_family: Vec<(i64,)> = sqlx::query_as(SUCCESSORS).fetch_all(&pool).await.unwrap();
    every_family_has_one_line(per_family);
}

/// The memory store has no rows to count; what its clients hear is judged all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn double_clicks_in_memory_sign_nobody_out() {
    let store: Arc<dyn Store> = Arc::new(bmm_oauth::MemoryStore::new());
    let replica = || Arc::new(App::on(Arc::clone(&store), |_| {}));
    double_click([replica(), replica()]).await;
}

const SUCCESSORS: &str = "SELECT COUNT(*) FROM oauth_refresh_tokens GROUP BY grant_id";

fn every_family_has_one_line(per_family: Vec<(i64,)>) {
    assert_eq!(per_family.len(), families());
    let double = per_family.iter().filter(|(tokens,)| *tokens != ROUNDS as i64 + 1);
    assert_eq!(double.count(), 0, "double successors");
}

fn families() -> usize {
    match std::env::var("BMM_SCALE").as_deref() {
        Ok("prove") => 1000,
        _ => 100,
    }
}

/// Every family refreshes a few times; every tenth refresh is sent twice at once, to two replicas.
async fn double_click(replicas: [Arc<App>; 2]) {
    let client = replicas[0].client().await;
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let walks: Vec<_> = (0..families())
        .map(|family| {
            let (replicas, client, places) = (replicas.clone(), client.clone(), places.clone());
            tokio::spawn(async move {
                let _place = places.acquire().await.unwrap();
                let (_, mut refresh) = replicas[0].tokens(&client).await;
                let (mut duplicates, mut signed_out, mut differing) = (0, 0, 0);
                for round in 0..ROUNDS {
                    let [here, there] = [&replicas[round % 2], &replicas[(round + 1) % 2]];
                    let first = here.refresh(&client, &refresh);
                    let answer = if (family + round) % 10 == 0 {
                        duplicates += 1;
                        let (first, second) = tokio::join!(first, there.refresh(&client, &refresh));
                        signed_out += usize::from(second.status != StatusCode::OK);
                        differing += usize::from(first.body != second.body);
                        second
                    } else {
                        first.await
                    };
                    signed_out += usize::from(answer.status != StatusCode::OK);
                    if answer.status == StatusCode::OK {
                        refresh = answer.tokens().1;
                    }
                }
                (duplicates, signed_out, differing)
            })
        })
        .collect();
    let mut total = (0, 0, 0);
    for walk in walks {
        let (duplicates, signed_out, differing) = walk.await.unwrap();
        total = (total.0 + duplicates, total.1 + signed_out, total.2 + differing);
    }
    let refreshes = families() * ROUNDS;
    assert_eq!(
        total,
        (refreshes / 10, 0, 0),
        "(duplicates, wrongful logouts, differing answers)"
    );
}

/// The replica that rotated has a clock that lags, or that is fast, by a minute.
#[tokio::test]
async fn replicas_whose_clocks_are_a_minute_apart_sign_nobody_out() {
    let store: Arc<dyn Store> = Arc::new(bmm_oauth::MemoryStore::new());
    let (lags, leads) = (App::on(Arc::clone(&store), |_| {}), App::on(store, |_| {}));
    leads.advance(60);
    let client = lags.client().await;
    for [first, second] in [[&lags, &leads], [&leads, &lags]] {
        let (_, refresh) = first.tokens(&client).await;
        let answer = first.refresh(&client, &refresh).await;
        second.advance(30);
        let again = second.refresh(&client, &refresh).await;
        assert_eq!((again.status, &again.body), (StatusCode::OK, &answer.body));
        first.advance(30);
        let next = answer.tokens().1;
        assert_eq!(first.refresh(&client, &next).await.status, StatusCode::OK);
    }
}
