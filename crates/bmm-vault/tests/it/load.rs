//! Readers and writers on two replicas while every value moves to another key, in this process and in one that is killed.
//!
//! `BMM_SCALE=prove` takes 200,000 rows instead of 2,000.

use std::num::NonZeroU32;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bmm_vault::{SqlConfig, SqlError, SqlVault, SweepConfig, Sweeper, VaultDb};
use sqlx::Row;
use tokio::sync::Mutex;

use crate::database::{Pool, TestDb, columns, on, on_both, org, place};
use crate::{NOW, kek};

on_both!(
    a_rotation_under_load_fails_no_open_and_loses_no_write,
    a_sweeper_killed_ten_times_fails_no_open_and_loses_no_write,
);

const WRITERS: usize = 2;
const READERS: usize = 2;
const KILLS: usize = 10;
const DRAIN: Duration = Duration::from_secs(60);
/// How long anything may take before the test gives up.
const PATIENCE: Duration = Duration::from_secs(1800);
/// Names the database to the process that a test starts as a sweeper.
const SWEEPER: &str = "BMM_TEST_SWEEPER_DATABASE";

fn rows() -> usize {
    match std::env::var("BMM_SCALE").as_deref() {
        Ok("prove") => 200_000,
        _ => 2_000,
    }
}

/// What the writers know: per row the last version that the database has acknowledged.
struct Load {
    pool: Pool,
    written: Vec<Mutex<u64>>,
    done: AtomicBool,
    /// What each writer and each reader has done.
    writes: [AtomicU64; WRITERS],
    reads: [AtomicU64; READERS],
}

impl Load {
    async fn start(db: &TestDb, vault: &SqlVault) -> Arc<Self> {
        let rows = rows();
        on!(db.pool, pool => {
            let mut tx = pool.begin().await.expect("begins");
            for id in 0..rows as i64 {
                let sealed = vault.vault().seal(&place(id, 0), value(id, 0).as_bytes()).expect("seals");
                sqlx::query("INSERT INTO secrets (org, id, name, version, sealed) VALUES ($1, $2, 'KEY', 0, $3)")
                    .bind(org(id))
                    .bind(id)
                    .bind(sealed)
                    .execute(&mut *tx)
                    .await
                    .expect("inserts");
            }
            tx.commit().await.expect("commits");
        });
        Arc::new(Self {
            pool: db.pool.clone(),
            written: (0..rows).map(|_| Mutex::new(0)).collect(),
            done: AtomicBool::new(false),
            writes: Default::default(),
            reads: Default::default(),
        })
    }

    /// Writes the next version of one row after the other, in a scattered order, until told to end. Every other row is left
    /// alone: what is written is sealed with the next key, and the sweep must not run out of rows on a slow machine.
    async fn write(self: Arc<Self>, vault: Arc<SqlVault>, me: usize) {
        let mut at = me * 7919;
        while !self.done.load(Relaxed) {
            at = scatter(at);
            let id = (at % self.written.len()) as i64 & !1;
            let mut written = self.written[id as usize].lock().await;
            let next = *written + 1;
            let sealed = vault
                .seal(&place(id, next), value(id, next).as_bytes(), NOW)
                .await
                .expect("seals");
            let changed = on!(self.pool, pool => {
                sqlx::query("UPDATE secrets SET sealed = $1, version = $2 WHERE id = $3")
                    .bind(sealed)
                    .bind(next as i64)
                    .bind(id)
                    .execute(pool)
                    .await
                    .expect("a write never fails")
                    .rows_affected()
            });
            assert_eq!(changed, 1);
            *written = next;
            self.writes[me].fetch_add(1, Relaxed);
        }
    }

    /// Opens one row after the other; each must open and be no older than the last write acknowledged before it was read.
    async fn read(self: Arc<Self>, vault: Arc<SqlVault>, me: usize) {
        let mut at = me * 104_729 + 1;
        while !self.done.load(Relaxed) {
            at = scatter(at);
            self.check(&vault, (at % self.written.len()) as i64).await;
            self.reads[me].fetch_add(1, Relaxed);
        }
    }

