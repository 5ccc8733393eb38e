//! The SQLite store. All SQL of this crate stands here.
//!
//! Durable and serial: write-ahead log, `synchronous=FULL` (an answered rotation survives a power cut), and one connection that writes.
//! Every single-use step is one transaction that takes the write lock at its beginning.

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{Row, Sqlite, Transaction};

use super::{
    AuthorizationCode, AuthorizationRequest, Client, ClientAuthMethod, Grant, NewRefresh, PendingConsent,
    Redemption, RefreshToken, Rotation, Store, StoreError, StoreResult,
};
use crate::clock::Timestamp;
use crate::resource_uri::ResourceUri;
use crate::server::secret::SecretHash;
use crate::verifier::Subject;

/// Each entry is one step of the schema, applied once and never edited after a release. BIGINT, TEXT and BLOB only.
const MIGRATIONS: [&str; 1] = [include_str!("../../../migrations/0001_create_tables.sql")];

/// Connections that only read.
const READERS: u32 = 4;

/// A [`Store`] in an SQLite file. Clones share it.
#[derive(Clone, Debug)]
pub struct SqlStore {
    writer: SqlitePool,
    readers: SqlitePool,
}

impl SqlStore {
    /// Opens a database by URL, `sqlite://path`; the file is made if need be. Call [`migrate`](Self::migrate) before use.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::from_str(url).map_err(|e| failed("not an SQLite URL", e))?;
        Self::with_options(options).await
    }

    /// Opens a database file; it is made if need be. Call [`migrate`](Self::migrate) before use.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        Self::with_options(SqliteConnectOptions::new().filename(path)).await
    }

    /// Brings the tables up to date. A database written by a newer version is refused and left alone.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        let migrated = async {
            let mut tx = self.begin().await?;
            sqlx::query("CREATE TABLE IF NOT EXISTS oauth_migrations (version BIGINT PRIMARY KEY NOT NULL)")
                .execute(&mut *tx)
                .await?;
            let version: i64 = sqlx::query_scalar("SELECT COALESCE(MAX(version), 0) FROM oauth_migrations")
                .fetch_one(&mut *tx)
                .await?;
            for (next, sql) in (1_i64..).zip(MIGRATIONS).filter(|(next, _)| *next > version) {
                sqlx::raw_sql(sql).execute(&mut *tx).await?;
                sqlx::query("INSERT INTO oauth_migrations (version) VALUES ($1)")
                    .bind(next)
                    .execute(&mut *tx)
                    .await?;
            }
            tx.commit().await?;
            Ok(usize::try_from(version).is_ok_and(|version| version <= MIGRATIONS.len()))
        };
        match migrated
            .await
            .map_err(|e| failed("cannot create the tables", e))?
        {
            true => Ok(()),
            false => Err(StoreError::message(
                "the database was written by a newer version of this program",
            )),
        }
    }

    /// Ends every grant and with it every refresh token, and drops what waits for consent or redemption: after a restore, say,
    /// which would bring back what was revoked since. Access tokens that are out live on until they expire.
    pub async fn end_all_grants(&self) -> Result<(), StoreError> {
        let ended = async {
            let mut tx = self.begin().await?;
            for table in [
                "oauth_refresh_tokens",
                "oauth_codes",
                "oauth_consents",
                "oauth_grants",
            ] {
                let delete = sqlx::AssertSqlSafe(format!("DELETE FROM {table}"));
                sqlx::query(delete).execute(&mut *tx).await?;
            }
            tx.commit().await
        };
        ended.await.map_err(|e| failed("cannot end the grants", e))
    }

    /// Closes all connections; the write-ahead log is folded in.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    async fn with_options(options: SqliteConnectOptions) -> Result<Self, StoreError> {
        let options = options
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(10));
        let pool = |count, options| {
            SqlitePoolOptions::new()
                .max_connections(count)
                .connect_with(options)
        };
        let writer = pool(1, options.clone())
            .await
            .map_err(|e| failed("cannot open the database", e))?;
        let readers = pool(READERS, options.pragma("query_only", "ON")).await;
        Ok(Self {
            writer,
            readers: readers.map_err(|e| failed("cannot open the database", e))?,
        })
    }

    /// A transaction on the one connection that writes; it holds the write lock from its beginning.
    async fn begin(&self) -> sqlx::Result<Transaction<'static, Sqlite>> {
        self.writer.begin_with("BEGIN IMMEDIATE").await
    }
}

