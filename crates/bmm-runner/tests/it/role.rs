//! The role `runner`, really launched: caged, behind the door.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use bmm_cage::door::{self, Reply};
use bmm_cage::{Cage, End, Launcher, Profile};
use bmm_runner::RunnerConfig;
use http_body_util::{BodyExt as _, Empty};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::support::*;

pub(crate) fn cases(launcher: &Launcher) -> Vec<Trial> {
    let (serving, refusing) = (launcher.clone(), launcher.clone());
    vec![
        case("a_caged_runner_serves_behind_the_door_and_drains", move || {
            serves(serving)
        }),
        case("a_caged_runner_says_why_it_does_not_start", move || {
            refuses(refusing)
        }),
    ]
}

/// The P-256 key of RFC 7517 appendix A.1.
const JWKS: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","alg":"ES256","use":"sig","kid":"k",
    "x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]}"#;

async fn serves(launcher: Launcher) {
    let mut caged = launcher.launch("runner", &Cage::new(Profile::Runner)).unwrap();
    let mut host = door::Host::new(caged.channel().unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    listener.set_nonblocking(true).unwrap();
    let (mut requests, egress) = door::egress::pair().unwrap();
    let config = RunnerConfig::new(
        spec(json!([tool("echo")]), json!({})),
        PUBLIC_URL.parse().unwrap(),
        ISSUER.parse().unwrap(),
    );
    host.hand_over(&config.to_bytes().unwrap(), &OwnedFd::from(listener), &egress)
        .await
        .unwrap();
    assert_eq!(host.reply(Duration::from_secs(20)).await.unwrap(), Reply::Ready);

    let (status, body) = get(&path, "/.well-known/oauth-protected-resource", None).await;
    assert_eq!((status, body["resource"].clone()), (200, json!(PUBLIC_URL)));
    assert_eq!(get(&path, "/mcp", None).await.0, 401);

    // It follows the feed of revocations, and a token that looks like one makes it ask for the keys, through the egress door.
    let host_side = tokio::spawn(async move {
        let mut asked = std::collections::BTreeSet::new();
        while !(asked.contains("/revocations") && asked.contains("/jwks")) {
            let stream = requests.accept().await.unwrap().unwrap();
            let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
            let service = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
                let (sender, path) = (sender.clone(), request.uri().path().to_owned());
                async move {
                    let body = match path.as_str() {
                        "/jwks" => JWKS,
                        _ => r#"{"epoch":"e","next":0,"revoked":[]}"#,
                    };
                    let _ = sender.send(path).await;
                    Ok::<_, std::convert::Infallible>(http::Response::new(body.to_owned()))
                }
            });
            let served = hyper::server::conn::http1::Builder::new()
                .serve_connection(hyper_util::rt::TokioIo::new(stream), service);
            let (_, path) = tokio::join!(served, receiver.recv());
            asked.extend(path);
        }
        requests
    });
    // {"alg":"ES256","typ":"at+jwt","kid":"k"} . {} . (no signature)
    let token = "eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCIsImtpZCI6ImsifQ.e30.AAAA";
    assert_eq!(get(&path, "/mcp", Some(token)).await.0, 401);
    let _requests = host_side.await.unwrap();

    host.drain().await.unwrap();
    assert_eq!(caged.wait().await.unwrap(), End::Exited(0));
}

async fn refuses(launcher: Launcher) {
    let mut caged = launcher.launch("runner", &Cage::new(Profile::Runner)).unwrap();
    let mut host = door::Host::new(caged.channel().unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join("socket")).unwrap();
    let (_requests, egress) = door::egress::pair().unwrap();
    host.hand_over(b"{\"version\": 99}", &OwnedFd::from(listener), &egress)
        .await
        .unwrap();
    let Reply::Failed(reason) = host.reply(Duration::from_secs(20)).await.unwrap() else {
        panic!("it is ready")
    };
    assert!(reason.contains("version 99"), "{reason}");
    assert_ne!(caged.wait().await.unwrap(), End::Exited(0));
}

async fn get(socket: &std::path::Path, path: &str, token: Option<&str>) -> (u16, Value) {
    let stream = tokio::net::UnixStream::connect(socket).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let mut request = http::Request::get(path).header("host", HOST);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let response = sender
        .send_request(request.body(Empty::<bytes::Bytes>::new()).unwrap())
        .await
        .unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}
