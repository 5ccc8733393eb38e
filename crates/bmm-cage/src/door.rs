//! What the host and a caged runner say to each other over the runner's channel.
//!
//! The channel is a connected Unix stream socket. The host hands over a configuration and two descriptors, a
//! *listening* socket and the egress socket; the guest answers that it is ready, or why not; later the host may ask
//! it to drain. The end of the channel is the end of the guest. The guest is not trusted: the host reads a few
//! bounded bytes from it and never takes a descriptor from it, here or in [`egress`].
//!
//! Each message is one byte of kind, four of length (big endian), and the payload. The descriptors travel with the
//! first byte of the hand-over.
//!
//! ```no_run
//! # async fn host(channel: std::os::fd::OwnedFd, listener: std::os::fd::OwnedFd) -> Result<(), bmm_cage::door::DoorError> {
//! use bmm_cage::door::{self, Reply};
//!
//! let (requests, egress) = door::egress::pair()?;          // `requests` is served by the host's proxy
//! let mut runner = door::Host::new(channel)?;
//! runner.hand_over(b"opaque configuration", &listener, &egress).await?;
//! match runner.reply(std::time::Duration::from_secs(10)).await? {
//!     Reply::Ready => {}
//!     Reply::Failed(reason) => eprintln!("{reason}"),
//! }
//! # Ok(()) }
//! # async fn guest(channel: std::os::fd::OwnedFd) -> Result<(), bmm_cage::door::DoorError> {
//! use bmm_cage::door::{Guest, Order, egress::EgressDoor};
//!
//! let mut host = Guest::new(channel)?;
//! let handover = host.receive().await?;
//! let egress = EgressDoor::new(handover.egress)?;           // `egress.connect().await` for each way out
//! host.ready().await?;
//! match host.order().await {
//!     Order::Drain => { /* finish what is in flight, then exit 0 */ }
//!     Order::HostGone => { /* exit */ }
//! }
//! # Ok(()) }
//! ```

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::time::timeout;

pub mod egress;

/// Longest configuration that is handed over.
pub const MAX_CONFIG_BYTES: usize = 16 * 1024 * 1024;

/// Longest reason of a guest that could not start; longer ones are cut.
pub const MAX_REASON_BYTES: usize = 4 * 1024;

/// How long a peer may take to read or to complete one message.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(20);

const HEADER_BYTES: usize = 5;
/// The hand-over carries exactly the listening socket and the egress socket, in this order.
const HANDED_FDS: usize = 2;

const HANDOVER: u8 = 1;
const DRAIN: u8 = 2;
const READY: u8 = 0x11;
const FAILED: u8 = 0x12;

/// The host's end of the channel.
#[derive(Debug)]
pub struct Host {
    channel: Channel,
}

/// What the guest says of its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// It serves on the listening socket.
    Ready,
    /// It cannot start. The text is the guest's: printable characters only, at most [`MAX_REASON_BYTES`].
    Failed(String),
}

impl Host {
    /// Takes the channel of a caged child. To be called inside a tokio runtime.
    pub fn new(channel: OwnedFd) -> Result<Self, DoorError> {
        Ok(Self {
            channel: Channel::new(channel)?,
        })
    }

    /// Sends the configuration and lends the guest a copy of both descriptors. `listener` is a listening Unix
    /// socket, `egress` the second half of [`egress::pair`].
    pub async fn hand_over(
        &mut self,
        config: &[u8],
        listener: impl AsFd,
        egress: impl AsFd,
    ) -> Result<(), DoorError> {
        let fds = [listener.as_fd(), egress.as_fd()];
        self.channel.send(HANDOVER, config, MAX_CONFIG_BYTES, &fds).await
    }

    /// The guest's answer to the hand-over. Ask once.
    pub async fn reply(&mut self, within: Duration) -> Result<Reply, DoorError> {
        let (kind, payload) = timeout(within, self.channel.receive(MAX_REASON_BYTES, 0))
            .await
            .map_err(|_| DoorError::Timeout)??;
        match kind {
            READY if payload.is_empty() => Ok(Reply::Ready),
            FAILED => Ok(Reply::Failed(printable(&payload))),
            kind => Err(DoorError::Unexpected { kind }),
        }
    }

    /// Asks the guest to finish what is in flight and exit.
    pub async fn drain(&mut self) -> Result<(), DoorError> {
        self.channel.send(DRAIN, &[], 0, &[]).await
    }

