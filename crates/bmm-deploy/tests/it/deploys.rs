//! Real caged processes under a real deployer.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bmm_deploy::{
    DeployError, DeployLimits, Deployer, Deployment, EgressProxy, Phase, Probe, ProcessRuntime,
    PublicSockets, ReadyIsEnough, Retired, RouterService, Routes, Target,
};
use bmm_net::Dialer;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use tempfile::TempDir;

use crate::fake_runner::{Config, ROLE};
use crate::{eventually, launcher, trials};

trials!(
    a_rolled_server_serves_and_is_removed_without_a_trace,
    no_two_servers_are_one_user,
    a_killed_runner_is_back_and_the_call_in_between_succeeds,
    a_runner_that_exits_by_itself_is_back_too,
    a_roll_under_load_loses_nothing,
    a_slow_call_is_finished_by_the_revision_that_took_it,
    a_failed_probe_keeps_the_old_revision_and_leaves_nothing,
    a_runner_that_refuses_to_start_keeps_the_old_revision,
    a_runner_that_never_answers_is_given_up,
    a_crash_loop_backs_off_and_callers_are_told,
    a_runner_that_talks_out_of_turn_is_ended,
    a_runner_that_does_not_drain_is_killed_in_time,
    a_later_roll_overtakes,
    a_removal_ends_although_the_slug_is_deployed_again,
    rolling_what_is_live_changes_nothing,
    a_slug_is_checked_again,
    shutdown_ends_everything,
    a_long_run_directory_works_and_stale_sockets_go,
    a_run_directory_of_somebody_else_is_refused,
    the_way_out_leads_through_the_hosts_proxy,
    no_config_byte_shows_in_debug_or_arguments,
);

pub(crate) struct World {
    pub(crate) deployer: Deployer,
    pub(crate) router: RouterService,
    pub(crate) dir: TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(Arc::new(ReadyIsEnough), DeployLimits::default())
    }

    pub(crate) fn with(probe: Arc<dyn Probe>, limits: DeployLimits) -> Self {
        let dir = TempDir::new().unwrap();
        let runtime = ProcessRuntime::new(launcher(), ROLE, dir.path().join("run")).unwrap();
        Self::over(runtime, dir, probe, limits)
    }

    pub(crate) fn over(
        runtime: ProcessRuntime,
        dir: TempDir,
        probe: Arc<dyn Probe>,
        limits: DeployLimits,
    ) -> Self {
        let routes = Routes::new();
        let egress = EgressProxy::new(Dialer::new(), || Box::pin(async { "{\"keys\":[]}".into() }));
        let public = PublicSockets::new(dir.path().join("run/public")).unwrap();
        let deployer =
            Deployer::with_limits(runtime, routes.clone(), egress, probe, limits).with_public_sockets(public);
        Self {
            deployer,
            router: RouterService::new(routes),
            dir,
        }
    }

    pub(crate) async fn roll(&self, slug: &str, config: &Config) -> Result<bmm_deploy::Live, DeployError> {
        self.deployer
            .roll(Deployment::new(slug, config.revision.clone(), config.bytes()))
            .await
    }

    pub(crate) async fn get(&self, path: &str) -> (StatusCode, String) {
        get(&self.router, path).await
    }

    /// Sockets and whatever else, but for the directory of the public ones, in which there is one per routed server.
    pub(crate) fn sockets(&self) -> usize {
        let public = std::fs::read_dir(self.dir.path().join("run/public")).unwrap();
        assert_eq!(public.count(), self.deployer.routes().list().len());
        std::fs::read_dir(self.dir.path().join("run")).unwrap().count() - 1
    }

    pub(crate) fn public(&self, slug: &str) -> PathBuf {
        self.dir.path().join(format!("run/public/{slug}.sock"))
    }

    pub(crate) fn restarts(&self, slug: &str) -> u64 {
        self.deployer
            .status()
            .iter()
            .filter(|one| one.slug == slug)
            .map(|one| one.restarts)
            .sum()
    }
}

pub(crate) async fn get(router: &RouterService, path: &str) -> (StatusCode, String) {
    let answer = router
        .handle(Request::get(path).body(Full::<Bytes>::default()).unwrap())
        .await;
    let status = answer.status();
    match answer.into_body().collect().await {
        Ok(body) => (status, String::from_utf8(body.to_bytes().to_vec()).unwrap()),
        Err(_) => (StatusCode::BAD_GATEWAY, "the body broke off".to_owned()),
    }
}

