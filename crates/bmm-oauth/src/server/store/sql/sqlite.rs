//! SQLite: one file, one writer ([`GroupCommit`]), and a few connections that only read. Write-ahead log and `synchronous=FULL`: what was answered survives a
//! power cut.

use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};

use super::error::SqlError;
use super::group_commit::GroupCommit;
use super::migrations::{MIGRATIONS, Migrated};
use super::rotate_sqlite::Asked;
use super::shared::{CODE_IS_USED, first_state, redemption};
use super::statement::{Row, Statement};
use crate::clock::Timestamp;
use crate::server::secret::{SecretHash, random_id};
use crate::server::store::{Grant, NewRefresh, Redemption, Replay, Rotation};

/// Connections that only read.
const READERS: u32 = 4;
/// How long to wait for another process that writes.
const BUSY: Duration = Duration::from_secs(10);

/// An open SQLite database. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Sqlite {
    writer: GroupCommit,
    readers: SqlitePool,
}

impl Sqlite {
    pub(super) async fn open(options: SqliteConnectOptions) -> sqlx::Result<Self> {
        let options = options
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY);
        let writer = GroupCommit::start(options.clone()).await?;
        let readers = SqlitePoolOptions::new().max_connections(READERS);
        Ok(Self {
            writer,
            readers: readers.connect_with(options.pragma("query_only", "ON")).await?,
        })
    }

    pub(super) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    pub(super) async fn read(&self, statement: Statement) -> Result<Vec<Row>, SqlError> {
        let rows = statement.query().fetch_all(&self.readers).await?;
        Ok(rows.into_iter().map(Row::Sqlite).collect())
    }

    pub(super) async fn execute(&self, statements: Vec<Statement>) -> Result<u64, SqlError> {
        let write = self.writer.write(move |connection| {
            Box::pin(async move {
                let mut affected = 0;
                for statement in statements {
                    affected = run(connection, statement).await?;
                }
                Ok(affected)
            })
        });
        write.await
    }

    pub(super) async fn execute_returning(
        &self,
        first: Vec<Statement>,
        last: Statement,
    ) -> Result<Vec<Row>, SqlError> {
        let write = self.writer.write(move |connection| {
            Box::pin(async move {
                for statement in first {
                    run(connection, statement).await?;
                }
                let rows = last.query().fetch_all(connection).await?;
                Ok(rows.into_iter().map(Row::Sqlite).collect())
            })
        });
        write.await
    }

    pub(super) async fn write_returning(&self, statement: Statement) -> Result<Option<Row>, SqlError> {
        let write = self.writer.write(move |connection| {
            Box::pin(async move {
                let row = statement.query().fetch_optional(connection).await?;
                Ok(row.map(Row::Sqlite))
            })
        });
        write.await
    }

    pub(super) async fn migrate(&self) -> Result<Migrated, SqlError> {
        let write = self.writer.write(|connection| {
            Box::pin(async move {
                let migrations =
                    "CREATE TABLE IF NOT EXISTS oauth_migrations (version BIGINT PRIMARY KEY NOT NULL)";
                run(connection, Statement::new(migrations)).await?;
                let version: i64 =
                    sqlx::query_scalar("SELECT COALESCE(MAX(version), 0) FROM oauth_migrations")
                        .fetch_one(&mut *connection)
                        .await?;
                for (next, sql) in (1_i64..).zip(MIGRATIONS).filter(|(next, _)| *next > version) {
                    sqlx::raw_sql(sql).execute(&mut *connection).await?;
                    let applied = Statement::new("INSERT INTO oauth_migrations (version) VALUES ($1)");
                    run(connection, applied.integer(next)).await?;
                }
                let migrated = Migrated::from(version);
                if matches!(migrated, Migrated::Current) {
                    run(connection, first_state(random_id())).await?;
                }
                Ok(migrated)
            })
        });
        write.await
    }

    pub(super) async fn redeem_code(
        &self,
        hash: SecretHash,
        grant: Grant,
        refresh: NewRefresh,
        now: Timestamp,
    ) -> Result<Redemption, SqlError> {
        // From now on the code stays as long as its grant, so that its replay is recognised.
        let take = "UPDATE oauth_codes SET used_at = $2, expires_at = $3 WHERE code_hash = $1 AND used_at IS NULL AND expires_at > $2";
        let write = self.writer.write(move |connection| {
            Box::pin(async move {
                let take = Statement::new(take).hash(hash).time(now);
                if run(connection, take.time(grant.expires_at)).await? == 0 {
                    let used = Statement::new(CODE_IS_USED).hash(hash);
                    let used = used.query().fetch_optional(connection).await?;
                    return Ok(match used {
                        Some(_) => Redemption::AlreadyUsed,
                        None => Redemption::Gone,
                    });
                }
                for statement in redemption(grant, refresh, now) {
                    run(connection, statement).await?;
                }
                Ok(Redemption::Redeemed)
            })
        });
        write.await
    }

    pub(super) async fn rotate_refresh(
        &self,
        old: SecretHash,
        successor: NewRefresh,
        replay: Option<Replay>,
        now: Timestamp,
    ) -> Result<Rotation, SqlError> {
        let asked = Asked {
            old,
            successor,
            replay,
            now,
        };
        self.writer.rotate(asked).await
    }
}

async fn run(connection: &mut SqliteConnection, statement: Statement) -> Result<u64, SqlError> {
    Ok(statement.query().execute(connection).await?.rows_affected())
}
