//! Every control against an obedient daemon and kernel, and against each of the two when it is not.

use std::collections::{BTreeMap, BTreeSet};

use bollard::models::{
    ContainerConfig, ContainerInspectResponse, ContainerState, HostConfigCgroupnsModeEnum, MountPoint,
};

use super::*;
use crate::container::kernel::{CgroupLimits, Kernel, Mounted};
use crate::container::plan::{CONTROL_DIR, ContainerLimits, ContainerSpec, Hardening};
use crate::container::report::Verdict;
use crate::container::walls::{MASKED_PATHS, READ_ONLY_PATHS};

const UID: u32 = 1_879_048_199;

fn plan() -> ContainerPlan {
    let spec = ContainerSpec {
        image: format!("sha256:{}", "0".repeat(64)).parse().expect("is one"),
        instance: "test".to_owned(),
        slug: "weather".to_owned(),
        revision: "r1".to_owned(),
        seat: 7,
        uid: UID,
        control_dir: "/run/host/7".into(),
        limits: ContainerLimits::default(),
        oci_runtime: None,
        seccomp_file: None,
        hardening: Hardening::Required,
    };
    spec.plan().expect("is fine")
}

/// A daemon that did what it was asked to do.
fn obedient(plan: &ContainerPlan) -> ContainerInspectResponse {
    let body = plan.body();
    let mut command = body.entrypoint.clone().unwrap_or_default();
    command.extend(body.cmd.clone().unwrap_or_default());
    ContainerInspectResponse {
        image: body.image.clone(),
        path: command.first().cloned(),
        args: Some(command.into_iter().skip(1).collect()),
        config: Some(ContainerConfig {
            user: body.user.clone(),
            env: Some(vec!["PATH=/usr/bin:/bin".to_owned()]),
            ..ContainerConfig::default()
        }),
        state: Some(ContainerState {
            pid: Some(4711),
            ..ContainerState::default()
        }),
        mounts: Some(vec![MountPoint {
            typ: Some("bind".to_owned()),
            source: Some("/run/host/7".to_owned()),
            destination: Some(CONTROL_DIR.to_owned()),
            rw: Some(false),
            propagation: Some("rprivate".to_owned()),
            ..MountPoint::default()
        }]),
        host_config: body.host_config,
        ..ContainerInspectResponse::default()
    }
}

fn set<T: ToString>(items: &[T]) -> BTreeSet<String> {
    items.iter().map(ToString::to_string).collect()
}

fn mounted(at: &str, kind: &str, options: &[&str]) -> Mounted {
    Mounted {
        at: at.to_owned(),
        kind: kind.to_owned(),
        options: set(options),
        super_options: BTreeMap::new(),
    }
}

/// A kernel that enforces all of it.
fn strict() -> Kernel {
    let status = [
        ("Uid", format!("{UID} {UID} {UID} {UID}")),
        ("Gid", format!("{UID} {UID} {UID} {UID}")),
        ("Groups", String::new()),
        ("NSpid", "4711 1".to_owned()),
        ("NoNewPrivs", "1".to_owned()),
        ("Seccomp", "2".to_owned()),
    ];
    let capabilities =
        ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].map(|name| (name, "0000000000000000".to_owned()));
    let mut mounts = vec![
        mounted("/", "overlay", &["ro"]),
        mounted("/proc", "proc", &["rw"]),
        mounted("/dev", "tmpfs", &["rw"]),
        mounted(CONTROL_DIR, "ext4", &["ro"]),
        mounted("/etc/hosts", "ext4", &["ro"]),
        Mounted {
            super_options: BTreeMap::from([("size".to_owned(), "16384k".to_owned())]),
            ..mounted("/tmp", "tmpfs", &["rw", "noexec", "nosuid", "nodev"])
        },
    ];
    mounts.extend(
        MASKED_PATHS
            .iter()
            .chain(READ_ONLY_PATHS)
            .map(|path| mounted(path, "tmpfs", &["ro"])),
    );
    Kernel {
        status: status
            .into_iter()
            .chain(capabilities)
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
        limits: [
            ("Max open files", 1024),
            ("Max processes", 100),
            ("Max core file size", 0),
        ]
        .map(|(name, limit)| (name.to_owned(), Some(limit)))
        .into(),
        mounts,
        cgroup: CgroupLimits {
            memory: Some(512 << 20),
            swap: Some(0),
            processes: Some(100),
            milli_cpus: Some(500),
        },
        own_namespaces: ["cgroup", "ipc", "mnt", "net", "pid", "uts"]
            .map(|name| (name.to_owned(), true))
            .into(),
        interfaces: Some(set(&["lo"])),
        uid_map: vec![[0, 0, u64::from(u32::MAX)]],
        oom_score_adj: Some(0),
        sensitive_paths: MASKED_PATHS.iter().chain(READ_ONLY_PATHS).copied().collect(),
        host_swaps: true,
    }
}

