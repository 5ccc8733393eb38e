//! The health probe of a deploy: asks a new runner what a client would ask, and compares what it lists with what was
//! deployed.

use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::time::Duration;

use bmm_spec::{Spec, Tool};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::net::UnixStream;

use crate::examples::same;
use crate::http::MCP_PATH;
use crate::result;

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
    /// A call that it must answer as the spec's author said.
    pub smoke_call: Option<&'a SmokeCall>,
}

/// An example of a spec that can be tried on a server that is about to serve.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SmokeCall {
    tool: String,
    input: Map<String, Value>,
    output: Option<Value>,
}

impl SmokeCall {
    /// The first example of a tool that changes nothing and needs nobody: read-only, without scopes, secrets, or recorded fetches.
    pub fn of(spec: &Spec) -> Option<Self> {
        if !spec.required_secrets.is_empty() {
            return None;
        }
        let reads = |tool: &&Tool| {
            let hint = tool.annotations.as_ref().and_then(|hints| hints.read_only_hint);
            hint == Some(true) && tool.scopes.is_empty()
        };
        spec.tools.iter().filter(reads).find_map(|tool| {
            let example = tool
                .examples
                .iter()
                .find(|example| example.fetches.is_empty() && example.error.is_none())?;
            Some(Self {
                tool: tool.name.clone(),
                input: example.input.clone(),
                output: example.output.clone(),
            })
        })
    }

    /// Whether a `CallToolResult` is what the example says.
    fn is_answered_by(&self, found: &Value) -> bool {
        if found.get("isError").and_then(Value::as_bool) == Some(true) {
            return false;
        }
        let Some(output) = &self.output else { return true };
        let Ok(expected) = serde_json::to_value(result::success(output.clone(), true)) else {
            return false;
        };
        ["content", "structuredContent"]
            .into_iter()
            .all(|part| match (expected.get(part), found.get(part)) {
                (Some(expected), Some(found)) => same(expected, found),
                (expected, found) => expected.is_none() && found.is_none(),
            })
    }
}

impl std::fmt::Debug for ProbeTarget<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProbeTarget")
            .field("socket", &self.socket)
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

/// `server/discover`, then `tools/list`, then the digest, then the smoke call, all within `timeout`.
pub async fn probe(target: &ProbeTarget<'_>, timeout: Duration) -> Result<(), ProbeError> {
    tokio::time::timeout(timeout, ask(target))
        .await
        .map_err(|_| ProbeError::Timeout)?
}

async fn ask(target: &ProbeTarget<'_>) -> Result<(), ProbeError> {
    let stream = connect(target.socket)
        .await
        .map_err(|_| ProbeError::Unreachable)?;
    let (mut sender, connection) = http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream))
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
        if found != target.manifest_digest {
            return Err(ProbeError::Drifted { found });
        }
        let Some(smoke) = target.smoke_call else {
            return Ok(());
        };
        let params = json!({ "name": smoke.tool, "arguments": smoke.input });
        let found = ask_for(&mut sender, target, 3, "tools/call", params, Some(&smoke.tool)).await?;
        if smoke.is_answered_by(&found) {
            Ok(())
        } else {
            let tool = smoke.tool.clone();
            Err(ProbeError::Smoke { tool })
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
    sender: &mut http1::SendRequest<Full<Bytes>>,
    target: &ProbeTarget<'_>,
    id: u32,
    method: &'static str,
) -> Result<Value, ProbeError> {
    ask_for(sender, target, id, method, json!({}), None).await
}

async fn ask_for(
    sender: &mut http1::SendRequest<Full<Bytes>>,
    target: &ProbeTarget<'_>,
    id: u32,
    method: &'static str,
    mut params: Value,
    name: Option<&str>,
) -> Result<Value, ProbeError> {
    if let Some(params) = params.as_object_mut() {
        let meta = json!({
            "io.modelcontextprotocol/protocolVersion": VERSION,
            "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": { "name": "bmm-probe", "version": env!("CARGO_PKG_VERSION") },
        });
        params.insert("_meta".to_owned(), meta);
    }
    let body = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
    let mut request = http::Request::post(MCP_PATH);
    if let Some(name) = name {
        request = request.header("mcp-name", name);
    }
    let request = request
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
    /// It answers an example otherwise than the spec says.
    #[error("the server does not answer the example of {tool} as the spec says")]
    Smoke {
        /// The tool.
        tool: String,
    },
    /// It serves other tools than were deployed.
    #[error("the server lists other tools than were deployed (digest {found})")]
    Drifted {
        /// What it lists.
        found: String,
    },
}
