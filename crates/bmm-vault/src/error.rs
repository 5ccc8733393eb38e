use std::io;
use std::path::PathBuf;

/// Why a key or a value was refused. Never contains key material or any part of a value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// The text is not a sealed value: truncated, or not base64url.
    #[error("not a sealed value")]
    Malformed,
    /// The value was sealed in a format this version does not know.
    #[error("sealed in format {0}, which this version cannot read")]
    UnsupportedFormat(u8),
    /// The value was sealed with a key this vault does not hold.
    #[error("sealed with a key this vault does not hold")]
    UnknownKey,
    /// The value was changed, or was sealed for another place.
    #[error("the sealed value was changed, or belongs elsewhere")]
    NotAuthentic,
    /// The KEK is not the one that wrapped these keys.
    #[error("this is not the key-encryption key that these keys were wrapped with")]
    WrongKek,
    /// The wrapped keys contradict themselves, or were changed.
    #[error("the wrapped keys are damaged: {0}")]
    WrappedKeys(&'static str),
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
