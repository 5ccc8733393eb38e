//! Starts caged children: this same executable, in another role.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::caged::Caged;
use crate::confine::{self, Announcement};
use crate::policy::{ARGV0_PREFIX, Cage, Order, Profile, read_message, write_message};
use crate::stderr;

/// Launches caged children. Only [`init`](crate::init) makes one, so a program that cannot be re-executed in a role cannot
/// launch either.
#[derive(Debug, Clone)]
pub struct Launcher {
    /// Address space that this executable maps at its start. Measured by the first process of the tree, since a caged one
    /// cannot read `/proc`.
    mapped_bytes: u64,
}

/// Why a child did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CageError {
    /// The process could not be made.
    #[error("cannot start a caged process")]
    Spawn(#[source] io::Error),
    /// The child ended, or said nothing, before its cage was closed; what it wrote to stderr is in the log.
    #[error("the caged process did not come up")]
    NotUp(#[source] io::Error),
    /// The cage could not be closed, so the role was not started.
    #[error("the cage cannot be closed here: {0}")]
    Refused(String),
}

impl Launcher {
    pub(crate) fn new() -> Self {
        Self {
            mapped_bytes: confine::mapped_bytes().unwrap_or(DEFAULT_MAPPED_BYTES),
        }
    }

    pub(crate) fn inherited(mapped_bytes: u64) -> Self {
        Self { mapped_bytes }
    }

    /// Starts this executable as `role` in `cage` and waits until the cage is closed. Blocks for some milliseconds.
    pub fn launch(&self, role: &str, cage: &Cage) -> Result<Caged, CageError> {
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )
        .map_err(spawn_error)?;
        let mut ours = File::from(ours);
        // Fits the socket's buffer, so it is there before the child is.
        let order = Order {
            cage: cage.clone(),
            mapped_bytes: self.mapped_bytes,
        };
        write_message(&mut ours, &order).map_err(CageError::Spawn)?;

        let mut command = Command::new("/proc/self/exe");
        command
            .arg0(format!("{ARGV0_PREFIX}{role}"))
            .env_clear()
            .stdin(theirs)
            .stderr(Stdio::piped());
        let lifeline = if cage.profile == Profile::Runner {
            let (childs, parents) = pipe_with(PipeFlags::CLOEXEC).map_err(spawn_error)?;
            command.stdout(childs);
            Some(parents)
        } else {
            command.stdout(Stdio::null());
            None
        };
        let mut child = spawn(command).map_err(CageError::Spawn)?;
        let messages = child.stderr.take();
        let mut caged = match Caged::new(&child, lifeline) {
            Ok(caged) => caged,
            Err(error) => {
                // Out of descriptors: nobody else would end it or bury it.
                let _ = child.kill();
                let _ = child.wait();
                return Err(CageError::Spawn(error));
            }
        };
        if let Some(messages) = messages {
            stderr::forward(OwnedFd::from(messages), role, child.id()).map_err(CageError::Spawn)?;
        }
        let announcement: Announcement = answer(&mut ours).map_err(CageError::NotUp)?;
        if let Some(reason) = announcement.refused {
            return Err(CageError::Refused(reason));
        }
        caged.is_up(announcement, ours.into());
        Ok(caged)
    }
}

/// How long a child may take to close its cage; a loaded machine may take a while to page the executable in.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// Used where `/proc` is not readable: more than any build of ours maps.
const DEFAULT_MAPPED_BYTES: u64 = 512 * 1024 * 1024;

fn answer(channel: &mut File) -> io::Result<Announcement> {
    set_socket_timeout(&*channel, Timeout::Recv, Some(START_TIMEOUT))?;
    let announcement = read_message(&mut *channel)?;
    set_socket_timeout(&*channel, Timeout::Recv, None)?;
    Ok(announcement)
}

fn spawn_error(error: rustix::io::Errno) -> CageError {
    CageError::Spawn(error.into())
}

struct Request {
    command: Command,
    reply: SyncSender<io::Result<Child>>,
}

/// Spawns on the one thread that lasts as long as the process: a parent-death signal fires when the *thread* that forked
/// ends, and threads of a runtime come and go.
fn spawn(command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<SyncSender<Request>> = OnceLock::new();
    let gone = || io::Error::other("the spawner thread is gone");
    let spawner = match SPAWNER.get() {
        Some(spawner) => spawner,
        None => {
            let fresh = start_spawner()?;
            // A spawner that lost the race ends before it spawned anything.
            SPAWNER.get_or_init(|| fresh)
        }
    };
    let (reply, answer) = sync_channel(1);
    spawner.send(Request { command, reply }).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}

fn start_spawner() -> io::Result<SyncSender<Request>> {
    let (sender, requests) = sync_channel::<Request>(1);
    std::thread::Builder::new()
        .name("cage-spawner".to_owned())
        .stack_size(256 * 1024)
        .spawn(move || {
            for Request { mut command, reply } in requests {
                let child = command.spawn();
                // The parent's copies of the child's descriptors go before anybody waits for their end.
                drop(command);
                let _ = reply.send(child);
            }
        })?;
    Ok(sender)
}
