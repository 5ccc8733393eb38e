//! A database of a test's own, and the tables of a host in it.

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use bmm_vault::{Column, Context, SealedColumn, SqlConfig, SqlVault, VaultDb};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sqlx::{AssertSqlSafe, PgPool, SqlitePool};
use tempfile::TempDir;

use crate::{NOW, kek};

pub(crate) struct TestDb {
    pub(crate) url: String,
    pub(crate) pool: Pool,
    _folder: TempDir,
}

#[derive(Clone)]
pub(crate) enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// The same text against either database.
macro_rules! on {
    ($db:expr, $pool:ident => $body:expr) => {
        match &$db {
            $crate::database::Pool::Sqlite($pool) => $body,
            $crate::database::Pool::Postgres($pool) => $body,
        }
    };
}
pub(crate) use on;

/// Makes each claim a test on SQLite and on PostgreSQL.
macro_rules! on_both {
    ($($claim:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $claim() {
                super::$claim($crate::database::TestDb::sqlite().await).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[ignore = "needs PostgreSQL: cargo xtask test"]
            async fn $claim() {
                super::$claim($crate::database::TestDb::postgres().await).await;
            })*
        }
    };
}
pub(crate) use on_both;

impl TestDb {
    pub(crate) async fn sqlite() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite://{}?mode=rwc", folder.path().join("test.db").display());
        // Makes the file a write-ahead one before anybody else opens it.
        VaultDb::connect(&url)
            .await
            .expect("connects")
            .migrate()
            .await
            .expect("migrates");
        let options = SqliteConnectOptions::from_str(&url).expect("an address");
        // A host that waits as long as the machine is slow.
        let options = options.busy_timeout(Duration::from_secs(60));
        let pool = SqlitePoolOptions::new().max_connections(4).connect_with(options);
        let pool = pool.await.expect("connects");
        Self::with(url, Pool::Sqlite(pool), folder, "BLOB").await
    }

    /// A schema of its own in the database that the environment names.
    pub(crate) async fn postgres() -> Self {
        let url = std::env::var("BMM_TEST_POSTGRES").expect("BMM_TEST_POSTGRES names a database");
        let folder = tempfile::Builder::new().prefix("").tempdir().expect("a folder");
        let name = folder
            .path()
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .to_lowercase();
        let schema = format!("test_{}_{name}", std::process::id());
        let admin = PgPool::connect(&url).await.expect("connects");
        let sql = format!("CREATE SCHEMA \"{schema}\"");
        sqlx::query(AssertSqlSafe(sql))
            .execute(&admin)
            .await
            .expect("a schema");
        admin.close().await;
        let sign = if url.contains('?') { '&' } else { '?' };
        let url = format!("{url}{sign}options=-csearch_path%3D{schema}");
        let pool = PgPool::connect(&url).await.expect("connects");
        VaultDb::connect(&url)
            .await
            .expect("connects")
            .migrate()
            .await
            .expect("migrates");
        Self::with(url, Pool::Postgres(pool), folder, "BYTEA").await
    }

    async fn with(url: String, pool: Pool, folder: TempDir, bytes: &str) -> Self {
        let db = Self {
            url,
            pool,
            _folder: folder,
        };
        db.run(
            "CREATE TABLE secrets (org TEXT NOT NULL, id BIGINT NOT NULL, name TEXT NOT NULL, \
             version BIGINT NOT NULL, sealed TEXT, PRIMARY KEY (id, name))",
        )
        .await;
        db.run(&format!(
            "CREATE TABLE tokens (hash {bytes} NOT NULL PRIMARY KEY, sealed TEXT NOT NULL)"
        ))
        .await;
        db
    }

    pub(crate) async fn run(&self, sql: &str) {
        let sql = AssertSqlSafe(sql.to_owned());
        on!(self.pool, pool => drop(sqlx::query(sql).execute(pool).await.expect("runs")));
    }

    pub(crate) async fn connect(&self) -> VaultDb {
        VaultDb::connect(&self.url).await.expect("connects")
    }

    /// A replica of the service, with the KEK of 32 bytes 0x07.
    pub(crate) async fn replica(&self, config: SqlConfig) -> SqlVault {
        let opened = SqlVault::open(self.connect().await, Arc::new(kek(7)), config, columns(), NOW).await;
        opened.expect("opens")
    }

    pub(crate) async fn put(&self, vault: &SqlVault, id: i64, value: &str) {
        let sealed = vault
            .seal(&place(id, 1), value.as_bytes(), NOW)
            .await
            .expect("seals");
        self.put_raw(id, &sealed).await;
    }

    pub(crate) async fn put_raw(&self, id: i64, sealed: &str) {
        on!(self.pool, pool => {
            sqlx::query("INSERT INTO secrets (org, id, name, version, sealed) VALUES ($1, $2, 'KEY', 1, $3)")
                .bind(org(id))
                .bind(id)
                .bind(sealed)
                .execute(pool)
                .await
                .expect("inserts");
        });
    }

    pub(crate) async fn sealed(&self, id: i64) -> String {
        on!(self.pool, pool => {
            sqlx::query_scalar("SELECT sealed FROM secrets WHERE id = $1").bind(id).fetch_one(pool).await.expect("a row")
        })
    }

    pub(crate) async fn value(&self, vault: &SqlVault, id: i64) -> String {
        let opened = vault
            .open_value(&place(id, 1), &self.sealed(id).await)
            .await
            .expect("opens");
        String::from_utf8(opened.to_vec()).expect("text")
    }
}

/// Rows belong to three organisations.
pub(crate) fn org(id: i64) -> String {
    format!("org-{}", id % 3)
}

pub(crate) fn place(id: i64, version: u64) -> Context {
    let place = Context::new("secrets").tenant(org(id)).row(id.to_string());
    place.name("KEY").version(version)
}

/// What the host registers.
pub(crate) fn columns() -> Vec<SealedColumn> {
    let key = [Column::integer("id"), Column::text("name")];
    let secrets = SealedColumn::new("secrets", "sealed", key, |row| {
        let place = Context::new("secrets").tenant(row.text("org")?);
        let place = place.row(row.integer("id")?.to_string()).name(row.text("name")?);
        Some(place.version(row.integer("version")?.try_into().ok()?))
    });
    let others = [Column::text("org"), Column::integer("version")];
    let tokens = SealedColumn::new("tokens", "sealed", [Column::bytes("hash")], |row| {
        Some(token_place(row.bytes("hash")?))
    });
    vec![
        secrets
            .and_then(|column| column.with_columns(others))
            .expect("plain names"),
        tokens.expect("plain names"),
    ]
}

pub(crate) fn token_place(hash: &[u8]) -> Context {
    Context::new("tokens").row(format!("{hash:?}"))
}
