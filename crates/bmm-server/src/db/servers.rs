//! The servers that are wished for, as they were admitted.

use bmm_oauth::Timestamp;
use sqlx::Row as _;

use super::{Db, DbError, LOCAL_ORGANISATION, seconds};

/// A server as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct ServerRow {
    pub(crate) slug: String,
    pub(crate) organisation: String,
    pub(crate) revision: i64,
    pub(crate) spec_digest: String,
    /// The spec file's bytes.
    pub(crate) source: Vec<u8>,
    /// What a runner gets: `CompiledSpec` as JSON.
    pub(crate) compiled: String,
    /// Whether it is to stay down.
    pub(crate) stopped: bool,
}

/// A server that was admitted.
#[derive(Clone, Debug)]
pub(crate) struct NewServer {
    pub(crate) slug: String,
    pub(crate) spec_digest: String,
    /// The spec file's bytes, for editing.
    pub(crate) source: Vec<u8>,
    pub(crate) compiled: String,
}

impl Db {
    /// All servers, by slug.
    pub(crate) async fn servers(&self) -> Result<Vec<ServerRow>, DbError> {
        let rows = sqlx::query(
            "SELECT slug, organisation, revision, spec_digest, source, compiled, stopped FROM servers ORDER BY slug",
        )
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(server).collect()
    }

    /// The server of this slug.
    pub(crate) async fn server(&self, slug: &str) -> Result<Option<ServerRow>, DbError> {
        let row = sqlx::query(
            "SELECT slug, organisation, revision, spec_digest, source, compiled, stopped FROM servers WHERE slug = $1",
        )
        .bind(slug)
        .fetch_optional(&self.pool)
        .await?;
        row.as_ref().map(server).transpose()
    }

    /// Keeps a server of the local organisation under its slug, and what it was before as the revision to go back to.
    pub(crate) async fn put_server(
        &self,
        new: &NewServer,
        revision: i64,
        now: Timestamp,
    ) -> Result<(), DbError> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::query(
            "INSERT OR REPLACE INTO previous_revisions (slug, revision, spec_digest, source, compiled) \
             SELECT slug, revision, spec_digest, source, compiled FROM servers \
             WHERE slug = $1 AND organisation = $2 AND revision <> $3",
        )
        .bind(&new.slug)
        .bind(LOCAL_ORGANISATION)
        .bind(revision)
        .execute(&mut *transaction)
        .await?;
        let done = sqlx::query(
            "INSERT INTO servers (slug, organisation, revision, spec_digest, source, compiled, created_at, updated_at) \
             SELECT $1, $2, $3, $4, $5, $6, $7, $7 \
             WHERE NOT EXISTS (SELECT 1 FROM slug_tombstones WHERE slug = $1 AND organisation <> $2) \
             ON CONFLICT (slug) DO UPDATE SET revision = excluded.revision, spec_digest = excluded.spec_digest, \
             source = excluded.source, compiled = excluded.compiled, updated_at = excluded.updated_at, stopped = 0 \
             WHERE servers.organisation = excluded.organisation",
        )
        .bind(&new.slug)
        .bind(LOCAL_ORGANISATION)
        .bind(revision)
        .bind(&new.spec_digest)
        .bind(new.source.as_slice())
        .bind(&new.compiled)
        .bind(seconds(now))
        .execute(&mut *transaction)
        .await?;
        if done.rows_affected() == 0 {
            return Err(DbError::SlugTaken(new.slug.clone()));
        }
        transaction.commit().await?;
        Ok(())
    }

    /// What the server was before, if it was anything.
    pub(crate) async fn previous(&self, slug: &str) -> Result<Option<ServerRow>, DbError> {
        let row = sqlx::query(
            "SELECT slug, organisation, previous.revision, previous.spec_digest, previous.source, previous.compiled, \
             stopped FROM servers JOIN previous_revisions AS previous USING (slug) WHERE slug = $1",
        )
        .bind(slug)
        .fetch_optional(&self.pool)
        .await?;
        row.as_ref().map(server).transpose()
    }

    /// Makes the server what it was before, and what it is the revision to go back to. `false` if it was nothing before.
    pub(crate) async fn swap_revisions(&self, slug: &str, now: Timestamp) -> Result<bool, DbError> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let Some(current) = sqlx::query(
            "SELECT slug, organisation, revision, spec_digest, source, compiled, stopped FROM servers WHERE slug = $1",
        )
        .bind(slug)
        .fetch_optional(&mut *transaction)
        .await?
        else {
            return Ok(false);
        };
        let current = server(&current)?;
        let done = sqlx::query(
            "UPDATE servers SET (revision, spec_digest, source, compiled) = \
             (SELECT revision, spec_digest, source, compiled FROM previous_revisions WHERE slug = $1), \
             updated_at = $2 WHERE slug = $1 AND EXISTS (SELECT 1 FROM previous_revisions WHERE slug = $1)",
        )
        .bind(slug)
        .bind(seconds(now))
        .execute(&mut *transaction)
        .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        sqlx::query(
            "UPDATE previous_revisions SET revision = $2, spec_digest = $3, source = $4, compiled = $5 WHERE slug = $1",
        )
        .bind(slug)
        .bind(current.revision)
        .bind(&current.spec_digest)
        .bind(current.source.as_slice())
        .bind(&current.compiled)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// A number that no revision of this slug that is kept has or comes after.
    pub(crate) async fn next_revision(&self, slug: &str) -> Result<i64, DbError> {
        let last: i64 = sqlx::query_scalar(
            "SELECT max(coalesce((SELECT revision FROM servers WHERE slug = $1), 0), \
             coalesce((SELECT revision FROM previous_revisions WHERE slug = $1), 0))",
        )
        .bind(slug)
        .fetch_one(&self.pool)
        .await?;
        Ok(last + 1)
    }

    /// Whether the server is to stay down. `false` if there is none.
    pub(crate) async fn set_stopped(&self, slug: &str, stopped: bool) -> Result<bool, DbError> {
        let done = sqlx::query("UPDATE servers SET stopped = $2 WHERE slug = $1")
            .bind(slug)
            .bind(stopped)
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected() > 0)
    }
}

fn server(row: &sqlx::sqlite::SqliteRow) -> Result<ServerRow, DbError> {
    Ok(ServerRow {
        slug: row.try_get(0)?,
        organisation: row.try_get(1)?,
        revision: row.try_get(2)?,
        spec_digest: row.try_get(3)?,
        source: row.try_get(4)?,
        compiled: row.try_get(5)?,
        stopped: row.try_get(6)?,
    })
}
