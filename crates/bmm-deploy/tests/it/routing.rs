//! The built-in router in front of small servers on Unix sockets.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bmm_deploy::{RouterBody, RouterService, Routes, Upstream};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Channel, Full, StreamBody};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tower_service::Service;

use crate::{eventually, trials};

trials!(
    an_unknown_slug_is_a_404_as_json,
    the_prefix_is_stripped_and_the_query_kept,
    the_path_inserted_metadata_is_rewritten,
    the_host_header_stays_and_claims_of_forwarding_go,
    answers_lose_the_headers_of_their_connection,
    a_server_neither_sees_nor_sets_what_belongs_to_the_site,
    a_body_goes_through_both_ways,
    a_stream_is_not_buffered,
    a_request_body_is_not_buffered,
    a_client_that_goes_away_ends_the_call,
    a_server_that_listens_late_gets_the_call,
    a_server_that_does_not_come_is_a_503_with_retry_after,
    a_server_that_dies_while_it_answers_gets_the_call_once,
    connections_are_reused,
    a_path_longer_than_a_socket_address_works,
    a_route_moves_between_two_requests,
    it_is_a_tower_service,
);

/// A router over one server that answers with what it saw.
pub(crate) struct Mirror {
    pub(crate) router: RouterService,
    pub(crate) routes: Routes,
    pub(crate) dir: TempDir,
}

impl Mirror {
    pub(crate) fn new(slugs: &[&str]) -> Self {
        let dir = TempDir::new().unwrap();
        let routes = Routes::new();
        for slug in slugs {
            let socket = dir.path().join(format!("{slug}.sock"));
            let name = slug.to_string();
            serve(&socket, move |request| {
                let name = name.clone();
                async move { mirrored(&name, &request) }
            });
            routes.set(slug, Upstream::unix(socket)).unwrap();
        }
        Self {
            router: RouterService::new(routes.clone()),
            routes,
            dir,
        }
    }

    pub(crate) async fn get(&self, path: &str) -> (StatusCode, Value) {
        let answer = self.router.handle(get(path)).await;
        (answer.status(), json_of(answer).await)
    }
}

fn mirrored(name: &str, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let headers: serde_json::Map<String, Value> = request
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), json!(value.to_str().unwrap())))
        .collect();
    let seen = json!({ "server": name, "path": request.uri().to_string(), "headers": headers });
    Response::new(Full::from(seen.to_string()))
}

fn serve<F, T>(socket: &Path, answer: F)
where
    F: Fn(Request<Incoming>) -> T + Clone + Send + Sync + 'static,
    T: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let listener = UnixListener::bind(socket).unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let answer = answer.clone();
            tokio::spawn(async move {
                let service = service_fn(|request| {
                    let answer = answer(request);
                    async move { Ok::<_, Infallible>(answer.await) }
                });
                let _ = http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
}

pub(crate) fn get(path: &str) -> Request<Full<Bytes>> {
    Request::get(path)
        .header("host", "mcp.example.com")
        .body(Full::default())
        .unwrap()
}

pub(crate) async fn json_of(answer: Response<RouterBody>) -> Value {
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&bytes).unwrap_or_else(|_| json!(String::from_utf8_lossy(&bytes)))
}

async fn an_unknown_slug_is_a_404_as_json() {
    let mirror = Mirror::new(&["demo"]);
    for path in [
        "/nobody/mcp",
        "/",
        "/nobody",
        "/.well-known/oauth-protected-resource/nobody/mcp",
    ] {
        let answer = mirror.router.handle(get(path)).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
        assert_eq!(answer.headers()["content-type"], "application/json");
        let body = json_of(answer).await;
        assert_eq!(
            body,
            json!({ "error": "not_found", "message": "there is no server at this address" })
        );
    }
}

async fn the_prefix_is_stripped_and_the_query_kept() {
    let mirror = Mirror::new(&["demo", "demo-2"]);
    for (path, server, seen) in [
        ("/demo/mcp", "demo", "/mcp"),
        ("/demo/mcp?a=b&c=%2F..", "demo", "/mcp?a=b&c=%2F.."),
        ("/demo-2/mcp", "demo-2", "/mcp"),
        ("/demo", "demo", "/"),
        ("/demo/a%20b", "demo", "/a%20b"),
    ] {
        let (status, body) = mirror.get(path).await;
        assert_eq!(
            (status, &body["server"], &body["path"]),
            (StatusCode::OK, &json!(server), &json!(seen)),
            "{path}"
        );
    }
}

