//! The wiring: the whole system on one page.
//!
//! ```text
//! request -> id, log -> Host check -> /, /login, /api …   pages and API (`web`), by session
//!                                  -> /oauth, /.well-known authorization server (`bmm-oauth`)
//!                                  -> everything else      router (`bmm-deploy`) -> socket of a server's runner
//! ```
//!
//! A runner gets its configuration from [`Deploys`], its way out from the egress proxy, and the keys to check tokens with
//! from the same proxy, which asks the authorization server here.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::{Router, middleware};
use bmm_cage::Launcher;
use bmm_deploy::{
    Deployer, EgressProxy, ProcessRuntime, PublicSockets, RouterService, Routes, Runtime, Site,
};
use bmm_net::{Dialer, Fetcher};
use bmm_oauth::{AsConfig, AuthorizationServer, SignIn, SigningKeys};
use bmm_oauth::{Clock, Issuer, SystemClock};
use bmm_runner::RUNNER_ROLE;

use crate::browser_guard::{self, HostGuard};
use crate::containers::Containers;
use crate::data_dir::DataDir;
use crate::deploy::{Deploys, HealthProbe, SmokeCalls};
use crate::public_url::PublicUrl;
use crate::resources::StoredServers;
use crate::secrets::SecretStore;
use crate::session::Sessions;
use crate::storage::Storage;
use crate::{telemetry, web};

/// Everything that `bmm up` runs.
pub(crate) struct App {
    pub(crate) storage: Storage,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) authorization_server: AuthorizationServer,
    pub(crate) deploys: Arc<Deploys>,
    pub(crate) routes: Routes,
    pub(crate) router: Router,
}

/// What runs the servers.
pub(crate) enum RunsOn<'a> {
    /// Caged child processes.
    Processes(Launcher),
    /// Containers.
    Containers(&'a Containers),
}

impl App {
    /// Builds all parts over a data directory. Nothing is deployed yet.
    pub(crate) async fn build(
        dir: &DataDir,
        public_url: &PublicUrl,
        listening: SocketAddr,
        runs_on: RunsOn<'_>,
        public_sockets: Option<PublicSockets>,
        smoke_calls: SmokeCalls,
    ) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let site = Arc::new(Site::new(public_url.as_str())?);
        let issuer = Issuer::insecure_http(public_url.as_str())?; // decided in `PublicUrl`

        // State: one database, one key file. A vault that does not open ends the start here.
        let storage = Storage::open(&dir.database(), &dir.kek()).await?;
        let (db, vault) = (storage.db.clone(), Arc::clone(&storage.vault));
        let signing_keys = SigningKeys::load_or_create(vault.vault(), &storage.oauth).await?;

        // Who people are, what there is, and who may have tokens for it.
        let sessions = Arc::new(Sessions::new(db.clone(), Arc::clone(&clock), public_url.clone()));
        let authorization_server = AuthorizationServer::new(
            AsConfig::new(issuer.clone()),
            storage.oauth.clone(),
            signing_keys,
            SignIn::session(Arc::clone(&sessions) as _),
            Arc::new(StoredServers::new(db.clone(), Arc::clone(&site))),
        )
        .with_fetcher(Fetcher::new());

        // Servers: caged processes or containers, reached over sockets, with the egress proxy as their only way out.
        let routes = Routes::new();
        let (jwks, revocations) = (authorization_server.clone(), authorization_server.clone());
        let egress = EgressProxy::new(Dialer::new(), move || {
            let jwks = jwks.jwks().to_string();
            Box::pin(async move { jwks.into() })
        })
        .with_revocations(move |after| {
            let server = revocations.clone();
            Box::pin(async move {
                let page = match after {
                    None => server.revocations_after(0).await,
                    Some(after) => server.await_revocations_after(after).await,
                };
                let page = page.inspect_err(|error| tracing::error!(%error, "the feed of revocations"));
                serde_json::to_vec(&page.ok()?).ok().map(Into::into)
            })
        });
        let probe = HealthProbe {
            authorization_server: authorization_server.clone(),
            site: Arc::clone(&site),
        };
        let runtime: Arc<dyn Runtime> = match runs_on {
            RunsOn::Processes(launcher) => {
                Arc::new(ProcessRuntime::new(launcher, RUNNER_ROLE.name, dir.run())?)
            }
            RunsOn::Containers(containers) => Arc::new(containers.runtime(&db, dir).await?),
        };
        let mut deployer = Deployer::new(runtime, routes.clone(), egress, Arc::new(probe));
        if let Some(sockets) = public_sockets {
            deployer = deployer.with_public_sockets(sockets);
        }
        let deploys = Arc::new(Deploys::new(
            db.clone(),
            Arc::clone(&clock),
            SecretStore::new(db.clone(), vault),
            site,
            issuer,
            smoke_calls,
            deployer,
        ));

        // One port for all of it.
        let guard = Arc::new(HostGuard::new(public_url.clone(), listening));
        let pages = web::WebState {
            sessions,
            deploys: Arc::clone(&deploys),
        };
        let router = web::router(pages, Arc::clone(&guard))
            .merge(authorization_server.router())
            .fallback_service(RouterService::new(routes.clone()))
            .layer(middleware::from_fn_with_state(
                guard,
                browser_guard::refuse_foreign_host,
            ))
            .layer(middleware::from_fn(telemetry::trace_request));
        Ok(Self {
            storage,
            clock,
            authorization_server,
            deploys,
            routes,
            router,
        })
    }
}
