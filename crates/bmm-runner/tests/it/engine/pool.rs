//! The worker processes: killed, busy, cancelled, worn out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bmm_cage::Launcher;
use bmm_runner::engine::{EngineLimits, ToolCall, ToolEngine, ToolFailure, ToolHost};
use libtest_mimic::Trial;
use serde_json::json;

use super::{Bench, FakeHost, body, limits};

pub(super) fn cases(launcher: &Launcher) -> Vec<Trial> {
    trials![launcher:
        a_killed_worker_is_a_failure_and_the_next_call_succeeds,
        calls_run_side_by_side,
        each_call_under_way_brings_a_spare,
        a_full_queue_refuses,
        a_cancelled_call_frees_its_worker,
        a_worker_is_replaced_after_its_share_of_calls,
    ]
}

fn a_killed_worker_is_a_failure_and_the_next_call_succeeds(launcher: &Launcher) {
    let bench = Bench::new(
        launcher,
        &[body("ctx.log('here'); for (;;);"), body("return 7;")],
        EngineLimits::default(),
    );
    let engine = bench.caged.clone().expect("caged");
    let host = Arc::<FakeHost>::default();
    let failure = bench.runtime.block_on(async {
        let call = engine.call(
            ToolCall {
                tool: 0,
                input: json!({}),
            },
            Arc::clone(&host) as Arc<dyn ToolHost>,
        );
        let killing = async {
            while host.said().is_empty() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            for worker in engine
                .workers()
                .into_iter()
                .filter_map(|pid| rustix::process::Pid::from_raw(pid.cast_signed()))
            {
                let _ = rustix::process::kill_process(worker, rustix::process::Signal::KILL);
            }
        };
        let (outcome, ()) = futures_util::future::join(call, killing).await;
        outcome
    });
    assert_eq!(failure, Err(ToolFailure::Crashed));
    // The idle ones were killed as well, and may not be quite dead yet.
    let deadline = Instant::now() + Duration::from_secs(10);
    while bench.call(1) != Ok(json!(7)) {
        assert!(Instant::now() < deadline, "no worker came back");
    }
}

fn calls_run_side_by_side(launcher: &Launcher) {
    let mut limits = EngineLimits::default();
    limits.workers = 3;
    let bench = Bench::new(
        launcher,
        &[body(
            "return (await ctx.fetch('https://api.example.com/' + input.n)).url;",
        )],
        limits,
    );
    // Each fetch waits until all three calls have one under way.
    let host = Arc::new(FakeHost {
        together: 3,
        ..FakeHost::default()
    });
    let outputs = bench.runtime.block_on(async {
        let calls = (0..3).map(|n| {
            bench.engine.call(
                ToolCall {
                    tool: 0,
                    input: json!({ "n": n }),
                },
                Arc::clone(&host) as Arc<dyn ToolHost>,
            )
        });
        futures_util::future::join_all(calls).await
    });
    for (n, output) in outputs.into_iter().enumerate() {
        assert_eq!(
            output.expect("it returns").value,
            json!(format!("https://api.example.com/{n}"))
        );
    }
}

fn each_call_under_way_brings_a_spare(launcher: &Launcher) {
    let mut limits = EngineLimits::default();
    (limits.workers, limits.warm_workers) = (3, 1);
    let code = body("return (await ctx.fetch('https://api.example.com/')).status;");
    let bench = Bench::new(launcher, &[code], limits);
    let engine = bench.caged.clone().expect("caged");
    assert_eq!(engine.workers().len(), 1, "nobody has called");
    let host = Arc::new(FakeHost {
        together: 3,
        ..FakeHost::default()
    });
    bench.runtime.block_on(async {
        let calls = (0..3).map(|_| {
            let call = ToolCall {
                tool: 0,
                input: json!({}),
            };
            bench.engine.call(call, Arc::clone(&host) as Arc<dyn ToolHost>)
        });
        for output in futures_util::future::join_all(calls).await {
            assert!(output.is_ok(), "{output:?}");
        }
    });
    let workers = engine.workers().len();
    assert!((3..=4).contains(&workers), "{workers}");
}

fn a_full_queue_refuses(launcher: &Launcher) {
    let mut limits = limits();
    (limits.workers, limits.queue) = (1, 1);
    let bench = Bench::new(
        launcher,
        &[body("await ctx.fetch('https://never.example.com');")],
        limits,
    );
    let outcomes = bench.runtime.block_on(async {
        let calls = (0..4).map(|_| {
            bench.engine.call(
                ToolCall {
                    tool: 0,
                    input: json!({}),
                },
                Arc::<FakeHost>::default(),
            )
        });
        futures_util::future::join_all(calls).await
    });
    let refused = outcomes
        .iter()
        .filter(|outcome| **outcome == Err(ToolFailure::Overloaded))
        .count();
    assert_eq!(refused, 2, "{outcomes:?}");
}

fn a_cancelled_call_frees_its_worker(launcher: &Launcher) {
    let mut limits = EngineLimits::default();
    limits.workers = 1;
    let bench = Bench::new(
        launcher,
        &[body("ctx.log('here'); for (;;);"), body("return 7;")],
        limits,
    );
    for _ in 0..3 {
        let host = Arc::<FakeHost>::default();
        bench.runtime.block_on(async {
            let mut call = bench.engine.call(
                ToolCall {
                    tool: 0,
                    input: json!({}),
                },
                Arc::clone(&host) as Arc<dyn ToolHost>,
            );
            while host.said().is_empty() {
                tokio::select! {
                    biased;
                    outcome = &mut call => panic!("{outcome:?}"),
                    () = tokio::time::sleep(Duration::from_millis(1)) => {}
                }
            }
        });
        assert_eq!(bench.call(1), Ok(json!(7)));
    }
}

fn a_worker_is_replaced_after_its_share_of_calls(launcher: &Launcher) {
    let mut limits = EngineLimits::default();
    (limits.workers, limits.calls_per_worker) = (1, 3);
    let bench = Bench::new(launcher, &[body("return 7;")], limits);
    let engine = bench.caged.clone().expect("caged");
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..10 {
        assert_eq!(bench.call(0), Ok(json!(7)));
        seen.extend(engine.workers());
    }
    assert!(seen.len() >= 3, "{seen:?}");
}
