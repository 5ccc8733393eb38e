//! The vault: wrapped keys in, sealed values out.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::{ArcSwap, Guard};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use zeroize::Zeroizing;

use crate::budget::{Budget, Usage};
use crate::context::Context;
use crate::error::VaultError;
use crate::kek::Kek;
use crate::key::{Key, KeyId};
use crate::sealed::{self, MAX_VALUE_BYTES, Sealed};
use crate::wrapped::{KeyState, WrappedKeys, unwrap_key};

/// Seals and opens values with data-encryption keys that it holds unwrapped in memory.
///
/// Share it as an `Arc<Vault>`: a rotation changes its keys while others use it.
pub struct Vault {
    config: VaultConfig,
    ring: ArcSwap<Ring>,
}

/// What a vault is for and how it uses its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultConfig {
    /// What the vault is for. Bound into every wrapped key, so that the keys of two vaults under one KEK cannot be
    /// exchanged.
    pub purpose: String,
    /// Who shares a key.
    pub scope: KeyScope,
    /// How much one key may seal.
    pub budget: Budget,
}

/// Who shares a data-encryption key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyScope {
    /// Everybody. Tenants are still kept apart, by the [`Context`].
    #[default]
    Shared,
    /// Each tenant has keys of its own; a value without tenant is sealed with the shared one.
    PerTenant,
}

impl Default for VaultConfig {
    /// Purpose `values`, a shared key, the default budget.
    fn default() -> Self {
        Self {
            purpose: "values".to_owned(),
            scope: KeyScope::default(),
            budget: Budget::default(),
        }
    }
}

impl Vault {
    /// The largest value that is sealed: 16 MiB.
    pub const MAX_VALUE_BYTES: usize = MAX_VALUE_BYTES;

    /// A new vault of the default configuration with one fresh key, of which no time is recorded. Store
    /// [`wrapped`](Self::wrapped) before anything sealed with it.
    ///
    /// # Errors
    ///
    /// [`VaultError::Randomness`], and what the KEK says.
    pub fn create(kek: &dyn Kek) -> Result<Self, VaultError> {
        let config = VaultConfig::default();
        let stored = WrappedKeys::create(kek, &config.purpose, SystemTime::UNIX_EPOCH)?;
        Self::open_with(kek, stored, config)
    }

    /// The vault of stored keys, in the default configuration. Every key must open, and its known value with it, or
    /// none is used.
    ///
    /// # Errors
    ///
    /// [`VaultError::WrongKek`] if another KEK wrapped them, [`VaultError::WrappedKeys`] if they were changed,
    /// exchanged or are incomplete.
    pub fn open(kek: &dyn Kek, stored: WrappedKeys) -> Result<Self, VaultError> {
        Self::open_with(kek, stored, VaultConfig::default())
    }

    /// The vault of stored keys ([`WrappedKeys::create`] makes the first).
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_with(kek: &dyn Kek, stored: WrappedKeys, config: VaultConfig) -> Result<Self, VaultError> {
        let ring = Ring::load(kek, stored, &config.purpose, None)?;
        Ok(Self {
            config,
            ring: ArcSwap::from_pointee(ring),
        })
    }

    /// Takes over stored keys that have changed: staged, promoted or retired ones. Keys that it holds already are not
    /// unwrapped again. Those who seal and open meanwhile are not held up; on an error nothing is changed.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn reload(&self, kek: &dyn Kek, stored: WrappedKeys) -> Result<(), VaultError> {
        let ring = Ring::load(kek, stored, &self.config.purpose, Some(&self.ring()))?;
        self.ring.store(Arc::new(ring));
        Ok(())
    }

    /// The keys as they are to be stored, with their counts as they are now.
    pub fn wrapped(&self) -> WrappedKeys {
        let ring = self.ring();
        let mut stored = ring.stored.clone();
        for key in &mut stored.keys {
            if let Some(held) = key.key_id().ok().and_then(|id| ring.keys.get(&id)) {
                (key.values, key.bytes) = held.usage.total();
            }
        }
        stored
    }

    /// How it uses its keys.
    pub fn config(&self) -> &VaultConfig {
        &self.config
    }

    /// Seals a value for a place. The result is base64url text: 110 characters, and four for every three bytes.
    ///
    /// # Errors
    ///
    /// [`VaultError::TooLarge`], [`VaultError::BudgetSpent`], [`VaultError::NoTenantKey`], [`VaultError::Randomness`].
    pub fn seal(&self, context: &Context, value: &[u8]) -> Result<String, VaultError> {
        if value.len() > Self::MAX_VALUE_BYTES {
            return Err(VaultError::TooLarge);
        }
        let ring = self.ring();
        let tenant = match self.config.scope {
            KeyScope::Shared => None,
            KeyScope::PerTenant => context.tenant_name(),
        };
        let held = ring.sealing(tenant)?;
        held.usage.take(value.len(), &self.config.budget)?;
        sealed::seal(&held.key, context, value)
    }

    /// Opens a value that was sealed for this very place.
    ///
    /// # Errors
    ///
    /// [`VaultError::Malformed`], [`VaultError::Truncated`], [`VaultError::UnsupportedFormat`],
    /// [`VaultError::UnknownKey`], [`VaultError::RetiredKey`], [`VaultError::Relocated`], [`VaultError::OtherVersion`] or
    /// [`VaultError::Altered`]; nothing of the value is returned with them.
    pub fn open_value(&self, context: &Context, sealed: &str) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let sealed = Sealed::parse(sealed)?;
        let ring = self.ring();
        let Some(held) = ring.keys.get(sealed.key_id()) else {
            return Err(if ring.retired.contains(sealed.key_id()) {
                VaultError::RetiredKey
            } else {
                VaultError::UnknownKey
            });
        };
        // Whoever got hold of one tenant's key can seal for any place; what comes of it opens for that tenant only.
        if held.tenant.is_some() && held.tenant.as_deref() != context.tenant_name() {
            return Err(VaultError::Relocated);
        }
        sealed.open(&held.key, context)
    }

    /// What keys have sealed since the last call, by their id.
    #[cfg(feature = "sql")]
    pub(crate) fn drain_usage(&self) -> Vec<(String, Arc<Usage>, (u64, u64))> {
        let drain = |(id, held): (&KeyId, &Held)| {
            let fresh = held.usage.drain();
            (fresh != (0, 0)).then(|| (BASE64URL.encode(id), held.usage.clone(), fresh))
        };
        self.ring().keys.iter().filter_map(drain).collect()
    }

    /// Whether a text names a key that this vault holds or held.
    #[cfg(feature = "sql")]
    pub(crate) fn names_key(&self, sealed: &str) -> bool {
        let ring = self.ring();
        Sealed::parse(sealed).is_ok_and(|sealed| {
            ring.keys.contains_key(sealed.key_id()) || ring.retired.contains(sealed.key_id())
        })
    }

    fn ring(&self) -> Guard<Arc<Ring>> {
        self.ring.load()
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ring = self.ring();
        f.debug_struct("Vault")
            .field("purpose", &self.config.purpose)
            .field("active", &ring.shared.map(|id| BASE64URL.encode(id)))
            .field("keys", &ring.keys.len())
            .finish_non_exhaustive()
    }
}

