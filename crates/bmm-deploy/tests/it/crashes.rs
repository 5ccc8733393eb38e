//! kill -9 of the deployer right before and right after each step of a redeploy: the next life finds its way back.
//!
//! The deployer is this program in another role, below one more that adopts what it leaves behind. Where it is killed is counted in
//! what it logs: the library says at every step what it is about to do, and what it has done.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bmm_deploy::container::{Docker, label};
use bmm_deploy::pathmap::{Folder, Form, PathTable, SocketDir as PathOfSockets};
use bmm_deploy::{
    Deployer, Deployment, DockerRuntime, EgressProxy, Phase, ProcessRuntime, PublicSockets, ReadyIsEnough,
    Routes, Runtime,
};
use bmm_net::Dialer;
use libtest_mimic::Trial;
use rustix::process::{Signal, WaitOptions};
use serde::{Deserialize, Serialize};

use crate::fake_runner::{Config, ROLE};
use crate::{docker, launcher, trial_within};

pub(crate) fn trials() -> Vec<Trial> {
    let within = Duration::from_secs(600);
    vec![
        trial_within(
            "crashes::a_deployer_that_is_killed_at_any_step_converges",
            within,
            a_deployer_that_is_killed_at_any_step_converges,
        ),
        trial_within(
            "crashes::a_deployer_of_containers_that_is_killed_at_any_step_converges",
            within,
            a_deployer_of_containers_that_is_killed_at_any_step_converges,
        )
        .with_kind("needs Docker: cargo xtask test")
        .with_ignored_flag(true),
    ]
}

async fn a_deployer_that_is_killed_at_any_step_converges() {
    tokio::task::block_in_place(|| killed_at_each_step(&Kind::Processes));
}

async fn a_deployer_of_containers_that_is_killed_at_any_step_converges() {
    let image = docker::image(&docker::docker().await).await.to_string();
    let socket = docker::socket();
    tokio::task::block_in_place(|| killed_at_each_step(&Kind::Containers { socket, image }));
}

/// What runs the runners.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) enum Kind {
    Processes,
    Containers { socket: PathBuf, image: String },
}

/// What a deployer's life is to be.
#[derive(Clone, Serialize, Deserialize)]
struct Life {
    kind: Kind,
    dir: PathBuf,
    /// Roll to this revision once the one that is wished for serves.
    roll: Option<String>,
    /// Be killed at this step of that roll; with none, count them.
    kill_at: Option<u32>,
}

/// What a deployer says once it has nothing more to do.
#[derive(Debug, Serialize, Deserialize)]
struct Settled {
    pid: u32,
    steps: u32,
    /// Revision, and whether it is healthy and routed.
    instances: Vec<(String, bool)>,
}

const WATCH: &str = "--watch-a-deployer";
const DEPLOY: &str = "--be-a-deployer";

/// In one of the roles above this does not return.
pub(crate) fn play_if_asked() {
    let mut arguments = std::env::args().skip(1);
    let (Some(role), Some(life)) = (arguments.next(), arguments.next()) else {
        return;
    };
    match role.as_str() {
        WATCH => watch(&life),
        DEPLOY => deploy(serde_json::from_str(&life).unwrap()),
        _ => return,
    }
    std::process::exit(0);
}