pub(crate) fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

pub(crate) fn is_running(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

async fn a_rolled_server_serves_and_is_removed_without_a_trace() {
    let world = World::new();
    let live = world.roll("demo", &Config::new("1")).await.unwrap();
    assert_eq!((live.slug.as_str(), live.revision.as_str()), ("demo", "1"));
    assert_eq!(
        world.get("/demo/revision").await,
        (StatusCode::OK, "1".to_owned())
    );
    assert!(is_running(live.pid));
    let removed = world.deployer.remove("demo").await.unwrap();
    assert_eq!((removed.slug.as_str(), removed.was_routed), ("demo", true));
    let retired = Retired {
        revision: "1".to_owned(),
        pid: Some(live.pid),
        how: Some("exit code 0".to_owned()),
    };
    assert_eq!(removed.runners, [retired]);
    assert_eq!(world.get("/demo/revision").await.0, StatusCode::NOT_FOUND);
    assert!(!is_running(live.pid));
    assert_eq!((world.sockets(), world.deployer.status().len()), (0, 0));
    assert_eq!(world.deployer.remove("demo").await, None);
}

/// Where root starts them; an ordinary user's servers are kept apart by their namespaces alone.
async fn no_two_servers_are_one_user() {
    let world = World::new();
    let mut users = std::collections::BTreeSet::new();
    for slug in ["one", "two", "three"] {
        let live = world.roll(slug, &Config::new("1")).await.unwrap();
        let status = std::fs::read_to_string(format!("/proc/{}/status", live.pid)).unwrap();
        let user = status
            .lines()
            .find_map(|line| line.strip_prefix("Uid:"))
            .and_then(|users| users.split_whitespace().next())
            .map(|user| user.parse::<u32>().unwrap())
            .unwrap();
        assert_ne!(user, 0);
        users.insert(user);
    }
    let expected = if rustix::process::geteuid().is_root() {
        3
    } else {
        1
    };
    assert_eq!(users.len(), expected, "{users:?}");
    world.deployer.shutdown().await;
}

async fn a_killed_runner_is_back_and_the_call_in_between_succeeds() {
    let world = World::new();
    let live = world.roll("demo", &Config::new("1")).await.unwrap();
    assert_eq!(world.get("/demo/revision").await.0, StatusCode::OK);
    for time in 1..=3 {
        let pid = world.deployer.status()[0].pid.unwrap_or(live.pid);
        kill(pid);
        eventually(Duration::from_secs(5), "the process is gone", async || {
            !is_running(pid)
        })
        .await;
        let killed = Instant::now();
        assert_eq!(
            world.get("/demo/revision").await,
            (StatusCode::OK, "1".to_owned()),
            "kill number {time}"
        );
        assert!(
            killed.elapsed() < Duration::from_secs(2),
            "{:?}",
            killed.elapsed()
        );
        eventually(Duration::from_secs(2), "healthy again", async || {
            world
                .deployer
                .status()
                .iter()
                .all(|one| one.phase == Phase::Healthy)
        })
        .await;
        assert_eq!(world.restarts("demo"), time);
    }
    world.deployer.shutdown().await;
}

async fn a_runner_that_exits_by_itself_is_back_too() {
    let world = World::new();
    world.roll("demo", &Config::new("1")).await.unwrap();
    assert_eq!(
        world.get("/demo/exit").await.0,
        StatusCode::BAD_GATEWAY,
        "the call that ended it is not repeated"
    );
    assert_eq!(world.get("/demo/revision").await.0, StatusCode::OK);
    assert_eq!(world.restarts("demo"), 1);
    world.deployer.shutdown().await;
}

async fn a_roll_under_load_loses_nothing() {
    let world = World::new();
    world.roll("demo", &Config::new("0")).await.unwrap();
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let callers: Vec<_> = (0..8)
        .map(|caller| {
            let (router, stop, done) = (world.router.clone(), Arc::clone(&stop), Arc::clone(&done));
            tokio::spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    let path = if caller % 2 == 0 {
                        "/demo/revision"
                    } else {
                        "/demo/slow?5"
                    };
                    let (status, body) = get(&router, path).await;
                    assert_eq!(status, StatusCode::OK, "{body}");
                    done.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    for revision in 1..=5 {
        let before = done.load(Ordering::SeqCst);
        let live = world
            .roll("demo", &Config::new(&revision.to_string()))
            .await
            .unwrap();
        assert_eq!(live.revision, revision.to_string());
        eventually(Duration::from_secs(20), "calls go on", async || {
            done.load(Ordering::SeqCst) > before + 100
        })
        .await;
    }
    stop.store(true, Ordering::SeqCst);
    for caller in callers {
        caller.await.unwrap();
    }
    assert!(done.load(Ordering::SeqCst) >= 500);
    eventually(Duration::from_secs(10), "the old ones are retired", async || {
        world.deployer.status().len() == 1
    })
    .await;
    assert_eq!(world.restarts("demo"), 0);
    world.deployer.shutdown().await;
}

async fn a_slow_call_is_finished_by_the_revision_that_took_it() {
    let world = World::new();
    world.roll("demo", &Config::new("1")).await.unwrap();
    let router = world.router.clone();
    let slow = tokio::spawn(async move { get(&router, "/demo/slow?700").await });
    eventually(Duration::from_secs(5), "the call is under way", async || {
        world.get("/demo/revision").await.1 == "1"
    })
    .await;
    world.roll("demo", &Config::new("2")).await.unwrap();
    assert_eq!(
        world.get("/demo/revision").await.1,
        "2",
        "new calls do not wait for old ones"
    );
    assert_eq!(slow.await.unwrap(), (StatusCode::OK, "1".to_owned()));
    world.deployer.shutdown().await;
}

/// Finds revision "bad" unfit.
struct NotBad;

impl Probe for NotBad {
    fn check<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            assert!(target.socket.exists());
            if target.revision == "bad" {
                Err("the manifest differs".to_owned())
            } else {
                Ok(())
            }
        })
    }
}

