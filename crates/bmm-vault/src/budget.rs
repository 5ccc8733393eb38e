//! How much one key may seal.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::error::VaultError;

/// How much one data-encryption key may seal.
///
/// Counts are kept in memory and stored with the wrapped keys from time to time; a crash loses the counts since. The
/// gap between `rotate_at_percent` and the limit is the room for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Most values of one key. NIST SP 800-38D, section 8.3, allows 2^32 with random nonces.
    pub max_values: u64,
    /// Most bytes of one key. 2^38 (256 GiB) keep what an attacker gains over AES below 2^-60
    /// (draft-irtf-cfrg-aead-limits, section 5.1).
    pub max_bytes: u64,
    /// Per cent of either limit at which the key is due for rotation.
    pub rotate_at_percent: u8,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            max_values: 1 << 32,
            max_bytes: 1 << 38,
            rotate_at_percent: 50,
        }
    }
}

impl Budget {
    /// Whether a key that has sealed this much is due for rotation.
    pub fn is_due(&self, values: u64, bytes: u64) -> bool {
        let due = |used: u64, max: u64| {
            u128::from(used) * 100 >= u128::from(max) * u128::from(self.rotate_at_percent)
        };
        due(values, self.max_values) || due(bytes, self.max_bytes)
    }
}

/// What a key has sealed: as stored, and since.
#[derive(Default)]
pub(crate) struct Usage {
    stored_values: AtomicU64,
    stored_bytes: AtomicU64,
    fresh_values: AtomicU64,
    fresh_bytes: AtomicU64,
}

impl Usage {
    /// Counts one value, if there is room for it.
    pub(crate) fn take(&self, bytes: usize, budget: &Budget) -> Result<(), VaultError> {
        let bytes = bytes as u64;
        let values = self.fresh_values.fetch_add(1, Relaxed);
        let sealed = self.fresh_bytes.fetch_add(bytes, Relaxed);
        if self.stored_values.load(Relaxed).saturating_add(values) < budget.max_values
            && self
                .stored_bytes
                .load(Relaxed)
                .saturating_add(sealed)
                .saturating_add(bytes)
                <= budget.max_bytes
        {
            return Ok(());
        }
        self.fresh_values.fetch_sub(1, Relaxed);
        self.fresh_bytes.fetch_sub(bytes, Relaxed);
        Err(VaultError::BudgetSpent)
    }

    /// Values and bytes in all.
    pub(crate) fn total(&self) -> (u64, u64) {
        (
            self.stored_values.load(Relaxed) + self.fresh_values.load(Relaxed),
            self.stored_bytes.load(Relaxed) + self.fresh_bytes.load(Relaxed),
        )
    }

    /// What the store counts now; never makes the total smaller.
    pub(crate) fn set_stored(&self, values: u64, bytes: u64) {
        let fresh = self.fresh_values.load(Relaxed);
        self.stored_values
            .fetch_max(values.saturating_sub(fresh), Relaxed);
        let fresh = self.fresh_bytes.load(Relaxed);
        self.stored_bytes.fetch_max(bytes.saturating_sub(fresh), Relaxed);
    }

    /// Hands over what is not stored yet: whoever takes it stores it, or gives it back.
    #[cfg(feature = "sql")]
    pub(crate) fn drain(&self) -> (u64, u64) {
        let fresh = (
            self.fresh_values.swap(0, Relaxed),
            self.fresh_bytes.swap(0, Relaxed),
        );
        self.stored_values.fetch_add(fresh.0, Relaxed);
        self.stored_bytes.fetch_add(fresh.1, Relaxed);
        fresh
    }

    /// Takes back what could not be stored.
    #[cfg(feature = "sql")]
    pub(crate) fn give_back(&self, (values, bytes): (u64, u64)) {
        self.stored_values.fetch_sub(values, Relaxed);
        self.stored_bytes.fetch_sub(bytes, Relaxed);
        self.fresh_values.fetch_add(values, Relaxed);
        self.fresh_bytes.fetch_add(bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn storing_and_reloading_counts_nothing_twice() {
        let usage = Usage::default();
        let budget = Budget {
            max_values: 10,
            max_bytes: 1000,
            rotate_at_percent: 50,
        };
        for _ in 0..4 {
            usage.take(10, &budget).expect("room");
        }
        for _ in 0..3 {
            let (values, bytes) = usage.total();
            usage.set_stored(values, bytes);
        }
        assert_eq!(usage.total(), (4, 40));
        assert!(!budget.is_due(4, 40) && budget.is_due(5, 40) && budget.is_due(4, 500));
    }

    #[test]
    fn a_value_without_room_is_not_counted() {
        let usage = Usage::default();
        let budget = Budget {
            max_values: 10,
            max_bytes: 100,
            rotate_at_percent: 50,
        };
        usage.take(100, &budget).expect("room");
        assert!(matches!(usage.take(1, &budget), Err(VaultError::BudgetSpent)));
        usage.take(0, &budget).expect("room for nothing");
        assert_eq!(usage.total(), (2, 100));
    }
}
