//! The same six tools on three servers, side by side in one run: bmm, the TypeScript SDK, FastMCP (`benches/peers/six-tools`).
//!
//! Measures from spawn to the answered `tools/list` over HTTP, the memory of all processes of the server after it and after the calls, and
//! calls at 32 connections of one session (revision 2025-11-25, which all three speak): how long, and how much processor time of the
//! server. The servers take turns. With `--curve 1,10,50,100` instead: that many servers of a kind at the same time, the calls spread
//! over all of them.
//!
//! ```console
//! $ cargo build --release
//! $ cargo run --release -p bmm-benches --bin mcp_peers -- --bmm target/release/bmm --node node --node-modules DIR --python PYTHON
//! ```

mod family;
mod session;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::{Parser, ValueEnum};
use serde_json::{Value, json};

use crate::family::Memory;
use crate::session::Session;

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
    /// Which of them.
    #[arg(long, value_delimiter = ',', default_value = "bmm,typescript-sdk,fastmcp")]
    servers: Vec<Kind>,
    /// Turns that each server takes.
    #[arg(long, default_value_t = 5)]
    turns: usize,
    /// Calls of one turn, over all connections.
    #[arg(long, default_value_t = 3_000)]
    calls: usize,
    /// Connections, each with one call in flight.
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// Numbers of servers that run at the same time.
    #[arg(long, value_delimiter = ',')]
    curve: Vec<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Kind {
    Bmm,
    TypescriptSdk,
    Fastmcp,
}

const PEERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/six-tools");

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if args.curve.is_empty() {
        turns(&args).await
    } else {
        curve(&args).await
    }
}

async fn turns(args: &Args) -> anyhow::Result<()> {
    let mut figures: BTreeMap<Kind, Vec<Turn>> = BTreeMap::new();
    for turn in 0..args.turns {
        for kind in &args.servers {
            let measured = measure(args, *kind)
                .await
                .with_context(|| format!("{kind:?}, turn {turn}"))?;
            figures.entry(*kind).or_default().push(measured);
        }
    }
    println!(
        "| server | start to tools/list, ms | memory then, MiB (shared pages divided) | after the calls, MiB (divided) | calls/s | p50, ms | p99, ms | CPU a call, µs: server + its children |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for (kind, turns) in &figures {
        let median = |of: fn(&Turn) -> f64| {
            let mut values: Vec<f64> = turns.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or_default()
        };
        println!(
            "| {kind:?} | {:.1} | {:.1} ({:.1}) | {:.1} ({:.1}) | {:.0} | {:.2} | {:.2} | {:.0} + {:.0} |",
            median(|t| t.start_ms),
            median(|t| t.idle.resident),
            median(|t| t.idle.proportional),
            median(|t| t.used.resident),
            median(|t| t.used.proportional),
            median(|t| t.load.calls_per_second),
            median(|t| t.load.p50_ms),
            median(|t| t.load.p99_ms),
            median(|t| t.own_cpu_us),
            median(|t| t.others_cpu_us),
        );
    }
    Ok(())
}

async fn curve(args: &Args) -> anyhow::Result<()> {
    println!(
        "| servers | memory idle, MiB (shared pages divided) | after the calls, MiB (divided) | calls/s | p50, ms | p99, ms |"
    );
    println!("|---|---|---|---|---|---|");
    for kind in &args.servers {
        for number in &args.curve {
            let mut servers = Vec::new();
            for _ in 0..*number {
                servers.push(Server::start(args, *kind).await?);
            }
            // Until the workers that nobody has waited for are there as well.
            tokio::time::sleep(SETTLE).await;
            let idle = memory(&servers)?;
            let mut clients: Vec<Vec<Session>> = (0..args.connections).map(|_| Vec::new()).collect();
            for at in 0..args.connections.max(*number) {
                let (client, server) = (at % args.connections, at % *number);
                if let (Some(client), Some(server)) = (clients.get_mut(client), servers.get_mut(server)) {
                    client.push(server.first.beside(server.port).await?);
                }
            }
            let load = load(clients, args.calls).await?;
            let used = memory(&servers)?;
            println!(
                "| {kind:?} {number} | {:.0} ({:.0}) | {:.0} ({:.0}) | {:.0} | {:.2} | {:.2} |",
                idle.resident,
                idle.proportional,
                used.resident,
                used.proportional,
                load.calls_per_second,
                load.p50_ms,
                load.p99_ms,
            );
        }
    }
    Ok(())
}

