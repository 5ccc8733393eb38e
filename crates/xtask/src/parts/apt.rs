//! Debian's and Ubuntu's packages, for a machine that has nothing but a Rust toolchain.

use std::process::Command;

use anyhow::{Context, Result, bail};

use super::command::{is_root, run, works};

/// Installs packages; refreshes the lists once.
#[derive(Default)]
pub(super) struct Apt {
    refreshed: bool,
}

impl Apt {
    /// Installs the packages, or says in one line what somebody else has to install.
    pub(super) fn install(&mut self, packages: &[&str]) -> Result<()> {
        if !is_root() || !works("apt-get", &["--version"]) {
            bail!(
                "only root on Debian or Ubuntu can have it installed (there: apt-get install {})",
                packages.join(" ")
            );
        }
        if !self.refreshed {
            apt_get(&["update", "--quiet"])?;
            self.refreshed = true;
        }
        let mut arguments = vec![
            "install",
            "--yes",
            "--quiet",
            "--no-install-recommends",
            "--option=Dpkg::Use-Pty=0",
        ];
        arguments.extend(packages);
        apt_get(&arguments)
    }
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    run(Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive"))
    .with_context(|| format!("apt-get {}", arguments.join(" ")))
}
