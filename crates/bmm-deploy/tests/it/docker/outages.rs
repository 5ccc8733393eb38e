//! The daemon is killed in the middle of a redeploy and started again. A daemon of the test's own, in a network namespace without any
//! network.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bmm_deploy::container::Docker;
use bmm_deploy::{DeployError, Deployment, Phase, Probe, Target};
use futures_util::future::BoxFuture;
use http::StatusCode;
use libtest_mimic::Trial;
use rustix::process::{Pid, Signal};
use tempfile::TempDir;
use tokio::sync::Semaphore;

use super::world::{World, limits};
use crate::deploys::get;
use crate::fake_runner::Config;
use crate::{eventually, trial_within};

pub(crate) fn trials() -> Vec<Trial> {
    let missing = std::env::var_os("BMM_TEST_DOCKERD").is_none();
    vec![
        trial_within(
            "docker::outages::a_daemon_killed_in_the_middle_of_a_redeploy_leaves_one_revision_and_no_more",
            Duration::from_secs(600),
            a_daemon_killed_in_the_middle_of_a_redeploy_leaves_one_revision_and_no_more,
        )
        .with_kind("needs dockerd: cargo xtask test")
        .with_ignored_flag(missing),
    ]
}

/// When the daemon dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    Idle,
    Starting,
    Probing,
    Draining,
}

async fn a_daemon_killed_in_the_middle_of_a_redeploy_leaves_one_revision_and_no_more() {
    let mut daemon = Daemon::new();
    daemon.start().await;
    let image = Docker::connect(daemon.socket())
        .await
        .unwrap()
        .build_image(&std::env::current_exe().unwrap())
        .await
        .unwrap();
    for moment in [Moment::Idle, Moment::Starting, Moment::Probing, Moment::Draining] {
        let docker = Docker::connect(daemon.socket()).await.unwrap();
        let probe = Arc::new(Held(Semaphore::new(1)));
        let mut limits = limits();
        limits.sweep_every = Duration::from_millis(500);
        let world = World::over(docker, image.clone(), |runtime| runtime, probe.clone(), limits).await;
        world.roll("demo", &Config::new("1")).await.unwrap();
        if moment != Moment::Probing {
            probe.0.add_permits(1000);
        }
        let slow = {
            let router = world.router.clone();
            let path = if moment == Moment::Draining {
                "/demo/slow?3000"
            } else {
                "/demo/revision"
            };
            tokio::spawn(async move { get(&router, path).await })
        };
        let roll = {
            let (deployer, config) = (world.deployer.clone(), Config::new("2"));
            tokio::spawn(async move {
                if moment == Moment::Idle {
                    return None;
                }
                let deployment = Deployment::new("demo", "2", config.bytes());
                Some(deployer.roll(deployment).await)
            })
        };
        let phase = match moment {
            Moment::Idle => Phase::Healthy,
            Moment::Starting => Phase::Starting,
            Moment::Probing => Phase::Probing,
            Moment::Draining => Phase::Draining,
        };
        eventually(Duration::from_secs(60), "the moment has come", async || {
            world.deployer.status().iter().any(|one| one.phase == phase)
        })
        .await;
        daemon.kill();
        tokio::time::sleep(Duration::from_millis(300)).await;
        daemon.start().await;
        probe.0.add_permits(1000);

        let serves = match roll.await.unwrap() {
            None => "1",
            Some(Ok(_)) => "2",
            Some(Err(DeployError::Overtaken { .. })) => panic!("nobody overtook it"),
            Some(Err(error)) => {
                println!("{moment:?}: {error}");
                "1"
            }
        };
        // The runner that had the call may have died with the daemon.
        let _ = slow.await;
        eventually(Duration::from_secs(60), "one revision serves", async || {
            matches!(world.deployer.status().as_slice(), [one] if one.phase == Phase::Healthy && one.routed)
                && world.get("/demo/revision").await == (StatusCode::OK, serves.to_owned())
        })
        .await;
        eventually(Duration::from_secs(60), "one container is left", async || {
            daemon.containers(&world.instance) == 1
        })
        .await;
        world.roll("demo", &Config::new("3")).await.unwrap();
        world.deployer.shutdown().await;
        eventually(Duration::from_secs(60), "nothing is left", async || {
            daemon.containers(&world.instance) == 0
        })
        .await;
        assert_eq!(
            std::fs::read_dir(world.run_dir()).unwrap().count(),
            0,
            "{moment:?}"
        );
        println!("{moment:?}: {serves} went on serving");
    }
}

/// As many checks as there are permits.
struct Held(Semaphore);

impl Probe for Held {
    fn check<'a>(&'a self, _: &'a Target) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async {
            self.0.acquire().await.unwrap().forget();
            Ok(())
        })
    }
}

struct Daemon {
    dir: TempDir,
    process: Option<Child>,
}

impl Daemon {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("bmm-dockerd").tempdir().unwrap();
        Self { dir, process: None }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("docker.sock")
    }

    async fn start(&mut self) {
        let at = |name: &str| self.dir.path().join(name);
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(at("log"))
            .unwrap();
        let process = Command::new("setpriv")
            .args(["--pdeathsig=TERM", "--", "unshare", "--net", "--mount", "--"])
            .args(["sh", "-c", "ip link set lo up && exec \"$@\"", "sh"])
            .arg(std::env::var_os("BMM_TEST_DOCKERD").expect("not ignored"))
            .args(["--bridge=none", "--iptables=false"])
            .args(["--ip-forward=false", "--ip-masq=false"])
            .arg(format!("--host=unix://{}", at("docker.sock").display()))
            .arg(format!("--data-root={}", at("data").display()))
            .arg(format!("--exec-root={}", at("exec").display()))
            .arg(format!("--pidfile={}", at("docker.pid").display()))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.process = Some(process);
        eventually(Duration::from_secs(60), "dockerd answers", async || {
            UnixStream::connect(self.socket()).is_ok()
        })
        .await;
    }

    /// kill -9. What it runs lives on for now.
    fn kill(&mut self) {
        let mut process = self.process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
        // The next one must not take itself for a second one, nor the containerd that died with this one for a living one.
        for stale in ["docker.pid", "docker.sock", "exec/containerd/containerd.pid"] {
            let _ = std::fs::remove_file(self.dir.path().join(stale));
        }
    }

    fn containers(&self, instance: &str) -> usize {
        let output = Command::new("docker")
            .arg(format!("--host=unix://{}", self.socket().display()))
            .args(["ps", "--all", "--quiet", "--filter"])
            .arg(format!(
                "label={}={instance}",
                bmm_deploy::container::label::INSTANCE
            ))
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap().lines().count()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            signal(process.id(), Signal::TERM);
            let _ = process.wait();
        }
        // What a killed one has left, if the test did not come to its end.
        let ours = self.dir.path().as_os_str().as_encoded_bytes().to_owned();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            if command.windows(ours.len()).any(|part| part == ours)
                && let Some(pid) = entry.file_name().to_str().and_then(|pid| pid.parse().ok())
            {
                signal(pid, Signal::KILL);
            }
        }
    }
}

fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid.cast_signed()) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}
