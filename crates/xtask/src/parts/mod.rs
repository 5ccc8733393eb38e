//! The real parts that tests drive. Each is found, or installed below the target folder, and then named to the tests by
//! environment variables; a test that does not find its variable is `#[ignore]`d in plain `cargo test`.

mod apt;
mod command;
mod node;
mod part;
mod python;
mod stamp;

use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::workspace::Workspace;
use apt::Apt;
use part::Part;

/// Provides every part; gives the environment variables for the tests.
pub(crate) fn provide_all(workspace: &Workspace) -> Result<Vec<(&'static str, PathBuf)>> {
    let cache = workspace.target.join("parts");
    std::fs::create_dir_all(&cache).with_context(|| cache.display().to_string())?;
    // Two runs on one target folder would install over each other.
    let lock = File::create(cache.join("lock")).context("the lock of the parts folder")?;
    lock.lock().context("the lock of the parts folder")?;

    let clients = workspace.root.join("crates/bmm-server/tests/clients");
    let parts: [Box<dyn Part>; 2] = [
        Box::new(node::Node::new(&cache, &clients)),
        Box::new(python::Python::new(&cache, &clients)),
    ];
    let mut apt = Apt::default();
    let mut exports = Vec::new();
    for part in &parts {
        let values = provide(part.as_ref(), &mut apt).with_context(|| {
            format!(
                "{} is missing, install it or set {}",
                part.name(),
                part.variables().join(" and ")
            )
        })?;
        exports.extend(part.variables().iter().copied().zip(values));
    }
    Ok(exports)
}

fn provide(part: &dyn Part, apt: &mut Apt) -> Result<Vec<PathBuf>> {
    let given: Vec<OsString> = part.variables().iter().filter_map(std::env::var_os).collect();
    if given.len() == part.variables().len() {
        println!("{}: as {} says", part.name(), part.variables().join(" and "));
        return given
            .into_iter()
            .map(|path| Ok(std::path::absolute(path)?))
            .collect();
    }
    if let Some(found) = part.find()? {
        return Ok(found);
    }
    println!("{}: installing", part.name());
    part.install(apt)?;
    part.find()?.context("it was installed and still is not there")
}
