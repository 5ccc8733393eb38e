//! PostgreSQL: every single-use step is one statement, so that it costs one round trip and any number of replicas may share the database. The isolation level
//! is the default, READ COMMITTED: who loses a race waits for the winner's row lock, and then sees that the condition no longer holds.

use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Executor};

use super::error::SqlError;
use super::migrations::{MIGRATIONS, Migrated};
use super::shared::{CODE_IS_USED, bind_grant, first_state};
use super::statement::{Row, Statement};
use crate::clock::Timestamp;
use crate::server::secret::{SecretHash, random_id};
use crate::server::store::{Grant, NewRefresh, Redemption, Replay, Rotation};

const MAX_CONNECTIONS: u32 = 16;
/// How long a step waits for a connection.
const PATIENCE: Duration = Duration::from_secs(5);
/// Key of the lock that is held while the tables are made ("bmmoauth").
const MIGRATION_LOCK: i64 = 0x626d_6d6f_6175_7468;

/// A code that is used stays as long as its grant, so that its replay is recognised.
const REDEEM: &str = "WITH taken AS (UPDATE oauth_codes SET used_at = $8, expires_at = $6 \
    WHERE code_hash = $9 AND used_at IS NULL AND expires_at > $8 RETURNING code_hash), \
    new_grant AS (INSERT INTO oauth_grants (id, client_id, subject, resource, scopes, expires_at, revoked) \
        SELECT $1, $2, $3, $4, $5, $6, $7 FROM taken), \
    new_refresh AS (INSERT INTO oauth_refresh_tokens (token_hash, grant_id, expires_at) SELECT $10, $1, $11 FROM taken), \
    used AS (UPDATE oauth_clients SET used_at = $8 WHERE id = $2 AND used_at IS NULL AND EXISTS (SELECT 1 FROM taken)) \
    SELECT 1 AS done FROM taken";

/// The share lock makes a revocation wait for the rotations that are under way, and a rotation see every revocation before it.
const ROTATE: &str = "WITH alive AS MATERIALIZED (SELECT g.id FROM oauth_refresh_tokens t JOIN oauth_grants g ON g.id = t.grant_id \
        WHERE t.token_hash = $1 AND g.revoked = 0 AND g.expires_at > $2 FOR SHARE OF g), \
    spent AS (UPDATE oauth_refresh_tokens SET rotated_at = $2 FROM alive \
        WHERE token_hash = $1 AND grant_id = alive.id AND rotated_at IS NULL AND expires_at > $2 RETURNING grant_id), \
    successor AS (INSERT INTO oauth_refresh_tokens (token_hash, grant_id, expires_at) SELECT $3, grant_id, $4 FROM spent), \
    kept AS (INSERT INTO oauth_once (kind, key_hash, value, expires_at) \
        SELECT 'refresh_replay', $1, $5, $6 FROM spent WHERE $5 IS NOT NULL \
        ON CONFLICT (kind, key_hash) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at) \
    SELECT 1 AS done FROM spent";

const SPENT: &str = "SELECT t.rotated_at, o.value AS replay FROM oauth_refresh_tokens t \
    LEFT JOIN oauth_once o ON o.kind = 'refresh_replay' AND o.key_hash = t.token_hash AND o.expires_at > $2 WHERE t.token_hash = $1";

/// A PostgreSQL database. Clones share its connections.
#[derive(Clone, Debug)]
pub(super) struct Postgres {
    pool: PgPool,
}

impl Postgres {
    pub(super) async fn connect(url: &str) -> sqlx::Result<Self> {
        let options = PgConnectOptions::from_str(url)?;
        let pool = PgPoolOptions::new()
            .max_connections(MAX_CONNECTIONS)
            .acquire_timeout(PATIENCE);
        Ok(Self {
            pool: pool.connect_with(options).await?,
        })
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }

    pub(super) async fn read(&self, statement: Statement) -> Result<Vec<Row>, SqlError> {
        let rows = statement.query().fetch_all(&self.pool).await?;
        Ok(rows.into_iter().map(Row::Postgres).collect())
    }

