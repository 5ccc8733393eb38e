//! The client, against a server of this crate.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use bmm_cage::Launcher;
use bmm_runner::client::{Client, ClientError, CredentialsFile, SignIn};
use bmm_runner::engine::{CagedEngine, EngineLimits};
use bmm_runner::{Connector, Runner, run};
use libtest_mimic::Trial;
use serde_json::json;
use tokio::sync::oneshot;

use crate::support::*;

pub(crate) fn cases(launcher: &Launcher) -> Vec<Trial> {
    let launcher = launcher.clone();
    vec![
        case(
            "a_server_on_loopback_is_listed_and_called_with_the_caged_engine",
            move || calls(launcher),
        ),
        case("a_server_that_asks_for_a_sign_in_gets_none_from_nobody", nobody),
        case("a_credentials_file_that_others_may_read_is_refused", readable),
    ]
}

async fn calls(launcher: Launcher) {
    let spec = spec(json!([tool("echo")]), json!({}));
    let engine = CagedEngine::new(&launcher, &spec, EngineLimits::default()).unwrap();
    let runner = Runner::new(spec, engine)
        .unwrap()
        .with_connector(Connector::closed());
    let server = run::loopback(([127, 0, 0, 1], 0).into()).await.unwrap();
    let url = server.url();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(server.serve(runner, async { drop(stopped.await) }, Duration::from_secs(5)));

    let folder = tempfile::tempdir().unwrap();
    let credentials = CredentialsFile::at(folder.path().join("credentials.json"));
    let mut client = Client::connect(&url, SignIn::nobody(), credentials)
        .await
        .unwrap();
    assert_eq!(
        (client.server().name, client.server().protocol),
        ("Demo".to_owned(), MODERN.to_owned())
    );
    let tools = client.list_tools().await.unwrap();
    assert_eq!(tools[0].name, "echo");
    let outcome = client.call_tool("echo", json!({"text": "hi"})).await.unwrap();
    assert_eq!((outcome.to_string(), outcome.is_error), ("hi".to_owned(), false));
    let refused = client.call_tool("nope", json!({})).await.unwrap_err();
    assert!(
        matches!(refused, ClientError::Server { code: -32602, .. }),
        "{refused}"
    );
    client.close().await;
    stop.send(()).unwrap();
    serving.await.unwrap();

    let far = run::loopback(([0, 0, 0, 0], 0).into()).await;
    assert!(matches!(far, Err(run::RunError::NotLoopback { .. })));
}

async fn nobody() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let service = guarded(spec(json!([tool("echo")]), json!({})), echo()).into_service();
    tokio::spawn(service.serve(listener, std::future::pending(), Duration::from_secs(1)));
    let folder = tempfile::tempdir().unwrap();
    let credentials = CredentialsFile::at(folder.path().join("credentials.json"));
    let refused = Client::connect(&url, SignIn::nobody(), credentials)
        .await
        .unwrap_err();
    assert!(matches!(refused, ClientError::SignIn { .. }), "{refused}");
}

async fn readable() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sub/credentials.json");
    let credentials = CredentialsFile::at(&path);
    credentials.forget("https://mcp.example.com/mcp").unwrap();
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let refused = credentials.forget("https://mcp.example.com/mcp").unwrap_err();
    assert!(refused.to_string().contains("chmod 600"), "{refused}");
}
