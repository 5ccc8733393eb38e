//! Containers: what they are, and that they are it. What needs a daemon is ignored without one: `cargo xtask test` has one.

mod attacks;
mod contained;
mod daemon;
mod hardening;
mod images;
mod plans;
mod probe;
mod way_out;

use libtest_mimic::Trial;

pub(crate) use probe::run_if_asked as probe_if_asked;

pub(crate) fn trials() -> Vec<Trial> {
    [
        plans::trials(),
        images::trials(),
        images::docker(),
        hardening::docker(),
        attacks::docker(),
        way_out::docker(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
