//! One statement with its values, and one row, for both databases. There are three types of column and no more: BIGINT, TEXT and BLOB (which PostgreSQL
//! calls BYTEA). Placeholders are `$1`, `$2`, …, which both understand.

use sqlx::postgres::PgRow;
use sqlx::query::Query;
use sqlx::sqlite::SqliteRow;
use sqlx::{ColumnIndex, Decode, Encode, Row as _, Type};

use super::error::SqlError;
use crate::clock::Timestamp;
use crate::server::secret::SecretHash;

/// A statement, ready to run on either database.
#[derive(Clone)]
pub(super) struct Statement {
    sql: &'static str,
    values: Vec<Value>,
}

#[derive(Clone)]
enum Value {
    Integer(Option<i64>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
}

impl Statement {
    pub(super) fn new(sql: &'static str) -> Self {
        Self {
            sql,
            values: Vec::new(),
        }
    }

    pub(super) fn text(self, value: impl Into<String>) -> Self {
        self.with(Value::Text(Some(value.into())))
    }

    pub(super) fn integer(self, value: i64) -> Self {
        self.with(Value::Integer(Some(value)))
    }

    pub(super) fn bytes(self, value: Vec<u8>) -> Self {
        self.with(Value::Bytes(Some(value)))
    }

    pub(super) fn hash(self, value: SecretHash) -> Self {
        self.bytes(value.as_bytes().to_vec())
    }

    pub(super) fn time(self, value: Timestamp) -> Self {
        self.integer(seconds(value))
    }

    pub(super) fn optional_hash(self, value: Option<SecretHash>) -> Self {
        self.optional_bytes(value.map(|hash| hash.as_bytes().to_vec()))
    }

    pub(super) fn optional_bytes(self, value: Option<Vec<u8>>) -> Self {
        self.with(Value::Bytes(value))
    }

    pub(super) fn optional_time(self, value: Option<Timestamp>) -> Self {
        self.with(Value::Integer(value.map(seconds)))
    }

    fn with(mut self, value: Value) -> Self {
        self.values.push(value);
        self
    }

    /// The statement as sqlx wants it.
    pub(super) fn query<D>(self) -> Query<'static, D, D::Arguments>
    where
        D: sqlx::Database,
        Option<i64>: Encode<'static, D> + Type<D>,
        Option<String>: Encode<'static, D> + Type<D>,
        Option<Vec<u8>>: Encode<'static, D> + Type<D>,
    {
        self.values
            .into_iter()
            .fold(sqlx::query(self.sql), |query, value| match value {
                Value::Integer(value) => query.bind(value),
                Value::Text(value) => query.bind(value),
                Value::Bytes(value) => query.bind(value),
            })
    }
}

/// A row of either database.
pub(super) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl Row {
    pub(super) fn text(&self, column: &'static str) -> Result<String, SqlError> {
        self.optional_text(column)?.ok_or(SqlError::Damaged)
    }

    pub(super) fn bytes(&self, column: &'static str) -> Result<Vec<u8>, SqlError> {
        self.optional_bytes(column)?.ok_or(SqlError::Damaged)
    }

    pub(super) fn integer(&self, column: &'static str) -> Result<i64, SqlError> {
        self.optional_integer(column)?.ok_or(SqlError::Damaged)
    }

    pub(super) fn hash(&self, column: &'static str) -> Result<SecretHash, SqlError> {
        self.optional_hash(column)?.ok_or(SqlError::Damaged)
    }

    pub(super) fn time(&self, column: &'static str) -> Result<Timestamp, SqlError> {
        self.optional_time(column)?.ok_or(SqlError::Damaged)
    }

    pub(super) fn optional_hash(&self, column: &'static str) -> Result<Option<SecretHash>, SqlError> {
        let hash = |bytes: Vec<u8>| bytes.try_into().map(SecretHash::from_bytes);
        self.optional_bytes(column)?
            .map(hash)
            .transpose()
            .map_err(|_| SqlError::Damaged)
    }

    pub(super) fn optional_time(&self, column: &'static str) -> Result<Option<Timestamp>, SqlError> {
        let time = |seconds| u64::try_from(seconds).map(Timestamp::from_secs);
        self.optional_integer(column)?
            .map(time)
            .transpose()
            .map_err(|_| SqlError::Damaged)
    }

    pub(super) fn optional_text(&self, column: &'static str) -> Result<Option<String>, SqlError> {
        self.get(column)
    }

    pub(super) fn optional_bytes(&self, column: &'static str) -> Result<Option<Vec<u8>>, SqlError> {
        self.get(column)
    }

    pub(super) fn optional_integer(&self, column: &'static str) -> Result<Option<i64>, SqlError> {
        self.get(column)
    }

    fn get<'r, T>(&'r self, column: &'static str) -> Result<T, SqlError>
    where
        T: Decode<'r, sqlx::Sqlite> + Type<sqlx::Sqlite>,
        T: Decode<'r, sqlx::Postgres> + Type<sqlx::Postgres>,
        &'static str: ColumnIndex<SqliteRow> + ColumnIndex<PgRow>,
    {
        Ok(match self {
            Self::Sqlite(row) => row.try_get(column)?,
            Self::Postgres(row) => row.try_get(column)?,
        })
    }
}

pub(super) fn seconds(time: Timestamp) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}