fn weaker(report: &ContainerReport) -> Vec<Control> {
    report
        .with(Verdict::Weaker)
        .map(|finding| finding.control)
        .collect()
}

fn unknown(report: &ContainerReport) -> Vec<Control> {
    report
        .with(Verdict::Unknown)
        .map(|finding| finding.control)
        .collect()
}

fn judged(
    facts: &DaemonFacts,
    inspect: ContainerInspectResponse,
    kernel: Result<Kernel, String>,
) -> ContainerReport {
    compare(&plan(), facts, &Evidence { inspect, kernel })
}

/// A daemon and a kernel of which `change` makes something else.
fn changed(change: impl FnOnce(&mut ContainerInspectResponse, &mut Kernel)) -> ContainerReport {
    let (mut inspect, mut kernel) = (obedient(&plan()), strict());
    change(&mut inspect, &mut kernel);
    judged(&DaemonFacts::default(), inspect, Ok(kernel))
}

#[test]
fn all_holds_where_both_say_so() {
    let report = changed(|_, _| {});
    assert!(report.is_full(), "{report}");
}

#[test]
fn the_daemons_word_is_not_enough() {
    type Change = fn(&mut Kernel);
    fn status(kernel: &mut Kernel, name: &str, value: &str) {
        kernel.status.insert(name.to_owned(), value.to_owned());
    }
    fn remount(kernel: &mut Kernel, at: &str, options: &[&str]) {
        let mount = kernel
            .mounts
            .iter_mut()
            .find(|mount| mount.at == at)
            .expect("is mounted");
        mount.options = set(options);
    }
    let lies: &[(Control, Change)] = &[
        (Control::ReadOnlyRoot, |kernel| remount(kernel, "/", &["rw"])),
        (Control::Capabilities, |kernel| {
            status(kernel, "CapBnd", "00000000a80425fb")
        }),
        (Control::Capabilities, |kernel| {
            status(kernel, "CapAmb", "0000000000000001")
        }),
        (Control::NoNewPrivileges, |kernel| {
            status(kernel, "NoNewPrivs", "0")
        }),
        (Control::Seccomp, |kernel| status(kernel, "Seccomp", "0")),
        (Control::User, |kernel| {
            status(kernel, "Uid", &format!("{UID} 0 {UID} {UID}"))
        }),
        (Control::User, |kernel| status(kernel, "Groups", "999")),
        (Control::Processes, |kernel| kernel.cgroup.processes = None),
        (Control::Memory, |kernel| kernel.cgroup.memory = Some(1 << 40)),
        (Control::Swap, |kernel| kernel.cgroup.swap = Some(1)),
        (Control::Swap, |kernel| kernel.cgroup.swap = None),
        (Control::Cpu, |kernel| kernel.cgroup.milli_cpus = Some(501)),
        (Control::OomKiller, |kernel| kernel.oom_score_adj = Some(-1000)),
        (Control::Tmp, |kernel| {
            remount(kernel, "/tmp", &["rw", "nosuid", "nodev"])
        }),
        (Control::Tmp, |kernel| {
            kernel.mounts.retain(|mount| mount.at != "/tmp")
        }),
        (Control::OpenFiles, |kernel| {
            kernel.limits.insert("Max open files".to_owned(), Some(1025));
        }),
        (Control::UserProcesses, |kernel| {
            kernel.limits.insert("Max processes".to_owned(), None);
        }),
        (Control::CoreDumps, |kernel| {
            kernel.limits.insert("Max core file size".to_owned(), None);
        }),
        (Control::Network, |kernel| {
            kernel.interfaces = Some(set(&["lo", "eth0"]))
        }),
        (Control::Network, |kernel| {
            kernel.own_namespaces.insert("net".to_owned(), false);
        }),
        (Control::Ipc, |kernel| {
            kernel.own_namespaces.insert("ipc".to_owned(), false);
        }),
        (Control::HostName, |kernel| {
            kernel.own_namespaces.insert("uts".to_owned(), false);
        }),
        (Control::CgroupNamespace, |kernel| {
            kernel.own_namespaces.insert("cgroup".to_owned(), false);
        }),
        (Control::ProcessNamespace, |kernel| {
            status(kernel, "NSpid", "4711")
        }),
        (Control::Mounts, |kernel| remount(kernel, CONTROL_DIR, &["rw"])),
        (Control::Mounts, |kernel| {
            kernel
                .mounts
                .push(mounted("/var/run/docker.sock", "tmpfs", &["rw"]))
        }),
        (Control::Mounts, |kernel| {
            kernel.mounts.push(mounted("/devices", "ext4", &["ro"]))
        }),
        (Control::MaskedPaths, |kernel| {
            kernel.mounts.retain(|mount| mount.at != "/proc/kcore")
        }),
        (Control::ReadOnlyPaths, |kernel| {
            remount(kernel, "/proc/sys", &["rw"])
        }),
    ];
    for (control, lie) in lies {
        let report = changed(|_, kernel| lie(kernel));
        assert_eq!(weaker(&report), [*control], "{report}");
        assert!(report.admit().is_err());
    }
}

