//! The sealed values of servers' secrets.

use bmm_oauth::Timestamp;
use sqlx::Row as _;

use super::{Db, DbError, seconds};

/// A secret of a server as it is stored.
pub(crate) struct SecretRow {
    pub(crate) slug: String,
    pub(crate) name: String,
    /// Counts the changes of the server's secrets; this one was the latest when it was stored.
    pub(crate) revision: i64,
    pub(crate) sealed: String,
}

impl Db {
    /// Keeps a sealed value in place of an earlier one. `false` if the organisation has no such server.
    pub(crate) async fn put_secret(
        &self,
        slug: &str,
        organisation: &str,
        name: &str,
        sealed: &str,
        now: Timestamp,
    ) -> Result<bool, DbError> {
        let done = sqlx::query(
            "INSERT INTO server_secrets (slug, name, organisation, revision, sealed, updated_at) \
             SELECT slug, $3, organisation, \
             1 + (SELECT coalesce(max(revision), 0) FROM server_secrets WHERE slug = $1), $4, $5 \
             FROM servers WHERE slug = $1 AND organisation = $2 \
             ON CONFLICT (slug, name) DO UPDATE SET organisation = excluded.organisation, \
             revision = excluded.revision, sealed = excluded.sealed, updated_at = excluded.updated_at",
        )
        .bind(slug)
        .bind(organisation)
        .bind(name)
        .bind(sealed)
        .bind(seconds(now))
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() > 0)
    }

    /// All secrets of one server, by name.
    pub(crate) async fn secrets(&self, slug: &str) -> Result<Vec<SecretRow>, DbError> {
        let rows = sqlx::query(
            "SELECT slug, name, revision, sealed FROM server_secrets WHERE slug = $1 ORDER BY name",
        )
        .bind(slug)
        .fetch_all(&self.pool)
        .await?;
        let rows = rows.iter().map(|row| {
            Ok(SecretRow {
                slug: row.try_get(0)?,
                name: row.try_get(1)?,
                revision: row.try_get(2)?,
                sealed: row.try_get(3)?,
            })
        });
        rows.collect()
    }

    /// Slug and name of every secret that has a value.
    pub(crate) async fn secret_names(&self) -> Result<Vec<(String, String)>, DbError> {
        let rows = sqlx::query("SELECT slug, name FROM server_secrets")
            .fetch_all(&self.pool)
            .await?;
        rows.iter()
            .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
            .collect()
    }

    /// Slug and latest revision of the secrets of every server that has any and is not stopped.
    pub(crate) async fn secret_revisions(&self) -> Result<Vec<(String, i64)>, DbError> {
        let rows = sqlx::query(
            "SELECT slug, max(server_secrets.revision) FROM server_secrets JOIN servers USING (slug) \
             WHERE NOT stopped GROUP BY slug",
        )
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
            .collect()
    }
}
