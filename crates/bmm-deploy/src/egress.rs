//! A server's only way out: a proxy for `CONNECT`, reached through the server's own door.
//!
//! The door is the server's identity, so there is no credential to steal and no address to forge. A name is checked against
//! the server's allow-list, resolved here, and every address of it checked (`bmm-net`); the server never learns or
//! chooses an address.

use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bmm_cage::door::DoorError;
use bmm_cage::door::egress::EgressRequests;
use bmm_net::{DialError, Dialer, HostPattern};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::tunnel;

/// Bounds of one server's way out.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct EgressLimits {
    /// Streams at a time; a server that wants more waits. 64: more than the concurrent fetches of a busy server.
    pub streams: usize,
    /// How long a stream may take to say what it wants.
    pub head_timeout: Duration,
    /// How long a tunnel may be silent in both directions. Longer than the keep-alive of common services.
    pub idle_timeout: Duration,
    /// Longest request head.
    pub head_bytes: usize,
}

impl Default for EgressLimits {
    fn default() -> Self {
        Self {
            streams: 64,
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(120),
            head_bytes: 16 * 1024,
        }
    }
}

/// The proxy of all servers of one host. Cheap to clone.
#[derive(Clone)]
pub struct EgressProxy {
    dialer: Dialer,
    jwks: Arc<dyn Fn() -> BoxFuture<'static, Bytes> + Send + Sync>,
    revocations: Option<Arc<Revocations>>,
    limits: EgressLimits,
}

type Revocations = dyn Fn(Option<u64>) -> BoxFuture<'static, Option<Bytes>> + Send + Sync;

impl EgressProxy {
    /// Dials with `dialer`. `jwks` gives the host's JSON Web Key Set, which servers ask for with `GET /jwks`.
    pub fn new<F>(dialer: Dialer, jwks: F) -> Self
    where
        F: Fn() -> BoxFuture<'static, Bytes> + Send + Sync + 'static,
    {
        Self {
            dialer,
            jwks: Arc::new(jwks),
            revocations: None,
            limits: EgressLimits::default(),
        }
    }

    /// Gives the host's feed of revoked grants, which servers follow with `GET /revocations?after=<n>`: what came after the number;
    /// or all, at once, if they name none. It may wait 20 s for news. `None` means that it cannot say.
    pub fn with_revocations<F>(mut self, revocations: F) -> Self
    where
        F: Fn(Option<u64>) -> BoxFuture<'static, Option<Bytes>> + Send + Sync + 'static,
    {
        self.revocations = Some(Arc::new(revocations));
        self
    }

