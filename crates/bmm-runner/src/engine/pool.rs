//! The worker processes: one for each call under way and a warm spare, but never fewer than are to be kept warm; replaced when they die or
//! have served enough. What was idle for a minute beyond those is ended.
//!
//! A thread of its own starts and buries workers, since both block for a moment.

use std::collections::{BTreeSet, VecDeque};
use std::io::{self, Write};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bmm_cage::{Cage, CageError, CageReport, Caged, Launcher, Profile};
use bmm_spec::CompiledSpec;
use futures_util::future::BoxFuture;
use tokio::net::UnixStream;
use tokio::sync::{Notify, Semaphore};

use super::units::{Units, queue_timeout};
use super::worker::ENGINE_ROLE;
use super::{EngineLimits, ToolCall, ToolEngine, ToolFailure, ToolHost, ToolOutput, exchange};

/// The engine in caged worker processes.
#[derive(Debug)]
pub struct CagedEngine {
    pool: Arc<Pool>,
    units: Units,
    report: CageReport,
}

/// Why the engine does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// A worker could not be caged.
    #[error("cannot start a tool worker")]
    Cage(#[from] CageError),
    /// The spec's code could not be handed over, or a thread not be made.
    #[error("cannot set up the tool workers")]
    Io(#[from] io::Error),
}

impl CagedEngine {
    /// Starts the first worker; the others are started in the background when they are needed. Blocks for some milliseconds.
    pub fn new(launcher: &Launcher, spec: &CompiledSpec, limits: EngineLimits) -> Result<Self, EngineError> {
        let units = Units::new(spec, &limits)?;
        let start = Start {
            launcher: launcher.clone(),
            setup: units.setup.to_vec(),
            heap_mib: limits.heap_mib,
        };
        let first = start.worker()?;
        let report = first.caged.report().clone();
        let pool = Arc::new(Pool {
            running: Semaphore::new(limits.workers as usize),
            admitted: Semaphore::new(limits.workers.saturating_add(limits.queue) as usize),
            state: Mutex::new(State {
                alive: BTreeSet::from([first.caged.pid()]),
                idle: VecDeque::from([first]),
                ..State::default()
            }),
            changed: Condvar::new(),
            ready: Notify::new(),
            limits,
        });
        let tended = Arc::downgrade(&pool);
        std::thread::Builder::new()
            .name("engine-pool".to_owned())
            .spawn(move || tend(&tended, &start))?;
        Ok(Self { pool, units, report })
    }

    /// Which controls hold around the workers.
    pub fn cage_report(&self) -> &CageReport {
        &self.report
    }

    /// Process numbers of the workers that there are, for diagnosis.
    pub fn workers(&self) -> Vec<u32> {
        self.pool.lock().alive.iter().copied().collect()
    }

    async fn run(&self, call: ToolCall, host: Arc<dyn ToolHost>) -> Result<ToolOutput, ToolFailure> {
        let limits = &self.pool.limits;
        let start = self.units.start(&call, host.as_ref(), limits)?;
        let _admitted = self
            .pool
            .admitted
            .try_acquire()
            .map_err(|_| ToolFailure::Overloaded)?;
        let running = tokio::time::timeout(queue_timeout(limits), self.pool.running.acquire()).await;
        let _running = running
            .map_err(|_| ToolFailure::Overloaded)?
            .map_err(|_| ToolFailure::Crashed)?;
        let mut lent = Pool::lend(&self.pool).await?;
        let Some(worker) = lent.worker.as_mut() else {
            return Err(ToolFailure::Crashed);
        };
        worker.calls += 1;
        let stream = worker
            .channel
            .stream()
            .map_err(|error| ToolFailure::Host(error.to_string()))?;
        let ended = exchange::run(stream, start, host, limits, || worker.caged.cpu_time()).await;
        lent.is_reusable = ended.is_reusable && worker.calls < limits.calls_per_worker;
        drop(lent);
        self.units.result(call.tool, ended, limits)
    }
}

impl ToolEngine for CagedEngine {
    fn call(
        &self,
        call: ToolCall,
        host: Arc<dyn ToolHost>,
    ) -> BoxFuture<'_, Result<ToolOutput, ToolFailure>> {
        Box::pin(self.run(call, host))
    }
}

impl Drop for CagedEngine {
    fn drop(&mut self) {
        self.pool.lock().is_closing = true;
        self.pool.changed.notify_all();
    }
}

/// How long a call waits for a worker that is being started.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// How long workers beyond the spare are kept without a call.
const KEEP: Duration = Duration::from_secs(60);
/// Pause after a worker that could not be started.
const RETRY: Duration = Duration::from_millis(200);

#[derive(Debug)]
struct Pool {
    running: Semaphore,
    admitted: Semaphore,
    state: Mutex<State>,
    /// Tells the tending thread.
    changed: Condvar,
    /// Tells the calls.
    ready: Notify,
    limits: EngineLimits,
}

#[derive(Debug, Default)]
struct State {
    /// The last used is the first used: the spare at the other end stays fresh.
    idle: VecDeque<Worker>,
    dead: Vec<Worker>,
    /// Process numbers of the idle and the lent ones.
    alive: BTreeSet<u32>,
    /// Least number of idle workers since the last look: nobody needed these.
    least_idle: usize,
    is_closing: bool,
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One for each call that may run now and one for the next, or those that are kept warm.
    fn wanted(&self) -> usize {
        let workers = self.limits.workers as usize;
        let running = workers.saturating_sub(self.running.available_permits());
        (running + 1).max(self.kept())
    }

