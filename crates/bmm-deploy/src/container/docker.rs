//! A daemon that speaks the Docker Engine API, in our words. No type of the client library leaves this module's parents.

use std::fmt;
use std::path::{Path, PathBuf};

use bollard::ClientVersion;
use bollard::query_parameters::{CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder};
use futures_util::StreamExt;

use super::plan::ContainerPlan;

/// A Docker (or Podman) daemon at a Unix socket. Cheap to clone.
#[derive(Clone)]
pub struct Docker {
    client: bollard::Docker,
    socket: PathBuf,
}

/// A container, as the daemon names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ContainerId(String);

/// The daemon did not do it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DockerError {
    /// Nobody answers at the socket.
    #[error("no Docker daemon answers at {}", socket.display())]
    Unreachable {
        /// Where it was looked for.
        socket: PathBuf,
        #[source]
        #[doc(hidden)]
        source: bollard::errors::Error,
    },
    /// It answers, and is too old.
    #[error("the daemon speaks version {0} of the Docker API, at least 1.41 (Docker 20.10) is needed")]
    TooOld(String),
    /// It refused.
    #[error("the daemon cannot {what}: {message}")]
    Refused {
        /// What it was asked to do.
        what: &'static str,
        /// Its HTTP status: 404 for what is not there, 409 for a name that is taken.
        status: u16,
        /// Its words.
        message: String,
    },
    /// The conversation broke.
    #[error("the daemon cannot {what}")]
    Failed {
        /// What it was asked to do.
        what: &'static str,
        #[source]
        #[doc(hidden)]
        source: bollard::errors::Error,
    },
}

impl Docker {
    /// The daemon at `socket`. Refuses one that is too old to build the walls.
    pub async fn connect(socket: impl Into<PathBuf>) -> Result<Self, DockerError> {
        let socket = socket.into();
        let oldest = ClientVersion {
            major_version: 1,
            minor_version: 41,
        };
        let unreachable = |source| DockerError::Unreachable {
            socket: socket.clone(),
            source,
        };
        let address = format!("unix://{}", socket.display());
        let client =
            bollard::Docker::connect_with_unix(&address, REQUEST_SECONDS, bollard::API_DEFAULT_VERSION)
                .map_err(unreachable)?
                .negotiate_version()
                .await
                .map_err(unreachable)?;
        let spoken = client.client_version();
        if spoken < oldest {
            return Err(DockerError::TooOld(spoken.to_string()));
        }
        Ok(Self { client, socket })
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Makes a container, which does not run yet.
    pub async fn create(&self, plan: &ContainerPlan) -> Result<ContainerId, DockerError> {
        let options = CreateContainerOptionsBuilder::default().name(plan.name()).build();
        let created = self
            .client
            .create_container(Some(options), plan.body())
            .await
            .map_err(|error| DockerError::new("make the container", error))?;
        Ok(ContainerId(created.id))
    }

    /// Starts it.
    pub async fn start(&self, id: &ContainerId) -> Result<(), DockerError> {
        self.client
            .start_container(id.as_str(), None)
            .await
            .map_err(|error| DockerError::new("start the container", error))
    }

    /// Waits for its end, and returns its exit code. A signal's number is added to 128.
    pub async fn wait(&self, id: &ContainerId) -> Result<i64, DockerError> {
        let mut ends = std::pin::pin!(self.client.wait_container(id.as_str(), None));
        match ends.next().await {
            Some(Ok(end)) => Ok(end.status_code),
            // The client takes every exit code but 0 for an error.
            Some(Err(bollard::errors::Error::DockerContainerWaitError { code, .. })) => Ok(code),
            Some(Err(error)) => Err(DockerError::new("wait for the container", error)),
            None => Err(DockerError::Refused {
                what: "wait for the container",
                status: 0,
                message: "it did not answer".to_owned(),
            }),
        }
    }

    /// Ends and removes it. One that is not there is fine.
    pub async fn remove(&self, id: &ContainerId) -> Result<(), DockerError> {
        let options = RemoveContainerOptionsBuilder::default()
            .force(true)
            .v(true)
            .build();
        match self.client.remove_container(id.as_str(), Some(options)).await {
            Err(error) => match DockerError::new("remove the container", error) {
                DockerError::Refused { status: 404, .. } => Ok(()),
                error => Err(error),
            },
            Ok(()) => Ok(()),
        }
    }

    /// For what this crate asks beyond that.
    pub(crate) fn client(&self) -> &bollard::Docker {
        &self.client
    }
}

/// What a request may take. Docker is slow under load, and not this slow.
const REQUEST_SECONDS: u64 = 120;

impl ContainerId {
    /// As the daemon writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for ContainerId {
    fn from(id: String) -> Self {
        Self(id)
    }
}

impl DockerError {
    pub(crate) fn new(what: &'static str, error: bollard::errors::Error) -> Self {
        match error {
            bollard::errors::Error::DockerResponseServerError { status_code, message } => Self::Refused {
                what,
                status: status_code,
                message,
            },
            bollard::errors::Error::DockerStreamError { error } => Self::Refused {
                what,
                status: 0,
                message: error,
            },
            source => Self::Failed { what, source },
        }
    }

    /// Whether what was asked for is not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Docker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Docker")
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}