    async fn check(&self, vault: &SqlVault, id: i64) {
        // The writer may hold the row; what is read now is at least what it has acknowledged before.
        let known = self.written[id as usize]
            .try_lock()
            .map(|written| *written)
            .unwrap_or(0);
        let (version, sealed): (i64, String) = on!(self.pool, pool => {
            let row = sqlx::query("SELECT version, sealed FROM secrets WHERE id = $1").bind(id).fetch_one(pool).await;
            let row = row.expect("a read never fails");
            (row.get(0), row.get(1))
        });
        let version = version as u64;
        assert!(version >= known, "row {id}: a write was lost");
        let opened = vault.open_value(&place(id, version), &sealed).await;
        assert_eq!(
            *opened.expect("every value opens at every moment"),
            value(id, version).as_bytes()
        );
    }

    /// Ends it: no task has failed, and every row is what was written last.
    async fn end(self: Arc<Self>, vault: &SqlVault, tasks: Vec<tokio::task::JoinHandle<()>>) {
        self.done.store(true, Relaxed);
        for task in tasks {
            task.await.expect("no reader and no writer has failed");
        }
        let rows: Vec<(i64, i64, String)> = on!(self.pool, pool => {
            let sql = "SELECT id, version, sealed FROM secrets ORDER BY id";
            sqlx::query_as(sql).fetch_all(pool).await.expect("reads")
        });
        assert_eq!(rows.len(), self.written.len());
        for (id, version, sealed) in rows {
            let version = version as u64;
            assert_eq!(version, *self.written[id as usize].lock().await, "row {id}");
            let opened = vault
                .vault()
                .open_value(&place(id, version), &sealed)
                .expect("opens");
            assert_eq!(*opened, value(id, version).as_bytes());
        }
        let (reads, writes) = (total(&self.reads), total(&self.writes));
        println!("{} rows, {reads} reads, {writes} writes", self.written.len());
        assert!(reads > 0 && writes > 0);
    }
}

/// No step of a rotation waits but the last one.
fn at_once() -> SqlConfig {
    let mut config = crate::at_once();
    config.rotation.drain = DRAIN;
    config
}

fn total(counts: &[AtomicU64]) -> u64 {
    counts.iter().map(|count| count.load(Relaxed)).sum()
}

