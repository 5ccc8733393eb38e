//! The end of a server: no call is lost; and the probe that a deploy asks at its beginning.

use std::time::Duration;

use bmm_runner::probe::{ProbeError, ProbeTarget, SmokeCall, probe};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};

use crate::support::*;

pub(crate) fn cases() -> Vec<Trial> {
    vec![
        case("a_call_in_flight_gets_its_answer_while_the_server_stops", drains),
        case("a_call_that_does_not_end_does_not_hold_the_server", gives_up),
        case("who_has_connected_is_answered_although_the_server_stops", queue),
        case(
            "who_has_not_asked_yet_is_answered_although_the_server_stops",
            not_asked,
        ),
        case(
            "streams_that_only_listen_end_at_once_while_a_call_goes_on",
            listening,
        ),
        case("a_smoke_call_is_an_example_that_needs_nobody", chooses),
        case(
            "a_server_that_answers_an_example_otherwise_is_not_healthy",
            smokes,
        ),
        case("the_probe_accepts_what_was_deployed_and_nothing_else", probes),
    ]
}

/// A server on a Unix socket, with a tool that waits for a word.
struct Waiting {
    path: std::path::PathBuf,
    started: mpsc::UnboundedReceiver<()>,
    finish: std::sync::Arc<tokio::sync::Notify>,
    stop: Option<oneshot::Sender<()>>,
    ended: tokio::task::JoinHandle<bool>,
    _folder: tempfile::TempDir,
}

fn serve(drain: Duration) -> Waiting {
    let (start, started) = mpsc::unbounded_channel();
    let finish = std::sync::Arc::new(tokio::sync::Notify::new());
    let word = std::sync::Arc::clone(&finish);
    let waiting = engine(move |_, _| {
        let (start, word) = (start.clone(), std::sync::Arc::clone(&word));
        async move {
            let _ = start.send(());
            word.notified().await;
            Ok::<Value, _>(json!("finished"))
        }
    });
    let service = guarded(spec(json!([tool("wait")]), json!({})), waiting).into_service();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let ended = tokio::spawn(service.serve(listener, async { drop(stopped.await) }, drain));
    Waiting {
        path,
        started,
        finish,
        stop: Some(stop),
        ended,
        _folder: folder,
    }
}

async fn call(path: std::path::PathBuf) -> Result<String, hyper::Error> {
    use http_body_util::BodyExt as _;
    let stream = tokio::net::UnixStream::connect(path).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let mut request = modern(ANN, "tools/call", json!({"name": "wait"}))
        .body(String::new())
        .unwrap();
    *request.body_mut() = request.extensions_mut().remove::<Value>().unwrap().to_string();
    let body = sender
        .send_request(request)
        .await?
        .into_body()
        .collect()
        .await?
        .to_bytes();
    Ok(String::from_utf8(body.to_vec()).unwrap())
}

async fn drains() {
    let mut server = serve(Duration::from_secs(20));
    let calling = tokio::spawn(call(server.path.clone()));
    server.started.recv().await.unwrap();
    server.stop.take().unwrap().send(()).unwrap();
    // The listener goes at once; the host's copy of it would queue the next call.
    while tokio::net::UnixStream::connect(&server.path).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!server.ended.is_finished());
    server.finish.notify_one();
    assert!(calling.await.unwrap().unwrap().contains("finished"));
    assert!(server.ended.await.unwrap());
}

async fn gives_up() {
    let mut server = serve(Duration::from_millis(50));
    let calling = tokio::spawn(call(server.path.clone()));
    server.started.recv().await.unwrap();
    server.stop.take().unwrap().send(()).unwrap();
    assert!(!server.ended.await.unwrap());
    calling.abort();
}

/// A request for the metadata document, over a connection that is made at once.
fn ask_at_once(path: &std::path::Path) -> std::os::unix::net::UnixStream {
    let mut stream = connect_at_once(path);
    say(&mut stream);
    stream
}

fn connect_at_once(path: &std::path::Path) -> std::os::unix::net::UnixStream {
    std::os::unix::net::UnixStream::connect(path).unwrap()
}