/// Runs a deployer and adopts what it leaves; says how many processes were still there after a while.
fn watch(life: &str) {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
    let mut deployer = Command::new(std::env::current_exe().unwrap())
        .args([DEPLOY, life])
        .spawn()
        .unwrap();
    deployer.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    let orphans = loop {
        while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
        let children = children(std::process::id());
        if children.is_empty() || Instant::now() > deadline {
            break children.len();
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    println!("orphans: {orphans}");
}

fn deploy(life: Life) {
    let stopper = Arc::new(Stopper::default());
    tracing::subscriber::set_global_default(Arc::clone(&stopper)).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(live(life, &stopper));
}

async fn live(life: Life, stopper: &Stopper) {
    let run_dir = life.dir.join("run");
    let public = run_dir.join("public");
    let egress = EgressProxy::new(Dialer::new(), || Box::pin(async { "{\"keys\":[]}".into() }));
    let routes = Routes::new();
    let runtime: Arc<dyn Runtime> = match &life.kind {
        Kind::Processes => Arc::new(ProcessRuntime::new(launcher(), ROLE, &run_dir).unwrap()),
        Kind::Containers { socket, image } => {
            let docker = Docker::connect(socket).await.unwrap();
            let image = image.parse().unwrap();
            Arc::new(
                DockerRuntime::new(docker, image, instance(&life.dir), &run_dir)
                    .await
                    .unwrap(),
            )
        }
    };
    let probe = Arc::new(ReadyIsEnough);
    let deployer = Deployer::with_limits(runtime, routes.clone(), egress, probe, docker::limits())
        .with_public_sockets(PublicSockets::new(&public).unwrap());
    let publish = || publish(&routes, &public, &life.dir.join("map"));
    let roll = async |revision: &str| {
        let config = Config::new(revision);
        let deployment = Deployment::new("demo", revision, config.bytes());
        deployer.roll(deployment).await.unwrap();
        publish();
    };

    publish();
    let wish = life.dir.join("wish");
    roll(&std::fs::read_to_string(&wish).unwrap_or_else(|_| "1".to_owned())).await;
    if let Some(next) = &life.roll {
        stopper
            .kill_at
            .store(life.kill_at.unwrap_or(u32::MAX), Ordering::SeqCst);
        roll(next).await;
        // Kept once it serves, as a host does.
        std::fs::write(&wish, next).unwrap();
    }
    let deadline = Instant::now() + Duration::from_secs(30);
    while deployer.status().len() != 1 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let instances = deployer
        .status()
        .into_iter()
        .map(|one| (one.revision, one.routed && one.phase == Phase::Healthy));
    let settled = Settled {
        pid: std::process::id(),
        steps: stopper.steps.load(Ordering::SeqCst),
        instances: instances.collect(),
    };
    println!("{}", serde_json::to_string(&settled).unwrap());
    tokio::task::spawn_blocking(|| std::io::stdin().lines().next())
        .await
        .unwrap();
    deployer.shutdown().await;
    publish();
    std::process::exit(0);
}

/// Names a deployer among those that use the same daemon.
fn instance(dir: &Path) -> String {
    let name = dir.file_name().unwrap().to_str().unwrap();
    format!("crash{}", name.replace(|c: char| !c.is_ascii_alphanumeric(), ""))
}

/// Containers of that deployer, running or not.
fn containers(kind: &Kind, dir: &Path, all: bool) -> usize {
    let Kind::Containers { .. } = kind else { return 0 };
    let filter = format!("label={}={}", label::INSTANCE, instance(dir));
    let mut arguments = vec!["ps", "--quiet", "--filter", &filter];
    arguments.extend(all.then_some("--all"));
    docker::lines(&arguments).len()
}

fn soon(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The path map, as the routes are.
fn publish(routes: &Routes, public: &Path, map: &Path) {
    std::fs::create_dir_all(map).unwrap();
    let sockets = PathOfSockets::new(public).unwrap();
    let table: PathTable = routes
        .list()
        .into_iter()
        .map(|(slug, _)| {
            let slug = slug.parse().unwrap();
            let address = sockets.of(&slug).unwrap();
            (slug, address)
        })
        .collect();
    Folder::new(Form::NginxMap, map).write(&table).unwrap();
}

/// Counts what the library logs, and kills this process at the step it is told.
struct Stopper {
    steps: AtomicU32,
    kill_at: AtomicU32,
}

impl Default for Stopper {
    fn default() -> Self {
        Self {
            steps: AtomicU32::new(0),
            kill_at: AtomicU32::new(0),
        }
    }
}

impl tracing::Subscriber for Stopper {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("bmm_deploy")
    }

    fn event(&self, _: &tracing::Event<'_>) {
        let kill_at = self.kill_at.load(Ordering::SeqCst);
        if kill_at > 0 && self.steps.fetch_add(1, Ordering::SeqCst) + 1 == kill_at {
            let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::KILL);
        }
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

/// A deployer of another process, with the one that watches it.
struct Play {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<std::process::ChildStdout>,
}

impl Play {
    fn begin(life: &Life) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([WATCH, &serde_json::to_string(life).unwrap()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            stdin: child.stdin.take(),
            stdout: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    /// What the deployer says, unless it is killed before that.
    fn settled(&mut self) -> Option<Settled> {
        let line = self.line();
        if let Some(orphans) = line.strip_prefix("orphans: ") {
            assert_eq!(orphans, "0", "processes outlived the deployer");
            return None;
        }
        Some(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}")))
    }

    /// Lets it end, and sees that nothing outlives it.
    fn end(mut self) {
        if let Some(mut stdin) = self.stdin.take() {
            let _ = stdin.write_all(b"\n");
        }
        assert_eq!(self.line(), "orphans: 0");
        self.child.wait().unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }
}

impl Drop for Play {
    fn drop(&mut self) {
        // Its standard input ends with us, and with that the deployer.
        drop(self.stdin.take());
        let _ = self.child.wait();
    }
}

fn killed_at_each_step(kind: &Kind) {
    let steps = {
        let dir = tempfile::tempdir().unwrap();
        let mut whole = Play::begin(&Life {
            kind: kind.clone(),
            dir: dir.path().to_owned(),
            roll: Some("2".to_owned()),
            kill_at: None,
        });
        let settled = whole.settled().unwrap();
        assert_eq!(settled.instances, [("2".to_owned(), true)]);
        whole.end();
        settled.steps
    };
    println!("{steps} steps");
    assert!(steps >= 15, "{steps} steps are not all of a redeploy");
    let next = AtomicU32::new(1);
    // A few at a time; each has a directory of its own.
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                loop {
                    let step = next.fetch_add(1, Ordering::Relaxed);
                    if step > steps {
                        return;
                    }
                    killed_at(kind, step);
                }
            });
        }
    });
}

