//! What happens to a tool that takes too much.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bmm_cage::Launcher;
use bmm_runner::engine::{EngineLimits, ToolFailure};
use libtest_mimic::Trial;
use serde_json::json;

use super::{Bench, body, limits, once};

pub(super) fn cases(launcher: &Launcher) -> Vec<Trial> {
    let mut trials = trials![launcher:
        an_endless_loop_ends_at_the_cpu_limit,
        a_waiting_tool_ends_at_the_wall_limit,
        a_promise_bomb_ends_at_its_limit,
        a_native_loop_is_killed_and_the_next_call_succeeds,
        memory_is_bounded,
        deep_recursion_is_an_error,
        output_is_bounded,
        input_is_bounded,
    ];
    let data = std::env::var_os("BMM_EVAL_DATA");
    let caged = launcher.clone();
    trials.push(
        Trial::test("engine::runaway_bodies_end_within_their_limit", move || {
            runaway_bodies_end_within_their_limit(&caged);
            Ok(())
        })
        // needs the runaway bodies: cargo xtask test
        .with_ignored_flag(data.is_none()),
    );
    trials
}

fn an_endless_loop_ends_at_the_cpu_limit(launcher: &Launcher) {
    for text in [
        "while (true) {}",
        "for (;;) { try { while (true) {} } catch {} finally {} }",
        "const r = /(a+)+$/; r.test('a'.repeat(40) + 'b');",
    ] {
        let bench = Bench::new(launcher, &[body(text)], limits());
        let before = Instant::now();
        let failure = bench.call(0);
        assert!(
            matches!(
                failure,
                Err(ToolFailure::Cpu { limit_ms: 300 } | ToolFailure::Timeout { .. })
            ),
            "{failure:?}"
        );
        assert!(
            before.elapsed() < Duration::from_secs(3),
            "{:?}",
            before.elapsed()
        );
    }
}

fn a_waiting_tool_ends_at_the_wall_limit(launcher: &Launcher) {
    for text in [
        "await ctx.fetch('https://never.example.com');",
        "await new Promise((r) => setTimeout(r, 1e9));",
        "for (;;) await new Promise((r) => setTimeout(r, 1));",
    ] {
        let bench = Bench::new(launcher, &[body(text)], limits());
        assert_eq!(
            bench.call(0),
            Err(ToolFailure::Timeout { limit_ms: 600 }),
            "{text}"
        );
    }
}

fn a_promise_bomb_ends_at_its_limit(launcher: &Launcher) {
    let modules = [
        body("(async function f() { for (;;) await null; })(); for (;;) await null;"),
        body("function g() { Promise.resolve().then(g).then(g); } g(); await new Promise(() => {});"),
        "export default () => 1; for (;;) await null;".to_owned(),
    ];
    let bench = Bench::new(launcher, &modules, limits());
    for tool in 0..modules.len() {
        let failure = bench.call(tool);
        let is_limit = matches!(
            failure,
            Err(ToolFailure::Cpu { .. }
                | ToolFailure::Timeout { .. }
                | ToolFailure::Memory { .. }
                | ToolFailure::Crashed)
        );
        assert!(is_limit, "{tool}: {failure:?}");
    }
}

/// Loops of the engine's own C code do not ask the interrupt handler.
fn a_native_loop_is_killed_and_the_next_call_succeeds(launcher: &Launcher) {
    let modules = [
        body("return Array.prototype.join.call({ length: 2 ** 40 }, '');"),
        body("return Array.prototype.reverse.call({ length: 2 ** 52 });"),
        body("return 7;"),
    ];
    let bench = Bench::new(launcher, &modules, limits());
    for tool in [0, 1] {
        let failure = bench.call(tool);
        assert!(
            matches!(
                failure,
                Err(ToolFailure::Cpu { .. } | ToolFailure::Timeout { .. })
            ),
            "{tool}: {failure:?}"
        );
        assert_eq!(bench.call(2), Ok(json!(7)));
    }
}

fn memory_is_bounded(launcher: &Launcher) {
    for text in [
        "const kept = []; for (;;) kept.push(new Array(1000).fill({}));",
        "const kept = []; for (;;) kept.push(new ArrayBuffer(1 << 20));",
        "let text = 'x'; for (;;) text += text + kept(text); function kept(t) { return t.toUpperCase(); }",
    ] {
        let failure = once(launcher, text);
        assert_eq!(failure, Err(ToolFailure::Memory { limit_mib: 64 }), "{text}");
    }
}

fn deep_recursion_is_an_error(launcher: &Launcher) {
    let failure = once(launcher, "function f(n) { return f(n + 1) + 1; } return f(0);");
    let Err(ToolFailure::Thrown { message }) = failure else {
        panic!("{failure:?}")
    };
    assert!(message.contains("stack"), "{message}");
}

fn output_is_bounded(launcher: &Launcher) {
    assert_eq!(
        once(launcher, "return 'x'.repeat(300 * 1024);"),
        Err(ToolFailure::OutputTooLarge { limit_kib: 256 })
    );
    assert!(once(launcher, "return 'x'.repeat(200 * 1024);").is_ok());
}

fn input_is_bounded(launcher: &Launcher) {
    let bench = Bench::of(launcher, "return input.text.length;");
    let call = |kib: usize| bench.call_with(0, json!({ "text": "x".repeat(kib * 1024) }), Arc::default());
    assert_eq!(call(1000), Ok(json!(1_024_000)));
    assert_eq!(call(1100), Err(ToolFailure::InputTooLarge { limit_kib: 1024 }));
}

/// 79 bodies that exhaust time or memory, by their names: in the shared data, not in the repository.
pub(super) fn runaways() -> Vec<(String, String)> {
    #[derive(serde::Deserialize)]
    struct Runaway {
        name: String,
        body: String,
    }
    let folder = std::path::PathBuf::from(std::env::var_os("BMM_EVAL_DATA").expect("not ignored"));
    let list = std::fs::read(folder.join("runaway_vectors_79.json")).expect("the list is there");
    let runaways: Vec<Runaway> = serde_json::from_slice(&list).expect("the list is JSON");
    assert_eq!(runaways.len(), 79);
    runaways
        .into_iter()
        .map(|runaway| (runaway.name, runaway.body))
        .collect()
}

fn runaway_bodies_end_within_their_limit(launcher: &Launcher) {
    let runaways = runaways();
    let mut modules: Vec<String> = runaways.iter().map(|(_, text)| body(text)).collect();
    modules.push(body("return 7;"));
    let mut limits = EngineLimits::default();
    (limits.wall, limits.cpu) = (Duration::from_millis(400), Duration::from_millis(400));
    let bench = Bench::new(launcher, &modules, limits.clone());
    let mut late = Vec::new();
    for (tool, (name, _)) in runaways.iter().enumerate() {
        let before = Instant::now();
        let outcome = bench.call(tool);
        let took = before.elapsed();
        if std::env::var_os("BMM_SHOW").is_some() {
            println!(
                "{name:30} {:6} ms  {:?}",
                took.as_millis(),
                outcome.map_err(|error| error.to_string())
            );
        }
        if took > limits.wall + Duration::from_millis(150) {
            late.push((name, took));
        }
        assert_eq!(bench.call(runaways.len()), Ok(json!(7)), "after {name}");
    }
    assert!(late.is_empty(), "{late:?}");
}
