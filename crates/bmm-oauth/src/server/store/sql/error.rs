//! Why a step failed.

use std::sync::Arc;

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum SqlError {
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error("the writes were not committed")]
    NotCommitted(#[source] Arc<SqlError>),
    #[error("the database's writer has ended; nothing was written")]
    WriterEnded,
    #[error("too many writes are waiting for the database")]
    Overloaded,
    #[error("the revocations could not be read a moment ago")]
    FailedBefore,
    #[error("too many requests wait for the revocations")]
    Crowded,
    #[error("a row holds what this version never writes")]
    Damaged,
}