impl Store for SqlStore {
    fn put_client(&self, client: Client, max_unused: u32) -> StoreResult<'_, ()> {
        answer("cannot add a client", async move {
            let mut tx = self.begin().await?;
            sqlx::query(
                "INSERT INTO oauth_clients (id, secret_hash, auth_method, name, redirect_uris, created_at, used_at) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7)",
            )
            .bind(client.id)
            .bind(client.secret_hash.map(blob))
            .bind(client.auth_method.name())
            .bind(client.name)
            .bind(serde_json::Value::from(client.redirect_uris).to_string())
            .bind(seconds(client.created_at))
            .bind(client.used_at.map(seconds))
            .execute(&mut *tx)
            .await?;
            sqlx::query(
                "DELETE FROM oauth_clients WHERE id IN (SELECT id FROM oauth_clients WHERE used_at IS NULL \
                 ORDER BY created_at DESC, id DESC LIMIT -1 OFFSET $1)",
            )
            .bind(i64::from(max_unused))
            .execute(&mut *tx)
            .await?;
            tx.commit().await
        })
    }

    fn client<'a>(&'a self, id: &'a str) -> StoreResult<'a, Option<Client>> {
        answer("cannot read a client", async move {
            let row = sqlx::query("SELECT * FROM oauth_clients WHERE id = $1").bind(id);
            row.fetch_optional(&self.readers)
                .await?
                .map(|row| client_of(&row))
                .transpose()
        })
    }

    fn put_consent(&self, handle: SecretHash, consent: PendingConsent) -> StoreResult<'_, ()> {
        answer("cannot add a consent", async move {
            sqlx::query(
                "INSERT INTO oauth_consents (handle_hash, request, subject, browser_hash, expires_at) \
                 VALUES ($1, $2, $3, $4, $5)",
            )
            .bind(blob(handle))
            .bind(request_json(&consent.request))
            .bind(consent.subject.as_str())
            .bind(blob(consent.browser))
            .bind(seconds(consent.expires_at))
            .execute(&self.writer)
            .await?;
            Ok(())
        })
    }

    fn take_consent(&self, handle: SecretHash) -> StoreResult<'_, Option<PendingConsent>> {
        answer("cannot take a consent", async move {
            let taken = sqlx::query("DELETE FROM oauth_consents WHERE handle_hash = $1 RETURNING *")
                .bind(blob(handle));
            let row = taken.fetch_optional(&self.writer).await?;
            row.map(|row| {
                Ok(PendingConsent {
                    request: request_of(&row)?,
                    subject: Subject::new(row.try_get::<String, _>("subject")?),
                    browser: hash_of(&row, "browser_hash")?,
                    expires_at: time_of(&row, "expires_at")?,
                })
            })
            .transpose()
        })
    }

    fn put_code(&self, hash: SecretHash, code: AuthorizationCode) -> StoreResult<'_, ()> {
        answer("cannot add a code", async move {
            sqlx::query(
                "INSERT INTO oauth_codes (code_hash, request, subject, grant_id, expires_at) \
                 VALUES ($1, $2, $3, $4, $5)",
            )
            .bind(blob(hash))
            .bind(request_json(&code.request))
            .bind(code.subject.as_str())
            .bind(code.grant_id)
            .bind(seconds(code.expires_at))
            .execute(&self.writer)
            .await?;
            Ok(())
        })
    }

    fn code(&self, hash: SecretHash) -> StoreResult<'_, Option<AuthorizationCode>> {
        answer("cannot read a code", async move {
            let row = sqlx::query("SELECT * FROM oauth_codes WHERE code_hash = $1").bind(blob(hash));
            let row = row.fetch_optional(&self.readers).await?;
            row.map(|row| {
                Ok(AuthorizationCode {
                    request: request_of(&row)?,
                    subject: Subject::new(row.try_get::<String, _>("subject")?),
                    grant_id: row.try_get("grant_id")?,
                    expires_at: time_of(&row, "expires_at")?,
                })
            })
            .transpose()
        })
    }

    fn redeem_code(
        &self,
        hash: SecretHash,
        grant: Grant,
        refresh: NewRefresh,
        now: Timestamp,
    ) -> StoreResult<'_, Redemption> {
        answer("cannot redeem a code", async move {
            let mut tx = self.begin().await?;
            let taken = sqlx::query(
                "UPDATE oauth_codes SET used_at = $2 WHERE code_hash = $1 AND used_at IS NULL AND expires_at > $2",
            )
            .bind(blob(hash))
            .bind(seconds(now))
            .execute(&mut *tx)
            .await?;
            if taken.rows_affected() == 0 {
                let used = "SELECT COUNT(*) FROM oauth_codes WHERE code_hash = $1 AND used_at IS NOT NULL";
                let used: i64 = sqlx::query_scalar(used)
                    .bind(blob(hash))
                    .fetch_one(&mut *tx)
                    .await?;
                return Ok(if used > 0 {
                    Redemption::AlreadyUsed
                } else {
                    Redemption::Gone
                });
            }
            sqlx::query("UPDATE oauth_clients SET used_at = $2 WHERE id = $1 AND used_at IS NULL")
                .bind(&grant.client_id)
                .bind(seconds(now))
                .execute(&mut *tx)
                .await?;
            insert_refresh(&mut tx, &grant.id, refresh).await?;
            sqlx::query(
                "INSERT INTO oauth_grants (id, client_id, subject, resource, scopes, expires_at, revoked) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7)",
            )
            .bind(grant.id)
            .bind(grant.client_id)
            .bind(grant.subject.as_str())
            .bind(grant.resource.as_str())
            .bind(grant.scopes.to_string())
            .bind(seconds(grant.expires_at))
            .bind(i64::from(grant.revoked))
            .execute(&mut *tx)
            .await?;
            tx.commit().await?;
            Ok(Redemption::Redeemed)
        })
    }

    fn refresh_token(&self, hash: SecretHash) -> StoreResult<'_, Option<RefreshToken>> {
        answer("cannot read a refresh token", async move {
            let row = sqlx::query(
                "SELECT g.id, g.client_id, g.subject, g.resource, g.scopes, g.revoked, \
                 g.expires_at AS grant_expires_at, t.expires_at, t.rotated_at \
                 FROM oauth_refresh_tokens t JOIN oauth_grants g ON g.id = t.grant_id WHERE t.token_hash = $1",
            )
            .bind(blob(hash))
            .fetch_optional(&self.readers)
            .await?;
            row.map(|row| {
                Ok(RefreshToken {
                    grant: grant_of(&row)?,
                    expires_at: time_of(&row, "expires_at")?,
                    rotated_at: optional_time_of(&row, "rotated_at")?,
                })
            })
            .transpose()
        })
    }

    fn rotate_refresh(
        &self,
        old: SecretHash,
        successor: NewRefresh,
        now: Timestamp,
    ) -> StoreResult<'_, Rotation> {
        answer("cannot rotate a refresh token", async move {
            let mut tx = self.begin().await?;
            let spent = sqlx::query_scalar::<_, String>(
                "UPDATE oauth_refresh_tokens SET rotated_at = $2 \
                 WHERE token_hash = $1 AND rotated_at IS NULL AND expires_at > $2 AND EXISTS (SELECT 1 FROM oauth_grants g \
                 WHERE g.id = oauth_refresh_tokens.grant_id AND g.revoked = 0 AND g.expires_at > $2) RETURNING grant_id",
            )
            .bind(blob(old))
            .bind(seconds(now))
            .fetch_optional(&mut *tx)
            .await?;
            if let Some(grant_id) = spent {
                insert_refresh(&mut tx, &grant_id, successor).await?;
                tx.commit().await?;
                return Ok(Rotation::Rotated);
            }
            let row = sqlx::query("SELECT rotated_at FROM oauth_refresh_tokens WHERE token_hash = $1")
                .bind(blob(old));
            let row = row.fetch_optional(&mut *tx).await?;
            let rotated_at = row
                .map(|row| optional_time_of(&row, "rotated_at"))
                .transpose()?
                .flatten();
            Ok(rotated_at.map_or(Rotation::Gone, |rotated_at| Rotation::Spent { rotated_at }))
        })
    }

    fn revoke_grant<'a>(&'a self, grant_id: &'a str) -> StoreResult<'a, ()> {
        answer("cannot revoke a grant", async move {
            let revoke = sqlx::query("UPDATE oauth_grants SET revoked = 1 WHERE id = $1").bind(grant_id);
            revoke.execute(&self.writer).await?;
            Ok(())
        })
    }

    fn is_revoked<'a>(&'a self, grant_id: &'a str) -> StoreResult<'a, bool> {
        answer("cannot read a grant", async move {
            let revoked = "SELECT COUNT(*) FROM oauth_grants WHERE id = $1 AND revoked <> 0";
            let revoked: i64 = sqlx::query_scalar(revoked)
                .bind(grant_id)
                .fetch_one(&self.readers)
                .await?;
            Ok(revoked > 0)
        })
    }

    fn signing_keys(&self) -> StoreResult<'_, Option<String>> {
        answer("cannot read the signing keys", async move {
            let keys = sqlx::query_scalar("SELECT sealed FROM oauth_signing_keys WHERE id = 1");
            keys.fetch_optional(&self.readers).await
        })
    }

    fn init_signing_keys(&self, sealed: String) -> StoreResult<'_, String> {
        answer("cannot keep the signing keys", async move {
            let mut tx = self.begin().await?;
            sqlx::query(
                "INSERT INTO oauth_signing_keys (id, sealed) VALUES (1, $1) ON CONFLICT (id) DO NOTHING",
            )
            .bind(sealed)
            .execute(&mut *tx)
            .await?;
            let stands = sqlx::query_scalar("SELECT sealed FROM oauth_signing_keys WHERE id = 1");
            let stands = stands.fetch_one(&mut *tx).await?;
            tx.commit().await?;
            Ok(stands)
        })
    }

    fn sweep(&self, now: Timestamp, unused_since: Timestamp, limit: u32) -> StoreResult<'_, u64> {
        answer("cannot sweep", async move {
            let statements = [
                (
                    "DELETE FROM oauth_consents WHERE handle_hash IN \
                  (SELECT handle_hash FROM oauth_consents WHERE expires_at <= $1 LIMIT $2)",
                    now,
                ),
                // A code that was used stays as long as its grant, so that its replay is recognised.
                (
                    "DELETE FROM oauth_codes WHERE code_hash IN (SELECT code_hash FROM oauth_codes WHERE expires_at <= $1 \
                  AND (used_at IS NULL OR grant_id NOT IN (SELECT id FROM oauth_grants)) LIMIT $2)",
                    now,
                ),
                (
                    "DELETE FROM oauth_refresh_tokens WHERE token_hash IN \
                  (SELECT token_hash FROM oauth_refresh_tokens WHERE expires_at <= $1 LIMIT $2)",
                    now,
                ),
                (
                    "DELETE FROM oauth_grants WHERE id IN \
                  (SELECT id FROM oauth_grants WHERE expires_at <= $1 LIMIT $2)",
                    now,
                ),
                (
                    "DELETE FROM oauth_clients WHERE id IN \
                  (SELECT id FROM oauth_clients WHERE used_at IS NULL AND created_at < $1 LIMIT $2)",
                    unused_since,
                ),
            ];
            let mut removed = 0;
            for (statement, before) in statements {
                // One short transaction each: a waiting rotation gets its turn between them.
                let done = sqlx::query(statement)
                    .bind(seconds(before))
                    .bind(i64::from(limit))
                    .execute(&self.writer)
                    .await?;
                removed += done.rows_affected();
            }
            Ok(removed)
        })
    }
}

