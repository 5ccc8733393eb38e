//! A running caged child, seen from its parent.

use std::io;
use std::os::fd::OwnedFd;
use std::process::Child;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::confine::Announcement;
use crate::report::CageReport;

/// A caged child. Dropping it ends and reaps the child (which blocks for a few milliseconds).
#[derive(Debug)]
pub struct Caged {
    /// The process that was started: the role's own, or its keeper.
    process: OwnedFd,
    started: Pid,
    /// The role's process.
    role: Pid,
    /// Held for a keeper only; closing it ends the child.
    lifeline: Mutex<Option<OwnedFd>>,
    has_keeper: bool,
    channel: Option<OwnedFd>,
    report: CageReport,
    end: Option<End>,
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By itself, with this exit code.
    Exited(i32),
    /// By this signal.
    Killed(i32),
}

impl Caged {
    pub(crate) fn new(child: &Child, lifeline: Option<OwnedFd>) -> io::Result<Self> {
        let started = Pid::from_child(child);
        Ok(Self {
            process: rustix::process::pidfd_open(started, PidfdFlags::empty())?,
            started,
            role: started,
            has_keeper: lifeline.is_some(),
            lifeline: Mutex::new(lifeline),
            channel: None,
            report: CageReport::default(),
            end: None,
        })
    }

    pub(crate) fn is_up(&mut self, announcement: Announcement, channel: OwnedFd) {
        self.role = announcement.pid.and_then(Pid::from_raw).unwrap_or(self.started);
        self.report = announcement.report;
        self.channel = Some(channel);
    }

    /// The process that runs the role.
    pub fn pid(&self) -> u32 {
        self.role.as_raw_nonzero().get().unsigned_abs()
    }

    /// Takes our end of the child's channel, a blocking Unix stream socket; `None` when it was taken before.
    pub fn channel(&mut self) -> Option<OwnedFd> {
        self.channel.take()
    }

    /// Which controls hold around this child.
    pub fn report(&self) -> &CageReport {
        &self.report
    }

    /// Processor time that the role's process has used so far; `None` once it is gone.
    #[allow(unsafe_code)]
    pub fn cpu_time(&self) -> Option<Duration> {
        let mut clock = 0;
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: both pointers are to live locals of the right type. The process is not reaped while `self` is there, or it
        // is and the kernel says that there is no such clock.
        let told = unsafe {
            libc::clock_getcpuclockid(self.role.as_raw_nonzero().get(), &mut clock) == 0
                && libc::clock_gettime(clock, &mut time) == 0
        };
        told.then(|| {
            Duration::new(
                time.tv_sec.unsigned_abs(),
                u32::try_from(time.tv_nsec).unwrap_or(0),
            )
        })
    }

    /// Ends the child and all it started, at once and without asking. Does not wait.
    pub fn kill(&self) {
        if self.has_keeper {
            drop(
                self.lifeline
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .take(),
            );
        } else {
            let _ = rustix::process::pidfd_send_signal(&self.process, Signal::KILL);
        }
    }

    /// Waits for the child's end. Needs a tokio runtime; may be cancelled and called again.
    #[allow(unsafe_code)]
    pub async fn wait(&mut self) -> io::Result<End> {
        if let Some(end) = self.end {
            return Ok(end);
        }
        // SAFETY: the registration owns the descriptor, which nobody closes or replaces until it is dropped.
        let process =
            unsafe { AsyncFd::register_with_interest(self.process.try_clone()?, Interest::READABLE) }?;
        loop {
            let mut ready = process.readable().await?;
            if let Some(end) = self.try_wait()? {
                return Ok(end);
            }
            ready.clear_ready();
        }
    }

    /// How the child ended, if it has.
    pub fn try_wait(&mut self) -> io::Result<Option<End>> {
        self.reap(WaitIdOptions::NOHANG)
    }

    fn reap(&mut self, options: WaitIdOptions) -> io::Result<Option<End>> {
        use std::os::fd::AsFd;
        if self.end.is_none()
            && let Some(status) = rustix::process::waitid(
                WaitId::PidFd(self.process.as_fd()),
                options | WaitIdOptions::EXITED,
            )?
        {
            self.end = Some(match (status.exit_status(), status.terminating_signal()) {
                // A keeper tells of a signal as a shell does.
                (Some(code), _) if self.has_keeper && code > SIGNAL_BASE => End::Killed(code - SIGNAL_BASE),
                (Some(code), _) => End::Exited(code),
                (None, signal) => End::Killed(signal.unwrap_or(0)),
            });
        }
        Ok(self.end)
    }
}

impl Drop for Caged {
    fn drop(&mut self) {
        if self.end.is_some() {
            return;
        }
        self.kill();
        if self.has_keeper && !ends_within(&self.process, KEEPER_TIMEOUT) {
            // A keeper that does not do its work; the death signal it leaves behind does it.
            let _ = rustix::process::pidfd_send_signal(&self.process, Signal::KILL);
        }
        let _ = self.reap(WaitIdOptions::empty());
    }
}

/// What a keeper adds to a signal's number in its exit code.
pub(crate) const SIGNAL_BASE: i32 = 128;

/// How long a keeper may take to end its runner.
const KEEPER_TIMEOUT: Timespec = Timespec {
    tv_sec: 10,
    tv_nsec: 0,
};

fn ends_within(process: &OwnedFd, timeout: Timespec) -> bool {
    poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&timeout)).is_ok_and(|ready| ready > 0)
}
