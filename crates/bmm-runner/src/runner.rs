//! From a compiled spec to a service: the library's front.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bmm_oauth::{RequireAuthLayer, ResourceUri};
use bmm_spec::CompiledSpec;
use tokio::sync::watch;

use crate::config::RunnerLimits;
use crate::connect::Connector;
use crate::documents::Documents;
use crate::engine::ToolEngine;
use crate::error::RunnerError;
use crate::host::Broker;
use crate::http::{Exposure, RunnerService};
use crate::live::{Live, Shared};
use crate::manifest::Manifest;
use crate::mcp::McpServer;
use crate::request_state::RequestStates;
use crate::secrets::Secrets;

/// One spec on its way to being served.
pub struct Runner {
    spec: CompiledSpec,
    manifest: Manifest,
    engine: Arc<dyn ToolEngine>,
    secrets: Secrets,
    connector: Connector,
    limits: RunnerLimits,
    exposure: Exposure,
    states: RequestStates,
}

impl Runner {
    /// A runner without secrets, without a network, reachable as this machine's loopback only. Fails if the spec is not
    /// the one that was compiled (its digest), or a schema does not compile.
    pub fn new(spec: CompiledSpec, engine: impl ToolEngine) -> Result<Self, RunnerError> {
        spec.verify_digest().map_err(|_| RunnerError::Drifted)?;
        Ok(Self {
            manifest: Manifest::new(&spec)?,
            spec,
            engine: Arc::new(engine),
            secrets: Secrets::new(),
            connector: Connector::closed(),
            limits: RunnerLimits::default(),
            exposure: Exposure::default(),
            states: RequestStates::create(Instant::now()).map_err(|_| RunnerError::NoRandomNumbers)?,
        })
    }

    /// The values of the spec's required secrets.
    pub fn with_secrets(mut self, secrets: Secrets) -> Self {
        self.secrets = secrets;
        self
    }

    /// How `ctx.fetch` gets out.
    pub fn with_connector(mut self, connector: Connector) -> Self {
        self.connector = connector;
        self
    }

    /// Other bounds.
    pub fn with_limits(mut self, limits: RunnerLimits) -> Self {
        self.limits = limits;
        self
    }

    /// The MCP URL as clients know it: the one host that requests may name, and the one origin of browser pages.
    pub fn with_public_url(mut self, url: &ResourceUri) -> Self {
        self.exposure.public_url = Some(url.as_str().to_owned());
        self
    }

    /// Further origins of browser pages that may call.
    pub fn with_allowed_origins(mut self, origins: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.exposure.origins = origins.into_iter().map(Into::into).collect();
        self
    }

    /// Guards `/mcp` and publishes the layer's metadata. Without this the service guards nothing by itself (mount it
    /// below a [`RequireAuthLayer`] of your own), and tools with scopes still need the layer's `AuthInfo`.
    pub fn with_auth(mut self, layer: RequireAuthLayer) -> Self {
        self.exposure.auth = Some(layer);
        self
    }

    /// Serves tools with scopes to anybody: for a person's own machine.
    pub fn insecure_without_scopes(mut self) -> Self {
        self.exposure.enforce_scopes = false;
        self
    }

    /// A service for `/mcp` and `/.well-known/oauth-protected-resource`; everything else is a JSON 404. Must be called
    /// inside a tokio runtime.
    pub fn into_service(self) -> RunnerService {
        let (shared, limits, exposure) = self.into_parts();
        RunnerService::new(Live::fixed(shared), &limits, exposure)
    }

    /// As [`into_service`](Self::into_service), with the means to serve another spec later on. Clients are told by notifications.
    pub fn into_reloadable_service(self) -> (RunnerService, Reloader) {
        let (shared, limits, exposure) = self.into_parts();
        let (live, sender) = Live::replaceable(shared);
        (RunnerService::new(live, &limits, exposure), Reloader { sender })
    }

    /// The MCP server alone, for one client on a transport of its own.
    pub(crate) fn into_mcp(self) -> McpServer {
        McpServer::new(Live::fixed(self.into_parts().0))
    }

    pub(crate) fn into_reloadable_mcp(self) -> (McpServer, Reloader) {
        let (live, sender) = Live::replaceable(self.into_parts().0);
        (McpServer::new(live), Reloader { sender })
    }

    fn into_parts(self) -> (Shared, RunnerLimits, Exposure) {
        let broker = Broker::new(&self.spec, &self.secrets, &self.connector, self.limits.fetch);
        let shared = Shared {
            documents: Documents::new(&self.spec),
            spec: self.spec,
            manifest: self.manifest,
            engine: self.engine,
            broker,
            states: self.states,
            patience: Duration::from_secs(self.limits.answer_secs.into()),
            enforce_scopes: self.exposure.enforce_scopes,
        };
        (shared, self.limits, self.exposure)
    }
}

/// Puts another spec in the place of the one that is served, see [`Runner::into_reloadable_service`].
///
/// Calls in flight end on the spec they began with. The exposure (public URL, sign-in, limits on requests) stays as it was.
pub struct Reloader {
    sender: watch::Sender<Arc<Shared>>,
}

impl Reloader {
    /// Serves `runner`'s spec from the next request on.
    pub fn replace(&self, runner: Runner) {
        let enforce_scopes = self.sender.borrow().enforce_scopes;
        let (mut shared, _, _) = runner.into_parts();
        shared.enforce_scopes = enforce_scopes;
        // Nobody may be listening any more; then there is nobody to serve.
        let _ = self.sender.send(Arc::new(shared));
    }
}

impl fmt::Debug for Reloader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloader").finish_non_exhaustive()
    }
}
