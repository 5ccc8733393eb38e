//! `cargo bench -p bmm-vault --all-features`: what the vault costs beside what it is made of, in one run.
//!
//! The bare call is what somebody without this crate would write: AES-256-GCM with a nonce from the operating system and a
//! place as associated data, nothing encoded. The bare update gives as many rows of a table with the
//! same index new text of the same length, in the same batches and by the same kind of statement; PostgreSQL is measured too if `BMM_TEST_POSTGRES` names a database.

#![allow(clippy::indexing_slicing, reason = "a benchmark fails by panicking")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use bmm_vault::{
    Column, Context, LocalKek, RotationPolicy, SealedColumn, SqlConfig, SqlVault, SweepConfig, Sweeper,
    Vault, VaultDb,
};
use sqlx::{AssertSqlSafe, PgPool, Row, SqlitePool};
use zeroize::Zeroizing;

const VALUE_BYTES: usize = 200;
const ROUNDS: usize = 4_000;
/// Few enough that most rounds end before the scheduler takes the processor away.
const PER_ROUND: u32 = 50;
const ROWS: i64 = 20_000;
const BATCH_ROWS: u32 = 200;
const NOW: SystemTime = SystemTime::UNIX_EPOCH;

fn main() {
    calls();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        println!("\n{ROWS} rows of {VALUE_BYTES} bytes, {BATCH_ROWS} a batch   rows/s");
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite://{}?mode=rwc", folder.path().join("bench.db").display());
        VaultDb::connect(&url).await.expect("connects");
        sweep(
            "SQLite",
            &url,
            Pool::Sqlite(SqlitePool::connect(&url).await.expect("connects")),
        )
        .await;
        match std::env::var("BMM_TEST_POSTGRES") {
            Ok(url) => {
                let schema = format!("bench_{}", std::process::id());
                let admin = PgPool::connect(&url).await.expect("connects");
                let statement = |verb: &str| AssertSqlSafe(format!("{verb} SCHEMA {schema}"));
                sqlx::query(statement("CREATE"))
                    .execute(&admin)
                    .await
                    .expect("a schema");
                let sign = if url.contains('?') { '&' } else { '?' };
                let url = format!("{url}{sign}options=-csearch_path%3D{schema}");
                sweep(
                    "PostgreSQL",
                    &url,
                    Pool::Postgres(PgPool::connect(&url).await.expect("connects")),
                )
                .await;
                let drop = AssertSqlSafe(format!("DROP SCHEMA {schema} CASCADE"));
                sqlx::query(drop).execute(&admin).await.expect("drops");
            }
            Err(_) => println!("PostgreSQL: not measured, BMM_TEST_POSTGRES is not set"),
        }
    });
}

fn calls() {
    let value = [7; VALUE_BYTES];
    let vault = Vault::create(&kek()).expect("a vault");
    let context = Context::new("secrets")
        .tenant("tenant-42")
        .row("weather")
        .name("API_KEY");
    let aad = b"secrets|tenant-42|weather|API_KEY";
    let cipher = Aes256Gcm::new(&[1; 32].into());
    let bare_seal = || {
        let mut nonce = [0; 12];
        getrandom::fill(&mut nonce).expect("randomness");
        let sealed = cipher.encrypt(
            &Nonce::from(nonce),
            Payload {
                msg: black_box(&value),
                aad,
            },
        );
        (nonce, sealed.expect("seals"))
    };
    let (nonce, bare) = bare_seal();
    let sealed = vault.seal(&context, &value).expect("seals");

    let [bare_sealing, sealing, bare_opening, opening] = measure([
        &mut || drop(black_box(bare_seal())),
        &mut || {
            drop(black_box(
                vault.seal(black_box(&context), black_box(&value)).expect("seals"),
            ))
        },
        &mut || {
            let opened = cipher.decrypt(
                &Nonce::from(nonce),
                Payload {
                    msg: black_box(&bare),
                    aad,
                },
            );
            drop(black_box(opened.expect("opens")));
        },
        &mut || {
            drop(black_box(
                vault.open_value(&context, black_box(&sealed)).expect("opens"),
            ))
        },
    ]);
    println!("{VALUE_BYTES} bytes      p50 ns    p99 ns   of the bare call (p50)");
    line("bare seal", &bare_sealing, &bare_sealing);
    line("vault seal", &sealing, &bare_sealing);
    line("bare open", &bare_opening, &bare_opening);
    line("vault open", &opening, &bare_opening);
}

/// Runs the cases in turn, round by round, so that what else the machine does hits all of them alike; gives the sorted
/// time per call of each round.
fn measure<const N: usize>(mut cases: [&mut dyn FnMut(); N]) -> [Vec<Duration>; N] {
    let mut times = [(); N].map(|()| Vec::with_capacity(ROUNDS));
    for _ in 0..ROUNDS {
        for (case, times) in cases.iter_mut().zip(&mut times) {
            let start = Instant::now();
            (0..PER_ROUND).for_each(|_| case());
            times.push(start.elapsed() / PER_ROUND);
        }
    }
    for times in &mut times {
        times.sort_unstable();
    }
    times
}

