//! The caged side of the tests: roles that do what the host asks for, with native code and no scruples.

#![allow(unsafe_code)]

use std::ffi::{CString, c_long};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::ExitCode;

use bmm_cage::{Cage, Caged, Inherited, Launcher, Profile, Role};

pub(crate) const ROLES: &[Role] = &[
    Role {
        name: "probe",
        run: probe,
    },
    Role {
        name: "deaf",
        run: deaf,
    },
];

/// A caged probe, and the conversation with it: one line there, one line back.
pub(crate) struct Probe {
    pub(crate) caged: Caged,
    channel: BufReader<File>,
}

impl Probe {
    pub(crate) fn start(launcher: &Launcher, profile: Profile) -> Self {
        Self::start_in(launcher, &Cage::new(profile))
    }

    pub(crate) fn start_in(launcher: &Launcher, cage: &Cage) -> Self {
        let mut caged = launcher.launch("probe", cage).expect("the probe starts");
        let channel = BufReader::new(File::from(caged.channel().expect("not taken")));
        Self { caged, channel }
    }

    /// What the probe answers; `None` when it ended instead.
    pub(crate) fn ask(&mut self, question: &str) -> Option<String> {
        self.channel
            .get_mut()
            .write_all(format!("{question}\n").as_bytes())
            .ok()?;
        let mut answer = String::new();
        self.channel.read_line(&mut answer).ok()?;
        answer.ends_with('\n').then(|| answer.trim_end().to_owned())
    }
}

/// In the grandchild of a scene: namespaces are refused as some machines do, by a filter that later ones cannot loosen.
pub(crate) fn refuse_namespaces_if_asked() {
    if !std::env::args().any(|argument| argument == "--scene=refused-namespaces") {
        return;
    }
    use seccompiler::{SeccompAction, SeccompFilter};
    let rules = [(libc::SYS_unshare, vec![])].into_iter().collect();
    let arch = std::env::consts::ARCH.try_into().expect("known");
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EPERM as u32),
        arch,
    )
    .expect("valid");
    let program: seccompiler::BpfProgram = filter.try_into().expect("compiles");
    seccompiler::apply_filter(&program).expect("applies");
}

/// Opens files as careless code does, so that children would inherit them.
pub(crate) fn leak_descriptors() {
    for _ in 0..3 {
        // SAFETY: the path is a literal; the descriptor is leaked on purpose.
        unsafe { libc::open(c"/etc/passwd".as_ptr(), libc::O_RDONLY) };
    }
}

fn deaf(_: Inherited) -> ExitCode {
    loop {
        std::hint::spin_loop();
    }
}

fn probe(inherited: Inherited) -> ExitCode {
    let descriptor = inherited.channel.as_raw_fd();
    let mut questions = BufReader::new(File::from(inherited.channel));
    let mut line = String::new();
    while matches!(questions.read_line(&mut line), Ok(1..)) {
        let answer = answer(line.trim_end(), descriptor, &inherited.launcher);
        line.clear();
        if questions
            .get_mut()
            .write_all(format!("{answer}\n").as_bytes())
            .is_err()
        {
            break;
        }
    }
    ExitCode::SUCCESS
}

