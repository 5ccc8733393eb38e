//! Containers: what they are, and that they are it. What needs a daemon is ignored without one: `cargo xtask test` has one.

mod daemon;
mod images;
mod plans;

use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    [plans::trials(), images::trials(), images::docker()]
        .into_iter()
        .flatten()
        .collect()
}
