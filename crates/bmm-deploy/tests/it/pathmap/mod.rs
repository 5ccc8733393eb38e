//! The path map: what is written for nginx and Caddy, and what they make of it.

use std::path::PathBuf;

use libtest_mimic::Trial;

pub(crate) use keeping::is_child_on_a_full_disk;
pub(crate) use parts::Nginx;

mod contract;
mod fronts;
mod installing;
mod keeping;
mod many;
mod parts;
mod world;
mod writers;

pub(crate) fn trials() -> Vec<Trial> {
    let all = [
        contract::trials(),
        installing::trials_with_caddy(),
        installing::trials_with_nginx(),
        keeping::trials(),
        many::trials_with_nginx(),
        writers::trials(),
        writers::trials_with_caddy(),
        writers::trials_with_nginx(),
    ];
    all.into_iter().flatten().collect()
}

/// The executable of nginx, or `None` where its tests are left out.
pub(crate) fn nginx() -> Option<PathBuf> {
    std::env::var_os("BMM_TEST_NGINX").map(PathBuf::from)
}

/// The executable of Caddy, or `None` where its tests are left out.
fn caddy() -> Option<PathBuf> {
    std::env::var_os("BMM_TEST_CADDY").map(PathBuf::from)
}

/// As `trials!`, in a function of another name, with all tests ignored where a part is missing: `cargo xtask test` has it.
macro_rules! trials_with {
    ($part:expr => $name:ident: $($test:ident),* $(,)?) => {
        pub(crate) fn $name() -> Vec<libtest_mimic::Trial> {
            let missing = $part.is_none();
            vec![$(
                crate::trial(concat!(module_path!(), "::", stringify!($test)), $test).with_ignored_flag(missing)
            ),*]
        }
    };
}
use trials_with;
