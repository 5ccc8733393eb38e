//! An MCP endpoint (or any tower service) that takes tokens of an authorization server elsewhere: the resource server alone.
//!
//! ```console
//! $ cargo run -p bmm-examples --bin protect_mcp -- https://auth.example.com https://auth.example.com/oauth/jwks
//! $ curl -i -X POST http://127.0.0.1:8000/mcp
//! ```

use std::sync::Arc;

use anyhow::Context as _;
use axum::routing::post;
use axum::{Extension, Router};
use bmm_net::{FetchLimits, Fetcher};
use bmm_oauth::{
    AuthInfo, BoxError, FetchJwks, Issuer, JwksVerifier, MetadataService, RequireAuthLayer, ResourceUri,
};
use bytes::Bytes;

const PUBLIC_URL: &str = "http://127.0.0.1:8000/mcp";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (issuer, jwks) = arguments
        .next()
        .zip(arguments.next())
        .context("usage: protect_mcp ISSUER JWKS_URL")?;
    let issuer: Issuer = issuer.parse()?;
    let resource: ResourceUri = PUBLIC_URL.parse()?;

    let verifier = JwksVerifier::new(issuer.clone(), resource.clone(), fetch(jwks));
    let guard = RequireAuthLayer::new(resource, issuer, verifier).with_scopes(["mcp:read"]);

    // In place of your MCP service. It never sees the token, only what it says.
    let mcp = post(|Extension(auth): Extension<AuthInfo>| async move {
        format!(
            "{} by {} may {}\n",
            auth.subject(),
            auth.client_id(),
            auth.scopes()
        )
    });
    let document: MetadataService = guard.metadata_service();
    let app = Router::new()
        .route("/mcp", mcp)
        .layer(guard)
        // Where a client looks that was refused (RFC 9728): the well-known path, with the resource's own behind it.
        .route_service("/.well-known/oauth-protected-resource/mcp", document);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8000").await?;
    axum::serve(listener, app).await.context("serving")
}

/// The keys of the authorization server. bmm-oauth dials nothing by itself here; this is bmm-net's client, bounded and for public hosts only.
fn fetch(url: String) -> FetchJwks {
    let fetcher = Fetcher::new();
    Arc::new(move || {
        let (fetcher, request) = (fetcher.clone(), http::Request::get(&url).body(Bytes::new()));
        Box::pin(async move {
            let response = fetcher.fetch(request?, FetchLimits::default()).await?;
            match response.status().is_success() {
                true => Ok(response.into_body()),
                false => Err(BoxError::from(format!("status {}", response.status()))),
            }
        })
    })
}
