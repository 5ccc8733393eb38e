//! The engine: what a tool sees, what it may use, and what happens when it takes more.

// Tests, which clippy does not see without libtest.
#![allow(clippy::panic, clippy::indexing_slicing)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bmm_cage::Launcher;
use bmm_runner::engine::{
    CagedEngine, EngineLimits, FetchRequest, FetchResponse, InProcessEngine, LogLevel, ToolCall, ToolEngine,
    ToolFailure, ToolHost, ToolOutput,
};
use futures_util::future::BoxFuture;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::specs::spec_of;

pub(crate) fn cases(launcher: &Launcher) -> Vec<Trial> {
    macro_rules! trials {
        ($($test:ident),* $(,)?) => {
            vec![$({
                let launcher = launcher.clone();
                Trial::test(concat!("engine::", stringify!($test)), move || {
                    $test(&launcher);
                    Ok(())
                })
            }),*]
        };
    }
    let mut trials = trials![
        a_tool_returns_json,
        undefined_is_null,
        a_throw_is_a_failure_with_the_lines_of_the_source,
        a_module_that_does_not_load_says_why,
        imports_do_not_exist,
        fetches_overlap_and_come_back_to_their_awaits,
        fetches_are_counted,
        a_failed_fetch_is_a_type_error,
        secrets_basic_auth_and_hmac_are_answered_by_the_host,
        logs_and_progress_reach_the_host_within_limits,
        a_progress_that_is_no_number_is_the_tools_mistake,
        every_global_that_the_scanner_offers_is_there,
        the_offered_globals_work,
        timers_run_in_order,
        a_promise_that_nothing_settles_is_told,
        a_context_is_fresh_for_every_call,
        an_endless_loop_ends_at_the_cpu_limit,
        a_waiting_tool_ends_at_the_wall_limit,
        a_promise_bomb_ends_at_its_limit,
        a_native_loop_is_killed_and_the_next_call_succeeds,
        memory_is_bounded,
        deep_recursion_is_an_error,
        output_is_bounded,
        output_must_be_json,
        input_is_bounded,
        text_does_not_become_code,
        dangerous_globals_are_not_there,
        a_killed_worker_is_a_failure_and_the_next_call_succeeds,
        calls_run_side_by_side,
        a_full_queue_refuses,
        a_cancelled_call_frees_its_worker,
        a_worker_is_replaced_after_its_share_of_calls,
        the_engine_without_a_cage_does_the_same,
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

/// A module with one function of this body.
fn body(text: &str) -> String {
    format!("export default async (input, ctx) => {{ {text} }}")
}

struct Bench {
    runtime: tokio::runtime::Runtime,
    engine: Arc<dyn ToolEngine>,
    caged: Option<Arc<CagedEngine>>,
}

impl Bench {
    fn new(launcher: &Launcher, modules: &[String], limits: EngineLimits) -> Self {
        let runtime = runtime();
        let engine =
            Arc::new(CagedEngine::new(launcher, &spec_of(modules), limits).expect("the engine starts"));
        Self {
            runtime,
            caged: Some(Arc::clone(&engine)),
            engine,
        }
    }

    fn of(launcher: &Launcher, text: &str) -> Self {
        Self::new(launcher, &[body(text)], EngineLimits::default())
    }

    fn call_with(&self, tool: usize, input: Value, host: Arc<FakeHost>) -> Result<Value, ToolFailure> {
        let call = self.engine.call(ToolCall { tool, input }, host);
        self.runtime.block_on(call).map(|ToolOutput { value }| value)
    }

    fn call(&self, tool: usize) -> Result<Value, ToolFailure> {
        self.call_with(tool, json!({}), Arc::default())
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime")
}

fn once(launcher: &Launcher, text: &str) -> Result<Value, ToolFailure> {
    Bench::of(launcher, text).call(0)
}

/// What a limit test waits for: long enough to be an end by that limit, short enough to wait for.
fn limits() -> EngineLimits {
    let mut limits = EngineLimits::default();
    limits.wall = Duration::from_millis(600);
    limits.cpu = Duration::from_millis(300);
    limits
}

struct FakeHost {
    /// Fetches answer only once this many are under way.
    together: usize,
    under_way: AtomicUsize,
    enough: Semaphore,
    said: Mutex<Vec<String>>,
}

impl Default for FakeHost {
    fn default() -> Self {
        Self {
            together: 1,
            under_way: AtomicUsize::new(0),
            enough: Semaphore::new(0),
            said: Mutex::default(),
        }
    }
}

impl FakeHost {
    fn say(&self, line: String) {
        self.said.lock().expect("not poisoned").push(line);
    }

    fn said(&self) -> Vec<String> {
        self.said.lock().expect("not poisoned").clone()
    }
}

impl ToolHost for FakeHost {
    fn fetch(&self, request: FetchRequest) -> BoxFuture<'_, Result<FetchResponse, String>> {
        Box::pin(async move {
            let under_way = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
            if under_way >= self.together {
                self.enough.add_permits(1_000);
            }
            self.enough.acquire().await.expect("open").forget();
            if request.url.contains("never") {
                std::future::pending::<()>().await;
            }
            if request.url.contains("refused") {
                return Err("the host is not on the list".to_owned());
            }
            let body = json!({
                "url": request.url,
                "method": request.method,
                "headers": request.headers,
                "body": request.body.map(|body| String::from_utf8_lossy(&body).into_owned()),
            });
            Ok(FetchResponse {
                status: if request.url.contains("missing") { 404 } else { 200 },
                url: request.url,
                headers: vec![("content-type".to_owned(), "application/json".to_owned())],
                body: body.to_string().into(),
            })
        })
    }

    fn log(&self, level: LogLevel, message: &str) {
        self.say(format!("{level:?}: {message}"));
    }

    fn progress(&self, progress: f64, total: Option<f64>, message: Option<&str>) {
        self.say(format!("{progress} of {total:?}: {message:?}"));
    }

    fn basic_auth(&self, user: &str, secret: &str) -> Result<String, String> {
        Ok(format!("basic<{user}:{secret}>"))
    }

    fn hmac(&self, algorithm: &str, secret: &str, data: &[u8]) -> Result<String, String> {
        match algorithm {
            "sha256" => Ok(format!("mac<{secret}:{}>", data.len())),
            other => Err(format!("no {other} here")),
        }
    }

    fn secret_handle(&self, name: &str) -> Option<String> {
        (name == "API_KEY").then(|| "handle-of-the-key".to_owned())
    }
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

fn fetches_overlap_and_come_back_to_their_awaits(launcher: &Launcher) {
    let bench = Bench::of(
        launcher,
        "const got = await Promise.all([1, 2, 3].map((n) => ctx.fetch(`https://api.example.com/${n}`, {
             method: 'post', headers: { 'X-N': String(n) }, body: JSON.stringify({ n }) })));
         const first = await got[0].json();
         return { ok: got.every((r) => r.ok), status: got[1].status, type: got[1].headers.get('Content-Type'), first,
                  text: (await got[1].text()).length > 10, bytes: (await got[2].arrayBuffer()).byteLength > 10 };",
    );
    let host = Arc::new(FakeHost {
        together: 3,
        ..FakeHost::default()
    });
    let output = bench.call_with(0, json!({}), host).expect("it returns");
    assert_eq!(output["ok"], true);
    assert_eq!(output["type"], "application/json");
    assert_eq!((&output["text"], &output["bytes"]), (&json!(true), &json!(true)));
    assert_eq!(output["first"]["method"], "POST");
    assert_eq!(output["first"]["url"], "https://api.example.com/1");
    assert_eq!(output["first"]["body"], "{\"n\":1}");
    assert_eq!(
        output["first"]["headers"],
        json!([["content-type", "text/plain;charset=UTF-8"], ["x-n", "1"]])
    );
}

