//! Keeps what is wished for running: rolls revisions, restarts what falls, ends what nobody wants.
//!
//! All decisions are [`reconcile`]'s. This file holds the state it decides on, does what it says, and asks again whenever
//! something has happened.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::deployment::{DeployError, Deployment, InstanceStatus, Live, Plan};
use crate::egress::EgressProxy;
use crate::probe::{Probe, Target};
use crate::reconcile::{Action, Phase, reconcile};
use crate::routes::{InvalidSlug, Routes};
use crate::runner::{self, Runner};
use crate::runtime::Runtime;
use crate::seat::Seat;
use crate::site::is_slug;
use crate::state::{Ending, Instance, Running, Server, State, Waiting};

/// Bounds in time.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DeployLimits {
    /// How long a runner may take to say that it serves.
    pub start_timeout: Duration,
    /// How long the check of a new revision may take.
    pub probe_timeout: Duration,
    /// How long a retired revision may take to finish what is in flight.
    pub drain_timeout: Duration,
    /// How long a runner must have served for its next fall to count as the first again.
    pub steady_after: Duration,
    /// Runners being started at a time: starting is work for the processor, and a host that comes back starts all of them.
    pub concurrent_starts: usize,
}

impl Default for DeployLimits {
    fn default() -> Self {
        Self {
            start_timeout: Duration::from_secs(20),
            probe_timeout: Duration::from_secs(20),
            drain_timeout: Duration::from_secs(60),
            steady_after: Duration::from_secs(30),
            concurrent_starts: 8,
        }
    }
}

/// Deploys servers on this host. Cheap to clone; all clones are one deployer. To be used inside one tokio runtime.
#[derive(Clone)]
pub struct Deployer {
    inner: Arc<Inner>,
}

struct Inner {
    runtime: Box<dyn Runtime>,
    routes: Routes,
    egress: EgressProxy,
    probe: Arc<dyn Probe>,
    limits: DeployLimits,
    starts: Semaphore,
    state: Mutex<State>,
    /// Signalled whenever an instance is forgotten.
    removed: Notify,
}

