//! An existing axum service that mounts one spec as an MCP server, behind an authorization server of its own: everything in
//! one process but the sandbox's workers.
//!
//! ```console
//! $ cargo run -p bmm-examples --bin mount_a_spec -- examples/specs/demo.json
//! $ cargo run -- call http://127.0.0.1:8000/tools/mcp text_stats '{"text": "two words"}'
//! ```

use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use axum::routing::get;
use bmm_oauth::{
    Algorithm, AsConfig, AuthorizationServer, BoxError, BoxFuture, Issuer, MemoryStore, RequireAuthLayer,
    ResourceInfo, ResourceUri, Resources, Scopes, Session, SignIn, SigningKeys, Subject, User,
};
use bmm_runner::engine::{CagedEngine, EngineLimits};
use bmm_runner::{Connector, Runner};
use http::request::Parts;

const ADDRESS: &str = "127.0.0.1:8000";

fn main() -> anyhow::Result<()> {
    // The first line, before any thread: the sandbox's workers are this program, started again.
    let launcher = bmm_runner::init();
    let file = std::env::args().nth(1).context("usage: mount_a_spec SPEC")?;

    let (spec, report) = bmm_spec::admit(&std::fs::read(&file).context(file)?)?;
    eprintln!("{report}");
    let spec = spec.compile()?;

    tokio::runtime::Runtime::new()?.block_on(async {
        let issuer: Issuer = format!("http://{ADDRESS}").parse()?;
        let tools: ResourceUri = format!("http://{ADDRESS}/tools/mcp").parse()?;
        let scopes = Scopes::new(["mcp:read"])?;

        let auth = AuthorizationServer::new(
            AsConfig::new(issuer.clone()),
            MemoryStore::new(),
            SigningKeys::create(Algorithm::Es256)?,
            SignIn::session(Arc::new(OnlyUser)),
            Arc::new(OnlyResource {
                uri: tools.clone(),
                scopes,
            }),
        );
        let guard = RequireAuthLayer::new(tools.clone(), issuer, auth.verifier(tools.clone()))
            .with_scopes(["mcp:read"]);
        let engine = CagedEngine::new(&launcher, &spec, EngineLimits::default())?;
        let server = Runner::new(spec, engine)?
            .with_connector(Connector::direct(bmm_net::Dialer::new()))
            .with_public_url(&tools)
            .with_auth(guard.clone())
            .into_service();

        let app = Router::new()
            .route("/", get(|| async { "your own pages" }))
            .nest_service("/tools", server)
            .merge(guard.metadata_router())
            .merge(auth.router());
        let listener = tokio::net::TcpListener::bind(ADDRESS).await.context(ADDRESS)?;
        println!("{}", tools.as_str());
        axum::serve(listener, app).await.context("serving")
    })
}

/// In place of your own sessions: whoever reaches this loopback address is the one user. The consent page still asks.
struct OnlyUser;

impl Session for OnlyUser {
    fn current<'a>(&'a self, _: &'a Parts) -> BoxFuture<'a, Option<User>> {
        let user = User {
            subject: Subject::new("me"),
            display_name: "Me".to_owned(),
        };
        Box::pin(async move { Some(user) })
    }

    fn sign_in_url(&self, _: &str) -> String {
        "/".to_owned()
    }
}

/// In place of your own resources: there is one, and everybody who is signed in may have tokens for it.
struct OnlyResource {
    uri: ResourceUri,
    scopes: Scopes,
}

impl Resources for OnlyResource {
    fn lookup<'a>(
        &'a self,
        asked: &'a ResourceUri,
        _: &'a Subject,
    ) -> BoxFuture<'a, Result<Option<ResourceInfo>, BoxError>> {
        let info = (*asked == self.uri).then(|| ResourceInfo {
            name: "Tools".to_owned(),
            scopes_supported: self.scopes.clone(),
            default_scopes: self.scopes.clone(),
        });
        Box::pin(async move { Ok(info) })
    }
}
