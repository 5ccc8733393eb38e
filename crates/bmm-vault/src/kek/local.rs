//! The local key-encryption key and its file.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use zeroize::Zeroizing;

use super::{Kek, KekId};
use crate::error::VaultError;
use crate::key::{KEY_BYTES, Key, NONCE_BYTES, TAG_BYTES, random};
use crate::sealed::MAX_VALUE_BYTES;

/// A key-encryption key held in memory: 32 bytes from a file of its own or from the host.
pub struct LocalKek {
    key: Key,
}

impl LocalKek {
    /// A KEK from 32 bytes that the host keeps itself. They must come from a random generator, not from a password.
    pub fn from_bytes(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self {
            key: Key::new("kek", bytes),
        }
    }

    /// Reads a key file: exactly 32 bytes, a regular file, with no permission for group and others.
    ///
    /// # Errors
    ///
    /// [`VaultError::KeyFileIo`] if it cannot be read (a missing file is an error and never replaced),
    /// [`VaultError::KeyFile`] if its kind, size or permissions are wrong.
    pub fn load(path: &Path) -> Result<Self, VaultError> {
        let io = |source| VaultError::KeyFileIo {
            path: path.to_owned(),
            source,
        };
        let refuse = |reason| VaultError::KeyFile {
            path: path.to_owned(),
            reason,
        };

        // What is checked is what was opened, wherever a link leads: mounted secrets are symbolic links.
        let mut file = File::open(path).map_err(io)?;
        let metadata = file.metadata().map_err(io)?;
        if !metadata.is_file() {
            return Err(refuse("is not a regular file"));
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            if metadata.permissions().mode() & 0o077 != 0 {
                return Err(refuse("is open to group or others; run `chmod 600` on it"));
            }
        }
        if metadata.len() != KEY_BYTES as u64 {
            return Err(refuse("must hold exactly 32 bytes"));
        }
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        file.read_exact(&mut *bytes).map_err(io)?;
        Ok(Self::from_bytes(bytes))
    }

    /// Makes a new key and its file, with 0600, durably and all at once: after a crash the file is whole or absent.
    ///
    /// # Errors
    ///
    /// [`VaultError::KeyFileIo`] with [`io::ErrorKind::AlreadyExists`] if there is a file: it is never overwritten.
    pub fn create(path: &Path) -> Result<Self, VaultError> {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        random(&mut *bytes)?;
        write_new(path, &*bytes).map_err(|source| VaultError::KeyFileIo {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self::from_bytes(bytes))
    }

    /// Opens a value from before envelopes: one that was encrypted with the KEK's own bytes.
    ///
    /// The layout is `nonce (12) | ciphertext | tag (16)` in standard base64, with or without padding: AES-256-GCM
    /// without associated data. Such a value names no key, and nothing binds it to a place, so that one moved to another
    /// row opens there. This exists for the first sweep (`Sweeper::migrate_legacy`), which seals them anew and then
    /// closes this way for good; nothing else should call it.
    ///
    /// # Errors
    ///
    /// [`VaultError::Malformed`] or [`VaultError::Truncated`] if it is not of this layout, [`VaultError::Altered`] if
    /// it was changed or encrypted with another key.
    pub fn insecure_open_legacy(&self, legacy: &str) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        if legacy.len() > MAX_VALUE_BYTES * 2 {
            return Err(VaultError::Malformed);
        }
        let bytes = STANDARD
            .decode(legacy)
            .or_else(|_| STANDARD_NO_PAD.decode(legacy))
            .map_err(|_| VaultError::Malformed)?;
        let (nonce, sealed) = bytes
            .split_first_chunk::<NONCE_BYTES>()
            .filter(|(_, sealed)| sealed.len() >= TAG_BYTES)
            .ok_or(VaultError::Truncated)?;
        Key::raw(self.key.secret())
            .decrypt(nonce, b"", Zeroizing::new(sealed.to_vec()))
            .ok_or(VaultError::Altered)
    }
}

impl Kek for LocalKek {
    fn id(&self) -> KekId {
        KekId(*self.key.id())
    }

    fn wrap_key(&self, key: &[u8; 32], binding: &[u8]) -> Result<Vec<u8>, VaultError> {
        let mut nonce = [0; NONCE_BYTES];
        random(&mut nonce)?;
        let mut out = nonce.to_vec();
        self.key.encrypt_onto(&mut out, &nonce, binding, key)?;
        Ok(out)
    }

    fn unwrap_key(&self, wrapped: &[u8], binding: &[u8]) -> Result<Zeroizing<[u8; 32]>, VaultError> {
        let (nonce, sealed) = wrapped.split_first_chunk().ok_or(VaultError::Altered)?;
        let plain = self
            .key
            .decrypt(nonce, binding, Zeroizing::new(sealed.to_vec()))
            .ok_or(VaultError::Altered)?;
        let plain: &[u8; 32] = plain.as_slice().try_into().map_err(|_| VaultError::Altered)?;
        Ok(Zeroizing::new(*plain))
    }
}

impl fmt::Debug for LocalKek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LocalKek(..)")
    }
}

/// Writes a file that did not exist. A hard link publishes it: unlike a rename it fails if the name is taken.
fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut suffix = [0; 8];
    getrandom::fill(&mut suffix).map_err(io::Error::other)?;
    let draft = folder.join(format!(".key-{:016x}", u64::from_be_bytes(suffix)));

    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);

    let mut file = options.open(&draft)?;
    let written = file
        .write_all(bytes)
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::hard_link(&draft, path));
    let removed = fs::remove_file(&draft);
    written?;
    removed?;
    // The folder's entry is durable only after this; Windows cannot open folders as files and needs no such step.
    #[cfg(unix)]
    File::open(folder)?.sync_all()?;
    Ok(())
}
