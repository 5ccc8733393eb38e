//! Which servers exist and who may use them: the authorization server asks here.

use std::sync::Arc;

use bmm_deploy::Site;
use bmm_oauth::{BoxFuture, ResourceUri, Scopes, Subject};
use bmm_oauth::{ResourceInfo, Resources};
use bmm_spec::CompiledSpec;

use crate::db::{Db, ServerRow};

/// The scope that every server has.
pub(crate) const BASE_SCOPE: &str = "mcp:read";

/// The stored servers, each private to its organisation.
pub(crate) struct StoredServers {
    db: Db,
    site: Arc<Site>,
}

impl StoredServers {
    pub(crate) fn new(db: Db, site: Arc<Site>) -> Self {
        Self { db, site }
    }

    /// The server whose MCP URL this is.
    async fn server(&self, resource: &ResourceUri) -> anyhow::Result<Option<ServerRow>> {
        let slug = resource
            .as_str()
            .strip_prefix(self.site.origin())
            .and_then(|path| path.strip_prefix('/'))
            .and_then(|path| path.strip_suffix("/mcp"));
        // The one function that makes these URLs has the last word.
        match slug.filter(|slug| self.site.mcp_url(slug) == resource.as_str()) {
            Some(slug) => Ok(self.db.server(slug).await?),
            None => Ok(None),
        }
    }

    async fn info(&self, resource: &ResourceUri, subject: &Subject) -> anyhow::Result<Option<ResourceInfo>> {
        let (Some(server), Some(user)) = (
            self.server(resource).await?,
            self.db.user(subject.as_str()).await?,
        ) else {
            return Ok(None);
        };
        if server.organisation != user.organisation {
            return Ok(None);
        }
        let spec: CompiledSpec = serde_json::from_str(&server.compiled)?;
        let scopes = spec
            .tools
            .iter()
            .flat_map(|tool| tool.scopes.iter().map(String::as_str));
        Ok(Some(ResourceInfo {
            name: spec.name.clone(),
            scopes_supported: Scopes::new(std::iter::once(BASE_SCOPE).chain(scopes))?,
            default_scopes: Scopes::new([BASE_SCOPE])?,
        }))
    }
}

impl Resources for StoredServers {
    fn lookup<'a>(
        &'a self,
        resource: &'a ResourceUri,
        subject: &'a Subject,
    ) -> BoxFuture<'a, Option<ResourceInfo>> {
        Box::pin(async move {
            // A failure is no permission.
            let info = self.info(resource, subject).await;
            info.inspect_err(|error| tracing::error!(%error, "cannot look up a resource"))
                .ok()?
        })
    }
}
