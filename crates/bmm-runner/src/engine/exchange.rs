//! The trusted side of one call: answers what the worker asks, counts, and ends it when a limit is passed.
//!
//! The worker is taken to be hostile. Its frames are bounded and counted here whatever it counted itself, and it is given
//! 100 ms beyond each time limit to stop by itself.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep_until};

use super::wire::{FromWorker, MAX_SENT_BYTES, Outcome, ResponseHead, ToWorker, frame, unframe};
use super::{EngineLimits, FetchRequest, FetchResponse, LogLevel, ToolFailure, ToolHost};

/// What a worker gets beyond a time limit before it is killed.
pub(super) const GRACE: Duration = Duration::from_millis(100);
/// Messages of a call besides fetches and logs: progress, `basicAuth`, `hmac`, questions to the client.
const MAX_QUESTIONS: u32 = 1_000;
/// Log messages of a call; their bytes have a limit of their own.
const MAX_LOGS: u32 = 1_000;

/// How a call ended for the parent.
pub(super) struct Ended {
    pub(super) result: Result<Bytes, Failed>,
    /// Whether the worker may take another call.
    pub(super) is_reusable: bool,
}

/// Why there is no output.
#[derive(Debug)]
pub(super) enum Failed {
    /// The worker says so.
    Worker(Outcome),
    /// We say so.
    Parent(ToolFailure),
}

/// Runs one call on a worker. `cpu_time` tells the processor time of the worker so far, where it can be told.
pub(super) async fn run(
    stream: &mut UnixStream,
    call: Bytes,
    host: Arc<dyn ToolHost>,
    limits: &EngineLimits,
    cpu_time: impl Fn() -> Option<Duration>,
) -> Ended {
    let cpu_before = cpu_time();
    let cpu_used = || {
        cpu_time()
            .zip(cpu_before)
            .map(|(now, before)| now.saturating_sub(before))
    };
    let wall_deadline = Instant::now() + limits.wall + GRACE;
    let mut cpu_deadline = Instant::now() + limits.cpu + GRACE;
    let mut exchange = Exchange::new(host, limits, call);
    let (mut from_worker, mut to_worker) = stream.split();
    let failure = loop {
        match exchange.take_frames() {
            Ok(None) => {}
            Ok(Some(done)) => return done,
            Err(failure) => break failure,
        }
        exchange.start_waiting_fetches();
        let mut outgoing = exchange.outgoing.front().cloned().unwrap_or_default();
        tokio::select! {
            read = from_worker.read_buf(&mut exchange.received) => match read {
                Ok(1..) => {}
                Ok(0) | Err(_) => break ToolFailure::Crashed,
            },
            written = to_worker.write_buf(&mut outgoing), if !outgoing.is_empty() => match written {
                Ok(_) => exchange.put_back(outgoing),
                Err(_) => break ToolFailure::Crashed,
            },
            Some((id, response)) = exchange.fetching.next() => {
                if exchange.answer_fetch(id, response).is_err() {
                    break ToolFailure::Crashed;
                }
            }
            () = sleep_until(wall_deadline) => break timeout(limits),
            () = sleep_until(cpu_deadline) => match cpu_used() {
                Some(used) if used < limits.cpu + GRACE => cpu_deadline = Instant::now() + (limits.cpu + GRACE - used),
                Some(_) => break cpu(limits),
                // A worker whose time cannot be told has the wall limit.
                None => cpu_deadline = wall_deadline,
            },
        }
    };
    Ended {
        result: Err(Failed::Parent(failure)),
        is_reusable: false,
    }
}

pub(super) fn timeout(limits: &EngineLimits) -> ToolFailure {
    ToolFailure::Timeout {
        limit_ms: u64::try_from(limits.wall.as_millis()).unwrap_or(u64::MAX),
    }
}

pub(super) fn cpu(limits: &EngineLimits) -> ToolFailure {
    ToolFailure::Cpu {
        limit_ms: u64::try_from(limits.cpu.as_millis()).unwrap_or(u64::MAX),
    }
}

type Fetching = BoxFuture<'static, (u32, Result<FetchResponse, String>)>;

struct Exchange<'a> {
    host: Arc<dyn ToolHost>,
    limits: &'a EngineLimits,
    received: BytesMut,
    outgoing: VecDeque<Bytes>,
    fetching: FuturesUnordered<Fetching>,
    waiting: VecDeque<(u32, FetchRequest)>,
    fetches: u32,
    questions: u32,
    logs: u32,
    log_left: usize,
}

impl<'a> Exchange<'a> {
    fn new(host: Arc<dyn ToolHost>, limits: &'a EngineLimits, call: Bytes) -> Self {
        Self {
            host,
            limits,
            received: BytesMut::new(),
            outgoing: VecDeque::from([call]),
            fetching: FuturesUnordered::new(),
            waiting: VecDeque::new(),
            fetches: 0,
            questions: 0,
            logs: 0,
            log_left: limits.log_kib as usize * 1024,
        }
    }

