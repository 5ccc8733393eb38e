//! How the broker gets a byte stream to a host: by dialling itself, or through the egress door.
//!
//! A server has one client, whose connections its calls share: HTTP/2 where the host offers it (ALPN), HTTP/1.1 with
//! keep-alive elsewhere, and never more connections to a host than [`MAX_PER_HOST`].

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bmm_net::Dialer;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt as _, Empty, Full, Limited};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Opens one stream to the egress proxy.
pub(crate) type OpenEgress = Arc<dyn Fn() -> BoxFuture<'static, io::Result<UnixStream>> + Send + Sync>;

pub(crate) type HttpsClient = Client<HttpsConnector<Dial>, Full<Bytes>>;

/// Longest head of an answer to CONNECT.
const MAX_CONNECT_HEAD: usize = 8 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Connections to one host and port at a time, those that are idle or being made included. More wait.
const MAX_PER_HOST: usize = 8;
const MAX_IDLE: Duration = Duration::from_secs(30);
/// A connection that many streams share must not hold all of them up when its other end is gone without a word.
const PING_EVERY: Duration = Duration::from_secs(5);
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest head of an answer in HTTP/2, decompressed.
const MAX_HEADER_LIST: u32 = 64 * 1024;

/// The way out of a runner. Cheap to clone.
#[derive(Clone)]
pub struct Connector {
    way: Way,
    tls: Arc<ClientConfig>,
}

#[derive(Clone)]
enum Way {
    Closed,
    Direct(Dialer),
    Egress(OpenEgress),
}

impl Connector {
    /// No way out: every fetch fails. The default of a [`Runner`](crate::Runner).
    pub fn closed() -> Self {
        Self::with_way(Way::Closed)
    }

    /// Dials by itself, with the address rules of [`Dialer`].
    pub fn direct(dialer: Dialer) -> Self {
        Self::with_way(Way::Direct(dialer))
    }

    /// Asks a proxy for every connection: `CONNECT host:port` in HTTP/1.1 on a stream that `open` returns.
    pub fn egress(
        open: impl Fn() -> BoxFuture<'static, io::Result<UnixStream>> + Send + Sync + 'static,
    ) -> Self {
        Self::with_way(Way::Egress(Arc::new(open)))
    }

    /// Trusts these certificates (DER) in place of the public ones: for tests.
    pub fn insecure_with_trust_roots<I, C>(mut self, roots: I) -> Self
    where
        I: IntoIterator<Item = C>,
        C: Into<Vec<u8>>,
    {
        let mut store = rustls::RootCertStore::empty();
        for root in roots {
            // A certificate that does not parse trusts nobody, which is what the caller will see.
            let _ = store.add(CertificateDer::from(root.into()));
        }
        self.tls = Arc::new(client_config(store));
        self
    }

    pub(crate) fn client(&self) -> HttpsClient {
        let https = HttpsConnectorBuilder::new()
            .with_tls_config((*self.tls).clone())
            .https_only()
            .enable_http1()
            .enable_http2()
            .wrap_connector(Dial {
                way: self.way.clone(),
                places: Arc::default(),
            });
        Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(MAX_PER_HOST)
            .pool_idle_timeout(MAX_IDLE)
            // Without a timer, what is idle for too long is closed only when somebody asks for it.
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .http2_keep_alive_interval(PING_EVERY)
            .http2_keep_alive_timeout(PING_TIMEOUT)
            .http2_max_header_list_size(MAX_HEADER_LIST)
            .build(https)
    }

    fn with_way(way: Way) -> Self {
        let mut roots = rustls::RootCertStore::empty();
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        Self {
            way,
            tls: Arc::new(client_config(roots)),
        }
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.way {
            Way::Closed => "Connector::closed",
            Way::Direct(_) => "Connector::direct",
            Way::Egress(_) => "Connector::egress",
        })
    }
}