async fn the_path_inserted_metadata_is_rewritten() {
    let mirror = Mirror::new(&["demo"]);
    let (_, body) = mirror.get("/.well-known/oauth-protected-resource/demo/mcp").await;
    assert_eq!(body["path"], "/.well-known/oauth-protected-resource");
}

async fn the_host_header_stays_and_claims_of_forwarding_go() {
    let mirror = Mirror::new(&["demo"]);
    let request = Request::get("/demo/mcp")
        .header("host", "mcp.example.com")
        .header("x-forwarded-host", "evil.example")
        .header("x-forwarded-for", "127.0.0.1")
        .header("forwarded", "host=evil.example")
        .header("connection", "keep-alive, x-secret")
        .header("x-secret", "1")
        .header("authorization", "Bearer t")
        .body(Full::<Bytes>::default())
        .unwrap();
    let body = json_of(mirror.router.handle(request).await).await;
    assert_eq!(
        body["headers"],
        json!({ "host": "mcp.example.com", "authorization": "Bearer t" })
    );

    let absolute = Request::get("http://other.example/demo/mcp")
        .header("host", "mcp.example.com")
        .body(Full::<Bytes>::default())
        .unwrap();
    let body = json_of(mirror.router.handle(absolute).await).await;
    assert_eq!(body["headers"]["host"], "other.example", "RFC 9112 section 3.2.2");
}

async fn answers_lose_the_headers_of_their_connection() {
    let dir = TempDir::new().unwrap();
    let socket = dir.path().join("s");
    serve(&socket, |_| async {
        let headers = Response::builder()
            .header("connection", "x-inner")
            .header("x-inner", "1")
            .header("x-kept", "1");
        headers.body(Full::from("{}")).unwrap()
    });
    let routes = Routes::new();
    routes.set("demo", Upstream::unix(socket)).unwrap();
    let answer = RouterService::new(routes).handle(get("/demo/mcp")).await;
    assert!(answer.headers().contains_key("x-kept"));
    assert!(!answer.headers().contains_key("connection") && !answer.headers().contains_key("x-inner"));
}

/// Servers are other people's, and the pages of the site share their origin.
async fn a_server_neither_sees_nor_sets_what_belongs_to_the_site() {
    let mirror = Mirror::new(&["demo"]);
    let request = Request::get("/demo/mcp")
        .header("host", "mcp.example.com")
        .header("cookie", "__Host-session=a; other=b")
        .header("cookie", "third=c")
        .body(Full::<Bytes>::default())
        .unwrap();
    let body = json_of(mirror.router.handle(request).await).await;
    assert_eq!(body["headers"], json!({ "host": "mcp.example.com" }));

    let dir = TempDir::new().unwrap();
    let socket = dir.path().join("s");
    const TAKEN: [&str; 8] = [
        "set-cookie",
        "clear-site-data",
        "strict-transport-security",
        "service-worker-allowed",
        "alt-svc",
        "nel",
        "report-to",
        "accept-ch",
    ];
    serve(&socket, |_| async {
        let mut answer = Response::builder().header("mcp-session-id", "s");
        for name in TAKEN {
            answer = answer.header(name, "x").header(name, "y");
        }
        answer.body(Full::from("{}")).unwrap()
    });
    let routes = Routes::new();
    routes.set("demo", Upstream::unix(socket)).unwrap();
    let answer = RouterService::new(routes).handle(get("/demo/mcp")).await;
    assert!(answer.headers().contains_key("mcp-session-id"));
    for name in TAKEN {
        assert!(!answer.headers().contains_key(name), "{name}");
    }
}

