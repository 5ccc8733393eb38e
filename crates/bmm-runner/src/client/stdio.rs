//! A server that is a program of this machine, spoken to over its standard input and output.

use std::ffi::OsString;
use std::io;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use rmcp::model::ClientConfig;
use rmcp::service::{RoleClient, RunningService, serve_client_with_lifecycle};
use tokio::io::{AsyncRead, AsyncReadExt as _, ReadBuf};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

use super::error::ClientError;
use super::listing::{self, Listing, ListingLimits};
use super::process_tree::ProcessTree;
use super::{client_config, lifecycle};

/// All that a server may say in the time of a listing.
const MAX_OUTPUT_BYTES: u64 = 64 * 1024 * 1024;
/// How much of its standard error is kept, to say why it failed.
const MAX_STDERR_BYTES: usize = 4 * 1024;

/// A running program, and the connection to it. Dropped, the program ends with everything it has started.
///
/// The calling process becomes the one that orphans of its descendants fall to (`PR_SET_CHILD_SUBREAPER`), so that no
/// descendant gets away. Nothing else in the process may start programs in the meantime: they would be ended too.
pub struct StdioServer {
    running: RunningService<RoleClient, ClientConfig>,
    output: Output,
    // Dropped in this order: the program first, then whatever is left of what it started.
    _child: Child,
    _tree: ProcessTree,
}

impl StdioServer {
    /// Starts a program with the caller's environment and connects, in the newest protocol revision that both speak.
    pub async fn start(program: &OsString, arguments: &[OsString]) -> Result<Self, ClientError> {
        let cannot = |error: io::Error| ClientError::Connection {
            message: format!("cannot start {}: {error}", program.display()),
        };
        let tree = ProcessTree::watch().map_err(cannot)?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(cannot)?;
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(cannot(io::ErrorKind::BrokenPipe.into()));
        };
        let output = Output::default();
        tokio::spawn(keep_tail(stderr, output.clone()));
        let transport = (Metered::new(stdout, output.clone()), stdin);
        match serve_client_with_lifecycle(client_config(), transport, lifecycle()).await {
            Ok(running) => Ok(Self {
                running,
                output,
                _child: child,
                _tree: tree,
            }),
            Err(error) => Err(output.explain(ClientError::Connection {
                message: error.to_string(),
            })),
        }
    }

    /// Everything the server lists.
    pub async fn listing(&self, limits: &ListingLimits) -> Result<Listing, ClientError> {
        let listed = listing::read(&self.running, limits).await;
        listed.map_err(|error| self.output.explain(error))
    }
}

impl std::fmt::Debug for StdioServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StdioServer").finish_non_exhaustive()
    }
}

/// What is known of a program's output, to explain a failure with.
#[derive(Clone, Default)]
struct Output {
    flooded: Arc<AtomicBool>,
    stderr: Arc<Mutex<Vec<u8>>>,
}

impl Output {
    /// The reason behind a broken connection.
    fn explain(&self, error: ClientError) -> ClientError {
        if self.flooded.load(Ordering::Relaxed) {
            return ClientError::Listing {
                message: format!("the server said more than {} MiB", MAX_OUTPUT_BYTES >> 20),
            };
        }
        let ClientError::Connection { message } = error else {
            return error;
        };
        let stderr = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
        let stderr = String::from_utf8_lossy(&stderr);
        let last = stderr.lines().rev().find(|line| !line.trim().is_empty());
        ClientError::Connection {
            message: match last {
                // A program may write anything; a terminal must not obey it.
                Some(line) => format!("{message}; its last words: {}", line.trim().escape_debug()),
                None => message,
            },
        }
    }
}

async fn keep_tail(mut stderr: ChildStderr, output: Output) {
    let mut chunk = [0; 4096];
    while let Ok(read @ 1..) = stderr.read(&mut chunk).await {
        let mut kept = output.stderr.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend_from_slice(chunk.get(..read).unwrap_or_default());
        let excess = kept.len().saturating_sub(MAX_STDERR_BYTES);
        kept.drain(..excess);
    }
}

/// A program's standard output, which ends when it has said too much.
struct Metered {
    stdout: ChildStdout,
    left: u64,
    output: Output,
}

impl Metered {
    fn new(stdout: ChildStdout, output: Output) -> Self {
        Self {
            stdout,
            left: MAX_OUTPUT_BYTES,
            output,
        }
    }
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left == 0 {
            self.output.flooded.store(true, Ordering::Relaxed);
            return Poll::Ready(Ok(()));
        }
        let before = into.filled().len();
        let polled = Pin::new(&mut self.stdout).poll_read(context, into);
        let read = into.filled().len() - before;
        self.left = self.left.saturating_sub(u64::try_from(read).unwrap_or(u64::MAX));
        polled
    }
}
