//! How long an accepted spec takes to its first successful `tools/call`, beside the bare start of what runs it, in one run: ours and the
//! bare start alternate, and what is compared is the medians. Prints Markdown. This program is its own runner, and its own image.
//!
//! ```console
//! $ cargo run --release -p bmm-benches --bin deploy -- --docker /var/run/docker.sock
//! ```

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bmm_cage::door::{self, Reply};
use bmm_cage::{Cage, Launcher, Profile, contained};
use bmm_deploy::container::{Docker, ImageId};
use bmm_deploy::{
    Deployer, Deployment, DockerRuntime, EgressProxy, Probe, ProcessRuntime, RouterService, Routes, Runtime,
    Site, Target,
};
use bmm_net::Dialer;
use bmm_oauth::{
    Algorithm, AsConfig, AuthorizationServer, BoxError, BoxFuture, Issuer, MemoryStore, ResourceInfo,
    ResourceUri, Resources, Scopes, Session, SignIn, SigningKeys, Subject, User,
};
use bmm_runner::probe::{ProbeTarget, probe};
use bmm_runner::{RUNNER_ROLE, RunnerConfig};
use bmm_spec::{CompiledSpec, ValidSpec};
use bytes::Bytes;
use clap::Parser;
use http::request::Parts;
use http_body_util::{BodyExt as _, Full};
use serde_json::json;
use tokio::process::Command;

/// Command line.
#[derive(Parser)]
struct Args {
    /// API socket of a Docker daemon; without it only the process runtime is measured.
    #[arg(long)]
    docker: Option<PathBuf>,
    /// Rounds of each comparison.
    #[arg(long, default_value_t = 21)]
    rounds: usize,
}

const DEMO: &str = include_str!("../../../examples/specs/demo.json");
const SLUG: &str = "demo";
const HOST: &str = "mcp.example.com";
const TTL: Duration = Duration::from_secs(300);
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> Result<()> {
    let launcher = bmm_runner::init();
    let args = Args::parse();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(run(&args, &launcher))
}

async fn run(args: &Args, launcher: &Launcher) -> Result<()> {
    let dir = tempfile::tempdir()?;
    println!("| runtime | accepted spec to first answer | bare start | more by | allowed |");
    println!("|---|---|---|---|---|");

    let runtime = ProcessRuntime::new(launcher.clone(), RUNNER_ROLE.name, dir.path().join("processes"))?;
    let host = Host::new(runtime)?;
    let mut rounds = Vec::new();
    for round in 0..args.rounds {
        let bare = || bare_process(&host, launcher, dir.path());
        rounds.push(host.alternate(round, bare).await?);
    }
    print("process", "a caged runner until it is ready", &rounds, 100.0);

    if let Some(socket) = &args.docker {
        let docker = Docker::connect(socket).await?;
        let executable = format!("/proc/{}/exe", std::process::id());
        let image = docker.build_image(Path::new(&executable)).await?;
        let instance = format!("bench-{}", std::process::id());
        let runtime = DockerRuntime::new(docker, image.clone(), instance, dir.path().join("containers"));
        let host = Host::new(runtime.await?)?;
        let mut rounds = Vec::new();
        for round in 0..args.rounds {
            let bare = || bare_container(socket, &image, dir.path());
            rounds.push(host.alternate(round, bare).await?);
        }
        print(
            "Docker",
            "`docker run` until its first process connects to a socket",
            &rounds,
            300.0,
        );
    }
    Ok(())
}

/// Milliseconds of ours and of the bare start.
type Round = (f64, f64);

fn print(runtime: &str, bare: &str, rounds: &[Round], allowed: f64) {
    let ours = Spread::of(rounds.iter().map(|(ours, _)| *ours).collect());
    let beside = Spread::of(rounds.iter().map(|(_, bare)| *bare).collect());
    println!(
        "| {runtime} | {ours} | {bare}: {beside} | {:.0} ms | {allowed:.0} ms |",
        ours.median - beside.median
    );
}

struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        Self {
            least: at(0),
            median: at(values.len() / 2),
            most: at(values.len().saturating_sub(1)),
        }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.0} ms ({:.0} to {:.0})", self.median, self.least, self.most)
    }
}