fn fetches_are_counted(launcher: &Launcher) {
    let bench = Bench::of(
        launcher,
        "let done = 0;
         try { for (;;) { await ctx.fetch('https://api.example.com/'); done++; } }
         catch (error) { return [done, error.name, error.message]; }",
    );
    assert_eq!(
        bench.call(0),
        Ok(json!([20, "TypeError", "this call has used its 20 fetches"]))
    );
    let together = Bench::of(
        launcher,
        "const all = await Promise.allSettled(Array.from({ length: 30 }, () => ctx.fetch('https://api.example.com/')));
         return all.filter((each) => each.status === 'fulfilled').length;",
    );
    assert_eq!(together.call(0), Ok(json!(20)));
}

fn a_failed_fetch_is_a_type_error(launcher: &Launcher) {
    let failure = once(launcher, "await ctx.fetch('https://refused.example.com/');");
    let Err(ToolFailure::Thrown { message }) = failure else {
        panic!("{failure:?}")
    };
    assert!(
        message.starts_with("TypeError: the host is not on the list"),
        "{message}"
    );
    let missing = once(
        launcher,
        "const r = await ctx.fetch('https://api.example.com/missing'); return [r.ok, r.status];",
    );
    assert_eq!(missing, Ok(json!([false, 404])));
}

