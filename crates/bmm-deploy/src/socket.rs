//! Unix sockets at paths of any length.
//!
//! A socket's address holds 108 bytes, and a data directory is easily deeper than that. A long path is reached through a
//! descriptor of its directory instead.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use tokio::net::UnixStream;

/// What certainly fits with its terminator.
const MAX_ADDRESS_BYTES: usize = 100;

/// Binds a listening, non-blocking socket.
pub(crate) fn bind(path: &Path) -> io::Result<UnixListener> {
    let address = Address::of(path)?;
    let listener = UnixListener::bind(&address.path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Connects. `WouldBlock` means that the listener's queue is full.
pub(crate) async fn connect(path: &Path) -> io::Result<UnixStream> {
    let address = Address::of(path)?;
    UnixStream::connect(&address.path).await
}

struct Address {
    path: PathBuf,
    /// What `path` leads through; open as long as it is used.
    _directory: Option<File>,
}

impl Address {
    fn of(path: &Path) -> io::Result<Self> {
        if path.as_os_str().len() <= MAX_ADDRESS_BYTES {
            return Ok(Self {
                path: path.to_owned(),
                _directory: None,
            });
        }
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let flags = (OFlags::PATH | OFlags::DIRECTORY).bits();
        let directory = std::fs::OpenOptions::new()
            .read(true)
            .custom_flags(flags.cast_signed())
            .open(directory)?;
        let path = Path::new("/proc/self/fd")
            .join(directory.as_raw_fd().to_string())
            .join(OsStr::from_bytes(name.as_bytes()));
        Ok(Self {
            path,
            _directory: Some(directory),
        })
    }
}
