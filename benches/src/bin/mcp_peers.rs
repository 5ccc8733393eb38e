//! The same six tools on three servers, side by side in one run: bmm, the TypeScript SDK, FastMCP (`benches/peers/six-tools`).
//!
//! Measures from spawn to the answered `tools/list` over HTTP, the memory of all processes of the server after it and after the calls, and
//! calls at 32 connections of one session (revision 2025-11-25, which all three speak). The servers take turns.
//!
//! ```console
//! $ cargo build --release
//! $ cargo run --release -p bmm-benches --bin mcp_peers -- --bmm target/release/bmm --node node --node-modules DIR --python PYTHON
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use clap::Parser;
use http::{Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

#[derive(Parser)]
struct Args {
    /// The release build of bmm.
    #[arg(long)]
    bmm: PathBuf,
    /// Node 22.
    #[arg(long)]
    node: PathBuf,
    /// A folder with package.json and node_modules, in which the SDK is installed.
    #[arg(long)]
    node_modules: PathBuf,
    /// A Python with fastmcp.
    #[arg(long)]
    python: PathBuf,
    /// Turns that each server takes.
    #[arg(long, default_value_t = 5)]
    turns: usize,
    /// Calls of one turn, over all connections.
    #[arg(long, default_value_t = 3_000)]
    calls: usize,
    /// Connections, each with one call in flight.
    #[arg(long, default_value_t = 32)]
    connections: usize,
}

const PEERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/six-tools");

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let names = ["bmm", "typescript-sdk", "fastmcp"];
    let mut figures: BTreeMap<&str, Vec<Turn>> = BTreeMap::new();
    for turn in 0..args.turns {
        for name in names {
            let measured = measure(&args, name)
                .await
                .with_context(|| format!("{name}, turn {turn}"))?;
            figures.entry(name).or_default().push(measured);
        }
    }
    println!(
        "| server | start to tools/list, ms | memory then, MiB | after the calls, MiB | calls/s | p50, ms | p99, ms |"
    );
    println!("|---|---|---|---|---|---|---|");
    for name in names {
        let turns = figures.get(name).map(Vec::as_slice).unwrap_or_default();
        let median = |of: fn(&Turn) -> f64| {
            let mut values: Vec<f64> = turns.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or_default()
        };
        println!(
            "| {name} | {:.1} | {:.1} | {:.1} | {:.0} | {:.2} | {:.2} |",
            median(|t| t.start_ms),
            median(|t| t.idle_mib),
            median(|t| t.used_mib),
            median(|t| t.calls_per_second),
            median(|t| t.p50_ms),
            median(|t| t.p99_ms),
        );
    }
    Ok(())
}

struct Turn {
    start_ms: f64,
    idle_mib: f64,
    used_mib: f64,
    calls_per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
}

