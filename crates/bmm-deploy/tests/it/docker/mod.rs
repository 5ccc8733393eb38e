//! Containers of a real daemon under a real deployer. The image is this test program.

mod away;
mod hostile;
mod life;
mod world;

pub(crate) use hostile::play_if_asked;

pub(crate) fn trials() -> Vec<libtest_mimic::Trial> {
    [away::trials(), hostile::trials(), life::trials()]
        .into_iter()
        .flatten()
        .collect()
}