#[test]
fn what_only_the_daemon_knows_is_held_against_the_plan() {
    type Change = fn(&mut ContainerInspectResponse);
    fn asked(inspect: &mut ContainerInspectResponse) -> &mut bollard::models::HostConfig {
        inspect.host_config.as_mut().expect("is there")
    }
    let differences: &[(Control, Change)] = &[
        (Control::Image, |inspect| {
            inspect.image = Some(format!("sha256:{}", "1".repeat(64)))
        }),
        (Control::Command, |inspect| {
            inspect.path = Some("/bin/sh".to_owned())
        }),
        (Control::Command, |inspect| {
            inspect.args = Some(vec!["bmm-cage:contained:engine".to_owned()])
        }),
        (Control::Environment, |inspect| {
            inspect.config.as_mut().expect("is there").env = Some(vec!["TOKEN=a secret".to_owned()]);
        }),
        (Control::Unprivileged, |inspect| {
            asked(inspect).privileged = Some(true)
        }),
        (Control::Capabilities, |inspect| {
            asked(inspect).cap_add = Some(vec!["SYS_ADMIN".to_owned()])
        }),
        (Control::Devices, |inspect| {
            asked(inspect).device_cgroup_rules = Some(vec!["c 1:3 rwm".to_owned()])
        }),
        (Control::Mounts, |inspect| {
            asked(inspect).binds = Some(vec!["/:/host".to_owned()])
        }),
        (Control::Ports, |inspect| {
            asked(inspect).publish_all_ports = Some(true)
        }),
        (Control::CgroupNamespace, |inspect| {
            asked(inspect).cgroupns_mode = Some(HostConfigCgroupnsModeEnum::HOST);
        }),
        (Control::Seccomp, |inspect| {
            let profile = "seccomp={\"defaultAction\": \"SCMP_ACT_ALLOW\"}".to_owned();
            asked(inspect).security_opt = Some(vec!["no-new-privileges:true".to_owned(), profile]);
        }),
    ];
    for (control, difference) in differences {
        let report = changed(|inspect, _| difference(inspect));
        assert_eq!(weaker(&report), [*control], "{report}");
        assert!(!report.to_string().contains("a secret"), "{report}");
    }
}

#[test]
fn another_runtime_than_the_one_that_was_asked_for_is_weaker() {
    let mut plan = plan();
    plan.oci_runtime = Some("runsc".to_owned());
    let mut inspect = obedient(&plan);
    let judged = |inspect: &ContainerInspectResponse| {
        let (inspect, kernel) = (inspect.clone(), Ok(strict()));
        weaker(&compare(
            &plan,
            &DaemonFacts::default(),
            &Evidence { inspect, kernel },
        ))
    };
    assert_eq!(judged(&inspect), []);
    let (seen, kernel) = (inspect.clone(), Ok(Kernel::default()));
    let report = compare(
        &plan,
        &DaemonFacts::default(),
        &Evidence {
            inspect: seen,
            kernel,
        },
    );
    assert_eq!(weaker(&report), [], "what the host sees is the other kernel");
    assert!(!report.holds(Control::Seccomp));
    assert_eq!(
        report.unseen.as_deref(),
        Some("it runs on a kernel of its own, of runsc")
    );
    inspect.host_config.as_mut().expect("is there").runtime = Some("runc".to_owned());
    assert_eq!(judged(&inspect), [Control::OciRuntime]);
}

