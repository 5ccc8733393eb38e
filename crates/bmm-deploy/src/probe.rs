//! Whether a new revision is fit to serve: asked of the host, since only it speaks the servers' protocol.

use std::path::PathBuf;

use futures_util::future::BoxFuture;

/// A revision that is up and not yet routed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The server.
    pub slug: String,
    /// Its new revision.
    pub revision: String,
    /// Where it listens; may be longer than a socket's address can be.
    pub socket: PathBuf,
}

/// Checks a revision before requests are led to it.
pub trait Probe: Send + Sync + 'static {
    /// `Err` says in one line what is wrong; the revision is then thrown away and the one before keeps serving.
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
