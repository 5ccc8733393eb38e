//! A runner that speaks the door's protocol and a few words of HTTP, on command of its configuration.

use std::convert::Infallible;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bmm_cage::Inherited;
use bmm_cage::door::egress::EgressDoor;
use bmm_cage::door::{Guest, Order};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::sync::watch;

pub(crate) const ROLE: &str = "fake-runner";

#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Config {
    pub(crate) revision: String,
    /// Say that it cannot start, with this reason.
    #[serde(default)]
    pub(crate) refuse: Option<String>,
    /// Never answer the hand-over.
    #[serde(default)]
    pub(crate) hang: bool,
    /// End this long after being ready.
    #[serde(default)]
    pub(crate) end_after_ms: Option<u64>,
    /// Talk out of turn after being ready.
    #[serde(default)]
    pub(crate) chatter: bool,
    /// Do not drain.
    #[serde(default)]
    pub(crate) stubborn: bool,
}

impl Config {
    pub(crate) fn new(revision: &str) -> Self {
        Self {
            revision: revision.to_owned(),
            ..Self::default()
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap()
    }
}

pub(crate) fn run(inherited: Inherited) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(serve(inherited));
    ExitCode::SUCCESS
}

async fn serve(inherited: Inherited) {
    let mut host = Guest::new(inherited.channel).unwrap();
    let handover = host.receive().await.unwrap();
    let config: Config = serde_json::from_slice(&handover.config).unwrap();
    if let Some(reason) = &config.refuse {
        host.failed(reason).await.unwrap();
        return;
    }
    if config.hang {
        std::future::pending::<()>().await;
    }
    let listener = std::os::unix::net::UnixListener::from(handover.listener);
    listener.set_nonblocking(true).unwrap();
    let listener = UnixListener::from_std(listener).unwrap();
    let server = Arc::new(Server {
        config: config.clone(),
        egress: EgressDoor::new(handover.egress).unwrap(),
    });
    host.ready().await.unwrap();
    if config.chatter {
        host.ready().await.unwrap();
    }
    if let Some(ms) = config.end_after_ms {
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            std::process::exit(3);
        });
    }
    let draining = watch::Sender::new(false);
    let connections = Arc::new(());
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted.unwrap();
                let (server, mut drain, held) = (Arc::clone(&server), draining.subscribe(), Arc::clone(&connections));
                tokio::spawn(async move {
                    let service = service_fn(|request| server.answer(request));
                    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                    tokio::pin!(connection);
                    tokio::select! {
                        _ = connection.as_mut() => {}
                        () = async { drop(drain.wait_for(|drain| *drain).await) } => {
                            connection.as_mut().graceful_shutdown();
                            let _ = connection.await;
                        }
                    }
                    drop(held);
                });
            }
            order = host.order() => match order {
                Order::HostGone => std::process::exit(0),
                Order::Drain if config.stubborn => {}
                Order::Drain => break,
            },
        }
    }
    draining.send_replace(true);
    while Arc::strong_count(&connections) > 1 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

struct Server {
    config: Config,
    egress: EgressDoor,
}

impl Server {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let text = match request.uri().path() {
            "/revision" => self.config.revision.clone(),
            "/pid" => std::process::id().to_string(),
            "/slow" => {
                tokio::time::sleep(Duration::from_millis(query.parse().unwrap())).await;
                self.config.revision.clone()
            }
            "/exit" => std::process::exit(7),
            "/echo" => {
                let body = request.into_body().collect().await.unwrap().to_bytes();
                return Ok(Response::new(Full::new(body)));
            }
            // Says `query` to the egress proxy, with `+` for a space, and returns what comes back.
            "/egress" => {
                let mut stream = self.egress.connect().await.unwrap();
                let head = format!("{} HTTP/1.1\r\nhost: x\r\n\r\n", query.replace('+', " "));
                stream.write_all(head.as_bytes()).await.unwrap();
                let mut answer = vec![0; 4096];
                let read = stream.read(&mut answer).await.unwrap();
                String::from_utf8_lossy(&answer[..read]).into_owned()
            }
            path => path.to_owned(),
        };
        Ok(Response::new(Full::from(text)))
    }
}
