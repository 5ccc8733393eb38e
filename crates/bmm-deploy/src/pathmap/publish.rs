//! New configuration for a proxy: written, tested by the proxy itself, and only then reloaded. What it refuses is put back.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::file;
use super::fragment::{Form, FragmentError, combined};
use super::value::PathTable;

/// The proxy reads it, perhaps as another user.
const MODE: u32 = 0o644;

/// For a test or a reload. Ten thousand servers take nginx a tenth of a second.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);

/// What is passed on of what a command said: its end.
const MAX_SAID_BYTES: usize = 2000;

/// How a proxy is asked to test its configuration, and to take it up.
#[derive(Debug, Clone)]
pub struct Proxy {
    test: Vec<OsString>,
    reload: Vec<OsString>,
}

impl Proxy {
    /// Any commands: program and arguments each. No shell is between.
    pub fn new(test: Vec<OsString>, reload: Vec<OsString>) -> Self {
        Self { test, reload }
    }

    /// nginx, with its main configuration at `config`.
    pub fn nginx(executable: &Path, config: &Path) -> Self {
        let command = |more: &[&str]| {
            let start: [OsString; 3] = [executable.into(), "-c".into(), config.into()];
            start.into_iter().chain(more.iter().map(OsString::from)).collect()
        };
        Self::new(command(&["-q", "-t"]), command(&["-s", "reload"]))
    }

    /// Caddy, with its Caddyfile at `config`, and its API where that says.
    pub fn caddy(executable: &Path, config: &Path) -> Self {
        let command = |verb: &str| {
            let start: [OsString; 6] = [
                executable.into(),
                verb.into(),
                "--adapter".into(),
                "caddyfile".into(),
                "--config".into(),
                config.into(),
            ];
            start.into()
        };
        Self::new(command("validate"), command("reload"))
    }

    /// With another command to reload, `systemctl reload nginx` for one.
    pub fn with_reload(mut self, reload: Vec<OsString>) -> Self {
        self.reload = reload;
        self
    }

    async fn test(&self) -> Result<(), String> {
        run(&self.test).await
    }

    async fn reload(&self) -> Result<(), String> {
        run(&self.reload).await
    }
}

/// Runs a command to its end; what it said if it failed. An empty one succeeds.
async fn run(command: &[OsString]) -> Result<(), String> {
    let Some((program, arguments)) = command.split_first() else {
        return Ok(());
    };
    let name = program.display();
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    match tokio::time::timeout(COMMAND_TIMEOUT, output).await {
        Err(_) => Err(format!("{name} took longer than {} s", COMMAND_TIMEOUT.as_secs())),
        Ok(Err(error)) => Err(format!("{name}: {error}")),
        Ok(Ok(output)) if output.status.success() => Ok(()),
        Ok(Ok(output)) => {
            let start = output.stderr.len().saturating_sub(MAX_SAID_BYTES);
            let said = String::from_utf8_lossy(output.stderr.get(start..).unwrap_or_default())
                .trim()
                .replace(|char: char| char.is_control() && char != '\n', " ")
                .replace('\n', "; ");
            Err(format!("{name} ended with {}: {said}", output.status))
        }
    }
}

/// Replaces files as one change: all of them, tested and reloaded, or none. `false` if they say it already.
pub(super) async fn replace(files: &[(PathBuf, String)], proxy: &Proxy) -> Result<bool, PublishError> {
    let before: Vec<Option<String>> = files.iter().map(|(path, _)| file::read(path).ok()).collect();
    let change = Change { files, before };
    if !change.write()? {
        return Ok(false);
    }
    if let Err(said) = proxy.test().await {
        return Err(change.refused(said));
    }
    proxy.reload().await.map_err(PublishError::NotReloaded)?;
    Ok(true)
}

/// Files that are being replaced.
struct Change<'a> {
    files: &'a [(PathBuf, String)],
    /// What each said, if it was there.
    before: Vec<Option<String>>,
}

