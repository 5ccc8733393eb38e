//! The keys that sign access tokens, and when each of them does.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bmm_vault::{Context, Vault};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use zeroize::{Zeroize, Zeroizing};

use super::key_error::{KeyError, MAX_KEYS};
use super::signing_key::SigningKey;
use super::store::Store;
use crate::access_token::Claims;
use crate::algorithm::Algorithm;
use crate::clock::Timestamp;
use crate::key_set::KeySet;

/// Attempts to replace the stored keys before giving up: each other replica that rotates at the same time costs one.
const ATTEMPTS: usize = 16;

/// The private keys of an issuer. One signs, all are published: a new one before it signs, an old one until the last token that it signed
/// has ended.
pub struct SigningKeys {
    ring: RwLock<Arc<Ring>>,
}

/// A rotation's times.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    pub(super) now: Timestamp,
    /// How long a new key is published before it signs.
    pub(super) propagation: Duration,
    /// How long a token may live that was signed with the old key in its last second.
    pub(super) overlap: Duration,
}

impl SigningKeys {
    /// A fresh key, which is kept nowhere.
    pub fn create(algorithm: Algorithm) -> Result<Self, KeyError> {
        let key = SigningKey::generate(algorithm)?;
        let first = Scheduled {
            key: Arc::new(key),
            signs_from: Timestamp::from_secs(0),
            ends_at: None,
        };
        Ring::new(vec![first]).map(Self::of)
    }

    /// The keys kept in `store`, opened with `vault`; made and kept there if there are none.
    pub async fn load_or_create<S: Store + ?Sized>(vault: &Vault, store: &S) -> Result<Self, KeyError> {
        let sealed = match store.signing_keys().await? {
            Some(sealed) => sealed,
            None => {
                let fresh = Self::create(Algorithm::default())?.to_sealable_bytes();
                let sealed = vault.seal(&Self::place(), &fresh).map_err(KeyError::Vault)?;
                store.init_signing_keys(sealed).await?
            }
        };
        Ring::unseal(vault, &sealed).map(Self::of)
    }

    /// Where they are sealed for.
    pub(super) fn place() -> Context {
        Context::new("oauth_signing_keys")
    }

    /// The private keys, to be sealed and kept. The form is versioned.
    pub fn to_sealable_bytes(&self) -> Zeroizing<Vec<u8>> {
        self.ring().to_bytes()
    }

    /// Reads what [`to_sealable_bytes`](Self::to_sealable_bytes) wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        Ring::from_bytes(bytes).map(Self::of)
    }

    /// The public keys at this time as a JWK Set (RFC 7517).
    pub(super) fn jwks(&self, now: Timestamp) -> Value {
        self.at(now).jwks()
    }

    /// The keys that verify at this time.
    pub(super) fn key_set(&self, now: Timestamp) -> Arc<KeySet> {
        Arc::clone(&self.at(now).key_set)
    }

    pub(super) fn sign(&self, claims: &Claims, now: Timestamp) -> String {
        self.at(now).signing(now).sign(claims)
    }

    /// Takes over the keys that the store keeps, if they are others.
    pub(super) async fn refresh<S: Store + ?Sized>(&self, vault: &Vault, store: &S) -> Result<(), KeyError> {
        let sealed = store.signing_keys().await?.ok_or(KeyError::NotKept)?;
        self.set(Ring::unseal(vault, &sealed)?);
        Ok(())
    }

    /// Adds a key, or adopts the one of this algorithm that another replica added and that does not sign yet. Says whether it added
    /// one.
    pub(super) async fn rotate<S: Store + ?Sized>(
        &self,
        vault: &Vault,
        store: &S,
        algorithm: Algorithm,
        schedule: Schedule,
    ) -> Result<bool, KeyError> {
        let mut fresh = None;
        for _ in 0..ATTEMPTS {
            let old = store.signing_keys().await?.ok_or(KeyError::NotKept)?;
            let stands = Ring::unseal(vault, &old)?;
            if stands.is_coming(algorithm, schedule.now) {
                self.set(stands);
                return Ok(false);
            }
            let key = match fresh.take() {
                Some(key) => key,
                None => Arc::new(SigningKey::generate(algorithm)?),
            };
            fresh = Some(Arc::clone(&key));
            let next = stands.with(key, schedule)?;
            let sealed = vault
                .seal(&Self::place(), &next.to_bytes())
                .map_err(KeyError::Vault)?;
            if store.replace_signing_keys(old, sealed).await? {
                self.set(next);
                return Ok(true);
            }
        }
        Err(KeyError::Contended)
    }

    fn of(ring: Ring) -> Self {
        Self {
            ring: RwLock::new(Arc::new(ring)),
        }
    }

    fn ring(&self) -> Arc<Ring> {
        Arc::clone(&self.ring.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, ring: Ring) {
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(ring);
    }

    /// The keys without those that have ended.
    fn at(&self, now: Timestamp) -> Arc<Ring> {
        let ring = self.ring();
        match ring.without_ended(now) {
            None => ring,
            Some(rest) => {
                let mut stands = self.ring.write().unwrap_or_else(PoisonError::into_inner);
                // Others may have been taken over meanwhile: a new key must not go with the old ones.
                if Arc::ptr_eq(&stands, &ring) {
                    *stands = Arc::new(rest);
                }
                Arc::clone(&stands)
            }
        }
    }
}

