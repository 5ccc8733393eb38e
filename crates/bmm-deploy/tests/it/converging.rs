//! What was wished for comes about, whatever happens on the way: going back, overtaking, sockets that somebody deletes, servers that
//! hang, disks that are full.

use std::collections::BTreeMap;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bmm_deploy::{
    DeployError, DeployLimits, Deployment, Phase, Probe, ProcessRuntime, ReadyIsEnough, Target,
};
use futures_util::future::BoxFuture;
use http::StatusCode;
use tempfile::TempDir;

use crate::deploys::{World, is_running, kill};
use crate::fake_runner::{Config, ROLE};
use crate::{eventually, launcher, trials};

trials!(
    going_back_brings_the_revision_before_and_twice_comes_back,
    there_is_nothing_to_go_back_to_before_the_second_revision,
    going_back_to_what_does_not_serve_any_more_keeps_what_does,
    going_back_starts_from_what_serves_and_not_from_what_failed,
    fifty_rolls_at_once_leave_the_last,
    a_removal_during_a_roll_leaves_nothing,
    a_runner_that_dies_while_it_is_checked_keeps_the_old_revision,
    a_runner_that_is_never_healthy_keeps_the_old_revision,
    a_name_that_is_taken_keeps_the_old_revision,
    a_full_disk_keeps_the_old_revision,
    a_socket_that_somebody_deletes_is_back,
    a_directory_that_somebody_deletes_is_back,
    public_sockets_become_what_they_should_be,
    calls_that_wait_for_a_revision_that_fell_are_answered_by_the_next,
    a_server_that_hangs_is_started_again,
    a_server_that_was_started_again_is_checked_and_goes_on_answering,
);

const SOON: Duration = Duration::from_secs(20);

fn often() -> DeployLimits {
    let mut limits = DeployLimits::default();
    limits.sweep_every = Duration::from_millis(50);
    limits
}

async fn only(world: &World, revision: &str) {
    eventually(SOON, "one instance", async || {
        matches!(world.deployer.status().as_slice(), [one] if one.phase == Phase::Healthy && one.routed)
    })
    .await;
    assert_eq!(
        world.get("/demo/revision").await,
        (StatusCode::OK, revision.to_owned())
    );
    assert_eq!(world.sockets(), 1);
}

async fn going_back_brings_the_revision_before_and_twice_comes_back() {
    let world = World::new();
    for revision in ["1", "2", "3"] {
        world.roll("demo", &Config::new(revision)).await.unwrap();
    }
    for revision in ["2", "3", "2"] {
        let live = world.deployer.rollback("demo").await.unwrap();
        assert_eq!(live.revision, revision);
        only(&world, revision).await;
    }
    world.deployer.shutdown().await;
}

async fn there_is_nothing_to_go_back_to_before_the_second_revision() {
    let world = World::new();
    let refused = |found| matches!(found, Err(DeployError::NoPrevious { slug }) if slug == "demo");
    assert!(refused(world.deployer.rollback("demo").await));
    world.roll("demo", &Config::new("1")).await.unwrap();
    assert!(refused(world.deployer.rollback("demo").await));
    world.roll("demo", &Config::new("2")).await.unwrap();
    world.deployer.remove("demo").await.unwrap();
    world.roll("demo", &Config::new("3")).await.unwrap();
    assert!(
        refused(world.deployer.rollback("demo").await),
        "a removed server has no past"
    );
    only(&world, "3").await;
    world.deployer.shutdown().await;
}

/// Finds those revisions unfit that it is told.
#[derive(Default)]
struct Unfit(Mutex<Vec<String>>);

impl Unfit {
    fn add(&self, revision: &str) {
        self.0.lock().unwrap().push(revision.to_owned());
    }
}

impl Probe for Unfit {
    fn check<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<(), String>> {
        let unfit = self.0.lock().unwrap().contains(&target.revision);
        Box::pin(async move {
            match unfit {
                true => Err("unfit".to_owned()),
                false => Ok(()),
            }
        })
    }
}

async fn going_back_to_what_does_not_serve_any_more_keeps_what_does() {
    let probe = Arc::new(Unfit::default());
    let world = World::with(probe.clone(), DeployLimits::default());
    for revision in ["1", "2"] {
        world.roll("demo", &Config::new(revision)).await.unwrap();
    }
    probe.add("1");
    let error = world.deployer.rollback("demo").await.unwrap_err();
    assert!(
        matches!(&error, DeployError::Unhealthy { revision, .. } if revision == "1"),
        "{error}"
    );
    only(&world, "2").await;
    world.deployer.shutdown().await;
}

