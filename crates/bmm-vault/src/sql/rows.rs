//! Reading and replacing sealed values, row by row of their own tables, and how far a sweep has come.

use futures_util::TryStreamExt as _;
use serde_json::{Value as Json, json};
use sqlx::{AssertSqlSafe, ColumnIndex, Decode, Row, Type};

use super::column::{Column, Kind, SealedColumn, SealedRow, Value, list, quoted};
use super::database::{VaultDb, on};
use super::error::SqlError;
use crate::sealed::Sealed;

/// A row with a value that may have to be sealed anew.
pub(super) struct Found {
    pub(super) key: Vec<Value>,
    pub(super) row: SealedRow,
    pub(super) sealed: String,
}

/// A value to be replaced, if it still is the one that was read.
pub(super) struct Change {
    pub(super) key: Vec<Value>,
    pub(super) old: String,
    pub(super) new: String,
}

/// The next rows in the order of their key: those sealed with one key, or all.
pub(super) async fn read(
    db: &VaultDb,
    column: &SealedColumn,
    prefix: Option<&str>,
    after: Option<&[Value]>,
    max_rows: u32,
    max_bytes: usize,
) -> Result<Vec<Found>, SqlError> {
    let columns: Vec<&Column> = column.key().iter().chain(column.others()).collect();
    let sql = read_sql(column, prefix.is_some(), after.is_some(), max_rows);
    on!(db, pool => {
        let mut query = sqlx::query(AssertSqlSafe(sql));
        if let Some(prefix) = prefix {
            query = query.bind(prefix);
        }
        for value in after.unwrap_or_default() {
            query = match value {
                Value::Null => query.bind(None::<String>),
                Value::Text(text) => query.bind(text.as_str()),
                Value::Integer(number) => query.bind(*number),
                Value::Bytes(bytes) => query.bind(bytes.as_slice()),
            };
        }
        let mut found = Vec::new();
        let mut bytes = 0;
        let mut rows = query.fetch(pool);
        while let Some(row) = rows.try_next().await? {
            let mut values = Vec::with_capacity(columns.len());
            for (index, column) in columns.iter().enumerate() {
                values.push((column.name().to_owned(), value_at(&row, index, column.kind())?));
            }
            let sealed: String = row.try_get(columns.len())?;
            let key = values.iter().take(column.key().len()).map(|(_, value)| value.clone()).collect();
            bytes += sealed.len();
            found.push(Found { key, row: SealedRow::new(values), sealed });
            if bytes >= max_bytes {
                break;
            }
        }
        Ok(found)
    })
}

/// Replaces values, records what does not open, and moves the sweep's position on: all of it or nothing. Gives how many
/// values were replaced; the others were changed, or are being changed, by somebody else.
pub(super) async fn write(
    db: &VaultDb,
    column: &SealedColumn,
    sweep: &str,
    changes: &[Change],
    poison: &[(Vec<Value>, String)],
    position: &[Value],
) -> Result<u64, SqlError> {
    let sql = write_sql(db, column);
    let rows: Vec<Json> = changes.iter().map(change_json).collect();
    on!(db, pool => {
        let mut tx = pool.begin_with(db.begin()).await?;
        sqlx::query(db.lock()).execute(&mut *tx).await?;
        let mut moved = 0;
        if !rows.is_empty() {
            let done = sqlx::query(AssertSqlSafe(sql)).bind(Json::Array(rows).to_string()).execute(&mut *tx).await?;
            moved = done.rows_affected();
        }
        for (key, reason) in poison {
            sqlx::query(
                "INSERT INTO bmm_vault_poison (target, key_id, row_key, reason) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (target, key_id, row_key) DO UPDATE SET reason = excluded.reason",
            )
            .bind(column.name())
            .bind(sweep)
            .bind(key_text(key))
            .bind(reason)
            .execute(&mut *tx)
            .await?;
        }
        sqlx::query(
            "INSERT INTO bmm_vault_sweeps (target, key_id, position, moved) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (target, key_id) DO UPDATE SET position = excluded.position, \
             moved = bmm_vault_sweeps.moved + excluded.moved",
        )
        .bind(column.name())
        .bind(sweep)
        .bind(key_text(position))
        .bind(i64::try_from(moved).unwrap_or(i64::MAX))
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(moved)
    })
}

