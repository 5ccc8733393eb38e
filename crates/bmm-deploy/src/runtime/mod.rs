//! What runs runners: the seam, with one implementation per file.

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::container::{DockerError, PlanError, TooWeak};
use crate::hardening::HardeningReport;
use crate::seat::Seats;

mod control;
mod docker;
mod last_words;
mod process;

pub use docker::{DockerRuntime, DockerRuntimeError};
pub use process::ProcessRuntime;

/// Starts runners behind walls. A runtime sees neither configurations nor secrets: it gives the channel over which the
/// deployer hands them over, once the walls are known to stand.
pub trait Runtime: fmt::Debug + Send + Sync {
    /// Where its servers listen.
    fn seats(&self) -> &Seats;

    /// Starts a runner that knows nothing yet. On failure, and when the future is dropped, nothing of it is left behind.
    fn launch<'a>(
        &'a self,
        name: &'a RunnerName,
        within: Duration,
    ) -> BoxFuture<'a, Result<Launched, LaunchError>>;

    /// Removes what earlier lives of this host, or broken starts, have left, and nothing else. Tells how much it was.
    fn sweep(&self) -> BoxFuture<'_, Result<usize, LaunchError>>;
}

/// A runner that is being run. Dropping it ends it.
pub trait Body: Send + Sync {
    /// Its first process, as this host numbers it.
    fn pid(&self) -> u32;

    /// Waits for its end, and tells in a few printable words how it ended. Cancel-safe.
    fn wait(&mut self) -> BoxFuture<'_, String>;

    /// Ends it at once, and returns when nothing of it is left.
    fn kill(&mut self) -> BoxFuture<'_, ()>;
}

/// A runner that waits for its configuration.
pub struct Launched {
    /// For [`bmm_cage::door::Host`].
    pub channel: OwnedFd,
    /// Which controls hold around it.
    pub report: HardeningReport,
    /// The runner itself.
    pub body: Box<dyn Body>,
}

/// What a runner is called by those who look at a runtime from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunnerName {
    /// The server, checked.
    pub slug: String,
    /// The revision of it. Any text.
    pub revision: String,
    /// The seat's number, unique while this process lives; a runner that is started again keeps it.
    pub seat: u64,
}

/// Why a runner did not come to be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// The cage was not closed, or its process not made.
    #[error("the runner cannot be started")]
    Cage(#[from] bmm_cage::CageError),
    /// The system refused.
    #[error("the runner cannot be started")]
    Io(#[from] std::io::Error),
    /// The deployment has no container.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The daemon did not do it.
    #[error(transparent)]
    Docker(#[from] DockerError),
    /// The daemon answers nothing.
    #[error("the daemon did not make the container in time")]
    DaemonTooSlow,
    /// All users for containers are taken.
    #[error("no user is left for another container")]
    NoUser,
    /// The container ended before it could be told anything.
    #[error("the container ended with {0}")]
    Ended(String),
    /// The container's first process did not connect in time.
    #[error("the container did not come to its control socket in time")]
    TooSlow,
    /// The daemon did not build every wall, so the runner was told nothing and ended.
    #[error(transparent)]
    Weak(#[from] TooWeak),
}

impl<R: Runtime + ?Sized> Runtime for Arc<R> {
    fn seats(&self) -> &Seats {
        (**self).seats()
    }

    fn launch<'a>(
        &'a self,
        name: &'a RunnerName,
        within: Duration,
    ) -> BoxFuture<'a, Result<Launched, LaunchError>> {
        (**self).launch(name, within)
    }

    fn sweep(&self) -> BoxFuture<'_, Result<usize, LaunchError>> {
        (**self).sweep()
    }
}

impl fmt::Debug for Launched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Launched")
            .field("pid", &self.body.pid())
            .field("report", &self.report)
            .finish_non_exhaustive()
    }
}
