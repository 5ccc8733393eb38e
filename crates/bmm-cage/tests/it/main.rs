//! One binary for all tests of the cage. It is also what is caged: `main` begins with `init`, and the roles are probes that
//! try things and tell what came of them.

// All of it is tests, which clippy does not see without libtest.
#![allow(clippy::panic, clippy::indexing_slicing)]

mod attacks;
mod contained;
mod door;
mod lifetime;
mod probe;
mod report;

use bmm_cage::Launcher;
use libtest_mimic::{Arguments, Trial};

fn main() {
    probe::refuse_namespaces_if_asked();
    probe::leak_descriptors();
    let launcher = bmm_cage::init(probe::ROLES);
    if let Some(scene) = std::env::args()
        .nth(1)
        .and_then(|argument| argument.strip_prefix("--scene=").map(str::to_owned))
    {
        lifetime::play(&scene, &launcher);
        return;
    }
    let arguments = Arguments::from_args();
    let trials = [
        attacks::trials(&launcher),
        contained::trials(),
        door::trials(),
        lifetime::trials(),
        report::trials(&launcher),
    ];
    libtest_mimic::run(&arguments, trials.into_iter().flatten().collect()).exit();
}

/// A test with a launcher.
fn trial(name: &str, launcher: &Launcher, test: fn(&Launcher)) -> Trial {
    let launcher = launcher.clone();
    Trial::test(name, move || {
        test(&launcher);
        Ok(())
    })
}

macro_rules! trials {
    ($launcher:expr; $($test:ident),* $(,)?) => {
        vec![$(crate::trial(concat!(module_path!(), "::", stringify!($test)), $launcher, $test)),*]
    };
}
use trials;
