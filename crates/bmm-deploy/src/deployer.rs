//! Keeps what is wished for running: rolls revisions, restarts what falls, ends what nobody wants.
//!
//! All decisions are [`reconcile`]'s. This file holds the state it decides on, does what it says, and asks again whenever
//! something has happened.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::sync::{Notify, Semaphore, oneshot, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::deployment::{DeployError, Deployment, InstanceStatus, Live, Plan, Removed};
use crate::egress::EgressProxy;
use crate::probe::{Probe, Target};
use crate::public::PublicSockets;
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
    /// How often what is there is compared with what should be: sockets, what the runtime runs, and whether servers answer.
    pub sweep_every: Duration,
    /// Checks in a row, one with each sweep, that a server may fail before its process is ended and started again.
    pub misses_allowed: u32,
}

impl Default for DeployLimits {
    fn default() -> Self {
        Self {
            start_timeout: Duration::from_secs(20),
            probe_timeout: Duration::from_secs(20),
            drain_timeout: Duration::from_secs(60),
            steady_after: Duration::from_secs(30),
            concurrent_starts: 8,
            sweep_every: Duration::from_secs(60),
            misses_allowed: 2,
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
    /// Whether what an earlier life has left was removed: it may have the names that are needed now.
    swept: watch::Sender<bool>,
    public: OnceLock<PublicSockets>,
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
        let (state, removed, public) = (Mutex::default(), Notify::new(), OnceLock::new());
        let inner = Arc::new(Inner {
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
        tokio::spawn(sweep(Arc::downgrade(&inner)));
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

    fn wish(
        self: &Arc<Self>,
        plan: Arc<Plan>,
        verdict: oneshot::Sender<Result<Live, DeployError>>,
        state: &mut State,
    ) {
        let slug = plan.slug.clone();
        let server = state.servers.entry(slug.clone()).or_default();
        server.overtake();
        server.wish = Some(Arc::clone(&plan));
        server.waiting = Some(Waiting {
            plan,
            verdict,
            error: None,
        });
        self.step(&slug, state);
    }

    /// Acts on one server until there is nothing to do but to wait. Long work runs in tasks that come back here.
    fn step(self: &Arc<Self>, slug: &str, state: &mut State) {
        while let Some(server) = state.servers.get_mut(slug) {
            let (wishes, observed) = server.observe(slug);
            let plan = reconcile(&wishes, &observed);
            for action in &plan {
                tracing::debug!(slug, ?action, "deployer");
                let acted = self.act(action, slug, server);
                tracing::trace!(slug, ?action, acted, "done");
                if !acted {
                    // What comes after it was to come after it: the next plan is made from what is.
                    break;
                }
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

    /// Takes a step; `false` if it could not be taken, and has been given up.
    fn act(self: &Arc<Self>, action: &Action, slug: &str, server: &mut Server) -> bool {
        match action {
            Action::Start { .. } => self.start_new(slug, server),
            Action::Unroute { .. } => {
                self.routes.remove(slug);
                if let Some(public) = self.public.get() {
                    public.remove(slug);
                }
                server.live = None;
                server.instances.values_mut().for_each(|one| one.routed = false);
                tracing::info!(slug, "not routed any more");
            }
            Action::Route { instance, .. } => return self.route(slug, *instance, server),
            Action::Probe { instance } => {
                let Some(one) = server.instances.get_mut(instance) else {
                    return true;
                };
                one.phase = Phase::Probing;
                tokio::spawn(Arc::clone(self).probe(Arc::clone(&one.plan), Arc::clone(&one.seat)));
            }
            Action::Restart { instance } => {
                let Some(one) = server.instances.get_mut(instance) else {
                    return true;
                };
                one.phase = Phase::Restarting;
                one.restarts += 1;
                tokio::spawn(Arc::clone(self).run(Arc::clone(&one.plan), Arc::clone(&one.seat)));
            }
            Action::Drain { instance } => {
                let Some(one) = server.instances.get_mut(instance) else {
                    return true;
                };
                one.phase = Phase::Draining;
                one.end(if one.served { Ending::Drain } else { Ending::Kill });
            }
            Action::Remove { instance } => {
                if let Some(mut one) = server.instances.remove(instance) {
                    one.seat.leave();
                    one.bid_farewell();
                    self.removed.notify_waiters();
                }
            }
        }
        true
    }

    /// Leads requests to an instance: by its public socket first, which may fail.
    fn route(&self, slug: &str, instance: u64, server: &mut Server) -> bool {
        let Some(chosen) = server.instances.get(&instance) else {
            return true;
        };
        let (plan, upstream) = (Arc::clone(&chosen.plan), Arc::clone(&chosen.seat.upstream));
        let led = match self.public.get() {
            Some(public) => public
                .lead(slug, upstream.socket())
                .map_err(|error| format!("cannot make its public socket: {error}")),
            None => Ok(()),
        };
        tracing::trace!(slug, ?led, "its public socket leads to it");
        let set = || self.routes.set(slug, upstream).map_err(|error| error.to_string());
        if let Err(reason) = led.and_then(|()| set().map(drop)) {
            let (slug, revision) = (plan.slug.clone(), plan.revision.clone());
            server.give_up(
                &plan,
                DeployError::Start {
                    slug,
                    revision,
                    reason,
                },
            );
            return false;
        }
        tracing::info!(slug, revision = plan.revision, "routed");
        server.led_to(&plan);
        for (number, one) in &mut server.instances {
            one.routed = *number == instance;
            one.served |= one.routed;
        }
        true
    }

    fn start_new(self: &Arc<Self>, slug: &str, server: &mut Server) {
        let Some(plan) = server.wish.clone() else { return };
        match self.runtime.seats().seat(slug) {
            Ok(seat) => {
                tracing::trace!(slug, seat = seat.number, "a socket is there");
                let seat = Arc::new(seat);
                let instance = Instance::new(Arc::clone(&plan), Arc::clone(&seat));
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
        let mut swept = self.swept.subscribe();
        let _ = timeout(self.limits.start_timeout, swept.wait_for(|swept| *swept)).await;
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
        let within = match ending {
            Ending::Drain => self.limits.drain_timeout,
            Ending::DrainSoon => self.limits.drain_timeout.min(SOON),
            Ending::Kill => Duration::ZERO,
        };
        if !within.is_zero() {
            let deadline = Instant::now() + within;
            // Requests that were led here just before the route moved may still be on their way in. What has arrived need not be
            // waited for: streams that only listen should hear soon that they are to listen elsewhere.
            let arrived = deadline.min(Instant::now() + ARRIVAL);
            tokio::select! {
                how = runner.ended() => return how,
                _ = timeout_at(arrived, seat.upstream.answered()) => {}
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
            // One that serves again goes on being led to while it is checked.
            one.phase = Phase::Ready;
            one.misses = 0;
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
        one.last = running.as_ref().map(|running| (running.pid, how.to_owned()));
        match one.phase {
            Phase::Draining => {
                tracing::info!(slug = plan.slug, revision = plan.revision, how, "runner retired");
                one.phase = Phase::Gone;
            }
            Phase::Ready | Phase::Probing if !one.routed => {
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

    /// Gives sockets the names back that somebody has taken away, and removes what nobody uses.
    fn mend(self: &Arc<Self>) {
        let mut state = self.lock();
        for one in state
            .servers
            .values_mut()
            .flat_map(|server| server.instances.values_mut())
        {
            if one.phase != Phase::Healthy || one.seat.is_there() {
                continue;
            }
            let public = self.public.get().map(|public| public.socket(&one.plan.slug));
            let socket = one.seat.upstream.socket();
            match one.seat.mend(public.as_deref()) {
                Ok(false) => tracing::warn!(socket = %socket.display(), "the socket was gone, and is back"),
                Ok(true) => {
                    tracing::warn!(socket = %socket.display(), "the socket was gone: another one, for another process");
                    one.end(Ending::DrainSoon);
                }
                Err(error) => tracing::error!(socket = %socket.display(), %error, "the socket is gone"),
            }
        }
        let in_use = state.sockets();
        match self.runtime.seats().sweep(&in_use) {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "removed sockets that nobody uses"),
            Err(error) => tracing::warn!(%error, "cannot look for sockets that nobody uses"),
        }
        let Some(public) = self.public.get() else { return };
        match public.mend(&state.routed()) {
            Ok(0) => {}
            Ok(mended) => tracing::warn!(mended, "public sockets were not as they should be, and are now"),
            Err(error) => tracing::error!(%error, "cannot mend the public sockets"),
        }
    }

    /// Asks every server whether it still answers; one that does not, again and again, is ended, and started again as after a fall.
    async fn look_after(self: &Arc<Self>) {
        let serving: Vec<(Arc<Plan>, Arc<Seat>, u64)> = {
            let state = self.lock();
            let instances = state
                .servers
                .values()
                .flat_map(|server| server.instances.values());
            instances
                .filter(|one| one.routed && one.phase == Phase::Healthy)
                .map(|one| (Arc::clone(&one.plan), Arc::clone(&one.seat), one.restarts))
                .collect()
        };
        let checks = serving.into_iter().map(|(plan, seat, restarts)| async move {
            let found = self.check(&plan, &seat).await;
            let mut state = self.lock();
            let Some(one) = state
                .instance(&plan.slug, seat.number)
                .filter(|one| one.phase == Phase::Healthy && one.routed && one.restarts == restarts)
            else {
                return;
            };
            let Err(reason) = found else {
                one.misses = 0;
                return;
            };
            one.misses += 1;
            let (slug, misses) = (&plan.slug, one.misses);
            tracing::warn!(slug, misses, reason, "a server does not pass its check any more");
            if one.misses > self.limits.misses_allowed {
                one.end(Ending::Kill);
            }
        });
        futures_util::stream::iter(checks)
            .buffer_unordered(LOOKED_AFTER_AT_A_TIME)
            .for_each(|()| std::future::ready(()))
            .await;
    }

    async fn check(&self, plan: &Plan, seat: &Seat) -> Result<(), String> {
        let target = Target {
            slug: plan.slug.clone(),
            revision: plan.revision.clone(),
            socket: PathBuf::from(seat.upstream.socket()),
        };
        timeout(self.limits.probe_timeout, self.probe.check(&target))
            .await
            .unwrap_or_else(|_| Err("it did not answer the health check in time".to_owned()))
    }

    async fn probe(self: Arc<Self>, plan: Arc<Plan>, seat: Arc<Seat>) {
        let found = self.check(&plan, &seat).await;
        let mut state = self.lock();
        let Some(one) = state
            .instance(&plan.slug, seat.number)
            .filter(|one| one.phase == Phase::Probing)
        else {
            return;
        };
        match found {
            Ok(()) => one.phase = Phase::Healthy,
            Err(reason) if one.routed => {
                tracing::error!(
                    slug = plan.slug,
                    revision = plan.revision,
                    reason,
                    "not healthy any more"
                );
                // Its end is a fall as any other.
                one.phase = Phase::Restarting;
                one.end(Ending::Kill);
            }
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

/// Compares what is there with what should be, at once and again and again, as long as there is a deployer.
async fn sweep(deployer: Weak<Inner>) {
    loop {
        let Some(inner) = deployer.upgrade() else { return };
        match inner.runtime.sweep().await {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "removed what was left behind"),
            Err(error) => tracing::warn!(error = chain(&error), "cannot look for what was left behind"),
        }
        inner.swept.send_replace(true);
        inner.mend();
        inner.look_after().await;
        let pause = inner.limits.sweep_every;
        drop(inner);
        sleep(pause).await;
    }
}

/// For requests that were led to an upstream to be connected and sent: above the time that a connection may take.
const ARRIVAL: Duration = Duration::from_secs(3);

/// For what is in flight in a process that cannot be reached any more.
const SOON: Duration = Duration::from_secs(2);

/// Servers asked at a time whether they still answer.
const LOOKED_AFTER_AT_A_TIME: usize = 4;

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
