//! The tower layer that lets only authorized requests through to an MCP endpoint, or to any other service.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body::Body;
use http_body_util::{Either, Full};
use tower_layer::Layer;
use tower_service::Service;

use crate::bearer::{Presented, presented};
use crate::challenge::{Refusal, challenge};
use crate::cors;
use crate::issuer::Issuer;
use crate::metadata::protected_resource;
use crate::metadata_service::MetadataService;
use crate::resource_uri::ResourceUri;
use crate::scope::Scopes;
use crate::verifier::{AuthInfo, BoxFuture, Verifier, VerifyError};

/// The body of a guarded service's answer: the guard's own, or the service's.
pub type GuardedBody<B> = Either<Full<Bytes>, B>;

/// Guards a service with access tokens (RFC 6750) for one resource.
///
/// A request without a valid token is answered 401, one whose token lacks a scope 403, each with the challenge from which MCP
/// clients discover the authorization server (RFC 9728 section 5.1). CORS preflights are answered first. What passes carries
/// [`AuthInfo`] in its extensions and no longer carries its `Authorization` header, so that the service cannot pass the token on.
///
/// The layer looks at nothing but the token before the service is called, so even a GET that the service does not know is
/// answered 401; put it around the whole service, not on a route.
#[derive(Clone)]
pub struct RequireAuthLayer(Arc<Guard>);

struct Guard {
    resource: ResourceUri,
    issuer: Issuer,
    verifier: Arc<dyn Verifier>,
    scopes: Scopes,
}

impl RequireAuthLayer {
    /// Guards `resource` with tokens of `issuer` that `verifier` accepts.
    pub fn new(resource: ResourceUri, issuer: Issuer, verifier: impl Verifier) -> Self {
        Self(Arc::new(Guard {
            resource,
            issuer,
            verifier: Arc::new(verifier),
            scopes: Scopes::empty(),
        }))
    }

    /// Requires these scopes of every request; the metadata lists them.
    ///
    /// # Panics
    /// If one is not a `scope-token` (RFC 6749 section 3.3).
    pub fn with_scopes<I: IntoIterator<Item = S>, S: Into<String>>(self, scopes: I) -> Self {
        let scopes =
            Scopes::new(scopes).expect("scopes are printable ASCII without blanks, quotes and backslashes");
        let Guard {
            resource,
            issuer,
            verifier,
            ..
        } = &*self.0;
        Self(Arc::new(Guard {
            resource: resource.clone(),
            issuer: issuer.clone(),
            verifier: Arc::clone(verifier),
            scopes,
        }))
    }

    /// The RFC 9728 document of the resource.
    pub fn metadata(&self) -> serde_json::Value {
        protected_resource(&self.0.resource, &self.0.issuer, &self.0.scopes)
    }

    /// A service that answers with [`metadata`](Self::metadata), for the path [`metadata_path`](crate::metadata_path) at the root of
    /// the host (or for `/.well-known/oauth-protected-resource` behind a router that rewrites).
    pub fn metadata_service(&self) -> MetadataService {
        MetadataService::new(&self.metadata())
    }

    /// A router that serves [`metadata`](Self::metadata) at its path, to be merged into the application's.
    #[cfg(feature = "server")]
    pub fn metadata_router(&self) -> axum::Router {
        axum::Router::new().route_service(&crate::metadata_path(&self.0.resource), self.metadata_service())
    }

    /// The answer to an authorized request that needs more than its token covers: 403 with all scopes of the operation, for the
    /// client to step up to (MCP authorization, "Scope Challenge Handling").
    pub fn insufficient_scope(&self, needed: &Scopes) -> Response<Full<Bytes>> {
        self.0
            .refuse(Refusal::InsufficientScope, &self.0.scopes.union(needed))
    }
}

impl<S> Layer<S> for RequireAuthLayer {
    type Service = RequireAuth<S>;

    fn layer(&self, inner: S) -> RequireAuth<S> {
        RequireAuth {
            guard: Arc::clone(&self.0),
            inner,
        }
    }
}

