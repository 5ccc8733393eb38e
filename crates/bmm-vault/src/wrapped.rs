//! The stored form of a vault's keys, and the steps of a key's life: pure data, changed by explicit steps.
//!
//! ```text
//! staged -> active -> retiring -> retired -> destroyed
//!  opens    seals      opens      kept, not   only the
//!          and opens              loaded      history
//! ```

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use serde::{Deserialize, Serialize};

use crate::context::{Context, field};
use crate::error::VaultError;
use crate::kek::{Kek, KekId};
use crate::key::{Key, KeyId};
use crate::sealed::{self, Sealed};

/// Format of this structure and of a wrapped key: `format = 1 | KEK id (32) | what the KEK gave`, base64url.
const FORMAT: u8 = 1;
/// The known value that is kept sealed with every key.
const KNOWN: &[u8] = b"bmm-vault known value";

/// A vault's keys as they are stored: wrapped by the KEK, useless without it.
///
/// To change them, take a copy ([`Vault::wrapped`](crate::Vault::wrapped)), do one step, store it, and give it to every
/// vault that uses it ([`Vault::reload`](crate::Vault::reload)). `SqlVault` does all of this in a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrappedKeys {
    /// Format of this structure: 1.
    pub format: u8,
    /// What the vault is for. Bound into every wrapped key.
    pub purpose: String,
    /// Every key that ever was, oldest first.
    pub keys: Vec<WrappedKey>,
}

/// One wrapped data-encryption key. Times are seconds of the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrappedKey {
    /// Its place in the history: 1 for the first one.
    pub number: u64,
    /// Id of the key, a commitment to it (base64url).
    pub id: String,
    /// The tenant whose values it seals; absent for a shared key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Where it stands in its life.
    pub state: KeyState,
    /// When it was made.
    pub staged_at: u64,
    /// When it began to seal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promoted_at: Option<u64>,
    /// When another key took over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced_at: Option<u64>,
    /// When nothing was found sealed with it any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emptied_at: Option<u64>,
    /// When it was put aside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retired_at: Option<u64>,
    /// Values sealed with it so far.
    #[serde(default)]
    pub values: u64,
    /// Bytes sealed with it so far.
    #[serde(default)]
    pub bytes: u64,
    /// The wrapped key; it names the KEK that wrapped it and is bound to purpose, tenant and id. Empty when destroyed.
    pub wrapped: String,
    /// A known value sealed with it: a vault that does not open it does not start.
    pub known: String,
}

/// Where a key stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyState {
    /// Every replica is to load it; it seals nothing yet.
    Staged,
    /// Seals new values.
    Active,
    /// Opens values until a sweep has moved them to the active key.
    Retiring,
    /// Kept, for a restored backup, but not loaded.
    Retired,
    /// Gone; its history remains.
    Destroyed,
}

impl KeyState {
    /// As it is stored and displayed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Staged => "staged",
            Self::Active => "active",
            Self::Retiring => "retiring",
            Self::Retired => "retired",
            Self::Destroyed => "destroyed",
        }
    }

    /// The state that is stored like this.
    #[cfg(feature = "sql")]
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let states = [
            Self::Staged,
            Self::Active,
            Self::Retiring,
            Self::Retired,
            Self::Destroyed,
        ];
        states.into_iter().find(|state| state.as_str() == text)
    }

    /// Whether a vault holds keys of this state.
    pub fn is_loaded(self) -> bool {
        matches!(self, Self::Staged | Self::Active | Self::Retiring)
    }
}

impl WrappedKeys {
    /// The keys of a new vault: one, shared and active.
    ///
    /// # Errors
    ///
    /// [`VaultError::Randomness`], and what the KEK says.
    pub fn create(kek: &dyn Kek, purpose: &str, now: SystemTime) -> Result<Self, VaultError> {
        let mut keys = Self::empty(purpose);
        let id = keys.stage(kek, None, now)?;
        keys.promote(&id, now)?;
        Ok(keys)
    }

    /// No key at all: what a vault cannot be opened with.
    pub(crate) fn empty(purpose: &str) -> Self {
        Self {
            format: FORMAT,
            purpose: purpose.to_owned(),
            keys: Vec::new(),
        }
    }

    /// Makes the next key of a tenant, or the next shared one, and gives its id. A key that is staged already is taken.
    ///
    /// # Errors
    ///
    /// [`VaultError::WrongKek`] if the other keys are wrapped with another one; [`VaultError::Randomness`], and what the
    /// KEK says.
    pub fn stage(
        &mut self,
        kek: &dyn Kek,
        tenant: Option<&str>,
        now: SystemTime,
    ) -> Result<String, VaultError> {
        if let Some(staged) = self.of(tenant).find(|key| key.state == KeyState::Staged) {
            return Ok(staged.id.clone());
        }
        let mut others = self.keys.iter().filter_map(WrappedKey::kek_id);
        if others.any(|other| other != kek.id()) {
            return Err(VaultError::WrongKek);
        }
        let key = Key::random("dek")?;
        let id = BASE64URL.encode(key.id());
        self.keys.push(WrappedKey {
            number: self.keys.iter().map(|key| key.number).max().unwrap_or_default() + 1,
            tenant: tenant.map(str::to_owned),
            state: KeyState::Staged,
            staged_at: unix_seconds(now),
            promoted_at: None,
            replaced_at: None,
            emptied_at: None,
            retired_at: None,
            values: 0,
            bytes: 0,
            wrapped: wrap(kek, &self.purpose, tenant, &key)?,
            known: sealed::seal(&key, &known_place(&id), KNOWN)?,
            id: id.clone(),
        });
        Ok(id)
    }

