//! A data-encryption key: derived parts, and the one place where AES-GCM is called.

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::error::VaultError;

/// Bytes of an AES-256 key.
pub(crate) const KEY_BYTES: usize = 32;
/// Bytes of a key id.
pub(crate) const ID_BYTES: usize = 32;
/// Bytes of a GCM nonce, drawn at random for each encryption.
pub(crate) const NONCE_BYTES: usize = 12;
/// Bytes of a GCM tag.
pub(crate) const TAG_BYTES: usize = 16;

/// A key's public name, and a commitment to it: nobody finds two keys with one id, so a value that carries the id
/// opens under one key only. (AES-GCM alone does not commit to its key.)
pub(crate) type KeyId = [u8; ID_BYTES];

/// A secret from which an id and a cipher are derived. Holds key material; has no `Debug`.
pub(crate) struct Key {
    secret: Zeroizing<[u8; KEY_BYTES]>,
    id: KeyId,
    cipher: Aes256Gcm,
}

impl Key {
    /// A key from its secret. `role` keeps KEKs and DEKs of equal bytes apart.
    pub(crate) fn new(role: &'static str, secret: Zeroizing<[u8; KEY_BYTES]>) -> Self {
        let id = *derive(role, b"id", &secret);
        let key = derive(role, b"aes-256-gcm", &secret);
        Self {
            cipher: Aes256Gcm::new((&*key).into()),
            id,
            secret,
        }
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
    pub(crate) fn secret(&self) -> &[u8] {
        &*self.secret
    }

    /// Appends nonce, ciphertext and tag to `out`.
    pub(crate) fn encrypt_onto(&self, out: &mut Vec<u8>, aad: &[u8], plain: &[u8]) -> Result<(), VaultError> {
        let mut nonce = [0; NONCE_BYTES];
        random(&mut nonce)?;
        let sealed = self
            .cipher
            .encrypt(&Nonce::from(nonce), Payload { msg: plain, aad })
            .map_err(|_| VaultError::TooLarge)?;
        out.extend_from_slice(&nonce);
        out.extend_from_slice(&sealed);
        Ok(())
    }

    /// Opens nonce, ciphertext and tag.
    pub(crate) fn decrypt(&self, aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let (nonce, sealed) = sealed
            .split_first_chunk::<NONCE_BYTES>()
            .ok_or(VaultError::Malformed)?;
        if sealed.len() < TAG_BYTES {
            return Err(VaultError::Malformed);
        }
        self.cipher
            .decrypt(&Nonce::from(*nonce), Payload { msg: sealed, aad })
            .map(Zeroizing::new)
            .map_err(|_| VaultError::NotAuthentic)
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
