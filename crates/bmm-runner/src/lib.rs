//! Runs a bmm spec as an MCP server: tools in a sandbox, both protocol eras (2025-11-25 and earlier with sessions,
//! 2026-07-28 without) on one URL, over Streamable HTTP or stdio.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use bmm_runner::engine::{CagedEngine, EngineLimits};
//! use bmm_runner::{Connector, Runner, Secrets};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     // The first line of `main`, before any thread: in a worker's role it does not return.
//!     let launcher = bmm_runner::init();
//!
//!     let (spec, _report) = bmm_spec::admit(&std::fs::read("weather.json")?)?;
//!     let spec = spec.compile()?;
//!     let runtime = tokio::runtime::Runtime::new()?;
//!     runtime.block_on(async {
//!         let engine = CagedEngine::new(&launcher, &spec, EngineLimits::default())?;
//!         let runner = Runner::new(spec, engine)?
//!             .with_connector(Connector::direct(bmm_net::Dialer::new()))
//!             .with_secrets(Secrets::from_iter([("API_KEY", "…")]));
//!
//!         // For this machine alone. Elsewhere: `runner.with_public_url(..).with_auth(..).into_service()` is a tower
//!         // service for `/mcp` and `/.well-known/oauth-protected-resource`.
//!         let server = bmm_runner::run::loopback(([127, 0, 0, 1], 0).into()).await?;
//!         println!("{}", server.url());
//!         let stop = async { drop(tokio::signal::ctrl_c().await) };
//!         server.serve(runner, stop, Duration::from_secs(10)).await;
//!         Ok(())
//!     })
//! }
//! ```
//!
//! **What you supply**: a compiled spec, the values of its secrets, a way out for `ctx.fetch` (none unless given), and the
//! token verifier ([`Runner::with_auth`]).
//!
//! **For the authors of tools**: `bmm.d.ts` in this crate has the TypeScript types of what their code finds.
//!
//! **What it defends**: tools have no network, no files, no secrets and no time but what they are given; a fetch reaches
//! the hosts of the spec's `allowedDomains` over https and nothing else, redirects included; the value of a secret goes
//! where the spec declares it and is taken out of what comes back; sessions belong to the principal who opened them;
//! foreign hosts and origins are refused; everything is bounded.
//!
//! **What it leaves to you**: the resources of the machine as a whole (a container, a cgroup), and what the hosts that a spec
//! allows do with what they are sent.

#[cfg(not(target_os = "linux"))]
compile_error!("bmm-runner is Linux only: its sandbox is");

mod call;
#[cfg(feature = "client")]
pub mod client;
mod config;
mod connect;
mod decode;
mod documents;
pub mod engine;
mod error;
pub mod examples;
mod host;
mod http;
mod live;
mod manifest;
mod mcp;
pub mod probe;
mod questions;
mod request_state;
mod result;
mod role;
pub mod run;
mod runner;
mod scrub;
mod secrets;
mod serving;
mod session;
mod watched;

pub use config::{ConfigError, RunnerConfig, RunnerLimits};
pub use connect::Connector;
pub use error::RunnerError;
pub use host::FetchLimits;
pub use http::{BodyError, MCP_PATH, ResponseBody, RunnerService};
pub use role::RUNNER_ROLE;
pub use runner::{Reloader, Runner};
pub use secrets::Secrets;

/// [`bmm_cage::init`] with the two roles of this crate. Must be the first line of `main`.
pub fn init() -> bmm_cage::Launcher {
    bmm_cage::init(&[engine::ENGINE_ROLE, RUNNER_ROLE])
}
