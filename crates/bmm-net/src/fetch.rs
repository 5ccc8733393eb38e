//! One HTTPS request to a host that somebody else named: over a checked connection, within bounds, and never elsewhere.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::dial::{DialError, Dialer};
use crate::host::{HostError, normalize_host};

/// Most bytes of a response's head, and most fields in it.
const MAX_HEAD_BYTES: usize = 32 * 1024;
const MAX_HEADERS: usize = 100;

/// Sends single requests to public hosts by https, each over a connection of its own. Cheap to clone.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use bytes::Bytes;
/// let request = http::Request::get("https://client.example.com/oauth/metadata.json").body(Bytes::new())?;
/// let response = bmm_net::Fetcher::new().fetch(request, bmm_net::FetchLimits::default()).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Fetcher {
    dialer: Dialer,
    tls: Option<Arc<ClientConfig>>,
}

/// What one request may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchLimits {
    /// Most bytes of the response's body. A longer one is an error, not a part.
    pub max_bytes: usize,
    /// For everything together, from the look-up of the name to the last byte.
    pub timeout: Duration,
}

/// 64 KiB and 5 s: enough for a metadata document or a key set.
impl Default for FetchLimits {
    fn default() -> Self {
        Self {
            max_bytes: 64 * 1024,
            timeout: Duration::from_secs(5),
        }
    }
}

/// How [`Fetcher::insecure_with`] secures its connections.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Transport {
    /// TLS, with the certification authorities that browsers trust (Mozilla's list, compiled in).
    PublicRoots,
    /// TLS, with these certification authorities alone, each a certificate in DER.
    Roots(Vec<Vec<u8>>),
    /// No TLS at all, whether the URL says `https` or `http`. Only connections to this machine's loopback addresses are used.
    PlainLoopback,
}

/// Why there is no response. None of the texts says more about the network than that it did not work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The URL is not absolute, or not https.
    #[error("not an absolute https URL")]
    NotHttps,
    /// The URL contains user information.
    #[error("the URL contains user information")]
    UserInfo,
    /// The URL's host is not a host name.
    #[error(transparent)]
    Host(#[from] HostError),
    /// No connection, or none that is allowed.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// No TLS: the certificate is not for this host, or nobody vouches for it, or the peer speaks something else.
    #[error("no TLS connection")]
    Tls(#[source] io::Error),
    /// The peer does not speak HTTP/1.1, or closed early.
    #[error("no HTTP response")]
    Http(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The answer is a redirect. It is not followed.
    #[error("the answer is a redirect ({status}), which is not followed")]
    Redirect {
        /// 300 to 399.
        status: u16,
    },
    /// The body is larger than [`FetchLimits::max_bytes`].
    #[error("the answer is larger than {max_bytes} bytes")]
    TooLarge {
        /// The limit.
        max_bytes: usize,
    },
    /// It took longer than [`FetchLimits::timeout`].
    #[error("the answer took too long")]
    Timeout,
    /// A certificate given as a root cannot be read.
    #[error("a root certificate cannot be read")]
    BadRoot,
}

impl Fetcher {
    /// Public hosts only, by TLS with the certification authorities that browsers trust.
    pub fn new() -> Self {
        Self {
            dialer: Dialer::new(),
            tls: Some(tls(public_roots())),
        }
    }

    /// Another way to connect and to trust: for tests, and for operators with certification authorities or networks of their own.
    /// Fails if a root certificate cannot be read.
    pub fn insecure_with(dialer: Dialer, transport: Transport) -> Result<Self, FetchError> {
        let tls = match transport {
            Transport::PublicRoots => Some(tls(public_roots())),
            Transport::Roots(certificates) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates {
                    roots
                        .add(CertificateDer::from(certificate))
                        .map_err(|_| FetchError::BadRoot)?;
                }
                Some(tls(roots))
            }
            Transport::PlainLoopback => None,
        };
        Ok(Self { dialer, tls })
    }

    /// Sends one request and reads the whole answer, whatever its status, except that a redirect is an error. `Host` and `Connection`
    /// are set here; of the URL only host, port, path and query are used.
    pub async fn fetch(
        &self,
        request: Request<Bytes>,
        limits: FetchLimits,
    ) -> Result<Response<Bytes>, FetchError> {
        match tokio::time::timeout(limits.timeout, self.exchange(request, limits.max_bytes)).await {
            Ok(result) => result,
            Err(_) => Err(FetchError::Timeout),
        }
    }

    async fn exchange(
        &self,
        request: Request<Bytes>,
        max_bytes: usize,
    ) -> Result<Response<Bytes>, FetchError> {
        let destination = Destination::of(request.uri(), self.tls.is_none())?;
        let request = destination.request(request);
        let stream = self.dialer.connect(&destination.host, destination.port).await?;
        match &self.tls {
            Some(config) => {
                let name =
                    ServerName::try_from(destination.host.clone()).map_err(|_| FetchError::NotHttps)?;
                let connector = TlsConnector::from(Arc::clone(config));
                let stream = connector.connect(name, stream).await.map_err(FetchError::Tls)?;
                converse(stream, request, max_bytes).await
            }
            None => converse(loopback_only(stream)?, request, max_bytes).await,
        }
    }
}

impl Default for Fetcher {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetcher")
            .field("dialer", &self.dialer)
            .field("tls", &self.tls.is_some())
            .finish()
    }
}