    /// Other bounds.
    pub fn with_limits(mut self, limits: EgressLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Serves one server's door until the server is gone or breaks the door's rules. Streams end with it.
    pub async fn serve(self, slug: String, allowed: Arc<[HostPattern]>, mut requests: EgressRequests) {
        let places = Arc::new(Semaphore::new(self.limits.streams));
        let mut streams = JoinSet::new();
        loop {
            while streams.try_join_next().is_some() {}
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            match requests.accept().await {
                Ok(Some(stream)) => {
                    let session = Session {
                        proxy: self.clone(),
                        slug: slug.clone(),
                        allowed: Arc::clone(&allowed),
                    };
                    streams.spawn(async move {
                        session.run(stream).await;
                        drop(place);
                    });
                }
                Ok(None) => return,
                // Ours to mend, as when descriptors run out: the server was told that it is busy here.
                Err(DoorError::Io(error)) if !is_broken(&error) => {
                    tracing::warn!(slug, %error, "cannot open a way out");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(error) => {
                    tracing::warn!(slug, %error, "the server's way out is closed");
                    return;
                }
            }
        }
    }
}

impl fmt::Debug for EgressProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EgressProxy")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// One stream: one request.
#[derive(Clone)]
struct Session {
    proxy: EgressProxy,
    slug: String,
    allowed: Arc<[HostPattern]>,
}

/// A tunnel that has been granted, once the answer that says so is on its way.
type Granted = Arc<Mutex<Option<(OnUpgrade, TcpStream)>>>;

impl Session {
    async fn run(self, stream: UnixStream) {
        let limits = self.proxy.limits.clone();
        let granted = Granted::default();
        let service = service_fn(|request| {
            let (session, granted) = (self.clone(), Arc::clone(&granted));
            async move { Ok::<_, Infallible>(session.answer(request, &granted).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head_timeout)
            .max_buf_size(limits.head_bytes)
            .max_headers(64)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        // One request of bounded size with a bounded answer: a peer that does not read must not hold the place.
        let bound = limits.head_timeout * 2 + Duration::from_secs(20);
        if !matches!(timeout(bound, connection).await, Ok(Ok(()))) {
            return;
        }
        let granted = granted.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((upgrade, upstream)) = granted
            && let Ok(upgraded) = upgrade.await
        {
            self.tunnel(upgraded, upstream, limits.idle_timeout).await;
        }
    }

    async fn tunnel(&self, upgraded: Upgraded, mut upstream: TcpStream, idle: Duration) {
        let Ok(parts) = upgraded.downcast::<TokioIo<UnixStream>>() else {
            return;
        };
        if upstream.write_all(&parts.read_buf).await.is_err() {
            return;
        }
        let (sent, received) = tunnel::copy(parts.io.into_inner(), upstream, idle).await;
        tracing::debug!(slug = self.slug, sent, received, "tunnel closed");
    }

    async fn answer(&self, mut request: Request<Incoming>, granted: &Granted) -> Response<Full<Bytes>> {
        if request.method() == Method::CONNECT {
            return match self.connect(&request).await {
                Ok(upstream) => {
                    let upgrade = hyper::upgrade::on(&mut request);
                    *granted.lock().unwrap_or_else(PoisonError::into_inner) = Some((upgrade, upstream));
                    Response::new(Full::default())
                }
                Err(refusal) => refusal.into_response(),
            };
        }
        if request.method() != Method::GET {
            let mut response = Refusal::Method.into_response();
            response
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("CONNECT, GET"));
            return response;
        }
        self.page(request.uri())
            .await
            .unwrap_or_else(Refusal::into_response)
    }

    /// What the host answers itself.
    async fn page(&self, uri: &Uri) -> Result<Response<Full<Bytes>>, Refusal> {
        // With an authority it asks for somebody else's page.
        if uri.authority().is_some() {
            return Err(Refusal::Page);
        }
        let (content_type, body) = match (uri.path(), &self.proxy.revocations) {
            ("/jwks", _) => ("application/jwk-set+json", (self.proxy.jwks)().await),
            ("/revocations", Some(revocations)) => {
                let after = match uri.query() {
                    None => None,
                    Some(query) => {
                        let number = query.strip_prefix("after=").and_then(|after| after.parse().ok());
                        Some(number.ok_or(Refusal::Page)?)
                    }
                };
                let page = revocations(after).await.ok_or(Refusal::Unavailable)?;
                ("application/json", page)
            }
            _ => return Err(Refusal::Page),
        };
        let mut response = Response::new(Full::from(body));
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        Ok(response)
    }

    async fn connect(&self, request: &Request<Incoming>) -> Result<TcpStream, Refusal> {
        let authority = request.uri().authority().ok_or(Refusal::Authority)?;
        let (host, port) = match authority.port_u16() {
            Some(port) if !authority.as_str().contains('@') => (authority.host(), port),
            _ => return Err(Refusal::Authority),
        };
        if !self.allowed.iter().any(|pattern| pattern.matches(host, port)) {
            tracing::warn!(
                slug = self.slug,
                host,
                port,
                "a host that is not on the server's list"
            );
            return Err(Refusal::Host);
        }
        self.proxy.dialer.connect(host, port).await.map_err(|error| {
            if let DialError::Refused {
                host,
                address,
                reason,
            } = &error
            {
                tracing::warn!(slug = self.slug, host, %address, reason, "an address that is out of reach");
                return Refusal::Address;
            }
            tracing::info!(slug = self.slug, %error, "cannot connect");
            match error {
                DialError::ResolveTimeout { .. } | DialError::ConnectTimeout { .. } => Refusal::TooSlow,
                _ => Refusal::Unreachable,
            }
        })
    }
}

/// Why there is no tunnel. The words go to the server, and with them to whoever wrote its tools.
#[derive(Debug, Clone, Copy)]
enum Refusal {
    Method,
    Page,
    Unavailable,
    Authority,
    Host,
    Address,
    Unreachable,
    TooSlow,
}

impl Refusal {
    fn into_response(self) -> Response<Full<Bytes>> {
        let (status, error, message) = match self {
            Self::Method => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "only CONNECT host:port",
            ),
            Self::Page => (StatusCode::FORBIDDEN, "forbidden", "only CONNECT host:port"),
            Self::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "the host cannot say now",
            ),
            Self::Authority => (StatusCode::FORBIDDEN, "forbidden", "only CONNECT host:port"),
            Self::Host => (
                StatusCode::FORBIDDEN,
                "host_not_allowed",
                "the host and port are not among the spec's allowedDomains",
            ),
            Self::Address => (
                StatusCode::FORBIDDEN,
                "address_not_allowed",
                "the host resolves to an address that is not public",
            ),
            Self::Unreachable => (
                StatusCode::BAD_GATEWAY,
                "unreachable",
                "cannot resolve or connect to the host",
            ),
            Self::TooSlow => (StatusCode::GATEWAY_TIMEOUT, "timeout", "the host does not answer"),
        };
        let json = serde_json::json!({ "error": error, "message": message }).to_string();
        let mut response = Response::new(Full::from(json));
        *response.status_mut() = status;
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}

fn is_broken(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset, NotConnected};
    matches!(error.kind(), BrokenPipe | ConnectionReset | NotConnected)
}
