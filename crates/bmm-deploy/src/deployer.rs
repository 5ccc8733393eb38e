//! Deploys servers: what callers wish for, and what came of it.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock};

use tokio::sync::{Notify, Semaphore, oneshot, watch};

use crate::care;
use crate::deployment::{DeployError, Deployment, InstanceStatus, Live, Plan, Removed};
use crate::egress::EgressProxy;
use crate::keeper::Keeper;
use crate::limits::DeployLimits;
use crate::probe::Probe;
use crate::public::PublicSockets;
use crate::routes::{InvalidSlug, Routes};
use crate::runtime::Runtime;
use crate::site::is_slug;

/// Deploys servers on this host. Cheap to clone; all clones are one deployer. To be used inside one tokio runtime.
#[derive(Clone)]
pub struct Deployer {
    inner: Arc<Keeper>,
}

impl Deployer {
    /// Runs servers on `runtime`, leads requests to them in `routes`, lets them out through `egress`, and leads no request to
    /// a revision that `probe` has not passed. To be called inside a tokio runtime.
    pub fn new(
        runtime: impl Runtime + 'static,
        routes: Routes,
        egress: EgressProxy,
        probe: Arc<dyn Probe>,
    ) -> Self {
        Self::with_limits(runtime, routes, egress, probe, DeployLimits::default())
    }

    /// [`Deployer::new`] with other bounds.
    pub fn with_limits(
        runtime: impl Runtime + 'static,
        routes: Routes,
        egress: EgressProxy,
        probe: Arc<dyn Probe>,
        limits: DeployLimits,
    ) -> Self {
        let starts = Semaphore::new(limits.concurrent_starts.max(1));
        let (state, removed, public) = (Mutex::default(), Notify::new(), OnceLock::new());
        let inner = Arc::new(Keeper {
            runtime: Box::new(runtime),
            routes,
            egress,
            probe,
            limits,
            starts,
            swept: watch::Sender::new(false),
            public,
            state,
            removed,
        });
        tokio::spawn(care::sweep(Arc::downgrade(&inner)));
        Self { inner }
    }

    /// Gives every routed server a socket under a name that stays, for proxies that lead to it by themselves. Before the first roll.
    pub fn with_public_sockets(self, sockets: PublicSockets) -> Self {
        if self.inner.public.set(sockets).is_err() {
            tracing::error!("public sockets were given twice; the first stay");
        }
        self
    }

    /// Makes `deployment` the server's revision: starts it, checks it, leads requests to it, and lets the one before finish.
    ///
    /// Returns when requests are led to it; the one before drains meanwhile. On failure the one before serves as if nothing had
    /// happened, and nothing is left of the new one. A caller that stops waiting does not stop the deploy. Rolling the
    /// revision that is live already changes nothing.
    pub async fn roll(&self, deployment: Deployment) -> Result<Live, DeployError> {
        if !is_slug(&deployment.slug) {
            return Err(InvalidSlug.into());
        }
        let plan = Arc::new(Plan::from(deployment));
        let (verdict, waiting) = oneshot::channel();
        {
            let mut state = self.inner.lock();
            if state.shutting_down {
                return Err(DeployError::ShuttingDown);
            }
            let server = state.servers.entry(plan.slug.clone()).or_default();
            let plan = server.known(plan);
            self.inner.wish(plan, verdict, &mut state);
        }
        waiting.await.unwrap_or(Err(DeployError::ShuttingDown))
    }

    /// Makes the revision that was live before this one the server's again, as [`roll`](Self::roll) does. One step back: done twice,
    /// it comes back.
    pub async fn rollback(&self, slug: &str) -> Result<Live, DeployError> {
        let (verdict, waiting) = oneshot::channel();
        {
            let mut state = self.inner.lock();
            if state.shutting_down {
                return Err(DeployError::ShuttingDown);
            }
            let previous = state.servers.get(slug).and_then(|server| server.previous.clone());
            let plan = previous.ok_or_else(|| DeployError::NoPrevious {
                slug: slug.to_owned(),
            })?;
            self.inner.wish(plan, verdict, &mut state);
        }
        waiting.await.unwrap_or(Err(DeployError::ShuttingDown))
    }

    /// Takes a server down: no more requests are led to it from now on, and what is in flight is finished. Returns when nothing is
    /// left of it, and tells what there was; `None` if there was nothing.
    pub async fn remove(&self, slug: &str) -> Option<Removed> {
        let (was_routed, farewells) = {
            let mut state = self.inner.lock();
            let server = state.servers.get_mut(slug)?;
            server.overtake();
            server.wish = None;
            // Of these alone: the slug may be deployed again meanwhile.
            let mut farewells = Vec::new();
            for one in server.instances.values_mut() {
                let (told, farewell) = oneshot::channel();
                one.farewells.push(told);
                farewells.push(farewell);
            }
            let was_routed = server.instances.values().any(|one| one.routed);
            self.inner.step(slug, &mut state);
            (was_routed, farewells)
        };
        let mut runners = Vec::new();
        for farewell in farewells {
            runners.extend(farewell.await.ok());
        }
        Some(Removed {
            slug: slug.to_owned(),
            was_routed,
            runners,
        })
    }

    /// Takes everything down, as [`remove`](Self::remove) does, and deploys nothing any more.
    pub async fn shutdown(&self) {
        {
            let mut state = self.inner.lock();
            state.shutting_down = true;
            let slugs: Vec<String> = state.servers.keys().cloned().collect();
            for slug in slugs {
                if let Some(server) = state.servers.get_mut(&slug) {
                    server.overtake();
                    server.wish = None;
                }
                self.inner.step(&slug, &mut state);
            }
        }
        self.inner.gone(|state| state.servers.is_empty()).await;
    }

    /// All instances, by slug and age.
    pub fn status(&self) -> Vec<InstanceStatus> {
        let state = self.inner.lock();
        let mut status: Vec<_> = state
            .servers
            .values()
            .flat_map(|server| server.instances.iter())
            .map(|(number, one)| (one.plan.slug.clone(), *number, one.status()))
            .collect();
        status.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
        status.into_iter().map(|(_, _, status)| status).collect()
    }

    /// The routes this deployer writes.
    pub fn routes(&self) -> &Routes {
        &self.inner.routes
    }
}

impl fmt::Debug for Deployer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deployer")
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}
