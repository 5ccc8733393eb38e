//! The listening loop. A client may take its time for nothing: heads and bodies of requests have a deadline, connections a
//! cap, and at the end what is under way is finished.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::{Router, middleware};
use bmm_deploy::pathmap::Cidr;
use bmm_oauth::ClientAddress;
use http::HeaderMap;
use hyper::Request;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::time::Sleep;

/// Open connections; the next ones wait in the listener's queue.
const MAX_CONNECTIONS: usize = 4096;
/// For the head of a request, and for a kept connection to send another.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// For the body of a request. MCP messages and forms are small.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// Before another try when a connection could not be accepted, for want of descriptors perhaps.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `stopped` holds, then lets the requests under way end. Of proxies at `trusted` addresses it takes the word on who
/// asks.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    trusted: Vec<Cidr>,
    mut stopped: watch::Receiver<bool>,
) {
    let trusted: Arc<[Cidr]> = trusted.into();
    let router = router.layer(middleware::map_request(
        async |request: axum::extract::Request| request.map(|body| Body::new(Timed::new(body))),
    ));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let graceful = GracefulShutdown::new();
    // An error of `wait_for` means that nobody is left who could say it.
    let stop = async move { drop(stopped.wait_for(|stopped| *stopped).await) };
    tokio::pin!(stop);
    loop {
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            accepted = accepted => accepted,
            () = &mut stop => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "no TCP_NODELAY");
        }
        let trusted = Arc::clone(&trusted);
        let service = TowerToHyperService::new(router.clone());
        let service = service_fn(move |mut request: Request<Incoming>| {
            if let Some(address) = client_address(peer.ip(), &trusted, request.headers()) {
                request.extensions_mut().insert(ClientAddress(address));
            }
            service.call(request)
        });
        let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection broke off");
            }
            drop(place);
        });
    }
    drop(listener);
    graceful.shutdown().await;
}

/// Who asks: whoever is connected, or, if that is a proxy to be trusted, the last of those it names that is not. `None` behind a proxy
/// that says nothing: there everybody would have its address, and no share of their own.
fn client_address(peer: IpAddr, trusted: &[Cidr], headers: &HeaderMap) -> Option<IpAddr> {
    let is_trusted = |address: IpAddr| trusted.iter().any(|range| range.contains(address));
    if !is_trusted(peer) {
        return Some(peer).filter(|peer| !peer.is_loopback());
    }
    let named: Vec<&str> = headers
        .get_all("x-forwarded-for")
        .iter()
        .map(|value| value.to_str().unwrap_or_default())
        .flat_map(|value| value.split(','))
        .collect();
    for name in named.iter().rev() {
        // What is no address was not written by a proxy, and nothing before it counts.
        let address: IpAddr = name.trim().parse().ok()?;
        if !is_trusted(address) {
            return Some(address.to_canonical());
        }
    }
    None
}

/// A body that must have come to its end in time.
struct Timed {
    body: Body,
    deadline: Pin<Box<Sleep>>,
}

impl Timed {
    fn new(body: Body) -> Self {
        Self {
            body,
            deadline: Box::pin(tokio::time::sleep(BODY_TIMEOUT)),
        }
    }
}

impl HttpBody for Timed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame);
        }
        ready!(self.deadline.as_mut().poll(context));
        Poll::Ready(Some(Err(axum::Error::new("the request's body took too long"))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::post;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;
    use tokio::time::Instant;

    use super::*;

    /// What a server answers to `sent` when nothing more comes, and after how long.
    async fn answer_to(sent: &str) -> (String, Duration) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (_stop, stopped) = watch::channel(false);
        let router = Router::new().route("/", post(async |body: String| body));
        tokio::spawn(serve(listener, router, Vec::new(), stopped));
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(sent.as_bytes()).await.unwrap();
        // So that the server has read what was sent before the paused clock moves on.
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        let before = Instant::now();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        (answer, before.elapsed())
    }

    #[test]
    fn a_proxy_that_is_not_trusted_names_nobody() {
        let trusted: Vec<Cidr> = ["127.0.0.1/32", "10.0.0.0/8"]
            .map(|text| text.parse().unwrap())
            .into();
        for (peer, forwarded, client) in [
            ("192.0.2.1", &["1.2.3.4"][..], Some("192.0.2.1")),
            ("192.0.2.1", &[], Some("192.0.2.1")),
            ("127.0.0.2", &["1.2.3.4"], None),
            ("127.0.0.1", &["1.2.3.4"], Some("1.2.3.4")),
            ("127.0.0.1", &["6.6.6.6, 1.2.3.4"], Some("1.2.3.4")),
            ("127.0.0.1", &["6.6.6.6, 1.2.3.4, 10.1.1.1"], Some("1.2.3.4")),
            ("127.0.0.1", &["6.6.6.6", "1.2.3.4 ,10.1.1.1"], Some("1.2.3.4")),
            ("127.0.0.1", &["1.2.3.4, unknown, 10.1.1.1"], None),
            ("127.0.0.1", &["1.2.3.4, "], None),
            ("127.0.0.1", &["10.1.1.1"], None),
            ("127.0.0.1", &[], None),
            ("127.0.0.1", &["::ffff:1.2.3.4"], Some("1.2.3.4")),
            ("::ffff:127.0.0.1", &["2001:db8::1"], Some("2001:db8::1")),
        ] {
            let mut headers = HeaderMap::new();
            for value in forwarded {
                headers.append("x-forwarded-for", value.parse().unwrap());
            }
            let found = client_address(peer.parse().unwrap(), &trusted, &headers);
            assert_eq!(
                found,
                client.map(|client| client.parse().unwrap()),
                "{peer} {forwarded:?}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_does_not_end_is_not_waited_for() {
        let (answer, after) = answer_to("POST / HTTP/1.1\r\nHost: a").await;
        assert!(!answer.contains("200 OK"), "{answer}");
        assert!(after <= HEAD_TIMEOUT + Duration::from_secs(1), "{after:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_end_is_not_waited_for() {
        let head = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 9\r\n\r\n";
        let (answer, after) = answer_to(&format!("{head}four")).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        assert!(after <= BODY_TIMEOUT + Duration::from_secs(1), "{after:?}");
        let (answer, _) = answer_to(&format!("{head}fournine!")).await;
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.ends_with("fournine!"),
            "{answer}"
        );
    }
}
