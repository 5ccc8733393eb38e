//! Containers: what they are, and that they are it.

mod plans;

use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    plans::trials()
}
