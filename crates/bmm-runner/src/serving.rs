//! The listening loop, and its end: who has connected is answered, whatever becomes of the server.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::serve::Listener;
use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_service::Service as _;

use crate::http::{ResponseBody, RunnerService};

/// How long a server that ends goes on taking connections. Whoever looked up the way to it just before it was led elsewhere
/// arrives within this, and whoever keeps a connection hears on it that it is the last answer.
const LINGER: Duration = Duration::from_millis(200);
/// Under a flood of connections too.
const LONGEST_LINGER: Duration = Duration::from_secs(1);
/// For the first request of a connection that has sent none yet.
const FIRST_REQUEST: Duration = Duration::from_secs(1);
/// How long streams may take to notice that the service ends.
const STREAM_END: Duration = Duration::from_secs(5);

impl RunnerService {
    /// Serves connections of `listener` until `stop` resolves, and then drains: streams that only listen end at once, whoever has
    /// connected by then is answered, and all calls have `drain` to end. Whether every call ended by itself.
    ///
    /// Speaks HTTP/1.1 only, without finding out the version first: a server that does drops, when it is to end, what it has
    /// accepted and not yet read from.
    pub async fn serve<L>(
        self,
        mut listener: L,
        stop: impl Future<Output = ()> + Send + 'static,
        drain: Duration,
    ) -> bool
    where
        L: Listener,
    {
        let (connections, leaving) = (TaskTracker::new(), Leaving::default());
        let take = |io| connections.spawn(serve_connection(io, self.clone(), leaving.clone()));
        tokio::pin!(stop);
        loop {
            tokio::select! {
                (io, _) = listener.accept() => drop(take(io)),
                () = &mut stop => break,
            }
        }
        let deadline = Instant::now() + drain;
        self.end_listening();
        leaving.last_answers.cancel();
        let (linger, longest) = (sleep(LINGER), Instant::now() + LONGEST_LINGER);
        tokio::pin!(linger);
        while Instant::now() < longest {
            tokio::select! {
                biased;
                (io, _) = listener.accept() => drop(take(io)),
                () = &mut linger => break,
            }
        }
        drop(listener);
        leaving.close.cancel();
        connections.close();
        let ended = timeout_at(deadline, connections.wait()).await.is_ok();
        self.end_streams();
        // What is still open now has nothing to say any more.
        let _ = timeout(STREAM_END, connections.wait()).await;
        ended
    }
}

/// How far the end is.
#[derive(Clone, Default)]
struct Leaving {
    /// Every answer is the last of its connection.
    last_answers: CancellationToken,
    /// Connections on which nothing is under way are closed.
    close: CancellationToken,
}

async fn serve_connection<I>(io: I, service: RunnerService, leaving: Leaving)
where
    I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let asked = Arc::new(AtomicBool::new(false));
    let (has_asked, last_answers) = (Arc::clone(&asked), leaving.last_answers);
    let service = service_fn(move |request: Request<Incoming>| {
        has_asked.store(true, Ordering::Relaxed);
        answer(service.clone(), request, last_answers.clone())
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(io), service);
    tokio::pin!(connection);
    tokio::select! {
        biased;
        _ = connection.as_mut() => return,
        () = leaving.close.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    if !asked.load(Ordering::Relaxed) {
        let patience = sleep_until(Instant::now() + FIRST_REQUEST);
        tokio::select! {
            biased;
            _ = connection.as_mut() => return,
            () = patience => {}
        }
    }
    if asked.load(Ordering::Relaxed) {
        let _ = connection.await;
    }
}

async fn answer(
    mut service: RunnerService,
    request: Request<Incoming>,
    last_answers: CancellationToken,
) -> Result<Response<ResponseBody>, Infallible> {
    let mut response = service.call(request).await?;
    if last_answers.is_cancelled() {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}