async fn going_back_starts_from_what_serves_and_not_from_what_failed() {
    let probe = Arc::new(Unfit::default());
    probe.add("3");
    let world = World::with(probe, DeployLimits::default());
    for revision in ["1", "2"] {
        world.roll("demo", &Config::new(revision)).await.unwrap();
    }
    world.roll("demo", &Config::new("3")).await.unwrap_err();
    assert_eq!(world.deployer.rollback("demo").await.unwrap().revision, "1");
    only(&world, "1").await;
    world.deployer.shutdown().await;
}

async fn fifty_rolls_at_once_leave_the_last() {
    let world = World::new();
    world.roll("demo", &Config::new("0")).await.unwrap();
    let mut rolls = BTreeMap::new();
    for revision in 1..=50 {
        let deployer = world.deployer.clone();
        let config = Config::new(&revision.to_string());
        let (begun, begins) = tokio::sync::oneshot::channel();
        rolls.insert(
            revision,
            tokio::spawn(async move {
                let deployment = Deployment::new("demo", config.revision.clone(), config.bytes());
                let roll = deployer.roll(deployment);
                tokio::pin!(roll);
                let first = futures_util::poll!(roll.as_mut());
                assert!(first.is_pending());
                begun.send(()).unwrap();
                roll.await
            }),
        );
        begins.await.unwrap();
        assert_eq!(
            world.get("/demo/revision").await.0,
            StatusCode::OK,
            "served meanwhile"
        );
    }
    let mut live = Vec::new();
    for (revision, roll) in rolls {
        match roll.await.unwrap() {
            Ok(found) => live.push((revision, found.revision)),
            Err(DeployError::Overtaken { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(live.last(), Some(&(50, "50".to_owned())), "{live:?}");
    only(&world, "50").await;
    world.deployer.shutdown().await;
}

async fn a_removal_during_a_roll_leaves_nothing() {
    for pause_ms in [0, 1, 5, 20, 60, 120] {
        let world = World::new();
        let old = world.roll("demo", &Config::new("1")).await.unwrap();
        let deployer = world.deployer.clone();
        let roll = tokio::spawn(async move {
            let config = Config::new("2");
            deployer.roll(Deployment::new("demo", "2", config.bytes())).await
        });
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        let removed = world.deployer.remove("demo").await.unwrap();
        assert!(removed.was_routed);
        if let Err(error) = roll.await.unwrap() {
            assert!(matches!(error, DeployError::Overtaken { .. }), "{error}");
        }
        // One that was not even begun yet when the other was removed comes after it.
        world.deployer.remove("demo").await;
        assert_eq!(world.get("/demo/revision").await.0, StatusCode::NOT_FOUND);
        assert_eq!((world.deployer.status().len(), world.sockets()), (0, 0));
        assert!(!is_running(old.pid));
    }
}

/// Never comes to an end.
struct Endless;

impl Probe for Endless {
    fn check<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async {
            if target.revision != "1" {
                std::future::pending::<()>().await;
            }
            Ok(())
        })
    }
}

async fn a_runner_that_dies_while_it_is_checked_keeps_the_old_revision() {
    let world = World::with(Arc::new(Endless), DeployLimits::default());
    world.roll("demo", &Config::new("1")).await.unwrap();
    let dies = Config {
        end_after_ms: Some(30),
        ..Config::new("2")
    };
    let error = world.roll("demo", &dies).await.unwrap_err();
    assert!(error.to_string().contains("ended"), "{error}");
    only(&world, "1").await;
    world.deployer.shutdown().await;
}

async fn a_runner_that_is_never_healthy_keeps_the_old_revision() {
    let mut limits = DeployLimits::default();
    limits.probe_timeout = Duration::from_millis(200);
    let world = World::with(Arc::new(Endless), limits);
    world.roll("demo", &Config::new("1")).await.unwrap();
    let error = world.roll("demo", &Config::new("2")).await.unwrap_err();
    assert!(error.to_string().contains("in time"), "{error}");
    only(&world, "1").await;
    world.deployer.shutdown().await;
}

/// Somebody else's thing is where the new revision's socket, or the public one, is to be made.
async fn a_name_that_is_taken_keeps_the_old_revision() {
    let world = World::new();
    world.roll("demo", &Config::new("1")).await.unwrap();
    let run_dir = world.dir.path().join("run");
    for taken in ["demo.2.sock", "public/demo.new"] {
        let taken = run_dir.join(taken);
        std::fs::create_dir(&taken).unwrap();
        let error = world.roll("demo", &Config::new("2")).await.unwrap_err();
        assert!(error.to_string().contains("cannot make"), "{error}");
        std::fs::remove_dir(&taken).unwrap();
        only(&world, "1").await;
    }
    world.roll("demo", &Config::new("2")).await.unwrap();
    only(&world, "2").await;
    world.deployer.shutdown().await;
}

const SMALL_DISK: &str = "--on-a-small-disk";

/// A disk of its own, in a mount namespace, that has room for a few files.
async fn a_full_disk_keeps_the_old_revision() {
    let dir = TempDir::new().unwrap();
    let mut unshare = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        unshare.args(["--user", "--map-root-user"]);
    }
    let script = r#"mount -t tmpfs -o size=1m,nr_inodes=12,mode=0700 tmpfs "$2" && exec "$0" "$1" "$2""#;
    unshare.args(["--mount", "sh", "-c", script]);
    unshare.arg(std::env::current_exe().unwrap());
    unshare.arg(SMALL_DISK).arg(dir.path());
    let output = tokio::task::spawn_blocking(move || unshare.output().unwrap());
    let output = output.await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("kept"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// In the role above this does not return.
pub(crate) fn play_if_asked() {
    let mut arguments = std::env::args().skip(1);
    let (Some(SMALL_DISK), Some(disk)) = (arguments.next().as_deref(), arguments.next()) else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(on_a_small_disk(Path::new(&disk)));
    std::process::exit(0);
}

async fn on_a_small_disk(disk: &Path) {
    let dir = TempDir::new_in(disk).unwrap();
    let run_dir = dir.path().join("run");
    let runtime = ProcessRuntime::new(launcher(), ROLE, &run_dir).unwrap();
    let world = World::over(runtime, dir, Arc::new(ReadyIsEnough), DeployLimits::default());
    world.roll("demo", &Config::new("1")).await.unwrap();
    let fill = || {
        let mut fillers = Vec::new();
        while let Ok(file) = tempfile::NamedTempFile::new_in(disk) {
            fillers.push(file);
        }
        fillers
    };
    // No room for its socket; then none for the public name of it.
    for free in 0..2 {
        let mut fillers = fill();
        fillers.truncate(fillers.len() - free);
        let error = world.roll("demo", &Config::new("2")).await.unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("cannot make") && error.contains("No space left"),
            "{error}"
        );
        assert_eq!(error.contains("public"), free == 1, "{error}");
        only(&world, "1").await;
    }
    world.roll("demo", &Config::new("2")).await.unwrap();
    only(&world, "2").await;
    world.deployer.shutdown().await;
    println!("kept");
}

async fn a_socket_that_somebody_deletes_is_back() {
    let world = World::with(Arc::new(ReadyIsEnough), often());
    let live = world.roll("demo", &Config::new("1")).await.unwrap();
    std::fs::remove_file(&live.socket).unwrap();
    eventually(SOON, "the socket is back", async || {
        live.socket
            .symlink_metadata()
            .is_ok_and(|found| found.file_type().is_socket())
    })
    .await;
    only(&world, "1").await;
    assert_eq!(world.restarts("demo"), 0, "it had another name");
    assert_eq!(world.deployer.status()[0].pid, Some(live.pid));
    world.deployer.shutdown().await;
}

async fn a_directory_that_somebody_deletes_is_back() {
    let world = World::with(Arc::new(ReadyIsEnough), often());
    world.roll("demo", &Config::new("1")).await.unwrap();
    std::fs::remove_dir_all(world.dir.path().join("run")).unwrap();
    eventually(SOON, "reached again", async || {
        world.public("demo").exists() && world.get("/demo/revision").await.0 == StatusCode::OK
    })
    .await;
    only(&world, "1").await;
    assert_eq!(
        world.restarts("demo"),
        1,
        "nothing led to the old socket any more"
    );
    world.roll("demo", &Config::new("2")).await.unwrap();
    only(&world, "2").await;
    world.deployer.shutdown().await;
    assert_eq!(world.sockets(), 0);
}

async fn public_sockets_become_what_they_should_be() {
    let world = World::with(Arc::new(ReadyIsEnough), often());
    world.roll("demo", &Config::new("1")).await.unwrap();
    let (demo, stray) = (world.public("demo"), world.public("stray"));
    std::fs::write(&stray, "").unwrap();
    std::fs::remove_file(&demo).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(&demo).unwrap();
    eventually(SOON, "led to the server", async || {
        !stray.exists() && bmm_answers(&demo).await.as_deref() == Some("1")
    })
    .await;
    world.deployer.shutdown().await;
}

/// The revision that answers on a socket, unless nothing does.
async fn bmm_answers(socket: &Path) -> Option<String> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::UnixStream::connect(socket).await.ok()?;
    let request = b"GET /revision HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.ok()?;
    let mut answer = String::new();
    let read = tokio::time::timeout(Duration::from_millis(200), stream.read_to_string(&mut answer));
    read.await.ok()?.ok()?;
    answer.rsplit("\r\n\r\n").next().map(str::to_owned)
}

/// Asks for the revision, as a host's probe asks for tools.
struct Asks;

impl Probe for Asks {
    fn check<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async {
            let answer = bmm_answers(&target.socket).await;
            (answer.as_deref() == Some(target.revision.as_str()))
                .then_some(())
                .ok_or_else(|| format!("it says {answer:?}"))
        })
    }
}