async fn a_failed_probe_keeps_the_old_revision_and_leaves_nothing() {
    let world = World::with(Arc::new(NotBad), DeployLimits::default());
    let live = world.roll("demo", &Config::new("1")).await.unwrap();
    let error = world.roll("demo", &Config::new("bad")).await.unwrap_err();
    assert!(
        matches!(&error, DeployError::Unhealthy { reason, .. } if reason == "the manifest differs"),
        "{error}"
    );
    assert_eq!(world.get("/demo/revision").await.1, "1");
    let status = world.deployer.status();
    assert!(
        matches!(status.as_slice(), [one] if one.pid == Some(live.pid) && one.restarts == 0),
        "{status:?}"
    );
    assert_eq!(world.sockets(), 1);

    let error = world.roll("fresh", &Config::new("bad")).await.unwrap_err();
    assert!(matches!(error, DeployError::Unhealthy { .. }));
    assert_eq!(
        (world.get("/fresh/revision").await.0, world.sockets()),
        (StatusCode::NOT_FOUND, 1)
    );
    world.deployer.shutdown().await;
}

async fn a_runner_that_refuses_to_start_keeps_the_old_revision() {
    let world = World::new();
    world.roll("demo", &Config::new("1")).await.unwrap();
    let refuses = Config {
        refuse: Some("spec digest differs".into()),
        ..Config::new("2")
    };
    let error = world.roll("demo", &refuses).await.unwrap_err();
    assert!(error.to_string().contains("spec digest differs"), "{error}");
    assert_eq!(world.get("/demo/revision").await.1, "1");
    assert_eq!((world.deployer.status().len(), world.sockets()), (1, 1));
    world.deployer.shutdown().await;
}

async fn a_runner_that_never_answers_is_given_up() {
    let mut limits = DeployLimits::default();
    limits.start_timeout = Duration::from_millis(300);
    let world = World::with(Arc::new(ReadyIsEnough), limits);
    let error = world
        .roll(
            "demo",
            &Config {
                hang: true,
                ..Config::new("1")
            },
        )
        .await
        .unwrap_err();
    assert!(matches!(error, DeployError::Start { .. }), "{error}");
    assert_eq!((world.deployer.status().len(), world.sockets()), (0, 0));
}

async fn a_crash_loop_backs_off_and_callers_are_told() {
    let world = World::new();
    // Up long enough to be routed, then down, again and again.
    world
        .roll(
            "demo",
            &Config {
                end_after_ms: Some(20),
                ..Config::new("1")
            },
        )
        .await
        .unwrap();
    let begun = Instant::now();
    eventually(
        Duration::from_secs(20),
        "callers are told to come back",
        async || {
            let answer = world
                .router
                .handle(
                    Request::get("/demo/slow?10000")
                        .body(Full::<Bytes>::default())
                        .unwrap(),
                )
                .await;
            answer.status() == StatusCode::SERVICE_UNAVAILABLE && answer.headers().contains_key("retry-after")
        },
    )
    .await;
    // 0, 0.1, 0.2, 0.4, 0.8, 1.6 s: six restarts in three seconds, not hundreds.
    assert!(begun.elapsed() > Duration::from_secs(2), "{:?}", begun.elapsed());
    assert!(
        (3..=8).contains(&world.restarts("demo")),
        "{} restarts",
        world.restarts("demo")
    );
    let healed = world.roll("demo", &Config::new("2")).await.unwrap();
    assert_eq!(
        world.get("/demo/revision").await.1,
        healed.revision,
        "a good revision ends the misery at once"
    );
    world.deployer.shutdown().await;
}

