//! A column of sealed values, as its owner registers it.

use std::fmt;
use std::sync::Arc;

use crate::context::Context;
use crate::sealed::PREFIX_CHARS;
use crate::sql::error::SqlError;

/// A column of sealed values. The crate that owns the table registers it, so that sweeps find its values.
///
/// The sweep reads rows by this index, whose making belongs to the table's migrations
/// ([`SqlVault::open`](crate::SqlVault::open) makes it if it is missing):
/// `CREATE INDEX <table>_<column>_key ON <table> (substr(<column>, 1, 44), <primary key>)`.
#[derive(Clone)]
pub struct SealedColumn {
    table: String,
    column: String,
    key: Vec<Column>,
    others: Vec<Column>,
    place: Place,
}

type Place = Arc<dyn Fn(&SealedRow) -> Option<Context> + Send + Sync>;

/// A column that the sweep reads beside the sealed one.
#[derive(Clone, Debug)]
pub struct Column {
    name: String,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Integer,
    Bytes,
}

/// What the sweep has read of a row: enough to say where its value belongs.
#[derive(Clone, Debug)]
pub struct SealedRow {
    values: Vec<(String, Value)>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Text(String),
    Integer(i64),
    Bytes(Vec<u8>),
}

impl Column {
    /// A column of text.
    pub fn text(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            kind: Kind::Text,
        }
    }

    /// A column of whole numbers (of at most 64 bits).
    pub fn integer(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            kind: Kind::Integer,
        }
    }

    /// A column of bytes (BLOB, BYTEA).
    pub fn bytes(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            kind: Kind::Bytes,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }
}

impl SealedRow {
    pub(super) fn new(values: Vec<(String, Value)>) -> Self {
        Self { values }
    }

    /// The text of a column; none if it is NULL, or not a registered column of text.
    pub fn text(&self, column: &str) -> Option<&str> {
        match self.value(column)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The number of a column; none if it is NULL, or not a registered column of numbers.
    pub fn integer(&self, column: &str) -> Option<i64> {
        match self.value(column)? {
            Value::Integer(number) => Some(*number),
            _ => None,
        }
    }

    /// The bytes of a column; none if it is NULL, or not a registered column of bytes.
    pub fn bytes(&self, column: &str) -> Option<&[u8]> {
        match self.value(column)? {
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    fn value(&self, column: &str) -> Option<&Value> {
        self.values
            .iter()
            .find(|(name, _)| name == column)
            .map(|(_, value)| value)
    }
}

impl SealedColumn {
    /// A column of a table with this primary key. `place` gives the [`Context`] that the owner seals and opens a row's
    /// value with; a row for which it gives none is reported and left alone.
    ///
    /// # Errors
    ///
    /// [`SqlError::Name`].
    pub fn new(
        table: &str,
        column: &str,
        key: impl IntoIterator<Item = Column>,
        place: impl Fn(&SealedRow) -> Option<Context> + Send + Sync + 'static,
    ) -> Result<Self, SqlError> {
        let key: Vec<_> = key.into_iter().collect();
        let names = [table, column].into_iter().chain(key.iter().map(Column::name));
        names.into_iter().try_for_each(check_name)?;
        if key.is_empty() {
            return Err(SqlError::Name(String::new()));
        }
        Ok(Self {
            table: table.to_owned(),
            column: column.to_owned(),
            key,
            others: Vec::new(),
            place: Arc::new(place),
        })
    }

    /// Also reads these columns for `place`.
    ///
    /// # Errors
    ///
    /// [`SqlError::Name`].
    pub fn with_columns(mut self, columns: impl IntoIterator<Item = Column>) -> Result<Self, SqlError> {
        self.others.extend(columns);
        self.others.iter().map(Column::name).try_for_each(check_name)?;
        Ok(self)
    }

    /// `table.column`, its name in reports.
    pub fn name(&self) -> String {
        format!("{}.{}", self.table, self.column)
    }

    /// The statement that makes the index the sweep reads by, for the migrations of the table's owner.
    pub fn index_sql(&self) -> String {
        let key = list(&self.key, |column| quoted(column.name()));
        format!(
            "CREATE INDEX IF NOT EXISTS {} ON {} ({}, {key})",
            quoted(&self.index_name()),
            self.table(),
            self.prefix_sql()
        )
    }

    pub(super) fn index_name(&self) -> String {
        format!("{}_{}_key", self.table, self.column)
    }

    pub(super) fn table(&self) -> String {
        quoted(&self.table)
    }

    pub(super) fn column(&self) -> String {
        quoted(&self.column)
    }

    /// What an index and a query must spell alike.
    pub(super) fn prefix_sql(&self) -> String {
        format!("substr(\"{}\", 1, {PREFIX_CHARS})", self.column)
    }

    pub(super) fn key(&self) -> &[Column] {
        &self.key
    }

    pub(super) fn others(&self) -> &[Column] {
        &self.others
    }

    pub(super) fn place(&self, row: &SealedRow) -> Option<Context> {
        (self.place)(row)
    }
}

impl fmt::Debug for SealedColumn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SealedColumn").field(&self.name()).finish()
    }
}

pub(super) fn quoted(name: &str) -> String {
    format!("\"{name}\"")
}

/// A list of what `text` says of each column.
pub(super) fn list(columns: &[Column], text: impl Fn(&Column) -> String) -> String {
    columns.iter().map(text).collect::<Vec<_>>().join(", ")
}

/// Names stand quoted in statements: what passes means the same quoted and bare, and cannot end the quotation.
fn check_name(name: &str) -> Result<(), SqlError> {
    let first = name.bytes().next();
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if name.len() <= 63 && first.is_some_and(|byte| !byte.is_ascii_digit()) && name.bytes().all(is_plain) {
        Ok(())
    } else {
        Err(SqlError::Name(name.to_owned()))
    }
}
