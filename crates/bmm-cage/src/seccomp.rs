//! The two system-call filters. Both are allow-lists: what is not named here does not exist.
//!
//! A worker ends at the first call that is not on its list. A runner gets `ENOSYS`, which the C library takes as an older
//! kernel and works around where it can (`clone3`, whose flags a filter cannot see, becomes `clone`).

use std::collections::BTreeMap;
use std::io;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};

use crate::policy::Profile;

type Rules = BTreeMap<c_long, Vec<SeccompRule>>;

/// Filters the calling thread and all it starts. The process must be single-threaded.
pub(crate) fn apply(profile: Profile) -> io::Result<()> {
    let program = program(profile).map_err(io::Error::other)?;
    seccompiler::apply_filter(&program).map_err(io::Error::other)
}

fn program(profile: Profile) -> Result<BpfProgram, seccompiler::BackendError> {
    let (rules, otherwise) = match profile {
        Profile::Worker => (worker_rules()?, SeccompAction::KillProcess),
        Profile::Runner => (runner_rules()?, SeccompAction::Errno(libc::ENOSYS as u32)),
    };
    SeccompFilter::new(rules, otherwise, SeccompAction::Allow, TARGET)?.try_into()
}

#[cfg(target_arch = "x86_64")]
const TARGET: TargetArch = TargetArch::x86_64;
#[cfg(target_arch = "aarch64")]
const TARGET: TargetArch = TargetArch::aarch64;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("bmm-cage has system-call lists for x86_64 and aarch64 only");

/// Memory, time, waiting and its open descriptors: what computing takes.
const COMPUTING: &[c_long] = &[
    libc::SYS_brk,
    libc::SYS_clock_nanosleep,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_ppoll,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_yield,
    libc::SYS_sigaltstack,
    libc::SYS_write,
    libc::SYS_writev,
];

#[cfg(target_arch = "x86_64")]
const COMPUTING_LEGACY: &[c_long] = &[libc::SYS_poll, libc::SYS_time];
#[cfg(not(target_arch = "x86_64"))]
const COMPUTING_LEGACY: &[c_long] = &[];

/// What a multi-threaded server adds, and what it takes to start itself again as a worker. Opening is here since the
/// loader opens libraries; what may be opened is Landlock's business. No socket is made, named, bound or connected: all
/// come through the channel.
const SERVING: &[c_long] = &[
    libc::SYS_accept4,
    libc::SYS_capget,
    libc::SYS_capset,
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_close_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_execve,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_getcpu,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getgroups,
    libc::SYS_getpeername,
    libc::SYS_getpgid,
    libc::SYS_getppid,
    libc::SYS_getresgid,
    libc::SYS_getresuid,
    libc::SYS_getrusage,
    libc::SYS_getsid,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_getuid,
    libc::SYS_landlock_add_rule,
    libc::SYS_landlock_create_ruleset,
    libc::SYS_landlock_restrict_self,
    libc::SYS_lseek,
    libc::SYS_membarrier,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
    libc::SYS_pipe2,
    libc::SYS_pread64,
    libc::SYS_pselect6,
    libc::SYS_readlinkat,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_rseq,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_seccomp,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_setsid,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    libc::SYS_statx,
    libc::SYS_sysinfo,
    libc::SYS_tgkill,
    libc::SYS_times,
    libc::SYS_umask,
    libc::SYS_uname,
    libc::SYS_wait4,
    libc::SYS_waitid,
];

#[cfg(target_arch = "x86_64")]
const SERVING_LEGACY: &[c_long] = &[
    libc::SYS_accept,
    libc::SYS_access,
    libc::SYS_arch_prctl,
    libc::SYS_dup2,
    libc::SYS_epoll_wait,
    libc::SYS_fork,
    libc::SYS_getpgrp,
    libc::SYS_getrlimit,
    libc::SYS_lstat,
    libc::SYS_open,
    libc::SYS_pipe,
    libc::SYS_readlink,
    libc::SYS_select,
    libc::SYS_stat,
    libc::SYS_vfork,
];
#[cfg(not(target_arch = "x86_64"))]
const SERVING_LEGACY: &[c_long] = &[];

/// Reads the process's own auxiliary vector: how rustix finds the clock that needs no system call.
const PR_GET_AUXV: libc::c_int = 0x4155_5856;