impl Change<'_> {
    /// All files, or none.
    fn write(&self) -> Result<bool, PublishError> {
        let mut changed = false;
        for (path, text) in self.files {
            match file::write_if_changed(path, text, MODE) {
                Ok(this) => changed |= this,
                Err(source) => {
                    // What cannot be undone on this disk either is told by the test of the next change.
                    let _ = self.undo();
                    let path = path.clone();
                    return Err(PublishError::Write { path, source });
                }
            }
        }
        Ok(changed)
    }

    fn undo(&self) -> io::Result<()> {
        for ((path, _), before) in self.files.iter().zip(&self.before) {
            match before {
                Some(text) => drop(file::write_if_changed(path, text, MODE)?),
                None if path.exists() => file::remove(path)?,
                None => {}
            }
        }
        Ok(())
    }

    fn refused(&self, said: String) -> PublishError {
        match self.undo() {
            Ok(()) => PublishError::Refused(said),
            Err(source) => PublishError::NotUndone { said, source },
        }
    }
}

/// Keeps the combined file of a proxy.
#[derive(Debug)]
pub struct Publisher {
    form: Form,
    file: PathBuf,
    proxy: Proxy,
    /// Whether the proxy has taken up what the file says. Not known of what an earlier process wrote.
    confirmed: bool,
}

impl Publisher {
    /// Writes `file`, which `proxy` reads as part of its configuration, in `form`.
    pub fn new(form: Form, file: impl Into<PathBuf>, proxy: Proxy) -> Self {
        Self {
            form,
            file: file.into(),
            proxy,
            confirmed: false,
        }
    }

    /// Makes `table` what the proxy knows. `true` if it had to be told.
    ///
    /// The last text that passed is kept beside the file (`.good`): it is what is put back, also after a crash between writing and
    /// testing.
    pub async fn publish(&mut self, table: &PathTable) -> Result<bool, PublishError> {
        let text = combined(self.form, table)?;
        if self.confirmed && file::read(&self.file).is_ok_and(|old| old == text) {
            return Ok(false);
        }
        self.confirmed = false;
        let good = self.good_copy();
        let files = [(self.file.clone(), text)];
        let before = file::read(&good).or_else(|_| file::read(&self.file)).ok();
        let change = Change {
            files: &files,
            before: vec![before],
        };
        change.write()?;
        if let Err(said) = self.proxy.test().await {
            return Err(change.refused(said));
        }
        self.proxy.reload().await.map_err(PublishError::NotReloaded)?;
        let [(_, text)] = &files;
        file::write_if_changed(&good, text, MODE)
            .map_err(|source| PublishError::Write { path: good, source })?;
        self.confirmed = true;
        Ok(true)
    }

    fn good_copy(&self) -> PathBuf {
        let name = self.file.file_name().unwrap_or_default().to_string_lossy();
        self.file.with_file_name(format!(".{name}.good"))
    }
}

/// Why a proxy does not know what it was to know. Unless it says otherwise, it goes on with what it knew.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// A server that the form cannot name.
    #[error(transparent)]
    Fragment(#[from] FragmentError),
    /// The old text is still there.
    #[error("cannot write {}; the proxy goes on with what it has", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The proxy's own test failed, for this file or for another that it reads.
    #[error("the proxy refuses its new configuration, which was taken back: {0}")]
    Refused(String),
    /// The proxy's own test failed, and the old text could not be put back.
    #[error("the proxy refuses its new configuration, and it could NOT be taken back ({source}): {said}")]
    NotUndone {
        /// What the test said.
        said: String,
        /// Why the old text could not be written.
        source: io::Error,
    },
    /// The configuration is good, and the proxy did not take it up. It is not running, perhaps.
    #[error("the new configuration is good, but the proxy was not reloaded: {0}")]
    NotReloaded(String),
}
