//! The proofs that a resource server has seen, so that each is used once (RFC 9449 section 11.1). In one process's memory, which is bounded.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use super::proof::{Proof, WINDOW_SECS};
use crate::clock::Timestamp;
use crate::sha256::sha256;

/// Proofs remembered at a time: some 15 MB.
const MAX_SEEN: usize = 200_000;
/// Of these, made with one key: thirty requests a second for as long as a proof is good. Who holds one token cannot take the room of the others.
const MAX_SEEN_OF_KEY: usize = 10_000;
/// Proofs as young as this are not forgotten for the sake of others.
const MIN_WINDOW_SECS: u64 = 5;

/// A memory that never takes a used proof for a new one.
///
/// When it is full it forgets the oldest second that is not young, and from then on refuses whatever was made in it or before: the window for
/// `iat` narrows under a flood. When nothing but young proofs is left to forget, and for a key that has used its share, it refuses new
/// proofs. Either way nothing is replayed.
pub(super) struct SeenProofs {
    seen: Mutex<Seen>,
}

struct Seen {
    max: usize,
    max_of_key: usize,
    /// By `iat`; a proof is a hash of its key and `jti`, and stands beside a hash of its key alone.
    by_second: BTreeMap<u64, HashMap<u128, u128>>,
    of_key: HashMap<u128, usize>,
    count: usize,
    /// Proofs made before this are no longer told apart.
    floor: u64,
}

/// What is known of a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    First,
    /// It was used before, or is older than the memory reaches.
    Again,
    /// There is no room for it.
    Full,
}

impl SeenProofs {
    pub(super) fn new() -> Self {
        Self {
            seen: Mutex::new(Seen::new(MAX_SEEN, MAX_SEEN_OF_KEY)),
        }
    }

    /// Remembers a proof, which has been checked.
    pub(super) fn claim(&self, proof: &Proof, now: Timestamp) -> Use {
        let (id, key) = (short_hash(&proof.identity()), short_hash(proof.key.as_str()));
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.claim(id, key, proof.issued_at(), now.as_secs())
    }
}

impl Seen {
    fn new(max: usize, max_of_key: usize) -> Self {
        Self {
            max,
            max_of_key,
            by_second: BTreeMap::new(),
            of_key: HashMap::new(),
            count: 0,
            floor: 0,
        }
    }

    fn claim(&mut self, id: u128, key: u128, issued_at: u64, now: u64) -> Use {
        // What is too old to be accepted need not be remembered.
        while self
            .by_second
            .first_key_value()
            .is_some_and(|(second, _)| second.saturating_add(WINDOW_SECS) < now)
        {
            self.forget_oldest();
        }
        let known = self
            .by_second
            .get(&issued_at)
            .is_some_and(|proofs| proofs.contains_key(&id));
        if known || issued_at < self.floor {
            return Use::Again;
        }
        if self
            .of_key
            .get(&key)
            .is_some_and(|count| *count >= self.max_of_key)
        {
            return Use::Full;
        }
        while self.count >= self.max {
            match self.by_second.first_key_value() {
                Some((second, _)) if second.saturating_add(MIN_WINDOW_SECS) < now => self.forget_oldest(),
                _ => return Use::Full,
            }
        }
        if issued_at < self.floor {
            return Use::Again;
        }
        self.by_second.entry(issued_at).or_default().insert(id, key);
        *self.of_key.entry(key).or_default() += 1;
        self.count += 1;
        Use::First
    }

    fn forget_oldest(&mut self) {
        let Some((second, proofs)) = self.by_second.pop_first() else {
            return;
        };
        self.count -= proofs.len();
        for key in proofs.values() {
            if let Some(count) = self.of_key.get_mut(key) {
                *count -= 1;
                if *count == 0 {
                    self.of_key.remove(key);
                }
            }
        }
        // Also against a clock that is set back.
        self.floor = self.floor.max(second + 1);
    }
}

fn short_hash(text: &str) -> u128 {
    let digest = sha256(text.as_bytes());
    let first = digest.iter().take(16);
    first.fold(0, |hash, byte| (hash << 8) | u128::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: u128 = 7;

    #[test]
    fn a_proof_is_new_once() {
        let mut seen = Seen::new(10, 10);
        assert_eq!(seen.claim(1, KEY, 100, 100), Use::First);
        assert_eq!(seen.claim(1, KEY, 100, 100), Use::Again);
        assert_eq!(seen.claim(1, KEY, 100, 400), Use::Again);
        assert_eq!(seen.claim(2, KEY, 100, 100), Use::First);
    }

    #[test]
    fn what_is_too_old_anyway_is_forgotten() {
        let mut seen = Seen::new(10, 1000);
        for id in 0..10 {
            assert_eq!(seen.claim(id, KEY, 100, 100), Use::First);
        }
        assert_eq!(seen.claim(11, KEY, 401, 401), Use::First);
        assert_eq!(seen.count, 1);
    }

    /// A flood of good proofs must not push out the one that a thief waits to replay.
    #[test]
    fn a_full_memory_narrows_the_window_and_replays_nothing() {
        let mut seen = Seen::new(10, 1000);
        assert_eq!(seen.claim(1, KEY, 100, 100), Use::First);
        for id in 2..=100 {
            let _ = seen.claim(id, KEY, 150, 200);
        }
        assert!(seen.count <= 10);
        assert_eq!(seen.claim(1, KEY, 100, 200), Use::Again, "forgotten, but refused");
        assert_eq!(
            seen.claim(1000, KEY, 99, 200),
            Use::Again,
            "as old as what was forgotten"
        );
        assert_eq!(
            seen.claim(1001, KEY, 200, 200),
            Use::First,
            "a young one finds room"
        );
        for id in 2000..2100 {
            let _ = seen.claim(id, KEY, 200, 200);
        }
        assert_eq!(seen.claim(3000, KEY, 200, 200), Use::Full);
    }

    /// Who holds one token makes proofs at will, also for a minute ahead.
    #[test]
    fn one_key_takes_no_more_than_its_share() {
        let mut seen = Seen::new(100, 10);
        for id in 0..200 {
            let _ = seen.claim(id, KEY, 160, 100);
        }
        assert_eq!(seen.count, 10);
        assert_eq!(
            seen.claim(3, KEY, 160, 100),
            Use::Again,
            "what it used stays used"
        );
        assert_eq!(seen.claim(1000, KEY, 160, 100), Use::Full);
        assert_eq!(
            seen.claim(1000, 8, 100, 100),
            Use::First,
            "another key finds room"
        );
        assert_eq!(
            seen.claim(1001, KEY, 461, 461),
            Use::First,
            "its share comes back in time"
        );
        assert_eq!((seen.count, seen.of_key.len()), (1, 1));
    }
}
