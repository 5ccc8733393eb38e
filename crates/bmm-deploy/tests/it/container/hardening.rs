//! The report: green where every wall stands, and red at each wall that was left out.

use std::collections::BTreeSet;

use bmm_deploy::HardeningReport;
use bmm_deploy::container::{ContainerPlan, Control, Hardening, Verdict};
use futures_util::StreamExt;
use libtest_mimic::Trial;

use super::contained::Contained;
use super::daemon::{Daemon, docker_trials};

pub(super) fn docker() -> Vec<Trial> {
    docker_trials!(
        every_control_holds_around_a_container,
        a_container_without_a_control_is_reported_as_weaker,
        without_hardening_the_report_says_so_and_refuses_nothing,
        what_has_ended_is_not_taken_for_hardened,
    )
}

async fn every_control_holds_around_a_container(daemon: Daemon) {
    let container = Contained::hardened(&daemon).await;
    let report = container.report().await;
    assert!(report.is_full(), "{report}");
    assert_eq!(report.findings.len(), Control::ALL.len());
    assert_eq!(report.admit(), Ok(()));
    let told: HardeningReport = (&report).into();
    assert!(told.is_full() && told.holds("read-only root"));
    let json = serde_json::to_string(&report).unwrap();
    assert_eq!(
        serde_json::from_str::<bmm_deploy::container::ContainerReport>(&json).unwrap(),
        report
    );
}

async fn a_container_without_a_control_is_reported_as_weaker(daemon: Daemon) {
    // What is no wall of the container's own is compared in tests without a daemon.
    let mut no_walls = vec![Control::Image, Control::Command, Control::OciRuntime];
    if daemon.docker.facts().await.unwrap().cgroup_version == Some(2) {
        // Nobody escapes the out-of-memory killer there.
        no_walls.push(Control::OomKiller);
    }
    let walls = Control::ALL
        .into_iter()
        .filter(|control| !no_walls.contains(control));
    let daemon = &daemon;
    let found: Vec<(Control, BTreeSet<Control>)> = futures_util::stream::iter(walls)
        .map(async |control| {
            let change = |plan: ContainerPlan| match control {
                // Then the filter is there before the user is changed, which it does not allow.
                Control::NoNewPrivileges => plan
                    .insecure_without(Control::NoNewPrivileges)
                    .insecure_without(Control::Seccomp),
                control => plan.insecure_without(control),
            };
            let container = Contained::changed(daemon, change).await;
            let report = container.report().await;
            assert!(report.admit().is_err(), "{control}");
            assert!(!report.to_string().starts_with("HARDENING"));
            (
                control,
                report
                    .with(Verdict::Weaker)
                    .map(|finding| finding.control)
                    .collect(),
            )
        })
        .buffer_unordered(4)
        .collect()
        .await;
    for (control, weaker) in found {
        // What daemons give up together with it.
        let more: &[Control] = match control {
            Control::Unprivileged => &[Control::Capabilities, Control::Seccomp, Control::MandatoryAccess],
            Control::NoNewPrivileges => &[Control::Seccomp],
            Control::Ipc => &[Control::MandatoryAccess, Control::Mounts],
            Control::ProcessNamespace => &[Control::MandatoryAccess],
            _ => &[],
        };
        let expected: BTreeSet<Control> = more.iter().copied().chain([control]).collect();
        assert_eq!(weaker, expected, "without {control}");
    }
}

async fn without_hardening_the_report_says_so_and_refuses_nothing(daemon: Daemon) {
    let container = Contained::start(&daemon, Hardening::Disabled, |plan| plan).await;
    let report = container.report().await;
    assert!(!report.is_full());
    assert_eq!(report.admit(), Ok(()));
    let text = report.to_string();
    assert!(text.starts_with("HARDENING IS DISABLED: "), "{text}");
    for control in [
        Control::ReadOnlyRoot,
        Control::Seccomp,
        Control::Memory,
        Control::Capabilities,
    ] {
        assert!(!report.holds(control), "{control}");
    }
    for control in [Control::User, Control::Network, Control::Mounts] {
        assert!(report.holds(control), "{control}: {report}");
    }
}

async fn what_has_ended_is_not_taken_for_hardened(daemon: Daemon) {
    let mut container = Contained::hardened(&daemon).await;
    container.hang_up().await;
    let report = container.report().await;
    assert_eq!(report.unseen.as_deref(), Some("the container does not run"));
    assert!(!report.is_full());
    assert_eq!(report.with(Verdict::Weaker).count(), 0, "{report}");
    assert!(!report.holds(Control::Seccomp));
}
