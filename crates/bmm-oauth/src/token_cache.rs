//! Verdicts over tokens that were verified before. A hit costs one SHA-256 of the token instead of a signature check.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::mem;
use std::sync::{Mutex, PoisonError};

use crate::clock::Timestamp;
use crate::sha256::sha256;
use crate::verifier::AuthInfo;

/// Each shard has a lock of its own, and two generations of at most so many verdicts.
const SHARDS: usize = 16;
const GENERATION: usize = 512;

/// Good verdicts by the SHA-256 of the token; the token itself is not kept. Only tokens that verified get in, so a flood of forged
/// ones evicts nothing; a flood of good ones evicts a generation at a time, in constant time for each.
///
/// A verdict is bounded by the token's expiry, and stands only under the keys (or the answer) it was reached with. Whether its grant is
/// revoked is the caller's to ask, at every hit.
pub(crate) struct TokenCache {
    shards: [Mutex<Shard>; SHARDS],
}

/// The key of a verdict.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct TokenHash([u8; 32]);

/// Takes eight bytes of a [`TokenHash`] as they are. They are uniform, and nobody chooses them: only the hashes of tokens with a good
/// signature get into the maps.
#[derive(Clone, Copy, Default)]
struct AlreadyHashed(u64);

impl Hash for TokenHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let word = self.0.last_chunk().copied().unwrap_or_default();
        state.write_u64(u64::from_ne_bytes(word));
    }
}

impl Hasher for AlreadyHashed {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

type Verdicts = HashMap<TokenHash, Verdict, BuildHasherDefault<AlreadyHashed>>;

impl TokenHash {
    pub(crate) fn of(token: &str) -> Self {
        Self(sha256(token.as_bytes()))
    }
}

#[derive(Default)]
struct Shard {
    young: Verdicts,
    old: Verdicts,
}

#[derive(Clone)]
struct Verdict {
    info: AuthInfo,
    /// Exclusive.
    until: Timestamp,
    reached_with: [u8; 32],
}

impl TokenCache {
    pub(crate) fn new() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
        }
    }

    /// The verdict over a token, if it still stands.
    pub(crate) fn get(&self, token: &TokenHash, reached_with: &[u8; 32], now: Timestamp) -> Option<AuthInfo> {
        let mut shard = self.shard(token)?.lock().unwrap_or_else(PoisonError::into_inner);
        let stands = |verdict: &Verdict| now < verdict.until && verdict.reached_with == *reached_with;
        if let Some(verdict) = shard.young.get(token) {
            return stands(verdict).then(|| verdict.info.clone());
        }
        let verdict = shard.old.remove(token).filter(stands)?;
        let info = verdict.info.clone();
        let evicted = shard.insert(*token, verdict);
        drop(shard);
        drop(evicted);
        Some(info)
    }

    /// Keeps a verdict, not beyond the token's own expiry.
    pub(crate) fn put(&self, token: TokenHash, info: AuthInfo, until: Timestamp, reached_with: [u8; 32]) {
        let Some(shard) = self.shard(&token) else { return };
        let verdict = Verdict {
            until: until.min(info.expires_at()),
            info,
            reached_with,
        };
        let evicted = shard
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(token, verdict);
        // Outside the lock.
        drop(evicted);
    }

    fn shard(&self, token: &TokenHash) -> Option<&Mutex<Shard>> {
        self.shards.get(usize::from(*token.0.first()?) % SHARDS)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        let count = |shard: &Mutex<Shard>| {
            let shard = shard.lock().unwrap();
            shard.young.len() + shard.old.len()
        };
        self.shards.iter().map(count).sum()
    }
}

impl Shard {
    /// Adds a verdict and returns what gave way to it.
    fn insert(&mut self, token: TokenHash, verdict: Verdict) -> Verdicts {
        let full = self.young.len() >= GENERATION && !self.young.contains_key(&token);
        let evicted = if full {
            let young = mem::replace(
                &mut self.young,
                Verdicts::with_capacity_and_hasher(GENERATION, BuildHasherDefault::default()),
            );
            mem::replace(&mut self.old, young)
        } else {
            Verdicts::default()
        };
        self.young.insert(token, verdict);
        evicted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scope::Scopes;
    use crate::verifier::Subject;

    const KEYS: [u8; 32] = [1; 32];

    fn info(expires_at: u64) -> AuthInfo {
        AuthInfo::insecure_asserted(
            "https://auth.example".parse().unwrap(),
            "https://auth.example/mcp".parse().unwrap(),
            Subject::new("alice"),
            "client".to_owned(),
            Scopes::empty(),
            "grant".to_owned(),
            Timestamp::from_secs(expires_at),
        )
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_secs(seconds)
    }

    #[test]
    fn a_verdict_ends_with_its_token_and_with_its_keys() {
        let cache = TokenCache::new();
        let token = TokenHash::of("a");
        cache.put(token, info(100), at(u64::MAX), KEYS);
        assert!(cache.get(&token, &KEYS, at(99)).is_some());
        assert!(cache.get(&token, &KEYS, at(100)).is_none());
        assert!(cache.get(&token, &[2; 32], at(99)).is_none());
        assert!(cache.get(&TokenHash::of("b"), &KEYS, at(99)).is_none());
        cache.put(token, info(100), at(50), KEYS);
        assert!(cache.get(&token, &KEYS, at(50)).is_none(), "or before it");
    }

    #[test]
    fn a_flood_of_good_tokens_stays_within_bounds_and_spares_what_is_in_use() {
        let cache = TokenCache::new();
        let used = TokenHash::of("used");
        cache.put(used, info(100), at(100), KEYS);
        for n in 0..100_000 {
            cache.put(TokenHash::of(&n.to_string()), info(100), at(100), KEYS);
            if n % 1000 == 0 {
                assert!(cache.get(&used, &KEYS, at(0)).is_some());
            }
        }
        assert!(cache.len() <= SHARDS * 2 * GENERATION, "{}", cache.len());
    }
}
