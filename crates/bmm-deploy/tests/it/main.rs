//! One binary that is also its own runner: the first line of `main` decides which.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::future::Future;
use std::sync::OnceLock;
use std::time::Duration;

use bmm_cage::{Launcher, Role};
use libtest_mimic::{Arguments, Trial};

mod attacks;
mod container;
mod converging;
mod crashes;
mod deploys;
mod docker;
mod egress;
mod fake_runner;
mod load;
mod pathmap;
mod plans;
mod rolls;
mod routing;

static LAUNCHER: OnceLock<Launcher> = OnceLock::new();

fn main() {
    container::probe_if_asked();
    docker::play_if_asked();
    // A container's first process is always the role `runner`.
    let launcher = bmm_cage::init(&[fake_runner::ROLE, "runner"].map(|name| Role {
        name,
        run: fake_runner::run,
    }));
    if pathmap::is_child_on_a_full_disk() {
        return;
    }
    LAUNCHER.set(launcher).expect("set once");
    converging::play_if_asked();
    crashes::play_if_asked();
    let trials = [
        attacks::trials(),
        container::trials(),
        converging::trials(),
        crashes::trials(),
        deploys::trials(),
        docker::trials(),
        egress::trials(),
        pathmap::trials(),
        plans::trials(),
        rolls::trials(),
        routing::trials(),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials.into_iter().flatten().collect()).exit();
}

fn launcher() -> Launcher {
    LAUNCHER.get().expect("set in main").clone()
}

/// A test with a runtime of its own, which must end within a minute.
fn trial<F, T>(name: &str, test: F) -> Trial
where
    F: FnOnce() -> T + Send + 'static,
    T: Future<Output = ()>,
{
    trial_within(name, Duration::from_secs(60), test)
}

fn trial_within<F, T>(name: &str, within: Duration, test: F) -> Trial
where
    F: FnOnce() -> T + Send + 'static,
    T: Future<Output = ()>,
{
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime
            .block_on(async { tokio::time::timeout(within, test()).await })
            .map_err(|_| format!("took longer than {within:?}").into())
    })
}

/// Names each test after its function.
macro_rules! trials {
    ($($test:ident),* $(,)?) => {
        pub(crate) fn trials() -> Vec<libtest_mimic::Trial> {
            vec![$(crate::trial(concat!(module_path!(), "::", stringify!($test)), $test)),*]
        }
    };
}
pub(crate) use trials;

/// Asks again until it holds, for at most `within`.
async fn eventually(within: Duration, what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + within;
    while !holds().await {
        assert!(
            tokio::time::Instant::now() < deadline,
            "not within {within:?}: {what}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
