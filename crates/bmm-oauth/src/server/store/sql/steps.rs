//! The steps of the store. Most are one statement that both databases understand.

use super::error::SqlError;
use super::shared::{ADD_GRANT, USE_CLIENT, bind_grant};
use super::statement::{Row, Statement};
use super::{Database, SqlStore};
use crate::clock::Timestamp;
use crate::resource_uri::ResourceUri;
use crate::server::secret::SecretHash;
use crate::server::store::{
    AuthorizationCode, Client, ClientAuthMethod, Grant, NewRefresh, Once, OnceKind, Redemption, RefreshToken,
    Replay, Revocations, RevokedGrant, Rotation, Store, StoreError, StoreResult,
};
use crate::verifier::Subject;

/// Most never-used clients that one registration removes.
const MAX_EVICTED: i64 = 1000;
/// How many revocations are read at once to learn what other replicas revoked.
const REVOKED_PAGE: u32 = 1000;

/// Statements that delete at most `$2` rows that ended by `$1`; the last one deletes clients that were never used. PostgreSQL passes over rows that another
/// replica deletes just now.
macro_rules! sweeps {
    ($lock:literal) => {
        [
            concat!(
                "DELETE FROM oauth_once WHERE (kind, key_hash) IN \
                 (SELECT kind, key_hash FROM oauth_once WHERE expires_at <= $1 LIMIT $2",
                $lock,
                ")"
            ),
            concat!(
                "DELETE FROM oauth_codes WHERE code_hash IN \
                 (SELECT code_hash FROM oauth_codes WHERE expires_at <= $1 LIMIT $2",
                $lock,
                ")"
            ),
            concat!(
                "DELETE FROM oauth_refresh_tokens WHERE token_hash IN \
                 (SELECT token_hash FROM oauth_refresh_tokens WHERE expires_at <= $1 LIMIT $2",
                $lock,
                ")"
            ),
            concat!(
                "DELETE FROM oauth_revocations WHERE seq IN \
                 (SELECT seq FROM oauth_revocations WHERE ends_at <= $1 LIMIT $2",
                $lock,
                ")"
            ),
            concat!(
                "DELETE FROM oauth_grants WHERE id IN (SELECT id FROM oauth_grants WHERE expires_at <= $1 LIMIT $2",
                $lock,
                ")"
            ),
            concat!(
                "DELETE FROM oauth_clients WHERE id IN \
                 (SELECT id FROM oauth_clients WHERE used_at IS NULL AND created_at < $1 LIMIT $2",
                $lock,
                ")"
            ),
        ]
    };
}

impl Once for SqlStore {
    fn put(
        &self,
        kind: OnceKind,
        key: SecretHash,
        value: Vec<u8>,
        expires_at: Timestamp,
    ) -> StoreResult<'_, ()> {
        let put = Statement::new(
            "INSERT INTO oauth_once (kind, key_hash, value, expires_at) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (kind, key_hash) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at",
        );
        let put = put.text(kind.name()).hash(key).bytes(value).time(expires_at);
        self.run("cannot keep a single-use value", vec![put])
    }

    fn take(&self, kind: OnceKind, key: SecretHash, now: Timestamp) -> StoreResult<'_, Option<Vec<u8>>> {
        let take = Statement::new(
            "DELETE FROM oauth_once WHERE kind = $1 AND key_hash = $2 AND expires_at > $3 RETURNING value",
        );
        let take = take.text(kind.name()).hash(key).time(now);
        answer("cannot take a single-use value", async move {
            let row = self.write_returning(take).await?;
            row.map(|row| row.bytes("value")).transpose()
        })
    }

    fn claim(
        &self,
        kind: OnceKind,
        key: SecretHash,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> StoreResult<'_, bool> {
        let claim = Statement::new(
            "INSERT INTO oauth_once (kind, key_hash, value, expires_at) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (kind, key_hash) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at \
             WHERE oauth_once.expires_at <= $5",
        );
        let claim = claim.text(kind.name()).hash(key).bytes(Vec::new());
        let claim = claim.time(expires_at).time(now);
        answer("cannot claim a single-use key", async move {
            Ok(expires_at > now && self.execute(vec![claim]).await? == 1)
        })
    }
}

impl Store for SqlStore {
    fn put_client(&self, client: Client, max_unused: u32) -> StoreResult<'_, ()> {
        answer("cannot add a client", async move {
            let add = Statement::new(
                "INSERT INTO oauth_clients (id, secret_hash, auth_method, name, redirect_uris, metadata, created_at, used_at) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            );
            let (created_at, used_at) = (client.created_at, client.used_at);
            let add = bind_client(add, client)?.time(created_at).optional_time(used_at);
            let evict = Statement::new(
                // Said twice: on PostgreSQL a client may be used for the first time while this waits for its row.
                "DELETE FROM oauth_clients WHERE used_at IS NULL AND id IN (SELECT id FROM oauth_clients \
                 WHERE used_at IS NULL ORDER BY created_at DESC, id DESC LIMIT $1 OFFSET $2)",
            );
            let evict = evict.integer(MAX_EVICTED).integer(i64::from(max_unused));
            self.execute(vec![add, evict]).await?;
            Ok(())
        })
    }

