//! What daemon and kernel say about one container, gathered at one moment.

use bollard::models::ContainerInspectResponse;

use super::docker::{ContainerId, Docker, DockerError};
use super::kernel::Kernel;

/// What there is to be said about a container that runs.
#[derive(Debug, Clone)]
pub struct Evidence {
    pub(crate) inspect: ContainerInspectResponse,
    /// Or why the kernel could not be asked.
    pub(crate) kernel: Result<Kernel, String>,
}

impl Evidence {
    /// Its first process, as this host numbers it, if it has one here.
    pub fn pid(&self) -> Option<u32> {
        self.kernel.as_ref().ok()?;
        u32::try_from(self.inspect.state.as_ref()?.pid?).ok()
    }
}

impl Docker {
    /// Asks the daemon about a container, and the kernel about its first process.
    pub async fn evidence(&self, id: &ContainerId) -> Result<Evidence, DockerError> {
        let inspect = self
            .client()
            .inspect_container(id.as_str(), None)
            .await
            .map_err(|error| DockerError::new("tell about the container", error))?;
        let pid = inspect
            .state
            .as_ref()
            .and_then(|state| state.pid)
            .unwrap_or_default();
        let id = id.as_str().to_owned();
        let looked = tokio::task::spawn_blocking(move || Kernel::look(pid, &id)).await;
        Ok(Evidence {
            inspect,
            kernel: looked.unwrap_or_else(|error| Err(error.to_string())),
        })
    }
}
