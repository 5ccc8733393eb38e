//! Who may use what: each organisation has a server of its own, and only its members get tokens for it. The authorization server asks when
//! a user signs in, and again at every refresh.
//!
//! ```console
//! $ GITHUB_CLIENT_ID=… GITHUB_CLIENT_SECRET=… cargo run -p bmm-examples --bin organisations
//! ```

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::Context as _;
use axum::Router;
use bmm_oauth::{
    Algorithm, AsConfig, AuthorizationServer, BoxError, BoxFuture, GitHub, MemoryStore, ResourceInfo,
    ResourceUri, Resources, Scopes, SignIn, SigningKeys, Subject,
};

const ORIGIN: &str = "http://127.0.0.1:8000";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let organisations = Arc::new(Organisations::default());
    // Subjects of an upstream are its issuer and its number for the user: a login name can be taken by somebody else.
    let octocat = Subject::new("https://github.com/login/oauth#583231");
    organisations.join("acme", octocat.clone(), Role::Owner);
    organisations.join("guild", octocat, Role::Member);

    let setting = |name: &'static str| std::env::var(name).context(name);
    let github = GitHub::new(setting("GITHUB_CLIENT_ID")?, setting("GITHUB_CLIENT_SECRET")?);
    let auth = AuthorizationServer::new(
        AsConfig::new(ORIGIN.parse()?),
        MemoryStore::new(),
        SigningKeys::create(Algorithm::Es256)?,
        SignIn::upstreams([github])?,
        organisations,
    );
    // Each server stands behind a RequireAuthLayer for its own URL: see embed_as.
    let app = Router::new().merge(auth.router());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8000").await?;
    axum::serve(listener, app).await.context("serving")
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Member,
    Owner,
}

/// In place of your database: roles by organisation and user.
#[derive(Default)]
struct Organisations(RwLock<HashMap<(String, Subject), Role>>);

impl Organisations {
    fn join(&self, organisation: &str, user: Subject, role: Role) {
        let mut roles = self.0.write().unwrap_or_else(PoisonError::into_inner);
        roles.insert((organisation.to_owned(), user), role);
    }

    fn role(&self, organisation: &str, user: &Subject) -> Option<Role> {
        let roles = self.0.read().unwrap_or_else(PoisonError::into_inner);
        roles.get(&(organisation.to_owned(), user.clone())).copied()
    }
}

impl Resources for Organisations {
    /// `<ORIGIN>/<organisation>/mcp`, for members. A server of others and one that does not exist get the same answer; a database that
    /// does not answer is an error, so that nobody takes it for a no.
    fn lookup<'a>(
        &'a self,
        asked: &'a ResourceUri,
        user: &'a Subject,
    ) -> BoxFuture<'a, Result<Option<ResourceInfo>, BoxError>> {
        Box::pin(async move {
            let path = asked
                .as_str()
                .strip_prefix(ORIGIN)
                .and_then(|path| path.strip_prefix('/'));
            let Some(organisation) = path.and_then(|path| path.strip_suffix("/mcp")) else {
                return Ok(None);
            };
            let scopes: &[&str] = match self.role(organisation, user) {
                Some(Role::Owner) => &["mcp:read", "mcp:write"],
                Some(Role::Member) => &["mcp:read"],
                None => return Ok(None),
            };
            Ok(Some(ResourceInfo {
                name: organisation.to_owned(),
                scopes_supported: Scopes::new(scopes.iter().copied())?,
                default_scopes: Scopes::new(["mcp:read"])?,
            }))
        })
    }
}