#[test]
fn mandatory_access_control_is_demanded_where_the_host_has_it() {
    let with = |facts: &DaemonFacts, profile: &str, label: &str| {
        let mut inspect = obedient(&plan());
        inspect.app_armor_profile = Some(profile.to_owned());
        inspect.process_label = Some(label.to_owned());
        weaker(&judged(facts, inspect, Ok(strict())))
    };
    let app_armor = DaemonFacts {
        app_armor: true,
        ..DaemonFacts::default()
    };
    assert_eq!(with(&app_armor, "docker-default", ""), []);
    assert_eq!(with(&app_armor, "unconfined", ""), [Control::MandatoryAccess]);
    assert_eq!(with(&app_armor, "", ""), [Control::MandatoryAccess]);
    let selinux = DaemonFacts {
        selinux: true,
        ..DaemonFacts::default()
    };
    assert_eq!(with(&selinux, "", "system_u:system_r:container_t:s0:c1,c2"), []);
    assert_eq!(with(&selinux, "", ""), [Control::MandatoryAccess]);
}

#[test]
fn mapped_users_are_the_ones_that_are_meant() {
    let facts = DaemonFacts {
        userns_remap: true,
        ..DaemonFacts::default()
    };
    let with = |map: [u64; 3], user: u64| {
        let mut kernel = strict();
        kernel.uid_map = vec![map];
        for name in ["Uid", "Gid"] {
            kernel
                .status
                .insert(name.to_owned(), format!("{user} {user} {user} {user}"));
        }
        weaker(&judged(&facts, obedient(&plan()), Ok(kernel)))
    };
    let all = u64::from(u32::MAX);
    assert_eq!(with([0, 1, all], u64::from(UID) + 1), []);
    assert_eq!(with([0, 1, all], u64::from(UID)), [Control::User]);
    assert_eq!(
        with([0, 0, all], u64::from(UID)),
        [Control::UserNamespace],
        "not mapped at all"
    );
    assert_eq!(with([0, 1, 10], u64::from(UID)), [Control::User]);
}

#[test]
fn what_cannot_be_seen_is_not_claimed() {
    let report = judged(
        &DaemonFacts::default(),
        obedient(&plan()),
        Err("elsewhere".to_owned()),
    );
    assert_eq!(weaker(&report), [], "the daemon says so");
    assert!(!report.is_full() && !report.holds(Control::Capabilities));
    assert!(report.holds(Control::Image), "only the daemon can know");
    assert_eq!(report.admit(), Ok(()));

    // Who is not root may not read namespaces.
    let report = changed(|_, kernel| kernel.own_namespaces.clear());
    assert_eq!(
        unknown(&report),
        [Control::Ipc, Control::HostName, Control::CgroupNamespace]
    );
}

#[test]
fn where_the_kernel_does_not_count_swap_a_host_without_swap_will_do() {
    let report = changed(|inspect, kernel| {
        inspect.host_config.as_mut().expect("is there").memory_swap = Some(-1);
        kernel.cgroup.swap = None;
        kernel.host_swaps = false;
    });
    assert!(report.is_full(), "{report}");
}

#[test]
fn podman_is_believed_what_the_kernel_confirms() {
    let facts = DaemonFacts {
        podman: true,
        ..DaemonFacts::default()
    };
    let mut inspect = obedient(&plan());
    let asked = inspect.host_config.as_mut().expect("is there");
    asked.masked_paths = None;
    asked.readonly_paths = None;
    asked.log_config = None;
    asked.cap_drop = Some(vec!["CAP_CHOWN".to_owned(), "CAP_KILL".to_owned()]);
    let mut kernel = strict();
    kernel.mounts.retain(|mount| mount.at != "/proc/kallsyms");
    let report = judged(&facts, inspect.clone(), Ok(kernel.clone()));
    assert_eq!(weaker(&report), [], "{report}");
    assert_eq!(unknown(&report), [Control::Logs]);
    kernel.mounts.retain(|mount| mount.at != "/proc/kcore");
    assert_eq!(
        weaker(&judged(&facts, inspect, Ok(kernel))),
        [Control::MaskedPaths]
    );
}
