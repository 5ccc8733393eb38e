//! Which servers exist and who may use them: the authorization server asks here.

use std::sync::Arc;

use bmm_deploy::Site;
use bmm_oauth::{BoxError, BoxFuture, ResourceUri, ScopeError, Scopes, Subject};
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
        Ok(Some(ResourceInfo {
            scopes_supported: scopes_supported(&spec)?,
            name: spec.name,
            default_scopes: Scopes::new([BASE_SCOPE])?,
        }))
    }
}

/// All scopes of a server. They fit into one set: admission sees to it (`bmm_spec`, rule SPEC-002).
fn scopes_supported(spec: &CompiledSpec) -> Result<Scopes, ScopeError> {
    let scopes = spec
        .tools
        .iter()
        .flat_map(|tool| tool.scopes.iter().map(String::as_str));
    Scopes::new(std::iter::once(BASE_SCOPE).chain(scopes))
}

impl Resources for StoredServers {
    fn lookup<'a>(
        &'a self,
        resource: &'a ResourceUri,
        subject: &'a Subject,
    ) -> BoxFuture<'a, Result<Option<ResourceInfo>, BoxError>> {
        Box::pin(async move { self.info(resource, subject).await.map_err(BoxError::from) })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn admitted(scopes: &[String]) -> Option<CompiledSpec> {
        let tools: Vec<_> = scopes
            .chunks(16)
            .enumerate()
            .map(|(index, scopes)| {
                json!({
                    "name": format!("tool{index}"),
                    "description": "Does nothing.",
                    "inputSchema": { "type": "object" },
                    "scopes": scopes,
                    "implementation": "export default async () => 'done';",
                })
            })
            .collect();
        let spec = json!({
            "bmm": 1, "slug": "scopes", "name": "Scopes", "description": "Has many scopes.", "tools": tools,
        });
        let bytes = serde_json::to_vec(&spec).expect("serializes");
        bmm_spec::admit(&bytes)
            .and_then(|(valid, _)| valid.compile())
            .ok()
    }

    /// A server whose scopes no token can hold would be deployed, and nobody could sign in to it.
    #[test]
    fn the_scopes_of_every_admitted_server_fit_into_a_token() {
        let short: Vec<String> = (0..64).map(|index| format!("scope:{index}")).collect();
        let long: Vec<String> = (0..63).map(|index| format!("{index:064}")).collect();
        let most = admitted(&short[..63]).expect("63 scopes and the one for listing are admitted");
        assert!(scopes_supported(&most).is_ok());
        assert!(admitted(&short).is_none(), "64 and the one for listing");
        assert!(admitted(&long).is_none(), "63 of 64 bytes each");
    }
}
