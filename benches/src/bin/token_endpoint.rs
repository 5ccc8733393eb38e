//! Tokens a second over HTTP, ours beside `oidc-provider` on Node.js and the crate `oauth-as`: the same request to each (client
//! credentials, a secret in the form, an ES256 token for one resource), all in memory and on one processor, this driver on another,
//! in turns.
//!
//! ```console
//! $ (cd benches/peers/oauth-as && cargo build --release)
//! $ BMM_TEST_NODE=… BMM_TEST_NODE_MODULES=… BMM_BENCH_OAUTH_AS=…/release/peer-oauth-as \
//!       cargo run --release -p bmm-benches --bin token_endpoint
//! ```
//!
//! `cargo xtask test` installs Node.js and its modules below the target folder, in `parts/node`.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bmm_oauth::{
    Algorithm, AsConfig, AuthorizationServer, BoxError, BoxFuture, Client, ClientAuthMethod, ClientMetadata,
    GrantType, GrantTypes, Issuer, MemoryStore, ResourceInfo, ResourceUri, Resources, Scopes, SecretHash,
    Session, SignIn, SigningKeys, Store as _, Subject, Timestamp, User,
};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const CLIENT: &str = "robot";
const SECRET: &str = "a-secret-of-this-benchmark";
const RESOURCE: &str = "https://mcp.example.com/files/mcp";
const CONNECTIONS: usize = 16;
const TURNS: usize = 7;
const TURN: Duration = Duration::from_secs(3);

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    match std::env::args().nth(1).as_deref() {
        Some("serve") => runtime.block_on(serve()),
        _ => runtime.block_on(measure()),
    }
}

