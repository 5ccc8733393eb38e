//! `ctx.fetch` against a TLS server on loopback, to which an injected resolver leads every name.

use std::io::Write as _;
use std::sync::{Arc, Mutex};

use bmm_net::Dialer;
use bmm_runner::engine::{FetchRequest, FetchResponse, Redirect};
use bmm_runner::{Connector, Runner, RunnerLimits, Secrets};
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderMap, Response};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use libtest_mimic::Trial;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};

use crate::support::*;

pub(crate) fn cases() -> Vec<Trial> {
    vec![
        case("an_allowed_host_is_fetched_and_connections_are_reused", allowed),
        case("http_2_is_spoken_where_it_is_offered_on_one_connection", http2),
        case("calls_of_a_server_share_its_connections", shared),
        case("no_more_than_eight_connections_lead_to_a_host", crowded),
        case("a_fetch_has_its_time_and_a_call_eight_at_a_time", timed),
        case("a_connection_that_the_host_ends_is_not_used_again", replaced),
        case("headers_of_the_connection_are_not_the_tools_to_set", stripped),
        case("redirects_are_followed_within_the_allow_list_only", redirects),
        case(
            "a_redirect_to_another_origin_loses_credentials",
            credentials_dropped,
        ),
        case("answers_and_fetches_are_bounded", bounded),
        case("a_compressed_answer_is_decoded_and_then_scrubbed", compressed),
        case("a_compressed_answer_is_bounded_by_what_it_decodes_to", bomb),
        case("compression_is_not_offered_beside_a_secret", not_offered),
        case("through_the_egress_door_a_stream_begins_with_connect", egress),
        case("without_a_connector_there_is_no_network", closed),
    ]
}

/// What the server was sent.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) host: String,
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
    pub(crate) version: http::Version,
    /// Which connection it came on, in the order of their making.
    pub(crate) connection: u32,
}

/// A TLS server for three names, and everything it saw.
pub(crate) struct Upstream {
    pub(crate) port: u16,
    pub(crate) root: Vec<u8>,
    pub(crate) seen: Arc<Mutex<Vec<Seen>>>,
    pub(crate) connections: Arc<Mutex<u32>>,
}

/// Requests for `/slow` that wait for each other.
const SLOW: usize = 8;

pub(crate) const API: &str = "api.example.com";
pub(crate) const OTHER: &str = "other.example.net";
pub(crate) const EVIL: &str = "evil.example.org";

/// A certificate of its own for these names, as the root to trust and as a server that offers these protocols.
pub(crate) fn tls(names: &[&str], protocols: &[&str]) -> (Vec<u8>, tokio_rustls::TlsAcceptor) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let own = rcgen::generate_simple_self_signed(names).unwrap();
    let root = own.cert.der().to_vec();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
    let mut config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key)
            .unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    (root, tokio_rustls::TlsAcceptor::from(Arc::new(config)))
}

impl Upstream {
    pub(crate) async fn start() -> Self {
        Self::offering(&[]).await
    }