fn secrets_basic_auth_and_hmac_are_answered_by_the_host(launcher: &Launcher) {
    let output = once(
        launcher,
        "return { key: ctx.secrets.API_KEY, none: typeof ctx.secrets.OTHER, basic: ctx.basicAuth('me', ctx.secrets.API_KEY),
                  mac: await ctx.hmac('sha256', ctx.secrets.API_KEY, 'data'),
                  refused: (() => { try { ctx.hmac('md5', 'x', 'y'); } catch (error) { return error.message; } })() };",
    );
    let expected = json!({
        "key": "handle-of-the-key",
        "none": "undefined",
        "basic": "basic<me:handle-of-the-key>",
        "mac": "mac<handle-of-the-key:4>",
        "refused": "no md5 here",
    });
    assert_eq!(output, Ok(expected));
}

fn a_progress_that_is_no_number_is_the_tools_mistake(launcher: &Launcher) {
    let names = once(
        launcher,
        "const names = [];
         for (const value of [undefined, 'x', NaN, Infinity]) {
           try { ctx.progress(value) } catch (error) { names.push(error.name) }
         }
         return names",
    );
    assert_eq!(
        names,
        Ok(json!(["TypeError", "TypeError", "TypeError", "TypeError"]))
    );
}

fn logs_and_progress_reach_the_host_within_limits(launcher: &Launcher) {
    let bench = Bench::of(
        launcher,
        "ctx.log('plain', { a: 1 }); console.warn('careful'); ctx.progress(1, 4, 'a quarter');
         for (let i = 0; i < 5000; i++) console.log('x'.repeat(1000));",
    );
    let host = Arc::<FakeHost>::default();
    bench
        .call_with(0, json!({}), Arc::clone(&host))
        .expect("it returns");
    let said = host.said();
    assert_eq!(said[0], "Info: plain {\"a\":1}");
    assert_eq!(said[1], "Warning: careful");
    assert_eq!(said[2], "1 of Some(4.0): Some(\"a quarter\")");
    let bytes: usize = said.iter().map(String::len).sum();
    assert!(bytes < 70 * 1024, "{bytes} bytes were logged");
}

/// The scanner lets code name these; each must be there.
fn every_global_that_the_scanner_offers_is_there(launcher: &Launcher) {
    let types: String = bmm_spec::OFFERED_GLOBALS
        .iter()
        .map(|name| format!("[{name:?}, typeof {name}],"))
        .collect();
    let text = format!(
        "return [{types}].filter(([name, type]) => type === 'undefined' && name !== 'undefined').map(([name]) => name);"
    );
    assert_eq!(once(launcher, &text).unwrap(), json!([]));
}

