//! nginx and Caddy in folders of their own.

use std::path::PathBuf;
use std::process::{Command, Output};

use tempfile::TempDir;

/// An nginx with nothing of the machine's.
pub(crate) struct Nginx {
    executable: PathBuf,
    pub(crate) dir: TempDir,
}

impl Nginx {
    /// Folders and a main configuration that reads every file of `http.d`. Nothing runs yet.
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("bmm-nginx").tempdir().unwrap();
        let root = dir.path().display();
        std::fs::create_dir(dir.path().join("http.d")).unwrap();
        // As root its workers would be another user, who cannot look into a folder of ours.
        let user = match rustix::process::geteuid().is_root() {
            true => "user root;",
            false => "",
        };
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("    {kind}_temp_path {root}/{kind};\n"))
            .concat();
        let text = format!(
            "{user}\npid {root}/pid;\nerror_log {root}/error.log info;\nworker_processes 1;\ndaemon off;\n\
             events {{ worker_connections 512; }}\n\
             http {{\n{temporary}    include {root}/http.d/*.conf;\n}}\n"
        );
        std::fs::write(dir.path().join("nginx.conf"), text).unwrap();
        Self {
            executable: super::nginx().expect("not ignored"),
            dir,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.path("nginx.conf")
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.executable);
        command.arg("-c").arg(self.config());
        command.arg("-e").arg(self.path("error.log"));
        command
    }

    /// `nginx -t`.
    pub(crate) fn test(&self) -> Result<(), String> {
        said(&self.command().arg("-t").output().unwrap())
    }
}

fn said(output: &Output) -> Result<(), String> {
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}