impl fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ring = self.ring();
        let kids: Vec<_> = ring.keys.iter().map(|scheduled| scheduled.key.kid()).collect();
        f.debug_struct("SigningKeys")
            .field("kids", &kids)
            .finish_non_exhaustive()
    }
}

/// The keys in the order in which they sign. There is always one.
struct Ring {
    keys: Vec<Scheduled>,
    key_set: Arc<KeySet>,
}

#[derive(Clone)]
struct Scheduled {
    key: Arc<SigningKey>,
    /// Published before, signs from here on, until the next one does.
    signs_from: Timestamp,
    /// No token of this key can be valid any more. Nothing for the newest key.
    ends_at: Option<Timestamp>,
}

impl Ring {
    fn new(keys: Vec<Scheduled>) -> Result<Self, KeyError> {
        let key_set = KeySet::parse(jwks(&keys).to_string().as_bytes()).map_err(|_| KeyError::Damaged)?;
        Ok(Self {
            key_set: Arc::new(key_set),
            keys,
        })
    }

    /// The newest key that may sign already. Before all of them, the oldest.
    fn signing(&self, now: Timestamp) -> &SigningKey {
        let begun = self
            .keys
            .iter()
            .rev()
            .find(|scheduled| scheduled.signs_from <= now);
        let scheduled = begun.or(self.keys.first()).expect("a ring has a key");
        &scheduled.key
    }

    /// Whether a key of this algorithm is published that does not sign yet.
    fn is_coming(&self, algorithm: Algorithm, now: Timestamp) -> bool {
        let newest = self.keys.last();
        newest.is_some_and(|newest| newest.signs_from > now && newest.key.algorithm() == algorithm)
    }

    /// The same with a new key, which signs when everybody has had the time to learn of it.
    fn with(&self, key: Arc<SigningKey>, schedule: Schedule) -> Result<Self, KeyError> {
        let mut keys: Vec<_> = self
            .keys
            .iter()
            .filter(|key| key.lives(schedule.now))
            .cloned()
            .collect();
        let begins = schedule.now.plus(schedule.propagation);
        // After a key that is on its way, if there is one: keys sign in their order.
        let begins = keys.last().map_or(begins, |newest| begins.max(newest.signs_from));
        if let Some(newest) = keys.last_mut() {
            newest.ends_at = Some(begins.plus(schedule.overlap));
        }
        keys.push(Scheduled {
            key,
            signs_from: begins,
            ends_at: None,
        });
        if keys.len() > MAX_KEYS {
            return Err(KeyError::TooMany);
        }
        Self::new(keys)
    }

    fn without_ended(&self, now: Timestamp) -> Option<Self> {
        if self.keys.iter().all(|key| key.lives(now)) {
            return None;
        }
        Self::new(self.keys.iter().filter(|key| key.lives(now)).cloned().collect()).ok()
    }

    fn jwks(&self) -> Value {
        jwks(&self.keys)
    }

