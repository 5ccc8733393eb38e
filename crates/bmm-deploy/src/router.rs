//! The built-in reverse proxy: from a public path to a server's socket.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER,
};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tower_service::Service;

use crate::chain::chain;
use crate::forward::{
    destination, is_plain_query, keep_from_server, keep_to_server, remove_claims, remove_hop_by_hop,
};
use crate::routes::Routes;
use crate::upstream::BoxError;

/// A tower service that leads requests to servers by their slug.
///
/// - `/<slug>/…` goes to the server without its prefix.
/// - `/.well-known/oauth-protected-resource/<slug>/mcp` goes to the server's own `/.well-known/oauth-protected-resource`.
/// - Everything else is a 404 as JSON, so mount your own routes first and this as the fallback.
///
/// Bodies stream in both directions as they come. A request is sent at most once: while a server is being restarted it
/// waits for the connection, but what may have reached a server is never repeated. All servers and the site's own pages share one
/// origin: a server sees none of its cookies, and sets nothing (cookies, `Strict-Transport-Security`, `Clear-Site-Data`) that would hold
/// beyond itself.
#[derive(Clone, Debug)]
pub struct RouterService {
    routes: Routes,
    answer_timeout: Duration,
}

impl RouterService {
    /// Leads to `routes`, with five minutes for an answer to begin.
    pub fn new(routes: Routes) -> Self {
        Self {
            routes,
            answer_timeout: Duration::from_secs(300),
        }
    }

    /// How long a server may take until its answer *begins*; a stream may then last as long as it likes.
    pub fn with_answer_timeout(mut self, timeout: Duration) -> Self {
        self.answer_timeout = timeout;
        self
    }

    /// Answers one request.
    pub async fn handle<B>(&self, request: Request<B>) -> Response<RouterBody>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        self.forward(request).await.unwrap_or_else(Refusal::into_response)
    }

    async fn forward<B>(&self, request: Request<B>) -> Result<Response<RouterBody>, Refusal>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let (mut parts, body) = request.into_parts();
        let to = destination(parts.uri.path()).ok_or(Refusal::NotFound)?;
        // Nobody is connected to anything through here.
        if parts.method == Method::CONNECT || !parts.uri.query().is_none_or(is_plain_query) {
            return Err(Refusal::NotFound);
        }
        let (upstream, unanswered) = self.routes.enter(to.slug).ok_or(Refusal::NotFound)?;
        let slug = to.slug.to_owned();
        let uri = inner_uri(to.path, parts.uri.query()).ok_or(Refusal::NotFound)?;
        let place = upstream.place().ok_or(Refusal::Busy)?;

        remove_hop_by_hop(&mut parts.headers);
        remove_claims(&mut parts.headers);
        keep_from_server(&mut parts.headers);
        keep_host(&mut parts.headers, &parts.uri);
        let mut request = Request::new(body.map_err(Into::into).boxed_unsync());
        *request.method_mut() = parts.method;
        *request.uri_mut() = uri;
        *request.version_mut() = Version::HTTP_11;
        *request.headers_mut() = parts.headers;

        let answer = tokio::select! {
            answer = timeout(self.answer_timeout, upstream.send(request)) => answer,
            () = upstream.away() => return Err(Refusal::Away),
        };
        drop(unanswered);
        let answer = match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                let error_text = chain(&error);
                tracing::warn!(slug, error = error_text, "no answer from the server");
                return Err(if error.is_connect() {
                    Refusal::Away
                } else {
                    Refusal::Broken
                });
            }
            Err(_) => return Err(Refusal::TooSlow),
        };
        let (mut parts, body) = answer.into_parts();
        remove_hop_by_hop(&mut parts.headers);
        keep_to_server(&mut parts.headers);
        parts.version = Version::HTTP_11;
        parts.extensions.clear();
        Ok(Response::from_parts(
            parts,
            RouterBody {
                content: Content::Streamed { body, _place: place },
            },
        ))
    }
}

impl<B> Service<Request<B>> for RouterService
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<RouterBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let router = self.clone();
        Box::pin(async move { Ok(router.handle(request).await) })
    }
}

/// The body of an answer: the server's, streamed, or a short refusal.
pub struct RouterBody {
    content: Content,
}

enum Content {
    Streamed {
        body: Incoming,
        _place: OwnedSemaphorePermit,
    },
    Whole(Full<Bytes>),
}

impl Body for RouterBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.content {
            Content::Streamed { body, .. } => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Content::Whole(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Streamed { body, .. } => body.is_end_stream(),
            Content::Whole(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Streamed { body, .. } => body.size_hint(),
            Content::Whole(body) => body.size_hint(),
        }
    }
}

impl fmt::Debug for RouterBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouterBody").finish_non_exhaustive()
    }
}

/// Why the router answers by itself.
#[derive(Debug, Clone, Copy)]
enum Refusal {
    NotFound,
    Busy,
    Away,
    Broken,
    TooSlow,
}

impl Refusal {
    fn into_response(self) -> Response<RouterBody> {
        let (status, error, message, retry_after) = match self {
            Self::NotFound => (
                StatusCode::NOT_FOUND,
                "not_found",
                "there is no server at this address",
                None,
            ),
            Self::Busy => (
                StatusCode::SERVICE_UNAVAILABLE,
                "busy",
                "the server has too many calls under way",
                Some("1"),
            ),
            Self::Away => (
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "the server is not running; it is being restarted",
                Some("5"),
            ),
            Self::Broken => (
                StatusCode::BAD_GATEWAY,
                "bad_gateway",
                "the server ended before it answered; the call may have had an effect",
                Some("1"),
            ),
            Self::TooSlow => (
                StatusCode::GATEWAY_TIMEOUT,
                "timeout",
                "the server did not answer in time",
                None,
            ),
        };
        let json = serde_json::json!({ "error": error, "message": message }).to_string();
        let mut response = Response::new(RouterBody {
            content: Content::Whole(Full::from(json)),
        });
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        // To a page in a browser an answer without it looks like a broken network.
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        if let Some(seconds) = retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from_static(seconds));
        }
        response
    }
}

/// The authority is a placeholder: the connector knows one socket only, and the `Host` header stays the client's.
fn inner_uri(path: &str, query: Option<&str>) -> Option<Uri> {
    let path_and_query = match query {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    Uri::builder()
        .scheme("http")
        .authority("server.invalid")
        .path_and_query(path_and_query)
        .build()
        .ok()
}

/// In HTTP/2 and in the absolute form of HTTP/1.1 the host is in the URI, and there it counts (RFC 9112 section 3.2.2).
fn keep_host(headers: &mut HeaderMap, uri: &Uri) {
    if let Some(host) = uri
        .authority()
        .and_then(|authority| HeaderValue::from_str(authority.as_str()).ok())
    {
        headers.insert(HOST, host);
    }
}