/// Where the pass that was interrupted goes on; none if the last one came to its end.
pub(super) async fn position(
    db: &VaultDb,
    column: &SealedColumn,
    sweep: &str,
) -> Result<Option<Vec<Value>>, SqlError> {
    let position: Option<Option<String>> = on!(db, pool => {
        sqlx::query_scalar("SELECT position FROM bmm_vault_sweeps WHERE target = $1 AND key_id = $2")
            .bind(column.name())
            .bind(sweep)
            .fetch_optional(pool)
            .await?
    });
    position
        .flatten()
        .map(|position| key_values(column, &position))
        .transpose()
}

/// Forgets which rows did not open: a pass that begins finds those that still do not.
pub(super) async fn clear_poison(db: &VaultDb, column: &SealedColumn, sweep: &str) -> Result<(), SqlError> {
    if count_poison(db, column, sweep).await? == 0 {
        return Ok(());
    }
    on!(db, pool => {
        sqlx::query("DELETE FROM bmm_vault_poison WHERE target = $1 AND key_id = $2")
            .bind(column.name())
            .bind(sweep)
            .execute(pool)
            .await?;
    });
    Ok(())
}

/// Ends a pass; `finished_at` if there is to be no other.
pub(super) async fn end_pass(
    db: &VaultDb,
    column: &SealedColumn,
    sweep: &str,
    finished_at: Option<u64>,
) -> Result<(), SqlError> {
    on!(db, pool => {
        sqlx::query(
            "INSERT INTO bmm_vault_sweeps (target, key_id, moved, finished_at) VALUES ($1, $2, 0, $3) \
             ON CONFLICT (target, key_id) DO UPDATE SET position = NULL, \
             finished_at = coalesce(excluded.finished_at, bmm_vault_sweeps.finished_at)",
        )
        .bind(column.name())
        .bind(sweep)
        .bind(finished_at.and_then(|time| i64::try_from(time).ok()))
        .execute(pool)
        .await?;
    });
    Ok(())
}

/// Whether a sweep has ended for good.
pub(super) async fn is_finished(db: &VaultDb, column: &SealedColumn, sweep: &str) -> Result<bool, SqlError> {
    let finished: Option<Option<i64>> = on!(db, pool => {
        sqlx::query_scalar("SELECT finished_at FROM bmm_vault_sweeps WHERE target = $1 AND key_id = $2")
            .bind(column.name())
            .bind(sweep)
            .fetch_optional(pool)
            .await?
    });
    Ok(finished.flatten().is_some())
}

/// Values of a column that begin with this prefix. Reads the index only.
pub(super) async fn count(db: &VaultDb, column: &SealedColumn, prefix: &str) -> Result<u64, SqlError> {
    let sql = format!(
        "SELECT count(*) FROM {} WHERE {} = $1",
        column.table(),
        column.prefix_sql()
    );
    let rows: i64 = on!(db, pool => {
        sqlx::query_scalar(AssertSqlSafe(sql)).bind(prefix).fetch_one(pool).await?
    });
    Ok(rows.unsigned_abs())
}

/// Values of a column that are there at all.
pub(super) async fn count_all(db: &VaultDb, column: &SealedColumn) -> Result<u64, SqlError> {
    let sql = format!(
        "SELECT count(*) FROM {} WHERE {} IS NOT NULL",
        column.table(),
        column.column()
    );
    let rows: i64 = on!(db, pool => sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(pool).await?);
    Ok(rows.unsigned_abs())
}

/// Values of a column by the id of the key they are sealed with. Reads the index only, once for each key.
pub(super) async fn count_by_key(
    db: &VaultDb,
    column: &SealedColumn,
    purpose: &str,
) -> Result<Vec<(String, u64)>, SqlError> {
    let sql = format!(
        "SELECT k.id, (SELECT count(*) FROM {} WHERE {} = k.prefix) FROM bmm_vault_keys AS k WHERE k.purpose = $1",
        column.table(),
        column.prefix_sql()
    );
    let rows: Vec<(String, i64)> = on!(db, pool => {
        sqlx::query_as(AssertSqlSafe(sql)).bind(purpose).fetch_all(pool).await?
    });
    Ok(rows
        .into_iter()
        .map(|(id, rows)| (id, rows.unsigned_abs()))
        .collect())
}

