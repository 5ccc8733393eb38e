//! Keeps what is wished for running: rolls revisions, restarts what falls, ends what nobody wants.
//!
//! All decisions are [`reconcile`]'s. This file holds the state it decides on, does what it says, and asks again whenever
//! something has happened.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, oneshot, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::chain::chain;
use crate::deployment::{DeployError, Live, Plan};
use crate::egress::EgressProxy;
use crate::limits::DeployLimits;
use crate::probe::{Probe, Target};
use crate::public::PublicSockets;
use crate::reconcile::{Action, Phase, reconcile};
use crate::routes::Routes;
use crate::runner::{self, Runner};
use crate::runtime::Runtime;
use crate::seat::Seat;
use crate::state::{Ending, Instance, Running, Server, State, Waiting};

/// The state, and what acts on it.
pub(crate) struct Keeper {
    pub(crate) runtime: Box<dyn Runtime>,
    pub(crate) routes: Routes,
    pub(crate) egress: EgressProxy,
    pub(crate) probe: Arc<dyn Probe>,
    pub(crate) limits: DeployLimits,
    pub(crate) starts: Semaphore,
    /// Whether what an earlier life has left was removed: it may have the names that are needed now.
    pub(crate) swept: watch::Sender<bool>,
    pub(crate) public: OnceLock<PublicSockets>,
    pub(crate) state: Mutex<State>,
    /// Signalled whenever an instance is forgotten.
    pub(crate) removed: Notify,
}

impl Keeper {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) async fn gone(&self, is_gone: impl Fn(&State) -> bool) {
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

    pub(crate) fn wish(
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
    pub(crate) fn step(self: &Arc<Self>, slug: &str, state: &mut State) {
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
                    if let Some(next) = server.instances.values().find(|next| next.routed && one.served) {
                        let (seat, to) = (Arc::clone(&one.seat), Arc::clone(&next.seat.upstream));
                        let within = self.limits.drain_timeout;
                        tokio::spawn(async move { timeout(within, seat.pass_on(to.socket())).await });
                    }
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

    pub(crate) async fn check(&self, plan: &Plan, seat: &Seat) -> Result<(), String> {
        let routed = self
            .lock()
            .instance(&plan.slug, seat.number)
            .is_some_and(|one| one.routed);
        let target = Target {
            routed,
            expectation: Arc::clone(&plan.expectation),
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

/// For requests that were led to an upstream to be connected and sent: above the time that a connection may take.
const ARRIVAL: Duration = Duration::from_secs(3);

/// For what is in flight in a process that cannot be reached any more.
const SOON: Duration = Duration::from_secs(2);

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
