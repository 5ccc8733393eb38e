//! Runners in containers: what a container is, in every detail, and whether it really is that.
//!
//! A [`ContainerSpec`] says which runner; [`ContainerSpec::plan`] makes the [`ContainerPlan`] of it, with every wall up. The
//! plan is plain data: it is sent to a daemon, and later held against what the daemon and the kernel say about the
//! container that came of it.

mod body;
mod docker;
mod evidence;
mod facts;
mod hardening;
mod image;
mod image_id;
mod kernel;
mod libraries;
mod loading;
mod plan;
mod report;
mod seccomp;
mod uids;
mod walls;

pub use docker::{ContainerId, Docker, DockerError};
pub use evidence::Evidence;
pub use facts::DaemonFacts;
pub use hardening::compare;
pub use image::{ImageError, RunnerImage};
pub use image_id::{ImageId, InvalidImageId};
pub use loading::BuildError;
pub use plan::{
    CONTROL_DIR, ContainerLimits, ContainerPlan, ContainerSpec, ENTRYPOINT, Hardening, PlanError, label,
};
pub use report::{ContainerReport, Finding, TooWeak, Verdict};
pub use seccomp::SECCOMP_PROFILE;
pub use uids::UidRange;
pub use walls::Control;
