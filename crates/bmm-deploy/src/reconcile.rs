//! What to do next, from what is wanted and what is there. Pure: the deployer acts on the plan and asks again.

use std::collections::{BTreeMap, BTreeSet};

/// A revision that should serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// The server.
    pub slug: String,
    /// The revision of it.
    pub revision: String,
}

/// An instance that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// The server.
    pub slug: String,
    /// The revision it runs.
    pub revision: String,
    /// Its number, unique on this host.
    pub instance: u64,
    /// How far it is.
    pub phase: Phase,
    /// Whether the server's requests are led to it.
    pub routed: bool,
}

/// How far an instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// On its way up.
    Starting,
    /// Serving on its socket, not checked yet, or not since it was started again.
    Ready,
    /// Being checked.
    Probing,
    /// Checked and serving.
    Healthy,
    /// Never came up, or the check found it unfit.
    Failed,
    /// Was healthy and ended by itself.
    Down {
        /// Whether it may be started again now, as opposed to after a pause.
        due: bool,
    },
    /// On its way up again.
    Restarting,
    /// Finishing what is in flight.
    Draining,
    /// Ended after draining.
    Gone,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Start a new instance.
    Start {
        /// The server.
        slug: String,
        /// The revision to run.
        revision: String,
    },
    /// Check an instance that is ready.
    Probe {
        /// The instance.
        instance: u64,
    },
    /// Lead the server's requests to this instance and to no other.
    Route {
        /// The server.
        slug: String,
        /// The instance.
        instance: u64,
    },
    /// Lead the server's requests nowhere.
    Unroute {
        /// The server.
        slug: String,
    },
    /// Start a process again, in its place and on its socket.
    Restart {
        /// The instance.
        instance: u64,
    },
    /// Let an instance finish and end.
    Drain {
        /// The instance.
        instance: u64,
    },
    /// Forget an instance and delete what it leaves.
    Remove {
        /// The instance.
        instance: u64,
    },
}

/// The next steps, in the order in which to take them. Empty when nothing is to do but to wait.
///
/// - A route moves only to a healthy instance, and moves before anything that served is drained.
/// - What serves is kept, restarted included, until something better serves.
/// - Instances that nobody wants end, wherever they come from.
///
/// One wish per slug: of several, the last counts.
pub fn reconcile(wishes: &[Wish], observed: &[Observed]) -> Vec<Action> {
    let wishes: BTreeMap<&str, &Wish> = wishes.iter().map(|wish| (wish.slug.as_str(), wish)).collect();
    let slugs: BTreeSet<&str> = wishes
        .keys()
        .copied()
        .chain(observed.iter().map(|one| one.slug.as_str()))
        .collect();
    let mut plan = Vec::new();
    for slug in slugs {
        let there: Vec<&Observed> = observed.iter().filter(|one| one.slug == slug).collect();
        match wishes.get(slug) {
            Some(wish) => keep(wish, &there, &mut plan),
            None => end(slug, &there, &mut plan),
        }
    }
    plan
}

fn keep(wish: &Wish, there: &[&Observed], plan: &mut Vec<Action>) {
    let chosen = there
        .iter()
        .filter(|one| one.revision == wish.revision)
        .filter_map(|one| rank(one).map(|rank| (rank, one.instance, *one)))
        .min_by_key(|(rank, instance, _)| (*rank, *instance))
        .map(|(_, _, one)| one);
    match chosen {
        // One that failed is cleared away first: a try at a time.
        None if there
            .iter()
            .any(|one| one.revision == wish.revision && one.phase == Phase::Failed) => {}
        None => plan.push(Action::Start {
            slug: wish.slug.clone(),
            revision: wish.revision.clone(),
        }),
        Some(one) => match one.phase {
            Phase::Ready => plan.push(Action::Probe {
                instance: one.instance,
            }),
            Phase::Healthy if !one.routed => {
                plan.push(Action::Route {
                    slug: wish.slug.clone(),
                    instance: one.instance,
                });
            }
            Phase::Down { due: true } => plan.push(Action::Restart {
                instance: one.instance,
            }),
            _ => {}
        },
    }
    let chosen_serves = chosen.is_some_and(|one| one.phase == Phase::Healthy);
    for one in there
        .iter()
        .filter(|one| chosen.is_none_or(|chosen| chosen.instance != one.instance))
    {
        let serves_meanwhile = one.routed && !chosen_serves;
        match one.phase {
            Phase::Down { due: true } if serves_meanwhile => plan.push(Action::Restart {
                instance: one.instance,
            }),
            Phase::Ready if serves_meanwhile => plan.push(Action::Probe {
                instance: one.instance,
            }),
            Phase::Healthy | Phase::Probing | Phase::Down { .. } | Phase::Restarting if serves_meanwhile => {}
            phase => retire(one.instance, phase, plan),
        }
    }
}

fn end(slug: &str, there: &[&Observed], plan: &mut Vec<Action>) {
    if there.iter().any(|one| one.routed) {
        plan.push(Action::Unroute {
            slug: slug.to_owned(),
        });
    }
    for one in there {
        retire(one.instance, one.phase, plan);
    }
}

fn retire(instance: u64, phase: Phase, plan: &mut Vec<Action>) {
    match phase {
        Phase::Ready | Phase::Healthy => plan.push(Action::Drain { instance }),
        Phase::Failed | Phase::Down { .. } | Phase::Gone => plan.push(Action::Remove { instance }),
        // What is under way reports its end, and is judged then.
        Phase::Starting | Phase::Probing | Phase::Restarting | Phase::Draining => {}
    }
}

/// Which of several instances of the wished revision to keep, lowest first; `None` for those past keeping.
fn rank(one: &Observed) -> Option<u8> {
    Some(match (one.phase, one.routed) {
        (Phase::Healthy, true) => 0,
        (Phase::Healthy, false) => 1,
        (Phase::Ready | Phase::Probing | Phase::Down { .. } | Phase::Restarting, true) => 2,
        (Phase::Ready | Phase::Probing, false) => 3,
        (Phase::Starting, _) => 4,
        (Phase::Down { .. } | Phase::Restarting, false) => 5,
        (Phase::Failed | Phase::Draining | Phase::Gone, _) => return None,
    })
}
