//! Everything a server tells a client about itself before any call: what a scan judges.

use std::future::Future;

use rmcp::model::{ErrorCode, PaginatedRequestParams};
use rmcp::service::{RoleClient, RunningService, ServiceError};
use serde::Serialize;
use serde_json::Value;

use super::error::ClientError;
use super::identity::{ServerIdentity, identity};
use super::refused::Refused;

/// How much of a listing is read. A server that goes beyond is refused: whatever hides behind the bound would not be judged.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListingLimits {
    /// Pages of one list.
    pub max_pages: usize,
    /// Entries of all lists together.
    pub max_entries: usize,
    /// JSON of all entries together.
    pub max_bytes: usize,
}

impl Default for ListingLimits {
    fn default() -> Self {
        Self {
            max_pages: 200,
            max_entries: 10_000,
            max_bytes: 16 * 1024 * 1024,
        }
    }
}

/// What a server lists. Serializes to one JSON object with the fields of the protocol's results.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Listing {
    /// Who answers.
    pub server: ServerIdentity,
    /// Tools as listed.
    pub tools: Vec<Value>,
    /// Prompts as listed.
    pub prompts: Vec<Value>,
    /// Resources as listed.
    pub resources: Vec<Value>,
    /// Resource templates as listed.
    pub resource_templates: Vec<Value>,
}

/// Reads all lists of a server: tools always, the rest where it announces them.
pub(super) async fn read<S: rmcp::Service<RoleClient>>(
    running: &RunningService<RoleClient, S>,
    limits: &ListingLimits,
) -> Result<Listing, ClientError> {
    let info = running.peer_info();
    let capabilities = info.as_ref().map(|info| &info.capabilities);
    let prompts = capabilities.is_some_and(|can| can.prompts.is_some());
    let resources = capabilities.is_some_and(|can| can.resources.is_some());
    let mut budget = Budget::new(limits);
    Ok(Listing {
        server: identity(info.as_deref()),
        tools: tools(running, &mut budget).await?,
        prompts: match prompts {
            true => {
                pages("prompts", &mut budget, async |page| {
                    let result = running.list_prompts(page).await?;
                    Ok((json(&result.prompts), result.next_cursor))
                })
                .await?
            }
            false => Vec::new(),
        },
        resources: match resources {
            true => {
                pages("resources", &mut budget, async |page| {
                    let result = running.list_resources(page).await?;
                    Ok((json(&result.resources), result.next_cursor))
                })
                .await?
            }
            false => Vec::new(),
        },
        resource_templates: match resources {
            true => {
                pages("resource templates", &mut budget, async |page| {
                    let result = running.list_resource_templates(page).await?;
                    Ok((json(&result.resource_templates), result.next_cursor))
                })
                .await?
            }
            false => Vec::new(),
        },
    })
}

/// All tools, over all pages.
pub(super) async fn tools<S: rmcp::Service<RoleClient>>(
    running: &RunningService<RoleClient, S>,
    budget: &mut Budget,
) -> Result<Vec<Value>, ClientError> {
    pages("tools", budget, async |page| {
        let result = running.list_tools(page).await?;
        Ok((json(&result.tools), result.next_cursor))
    })
    .await
}

/// What is left of the limits.
pub(super) struct Budget {
    max_pages: usize,
    entries: usize,
    bytes: usize,
}

impl Budget {
    pub(super) fn new(limits: &ListingLimits) -> Self {
        Self {
            max_pages: limits.max_pages,
            entries: limits.max_entries,
            bytes: limits.max_bytes,
        }
    }

    fn spend(&mut self, entries: &[Value], what: &'static str) -> Result<(), ClientError> {
        let bytes = entries
            .iter()
            .map(|entry| serde_json::to_string(entry).map_or(0, |text| text.len()))
            .sum();
        let left = self
            .entries
            .checked_sub(entries.len())
            .zip(self.bytes.checked_sub(bytes));
        let Some((entries, bytes)) = left else {
            return Err(too_much(what));
        };
        (self.entries, self.bytes) = (entries, bytes);
        Ok(())
    }
}

/// Follows the cursors of one list. A method that the server does not know is an empty list.
async fn pages<F, Fut>(what: &'static str, budget: &mut Budget, fetch: F) -> Result<Vec<Value>, ClientError>
where
    F: Fn(Option<PaginatedRequestParams>) -> Fut,
    Fut: Future<Output = Result<(Vec<Value>, Option<String>), ServiceError>>,
{
    let mut found = Vec::new();
    let mut cursor: Option<String> = None;
    for _ in 0..budget.max_pages {
        let params = PaginatedRequestParams::default().with_cursor(cursor.clone());
        let (entries, next) = match fetch(Some(params)).await {
            Ok(page) => page,
            Err(ServiceError::McpError(error))
                if error.code == ErrorCode::METHOD_NOT_FOUND && found.is_empty() =>
            {
                return Ok(found);
            }
            Err(error) => return Err(Refused::of(error).into_error()),
        };
        budget.spend(&entries, what)?;
        found.extend(entries);
        if next.is_none() {
            return Ok(found);
        }
        if next == cursor {
            return Err(ClientError::Listing {
                message: format!("the list of {what} leads back to the page it is on"),
            });
        }
        cursor = next;
    }
    Err(too_much(what))
}

fn too_much(what: &str) -> ClientError {
    ClientError::Listing {
        message: format!("the server lists more {what} than are read"),
    }
}

fn json<T: Serialize>(entries: &[T]) -> Vec<Value> {
    entries
        .iter()
        .filter_map(|entry| serde_json::to_value(entry).ok())
        .collect()
}
