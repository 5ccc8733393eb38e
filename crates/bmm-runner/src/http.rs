//! The HTTP edge: two routes, the guard in front of one of them, and what rmcp leaves to its host.
//!
//! In the order in which a request meets them: the token (401 before anything else), tool scopes (403 step-up), session
//! ownership (404), then rmcp with its host, origin, header and version checks.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bmm_oauth::{AuthInfo, MetadataService, PROTECTED_RESOURCE_PATH, RequireAuthLayer, Scopes};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited};
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tower::util::BoxCloneSyncService;
use tower_layer::Layer as _;
use tower_service::Service;
use url::Url;

use crate::config::RunnerLimits;
use crate::live::Live;
use crate::mcp::{McpServer, granted};
use crate::session::{CALLER, OwnedSessions, Principal, SessionCaps};

/// The one path of the MCP server.
pub const MCP_PATH: &str = "/mcp";

/// What [`RunnerService`] answers with.
pub type ResponseBody = UnsyncBoxBody<Bytes, BodyError>;

/// A body that did not come to its end.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the body broke off")]
pub struct BodyError;

type RequestBody = UnsyncBoxBody<Bytes, BodyError>;
type Endpoint = BoxCloneSyncService<Request<RequestBody>, Response<ResponseBody>, Infallible>;

const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
/// The first revision without sessions; dates compare as text.
const FIRST_STATELESS: &str = "2026-07-28";

/// How the service shows itself.
pub(crate) struct Exposure {
    pub(crate) public_url: Option<String>,
    pub(crate) origins: Vec<String>,
    pub(crate) auth: Option<RequireAuthLayer>,
    pub(crate) enforce_scopes: bool,
}

impl Default for Exposure {
    fn default() -> Self {
        Self {
            public_url: None,
            origins: Vec::new(),
            auth: None,
            enforce_scopes: true,
        }
    }
}

/// A served spec: a tower service, cheap to clone. Mount it where `/mcp` and the well-known path arrive with the rest of
/// the path stripped.
#[derive(Clone)]
pub struct RunnerService {
    endpoint: Endpoint,
    metadata: Option<MetadataService>,
    calls: TaskTracker,
    listening: CancellationToken,
    streams: CancellationToken,
}

impl RunnerService {
    pub(crate) fn new(live: Live, limits: &RunnerLimits, exposure: Exposure) -> Self {
        let calls = TaskTracker::new();
        let (streams, listening) = (CancellationToken::new(), live.ending());
        let sessions = OwnedSessions::new(SessionCaps {
            total: limits.sessions as usize,
            per_principal: limits.sessions_per_principal as usize,
        });
        let max_body = limits.request_kib as usize * 1024;
        let config = StreamableHttpServerConfig::default()
            .with_allowed_hosts(allowed_hosts(exposure.public_url.as_deref()))
            .with_allowed_origins(allowed_origins(exposure.public_url.as_deref(), exposure.origins))
            .enforce_origin_validation()
            .with_json_response(true)
            .with_max_request_body_bytes(max_body)
            .with_cancellation_token(streams.clone());
        let factory = live.clone();
        let mcp = Mcp {
            rmcp: StreamableHttpService::new(
                move || Ok(McpServer::new(factory.clone())),
                Arc::clone(&sessions),
                config,
            ),
            live,
            sessions,
            auth: exposure.auth.clone(),
            calls: calls.clone(),
            listening: listening.clone(),
            max_body,
        };
        let metadata = exposure.auth.as_ref().map(RequireAuthLayer::metadata_service);
        let endpoint = match &exposure.auth {
            Some(layer) => Endpoint::new(Unified(layer.layer(mcp))),
            None => Endpoint::new(mcp),
        };
        Self {
            endpoint,
            metadata,
            calls,
            listening,
            streams,
        }
    }

    /// Ends the streams that only listen, waits for the calls in flight, at most `within`, then ends all streams. Whether every
    /// call ended by itself. Stop accepting connections first.
    pub async fn drain(&self, within: Duration) -> bool {
        self.end_listening();
        self.calls.close();
        let ended = tokio::time::timeout(within, self.calls.wait()).await.is_ok();
        self.streams.cancel();
        ended
    }

