//! Key material: what is derived from a secret, and the one place where AES-GCM is called.

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use crate::error::VaultError;

/// Bytes of an AES-256 key.
pub(crate) const KEY_BYTES: usize = 32;
/// Bytes of a key id.
pub(crate) const ID_BYTES: usize = 32;
/// Bytes of a GCM nonce, drawn at random for each encryption.
pub(crate) const NONCE_BYTES: usize = 12;
/// Bytes of a GCM tag.
pub(crate) const TAG_BYTES: usize = 16;
/// Bytes of a place mark.
pub(crate) const MARK_BYTES: usize = 8;

/// A key's public name, and a commitment to it: nobody finds two keys with one id, so a value that carries the id
/// opens under one key only. (AES-GCM alone does not commit to its key.)
pub(crate) type KeyId = [u8; ID_BYTES];

/// A secret from which an id, a cipher and a marking key are derived. Holds key material; has no `Debug`.
pub(crate) struct Key {
    secret: Zeroizing<[u8; KEY_BYTES]>,
    id: KeyId,
    cipher: Aes256Gcm,
    /// SHA-256 that has absorbed one block: the marking key and zeros.
    marker: Sha256,
}

impl Key {
    /// A key from its secret. `role` keeps KEKs and DEKs of equal bytes apart.
    pub(crate) fn new(role: &'static str, secret: Zeroizing<[u8; KEY_BYTES]>) -> Self {
        let id = *derive(role, b"id", &secret);
        let key = derive(role, b"aes-256-gcm", &secret);
        let mut marker = Sha256::new();
        marker.update(derive(role, b"mark", &secret).as_slice());
        marker.update([0; 32]);
        Self {
            cipher: Aes256Gcm::new((&*key).into()),
            id,
            marker,
            secret,
        }
    }

    /// A key whose cipher takes the secret itself, as values from before envelopes were encrypted.
    pub(crate) fn raw(secret: &[u8; KEY_BYTES]) -> Self {
        let mut key = Self::new("legacy", Zeroizing::new(*secret));
        key.cipher = Aes256Gcm::new(secret.into());
        key
    }

    /// A fresh random key.
    pub(crate) fn random(role: &'static str) -> Result<Self, VaultError> {
        let mut secret = Zeroizing::new([0; KEY_BYTES]);
        random(&mut *secret)?;
        Ok(Self::new(role, secret))
    }

    pub(crate) fn id(&self) -> &KeyId {
        &self.id
    }

    /// The secret itself, to be wrapped.
    pub(crate) fn secret(&self) -> &[u8; KEY_BYTES] {
        &self.secret
    }

    /// Appends ciphertext and tag to `out`.
    pub(crate) fn encrypt_onto(
        &self,
        out: &mut Vec<u8>,
        nonce: &[u8; NONCE_BYTES],
        aad: &[u8],
        plain: &[u8],
    ) -> Result<(), VaultError> {
        let start = out.len();
        out.extend_from_slice(plain);
        let body = out.get_mut(start..).unwrap_or_default();
        match self
            .cipher
            .encrypt_inout_detached(&Nonce::from(*nonce), aad, body.into())
        {
            Ok(tag) => {
                out.extend_from_slice(&tag);
                Ok(())
            }
            Err(_) => {
                out.zeroize();
                Err(VaultError::TooLarge)
            }
        }
    }

    /// Opens ciphertext and tag in place. `None` if the tag does not fit; the buffer is then of no use.
    pub(crate) fn decrypt(
        &self,
        nonce: &[u8; NONCE_BYTES],
        aad: &[u8],
        mut sealed: Zeroizing<Vec<u8>>,
    ) -> Option<Zeroizing<Vec<u8>>> {
        let plain_len = sealed.len().checked_sub(TAG_BYTES)?;
        let tag = Tag::try_from(sealed.get(plain_len..)?).ok()?;
        sealed.truncate(plain_len);
        self.cipher
            .decrypt_inout_detached(&Nonce::from(*nonce), aad, sealed.as_mut_slice().into(), &tag)
            .ok()?;
        Some(sealed)
    }

    /// A short keyed mark of a place, different for every nonce. It guards nothing: it tells a value that was moved
    /// from one that was changed, after the tag has refused both.
    pub(crate) fn mark(&self, nonce: &[u8; NONCE_BYTES], place: &[u8]) -> [u8; MARK_BYTES] {
        let mut hash = self.marker.clone();
        hash.update(nonce);
        hash.update(place);
        let hash: [u8; 32] = hash.finalize().into();
        let mut mark = [0; MARK_BYTES];
        mark.iter_mut().zip(hash).for_each(|(mark, byte)| *mark = byte);
        mark
    }
}

/// Fills `out` from the operating system.
pub(crate) fn random(out: &mut [u8]) -> Result<(), VaultError> {
    getrandom::fill(out).map_err(|_| VaultError::Randomness)
}

/// SHA-256 over a label and a secret of fixed length: one independent value per label.
fn derive(role: &str, label: &[u8], secret: &[u8; KEY_BYTES]) -> Zeroizing<[u8; 32]> {
    let mut hash = Sha256::new();
    hash.update(b"bmm-vault 1 ");
    hash.update(role.as_bytes());
    hash.update(b" ");
    hash.update(label);
    hash.update(b"\0");
    hash.update(secret);
    Zeroizing::new(hash.finalize().into())
}