fn answer<'a, T: Send + 'a>(
    what: &'static str,
    work: impl Future<Output = sqlx::Result<T>> + Send + 'a,
) -> StoreResult<'a, T> {
    Box::pin(async move { work.await.map_err(|error| failed(what, error)) })
}

fn failed(what: &str, error: sqlx::Error) -> StoreError {
    StoreError::new(what, error)
}

async fn insert_refresh(
    tx: &mut Transaction<'static, Sqlite>,
    grant_id: &str,
    token: NewRefresh,
) -> sqlx::Result<()> {
    sqlx::query("INSERT INTO oauth_refresh_tokens (token_hash, grant_id, expires_at) VALUES ($1, $2, $3)")
        .bind(blob(token.hash))
        .bind(grant_id)
        .bind(seconds(token.expires_at))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

fn client_of(row: &SqliteRow) -> sqlx::Result<Client> {
    let method: String = row.try_get("auth_method")?;
    let redirect_uris: String = row.try_get("redirect_uris")?;
    let secret_hash: Option<Vec<u8>> = row.try_get("secret_hash")?;
    Ok(Client {
        id: row.try_get("id")?,
        secret_hash: secret_hash.map(hash_of_bytes).transpose()?,
        auth_method: ClientAuthMethod::from_name(&method).ok_or_else(damaged)?,
        name: row.try_get("name")?,
        redirect_uris: serde_json::from_str(&redirect_uris).map_err(|_| damaged())?,
        created_at: time_of(row, "created_at")?,
        used_at: optional_time_of(row, "used_at")?,
    })
}

fn grant_of(row: &SqliteRow) -> sqlx::Result<Grant> {
    Ok(Grant {
        id: row.try_get("id")?,
        client_id: row.try_get("client_id")?,
        subject: Subject::new(row.try_get::<String, _>("subject")?),
        resource: resource_of(row.try_get("resource")?)?,
        scopes: row
            .try_get::<String, _>("scopes")?
            .parse()
            .map_err(|_| damaged())?,
        expires_at: time_of(row, "grant_expires_at")?,
        revoked: row.try_get::<i64, _>("revoked")? != 0,
    })
}

/// The column `request` of codes and consents.
fn request_json(request: &AuthorizationRequest) -> String {
    serde_json::json!({
        "client_id": request.client_id,
        "redirect_uri": request.redirect_uri,
        "redirect_uri_was_sent": request.redirect_uri_was_sent,
        "state": request.state,
        "code_challenge": request.code_challenge,
        "resource": request.resource.as_str(),
        "scopes": request.scopes,
    })
    .to_string()
}

fn request_of(row: &SqliteRow) -> sqlx::Result<AuthorizationRequest> {
    #[derive(serde::Deserialize)]
    struct Stored {
        client_id: String,
        redirect_uri: String,
        redirect_uri_was_sent: bool,
        state: Option<String>,
        code_challenge: String,
        resource: String,
        scopes: crate::scope::Scopes,
    }
    let stored: Stored = serde_json::from_str(row.try_get("request")?).map_err(|_| damaged())?;
    Ok(AuthorizationRequest {
        client_id: stored.client_id,
        redirect_uri: stored.redirect_uri,
        redirect_uri_was_sent: stored.redirect_uri_was_sent,
        state: stored.state,
        code_challenge: stored.code_challenge,
        resource: resource_of(stored.resource)?,
        scopes: stored.scopes,
    })
}

/// A resource that was accepted when it was stored, be it by the operator's leave (`insecure_http`).
fn resource_of(text: String) -> sqlx::Result<ResourceUri> {
    ResourceUri::insecure_http(&text).map_err(|_| damaged())
}

fn time_of(row: &SqliteRow, column: &str) -> sqlx::Result<Timestamp> {
    optional_time_of(row, column)?.ok_or_else(damaged)
}

fn optional_time_of(row: &SqliteRow, column: &str) -> sqlx::Result<Option<Timestamp>> {
    let value: Option<i64> = row.try_get(column)?;
    value
        .map(|value| {
            u64::try_from(value)
                .map(Timestamp::from_secs)
                .map_err(|_| damaged())
        })
        .transpose()
}

fn hash_of(row: &SqliteRow, column: &str) -> sqlx::Result<SecretHash> {
    hash_of_bytes(row.try_get(column)?)
}

fn hash_of_bytes(bytes: Vec<u8>) -> sqlx::Result<SecretHash> {
    bytes
        .try_into()
        .map(SecretHash::from_bytes)
        .map_err(|_| damaged())
}

fn blob(hash: SecretHash) -> Vec<u8> {
    hash.as_bytes().to_vec()
}

fn seconds(time: Timestamp) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

fn damaged() -> sqlx::Error {
    sqlx::Error::Decode("a row holds what this version never writes".into())
}
