//! The same engine without a cage, for tests and for hosts that run nobody's code but their own.

use std::sync::Arc;

use bmm_spec::CompiledSpec;
use futures_util::future::BoxFuture;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::sync::Semaphore;

use super::units::{Units, queue_timeout};
use super::{
    EngineError, EngineLimits, ToolCall, ToolEngine, ToolFailure, ToolHost, ToolOutput, exchange, worker,
};

/// The engine on threads of this process.
///
/// **Not a sandbox.** A loop inside one of the engine's own functions cannot be stopped here: the call fails at its limit, but
/// its thread goes on for as long as the loop does. A memory error in the engine is one in this process.
#[derive(Debug)]
pub struct InProcessEngine {
    units: Units,
    limits: EngineLimits,
    running: Semaphore,
    admitted: Semaphore,
}

impl InProcessEngine {
    /// An engine for code that you would run without one.
    pub fn insecure_in_process(spec: &CompiledSpec, limits: EngineLimits) -> Result<Self, EngineError> {
        Ok(Self {
            units: Units::new(spec, &limits)?,
            running: Semaphore::new(limits.workers as usize),
            admitted: Semaphore::new(limits.workers.saturating_add(limits.queue) as usize),
            limits,
        })
    }

    async fn run(&self, call: ToolCall, host: Arc<dyn ToolHost>) -> Result<ToolOutput, ToolFailure> {
        let limits = &self.limits;
        let start = self.units.start(&call, host.as_ref(), limits)?;
        let _admitted = self.admitted.try_acquire().map_err(|_| ToolFailure::Overloaded)?;
        let running = tokio::time::timeout(queue_timeout(limits), self.running.acquire()).await;
        let _running = running
            .map_err(|_| ToolFailure::Overloaded)?
            .map_err(|_| ToolFailure::Crashed)?;
        let mut stream = thread().map_err(|error| ToolFailure::Host(error.to_string()))?;
        stream
            .write_all(&self.units.setup)
            .await
            .map_err(|_| ToolFailure::Crashed)?;
        let ended = exchange::run(&mut stream, start, host, limits, || None).await;
        self.units.result(call.tool, ended, limits)
    }
}

impl ToolEngine for InProcessEngine {
    fn call(
        &self,
        call: ToolCall,
        host: Arc<dyn ToolHost>,
    ) -> BoxFuture<'_, Result<ToolOutput, ToolFailure>> {
        Box::pin(self.run(call, host))
    }
}

/// The engine's stack limit and what native frames may take besides.
const STACK_BYTES: usize = 4 * 1024 * 1024;

/// A worker on a thread of its own; it ends with the returned stream.
fn thread() -> std::io::Result<UnixStream> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    std::thread::Builder::new()
        .name("engine".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(move || worker::serve(theirs.into()))?;
    UnixStream::from_std(ours)
}