/// Rows that did not open: column, key of the row, reason. At most `limit` of them.
pub(super) async fn poison(
    db: &VaultDb,
    column: &SealedColumn,
    limit: u32,
) -> Result<Vec<(String, String)>, SqlError> {
    on!(db, pool => {
        let sql = "SELECT row_key, reason FROM bmm_vault_poison WHERE target = $1 ORDER BY row_key LIMIT $2";
        Ok(sqlx::query_as(sql).bind(column.name()).bind(i64::from(limit)).fetch_all(pool).await?)
    })
}

/// Rows of one sweep that did not open.
pub(super) async fn count_poison(db: &VaultDb, column: &SealedColumn, sweep: &str) -> Result<u64, SqlError> {
    let rows: i64 = on!(db, pool => {
        sqlx::query_scalar("SELECT count(*) FROM bmm_vault_poison WHERE target = $1 AND key_id = $2")
            .bind(column.name())
            .bind(sweep)
            .fetch_one(pool)
            .await?
    });
    Ok(rows.unsigned_abs())
}

/// Makes the index that sweeps read by, unless the owner of the table has. One that is there is left alone without asking
/// for a lock on the table.
pub(super) async fn create_index(db: &VaultDb, column: &SealedColumn) -> Result<(), SqlError> {
    let exists = if db.is_sqlite() {
        "SELECT count(*) FROM sqlite_master WHERE type = 'index' AND name = $1"
    } else {
        "SELECT CASE WHEN to_regclass($1) IS NULL THEN 0 ELSE 1 END::bigint"
    };
    on!(db, pool => {
        let found: i64 = sqlx::query_scalar(exists).bind(column.index_name()).fetch_one(pool).await?;
        if found == 0 {
            let mut tx = pool.begin_with(db.begin()).await?;
            sqlx::query(db.lock()).execute(&mut *tx).await?;
            sqlx::query(AssertSqlSafe(column.index_sql())).execute(&mut *tx).await?;
            tx.commit().await?;
        }
    });
    Ok(())
}

/// Whether any value of a column looks sealed, whatever its key.
pub(super) async fn holds_sealed(db: &VaultDb, column: &SealedColumn) -> Result<bool, SqlError> {
    let (table, value) = (column.table(), column.column());
    let sql =
        format!("SELECT {value} FROM {table} WHERE length({value}) >= 110 AND substr({value}, 1, 1) = 'A'");
    on!(db, pool => {
        let mut rows = sqlx::query_scalar::<_, String>(AssertSqlSafe(sql)).fetch(pool);
        while let Some(value) = rows.try_next().await? {
            if Sealed::parse(&value).is_ok() {
                return Ok(true);
            }
        }
        Ok(false)
    })
}

/// A row's key as it is stored and reported.
pub(super) fn key_text(key: &[Value]) -> String {
    Json::Array(key.iter().map(value_json).collect()).to_string()
}

fn read_sql(column: &SealedColumn, by_prefix: bool, after: bool, max_rows: u32) -> String {
    let selected = |column: &Column| {
        let name = quoted(column.name());
        match column.kind() {
            Kind::Text => format!("CAST({name} AS TEXT)"),
            Kind::Integer => format!("CAST({name} AS BIGINT)"),
            Kind::Bytes => name,
        }
    };
    let all: Vec<Column> = column.key().iter().chain(column.others()).cloned().collect();
    let key = list(column.key(), |column| format!("t.{}", quoted(column.name())));
    let mut conditions = vec![format!("{} IS NOT NULL", column.column())];
    if by_prefix {
        conditions.push(format!("{} = $1", column.prefix_sql()));
    }
    if after {
        let first = 1 + usize::from(by_prefix);
        let marks: Vec<_> = (first..first + column.key().len())
            .map(|n| format!("${n}"))
            .collect();
        conditions.push(format!("({key}) > ({})", marks.join(", ")));
    }
    format!(
        "SELECT {}, {} FROM {} AS t WHERE {} ORDER BY {key} LIMIT {max_rows}",
        list(&all, selected),
        column.column(),
        column.table(),
        conditions.join(" AND "),
    )
}

