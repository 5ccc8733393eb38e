//! The control socket of one container: a directory with one socket in it, to which one process connects once.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use bmm_cage::contained;
use futures_util::future::BoxFuture;
use tokio::net::UnixListener;

use crate::socket;

/// Directories of control sockets end with this.
const SUFFIX: &str = ".d";

/// Who may come in: every other process is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guest {
    /// The container's user, who has the same number here as in there.
    User(u32),
    /// The container's user has another number here, which only the daemon knows; the process is told by its number.
    Mapped,
}

/// Removed with all that is in it when dropped.
#[derive(Debug)]
pub(super) struct ControlSocket {
    directory: PathBuf,
    listener: Option<UnixListener>,
    guest: Guest,
}

impl ControlSocket {
    /// Makes `<run_dir>/<name>.d` and listens in it. `run_dir` must be closed to others. What an earlier life has left there is
    /// removed.
    pub(super) fn bind(run_dir: &Path, name: &str, guest: Guest) -> io::Result<Self> {
        let directory = run_dir.join(format!("{name}{SUFFIX}"));
        match std::fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        std::fs::DirBuilder::new().mode(0o700).create(&directory)?;
        let mut control = Self {
            directory,
            listener: None,
            guest,
        };
        let listener = socket::bind(&control.path())?;
        control.listener = Some(UnixListener::from_std(listener)?);
        control.let_in()?;
        Ok(control)
    }

    /// The directory.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The one connection, from the process that is meant; then nobody can connect any more, and who has tried meanwhile is cut
    /// off. `process` gives the number of the container's first process; what is in the same container is not told apart.
    pub(super) async fn accept(
        &mut self,
        process: impl Fn() -> BoxFuture<'static, Option<u32>>,
    ) -> io::Result<OwnedFd> {
        let listener = self.listener.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        let stream = loop {
            let (stream, _) = listener.accept().await?;
            let peer = stream.peer_cred()?;
            // 0: a process that cannot be seen from here.
            let pid = peer
                .pid()
                .and_then(|pid| u32::try_from(pid).ok())
                .filter(|pid| *pid != 0);
            let is_meant = match (self.guest, pid) {
                (Guest::User(uid), None) => peer.uid() == uid,
                (Guest::User(uid), Some(pid)) => peer.uid() == uid && process().await == Some(pid),
                (Guest::Mapped, pid) => pid.is_some() && process().await == pid,
            };
            if is_meant {
                break stream;
            }
            tracing::warn!(
                uid = peer.uid(),
                pid,
                "a stranger at a control socket is turned away"
            );
        };
        self.close()?;
        Ok(stream.into_std()?.into())
    }

    fn close(&mut self) -> io::Result<()> {
        std::fs::remove_file(self.path())?;
        self.listener = None;
        Ok(())
    }

    fn path(&self) -> PathBuf {
        self.directory.join(contained::SOCKET)
    }

    /// Opens directory and socket to the container's group where its number is known and may be given, else to everybody: the
    /// directory above is closed to other users of this host.
    fn let_in(&self) -> io::Result<()> {
        let set = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode));
        let path = self.path();
        if let Guest::User(user) = self.guest
            && rustix::process::geteuid().is_root()
        {
            for path in [&self.directory, &path] {
                chown(path, None, Some(user))?;
            }
            set(&path, 0o660)?;
            return set(&self.directory, 0o710);
        }
        set(&path, 0o666)?;
        set(&self.directory, 0o711)
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.directory)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(directory = %self.directory.display(), %error, "cannot remove a control directory");
        }
    }
}

/// Removes the directories in `run_dir` that an earlier life has left. Must not be called once there are containers.
pub(super) fn clear(run_dir: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(run_dir)? {
        let entry = entry?;
        let is_ours = entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.ends_with(SUFFIX));
        if is_ours && entry.file_type()?.is_dir() {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}
