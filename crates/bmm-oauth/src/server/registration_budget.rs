//! How many registrations there may be.

use std::sync::{Mutex, PoisonError};

use crate::clock::Timestamp;

/// Registrations of this process in the current minute.
#[derive(Default)]
pub(super) struct RegistrationBudget(Mutex<(u64, u32)>);

impl RegistrationBudget {
    /// Takes one, if one is left.
    pub(super) fn spend(&self, now: Timestamp, per_minute: u32) -> bool {
        let minute = now.as_secs() / 60;
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.0 != minute {
            *state = (minute, 0);
        }
        if state.1 >= per_minute {
            return false;
        }
        state.1 += 1;
        true
    }
}