async fn a_runner_that_talks_out_of_turn_is_ended() {
    let world = World::new();
    let _ = world
        .roll(
            "demo",
            &Config {
                chatter: true,
                ..Config::new("1")
            },
        )
        .await;
    eventually(Duration::from_secs(10), "it was ended", async || {
        world.deployer.status().is_empty() || world.restarts("demo") > 0
    })
    .await;
    world.deployer.shutdown().await;
}

async fn a_runner_that_does_not_drain_is_killed_in_time() {
    let mut limits = DeployLimits::default();
    limits.drain_timeout = Duration::from_millis(200);
    let world = World::with(Arc::new(ReadyIsEnough), limits);
    let live = world
        .roll(
            "demo",
            &Config {
                stubborn: true,
                ..Config::new("1")
            },
        )
        .await
        .unwrap();
    let begun = Instant::now();
    assert!(world.deployer.remove("demo").await.is_some());
    assert!(begun.elapsed() >= Duration::from_millis(200) && begun.elapsed() < Duration::from_secs(5));
    assert!(!is_running(live.pid));
}

/// Holds every check until told otherwise.
struct Held(tokio::sync::Semaphore);

impl Probe for Held {
    fn check<'a>(&'a self, _: &'a Target) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async {
            self.0
                .acquire()
                .await
                .map(drop)
                .map_err(|error| error.to_string())
        })
    }
}

async fn a_later_roll_overtakes() {
    let probe = Arc::new(Held(tokio::sync::Semaphore::new(0)));
    let world = World::with(probe.clone(), DeployLimits::default());
    let deployer = world.deployer.clone();
    let first = tokio::spawn(async move {
        deployer
            .roll(Deployment::new("demo", "1", Config::new("1").bytes()))
            .await
    });
    eventually(
        Duration::from_secs(10),
        "the first is being checked",
        async || {
            world
                .deployer
                .status()
                .iter()
                .any(|one| one.phase == Phase::Probing)
        },
    )
    .await;
    let deployer = world.deployer.clone();
    let second = tokio::spawn(async move {
        deployer
            .roll(Deployment::new("demo", "2", Config::new("2").bytes()))
            .await
    });
    assert!(matches!(first.await.unwrap(), Err(DeployError::Overtaken { .. })));
    probe.0.add_permits(10);
    assert_eq!(second.await.unwrap().unwrap().revision, "2");
    eventually(Duration::from_secs(10), "only the second is left", async || {
        world.deployer.status().len() == 1
    })
    .await;
    assert_eq!(world.get("/demo/revision").await.1, "2");
    world.deployer.shutdown().await;
}

async fn a_removal_ends_although_the_slug_is_deployed_again() {
    let mut limits = DeployLimits::default();
    limits.drain_timeout = Duration::from_millis(500);
    let world = World::with(Arc::new(ReadyIsEnough), limits);
    let stubborn = Config {
        stubborn: true,
        ..Config::new("1")
    };
    let first = world.roll("demo", &stubborn).await.unwrap();
    let deployer = world.deployer.clone();
    let removal = tokio::spawn(async move { deployer.remove("demo").await });
    eventually(Duration::from_secs(10), "the removal has begun", async || {
        world
            .deployer
            .status()
            .iter()
            .any(|one| one.phase == Phase::Draining)
    })
    .await;
    world.roll("demo", &Config::new("2")).await.unwrap();
    let removed = tokio::time::timeout(Duration::from_secs(10), removal).await;
    assert!(removed.expect("the removal returns").unwrap().is_some());
    assert!(!is_running(first.pid));
    assert_eq!(world.get("/demo/revision").await.1, "2");
    world.deployer.shutdown().await;
}

