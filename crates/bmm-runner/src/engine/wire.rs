//! What a worker and its parent say to each other, and how it is framed: two lengths, a JSON head, raw bytes.
//!
//! Both sides bound what they read. The parent treats a worker as hostile.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{LogLevel, QuestionKind, Redirect};

/// To a worker. What the tail holds stands with each.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum ToWorker {
    /// Once, first. Tail: JSON list of the modules' texts.
    Setup(Setup),
    /// Tail: the input as JSON.
    Call {
        tool: usize,
        secrets: Vec<(String, String)>,
    },
    /// A fetch is done. Tail: the body.
    Fetched {
        id: u32,
        outcome: Result<ResponseHead, String>,
    },
    /// The answer to the one synchronous question a worker can have open.
    Answer(Result<String, String>),
}

/// What a worker must know of the limits; the parent enforces them again, a little later and harder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Setup {
    pub(super) heap_bytes: usize,
    pub(super) stack_bytes: usize,
    pub(super) wall: Duration,
    pub(super) cpu: Duration,
    pub(super) output_bytes: usize,
    pub(super) log_bytes: usize,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ResponseHead {
    pub(super) status: u16,
    pub(super) url: String,
    pub(super) headers: Vec<(String, String)>,
}

/// From a worker.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum FromWorker {
    /// Tail: the body, if there is one.
    Fetch {
        id: u32,
        url: String,
        method: String,
        headers: Vec<(String, String)>,
        redirect: Redirect,
        has_body: bool,
    },
    /// Tail: the message.
    Log(LogLevel),
    Progress {
        progress: f64,
        total: Option<f64>,
        message: Option<String>,
    },
    /// Wants an [`ToWorker::Answer`].
    BasicAuth { user: String, secret: String },
    /// Wants an [`ToWorker::Answer`]. Tail: the data.
    Hmac { algorithm: String, secret: String },
    /// Wants an [`ToWorker::Answer`]: JSON, or an empty text for an answer that is not there yet. Tail: the question as JSON.
    Ask(QuestionKind),
    /// The call is over. Tail: the output as JSON, with [`Outcome::Output`].
    Done(Outcome),
}

/// How a call ended in the worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Outcome {
    Output,
    Thrown { message: String },
    Stalled,
    Asking,
    Timeout,
    Cpu,
    Memory,
    OutputTooLarge,
    OutputNotJson { message: String },
    NotLoadable { message: String },
    NoSuchTool,
}

/// Largest head in either direction.
const MAX_HEAD_BYTES: usize = 512 * 1024;
/// Largest tail to a worker: modules, or a response body.
const MAX_TAIL_BYTES: usize = 32 * 1024 * 1024;
/// Largest body of a request, and largest data of a MAC.
pub(super) const MAX_SENT_BYTES: usize = 1024 * 1024;

/// A frame as bytes.
pub(super) fn frame(head: &impl Serialize, tail: &[u8]) -> io::Result<Vec<u8>> {
    let head = serde_json::to_vec(head)?;
    let mut bytes = Vec::with_capacity(8 + head.len() + tail.len());
    for part in [head.as_slice(), tail] {
        bytes.extend_from_slice(&u32::try_from(part.len()).map_err(io::Error::other)?.to_be_bytes());
    }
    bytes.extend_from_slice(&head);
    bytes.extend_from_slice(tail);
    Ok(bytes)
}

/// Takes the first whole frame out of `bytes`, if there is one.
pub(super) fn unframe<T: DeserializeOwned>(
    bytes: &mut BytesMut,
    max_tail: usize,
) -> io::Result<Option<(T, Bytes)>> {
    let Some((head, tail)) = lengths(bytes, max_tail)? else {
        return Ok(None);
    };
    if bytes.len() < 8 + head + tail {
        return Ok(None);
    }
    bytes.advance(8);
    let head = bytes.split_to(head);
    let tail = bytes.split_to(tail).freeze();
    Ok(Some((serde_json::from_slice(&head)?, tail)))
}

fn lengths(bytes: &[u8], max_tail: usize) -> io::Result<Option<(usize, usize)>> {
    let Some((header, _)) = bytes.split_first_chunk::<8>() else {
        return Ok(None);
    };
    let both = u64::from_be_bytes(*header);
    let (head, tail) = ((both >> 32) as usize, (both & u64::from(u32::MAX)) as usize);
    if head > MAX_HEAD_BYTES || tail > max_tail {
        return Err(io::Error::other("frame too large"));
    }
    Ok(Some((head, tail)))
}

/// The worker's end: blocking, one thread, nothing but `read`, `write` and `poll`.
#[derive(Debug)]
pub(super) struct Port {
    channel: File,
    received: BytesMut,
}

impl Port {
    pub(super) fn new(channel: OwnedFd) -> Self {
        Self {
            channel: File::from(channel),
            received: BytesMut::new(),
        }
    }

    pub(super) fn send(&mut self, message: &FromWorker, tail: &[u8]) -> io::Result<()> {
        self.channel.write_all(&frame(message, tail)?)
    }

    /// The next message; `None` when `timeout` has passed without one. The parent's end is an error.
    pub(super) fn receive(&mut self, timeout: Option<Duration>) -> io::Result<Option<(ToWorker, Bytes)>> {
        loop {
            if let Some(message) = unframe(&mut self.received, MAX_TAIL_BYTES)? {
                return Ok(Some(message));
            }
            // A frame that has begun is read to its end: the parent has written all of it, or is gone.
            if self.received.is_empty()
                && let Some(timeout) = timeout
                && !self.is_readable(timeout)?
            {
                return Ok(None);
            }
            let mut bytes = [0; 16 * 1024];
            match self.channel.read(&mut bytes) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => self
                    .received
                    .extend_from_slice(bytes.get(..read).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn is_readable(&self, timeout: Duration) -> io::Result<bool> {
        let timeout = Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        match poll(&mut [PollFd::new(&self.channel, PollFlags::IN)], Some(&timeout)) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_as_they_went_in_however_they_are_cut() {
        let whole = frame(&FromWorker::Log(LogLevel::Info), b"hello").expect("framed");
        let mut bytes = BytesMut::new();
        for (index, byte) in whole.iter().enumerate() {
            bytes.extend_from_slice(&[*byte]);
            let message = unframe::<FromWorker>(&mut bytes, 5).expect("well formed");
            assert_eq!(message.is_some(), index + 1 == whole.len());
            if let Some((_, tail)) = message {
                assert_eq!(&tail[..], b"hello");
            }
        }
        assert!(bytes.is_empty());
    }

    #[test]
    fn a_frame_that_claims_too_much_is_refused_at_once() {
        let mut tail = BytesMut::from(&[0, 0, 0, 2, 0xff, 0xff, 0xff, 0xff][..]);
        assert!(unframe::<FromWorker>(&mut tail, MAX_SENT_BYTES).is_err());
        let mut head = BytesMut::from(&[0xff, 0, 0, 2, 0, 0, 0, 0][..]);
        assert!(unframe::<FromWorker>(&mut head, MAX_SENT_BYTES).is_err());
    }
}
