//! The real parts that tests drive. Each is found, or installed (below the target folder, where it is not a package of the
//! system), started if it has to run, and then named to the tests by environment variables; a test that does not find its
//! variable is `#[ignore]`d in plain `cargo test`.

mod apt;
mod command;
mod docker;
mod iproute;
mod node;
mod part;
mod postgres;
mod proxy;
mod python;
mod scratch;
mod softhsm;
mod stamp;

use std::ffi::OsString;
use std::fs::File;

use anyhow::{Context, Result};

use crate::workspace::Workspace;
use apt::Apt;
use part::{Part, Started};

/// The parts, running as long as this lives.
pub(crate) struct Parts {
    /// Environment variables for the tests.
    pub(crate) exports: Vec<(&'static str, OsString)>,
    _running: Vec<Box<dyn std::any::Any>>,
}

/// Provides every part.
pub(crate) fn provide_all(workspace: &Workspace) -> Result<Parts> {
    let cache = workspace.target.join("parts");
    std::fs::create_dir_all(&cache).with_context(|| cache.display().to_string())?;
    // Two runs on one target folder would install over each other.
    let lock = File::create(cache.join("lock")).context("the lock of the parts folder")?;
    lock.lock().context("the lock of the parts folder")?;

    let clients = workspace.root.join("crates/bmm-server/tests/clients");
    let parts: [Box<dyn Part>; 8] = [
        Box::new(node::Node::new(&cache, &clients)),
        Box::new(python::Python::new(&cache, &clients)),
        Box::new(postgres::Postgres),
        Box::new(softhsm::SoftHsm),
        Box::new(iproute::IpRoute),
        Box::new(docker::Docker),
        Box::new(proxy::NGINX),
        Box::new(proxy::CADDY),
    ];
    let mut apt = Apt::default();
    let mut exports = Vec::new();
    let mut running = Vec::new();
    for part in &parts {
        let started = provide(part.as_ref(), &mut apt).with_context(|| {
            format!(
                "{} is missing, install it or set {}",
                part.name(),
                part.variables().join(" and ")
            )
        })?;
        exports.extend(part.variables().iter().copied().zip(started.values));
        running.extend(started.running);
    }
    Ok(Parts {
        exports,
        _running: running,
    })
}

fn provide(part: &dyn Part, apt: &mut Apt) -> Result<Started> {
    let given: Vec<OsString> = part.variables().iter().filter_map(std::env::var_os).collect();
    if given.len() == part.variables().len() {
        println!("{}: as {} says", part.name(), part.variables().join(" and "));
        return Ok(Started::files(given));
    }
    if !part.is_installed()? {
        println!("{}: installing", part.name());
        part.install(apt)?;
        anyhow::ensure!(part.is_installed()?, "it was installed and still is not there");
    }
    part.start()
}
