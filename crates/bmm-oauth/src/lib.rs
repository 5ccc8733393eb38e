//! OAuth 2.1 for MCP servers, and for anything else that speaks HTTP: a resource server (always) and an authorization server
//! (feature `server`, with SQLite and PostgreSQL in `sql`) as tower services and layers.
//!
//! Without features this is the resource server alone: [`RequireAuthLayer`] around any tower service, the RFC 9728 document,
//! and a strict [`Verifier`] for RFC 9068 access tokens whose keys come from a JWK Set. With `server` it also issues them:
//! metadata (RFC 8414), registration (RFC 7591), authorization code with PKCE and consent, refresh tokens that rotate.
//!
//! ```
//! # #[cfg(feature = "server")] mod program {
//! use std::sync::Arc;
//!
//! use axum::{Extension, Router, routing::get};
//! use bmm_oauth::*;
//! use http::request::Parts;
//!
//! /// Who is signed in: your own session.
//! struct MySession;
//! impl Session for MySession {
//!     fn current<'a>(&'a self, request: &'a Parts) -> BoxFuture<'a, Option<User>> {
//!         let user = request.headers.get("x-user").and_then(|name| name.to_str().ok());
//!         let user = user.map(|name| User { subject: Subject::new(name), display_name: name.to_owned() });
//!         Box::pin(async move { user })
//!     }
//!     fn sign_in_url(&self, return_to: &str) -> String {
//!         format!("/login?{}", form_urlencoded::Serializer::new(String::new()).append_pair("next", return_to).finish())
//!     }
//! }
//!
//! /// What tokens are for, and who may have them.
//! struct OneResource(ResourceUri);
//! impl Resources for OneResource {
//!     fn lookup<'a>(&'a self, asked: &'a ResourceUri, _: &'a Subject) -> BoxFuture<'a, Result<Option<ResourceInfo>, BoxError>> {
//!         let scopes = Scopes::new(["files:read"]).expect("a scope");
//!         let info = ResourceInfo { name: "Files".into(), scopes_supported: scopes.clone(), default_scopes: scopes };
//!         Box::pin(async move { Ok((*asked == self.0).then_some(info)) })
//!     }
//! }
//!
//! pub fn app() -> Result<Router, Box<dyn std::error::Error>> {
//!     let issuer: Issuer = "https://mcp.example.com".parse()?;
//!     let files: ResourceUri = "https://mcp.example.com/files/mcp".parse()?;
//!     let auth = AuthorizationServer::new(
//!         AsConfig::new(issuer.clone()),
//!         MemoryStore::new(),                               // or SqlStore
//!         SigningKeys::create(Algorithm::Es256)?,           // or SigningKeys::load_or_create(&vault, &store)
//!         SignIn::session(Arc::new(MySession)),
//!         Arc::new(OneResource(files.clone())),
//!     );
//!     let guard = RequireAuthLayer::new(files.clone(), issuer, auth.verifier(files)).with_scopes(["files:read"]);
//!     let whoami = get(|Extension(auth): Extension<AuthInfo>| async move { auth.subject().to_string() });
//!     let service = Router::new().route("/mcp", whoami).layer(guard.clone());
//!     Ok(Router::new().nest("/files", service).merge(guard.metadata_router()).merge(auth.router()))
//! }
//! # }
//! # #[cfg(feature = "server")] program::app().unwrap();
//! ```
//!
//! # What you supply
//!
//! How users sign in (the host's `Session`, or upstreams: `Oidc`, `Google`, `GitHub`, `Forgejo`), what may be accessed by whom
//! (`Resources`), the issuer and the resources as configuration, TLS in front, limits on how long a request may take, and, for a verifier in
//! another process, the functions that fetch keys ([`JwksVerifier`]) and revocations ([`RevocationFeed`]), or ask about a token
//! ([`IntrospectionVerifier`]).
//!
//! # What it defends
//!
//! Tokens are judged by `typ`, `iss`, `aud`, times and one algorithm per key; a token for another resource is no token, and one that
//! is bound to a key is none without a proof of it (RFC 9449). The service behind the layer never sees the token. Codes and refresh tokens are
//! used up in one atomic step of the store and kept as hashes; a reused code, and
//! a spent refresh token that comes back after 30 s, end their grant; before, the same request gets the same answer. Redirects happen only to registered, safe, exactly matching URIs. The
//! consent page runs no script, cannot be framed, and its answer is bound to page, browser and user. It comes before any
//! upstream; the upstream's answer counts once, at its own callback, in the browser that consented, and its ID token is judged as strictly as our
//! own tokens. What users bring from an upstream is kept sealed, or not at all. `tests/it/attacks*.rs` replay each attack.
//!
//! # What it leaves to you
//!
//! A verifier in another process learns of a revoked grant within seconds if it follows the feed, and otherwise when the access token expires
//! (an hour by default). Proofs that a resource has seen are remembered by its process; nonces ([`Dpop::with_nonces`]) narrow what replicas cannot
//! see of each other. Limits hold for each process, and for each address where the host says it ([`ClientAddress`]); replicas do not add them up. With upstreams there is no session: users consent, and sign in there,
//! each time an application asks.

