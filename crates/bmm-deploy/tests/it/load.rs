//! Requests at a steady pace, whether or not the ones before are answered, each over a connection of its own; every answer is
//! compared with what it must be.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::rt::{Read, Write};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

/// Requests per second.
pub(crate) const RATE: u64 = 500;
/// Longer than a roll takes.
const SLOW_MS: u64 = 1500;
const PIECES: usize = 30;
const PATIENCE: Duration = Duration::from_secs(30);

/// Where requests go.
#[derive(Clone)]
pub(crate) enum Front {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// A load that is under way.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<Tally>,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) sent: u64,
    pub(crate) answered: u64,
    pub(crate) seconds: f64,
    /// Everything that was not the right answer, the first of it in words.
    pub(crate) failed: u64,
    pub(crate) failures: Vec<String>,
    pub(crate) revisions: BTreeSet<String>,
    pub(crate) slowest: Duration,
}

impl Load {
    /// Begins to call the server behind `prefix` (empty if `front` is its own socket).
    pub(crate) fn begin(front: Front, prefix: &'static str) -> Self {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let task = tokio::spawn(call_until(front, prefix, Arc::clone(&stop), Arc::clone(&sent)));
        Self { stop, sent, task }
    }

    /// Returns when so many more requests have been sent.
    pub(crate) async fn goes_on(&self, requests: u64) {
        let before = self.sent.load(Ordering::Relaxed);
        while self.sent.load(Ordering::Relaxed) < before + requests {
            assert!(!self.task.is_finished(), "the load has ended");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Sends no more, and waits for the answers.
    pub(crate) async fn end(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

impl Tally {
    /// Fails unless every answer was right; says what it was, for reports.
    pub(crate) fn check(&self, what: &str) {
        let rate = self.sent as f64 / self.seconds;
        println!(
            "{what}: {} calls at {rate:.0}/s, {} failed, {} revisions answered, slowest {:?}",
            self.sent,
            self.failed,
            self.revisions.len(),
            self.slowest
        );
        if rate < 0.9 * RATE as f64 {
            println!("{what}: this machine did not manage {RATE}/s");
        }
        assert_eq!(self.failed, 0, "{what}: {:#?}", self.failures);
        assert_eq!(self.answered, self.sent);
        assert!(rate > 0.2 * RATE as f64, "{what}: {rate:.0}/s is no load");
    }
}

async fn call_until(
    front: Front,
    prefix: &'static str,
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
) -> Tally {
    let tally = Arc::new(Mutex::new(Tally::default()));
    let mut calls = JoinSet::new();
    let mut ticks = tokio::time::interval(Duration::from_micros(1_000_000 / RATE));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let begun = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        let number = sent.fetch_add(1, Ordering::Relaxed);
        let (front, tally) = (front.clone(), Arc::clone(&tally));
        calls.spawn(async move {
            let begun = Instant::now();
            let found = match tokio::time::timeout(PATIENCE, call(&front, prefix, number)).await {
                Ok(found) => found,
                Err(_) => Err("no answer".to_owned()),
            };
            let mut tally = tally.lock().unwrap();
            tally.slowest = tally.slowest.max(begun.elapsed());
            match found {
                Ok(revision) => {
                    tally.answered += 1;
                    tally.revisions.extend(revision);
                }
                Err(error) => {
                    tally.failed += 1;
                    if tally.failures.len() < 10 {
                        tally.failures.push(format!("call {number}: {error}"));
                    }
                }
            }
        });
        while calls.try_join_next().is_some() {}
    }
    let seconds = begun.elapsed().as_secs_f64();
    calls.join_all().await;
    let mut tally = std::mem::take(&mut *tally.lock().unwrap());
    (tally.sent, tally.seconds) = (sent.load(Ordering::Relaxed), seconds);
    tally
}

/// One call; the revision that answered, if it says so.
async fn call(front: &Front, prefix: &str, number: u64) -> Result<Option<String>, String> {
    let (path, body) = match number % 50 {
        0 => (format!("/slow?{SLOW_MS}"), None),
        10 | 35 => (format!("/stream?{PIECES}"), None),
        n if n % 5 == 1 => ("/echo".to_owned(), Some(format!("{number} ").repeat(500))),
        _ => ("/revision".to_owned(), None),
    };
    let request = Request::builder()
        .method(if body.is_some() { "POST" } else { "GET" })
        .uri(format!("{prefix}{path}"))
        .header("host", "mcp.example.com")
        .header("connection", "close")
        .body(Full::<Bytes>::from(body.clone().unwrap_or_default()))
        .map_err(|error| error.to_string())?;
    let answer = match front {
        Front::Tcp(address) => {
            let stream = TcpStream::connect(address).await;
            exchange(stream.map_err(|error| format!("connecting: {error}"))?, request).await?
        }
        Front::Unix(socket) => {
            let stream = UnixStream::connect(socket).await;
            exchange(stream.map_err(|error| format!("connecting: {error}"))?, request).await?
        }
    };
    if let Some(body) = body {
        return match answer == body {
            true => Ok(None),
            false => Err(format!("another echo of {} bytes", answer.len())),
        };
    }
    let mut pieces = answer.split_whitespace();
    let revision = pieces.next().unwrap_or_default().to_owned();
    let more = pieces.clone().count();
    let expected = if path.starts_with("/stream") {
        PIECES - 1
    } else {
        0
    };
    if revision.parse::<u32>().is_err() || more != expected || pieces.any(|piece| piece != revision) {
        return Err(format!("{path} was answered with {answer:?}"));
    }
    Ok(Some(revision))
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<String, String>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    TokioIo<S>: Read + Write,
{
    let path = request.uri().path().to_owned();
    let tell = |error: hyper::Error| format!("{path}: {error} ({:?})", std::error::Error::source(&error));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(tell)?;
    let connection = tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(tell)?;
    let status = answer.status();
    let body = answer.into_body().collect().await.map_err(tell)?.to_bytes();
    connection.abort();
    let text = String::from_utf8_lossy(&body).into_owned();
    match status.as_u16() {
        200 => Ok(text),
        status => Err(format!("{path}: status {status}: {text}")),
    }
}
