//! What a container's first process tries, and does not get. Each attempt is first made where nothing stops it, so that its
//! failure is the wall's doing.

use std::net::SocketAddr;

use bmm_deploy::container::{ContainerPlan, Control, Hardening};
use libtest_mimic::Trial;

use super::contained::{Beside, Contained, NetworkNamespace};
use super::daemon::{Daemon, docker_trials};
use super::probe::{Attempt, Order};

pub(super) fn docker() -> Vec<Trial> {
    docker_trials!(
        a_container_cannot_write_outside_of_its_tmp,
        a_container_gains_no_right,
        a_container_opens_no_socket_but_unix_ones,
        a_container_has_no_io_uring_and_no_memory_files,
        a_fork_bomb_stays_within_its_bound,
        memory_and_tmp_stay_within_their_bounds,
        what_is_written_cannot_be_executed,
        a_container_reaches_nobody,
        a_container_sees_nothing_of_the_host,
    )
}

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const AF_UNIX: u16 = 1;
const AF_NETLINK: u16 = 16;
const AF_PACKET: u16 = 17;
const AF_ALG: u16 = 38;
const AF_VSOCK: u16 = 40;
const SOCK_STREAM: u32 = 1;
const SOCK_DGRAM: u32 = 2;
const SOCK_RAW: u32 = 3;
const SOCK_SEQPACKET: u32 = 5;

/// Root, in the daemon's own network, unfiltered and unconfined, and else with what the daemon gives to anybody.
async fn unhardened(daemon: &Daemon) -> Contained {
    Contained::start(daemon, Hardening::Disabled, |plan| {
        plan.insecure_without(Control::Network)
            .insecure_without(Control::User)
            .insecure_without(Control::Seccomp)
            .insecure_without(Control::MandatoryAccess)
    })
    .await
}

/// Both, side by side.
struct Two {
    unhardened: Contained,
    hardened: Contained,
}

impl Two {
    async fn start(daemon: &Daemon) -> Self {
        let (unhardened, hardened) = tokio::join!(unhardened(daemon), Contained::hardened(daemon));
        Self { unhardened, hardened }
    }

    /// Succeeds in the one and fails in the other, which lives on. Returns how it failed.
    fn only_without_walls(&mut self, attempt: Attempt) -> String {
        let without = self.unhardened.attempt(attempt.clone());
        assert!(
            without.is_ok(),
            "{attempt:?} is stopped by nothing of ours: {without:?}"
        );
        let Err(error) = self.hardened.attempt(attempt.clone()) else {
            panic!("{attempt:?} succeeded")
        };
        error
    }
}

fn socket(family: u16, kind: u32) -> Attempt {
    Attempt::Socket { family, kind }
}

fn write(path: &str, mib: u64) -> Attempt {
    Attempt::Write {
        path: path.to_owned(),
        mib,
    }
}

async fn a_container_cannot_write_outside_of_its_tmp(daemon: Daemon) {
    let mut two = Two::start(&daemon).await;
    for path in ["/probe", "/etc/probe", "/bmm.new", "/run/probe", "/dev/probe"] {
        two.only_without_walls(write(path, 1));
    }
    let error = two.hardened.attempt(write("/run/bmm/probe", 1)).unwrap_err();
    assert!(error.contains("Read-only"), "{error}");
    assert!(two.hardened.attempt(write("/tmp/probe", 1)).is_ok());

    // The root is closed to root, too.
    let mut root = Contained::changed(&daemon, |plan| plan.insecure_without(Control::User)).await;
    let error = root.attempt(write("/probe", 1)).unwrap_err();
    assert!(error.contains("Read-only"), "{error}");
}

async fn a_container_gains_no_right(daemon: Daemon) {
    let mut two = Two::start(&daemon).await;
    two.only_without_walls(Attempt::RaiseCapability);
    two.only_without_walls(Attempt::BecomeRoot);
    for attempt in [Attempt::Mount, Attempt::Namespace] {
        two.hardened.attempt(attempt).unwrap_err();
    }

    // Where the filter does not refuse the question, the answer is no: there is no capability to be had.
    let mut unfiltered = Contained::changed(&daemon, |plan| plan.insecure_without(Control::Seccomp)).await;
    for attempt in [
        Attempt::RaiseCapability,
        Attempt::BecomeRoot,
        Attempt::Mount,
        Attempt::Namespace,
    ] {
        unfiltered.attempt(attempt).unwrap_err();
    }
    let mut root = Contained::changed(&daemon, |plan| {
        plan.insecure_without(Control::User)
            .insecure_without(Control::Seccomp)
    })
    .await;
    root.attempt(Attempt::RaiseCapability).unwrap_err();
}

async fn a_container_opens_no_socket_but_unix_ones(daemon: Daemon) {
    let mut two = Two::start(&daemon).await;
    let mut unfiltered = Contained::changed(&daemon, |plan| plan.insecure_without(Control::Seccomp)).await;
    for attempt in [
        socket(AF_VSOCK, SOCK_STREAM),
        socket(AF_NETLINK, SOCK_RAW),
        socket(AF_INET, SOCK_STREAM),
        socket(AF_INET, SOCK_DGRAM),
        socket(AF_INET6, SOCK_STREAM),
    ] {
        two.only_without_walls(attempt.clone());
        assert!(
            unfiltered.attempt(attempt).is_ok(),
            "no other wall but the filter refuses it"
        );
    }
    // For this it takes a capability, too.
    two.only_without_walls(socket(AF_PACKET, SOCK_RAW));
    unfiltered.attempt(socket(AF_PACKET, SOCK_RAW)).unwrap_err();
    // The kernel may lack it.
    two.hardened.attempt(socket(AF_ALG, SOCK_SEQPACKET)).unwrap_err();
    assert!(two.hardened.attempt(socket(AF_UNIX, SOCK_STREAM)).is_ok());
}

