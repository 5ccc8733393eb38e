//! From a compiled spec to a service: the library's front.

use std::sync::Arc;

use bmm_oauth::{RequireAuthLayer, ResourceUri};
use bmm_spec::CompiledSpec;

use crate::config::RunnerLimits;
use crate::connect::Connector;
use crate::documents::Documents;
use crate::engine::ToolEngine;
use crate::error::RunnerError;
use crate::host::Broker;
use crate::http::{Exposure, RunnerService};
use crate::manifest::Manifest;
use crate::mcp::{McpServer, Shared};
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
        RunnerService::new(shared, &limits, exposure)
    }

    /// The MCP server alone, for one client on a transport of its own.
    pub(crate) fn into_mcp(self) -> McpServer {
        McpServer::new(self.into_parts().0)
    }

    fn into_parts(self) -> (Arc<Shared>, RunnerLimits, Exposure) {
        let broker = Broker::new(&self.spec, &self.secrets, &self.connector, self.limits.fetch);
        let shared = Shared {
            documents: Documents::new(&self.spec),
            spec: self.spec,
            manifest: self.manifest,
            engine: self.engine,
            broker,
            enforce_scopes: self.exposure.enforce_scopes,
        };
        (Arc::new(shared), self.limits, self.exposure)
    }
}
