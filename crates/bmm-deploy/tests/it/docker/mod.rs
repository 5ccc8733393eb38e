//! Containers of a real daemon under a real deployer. The image is this test program.

mod away;
mod hostile;
mod life;
mod outages;
mod world;

pub(crate) use hostile::play_if_asked;
pub(crate) use world::{World, docker, image, limits, lines, socket};

pub(crate) fn trials() -> Vec<libtest_mimic::Trial> {
    [
        away::trials(),
        hostile::trials(),
        life::trials(),
        outages::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