/// The keys at one moment.
struct Ring {
    stored: WrappedKeys,
    keys: HashMap<KeyId, Held, BuildHasherDefault<IdHasher>>,
    shared: Option<KeyId>,
    tenants: HashMap<String, KeyId>,
    retired: HashSet<KeyId>,
}

/// Takes a part of a key id for its hash. Ids are hashes, and only keys that opened are in the map.
#[derive(Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_ne_bytes(*first);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[derive(Clone)]
struct Held {
    key: Arc<Key>,
    tenant: Option<String>,
    usage: Arc<Usage>,
}

impl Ring {
    fn load(
        kek: &dyn Kek,
        stored: WrappedKeys,
        purpose: &str,
        previous: Option<&Ring>,
    ) -> Result<Self, VaultError> {
        stored.check(purpose)?;
        let mut keys = HashMap::with_capacity_and_hasher(stored.keys.len(), BuildHasherDefault::default());
        let mut shared = None;
        let mut tenants = HashMap::new();
        let mut retired = HashSet::new();
        for key in &stored.keys {
            let id = key.key_id()?;
            if !key.state.is_loaded() {
                retired.insert(id);
                continue;
            }
            // The id commits to the key, and the tenant it is held for was authenticated when it was unwrapped.
            let previous = previous
                .and_then(|ring| ring.keys.get(&id))
                .filter(|held| held.tenant == key.tenant);
            let held = match previous {
                Some(held) => held.clone(),
                None => Held {
                    key: Arc::new(unwrap_key(kek, purpose, key)?),
                    tenant: key.tenant.clone(),
                    usage: Arc::default(),
                },
            };
            held.usage.set_stored(key.values, key.bytes);
            keys.insert(id, held);
            if key.state == KeyState::Active {
                match &key.tenant {
                    None => shared = Some(id),
                    Some(tenant) => drop(tenants.insert(tenant.clone(), id)),
                }
            }
        }
        Ok(Self {
            stored,
            keys,
            shared,
            tenants,
            retired,
        })
    }

    fn sealing(&self, tenant: Option<&str>) -> Result<&Held, VaultError> {
        let id = match tenant {
            None => self.shared.as_ref(),
            Some(tenant) => self.tenants.get(tenant),
        };
        id.and_then(|id| self.keys.get(id)).ok_or(VaultError::NoTenantKey)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kek::LocalKek;

    #[test]
    fn a_stolen_tenant_key_makes_nothing_that_opens_for_another_tenant() {
        let kek = LocalKek::from_bytes(Zeroizing::new([1; 32]));
        let mut stored = WrappedKeys::create(&kek, "values", SystemTime::UNIX_EPOCH).expect("keys");
        let id = stored
            .stage(&kek, Some("thief"), SystemTime::UNIX_EPOCH)
            .expect("stages");
        stored.promote(&id, SystemTime::UNIX_EPOCH).expect("promotes");
        let stolen = unwrap_key(&kek, "values", stored.get(&id).expect("the key")).expect("unwraps");
        let vault = Vault::open(&kek, stored).expect("opens");

        let of = |tenant: &str| Context::new("secrets").tenant(tenant);
        let own = sealed::seal(&stolen, &of("thief"), b"x").expect("seals");
        vault.open_value(&of("thief"), &own).expect("opens");
        for place in [of("victim"), Context::new("secrets")] {
            let forged = sealed::seal(&stolen, &place, b"x").expect("seals");
            assert!(matches!(
                vault.open_value(&place, &forged),
                Err(VaultError::Relocated)
            ));
        }
    }
}
