//! An authorization server without users of its own: they sign in at an OpenID Connect provider, after they have said on our page what the
//! application may do. The tokens that they bring are kept, sealed, for use on their behalf.
//!
//! Register `http://127.0.0.1:8000/oauth/callback/corp` as the redirect URI at the provider, then
//!
//! ```console
//! $ OIDC_ISSUER=https://login.example.com OIDC_CLIENT_ID=… OIDC_CLIENT_SECRET=… cargo run -p bmm-examples --bin sign_in_with_oidc
//! $ cargo run -- call http://127.0.0.1:8000/files/mcp whoami '{}'
//! ```

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use axum::routing::post;
use axum::{Extension, Router};
use bmm_oauth::{
    Algorithm, AsConfig, AuthInfo, AuthorizationServer, BoxError, BoxFuture, Issuer, MemoryStore, Oidc,
    RequireAuthLayer, ResourceInfo, ResourceUri, Resources, Scopes, SignIn, SigningKeys, Subject,
};
use bmm_vault::{LocalKek, Vault};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let setting = |name: &str| std::env::var(name).map_err(|_| format!("{name} is not set"));
    let provider = Oidc::new(
        "corp",
        setting("OIDC_ISSUER")?.parse()?,
        setting("OIDC_CLIENT_ID")?,
        setting("OIDC_CLIENT_SECRET")?,
    );
    let file = Path::new("sign_in_with_oidc.key");
    let kek = match file.exists() {
        true => LocalKek::load(file)?,
        false => LocalKek::create(file)?,
    };
    // As the store forgets at the end, the vault may: with SqlStore, keep `vault.wrapped()` beside it.
    let vault = Arc::new(Vault::create(&kek)?);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8000").await?;
    axum::serve(listener, app("http://127.0.0.1:8000", provider, vault)?).await?;
    Ok(())
}

/// The application at `origin`, with users of `provider`, whose tokens are sealed by `vault`.
pub fn app(origin: &str, provider: Oidc, vault: Arc<Vault>) -> Result<Router, Box<dyn Error>> {
    let issuer: Issuer = origin.parse()?;
    let files: ResourceUri = format!("{origin}/files/mcp").parse()?;
    let auth = AuthorizationServer::new(
        AsConfig::new(issuer.clone()),
        MemoryStore::new(), // or SqlStore, which remembers
        SigningKeys::create(Algorithm::Es256)?,
        SignIn::upstreams([provider])?,
        Arc::new(Files(files.clone())),
    )
    .with_upstream_tokens(vault);
    let guard = RequireAuthLayer::new(files.clone(), issuer, auth.verifier(files)).with_scopes(["mcp:read"]);

    // In place of your MCP service: says who calls, and that it could call the provider for them.
    let upstream = auth.clone();
    let whoami = post(move |Extension(caller): Extension<AuthInfo>| async move {
        let token = upstream.upstream_token(caller.subject()).await;
        format!(
            "{} {}",
            caller.subject(),
            token.map_or("no token", |_| "has a token")
        )
    });
    Ok(Router::new()
        .nest("/files", Router::new().route("/mcp", whoami).layer(guard.clone()))
        .merge(guard.metadata_router())
        .merge(auth.router()))
}

/// One resource, for everybody whom the provider lets in.
struct Files(ResourceUri);

impl Resources for Files {
    fn lookup<'a>(
        &'a self,
        asked: &'a ResourceUri,
        _: &'a Subject,
    ) -> BoxFuture<'a, Result<Option<ResourceInfo>, BoxError>> {
        self.describe(asked)
    }

    // There is nothing to hide: the consent page may say it before it is known who asks.
    fn describe<'a>(
        &'a self,
        asked: &'a ResourceUri,
    ) -> BoxFuture<'a, Result<Option<ResourceInfo>, BoxError>> {
        Box::pin(async move {
            let scopes = Scopes::new(["mcp:read"])?;
            let info = ResourceInfo {
                name: "Files".to_owned(),
                scopes_supported: scopes.clone(),
                default_scopes: scopes,
            };
            Ok((*asked == self.0).then_some(info))
        })
    }
}
