//! What the deployer knows: per server what is wished for, what serves, what is there, and who waits for it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::deployment::{DeployError, InstanceStatus, Live, Plan, Retired};
use crate::hardening::HardeningReport;
use crate::reconcile::{Observed, Phase, Wish};
use crate::seat::Seat;

#[derive(Default)]
pub(crate) struct State {
    pub(crate) servers: HashMap<String, Server>,
    pub(crate) shutting_down: bool,
}

/// One slug.
#[derive(Default)]
pub(crate) struct Server {
    pub(crate) wish: Option<Arc<Plan>>,
    /// What requests are led to: the wish to fall back on.
    pub(crate) live: Option<Arc<Plan>>,
    /// What requests were led to before that, to go back to.
    pub(crate) previous: Option<Arc<Plan>>,
    pub(crate) waiting: Option<Waiting>,
    pub(crate) instances: BTreeMap<u64, Instance>,
}

/// A caller of `roll`.
pub(crate) struct Waiting {
    pub(crate) plan: Arc<Plan>,
    pub(crate) verdict: oneshot::Sender<Result<Live, DeployError>>,
    /// Told once nothing is left of the plan.
    pub(crate) error: Option<DeployError>,
}

pub(crate) struct Instance {
    pub(crate) plan: Arc<Plan>,
    pub(crate) seat: Arc<Seat>,
    pub(crate) phase: Phase,
    pub(crate) routed: bool,
    /// Whether requests were ever led to it.
    pub(crate) served: bool,
    pub(crate) running: Option<Running>,
    /// Falls in a row.
    pub(crate) falls: u32,
    pub(crate) restarts: u64,
    /// Checks in a row that it did not pass while it served.
    pub(crate) misses: u32,
    pub(crate) last: Option<(u32, String)>,
    /// Told once it is gone.
    pub(crate) farewells: Vec<oneshot::Sender<Retired>>,
}

pub(crate) struct Running {
    pub(crate) pid: u32,
    pub(crate) report: HardeningReport,
    pub(crate) since: Instant,
    pub(crate) end: Option<oneshot::Sender<Ending>>,
}

/// How a process that nobody wants is to end.
pub(crate) enum Ending {
    /// After what is in flight.
    Drain,
    /// After what is in flight, if that does not take long: it cannot be reached any more.
    DrainSoon,
    /// At once: no request was ever led to it, or it does not answer.
    Kill,
}

impl Server {
    /// What [`reconcile`](crate::reconcile()) decides on.
    pub(crate) fn observe(&self, slug: &str) -> (Vec<Wish>, Vec<Observed>) {
        let wish = self.wish.iter().map(|plan| Wish {
            slug: slug.to_owned(),
            revision: plan.revision.clone(),
        });
        let instances = self.instances.iter().map(|(number, one)| Observed {
            slug: slug.to_owned(),
            revision: one.plan.revision.clone(),
            instance: *number,
            phase: one.phase,
            routed: one.routed,
        });
        (wish.collect(), instances.collect())
    }

    /// Of plans with the same revision the one that is there stays, so that its instances remain its own.
    pub(crate) fn known(&self, plan: Arc<Plan>) -> Arc<Plan> {
        [&self.wish, &self.live, &self.previous]
            .into_iter()
            .flatten()
            .find(|known| known.revision == plan.revision)
            .map_or(plan, Arc::clone)
    }

    /// Requests are led to `plan` from now on.
    pub(crate) fn led_to(&mut self, plan: &Arc<Plan>) {
        if self.live.as_ref().is_some_and(|live| Arc::ptr_eq(live, plan)) {
            return;
        }
        if let Some(before) = self.live.replace(Arc::clone(plan)) {
            self.previous = Some(before);
        }
    }

    pub(crate) fn overtake(&mut self) {
        if let Some(Waiting { plan, verdict, .. }) = self.waiting.take() {
            let (slug, revision) = (plan.slug.clone(), plan.revision.clone());
            // Nobody may be waiting any more.
            let _ = verdict.send(Err(DeployError::Overtaken { slug, revision }));
        }
    }