impl fmt::Debug for RequireAuthLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequireAuthLayer")
            .field("resource", &self.0.resource)
            .finish_non_exhaustive()
    }
}

/// The guarded service; see [`RequireAuthLayer`].
#[derive(Clone)]
pub struct RequireAuth<S> {
    guard: Arc<Guard>,
    inner: S,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for RequireAuth<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: 'static,
    ReqBody: Send + 'static,
    ResBody: Body<Data = Bytes>,
{
    type Response = Response<GuardedBody<ResBody>>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let guard = Arc::clone(&self.guard);
        // The instance that was polled ready is the one to call.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        // Apart from its body, so that the body need not be `Sync`.
        let (mut parts, body) = request.into_parts();
        Box::pin(async move {
            let from_page = parts.headers.contains_key(header::ORIGIN);
            let mut response = match guard.admit(&parts).await {
                Ok(info) => {
                    parts.headers.remove(header::AUTHORIZATION);
                    parts.extensions.insert(info);
                    inner
                        .call(Request::from_parts(parts, body))
                        .await?
                        .map(Either::Right)
                }
                Err(answer) => (*answer).map(Either::Left),
            };
            if from_page
                && !response
                    .headers()
                    .contains_key(header::ACCESS_CONTROL_ALLOW_METHODS)
            {
                cors::expose_mcp(response.headers_mut());
            }
            Ok(response)
        })
    }
}

impl Guard {
    /// The caller's identity, or the answer that ends the request here.
    async fn admit(&self, request: &Parts) -> Result<AuthInfo, Box<Response<Full<Bytes>>>> {
        if cors::is_preflight(&request.method, &request.headers) {
            let mut response = Response::new(Full::default());
            *response.status_mut() = StatusCode::NO_CONTENT;
            cors::mcp_preflight(&request.headers, response.headers_mut());
            return Err(Box::new(response));
        }
        let refuse = |refusal| Err(Box::new(self.refuse(refusal, &self.scopes)));
        let token = match presented(&request.headers, &request.uri) {
            Presented::Token(token) => token.to_owned(),
            Presented::Nothing => return refuse(Refusal::NoToken),
            Presented::Malformed => return refuse(Refusal::MalformedRequest),
        };
        match self.verifier.verify(&token).await {
            Ok(info) if info.resource != self.resource || info.issuer != self.issuer => {
                // The verifier was made for something else: refuse rather than trust the wiring.
                tracing::error!(resource = %self.resource, verified_for = %info.resource, "verifier of another resource");
                refuse(Refusal::InvalidToken)
            }
            Ok(info) if info.scopes.covers(&self.scopes) => Ok(info),
            Ok(_) => refuse(Refusal::InsufficientScope),
            Err(VerifyError::Invalid(reason)) => {
                tracing::debug!(resource = %self.resource, reason, "access token refused");
                refuse(Refusal::InvalidToken)
            }
            Err(VerifyError::Unavailable(error)) => {
                tracing::warn!(resource = %self.resource, %error, "access tokens cannot be verified");
                Err(Box::new(unavailable()))
            }
        }
    }

    fn refuse(&self, refusal: Refusal, scopes: &Scopes) -> Response<Full<Bytes>> {
        let code = refusal.code().unwrap_or("unauthorized");
        let mut response = json_error(refusal.status(), code, refusal.description());
        response.headers_mut().insert(
            header::WWW_AUTHENTICATE,
            challenge(refusal, &self.resource, scopes),
        );
        response
    }
}

fn unavailable() -> Response<Full<Bytes>> {
    let description = "access tokens cannot be verified now, try again";
    let mut response = json_error(
        StatusCode::SERVICE_UNAVAILABLE,
        "temporarily_unavailable",
        description,
    );
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    response
}

fn json_error(status: StatusCode, code: &str, description: &str) -> Response<Full<Bytes>> {
    let body = serde_json::json!({ "error": code, "error_description": description });
    let mut response = Response::new(Full::from(body.to_string()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
