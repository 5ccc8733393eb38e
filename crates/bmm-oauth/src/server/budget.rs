//! How often something may happen in a minute: for each who asks, and altogether.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use crate::clock::Timestamp;

/// What has been spent in the current minute, in this process.
pub(super) struct MinuteBudget<K>(Mutex<Spent<K>>);

struct Spent<K> {
    minute: u64,
    total: u32,
    each: HashMap<K, u32>,
}

impl<K> Default for MinuteBudget<K> {
    fn default() -> Self {
        Self(Mutex::new(Spent {
            minute: 0,
            total: 0,
            each: HashMap::new(),
        }))
    }
}

impl<K: Hash + Eq> MinuteBudget<K> {
    /// Takes one, if one is left for `key` (where there is one) and one altogether. Who has spent his own takes nothing from the others. The
    /// memory is bounded by `total`.
    pub(super) fn spend(&self, key: Option<K>, each: u32, total: u32, now: Timestamp) -> bool {
        let minute = now.as_secs() / 60;
        let mut spent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if spent.minute != minute {
            spent.minute = minute;
            spent.total = 0;
            spent.each.clear();
        }
        if spent.total >= total {
            return false;
        }
        if let Some(key) = key {
            let of_key = spent.each.entry(key).or_default();
            if *of_key >= each {
                return false;
            }
            *of_key += 1;
        }
        spent.total += 1;
        true
    }

    /// Whether one is left for `key`.
    pub(super) fn has_left(&self, key: Option<&K>, each: u32, now: Timestamp) -> bool {
        let spent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_key = key
            .and_then(|key| spent.each.get(key))
            .copied()
            .unwrap_or_default();
        spent.minute != now.as_secs() / 60 || of_key < each
    }
}

/// The address to count by. An IPv6 customer has at least a /64 of addresses.
pub(super) fn counted(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(120);

    #[test]
    fn one_who_has_spent_his_own_takes_nothing_from_the_others() {
        let budget = MinuteBudget::default();
        let spend = |key, now| budget.spend(Some(key), 2, 3, now);
        assert_eq!(
            [1, 1, 1, 1].map(|key| spend(key, NOW)),
            [true, true, false, false]
        );
        assert!(spend(2, NOW));
        assert!(!spend(3, NOW), "all three are spent");
        assert!(spend(1, Timestamp::from_secs(180)), "a new minute");
    }

    #[test]
    fn the_addresses_of_one_network_are_counted_as_one() {
        let same = |a: &str, b: &str| counted(a.parse().unwrap()) == counted(b.parse().unwrap());
        assert!(same("2001:db8:0:1::1", "2001:db8:0:1:ffff::2"));
        assert!(!same("2001:db8:0:1::1", "2001:db8:0:2::1"));
        assert!(same("::ffff:192.0.2.1", "192.0.2.1"));
        assert!(!same("192.0.2.1", "192.0.2.2"));
    }
}
