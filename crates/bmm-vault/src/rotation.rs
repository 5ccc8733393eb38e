//! When which key is due for its next step: a decision over plain data.

use std::time::{Duration, SystemTime};

use crate::budget::Budget;
use crate::wrapped::{KeyState, WrappedKeys, unix_seconds};

/// How long the steps of a rotation wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RotationPolicy {
    /// From staged to promoted: at least the interval at which replicas refresh, twice over.
    pub propagation: Duration,
    /// From replaced to retired: a replica that has not refreshed may seal with the old key this long.
    pub grace: Duration,
    /// From empty to retired: who has read a value before the sweep replaced it opens it within this time.
    pub drain: Duration,
    /// The age at which a sealing key is replaced; `None` leaves it to the budget.
    pub max_age: Option<Duration>,
}

impl Default for RotationPolicy {
    fn default() -> Self {
        Self {
            propagation: Duration::from_secs(120),
            grace: Duration::from_secs(15 * 60),
            drain: Duration::from_secs(60),
            max_age: Some(Duration::from_secs(90 * 24 * 3600)),
        }
    }
}

/// A step that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Due {
    /// The sealing key of this tenant (or the shared one) is old or has little budget left: stage the next.
    Stage {
        /// The tenant; none for the shared key.
        tenant: Option<String>,
    },
    /// This key has been staged long enough.
    Promote {
        /// Its id.
        id: String,
    },
    /// The grace of this key is over: retire it once nothing has been sealed with it for [`RotationPolicy::drain`].
    Retire {
        /// Its id.
        id: String,
    },
}

impl WrappedKeys {
    /// The steps that are due at `now`.
    pub fn due(&self, policy: &RotationPolicy, budget: &Budget, now: SystemTime) -> Vec<Due> {
        let now = unix_seconds(now);
        let waited = |since: Option<u64>, wait: Duration| {
            since.is_some_and(|since| now.saturating_sub(since) >= wait.as_secs())
        };
        let mut due = Vec::new();
        for key in &self.keys {
            match key.state {
                KeyState::Staged if waited(Some(key.staged_at), policy.propagation) => {
                    due.push(Due::Promote { id: key.id.clone() });
                }
                KeyState::Active
                    if (budget.is_due(key.values, key.bytes)
                        || policy.max_age.is_some_and(|age| waited(key.promoted_at, age)))
                        && !self
                            .of(key.tenant.as_deref())
                            .any(|key| key.state == KeyState::Staged) =>
                {
                    due.push(Due::Stage {
                        tenant: key.tenant.clone(),
                    });
                }
                KeyState::Retiring if waited(key.replaced_at, policy.grace) => {
                    due.push(Due::Retire { id: key.id.clone() });
                }
                _ => {}
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use zeroize::Zeroizing;

    use super::{Due, RotationPolicy};
    use crate::budget::Budget;
    use crate::kek::LocalKek;
    use crate::wrapped::WrappedKeys;

    #[test]
    fn each_step_waits_for_the_one_before() {
        let kek = LocalKek::from_bytes(Zeroizing::new([1; 32]));
        let policy = RotationPolicy {
            propagation: Duration::from_secs(10),
            grace: Duration::from_secs(100),
            drain: Duration::ZERO,
            max_age: Some(Duration::from_secs(1000)),
        };
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let budget = Budget::default();
        let mut keys = WrappedKeys::create(&kek, "test", at(5)).expect("keys");
        let first = keys.keys[0].id.clone();

        assert_eq!(keys.due(&policy, &budget, at(1004)), []);
        assert_eq!(
            keys.due(&policy, &budget, at(1005)),
            [Due::Stage { tenant: None }]
        );
        let next = keys.stage(&kek, None, at(1005)).expect("staged");
        assert_eq!(keys.due(&policy, &budget, at(1014)), []);
        assert_eq!(
            keys.due(&policy, &budget, at(1015)),
            [Due::Promote { id: next.clone() }]
        );
        keys.promote(&next, at(1015)).expect("promoted");
        assert_eq!(keys.due(&policy, &budget, at(1114)), []);
        assert_eq!(
            keys.due(&policy, &budget, at(1115)),
            [Due::Retire { id: first.clone() }]
        );
        keys.retire(&first, at(1115)).expect("retired");
        assert_eq!(keys.due(&policy, &budget, at(1116)), []);
        // A clock that went backwards makes nothing due.
        assert_eq!(keys.due(&policy, &budget, at(0)), []);
    }

    #[test]
    fn a_key_is_due_before_its_budget_is_spent() {
        let kek = LocalKek::from_bytes(Zeroizing::new([1; 32]));
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        let mut keys = WrappedKeys::create(&kek, "test", now).expect("keys");
        keys.keys[0].values = 1 << 31;
        let due = keys.due(&RotationPolicy::default(), &Budget::default(), now);
        assert_eq!(due, [Due::Stage { tenant: None }]);
    }
}
