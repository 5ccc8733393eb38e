//! The child's side of a launch: from `main`'s first line to the role, with the cage closed in between.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::process::ExitCode;

use rustix::fs::{Mode, OFlags};

use crate::confine::{self, Announcement};
use crate::contained;
use crate::keeper;
use crate::launcher::Launcher;
use crate::policy::{ARGV0_PREFIX, Order, Profile, read_message, write_message};

/// Something this program can be started again as.
#[derive(Debug, Clone, Copy)]
pub struct Role {
    /// The name to launch it by.
    pub name: &'static str,
    /// The role's `main`. Runs with the cage already closed.
    pub run: fn(Inherited) -> ExitCode,
}

/// All that a role has.
#[derive(Debug)]
pub struct Inherited {
    /// A blocking Unix stream socket; the other end is [`Caged::channel`](crate::Caged::channel) of the parent.
    pub channel: OwnedFd,
    /// To launch workers from a [`Profile::Runner`]; in a [`Profile::Worker`] every launch fails.
    pub launcher: Launcher,
}

/// Must be the first line of `main`: no thread may exist and no file may be open yet.
///
/// In an ordinary process it returns the [`Launcher`]. In a child that a launcher started, and in a [container](contained),
/// it closes the cage, runs the role and ends the process.
pub fn init(roles: &[Role]) -> Launcher {
    let mut arguments = std::env::args_os().map(|argument| argument.into_string().unwrap_or_default());
    let launched = arguments
        .next()
        .and_then(|argument| argument.strip_prefix(ARGV0_PREFIX).map(str::to_owned));
    let (name, played) = match (launched, contained::role_of(arguments)) {
        (Some(name), _) => {
            let played = enter(&name, roles);
            (name, played)
        }
        (None, Some(name)) => {
            let played = enter_container(&name, roles);
            (name, played)
        }
        (None, None) => return Launcher::new(),
    };
    match played {
        Ok(code) => std::process::exit(number(code)),
        Err(error) => {
            eprintln!("bmm-cage: cannot start the role {name}: {error}");
            std::process::exit(71) // EX_OSERR
        }
    }
}

/// Where a role finds its channel.
const CHANNEL: RawFd = 3;
/// Where a keeper finds its lifeline.
const LIFELINE: RawFd = 4;

/// Takes the descriptors as [`Launcher`] left them (stdin is the channel, stdout the lifeline), closes the cage and runs.
fn enter(name: &str, roles: &[Role]) -> io::Result<ExitCode> {
    let role = find(name, roles)?;
    // Own session: a Ctrl-C meant for the parent does not reach the child, and there is no terminal to type into.
    let _ = rustix::process::setsid();
    let (channel, lifeline) = arrange_descriptors()?;
    let mut channel = File::from(channel);
    let order: Order = read_message(&mut channel)?;

    let announcement = match order.cage.profile {
        Profile::Worker => {
            drop(lifeline);
            confine::worker(&order)
        }
        // Returns in a forked child only; the keeper ends with it.
        Profile::Runner => keeper::split(&order, lifeline, &channel),
    };
    match announcement {
        Ok(announcement) => write_message(&mut channel, &announcement)?,
        Err(error) => {
            let _ = write_message(&mut channel, &Announcement::refused(&error));
            return Err(error);
        }
    }
    Ok((role.run)(Inherited {
        channel: channel.into(),
        launcher: Launcher::inherited(order.mapped_bytes),
    }))
}

/// The same as the first process of a container.
fn enter_container(name: &str, roles: &[Role]) -> io::Result<ExitCode> {
    let role = find(name, roles)?;
    // Returns in a forked child only; the first process ends with it.
    let (channel, mapped_bytes) = contained::split()?;
    Ok((role.run)(Inherited {
        channel,
        launcher: Launcher::inherited(mapped_bytes),
    }))
}

fn find(name: &str, roles: &[Role]) -> io::Result<Role> {
    let role = roles.iter().find(|role| role.name == name);
    role.copied()
        .ok_or_else(|| io::Error::other("this program has no such role"))
}

/// Moves channel and lifeline to their places, puts `/dev/null` where they were, closes everything else.
#[allow(unsafe_code)]
fn arrange_descriptors() -> io::Result<(OwnedFd, OwnedFd)> {
    let high_channel = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 16)?;
    let high_lifeline = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 16)?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    place(high_channel.as_fd().as_raw_fd(), CHANNEL)?;
    place(high_lifeline.as_fd().as_raw_fd(), LIFELINE)?;
    // Forgotten, not closed: close_range closes them, together with whatever leaked into this process.
    std::mem::forget((high_channel, high_lifeline, null));
    // SAFETY: no other thread exists yet, and nothing in this process owns a descriptor above LIFELINE any more (the
    // three that were have just been forgotten), so no owner is left with a closed descriptor.
    let closed = unsafe { libc::close_range(LIFELINE as u32 + 1, u32::MAX, 0) };
    if closed != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `place` has just made both descriptors, and nothing else owns them.
    Ok(unsafe { (OwnedFd::from_raw_fd(CHANNEL), OwnedFd::from_raw_fd(LIFELINE)) })
}

#[allow(unsafe_code)]
fn place(from: RawFd, to: RawFd) -> io::Result<()> {
    // SAFETY: dup3 touches no memory; `to` is a fixed number below all that this process opened itself.
    match unsafe { libc::dup3(from, to, libc::O_CLOEXEC) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// The number of an exit code, which the standard library does not tell.
fn number(code: ExitCode) -> i32 {
    (0..=u8::MAX)
        .find(|number| ExitCode::from(*number) == code)
        .map_or(1, i32::from)
}
