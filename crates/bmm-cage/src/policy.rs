//! What a caged child may do: chosen by the parent, sent to the child as JSON before its role starts.

use std::io::{Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The cage of one child.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cage {
    /// What the child is for.
    pub profile: Profile,
    /// Resource limits.
    pub limits: Limits,
    /// Refuse to start when any control is missing. Without it, seccomp and rlimits alone are demanded and the rest is
    /// named in the [`CageReport`](crate::CageReport).
    pub require_full: bool,
    /// The user, and the group of the same number, that the child becomes where the parent is root; never 0. A user of its own keeps
    /// children from counting against each other's limit of processes. Without it: 65532.
    pub user: Option<u32>,
}

impl Cage {
    /// A cage with the limits that suit `profile`.
    pub fn new(profile: Profile) -> Self {
        Self {
            profile,
            limits: Limits::of(profile),
            require_full: false,
            user: None,
        }
    }
}

/// The two kinds of children.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// Computes, and talks over its channel: a system-call allow-list with nothing that opens, connects, starts or signals.
    /// For code of other people. Ends by a signal at the first forbidden system call.
    Worker,
    /// A server with threads, timers and sockets handed to it: no socket of its own, no file but its own executable, no
    /// program but itself, and namespaces that end with the parent. May launch workers.
    Runner,
}

/// Resource limits of a child, each for the process (not per call).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Address space on top of what the executable itself maps at its start.
    pub memory_mib: u64,
    /// Processor time in seconds over the whole life; `None` = not limited.
    pub cpu_seconds: Option<u64>,
    /// Open file descriptors.
    pub open_files: u64,
    /// Processes and threads of the child's user. Ignored by the kernel for a privileged user, and always 0 for a worker.
    pub processes: u64,
}

impl Limits {
    /// Limits that suit `profile`.
    pub fn of(profile: Profile) -> Self {
        match profile {
            Profile::Worker => Self {
                memory_mib: 256,
                cpu_seconds: None,
                open_files: 8,
                processes: 0,
            },
            // Address space, not memory: threads reserve stacks and arenas they never touch.
            Profile::Runner => Self {
                memory_mib: 16 * 1024,
                cpu_seconds: None,
                open_files: 1024,
                processes: 1024,
            },
        }
    }
}

/// The first message to a child: its cage, and what it cannot find out once it is in one.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) cage: Cage,
    /// Address space that the executable maps at its start.
    pub(crate) mapped_bytes: u64,
}

/// What a child's `argv[0]` starts with; the role's name follows.
pub(crate) const ARGV0_PREFIX: &str = "bmm-cage:";

/// Largest message of the handshake.
pub(crate) const MAX_MESSAGE: usize = 16 * 1024;

/// Writes one message: length, then JSON.
pub(crate) fn write_message(mut to: impl Write, message: &impl Serialize) -> std::io::Result<()> {
    let json = serde_json::to_vec(message)?;
    let length = u32::try_from(json.len()).map_err(std::io::Error::other)?;
    let mut frame = length.to_be_bytes().to_vec();
    frame.extend_from_slice(&json);
    to.write_all(&frame)
}

/// Reads one message and not a byte more.
pub(crate) fn read_message<T: DeserializeOwned>(mut from: impl Read) -> std::io::Result<T> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_MESSAGE {
        return Err(std::io::Error::other("handshake message too large"));
    }
    let mut json = vec![0; length];
    from.read_exact(&mut json)?;
    Ok(serde_json::from_slice(&json)?)
}
