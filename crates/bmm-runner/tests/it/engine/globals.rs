//! The globals: those that are offered, and those that must not be there.

use bmm_cage::Launcher;
use bmm_runner::engine::{EngineLimits, ToolFailure};
use libtest_mimic::Trial;
use serde_json::json;

use super::{Bench, body, once};

pub(super) fn cases(launcher: &Launcher) -> Vec<Trial> {
    trials![launcher:
        the_globals_are_those_that_the_scanner_offers,
        the_offered_globals_work,
        a_buffer_does_what_nodes_does,
        requests_and_responses_hold_what_they_are_given,
        an_aborted_fetch_rejects_with_the_reason,
        a_clone_is_deep_and_refuses_what_has_no_copy,
        built_ins_that_are_bytecode_themselves_work,
        timers_run_in_order,
        a_part_that_loads_late_gives_no_native_function_away,
        text_does_not_become_code,
        dangerous_globals_are_not_there,
    ]
}

/// The scanner lets code name `OFFERED_GLOBALS`. Those are there; besides them, only what the scanner refuses by name and the
/// engine has closed.
fn the_globals_are_those_that_the_scanner_offers(launcher: &Launcher) {
    let refused_by_the_scanner = ["Function", "Proxy", "Reflect", "globalThis"];
    let mut expected: Vec<&str> = bmm_spec::OFFERED_GLOBALS.to_vec();
    expected.extend(refused_by_the_scanner);
    expected.sort_unstable();
    let there = once(launcher, "return Object.getOwnPropertyNames(globalThis).sort();").unwrap();
    assert_eq!(there, json!(expected));
    let undefined = once(
        launcher,
        "return Object.getOwnPropertyNames(globalThis).filter((name) => globalThis[name] === undefined);",
    );
    assert_eq!(undefined, Ok(json!(["undefined"])));
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

/// Checked against Node 22: each gives the same there.
fn a_buffer_does_what_nodes_does(launcher: &Launcher) {
    for (expression, expected) in [
        ("Buffer.from('grüße').toString('base64')", json!("Z3LDvMOfZQ==")),
        ("Buffer.from('Z3LDvMOfZQ', 'base64').toString()", json!("grüße")),
        (
            "Buffer.from('Z3LD vMOf\\nZQ==', 'base64').toString('utf-8')",
            json!("grüße"),
        ),
        ("Buffer.from('-_-_', 'base64').toString('hex')", json!("fbffbf")),
        (
            "Buffer.from('fbffbf', 'HEX').toString('base64url')",
            json!("-_-_"),
        ),
        (
            "Buffer.from('abc1', 'hex').length + Buffer.from('abz1', 'hex').length + Buffer.from('abc', 'hex').length",
            json!(4),
        ),
        ("[...Buffer.from('ÿ\\u0141', 'latin1')]", json!([255, 65])),
        ("Buffer.from([255, 65]).toString('latin1')", json!("ÿA")),
        (
            "Buffer.from([0xe2, 0x82]).toString().codePointAt(0)",
            json!(0xfffd),
        ),
        (
            "Buffer.from('user:pass').toString('base64')",
            json!("dXNlcjpwYXNz"),
        ),
        (
            "Buffer.concat([Buffer.from('a'), new Uint8Array([98]), Buffer.from('c')]).toString()",
            json!("abc"),
        ),
        ("Buffer.concat([Buffer.from('abc')], 2).toString()", json!("ab")),
        (
            "Buffer.byteLength('grüße') + Buffer.byteLength('dXNlcg==', 'base64')",
            json!(11),
        ),
        (
            "[Buffer.isBuffer(Buffer.alloc(1)), Buffer.isBuffer(new Uint8Array(1)), Buffer.alloc(1) instanceof Uint8Array]",
            json!([true, false, true]),
        ),
        (
            "JSON.parse(JSON.stringify(Buffer.from('hi')))",
            json!({ "type": "Buffer", "data": [104, 105] }),
        ),
        (
            "Buffer.from(JSON.parse(JSON.stringify(Buffer.from('hi')))).toString()",
            json!("hi"),
        ),
        (
            "(() => { const a = Buffer.from('abc'); a.slice(1)[0] = 120; return a.toString('utf8', 0, 2); })()",
            json!("ax"),
        ),
        ("Buffer.from('abc').subarray(1).toString()", json!("bc")),
        (
            "Buffer.from(new Uint8Array([97, 98, 99]).buffer, 1, 1).toString()",
            json!("b"),
        ),
        (
            "[Buffer.from('a').equals(Buffer.from('a')), Buffer.compare(Buffer.from('a'), Buffer.from('b'))]",
            json!([true, -1]),
        ),
        ("Buffer.alloc(3, 'ab').toString()", json!("aba")),
        (
            "(() => { try { Buffer.from('a', 'nonsense'); } catch (error) { return error.message; } })()",
            json!("Unknown encoding: nonsense"),
        ),
    ] {
        let output = once(launcher, &format!("return {expression};"));
        assert_eq!(output, Ok(expected), "{expression}");
    }
}

fn requests_and_responses_hold_what_they_are_given(launcher: &Launcher) {
    let output = once(
        launcher,
        r#"
        const request = new Request("https://api.example.com/a", { method: "put", headers: { "X-A": "1" }, body: new URLSearchParams({ q: "a b" }) });
        const again = new Request(request, { headers: { "x-b": "2" } });
        const sent = await (await ctx.fetch(request.clone(), { redirect: "error" })).json();
        const read = await again.text();
        const twice = await again.text().catch((error) => error.name);
        const made = Response.json({ a: 1 }, { status: 201 });
        const copy = made.clone();
        const used = [made.bodyUsed, (await made.json()).a, made.bodyUsed, (await copy.json()).a];
        const empty = new Response();
        return { url: request.url, method: request.method, type: request.headers.get("content-type"), sent, read, twice, used,
                 headers: [...again.headers], made: [made.status, made.ok, made.headers.get("content-type")], empty: await empty.text(),
                 into: new TextEncoder().encodeInto("aüb", new Uint8Array(2)) };
        "#,
    );
    let expected = json!({
        "url": "https://api.example.com/a",
        "method": "PUT",
        "type": "application/x-www-form-urlencoded;charset=UTF-8",
        "sent": {
            "url": "https://api.example.com/a",
            "method": "PUT",
            "headers": [["content-type", "application/x-www-form-urlencoded;charset=UTF-8"], ["x-a", "1"]],
            "body": "q=a+b",
        },
        "read": "q=a+b",
        "twice": "TypeError",
        "used": [false, 1, true, 1],
        "headers": [["x-b", "2"]],
        "made": [201, true, "application/json"],
        "empty": "",
        "into": { "read": 1, "written": 1 },
    });
    assert_eq!(output, Ok(expected));
}

fn an_aborted_fetch_rejects_with_the_reason(launcher: &Launcher) {
    for (signal, name) in [
        ("AbortSignal.timeout(5)", "TimeoutError"),
        (
            "AbortSignal.any([new AbortController().signal, AbortSignal.timeout(5)])",
            "TimeoutError",
        ),
        ("AbortSignal.abort()", "AbortError"),
        (
            "(() => { const c = new AbortController(); setTimeout(() => c.abort(), 5); return c.signal; })()",
            "AbortError",
        ),
        ("AbortSignal.abort(new RangeError('mine'))", "RangeError"),
    ] {
        let name_of = format!(
            "return await ctx.fetch('https://never.example.com', {{ signal: {signal} }}).catch((error) => error.name);"
        );
        assert_eq!(once(launcher, &name_of), Ok(json!(name)), "{signal}");
    }
}

fn a_clone_is_deep_and_refuses_what_has_no_copy(launcher: &Launcher) {
    let output = once(
        launcher,
        r#"
        const original = { list: [1, , 3], nested: { date: new Date(5) }, set: new Set(["x"]), text: /a(b)/gi, big: 5n, bytes: new Uint8Array([1, 2, 3]).subarray(1) };
        original.self = original;
        const copy = structuredClone(original);
        copy.nested.date.setTime(9);
        const refused = [() => 1, Symbol("s"), { deep: [Promise.resolve()] }, new WeakMap()].map((value) => {
          try { structuredClone(value); } catch (error) { return error.name; }
        });
        return [copy.self === copy, original.nested.date.getTime(), 1 in copy.list, copy.set.has("x"), String(copy.text), String(copy.big),
                [...copy.bytes], structuredClone(new TypeError("m")).message, refused];
        "#,
    );
    assert_eq!(
        output,
        Ok(json!([
            true,
            5,
            false,
            true,
            "/a(b)/gi",
            "5",
            [2, 3],
            "m",
            [
                "DataCloneError",
                "DataCloneError",
                "DataCloneError",
                "DataCloneError"
            ]
        ]))
    );
}

/// The engine keeps these as bytecode of its own, and loads them when they are first named.
fn built_ins_that_are_bytecode_themselves_work(launcher: &Launcher) {
    let output = once(
        launcher,
        "return [await Array.fromAsync([1, Promise.resolve(2)]), [...Iterator.zip([[1, 2], [3, 4]])],
                 [...Iterator.zipKeyed({ a: [1], b: [2] })], (function named() {}).name];",
    );
    assert_eq!(
        output,
        Ok(json!([[1, 2], [[1, 3], [2, 4]], [{ "a": 1, "b": 2 }], "named"]))
    );
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

/// Parts of the prelude load when a tool touches them, after the tool may have replaced what they are made with.
fn a_part_that_loads_late_gives_no_native_function_away(launcher: &Launcher) {
    let output = once(
        launcher,
        r#"
        const { apply } = Reflect;
        const seen = [];
        const note = (value) => { seen[seen.length] = value; };
        for (const name of ["host", "natives", "part", "parseUrl", "parts"]) {
            const accessor = { configurable: true, get() { note(this); }, set(value) { note(this); note(value); } };
            Object.defineProperty(globalThis, name, accessor);
            Object.defineProperty(Object.prototype, name, accessor);
        }
        for (const [owner, name] of [
            [Reflect, "defineProperty"], [Object, "defineProperty"], [Object, "entries"], [Object, "fromEntries"], [Object, "freeze"],
            [JSON, "parse"], [JSON, "stringify"], [Uint8Array.prototype, "toBase64"], [String.prototype, "toWellFormed"],
            [Function.prototype, "call"], [Array.prototype, "map"], [Array.prototype, Symbol.iterator], [Map.prototype, "set"],
        ]) {
            const own = owner[name];
            owner[name] = function () {
                note(this);
                for (let at = 0; at < arguments.length; at++) note(arguments[at]);
                return apply(own, this, arguments);
            };
        }
        const names = Object.getOwnPropertyNames(globalThis);
        for (let at = 0; at < names.length; at++) globalThis[names[at]];
        ctx.log("said");
        setTimeout(() => {}, 0);
        const worked = [
            new URL("https://a.example/?b=c").searchParams.get("b"), Buffer.from("hex").toString("hex"), atob("YQ=="),
            crypto.randomUUID().length, structuredClone({ a: 1 }).a, new Headers({ a: "b" }).get("a"), await new Response("text").text(),
            ctx.signal.aborted,
        ];
        const natives = ["parseUrl", "changeUrl", "serializeQuery", "toBase64", "natives", "part", "basicAuth"];
        let leaked = 0;
        for (let at = 0; at < seen.length; at++) {
            const value = seen[at];
            if (value === null || typeof value !== "object" || value === ctx || value === Uint8Array.prototype) continue;
            const own = Object.getOwnPropertyNames(value);
            for (let n = 0; n < natives.length; n++) if (value !== Object.prototype && value !== globalThis && own.includes(natives[n])) leaked++;
        }
        return { worked, watched: seen.length > 20, leaked };
        "#,
    );
    let worked = json!(["c", "686578", "a", 36, 1, "b", "text", false]);
    assert_eq!(
        output,
        Ok(json!({"worked": worked, "watched": true, "leaked": 0}))
    );
}