fn line(name: &str, times: &[Duration], base: &[Duration]) {
    let (p50, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
    let ratio = p50.as_secs_f64() / base[base.len() / 2].as_secs_f64();
    println!(
        "{name:<12} {:>8} {:>9}   {ratio:.2}x",
        p50.as_nanos(),
        p99.as_nanos()
    );
}

enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

macro_rules! on {
    ($db:expr, $pool:ident => $body:expr) => {
        match &$db {
            Pool::Sqlite($pool) => $body,
            Pool::Postgres($pool) => $body,
        }
    };
}

/// Sweeps all rows to another key, then updates all rows without any cryptography, and again each, the better of two.
async fn sweep(name: &str, url: &str, pool: Pool) {
    let db = VaultDb::connect(url).await.expect("connects");
    db.migrate().await.expect("migrates");
    for create in [
        "CREATE TABLE secrets (id BIGINT NOT NULL PRIMARY KEY, sealed TEXT NOT NULL)",
        "CREATE TABLE bare (id BIGINT NOT NULL PRIMARY KEY, sealed TEXT NOT NULL)",
        "CREATE INDEX bare_key ON bare (substr(sealed, 1, 44), id)",
    ] {
        on!(pool, pool => drop(sqlx::query(create).execute(pool).await.expect("creates")));
    }
    let column = SealedColumn::new("secrets", "sealed", [Column::integer("id")], |row| {
        place(row.integer("id")?)
    });
    let rotation = RotationPolicy {
        propagation: Duration::ZERO,
        grace: Duration::ZERO,
        drain: Duration::ZERO,
        max_age: None,
    };
    let config = SqlConfig {
        rotation,
        ..SqlConfig::default()
    };
    let columns = vec![column.expect("plain names")];
    let vault = SqlVault::open(db, Arc::new(kek()), config, columns, NOW)
        .await
        .expect("opens");
    on!(pool, pool => {
        let mut tx = pool.begin().await.expect("begins");
        for id in 0..ROWS {
            let sealed = vault.vault().seal(&place(id).expect("a place"), &[7; VALUE_BYTES]).expect("seals");
            let insert = sqlx::query("INSERT INTO secrets (id, sealed) VALUES ($1, $2)").bind(id).bind(sealed);
            insert.execute(&mut *tx).await.expect("inserts");
        }
        sqlx::query("INSERT INTO bare SELECT id, sealed FROM secrets").execute(&mut *tx).await.expect("copies");
        tx.commit().await.expect("commits");
    });

    let mut best = [0.0_f64; 2];
    for round in 0..2 {
        let next = vault.stage(None, NOW).await.expect("stages");
        vault.promote(&next, NOW).await.expect("promotes");
        let config = SweepConfig {
            batch_rows: BATCH_ROWS,
            max_rows_per_second: None,
            ..SweepConfig::default()
        };
        let started = Instant::now();
        let report = Sweeper::new(&vault, config)
            .run(NOW, |_| {})
            .await
            .expect("sweeps");
        best[0] = best[0].max(ROWS as f64 / started.elapsed().as_secs_f64());
        assert_eq!(report.moved, ROWS as u64);

        let started = Instant::now();
        bare_update(&pool, round).await;
        best[1] = best[1].max(ROWS as f64 / started.elapsed().as_secs_f64());
    }
    println!(
        "{name:<12} sweep                       {:>9.0}   {:.2}x the bare update",
        best[0],
        best[0] / best[1]
    );
    println!("{name:<12} bare update                 {:>9.0}", best[1]);
}

/// Reads every row and gives its text another beginning, as a sweep does, batch by batch.
async fn bare_update(pool: &Pool, round: u32) {
    let mut after = -1_i64;
    loop {
        let read = "SELECT id, sealed FROM bare WHERE id > $1 ORDER BY id LIMIT 200";
        let rows: Vec<(i64, String)> = on!(pool, pool => {
            let rows = sqlx::query(read).bind(after).fetch_all(pool).await.expect("reads");
            rows.iter().map(|row| (row.get(0), row.get(1))).collect()
        });
        let Some((last, _)) = rows.last() else { return };
        after = *last;
        let count = rows.len();
        let batch: Vec<_> = rows
            .into_iter()
            .map(|(id, text)| {
                let new = format!("{round:0>44}{}", &text[44..]);
                serde_json::json!({ "id": id, "old": text, "new": new })
            })
            .collect();
        let batch = serde_json::Value::Array(batch).to_string();
        let write = match pool {
            Pool::Sqlite(_) => {
                "UPDATE bare AS t SET sealed = d.value ->> '$.new' FROM json_each($1) AS d \
                 WHERE t.id = d.value ->> '$.id' AND t.sealed = d.value ->> '$.old'"
            }
            Pool::Postgres(_) => {
                "UPDATE bare AS t SET sealed = d.new FROM jsonb_to_recordset($1::jsonb) \
                 AS d(id bigint, old text, new text) WHERE t.id = d.id AND t.sealed = d.old"
            }
        };
        let written = on!(pool, pool => {
            sqlx::query(write).bind(batch).execute(pool).await.expect("writes").rows_affected()
        });
        assert_eq!(written as usize, count);
    }
}

fn kek() -> LocalKek {
    LocalKek::from_bytes(Zeroizing::new([1; 32]))
}

fn place(id: i64) -> Option<Context> {
    Some(Context::new("secrets").row(id.to_string()))
}