async fn calls_that_wait_for_a_revision_that_fell_are_answered_by_the_next() {
    let world = World::new();
    let falls = Config {
        end_after_ms: Some(20),
        ..Config::new("1")
    };
    world.roll("demo", &falls).await.unwrap();
    eventually(SOON, "a longer pause", async || {
        let status = world.deployer.status();
        status[0].restarts >= 5 && status[0].phase == (Phase::Down { due: false })
    })
    .await;
    let public = world.public("demo");
    let calls: Vec<_> = (0..20)
        .map(|_| {
            use std::io::Write as _;
            let mut stream = std::os::unix::net::UnixStream::connect(&public).unwrap();
            stream
                .write_all(b"GET /revision HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
                .unwrap();
            stream
        })
        .collect();
    world.roll("demo", &Config::new("2")).await.unwrap();
    for call in calls {
        use tokio::io::AsyncReadExt as _;
        call.set_nonblocking(true).unwrap();
        let mut call = tokio::net::UnixStream::from_std(call).unwrap();
        let mut answer = String::new();
        call.read_to_string(&mut answer).await.unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\n2"),
            "{answer}"
        );
    }
    only(&world, "2").await;
    world.deployer.shutdown().await;
}

async fn a_server_that_hangs_is_started_again() {
    let mut limits = often();
    limits.probe_timeout = Duration::from_secs(2);
    let world = World::with(Arc::new(Asks), limits);
    let live = world.roll("demo", &Config::new("1")).await.unwrap();
    assert_eq!(world.get("/demo/hang").await.1, "hangs");
    eventually(SOON, "started again", async || {
        world.restarts("demo") == 1 && !is_running(live.pid)
    })
    .await;
    only(&world, "1").await;
    world.deployer.shutdown().await;
}

