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
            "SELECT slug, organisation, revision, spec_digest, source, compiled FROM servers ORDER BY slug",
        )
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(server).collect()
    }

    /// The server of this slug.
    pub(crate) async fn server(&self, slug: &str) -> Result<Option<ServerRow>, DbError> {
        let row = sqlx::query(
            "SELECT slug, organisation, revision, spec_digest, source, compiled FROM servers WHERE slug = $1",
        )
        .bind(slug)
        .fetch_optional(&self.pool)
        .await?;
        row.as_ref().map(server).transpose()
    }

    /// Keeps a server of the local organisation under its slug, in place of an earlier revision.
    pub(crate) async fn put_server(
        &self,
        new: &NewServer,
        revision: i64,
        now: Timestamp,
    ) -> Result<(), DbError> {
        let done = sqlx::query(
            "INSERT INTO servers (slug, organisation, revision, spec_digest, source, compiled, created_at, updated_at) \
             SELECT $1, $2, $3, $4, $5, $6, $7, $7 \
             WHERE NOT EXISTS (SELECT 1 FROM slug_tombstones WHERE slug = $1 AND organisation <> $2) \
             ON CONFLICT (slug) DO UPDATE SET revision = excluded.revision, spec_digest = excluded.spec_digest, \
             source = excluded.source, compiled = excluded.compiled, updated_at = excluded.updated_at \
             WHERE servers.organisation = excluded.organisation",
        )
        .bind(&new.slug)
        .bind(LOCAL_ORGANISATION)
        .bind(revision)
        .bind(&new.spec_digest)
        .bind(new.source.as_slice())
        .bind(&new.compiled)
        .bind(seconds(now))
        .execute(&self.pool)
        .await?;
        if done.rows_affected() == 0 {
            return Err(DbError::SlugTaken(new.slug.clone()));
        }
        Ok(())
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
    })
}
