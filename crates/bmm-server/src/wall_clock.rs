//! One moment in the words of two crates.

use std::time::{Duration, SystemTime};

use bmm_oauth::Timestamp;

/// The time as the vault takes it.
pub(crate) fn wall(now: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(now.as_secs())
}