async fn a_body_goes_through_both_ways() {
    let dir = TempDir::new().unwrap();
    let socket = dir.path().join("s");
    serve(&socket, |request| async move {
        Response::new(Full::new(request.into_body().collect().await.unwrap().to_bytes()))
    });
    let routes = Routes::new();
    routes.set("demo", Upstream::unix(socket)).unwrap();
    let sent = Bytes::from(vec![7; 3 * 1024 * 1024]);
    let request = Request::post("/demo/mcp").body(Full::new(sent.clone())).unwrap();
    let answer = RouterService::new(routes).handle(request).await;
    assert!(answer.into_body().collect().await.unwrap().to_bytes() == sent);
}

/// A server whose answers are what the test sends it, frame by frame.
fn hand_fed(dir: &TempDir) -> (Routes, mpsc::Sender<Bytes>) {
    let socket = dir.path().join("s");
    let listener = UnixListener::bind(&socket).unwrap();
    let (feed, mut fed) = mpsc::channel::<Bytes>(1);
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let (mut sender, body) = Channel::<Bytes, Infallible>::new(1);
        tokio::spawn(async move {
            while let Some(bytes) = fed.recv().await {
                if sender.send_data(bytes).await.is_err() {
                    return;
                }
            }
        });
        let body = std::sync::Mutex::new(Some(body));
        let service = service_fn(|_| {
            let body = body.lock().unwrap().take().unwrap();
            async { Ok::<_, Infallible>(Response::new(body)) }
        });
        let _ = http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await;
    });
    let routes = Routes::new();
    routes.set("demo", Upstream::unix(socket)).unwrap();
    (routes, feed)
}

async fn a_stream_is_not_buffered() {
    let dir = TempDir::new().unwrap();
    let (routes, feed) = hand_fed(&dir);
    let answer = RouterService::new(routes).handle(get("/demo/mcp")).await;
    let mut body = answer.into_body();
    for number in 0..5 {
        let event = format!("data: {number}\n\n");
        // The next event is not sent before this one has arrived.
        feed.send(event.clone().into()).await.unwrap();
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(frame, event);
    }
    drop(feed);
    assert!(body.frame().await.is_none());
}

async fn a_request_body_is_not_buffered() {
    let dir = TempDir::new().unwrap();
    let socket = dir.path().join("s");
    let (saw, mut seen) = mpsc::channel(8);
    serve(&socket, move |request| {
        let saw = saw.clone();
        async move {
            let mut body = request.into_body();
            while let Some(frame) = body.frame().await {
                saw.send(frame.unwrap().into_data().unwrap()).await.unwrap();
            }
            Response::new(Full::default())
        }
    });
    let routes = Routes::new();
    routes.set("demo", Upstream::unix(socket)).unwrap();
    let (mut feed, body) = Channel::<Bytes, Infallible>::new(1);
    let router = RouterService::new(routes);
    let call = tokio::spawn(async move {
        router
            .handle(Request::post("/demo/mcp").body(body).unwrap())
            .await
            .status()
    });
    for part in ["a", "b", "c"] {
        feed.send_data(part.into()).await.unwrap();
        assert_eq!(seen.recv().await.unwrap(), part);
    }
    drop(feed);
    assert_eq!(call.await.unwrap(), StatusCode::OK);
}

async fn a_client_that_goes_away_ends_the_call() {
    let dir = TempDir::new().unwrap();
    let (routes, feed) = hand_fed(&dir);
    let answer = RouterService::new(routes).handle(get("/demo/mcp")).await;
    feed.send("data: 1\n\n".into()).await.unwrap();
    drop(answer);
    eventually(
        Duration::from_secs(5),
        "the server's side is closed",
        async || {
            feed.is_closed()
                || feed
                    .try_send("x".into())
                    .is_err_and(|error| matches!(error, mpsc::error::TrySendError::Closed(_)))
        },
    )
    .await;
}

async fn a_server_that_listens_late_gets_the_call() {
    let mirror = Mirror::new(&[]);
    let socket = mirror.dir.path().join("late.sock");
    mirror.routes.set("late", Upstream::unix(socket.clone())).unwrap();
    let router = mirror.router.clone();
    let call = tokio::spawn(async move { router.handle(get("/late/mcp")).await.status() });
    tokio::time::sleep(Duration::from_millis(100)).await;
    serve(&socket, |request| async move { mirrored("late", &request) });
    assert_eq!(call.await.unwrap(), StatusCode::OK);
}

