//! The process between a launcher and a [`Profile::Runner`](crate::Profile::Runner): makes the namespaces, starts the runner
//! as the first process in them, and ends it when the parent is gone.
//!
//! Why a process of its own: a pid namespace holds only for children, and a parent-death signal is not enough. It is lost on a
//! uid change, bound to a thread, and does not reach grandchildren. The keeper's lifeline is a pipe whose other end only the
//! parent holds, so it closes however the parent ends.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, WaitIdOptions, WaitOptions, WaitStatus};
use rustix::thread::UnshareFlags;

use crate::confine::{self, Announcement, Place};
use crate::policy::Order;
use crate::privileges::UNPRIVILEGED;
use crate::report::{CageReport, Control};

/// Splits the calling process into a keeper, which ends here, and a caged runner, which returns.
pub(crate) fn split(order: &Order, lifeline: OwnedFd, channel: &File) -> io::Result<Announcement> {
    let mut report = CageReport::default();
    enter_namespaces(&mut report);
    let has_pid_namespace = report.holds(Control::PidNamespace);
    if !has_pid_namespace {
        // Orphans of the runner come to the keeper, so that it can end them.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    }
    // Tells the child its number, and by its end that the keeper is gone.
    let (from_keeper, to_child) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    match fork()? {
        Some(child) => {
            drop(from_keeper);
            close_channel(channel);
            keep(child, lifeline, File::from(to_child), has_pid_namespace)
        }
        None => {
            drop((lifeline, to_child));
            confine::close(order, Place::Child, &mut report)?;
            let mut pid = [0; 4];
            // Fails when the keeper was gone before the death signal was set.
            File::from(from_keeper).read_exact(&mut pid)?;
            Ok(Announcement {
                pid: Some(i32::from_ne_bytes(pid)),
                report,
                refused: None,
            })
        }
    }
}

/// Enters every namespace that this user may make, by way of a user namespace where nothing else helps.
fn enter_namespaces(report: &mut CageReport) {
    let mut made = unshare(UnshareFlags::NEWPID);
    if made.is_err() {
        made = enter_user_namespace()
            .map_err(|error| io::Error::new(error.kind(), format!("no user namespace either: {error}")))
            .and_then(|()| unshare(UnshareFlags::NEWPID));
    }
    report.note(Control::PidNamespace, made);
    report.note(Control::NetNamespace, unshare(UnshareFlags::NEWNET));
    report.note(Control::IpcNamespace, unshare(UnshareFlags::NEWIPC));
    report.note(Control::UtsNamespace, unshare(UnshareFlags::NEWUTS));
}

#[allow(unsafe_code)]
fn unshare(what: UnshareFlags) -> io::Result<()> {
    // SAFETY: namespaces only, never `FILES`, and the process has one thread.
    Ok(unsafe { rustix::thread::unshare_unsafe(what) }?)
}

/// A user namespace in which the caller is a user that owns nothing, whoever it is outside.
fn enter_user_namespace() -> io::Result<()> {
    let (user, group) = (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    );
    unshare(UnshareFlags::NEWUSER)?;
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("{UNPRIVILEGED} {user} 1"))?;
    std::fs::write("/proc/self/gid_map", format!("{UNPRIVILEGED} {group} 1"))
}

#[allow(unsafe_code)]
pub(crate) fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: the process has one thread (`init` is the first line of `main`), so the child may do anything.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        child => Ok(Pid::from_raw(child)),
    }
}

/// The keeper must not hold the channel open: its end means something to the parent.
#[allow(unsafe_code)]
fn close_channel(channel: &File) {
    // SAFETY: the keeper never returns from `keep`, so the owner of this descriptor is never used or dropped here.
    unsafe { libc::close(channel.as_raw_fd()) };
}

/// Waits for the end of the parent or of the child, and leaves nothing behind.
fn keep(child: Pid, lifeline: OwnedFd, mut to_child: File, has_pid_namespace: bool) -> ! {
    let watched = to_child
        .write_all(&child.as_raw_nonzero().get().to_ne_bytes())
        .and_then(|()| Ok(rustix::process::pidfd_open(child, PidfdFlags::empty())?))
        .and_then(|pidfd| wait_for_an_end(&pidfd, &lifeline));
    let _ = rustix::process::kill_process(child, Signal::KILL);
    let status = rustix::process::waitpid(Some(child), WaitOptions::empty());
    if !has_pid_namespace {
        end_orphans();
    }
    std::process::exit(match (watched, status) {
        (Ok(()), Ok(Some((_, status)))) => exit_number(status),
        _ => 71, // EX_OSERR
    })
}

fn wait_for_an_end(pidfd: &OwnedFd, lifeline: &OwnedFd) -> io::Result<()> {
    let mut fds = [
        PollFd::new(pidfd, PollFlags::IN),
        PollFd::new(lifeline, PollFlags::IN),
    ];
    loop {
        match poll(&mut fds, None) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Kills what the runner left behind, generation by generation: every orphan becomes a child of the keeper.
fn end_orphans() {
    let deadline = Instant::now() + Duration::from_secs(5);
    while Instant::now() < deadline {
        for child in children() {
            let _ = rustix::process::kill_process(child, Signal::KILL);
        }
        match rustix::process::waitid(
            rustix::process::WaitId::All,
            WaitIdOptions::EXITED | WaitIdOptions::NOHANG,
        ) {
            Ok(Some(_)) => {}
            Ok(None) => pause(),
            Err(_) => return, // no child is left
        }
    }
}

fn children() -> Vec<Pid> {
    let thread = rustix::thread::gettid().as_raw_nonzero();
    let list = std::fs::read_to_string(format!("/proc/self/task/{thread}/children")).unwrap_or_default();
    list.split_ascii_whitespace()
        .filter_map(|pid| Pid::from_raw(pid.parse().ok()?))
        .collect()
}

fn pause() {
    let _ = poll(
        &mut [],
        Some(&Timespec {
            tv_sec: 0,
            tv_nsec: 1_000_000,
        }),
    );
}

/// As a shell tells it: 128 and the signal.
pub(crate) fn exit_number(status: WaitStatus) -> i32 {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => crate::caged::SIGNAL_BASE + signal,
        (None, None) => 71,
    }
}
