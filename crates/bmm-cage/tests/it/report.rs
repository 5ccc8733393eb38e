//! What the report says, on this machine and on lesser ones.

use bmm_cage::{Cage, CageError, Control, Launcher, Profile};
use libtest_mimic::Trial;

use crate::probe::Probe;
use crate::trials;

pub(crate) fn trials(launcher: &Launcher) -> Vec<Trial> {
    let mut trials = trials![launcher;
        what_must_hold_holds,
        a_caged_child_is_nobody,
        a_caged_child_has_a_user_of_its_own_where_root_chooses_one,
        a_worker_knows_the_time_of_day_without_a_file,
        an_unknown_role_is_an_error,
        a_report_reads_as_one_line,
    ];
    // For an ordinary user the whole run is this test.
    if rustix::process::geteuid().is_root() {
        trials.extend(trials![launcher; all_of_this_holds_for_an_ordinary_user_too]);
    }
    trials
}

fn what_must_hold_holds(launcher: &Launcher) {
    for profile in [Profile::Worker, Profile::Runner] {
        let caged = Probe::start(launcher, profile).caged;
        for control in [
            Control::Seccomp,
            Control::ResourceLimits,
            Control::NoNewPrivileges,
            Control::Unprivileged,
        ] {
            assert!(caged.report().holds(control), "{profile:?}: {}", caged.report());
        }
        let again = launcher.launch(
            "probe",
            &Cage {
                require_full: true,
                ..Cage::new(profile)
            },
        );
        match again {
            Ok(_) => assert!(caged.report().is_full()),
            Err(CageError::Refused(reason)) => {
                assert!(!caged.report().is_full());
                assert!(reason.contains("missing:"), "{reason}");
            }
            Err(other) => panic!("{other:?}"),
        }
    }
}

fn a_caged_child_is_nobody(launcher: &Launcher) {
    let mut runner = Probe::start(launcher, Profile::Runner);
    let identity = runner.ask("identity").expect("it lives");
    if runner.caged.report().holds(Control::PidNamespace) {
        assert_eq!(identity, "pid=1 uid=65532 gid=65532");
    }
    assert!(!identity.contains("uid=0"), "{identity}");
    let mut worker = Probe::start(launcher, Profile::Worker);
    assert_eq!(worker.ask("kill 1"), None);
}

/// Only root may choose; for others the choice means nothing.
fn a_caged_child_has_a_user_of_its_own_where_root_chooses_one(launcher: &Launcher) {
    let is_root = rustix::process::geteuid().is_root();
    for (chosen, got) in [(7_000_001, 7_000_001), (0, 65_532)] {
        let cage = Cage {
            user: Some(chosen),
            ..Cage::new(Profile::Runner)
        };
        let mut runner = Probe::start_in(launcher, &cage);
        let identity = runner.ask("identity").expect("it lives");
        assert!(!identity.contains("uid=0"), "{identity}");
        if is_root {
            assert!(identity.ends_with(&format!("uid={got} gid={got}")), "{identity}");
        }
        // A worker of it is the same user: there is no way back.
        let worker = runner.ask("worker local-time").expect("it lives");
        assert!(worker.starts_with("offset 0"), "{worker}");
    }
}

fn a_worker_knows_the_time_of_day_without_a_file(launcher: &Launcher) {
    let mut worker = Probe::start(launcher, Profile::Worker);
    assert_eq!(worker.ask("local-time").as_deref(), Some("offset 0"));
    let mut runner = Probe::start(launcher, Profile::Runner);
    let answer = runner.ask("worker local-time").expect("it lives");
    assert!(answer.starts_with("offset 0"), "{answer}");
}

fn an_unknown_role_is_an_error(launcher: &Launcher) {
    let error = launcher
        .launch("nobody", &Cage::new(Profile::Worker))
        .expect_err("there is none");
    assert!(matches!(error, CageError::NotUp(_)), "{error:?}");
}

fn a_report_reads_as_one_line(launcher: &Launcher) {
    let worker = Probe::start(launcher, Profile::Worker);
    let line = worker.caged.report().to_string();
    assert!(line.starts_with("holds: ") && !line.contains('\n'), "{line}");
}

/// Root is the rule in a container and the exception elsewhere: the same tests again, without it.
fn all_of_this_holds_for_an_ordinary_user_too(_: &Launcher) {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;

    let folder = tempfile::tempdir().expect("a folder");
    let everybody = || std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.path(), everybody()).expect("opened");
    let copy = folder.path().join("tests");
    std::fs::copy("/proc/self/exe", &copy).expect("copied");
    std::fs::set_permissions(&copy, everybody()).expect("opened");
    let output = std::process::Command::new(&copy)
        .current_dir("/")
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .expect("it runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}

const NOBODY: u32 = 65_534;