const SETTLE: Duration = Duration::from_secs(1);

fn memory(servers: &[Server]) -> anyhow::Result<Memory> {
    let mut total = Memory::default();
    for server in servers {
        let one = family::memory(server.process.0.id())?;
        total.resident += one.resident;
        total.proportional += one.proportional;
    }
    Ok(total)
}

struct Turn {
    start_ms: f64,
    idle: Memory,
    used: Memory,
    load: Load,
    own_cpu_us: f64,
    others_cpu_us: f64,
}

async fn measure(args: &Args, kind: Kind) -> anyhow::Result<Turn> {
    let mut server = Server::start(args, kind).await?;
    let root = server.process.0.id();
    let idle = family::memory(root)?;
    let mut clients = Vec::new();
    for _ in 0..args.connections {
        clients.push(vec![server.first.beside(server.port).await?]);
    }
    let before = family::cpu_seconds(root)?;
    let load = load(clients, args.calls).await?;
    let after = family::cpu_seconds(root)?;
    let each = 1e6 / args.calls as f64;
    Ok(Turn {
        start_ms: server.start.as_secs_f64() * 1e3,
        idle,
        used: family::memory(root)?,
        load,
        own_cpu_us: (after.0 - before.0) * each,
        others_cpu_us: (after.1 - before.1) * each,
    })
}

/// A server that has listed its tools.
struct Server {
    process: Process,
    port: u16,
    first: Session,
    /// From spawn to the list.
    start: Duration,
}

/// Ended with SIGKILL when dropped; bmm's workers end with it.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    async fn start(args: &Args, kind: Kind) -> anyhow::Result<Self> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = match kind {
            Kind::Bmm => {
                let mut command = Command::new(&args.bmm);
                let spec = format!("{PEERS}/spec.json");
                command.args(["run", "--http", &format!("127.0.0.1:{port}"), &spec]);
                command
            }
            Kind::TypescriptSdk => {
                let mut command = Command::new(&args.node);
                command.arg(format!("{PEERS}/server.mjs")).arg(port.to_string());
                command
                    .env("NODE_MODULES_OF", &args.node_modules)
                    .env("NODE_ENV", "production");
                command
            }
            Kind::Fastmcp => {
                let mut command = Command::new(&args.python);
                command.arg(format!("{PEERS}/server.py")).arg(port.to_string());
                command
            }
        };
        let started = Instant::now();
        let process = Process(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
        let mut first = loop {
            if let Ok(session) = Session::open(port).await {
                break session;
            }
            ensure!(started.elapsed() < Duration::from_secs(30), "it does not start");
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        let list = first.ask("tools/list", json!({})).await?;
        let start = started.elapsed();
        let tools = list.get("tools").and_then(Value::as_array);
        ensure!(tools.is_some_and(|tools| tools.len() == 6), "{list}");
        Ok(Self {
            process,
            port,
            first,
            start,
        })
    }
}

struct Load {
    calls_per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
}

/// Makes `calls` calls: each client one after the other, over its sessions in turn.
async fn load(clients: Vec<Vec<Session>>, calls: usize) -> anyhow::Result<Load> {
    let each = calls / clients.len().max(1);
    let before = Instant::now();
    let workers: Vec<_> = clients
        .into_iter()
        .map(|mut sessions| {
            tokio::spawn(async move {
                let mut latencies = Vec::with_capacity(each);
                for n in 0..each {
                    let (tool, arguments, expected) = call(n);
                    let turn = n % sessions.len().max(1);
                    let session = sessions.get_mut(turn).context("a client without a session")?;
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
    Ok(Load {
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