impl Deployer {
    /// Runs servers on `runtime`, leads requests to them in `routes`, lets them out through `egress`, and leads no request to
    /// a revision that `probe` has not passed.
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
        let (state, removed) = (Mutex::default(), Notify::new());
        Self {
            inner: Arc::new(Inner {
                runtime: Box::new(runtime),
                routes,
                egress,
                probe,
                limits,
                starts,
                state,
                removed,
            }),
        }
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
            let slug = plan.slug.clone();
            let server = state.servers.entry(slug.clone()).or_default();
            server.overtake();
            // The plan that is there stays, so that its instances remain its own.
            let plan = match &server.wish {
                Some(wish) if wish.revision == plan.revision => Arc::clone(wish),
                _ => Arc::clone(&plan),
            };
            server.wish = Some(Arc::clone(&plan));
            server.waiting = Some(Waiting {
                plan,
                verdict,
                error: None,
            });
            self.inner.step(&slug, &mut state);
        }
        waiting.await.unwrap_or(Err(DeployError::ShuttingDown))
    }

    /// Takes a server down: no more requests are led to it from now on, and what is in flight is finished. Returns when nothing is
    /// left of it; `false` if there was nothing.
    pub async fn remove(&self, slug: &str) -> bool {
        let instances: Vec<u64> = {
            let mut state = self.inner.lock();
            let Some(server) = state.servers.get_mut(slug) else {
                return false;
            };
            server.overtake();
            server.wish = None;
            let instances = server.instances.keys().copied().collect();
            self.inner.step(slug, &mut state);
            instances
        };
        // Not until the slug is gone: it may be deployed again meanwhile.
        self.inner
            .gone(|state| {
                state.servers.get(slug).is_none_or(|server| {
                    !instances
                        .iter()
                        .any(|number| server.instances.contains_key(number))
                })
            })
            .await;
        true
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

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn gone(&self, is_gone: impl Fn(&State) -> bool) {
        loop {
            let removed = self.removed.notified();
            tokio::pin!(removed);
            removed.as_mut().enable();
            if is_gone(&self.lock()) {
                return;
            }
            removed.await;
        }
    }

    /// Acts on one server until there is nothing to do but to wait. Long work runs in tasks that come back here.
    fn step(self: &Arc<Self>, slug: &str, state: &mut State) {
        while let Some(server) = state.servers.get_mut(slug) {
            let (wishes, observed) = server.observe(slug);
            let plan = reconcile(&wishes, &observed);
            for action in &plan {
                tracing::debug!(slug, ?action, "deployer");
                self.act(action, slug, server);
            }
            if plan.is_empty() {
                server.tell();
                if server.wish.is_none() && server.instances.is_empty() {
                    state.servers.remove(slug);
                    self.removed.notify_waiters();
                }
                return;
            }
        }
    }

    fn act(self: &Arc<Self>, action: &Action, slug: &str, server: &mut Server) {
        match action {
            Action::Start { .. } => self.start_new(slug, server),
            Action::Unroute { .. } => {
                self.routes.remove(slug);
                server.live = None;
                server.instances.values_mut().for_each(|one| one.routed = false);
                tracing::info!(slug, "not routed any more");
            }
            Action::Route { instance, .. } => {
                let Some(chosen) = server.instances.get(instance) else {
                    return;
                };
                if let Err(error) = self.routes.set(slug, Arc::clone(&chosen.seat.upstream)) {
                    tracing::error!(slug, %error, "a slug that is not one got here");
                    return;
                }
                tracing::info!(slug, revision = chosen.plan.revision, "routed");
                server.live = Some(Arc::clone(&chosen.plan));
                for (number, one) in &mut server.instances {
                    one.routed = number == instance;
                    one.served |= one.routed;
                }
            }
            Action::Probe { instance } => {
                let Some(one) = server.instances.get_mut(instance) else {
                    return;
                };
                one.phase = Phase::Probing;
                tokio::spawn(Arc::clone(self).probe(Arc::clone(&one.plan), Arc::clone(&one.seat)));
            }
            Action::Restart { instance } => {
                let Some(one) = server.instances.get_mut(instance) else {
                    return;
                };
                one.phase = Phase::Restarting;
                one.restarts += 1;
                tokio::spawn(Arc::clone(self).run(Arc::clone(&one.plan), Arc::clone(&one.seat)));
            }
            Action::Drain { instance } => {
                let Some(one) = server.instances.get_mut(instance) else {
                    return;
                };
                one.phase = Phase::Draining;
                let ending = if one.served { Ending::Drain } else { Ending::Kill };
                if let Some(end) = one.running.as_mut().and_then(|running| running.end.take()) {
                    // Its receiver is gone when the process has ended just now, which is on its way to be told.
                    let _ = end.send(ending);
                }
            }
            Action::Remove { instance } => {
                if let Some(one) = server.instances.remove(instance) {
                    one.seat.leave();
                    self.removed.notify_waiters();
                }
            }
        }
    }

    fn start_new(self: &Arc<Self>, slug: &str, server: &mut Server) {
        let Some(plan) = server.wish.clone() else { return };
        match self.runtime.seats().seat(slug) {
            Ok(seat) => {
                let seat = Arc::new(seat);
                let instance = Instance {
                    plan: Arc::clone(&plan),
                    seat: Arc::clone(&seat),
                    phase: Phase::Starting,
                    routed: false,
                    served: false,
                    running: None,
                    falls: 0,
                    restarts: 0,
                };
                server.instances.insert(seat.number, instance);
                tokio::spawn(Arc::clone(self).run(plan, seat));
            }
            Err(error) => {
                let reason = format!("cannot make its socket: {error}");
                let (slug, revision) = (plan.slug.clone(), plan.revision.clone());
                server.give_up(
                    &plan,
                    DeployError::Start {
                        slug,
                        revision,
                        reason,
                    },
                );
            }
        }
    }

    /// One runner from its start to its end.
    async fn run(self: Arc<Self>, plan: Arc<Plan>, seat: Arc<Seat>) {
        let started = {
            // A restart does not wait for the starts of others. The semaphore is never closed.
            let _turn = match self.is_restart(&plan, &seat) {
                true => None,
                false => self.starts.acquire().await.ok(),
            };
            let (egress, within) = (self.egress.clone(), self.limits.start_timeout);
            runner::start(&*self.runtime, &plan, &seat, egress, within).await
        };
        let runner = match started {
            Ok(runner) => runner,
            Err(error) => return self.did_not_start(&plan, &seat, &chain(&error)),
        };
        let (end, asked_to_end) = oneshot::channel();
        self.is_up(&plan, &seat, &runner, end);
        let how = self.tend(runner, asked_to_end, &seat).await;
        self.ended(&plan, &seat, &how);
    }

    fn is_restart(&self, plan: &Plan, seat: &Seat) -> bool {
        self.lock()
            .instance(&plan.slug, seat.number)
            .is_some_and(|one| one.phase == Phase::Restarting)
    }

    /// Waits for the end of a runner, and brings it about when asked to.
    async fn tend(&self, mut runner: Runner, asked_to_end: oneshot::Receiver<Ending>, seat: &Seat) -> String {
        let ending = tokio::select! {
            how = runner.ended() => return how,
            ending = asked_to_end => ending.unwrap_or(Ending::Kill),
        };
        if let Ending::Drain = ending {
            let deadline = Instant::now() + self.limits.drain_timeout;
            // Requests that were led here just before the route moved may still be on their way in.
            tokio::select! {
                how = runner.ended() => return how,
                _ = timeout_at(deadline, seat.upstream.answered()) => {}
            }
            if let Ok(Ok(how)) = timeout_at(deadline, runner.drain()).await {
                return how;
            }
        }
        runner.kill().await;
        "killed".to_owned()
    }

    fn is_up(self: &Arc<Self>, plan: &Arc<Plan>, seat: &Seat, runner: &Runner, end: oneshot::Sender<Ending>) {
        tracing::info!(
            slug = plan.slug,
            revision = plan.revision,
            pid = runner.pid(),
            "runner serves"
        );
        let mut state = self.lock();
        if let Some(one) = state.instance(&plan.slug, seat.number) {
            one.phase = if one.phase == Phase::Restarting {
                Phase::Healthy
            } else {
                Phase::Ready
            };
            one.running = Some(Running {
                pid: runner.pid(),
                report: runner.report().clone(),
                since: Instant::now(),
                end: Some(end),
            });
            seat.upstream.set_away(false);
        }
        self.step(&plan.slug, &mut state);
    }

    fn did_not_start(self: &Arc<Self>, plan: &Arc<Plan>, seat: &Seat, reason: &str) {
        tracing::warn!(
            slug = plan.slug,
            revision = plan.revision,
            reason,
            "runner did not start"
        );
        let mut state = self.lock();
        let Some(one) = state.instance(&plan.slug, seat.number) else {
            return;
        };
        if one.phase == Phase::Restarting {
            self.fall(one);
        } else {
            one.phase = Phase::Failed;
            let error = DeployError::Start {
                slug: plan.slug.clone(),
                revision: plan.revision.clone(),
                reason: reason.to_owned(),
            };
            if let Some(server) = state.servers.get_mut(&plan.slug) {
                server.give_up(plan, error);
            }
        }
        self.step(&plan.slug, &mut state);
    }

    fn ended(self: &Arc<Self>, plan: &Arc<Plan>, seat: &Seat, how: &str) {
        let mut state = self.lock();
        let Some(one) = state.instance(&plan.slug, seat.number) else {
            return;
        };
        let running = one.running.take();
        match one.phase {
            Phase::Draining => {
                tracing::info!(slug = plan.slug, revision = plan.revision, how, "runner retired");
                one.phase = Phase::Gone;
            }
            Phase::Ready | Phase::Probing => {
                one.phase = Phase::Failed;
                let (slug, revision) = (plan.slug.clone(), plan.revision.clone());
                let reason = format!("the runner ended ({how})");
                if let Some(server) = state.servers.get_mut(&plan.slug) {
                    server.give_up(
                        plan,
                        DeployError::Start {
                            slug,
                            revision,
                            reason,
                        },
                    );
                }
            }
            _ => {
                tracing::warn!(
                    slug = plan.slug,
                    revision = plan.revision,
                    how,
                    "runner ended by itself"
                );
                if running.is_some_and(|running| running.since.elapsed() >= self.limits.steady_after) {
                    one.falls = 0;
                }
                self.fall(one);
            }
        }
        self.step(&plan.slug, &mut state);
    }

    /// A routed process is not there any more: again, at once the first time, and after longer and longer pauses then.
    fn fall(self: &Arc<Self>, one: &mut Instance) {
        let pause = pause_after(one.falls);
        one.falls = one.falls.saturating_add(1);
        one.phase = Phase::Down { due: pause.is_zero() };
        if pause.is_zero() {
            return;
        }
        one.seat.upstream.set_away(pause > LONGEST_WAIT);
        let (this, plan, number) = (Arc::clone(self), Arc::clone(&one.plan), one.seat.number);
        tokio::spawn(async move {
            sleep(pause).await;
            let mut state = this.lock();
            if let Some(one) = state.instance(&plan.slug, number)
                && one.phase == (Phase::Down { due: false })
            {
                one.phase = Phase::Down { due: true };
                this.step(&plan.slug, &mut state);
            }
        });
    }

    async fn probe(self: Arc<Self>, plan: Arc<Plan>, seat: Arc<Seat>) {
        let target = Target {
            slug: plan.slug.clone(),
            revision: plan.revision.clone(),
            socket: PathBuf::from(seat.upstream.socket()),
        };
        let found = match timeout(self.limits.probe_timeout, self.probe.check(&target)).await {
            Ok(found) => found,
            Err(_) => Err("it did not answer the health check in time".to_owned()),
        };
        let mut state = self.lock();
        let Some(one) = state
            .instance(&plan.slug, seat.number)
            .filter(|one| one.phase == Phase::Probing)
        else {
            return;
        };
        match found {
            Ok(()) => one.phase = Phase::Healthy,
            Err(reason) => {
                tracing::warn!(slug = plan.slug, revision = plan.revision, reason, "not healthy");
                // Ends as any other that nobody wants.
                one.phase = Phase::Ready;
                let (slug, revision) = (plan.slug.clone(), plan.revision.clone());
                if let Some(server) = state.servers.get_mut(&plan.slug) {
                    server.give_up(
                        &plan,
                        DeployError::Unhealthy {
                            slug,
                            revision,
                            reason,
                        },
                    );
                }
            }
        }
        self.step(&plan.slug, &mut state);
    }
}

/// What a waiting call may be asked to sit through; with a longer pause ahead it is told to come back.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// 0, then 100 ms doubled each time, up to 10 s.
fn pause_after(falls: u32) -> Duration {
    match falls.checked_sub(1) {
        None => Duration::ZERO,
        Some(doublings) => Duration::from_millis(100)
            .saturating_mul(2_u32.saturating_pow(doublings))
            .min(LONGEST_PAUSE),
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_fall_is_mended_at_once_and_the_pauses_grow_to_ten_seconds() {
        let pauses: Vec<u128> = (0..10).map(|falls| pause_after(falls).as_millis()).collect();
        assert_eq!(pauses, [0, 100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        assert_eq!(pause_after(u32::MAX), LONGEST_PAUSE);
    }
}