/// What `bmm up` is around its servers.
struct Host {
    deployer: Deployer,
    router: RouterService,
    authorization_server: AuthorizationServer,
    resource: ResourceUri,
    issuer: Issuer,
}

impl Host {
    fn new(runtime: impl Runtime + 'static) -> Result<Self> {
        let origin = format!("https://{HOST}");
        let issuer: Issuer = origin.parse()?;
        let resource: ResourceUri = Site::new(&origin)?.mcp_url(SLUG).parse()?;
        let authorization_server = AuthorizationServer::new(
            AsConfig::new(issuer.clone()),
            MemoryStore::new(),
            SigningKeys::create(Algorithm::Es256)?,
            SignIn::session(Arc::new(Nobody)),
            Arc::new(Nothing),
        );
        let (jwks, revocations) = (authorization_server.clone(), authorization_server.clone());
        let egress = EgressProxy::new(Dialer::new(), move || {
            let jwks = jwks.jwks().to_string();
            Box::pin(async move { jwks.into() })
        })
        .with_revocations(move |after| {
            let server = revocations.clone();
            Box::pin(async move {
                let page = match after {
                    None => server.revocations_after(0).await,
                    Some(after) => server.await_revocations_after(after).await,
                };
                serde_json::to_vec(&page.ok()?).ok().map(Into::into)
            })
        });
        let (_, compiled) = admitted()?;
        let routes = Routes::new();
        let gate = Gate {
            authorization_server: authorization_server.clone(),
            resource: resource.clone(),
            manifest_digest: compiled.manifest_digest,
        };
        Ok(Self {
            deployer: Deployer::new(runtime, routes.clone(), egress, Arc::new(gate)),
            router: RouterService::new(routes),
            authorization_server,
            resource,
            issuer,
        })
    }

    /// Both, once each; who comes second changes, since he finds the machine as the first left it.
    async fn alternate<F: Future<Output = Result<f64>>>(
        &self,
        round: usize,
        bare: impl Fn() -> F,
    ) -> Result<Round> {
        if round.is_multiple_of(2) {
            let ours = self.deploy().await?;
            Ok((ours, bare().await?))
        } else {
            let bare = bare().await?;
            Ok((self.deploy().await?, bare))
        }
    }

    /// From an accepted spec to an answer, and then away with it.
    async fn deploy(&self) -> Result<f64> {
        let (accepted, _) = admitted()?;
        let begun = Instant::now();
        let spec = accepted.compile()?;
        let domains = spec.allowed_domains.clone();
        let config = self.config(spec)?;
        let deployment = Deployment::new(SLUG, "1", config).with_egress(domains);
        self.deployer.roll(deployment).await?;
        let token = token(&self.authorization_server, &self.resource)?;
        self.call(&token).await?;
        let took = milliseconds(begun);
        self.deployer.remove(SLUG).await;
        Ok(took)
    }

    fn config(&self, spec: CompiledSpec) -> Result<Vec<u8>> {
        let config = RunnerConfig::new(spec, self.resource.clone(), self.issuer.clone());
        Ok(config.to_bytes()?.to_vec())
    }

    async fn call(&self, token: &str) -> Result<()> {
        let body = json!({
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {
                "name": "convert_units",
                "arguments": { "value": 26.2, "from": "mi", "to": "km" },
                "_meta": {
                    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                    "io.modelcontextprotocol/clientCapabilities": {},
                    "io.modelcontextprotocol/clientInfo": { "name": "deploy", "version": "1" },
                },
            },
        });
        let request = http::Request::post(format!("/{SLUG}/mcp"))
            .header("host", HOST)
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", "tools/call")
            .header("mcp-name", "convert_units")
            .body(Full::new(Bytes::from(body.to_string())))?;
        let answer = self.router.handle(request).await;
        let status = answer.status();
        let body = answer.into_body().collect().await;
        let body = body
            .map_err(|error| anyhow::anyhow!("the answer broke off: {error}"))?
            .to_bytes();
        let text = String::from_utf8_lossy(&body);
        ensure!(status.is_success(), "{status}: {text}");
        ensure!(text.contains("42.16"), "not the answer: {text}");
        Ok(())
    }
}

