//! Key-encryption keys: what wraps data-encryption keys, and never a value.

mod local;
#[cfg(feature = "pkcs11")]
mod pkcs11;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use zeroize::Zeroizing;

use crate::error::VaultError;

pub use local::LocalKek;
#[cfg(feature = "pkcs11")]
pub use pkcs11::{Pkcs11Config, Pkcs11Kek};

/// A key-encryption key. It is asked at start-up and when a key is staged or rewrapped, never for a value.
///
/// The calls may block: a token can be across a network. Wrapping must be authenticated encryption with `binding` as
/// associated data.
pub trait Kek: Send + Sync {
    /// The name of the key, and a commitment to it: two KEKs never share one. It is stored with what they wrap.
    fn id(&self) -> KekId;

    /// Wraps a key, bound to `binding`.
    ///
    /// # Errors
    ///
    /// [`VaultError::Kek`] if the key cannot be used now.
    fn wrap_key(&self, key: &[u8; 32], binding: &[u8]) -> Result<Vec<u8>, VaultError>;

    /// Unwraps what [`wrap_key`](Self::wrap_key) gave for the same `binding`.
    ///
    /// # Errors
    ///
    /// [`VaultError::Altered`] if it was changed or bound to something else, [`VaultError::Kek`] if the key cannot
    /// be used now.
    fn unwrap_key(&self, wrapped: &[u8], binding: &[u8]) -> Result<Zeroizing<[u8; 32]>, VaultError>;
}

/// The public name of a key-encryption key. Displayed as base64url.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KekId(pub [u8; 32]);

impl fmt::Display for KekId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64URL.encode(self.0))
    }
}
