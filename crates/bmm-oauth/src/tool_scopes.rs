//! Scopes of single operations, such as the tools of an MCP server: the decision, for a host that knows which operation a request asks for.

use std::collections::HashMap;

use crate::scope::{ScopeError, Scopes};
use crate::scope_hierarchy::ScopeHierarchy;
use crate::verifier::AuthInfo;

/// Which tools need scopes beyond those of every request. A tool that is not named needs none.
///
/// ```
/// use bmm_oauth::ToolScopes;
/// let tools = ToolScopes::new().with_tool("delete_file", ["files:write"])?;
/// # let auth = bmm_oauth::AuthInfo::insecure_asserted("https://h.example".parse().unwrap(), "https://h.example/mcp".parse().unwrap(),
/// #     bmm_oauth::Subject::new("a"), "c".into(), bmm_oauth::Scopes::empty(), "g".into(), bmm_oauth::Timestamp::from_secs(0));
/// if let Err(missing) = tools.check(&auth, "delete_file") {
///     // Answer with `RequireAuthLayer::step_up(&auth, &missing.needed)`, before a stream begins.
///     assert!(missing.needed.contains("files:write"));
/// }
/// # Ok::<(), bmm_oauth::ScopeError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ToolScopes {
    tools: HashMap<String, Scopes>,
    hierarchy: ScopeHierarchy,
}

/// The token lacks scopes of the tool.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this tool needs the scopes {needed}")]
pub struct MissingScopes {
    /// All scopes of the tool, for one challenge that names them together.
    pub needed: Scopes,
}

impl ToolScopes {
    /// No tool needs anything.
    pub fn new() -> Self {
        Self::default()
    }

    /// A tool needs all of these.
    pub fn with_tool<I: IntoIterator<Item = S>, S: Into<String>>(
        mut self,
        tool: impl Into<String>,
        scopes: I,
    ) -> Result<Self, ScopeError> {
        self.tools.insert(tool.into(), Scopes::new(scopes)?);
        Ok(self)
    }

    /// Some scopes include others.
    pub fn with_hierarchy(mut self, hierarchy: ScopeHierarchy) -> Self {
        self.hierarchy = hierarchy;
        self
    }

    /// Whether the token may be used for this tool.
    pub fn check(&self, auth: &AuthInfo, tool: &str) -> Result<(), MissingScopes> {
        match self.tools.get(tool) {
            Some(needed) if !self.hierarchy.covers(auth.scopes(), needed) => Err(MissingScopes {
                needed: needed.clone(),
            }),
            _ => Ok(()),
        }
    }
}