/// Counts, and can be told to find everything unfit.
#[derive(Default)]
struct Counts {
    checks: AtomicUsize,
    unfit: AtomicBool,
}

impl Probe for Counts {
    fn check<'a>(&'a self, _: &'a Target) -> BoxFuture<'a, Result<(), String>> {
        self.checks.fetch_add(1, Ordering::SeqCst);
        let unfit = self.unfit.load(Ordering::SeqCst);
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            (!unfit).then_some(()).ok_or_else(|| "unfit".to_owned())
        })
    }
}

async fn a_server_that_was_started_again_is_checked_and_goes_on_answering() {
    let probe = Arc::new(Counts::default());
    let world = World::with(probe.clone(), DeployLimits::default());
    world.roll("demo", &Config::new("1")).await.unwrap();
    assert_eq!(probe.checks.load(Ordering::SeqCst), 1);
    kill(world.deployer.status()[0].pid.unwrap());
    assert_eq!(
        world.get("/demo/revision").await.0,
        StatusCode::OK,
        "it waited for the next process, and not for the check"
    );
    only(&world, "1").await;
    assert_eq!(probe.checks.load(Ordering::SeqCst), 2);

    probe.unfit.store(true, Ordering::SeqCst);
    kill(world.deployer.status()[0].pid.unwrap());
    eventually(SOON, "tried again and again", async || {
        world.restarts("demo") >= 4
    })
    .await;
    probe.unfit.store(false, Ordering::SeqCst);
    only(&world, "1").await;
    world.deployer.shutdown().await;
}
