//! Closing the cage around the calling process, in the order in which the controls allow one another.

use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};
use serde::{Deserialize, Serialize};

use crate::filesystem::{self, Files};
use crate::policy::{Limits, Order, Profile};
use crate::privileges;
use crate::report::{CageReport, Control};
use crate::seccomp;

/// What the child tells the launcher before its role starts.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Announcement {
    /// The role's process as the launcher sees it, where it is not the process that was started.
    pub(crate) pid: Option<i32>,
    pub(crate) report: CageReport,
    /// Why the role does not start.
    pub(crate) refused: Option<String>,
}

impl Announcement {
    pub(crate) fn refused(error: &io::Error) -> Self {
        Self {
            pid: None,
            report: CageReport::default(),
            refused: Some(error.to_string()),
        }
    }
}

/// What the caged process is to whoever caged it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// A child, or a keeper's child.
    Child,
    /// The first process of a container: its parent is not ours, and its end is its container's.
    Container,
}

/// Closes the cage of a [`Profile::Worker`].
pub(crate) fn worker(order: &Order) -> io::Result<Announcement> {
    let mut report = CageReport::default();
    close(order, Place::Child, &mut report)?;
    Ok(Announcement {
        pid: None,
        report,
        refused: None,
    })
}

/// Everything but namespaces and lifeline: users, limits, Landlock, seccomp. The process must be single-threaded.
pub(crate) fn close(order: &Order, place: Place, report: &mut CageReport) -> io::Result<()> {
    let cage = &order.cage;
    if cage.profile == Profile::Worker {
        settle_time_zone();
    }
    let limits = resource_limits(order)?;
    report.note(Control::Unprivileged, privileges::drop_all(cage.user));
    // After the uid change, which would clear it.
    let dies_with_parent = match place {
        Place::Child => Some(rustix::process::set_parent_process_death_signal(Some(
            Signal::KILL,
        ))),
        Place::Container => None,
    };
    rustix::thread::set_no_new_privs(true)?;
    report.note(Control::NoNewPrivileges, Ok::<(), io::Error>(()));
    // No core, no ptrace and no /proc/<pid>/mem by another process of the same user.
    let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);

    let files = match cage.profile {
        Profile::Worker => Files::None,
        Profile::Runner => Files::OwnExecutable,
    };
    match filesystem::enforce(files) {
        Ok(enforced) => {
            report.note(Control::Filesystem, enforced.files);
            report.note(Control::Scopes, enforced.scopes);
        }
        Err(error) => {
            report.note(Control::Filesystem, Err(&error));
            report.note(Control::Scopes, Err(&error));
        }
    }
    // A runner could end its keeper where it sees it and may signal it; then only the death signal is left.
    let needs_keeper = cage.profile == Profile::Runner;
    let keeper_is_safe = report.holds(Control::PidNamespace) || report.holds(Control::Scopes);
    if let Some(dies_with_parent) = dies_with_parent {
        let lifeline = match dies_with_parent {
            Ok(()) if needs_keeper && !keeper_is_safe => Err("the child could end its keeper".to_owned()),
            outcome => outcome.map_err(|error| error.to_string()),
        };
        report.note(Control::Lifeline, lifeline);
    }
    for (resource, limit) in limits {
        let limit = Some(limit);
        rustix::process::setrlimit(
            resource,
            Rlimit {
                current: limit,
                maximum: limit,
            },
        )?;
    }
    report.note(Control::ResourceLimits, Ok::<(), io::Error>(()));
    seccomp::apply(cage.profile)?;
    report.note(Control::Seccomp, Ok::<(), io::Error>(()));

    if cage.require_full && !report.is_full() {
        return Err(io::Error::other(format!("the full cage is required: {report}")));
    }
    Ok(())
}

fn resource_limits(order: &Order) -> io::Result<Vec<(Resource, u64)>> {
    let Limits {
        memory_mib,
        cpu_seconds,
        open_files,
        processes,
    } = order.cage.limits;
    let processes = if order.cage.profile == Profile::Worker {
        0
    } else {
        processes
    };
    let mut limits = vec![
        (
            Resource::As,
            order
                .mapped_bytes
                .saturating_add(memory_mib.saturating_mul(1024 * 1024)),
        ),
        (Resource::Fsize, 0),
        (Resource::Core, 0),
        (Resource::Nofile, open_files),
        (Resource::Nproc, processes),
    ];
    if let Some(seconds) = cpu_seconds {
        limits.push((Resource::Cpu, seconds));
    }
    // Never more than this process may have: raising is refused to the unprivileged.
    for (resource, limit) in &mut limits {
        if let Some(maximum) = rustix::process::getrlimit(*resource).maximum {
            *limit = (*limit).min(maximum);
        }
    }
    Ok(limits)
}

/// Address space that this process has mapped now.
pub(crate) fn mapped_bytes() -> io::Result<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = statm
        .split(' ')
        .next()
        .and_then(|pages| pages.parse().ok())
        .ok_or_else(|| io::Error::other("/proc/self/statm is not readable"))?;
    Ok(pages.saturating_mul(rustix::param::page_size() as u64))
}

/// Makes the C library read its time zone now (as UTC, whatever the machine's is): once the cage is closed, the first
/// conversion to local time would open a file, and end the process.
#[allow(unsafe_code)]
fn settle_time_zone() {
    unsafe extern "C" {
        fn tzset();
    }
    // SAFETY: the process has one thread, so nobody reads the environment meanwhile; tzset takes no argument.
    unsafe {
        std::env::set_var("TZ", "UTC0");
        tzset();
        std::env::remove_var("TZ");
    }
}