async fn a_server_that_does_not_come_is_a_503_with_retry_after() {
    let mirror = Mirror::new(&[]);
    mirror
        .routes
        .set("gone", Upstream::unix(PathBuf::from("/nonexistent/socket")))
        .unwrap();
    let answer = mirror.router.handle(get("/gone/mcp")).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers().contains_key("retry-after"));
    assert_eq!(json_of(answer).await["error"], "unavailable");
}

async fn a_server_that_dies_while_it_answers_gets_the_call_once() {
    let dir = TempDir::new().unwrap();
    let socket = dir.path().join("s");
    let listener = UnixListener::bind(&socket).unwrap();
    let calls = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 1024];
            if tokio::io::AsyncReadExt::read(&mut stream, &mut head)
                .await
                .unwrap()
                > 0
            {
                counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            }
        }
    });
    let routes = Routes::new();
    routes.set("demo", Upstream::unix(socket)).unwrap();
    let request = Request::builder()
        .method(Method::POST)
        .uri("/demo/mcp")
        .body(Full::from("x"))
        .unwrap();
    let answer = RouterService::new(routes).handle(request).await;
    assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(json_of(answer).await["error"], "bad_gateway");
    assert_eq!(calls.load(std::sync::atomic::Ordering::SeqCst), 1);
}

async fn connections_are_reused() {
    let dir = TempDir::new().unwrap();
    let socket = dir.path().join("s");
    let listener = UnixListener::bind(&socket).unwrap();
    let connections = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            tokio::spawn(async move {
                let service =
                    service_fn(|_| async { Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("{}"))) });
                let _ = http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    let routes = Routes::new();
    routes.set("demo", Upstream::unix(socket)).unwrap();
    let router = RouterService::new(routes);
    for _ in 0..20 {
        assert_eq!(json_of(router.handle(get("/demo/mcp")).await).await, json!({}));
        tokio::task::yield_now().await;
    }
    let made = connections.load(std::sync::atomic::Ordering::SeqCst);
    assert!(made <= 5, "{made} connections for 20 requests in a row");
}

async fn a_path_longer_than_a_socket_address_works() {
    let dir = TempDir::new().unwrap();
    let deep = dir.path().join("d".repeat(90)).join("e".repeat(90));
    std::fs::create_dir_all(&deep).unwrap();
    serve(&dir.path().join("s"), |request| async move {
        mirrored("deep", &request)
    });
    std::fs::rename(dir.path().join("s"), deep.join("s")).unwrap();
    let routes = Routes::new();
    routes.set("demo", Upstream::unix(deep.join("s"))).unwrap();
    assert_eq!(
        RouterService::new(routes).handle(get("/demo/mcp")).await.status(),
        StatusCode::OK
    );
}

async fn a_route_moves_between_two_requests() {
    let mirror = Mirror::new(&["a", "b"]);
    let (a, b) = (mirror.routes.get("a").unwrap(), mirror.routes.get("b").unwrap());
    mirror.routes.set("moving", a).unwrap();
    assert_eq!(mirror.get("/moving/mcp").await.1["server"], "a");
    let before = mirror.routes.set("moving", b).unwrap().unwrap();
    assert!(before.socket().ends_with("a.sock"));
    assert_eq!(mirror.get("/moving/mcp").await.1["server"], "b");
    mirror.routes.remove("moving");
    assert_eq!(mirror.get("/moving/mcp").await.0, StatusCode::NOT_FOUND);
}

async fn it_is_a_tower_service() {
    let mirror = Mirror::new(&["demo"]);
    let mut service = mirror.router.clone();
    std::future::poll_fn(|cx| Service::<Request<Full<Bytes>>>::poll_ready(&mut service, cx))
        .await
        .unwrap();
    let frames = futures_util::stream::iter([Ok::<_, std::io::Error>(Frame::data(Bytes::from("x")))]);
    let answer = service
        .call(Request::post("/demo/mcp").body(StreamBody::new(frames)).unwrap())
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}
