//! The vault: wrapped keys in, sealed values out.

use std::collections::HashMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::context::{Context, field};
use crate::dek::{ID_BYTES, KEY_BYTES, Key, KeyId, NONCE_BYTES, TAG_BYTES};
use crate::error::VaultError;
use crate::kek::LocalKek;

/// Format of sealed values and wrapped keys: `format byte | key id (32) | nonce (12) | ciphertext | tag (16)`,
/// base64url without padding. The header (format and key id) is authenticated with the context.
const FORMAT: u8 = 1;
const HEADER_BYTES: usize = 1 + ID_BYTES;

/// Seals and opens values with data-encryption keys that it holds unwrapped in memory.
pub struct Vault {
    keys: HashMap<KeyId, Held>,
    active: KeyId,
}

struct Held {
    key: Key,
    wrapped: WrappedKey,
}

/// The vault's keys as they are stored: wrapped by the KEK, useless without it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrappedKeys {
    /// Format of this structure: 1.
    pub format: u8,
    /// Id of the key that seals new values.
    pub active: String,
    /// Every key that some value may still be sealed with.
    pub keys: Vec<WrappedKey>,
}

/// One wrapped data-encryption key.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrappedKey {
    /// Id of the key, a commitment to it (base64url).
    pub id: String,
    /// The tenant whose values it seals; absent for a shared key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The wrapped key; it names the KEK that wrapped it and is bound to `id` and `tenant`.
    pub wrapped: String,
}

impl Vault {
    /// The largest value that is sealed: 16 MiB.
    pub const MAX_VALUE_BYTES: usize = 16 * 1024 * 1024;

    /// A new vault with one fresh key. Store [`wrapped`](Self::wrapped) before anything sealed with it.
    ///
    /// # Errors
    ///
    /// [`VaultError::Randomness`].
    pub fn create(kek: &LocalKek) -> Result<Self, VaultError> {
        let key = Key::random("dek")?;
        let active = *key.id();
        let wrapped = wrap(kek, &key, None)?;
        Ok(Self {
            keys: HashMap::from([(active, Held { key, wrapped })]),
            active,
        })
    }

    /// The vault of stored keys. Every one must open, or none is used.
    ///
    /// # Errors
    ///
    /// [`VaultError::WrongKek`] if another KEK wrapped them, [`VaultError::WrappedKeys`] if they were changed,
    /// exchanged or are incomplete.
    pub fn open(kek: &LocalKek, stored: WrappedKeys) -> Result<Self, VaultError> {
        if stored.format != FORMAT {
            return Err(VaultError::UnsupportedFormat(stored.format));
        }
        let active = key_id(&stored.active)?;
        let mut keys = HashMap::with_capacity(stored.keys.len());
        for wrapped in stored.keys {
            let key = unwrap_key(kek, &wrapped)?;
            if keys.insert(*key.id(), Held { key, wrapped }).is_some() {
                return Err(VaultError::WrappedKeys("a key is listed twice"));
            }
        }
        if !keys.contains_key(&active) {
            return Err(VaultError::WrappedKeys("the active key is not among them"));
        }
        Ok(Self { keys, active })
    }

    /// The keys as they are to be stored.
    pub fn wrapped(&self) -> WrappedKeys {
        let mut keys: Vec<_> = self.keys.values().map(|held| held.wrapped.clone()).collect();
        keys.sort_by(|a, b| a.id.cmp(&b.id));
        WrappedKeys {
            format: FORMAT,
            active: BASE64URL.encode(self.active),
            keys,
        }
    }

    /// Seals a value for a place. The result is base64url text, 82 characters longer than the value in base64.
    ///
    /// # Errors
    ///
    /// [`VaultError::TooLarge`], [`VaultError::Randomness`].
    pub fn seal(&self, context: &Context, value: &[u8]) -> Result<String, VaultError> {
        if value.len() > Self::MAX_VALUE_BYTES {
            return Err(VaultError::TooLarge);
        }
        let held = self.keys.get(&self.active).ok_or(VaultError::UnknownKey)?;
        seal_with(&held.key, |header| context.associated_data(header), value)
    }

    /// Opens a value that was sealed for this very place.
    ///
    /// # Errors
    ///
    /// [`VaultError::Malformed`], [`VaultError::UnsupportedFormat`], [`VaultError::UnknownKey`] or
    /// [`VaultError::NotAuthentic`]; nothing of the value is returned with them.
    pub fn open_value(&self, context: &Context, sealed: &str) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let sealed = Sealed::parse(sealed)?;
        let held = self.keys.get(&sealed.key_id()).ok_or(VaultError::UnknownKey)?;
        held.key
            .decrypt(&context.associated_data(sealed.header()), sealed.body())
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault")
            .field("active", &BASE64URL.encode(self.active))
            .field("keys", &self.keys.len())
            .finish_non_exhaustive()
    }
}

