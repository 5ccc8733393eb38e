//! Where this workspace and its target folder are.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The folders that the other modules work in.
pub(crate) struct Workspace {
    /// Holds the workspace's `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// Cargo's target folder: everything that is fetched or built goes below it.
    pub(crate) target: PathBuf,
}

impl Workspace {
    /// Asks cargo.
    pub(crate) fn find() -> Result<Self> {
        let output = cargo()
            .args(["metadata", "--no-deps", "--format-version=1"])
            .output()
            .context("cargo metadata")?;
        if !output.status.success() {
            bail!(
                "cargo metadata: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
        let folder = |key: &str| -> Result<PathBuf> {
            let path = metadata.get(key).and_then(serde_json::Value::as_str);
            Ok(PathBuf::from(
                path.with_context(|| format!("cargo metadata names no {key}"))?,
            ))
        };
        Ok(Self {
            root: folder("workspace_root")?,
            target: folder("target_directory")?,
        })
    }
}

/// The cargo that runs this task.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}
