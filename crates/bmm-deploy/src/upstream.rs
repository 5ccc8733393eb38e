//! A server's own address and the connections kept open to it.

use std::fmt;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::UnixStream;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep};
use tower_service::Service;

use crate::socket;

/// Any error of a body.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How long a request waits for somebody to listen.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Idle connections: their number and how long they are kept.
const MAX_IDLE: usize = 32;
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Calls and streams of one server at a time, below the descriptors that its runner may open.
const MAX_IN_FLIGHT: usize = 512;

/// A server's own address: a listening Unix socket.
pub struct Upstream {
    socket: PathBuf,
    client: Client<Connector, UnsyncBoxBody<Bytes, BoxError>>,
    in_flight: Arc<Semaphore>,
    /// Requests that were led here and have no answer yet.
    unanswered: AtomicUsize,
    all_answered: Notify,
    /// Whether nobody is serving and nobody will be for a while.
    away: watch::Sender<bool>,
}

impl Upstream {
    /// A server that listens on `socket`. The path may be longer than a socket's address can be.
    pub fn unix(socket: impl Into<PathBuf>) -> Arc<Self> {
        let socket = socket.into();
        let away = watch::Sender::new(false);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(MAX_IDLE)
            .build(Connector {
                socket: socket.clone().into(),
                away: away.subscribe(),
            });
        Arc::new(Self {
            socket,
            client,
            in_flight: Arc::new(Semaphore::new(MAX_IN_FLIGHT)),
            unanswered: AtomicUsize::new(0),
            all_answered: Notify::new(),
            away,
        })
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Sends a request whose URI is absolute; its authority is not looked at. A request is sent at most once.
    pub(crate) fn send(
        &self,
        request: Request<UnsyncBoxBody<Bytes, BoxError>>,
    ) -> impl Future<Output = Result<Response<Incoming>, Error>> + Send + 'static {
        self.client.request(request)
    }

    /// A place for one call or stream, if there is one.
    pub(crate) fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.in_flight).try_acquire_owned().ok()
    }

    /// Marks a server that is not being served and will not be for a while: requests, those that wait included, are told
    /// to come back later rather than kept waiting.
    pub(crate) fn set_away(&self, away: bool) {
        self.away.send_replace(away);
    }

    /// Returns when the server is marked as away.
    pub(crate) fn away(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut away = self.away.subscribe();
        async move {
            if away.wait_for(|away| *away).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Counts a request in until the guard is dropped.
    pub(crate) fn enter(self: &Arc<Self>) -> Unanswered {
        self.unanswered.fetch_add(1, Ordering::SeqCst);
        Unanswered {
            upstream: Arc::clone(self),
        }
    }

    /// Returns once every request that was led here has its answer begun. Of use after the route was moved away.
    pub(crate) async fn answered(&self) {
        loop {
            let notified = self.all_answered.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if self.unanswered.load(Ordering::SeqCst) == 0 {
                return;
            }
            notified.await;
        }
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream")
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}

/// A request that was led to an upstream and has no answer yet.
pub(crate) struct Unanswered {
    upstream: Arc<Upstream>,
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        if self.upstream.unanswered.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.upstream.all_answered.notify_waiters();
        }
    }
}

/// Connects to the one socket, whatever the URI says.
#[derive(Clone)]
struct Connector {
    socket: Arc<Path>,
    away: watch::Receiver<bool>,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<UnixStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Self { socket, away } = self.clone();
        Box::pin(async move {
            let deadline = Instant::now() + CONNECT_TIMEOUT;
            let mut pause = Duration::from_millis(5);
            loop {
                match socket::connect(&socket).await {
                    Ok(stream) => return Ok(TokioIo::new(stream)),
                    Err(error)
                        if !comes_back(&error) || *away.borrow() || Instant::now() + pause > deadline =>
                    {
                        return Err(error);
                    }
                    Err(_) => sleep(pause).await,
                }
                pause = (pause * 2).min(Duration::from_millis(100));
            }
        })
    }
}

/// Nobody listens yet, or the queue is full: states of a server that is being started.
fn comes_back(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, NotFound, WouldBlock};
    matches!(error.kind(), ConnectionRefused | NotFound | WouldBlock)
}