fn the_offered_globals_work(launcher: &Launcher) {
    let output = once(
        launcher,
        r#"
        const url = new URL("../b?x=1&y=%20z#end", "https://Example.com:8443/a/c");
        url.searchParams.append("ü", "ä b");
        url.pathname = "/new path";
        const params = new URLSearchParams({ q: "a&b", r: "2" });
        const copy = structuredClone({ date: new Date(0), map: new Map([[1, new Set([2])]]), bytes: new Uint8Array([1, 2]) });
        const round = [];
        round.push(round);
        const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode("abc")));
        let aborted = null;
        const control = new AbortController();
        control.signal.addEventListener("abort", () => { aborted = control.signal.reason.name; });
        control.abort();
        const headers = new Headers({ "X-A": "1" });
        headers.append("x-a", "2");
        return {
            href: url.href, port: url.port, q: params.toString(), y: url.searchParams.get("y"),
            bad: URL.canParse("no url"), utf8: new TextDecoder().decode(new TextEncoder().encode("grüße 👋")),
            base64: [btoa("hello"), atob("aGVsbG8"), atob(btoa("\u00ff\u0000"))],
            clone: [copy.date.getTime(), copy.map.get(1).has(2), copy.bytes.length, structuredClone(round)[0].length],
            uuid: /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(crypto.randomUUID()),
            random: new Set(crypto.getRandomValues(new Uint8Array(64))).size > 8,
            digest: [...digest.slice(0, 4)].map((b) => b.toString(16)).join(" "), aborted, header: headers.get("X-A"),
            zone: new Date(2024, 0, 1).getTimezoneOffset(), signal: ctx.signal.aborted,
        };
        "#,
    );
    let expected = json!({
        "href": "https://example.com:8443/new%20path?x=1&y=+z&%C3%BC=%C3%A4+b#end",
        "port": "8443",
        "q": "q=a%26b&r=2",
        "y": " z",
        "bad": false,
        "utf8": "grüße 👋",
        "base64": ["aGVsbG8=", "hello", "\u{ff}\u{0}"],
        "clone": [0, true, 2, 1],
        "uuid": true,
        "random": true,
        "digest": "ba 78 16 bf",
        "aborted": "AbortError",
        "header": "1, 2",
        "zone": 0,
        "signal": false,
    });
    assert_eq!(output, Ok(expected));
}

