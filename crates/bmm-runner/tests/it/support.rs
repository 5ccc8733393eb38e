//! What the cases share: specs, an engine made of a closure, and requests without sockets.

use std::sync::Arc;
use std::time::Duration;

use bmm_oauth::{
    AuthInfo, Issuer, RequireAuthLayer, ResourceUri, Scopes, Subject, Timestamp, Verifier, VerifyError,
};
use bmm_runner::engine::{ToolCall, ToolEngine, ToolFailure, ToolHost, ToolOutput};
use bmm_runner::{Runner, RunnerService};
use bmm_spec::CompiledSpec;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tower::ServiceExt as _;

pub(crate) const ISSUER: &str = "https://as.example.com";
pub(crate) const PUBLIC_URL: &str = "https://mcp.example.com/demo/mcp";
pub(crate) const HOST: &str = "mcp.example.com";
pub(crate) const MODERN: &str = "2026-07-28";

/// A case that runs in a runtime of its own and may take 30 s.
pub(crate) fn case<F>(name: &str, run: impl FnOnce() -> F + Send + 'static) -> Trial
where
    F: Future<Output = ()>,
{
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let ended = runtime.block_on(async { tokio::time::timeout(Duration::from_secs(30), run()).await });
        runtime.shutdown_background();
        ended.map_err(|_| "took longer than 30 s".into())
    })
}

/// A spec whose `tools` are given; what is in `more` is added to it.
pub(crate) fn spec(tools: Value, more: Value) -> CompiledSpec {
    let mut spec = json!({
        "bmm": 1, "slug": "demo-server", "name": "Demo", "description": "A server for tests.",
        "instructions": "Call the tools.", "tools": tools,
    });
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    let (spec, _) =
        bmm_spec::admit(spec.to_string().as_bytes()).unwrap_or_else(|problems| panic!("{problems}"));
    spec.compile().unwrap_or_else(|problems| panic!("{problems}"))
}

/// A tool that takes an optional string `text`.
pub(crate) fn tool(name: &str) -> Value {
    json!({
        "name": name, "title": format!("Title of {name}"), "description": "Gives back what it gets.",
        "inputSchema": {"type": "object", "properties": {"text": {"type": "string", "maxLength": 100}}, "additionalProperties": false},
        "annotations": {"readOnlyHint": true},
        "implementation": "export default (input) => input.text",
    })
}

pub(crate) type Host = Arc<dyn ToolHost>;
type Answer = Result<Value, ToolFailure>;
type Run = dyn Fn(ToolCall, Host) -> BoxFuture<'static, Answer> + Send + Sync;

/// An engine that runs a closure.
pub(crate) struct FakeEngine(Box<Run>);

pub(crate) fn engine<F>(run: impl Fn(ToolCall, Host) -> F + Send + Sync + 'static) -> FakeEngine
where
    F: Future<Output = Answer> + Send + 'static,
{
    FakeEngine(Box::new(move |call, host| Box::pin(run(call, host))))
}

impl ToolEngine for FakeEngine {
    fn call(&self, call: ToolCall, host: Host) -> BoxFuture<'_, Result<ToolOutput, ToolFailure>> {
        let run = (self.0)(call, host);
        Box::pin(async move { run.await.map(|value| ToolOutput { value }) })
    }
}

/// Gives back `text`, or the whole input.
pub(crate) fn echo() -> FakeEngine {
    engine(|call, _| async move { Ok(call.input.get("text").cloned().unwrap_or(call.input)) })
}

/// Takes tokens of the form `subject.client.scope.scope…`, with `_` for the colon that no token may hold (RFC 6750).
struct FakeVerifier;

impl Verifier for FakeVerifier {
    fn verify<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<AuthInfo, VerifyError>> {
        let parts: Vec<_> = token.split('.').collect();
        let [subject, client, scopes @ ..] = parts.as_slice() else {
            return Box::pin(async { Err(VerifyError::Invalid("not a token of the tests")) });
        };
        let info = AuthInfo::insecure_asserted(
            ISSUER.parse().unwrap(),
            PUBLIC_URL.parse().unwrap(),
            Subject::new(*subject),
            (*client).to_owned(),
            Scopes::new(scopes.iter().map(|scope| scope.replace('_', ":"))).unwrap(),
            "grant".to_owned(),
            Timestamp::from_secs(u32::MAX.into()),
        );
        Box::pin(async move { Ok(info) })
    }
}

