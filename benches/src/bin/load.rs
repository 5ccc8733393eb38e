//! Closed-loop load driver: N connections call one tool of one MCP server for a while (protocol revision 2026-07-28,
//! stateless, keep-alive), then calls/s and latency percentiles are printed as one JSON line.
//!
//! ```console
//! $ bmm run examples/specs/demo.json --http 127.0.0.1:8000 &
//! $ cargo run --release -p bmm-benches --bin load -- http://127.0.0.1:8000/mcp hash_text '{"text":"x","algorithm":"sha256"}'
//! ```

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use clap::Parser;
use http::{Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use url::Url;

/// Command line.
#[derive(Parser)]
struct Args {
    /// MCP URL, plain http.
    url: Url,
    /// Tool to call.
    tool: String,
    /// Its arguments, as JSON.
    arguments: String,
    /// Connections, each with one call in flight.
    #[arg(long, default_value_t = 32)]
    connections: u32,
    /// Seconds to measure.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// File that holds a bearer token.
    #[arg(long)]
    token_file: Option<std::path::PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let token = match &args.token_file {
        Some(path) => Some(
            std::fs::read_to_string(path)
                .context("reading the token file")?
                .trim()
                .to_owned(),
        ),
        None => None,
    };
    let call = Call::new(&args, token)?;
    call.once(&mut call.connect().await?)
        .await
        .context("the first call")?;

    let end = Instant::now() + Duration::from_secs(args.seconds);
    let started = Instant::now();
    let workers: Vec<_> = (0..args.connections)
        .map(|_| tokio::spawn(call.clone().until(end)))
        .collect();
    let mut latencies = Vec::new();
    for worker in workers {
        latencies.extend(worker.await??);
    }
    let elapsed = started.elapsed();
    latencies.sort_unstable();
    let report = json!({
        "tool": args.tool,
        "connections": args.connections,
        "calls": latencies.len(),
        "calls_per_second": (latencies.len() as f64 / elapsed.as_secs_f64()).round(),
        "p50_us": percentile(&latencies, 50),
        "p99_us": percentile(&latencies, 99),
    });
    println!("{report}");
    Ok(())
}

#[derive(Clone)]
struct Call {
    address: String,
    host: String,
    path: String,
    tool: String,
    body: Bytes,
    token: Option<String>,
}

type Sender = hyper::client::conn::http1::SendRequest<Full<Bytes>>;

impl Call {
    fn new(args: &Args, token: Option<String>) -> anyhow::Result<Self> {
        ensure!(args.url.scheme() == "http", "only plain http is measured");
        let host = args.url.host_str().context("the URL has no host")?;
        let port = args.url.port_or_known_default().context("the URL has no port")?;
        let arguments: Value = serde_json::from_str(&args.arguments).context("the arguments are not JSON")?;
        let body = json!({
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {
                "name": args.tool,
                "arguments": arguments,
                "_meta": {
                    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                    "io.modelcontextprotocol/clientCapabilities": {},
                    "io.modelcontextprotocol/clientInfo": {"name": "bmm-load", "version": "0"},
                },
            },
        });
        Ok(Self {
            address: format!("{host}:{port}"),
            host: format!("{host}:{port}"),
            path: args.url.path().to_owned(),
            tool: args.tool.clone(),
            body: Bytes::from(body.to_string()),
            token,
        })
    }

    async fn connect(&self) -> anyhow::Result<Sender> {
        let stream = TcpStream::connect(&self.address).await.context("connecting")?;
        stream.set_nodelay(true)?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn once(&self, sender: &mut Sender) -> anyhow::Result<()> {
        let mut request = Request::post(&self.path)
            .header(header::HOST, &self.host)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, text/event-stream")
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", "tools/call")
            .header("mcp-name", &self.tool);
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let response = sender
            .send_request(request.body(Full::new(self.body.clone()))?)
            .await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        let text = String::from_utf8_lossy(&body);
        ensure!(status.is_success(), "{status}: {text}");
        ensure!(
            text.contains("\"result\"") && !text.contains("\"isError\":true"),
            "not a result: {text}"
        );
        Ok(())
    }

    async fn until(self, end: Instant) -> anyhow::Result<Vec<u128>> {
        let mut sender = self.connect().await?;
        let mut latencies = Vec::new();
        while Instant::now() < end {
            let started = Instant::now();
            self.once(&mut sender).await?;
            latencies.push(started.elapsed().as_micros());
        }
        Ok(latencies)
    }
}

/// The latency below which `percent` of the sorted measurements lie; zero where nothing was measured.
fn percentile(sorted: &[u128], percent: usize) -> u128 {
    let last = sorted.len().saturating_sub(1);
    sorted.get(last * percent / 100).copied().unwrap_or_default()
}