    fn client<'a>(&'a self, id: &'a str) -> StoreResult<'a, Option<Client>> {
        let client = Statement::new("SELECT * FROM oauth_clients WHERE id = $1").text(id);
        answer("cannot read a client", async move {
            let row = self.read_one(client).await?;
            row.as_ref().map(client_of).transpose()
        })
    }

    fn update_client(&self, client: Client) -> StoreResult<'_, bool> {
        answer("cannot update a client", async move {
            let update = Statement::new(
                "UPDATE oauth_clients SET secret_hash = $2, auth_method = $3, name = $4, redirect_uris = $5, metadata = $6 \
                 WHERE id = $1",
            );
            Ok(self.execute(vec![bind_client(update, client)?]).await? > 0)
        })
    }

    fn remove_client<'a>(&'a self, id: &'a str) -> StoreResult<'a, bool> {
        let remove = Statement::new("DELETE FROM oauth_clients WHERE id = $1").text(id);
        answer("cannot remove a client", async move {
            Ok(self.execute(vec![remove]).await? > 0)
        })
    }

    fn put_grant(&self, grant: Grant, now: Timestamp) -> StoreResult<'_, ()> {
        let used = Statement::new(USE_CLIENT).text(&grant.client_id).time(now);
        let add = bind_grant(Statement::new(ADD_GRANT), grant);
        self.run("cannot add a grant", vec![used, add])
    }

    fn put_code(&self, hash: SecretHash, code: AuthorizationCode) -> StoreResult<'_, ()> {
        answer("cannot add a code", async move {
            let put = Statement::new(
                "INSERT INTO oauth_codes (code_hash, request, subject, grant_id, expires_at) \
                 VALUES ($1, $2, $3, $4, $5)",
            );
            let request = serde_json::to_string(&code.request).map_err(|_| SqlError::Damaged)?;
            let put = put.hash(hash).text(request).text(code.subject.as_str());
            let put = put.text(code.grant_id).time(code.expires_at);
            self.execute(vec![put]).await?;
            Ok(())
        })
    }

    fn code(&self, hash: SecretHash) -> StoreResult<'_, Option<AuthorizationCode>> {
        let code = Statement::new("SELECT * FROM oauth_codes WHERE code_hash = $1").hash(hash);
        answer("cannot read a code", async move {
            let row = self.read_one(code).await?;
            row.as_ref().map(code_of).transpose()
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
            match &self.database {
                Database::Sqlite(database) => database.redeem_code(hash, grant, refresh, now).await,
                Database::Postgres(database) => database.redeem_code(hash, grant, refresh, now).await,
            }
        })
    }

    fn refresh_token(&self, hash: SecretHash, now: Timestamp) -> StoreResult<'_, Option<RefreshToken>> {
        let token = Statement::new(
            "SELECT g.id, g.client_id, g.subject, g.resource, g.scopes, g.revoked, \
             g.expires_at AS grant_expires_at, t.expires_at, t.rotated_at, o.value AS replay \
             FROM oauth_refresh_tokens t JOIN oauth_grants g ON g.id = t.grant_id \
             LEFT JOIN oauth_once o ON o.kind = 'refresh_replay' AND o.key_hash = t.token_hash AND o.expires_at > $2 \
             WHERE t.token_hash = $1",
        );
        let token = token.hash(hash).time(now);
        answer("cannot read a refresh token", async move {
            let row = self.read_one(token).await?;
            row.as_ref().map(refresh_token_of).transpose()
        })
    }

    fn rotate_refresh(
        &self,
        old: SecretHash,
        successor: NewRefresh,
        replay: Option<Replay>,
        now: Timestamp,
    ) -> StoreResult<'_, Rotation> {
        answer("cannot rotate a refresh token", async move {
            match &self.database {
                Database::Sqlite(database) => database.rotate_refresh(old, successor, replay, now).await,
                Database::Postgres(database) => database.rotate_refresh(old, successor, replay, now).await,
            }
        })
    }

    fn revoke_grant<'a>(&'a self, grant_id: &'a str, until: Timestamp) -> StoreResult<'a, ()> {
        answer("cannot revoke a grant", async move {
            // Numbering comes first: it locks the one row, so numbers become visible in their order, and a hole is never filled later.
            let number =
                Statement::new("UPDATE oauth_state SET revocation_seq = revocation_seq + 1 WHERE id = 1");
            let revoke = Statement::new("UPDATE oauth_grants SET revoked = 1 WHERE id = $1").text(grant_id);
            let list = Statement::new(
                "INSERT INTO oauth_revocations (seq, grant_id, ends_at) SELECT revocation_seq, $1, $2 FROM oauth_state \
                 WHERE id = 1 ON CONFLICT (grant_id) DO UPDATE SET ends_at = \
                 CASE WHEN excluded.ends_at > oauth_revocations.ends_at THEN excluded.ends_at ELSE oauth_revocations.ends_at END",
            );
            let list = list.text(grant_id).time(until);
            self.execute(vec![number, revoke, list]).await?;
            self.revoked.insert(grant_id, until);
            Ok(())
        })
    }

    fn revoke_grants_of<'a>(
        &'a self,
        client_id: &'a str,
        now: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> StoreResult<'a, Vec<String>> {
        // The first statement locks the one row, as in `revoke_grant`. Only what is listed is revoked: a grant that is added meanwhile
        // waits for the next step.
        let lock = Statement::new("UPDATE oauth_state SET revocation_seq = revocation_seq WHERE id = 1");
        let list = Statement::new(
            "INSERT INTO oauth_revocations (seq, grant_id, ends_at) \
             SELECT s.revocation_seq + ROW_NUMBER() OVER (ORDER BY g.id), g.id, $3 FROM oauth_state s CROSS JOIN \
             (SELECT id FROM oauth_grants WHERE client_id = $1 AND revoked = 0 AND expires_at > $2 LIMIT $4) AS g \
             WHERE s.id = 1 ON CONFLICT (grant_id) DO NOTHING",
        );
        let list = list.text(client_id).time(now).time(until);
        let list = list.integer(i64::from(limit));
        let number = Statement::new(
            "UPDATE oauth_state SET revocation_seq = COALESCE((SELECT MAX(seq) FROM oauth_revocations \
             WHERE seq > revocation_seq), revocation_seq) WHERE id = 1",
        );
        let revoke = Statement::new(
            "UPDATE oauth_grants SET revoked = 1 WHERE client_id = $1 AND revoked = 0 \
             AND EXISTS (SELECT 1 FROM oauth_revocations r WHERE r.grant_id = oauth_grants.id) RETURNING id",
        );
        let statements = vec![lock, list, number];
        let revoke = revoke.text(client_id);
        answer("cannot revoke the grants of a client", async move {
            let rows = self.execute_returning(statements, revoke).await?;
            let revoked: Vec<String> = rows.iter().map(|row| row.text("id")).collect::<Result<_, _>>()?;
            for grant_id in &revoked {
                self.revoked.insert(grant_id, until);
            }
            Ok(revoked)
        })
    }

    fn is_revoked<'a>(&'a self, grant_id: &'a str) -> StoreResult<'a, bool> {
        let page = |after| self.page_of_revocations(after, REVOKED_PAGE, Timestamp::from_secs(0));
        answer("cannot read the revocations", async move {
            self.revoked.contains(grant_id, page).await
        })
    }

    fn revocations(&self, after: u64, limit: u32, now: Timestamp) -> StoreResult<'_, Revocations> {
        answer(
            "cannot read the revocations",
            self.page_of_revocations(after, limit, now),
        )
    }

    fn signing_keys(&self) -> StoreResult<'_, Option<String>> {
        answer("cannot read the signing keys", async move {
            let row = self.read_one(Statement::new(SIGNING_KEYS)).await?;
            row.map(|row| row.text("sealed")).transpose()
        })
    }

    fn init_signing_keys(&self, sealed: String) -> StoreResult<'_, String> {
        answer("cannot keep the signing keys", async move {
            let init = Statement::new(
                "INSERT INTO oauth_signing_keys (id, sealed) VALUES (1, $1) ON CONFLICT (id) DO NOTHING",
            );
            self.execute(vec![init.text(sealed)]).await?;
            let row = self.read_one(Statement::new(SIGNING_KEYS)).await?;
            row.ok_or(SqlError::Damaged)?.text("sealed")
        })
    }

    fn replace_signing_keys(&self, old: String, new: String) -> StoreResult<'_, bool> {
        answer("cannot replace the signing keys", async move {
            let replace =
                Statement::new("UPDATE oauth_signing_keys SET sealed = $2 WHERE id = 1 AND sealed = $1");
            Ok(self.execute(vec![replace.text(old).text(new)]).await? == 1)
        })
    }

    fn sweep(&self, now: Timestamp, unused_since: Timestamp, limit: u32) -> StoreResult<'_, u64> {
        answer("cannot sweep", async move {
            self.revoked.forget(now);
            let statements = match &self.database {
                Database::Sqlite(_) => sweeps!(""),
                Database::Postgres(_) => sweeps!(" FOR UPDATE SKIP LOCKED"),
            };
            let before = [now, now, now, now, now, unused_since];
            let mut removed = 0;
            for (statement, before) in statements.into_iter().zip(before) {
                // One short transaction each: a waiting rotation gets its turn between them.
                let sweep = Statement::new(statement).time(before).integer(i64::from(limit));
                removed += self.execute(vec![sweep]).await?;
            }
            Ok(removed)
        })
    }
}

