//! A probe in a container (or beside it, standing for the host), which does what the test tells it to.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use bmm_deploy::container::{
    ContainerId, ContainerPlan, ContainerReport, ContainerSpec, Docker, Hardening, compare,
};
use tempfile::TempDir;

use super::daemon::Daemon;
use super::probe::{Attempt, MARKER, Order, Outcome};

/// A container with a probe in it. Removed with this.
pub(crate) struct Contained {
    docker: Docker,
    id: ContainerId,
    /// As it was meant, whatever was left out.
    plan: ContainerPlan,
    stream: BufReader<UnixStream>,
    _control: TempDir,
}

impl Contained {
    /// With all walls.
    pub(crate) async fn hardened(daemon: &Daemon) -> Self {
        Self::start(daemon, Hardening::Required, |plan| plan).await
    }

    /// With all walls that `change` leaves.
    pub(crate) async fn changed(
        daemon: &Daemon,
        change: impl FnOnce(ContainerPlan) -> ContainerPlan,
    ) -> Self {
        Self::start(daemon, Hardening::Required, change).await
    }

    /// With walls or without, changed.
    pub(crate) async fn start(
        daemon: &Daemon,
        hardening: Hardening,
        change: impl FnOnce(ContainerPlan) -> ContainerPlan,
    ) -> Self {
        let control = tempfile::tempdir().unwrap();
        let socket = control.path().join("probe.sock");
        let listener = tokio::net::UnixListener::bind(&socket).unwrap();
        for (path, mode) in [(control.path().to_owned(), 0o755), (socket, 0o777)] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        let spec = ContainerSpec {
            hardening,
            ..daemon.spec(control.path()).await
        };
        let plan = spec.plan().unwrap().with_arguments([MARKER, "serve"]);
        let docker = daemon.docker.clone();
        let id = docker.create(&change(plan.clone())).await.unwrap();
        let removed = Removed(docker.clone(), id.clone());
        docker.start(&id).await.unwrap();
        let accepted = tokio::time::timeout(Duration::from_secs(30), listener.accept()).await;
        let stream = accepted
            .expect("the probe connects")
            .unwrap()
            .0
            .into_std()
            .unwrap();
        stream.set_nonblocking(false).unwrap();
        std::mem::forget(removed);
        Self {
            docker,
            id,
            plan,
            stream: BufReader::new(stream),
            _control: control,
        }
    }

    pub(crate) fn attempt(&mut self, attempt: Attempt) -> Outcome {
        self.order(&Order::Try(attempt))
    }

    pub(crate) fn order(&mut self, order: &Order) -> Outcome {
        let orders = self.stream.get_ref().try_clone().unwrap();
        say(order, orders, &mut self.stream)
    }

    /// Lets the probe go, and waits for its end.
    pub(crate) async fn hang_up(&mut self) {
        self.stream.get_ref().shutdown(std::net::Shutdown::Both).unwrap();
        self.docker.wait(&self.id).await.unwrap();
    }

    /// Held against what it was meant to be.
    pub(crate) async fn report(&self) -> ContainerReport {
        let facts = self.docker.facts().await.unwrap();
        let evidence = self.docker.evidence(&self.id).await.unwrap();
        compare(&self.plan, &facts, &evidence)
    }
}

impl Drop for Contained {
    fn drop(&mut self) {
        drop(Removed(self.docker.clone(), self.id.clone()));
    }
}

/// Removes a container, from wherever it is dropped.
struct Removed(Docker, ContainerId);

impl Drop for Removed {
    fn drop(&mut self) {
        let (docker, id) = (self.0.clone(), self.1.clone());
        let removing = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(docker.remove(&id)).unwrap();
        });
        removing.join().unwrap();
    }
}

/// A process on the host's side: in the network namespace of the daemon, where "the host" of its containers is.
pub(crate) struct Beside {
    child: Child,
    orders: ChildStdin,
    outcomes: BufReader<ChildStdout>,
}

impl Beside {
    pub(crate) fn start(namespace: &NetworkNamespace) -> Self {
        let mut child = namespace
            .command(std::env::current_exe().unwrap().to_str().unwrap())
            .args([MARKER, "standard-input"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            orders: child.stdin.take().unwrap(),
            outcomes: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    pub(crate) fn order(&mut self, order: &Order) -> Outcome {
        say(order, &mut self.orders, &mut self.outcomes)
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id().try_into().unwrap()
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn say(order: &Order, mut to: impl Write, from: &mut impl BufRead) -> Outcome {
    writeln!(to, "{}", serde_json::to_string(order).unwrap()).unwrap();
    to.flush().unwrap();
    let mut outcome = String::new();
    from.read_line(&mut outcome).unwrap();
    serde_json::from_str(&outcome).expect("the probe lives")
}

/// That of the daemon: no network leads out of it.
pub(crate) struct NetworkNamespace(PathBuf);

impl NetworkNamespace {
    /// The daemon's pid is beside its socket. It must not be the namespace of this test, which could have a network.
    pub(crate) fn of_the_daemon() -> Self {
        let pid = std::fs::read_to_string(crate::docker::socket().with_file_name("docker.pid")).unwrap();
        let path = PathBuf::from(format!("/proc/{}/ns/net", pid.trim()));
        let (theirs, ours) = (
            std::fs::read_link(&path).unwrap(),
            std::fs::read_link("/proc/self/ns/net").unwrap(),
        );
        assert_ne!(
            theirs, ours,
            "the daemon must have a network namespace of its own"
        );
        let namespace = Self(path);
        let addresses = namespace
            .command("ip")
            .args(["-oneline", "address", "show"])
            .output()
            .unwrap();
        assert!(addresses.status.success());
        let addresses = String::from_utf8(addresses.stdout).unwrap();
        for address in addresses.lines() {
            assert_eq!(
                address.split_whitespace().nth(1),
                Some("lo"),
                "nothing leads out of it: {address}"
            );
        }
        namespace
    }

    /// Makes `address` one of its own.
    pub(crate) fn add(&self, address: SocketAddr) {
        if address.ip().is_loopback() {
            return;
        }
        let added = self
            .command("ip")
            .args(["address", "replace", &format!("{}/32", address.ip()), "dev", "lo"])
            .status()
            .unwrap();
        assert!(added.success());
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", self.0.display()))
            .args(["--", program]);
        command
    }
}
