//! An OAuth 2.1 authorization server beside the routes of an existing axum application, which has users and sessions of its own.
//!
//! ```console
//! $ cargo run -p bmm-examples --bin embed_as
//! $ curl http://127.0.0.1:8000/.well-known/oauth-authorization-server
//! ```

use std::sync::Arc;

use anyhow::Context as _;
use axum::routing::get;
use axum::{Extension, Router};
use bmm_oauth::{
    Algorithm, AsConfig, AuthInfo, AuthorizationServer, BoxError, BoxFuture, Issuer, MemoryStore,
    RequireAuthLayer, ResourceInfo, ResourceUri, Resources, Scopes, Session, SignIn, SigningKeys, Subject,
    User,
};
use http::header;
use http::request::Parts;

const ORIGIN: &str = "http://127.0.0.1:8000";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let issuer: Issuer = ORIGIN.parse()?;
    let notes: ResourceUri = format!("{ORIGIN}/notes/mcp").parse()?;
    let auth = AuthorizationServer::new(
        AsConfig::new(issuer.clone()),
        MemoryStore::new(), // or SqlStore, which remembers
        SigningKeys::create(Algorithm::Es256)?,
        SignIn::session(Arc::new(Cookies)),
        Arc::new(Notes(notes.clone())),
    );
    let guard =
        RequireAuthLayer::new(notes.clone(), issuer, auth.verifier(notes)).with_scopes(["notes:read"]);
    let mcp =
        get(|Extension(auth): Extension<AuthInfo>| async move { format!("notes of {}", auth.subject()) });

    let app = Router::new()
        .route("/", get(|| async { "your own pages" }))
        .route(
            "/login",
            get(|| async { ([(header::SET_COOKIE, "user=ada; HttpOnly")], "You are ada now.") }),
        )
        .nest("/notes", Router::new().route("/mcp", mcp).layer(guard.clone()))
        .merge(guard.metadata_router())
        .merge(auth.router());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8000").await?;
    axum::serve(listener, app).await.context("serving")
}

/// In place of your sessions: a cookie that says who somebody is. Yours is not so easily made up.
struct Cookies;

impl Session for Cookies {
    fn current<'a>(&'a self, request: &'a Parts) -> BoxFuture<'a, Option<User>> {
        let cookie = request
            .headers
            .get(header::COOKIE)
            .and_then(|value| value.to_str().ok());
        let name = cookie.and_then(|cookies| cookies.split("; ").find_map(|pair| pair.strip_prefix("user=")));
        let user = name.map(|name| User {
            subject: Subject::new(name),
            display_name: name.to_owned(),
        });
        Box::pin(async move { user })
    }

    // Yours brings the user back to `return_to` when they have signed in.
    fn sign_in_url(&self, _return_to: &str) -> String {
        "/login".to_owned()
    }
}

/// What tokens are for, and who may have them: everybody who is signed in.
struct Notes(ResourceUri);

impl Resources for Notes {
    fn lookup<'a>(
        &'a self,
        asked: &'a ResourceUri,
        _: &'a Subject,
    ) -> BoxFuture<'a, Result<Option<ResourceInfo>, BoxError>> {
        Box::pin(async move {
            let scopes = Scopes::new(["notes:read"])?;
            let info = ResourceInfo {
                name: "Notes".to_owned(),
                scopes_supported: scopes.clone(),
                default_scopes: scopes,
            };
            Ok((*asked == self.0).then_some(info))
        })
    }
}