/// The program in README.md compiles.
#[cfg(all(doctest, feature = "server"))]
#[doc = include_str!("../README.md")]
struct Readme;

mod absolute_uri;
mod access_token;
mod algorithm;
mod bearer;
mod challenge;
mod clock;
mod compact_jws;
mod cors;
mod dpop;
mod events;
mod guard;
mod introspection;
mod issuer;
#[cfg(feature = "server")]
mod json_object;
mod jwk;
mod jwks;
mod key_set;
mod layer;
mod metadata;
mod metadata_service;
mod remote_keys;
mod resource_uri;
mod revocation_feed;
mod scope;
mod scope_hierarchy;
#[cfg(feature = "server")]
mod server;
mod sha256;
mod strict_json;
mod token_cache;
mod tool_scopes;
mod verifier;

pub use absolute_uri::UriError;
pub use algorithm::Algorithm;
pub use clock::{Clock, ManualClock, SystemClock, Timestamp};
pub use dpop::{Dpop, DpopNonces};
pub use events::{ClientAddress, Event, EventKind, EventSink, Outcome, TracingEvents};
pub use introspection::{Introspect, IntrospectionVerifier};
pub use issuer::Issuer;
pub use jwk::Thumbprint;
pub use jwks::JwksVerifier;
pub use layer::{GuardedBody, RequireAuth, RequireAuthLayer};
pub use metadata::{
    AUTHORIZATION_SERVER_PATH, PROTECTED_RESOURCE_PATH, authorization_server_path, metadata_path,
    metadata_url,
};
pub use metadata_service::MetadataService;
pub use remote_keys::FetchJwks;
pub use resource_uri::ResourceUri;
pub use revocation_feed::{FetchRevocations, RevocationFeed};
pub use scope::{ScopeError, Scopes};
pub use scope_hierarchy::ScopeHierarchy;
#[cfg(feature = "server")]
pub use server::{
    Arrival, ClientSecret, Forgejo, GitHub, Google, Oidc, OnArrival, SendUpstream, SignInAttempt,
    SignInError, Upstream, UpstreamAnswer, UpstreamError, UpstreamResult, UpstreamTokens, UpstreamUser,
};
#[cfg(feature = "server")]
pub use server::{
    AsConfig, AuthorizationCode, AuthorizationRequest, AuthorizationServer, Client, ClientAuthMethod,
    ClientMetadata, Grant, GrantType, GrantTypes, IdentityProvider, KeyError, LocalVerifier, MemoryStore,
    NewRefresh, Once, OnceKind, PROBE_CLIENT_ID, Redemption, RefreshToken, Replay, ResourceInfo, Resources,
    Revocations, RevokedGrant, Rotation, SecretHash, Session, SignIn, SigningKeys, Store, StoreError,
    StoreResult, User, store_contract,
};
#[cfg(feature = "server")]
pub use server::{
    ConsentHtml, ConsentPage, ConsentView, ConsentWarning, PlainConsentPage, RedirectTarget, ScopeView,
    UpstreamToken, UpstreamTokenError, UpstreamTokenRow, UpstreamTokenStore, escape_html,
};
#[cfg(feature = "sql")]
pub use server::{SqlStore, sealed_columns};
pub use tool_scopes::{MissingScopes, ToolScopes};
pub use verifier::{AuthInfo, BoxError, BoxFuture, Subject, Verifier, VerifyError};