    /// Lets a staged key seal from now on; the one that did is retiring. Do this when every replica has reloaded.
    ///
    /// # Errors
    ///
    /// [`VaultError::UnknownKey`], or [`VaultError::KeyState`] if it is not staged.
    pub fn promote(&mut self, id: &str, now: SystemTime) -> Result<(), VaultError> {
        let tenant = self.get_mut(id, KeyState::Staged)?.tenant.clone();
        for key in &mut self.keys {
            if key.id == id {
                key.state = KeyState::Active;
                key.promoted_at = Some(unix_seconds(now));
            } else if key.tenant == tenant && key.state == KeyState::Active {
                key.state = KeyState::Retiring;
                key.replaced_at = Some(unix_seconds(now));
            }
        }
        Ok(())
    }

    /// Notes whether nothing is sealed with a retiring key any more. The first time counts.
    ///
    /// # Errors
    ///
    /// [`VaultError::UnknownKey`], or [`VaultError::KeyState`] if it is not retiring.
    pub fn note_values(&mut self, id: &str, values: u64, now: SystemTime) -> Result<(), VaultError> {
        let key = self.get_mut(id, KeyState::Retiring)?;
        key.emptied_at = match values {
            0 => key.emptied_at.or(Some(unix_seconds(now))),
            _ => None,
        };
        Ok(())
    }

    /// Puts a retiring key aside. Do this when no value has been sealed with it for as long as somebody may hold one that
    /// he has read, and when every replica has reloaded since it was replaced.
    ///
    /// # Errors
    ///
    /// [`VaultError::UnknownKey`], or [`VaultError::KeyState`] if it is not retiring.
    pub fn retire(&mut self, id: &str, now: SystemTime) -> Result<(), VaultError> {
        let key = self.get_mut(id, KeyState::Retiring)?;
        key.state = KeyState::Retired;
        key.retired_at = Some(unix_seconds(now));
        Ok(())
    }

    /// Takes a retired key back into use for opening, after rows from before its sweep were restored.
    ///
    /// # Errors
    ///
    /// [`VaultError::UnknownKey`], or [`VaultError::KeyState`] if it is not retired.
    pub fn reinstate(&mut self, id: &str) -> Result<(), VaultError> {
        let key = self.get_mut(id, KeyState::Retired)?;
        key.state = KeyState::Retiring;
        (key.emptied_at, key.retired_at) = (None, None);
        Ok(())
    }

    /// Forgets a retired key. Backups that hold values of it cannot be opened after this.
    ///
    /// # Errors
    ///
    /// [`VaultError::UnknownKey`], or [`VaultError::KeyState`] if it is not retired.
    pub fn destroy(&mut self, id: &str) -> Result<(), VaultError> {
        let key = self.get_mut(id, KeyState::Retired)?;
        key.state = KeyState::Destroyed;
        key.wrapped.clear();
        key.known.clear();
        Ok(())
    }

    /// Wraps every key anew under another KEK, and gives how many. No value is touched. On an error nothing is changed.
    ///
    /// # Errors
    ///
    /// As [`Vault::open`](crate::Vault::open), and what the new KEK says.
    pub fn rewrap(&mut self, from: &dyn Kek, to: &dyn Kek) -> Result<usize, VaultError> {
        let mut fresh = self.keys.clone();
        let mut count = 0;
        for key in fresh.iter_mut().filter(|key| key.state != KeyState::Destroyed) {
            let opened = unwrap_key(from, &self.purpose, key)?;
            key.wrapped = wrap(to, &self.purpose, key.tenant.as_deref(), &opened)?;
            // What was written must be readable before the old form is given up.
            unwrap_key(to, &self.purpose, key)?;
            count += 1;
        }
        self.keys = fresh;
        Ok(count)
    }

    /// The key of this id.
    pub fn get(&self, id: &str) -> Option<&WrappedKey> {
        self.keys.iter().find(|key| key.id == id)
    }

    /// The key that seals for a tenant, or the shared one.
    pub fn active(&self, tenant: Option<&str>) -> Option<&WrappedKey> {
        self.keys
            .iter()
            .find(|key| key.state == KeyState::Active && key.tenant.as_deref() == tenant)
    }

    /// The keys of a tenant, or the shared ones.
    pub(crate) fn of<'a>(&'a self, tenant: Option<&'a str>) -> impl Iterator<Item = &'a WrappedKey> {
        self.keys
            .iter()
            .filter(move |key| key.tenant.as_deref() == tenant)
    }

