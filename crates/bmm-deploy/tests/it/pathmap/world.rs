//! bmm's own port and some servers, as a proxy in front of them finds them; and a client that sends what it likes.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bmm_deploy::pathmap::{Address, PathTable, SocketDir};
use bmm_deploy::{RouterBody, RouterService, Routes, Upstream};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::{Mutex, mpsc};

pub(crate) const DOMAIN: &str = "mcp.example.com";

/// First segments that are bmm's own.
pub(crate) const OWN: [&str; 4] = ["api", "health", "login", "oauth"];

/// What an answer could say about the whole site.
pub(crate) const SITE_HEADERS: [&str; 8] = [
    "set-cookie",
    "clear-site-data",
    "strict-transport-security",
    "service-worker-allowed",
    "alt-svc",
    "nel",
    "report-to",
    "accept-ch",
];

/// Servers that are there. One is called as nginx and Caddy call something of their own, one as long as it may be.
pub(crate) const SLUGS: [&str; 5] = [
    "mine",
    "victim",
    "default",
    "import",
    "a123456789012345678901234567890123456789",
];

type Body = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// Everything behind the proxy.
pub(crate) struct World {
    dir: TempDir,
    /// bmm's own port.
    pub(crate) bmm: SocketAddr,
    /// Where each slug leads.
    pub(crate) table: PathTable,
    pub(crate) calls: Arc<AtomicUsize>,
    /// What a call of `/stream` answers, piece by piece; dropped with the last.
    pub(crate) feed: mpsc::Sender<Bytes>,
    /// What a call of `/upload` has got.
    pub(crate) uploaded: Mutex<mpsc::Receiver<Bytes>>,
}

struct Shared {
    calls: Arc<AtomicUsize>,
    fed: Mutex<Option<mpsc::Receiver<Bytes>>>,
    saw: mpsc::Sender<Bytes>,
}

impl World {
    pub(crate) async fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("bmm-world").tempdir().unwrap();
        let sockets = SocketDir::new(dir.path()).unwrap();
        let (feed, fed) = mpsc::channel(1);
        let (saw, uploaded) = mpsc::channel(64);
        let calls = Arc::new(AtomicUsize::new(0));
        let shared = Arc::new(Shared {
            calls: Arc::clone(&calls),
            fed: Mutex::new(Some(fed)),
            saw,
        });
        let (routes, mut table) = (Routes::new(), PathTable::new());
        for slug in SLUGS {
            let path = dir.path().join(format!("{slug}.sock"));
            let listener = UnixListener::bind(&path).unwrap();
            let shared = Arc::clone(&shared);
            tokio::spawn(async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    let shared = Arc::clone(&shared);
                    tokio::spawn(connection(stream, move |request| {
                        answer(slug, request, Arc::clone(&shared))
                    }));
                }
            });
            routes.set(slug, Upstream::unix(path)).unwrap();
            let slug = slug.parse().unwrap();
            table.insert(slug, sockets.of(&"x".parse().unwrap()).unwrap());
        }
        for (slug, upstream) in &mut table {
            *upstream = sockets.of(slug).unwrap();
        }
        // One whose socket nobody listens on.
        let gone = dir.path().join("gone.sock");
        routes.set("gone", Upstream::unix(&gone)).unwrap();
        table.insert(
            "gone".parse().unwrap(),
            Address::Socket(bmm_deploy::pathmap::SocketPath::new(&gone).unwrap()),
        );

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let bmm = listener.local_addr().unwrap();
        let router = RouterService::new(routes);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let router = router.clone();
                tokio::spawn(connection(stream, move |request| own_or(router.clone(), request)));
            }
        });
        Self {
            dir,
            bmm,
            table,
            calls,
            feed,
            uploaded: Mutex::new(uploaded),
        }
    }

    /// Where the servers' sockets are.
    pub(crate) fn sockets(&self) -> &std::path::Path {
        self.dir.path()
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

async fn connection<I, F, T>(stream: I, service: F)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(Request<Incoming>) -> T,
    T: Future<Output = Result<Response<Body>, Dropped>>,
{
    // An error is a call that was dropped on purpose.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service_fn(service))
        .await;
}

/// The connection ends in the middle.
#[derive(Debug)]
struct Dropped;

impl std::fmt::Display for Dropped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("dropped")
    }
}

impl std::error::Error for Dropped {}

/// bmm's own port: its pages first, then the built-in router, as `bmm up` has them.
async fn own_or(router: RouterService, request: Request<Incoming>) -> Result<Response<Body>, Dropped> {
    let path = request.uri().path();
    let first = path.split('/').nth(1).unwrap_or_default();
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"/-".contains(&byte);
    let own = path == "/"
        || path == "/.well-known/oauth-authorization-server"
        || OWN.contains(&first) && path.bytes().all(is_word) && !path.contains("//");
    if own {
        return Ok(mirrored("bmm", &request));
    }
    Ok(router
        .handle(request)
        .await
        .map(|body: RouterBody| body.boxed_unsync()))
}

