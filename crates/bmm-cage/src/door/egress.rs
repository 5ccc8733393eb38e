//! The guest's only way out: byte streams to the host, asked for over a `SOCK_SEQPACKET` socket.
//!
//! The guest sends one byte; the host makes a pair of stream sockets, keeps one end and answers with the other. That
//! the *host* makes the pair is the point: a descriptor made by a hostile guest could be a file that never closes,
//! or share its non-blocking flag with a copy the guest kept and so hold one of the host's threads. What is spoken
//! on a stream is the host's affair (bmm's hosts speak HTTP/1.1 `CONNECT`).

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair, sockopt,
};
use tokio::io::Interest;
use tokio::net::{UnixDatagram, UnixStream};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::DoorError;

/// How long a guest waits for the host to open a stream.
const OPEN_TIMEOUT: Duration = Duration::from_secs(15);

/// A request, and the answer that comes with a stream.
const OPEN: u8 = b'o';
/// The answer without one.
const BUSY: u8 = b'b';

/// Descriptors that a guest does not fetch count against the host's user: keep only a few of them in the queue.
const HOST_SEND_BUFFER_BYTES: usize = 4096;

/// The socket's two ends: the host's, to be served, and the guest's, to be handed over. To be called inside a tokio
/// runtime.
pub fn pair() -> Result<(EgressRequests, OwnedFd), DoorError> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (host, guest) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    sockopt::set_socket_send_buffer_size(&host, HOST_SEND_BUFFER_BYTES)?;
    Ok((
        EgressRequests {
            socket: registered(host)?,
            asked: false,
        },
        guest,
    ))
}

/// The host's end: yields the streams that the guest asks for.
pub struct EgressRequests {
    socket: UnixDatagram,
    /// A request was read and not answered yet: its `accept` was dropped while the answer waited for room.
    asked: bool,
}

impl EgressRequests {
    /// Waits for the guest's next request and opens a stream for it; `None` once the guest is gone. Not calling this is how a
    /// host limits a guest. Cancel-safe.
    pub async fn accept(&mut self) -> Result<Option<UnixStream>, DoorError> {
        if !self.requested().await? {
            return Ok(None);
        }
        let (ours, theirs) = match stream_pair() {
            Ok(pair) => pair,
            Err(error) => {
                self.answer(BUSY, &[]).await?;
                return Err(error.into());
            }
        };
        self.answer(OPEN, &[theirs.as_fd()]).await?;
        Ok(Some(into_stream(ours)?))
    }

    /// Waits for the next request and declines it; `false` once the guest is gone.
    pub async fn decline(&mut self) -> Result<bool, DoorError> {
        if !self.requested().await? {
            return Ok(false);
        }
        self.answer(BUSY, &[]).await?;
        Ok(true)
    }

    async fn requested(&mut self) -> Result<bool, DoorError> {
        if self.asked {
            return Ok(true);
        }
        let mut request = [0; 8];
        // A plain receive: descriptors that a guest attaches are closed by the kernel, unseen.
        let received = self
            .socket
            .async_io(Interest::READABLE, || {
                Ok(rustix::net::recv(
                    &self.socket,
                    &mut request,
                    RecvFlags::DONTWAIT | RecvFlags::TRUNC,
                )?)
            })
            .await;
        match received {
            Ok((0, _)) => Ok(false),
            Ok((_, 1)) if request.first() == Some(&OPEN) => {
                self.asked = true;
                Ok(true)
            }
            Ok(_) => Err(DoorError::Unexpected {
                kind: request.first().copied().unwrap_or_default(),
            }),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn answer(&mut self, answer: u8, fds: &[BorrowedFd<'_>]) -> Result<(), DoorError> {
        let sent = self
            .socket
            .async_io(Interest::WRITABLE, || {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
                let mut control = SendAncillaryBuffer::new(&mut space);
                if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
                    return Err(io::ErrorKind::InvalidInput.into());
                }
                let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
                Ok(sendmsg(
                    &self.socket,
                    &[IoSlice::new(&[answer])],
                    &mut control,
                    flags,
                )?)
            })
            .await;
        self.asked = false;
        sent?;
        Ok(())
    }
}

impl fmt::Debug for EgressRequests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EgressRequests").finish_non_exhaustive()
    }
}

