//! nginx and Caddy in folders of their own.

use std::ffi::OsString;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use bmm_deploy::pathmap::Proxy;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// An nginx with nothing of the machine's.
pub(crate) struct Nginx {
    executable: PathBuf,
    pub(crate) dir: TempDir,
}

impl Nginx {
    /// Folders and a main configuration that reads every file of `nginx/conf.d`. Nothing runs yet.
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("bmm-nginx").tempdir().unwrap();
        let root = dir.path().display();
        std::fs::create_dir_all(dir.path().join("nginx/conf.d")).unwrap();
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
             http {{\n{temporary}    include {root}/nginx/conf.d/*.conf;\n}}\n"
        );
        std::fs::write(dir.path().join("nginx/nginx.conf"), text).unwrap();
        Self {
            executable: super::nginx().expect("not ignored"),
            dir,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Where a virtual host goes.
    pub(crate) fn vhost(&self) -> PathBuf {
        self.path("nginx/conf.d/bmm.conf")
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.executable);
        command.arg("-c").arg(self.path("nginx/nginx.conf"));
        command.arg("-e").arg(self.path("error.log"));
        command
    }

    /// How we ask it.
    pub(crate) fn proxy(&self) -> Proxy {
        let command = |more: &[&str]| {
            let command = self.command();
            let start = [command.get_program()].into_iter().chain(command.get_args());
            start
                .map(OsString::from)
                .chain(more.iter().map(OsString::from))
                .collect()
        };
        Proxy::new(command(&["-q", "-t"]), command(&["-s", "reload"]))
    }

    /// `nginx -t`.
    pub(crate) fn test(&self) -> Result<(), String> {
        said(&self.command().arg("-t").output().unwrap())
    }

    /// Runs it until the result is dropped.
    pub(crate) fn run(&self, address: SocketAddr) -> Running {
        Running::new(&mut self.command(), address, &self.path("error.log"))
    }
}

/// A Caddy with nothing of the machine's.
pub(crate) struct Caddy {
    executable: PathBuf,
    pub(crate) dir: TempDir,
}

impl Caddy {
    /// A folder for its configuration and what it keeps.
    pub(crate) fn new() -> Self {
        Self {
            executable: super::caddy().expect("not ignored"),
            dir: tempfile::Builder::new().prefix("bmm-caddy").tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The first lines of its Caddyfile: nothing on a port that others may use.
    pub(crate) fn options(&self) -> String {
        let admin = self.path("admin.sock");
        format!("{{\n\tadmin unix/{}\n\tauto_https off\n}}\n", admin.display())
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.executable);
        command
            .env("HOME", self.dir.path())
            .env_remove("XDG_DATA_HOME")
            .env_remove("XDG_CONFIG_HOME");
        command
    }

    /// How we ask it: in its own folder.
    pub(crate) fn proxy(&self, config: &Path) -> Proxy {
        Proxy::new(self.proxy_test(config), self.asked("reload", config))
    }

    pub(crate) fn proxy_test(&self, config: &Path) -> Vec<OsString> {
        self.asked("validate", config)
    }

    fn asked(&self, verb: &str, config: &Path) -> Vec<OsString> {
        let home = format!("HOME={}", self.dir.path().display());
        let mut command: Vec<OsString> = ["env", &home].map(OsString::from).into();
        command.push(self.executable.clone().into());
        command.extend([verb, "--adapter", "caddyfile", "--config"].map(OsString::from));
        command.push(config.into());
        command
    }

    /// `caddy validate`.
    pub(crate) fn validate(&self, config: &Path) -> Result<(), String> {
        let mut command = self.command();
        command
            .args(["validate", "--adapter", "caddyfile", "--config"])
            .arg(config);
        said(&command.output().unwrap())
    }

    /// The lines that `caddy fmt` would change.
    pub(crate) fn misformatted(&self, config: &Path) -> Vec<String> {
        let output = self
            .command()
            .args(["fmt", "--diff"])
            .arg(config)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines()
            .filter(|line| line.starts_with(['+', '-']))
            .map(str::to_owned)
            .collect()
    }

    /// Runs it until the result is dropped.
    pub(crate) fn run(&self, config: &Path, address: SocketAddr) -> Running {
        let mut command = self.command();
        command
            .args(["run", "--adapter", "caddyfile", "--config"])
            .arg(config);
        Running::new(&mut command, address, &self.path("log"))
    }
}

/// A server of another's, ended when this is dropped.
pub(crate) struct Running {
    child: Child,
}

impl Running {
    fn new(command: &mut Command, address: SocketAddr, log: &Path) -> Self {
        let log_file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log_file)
            .spawn()
            .unwrap();
        let mut running = Self { child };
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(address).is_err() {
            let over = Instant::now() > deadline || running.child.try_wait().unwrap().is_some();
            assert!(!over, "{}", std::fs::read_to_string(log).unwrap());
            std::thread::sleep(Duration::from_millis(10));
        }
        running
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Not with SIGKILL, which would leave nginx's workers behind.
        let pid = Pid::from_child(&self.child);
        let _ = kill_process(pid, Signal::TERM);
        let _ = self.child.wait();
    }
}

/// An address that nobody listens on, for now.
pub(crate) fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

fn said(output: &Output) -> Result<(), String> {
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}