/// One statement for a batch. Each row is compared with the whole value that was read, whose nonce no other value has.
fn write_sql(db: &VaultDb, column: &SealedColumn) -> String {
    let (table, value) = (column.table(), column.column());
    let keys: Vec<(usize, String, Kind)> = column
        .key()
        .iter()
        .enumerate()
        .map(|(n, column)| (n, quoted(column.name()), column.kind()))
        .collect();
    let join = |text: &dyn Fn(&(usize, String, Kind)) -> String, by: &str| {
        keys.iter().map(text).collect::<Vec<_>>().join(by)
    };
    if db.is_sqlite() {
        let same = join(
            &|(n, name, kind)| match kind {
                Kind::Bytes => format!("t.{name} = unhex(d.value ->> '$.k{n}')"),
                Kind::Text | Kind::Integer => format!("t.{name} = (d.value ->> '$.k{n}')"),
            },
            " AND ",
        );
        return format!(
            "UPDATE {table} AS t SET {value} = d.value ->> '$.new' FROM json_each($1) AS d \
             WHERE {same} AND t.{value} = (d.value ->> '$.old')"
        );
    }
    let fields = join(
        &|(n, _, kind)| match kind {
            Kind::Integer => format!("k{n} bigint"),
            Kind::Text | Kind::Bytes => format!("k{n} text"),
        },
        ", ",
    );
    let same = join(
        &|(n, name, kind)| match kind {
            Kind::Bytes => format!("t.{name} = decode(d.k{n}, 'hex')"),
            Kind::Text | Kind::Integer => format!("t.{name} = d.k{n}"),
        },
        " AND ",
    );
    let locked = join(&|(n, name, _)| format!("t.{name} AS k{n}"), ", ");
    let again = join(&|(n, name, _)| format!("t.{name} = l.k{n}"), " AND ");
    // A row that somebody else holds is left for the next pass: a sweep never waits for a lock, so that no transaction of
    // the service can end in a deadlock because of it.
    format!(
        "WITH d AS (SELECT * FROM jsonb_to_recordset($1::jsonb) AS d(old text, new text, {fields})), \
         l AS MATERIALIZED (SELECT {locked}, d.old, d.new FROM {table} AS t JOIN d ON {same} AND t.{value} = d.old \
         FOR UPDATE OF t SKIP LOCKED) \
         UPDATE {table} AS t SET {value} = l.new FROM l WHERE {again} AND t.{value} = l.old"
    )
}

fn change_json(change: &Change) -> Json {
    let mut row = serde_json::Map::new();
    row.insert("old".to_owned(), json!(change.old));
    row.insert("new".to_owned(), json!(change.new));
    for (n, value) in change.key.iter().enumerate() {
        row.insert(format!("k{n}"), value_json(value));
    }
    Json::Object(row)
}

fn value_at<'r, R>(row: &'r R, index: usize, kind: Kind) -> sqlx::Result<Value>
where
    R: Row,
    usize: ColumnIndex<R>,
    String: Decode<'r, R::Database> + Type<R::Database>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
    Vec<u8>: Decode<'r, R::Database> + Type<R::Database>,
{
    let value = match kind {
        Kind::Text => row.try_get::<Option<String>, _>(index)?.map(Value::Text),
        Kind::Integer => row.try_get::<Option<i64>, _>(index)?.map(Value::Integer),
        Kind::Bytes => row.try_get::<Option<Vec<u8>>, _>(index)?.map(Value::Bytes),
    };
    Ok(value.unwrap_or(Value::Null))
}

fn value_json(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Text(text) => json!(text),
        Value::Integer(number) => json!(number),
        Value::Bytes(bytes) => json!(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
    }
}

fn key_values(column: &SealedColumn, text: &str) -> Result<Vec<Value>, SqlError> {
    let damaged = || SqlError::Damaged("the position of a sweep cannot be read");
    let values: Vec<Json> = serde_json::from_str(text).map_err(|_| damaged())?;
    if values.len() != column.key().len() {
        return Err(damaged());
    }
    let values = column
        .key()
        .iter()
        .zip(values)
        .map(|(column, json)| match (column.kind(), json) {
            (Kind::Text, Json::String(text)) => Some(Value::Text(text)),
            (Kind::Integer, Json::Number(number)) => number.as_i64().map(Value::Integer),
            (Kind::Bytes, Json::String(hex)) => from_hex(&hex).map(Value::Bytes),
            _ => None,
        });
    values.collect::<Option<_>>().ok_or_else(damaged)
}

fn from_hex(hex: &str) -> Option<Vec<u8>> {
    let pairs = hex.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}