    /// Ends the streams on which nothing is answered: clients open them again where the server is then.
    pub(crate) fn end_listening(&self) {
        self.listening.cancel();
    }

    pub(crate) fn end_streams(&self) {
        self.streams.cancel();
    }
}

impl fmt::Debug for RunnerService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunnerService")
            .field("guarded", &self.metadata.is_some())
            .finish_non_exhaustive()
    }
}

impl<B> Service<Request<B>> for RunnerService
where
    B: Body<Data = Bytes> + Send + 'static,
{
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.endpoint.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match request.uri().path() {
            MCP_PATH => {
                let clone = self.endpoint.clone();
                let mut endpoint = std::mem::replace(&mut self.endpoint, clone);
                endpoint.call(request.map(boxed))
            }
            PROTECTED_RESOURCE_PATH if self.metadata.is_some() => {
                let Some(mut metadata) = self.metadata.clone() else {
                    return Box::pin(not_found());
                };
                Box::pin(async move { Ok(metadata.call(request).await?.map(boxed)) })
            }
            _ => Box::pin(not_found()),
        }
    }
}

async fn not_found() -> Result<Response<ResponseBody>, Infallible> {
    Ok(json_error(
        StatusCode::NOT_FOUND,
        "not_found",
        "there is nothing at this path",
    ))
}

/// rmcp's service with what it leaves open.
#[derive(Clone)]
struct Mcp {
    rmcp: StreamableHttpService<McpServer, OwnedSessions>,
    live: Live,
    sessions: Arc<OwnedSessions>,
    auth: Option<RequireAuthLayer>,
    calls: TaskTracker,
    listening: CancellationToken,
    max_body: usize,
}

impl Service<Request<RequestBody>> for Mcp {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move { Ok(this.handle(request).await.unwrap_or_else(|refused| *refused)) })
    }
}

impl Mcp {
    async fn handle(
        self,
        request: Request<RequestBody>,
    ) -> Result<Response<ResponseBody>, Box<Response<ResponseBody>>> {
        let mut request = self.check_scopes(request).await?;
        let principal = Principal::of(request.extensions().get::<AuthInfo>());
        self.check_session(request.method().clone(), request.headers_mut(), &principal)?;
        // A stream that only listens does not hold up a drain. (Those of 2026-07-28 end by themselves, in `mcp.rs`.)
        let listens = request.method() == Method::GET;
        let call = (request.method() == Method::POST).then(|| self.calls.token());
        let until = listens.then(|| Box::pin(self.listening.clone().cancelled_owned()));
        let response = CALLER.scope(principal, self.rmcp.handle(request)).await;
        Ok(response.map(|body| {
            boxed(Tracked {
                body,
                until,
                _call: call,
            })
        }))
    }

    /// The step-up challenge for a tool whose scopes the token lacks: it must be said as a status, before a stream
    /// begins. The tool's name comes from the body, which rmcp compares with `Mcp-Name` where that is due.
    async fn check_scopes(
        &self,
        request: Request<RequestBody>,
    ) -> Result<Request<RequestBody>, Box<Response<ResponseBody>>> {
        let shared = self.live.now();
        let guarded = shared.enforce_scopes && shared.manifest.has_scoped_tools();
        if !guarded || request.method() != Method::POST {
            return Ok(request);
        }
        let (parts, body) = request.into_parts();
        let body = Limited::new(body, self.max_body).collect().await.map_err(|_| {
            json_error(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_large",
                "the request's body is too large or broke off",
            )
        })?;
        let body = body.to_bytes();
        if let Some(name) = called_tool(&body)
            && let Some((_, tool)) = shared.manifest.tool(&name)
            && let auth = parts.extensions.get::<AuthInfo>()
            && !granted(tool.scopes(), auth)
        {
            return Err(Box::new(self.insufficient_scope(tool.scopes(), auth)));
        }
        Ok(Request::from_parts(parts, boxed(Full::new(body))))
    }

    fn insufficient_scope(&self, scopes: &[String], auth: Option<&AuthInfo>) -> Response<ResponseBody> {
        let needed = Scopes::new(scopes.iter().cloned()).unwrap_or_default();
        match (&self.auth, auth) {
            (Some(layer), Some(auth)) => layer.step_up(auth, &needed).map(boxed),
            (Some(layer), None) => layer.insufficient_scope(&needed).map(boxed),
            (None, _) => json_error(
                StatusCode::FORBIDDEN,
                "insufficient_scope",
                "this tool needs scopes, and nothing in front of this server grants any",
            ),
        }
    }

