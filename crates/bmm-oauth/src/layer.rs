//! The tower layer that lets only authorized requests through to an MCP endpoint, or to any other service.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response, header};
use http_body::Body;
use http_body_util::{Either, Full};
use tower_layer::Layer;
use tower_service::Service;

use crate::bearer::Scheme;
use crate::clock::SystemClock;
use crate::cors;
use crate::dpop::{ALGORITHMS, Dpop};
use crate::events::EventSink;
use crate::guard::Guard;
use crate::issuer::Issuer;
use crate::metadata::protected_resource;
use crate::metadata_service::MetadataService;
use crate::resource_uri::ResourceUri;
use crate::scope::Scopes;
use crate::scope_hierarchy::ScopeHierarchy;
use crate::verifier::{AuthInfo, BoxFuture, Verifier};

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
///
/// A token that is bound to a key (RFC 9449) is refused unless the layer takes proofs ([`with_dpop`](Self::with_dpop)) and the request has one.
#[derive(Clone)]
pub struct RequireAuthLayer(Arc<Guard>);

impl RequireAuthLayer {
    /// Guards `resource` with tokens of `issuer` that `verifier` accepts.
    pub fn new(resource: ResourceUri, issuer: Issuer, verifier: impl Verifier) -> Self {
        Self(Arc::new(Guard {
            resource,
            issuer,
            verifier: Arc::new(verifier),
            scopes: Scopes::empty(),
            hierarchy: ScopeHierarchy::default(),
            dpop: None,
            events: None,
            clock: Arc::new(SystemClock),
        }))
    }

    /// Requires these scopes of every request; the metadata lists them.
    ///
    /// # Panics
    /// If one is not a `scope-token` (RFC 6749 section 3.3).
    pub fn with_scopes<I: IntoIterator<Item = S>, S: Into<String>>(self, scopes: I) -> Self {
        let scopes =
            Scopes::new(scopes).expect("scopes are printable ASCII without blanks, quotes and backslashes");
        self.change(|guard| guard.scopes = scopes)
    }

    /// Some scopes include others.
    pub fn with_scope_hierarchy(self, hierarchy: ScopeHierarchy) -> Self {
        self.change(|guard| guard.hierarchy = hierarchy)
    }

    /// Takes tokens that are bound to a key, with their proofs.
    pub fn with_dpop(self, dpop: Dpop) -> Self {
        self.change(|guard| guard.dpop = Some(dpop))
    }

    /// Tells `events` of every token that is refused here. Requests without a token, and those let in, are not told.
    pub fn with_events(self, events: impl EventSink) -> Self {
        self.change(|guard| guard.events = Some(Arc::new(events)))
    }

    fn change(mut self, change: impl FnOnce(&mut Guard)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// The RFC 9728 document of the resource.
    pub fn metadata(&self) -> serde_json::Value {
        let mut document = protected_resource(&self.0.resource, &self.0.issuer, &self.0.scopes);
        if let (Some(dpop), Some(members)) = (&self.0.dpop, document.as_object_mut()) {
            members.insert(
                "dpop_signing_alg_values_supported".to_owned(),
                ALGORITHMS.to_vec().into(),
            );
            if dpop.is_required() {
                members.insert("dpop_bound_access_tokens_required".to_owned(), true.into());
            }
        }
        document
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

    /// The answer to an authorized request that needs more than its token covers: 403 with all scopes at once, those it has and
    /// those the operation needs, for the client to step up to (MCP authorization, "Scope Challenge Handling").
    pub fn step_up(&self, auth: &AuthInfo, needed: &Scopes) -> Response<Full<Bytes>> {
        let scheme = match auth.bound_to() {
            Some(_) => Scheme::Dpop,
            None => Scheme::Bearer,
        };
        self.0.insufficient_scope(scheme, auth.scopes(), needed)
    }

    /// Like [`step_up`](Self::step_up), where it is not known what the token has.
    pub fn insufficient_scope(&self, needed: &Scopes) -> Response<Full<Bytes>> {
        self.0
            .insufficient_scope(Scheme::Bearer, &Scopes::empty(), needed)
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
                    parts.headers.remove("dpop");
                    parts.extensions.insert(info);
                    inner
                        .call(Request::from_parts(parts, body))
                        .await?
                        .map(Either::Right)
                }
                Err(answer) => (*answer).map(Either::Left),
            };
            guard.give_nonce(response.headers_mut());
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
