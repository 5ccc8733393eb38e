//! What a host hands a runner: one versioned value, carried as opaque bytes in between.

use bmm_oauth::{Issuer, ResourceUri, Scopes};
use bmm_spec::CompiledSpec;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use zeroize::Zeroizing;

use crate::host::FetchLimits;
use crate::secrets::Secrets;

/// The version that this crate writes and reads.
const VERSION: u32 = 1;
/// As of the door that carries it.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// Everything a runner is told. Holds secrets: their values show neither in `Debug` nor in an error.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct RunnerConfig {
    version: u32,
    /// The server to run; its digest is checked at the start.
    pub spec: CompiledSpec,
    /// The MCP URL as clients know it: the `resource` of tokens, and the only host that requests may name.
    #[serde(deserialize_with = "resource_of_host")]
    pub public_url: ResourceUri,
    /// Whose tokens are accepted.
    #[serde(deserialize_with = "issuer_of_host")]
    pub issuer: Issuer,
    /// Scopes that every request needs.
    pub scopes: Scopes,
    /// Values of the spec's required secrets.
    pub secrets: Secrets,
    /// Bounds.
    pub limits: RunnerLimits,
    /// Origins of browser pages that may call, besides the public URL's own: `https://app.example.com`.
    pub allowed_origins: Vec<String>,
}

impl RunnerConfig {
    /// A configuration with the default bounds, no secrets, and `mcp:read` as the scope of every request.
    pub fn new(spec: CompiledSpec, public_url: ResourceUri, issuer: Issuer) -> Self {
        Self {
            version: VERSION,
            spec,
            public_url,
            issuer,
            scopes: Scopes::new(["mcp:read"]).expect("the default scope is a scope"),
            secrets: Secrets::new(),
            limits: RunnerLimits::default(),
            allowed_origins: Vec::new(),
        }
    }

    /// Adds the secrets.
    pub fn with_secrets(mut self, secrets: Secrets) -> Self {
        self.secrets = secrets;
        self
    }

    /// The bytes for [`Self::from_bytes`]. They hold the secrets.
    pub fn to_bytes(&self) -> Result<Zeroizing<Vec<u8>>, ConfigError> {
        let bytes = Zeroizing::new(serde_json::to_vec(self).map_err(|_| ConfigError::Unreadable)?);
        if bytes.len() > MAX_BYTES {
            Err(ConfigError::TooLarge)
        } else {
            Ok(bytes)
        }
    }

    /// Reads what [`Self::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ConfigError> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        if bytes.len() > MAX_BYTES {
            return Err(ConfigError::TooLarge);
        }
        let Version { version } = serde_json::from_slice(bytes).map_err(|_| ConfigError::Unreadable)?;
        if version != VERSION {
            return Err(ConfigError::Version { found: version });
        }
        // The parser's message may quote a value, and a value may be a secret.
        serde_json::from_slice(bytes).map_err(|error| ConfigError::Invalid {
            column: error.column(),
        })
    }
}

// Whether plain http is acceptable was the host's decision (`--insecure-http`); a runner takes it as it is.

fn resource_of_host<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ResourceUri, D::Error> {
    ResourceUri::insecure_http(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

fn issuer_of_host<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Issuer, D::Error> {
    Issuer::insecure_http(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

/// Bounds of a running server. What bounds a single tool is in the spec and the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct RunnerLimits {
    /// Largest request body in KiB.
    pub request_kib: u32,
    /// Open sessions of clients of 2025-11-25 and earlier.
    pub sessions: u32,
    /// Of these, per user and client; the oldest gives way.
    pub sessions_per_principal: u32,
    /// Time for calls to end when the runner is asked to stop, in seconds.
    pub drain_secs: u32,
    /// Time for the client to answer what a call asks it, all questions together, in seconds. It does not count as the call's own.
    pub answer_secs: u32,
    /// What a call may fetch.
    pub fetch: FetchLimits,
}

impl Default for RunnerLimits {
    /// 4 MiB, 1024 sessions and 16 of one user and client, 60 s to end, 60 s to answer.
    fn default() -> Self {
        Self {
            request_kib: 4096,
            sessions: 1024,
            sessions_per_principal: 16,
            drain_secs: 60,
            answer_secs: 60,
            fetch: FetchLimits::default(),
        }
    }
}

/// Why a configuration was refused. Never quotes it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// More than 16 MiB.
    #[error("the runner's configuration is larger than 16 MiB")]
    TooLarge,
    /// Not JSON, or without a version.
    #[error("the runner's configuration cannot be read")]
    Unreadable,
    /// From another version of this crate.
    #[error("the runner's configuration has version {found}, and this runner reads version {VERSION}")]
    Version {
        /// What it says.
        found: u32,
    },
    /// A field is missing, unknown or wrong.
    #[error("the runner's configuration is not valid (at byte {column})")]
    Invalid {
        /// Where, counted from one.
        column: usize,
    },
}