/// Where a URL leads, read once: what is connected to, what the certificate must be for, and what `Host` says are one string.
struct Destination {
    host: String,
    port: u16,
    path: PathAndQuery,
}

impl Destination {
    fn of(uri: &Uri, plain: bool) -> Result<Self, FetchError> {
        let https = uri.scheme() == Some(&Scheme::HTTPS);
        let http = plain && uri.scheme() == Some(&Scheme::HTTP);
        if !(https || http) {
            return Err(FetchError::NotHttps);
        }
        let authority = uri.authority().ok_or(FetchError::NotHttps)?;
        if authority.as_str().contains('@') {
            return Err(FetchError::UserInfo);
        }
        let host = normalize_host(authority.host())?;
        // An authority that ends in a colon, or whose port is no number, has no `port_u16`, and must not mean the default.
        let default = if https { 443 } else { 80 };
        let port = match authority.port() {
            Some(port) => port.as_u16(),
            None if authority.as_str().len() == authority.host().len() => default,
            None => return Err(FetchError::NotHttps),
        };
        Ok(Self {
            host,
            port,
            path: uri
                .path_and_query()
                .cloned()
                .unwrap_or_else(|| PathAndQuery::from_static("/")),
        })
    }

    /// The request in origin form (RFC 9112 section 3.2.1).
    fn request(&self, request: Request<Bytes>) -> Request<Full<Bytes>> {
        let (mut parts, body) = request.into_parts();
        let host = match self.port {
            443 => self.host.clone(),
            port => format!("{}:{port}", self.host),
        };
        parts.uri = Uri::from(self.path.clone());
        parts.version = http::Version::HTTP_11;
        let host = HeaderValue::from_str(&host).expect("a normalised host is plain ASCII");
        parts.headers.insert(header::HOST, host);
        parts
            .headers
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
        Request::from_parts(parts, Full::new(body))
    }
}

/// One request and its answer. The connection is driven here and closed at the end; nothing goes on in the background.
async fn converse<S>(
    stream: S,
    request: Request<Full<Bytes>>,
    max_bytes: usize,
) -> Result<Response<Bytes>, FetchError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(no_http)?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(no_http)?;
        if response.status().is_redirection() {
            return Err(FetchError::Redirect {
                status: response.status().as_u16(),
            });
        }
        let (parts, body) = response.into_parts();
        Ok(Response::from_parts(parts, read(body, max_bytes).await?))
    };
    drive(exchange, connection).await
}

/// Polls `connection` until `exchange` is done; a connection that ends first leaves what it had read.
async fn drive<T>(exchange: impl Future<Output = T>, connection: impl Future) -> T {
    let mut exchange = pin!(exchange);
    tokio::select! {
        done = &mut exchange => done,
        _ = connection => exchange.await,
    }
}

/// The whole body. One that says it is too large is not read at all.
async fn read(mut body: hyper::body::Incoming, max_bytes: usize) -> Result<Bytes, FetchError> {
    use hyper::body::Body as _;
    let too_large = FetchError::TooLarge { max_bytes };
    if body.size_hint().lower() > max_bytes as u64 {
        return Err(too_large);
    }
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(no_http)?;
        let Some(data) = frame.data_ref() else {
            continue;
        };
        if whole.len() + data.len() > max_bytes {
            return Err(too_large);
        }
        whole.extend_from_slice(data);
    }
    Ok(whole.freeze())
}

fn loopback_only(stream: TcpStream) -> Result<TcpStream, FetchError> {
    match stream.peer_addr() {
        Ok(peer) if peer.ip().is_loopback() => Ok(stream),
        _ => Err(FetchError::NotHttps),
    }
}

fn public_roots() -> RootCertStore {
    webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect()
}

fn tls(roots: RootCertStore) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has what TLS 1.2 and 1.3 need")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

fn no_http(error: hyper::Error) -> FetchError {
    FetchError::Http(error.into())
}
