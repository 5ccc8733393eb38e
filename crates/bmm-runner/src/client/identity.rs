//! Who a server says it is.

use rmcp::model::ServerPeerInfo;
use serde::Serialize;

/// Who a server says it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ServerIdentity {
    /// Its title, or else its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The protocol revision in use.
    pub protocol: String,
    /// Its advice to the model.
    pub instructions: Option<String>,
}

pub(super) fn identity(info: Option<&ServerPeerInfo>) -> ServerIdentity {
    let server = info.and_then(|info| info.server_info.as_ref());
    ServerIdentity {
        name: server
            .map(|server| server.title.as_ref().unwrap_or(&server.name).clone())
            .unwrap_or_default(),
        version: server.map(|server| server.version.clone()).unwrap_or_default(),
        protocol: info
            .map(|info| info.protocol_version.to_string())
            .unwrap_or_default(),
        instructions: info.and_then(|info| info.instructions.clone()),
    }
}
