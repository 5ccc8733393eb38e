//! Users, their sessions, and the single-use tokens of sign-in links. Only hashes of secrets are stored.

use bmm_oauth::Timestamp;
use sqlx::Row as _;

use super::{Db, DbError, seconds};

/// The organisation of the one who started `bmm up`.
pub(crate) const LOCAL_ORGANISATION: &str = "local";

/// Somebody who can be signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UserRow {
    pub(crate) id: String,
    pub(crate) organisation: String,
    pub(crate) display_name: String,
}

impl Db {
    /// The owner of this instance, made at the first call.
    pub(crate) async fn local_owner(&self, now: Timestamp) -> Result<UserRow, DbError> {
        let mut id = [0; 12];
        getrandom::fill(&mut id).map_err(|_| DbError::Randomness)?;
        let id = id
            .iter()
            .fold("usr_".to_owned(), |text, byte| text + &format!("{byte:02x}"));
        sqlx::query(
            "INSERT INTO users (id, organisation, display_name, created_at) SELECT $1, $2, 'Local owner', $3 \
             WHERE NOT EXISTS (SELECT 1 FROM users WHERE organisation = $2)",
        )
        .bind(id)
        .bind(LOCAL_ORGANISATION)
        .bind(seconds(now))
        .execute(&self.pool)
        .await?;
        let row = sqlx::query(
            "SELECT id, organisation, display_name FROM users WHERE organisation = $1 ORDER BY created_at, id LIMIT 1",
        )
        .bind(LOCAL_ORGANISATION)
        .fetch_one(&self.pool)
        .await?;
        user(&row)
    }

    /// The user of this id.
    pub(crate) async fn user(&self, id: &str) -> Result<Option<UserRow>, DbError> {
        let row = sqlx::query("SELECT id, organisation, display_name FROM users WHERE id = $1")
            .bind(id)
            .fetch_optional(&self.pool)
            .await?;
        row.as_ref().map(user).transpose()
    }

    /// Keeps a token until it is taken or expires; expired ones are swept out on the way.
    pub(crate) async fn put_login_token(
        &self,
        hash: &[u8; 32],
        user_id: &str,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), DbError> {
        sqlx::query("DELETE FROM login_tokens WHERE expires_at <= $1")
            .bind(seconds(now))
            .execute(&self.pool)
            .await?;
        sqlx::query("INSERT INTO login_tokens (hash, user_id, expires_at) VALUES ($1, $2, $3)")
            .bind(hash.as_slice())
            .bind(user_id)
            .bind(seconds(expires_at))
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Uses a token up. One statement, so that of many takers one gets the user.
    pub(crate) async fn take_login_token(
        &self,
        hash: &[u8; 32],
        now: Timestamp,
    ) -> Result<Option<String>, DbError> {
        let row = sqlx::query("DELETE FROM login_tokens WHERE hash = $1 RETURNING user_id, expires_at")
            .bind(hash.as_slice())
            .fetch_optional(&self.pool)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let (user_id, expires_at): (String, i64) = (row.try_get(0)?, row.try_get(1)?);
        Ok((seconds(now) < expires_at).then_some(user_id))
    }

    /// Keeps a session; expired ones are swept out on the way.
    pub(crate) async fn put_session(
        &self,
        hash: &[u8; 32],
        user_id: &str,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<(), DbError> {
        sqlx::query("DELETE FROM sessions WHERE expires_at <= $1")
            .bind(seconds(now))
            .execute(&self.pool)
            .await?;
        sqlx::query("INSERT INTO sessions (hash, user_id, created_at, expires_at) VALUES ($1, $2, $3, $4)")
            .bind(hash.as_slice())
            .bind(user_id)
            .bind(seconds(now))
            .bind(seconds(expires_at))
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Whose session this is, if it has not ended.
    pub(crate) async fn session_user(
        &self,
        hash: &[u8; 32],
        now: Timestamp,
    ) -> Result<Option<UserRow>, DbError> {
        let row = sqlx::query(
            "SELECT u.id, u.organisation, u.display_name FROM sessions s JOIN users u ON u.id = s.user_id \
             WHERE s.hash = $1 AND s.expires_at > $2",
        )
        .bind(hash.as_slice())
        .bind(seconds(now))
        .fetch_optional(&self.pool)
        .await?;
        row.as_ref().map(user).transpose()
    }

    /// Ends a session.
    pub(crate) async fn delete_session(&self, hash: &[u8; 32]) -> Result<(), DbError> {
        sqlx::query("DELETE FROM sessions WHERE hash = $1")
            .bind(hash.as_slice())
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}

fn user(row: &sqlx::sqlite::SqliteRow) -> Result<UserRow, DbError> {
    Ok(UserRow {
        id: row.try_get(0)?,
        organisation: row.try_get(1)?,
        display_name: row.try_get(2)?,
    })
}
