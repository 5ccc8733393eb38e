//! What a call gives back, and what it is told when it does not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bmm_cage::Launcher;
use bmm_runner::engine::{EngineLimits, InProcessEngine, ToolFailure};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::{Bench, body, limits, once, runtime};
use crate::specs::spec_of;

pub(super) fn cases(launcher: &Launcher) -> Vec<Trial> {
    trials![launcher:
        a_tool_returns_json,
        undefined_is_null,
        output_must_be_json,
        a_throw_is_a_failure_with_the_lines_of_the_source,
        a_module_that_does_not_load_says_why,
        imports_do_not_exist,
        modules_that_are_there_give_nothing,
        the_second_call_of_a_tool_is_as_the_first,
        a_promise_that_nothing_settles_is_told,
        a_context_is_fresh_for_every_call,
        the_engine_without_a_cage_does_the_same,
    ]
}

fn a_tool_returns_json(launcher: &Launcher) {
    let bench = Bench::of(
        launcher,
        "return { sum: input.a + input.b, list: [1, 'zwei', null] };",
    );
    let output = bench.call_with(0, json!({ "a": 2, "b": 40 }), Arc::default());
    assert_eq!(output, Ok(json!({ "sum": 42, "list": [1, "zwei", null] })));
    assert_eq!(bench.call(1), Err(ToolFailure::NoSuchTool));
}

fn undefined_is_null(launcher: &Launcher) {
    assert_eq!(once(launcher, ""), Ok(Value::Null));
    assert_eq!(once(launcher, "return () => 1;"), Ok(Value::Null));
}

fn output_must_be_json(launcher: &Launcher) {
    for text in [
        "const a = []; a.push(a); return a;",
        "return 10n;",
        "return { toJSON() { throw new Error('no'); } };",
    ] {
        let failure = once(launcher, text);
        assert!(
            matches!(failure, Err(ToolFailure::OutputNotJson { .. })),
            "{text}: {failure:?}"
        );
    }
}

fn a_throw_is_a_failure_with_the_lines_of_the_source(launcher: &Launcher) {
    let module =
        "function deep() {\n  throw new RangeError('too far');\n}\nexport default async () => deep();"
            .to_owned();
    let Err(ToolFailure::Thrown { message }) =
        Bench::new(launcher, &[module], EngineLimits::default()).call(0)
    else {
        panic!("it throws");
    };
    assert!(message.starts_with("RangeError: too far\n"), "{message}");
    assert!(
        message.contains("deep (tool.js:12)") && message.contains("tool.js:14"),
        "{message}"
    );
    assert!(!message.contains("prelude"), "{message}");
    for (thrown, told) in [
        ("'just text'", "just text"),
        ("{ code: 7 }", "{\"code\":7}"),
        ("undefined", "undefined"),
    ] {
        let failure = once(launcher, &format!("throw {thrown};"));
        assert_eq!(
            failure,
            Err(ToolFailure::Thrown {
                message: told.to_owned()
            })
        );
    }
}

fn a_module_that_does_not_load_says_why(launcher: &Launcher) {
    let modules = [
        "export default async ( => 1;",
        "export const other = 1;",
        "export default 7;",
    ]
    .map(str::to_owned);
    let bench = Bench::new(launcher, &modules, EngineLimits::default());
    let told: Vec<String> = (0..3)
        .map(|tool| bench.call(tool).expect_err("it does not load").to_string())
        .collect();
    assert!(
        told[0].starts_with("the tool could not be loaded: SyntaxError") && told[0].contains("tool.js:11"),
        "{told:?}"
    );
    for told in &told[1..] {
        assert_eq!(
            told,
            "the tool could not be loaded: the module has no function as its default export"
        );
    }
}

