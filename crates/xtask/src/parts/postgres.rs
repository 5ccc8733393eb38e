//! A PostgreSQL server of the tests' own: a fresh cluster on a free loopback port, gone when the tests are.

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::apt::Apt;
use super::command::{is_root, run};
use super::part::{Part, Started};
use super::scratch::Scratch;

/// The user that Debian's package makes. The server refuses to run as root.
const USER: &str = "postgres";
/// Where Debian and Ubuntu keep the server's programs, by version.
const VERSIONS: &str = "/usr/lib/postgresql";
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) struct Postgres;

impl Part for Postgres {
    fn name(&self) -> &'static str {
        "PostgreSQL"
    }

    fn variables(&self) -> &'static [&'static str] {
        &["BMM_TEST_POSTGRES"]
    }

    fn is_installed(&self) -> Result<bool> {
        Ok(programs().is_some())
    }

    fn install(&self, apt: &mut Apt) -> Result<()> {
        apt.install(&["postgresql"])
    }

    fn start(&self) -> Result<Started> {
        let programs = programs().context("it is not installed")?;
        let mut cluster = Cluster {
            // Not below the target folder: that may lie where the server's user cannot go.
            folder: Scratch::make("postgres")?,
            server: None,
        };
        let password = cluster.initialise(&programs)?;
        let port = cluster.serve(&programs)?;
        let url = format!("postgres://{USER}:{password}@127.0.0.1:{port}/postgres");
        Ok(Started {
            values: vec![url.into()],
            running: Some(Box::new(cluster)),
        })
    }
}

/// The folder of a data directory, and the server on it.
struct Cluster {
    folder: Scratch,
    server: Option<Child>,
}

impl Cluster {
    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn initialise(&self, programs: &Path) -> Result<String> {
        let password =
            std::fs::read_to_string("/proc/sys/kernel/random/uuid").context("a random password")?;
        let password = password.trim().replace('-', "");
        let file = self.folder.path().join("password");
        std::fs::File::create(&file)?.write_all(password.as_bytes())?;
        if is_root() {
            run(Command::new("chown").arg("-R").arg(USER).arg(self.folder.path()))?;
        }
        let mut initdb = as_server(&programs.join("initdb"));
        initdb
            .args([
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--no-locale",
                "--username",
                USER,
            ])
            .arg(format!("--pwfile={}", file.display()))
            .arg("--pgdata")
            .arg(self.data())
            .stdout(Stdio::null());
        run(&mut initdb)?;
        std::fs::remove_file(&file)?;
        Ok(password)
    }

    fn serve(&mut self, programs: &Path) -> Result<u16> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let log = std::fs::File::create(self.folder.path().join("log"))?;
        let mut server = as_server(&programs.join("postgres"));
        server
            .arg("-D")
            .arg(self.data())
            .args([
                "-h",
                "127.0.0.1",
                "-p",
                &port.to_string(),
                "-c",
                "unix_socket_directories=",
            ])
            .args(["-c", "max_connections=300"])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let server = self.server.insert(server.spawn().context("postgres")?);
        let deadline = Instant::now() + PATIENCE;
        let ready = programs.join("pg_isready");
        let address = ["-q", "-h", "127.0.0.1", "-p", &port.to_string()].map(str::to_owned);
        while !Command::new(&ready)
            .args(&address)
            .status()
            .context("pg_isready")?
            .success()
        {
            if let Some(status) = server.try_wait()? {
                let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
                bail!("postgres ended with {status}: {log}");
            }
            ensure!(Instant::now() < deadline, "postgres does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(port)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            // SIGINT: end the sessions and stop.
            let stopped = Command::new("kill")
                .args(["-INT", &server.id().to_string()])
                .status();
            if !stopped.is_ok_and(|status| status.success()) {
                // It may have ended by itself.
                let _ = server.kill();
            }
            let _ = server.wait();
        }
    }
}

/// A program of the server: never as root, and it ends when this process does, however that ends.
fn as_server(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.arg("--pdeathsig=INT");
    if is_root() {
        command.args(["--reuid", USER, "--regid", USER, "--init-groups"]);
    }
    command.arg("--").arg(program).current_dir("/");
    command
}

/// The programs of the newest installed version.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir(VERSIONS).ok()?.flatten();
    let installed = versions.filter_map(|entry| {
        let version: u32 = entry.file_name().to_str()?.parse().ok()?;
        let programs = entry.path().join("bin");
        programs.join("postgres").exists().then_some((version, programs))
    });
    installed.max().map(|(_, programs)| programs)
}
