//! A Docker daemon of the tests' own: its folders are a temporary one, and it lives in a network namespace without any network,
//! to which tests add the addresses that a container must not reach. Its pid is in `docker.pid` beside its socket.

use std::fs::File;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::apt::Apt;
use super::command::{is_root, works};
use super::part::{Part, Started};
use super::scratch::Scratch;

const PATIENCE: Duration = Duration::from_secs(60);
/// How long it may take to end its containers and itself.
const FAREWELL: Duration = Duration::from_secs(30);
/// Where Debian and Ubuntu put it; not everybody has it in the search path.
const DAEMON: &str = "/usr/sbin/dockerd";
/// A daemon alone in its network namespace: nothing outside of it is configured, or could be.
const ALONE: [&str; 4] = [
    "--bridge=none",
    "--iptables=false",
    "--ip-forward=false",
    "--ip-masq=false",
];

pub(super) struct Docker;

impl Part for Docker {
    fn name(&self) -> &'static str {
        "Docker"
    }

    fn variables(&self) -> &'static [&'static str] {
        &["BMM_TEST_DOCKER", "BMM_TEST_DOCKERD"]
    }

    fn is_installed(&self) -> Result<bool> {
        Ok(Path::new(DAEMON).exists() && works("unshare", &["--version"]))
    }

    fn install(&self, apt: &mut Apt) -> Result<()> {
        // The daemon asks for iptables at its start, even to leave it alone.
        apt.install(&["docker.io", "iptables", "iproute2", "util-linux"])
    }

    fn start(&self) -> Result<Started> {
        ensure!(is_root(), "only root can start a daemon");
        let daemon = Daemon::start()?;
        Ok(Started {
            values: vec![daemon.socket().into(), DAEMON.into()],
            running: Some(Box::new(daemon)),
        })
    }
}

struct Daemon {
    folder: Scratch,
    process: Child,
}

impl Daemon {
    fn start() -> Result<Self> {
        let folder = Scratch::make("docker")?;
        let at = |name: &str| folder.path().join(name);
        let log = File::create(at("log"))?;
        let process = Command::new("setpriv")
            // It ends when this process does, however that ends.
            .args([
                "--pdeathsig=TERM",
                "--",
                "unshare",
                "--net",
                "--mount",
                "--",
                "sh",
                "-c",
            ])
            .arg("ip link set lo up && exec \"$@\"")
            .args(["sh", DAEMON])
            .args(ALONE)
            .arg(format!("--host=unix://{}", at("docker.sock").display()))
            .arg(format!("--data-root={}", at("data").display()))
            .arg(format!("--exec-root={}", at("exec").display()))
            .arg(format!("--pidfile={}", at("docker.pid").display()))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("setpriv")?;
        let mut daemon = Self { folder, process };
        daemon.answers()?;
        Ok(daemon)
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("docker.sock")
    }

    fn answers(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while UnixStream::connect(self.socket()).is_err() {
            if let Some(status) = self.process.try_wait()? {
                bail!("dockerd ended with {status}: {}", self.last_words());
            }
            ensure!(
                Instant::now() < deadline,
                "dockerd does not answer: {}",
                self.last_words()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        log.lines()
            .rev()
            .take(3)
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
            .collect::<Vec<_>>()
            .join(" | ")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = Command::new("kill")
            .args(["-TERM", &self.process.id().to_string()])
            .status();
        let deadline = Instant::now() + FAREWELL;
        while matches!(self.process.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