async fn rolling_what_is_live_changes_nothing() {
    let world = World::new();
    let first = world.roll("demo", &Config::new("1")).await.unwrap();
    let again = world.roll("demo", &Config::new("1")).await.unwrap();
    assert_eq!((first.pid, first.socket), (again.pid, again.socket));
    world.deployer.shutdown().await;
}

async fn a_slug_is_checked_again() {
    let world = World::new();
    for slug in ["", "../etc", "A", "a/b", "a.b", "a\0"] {
        assert!(
            matches!(
                world.roll(slug, &Config::new("1")).await,
                Err(DeployError::Slug(_))
            ),
            "{slug:?}"
        );
    }
    assert_eq!(world.sockets(), 0);
}

async fn shutdown_ends_everything() {
    let world = World::new();
    let mut pids = Vec::new();
    for slug in ["a", "b", "c"] {
        pids.push(world.roll(slug, &Config::new("1")).await.unwrap().pid);
    }
    world.deployer.shutdown().await;
    assert!(pids.iter().all(|pid| !is_running(*pid)));
    assert_eq!((world.sockets(), world.deployer.routes().list().len()), (0, 0));
    assert!(matches!(
        world.roll("a", &Config::new("1")).await,
        Err(DeployError::ShuttingDown)
    ));
}

async fn a_long_run_directory_works_and_stale_sockets_go() {
    let dir = TempDir::new().unwrap();
    let deep = dir.path().join("run").join("d".repeat(100)).join("e".repeat(100));
    std::fs::create_dir_all(&deep).unwrap();
    let stale = std::os::unix::net::UnixListener::bind(dir.path().join("stale.sock")).unwrap();
    std::fs::rename(dir.path().join("stale.sock"), deep.join("demo.1.sock")).unwrap();
    drop(stale);
    std::fs::write(deep.join("notes.txt"), "not a socket").unwrap();
    let runtime = ProcessRuntime::new(launcher(), ROLE, &deep).unwrap();
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&deep).unwrap());
    assert_eq!(mode & 0o777, 0o700);
    assert!(deep.join("notes.txt").exists() && !deep.join("demo.1.sock").exists());
    let world = World::over(runtime, dir, Arc::new(ReadyIsEnough), DeployLimits::default());
    world.roll("demo", &Config::new("1")).await.unwrap();
    assert_eq!(world.get("/demo/revision").await.1, "1");
    world.deployer.shutdown().await;
}

async fn a_run_directory_of_somebody_else_is_refused() {
    let dir = TempDir::new().unwrap();
    std::os::unix::fs::symlink(dir.path(), dir.path().join("link")).unwrap();
    assert!(
        ProcessRuntime::new(launcher(), ROLE, dir.path().join("link")).is_err(),
        "a link leads anywhere"
    );
    std::fs::write(dir.path().join("file"), "").unwrap();
    assert!(ProcessRuntime::new(launcher(), ROLE, dir.path().join("file")).is_err());
}

async fn the_way_out_leads_through_the_hosts_proxy() {
    let world = World::new();
    let config = Config::new("1");
    let deployment =
        Deployment::new("demo", "1", config.bytes()).with_egress(["api.example.com".parse().unwrap()]);
    world.deployer.roll(deployment).await.unwrap();
    let (_, answer) = world.get("/demo/egress?GET+/jwks").await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("{\"keys\":[]}"),
        "{answer}"
    );
    let (_, answer) = world.get("/demo/egress?CONNECT+evil.example:443").await;
    assert!(
        answer.starts_with("HTTP/1.1 403") && answer.contains("host_not_allowed"),
        "{answer}"
    );
    // The next process has a way out too.
    kill(world.deployer.status()[0].pid.unwrap());
    eventually(Duration::from_secs(5), "back", async || {
        world.get("/demo/egress?GET+/jwks").await.1.contains("keys")
    })
    .await;
    world.deployer.shutdown().await;
}

async fn no_config_byte_shows_in_debug_or_arguments() {
    let world = World::new();
    let deployment = Deployment::new(
        "demo",
        "1",
        Config {
            refuse: None,
            ..Config::new("s3cr3t-revision")
        }
        .bytes(),
    );
    assert!(!format!("{deployment:?}").contains("s3cr3t"));
    let live = world.deployer.roll(deployment).await.unwrap();
    assert!(!format!("{:?}", world.deployer).contains("s3cr3t"));
    for file in ["cmdline", "environ"] {
        let shown = std::fs::read(format!("/proc/{}/{file}", live.pid)).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&shown).contains("s3cr3t"), "{file}");
    }
    world.deployer.shutdown().await;
}