fn timers_run_in_order(launcher: &Launcher) {
    let output = once(
        launcher,
        "const seen = [];
         const cancelled = setTimeout(() => seen.push('never'), 1);
         clearTimeout(cancelled);
         setTimeout(() => seen.push('third'), 20);
         setTimeout((what) => seen.push(what), 0, 'first');
         await new Promise((resolve) => setTimeout(resolve, 5));
         seen.push('second');
         await new Promise((resolve) => { let n = 0; const id = setInterval(() => { if (++n === 3) { clearInterval(id); resolve(); } }, 10); });
         return seen;",
    );
    assert_eq!(output, Ok(json!(["first", "second", "third"])));
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

fn input_is_bounded(launcher: &Launcher) {
    let bench = Bench::of(launcher, "return input.text.length;");
    let call = |kib: usize| bench.call_with(0, json!({ "text": "x".repeat(kib * 1024) }), Arc::default());
    assert_eq!(call(1000), Ok(json!(1_024_000)));
    assert_eq!(call(1100), Err(ToolFailure::InputTooLarge { limit_kib: 1024 }));
}

/// Every road from text to code that the language has.
fn text_does_not_become_code(launcher: &Launcher) {
    let roads = [
        "eval('1 + 1')",
        "(0, eval)('1 + 1')",
        "globalThis.eval('1')",
        "globalThis['ev' + 'al']('1')",
        "Function('return 1')()",
        "new Function('return 1')()",
        "(() => {}).constructor('return 1')()",
        "''.constructor.constructor('return 1')()",
        "(async () => {}).constructor('return 1')()",
        "(function* () {}).constructor('yield 1')().next()",
        "(async function* () {}).constructor('yield 1')().next()",
        "Reflect.construct(Function, ['return 1'])()",
        "Reflect.construct((() => {}).constructor, ['return 1'], class {})()",
        "new (class extends Function {})('return 1')()",
        "Object.getPrototypeOf((async () => {}).constructor)('return 1')()",
        "ctx.fetch.constructor('return 1')()",
        "ctx.log.constructor('return 1')()",
        "setTimeout.constructor('return 1')()",
        "URL.constructor('return 1')()",
        "Object.getOwnPropertyDescriptor(Object.getPrototypeOf(() => {}), 'constructor').value('return 1')()",
        "Function.prototype.constructor('return 1')()",
        "Function.prototype.constructor.constructor('return 1')()",
        "Reflect.getPrototypeOf(class {}).constructor('return 1')()",
        "(() => {}).bind().constructor('return 1')()",
        "Proxy.revocable(() => {}, {}).proxy.constructor('return 1')()",
        "Promise.resolve.constructor('return 1')()",
        "Object.getOwnPropertyDescriptor(RegExp.prototype, 'source').get.constructor('return 1')()",
        "[].values().constructor.constructor('return 1')()",
        "setTimeout('globalThis.x = 1', 0)",
        "(delete Object.getPrototypeOf(() => {}).constructor, (() => {}).constructor)('return 1')()",
        "(Error.prepareStackTrace = (_, sites) => sites[0].getFunction().constructor, new Error().stack('return 1')())",
        "new (Object.getPrototypeOf(async function* () {}).constructor)('yield 1')",
    ];
    let modules: Vec<String> = roads
        .iter()
        .map(|road| body(&format!("const made = {road}; return ['made', String(made)];")))
        .collect();
    let bench = Bench::new(launcher, &modules, EngineLimits::default());
    for (tool, road) in roads.iter().enumerate() {
        let outcome = bench.call(tool);
        assert!(
            matches!(outcome, Err(ToolFailure::Thrown { .. })),
            "{road}: {outcome:?}"
        );
    }
    assert_eq!(
        once(
            launcher,
            "return (() => {}) instanceof Function && (async () => {}) instanceof Function;"
        ),
        Ok(json!(true))
    );
}

fn dangerous_globals_are_not_there(launcher: &Launcher) {
    let output = once(
        launcher,
        "return ['eval', 'SharedArrayBuffer', 'Atomics', 'FinalizationRegistry', 'WeakRef', 'DisposableStack', 'AsyncDisposableStack',
                 'performance', 'process', 'require', 'fetch', 'std', 'os', 'bjson', 'print', 'gc', 'navigator', 'host', 'scriptArgs']
            .filter((name) => name in globalThis || typeof Reflect.get(globalThis, name) !== 'undefined');",
    );
    assert_eq!(output, Ok(json!([])));
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

/// 79 bodies that exhaust time or memory: in the shared data, not in the repository.
fn runaway_bodies_end_within_their_limit(launcher: &Launcher) {
    #[derive(serde::Deserialize)]
    struct Runaway {
        name: String,
        body: String,
    }
    let folder = std::path::PathBuf::from(std::env::var_os("BMM_EVAL_DATA").expect("not ignored"));
    let list = std::fs::read(folder.join("runaway_vectors_79.json")).expect("the list is there");
    let runaways: Vec<Runaway> = serde_json::from_slice(&list).expect("the list is JSON");
    let mut modules: Vec<String> = runaways.iter().map(|runaway| body(&runaway.body)).collect();
    modules.push(body("return 7;"));
    let mut limits = EngineLimits::default();
    (limits.wall, limits.cpu) = (Duration::from_millis(400), Duration::from_millis(400));
    let bench = Bench::new(launcher, &modules, limits.clone());
    let mut late = Vec::new();
    for (tool, runaway) in runaways.iter().enumerate() {
        let before = Instant::now();
        let outcome = bench.call(tool);
        let took = before.elapsed();
        if std::env::var_os("BMM_SHOW").is_some() {
            println!(
                "{:30} {:6} ms  {:?}",
                runaway.name,
                took.as_millis(),
                outcome.map_err(|error| error.to_string())
            );
        }
        if took > limits.wall + Duration::from_millis(150) {
            late.push((runaway.name.clone(), took));
        }
        assert_eq!(bench.call(runaways.len()), Ok(json!(7)), "after {}", runaway.name);
    }
    assert!(late.is_empty(), "{late:?}");
    assert_eq!(runaways.len(), 79);
}
