//! A user of its own for every container.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

/// User IDs that belong to containers only. A container's user and group have the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UidRange {
    first: u32,
    count: u32,
}

impl UidRange {
    /// Where the container's numbers are the host's: beyond what systemd, `useradd` and `/etc/subuid` give to anybody, and
    /// below 2^31, where software stops to be careful.
    pub const HOST: Self = Self {
        first: 1_879_048_192,
        count: 1_000_000,
    };

    /// Where a container's numbers are mapped to others (user namespaces: a rootless daemon, `userns-remap`), of which there
    /// are 65,536.
    pub const MAPPED: Self = Self {
        first: 20_000,
        count: 40_000,
    };

    /// Another range. `None` if it is empty, holds root, or goes beyond 2^31 - 1.
    pub fn new(uids: RangeInclusive<u32>) -> Option<Self> {
        let (first, last) = uids.into_inner();
        let count = last.checked_sub(first)?.checked_add(1)?;
        (first > 0 && last < 1 << 31).then_some(Self { first, count })
    }

    /// The user for `seat` of `instance`, which is none of `taken` (those of all containers there are, also of other
    /// instances). `None` when all are taken.
    ///
    /// Instances start at different places of the range, so that two on one daemon, or on two, rarely meet.
    pub fn uid(&self, instance: &str, seat: u64, taken: &BTreeSet<u32>) -> Option<u32> {
        let count = u64::from(self.count);
        let start = (scatter(instance) % count + seat % count) % count;
        // One more than are taken is enough to meet a free one.
        (0..count.min(taken.len() as u64 + 1)).find_map(|step| {
            let offset = u32::try_from((start + step) % count).ok()?;
            let uid = self.first.checked_add(offset)?;
            (!taken.contains(&uid)).then_some(uid)
        })
    }

    /// Whether `uid` is one of these.
    pub fn contains(&self, uid: u32) -> bool {
        uid.checked_sub(self.first)
            .is_some_and(|offset| offset < self.count)
    }
}

/// FNV-1a: only to start at different places, so anything stable will do.
fn scatter(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_full_range_has_no_user_left() {
        let range = UidRange::new(100..=102).expect("is one");
        let mut taken = BTreeSet::new();
        for seat in 0..3 {
            assert!(taken.insert(range.uid("a", 7 * seat, &taken).expect("one is left")));
        }
        assert_eq!(range.uid("a", 1, &taken), None);
        assert_eq!(taken, BTreeSet::from([100, 101, 102]));
    }

    #[test]
    fn root_and_negative_numbers_are_in_no_range() {
        assert_eq!(UidRange::new(0..=10), None);
        assert_eq!(UidRange::new(1..=1 << 31), None);
        #[expect(clippy::reversed_empty_ranges, reason = "that is the point")]
        let empty = UidRange::new(10..=9);
        assert_eq!(empty, None);
    }

    proptest! {
        #[test]
        fn no_two_live_containers_share_a_user(seats in prop::collection::vec((any::<u64>(), "[a-c]"), 0..80)) {
            for range in [UidRange::HOST, UidRange::MAPPED, UidRange::new(1..=100).expect("is one")] {
                let mut taken = BTreeSet::new();
                for (seat, instance) in &seats {
                    let uid = range.uid(instance, *seat, &taken).expect("there are more than 80");
                    prop_assert!(range.contains(uid) && uid > 0);
                    prop_assert!(taken.insert(uid), "{uid} twice");
                }
            }
        }
    }
}
