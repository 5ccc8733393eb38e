//! The connection, the tables, and what differs between SQLite and PostgreSQL.

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};

use super::error::SqlError;

/// One step per version of the tables, in order; never edited once released.
const MIGRATIONS: [&str; 1] = [include_str!("schema_1.sql")];

const CONNECTIONS: u32 = 4;

/// The database that holds wrapped keys, the progress of sweeps, and the tables with sealed columns. Clones share their
/// connections.
#[derive(Clone, Debug)]
pub struct VaultDb {
    pub(super) pool: Pool,
}

#[derive(Clone, Debug)]
pub(super) enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// Runs the same text against either database: types of the driver stay inside.
macro_rules! on {
    ($db:expr, $pool:ident => $body:expr) => {
        match &$db.pool {
            $crate::sql::database::Pool::Sqlite($pool) => $body,
            $crate::sql::database::Pool::Postgres($pool) => $body,
        }
    };
}
pub(super) use on;

impl VaultDb {
    /// Connects to `sqlite:path` or `postgres://…`. A SQLite file is made if it is missing. Call
    /// [`migrate`](Self::migrate) before use.
    ///
    /// # Errors
    ///
    /// [`SqlError::Address`], [`SqlError::Database`].
    pub async fn connect(url: &str) -> Result<Self, SqlError> {
        if url.starts_with("sqlite:") {
            return Self::open_sqlite(SqliteConnectOptions::from_str(url)?).await;
        }
        if !url.starts_with("postgres:") && !url.starts_with("postgresql:") {
            return Err(SqlError::Address);
        }
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .connect_with(PgConnectOptions::from_str(url)?)
            .await?;
        Ok(Self {
            pool: Pool::Postgres(pool),
        })
    }

    /// Opens a SQLite file; it is made if it is missing. Call [`migrate`](Self::migrate) before use.
    ///
    /// # Errors
    ///
    /// [`SqlError::Database`].
    pub async fn open(path: &Path) -> Result<Self, SqlError> {
        Self::open_sqlite(SqliteConnectOptions::new().filename(path)).await
    }

    /// Brings the vault's own tables up to date.
    ///
    /// # Errors
    ///
    /// [`SqlError::Newer`] if a newer version of this crate wrote them, [`SqlError::Database`].
    pub async fn migrate(&self) -> Result<(), SqlError> {
        let known = MIGRATIONS.len() as i64;
        on!(self, pool => {
            let mut tx = pool.begin_with(self.begin()).await?;
            sqlx::query(self.lock()).execute(&mut *tx).await?;
            sqlx::query("CREATE TABLE IF NOT EXISTS bmm_vault_migrations (version BIGINT NOT NULL PRIMARY KEY)")
                .execute(&mut *tx)
                .await?;
            let found: i64 = sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM bmm_vault_migrations")
                .fetch_one(&mut *tx)
                .await?;
            if found > known {
                return Err(SqlError::Newer { found, known });
            }
            for (version, sql) in (1..).zip(MIGRATIONS).filter(|(version, _)| *version > found) {
                sqlx::raw_sql(sql).execute(&mut *tx).await?;
                sqlx::query("INSERT INTO bmm_vault_migrations (version) VALUES ($1)")
                    .bind(version)
                    .execute(&mut *tx)
                    .await?;
            }
            tx.commit().await?;
        });
        Ok(())
    }

    /// Closes all connections; SQLite folds its log in.
    pub async fn close(&self) {
        on!(self, pool => pool.close().await);
    }

    async fn open_sqlite(options: SqliteConnectOptions) -> Result<Self, SqlError> {
        let options = options
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // A key that was acknowledged survives a power cut, and so do the values sealed with it.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(10));
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS)
            .connect_with(options)
            .await?;
        Ok(Self {
            pool: Pool::Sqlite(pool),
        })
    }

    pub(super) fn is_sqlite(&self) -> bool {
        matches!(self.pool, Pool::Sqlite(_))
    }

    /// Begins a transaction that writes.
    pub(super) fn begin(&self) -> &'static str {
        if self.is_sqlite() {
            "BEGIN IMMEDIATE"
        } else {
            "BEGIN"
        }
    }

    /// Lets one transaction at a time through, among those that ask: changes of keys, batches of a sweep. On SQLite the
    /// beginning has done that.
    pub(super) fn lock(&self) -> &'static str {
        if self.is_sqlite() {
            "SELECT 1"
        } else {
            "SELECT pg_advisory_xact_lock(8389754676629073517)"
        }
    }
}