    fn kept(&self) -> usize {
        let most = (self.limits.workers as usize).saturating_add(1);
        most.min(self.limits.warm_workers as usize).max(1)
    }

    async fn lend(pool: &Arc<Self>) -> Result<Lent, ToolFailure> {
        let take = async {
            loop {
                // Before the look: from here on no change is missed, and every waiting call looks again at each. (One that
                // wakes a single call keeps no second permit when two workers come at once.)
                let ready = pool.ready.notified();
                if let Some(worker) = pool.take() {
                    return Lent {
                        worker: Some(worker),
                        is_reusable: false,
                        pool: Arc::clone(pool),
                    };
                }
                ready.await;
            }
        };
        tokio::time::timeout(START_TIMEOUT, take)
            .await
            .map_err(|_| ToolFailure::Crashed)
    }

    /// An idle worker that is still alive; the others are buried.
    fn take(&self) -> Option<Worker> {
        loop {
            let mut state = self.lock();
            let worker = state.idle.pop_back();
            state.least_idle = state.least_idle.min(state.idle.len());
            if state.alive.len() < self.wanted() {
                self.changed.notify_all();
            }
            drop(state);
            let mut worker = worker?;
            if matches!(worker.caged.try_wait(), Ok(None)) {
                return Some(worker);
            }
            self.give_back(worker, false);
        }
    }

    fn give_back(&self, worker: Worker, is_reusable: bool) {
        let mut state = self.lock();
        if is_reusable && !state.is_closing {
            state.idle.push_back(worker);
        } else {
            state.retire(worker);
            self.changed.notify_all();
        }
        drop(state);
        self.ready.notify_waiters();
    }
}

impl State {
    fn retire(&mut self, worker: Worker) {
        worker.caged.kill();
        self.alive.remove(&worker.caged.pid());
        self.dead.push(worker);
    }

    /// Ends what was idle since the last look, but for `kept`: the freshest, since those were used least.
    fn retire_unneeded(&mut self, kept: usize) {
        for _ in kept..self.least_idle {
            if let Some(worker) = self.idle.pop_front() {
                self.retire(worker);
            }
        }
        self.least_idle = self.idle.len();
    }
}

/// A worker under a call. Given back when dropped, which a cancelled call does at any await: killed then, since nobody knows
/// what it is doing.
struct Lent {
    worker: Option<Worker>,
    is_reusable: bool,
    pool: Arc<Pool>,
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(worker) = self.worker.take() {
            self.pool.give_back(worker, self.is_reusable);
        }
    }
}

#[derive(Debug)]
struct Worker {
    caged: Caged,
    channel: Channel,
    calls: u32,
}

/// Becomes tokio's at the first call: workers are started outside of any runtime.
#[derive(Debug)]
struct Channel {
    fresh: Option<StdUnixStream>,
    stream: Option<UnixStream>,
}

impl Channel {
    fn stream(&mut self) -> io::Result<&mut UnixStream> {
        if let Some(fresh) = self.fresh.take() {
            fresh.set_nonblocking(true)?;
            self.stream = Some(UnixStream::from_std(fresh)?);
        }
        self.stream
            .as_mut()
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

/// What it takes to start a worker.
#[derive(Debug)]
struct Start {
    launcher: Launcher,
    setup: Vec<u8>,
    heap_mib: u32,
}

impl Start {
    fn worker(&self) -> Result<Worker, EngineError> {
        let mut cage = Cage::new(Profile::Worker);
        // Beyond the heap: messages under way, and what the allocator keeps.
        cage.limits.memory_mib = u64::from(self.heap_mib) + 192;
        let mut caged = self.launcher.launch(ENGINE_ROLE.name, &cage)?;
        let channel = caged
            .channel()
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))?;
        let mut channel = StdUnixStream::from(channel);
        // Blocking, so that it is whole; the worker reads it at once.
        channel.set_write_timeout(Some(START_TIMEOUT))?;
        channel.write_all(&self.setup)?;
        channel.set_write_timeout(None)?;
        Ok(Worker {
            caged,
            channel: Channel {
                fresh: Some(channel),
                stream: None,
            },
            calls: 0,
        })
    }
}

/// Keeps the pool full until it is gone.
fn tend(pool: &Weak<Pool>, start: &Start) {
    loop {
        let Some(pool) = pool.upgrade() else { return };
        let mut state = pool.lock();
        let buried = std::mem::take(&mut state.dead);
        if state.is_closing {
            let idle = std::mem::take(&mut state.idle);
            drop(state);
            drop((buried, idle));
            return;
        }
        let is_short = state.alive.len() < pool.wanted();
        if buried.is_empty() && !is_short {
            // Woken up from time to time, also in case the engine was forgotten rather than dropped.
            let (mut state, waited) = pool
                .changed
                .wait_timeout(state, KEEP)
                .unwrap_or_else(PoisonError::into_inner);
            if waited.timed_out() {
                state.retire_unneeded(pool.kept());
            }
            continue;
        }
        drop(state);
        if is_short {
            match start.worker() {
                Ok(worker) => {
                    let mut state = pool.lock();
                    state.alive.insert(worker.caged.pid());
                    state.idle.push_front(worker);
                    drop(state);
                    pool.ready.notify_waiters();
                }
                Err(error) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "cannot start a tool worker"
                    );
                    std::thread::sleep(RETRY);
                }
            }
        }
        // Reaping blocks for a moment; the replacement is there by now.
        drop(buried);
    }
}
