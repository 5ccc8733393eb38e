//! A path map that follows the routes of this process.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::folder::{Folder, FolderError};
use super::publish::{PublishError, Publisher};
use super::value::{Addresses, PathTable, ValueError};
use crate::chain::chain;
use crate::routes::{InvalidSlug, Routes};

/// Servers that start together are written together: so long nothing may change, and so long at most is waited for it.
const QUIET: Duration = Duration::from_millis(200);
const LONGEST_UNREST: Duration = Duration::from_secs(2);

/// Before another try after a failure.
const RETRY: Duration = Duration::from_secs(5);

/// Keeps a proxy's path map as the routes are. It changes when a slug comes or goes, and not when a server is replaced: where
/// servers are by their slugs stays.
#[derive(Debug)]
pub struct PathMap {
    addresses: Addresses,
    target: Target,
}

#[derive(Debug)]
enum Target {
    Folder(Folder),
    Proxy(Publisher),
}

impl PathMap {
    /// Leaves fragments in a folder, for whoever may reload the proxy.
    pub fn in_folder(folder: Folder, addresses: Addresses) -> Self {
        let target = Target::Folder(folder);
        Self { addresses, target }
    }

    /// Writes, tests and reloads by itself.
    pub fn of_proxy(publisher: Publisher, addresses: Addresses) -> Self {
        let target = Target::Proxy(publisher);
        Self { addresses, target }
    }

    /// Writes what `routes` says now. `true` if anything changed.
    pub async fn write(&mut self, routes: &Routes) -> Result<bool, PathMapError> {
        let mut table = PathTable::new();
        for (slug, _) in routes.list() {
            let slug = slug.parse()?;
            let address = self.addresses.of(&slug)?;
            table.insert(slug, address);
        }
        match &mut self.target {
            Target::Proxy(publisher) => Ok(publisher.publish(&table).await?),
            Target::Folder(folder) => {
                let folder = folder.clone();
                let written = tokio::task::spawn_blocking(move || folder.write(&table)).await;
                Ok(written.map_err(|_| PathMapError::BrokenOff)??)
            }
        }
    }

    /// Writes whenever a slug comes or goes. Never returns: what fails is logged and tried again. To be dropped before the
    /// routes are taken down with the process, so that the proxy knows them when it comes back.
    pub async fn follow(mut self, routes: Routes) {
        let mut changes = routes.slugs_changed();
        loop {
            changes.mark_unchanged();
            match self.write(&routes).await {
                Ok(true) => tracing::info!(servers = routes.list().len(), "path map written"),
                Ok(false) => {}
                Err(error) => {
                    tracing::error!(error = chain(&error), "the path map is not as the routes are");
                    sleep(RETRY).await;
                    continue;
                }
            }
            if changes.changed().await.is_err() {
                return std::future::pending().await;
            }
            let latest = Instant::now() + LONGEST_UNREST;
            while let Ok(Ok(())) = timeout_at(latest.min(Instant::now() + QUIET), changes.changed()).await {}
        }
    }
}

/// Why a path map could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PathMapError {
    /// In a folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// For a proxy.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// A slug that got into the routes and is none.
    #[error(transparent)]
    Slug(#[from] InvalidSlug),
    /// A server whose place a proxy's configuration cannot hold.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// The runtime ends.
    #[error("writing was broken off")]
    BrokenOff,
}
