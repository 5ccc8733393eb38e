//! Whether a new revision is fit to serve: asked of the host, since only it speaks the servers' protocol.

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::BoxFuture;

/// A revision that is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The server.
    pub slug: String,
    /// Its revision.
    pub revision: String,
    /// Where it listens; may be longer than a socket's address can be.
    pub socket: PathBuf,
    /// Whether requests are led to it already: then it is asked whether it still serves, after a restart and every minute.
    pub routed: bool,
    /// What the deployment says that it is to find.
    pub expectation: Arc<[u8]>,
}

/// Checks a revision before requests are led to it.
pub trait Probe: Send + Sync + 'static {
    /// `Err` says in one line what is wrong; a new revision is then thrown away and the one before keeps serving, and one that is
    /// routed is started again, at once after a restart and the third time in a row otherwise.
    fn check<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<(), String>>;
}

/// Content with a server that says it is ready.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReadyIsEnough;

impl Probe for ReadyIsEnough {
    fn check<'a>(&'a self, _: &'a Target) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async { Ok(()) })
    }
}