/// Ended with SIGKILL when dropped; bmm's workers end with it.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn measure(args: &Args, name: &str) -> anyhow::Result<Turn> {
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let mut command = match name {
        "bmm" => {
            let mut command = Command::new(&args.bmm);
            let spec = format!("{PEERS}/spec.json");
            command.args(["run", "--http", &format!("127.0.0.1:{port}"), &spec]);
            command
        }
        "typescript-sdk" => {
            let mut command = Command::new(&args.node);
            command.arg(format!("{PEERS}/server.mjs")).arg(port.to_string());
            command
                .env("NODE_MODULES_OF", &args.node_modules)
                .env("NODE_ENV", "production");
            command
        }
        _ => {
            let mut command = Command::new(&args.python);
            command.arg(format!("{PEERS}/server.py")).arg(port.to_string());
            command
        }
    };
    let started = Instant::now();
    let server = Server(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
    let mut first = loop {
        if let Ok(session) = Session::open(port).await {
            break session;
        }
        ensure!(started.elapsed() < Duration::from_secs(30), "it does not start");
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    let list = first.ask("tools/list", json!({})).await?;
    let start = started.elapsed();
    ensure!(
        list.get("tools")
            .and_then(Value::as_array)
            .is_some_and(|tools| tools.len() == 6),
        "{list}"
    );
    let idle_mib = memory_mib(server.0.id())?;

    let mut sessions = Vec::new();
    for _ in 0..args.connections {
        sessions.push(first.beside(port).await?);
    }
    let each = args.calls / args.connections;
    let before = Instant::now();
    let workers: Vec<_> = sessions
        .into_iter()
        .map(|mut session| {
            tokio::spawn(async move {
                let mut latencies = Vec::with_capacity(each);
                for n in 0..each {
                    let (tool, arguments, expected) = call(n);
                    let before = Instant::now();
                    let result = session
                        .ask("tools/call", json!({"name": tool, "arguments": arguments}))
                        .await?;
                    latencies.push(before.elapsed());
                    let said = result.pointer("/content/0/text").and_then(Value::as_str);
                    ensure!(said == Some(expected), "{tool}: {result}");
                }
                Ok(latencies)
            })
        })
        .collect();
    let mut latencies = Vec::new();
    for worker in workers {
        latencies.extend(worker.await??);
    }
    let took = before.elapsed();
    latencies.sort();
    let at = |share: usize| {
        let index = (latencies.len() * share / 100).min(latencies.len() - 1);
        latencies.get(index).copied().unwrap_or_default().as_secs_f64() * 1e3
    };
    Ok(Turn {
        start_ms: start.as_secs_f64() * 1e3,
        idle_mib,
        used_mib: memory_mib(server.0.id())?,
        calls_per_second: latencies.len() as f64 / took.as_secs_f64(),
        p50_ms: at(50),
        p99_ms: at(99),
    })
}

/// The `n`th call and the text it gives.
fn call(n: usize) -> (&'static str, Value, &'static str) {
    match n % 5 {
        0 => ("echo", json!({"text": "hello"}), "hello"),
        1 => (
            "slugify",
            json!({"text": "Side by side, in one run"}),
            "side-by-side-in-one-run",
        ),
        2 => ("count_words", json!({"text": "one two three"}), "3"),
        3 => ("sort_lines", json!({"text": "c\na\nb"}), "a\nb\nc"),
        _ => ("mean", json!({"values": [1.5, 2.5, 3.5]}), "2.5"),
    }
}

/// One client: a connection and a session.
struct Session {
    sender: SendRequest<Full<Bytes>>,
    host: String,
    id: Option<String>,
    next: u64,
}

impl Session {
    async fn open(port: u16) -> anyhow::Result<Self> {
        let mut session = Self::connect(port).await?;
        let params = json!({
            "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "mcp_peers", "version": "1"},
        });
        session.ask("initialize", params).await?;
        session
            .send(json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
            .await?;
        Ok(session)
    }

    /// Another connection of the same session.
    async fn beside(&mut self, port: u16) -> anyhow::Result<Self> {
        let mut other = Self::connect(port).await?;
        other.id.clone_from(&self.id);
        self.next += 100_000;
        other.next = self.next;
        Ok(other)
    }

    async fn connect(port: u16) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self {
            sender,
            host: format!("127.0.0.1:{port}"),
            id: None,
            next: 0,
        })
    }

    async fn ask(&mut self, method: &str, params: Value) -> anyhow::Result<Value> {
        self.next += 1;
        let message = json!({"jsonrpc": "2.0", "id": self.next, "method": method, "params": params});
        let body = self.send(message).await?;
        // A JSON body, or one event that holds it.
        let text = std::str::from_utf8(&body)?;
        let json = text
            .lines()
            .rfind(|line| line.starts_with("data:") && line.len() > 6)
            .map_or(text, |line| line.trim_start_matches("data:"));
        let answer: Value = serde_json::from_str(json).with_context(|| text.to_owned())?;
        match answer.get("result") {
            Some(result) => Ok(result.clone()),
            None => bail!("{answer}"),
        }
    }

    async fn send(&mut self, message: Value) -> anyhow::Result<Bytes> {
        let mut request = Request::post("/mcp")
            .header(header::HOST, &self.host)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, text/event-stream");
        if let Some(id) = &self.id {
            request = request
                .header("mcp-session-id", id)
                .header("mcp-protocol-version", "2025-11-25");
        }
        self.sender.ready().await?;
        let request = request.body(Full::new(Bytes::from(message.to_string())))?;
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        if let Some(id) = response.headers().get("mcp-session-id") {
            self.id = Some(id.to_str()?.to_owned());
        }
        let body = response.into_body().collect().await?.to_bytes();
        ensure!(
            status.is_success(),
            "{status}: {}",
            String::from_utf8_lossy(&body)
        );
        Ok(body)
    }
}

/// Resident memory of a process and all its descendants, pages that they share counted for each.
fn memory_mib(root: u32) -> anyhow::Result<f64> {
    let mut processes: Vec<(u32, u32, f64)> = Vec::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let Ok(status) = std::fs::read_to_string(entry.path().join("status")) else {
            continue;
        };
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<f64>().ok()
        };
        if let (Some(parent), Some(kib)) = (field("PPid:"), field("VmRSS:")) {
            processes.push((pid, parent as u32, kib));
        }
    }
    let (mut family, mut total) = (vec![root], 0.0);
    while let Some(pid) = family.pop() {
        total += processes
            .iter()
            .filter(|(own, ..)| *own == pid)
            .map(|(.., kib)| kib)
            .sum::<f64>();
        family.extend(
            processes
                .iter()
                .filter(|(_, parent, _)| *parent == pid)
                .map(|(own, ..)| own),
        );
    }
    Ok(total / 1024.0)
}