fn answer(question: &str, channel: i32, launcher: &Launcher) -> String {
    let (verb, rest) = question.split_once(' ').unwrap_or((question, ""));
    match verb {
        "environment" => format!("{}", std::env::vars_os().count()),
        "descriptors" => {
            // SAFETY: F_GETFD touches no memory.
            let open = (0..64)
                .filter(|fd| unsafe { libc::fcntl(*fd, libc::F_GETFD) } != -1)
                .map(|fd| fd.to_string());
            format!("{} channel={channel}", open.collect::<Vec<_>>().join(","))
        }
        "local-time" => {
            // SAFETY: both pointers are to live locals.
            unsafe {
                let (now, mut time) = (1_700_000_000, std::mem::zeroed());
                libc::localtime_r(&now, &mut time);
                format!("offset {}", time.tm_gmtoff)
            }
        }
        "allocate" => {
            let mut bytes = Vec::<u8>::new();
            let size = rest.parse::<usize>().unwrap_or(0) * 1024 * 1024;
            format!("{}", bytes.try_reserve_exact(size).is_ok())
        }
        "identity" => {
            // SAFETY: these touch no memory of ours.
            let (user, group) = unsafe { (libc::geteuid(), libc::getegid()) };
            format!("pid={} uid={user} gid={group}", std::process::id())
        }
        "shout" => {
            eprintln!("{rest}");
            "shouted".to_owned()
        }
        "panic" => panic!("as asked"),
        "abort" => std::process::abort(),
        "worker" => match launcher.launch("probe", &Cage::new(Profile::Worker)) {
            Ok(mut caged) => {
                let mut channel = BufReader::new(File::from(caged.channel().expect("not taken")));
                let mut answer = String::new();
                let _ = channel.get_mut().write_all(format!("{rest}\n").as_bytes());
                let _ = channel.read_line(&mut answer);
                format!("{} [{}]", answer.trim_end(), caged.report())
            }
            Err(error) => format!("failed: {error:?}"),
        },
        // Survivors: children in sessions of their own that spin, with grandchildren.
        "spawn" => {
            let started = (0..rest.parse().unwrap_or(1))
                .filter(|_| spawn_survivor())
                .count();
            format!("{started}")
        }
        _ => outcome(attempt(question)),
    }
}

