//! A running `bmm run FILE --http`: one spec without sign-in.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use crate::bmm::command;

const START: Duration = Duration::from_secs(60);

/// Ended with SIGKILL when dropped.
pub(crate) struct Single {
    pub(crate) mcp_url: String,
    child: Child,
    /// What it has printed; shown if the test fails.
    said: Arc<Mutex<String>>,
}

impl Single {
    /// Runs a spec file on a port of its own choice; the first line it prints is its MCP URL.
    pub(crate) fn run(spec: &Path) -> Self {
        let mut command = command(&["run", "--http", "127.0.0.1:0"]);
        let mut child = command
            .arg(spec)
            .stderr(Stdio::piped())
            .spawn()
            .expect("bmm starts");
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let said = Arc::new(Mutex::new(String::new()));
        let (sender, lines) = mpsc::channel();
        let heard = Arc::clone(&said);
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                heard
                    .lock()
                    .expect("no reader panics")
                    .push_str(&format!("{line}\n"));
                // Nobody listens once the URL is known.
                let _ = sender.send(line);
            }
        });
        let mut single = Self {
            mcp_url: String::new(),
            child,
            said,
        };
        while !single.mcp_url.starts_with("http://") {
            single.mcp_url = lines.recv_timeout(START).expect("bmm says where it serves");
        }
        single
    }
}

impl Drop for Single {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!(
                "--- what bmm printed:\n{}---",
                self.said.lock().expect("no reader panics")
            );
        }
    }
}
