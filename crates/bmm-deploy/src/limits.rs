//! The deployer's bounds.

use std::time::Duration;

/// Bounds in time.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DeployLimits {
    /// How long a runner may take to say that it serves.
    pub start_timeout: Duration,
    /// How long the check of a new revision may take.
    pub probe_timeout: Duration,
    /// How long a retired revision may take to finish what is in flight.
    pub drain_timeout: Duration,
    /// How long a runner must have served for its next fall to count as the first again.
    pub steady_after: Duration,
    /// Runners being started at a time: starting is work for the processor, and a host that comes back starts all of them.
    pub concurrent_starts: usize,
    /// How often what is there is compared with what should be: sockets, what the runtime runs, and whether servers answer.
    pub sweep_every: Duration,
    /// Checks in a row, one with each sweep, that a server may fail before its process is ended and started again.
    pub misses_allowed: u32,
}

impl Default for DeployLimits {
    fn default() -> Self {
        Self {
            start_timeout: Duration::from_secs(20),
            probe_timeout: Duration::from_secs(20),
            drain_timeout: Duration::from_secs(60),
            steady_after: Duration::from_secs(30),
            concurrent_starts: 8,
            sweep_every: Duration::from_secs(60),
            misses_allowed: 2,
        }
    }
}
