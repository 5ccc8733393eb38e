//! Why a value or a key was refused.

use std::error::Error;
use std::io;
use std::path::PathBuf;

/// Why a key or a value was refused. Never contains key material or any part of a value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// The text is not a sealed value: not base64url, or not of the layout that its header states.
    #[error("not a sealed value")]
    Malformed,
    /// The end of the value is missing.
    #[error("the sealed value is cut off")]
    Truncated,
    /// The value was sealed in a format that this version does not know.
    #[error("sealed in format {0}, which this version cannot read")]
    UnsupportedFormat(u8),
    /// The value was sealed by another vault, or with a key that was staged after this vault was last reloaded.
    #[error("sealed with a key this vault does not hold")]
    UnknownKey,
    /// The value was sealed with a key of this vault that is retired: a row from before the last sweep was put back.
    #[error("sealed with a key that is retired")]
    RetiredKey,
    /// The value was changed after it was sealed.
    #[error("the sealed value was changed")]
    Altered,
    /// The value is whole, but was sealed for another purpose, tenant, row or name.
    #[error("the sealed value belongs elsewhere")]
    Relocated,
    /// The value is authentic and in its place, but of another version than the caller holds: an older (or, after a
    /// restore, a newer) value was put back.
    #[error("the sealed value is of another version than the one expected")]
    OtherVersion {
        /// The version it was sealed under.
        sealed: Option<u64>,
        /// The version of the [`Context`](crate::Context) it was to be opened with.
        expected: Option<u64>,
    },
    /// The KEK is not the one that wrapped these keys.
    #[error("this is not the key-encryption key that these keys were wrapped with")]
    WrongKek,
    /// The KEK could not be used: a token is absent, locked, or refuses.
    #[error("the key-encryption key cannot be used")]
    Kek(#[source] Box<dyn Error + Send + Sync>),
    /// The wrapped keys contradict themselves, were changed, or do not open the known value kept with them.
    #[error("the wrapped keys are damaged: {0}")]
    WrappedKeys(&'static str),
    /// This step of a key's life cannot follow its present one.
    #[error("key {number} is {state}, which does not allow this")]
    KeyState {
        /// Number of the key.
        number: u64,
        /// What it is.
        state: &'static str,
    },
    /// Keys are per tenant and this tenant has none yet: stage and promote one first.
    #[error("the tenant has no key yet")]
    NoTenantKey,
    /// The key has sealed as much as it may; rotate.
    #[error("the key's budget is spent; rotate")]
    BudgetSpent,
    /// A value larger than [`Vault::MAX_VALUE_BYTES`](crate::Vault::MAX_VALUE_BYTES).
    #[error("the value is too large to seal")]
    TooLarge,
    /// The key file cannot be used.
    #[error("key file {}: {reason}", path.display())]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it and what to do.
        reason: &'static str,
    },
    /// The key file cannot be read or written.
    #[error("key file {}", path.display())]
    KeyFileIo {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The operating system gave no randomness.
    #[error("the operating system gave no random bytes")]
    Randomness,
}