    fn unseal(vault: &Vault, sealed: &str) -> Result<Self, KeyError> {
        let bytes = vault
            .open_value(&SigningKeys::place(), sealed)
            .map_err(KeyError::Vault)?;
        Self::from_bytes(&bytes)
    }

    fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let file = KeyFile {
            version: 1,
            keys: self.keys.iter().map(StoredKey::from).collect(),
        };
        Zeroizing::new(serde_json::to_vec(&file).expect("the file is plain data"))
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        let file: KeyFile = serde_json::from_slice(bytes).map_err(|_| KeyError::Damaged)?;
        let keys: Vec<_> = file
            .keys
            .iter()
            .map(Scheduled::try_from)
            .collect::<Result<_, _>>()?;
        let last_lives = keys.last().is_some_and(|newest| newest.ends_at.is_none());
        if file.version != 1 || !last_lives || !keys.is_sorted_by_key(|key| key.signs_from) {
            return Err(KeyError::Damaged);
        }
        Self::new(keys)
    }
}

fn jwks(keys: &[Scheduled]) -> Value {
    let keys: Vec<_> = keys.iter().map(|scheduled| scheduled.key.public()).collect();
    json!({ "keys": keys })
}

impl Scheduled {
    fn lives(&self, now: Timestamp) -> bool {
        self.ends_at.is_none_or(|ends_at| ends_at > now)
    }
}

#[derive(Serialize, Deserialize)]
struct KeyFile {
    version: u32,
    /// In the order in which they sign.
    keys: Vec<StoredKey>,
}

#[derive(Serialize, Deserialize)]
struct StoredKey {
    alg: Algorithm,
    pkcs8: String,
    #[serde(default)]
    signs_from: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ends_at: Option<u64>,
}

impl From<&Scheduled> for StoredKey {
    fn from(scheduled: &Scheduled) -> Self {
        Self {
            alg: scheduled.key.algorithm(),
            pkcs8: STANDARD.encode(scheduled.key.pkcs8()),
            signs_from: scheduled.signs_from.as_secs(),
            ends_at: scheduled.ends_at.map(Timestamp::as_secs),
        }
    }
}

impl TryFrom<&StoredKey> for Scheduled {
    type Error = KeyError;

    fn try_from(stored: &StoredKey) -> Result<Self, KeyError> {
        let pkcs8 = Zeroizing::new(STANDARD.decode(&stored.pkcs8).map_err(|_| KeyError::Damaged)?);
        Ok(Self {
            key: Arc::new(SigningKey::from_pkcs8(stored.alg, pkcs8)?),
            signs_from: Timestamp::from_secs(stored.signs_from),
            ends_at: stored.ends_at.map(Timestamp::from_secs),
        })
    }
}

impl Drop for StoredKey {
    fn drop(&mut self) {
        self.pkcs8.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One request drops a key that has ended while the keys that another replica added are taken over.
    #[test]
    fn a_new_key_that_comes_while_an_old_one_goes_stays() {
        let key = || Arc::new(SigningKey::generate(Algorithm::Es256).unwrap());
        let scheduled = |key: &Arc<SigningKey>, ends_at: Option<u64>| Scheduled {
            key: Arc::clone(key),
            signs_from: Timestamp::from_secs(0),
            ends_at: ends_at.map(Timestamp::from_secs),
        };
        let (old, first, second) = (key(), key(), key());
        let before = vec![scheduled(&old, Some(10)), scheduled(&first, None)];
        let after = vec![scheduled(&first, Some(100)), scheduled(&second, None)];
        let keys = SigningKeys::of(Ring::new(before.clone()).unwrap());
        let lost = (0..3000).filter(|_| {
            keys.set(Ring::new(before.clone()).unwrap());
            let next = Ring::new(after.clone()).unwrap();
            std::thread::scope(|scope| {
                scope.spawn(|| keys.at(Timestamp::from_secs(10)));
                scope.spawn(|| keys.set(next));
            });
            keys.ring().keys.len() != 2 || keys.ring().keys[0].ends_at.is_none()
        });
        assert_eq!(lost.count(), 0);
    }
}