fn imports_do_not_exist(launcher: &Launcher) {
    for module in [
        "import fs from 'fs'; export default () => 1;",
        "import 'https://example.com/x.js'; export default () => 1;",
    ] {
        let failure = Bench::new(launcher, &[module.to_owned()], EngineLimits::default()).call(0);
        assert!(
            matches!(failure, Err(ToolFailure::NotLoadable { .. })),
            "{failure:?}"
        );
    }
    for specifier in [
        "fs",
        "node:fs",
        "std",
        "os",
        "qjs:os",
        "data:text/javascript,export default 1",
        "./tool.js?",
        "/etc/passwd",
    ] {
        let failure = once(
            launcher,
            &format!("const m = await import({specifier:?}); return Object.keys(m);"),
        );
        assert!(
            matches!(failure, Err(ToolFailure::Thrown { .. })),
            "{specifier}: {failure:?}"
        );
    }
}

/// The prelude is a module too, one without exports; and the tool's own is just itself.
fn modules_that_are_there_give_nothing(launcher: &Launcher) {
    let module = "export default async () => [Object.keys(await import('prelude.js')), Object.keys(await import('tool.js')), typeof host];";
    let bench = Bench::new(launcher, &[module.to_owned()], EngineLimits::default());
    assert_eq!(bench.call(0), Ok(json!([[], ["default"], "undefined"])));
}

/// Compiled once in a worker, and no later call sees what an earlier one did.
fn the_second_call_of_a_tool_is_as_the_first(launcher: &Launcher) {
    let mut limits = EngineLimits::default();
    limits.workers = 1;
    let modules = [
        "function f() {\n  throw new TypeError('again');\n}\nexport default () => f();".to_owned(),
        "export default (".to_owned(),
        "import fs from 'fs'; export default () => fs;".to_owned(),
    ];
    let bench = Bench::new(launcher, &modules, limits);
    for tool in 0..modules.len() {
        let first = bench.call(tool).expect_err("it fails").to_string();
        assert!(tool == 2 || first.contains("tool.js:1"), "{first}");
        for _ in 0..4 {
            assert_eq!(bench.call(tool).expect_err("it fails").to_string(), first);
        }
    }
}

fn a_promise_that_nothing_settles_is_told(launcher: &Launcher) {
    let before = Instant::now();
    assert_eq!(
        once(launcher, "await new Promise(() => {});"),
        Err(ToolFailure::Stalled)
    );
    assert!(before.elapsed() < Duration::from_secs(5));
}

fn a_context_is_fresh_for_every_call(launcher: &Launcher) {
    let module = "let calls = 0;
        export default async () => {
            calls++; globalThis.kept = (globalThis.kept ?? 0) + 1; Array.prototype.evil = (Array.prototype.evil ?? 0) + 1;
            setTimeout(() => { for (;;); }, 0); Promise.resolve().then(function again() { return Promise.resolve().then(again); });
            return [calls, globalThis.kept, Array.prototype.evil];
        }";
    let mut limits = EngineLimits::default();
    limits.workers = 1;
    let bench = Bench::new(launcher, &[module.to_owned()], limits);
    for _ in 0..5 {
        assert_eq!(bench.call(0), Ok(json!([1, 1, 1])));
    }
}

fn the_engine_without_a_cage_does_the_same(_: &Launcher) {
    let modules = [
        body("const r = await ctx.fetch('https://api.example.com/'); return [r.ok, input.n];"),
        body("for (;;);"),
        body("return Array.prototype.join.call({ length: 2 ** 28 }, '');"),
    ];
    let engine = InProcessEngine::insecure_in_process(&spec_of(&modules), limits()).expect("it starts");
    let bench = Bench {
        runtime: runtime(),
        engine: Arc::new(engine),
        caged: None,
    };
    assert_eq!(
        bench.call_with(0, json!({ "n": 5 }), Arc::default()),
        Ok(json!([true, 5]))
    );
    let failure = bench.call(1);
    assert!(
        matches!(
            failure,
            Err(ToolFailure::Cpu { .. } | ToolFailure::Timeout { .. })
        ),
        "{failure:?}"
    );
    assert!(bench.call(2).is_err());
    assert_eq!(
        bench.call_with(0, json!({ "n": 6 }), Arc::default()),
        Ok(json!([true, 6]))
    );
}
