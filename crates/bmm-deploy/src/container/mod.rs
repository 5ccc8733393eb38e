//! Runners in containers: what a container is, in every detail, and whether it really is that.
//!
//! A [`ContainerSpec`] says which runner; [`ContainerSpec::plan`] makes the [`ContainerPlan`] of it, with every wall up. The
//! plan is plain data: it is sent to a daemon, and later held against what the daemon and the kernel say about the
//! container that came of it. [`DockerRuntime`](crate::DockerRuntime) does all of this for a deployer.
//!
//! ```no_run
//! use bmm_deploy::container::{ContainerLimits, ContainerSpec, Docker, Hardening, compare};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let docker = Docker::connect("/run/docker.sock").await?;
//! let facts = docker.facts().await?;
//! let spec = ContainerSpec {
//!     image: docker.build_image(&std::env::current_exe()?).await?,
//!     instance: "this-host".to_owned(),
//!     slug: "weather".to_owned(),
//!     revision: "1".to_owned(),
//!     seat: 1,
//!     // `taken`: the users of all containers there are.
//!     uid: facts.uids().uid("this-host", 1, &Default::default()).ok_or("no user left")?,
//!     control_dir: "/run/user/1000/servers/weather.1".into(),
//!     limits: ContainerLimits::default(),
//!     oci_runtime: None,
//!     seccomp_file: None,
//!     hardening: Hardening::Required,
//! };
//! let plan = spec.plan()?;
//! let container = docker.create(&plan).await?;
//! docker.start(&container).await?;
//! let report = compare(&plan, &facts, &docker.evidence(&container).await?);
//! println!("{report}");
//! report.admit()?; // or it is told nothing, and removed
//! # Ok(())
//! # }
//! ```
//!
//! # How far the report goes
//!
//! Each [`Control`] is judged by two: the daemon (what it remembers to have been asked for) and the kernel (`/proc` and the
//! control group of the container's first process, of either version). The word of the daemon alone is not enough where
//! the kernel can be asked. Who is not root cannot read some namespaces, and a container on a kernel of its own (gVisor,
//! Kata) or of a daemon elsewhere cannot be seen: that is said as [`Verdict::Unknown`], and refuses nothing.
//!
//! Seen to hold in full: Docker 20.10 with control groups of version 1, as root, also with `userns-remap`. Podman 4.3 gives
//! a container its own control-group namespace with version 2 only, and is refused with version 1.

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
