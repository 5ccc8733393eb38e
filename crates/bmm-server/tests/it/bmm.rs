//! A running `bmm up` and what tests do with it.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::http::{Response, request};

const START: Duration = Duration::from_secs(60);

/// `bmm` with these arguments, away from the home of whoever runs the tests.
pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bmm"));
    command
        .args(args)
        .env("HOME", "/nonexistent")
        .env_remove("XDG_DATA_HOME")
        .env_remove("XDG_CONFIG_HOME")
        .env_remove("BMM_LOG")
        .stdin(Stdio::null());
    command
}

/// Runs `bmm` to its end; one that does not come to it is ended, with exit code 124.
pub(crate) fn run(args: &[&str]) -> Output {
    let bmm = command(args);
    let mut timed = Command::new("timeout");
    timed
        .arg("120")
        .arg(bmm.get_program())
        .args(bmm.get_args())
        .stdin(Stdio::null());
    for (name, value) in bmm.get_envs() {
        match value {
            Some(value) => timed.env(name, value),
            None => timed.env_remove(name),
        };
    }
    timed.output().expect("bmm runs")
}

/// The lines a failed command printed to stderr.
pub(crate) fn stderr_lines(output: &Output) -> Vec<String> {
    String::from_utf8_lossy(&output.stderr)
        .lines()
        .map(str::to_owned)
        .collect()
}

/// A port that was free a moment ago, for starts that must come back at the same address.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
}

