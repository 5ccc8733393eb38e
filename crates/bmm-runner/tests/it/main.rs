//! The tests of bmm-runner. Each file offers its `cases`; this `main` is not libtest's, because the process must be able to
//! become a caged child before it has a thread.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's way to fail; clippy does not see that this is one"
)]

use std::process::ExitCode;

mod asking;
mod attacks;
#[cfg(feature = "client")]
mod client;
mod compat;
mod config;
mod drain;
mod engine;
mod eras;
mod examples;
mod fetch;
mod leaks;
mod openapi;
mod program;
mod role;
mod rounds;
mod server;
mod specs;
mod ssrf;
mod subscribing;
mod support;
mod types;

fn main() -> ExitCode {
    let launcher = bmm_runner::init();
    if let Some(code) = ssrf::inside().or_else(|| engine::exhaustion::inside(&launcher)) {
        return code;
    }
    let arguments = libtest_mimic::Arguments::from_args();
    let cases = [
        asking::cases(),
        attacks::cases(),
        compat::cases(&launcher),
        config::cases(),
        drain::cases(),
        engine::cases(&launcher),
        eras::cases(),
        examples::cases(&launcher),
        fetch::cases(),
        #[cfg(feature = "client")]
        client::cases(&launcher),
        openapi::cases(),
        leaks::cases(&launcher),
        program::cases(),
        role::cases(&launcher),
        rounds::cases(),
        server::cases(),
        ssrf::cases(),
        subscribing::cases(),
        types::cases(),
    ];
    libtest_mimic::run(&arguments, cases.concat_cases()).exit_code()
}

/// `Trial` is not `Clone`, so slices of vectors do not concatenate by themselves.
trait ConcatCases {
    fn concat_cases(self) -> Vec<libtest_mimic::Trial>;
}

impl<const N: usize> ConcatCases for [Vec<libtest_mimic::Trial>; N] {
    fn concat_cases(self) -> Vec<libtest_mimic::Trial> {
        self.into_iter().flatten().collect()
    }
}
