//! The drivers in `tests/clients`, run on Node.js 22 with the packages that `cargo xtask test` has installed.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// A copy of the drivers beside the installed packages: Node.js looks for packages from where a module lies.
pub(crate) struct Drivers {
    folder: TempDir,
}

impl Drivers {
    pub(crate) fn new() -> Self {
        let modules = part("BMM_TEST_NODE_MODULES");
        let folder = tempfile::tempdir().expect("a temporary folder");
        for entry in sources().read_dir().expect("the drivers are there") {
            let source = entry.expect("the drivers are there").path();
            let name = source.file_name().expect("a file has a name");
            std::fs::copy(&source, folder.path().join(name)).expect("the drivers can be copied");
        }
        std::os::unix::fs::symlink(modules, folder.path().join("node_modules"))
            .expect("the packages can be linked");
        Self { folder }
    }

    /// A driver or a module of a package, to be run by Node.js.
    pub(crate) fn node(&self, module: &str) -> Command {
        let mut command = Command::new(executable());
        command.arg(self.path(module)).current_dir(self.folder.path());
        command
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// Node.js 22.
pub(crate) fn executable() -> PathBuf {
    part("BMM_TEST_NODE")
}

/// What a variable of `cargo xtask test` names.
pub(crate) fn part(variable: &str) -> PathBuf {
    std::env::var_os(variable)
        .unwrap_or_else(|| panic!("{variable} is not set: run cargo xtask test"))
        .into()
}

/// Runs a command that has to succeed; shows everything it printed if it does not.
pub(crate) fn run(command: &mut Command) -> Output {
    let output = command.output().expect("the program starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if !output.status.success() {
        panic!(
            "{:?} ended with {}\n{}\n{}",
            command,
            output.status,
            text(&output.stdout),
            text(&output.stderr)
        );
    }
    output
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}