fn killed_at(kind: &Kind, step: u32) {
    let dir = tempfile::tempdir().unwrap();
    let life = Life {
        kind: kind.clone(),
        dir: dir.path().to_owned(),
        roll: Some("2".to_owned()),
        kill_at: Some(step),
    };
    let mut first = Play::begin(&life);
    // The order of the last steps differs a little from run to run: it may come to its end before.
    if first.settled().is_some() {
        first.end();
        println!("not killed at step {step}");
    }
    soon("containers end with their deployer", || {
        containers(kind, dir.path(), false) == 0
    });
    let wished = std::fs::read_to_string(dir.path().join("wish")).unwrap_or_else(|_| "1".to_owned());

    let mut second = Play::begin(&Life {
        roll: None,
        kill_at: None,
        ..life
    });
    let settled = second.settled().expect("lives");
    let at = format!("killed at step {step}");
    assert_eq!(settled.instances, [(wished.clone(), true)], "{at}");
    let run_dir = dir.path().join("run");
    assert_eq!(ask(&run_dir.join("public/demo.sock")), wished, "{at}");
    assert_eq!(names(&run_dir.join("public")), ["demo.sock"], "{at}");
    let is_contained = matches!(kind, Kind::Containers { .. });
    let left = names(&run_dir);
    assert_eq!(left.len(), 2 + usize::from(is_contained), "{at}: {left:?}");
    assert_eq!(names(&dir.path().join("map")), ["bmm.map"], "{at}");
    let map = std::fs::read_to_string(dir.path().join("map/bmm.map")).unwrap();
    assert_eq!(map.matches("demo.sock").count(), 1, "{at}: {map}");
    // A runner is below a keeper, which is a child of the deployer; or it is in a container.
    let runners = children(settled.pid).len();
    assert_eq!(runners, usize::from(!is_contained), "{at}");
    soon(&at, || {
        containers(kind, dir.path(), true) == usize::from(is_contained)
    });
    second.end();
    soon(&at, || containers(kind, dir.path(), true) == 0);
    assert_eq!(names(&run_dir), ["public"], "{at}");
    assert_eq!(names(&run_dir.join("public")), [""; 0], "{at}");
    let map = std::fs::read_to_string(dir.path().join("map/bmm.map")).unwrap();
    assert_eq!(map.matches("demo").count(), 0, "{at}: {map}");
}

/// Which revision answers.
fn ask(socket: &Path) -> String {
    use std::io::Read as _;
    let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
    stream
        .write_all(b"GET /revision HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.rsplit("\r\n\r\n").next().unwrap().to_owned()
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn children(of: u32) -> Vec<u32> {
    let mut children = Vec::new();
    for thread in std::fs::read_dir(format!("/proc/{of}/task"))
        .into_iter()
        .flatten()
    {
        let file = thread.unwrap().path().join("children");
        let text = std::fs::read_to_string(file).unwrap_or_default();
        children.extend(text.split_whitespace().map(|pid| pid.parse::<u32>().unwrap()));
    }
    children
}
