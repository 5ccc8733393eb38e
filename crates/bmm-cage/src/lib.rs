//! A cage for processes on Linux: a program starts itself again in a *role*, with nothing but one socket, and cannot get
//! out: a seccomp filter of our own, resource limits, Landlock, namespaces, no capability, an empty environment, and an end
//! that comes with the parent's, even after `kill -9`.
//!
//! ```no_run
//! use std::io::{Read, Write};
//! use std::process::ExitCode;
//!
//! use bmm_cage::{Cage, Inherited, Profile, Role};
//!
//! /// Runs in the cage: here the work is to count bytes somebody else sent.
//! fn count(inherited: Inherited) -> ExitCode {
//!     let mut channel = std::fs::File::from(inherited.channel);
//!     let mut bytes = [0; 1024];
//!     while let Ok(read @ 1..) = channel.read(&mut bytes) {
//!         if channel.write_all(&(read as u32).to_be_bytes()).is_err() {
//!             break;
//!         }
//!     }
//!     ExitCode::SUCCESS
//! }
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     // The first line of `main`, before any thread: in the child's role it does not return.
//!     let launcher = bmm_cage::init(&[Role { name: "count", run: count }]);
//!
//!     let mut worker = launcher.launch("count", &Cage::new(Profile::Worker))?;
//!     println!("{}", worker.report());
//!     let mut channel = std::fs::File::from(worker.channel().ok_or("taken")?);
//!     channel.write_all(b"somebody else's bytes")?;
//!     let mut answer = [0; 4];
//!     channel.read_exact(&mut answer)?;
//!     println!("{}", u32::from_be_bytes(answer));
//!     Ok(()) // dropping `worker` ends it
//! }
//! ```
//!
//! **What you supply**: the call to [`init`] as the first line of `main`, and roles that speak over their channel with
//! `read`/`write` (a worker's filter knows no `send`: use [`std::fs::File`] on the descriptor).
//!
//! **What it defends**: see [`Profile`] and [`Control`]; each launch says in its [`CageReport`] which controls hold on this
//! machine. seccomp, resource limits and no-new-privileges hold, or nothing starts. The others are named when they are
//! missing, and refused with [`Cage::require_full`].
//!
//! **What it leaves to you**: time (kill what overstays: [`Caged::kill`]), what you answer over the channel, and memory
//! beyond address space (no cgroup is made here).

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(not(target_os = "linux"))]
compile_error!("bmm-cage is Linux only: seccomp, Landlock and namespaces are");

mod caged;
mod child;
mod confine;
pub mod contained;
pub mod door;
mod filesystem;
mod keeper;
mod launcher;
mod policy;
mod privileges;
mod report;
mod seccomp;
mod stderr;

pub use caged::{Caged, End};
pub use child::{Inherited, Role, init};
pub use launcher::{CageError, Launcher};
pub use policy::{Cage, Limits, Profile};
pub use report::{CageReport, Control, Missing};