/// The guest's end. Cheap to clone.
#[derive(Clone)]
pub struct EgressDoor {
    socket: Arc<UnixDatagram>,
    /// Answers that nobody waits for any more, since their `connect` was dropped. One request is under way at a time.
    unclaimed: Arc<Mutex<u32>>,
}

impl EgressDoor {
    /// Takes the descriptor of the hand-over. To be called inside a tokio runtime.
    pub fn new(egress: OwnedFd) -> Result<Self, DoorError> {
        Ok(Self {
            socket: Arc::new(registered(egress)?),
            unclaimed: Arc::new(Mutex::new(0)),
        })
    }

    /// A new stream to the host.
    pub async fn connect(&self) -> Result<UnixStream, DoorError> {
        timeout(OPEN_TIMEOUT, self.request())
            .await
            .map_err(|_| DoorError::Timeout)?
    }

    async fn request(&self) -> Result<UnixStream, DoorError> {
        let mut unclaimed = self.unclaimed.lock().await;
        while *unclaimed > 0 {
            // Dropped, not used: the host may have given up on it long ago.
            match self.answer().await {
                Ok(_) | Err(DoorError::Busy) => *unclaimed -= 1,
                Err(error) => return Err(error),
            }
        }
        self.socket
            .async_io(Interest::WRITABLE, || {
                Ok(rustix::net::send(
                    &self.socket,
                    &[OPEN],
                    SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
                )?)
            })
            .await
            .map_err(closed)?;
        *unclaimed += 1;
        let answer = self.answer().await;
        if matches!(answer, Ok(_) | Err(DoorError::Busy)) {
            *unclaimed -= 1;
        }
        into_stream(answer?)
    }

    async fn answer(&self) -> Result<OwnedFd, DoorError> {
        let (bytes, answer, mut fds) = self
            .socket
            .async_io(Interest::READABLE, || receive_answer(&self.socket))
            .await
            .map_err(closed)?;
        if bytes == 0 {
            return Err(DoorError::Closed);
        }
        match (answer, fds.pop(), fds.len()) {
            (OPEN, Some(fd), 0) => Ok(fd),
            (BUSY, None, 0) => Err(DoorError::Busy),
            (OPEN | BUSY, _, got) => Err(DoorError::Descriptors { expected: 1, got }),
            (kind, ..) => Err(DoorError::Unexpected { kind }),
        }
    }
}

impl fmt::Debug for EgressDoor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EgressDoor").finish_non_exhaustive()
    }
}

fn receive_answer(socket: &UnixDatagram) -> io::Result<(usize, u8, Vec<OwnedFd>)> {
    let mut answer = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let message = recvmsg(socket, &mut [IoSliceMut::new(&mut answer)], &mut control, flags)?;
    let mut fds = Vec::new();
    for item in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = item {
            fds.extend(received);
        }
    }
    let [answer] = answer;
    Ok((message.bytes, answer, fds))
}

/// tokio knows no `SOCK_SEQPACKET`; its datagram type lends the readiness, the calls are made here.
fn registered(fd: OwnedFd) -> io::Result<UnixDatagram> {
    let socket = std::os::unix::net::UnixDatagram::from(fd);
    socket.set_nonblocking(true)?;
    UnixDatagram::from_std(socket)
}

fn stream_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?)
}

fn into_stream(fd: OwnedFd) -> Result<UnixStream, DoorError> {
    let stream = std::os::unix::net::UnixStream::from(fd);
    stream.set_nonblocking(true)?;
    Ok(UnixStream::from_std(stream)?)
}

fn closed(error: io::Error) -> DoorError {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => DoorError::Closed,
        _ => DoorError::Io(error),
    }
}