/// Tries a system call by name.
pub(crate) fn attempt(what: &str) -> c_long {
    let (verb, rest) = what.split_once(' ').unwrap_or((what, ""));
    let path = CString::new(rest).unwrap_or_default();
    let number = |default: c_long| rest.parse().unwrap_or(default);
    let null = std::ptr::null::<u8>();
    // SAFETY: each call gets what its manual page asks for, or nonsense (null) that the kernel refuses.
    unsafe {
        match verb {
            "open" => libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path.as_ptr(), libc::O_RDONLY, 0),
            "create" => {
                let flags = libc::O_WRONLY | libc::O_CREAT;
                libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path.as_ptr(), flags, 0o600)
            }
            "truncate" => libc::syscall(libc::SYS_truncate, path.as_ptr(), 0),
            "unlink" => libc::syscall(libc::SYS_unlinkat, libc::AT_FDCWD, path.as_ptr(), 0),
            "mkdir" => libc::syscall(libc::SYS_mkdirat, libc::AT_FDCWD, path.as_ptr(), 0o700),
            "socket" => libc::syscall(
                libc::SYS_socket,
                number(libc::AF_INET.into()),
                libc::SOCK_STREAM,
                0,
            ),
            "socketpair" => {
                let mut pair = [0i32; 2];
                libc::syscall(
                    libc::SYS_socketpair,
                    libc::AF_UNIX,
                    number(1),
                    0,
                    pair.as_mut_ptr(),
                )
            }
            "connect" => libc::syscall(libc::SYS_connect, 3, null, 0),
            "bind" => libc::syscall(libc::SYS_bind, 3, null, 0),
            "exec" => {
                let arguments = [path.as_ptr(), std::ptr::null()];
                libc::syscall(
                    libc::SYS_execve,
                    path.as_ptr(),
                    arguments.as_ptr(),
                    [null].as_ptr(),
                )
            }
            "execveat" => libc::syscall(
                libc::SYS_execveat,
                3,
                c"".as_ptr(),
                null,
                null,
                libc::AT_EMPTY_PATH,
            ),
            "fork" => {
                let child = libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0);
                if child == 0 {
                    libc::_exit(0);
                }
                child
            }
            "clone3" => libc::syscall(libc::SYS_clone3, null, 0),
            "clone-namespace" => {
                libc::syscall(libc::SYS_clone, libc::CLONE_NEWUSER | libc::SIGCHLD, 0, 0, 0, 0)
            }
            "ptrace" => libc::syscall(libc::SYS_ptrace, libc::PTRACE_ATTACH, number(1), 0, 0),
            "process_vm_readv" => libc::syscall(libc::SYS_process_vm_readv, number(1), null, 0, null, 0, 0),
            "pidfd_getfd" => libc::syscall(libc::SYS_pidfd_getfd, 3, 0, 0),
            "kill" => libc::syscall(libc::SYS_kill, number(1), libc::SIGKILL),
            "tgkill" => libc::syscall(libc::SYS_tgkill, number(1), number(1), 0),
            "mprotect-exec" => {
                let page = libc::mmap(std::ptr::null_mut(), 4096, libc::PROT_READ, 0x22, -1, 0);
                libc::syscall(libc::SYS_mprotect, page, 4096, libc::PROT_READ | libc::PROT_EXEC)
            }
            "mmap-exec" => libc::syscall(
                libc::SYS_mmap,
                0,
                4096,
                libc::PROT_READ | libc::PROT_EXEC,
                0x22,
                -1,
                0,
            ),
            "memfd" => libc::syscall(libc::SYS_memfd_create, c"x".as_ptr(), 0),
            "io_uring" => libc::syscall(libc::SYS_io_uring_setup, 8, null),
            "bpf" => libc::syscall(libc::SYS_bpf, 0, null, 0),
            "keyctl" => libc::syscall(libc::SYS_keyctl, 0, 0, 0, 0, 0),
            "userfaultfd" => libc::syscall(libc::SYS_userfaultfd, 0),
            "perf" => libc::syscall(libc::SYS_perf_event_open, null, 0, -1, -1, 0),
            "mount" => libc::syscall(libc::SYS_mount, null, c"/mnt".as_ptr(), null, libc::MS_BIND, null),
            "unshare" => libc::syscall(libc::SYS_unshare, libc::CLONE_NEWUSER),
            "setns" => libc::syscall(libc::SYS_setns, 3, 0),
            "chroot" => libc::syscall(libc::SYS_chroot, c"/".as_ptr()),
            "module" => libc::syscall(libc::SYS_finit_module, 3, c"".as_ptr(), 0),
            "kexec" => libc::syscall(libc::SYS_kexec_load, 0, 0, null, 0),
            "setuid" => libc::syscall(libc::SYS_setuid, 0),
            "undeath" => libc::syscall(libc::SYS_prctl, libc::PR_SET_PDEATHSIG, 0, 0, 0, 0),
            "dumpable" => libc::syscall(libc::SYS_prctl, libc::PR_SET_DUMPABLE, 1, 0, 0, 0),
            "unlimit" => {
                let limit = libc::rlimit {
                    rlim_cur: libc::RLIM_INFINITY,
                    rlim_max: libc::RLIM_INFINITY,
                };
                libc::syscall(libc::SYS_prlimit64, 0, libc::RLIMIT_AS, &raw const limit, null)
            }
            "type-into-terminal" => libc::syscall(libc::SYS_ioctl, 2, libc::TIOCSTI, c"x".as_ptr()),
            #[cfg(target_arch = "x86_64")]
            "x32" => libc::syscall(0x4000_0000 | libc::SYS_getpid),
            other => panic!("the probe knows no {other}"),
        }
    }
}

fn outcome(result: c_long) -> String {
    match result {
        -1 => format!(
            "refused {:?}",
            std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
        ),
        _ => "done".to_owned(),
    }
}

/// Double fork and a session of its own: the classic way to outlive one's parent.
fn spawn_survivor() -> bool {
    // SAFETY: the probe has one thread, so a forked child may do anything; these do next to nothing.
    unsafe {
        match libc::fork() {
            -1 => false,
            0 => {
                libc::setsid();
                libc::prctl(libc::PR_SET_PDEATHSIG, 0);
                if libc::fork() == 0 {
                    libc::setsid();
                }
                loop {
                    libc::usleep(100_000);
                }
            }
            _ => true,
        }
    }
}

/// This binary again, as a host that plays `scene`.
pub(crate) fn scene(scene: &str) -> std::process::Command {
    let mut command = std::process::Command::new("/proc/self/exe");
    command.arg0("scene").arg(format!("--scene={scene}"));
    command
}