    pub(super) async fn execute(&self, statements: Vec<Statement>) -> Result<u64, SqlError> {
        let mut affected = 0;
        if statements.len() == 1 {
            for statement in statements {
                affected = statement.query().execute(&self.pool).await?.rows_affected();
            }
            return Ok(affected);
        }
        let mut tx = self.pool.begin().await?;
        for statement in statements {
            affected = statement.query().execute(&mut *tx).await?.rows_affected();
        }
        tx.commit().await?;
        Ok(affected)
    }

    pub(super) async fn execute_returning(
        &self,
        first: Vec<Statement>,
        last: Statement,
    ) -> Result<Vec<Row>, SqlError> {
        let mut tx = self.pool.begin().await?;
        for statement in first {
            statement.query().execute(&mut *tx).await?;
        }
        let rows = last.query().fetch_all(&mut *tx).await?;
        tx.commit().await?;
        Ok(rows.into_iter().map(Row::Postgres).collect())
    }

    pub(super) async fn write_returning(&self, statement: Statement) -> Result<Option<Row>, SqlError> {
        let row = statement.query().fetch_optional(&self.pool).await?;
        Ok(row.map(Row::Postgres))
    }

    pub(super) async fn migrate(&self) -> Result<Migrated, SqlError> {
        let mut tx = self.pool.begin().await?;
        // Until the end of the transaction: of two replicas that start at once, one waits.
        let lock = Statement::new("SELECT pg_advisory_xact_lock($1)").integer(MIGRATION_LOCK);
        lock.query().execute(&mut *tx).await?;
        tx.execute("CREATE TABLE IF NOT EXISTS oauth_migrations (version BIGINT PRIMARY KEY NOT NULL)")
            .await?;
        let version: i64 = sqlx::query_scalar("SELECT COALESCE(MAX(version), 0) FROM oauth_migrations")
            .fetch_one(&mut *tx)
            .await?;
        for (next, sql) in (1_i64..).zip(MIGRATIONS).filter(|(next, _)| *next > version) {
            let sql = sql.replace("BLOB", "BYTEA");
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *tx).await?;
            let applied = Statement::new("INSERT INTO oauth_migrations (version) VALUES ($1)");
            applied.integer(next).query().execute(&mut *tx).await?;
        }
        let migrated = Migrated::from(version);
        if matches!(migrated, Migrated::Current) {
            first_state(random_id()).query().execute(&mut *tx).await?;
        }
        tx.commit().await?;
        Ok(migrated)
    }

    pub(super) async fn redeem_code(
        &self,
        hash: SecretHash,
        grant: Grant,
        refresh: NewRefresh,
        now: Timestamp,
    ) -> Result<Redemption, SqlError> {
        let redeem = bind_grant(Statement::new(REDEEM), grant)
            .time(now)
            .hash(hash)
            .hash(refresh.hash)
            .time(refresh.expires_at);
        if self.write_returning(redeem).await?.is_some() {
            return Ok(Redemption::Redeemed);
        }
        let used = self.read(Statement::new(CODE_IS_USED).hash(hash)).await?;
        Ok(match used.is_empty() {
            false => Redemption::AlreadyUsed,
            true => Redemption::Gone,
        })
    }

    pub(super) async fn rotate_refresh(
        &self,
        old: SecretHash,
        successor: NewRefresh,
        replay: Option<Replay>,
        now: Timestamp,
    ) -> Result<Rotation, SqlError> {
        let (sealed, kept_until) = match replay {
            Some(Replay { sealed, expires_at }) => (Some(sealed), expires_at),
            None => (None, now),
        };
        let rotate = Statement::new(ROTATE)
            .hash(old)
            .time(now)
            .hash(successor.hash)
            .time(successor.expires_at)
            .optional_bytes(sealed)
            .time(kept_until);
        if self.write_returning(rotate).await?.is_some() {
            return Ok(Rotation::Rotated);
        }
        let spent = self.read(Statement::new(SPENT).hash(old).time(now)).await?;
        let Some(row) = spent.into_iter().next() else {
            return Ok(Rotation::Gone);
        };
        Ok(match row.optional_time("rotated_at")? {
            Some(rotated_at) => Rotation::Spent {
                rotated_at,
                replay: row.optional_bytes("replay")?,
            },
            None => Rotation::Gone,
        })
    }
}