/// `GET path` on one stream of the egress door: what the host answers itself (the JWKS).
pub(crate) async fn get_from_host(open: &OpenEgress, path: &str, max_bytes: usize) -> io::Result<Bytes> {
    let stream = open().await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    let request = http::Request::get(path)
        .header(http::header::HOST, "host")
        .body(Empty::<Bytes>::new())
        .map_err(io::Error::other)?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(io::Error::other)?;
        if !response.status().is_success() {
            return Err(io::Error::other(format!(
                "the host answered {} to GET {path}",
                response.status()
            )));
        }
        let body = Limited::new(response.into_body(), max_bytes)
            .collect()
            .await
            .map_err(io::Error::other)?;
        Ok(body.to_bytes())
    };
    tokio::pin!(connection);
    tokio::pin!(exchange);
    // Both in one task, so that nothing is left behind when the caller gives up.
    tokio::select! {
        answer = &mut exchange => answer,
        ended = &mut connection => match ended {
            Ok(()) => exchange.await,
            Err(error) => Err(io::Error::other(error)),
        },
    }
}

fn client_config(roots: rustls::RootCertStore) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider supports TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// Connects for the client's pool.
#[derive(Clone)]
pub(crate) struct Dial {
    way: Way,
    places: Arc<Places>,
}

/// Counts the connections of each host.
#[derive(Default)]
struct Places(Mutex<HashMap<(String, u16), Arc<Semaphore>>>);

impl Places {
    /// A place for one more connection, as soon as there is one.
    async fn take(&self, host: &str, port: u16) -> io::Result<OwnedSemaphorePermit> {
        let of_host = {
            let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // Hosts that nobody is connected to, nor waits for: a wildcard in an allow-list names any number of them.
            places.retain(|_, of_host| Arc::strong_count(of_host) > 1);
            let of_host = places.entry((host.to_owned(), port));
            Arc::clone(of_host.or_insert_with(|| Arc::new(Semaphore::new(MAX_PER_HOST))))
        };
        of_host.acquire_owned().await.map_err(io::Error::other)
    }
}

impl tower_service::Service<http::Uri> for Dial {
    type Response = Stream;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Stream>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: http::Uri) -> Self::Future {
        let (way, places) = (self.way.clone(), Arc::clone(&self.places));
        Box::pin(async move {
            let host = uri.host().unwrap_or_default().to_owned();
            let port = uri.port_u16().unwrap_or(443);
            let place = places.take(&host, port).await?;
            let stream: Box<dyn Io> = match way {
                Way::Closed => return Err(io::Error::other("this server has no network")),
                Way::Direct(dialer) => Box::new(
                    dialer
                        .connect(&host, port)
                        .await
                        .map_err(|error| io::Error::other(error.to_string()))?,
                ),
                Way::Egress(open) => {
                    let connected = tokio::time::timeout(CONNECT_TIMEOUT, async {
                        let mut stream = open().await?;
                        connect_through(&mut stream, &host, port).await?;
                        Ok::<_, io::Error>(stream)
                    });
                    Box::new(
                        connected
                            .await
                            .map_err(|_| io::Error::other("connecting took too long"))??,
                    )
                }
            };
            Ok(Stream(TokioIo::new(stream), place))
        })
    }
}

async fn connect_through(stream: &mut UnixStream, host: &str, port: u16) -> io::Result<()> {
    let request = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::with_capacity(256);
    // Byte by byte, so that nothing of the tunnel is taken; the head is short and read once per connection.
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= MAX_CONNECT_HEAD {
            return Err(io::Error::other("the egress proxy's answer is too long"));
        }
        head.push(stream.read_u8().await?);
    }
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    match line.split(' ').nth(1) {
        Some("200") => Ok(()),
        Some("403") => Err(io::Error::other(format!(
            "the egress proxy does not allow {host}:{port}"
        ))),
        _ => Err(io::Error::other(format!(
            "the egress proxy could not connect to {host}:{port}"
        ))),
    }
}

trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// A connected stream, and its place among those to its host.
pub(crate) struct Stream(
    TokioIo<Box<dyn Io>>,
    #[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit,
);

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