    /// Returns when the guest has closed its end, or says something although it has nothing more to say.
    pub async fn closed(&mut self) -> Result<(), DoorError> {
        match self.channel.receive(0, 0).await {
            Err(DoorError::Closed) => Ok(()),
            Err(error) => Err(error),
            Ok((kind, _)) => Err(DoorError::Unexpected { kind }),
        }
    }
}

/// The guest's end of the channel.
#[derive(Debug)]
pub struct Guest {
    channel: Channel,
}

/// What the guest gets.
#[derive(Debug)]
pub struct Handover {
    /// Opaque here; it may hold secrets.
    pub config: Vec<u8>,
    /// A listening, non-blocking Unix stream socket. The host keeps it open too, so that a call made while the guest is
    /// being replaced waits in its queue.
    pub listener: OwnedFd,
    /// For [`egress::EgressDoor::new`].
    pub egress: OwnedFd,
}

/// What the host may say to a guest that is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Finish what is in flight, take nothing new, exit 0.
    Drain,
    /// The channel has ended: there is nobody left to serve for. Exit.
    HostGone,
}

impl Guest {
    /// Takes the channel that the cage inherited. To be called inside a tokio runtime.
    pub fn new(channel: OwnedFd) -> Result<Self, DoorError> {
        Ok(Self {
            channel: Channel::new(channel)?,
        })
    }

    /// Waits for the hand-over.
    pub async fn receive(&mut self) -> Result<Handover, DoorError> {
        let (kind, config) = timeout(
            MESSAGE_TIMEOUT,
            self.channel.receive(MAX_CONFIG_BYTES, HANDED_FDS),
        )
        .await
        .map_err(|_| DoorError::Timeout)??;
        if kind != HANDOVER {
            return Err(DoorError::Unexpected { kind });
        }
        let fds: [OwnedFd; HANDED_FDS] =
            std::mem::take(&mut self.channel.fds)
                .try_into()
                .map_err(|fds: Vec<_>| DoorError::Descriptors {
                    expected: HANDED_FDS,
                    got: fds.len(),
                })?;
        let [listener, egress] = fds;
        Ok(Handover {
            config,
            listener,
            egress,
        })
    }

    /// Says that calls are being served.
    pub async fn ready(&mut self) -> Result<(), DoorError> {
        self.channel.send(READY, &[], 0, &[]).await
    }

    /// Says why it cannot start; the text is cut at [`MAX_REASON_BYTES`]. Never put a secret into it: hosts log it.
    pub async fn failed(&mut self, reason: &str) -> Result<(), DoorError> {
        let cut = reason.floor_char_boundary(MAX_REASON_BYTES);
        let reason = reason.get(..cut).unwrap_or_default();
        self.channel
            .send(FAILED, reason.as_bytes(), MAX_REASON_BYTES, &[])
            .await
    }

    /// Waits for the next order. Cancel-safe. A broken channel is a host that is gone.
    pub async fn order(&mut self) -> Order {
        match self.channel.receive(0, 0).await {
            Ok((DRAIN, _)) => Order::Drain,
            Ok(_) | Err(_) => Order::HostGone,
        }
    }
}

/// Why the two could not talk.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DoorError {
    /// The other side has ended.
    #[error("the other end of the door is closed")]
    Closed,
    /// The other side took too long.
    #[error("the other end of the door took too long")]
    Timeout,
    /// A message longer than its kind may be. Nothing of it was read.
    #[error("a message of {bytes} bytes where {max} are allowed")]
    TooLarge {
        /// Its claimed length.
        bytes: usize,
        /// What was allowed.
        max: usize,
    },
    /// A message that has no place here.
    #[error("unexpected message of kind {kind}")]
    Unexpected {
        /// Its first byte.
        kind: u8,
    },
    /// The message came with too few or too many descriptors; all of them were closed.
    #[error("{expected} descriptors expected, {got} received")]
    Descriptors {
        /// How many belong to it.
        expected: usize,
        /// How many came.
        got: usize,
    },
    /// The host has no room for another way out now.
    #[error("too many connections are open; try again later")]
    Busy,
    /// The system refused.
    #[error("the door's socket failed")]
    Io(#[from] io::Error),
}

impl From<rustix::io::Errno> for DoorError {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::Io(errno.into())
    }
}

/// One end: whole messages in and out, reading never past the message at hand.
#[derive(Debug)]
struct Channel {
    stream: UnixStream,
    /// The bytes so far of the message being read, kept here so that a cancelled read loses nothing.
    inbox: Vec<u8>,
    fds: Vec<OwnedFd>,
}