pub(crate) fn guarded(spec: CompiledSpec, engine: impl ToolEngine) -> Runner {
    let resource: ResourceUri = PUBLIC_URL.parse().unwrap();
    let issuer: Issuer = ISSUER.parse().unwrap();
    let layer = RequireAuthLayer::new(resource.clone(), issuer, FakeVerifier).with_scopes(["mcp:read"]);
    Runner::new(spec, engine)
        .unwrap()
        .with_public_url(&resource)
        .with_auth(layer)
}

pub(crate) const ANN: &str = "ann.client.mcp_read";
pub(crate) const BEN: &str = "ben.client.mcp_read";

/// An answer whose body has been read.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answered {
    /// All JSON messages: the body, or the events of the stream.
    pub(crate) fn messages(&self) -> Vec<Value> {
        if let Ok(message) = serde_json::from_slice(&self.body) {
            return vec![message];
        }
        let text = std::str::from_utf8(&self.body).unwrap();
        text.lines()
            .filter_map(|line| line.strip_prefix("data:"))
            .filter_map(|data| serde_json::from_str(data).ok())
            .collect()
    }

    /// The last message, which is the answer to the request.
    pub(crate) fn json(&self) -> Value {
        self.messages()
            .pop()
            .unwrap_or_else(|| panic!("no JSON in {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map(|value| value.to_str().unwrap())
            .unwrap_or_default()
    }
}

/// A POST as clients send it, to be adorned.
pub(crate) fn post(token: Option<&str>, body: &Value) -> http::request::Builder {
    let builder = Request::post("/mcp")
        .header("host", HOST)
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .extension(body.clone());
    match token {
        Some(token) => builder.header("authorization", format!("Bearer {token}")),
        None => builder,
    }
}

/// Sends what [`post`] made; the body travels as an extension until here.
pub(crate) async fn send(service: &RunnerService, builder: http::request::Builder) -> Answered {
    let mut request = builder.body(Full::default()).unwrap();
    if let Some(body) = request.extensions_mut().remove::<Value>() {
        *request.body_mut() = Full::new(Bytes::from(body.to_string()));
    }
    let response = service.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    Answered {
        status: parts.status,
        headers: parts.headers,
        body: body.collect().await.unwrap().to_bytes(),
    }
}

/// A request of 2026-07-28 with its headers.
pub(crate) fn modern(token: &str, method: &str, mut params: Value) -> http::request::Builder {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "tests", "version": "1"},
    });
    modern_with_meta(token, method, params)
}

pub(crate) fn modern_with_meta(token: &str, method: &str, params: Value) -> http::request::Builder {
    let name = params
        .get("name")
        .or(params.get("uri"))
        .and_then(Value::as_str)
        .map(str::to_owned);
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    let builder = post(Some(token), &body)
        .header("mcp-protocol-version", MODERN)
        .header("mcp-method", method);
    match name {
        Some(name) => builder.header("mcp-name", name),
        None => builder,
    }
}

/// A request of a session of 2025-11-25.
pub(crate) fn legacy(token: &str, session: &str, body: &Value) -> http::request::Builder {
    post(Some(token), body)
        .header("mcp-protocol-version", "2025-11-25")
        .header("mcp-session-id", session)
}

pub(crate) fn initialize() -> Value {
    json!({
        "jsonrpc": "2.0", "id": 0, "method": "initialize",
        "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "tests", "version": "1"}},
    })
}

/// Opens a session of 2025-11-25; its id.
pub(crate) async fn session(service: &RunnerService, token: &str) -> String {
    let answer = send(service, post(Some(token), &initialize())).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let id = answer.header("mcp-session-id").to_owned();
    let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    assert_eq!(
        send(service, legacy(token, &id, &initialized)).await.status,
        StatusCode::ACCEPTED
    );
    id
}

pub(crate) fn request(id: u32, method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}