    /// Handles the frames that are there. `Some` when the call is over.
    fn take_frames(&mut self) -> Result<Option<Ended>, ToolFailure> {
        let max_tail = MAX_SENT_BYTES.max(self.limits.output_kib as usize * 1024);
        while let Some((message, tail)) =
            unframe::<FromWorker>(&mut self.received, max_tail).map_err(|_| ToolFailure::Crashed)?
        {
            match message {
                FromWorker::Done(outcome) => {
                    let is_reusable = self.received.is_empty() && self.outgoing.is_empty();
                    let result = if outcome == Outcome::Output {
                        Ok(tail)
                    } else {
                        Err(Failed::Worker(outcome))
                    };
                    return Ok(Some(Ended { result, is_reusable }));
                }
                FromWorker::Fetch {
                    id,
                    url,
                    method,
                    headers,
                    redirect,
                    has_body,
                } => {
                    let body = has_body.then_some(tail);
                    self.fetch(
                        id,
                        FetchRequest {
                            url,
                            method,
                            headers,
                            body,
                            redirect,
                        },
                    )?;
                }
                FromWorker::Log(level) => self.log(level, &tail),
                FromWorker::Progress {
                    progress,
                    total,
                    message,
                } => {
                    self.questions += 1;
                    if self.questions <= MAX_QUESTIONS {
                        self.host.progress(progress, total, message.as_deref());
                    }
                }
                FromWorker::BasicAuth { user, secret } => {
                    self.answer(|host| host.basic_auth(&user, &secret))?
                }
                FromWorker::Hmac { algorithm, secret } => {
                    self.answer(|host| host.hmac(&algorithm, &secret, &tail))?
                }
                FromWorker::Ask(kind) => {
                    let question = String::from_utf8_lossy(&tail);
                    self.answer(|host| host.ask(kind, &question).map(Option::unwrap_or_default))?
                }
            }
        }
        Ok(None)
    }

    fn fetch(&mut self, id: u32, request: FetchRequest) -> Result<(), ToolFailure> {
        self.fetches = self.fetches.saturating_add(1);
        if self.fetches > self.limits.fetches {
            // A worker of ours stops asking; another one is not answered for ever.
            if self.fetches > self.limits.fetches.saturating_add(MAX_QUESTIONS) {
                return Err(ToolFailure::Crashed);
            }
            let refusal = format!("this call has used its {} fetches", self.limits.fetches);
            return self
                .answer_fetch(id, Err(refusal))
                .map_err(|_| ToolFailure::Crashed);
        }
        self.waiting.push_back((id, request));
        Ok(())
    }

    fn start_waiting_fetches(&mut self) {
        while self.fetching.len() < self.limits.concurrent_fetches as usize {
            let Some((id, request)) = self.waiting.pop_front() else {
                return;
            };
            let host = Arc::clone(&self.host);
            self.fetching
                .push(Box::pin(async move { (id, host.fetch(request).await) }));
        }
    }

    fn answer_fetch(&mut self, id: u32, response: Result<FetchResponse, String>) -> io::Result<()> {
        let (outcome, body) = match response {
            Ok(FetchResponse {
                status,
                url,
                headers,
                body,
            }) => (Ok(ResponseHead { status, url, headers }), body),
            Err(refusal) => (Err(refusal), Bytes::new()),
        };
        self.send(&ToWorker::Fetched { id, outcome }, &body)
    }

    fn answer(
        &mut self,
        ask: impl FnOnce(&dyn ToolHost) -> Result<String, String>,
    ) -> Result<(), ToolFailure> {
        self.questions += 1;
        let answer = if self.questions <= MAX_QUESTIONS {
            ask(self.host.as_ref())
        } else {
            Err("this call has asked too often".to_owned())
        };
        if self.questions > 10 * MAX_QUESTIONS {
            return Err(ToolFailure::Crashed);
        }
        self.send(&ToWorker::Answer(answer), &[])
            .map_err(|_| ToolFailure::Crashed)
    }

    fn log(&mut self, level: LogLevel, message: &[u8]) {
        self.logs = self.logs.saturating_add(1);
        if self.logs > MAX_LOGS || self.log_left == 0 {
            return;
        }
        let kept = message
            .get(..message.len().min(self.log_left))
            .unwrap_or_default();
        self.log_left -= kept.len();
        self.host.log(level, &String::from_utf8_lossy(kept));
    }

    fn send(&mut self, message: &ToWorker, tail: &[u8]) -> io::Result<()> {
        self.outgoing.push_back(Bytes::from(frame(message, tail)?));
        Ok(())
    }

    /// What was not written of the first outgoing frame comes first again.
    fn put_back(&mut self, rest: Bytes) {
        self.outgoing.pop_front();
        if rest.has_remaining() {
            self.outgoing.push_front(rest);
        }
    }
}