/// Waits until each of them has begun and ended something since.
async fn all_have_turned(counts: &[AtomicU64]) {
    let deadline = Instant::now() + PATIENCE;
    for count in counts {
        let before = count.load(Relaxed);
        while count.load(Relaxed) < before + 2 {
            assert!(Instant::now() < deadline, "somebody does not come on");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

fn value(id: i64, version: u64) -> String {
    format!(
        "row {id} as of version {version}, with some length to it {:x<150}",
        ""
    )
}

/// The next place in an order without rhyme (Knuth, MMIX).
fn scatter(at: usize) -> usize {
    at.wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407)
}

async fn begin(
    db: &TestDb,
) -> (
    Arc<SqlVault>,
    Arc<SqlVault>,
    Arc<Load>,
    Vec<tokio::task::JoinHandle<()>>,
) {
    let (one, other) = (
        Arc::new(db.replica(at_once()).await),
        Arc::new(db.replica(at_once()).await),
    );
    let load = Load::start(db, &one).await;
    let mut tasks = Vec::new();
    for n in 0..WRITERS {
        let vault = if n % 2 == 0 { &one } else { &other };
        tasks.push(tokio::spawn(load.clone().write(vault.clone(), n)));
    }
    for n in 0..READERS {
        let vault = if n % 2 == 0 { &one } else { &other };
        tasks.push(tokio::spawn(load.clone().read(vault.clone(), n)));
    }
    (one, other, load, tasks)
}

async fn a_rotation_under_load_fails_no_open_and_loses_no_write(db: TestDb) {
    let (one, other, load, tasks) = begin(&db).await;
    let old = one.vault().wrapped().keys[0].id.clone();
    let next = one.stage(None, NOW).await.expect("stages");
    other.refresh().await.expect("loads the staged key");
    one.promote(&next, NOW).await.expect("promotes");

    // The other replica still seals with the old key while the first one sweeps.
    let config = SweepConfig {
        batch_rows: 100,
        max_rows_per_second: None,
        ..SweepConfig::default()
    };
    let started = Instant::now();
    let report = Sweeper::new(&one, config).run(NOW, |_| {}).await.expect("sweeps");
    println!(
        "swept {} rows in {:?}: {report:?}",
        report.moved,
        started.elapsed()
    );
    assert_eq!(report.poison, 0);
    finish(&one, &other, &old, config, &load).await;
    load.end(&one, tasks).await;
}

async fn a_sweeper_killed_ten_times_fails_no_open_and_loses_no_write(db: TestDb) {
    if let Ok(url) = std::env::var(SWEEPER) {
        return sweep_until_killed(&url).await;
    }
    let (one, other, load, tasks) = begin(&db).await;
    let old = one.vault().wrapped().keys[0].id.clone();
    let next = one.stage(None, NOW).await.expect("stages");
    other.refresh().await.expect("loads the staged key");
    one.promote(&next, NOW).await.expect("promotes");
    other.refresh().await.expect("seals with the next key");

    let mut killed_at = Vec::new();
    for _ in 0..KILLS {
        let before = moved(&db).await;
        let mut sweeper = start_sweeper(&db);
        let deadline = Instant::now() + PATIENCE;
        // Every one of them gets something done, and none gets to the end.
        while moved(&db).await < before + (rows() / 50) as i64 {
            assert!(
                sweeper.try_wait().expect("a process").is_none(),
                "it ended before it was killed"
            );
            assert!(Instant::now() < deadline, "the sweeper does not come on");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        sweeper.kill().expect("kills");
        sweeper.wait().expect("reaps");
        killed_at.push(moved(&db).await);
    }
    println!("killed after {killed_at:?} of {} rows", rows());
    assert!(killed_at.is_sorted());

    let config = SweepConfig {
        max_rows_per_second: None,
        ..SweepConfig::default()
    };
    let report = Sweeper::new(&one, config).run(NOW, |_| {}).await.expect("sweeps");
    assert!(report.moved > 0, "there was something left to do");
    assert_eq!(report.poison, 0);
    finish(&one, &other, &old, config, &load).await;
    load.end(&other, tasks).await;
}

/// Both replicas learn of everything; what was sealed with the old key meanwhile is swept; the key goes.
async fn finish(one: &SqlVault, other: &SqlVault, old: &str, config: SweepConfig, load: &Load) {
    other.refresh().await.expect("refreshes");
    // The grace: whatever was sealed before the refresh is written.
    all_have_turned(&load.writes).await;
    let report = Sweeper::new(other, config)
        .run(NOW, |_| {})
        .await
        .expect("sweeps");
    assert_eq!(report.poison, 0);
    assert!(matches!(
        one.retire(old, NOW).await,
        Err(SqlError::TooEarly { .. })
    ));
    // The drain: whatever was read before the sweep is opened.
    all_have_turned(&load.reads).await;
    one.retire(old, NOW + DRAIN).await.expect("nothing is left");
    other.refresh().await.expect("refreshes");
    all_have_turned(&load.reads).await;
    let status = one.status().await.expect("a status");
    assert_eq!((status.rows_to_migrate(), status.active), (0, Some(2)));
}

/// Rows that sweeps have moved so far.
async fn moved(db: &TestDb) -> i64 {
    on!(db.pool, pool => {
        let sql = "SELECT moved FROM bmm_vault_sweeps WHERE target = 'secrets.sealed'";
        sqlx::query_scalar(sql).fetch_optional(pool).await.expect("counts").unwrap_or(0)
    })
}

/// Starts this very test in another process, which finds the variable and sweeps.
fn start_sweeper(db: &TestDb) -> Child {
    let module = if matches!(db.pool, Pool::Sqlite(_)) {
        "sqlite"
    } else {
        "postgres"
    };
    let this = format!("load::{module}::a_sweeper_killed_ten_times_fails_no_open_and_loses_no_write");
    Command::new(std::env::current_exe().expect("this executable"))
        .args(["--exact", &this, "--include-ignored"])
        .env(SWEEPER, &db.url)
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("starts")
}

async fn sweep_until_killed(url: &str) {
    let db = VaultDb::connect(url).await.expect("connects");
    let vault = SqlVault::open(db, Arc::new(kek(7)), at_once(), columns(), NOW)
        .await
        .expect("opens");
    // Small batches, and about four seconds for all of it.
    let config = SweepConfig {
        batch_rows: (rows() / 200) as u32,
        max_rows_per_second: NonZeroU32::new(rows() as u32 / 4),
        ..SweepConfig::default()
    };
    Sweeper::new(&vault, config)
        .run(NOW, |_| {})
        .await
        .expect("sweeps");
}
