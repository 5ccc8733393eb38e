//! One client: a connection and a session of revision 2025-11-25.

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

/// One client: a connection and a session.
pub(crate) struct Session {
    sender: SendRequest<Full<Bytes>>,
    host: String,
    id: Option<String>,
    next: u64,
}

impl Session {
    pub(crate) async fn open(port: u16) -> anyhow::Result<Self> {
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
    pub(crate) async fn beside(&mut self, port: u16) -> anyhow::Result<Self> {
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

    pub(crate) async fn ask(&mut self, method: &str, params: Value) -> anyhow::Result<Value> {
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