async fn answer(
    name: &str,
    request: Request<Incoming>,
    shared: Arc<Shared>,
) -> Result<Response<Body>, Dropped> {
    shared.calls.fetch_add(1, Ordering::SeqCst);
    let whole = |bytes: Bytes| {
        Full::new(bytes)
            .map_err(|never: Infallible| match never {})
            .boxed_unsync()
    };
    match request.uri().path() {
        "/die" => Err(Dropped),
        "/echo" => {
            let bytes = request
                .into_body()
                .collect()
                .await
                .map_err(|_| Dropped)?
                .to_bytes();
            Ok(Response::new(whole(bytes)))
        }
        "/upload" => {
            let mut body = request.into_body();
            while let Some(frame) = body.frame().await {
                let data = frame.map_err(|_| Dropped)?.into_data().map_err(|_| Dropped)?;
                shared.saw.send(data).await.map_err(|_| Dropped)?;
            }
            Ok(Response::new(whole(Bytes::new())))
        }
        kind @ ("/stream" | "/stream/plain" | "/stream/long") => {
            let fed = shared.fed.lock().await.take().expect("one stream");
            let pieces = futures_util::stream::unfold(fed, async |mut fed| {
                let bytes = fed.recv().await?;
                Some((Ok(Frame::data(bytes)), fed))
            });
            let response = match kind {
                "/stream" => Response::builder().header("content-type", "text/event-stream"),
                "/stream/long" => Response::builder().header("content-length", "40"),
                _ => Response::builder().header("content-type", "application/json"),
            };
            Ok(response
                .body(BodyExt::boxed_unsync(StreamBody::new(pieces)))
                .unwrap())
        }
        // Words to nginx, which would lead the request on to another server.
        "/accel" => Ok(Response::builder()
            .header("x-accel-redirect", "/victim/mcp")
            .header("x-accel-buffering", "yes")
            .header("location", "/victim/mcp")
            .header("connection", "x-inner")
            .body(whole("accel".into()))
            .unwrap()),
        "/404" => Ok(Response::builder()
            .status(404)
            .header("x-own", "1")
            .body(whole("my own".into()))
            .unwrap()),
        "/502" => Ok(Response::builder()
            .status(502)
            .body(whole("my own".into()))
            .unwrap()),
        _ => Ok(mirrored(name, &request)),
    }
}

fn mirrored(name: &str, request: &Request<Incoming>) -> Response<Body> {
    let headers: Vec<Value> = request
        .headers()
        .iter()
        .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]))
        .collect();
    let seen = json!({
        "server": name,
        "method": request.method().as_str(),
        "target": request.uri().to_string(),
        "headers": headers,
    });
    let body = Full::new(Bytes::from(seen.to_string())).map_err(|never: Infallible| match never {});
    let mut response = Response::builder()
        .status(StatusCode::OK)
        .header("content-type", "application/json");
    for header in SITE_HEADERS {
        response = response.header(header, format!("of-{name}=1"));
    }
    response.body(body.boxed_unsync()).unwrap()
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    /// 0 if the connection was closed instead.
    pub(crate) status: u16,
    pub(crate) headers: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Which server answered, and to what.
    pub(crate) fn seen(&self) -> Option<(String, String)> {
        let json = self.json();
        let text = |name: &str| json.get(name).and_then(Value::as_str).map(str::to_owned);
        Some((text("server")?, text("target")?))
    }

    /// The headers that the server saw, but for those every client sends.
    pub(crate) fn seen_headers(&self) -> Vec<(String, String)> {
        let json = self.json();
        let mut headers: Vec<(String, String)> =
            serde_json::from_value(json.get("headers").cloned().unwrap_or_default()).unwrap();
        headers.sort();
        headers
    }
}

/// Sends bytes, and reads one answer.
pub(crate) async fn exchange(address: SocketAddr, request: &[u8]) -> Answer {
    let exchanged = async {
        // A proxy that reloads may turn away who waits to be accepted just then.
        let Ok(mut stream) = TcpStream::connect(address).await else {
            return Answer {
                status: 0,
                headers: String::new(),
                body: Vec::new(),
            };
        };
        // What refuses a request early may close before it has all of it.
        let _ = stream.write_all(request).await;
        read_answer(&mut stream).await
    };
    tokio::time::timeout(Duration::from_secs(20), exchanged)
        .await
        .unwrap_or_else(|_| panic!("no answer to {}", String::from_utf8_lossy(request)))
}

/// `GET target`, with more header lines.
pub(crate) async fn get_with(address: SocketAddr, target: &str, more: &str) -> Answer {
    let request = format!("GET {target} HTTP/1.1\r\nHost: {DOMAIN}\r\nConnection: close\r\n{more}\r\n");
    exchange(address, request.as_bytes()).await
}

pub(crate) async fn get(address: SocketAddr, target: &str) -> Answer {
    get_with(address, target, "").await
}

pub(crate) async fn read_head(stream: &mut TcpStream) -> (String, Vec<u8>) {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        let mut part = [0; 4096];
        match stream.read(&mut part).await {
            Ok(0) | Err(_) => return (String::from_utf8_lossy(&bytes).into_owned(), Vec::new()),
            Ok(count) => bytes.extend(&part[..count]),
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    (head, bytes[end + 4..].to_vec())
}

async fn read_answer(stream: &mut TcpStream) -> Answer {
    let (headers, mut body) = read_head(stream).await;
    let status = headers
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .unwrap_or(0);
    let length: Option<usize> = headers
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .and_then(|length| length.parse().ok());
    while length.is_none_or(|length| body.len() < length) {
        let mut part = vec![0; 64 * 1024];
        match stream.read(&mut part).await {
            Ok(0) | Err(_) => break,
            Ok(count) => body.extend(&part[..count]),
        }
    }
    if headers.contains("transfer-encoding: chunked") {
        body = dechunked(&body);
    }
    Answer {
        status,
        headers,
        body,
    }
}

fn dechunked(mut chunked: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = chunked.windows(2).position(|two| two == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&chunked[..end]).unwrap(), 16).unwrap();
        chunked = &chunked[end + 2..];
        if size == 0 {
            break;
        }
        whole.extend(&chunked[..size]);
        chunked = &chunked[size + 2..];
    }
    whole
}
