//! A temporary folder of one run.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Gone when dropped.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn make(name: &str) -> Result<Self> {
        let made = Command::new("mktemp")
            .args(["--directory", "--tmpdir", &format!("bmm-test-{name}.XXXXXXXX")])
            .output()
            .context("mktemp")?;
        ensure!(made.status.success(), "mktemp ended with {}", made.status);
        let path = String::from_utf8(made.stdout).context("the name of a temporary folder")?;
        Ok(Self(PathBuf::from(path.trim_end())))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("xtask: {} is left behind: {error}", self.0.display());
        }
    }
}
