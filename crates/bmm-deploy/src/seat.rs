//! Where servers listen: one directory of sockets that this process makes and keeps.

use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::socket;
use crate::upstream::Upstream;

/// The directory of the servers' sockets.
#[derive(Debug)]
pub struct Seats {
    run_dir: PathBuf,
    next: AtomicU64,
}

/// The directory of sockets cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {} for the servers' sockets", run_dir.display())]
pub struct RuntimeError {
    /// The directory.
    pub run_dir: PathBuf,
    pub(crate) source: io::Error,
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
        let listener = socket::bind(&path)?;
        Ok(Seat {
            number,
            listener,
            upstream: Upstream::unix(path),
            left: AtomicBool::new(false),
        })
    }
}

/// Where a revision serves from, whichever process does it: the listening socket outlives its process, and calls that come
/// in between wait in its queue.
pub(crate) struct Seat {
    pub(crate) number: u64,
    pub(crate) listener: UnixListener,
    pub(crate) upstream: Arc<Upstream>,
    left: AtomicBool,
}

impl Seat {
    /// Takes the socket's name away; who is connected stays so.
    pub(crate) fn leave(&self) {
        if self.left.swap(true, Ordering::Relaxed) {
            return;
        }
        if let Err(error) = std::fs::remove_file(self.upstream.socket()) {
            tracing::warn!(socket = %self.upstream.socket().display(), %error, "cannot remove a socket");
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.leave();
    }
}

fn prepare(run_dir: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(run_dir)?;
    let metadata = std::fs::symlink_metadata(run_dir)?;
    if !metadata.is_dir() || metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "not a directory of this user",
        ));
    }
    std::fs::set_permissions(run_dir, std::fs::Permissions::from_mode(0o700))?;
    for entry in std::fs::read_dir(run_dir)? {
        let entry = entry?;
        if entry.file_type()?.is_socket() {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