fn say(stream: &mut std::os::unix::net::UnixStream) {
    use std::io::Write as _;
    let request = format!("GET /.well-known/oauth-protected-resource HTTP/1.1\r\nhost: {HOST}\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
}

/// All that comes until the server closes the connection.
async fn heard(stream: std::os::unix::net::UnixStream) -> String {
    use tokio::io::AsyncReadExt as _;
    stream.set_nonblocking(true).unwrap();
    let mut stream = tokio::net::UnixStream::from_std(stream).unwrap();
    let mut heard = String::new();
    let within = Duration::from_secs(10);
    let read = tokio::time::timeout(within, stream.read_to_string(&mut heard)).await;
    read.expect("the server closes it").unwrap();
    heard
}

async fn queue() {
    let mut server = serve(Duration::from_secs(20));
    let mut asked: Vec<_> = (0..100).map(|_| ask_at_once(&server.path)).collect();
    server.stop.take().unwrap().send(()).unwrap();
    asked.extend((0..50).map(|_| ask_at_once(&server.path)));
    for stream in asked {
        // Each is answered, and then closed.
        let heard = heard(stream).await;
        assert!(heard.starts_with("HTTP/1.1 200"), "{heard}");
    }
    assert!(server.ended.await.unwrap());
}

async fn not_asked() {
    let mut server = serve(Duration::from_secs(20));
    let first = ask_at_once(&server.path);
    let mut connected = connect_at_once(&server.path);
    let _never_asks = connect_at_once(&server.path);
    // It is answered after the other was accepted.
    let mut kept = ask_at_once(&server.path);
    let mut buffer = [0; 4096];
    let read = std::io::Read::read(&mut kept, &mut buffer).unwrap();
    assert!(buffer[..read].starts_with(b"HTTP/1.1 200"));
    server.stop.take().unwrap().send(()).unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    say(&mut connected);
    // On a connection that was kept, the answer is the last one.
    say(&mut kept);
    for stream in [connected, kept] {
        let heard = heard(stream).await;
        assert!(
            heard.starts_with("HTTP/1.1 200") && heard.contains("connection: close"),
            "{heard}"
        );
    }
    let heard = heard(first).await;
    assert!(
        heard.starts_with("HTTP/1.1 200"),
        "closed when nothing is under way: {heard}"
    );
    assert!(
        server.ended.await.unwrap(),
        "a connection without a request does not hold it"
    );
}

async fn listening() {
    use http_body_util::{BodyExt as _, Full};
    use tower::ServiceExt as _;
    let (start, mut started) = mpsc::unbounded_channel();
    let finish = std::sync::Arc::new(tokio::sync::Notify::new());
    let word = std::sync::Arc::clone(&finish);
    let waiting = engine(move |_, _| {
        let (start, word) = (start.clone(), std::sync::Arc::clone(&word));
        async move {
            let _ = start.send(());
            word.notified().await;
            Ok::<Value, _>(json!("finished"))
        }
    });
    let runner = guarded(spec(json!([tool("wait")]), json!({})), waiting);
    let (service, _reloader) = runner.into_reloadable_service();
    let id = session(&service, ANN).await;
    let open = async |request: http::request::Builder| {
        let mut request = request.body(Full::<bytes::Bytes>::default()).unwrap();
        if let Some(body) = request.extensions_mut().remove::<Value>() {
            *request.body_mut() = Full::from(body.to_string());
        }
        service.clone().oneshot(request).await.unwrap()
    };
    let get = http::Request::get("/mcp")
        .header("host", HOST)
        .header("accept", "text/event-stream")
        .header("authorization", format!("Bearer {ANN}"))
        .header("mcp-session-id", &id)
        .header("mcp-protocol-version", "2025-11-25");
    let listen = json!({"notifications": {"toolsListChanged": true}});
    let mut streams = Vec::new();
    for request in [get, modern(ANN, "subscriptions/listen", listen)] {
        let answer = open(request).await;
        assert_eq!(answer.status(), 200);
        streams.push(tokio::spawn(answer.into_body().collect()));
    }
    let wait = modern(ANN, "tools/call", json!({"name": "wait"}));
    let call = async { open(wait).await.into_body().collect().await.unwrap().to_bytes() };
    let (call, drained) = tokio::join!(call, async {
        started.recv().await.unwrap();
        let draining = tokio::spawn({
            let service = service.clone();
            async move { service.drain(Duration::from_secs(20)).await }
        });
        let mut ends = Vec::new();
        for stream in streams {
            let end = tokio::time::timeout(Duration::from_secs(5), stream).await;
            let body = end.expect("at once").unwrap().expect("a clean end");
            ends.push(String::from_utf8(body.to_bytes().to_vec()).unwrap());
        }
        assert!(
            ends[1].contains("\"result\""),
            "told that it is over: {}",
            ends[1]
        );
        assert!(!draining.is_finished());
        finish.notify_one();
        draining.await.unwrap()
    });
    assert!(drained);
    assert!(String::from_utf8_lossy(&call).contains("finished"));
}

/// A spec of these tools, as its author writes it.
fn written(tools: Value, more: Value) -> bmm_spec::Spec {
    let mut spec =
        json!({"bmm": 1, "slug": "demo", "name": "Demo", "description": "Says things.", "tools": tools});
    spec.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    bmm_spec::Spec::parse(spec.to_string().as_bytes()).unwrap()
}

fn written_tool(name: &str, more: Value) -> Value {
    let mut tool = json!({
        "name": name,
        "description": "Says it.",
        "inputSchema": {"type": "object"},
        "annotations": {"readOnlyHint": true},
        "implementation": "export default async () => 'said';",
    });
    tool.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    tool
}

async fn chooses() {
    let plain = json!([{"input": {"a": 1}, "output": "said"}]);
    let fetching = json!([{"input": {}, "fetches": [{"url": "https://api.example.com/"}]}]);
    let good = written_tool("good", json!({ "examples": plain }));
    let secret = json!({"allowedDomains": ["example.com"], "requiredSecrets": [{
        "name": "KEY", "description": "A key.", "howToGetUrl": "https://example.com/", "domains": ["example.com"],
    }]});
    let none = [
        written_tool(
            "writes",
            json!({"examples": plain, "annotations": {"readOnlyHint": false}}),
        ),
        written_tool("unsaid", json!({"examples": plain, "annotations": {}})),
        written_tool("scoped", json!({"examples": plain, "scopes": ["special"]})),
        written_tool("fetches", json!({ "examples": fetching })),
        written_tool("fails", json!({"examples": [{"input": {}, "error": "no"}]})),
        written_tool("shown", json!({})),
    ];
    for tool in &none {
        assert_eq!(SmokeCall::of(&written(json!([tool]), json!({}))), None, "{tool}");
    }
    let mut all = none.to_vec();
    all.push(good.clone());
    let chosen = format!("{:?}", SmokeCall::of(&written(json!(all), json!({}))));
    assert!(chosen.contains("good"), "{chosen}");
    assert_eq!(SmokeCall::of(&written(json!([good]), secret)), None);
}

async fn smokes() {
    let mut server = serve(Duration::from_secs(1));
    let digest = spec(json!([tool("wait")]), json!({})).manifest_digest;
    for (output, healthy) in [
        (json!("finished"), true),
        (json!("other"), false),
        (json!({"finished": true}), false),
        (Value::Null, false),
    ] {
        let example = json!({"examples": [{"input": {}, "output": output}]});
        let smoke = SmokeCall::of(&written(json!([written_tool("wait", example)]), json!({})));
        let target = ProbeTarget {
            socket: &server.path,
            host: HOST,
            token: ANN,
            manifest_digest: &digest,
            smoke_call: smoke.as_ref(),
        };
        server.finish.notify_one();
        let found = probe(&target, Duration::from_secs(10)).await;
        server.started.recv().await.unwrap();
        let tool = "wait".to_owned();
        let expected = if healthy {
            Ok(())
        } else {
            Err(ProbeError::Smoke { tool })
        };
        assert_eq!(found, expected, "{output}");
    }
}

async fn probes() {
    let server = serve(Duration::from_secs(1));
    let digest = spec(json!([tool("wait")]), json!({})).manifest_digest;
    let target = ProbeTarget {
        socket: &server.path,
        host: HOST,
        token: ANN,
        manifest_digest: &digest,
        smoke_call: None,
    };
    let within = Duration::from_secs(10);
    probe(&target, within).await.unwrap();
    let other = ProbeTarget {
        manifest_digest: "other",
        ..target.clone()
    };
    assert!(matches!(
        probe(&other, within).await,
        Err(ProbeError::Drifted { .. })
    ));
    let no_token = ProbeTarget {
        token: "bad",
        ..target.clone()
    };
    assert!(matches!(
        probe(&no_token, within).await,
        Err(ProbeError::Status { status: 401, .. })
    ));
    let wrong_host = ProbeTarget {
        host: "evil.example",
        ..target.clone()
    };
    assert!(matches!(
        probe(&wrong_host, within).await,
        Err(ProbeError::Status { status: 403, .. })
    ));
    // A data directory may be deeper than a socket's address is long.
    let deep = server._folder.path().join("d".repeat(60)).join("e".repeat(60));
    std::fs::create_dir_all(&deep).unwrap();
    let far = deep.join("socket");
    std::fs::rename(&server.path, &far).unwrap();
    let far = ProbeTarget {
        socket: &far,
        ..target.clone()
    };
    probe(&far, within).await.unwrap();
    let nobody = ProbeTarget {
        socket: std::path::Path::new("/nonexistent/socket"),
        ..target
    };
    assert_eq!(probe(&nobody, within).await, Err(ProbeError::Unreachable));
}