    /// The wished revision is unfit: what serves is wished for again, or nothing.
    pub(crate) fn give_up(&mut self, plan: &Arc<Plan>, error: DeployError) {
        if self.wish.as_ref().is_none_or(|wish| !Arc::ptr_eq(wish, plan)) {
            return;
        }
        self.wish = self.live.clone().filter(|live| !Arc::ptr_eq(live, plan));
        if let Some(waiting) = &mut self.waiting {
            waiting.error = Some(error);
        }
    }

    /// Tells the caller of `roll` once the wish is what serves, or is given up and nothing is left of it.
    pub(crate) fn tell(&mut self) {
        let Some(mut waiting) = self.waiting.take() else {
            return;
        };
        if let Some(error) = waiting.error.take() {
            if self
                .instances
                .values()
                .any(|one| Arc::ptr_eq(&one.plan, &waiting.plan))
            {
                waiting.error = Some(error);
                self.waiting = Some(waiting);
            } else {
                let _ = waiting.verdict.send(Err(error));
            }
            return;
        }
        let live = self.instances.values().find_map(|one| {
            let running = one
                .running
                .as_ref()
                .filter(|_| one.routed && one.phase == Phase::Healthy)?;
            (one.plan.revision == waiting.plan.revision).then(|| Live {
                slug: one.plan.slug.clone(),
                revision: one.plan.revision.clone(),
                pid: running.pid,
                socket: PathBuf::from(one.seat.upstream.socket()),
                report: running.report.clone(),
            })
        });
        match live {
            Some(live) => drop(waiting.verdict.send(Ok(live))),
            None => self.waiting = Some(waiting),
        }
    }
}

impl Instance {
    pub(crate) fn new(plan: Arc<Plan>, seat: Arc<Seat>) -> Self {
        Self {
            plan,
            seat,
            phase: Phase::Starting,
            routed: false,
            served: false,
            running: None,
            falls: 0,
            restarts: 0,
            misses: 0,
            last: None,
            farewells: Vec::new(),
        }
    }

    /// Asks its process to end. It may have ended just now, which is then on its way to be told.
    pub(crate) fn end(&mut self, ending: Ending) {
        if let Some(end) = self.running.as_mut().and_then(|running| running.end.take()) {
            let _ = end.send(ending);
        }
    }

    /// Tells who waits for it that it is gone.
    pub(crate) fn bid_farewell(&mut self) {
        let (pid, how) = self.last.take().unzip();
        let revision = self.plan.revision.clone();
        let retired = Retired { revision, pid, how };
        for told in self.farewells.drain(..) {
            let _ = told.send(retired.clone());
        }
    }

    pub(crate) fn status(&self) -> InstanceStatus {
        InstanceStatus {
            slug: self.plan.slug.clone(),
            revision: self.plan.revision.clone(),
            phase: self.phase,
            routed: self.routed,
            pid: self.running.as_ref().map(|running| running.pid),
            restarts: self.restarts,
            report: self.running.as_ref().map(|running| running.report.clone()),
        }
    }
}

impl State {
    /// Where somebody listens or is to.
    pub(crate) fn sockets(&self) -> HashSet<&Path> {
        let instances = self.servers.values().flat_map(|server| server.instances.values());
        instances.map(|one| one.seat.upstream.socket()).collect()
    }

    /// Which slug is led to which socket.
    pub(crate) fn routed(&self) -> HashMap<&str, &Path> {
        let instances = self.servers.values().flat_map(|server| server.instances.values());
        instances
            .filter(|one| one.routed)
            .map(|one| (one.plan.slug.as_str(), one.seat.upstream.socket()))
            .collect()
    }

    pub(crate) fn instance(&mut self, slug: &str, number: u64) -> Option<&mut Instance> {
        self.servers.get_mut(slug)?.instances.get_mut(&number)
    }
}
