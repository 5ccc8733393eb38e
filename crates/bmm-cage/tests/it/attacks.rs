//! Native code in the cage tries to get out. The same calls succeed (or fail for an ordinary reason) outside: see
//! `the_probes_work_outside_a_cage`.

use bmm_cage::{Launcher, Profile};
use libtest_mimic::Trial;

use crate::probe::{self, Probe};
use crate::{lifetime, trials};

pub(crate) fn trials(launcher: &Launcher) -> Vec<Trial> {
    trials![launcher;
        the_probes_work_outside_a_cage,
        a_worker_ends_at_its_first_forbidden_call,
        a_runner_is_refused_what_a_server_does_not_need,
        a_runner_opens_no_file_but_its_own_executable,
        a_runner_executes_nothing_but_itself,
        nothing_is_inherited_but_the_channel,
        a_worker_cannot_take_more_address_space_than_allowed,
        a_worker_of_a_runner_is_caged_as_well,
    ]
}

/// SIGSYS, the end by a filter.
const BAD_SYSTEM_CALL: i32 = libc::SIGSYS;

fn the_probes_work_outside_a_cage(_: &Launcher) {
    for works in [
        "open /etc/passwd",
        "socket 2",
        "socketpair 2",
        "mprotect-exec",
        "memfd",
        "fork",
    ] {
        assert_ne!(probe::attempt(works), -1, "{works}");
    }
}

fn a_worker_ends_at_its_first_forbidden_call(launcher: &Launcher) {
    let forbidden = [
        "open /etc/passwd",
        "open /proc/self/maps",
        "open /proc/self/mem",
        "create /tmp/bmm-cage-probe",
        "truncate /tmp/bmm-cage-probe",
        "unlink /tmp/bmm-cage-probe",
        "mkdir /tmp/bmm-cage-probe",
        "socket 1",
        "socket 2",
        "socket 10",
        "socket 16",
        "socket 40",
        "socketpair 1",
        "connect",
        "bind",
        "exec /bin/true",
        "exec /proc/self/exe",
        "execveat",
        "fork",
        "clone3",
        "clone-namespace",
        "ptrace",
        "process_vm_readv",
        "pidfd_getfd",
        "kill 1",
        "tgkill 1",
        "mprotect-exec",
        "mmap-exec",
        "memfd",
        "io_uring",
        "bpf",
        "keyctl",
        "userfaultfd",
        "perf",
        "mount",
        "unshare",
        "setns",
        "chroot",
        "module",
        "kexec",
        "setuid",
        "undeath",
        "dumpable",
        "unlimit",
        "type-into-terminal",
        #[cfg(target_arch = "x86_64")]
        "x32",
    ];
    for attack in forbidden {
        let mut worker = Probe::start(launcher, Profile::Worker);
        assert_eq!(worker.ask(attack), None, "{attack}");
        assert_eq!(
            lifetime::wait(&mut worker.caged),
            bmm_cage::End::Killed(BAD_SYSTEM_CALL),
            "{attack}"
        );
    }
    assert!(!std::path::Path::new("/tmp/bmm-cage-probe").exists());
}

fn a_runner_is_refused_what_a_server_does_not_need(launcher: &Launcher) {
    let mut runner = Probe::start(launcher, Profile::Runner);
    let not_there = format!("refused {}", libc::ENOSYS);
    for attack in [
        "socket 1",
        "socket 2",
        "socket 10",
        "socket 16",
        "socket 17",
        "socket 40",
        "socketpair 2",
        "connect",
        "bind",
        "execveat",
        "clone3",
        "clone-namespace",
        "ptrace",
        "process_vm_readv",
        "pidfd_getfd",
        "kill 1",
        "memfd",
        "io_uring",
        "bpf",
        "keyctl",
        "userfaultfd",
        "perf",
        "mount",
        "unshare",
        "setns",
        "chroot",
        "module",
        "kexec",
        "setuid",
        "undeath",
        "dumpable",
        "type-into-terminal",
        "unlink /tmp/x",
        "mkdir /tmp/x",
        "truncate /tmp/x",
        #[cfg(target_arch = "x86_64")]
        "x32",
    ] {
        assert_eq!(
            runner.ask(attack).as_deref(),
            Some(not_there.as_str()),
            "{attack}"
        );
    }
    assert_eq!(runner.ask("unlimit"), Some(format!("refused {}", libc::EPERM)));
    assert_eq!(runner.ask("socketpair 1").as_deref(), Some("done"));
    assert_eq!(runner.ask("fork").as_deref(), Some("done"));
}

fn a_runner_opens_no_file_but_its_own_executable(launcher: &Launcher) {
    let mut runner = Probe::start(launcher, Profile::Runner);
    for path in [
        "/etc/passwd",
        "/proc/self/environ",
        "/proc/1/environ",
        "/proc/self/maps",
        "/proc/mounts",
        "/tmp",
        "/",
        "/sys",
    ] {
        let answer = runner.ask(&format!("open {path}")).expect("it lives");
        assert!(answer.starts_with("refused"), "{path}: {answer}");
    }
    for path in ["/tmp/bmm-cage-probe", "/dev/shm/bmm-cage-probe"] {
        let answer = runner.ask(&format!("create {path}")).expect("it lives");
        assert!(answer.starts_with("refused"), "{path}: {answer}");
    }
    assert_eq!(runner.ask("open /proc/self/exe").as_deref(), Some("done"));
    assert_eq!(runner.ask("open /dev/null").as_deref(), Some("done"));
}

fn a_runner_executes_nothing_but_itself(launcher: &Launcher) {
    let mut runner = Probe::start(launcher, Profile::Runner);
    for program in ["/bin/true", "/bin/sh", "/usr/bin/env", "/etc/passwd"] {
        assert_eq!(
            runner.ask(&format!("exec {program}")),
            Some(format!("refused {}", libc::EACCES)),
            "{program}"
        );
    }
}

fn nothing_is_inherited_but_the_channel(launcher: &Launcher) {
    for profile in [Profile::Worker, Profile::Runner] {
        let mut caged = Probe::start(launcher, profile);
        assert_eq!(caged.ask("environment").as_deref(), Some("0"), "{profile:?}");
        assert_eq!(
            caged.ask("descriptors").as_deref(),
            Some("0,1,2,3 channel=3"),
            "{profile:?}"
        );
    }
}

fn a_worker_cannot_take_more_address_space_than_allowed(launcher: &Launcher) {
    let mut worker = Probe::start(launcher, Profile::Worker);
    assert_eq!(worker.ask("allocate 64").as_deref(), Some("true"));
    assert_eq!(worker.ask("allocate 300").as_deref(), Some("false"));
}

fn a_worker_of_a_runner_is_caged_as_well(launcher: &Launcher) {
    let mut runner = Probe::start(launcher, Profile::Runner);
    let answer = runner.ask("worker environment").expect("it lives");
    assert!(answer.starts_with("0 [holds: "), "{answer}");
    assert!(!answer.contains("missing"), "{answer}");
    let attacked = runner.ask("worker socket 2").expect("it lives");
    assert!(attacked.starts_with(" ["), "the worker answered: {attacked}");
    // And a worker launches nothing.
    let nested = runner.ask("worker worker environment").expect("it lives");
    assert!(nested.starts_with(" ["), "the worker answered: {nested}");
}
