//! Where servers listen: one directory of sockets that this process makes and keeps.

use std::collections::HashSet;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use tokio::io::copy_bidirectional;
use tokio::net::UnixStream;
use tokio::task::JoinSet;

use crate::socket;
use crate::upstream::Upstream;

/// The directory of the servers' sockets.
#[derive(Debug)]
pub struct Seats {
    run_dir: PathBuf,
    next: AtomicU64,
}

/// A directory of sockets cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {} for the servers' sockets", run_dir.display())]
pub struct RuntimeError {
    /// The directory.
    pub run_dir: PathBuf,
    pub(crate) source: io::Error,
}

impl RuntimeError {
    pub(crate) fn new(run_dir: PathBuf, source: io::Error) -> Self {
        Self { run_dir, source }
    }
}

impl Seats {
    /// `run_dir` holds one socket per running revision; it is made if it is missing, must be this user's alone (0700), and the
    /// sockets that an earlier process left in it are removed, so no two processes may share it.
    pub fn new(run_dir: impl Into<PathBuf>) -> Result<Self, RuntimeError> {
        let run_dir = run_dir.into();
        match prepare(&run_dir) {
            Ok(()) => Ok(Self {
                run_dir,
                next: AtomicU64::new(1),
            }),
            Err(source) => Err(RuntimeError { run_dir, source }),
        }
    }

    /// The directory.
    pub fn run_dir(&self) -> &Path {
        &self.run_dir
    }

    /// A new place to serve from. Its number is unique while this process lives.
    pub(crate) fn seat(&self, slug: &str) -> io::Result<Seat> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.run_dir.join(format!("{slug}.{number}.sock"));
        let bound = Bound::at(&path)?;
        Ok(Seat {
            number,
            bound: ArcSwap::from_pointee(bound),
            upstream: Upstream::unix(path),
            left: AtomicBool::new(false),
        })
    }

    /// Removes sockets that are not among those in use. Tells how many.
    pub(crate) fn sweep(&self, in_use: &HashSet<&Path>) -> io::Result<usize> {
        let mut removed = 0;
        for entry in std::fs::read_dir(&self.run_dir)? {
            let entry = entry?;
            let path = entry.path();
            if entry.file_type()?.is_socket() && !in_use.contains(path.as_path()) {
                std::fs::remove_file(path)?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

/// Where a revision serves from, whichever process does it: the listening socket outlives its process, and calls that come
/// in between wait in its queue.
pub(crate) struct Seat {
    pub(crate) number: u64,
    bound: ArcSwap<Bound>,
    pub(crate) upstream: Arc<Upstream>,
    left: AtomicBool,
}

/// A listening socket, and which file its name is.
pub(crate) struct Bound {
    pub(crate) listener: UnixListener,
    file: (u64, u64),
}

impl Bound {
    fn at(path: &Path) -> io::Result<Self> {
        let listener = socket::bind(path)?;
        let file = std::fs::symlink_metadata(path)?;
        Ok(Self {
            listener,
            file: (file.dev(), file.ino()),
        })
    }

    fn is(&self, path: &Path) -> bool {
        std::fs::symlink_metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == self.file)
    }
}

impl Seat {
    /// The listening socket, for the next process.
    pub(crate) fn bound(&self) -> Arc<Bound> {
        self.bound.load_full()
    }

    /// Whether its name leads to its socket.
    pub(crate) fn is_there(&self) -> bool {
        self.bound.load().is(self.upstream.socket())
    }

    /// Gives the socket its name back, which somebody has taken away. Where there is no other name of it left, another socket is
    /// bound, which the next process gets: then `true`.
    pub(crate) fn mend(&self, other_name: Option<&Path>) -> io::Result<bool> {
        let path = self.upstream.socket();
        if let Some(directory) = path.parent() {
            make(directory)?;
        }
        if path.symlink_metadata().is_ok() {
            std::fs::remove_file(path)?;
        }
        if let Some(other) = other_name.filter(|other| self.bound.load().is(other)) {
            std::fs::hard_link(other, path)?;
            return Ok(false);
        }
        self.bound.store(Arc::new(Bound::at(path)?));
        Ok(true)
    }

    /// Passes who still waits in the queue, whom no process will take any more, on to another socket.
    pub(crate) async fn pass_on(&self, to: &Path) {
        let bound = self.bound();
        let mut passed = JoinSet::new();
        // Does not block; an error is an empty queue too.
        while let Ok((waiting, _)) = bound.listener.accept() {
            let to = to.to_owned();
            passed.spawn(async move {
                waiting.set_nonblocking(true)?;
                let mut waiting = UnixStream::from_std(waiting)?;
                let mut next = socket::connect(&to).await?;
                copy_bidirectional(&mut waiting, &mut next).await
            });
        }
        if !passed.is_empty() {
            tracing::info!(calls = passed.len(), "passed on to the next revision");
        }
        passed.join_all().await;
    }

    /// Takes the socket's name away; who is connected stays so.
    pub(crate) fn leave(&self) {
        if self.left.swap(true, Ordering::Relaxed) {
            return;
        }
        if let Err(error) = std::fs::remove_file(self.upstream.socket())
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(socket = %self.upstream.socket().display(), %error, "cannot remove a socket");
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Makes a directory of sockets, or takes over what an earlier process left.
pub(crate) fn prepare(directory: &Path) -> io::Result<()> {
    make(directory)?;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_socket() {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn make(directory: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    let metadata = std::fs::symlink_metadata(directory)?;
    if !metadata.is_dir() || metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "not a directory of this user",
        ));
    }
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700))
}
