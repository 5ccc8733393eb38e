//! Why the vault's database did not do as asked.

use std::error::Error;

use crate::error::VaultError;

/// Why the vault's database did not do as asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SqlError {
    /// The address is neither `sqlite:` nor `postgres:`.
    #[error("a database address starts with sqlite: or postgres:")]
    Address,
    /// The database refused or is away.
    #[error("the vault's database")]
    Database(#[source] Box<dyn Error + Send + Sync>),
    /// The tables were written by a newer version of this crate.
    #[error("the vault's tables are of version {found}, this one knows {known}; use the newer version")]
    Newer {
        /// Their version.
        found: i64,
        /// The newest that is known.
        known: i64,
    },
    /// A row of the vault's own tables cannot be read.
    #[error("the vault's tables are damaged: {0}")]
    Damaged(&'static str),
    /// A name that is not lower-case letters, digits and `_`.
    #[error("`{0}` cannot be a table or column here: use lower-case letters, digits and `_`")]
    Name(String),
    /// There is no key, but there are sealed values: keys or tables were lost. Nothing was made in their place.
    #[error("`{column}` holds sealed values, but their wrapped keys are missing: restore them")]
    KeysMissing {
        /// The first column in which one was found.
        column: String,
    },
    /// There are wrapped keys or sealed values, but the KEK's file is missing. Nothing was made in its place.
    #[error("the key file {path} is missing, and there are values sealed under it: put it back")]
    KekMissing {
        /// Where it is expected.
        path: String,
    },
    /// The step has to wait: replicas may not know of the one before it yet.
    #[error("too early: {seconds} s to go")]
    TooEarly {
        /// How long.
        seconds: u64,
    },
    /// The key is still needed.
    #[error("{rows} values are still sealed with this key")]
    StillUsed {
        /// How many.
        rows: u64,
    },
    /// The keys were changed by others again and again while this change was made.
    #[error("the keys are being changed by somebody else; try again")]
    Busy,
    /// The first sweep is done; nothing encrypted with the KEK itself is accepted any more.
    #[error("the values from before envelopes of `{column}` were migrated; none is accepted any more")]
    LegacyClosed {
        /// The column.
        column: String,
    },
    /// A key or a value was refused.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl From<sqlx::Error> for SqlError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(Box::new(error))
    }
}

impl SqlError {
    /// Whether the same transaction may succeed in a moment: SQLite's lock was held too long (SQLITE_BUSY), PostgreSQL
    /// found a deadlock or a conflict.
    pub(super) fn is_transient(&self) -> bool {
        let Self::Database(error) = self else {
            return false;
        };
        let code = match error.downcast_ref::<sqlx::Error>() {
            Some(sqlx::Error::Database(error)) => error.code(),
            _ => None,
        };
        code.is_some_and(|code| matches!(&*code, "5" | "261" | "517" | "40001" | "40P01"))
    }
}
