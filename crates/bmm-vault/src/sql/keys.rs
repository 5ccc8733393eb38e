//! Wrapped keys as rows.

use sqlx::{AssertSqlSafe, Row};

use super::column::SealedColumn;
use super::database::{VaultDb, on};
use super::error::SqlError;
use crate::sealed;
use crate::wrapped::{KeyState, WrappedKey, WrappedKeys};

const SELECT: &str = "SELECT id, number, tenant, state, staged_at, promoted_at, replaced_at, emptied_at, \
     retired_at, sealed_values, sealed_bytes, wrapped, known FROM bmm_vault_keys WHERE purpose = $1 ORDER BY number";
const INSERT: &str = "INSERT INTO bmm_vault_keys (id, prefix, purpose, number, tenant, state, staged_at, promoted_at, \
     replaced_at, emptied_at, retired_at, wrapped, known, sealed_values, sealed_bytes) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 0, 0)";
const UPDATE: &str = "UPDATE bmm_vault_keys SET state = $2, promoted_at = $3, replaced_at = $4, emptied_at = $5, \
     retired_at = $6, wrapped = $7, known = $8 WHERE id = $1";

/// Reads the keys through a pool or a transaction.
macro_rules! select {
    ($executor:expr, $purpose:expr) => {{
        let rows = sqlx::query(SELECT).bind($purpose).fetch_all($executor).await?;
        let mut keys = Vec::with_capacity(rows.len());
        for row in &rows {
            keys.push(Stored {
                number: row.try_get("number")?,
                id: row.try_get("id")?,
                tenant: row.try_get("tenant")?,
                state: row.try_get("state")?,
                times: [
                    row.try_get("staged_at")?,
                    row.try_get("promoted_at")?,
                    row.try_get("replaced_at")?,
                    row.try_get("emptied_at")?,
                    row.try_get("retired_at")?,
                ],
                counts: [row.try_get("sealed_values")?, row.try_get("sealed_bytes")?],
                wrapped: row.try_get("wrapped")?,
                known: row.try_get("known")?,
            });
        }
        parse($purpose, keys)
    }};
}

/// The keys of a vault; none if it was never made.
pub(super) async fn load(db: &VaultDb, purpose: &str) -> Result<Option<WrappedKeys>, SqlError> {
    on!(db, pool => select!(pool, purpose))
}

/// Stores what has changed, all of it or nothing. `false` if somebody else has changed the keys since `before` was read.
///
/// # Errors
///
/// [`SqlError::StillUsed`] if a value of these columns is sealed with the key that is to be `unused`.
pub(super) async fn replace(
    db: &VaultDb,
    before: Option<&WrappedKeys>,
    after: &WrappedKeys,
    unused: Option<(&str, &[SealedColumn])>,
) -> Result<bool, SqlError> {
    let mut changed = Vec::new();
    for key in &after.keys {
        let old = before.and_then(|before| before.get(&key.id));
        if old != Some(key) {
            changed.push((old.is_none(), key, sealed::prefix(&key.key_id()?)));
        }
    }
    // The one that was active steps down before its successor is active.
    changed.sort_by_key(|(_, key, _)| key.state == KeyState::Active);
    on!(db, pool => {
        let mut tx = pool.begin_with(db.begin()).await?;
        sqlx::query(db.lock()).execute(&mut *tx).await?;
        let current = select!(&mut *tx, &after.purpose)?;
        if current.as_ref().map(without_counts) != before.map(without_counts) {
            return Ok(false);
        }
        if let Some((id, columns)) = unused {
            let prefix = after.get(id).map(WrappedKey::key_id).transpose()?.map(|id| sealed::prefix(&id));
            let mut rows = 0;
            for column in columns {
                let (table, value) = (column.table(), column.prefix_sql());
                let sql = format!("SELECT count(*) FROM {table} WHERE {value} = $1");
                rows += sqlx::query_scalar::<_, i64>(AssertSqlSafe(sql))
                    .bind(prefix.as_deref())
                    .fetch_one(&mut *tx)
                    .await?;
            }
            if rows > 0 {
                return Err(SqlError::StillUsed { rows: rows.unsigned_abs() });
            }
        }
        for (is_new, key, prefix) in &changed {
            let query = if *is_new {
                sqlx::query(INSERT)
                    .bind(&key.id)
                    .bind(prefix)
                    .bind(&after.purpose)
                    .bind(signed(key.number))
                    .bind(key.tenant.as_deref())
                    .bind(key.state.as_str())
                    .bind(signed(key.staged_at))
            } else {
                sqlx::query(UPDATE).bind(&key.id).bind(key.state.as_str())
            };
            query
                .bind(key.promoted_at.map(signed))
                .bind(key.replaced_at.map(signed))
                .bind(key.emptied_at.map(signed))
                .bind(key.retired_at.map(signed))
                .bind(&key.wrapped)
                .bind(&key.known)
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(true)
    })
}

/// Adds to what each key has sealed.
pub(super) async fn add_usage<'a>(
    db: &VaultDb,
    usage: impl Iterator<Item = (&'a str, (u64, u64))>,
) -> Result<(), SqlError> {
    on!(db, pool => {
        let mut tx = pool.begin_with(db.begin()).await?;
        for (id, (values, bytes)) in usage {
            sqlx::query(
                "UPDATE bmm_vault_keys SET sealed_values = sealed_values + $2, sealed_bytes = sealed_bytes + $3 \
                 WHERE id = $1",
            )
            .bind(id)
            .bind(signed(values))
            .bind(signed(bytes))
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(())
    })
}

struct Stored {
    number: i64,
    id: String,
    tenant: Option<String>,
    state: String,
    times: [Option<i64>; 5],
    counts: [i64; 2],
    wrapped: String,
    known: String,
}

fn parse(purpose: &str, rows: Vec<Stored>) -> Result<Option<WrappedKeys>, SqlError> {
    if rows.is_empty() {
        return Ok(None);
    }
    let mut keys = WrappedKeys::empty(purpose);
    for row in rows {
        let [staged_at, promoted_at, replaced_at, emptied_at, retired_at] =
            row.times.map(|time| time.map(unsigned));
        let [values, bytes] = row.counts.map(unsigned);
        keys.keys.push(WrappedKey {
            number: unsigned(row.number),
            id: row.id,
            tenant: row.tenant,
            state: KeyState::parse(&row.state).ok_or(SqlError::Damaged("a key is in no known state"))?,
            staged_at: staged_at.unwrap_or_default(),
            promoted_at,
            replaced_at,
            emptied_at,
            retired_at,
            values,
            bytes,
            wrapped: row.wrapped,
            known: row.known,
        });
    }
    Ok(Some(keys))
}

fn without_counts(keys: &WrappedKeys) -> WrappedKeys {
    let mut keys = keys.clone();
    for key in &mut keys.keys {
        (key.values, key.bytes) = (0, 0);
    }
    keys
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}