async fn measure() -> anyhow::Result<()> {
    let part = |name: &str| std::env::var(name).with_context(|| format!("{name} is not set"));
    let (node, modules) = (part("BMM_TEST_NODE")?, part("BMM_TEST_NODE_MODULES")?);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/oidc-provider.js");
    let this = std::env::current_exe()?;
    let oauth_as = part("BMM_BENCH_OAUTH_AS")?;
    let servers = [
        Server::start("ours", "/oauth/token", Command::new(this).arg("serve"))?,
        Server::start(
            "oidc-provider",
            "/token",
            Command::new(node)
                .arg(script)
                .args([modules.as_str(), CLIENT, SECRET, RESOURCE])
                .env("NODE_ENV", "production"),
        )?,
        Server::start(
            "oauth-as",
            "/token",
            Command::new(oauth_as).args([CLIENT, SECRET, RESOURCE]),
        )?,
    ];
    let pinned = Command::new("taskset")
        .args(["-pc", "1", &std::process::id().to_string()])
        .stdout(Stdio::null())
        .status()?;
    ensure!(pinned.success(), "taskset ended with {pinned}");

    let mut turns = Vec::new();
    for turn in 0..=TURNS {
        let mut rates = Vec::new();
        for server in &servers {
            rates.push(server.drive().await.with_context(|| server.name)?);
        }
        println!("{rates:>8.0?} tokens/s");
        // The first turn warms everybody up.
        if turn > 0 {
            turns.push(rates);
        }
    }
    for (at, server) in servers.iter().enumerate() {
        let of = |rates: &Vec<f64>, at: usize| rates.get(at).copied().unwrap_or_default();
        let rate = median(turns.iter().map(|rates| of(rates, at)).collect());
        let times = median(turns.iter().map(|rates| of(rates, 0) / of(rates, at)).collect());
        println!(
            "{:<14} {rate:>8.0} tokens/s; ours is {times:.2} times that",
            server.name
        );
    }
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// A server in a process of its own, on the first processor.
struct Server {
    name: &'static str,
    child: Child,
    port: u16,
    path: &'static str,
}

impl Server {
    fn start(name: &'static str, path: &'static str, command: &mut Command) -> anyhow::Result<Self> {
        let mut pinned = Command::new("taskset");
        pinned
            .args(["-c", "0"])
            .arg(command.get_program())
            .args(command.get_args())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        for (name, value) in command.get_envs() {
            if let Some(value) = value {
                pinned.env(name, value);
            }
        }
        let mut child = pinned.spawn().context("a server does not start")?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no output")?).read_line(&mut line)?;
        let port = line.trim().parse().context("a server does not say its port")?;
        Ok(Self {
            name,
            child,
            port,
            path,
        })
    }

    /// Tokens a second over a few connections with one request in flight each.
    async fn drive(&self) -> anyhow::Result<f64> {
        let began = Instant::now();
        let workers: Vec<_> = (0..CONNECTIONS)
            .map(|_| tokio::spawn(request_until(self.port, self.path, began + TURN)))
            .collect();
        let mut tokens = 0;
        for worker in workers {
            tokens += worker.await??;
        }
        Ok(f64::from(tokens) / began.elapsed().as_secs_f64())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// As little HTTP as the answers need, so that the driver is not what is measured.
async fn request_until(port: u16, path: &str, end: Instant) -> anyhow::Result<u32> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    let form = format!(
        "grant_type=client_credentials&client_id={CLIENT}&client_secret={SECRET}&scope=mcp%3Aread&resource={}",
        RESOURCE.replace(':', "%3A").replace('/', "%2F")
    );
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n\r\n{form}",
        form.len()
    );
    let mut answer = Vec::with_capacity(8 * 1024);
    let mut tokens = 0;
    while Instant::now() < end {
        stream.write_all(request.as_bytes()).await?;
        answer.clear();
        while !is_whole(&answer) {
            ensure!(stream.read_buf(&mut answer).await? > 0, "the server hung up");
        }
        // A JWT, not a reference.
        let is_token = answer.starts_with(b"HTTP/1.1 200") && find(&answer, b"\"eyJ").is_some();
        ensure!(is_token, "{}", String::from_utf8_lossy(&answer));
        tokens += 1;
    }
    Ok(tokens)
}

/// Whether an answer has come to the end that its `Content-Length` states.
fn is_whole(answer: &[u8]) -> bool {
    let Some(head) = find(answer, b"\r\n\r\n") else {
        return false;
    };
    let length = answer.get(..head).and_then(|head| {
        let head = std::str::from_utf8(head).ok()?;
        let mut lines = head.split("\r\n").filter_map(|line| line.split_once(':'));
        let (_, length) = lines.find(|(name, _)| name.eq_ignore_ascii_case("content-length"))?;
        length.trim().parse::<usize>().ok()
    });
    length.is_some_and(|length| answer.len() >= head + 4 + length)
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

async fn serve() -> anyhow::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let port = listener.local_addr()?.port();
    let store = MemoryStore::new();
    let mut metadata = ClientMetadata::default();
    metadata.grant_types = GrantTypes::new([GrantType::ClientCredentials]);
    let client = Client {
        id: CLIENT.to_owned(),
        secret_hash: Some(SecretHash::of(SECRET)),
        auth_method: ClientAuthMethod::ClientSecretPost,
        name: "Robot".to_owned(),
        redirect_uris: Vec::new(),
        created_at: Timestamp::from_secs(0),
        used_at: Some(Timestamp::from_secs(0)),
        metadata,
    };
    store.put_client(client, 1).await?;
    let mut config = AsConfig::new(Issuer::insecure_http(&format!("http://127.0.0.1:{port}"))?);
    config.client_credentials = true;
    let server = AuthorizationServer::new(
        config,
        store,
        SigningKeys::create(Algorithm::Es256)?,
        SignIn::session(Arc::new(Nobody)),
        Arc::new(OneResource(RESOURCE.parse()?)),
    );
    let service = TowerToHyperService::new(server.router());
    std::thread::spawn(|| {
        // Whoever started us has gone.
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    println!("{port}");
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service.clone());
        tokio::spawn(connection);
    }
}

struct Nobody;

impl Session for Nobody {
    fn current<'a>(&'a self, _: &'a http::request::Parts) -> BoxFuture<'a, Option<User>> {
        Box::pin(async { None })
    }

    fn sign_in_url(&self, _: &str) -> String {
        "/".to_owned()
    }
}

struct OneResource(ResourceUri);

impl Resources for OneResource {
    fn lookup<'a>(
        &'a self,
        asked: &'a ResourceUri,
        _: &'a Subject,
    ) -> BoxFuture<'a, Result<Option<ResourceInfo>, BoxError>> {
        let info = || -> Result<_, BoxError> {
            Ok(ResourceInfo {
                name: "Files".to_owned(),
                scopes_supported: Scopes::new(["mcp:read"])?,
                default_scopes: Scopes::new(["mcp:read"])?,
            })
        };
        let found = (*asked == self.0).then(info).transpose();
        Box::pin(async move { found })
    }
}
