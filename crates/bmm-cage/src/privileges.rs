//! Giving up users, groups and capabilities.

use std::io;

use rustix::process::{Gid, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};

/// The user and group of a caged child whose parent is root, unless it has one of its own: owns nothing, distinct from `nobody`.
pub(crate) const UNPRIVILEGED: u32 = 65_532;

/// Becomes a user that owns nothing and has no capability: `user`, where there is a choice. An error leaves whatever was given
/// up so far given up.
pub(crate) fn drop_all(user: Option<u32>) -> io::Result<()> {
    if rustix::process::geteuid().is_root() {
        drop_bounding_set();
        let user = user.filter(|user| *user != 0).unwrap_or(UNPRIVILEGED);
        let (user, group) = (Uid::from_raw(user), Gid::from_raw(user));
        rustix::thread::set_thread_groups(&[])?;
        rustix::thread::set_thread_res_gid(group, group, group)?;
        rustix::thread::set_thread_res_uid(user, user, user)?;
    }
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    let _ = rustix::thread::clear_ambient_capability_set();
    rustix::thread::set_capabilities(None, none)?;
    if rustix::process::geteuid().is_root() {
        return Err(io::Error::other("still root"));
    }
    Ok(())
}

fn drop_bounding_set() {
    // Refusals are of no interest: no-new-privileges makes the set moot, this is a belt.
    for capability in CapabilitySet::all().iter() {
        let _ = rustix::thread::remove_capability_from_bounding_set(capability);
    }
}