/// A sealed text of the right format and at least the smallest length.
struct Sealed {
    bytes: Vec<u8>,
    key_id: KeyId,
}

impl Sealed {
    fn parse(text: &str) -> Result<Self, VaultError> {
        // Longer than the longest value sealed: not ours, and not worth decoding.
        if text.len() > (Vault::MAX_VALUE_BYTES + HEADER_BYTES + NONCE_BYTES + TAG_BYTES) / 3 * 4 + 4 {
            return Err(VaultError::Malformed);
        }
        let bytes = BASE64URL.decode(text).map_err(|_| VaultError::Malformed)?;
        let (format, rest) = bytes.split_first().ok_or(VaultError::Malformed)?;
        if *format != FORMAT {
            return Err(VaultError::UnsupportedFormat(*format));
        }
        let (key_id, body) = rest
            .split_first_chunk::<ID_BYTES>()
            .ok_or(VaultError::Malformed)?;
        if body.len() < NONCE_BYTES + TAG_BYTES {
            return Err(VaultError::Malformed);
        }
        Ok(Self {
            key_id: *key_id,
            bytes,
        })
    }

    fn key_id(&self) -> KeyId {
        self.key_id
    }

    fn header(&self) -> &[u8] {
        self.bytes.get(..HEADER_BYTES).unwrap_or_default()
    }

    fn body(&self) -> &[u8] {
        self.bytes.get(HEADER_BYTES..).unwrap_or_default()
    }
}

fn seal_with(key: &Key, aad: impl FnOnce(&[u8]) -> Vec<u8>, plain: &[u8]) -> Result<String, VaultError> {
    let mut out = Vec::with_capacity(HEADER_BYTES + NONCE_BYTES + plain.len() + TAG_BYTES);
    out.push(FORMAT);
    out.extend_from_slice(key.id());
    let aad = aad(&out);
    key.encrypt_onto(&mut out, &aad, plain)?;
    Ok(BASE64URL.encode(out))
}

/// The associated data of a wrapped key: it opens only as the key of this id and tenant, under the KEK it names.
fn wrapping_data(header: &[u8], id: &KeyId, tenant: Option<&str>) -> Vec<u8> {
    let mut data = Vec::with_capacity(160);
    data.extend_from_slice(b"bmm-vault key");
    field(&mut data, Some(header));
    field(&mut data, Some(id));
    field(&mut data, tenant.map(str::as_bytes));
    data
}

fn wrap(kek: &LocalKek, key: &Key, tenant: Option<String>) -> Result<WrappedKey, VaultError> {
    let wrapped = seal_with(
        kek.key(),
        |header| wrapping_data(header, key.id(), tenant.as_deref()),
        key.secret(),
    )?;
    Ok(WrappedKey {
        id: BASE64URL.encode(key.id()),
        tenant,
        wrapped,
    })
}

fn unwrap_key(kek: &LocalKek, wrapped: &WrappedKey) -> Result<Key, VaultError> {
    let id = key_id(&wrapped.id)?;
    let sealed = match Sealed::parse(&wrapped.wrapped) {
        Err(VaultError::Malformed) => {
            return Err(VaultError::WrappedKeys("a key is cut off or not base64url"));
        }
        sealed => sealed?,
    };
    if sealed.key_id() != *kek.key().id() {
        return Err(VaultError::WrongKek);
    }
    let data = wrapping_data(sealed.header(), &id, wrapped.tenant.as_deref());
    let plain = kek
        .key()
        .decrypt(&data, sealed.body())
        .map_err(|_| VaultError::WrappedKeys("a key was changed or exchanged"))?;
    let mut secret = Zeroizing::new([0; KEY_BYTES]);
    if plain.len() != KEY_BYTES {
        return Err(VaultError::WrappedKeys("a key has the wrong length"));
    }
    secret.copy_from_slice(&plain);
    let key = Key::new("dek", secret);
    if *key.id() != id {
        return Err(VaultError::WrappedKeys("a key does not match its id"));
    }
    Ok(key)
}

fn key_id(text: &str) -> Result<KeyId, VaultError> {
    let bytes = BASE64URL
        .decode(text)
        .ok()
        .and_then(|bytes| KeyId::try_from(bytes).ok());
    bytes.ok_or(VaultError::WrappedKeys("an id is not a key id"))
}
