//! Deploys servers on one host: each revision is a caged process or a hardened container with one socket in and one way out,
//! reached under one public URL, replaced without losing a request, and brought back when it falls.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use bmm_deploy::{Deployer, Deployment, EgressProxy, ProcessRuntime, ReadyIsEnough, RouterService, Routes, Site};
//!
//! # fn runner(_: bmm_cage::Inherited) -> std::process::ExitCode { std::process::ExitCode::SUCCESS }
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     // The first line: in the role of a runner it does not return. `bmm-runner` has a role that serves specs.
//!     let launcher = bmm_cage::init(&[bmm_cage::Role { name: "runner", run: runner }]);
//!
//!     tokio::runtime::Runtime::new()?.block_on(async {
//!         let routes = Routes::new();
//!         let egress = EgressProxy::new(bmm_net::Dialer::new(), || Box::pin(async { "{\"keys\":[]}".into() }));
//!         let runtime = ProcessRuntime::new(launcher, "runner", "/run/user/1000/servers")?;
//!         let deployer = Deployer::new(runtime, routes.clone(), egress, Arc::new(ReadyIsEnough));
//!
//!         let site = Site::new("https://mcp.example.com")?;
//!         let weather = Deployment::new("weather", "1", b"for the runner".to_vec())
//!             .with_egress(["api.example.com".parse()?]);
//!         let live = deployer.roll(weather).await?;
//!         println!("{} serves at {}", live.revision, site.mcp_url(&live.slug));
//!
//!         let router = RouterService::new(routes); // the fallback service of your HTTP server
//!         # let _ = router;
//!         deployer.shutdown().await;
//!         Ok(())
//!     })
//! }
//! ```
//!
//! # What you must supply
//!
//! The runner's role and the bytes it understands, a [`Probe`] that speaks to it, and the HTTP server (with TLS, in front of
//! it or itself) that [`RouterService`] hangs in.
//!
//! # What it defends, and what it leaves to you
//!
//! A runner reaches nothing but its [door](bmm_cage::door): what it connects to is on its allow-list, resolved and
//! checked here. A path leads to one server in every reading or to none. A failed revision changes nothing. In a
//! [container] every wall was seen to stand, or the runner is told nothing. Left to you: authentication (the runner's), and
//! limits per client; the daemon, and whoever may use its socket, is trusted.
//!
//! # How it decides
//!
//! [`reconcile`] is the whole of it: wishes and what is there go in, steps come out. There is no journal; whatever
//! happens, the next plan is made from what is, and once a minute what is there is compared with what should be: sockets, what the
//! runtime runs, and whether servers still pass their check. [`Deployer::rollback`] is a roll of the revision before.
//!
//! A proxy that leads to servers by itself finds each at a name that stays, if the deployer has [`PublicSockets`].

#![forbid(unsafe_code)]

#[cfg(not(target_os = "linux"))]
compile_error!("bmm-deploy is Linux only: it hands sockets to caged processes");

mod care;
mod chain;
pub mod container;
mod deployer;
mod deployment;
mod egress;
mod forward;
mod hardening;
mod keeper;
mod limits;
pub mod pathmap;
mod probe;
mod public;
mod reconcile;
mod router;
mod routes;
mod runner;
mod runtime;
mod seat;
mod site;
mod socket;
mod state;
mod tunnel;
mod upstream;

pub use deployer::Deployer;
pub use deployment::{DeployError, Deployment, InstanceStatus, Live, Removed, Retired};
pub use egress::{EgressLimits, EgressProxy};
pub use hardening::{HardeningReport, MissingControl};
pub use limits::DeployLimits;
pub use probe::{Probe, ReadyIsEnough, Target};
pub use public::PublicSockets;
pub use reconcile::{Action, Observed, Phase, Wish, reconcile};
pub use router::{RouterBody, RouterService};
pub use routes::{InvalidSlug, Routes};
pub use runtime::{
    Body, DockerRuntime, DockerRuntimeError, LaunchError, Launched, ProcessRuntime, RunnerName, Runtime,
};
pub use seat::{RuntimeError, Seats};
pub use site::{Site, SiteError};
pub use upstream::Upstream;