const SIGNING_KEYS: &str = "SELECT sealed FROM oauth_signing_keys WHERE id = 1";

impl SqlStore {
    fn run(&self, what: &'static str, statements: Vec<Statement>) -> StoreResult<'_, ()> {
        answer(what, async move {
            self.execute(statements).await?;
            Ok(())
        })
    }

    /// Number and rows come from one statement, so from one state of the database.
    async fn page_of_revocations(
        &self,
        after: u64,
        limit: u32,
        now: Timestamp,
    ) -> Result<Revocations, SqlError> {
        // A number from the future: the database was restored from a copy.
        let page = Statement::new(
            "SELECT s.epoch, s.revocation_seq, r.seq, r.grant_id, r.ends_at FROM oauth_state s \
             LEFT JOIN oauth_revocations r ON r.seq > CASE WHEN $1 > s.revocation_seq THEN 0 ELSE $1 END AND r.ends_at > $2 \
             WHERE s.id = 1 ORDER BY r.seq LIMIT $3",
        );
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        let page = page.integer(after).time(now).integer(i64::from(limit));
        let rows = self.read(page).await?;
        let first = rows.first().ok_or(SqlError::Damaged)?;
        let number = |number: i64| u64::try_from(number).map_err(|_| SqlError::Damaged);
        let (epoch, mut next) = (first.text("epoch")?, number(first.integer("revocation_seq")?)?);
        let mut revoked = Vec::new();
        for row in &rows {
            let Some(seq) = row.optional_integer("seq")? else {
                continue;
            };
            revoked.push(RevokedGrant {
                grant_id: row.text("grant_id")?,
                until: row.time("ends_at")?,
            });
            if revoked.len() >= limit as usize {
                next = number(seq)?;
            }
        }
        Ok(Revocations { epoch, next, revoked })
    }
}

/// `$1` to `$6`.
fn bind_client(statement: Statement, client: Client) -> Result<Statement, SqlError> {
    Ok(statement
        .text(client.id)
        .optional_hash(client.secret_hash)
        .text(client.auth_method.name())
        .text(client.name)
        .text(serde_json::Value::from(client.redirect_uris).to_string())
        .text(serde_json::to_string(&client.metadata).map_err(|_| SqlError::Damaged)?))
}

fn client_of(row: &Row) -> Result<Client, SqlError> {
    Ok(Client {
        id: row.text("id")?,
        secret_hash: row.optional_hash("secret_hash")?,
        auth_method: ClientAuthMethod::from_name(&row.text("auth_method")?).ok_or(SqlError::Damaged)?,
        name: row.text("name")?,
        redirect_uris: json(&row.text("redirect_uris")?)?,
        created_at: row.time("created_at")?,
        used_at: row.optional_time("used_at")?,
        metadata: json(&row.text("metadata")?)?,
    })
}

fn code_of(row: &Row) -> Result<AuthorizationCode, SqlError> {
    Ok(AuthorizationCode {
        request: json(&row.text("request")?)?,
        subject: Subject::new(row.text("subject")?),
        grant_id: row.text("grant_id")?,
        expires_at: row.time("expires_at")?,
    })
}

fn refresh_token_of(row: &Row) -> Result<RefreshToken, SqlError> {
    Ok(RefreshToken {
        grant: Grant {
            id: row.text("id")?,
            client_id: row.text("client_id")?,
            subject: Subject::new(row.text("subject")?),
            // Accepted when it was stored, be it by the operator's leave.
            resource: ResourceUri::insecure_http(&row.text("resource")?).map_err(|_| SqlError::Damaged)?,
            scopes: row.text("scopes")?.parse().map_err(|_| SqlError::Damaged)?,
            expires_at: row.time("grant_expires_at")?,
            revoked: row.integer("revoked")? != 0,
        },
        expires_at: row.time("expires_at")?,
        rotated_at: row.optional_time("rotated_at")?,
        replay: row.optional_bytes("replay")?,
    })
}

fn json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, SqlError> {
    serde_json::from_str(text).map_err(|_| SqlError::Damaged)
}

pub(super) fn answer<'a, T: Send + 'a>(
    what: &'static str,
    work: impl Future<Output = Result<T, SqlError>> + Send + 'a,
) -> StoreResult<'a, T> {
    Box::pin(async move { work.await.map_err(|error| StoreError::new(what, error)) })
}