/// `prctl` operations of a caged process that cages its own children; each only tightens.
const PRCTL: &[libc::c_int] = &[
    PR_GET_AUXV,
    libc::PR_GET_DUMPABLE,
    libc::PR_SET_NAME,
    libc::PR_GET_NAME,
    libc::PR_SET_SECCOMP,
    libc::PR_CAPBSET_READ,
    libc::PR_CAPBSET_DROP,
    libc::PR_SET_NO_NEW_PRIVS,
    libc::PR_GET_NO_NEW_PRIVS,
    libc::PR_SET_VMA,
];

fn worker_rules() -> Result<Rules, seccompiler::BackendError> {
    let mut rules = allowed(&[COMPUTING, COMPUTING_LEGACY]);
    let no_code = || Ok(vec![SeccompRule::new(vec![bits(2, libc::PROT_EXEC as u64, 0)?])?]);
    rules.insert(libc::SYS_mmap, no_code()?);
    rules.insert(libc::SYS_mprotect, no_code()?);
    // The clocks of other processes have negative numbers.
    rules.insert(
        libc::SYS_clock_gettime,
        vec![SeccompRule::new(vec![at_most(0, libc::CLOCK_TAI as u64)?])?],
    );
    rules.insert(
        libc::SYS_fcntl,
        one_of(1, &[libc::F_GETFD as u64, libc::F_GETFL as u64])?,
    );
    rules.insert(libc::SYS_prctl, one_of(0, &[PR_GET_AUXV as u64])?);
    // abort() signals its own process.
    rules.insert(libc::SYS_tgkill, one_of(0, &[u64::from(std::process::id())])?);
    Ok(rules)
}

fn runner_rules() -> Result<Rules, seccompiler::BackendError> {
    let mut rules = allowed(&[COMPUTING, COMPUTING_LEGACY, SERVING, SERVING_LEGACY]);
    // Threads and children, but no namespaces.
    let namespaces = libc::CLONE_NEWNS
        | libc::CLONE_NEWCGROUP
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUSER
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET;
    rules.insert(
        libc::SYS_clone,
        vec![SeccompRule::new(vec![bits(0, namespaces as u64, 0)?])?],
    );
    // Stream pairs only: a datagram socket could be pointed somewhere else later.
    let kind = |kind: i32| {
        SeccompRule::new(vec![
            equal(0, libc::AF_UNIX as u64)?,
            bits(1, SOCKET_KIND, kind as u64)?,
        ])
    };
    rules.insert(
        libc::SYS_socketpair,
        vec![kind(libc::SOCK_STREAM)?, kind(libc::SOCK_SEQPACKET)?],
    );
    // No terminal input, no device: std asks whether stderr is a terminal, and sets sockets non-blocking.
    rules.insert(
        libc::SYS_ioctl,
        one_of(1, &[libc::TCGETS, libc::FIONBIO, libc::FIONREAD, libc::FIOCLEX])?,
    );
    // Own limits only.
    rules.insert(libc::SYS_prlimit64, one_of(0, &[0])?);
    let mut prctl = one_of(
        0,
        &PRCTL
            .iter()
            .map(|operation| *operation as u64)
            .collect::<Vec<_>>(),
    )?;
    // These two can tighten or loosen; the runner's own death signal and undumpability must stay.
    for (operation, value) in [
        (libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64),
        (libc::PR_SET_DUMPABLE, 0),
        (libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as u64),
    ] {
        prctl.push(SeccompRule::new(vec![
            equal(0, operation as u64)?,
            equal(1, value)?,
        ])?);
    }
    rules.insert(libc::SYS_prctl, prctl);
    Ok(rules)
}

/// The part of a socket's type that is not a flag.
const SOCKET_KIND: u64 = 0xf;

fn allowed(lists: &[&[c_long]]) -> Rules {
    lists
        .iter()
        .flat_map(|list| list.iter())
        .map(|call| (*call, Vec::new()))
        .collect()
}

type Condition = Result<SeccompCondition, seccompiler::BackendError>;

/// The kernel looks at 32 bits of all these arguments, so the filter does too.
fn condition(argument: u8, operator: SeccompCmpOp, value: u64) -> Condition {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
}

fn equal(argument: u8, value: u64) -> Condition {
    condition(argument, SeccompCmpOp::Eq, value)
}

fn at_most(argument: u8, value: u64) -> Condition {
    condition(argument, SeccompCmpOp::Le, value)
}

fn bits(argument: u8, mask: u64, value: u64) -> Condition {
    condition(argument, SeccompCmpOp::MaskedEq(mask), value)
}

fn one_of(argument: u8, values: &[u64]) -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    values
        .iter()
        .map(|value| SeccompRule::new(vec![equal(argument, *value)?]))
        .collect()
}
