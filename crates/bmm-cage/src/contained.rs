//! A role as the first process of a container, which somebody else has made: no namespace to make and no keeper, but the
//! rest of the cage is closed here too, by the same order and with the same report.
//!
//! The container's command is the executable with [`argument`] as its only argument. It connects to [`SOCKET`], which the host
//! has put there, and nothing else leads in: no environment, no other argument, no file. What the host says over that
//! socket is what it says to any caged child: first the cage ([`close_cage`]), then what the role's protocol is.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::confine::{self, Announcement, Place};
use crate::door::{MAX_REASON_BYTES, printable};
use crate::keeper::{exit_number, fork};
use crate::launcher::CageError;
use crate::policy::{ARGV0_PREFIX, Cage, MAX_MESSAGE, Order, Profile, read_message, write_message};
use crate::report::CageReport;

/// The only thing that is in [`DIRECTORY`].
pub const SOCKET: &str = "control.sock";

/// Where a container has the host's directory with [`SOCKET`] in it.
pub const DIRECTORY: &str = "/run/bmm";

/// The only argument of a container's command.
pub fn argument(role: &str) -> String {
    format!("{ARGV0_PREFIX}{MARK}{role}")
}

/// The host's first words to the first process of a container: which cage to close around itself. Returns once it is closed.
/// The other end is not trusted: what it may say is short, and in time.
pub async fn close_cage(
    channel: OwnedFd,
    cage: &Cage,
    within: Duration,
) -> Result<(OwnedFd, CageReport), CageError> {
    let exchange = async {
        let stream = UnixStream::from(channel);
        stream.set_nonblocking(true)?;
        let mut stream = tokio::net::UnixStream::from_std(stream)?;
        let order = Order {
            cage: cage.clone(),
            mapped_bytes: 0,
        };
        let mut message = Vec::new();
        write_message(&mut message, &order)?;
        stream.write_all(&message).await?;
        let length = stream.read_u32().await? as usize;
        if length > MAX_MESSAGE {
            return Err(io::Error::other("handshake message too large"));
        }
        let mut json = vec![0; length];
        stream.read_exact(&mut json).await?;
        let announcement: Announcement = serde_json::from_slice(&json)?;
        Ok((OwnedFd::from(stream.into_std()?), announcement))
    };
    let (channel, announcement) = timeout(within, exchange)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        .map_err(CageError::NotUp)?;
    if let Some(reason) = announcement.refused {
        return Err(CageError::Refused(short(&reason)));
    }
    let mut report = announcement.report;
    for missing in &mut report.missing {
        missing.reason = short(&missing.reason);
    }
    Ok((channel, report))
}

/// Between the prefix of all roles and the role's name.
const MARK: &str = "contained:";

/// How long the host may take to say which cage, once it has let us connect.
const ORDER_TIMEOUT: Duration = Duration::from_secs(20);

/// The role that this process is to play in its container, by what follows its name.
pub(crate) fn role_of(mut arguments: impl Iterator<Item = String>) -> Option<String> {
    let role = arguments
        .next()?
        .strip_prefix(ARGV0_PREFIX)?
        .strip_prefix(MARK)?
        .to_owned();
    arguments.next().is_none().then_some(role)
}

/// Connects and closes the cage, and returns in a child only, with its channel and what the executable maps: the container's
/// first process must bury orphans, and signals without a handler do not reach it.
pub(crate) fn split() -> io::Result<(OwnedFd, u64)> {
    forget_environment();
    let mut channel = File::from(connect(Path::new(DIRECTORY))?);
    set_socket_timeout(&channel, Timeout::Recv, Some(ORDER_TIMEOUT))?;
    let mut order: Order = read_message(&mut channel)?;
    set_socket_timeout(&channel, Timeout::Recv, None)?;
    let closed = confine::mapped_bytes().and_then(|mapped_bytes| {
        if order.cage.profile != Profile::Runner {
            return Err(io::Error::other("only a runner can be alone in a container"));
        }
        order.mapped_bytes = mapped_bytes;
        let mut report = CageReport::default();
        confine::close(&order, Place::Container, &mut report)?;
        Ok(report)
    });
    let announcement = match closed {
        Ok(report) => Announcement {
            pid: None,
            report,
            refused: None,
        },
        Err(error) => {
            let _ = write_message(&mut channel, &Announcement::refused(&error));
            return Err(error);
        }
    };
    let signals = Signals::block()?;
    if let Some(child) = fork()? {
        drop(channel);
        std::process::exit(attend(child, &signals)?);
    }
    signals.unblock()?;
    write_message(&mut channel, &announcement)?;
    Ok((channel.into(), order.mapped_bytes))
}

