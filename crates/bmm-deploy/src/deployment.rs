//! What is to be deployed, and what came of it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use bmm_net::HostPattern;
use zeroize::Zeroizing;

use crate::hardening::HardeningReport;
use crate::reconcile::Phase;
use crate::routes::InvalidSlug;

/// A revision of a server.
#[derive(Clone)]
pub struct Deployment {
    /// Names the server in its URL.
    pub slug: String,
    /// Names this revision of it: two deployments of a slug with the same revision are the same.
    pub revision: String,
    /// For the runner, opaque here. May hold secrets.
    pub config: Vec<u8>,
    /// The only hosts that the server may connect to.
    pub allowed_domains: Vec<HostPattern>,
    /// For the probe, opaque here: what it is to find.
    pub expectation: Vec<u8>,
}

impl Deployment {
    /// A revision that may connect to nothing.
    pub fn new(slug: impl Into<String>, revision: impl Into<String>, config: Vec<u8>) -> Self {
        Self {
            slug: slug.into(),
            revision: revision.into(),
            config,
            allowed_domains: Vec::new(),
            expectation: Vec::new(),
        }
    }

    /// What the probe is to find, in its own words; it gets them with every check of this revision.
    pub fn with_expectation(mut self, expectation: Vec<u8>) -> Self {
        self.expectation = expectation;
        self
    }

    /// The hosts it may connect to.
    pub fn with_egress(mut self, allowed_domains: impl IntoIterator<Item = HostPattern>) -> Self {
        self.allowed_domains = allowed_domains.into_iter().collect();
        self
    }
}

impl fmt::Debug for Deployment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deployment")
            .field("slug", &self.slug)
            .field("revision", &self.revision)
            .field("allowed_domains", &self.allowed_domains)
            .finish_non_exhaustive()
    }
}

/// A revision that requests are led to.
#[derive(Debug, Clone)]
pub struct Live {
    /// The server.
    pub slug: String,
    /// The revision that serves.
    pub revision: String,
    /// Its process.
    pub pid: u32,
    /// Where it listens.
    pub socket: PathBuf,
    /// Which controls hold around it.
    pub report: HardeningReport,
}

/// What was taken down with a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// The server.
    pub slug: String,
    /// Whether requests were led to it until then.
    pub was_routed: bool,
    /// Its runners, oldest first.
    pub runners: Vec<Retired>,
}

/// A runner that is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retired {
    /// The revision it ran.
    pub revision: String,
    /// Its last process, if it ever had one.
    pub pid: Option<u32>,
    /// How that ended, in a few words.
    pub how: Option<String>,
}

/// An instance as it is now.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct InstanceStatus {
    /// The server.
    pub slug: String,
    /// The revision it runs.
    pub revision: String,
    /// How far it is.
    pub phase: Phase,
    /// Whether the server's requests are led to it.
    pub routed: bool,
    /// Its process, while there is one.
    pub pid: Option<u32>,
    /// How often its process was started again.
    pub restarts: u64,
    /// Which controls hold around its process.
    pub report: Option<HardeningReport>,
}

/// Why a revision is not live.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeployError {
    /// The slug cannot stand in a route.
    #[error(transparent)]
    Slug(#[from] InvalidSlug),
    /// The new revision did not start. What served before still serves.
    #[error("revision {revision} of {slug} did not start: {reason}")]
    Start {
        /// The server.
        slug: String,
        /// The revision.
        revision: String,
        /// The runner's or the system's words, without secrets.
        reason: String,
    },
    /// The new revision started and was found unfit. What served before still serves.
    #[error("revision {revision} of {slug} is not healthy: {reason}")]
    Unhealthy {
        /// The server.
        slug: String,
        /// The revision.
        revision: String,
        /// The probe's words.
        reason: String,
    },
    /// Another revision was wished for, or none any more, before this one was live.
    #[error("revision {revision} of {slug} was overtaken by a later decision")]
    Overtaken {
        /// The server.
        slug: String,
        /// The revision.
        revision: String,
    },
    /// There is no revision to go back to.
    #[error("{slug} has no earlier revision to go back to")]
    NoPrevious {
        /// The server.
        slug: String,
    },
    /// The deployer is shutting down.
    #[error("no deploys any more: shutting down")]
    ShuttingDown,
}

/// A deployment as it is kept while it is wished for: its configuration is needed at every restart.
pub(crate) struct Plan {
    pub(crate) slug: String,
    pub(crate) revision: String,
    pub(crate) config: Zeroizing<Vec<u8>>,
    pub(crate) allowed_domains: Arc<[HostPattern]>,
    pub(crate) expectation: Arc<[u8]>,
}

impl From<Deployment> for Plan {
    fn from(deployment: Deployment) -> Self {
        Self {
            slug: deployment.slug,
            revision: deployment.revision,
            config: Zeroizing::new(deployment.config),
            allowed_domains: deployment.allowed_domains.into(),
            expectation: deployment.expectation.into(),
        }
    }
}