    fn check_session(
        &self,
        method: Method,
        headers: &mut HeaderMap,
        principal: &Principal,
    ) -> Result<(), Box<Response<ResponseBody>>> {
        let stateless = headers
            .get(PROTOCOL_VERSION)
            .and_then(|version| version.to_str().ok())
            .is_some_and(|version| version >= FIRST_STATELESS);
        if stateless {
            // There are no sessions from 2026-07-28 on: an id must not reach one by another way.
            headers.remove(SESSION_ID);
            return Ok(());
        }
        match headers.get(SESSION_ID) {
            Some(id)
                if id
                    .to_str()
                    .is_ok_and(|id| self.sessions.belongs_to(id, principal)) =>
            {
                Ok(())
            }
            Some(_) => Err(Box::new(json_error(
                StatusCode::NOT_FOUND,
                "session_not_found",
                "there is no such session; initialize a new one",
            ))),
            None if method == Method::POST && self.sessions.is_full() => Err(Box::new(json_error(
                StatusCode::SERVICE_UNAVAILABLE,
                "too_many_sessions",
                "the server has no room for another session; try again later",
            ))),
            None => Ok(()),
        }
    }
}

fn boxed<B>(body: B) -> UnsyncBoxBody<Bytes, BodyError>
where
    B: Body<Data = Bytes> + Send + 'static,
{
    body.map_err(|_| BodyError).boxed_unsync()
}

/// `params.name` of a `tools/call`; of a batch, which rmcp refuses, nothing.
fn called_tool(body: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Message {
        method: String,
        params: Option<Params>,
    }
    #[derive(serde::Deserialize)]
    struct Params {
        name: Option<String>,
    }
    let message: Message = serde_json::from_slice(body).ok()?;
    if message.method == "tools/call" {
        message.params?.name
    } else {
        None
    }
}

/// One body type behind the guard and without it.
#[derive(Clone)]
struct Unified<S>(S);

impl<S, B> Service<Request<RequestBody>> for Unified<S>
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
{
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        let answer = self.0.call(request);
        Box::pin(async move { Ok(answer.await?.map(boxed)) })
    }
}

/// A body that counts as a call in flight until its last byte has been taken, or that ends when it is time.
struct Tracked<B> {
    body: B,
    until: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    _call: Option<TaskTrackerToken>,
}

impl<B: Body + Unpin> Body for Tracked<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        if let Some(until) = &mut self.until
            && until.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(None);
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// The public URL's host; on loopback, its other names with the same port.
fn allowed_hosts(public_url: Option<&str>) -> Vec<String> {
    let Some(url) = public_url.and_then(|url| Url::parse(url).ok()) else {
        return LOOPBACK.map(str::to_owned).to_vec();
    };
    let host = url.host_str().unwrap_or_default();
    let with_port = |host: &str| match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    if is_loopback(host) {
        LOOPBACK.iter().map(|host| with_port(host)).collect()
    } else {
        vec![with_port(host)]
    }
}

/// The public URL's origin and the configured ones; on loopback any local page, as the inspectors that developers run.
fn allowed_origins(public_url: Option<&str>, mut origins: Vec<String>) -> Vec<String> {
    let url = public_url.and_then(|url| Url::parse(url).ok());
    match url {
        Some(url) if !url.host_str().is_some_and(is_loopback) => {
            let host = url.host_str().unwrap_or_default();
            let port = url.port_or_known_default().unwrap_or(443);
            origins.push(format!("{}://{host}:{port}", url.scheme()));
        }
        _ => origins.extend(LOOPBACK.iter().map(|host| format!("http://{host}:*"))),
    }
    origins
}

fn is_loopback(host: &str) -> bool {
    LOOPBACK.contains(&host)
}

fn json_error(status: StatusCode, code: &str, description: &str) -> Response<ResponseBody> {
    let body = serde_json::json!({ "error": code, "error_description": description });
    let mut response = Response::new(boxed(Full::new(Bytes::from(body.to_string()))));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