/// Connects to the host. No link is followed, wherever it may have come from.
fn connect(directory: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::open(directory, flags | OFlags::DIRECTORY, Mode::empty())?;
    let socket = rustix::fs::openat(&directory, SOCKET, flags, Mode::empty())?;
    if FileType::from_raw_mode(rustix::fs::fstat(&socket)?.st_mode) != FileType::Socket {
        return Err(io::Error::other(format!("{SOCKET} is not a socket")));
    }
    let stream = UnixStream::connect(format!("/proc/self/fd/{}", socket.as_raw_fd()))?;
    Ok(stream.into())
}

/// A container's environment says nothing that a role should go by.
#[allow(unsafe_code)]
fn forget_environment() {
    for (name, _) in std::env::vars_os() {
        // SAFETY: the process has one thread (`init` is the first line of `main`), so nobody reads the environment meanwhile.
        unsafe { std::env::remove_var(name) };
    }
}

/// Buries whatever ends, passes on the wish to end, and returns with the role's own end.
fn attend(child: Pid, signals: &Signals) -> io::Result<i32> {
    let process = rustix::process::pidfd_open(child, PidfdFlags::empty())?;
    loop {
        while let Some((pid, status)) = rustix::process::wait(WaitOptions::NOHANG)? {
            if pid == child {
                return Ok(exit_number(status));
            }
        }
        match signals.next()? {
            libc::SIGCHLD => {}
            _ => drop(rustix::process::pidfd_send_signal(&process, Signal::TERM)),
        }
    }
}

/// The signals that the first process waits for instead of being interrupted by them.
struct Signals {
    set: libc::sigset_t,
    before: libc::sigset_t,
}

impl Signals {
    #[allow(unsafe_code)]
    fn block() -> io::Result<Self> {
        // SAFETY: all zeros is a valid set, and sigemptyset makes it the empty one; every pointer is to a live local.
        unsafe {
            let (mut set, mut before) = (std::mem::zeroed(), std::mem::zeroed());
            libc::sigemptyset(&mut set);
            for signal in [
                libc::SIGCHLD,
                libc::SIGTERM,
                libc::SIGINT,
                libc::SIGHUP,
                libc::SIGQUIT,
            ] {
                libc::sigaddset(&mut set, signal);
            }
            match libc::sigprocmask(libc::SIG_BLOCK, &set, &mut before) {
                0 => Ok(Self { set, before }),
                _ => Err(io::Error::last_os_error()),
            }
        }
    }

    #[allow(unsafe_code)]
    fn unblock(&self) -> io::Result<()> {
        // SAFETY: the set was filled by the kernel, and nothing is asked back.
        match unsafe { libc::sigprocmask(libc::SIG_SETMASK, &self.before, std::ptr::null_mut()) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    #[allow(unsafe_code)]
    fn next(&self) -> io::Result<i32> {
        let mut signal = 0;
        // SAFETY: both pointers are to live values of the right type.
        match unsafe { libc::sigwait(&self.set, &mut signal) } {
            0 => Ok(signal),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }
}

fn short(reason: &str) -> String {
    let cut = reason.floor_char_boundary(MAX_REASON_BYTES);
    printable(reason.get(..cut).unwrap_or_default().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(arguments: &[&str]) -> Option<String> {
        role_of(arguments.iter().map(|argument| (*argument).to_owned()))
    }

    #[test]
    fn only_a_socket_that_is_no_link_is_connected_to() {
        let real = tempfile::tempdir().expect("a directory");
        let _listening = std::os::unix::net::UnixListener::bind(real.path().join(SOCKET)).expect("binds");
        assert!(connect(real.path()).is_ok());

        let linked = tempfile::tempdir().expect("a directory");
        std::os::unix::fs::symlink(real.path().join(SOCKET), linked.path().join(SOCKET)).expect("links");
        assert!(connect(linked.path()).is_err(), "a link to a socket");
        let beside = linked.path().join("beside");
        std::os::unix::fs::symlink(real.path(), &beside).expect("links");
        assert!(connect(&beside).is_err(), "a link to a directory");

        let file = tempfile::tempdir().expect("a directory");
        std::fs::write(file.path().join(SOCKET), "").expect("writes");
        let error = connect(file.path()).expect_err("a file").to_string();
        assert_eq!(error, "control.sock is not a socket");
    }

    #[test]
    fn a_role_is_the_only_argument() {
        assert_eq!(argument("runner"), "bmm-cage:contained:runner");
        assert_eq!(role(&[&argument("runner")]).as_deref(), Some("runner"));
        for others in [
            &[][..],
            &["bmm-cage:runner"],
            &["bmm-cage:contained:runner", "more"],
            &["up", "bmm-cage:contained:runner"],
        ] {
            assert_eq!(role(others), None, "{others:?}");
        }
    }
}
