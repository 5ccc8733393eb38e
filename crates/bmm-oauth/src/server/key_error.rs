//! Why signing keys cannot be used.

use super::store::StoreError;

/// Most keys at a time. There are more only if somebody rotates faster than tokens end.
pub(super) const MAX_KEYS: usize = 16;

/// Signing keys cannot be made, read or kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The key material is not what it should be.
    #[error("the signing keys are damaged")]
    Damaged,
    /// The keys do not open: another vault, or a row that was moved.
    #[error("cannot seal or open the signing keys")]
    Vault(#[source] bmm_vault::VaultError),
    /// There are none in the store, so nothing can be rotated or read again: they were not made by
    /// [`SigningKeys::load_or_create`](super::SigningKeys::load_or_create).
    #[error("the store keeps no signing keys")]
    NotKept,
    /// Too many old keys are still published.
    #[error("there are {MAX_KEYS} signing keys already; wait until old tokens have ended")]
    TooMany,
    /// Other replicas changed the keys at the same time, over and over.
    #[error("the signing keys are being changed by others; try again")]
    Contended,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
