//! A virtual environment with the Python SDK, pinned by the requirements file beside the drivers.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::apt::Apt;
use super::command::{run, works};
use super::part::{Part, Started};
use super::stamp::{Stamp, make_empty};

/// Succeeds on an interpreter that can make the environment.
const SUITABLE: &str = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))";

pub(super) struct Python {
    folder: PathBuf,
    requirements: PathBuf,
}

impl Python {
    pub(super) fn new(cache: &Path, clients: &Path) -> Self {
        Self {
            folder: cache.join("python"),
            requirements: clients.join("requirements.txt"),
        }
    }

    fn interpreter(&self) -> PathBuf {
        self.folder.join("bin/python")
    }

    fn stamp(&self) -> Result<Stamp> {
        Stamp::new(&self.folder, std::slice::from_ref(&self.requirements))
    }
}

impl Part for Python {
    fn name(&self) -> &'static str {
        "Python 3.10 or newer"
    }

    fn variables(&self) -> &'static [&'static str] {
        &["BMM_TEST_PYTHON"]
    }

    fn is_installed(&self) -> Result<bool> {
        Ok(self.stamp()?.holds() && self.interpreter().exists())
    }

    fn install(&self, apt: &mut Apt) -> Result<()> {
        if !works("python3", &["-c", SUITABLE]) {
            apt.install(&["python3", "python3-venv"])?;
        }
        make_empty(&self.folder)?;
        run(Command::new("python3").args(["-m", "venv"]).arg(&self.folder))?;
        run(Command::new(self.interpreter())
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--no-input",
                "--only-binary=:all:",
            ])
            .arg("--requirement")
            .arg(&self.requirements))?;
        self.stamp()?.write()
    }

    fn start(&self) -> Result<Started> {
        Ok(Started::files([self.interpreter()]))
    }
}
