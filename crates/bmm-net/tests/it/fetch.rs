//! One request, to peers of our own on loopback.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bmm_net::{Dialer, FetchError, FetchLimits, Fetcher, Transport, address};
use bytes::Bytes;
use http::Request;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

/// A peer that writes one answer to every request and tells what it read.
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    pub(crate) requests: mpsc::UnboundedReceiver<String>,
    pub(crate) root: Vec<u8>,
}

impl Peer {
    pub(crate) async fn plain(answer: impl Into<Vec<u8>>) -> Self {
        Self::start(answer.into(), None).await
    }

    pub(crate) async fn tls(name: &str, answer: impl Into<Vec<u8>>) -> Self {
        Self::start(answer.into(), Some(name)).await
    }

    async fn start(answer: Vec<u8>, name: Option<&str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, requests) = mpsc::unbounded_channel();
        let (acceptor, root) = name.map(acceptor).unzip();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, answer, seen) = (acceptor.clone(), answer.clone(), seen.clone());
                tokio::spawn(async move {
                    match acceptor {
                        None => converse(stream, &answer, &seen).await,
                        Some(acceptor) => match acceptor.accept(stream).await {
                            Ok(stream) => converse(stream, &answer, &seen).await,
                            Err(_) => seen.send("no TLS".to_owned()).unwrap_or_default(),
                        },
                    }
                });
            }
        });
        Self {
            address,
            requests,
            root: root.unwrap_or_default(),
        }
    }

    /// Whatever name is asked for, it is this peer.
    pub(crate) fn dialer(&self) -> Dialer {
        answering(vec![self.address])
    }

    pub(crate) fn fetcher(&self) -> Fetcher {
        let transport = match self.root.is_empty() {
            true => Transport::PlainLoopback,
            false => Transport::Roots(vec![self.root.clone()]),
        };
        Fetcher::insecure_with(self.dialer(), transport).unwrap()
    }
}

/// The policy of production, with loopback let through since that is where tests listen.
pub(crate) fn answering(addresses: Vec<SocketAddr>) -> Dialer {
    let but_loopback = |ip: IpAddr| match ip.is_loopback() {
        true => None,
        false => address::refusal(ip),
    };
    Dialer::insecure_with(
        move |_, _| {
            let addresses = addresses.clone();
            Box::pin(async move { Ok(addresses) })
        },
        but_loopback,
    )
}

fn acceptor(name: &str) -> (TlsAcceptor, Vec<u8>) {
    let own = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), own.cert.der().to_vec())
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    answer: &[u8],
    seen: &mpsc::UnboundedSender<String>,
) {
    let mut request = Vec::new();
    while !complete(&request) {
        match stream.read_buf(&mut request).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
    let _ = seen.send(String::from_utf8(request).unwrap());
    let _ = stream.write_all(answer).await;
    let _ = stream.flush().await;
    // Held open: the other side must be able to end it.
    let _ = stream.read_u8().await;
}

fn complete(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse().unwrap());
    body.len() >= length
}

pub(crate) fn get(url: &str) -> Request<Bytes> {
    Request::get(url).body(Bytes::new()).unwrap()
}

pub(crate) fn limits(max_bytes: usize) -> FetchLimits {
    FetchLimits {
        max_bytes,
        timeout: Duration::from_secs(5),
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";

#[tokio::test]
async fn a_request_goes_to_the_host_by_tls_and_its_answer_comes_back() {
    let mut peer = Peer::tls("api.example.com", OK).await;
    let response = peer
        .fetcher()
        .fetch(get("https://api.example.com/a/b?c=d"), FetchLimits::default())
        .await
        .unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.body()[..]),
        (200, &b"{}"[..])
    );
    assert_eq!(response.headers()["content-type"], "application/json");
    let request = peer.requests.recv().await.unwrap();
    assert!(request.starts_with("GET /a/b?c=d HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("host: api.example.com\r\n"), "{request}");
    assert!(request.contains("connection: close\r\n"), "{request}");
}

#[tokio::test]
async fn a_form_is_posted_and_an_error_status_is_an_answer() {
    let answer = "HTTP/1.1 400 Bad Request\r\ncontent-length: 5\r\n\r\nwrong";
    let mut peer = Peer::tls("api.example.com", answer).await;
    let request = Request::post("https://API.example.com.:8443/token")
        .header("authorization", "Basic eA==")
        .header("host", "evil.example")
        .body(Bytes::from_static(b"a=b"))
        .unwrap();
    let response = peer
        .fetcher()
        .fetch(request, FetchLimits::default())
        .await
        .unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.body()[..]),
        (400, &b"wrong"[..])
    );
    let request = peer.requests.recv().await.unwrap();
    assert!(request.starts_with("POST /token HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("host: api.example.com:8443\r\n"), "{request}");
    assert!(!request.contains("evil"), "{request}");
    assert!(request.contains("authorization: Basic eA==\r\n") && request.ends_with("\r\n\r\na=b"));
}

#[tokio::test]
async fn a_body_of_exactly_the_limit_is_taken() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n12345678",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\n1234\r\n4\r\n5678\r\n0\r\n\r\n",
    ] {
        let fetcher = Peer::plain(answer).await.fetcher();
        let response = fetcher.fetch(get("http://a.example/"), limits(8)).await.unwrap();
        assert_eq!(response.body(), "12345678");
        let error = fetcher
            .fetch(get("http://a.example/"), limits(7))
            .await
            .unwrap_err();
        assert!(matches!(error, FetchError::TooLarge { max_bytes: 7 }), "{error}");
    }
}

#[tokio::test]
async fn a_peer_that_does_not_speak_http_is_an_error() {
    for answer in [
        "",
        "SSH-2.0-x\r\n\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort",
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fetcher = Fetcher::insecure_with(
            answering(vec![listener.local_addr().unwrap()]),
            Transport::PlainLoopback,
        )
        .unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 1024];
            let _ = stream.read(&mut head).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        });
        let error = fetcher
            .fetch(get("http://a.example/"), limits(100))
            .await
            .unwrap_err();
        assert!(matches!(error, FetchError::Http(_)), "{answer:?} {error:?}");
    }
}

#[tokio::test]
async fn a_root_that_is_no_certificate_is_refused() {
    let made = Fetcher::insecure_with(Dialer::new(), Transport::Roots(vec![b"x".to_vec()]));
    assert!(matches!(made, Err(FetchError::BadRoot)));
}
