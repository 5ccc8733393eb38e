//! The end of a server: no call is lost; and the probe that a deploy asks at its beginning.

use std::time::Duration;

use bmm_runner::probe::{ProbeError, ProbeTarget, probe};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};

use crate::support::*;

pub(crate) fn cases() -> Vec<Trial> {
    vec![
        case("a_call_in_flight_gets_its_answer_while_the_server_stops", drains),
        case("a_call_that_does_not_end_does_not_hold_the_server", gives_up),
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

async fn probes() {
    let server = serve(Duration::from_secs(1));
    let digest = spec(json!([tool("wait")]), json!({})).manifest_digest;
    let target = ProbeTarget {
        socket: &server.path,
        host: HOST,
        token: ANN,
        manifest_digest: &digest,
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