async fn a_container_has_no_io_uring_and_no_memory_files(daemon: Daemon) {
    let mut two = Two::start(&daemon).await;
    let mut unfiltered = Contained::changed(&daemon, |plan| plan.insecure_without(Control::Seccomp)).await;
    for attempt in [Attempt::IoUring, Attempt::MemoryFile] {
        two.only_without_walls(attempt.clone());
        assert!(
            unfiltered.attempt(attempt).is_ok(),
            "no other wall but the filter refuses it"
        );
    }
}

async fn a_fork_bomb_stays_within_its_bound(daemon: Daemon) {
    let mut two = Two::start(&daemon).await;
    let children = |error: &str| -> usize { error.split(' ').nth(1).unwrap().parse().unwrap() };
    let error = two.only_without_walls(Attempt::Fork { children: 150 });
    assert!(children(&error) < 100, "{error}");
    // Each of the two bounds alone.
    for control in [Control::Processes, Control::UserProcesses] {
        let mut container = Contained::changed(&daemon, |plan| plan.insecure_without(control)).await;
        let error = container.attempt(Attempt::Fork { children: 150 }).unwrap_err();
        assert!(children(&error) < 100, "without {control}: {error}");
    }
    // It lives, and can do so again.
    assert!(two.hardened.attempt(Attempt::Fork { children: 20 }).is_ok());
}

async fn memory_and_tmp_stay_within_their_bounds(daemon: Daemon) {
    let mut two = Two::start(&daemon).await;
    let error = two.only_without_walls(Attempt::Allocate { mib: 600 });
    assert!(error.contains("signal: 9"), "{error}");
    assert!(
        two.hardened.attempt(Attempt::Allocate { mib: 100 }).is_ok(),
        "it lives"
    );

    let error = two.only_without_walls(write("/tmp/full", 32));
    assert!(error.contains("after 1"), "{error}");
    assert!(two.hardened.attempt(write("/tmp/not-full", 8)).is_ok());
}

async fn what_is_written_cannot_be_executed(daemon: Daemon) {
    let mut two = Two::start(&daemon).await;
    let folder = "/tmp".to_owned();
    let error = two.only_without_walls(Attempt::ExecuteIn { folder });
    assert!(error.contains("Permission denied"), "{error}");
}

async fn a_container_reaches_nobody(daemon: Daemon) {
    let namespace = NetworkNamespace::of_the_daemon();
    let mut host = Beside::start(&namespace);
    let at = |address: &str| address.parse::<SocketAddr>().unwrap();
    let of_the_host = [
        ("the host", at("127.0.0.1:7001")),
        ("a private address", at("10.99.7.1:7001")),
        ("the metadata address", at("169.254.169.254:7001")),
        ("a host on no list", at("203.0.113.10:7001")),
    ];
    for (_, address) in of_the_host {
        namespace.add(address);
        host.order(&Order::Listen(address)).unwrap();
    }
    host.order(&Order::ListenAbstract("bmm-it-host".to_owned()))
        .unwrap();

    let others = at("172.31.7.2:7001");
    namespace.add(others);
    let mut other = unhardened(&daemon).await;
    other.order(&Order::Listen(others)).unwrap();
    other
        .order(&Order::ListenAbstract("bmm-it-other".to_owned()))
        .unwrap();

    let mut two = Two::start(&daemon).await;
    let walls = [Control::Seccomp, Control::Network];
    // Without the one, the other holds, but for what needs no socket of another family.
    let without = |control| move |plan: ContainerPlan| plan.insecure_without(control);
    let mut alone = Vec::new();
    for control in walls {
        alone.push(Contained::changed(&daemon, without(control)).await);
    }
    for (who, to) in of_the_host.into_iter().chain([("another container", others)]) {
        two.only_without_walls(Attempt::Dial { to });
        for (container, left_out) in alone.iter_mut().zip(walls) {
            let outcome = container.attempt(Attempt::Dial { to });
            assert!(outcome.is_err(), "{who} without {left_out}");
        }
    }
    for name in ["bmm-it-host", "bmm-it-other"] {
        let name = name.to_owned();
        two.only_without_walls(Attempt::DialAbstract { name });
    }
    let name = "example.com".to_owned();
    two.hardened.attempt(Attempt::Resolve { name }).unwrap_err();
}

async fn a_container_sees_nothing_of_the_host(daemon: Daemon) {
    let namespace = NetworkNamespace::of_the_daemon();
    let host = Beside::start(&namespace);
    let mut hardened = Contained::hardened(&daemon).await;
    let mut with_processes = Contained::changed(&daemon, |plan| {
        plan.insecure_without(Control::ProcessNamespace)
            .insecure_without(Control::User)
            .insecure_without(Control::MandatoryAccess)
    })
    .await;
    let pid = host.pid();
    assert!(with_processes.attempt(Attempt::Signal { pid }).is_ok());
    hardened.attempt(Attempt::Signal { pid }).unwrap_err();

    let read = |path: &str| Attempt::Read {
        path: path.to_owned(),
    };
    let mut unmasked = Contained::changed(&daemon, |plan| {
        plan.insecure_without(Control::MaskedPaths)
            .insecure_without(Control::User)
            .insecure_without(Control::MandatoryAccess)
    })
    .await;
    for path in ["/proc/kallsyms", "/proc/interrupts", "/proc/zoneinfo"] {
        assert!(unmasked.attempt(read(path)).is_ok(), "{path}");
        hardened.attempt(read(path)).unwrap_err();
    }
}