/// The start of a runner with nothing around it: its process, its cage, the door, until it says that it is ready.
async fn bare_process(host: &Host, launcher: &Launcher, dir: &Path) -> Result<f64> {
    let path = dir.join("bare.sock");
    let _ = std::fs::remove_file(&path);
    let listener = std::os::unix::net::UnixListener::bind(&path)?;
    listener.set_nonblocking(true)?;
    let (_, compiled) = admitted()?;
    let config = host.config(compiled)?;
    let launcher = launcher.clone();
    let begun = Instant::now();
    let launched =
        tokio::task::spawn_blocking(move || launcher.launch(RUNNER_ROLE.name, &Cage::new(Profile::Runner)));
    let mut caged = launched.await??;
    let mut door = door::Host::new(caged.channel().context("a channel")?)?;
    let (_requests, guests_end) = door::egress::pair()?;
    door.hand_over(&config, &listener, &guests_end).await?;
    ensure!(door.reply(PATIENCE).await? == Reply::Ready, "not ready");
    let took = milliseconds(begun);
    caged.kill();
    caged.wait().await?;
    Ok(took)
}

/// What the Docker command line takes until the first process of a container of the same image does something that is seen outside.
async fn bare_container(socket: &Path, image: &ImageId, dir: &Path) -> Result<f64> {
    let control = dir.join("bare");
    std::fs::create_dir_all(&control)?;
    let path = control.join(contained::SOCKET);
    let _ = std::fs::remove_file(&path);
    let listener = tokio::net::UnixListener::bind(&path)?;
    for path in [dir, &control, &path] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777))?;
    }
    let begun = Instant::now();
    let mut run = Command::new("docker")
        .arg(format!("--host=unix://{}", socket.display()))
        .args(["run", "--rm", "--network=none", "--volume"])
        .arg(format!("{}:{}:ro", control.display(), contained::DIRECTORY))
        .arg(image.as_str())
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("docker")?;
    let connected = tokio::time::timeout(PATIENCE, listener.accept()).await;
    let took = milliseconds(begun);
    // Its end is the container's.
    drop(connected.context("no container came")??);
    run.wait().await?;
    Ok(took)
}

/// Asks a new revision what a client would ask it.
struct Gate {
    authorization_server: AuthorizationServer,
    resource: ResourceUri,
    manifest_digest: String,
}

impl Probe for Gate {
    fn check<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let token =
                token(&self.authorization_server, &self.resource).map_err(|error| error.to_string())?;
            let target = ProbeTarget {
                socket: &target.socket,
                host: HOST,
                token: &token,
                manifest_digest: &self.manifest_digest,
                smoke_call: None,
            };
            probe(&target, PATIENCE).await.map_err(|error| error.to_string())
        })
    }
}

fn token(server: &AuthorizationServer, resource: &ResourceUri) -> Result<String> {
    Ok(server.mint_probe_token(resource, &Scopes::new(["mcp:read"])?, TTL))
}

fn admitted() -> Result<(ValidSpec, CompiledSpec)> {
    let again = |problems: bmm_spec::Diagnostics| anyhow::anyhow!("the demo: {problems}");
    let (accepted, _) = bmm_spec::admit(DEMO.as_bytes()).map_err(again)?;
    let (twin, _) = bmm_spec::admit(DEMO.as_bytes()).map_err(again)?;
    Ok((accepted, twin.compile().map_err(again)?))
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

struct Nobody;

impl Session for Nobody {
    fn current(&self, _: &Parts) -> BoxFuture<'_, Option<User>> {
        Box::pin(std::future::ready(None))
    }

    fn sign_in_url(&self, _: &str) -> String {
        "/login".to_owned()
    }
}

struct Nothing;

impl Resources for Nothing {
    fn lookup(&self, _: &ResourceUri, _: &Subject) -> BoxFuture<'_, Result<Option<ResourceInfo>, BoxError>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}