/// Tries until it is so or the time is over.
pub(crate) fn eventually<T>(within: Duration, mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
    let begun = Instant::now();
    loop {
        if let Some(value) = attempt() {
            return Some(value);
        }
        if begun.elapsed() > within {
            return None;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// A folder of one test's own.
pub(crate) struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a folder"),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn data(&self) -> String {
        self.path("data").to_str().expect("a UTF-8 path").to_owned()
    }

    /// Writes a spec file and names it.
    pub(crate) fn spec(&self, name: &str, spec: &Value) -> String {
        let path = self.path(name);
        fs::write(&path, serde_json::to_vec_pretty(spec).expect("serializes")).expect("writes");
        path.to_str().expect("a UTF-8 path").to_owned()
    }

    /// `bmm up` on an address of its own choice, once it serves.
    pub(crate) fn up(&self, specs: &[&str]) -> Up {
        self.up_at("127.0.0.1:0".parse().expect("an address"), specs)
    }

    /// `bmm up` at this address, once it serves.
    pub(crate) fn up_at(&self, listen: SocketAddr, specs: &[&str]) -> Up {
        let (data, listen) = (self.data(), listen.to_string());
        let mut args = vec!["up", "--json", "--listen", &listen, "--data-dir", &data];
        args.extend(specs);
        Up::start(&args)
    }
}

/// A server that upper-cases, with one tool.
pub(crate) fn shout_spec(slug: &str) -> Value {
    json!({
        "bmm": 1,
        "slug": slug,
        "name": "Shout",
        "description": "Makes text loud.",
        "tools": [{
            "name": "shout",
            "description": "Turns text into upper case.",
            "inputSchema": {
                "type": "object",
                "properties": { "text": { "type": "string", "description": "The text." } },
                "required": ["text"],
                "additionalProperties": false
            },
            "implementation": "export default async (input) => input.text.toUpperCase();"
        }]
    })
}

/// A `bmm up` that serves. Ended with SIGKILL when dropped.
pub(crate) struct Up {
    child: Child,
    stdout: Option<BufReader<ChildStdout>>,
    pub(crate) line: Value,
}

impl Up {
    pub(crate) fn start(args: &[&str]) -> Self {
        let mut child = command(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("bmm starts");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut stderr = child.stderr.take().expect("piped");
        let errors = thread::spawn(move || {
            let mut text = String::new();
            // What cannot be read is not shown.
            let _ = stderr.read_to_string(&mut text);
            text
        });
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            let mut stdout = stdout;
            let mut line = String::new();
            let read = stdout.read_line(&mut line);
            let _ = sender.send(read.map(|_| (line, stdout)));
        });
        match receiver.recv_timeout(START) {
            Ok(Ok((line, stdout))) if !line.is_empty() => {
                let line = serde_json::from_str(&line).expect("one line of JSON");
                Self {
                    child,
                    stdout: Some(stdout),
                    line,
                }
            }
            other => {
                let _ = child.kill();
                let status = child.wait();
                panic!(
                    "bmm did not come up ({status:?}): {}\n{}",
                    other.is_ok(),
                    errors.join().unwrap_or_default()
                );
            }
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The origin, `http://127.0.0.1:PORT`.
    pub(crate) fn origin(&self) -> &str {
        self.line["issuer"].as_str().expect("an issuer")
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.origin()
            .trim_start_matches("http://")
            .parse()
            .expect("an address")
    }

    pub(crate) fn sign_in_url(&self) -> &str {
        self.line["sign_in_url"].as_str().expect("a link")
    }

    pub(crate) fn mcp_url(&self, slug: &str) -> String {
        let servers = self.line["servers"].as_array().expect("a list");
        let server = servers.iter().find(|server| server["slug"] == slug);
        server.unwrap_or_else(|| panic!("{slug} in {servers:?}"))["mcp_url"]
            .as_str()
            .expect("a URL")
            .to_owned()
    }

    /// A request to a path of it, without anything special.
    pub(crate) fn get(&self, path: &str) -> Response {
        self.get_with(path, &[])
    }

    pub(crate) fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Response {
        request(self.address(), "GET", path, headers, "")
    }

    /// A session cookie, for a link of this server.
    pub(crate) fn session(&self, link: &str) -> String {
        let response = self.get(self.path_of(link));
        assert_eq!(response.status, 303, "{}", response.body);
        response.cookie().expect("a session")
    }

    pub(crate) fn path_of<'a>(&self, url: &'a str) -> &'a str {
        url.strip_prefix(self.origin()).expect("a URL of this server")
    }

    /// Calls a tool with `bmm call`.
    pub(crate) fn call(
        &self,
        credentials: &Path,
        slug: &str,
        tool: &str,
        input: &Value,
        link: Option<&str>,
    ) -> Output {
        let (url, input) = (self.mcp_url(slug), input.to_string());
        let credentials = credentials.to_str().expect("a UTF-8 path");
        let mut args = vec![
            "call",
            url.as_str(),
            tool,
            input.as_str(),
            "--credentials",
            credentials,
        ];
        args.extend(link.iter().flat_map(|link| ["--sign-in-url", link]));
        run(&args)
    }

    /// Asks it to stop and waits.
    pub(crate) fn stop(mut self) -> (Option<i32>, String) {
        signal(self.child.id(), "TERM");
        let status = self.child.wait().expect("it ends");
        let mut rest = String::new();
        let mut stdout = self.stdout.take().expect("held until now");
        stdout.read_to_string(&mut rest).expect("reads");
        (status.code(), rest)
    }

    /// Ends it the hard way.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("kills");
        self.child.wait().expect("it ends");
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The output of a call that must have succeeded.
pub(crate) fn said(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{:?}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

pub(crate) fn signal(pid: u32, name: &str) {
    let done = Command::new("kill")
        .args([&format!("-{name}"), &pid.to_string()])
        .status()
        .expect("kill runs");
    assert!(done.success(), "kill -{name} {pid}");
}

/// A process: its id, its parent's, its state and its name (`argv[0]`).
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) parent: u32,
    pub(crate) state: char,
    pub(crate) name: String,
}

/// All processes of this machine.
pub(crate) fn processes() -> Vec<Process> {
    let entries = fs::read_dir("/proc").expect("/proc");
    entries
        .filter_map(|entry| process(entry.ok()?.file_name().to_str()?.parse().ok()?))
        .collect()
}

fn process(pid: u32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let name = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    Some(Process {
        pid,
        state: fields.next()?.chars().next()?,
        parent: fields.next()?.parse().ok()?,
        name: name.split('\0').next()?.to_owned(),
    })
}

/// Everything that descends from `root`, without it.
pub(crate) fn descendants(root: u32) -> Vec<Process> {
    let all = processes();
    let mut found: Vec<Process> = Vec::new();
    let mut parents = vec![root];
    while let Some(parent) = parents.pop() {
        for child in all.iter().filter(|process| process.parent == parent) {
            parents.push(child.pid);
            found.push(child.clone());
        }
    }
    found
}

/// Those of `pids` that still run.
pub(crate) fn alive(pids: &[u32]) -> Vec<Process> {
    pids.iter()
        .filter_map(|pid| process(*pid))
        .filter(|process| process.state != 'Z')
        .collect()
}