    /// Refuses what contradicts itself.
    pub(crate) fn check(&self, purpose: &str) -> Result<(), VaultError> {
        if self.format != FORMAT {
            return Err(VaultError::UnsupportedFormat(self.format));
        }
        if self.purpose != purpose {
            return Err(VaultError::WrappedKeys(
                "they are of a vault with another purpose",
            ));
        }
        let mut seen = std::collections::HashSet::new();
        let mut sealing = std::collections::HashSet::new();
        for key in &self.keys {
            if !seen.insert(&key.id) {
                return Err(VaultError::WrappedKeys("a key is listed twice"));
            }
            if key.state == KeyState::Active && !sealing.insert(key.tenant.as_deref()) {
                return Err(VaultError::WrappedKeys("two keys are active at once"));
            }
        }
        if sealing.contains(&None) {
            Ok(())
        } else {
            Err(VaultError::WrappedKeys("no shared key is active"))
        }
    }

    fn get_mut(&mut self, id: &str, state: KeyState) -> Result<&mut WrappedKey, VaultError> {
        let key = self
            .keys
            .iter_mut()
            .find(|key| key.id == id)
            .ok_or(VaultError::UnknownKey)?;
        if key.state == state {
            Ok(key)
        } else {
            Err(VaultError::KeyState {
                number: key.number,
                state: key.state.as_str(),
            })
        }
    }
}

impl WrappedKey {
    /// The KEK it is wrapped with; none if it is destroyed or damaged.
    pub fn kek_id(&self) -> Option<KekId> {
        let bytes = BASE64URL.decode(&self.wrapped).ok()?;
        let (_, rest) = bytes.split_first()?;
        Some(KekId(*rest.first_chunk()?))
    }

    pub(crate) fn key_id(&self) -> Result<KeyId, VaultError> {
        let bytes = BASE64URL
            .decode(&self.id)
            .ok()
            .and_then(|bytes| KeyId::try_from(bytes).ok());
        bytes.ok_or(VaultError::WrappedKeys("an id is not a key id"))
    }
}

/// Opens a stored key: the KEK must be the one that wrapped it, the key must be the one that its id names, and the known
/// value must open.
pub(crate) fn unwrap_key(kek: &dyn Kek, purpose: &str, stored: &WrappedKey) -> Result<Key, VaultError> {
    let id = stored.key_id()?;
    let wrapped = BASE64URL
        .decode(&stored.wrapped)
        .map_err(|_| VaultError::WrappedKeys("a key is cut off or not base64url"))?;
    let (format, rest) = wrapped
        .split_first()
        .ok_or(VaultError::WrappedKeys("a key is cut off or not base64url"))?;
    if *format != FORMAT {
        return Err(VaultError::UnsupportedFormat(*format));
    }
    let (kek_id, body) = rest
        .split_first_chunk()
        .ok_or(VaultError::WrappedKeys("a key is cut off or not base64url"))?;
    if KekId(*kek_id) != kek.id() {
        return Err(VaultError::WrongKek);
    }
    let binding = binding(kek.id(), purpose, stored.tenant.as_deref(), &id);
    let secret = kek.unwrap_key(body, &binding).map_err(|error| match error {
        VaultError::Altered => VaultError::WrappedKeys("a key was changed or exchanged"),
        error => error,
    })?;
    let key = Key::new("dek", secret);
    if *key.id() != id {
        return Err(VaultError::WrappedKeys("a key does not match its id"));
    }
    let known = Sealed::parse(&stored.known)
        .ok()
        .filter(|known| *known.key_id() == id)
        .and_then(|known| known.open(&key, &known_place(&stored.id)).ok());
    if known.is_none_or(|known| known.as_slice() != KNOWN) {
        return Err(VaultError::WrappedKeys("a known value does not open"));
    }
    Ok(key)
}

pub(crate) fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
        .as_secs()
}

fn wrap(kek: &dyn Kek, purpose: &str, tenant: Option<&str>, key: &Key) -> Result<String, VaultError> {
    let mut out = vec![FORMAT];
    out.extend_from_slice(&kek.id().0);
    out.extend(kek.wrap_key(key.secret(), &binding(kek.id(), purpose, tenant, key.id()))?);
    Ok(BASE64URL.encode(out))
}

/// What a wrapped key is bound to: it opens only as the key of this vault, tenant and id, under the KEK it names.
fn binding(kek: KekId, purpose: &str, tenant: Option<&str>, id: &KeyId) -> Vec<u8> {
    let mut data = Vec::with_capacity(192);
    field(&mut data, Some(b"bmm-vault key"));
    field(&mut data, Some(&[FORMAT]));
    field(&mut data, Some(&kek.0));
    field(&mut data, Some(purpose.as_bytes()));
    field(&mut data, tenant.map(str::as_bytes));
    field(&mut data, Some(id));
    data
}

fn known_place(id: &str) -> Context {
    Context::new("bmm-vault known value").row(id)
}