impl Channel {
    fn new(fd: OwnedFd) -> Result<Self, DoorError> {
        let stream = std::os::unix::net::UnixStream::from(fd);
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream: UnixStream::from_std(stream)?,
            inbox: Vec::new(),
            fds: Vec::new(),
        })
    }

    async fn send(
        &mut self,
        kind: u8,
        payload: &[u8],
        max: usize,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), DoorError> {
        let too_large = DoorError::TooLarge {
            bytes: payload.len(),
            max,
        };
        if payload.len() > max {
            return Err(too_large);
        }
        let [a, b, c, d] = u32::try_from(payload.len()).map_err(|_| too_large)?.to_be_bytes();
        let header = [kind, a, b, c, d];
        timeout(MESSAGE_TIMEOUT, async {
            let sent = self
                .stream
                .async_io(Interest::WRITABLE, || send_with_fds(&self.stream, &header, fds))
                .await?;
            self.stream
                .write_all(header.get(sent..).unwrap_or_default())
                .await?;
            self.stream.write_all(payload).await
        })
        .await
        .map_err(|_| DoorError::Timeout)?
        .map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => DoorError::Closed,
            _ => DoorError::Io(error),
        })
    }

    /// One whole message. Waits without limit for its first byte; a limit on the whole is the caller's.
    async fn receive(&mut self, max: usize, max_fds: usize) -> Result<(u8, Vec<u8>), DoorError> {
        self.fill(HEADER_BYTES, max_fds).await?;
        let &[kind, a, b, c, d] = self.inbox.as_slice().first_chunk().ok_or(DoorError::Closed)?;
        let bytes = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        if bytes > max {
            return Err(DoorError::TooLarge { bytes, max });
        }
        // Once and exactly: a configuration holds secrets, and growing would leave copies of them behind.
        self.inbox.reserve_exact(bytes);
        timeout(MESSAGE_TIMEOUT, self.fill(HEADER_BYTES + bytes, max_fds))
            .await
            .map_err(|_| DoorError::Timeout)??;
        let mut message = std::mem::take(&mut self.inbox);
        message.drain(..HEADER_BYTES);
        Ok((kind, message))
    }

    async fn fill(&mut self, until: usize, max_fds: usize) -> Result<(), DoorError> {
        while self.inbox.len() < until {
            let missing = until - self.inbox.len();
            let read = if max_fds == 0 {
                // A plain read: descriptors that came along are closed by the kernel, unseen.
                (&mut self.stream)
                    .take(missing as u64)
                    .read_buf(&mut self.inbox)
                    .await?
            } else {
                let (stream, inbox, fds) = (&self.stream, &mut self.inbox, &mut self.fds);
                stream
                    .async_io(Interest::READABLE, || {
                        receive_with_fds(stream, missing, inbox, fds)
                    })
                    .await?
            };
            if read == 0 {
                return Err(DoorError::Closed);
            }
            if self.fds.len() > max_fds {
                let got = std::mem::take(&mut self.fds).len();
                return Err(DoorError::Descriptors {
                    expected: max_fds,
                    got,
                });
            }
        }
        Ok(())
    }
}

/// Sends `bytes` (some of them, at least one) with `fds` attached to the first.
fn send_with_fds(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(HANDED_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    Ok(sendmsg(socket, &[IoSlice::new(bytes)], &mut control, flags)?)
}

/// Appends at most `missing` bytes to `inbox` and what came with them to `fds`, close-on-exec. More descriptors than a
/// hand-over has are cut by the kernel and reported as one too many, so that the count alone tells.
fn receive_with_fds(
    socket: impl AsFd,
    missing: usize,
    inbox: &mut Vec<u8>,
    fds: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    let mut chunk = [0; 16 * 1024];
    let window = chunk.len().min(missing);
    let chunk = chunk.get_mut(..window).unwrap_or_default();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(HANDED_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let message = recvmsg(socket, &mut [IoSliceMut::new(chunk)], &mut control, flags)?;
    for item in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = item {
            fds.extend(received);
        }
    }
    if message.flags.contains(ReturnFlags::CTRUNC) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "more descriptors than belong to the message",
        ));
    }
    inbox.extend_from_slice(chunk.get(..message.bytes).unwrap_or_default());
    Ok(message.bytes)
}

/// A guest's words go into logs: one line of printable text.
pub(crate) fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}
