//! The bounds of one call and of the pool.

use std::time::Duration;

use bmm_spec::CompiledSpec;

/// What one call may use, and how many calls may run or wait. Public fields: change what you need.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EngineLimits {
    /// The JavaScript heap of one call.
    pub heap_mib: u32,
    /// The engine's stack.
    pub stack_kib: u32,
    /// Wall-clock time of one call, waiting for fetches included.
    pub wall: Duration,
    /// Processor time of one call.
    pub cpu: Duration,
    /// The output as JSON text.
    pub output_kib: u32,
    /// The arguments as JSON text.
    pub input_kib: u32,
    /// Log messages of one call, together; what comes after is dropped.
    pub log_kib: u32,
    /// Fetches of one call.
    pub fetches: u32,
    /// Fetches of one call at the same time; more wait.
    pub concurrent_fetches: u32,
    /// Worker processes, hence calls at the same time. A warm spare comes on top (`warm_workers`).
    pub workers: u32,
    /// Workers that are kept while nobody calls, at most one more than `workers`. With fewer, the first calls at a time wait until theirs is
    /// started.
    pub warm_workers: u32,
    /// Calls that wait for a worker; more are refused as overloaded.
    pub queue: u32,
    /// Calls after which a worker is replaced.
    pub calls_per_worker: u32,
}

impl Default for EngineLimits {
    fn default() -> Self {
        Self {
            heap_mib: 64,
            stack_kib: 256,
            wall: Duration::from_secs(10),
            cpu: Duration::from_secs(2),
            output_kib: 256,
            input_kib: 1024,
            log_kib: 64,
            fetches: 20,
            concurrent_fetches: 8,
            workers: 2,
            warm_workers: u32::MAX,
            queue: 64,
            calls_per_worker: 1_000,
        }
    }
}

/// The limits that a spec asks for its own code, for the engine that runs it.
pub fn engine_limits(spec: &CompiledSpec) -> EngineLimits {
    let asked = &spec.limits;
    EngineLimits {
        heap_mib: asked.heap_mib,
        stack_kib: asked.stack_kib,
        wall: Duration::from_millis(asked.wall_ms.into()),
        cpu: Duration::from_millis(asked.cpu_ms.into()),
        output_kib: asked.output_kib,
        log_kib: asked.log_kib,
        fetches: asked.fetches,
        concurrent_fetches: asked.concurrent_fetches,
        ..EngineLimits::default()
    }
}
