//! The health probe of a deploy: asks a new runner what a client would ask, and compares what it lists with what was
//! deployed.

use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::UnixStream;

use crate::http::MCP_PATH;

const VERSION: &str = "2026-07-28";
const MAX_ANSWER_BYTES: usize = 8 * 1024 * 1024;

/// What to probe.
#[derive(Clone)]
pub struct ProbeTarget<'a> {
    /// The Unix socket on which the runner serves.
    pub socket: &'a Path,
    /// The host of the public URL, with its port if it has one: what `Host` must say.
    pub host: &'a str,
    /// An access token for the server.
    pub token: &'a str,
    /// The digest that the tools must have.
    pub manifest_digest: &'a str,
}

impl std::fmt::Debug for ProbeTarget<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProbeTarget")
            .field("socket", &self.socket)
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

/// `server/discover`, then `tools/list`, then the digest, all within `timeout`.
pub async fn probe(target: &ProbeTarget<'_>, timeout: Duration) -> Result<(), ProbeError> {
    tokio::time::timeout(timeout, ask(target))
        .await
        .map_err(|_| ProbeError::Timeout)?
}

async fn ask(target: &ProbeTarget<'_>) -> Result<(), ProbeError> {
    let stream = connect(target.socket)
        .await
        .map_err(|_| ProbeError::Unreachable)?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream))
            .await
            .map_err(|_| ProbeError::Unreachable)?;
    let questions = async {
        request(&mut sender, target, 1, "server/discover").await?;
        let list = request(&mut sender, target, 2, "tools/list").await?;
        let tools = list
            .get("tools")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let found = bmm_spec::manifest_digest(&tools);
        if found == target.manifest_digest {
            Ok(())
        } else {
            Err(ProbeError::Drifted { found })
        }
    };
    tokio::pin!(questions);
    tokio::pin!(connection);
    tokio::select! {
        answer = &mut questions => answer,
        _ = &mut connection => questions.await,
    }
}

/// A socket's address holds 108 bytes; a longer path is reached through a descriptor of its directory, as bmm-deploy does.
async fn connect(socket: &Path) -> std::io::Result<UnixStream> {
    match (socket.parent(), socket.file_name()) {
        (Some(directory), Some(name)) if socket.as_os_str().len() > 100 => {
            let directory = std::fs::File::open(directory)?;
            let short = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string());
            UnixStream::connect(short.join(name)).await
        }
        _ => UnixStream::connect(socket).await,
    }
}

async fn request(
    sender: &mut hyper::client::conn::http1::SendRequest<Full<Bytes>>,
    target: &ProbeTarget<'_>,
    id: u32,
    method: &'static str,
) -> Result<Value, ProbeError> {
    let body = json!({
        "jsonrpc": "2.0",
        "id": id,
        "method": method,
        "params": { "_meta": {
            "io.modelcontextprotocol/protocolVersion": VERSION,
            "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": { "name": "bmm-probe", "version": env!("CARGO_PKG_VERSION") },
        }},
    });
    let request = http::Request::post(MCP_PATH)
        .header(http::header::HOST, target.host)
        .header(http::header::AUTHORIZATION, format!("Bearer {}", target.token))
        .header(http::header::CONTENT_TYPE, "application/json")
        .header(http::header::ACCEPT, "application/json, text/event-stream")
        .header("mcp-protocol-version", VERSION)
        .header("mcp-method", method)
        .body(Full::new(Bytes::from(body.to_string())))
        .map_err(|_| ProbeError::Unreachable)?;
    let response = sender
        .send_request(request)
        .await
        .map_err(|_| ProbeError::Unreachable)?;
    let status = response.status();
    if !status.is_success() {
        return Err(ProbeError::Status {
            method,
            status: status.as_u16(),
        });
    }
    let answer = Limited::new(response.into_body(), MAX_ANSWER_BYTES)
        .collect()
        .await
        .map_err(|_| ProbeError::NotMcp { method })?
        .to_bytes();
    let message = json_message(&answer).ok_or(ProbeError::NotMcp { method })?;
    message
        .get("result")
        .cloned()
        .ok_or(ProbeError::NotMcp { method })
}

/// The answer's message, whether it came as JSON or as the last event of a stream.
fn json_message(answer: &[u8]) -> Option<Value> {
    if let Ok(message) = serde_json::from_slice(answer) {
        return Some(message);
    }
    let text = std::str::from_utf8(answer).ok()?;
    text.lines()
        .rev()
        .filter_map(|line| line.strip_prefix("data:"))
        .find_map(|data| serde_json::from_str(data).ok())
}

/// Why a runner is not healthy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// It took too long.
    #[error("the server did not answer in time")]
    Timeout,
    /// No connection, or it broke.
    #[error("the server cannot be reached")]
    Unreachable,
    /// Another status than a success.
    #[error("the server answered {method} with status {status}")]
    Status {
        /// Which request.
        method: &'static str,
        /// The status.
        status: u16,
    },
    /// The answer is not an MCP result.
    #[error("the server's answer to {method} is not an MCP result")]
    NotMcp {
        /// Which request.
        method: &'static str,
    },
    /// It serves other tools than were deployed.
    #[error("the server lists other tools than were deployed (digest {found})")]
    Drifted {
        /// What it lists.
        found: String,
    },
}
