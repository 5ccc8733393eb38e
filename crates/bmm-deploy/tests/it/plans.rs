//! Properties of the plan: applying it again and again brings what is wished for, and never a gap on the way.

use bmm_deploy::{Action, Observed, Phase, Wish, reconcile};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::trials;

trials!(
    applying_the_plan_converges,
    what_serves_goes_on_serving_until_the_next_does,
    a_wish_that_is_fulfilled_needs_nothing,
    a_failed_instance_is_removed_before_the_next_try,
);

const SLUGS: [&str; 2] = ["a", "b"];

fn phases() -> impl Strategy<Value = Phase> {
    prop_oneof![
        Just(Phase::Starting),
        Just(Phase::Ready),
        Just(Phase::Probing),
        Just(Phase::Healthy),
        Just(Phase::Failed),
        any::<bool>().prop_map(|due| Phase::Down { due }),
        Just(Phase::Restarting),
        Just(Phase::Draining),
        Just(Phase::Gone),
    ]
}

/// Any state that can be: at most one instance of a slug is routed, and only one that was found healthy once.
fn worlds() -> impl Strategy<Value = (Vec<Wish>, Vec<Observed>)> {
    let wish = |slug: &'static str| {
        prop::option::of((1..4_u8).prop_map(move |revision| Wish {
            slug: slug.into(),
            revision: revision.to_string(),
        }))
    };
    let instances = prop::collection::vec((0..SLUGS.len(), 1..4_u8, phases(), any::<bool>()), 0..8);
    (wish(SLUGS[0]), wish(SLUGS[1]), instances).prop_map(|(a, b, instances)| {
        let mut routed_slugs = Vec::new();
        let observed = instances
            .into_iter()
            .enumerate()
            .map(|(number, (slug, revision, phase, routed))| {
                // One that was started again is checked while requests are led to it.
                let serves = matches!(
                    phase,
                    Phase::Ready | Phase::Probing | Phase::Healthy | Phase::Down { .. } | Phase::Restarting
                );
                let routed = routed && serves && !routed_slugs.contains(&slug);
                if routed {
                    routed_slugs.push(slug);
                }
                let (slug, revision) = (SLUGS[slug].to_owned(), revision.to_string());
                Observed {
                    slug,
                    revision,
                    instance: number as u64,
                    phase,
                    routed,
                }
            })
            .collect();
        (a.into_iter().chain(b).collect(), observed)
    })
}

/// The world does what the plan says, and what is under way comes to its end.
fn apply(world: &mut Vec<Observed>, plan: &[Action]) {
    for action in plan {
        let find = |world: &mut Vec<Observed>, number: u64| {
            world
                .iter()
                .position(|one| one.instance == number)
                .expect("the plan speaks of what is there")
        };
        match action {
            Action::Start { slug, revision } => {
                let instance = world.iter().map(|one| one.instance + 1).max().unwrap_or(0);
                let (slug, revision) = (slug.clone(), revision.clone());
                world.push(Observed {
                    slug,
                    revision,
                    instance,
                    phase: Phase::Starting,
                    routed: false,
                });
            }
            Action::Probe { instance } => {
                let at = find(world, *instance);
                assert_eq!(world[at].phase, Phase::Ready);
                world[at].phase = Phase::Probing;
            }
            Action::Route { slug, instance } => {
                let at = find(world, *instance);
                assert_eq!(
                    world[at].phase,
                    Phase::Healthy,
                    "routed before it was found healthy"
                );
                world
                    .iter_mut()
                    .filter(|one| &one.slug == slug)
                    .for_each(|one| one.routed = one.instance == *instance);
            }
            Action::Unroute { slug } => {
                world
                    .iter_mut()
                    .filter(|one| &one.slug == slug)
                    .for_each(|one| one.routed = false);
            }
            Action::Restart { instance } => {
                let at = find(world, *instance);
                assert_eq!(world[at].phase, Phase::Down { due: true });
                world[at].phase = Phase::Restarting;
            }
            Action::Drain { instance } => {
                let at = find(world, *instance);
                assert!(!world[at].routed, "drained while requests were led to it");
                world[at].phase = Phase::Draining;
            }
            Action::Remove { instance } => {
                let at = find(world, *instance);
                assert!(!world[at].routed, "removed while requests were led to it");
                world.remove(at);
            }
        }
    }
    for one in world {
        one.phase = match one.phase {
            Phase::Starting => Phase::Ready,
            Phase::Restarting => Phase::Ready,
            Phase::Probing => Phase::Healthy,
            Phase::Down { .. } => Phase::Down { due: true },
            Phase::Draining => Phase::Gone,
            phase => phase,
        };
    }
}

fn check(property: impl Fn(Vec<Wish>, Vec<Observed>) -> Result<(), TestCaseError>) {
    let mut config = ProptestConfig::with_cases(4000);
    config.failure_persistence = None;
    TestRunner::new(config)
        .run(&worlds(), |(wishes, world)| property(wishes, world))
        .unwrap();
}

async fn applying_the_plan_converges() {
    check(|wishes, mut world| {
        let mut rounds = 0;
        loop {
            let plan = reconcile(&wishes, &world);
            let before = world.clone();
            apply(&mut world, &plan);
            if plan.is_empty() && before == world {
                break;
            }
            rounds += 1;
            prop_assert!(rounds < 20, "no end: {world:?}");
        }
        prop_assert_eq!(world.len(), wishes.len());
        for wish in &wishes {
            let serving = world
                .iter()
                .filter(|one| one.slug == wish.slug)
                .collect::<Vec<_>>();
            prop_assert!(matches!(
                serving.as_slice(),
                [one] if one.routed && one.phase == Phase::Healthy && one.revision == wish.revision
            ));
        }
        Ok(())
    });
}

async fn what_serves_goes_on_serving_until_the_next_does() {
    check(|wishes, mut world| {
        let serves = |world: &[Observed], slug: &str| world.iter().any(|one| one.slug == slug && one.routed);
        let served: Vec<&Wish> = wishes.iter().filter(|wish| serves(&world, &wish.slug)).collect();
        for _ in 0..20 {
            let plan = reconcile(&wishes, &world);
            apply(&mut world, &plan);
            for wish in &served {
                prop_assert!(
                    serves(&world, &wish.slug),
                    "{} was served and is not: {plan:?}",
                    wish.slug
                );
            }
        }
        Ok(())
    });
}

async fn a_wish_that_is_fulfilled_needs_nothing() {
    let wish = Wish {
        slug: "a".into(),
        revision: "1".into(),
    };
    let there = Observed {
        slug: "a".into(),
        revision: "1".into(),
        instance: 3,
        phase: Phase::Healthy,
        routed: true,
    };
    assert_eq!(reconcile(&[wish], &[there]), []);
}

async fn a_failed_instance_is_removed_before_the_next_try() {
    let wish = Wish {
        slug: "a".into(),
        revision: "1".into(),
    };
    let failed = Observed {
        slug: "a".into(),
        revision: "1".into(),
        instance: 3,
        phase: Phase::Failed,
        routed: false,
    };
    assert_eq!(
        reconcile(std::slice::from_ref(&wish), &[failed]),
        [Action::Remove { instance: 3 }]
    );
    assert_eq!(
        reconcile(&[wish], &[]),
        [Action::Start {
            slug: "a".into(),
            revision: "1".into()
        }]
    );
}
