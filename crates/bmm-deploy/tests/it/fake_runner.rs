//! A runner that speaks the door's protocol and a few words of HTTP, on command of its configuration.

use std::convert::Infallible;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bmm_cage::Inherited;
use bmm_cage::door::egress::EgressDoor;
use bmm_cage::door::{Guest, Order};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::channel::Channel;
use http_body_util::combinators::UnsyncBoxBody;
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
        hung: AtomicBool::new(false),
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
    let leaving = Leaving {
        last_answers: watch::Sender::new(false),
        close: watch::Sender::new(false),
        connections: Arc::new(()),
    };
    loop {
        tokio::select! {
            accepted = listener.accept() => leaving.take(accepted.unwrap().0, &server),
            order = host.order() => match order {
                Order::HostGone => std::process::exit(0),
                Order::Drain if config.stubborn => {}
                Order::Drain => break,
            },
        }
    }
    // As the real one: who is on the way in is taken in, and nobody is kept.
    leaving.last_answers.send_replace(true);
    let linger = tokio::time::sleep(Duration::from_millis(200));
    tokio::pin!(linger);
    loop {
        tokio::select! {
            biased;
            accepted = listener.accept() => leaving.take(accepted.unwrap().0, &server),
            () = &mut linger => break,
        }
    }
    drop(listener);
    leaving.close.send_replace(true);
    while Arc::strong_count(&leaving.connections) > 1 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

struct Leaving {
    last_answers: watch::Sender<bool>,
    close: watch::Sender<bool>,
    connections: Arc<()>,
}

impl Leaving {
    fn take(&self, stream: tokio::net::UnixStream, server: &Arc<Server>) {
        let (server, held) = (Arc::clone(server), Arc::clone(&self.connections));
        let (last_answers, mut close) = (self.last_answers.subscribe(), self.close.subscribe());
        tokio::spawn(async move {
            let asked = Arc::new(AtomicBool::new(false));
            let service = service_fn(|request| {
                asked.store(true, Ordering::Relaxed);
                let (server, last) = (Arc::clone(&server), last_answers.clone());
                async move {
                    let mut answer = server.answer(request).await?;
                    if *last.borrow() {
                        answer
                            .headers_mut()
                            .insert("connection", "close".parse().unwrap());
                    }
                    Ok::<_, Infallible>(answer)
                }
            });
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::pin!(connection);
            tokio::select! {
                biased;
                _ = connection.as_mut() => {}
                () = async { drop(close.wait_for(|close| *close).await) } => {
                    connection.as_mut().graceful_shutdown();
                    let patience = tokio::time::sleep(Duration::from_secs(1));
                    tokio::select! {
                        biased;
                        _ = connection.as_mut() => {}
                        () = patience, if !asked.load(Ordering::Relaxed) => {}
                    }
                    if asked.load(Ordering::Relaxed) {
                        let _ = connection.await;
                    }
                }
            }
            drop(held);
        });
    }
}

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

struct Server {
    config: Config,
    egress: EgressDoor,
    hung: AtomicBool,
}

impl Server {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Answer, Infallible> {
        if self.hung.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        let query = request.uri().query().unwrap_or_default().to_owned();
        let text = match request.uri().path() {
            "/revision" => self.config.revision.clone(),
            "/pid" => std::process::id().to_string(),
            "/slow" => {
                tokio::time::sleep(Duration::from_millis(query.parse().unwrap())).await;
                self.config.revision.clone()
            }
            // `query` pieces, 10 ms apart, each the revision and a space.
            "/stream" => {
                let (mut sender, body) = Channel::<Bytes, Infallible>::new(1);
                let pieces: u32 = query.parse().unwrap();
                tokio::spawn(async move {
                    for _ in 0..pieces {
                        let piece = format!("{} ", self.config.revision);
                        if sender.send_data(piece.into()).await.is_err() {
                            return;
                        }
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                });
                return Ok(Response::new(body.boxed_unsync()));
            }
            // Answers nothing from now on, without ending.
            "/hang" => {
                self.hung.store(true, Ordering::Relaxed);
                "hangs".to_owned()
            }
            "/exit" => std::process::exit(7),
            "/echo" => {
                let body = request.into_body().collect().await.unwrap().to_bytes();
                return Ok(Response::new(Full::new(body).boxed_unsync()));
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
        Ok(Response::new(Full::from(text).boxed_unsync()))
    }
}