    /// One that offers these protocols (ALPN) and speaks what was agreed on.
    pub(crate) async fn offering(protocols: &[&str]) -> Self {
        let (root, acceptor) = tls(&[API, OTHER, EVIL], protocols);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (seen, connections) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(0)));
        let upstream = Self {
            port,
            root,
            seen: Arc::clone(&seen),
            connections: Arc::clone(&connections),
        };
        let together = Arc::new(tokio::sync::Barrier::new(SLOW));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let connection = {
                    let mut connections = connections.lock().unwrap();
                    *connections += 1;
                    *connections
                };
                let (acceptor, seen) = (acceptor.clone(), Arc::clone(&seen));
                let together = Arc::clone(&together);
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                    let service = hyper::service::service_fn(move |request| {
                        answer(request, connection, Arc::clone(&seen), Arc::clone(&together))
                    });
                    if h2 {
                        let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                            .serve_connection(TokioIo::new(stream), service)
                            .await;
                        return;
                    }
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        upstream
    }

    pub(crate) fn connector(&self) -> Connector {
        let port = self.port;
        let dialer = Dialer::insecure_with(
            move |_, _| Box::pin(async move { Ok(vec![([127, 0, 0, 1], port).into()]) }),
            |_| None,
        );
        Connector::direct(dialer).insecure_with_trust_roots([self.root.clone()])
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn answer(
    request: http::Request<hyper::body::Incoming>,
    connection: u32,
    seen: Arc<Mutex<Vec<Seen>>>,
    together: Arc<tokio::sync::Barrier>,
) -> Result<Response<Full<Bytes>>, std::convert::Infallible> {
    let (parts, body) = request.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let body = String::from_utf8_lossy(&bytes).into_owned();
    let target = parts.uri.path_and_query().unwrap().to_string();
    let host = match parts.headers.get("host") {
        Some(host) => host.to_str().unwrap().to_owned(),
        None => parts.uri.authority().map(ToString::to_string).unwrap_or_default(),
    };
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let never = path == "/never";
    let mut response = Response::builder();
    let text = match path {
        "/redirect" => {
            // The rest of the target is where to, as it stands.
            let status = query
                .split_once('&')
                .map(|(status, _)| status.parse::<u16>().unwrap())
                .unwrap();
            response = response
                .status(status)
                .header("location", query.split_once('&').unwrap().1);
            String::new()
        }
        "/v1/status" => {
            response = response.header("content-type", "application/json; charset=utf-8");
            r#"{"open":true}"#.to_owned()
        }
        "/v1/books/404" => {
            response = response.status(404);
            "no such book".to_owned()
        }
        "/slow" => {
            together.wait().await;
            String::new()
        }
        "/last" => {
            response = response.header("connection", "close");
            String::new()
        }
        "/as" => {
            response = response.header("content-encoding", query);
            String::new()
        }
        "/large" => "x".repeat(3 * 1024 * 1024),
        _ => {
            // An echo of everything, in header and body.
            let headers: Vec<_> = parts
                .headers
                .iter()
                .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
                .collect();
            let auth = parts.headers.get("authorization").cloned();
            if let Some(auth) = auth {
                response = response.header("x-echo", auth);
            }
            format!("{target}\n{}\n{body}", headers.join("\n"))
        }
    };
    seen.lock().unwrap().push(Seen {
        host,
        method: parts.method.to_string(),
        target,
        headers: parts.headers,
        body,
        version: parts.version,
        connection,
    });
    if never {
        std::future::pending::<()>().await;
    }
    let sent = if response.headers_ref().unwrap().contains_key("content-encoding") {
        bytes
    } else {
        Bytes::from(text)
    };
    Ok(response.body(Full::new(sent)).unwrap())
}

pub(crate) fn get(url: impl Into<String>) -> FetchRequest {
    FetchRequest {
        url: url.into(),
        method: "GET".to_owned(),
        headers: Vec::new(),
        body: None,
        redirect: Redirect::Follow,
    }
}

pub(crate) fn with_header(mut request: FetchRequest, name: &str, value: impl Into<String>) -> FetchRequest {
    request.headers.push((name.to_owned(), value.into()));
    request
}

/// A spec that may reach two hosts; `KEY` goes into headers to one of them, the others into other places.
pub(crate) fn fetching_spec(tools: Value) -> bmm_spec::CompiledSpec {
    let secret = |name: &str, place: &str| json!({"name": name, "description": "A key.", "domains": [API], "in": place});
    spec(
        tools,
        json!({
            "allowedDomains": [API, OTHER],
            "requiredSecrets": [
                secret("KEY", "header"), secret("QUERY_KEY", "query"), secret("BODY_KEY", "body"), secret("PATH_KEY", "path"),
            ],
        }),
    )
}

pub(crate) const SECRETS: [(&str, &str); 4] = [
    ("KEY", "key-5ecret/+=\"value"),
    ("QUERY_KEY", "query-5ecret&value"),
    ("BODY_KEY", "body-5ecret\"value"),
    ("PATH_KEY", "path-5ecret/value"),
];

/// What a tool that does this to its host comes to: the result of `tools/call`.
pub(crate) async fn run_tool<F>(
    connector: Connector,
    tool: impl Fn(Host) -> F + Send + Sync + 'static,
) -> Value
where
    F: Future<Output = Result<Value, String>> + Send + 'static,
{
    let engine = engine(move |_, host| {
        let run = tool(host);
        async move {
            run.await
                .map_err(|message| bmm_runner::engine::ToolFailure::Thrown { message })
        }
    });
    let service = Runner::new(fetching_spec(json!([crate::support::tool("run")])), engine)
        .unwrap()
        .with_connector(connector)
        .with_secrets(Secrets::from_iter(SECRETS))
        .with_limits(RunnerLimits::default())
        .into_service();
    let call = modern(ANN, "tools/call", json!({"name": "run"}));
    let call = {
        let mut call = call;
        call.headers_mut()
            .unwrap()
            .insert("host", "localhost".parse().unwrap());
        call
    };
    send(&service, call).await.json()["result"].clone()
}

/// One fetch; the error's text or the response.
pub(crate) async fn fetch(upstream: &Upstream, request: FetchRequest) -> Result<FetchResponse, String> {
    let (sent, received) = std::sync::mpsc::channel();
    run_tool(upstream.connector(), move |host| {
        let (request, sent) = (request.clone(), sent.clone());
        async move {
            sent.send(host.fetch(request).await).unwrap();
            Ok(Value::Null)
        }
    })
    .await;
    received.recv().unwrap()
}

async fn allowed() {
    let upstream = Upstream::start().await;
    let result = run_tool(upstream.connector(), |host| async move {
        for _ in 0..3 {
            let response = host.fetch(get(format!("https://{API}/a?b=c#fragment"))).await?;
            assert_eq!(response.status, 200);
            assert_eq!(response.url, format!("https://{API}/a?b=c#fragment"));
        }
        Ok(json!("ok"))
    })
    .await;
    assert_eq!(result["content"][0]["text"], "ok", "{result}");
    let seen = upstream.seen();
    assert_eq!(seen.len(), 3);
    assert_eq!((seen[0].host.as_str(), seen[0].target.as_str()), (API, "/a?b=c"));
    assert_eq!(*upstream.connections.lock().unwrap(), 1);
}

async fn http2() {
    for (offered, version) in [
        (&["h2", "http/1.1"][..], http::Version::HTTP_2),
        (&["http/1.1"], http::Version::HTTP_11),
        (&[], http::Version::HTTP_11),
    ] {
        let upstream = Upstream::offering(offered).await;
        let result = run_tool(upstream.connector(), |host| async move {
            let key = host.secret_handle("KEY").unwrap();
            host.fetch(get(format!("https://{API}/first"))).await?;
            // Streams beside each other.
            let slow =
                (0..8).map(|_| host.fetch(with_header(get(format!("https://{API}/slow")), "x-key", &key)));
            for response in futures_util::future::join_all(slow).await {
                assert_eq!(response?.status, 200);
            }
            Ok(json!("ok"))
        })
        .await;
        assert_eq!(result["content"][0]["text"], "ok", "{result}");
        let seen = upstream.seen();
        assert_eq!(seen.len(), 9);
        for one in &seen {
            assert_eq!((one.version, one.host.as_str()), (version, API), "{offered:?}");
        }
        assert_eq!(seen[8].headers["x-key"], SECRETS[0].1);
        let connections = *upstream.connections.lock().unwrap();
        if version == http::Version::HTTP_2 {
            assert_eq!(connections, 1, "nine streams on {connections} connections");
        } else {
            assert_eq!(connections, 8);
        }
    }
}

async fn shared() {
    for (offered, connections) in [(&["h2", "http/1.1"][..], 1), (&["http/1.1"], 1)] {
        let upstream = Upstream::offering(offered).await;
        let engine = engine(|_, host| async move {
            host.fetch(get(format!("https://{API}/"))).await.unwrap();
            Ok(json!("ok"))
        });
        let runner = Runner::new(fetching_spec(json!([tool("run")])), engine).unwrap();
        let service = runner.with_connector(upstream.connector()).into_service();
        for _ in 0..5 {
            let mut call = modern(ANN, "tools/call", json!({"name": "run"}));
            call.headers_mut()
                .unwrap()
                .insert("host", "localhost".parse().unwrap());
            assert_eq!(
                send(&service, call).await.json()["result"]["content"][0]["text"],
                "ok"
            );
        }
        assert_eq!(upstream.seen().len(), 5);
        assert_eq!(*upstream.connections.lock().unwrap(), connections, "{offered:?}");
    }
}

async fn crowded() {
    let upstream = Upstream::start().await;
    let engine = engine(|_, host| async move {
        let slow = (0..8).map(|_| host.fetch(get(format!("https://{API}/slow"))));
        for response in futures_util::future::join_all(slow).await {
            assert_eq!(response.unwrap().status, 200);
        }
        Ok(json!("ok"))
    });
    let runner = Runner::new(fetching_spec(json!([tool("run")])), engine).unwrap();
    let service = runner.with_connector(upstream.connector()).into_service();
    let calls = (0..4).map(|_| {
        let mut call = modern(ANN, "tools/call", json!({"name": "run"}));
        call.headers_mut()
            .unwrap()
            .insert("host", "localhost".parse().unwrap());
        send(&service, call)
    });
    for answer in futures_util::future::join_all(calls).await {
        assert_eq!(answer.json()["result"]["content"][0]["text"], "ok");
    }
    assert_eq!(upstream.seen().len(), 32);
    assert_eq!(*upstream.connections.lock().unwrap(), 8);
}

/// A host that never answers: four fetches, of which one has to wait until another has had its time.
async fn timed() {
    let upstream = Upstream::start().await;
    let (sender, mut ended) = tokio::sync::mpsc::channel(4);
    let seen = Arc::clone(&upstream.seen);
    let engine = engine(move |_, host| {
        let (sender, seen) = (sender.clone(), Arc::clone(&seen));
        async move {
            let mut fetches: futures_util::stream::FuturesUnordered<_> = (0..4)
                .map(|_| host.fetch(get(format!("https://{API}/never"))))
                .collect();
            while let Some(response) = fetches.next().await {
                let asked = seen.lock().unwrap().len();
                sender.send((response.err(), asked)).await.unwrap();
            }
            Ok(json!("ok"))
        }
    });
    let mut limits = RunnerLimits::default();
    assert_eq!((limits.fetch.concurrent, limits.fetch.timeout_secs), (8, 30));
    // Below the eight connections to a host, which would hold the fourth back as well.
    limits.fetch.concurrent = 3;
    limits.fetch.timeout_secs = 2;
    let runner = Runner::new(fetching_spec(json!([tool("run")])), engine).unwrap();
    let service = runner
        .with_connector(upstream.connector())
        .with_limits(limits)
        .into_service();
    let mut call = modern(ANN, "tools/call", json!({"name": "run"}));
    call.headers_mut()
        .unwrap()
        .insert("host", "localhost".parse().unwrap());
    let answer = send(&service, call).await;
    assert_eq!(answer.json()["result"]["content"][0]["text"], "ok");
    let mut asked_at_the_first_end = None;
    for _ in 0..4 {
        let (error, asked) = ended.recv().await.unwrap();
        assert_eq!(error.as_deref(), Some("the fetch took longer than 2 s"));
        asked_at_the_first_end.get_or_insert(asked);
    }
    assert!(asked_at_the_first_end.is_some_and(|asked| asked <= 3));
    assert_eq!(upstream.seen().len(), 4);
}

async fn replaced() {
    let upstream = Upstream::start().await;
    let result = run_tool(upstream.connector(), |host| async move {
        for path in ["", "last", "", "last", ""] {
            host.fetch(get(format!("https://{API}/{path}"))).await?;
        }
        Ok(json!("ok"))
    })
    .await;
    assert_eq!(result["content"][0]["text"], "ok", "{result}");
    let connections: Vec<u32> = upstream.seen().iter().map(|seen| seen.connection).collect();
    assert_eq!(connections, [1, 1, 2, 2, 3]);
}

async fn stripped() {
    let upstream = Upstream::start().await;
    let mut request = get(format!("https://{API}/"));
    for (name, value) in [
        ("host", EVIL),
        ("connection", "close"),
        ("proxy-authorization", "x"),
        ("accept-encoding", "zstd"),
        ("transfer-encoding", "chunked"),
        ("x-mine", "yes"),
    ] {
        request = with_header(request, name, value);
    }
    fetch(&upstream, request).await.unwrap();
    let seen = &upstream.seen()[0];
    assert_eq!(seen.host, API);
    assert_eq!(seen.headers["x-mine"], "yes");
    assert_eq!(seen.headers["accept-encoding"], "gzip, deflate, br");
    for name in ["proxy-authorization", "transfer-encoding"] {
        assert!(!seen.headers.contains_key(name), "{name}");
    }
}

async fn redirects() {
    let upstream = Upstream::start().await;
    let to = |status: u16, to: &str| get(format!("https://{API}/redirect?{status}&{to}"));
    let response = fetch(&upstream, to(302, &format!("https://{OTHER}/end")))
        .await
        .unwrap();
    assert_eq!(response.url, format!("https://{OTHER}/end"));

    for (target, why) in [
        (format!("https://{EVIL}/"), "allowedDomains"),
        (format!("http://{API}/"), "https"),
        ("https://127.0.0.1/".to_owned(), "IP address"),
        (format!("https://{API}:8443/"), "allowedDomains"),
    ] {
        let error = fetch(&upstream, to(302, &target)).await.unwrap_err();
        assert!(error.contains(why), "{target}: {error}");
    }
    assert!(upstream.seen().iter().all(|seen| seen.host != EVIL));

    // The redirect of a redirect of a redirect, ending nowhere.
    let before = upstream.seen().len();
    let error = fetch(
        &upstream,
        to(302, &format!("/redirect?302&/redirect?302&https://{OTHER}/end")),
    )
    .await;
    assert!(error.is_ok(), "{error:?}");
    let circle = fetch(&upstream, get(format!("https://{API}/redirect?302&")))
        .await
        .unwrap_err();
    assert!(circle.contains("more than 5 redirects"), "{circle}");
    assert!(upstream.seen().len() - before <= 4 + 6);

    let mut manual = to(302, "/next");
    manual.redirect = Redirect::Manual;
    assert_eq!(fetch(&upstream, manual).await.unwrap().status, 302);
    let mut error = to(302, "/next");
    error.redirect = Redirect::Error;
    assert!(fetch(&upstream, error).await.is_err());

    // 303 turns a POST into a GET, 307 does not.
    for (status, method, body) in [(303, "GET", ""), (307, "POST", "x")] {
        let mut request = to(status, "/after");
        request.method = "POST".to_owned();
        request.body = Some(Bytes::from_static(b"x"));
        fetch(&upstream, request).await.unwrap();
        let last = upstream.seen().pop().unwrap();
        assert_eq!(
            (last.method.as_str(), last.body.as_str()),
            (method, body),
            "{status}"
        );
    }
}

async fn credentials_dropped() {
    let upstream = Upstream::start().await;
    let result = run_tool(upstream.connector(), |host| async move {
        let key = host.secret_handle("KEY").unwrap();
        let request = get(format!("https://{API}/redirect?302&https://{OTHER}/end"));
        let request = with_header(request, "authorization", "Bearer literal");
        let request = with_header(request, "x-key", key);
        host.fetch(with_header(request, "x-plain", "stays")).await?;
        Ok(json!("ok"))
    })
    .await;
    assert_eq!(result["content"][0]["text"], "ok", "{result}");
    let seen = upstream.seen();
    assert_eq!(seen[0].headers["x-key"], SECRETS[0].1);
    assert_eq!(seen[1].host, OTHER);
    assert!(!seen[1].headers.contains_key("authorization") && !seen[1].headers.contains_key("x-key"));
    assert_eq!(seen[1].headers["x-plain"], "stays");
}

async fn bounded() {
    let upstream = Upstream::start().await;
    let error = fetch(&upstream, get(format!("https://{API}/large")))
        .await
        .unwrap_err();
    assert!(error.contains("2048 KiB"), "{error}");
    let mut large = get(format!("https://{API}/"));
    large.method = "POST".to_owned();
    large.body = Some(Bytes::from(vec![0; 2 * 1024 * 1024]));
    assert!(fetch(&upstream, large).await.unwrap_err().contains("1024 KiB"));
    let result = run_tool(upstream.connector(), |host| async move {
        for _ in 0..20 {
            host.fetch(get(format!("https://{API}/"))).await?;
        }
        host.fetch(get(format!("https://{API}/")))
            .await
            .map(|_| json!("too many"))
    })
    .await;
    assert!(
        result["content"][0]["text"]
            .as_str()
            .unwrap()
            .contains("at most 20 times"),
        "{result}"
    );
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// What a host sends that encodes `POST`ed bytes as it is told.
async fn answered_with(encoding: &str, body: Vec<u8>) -> Result<FetchResponse, String> {
    let upstream = Upstream::start().await;
    let mut request = get(format!("https://{API}/as?{encoding}"));
    request.method = "POST".to_owned();
    request.body = Some(body.into());
    fetch(&upstream, request).await
}

async fn compressed() {
    let text = format!("before {} {}", SECRETS[0].1, r#"key-5ecret\/+=&quot;value after"#);
    let response = answered_with("gzip", gzip(text.as_bytes())).await.unwrap();
    assert_eq!(response.body, "before [secret KEY] [secret KEY] after");
    // What is said of the encoded body is not true of this one, and would tell how well a secret compresses.
    let names: Vec<_> = response.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert!(
        !names.contains(&"content-encoding") && !names.contains(&"content-length"),
        "{names:?}"
    );

    let plain = answered_with("identity", b"plain".to_vec()).await.unwrap();
    assert_eq!(plain.body, "plain");
    for (encoding, why) in [
        ("zstd", "not offered"),
        ("gzip,%20gzip", "not offered"),
        ("br", "content-encoding says"),
    ] {
        let error = answered_with(&encoding.replace("%20", ""), gzip(text.as_bytes()))
            .await
            .unwrap_err();
        assert!(error.contains(why), "{encoding}: {error}");
    }
}

async fn bomb() {
    let body = gzip(&vec![b'0'; 64 * 1024 * 1024]);
    assert!(body.len() < 100 * 1024, "{}", body.len());
    let error = answered_with("gzip", body).await.unwrap_err();
    assert!(error.contains("larger than 2048 KiB"), "{error}");
    // The largest that is allowed, and one byte more.
    let most = 2048 * 1024;
    assert_eq!(
        answered_with("gzip", gzip(&vec![b'0'; most]))
            .await
            .unwrap()
            .body
            .len(),
        most
    );
    assert!(answered_with("gzip", gzip(&vec![b'0'; most + 1])).await.is_err());
}

async fn not_offered() {
    let upstream = Upstream::start().await;
    run_tool(upstream.connector(), |host| async move {
        let key = host.secret_handle("KEY").unwrap();
        host.fetch(get(format!("https://{API}/plain"))).await?;
        host.fetch(with_header(get(format!("https://{API}/secret")), "x-key", key))
            .await?;
        Ok(Value::Null)
    })
    .await;
    let seen = upstream.seen();
    assert_eq!(seen[0].headers["accept-encoding"], "gzip, deflate, br");
    assert!(!seen[1].headers.contains_key("accept-encoding"));
}

async fn egress() {
    let upstream = Upstream::start().await;
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (port, asked_too) = (upstream.port, Arc::clone(&asked));
    let connector = Connector::egress(move || {
        let asked = Arc::clone(&asked_too);
        Box::pin(async move {
            let (ours, mut theirs) = UnixStream::pair()?;
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(theirs.read_u8().await.unwrap());
                }
                let line = String::from_utf8(head)
                    .unwrap()
                    .lines()
                    .next()
                    .unwrap()
                    .to_owned();
                let refused = line.contains(OTHER);
                asked.lock().unwrap().push(line);
                if refused {
                    theirs
                        .write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")
                        .await
                        .unwrap();
                    return;
                }
                theirs
                    .write_all(b"HTTP/1.1 200 Connection Established\r\n\r\n")
                    .await
                    .unwrap();
                let mut upstream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut theirs, &mut upstream).await;
            });
            Ok(ours)
        })
    })
    .insecure_with_trust_roots([upstream.root.clone()]);
    let result = run_tool(connector, |host| async move {
        let response = host.fetch(get(format!("https://{API}/through"))).await?;
        assert_eq!(response.status, 200);
        Ok(json!(
            host.fetch(get(format!("https://{OTHER}/"))).await.unwrap_err()
        ))
    })
    .await;
    assert!(
        result["content"][0]["text"]
            .as_str()
            .unwrap()
            .contains("does not allow other.example.net:443"),
        "{result}"
    );
    assert_eq!(asked.lock().unwrap()[0], format!("CONNECT {API}:443 HTTP/1.1"));
    assert_eq!(upstream.seen()[0].target, "/through");
}

async fn closed() {
    let result = run_tool(Connector::closed(), |host| async move {
        Ok(json!(
            host.fetch(get(format!("https://{API}/"))).await.unwrap_err()
        ))
    })
    .await;
    assert!(
        result["content"][0]["text"]
            .as_str()
            .unwrap()
            .contains("no network"),
        "{result}"
    );
}
