//! The rules for code, each from its definition: what breaks it, what nearly does, and the disguises that must not help.

use crate::findings;
use bmm_spec::{Confidence, Verdict, scan_code};
use std::time::{Duration, Instant};

fn body(code: &str) -> Vec<&'static str> {
    findings(&format!("export default async (input, ctx) => {{ {code} }}"))
}

#[track_caller]
fn breaks(rule: &str, codes: &[&str]) {
    for code in codes {
        let found = body(code);
        assert!(found.contains(&rule), "{code}: {found:?}");
    }
}

#[track_caller]
fn keeps(codes: &[&str]) {
    for code in codes {
        assert_eq!(body(code), Vec::<&str>::new(), "{code}");
    }
}

#[test]
fn names_are_folded_however_they_are_put_together() {
    breaks(
        "CODE-003",
        &[
            "const [a, b] = ['constr', 'uctor']; input[a + b]",
            "const { k } = { k: 'constructor' }; input[k]",
            "const { a: { b: key } } = { a: { b: 'constructor' } }; input[key]",
            "const { k = 'constructor' } = input; ctx[k]",
            "const f = (k = 'constructor') => input[k]; f()",
            "let k; k = 'constructor'; input[k]",
            "let k = 'con'; k += 'structor'; input[k]",
            "input[input.x ? 'constructor' : 'a']",
            "input[input.x || 'constructor']",
            "const join = (a, b) => a + b; input[join('con', 'structor')]",
            "function name() { return 'constructor' } input[name()]",
            "input[(() => 'constructor')()]",
            "input[String.raw`con${'structor'}`]",
            "input[Array.from('rotcurtsnoc').reverse().join('')]",
            "input[[99, 111, 110, 115, 116, 114, 117, 99, 116, 111, 114].map((c) => String.fromCharCode(c)).join('')]",
            "input[String.fromCharCode.apply(null, [99, 111, 110, 115, 116, 114, 117, 99, 116, 111, 114])]",
            "input[String.fromCharCode(...[99, 111, 110, 115, 116, 114, 117, 99, 116, 111, 114])]",
            "input[[100, 112].map((c) => String.fromCharCode(c - 1)).join('') + 'nstructor']",
            "input[['con', 'structor'].reduce((a, b) => a + b)]",
            "input[Buffer.from('Y29uc3RydWN0b3I=', 'base64').toString()]",
            "input[Buffer.from('636f6e7374727563746f72', 'hex').toString()]",
            "input[new TextDecoder().decode(new Uint8Array([99, 111, 110, 115, 116, 114, 117, 99, 116, 111, 114]))]",
            "input[Object.keys({ constructor: 1 })[0]]",
            "input[JSON.parse('\"constructor\"')]",
            "input['cXnstructor'.replace('X', 'o')]",
            "input['xxconstructor'.slice(2)]",
            "const part = { a: { b: 'constructor' } }; input[part.a.b]",
            "const [a, b] = 'con,structor'.split(','); input[a + b]",
            "input[Symbol('constructor').description]",
            "input[(function constructor() {}).name]",
            "input['con' + 's'.repeat(1) + 'tructor']",
            "Object.defineProperty(input, 'constructor', {})",
        ],
    );
    // A chain longer than any recursion that folding allows itself.
    let long: Vec<String> = "constructor".chars().map(|c| format!("'{c}'")).collect();
    let long = format!("{}{}", "'' + ".repeat(200), long.join(" + "));
    breaks("CODE-003", &[&format!("input[{long}]")]);
    keeps(&[
        "const { k = 'name' } = input; return input[k]",
        "let k = 'a'; k += 'b'; return input[k]",
        "return input[input.x ? 'a' : 'b']",
        "if (!input.constructor || input.constructor === Object) return 1",
        "return input && input.constructor && input.constructor.name",
    ]);
}

#[test]
fn work_that_is_too_much_to_follow_is_itself_a_finding() {
    let burn = format!("const a = [{}]; ", "'x',".repeat(2000));
    let code = format!(
        "{burn}{} input['con' + 'structor']",
        "input[a.join('')];".repeat(500)
    );
    let started = Instant::now();
    let found = body(&code);
    assert!(found.contains(&"CODE-015"), "{found:?}");
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn timers_take_functions_whatever_they_are_called() {
    breaks(
        "CODE-004",
        &[
            "const later = setTimeout; later('a()')",
            "const { setTimeout: later } = globalThis; globalThis.setTimeout('a()')",
            "const timers = { later: setInterval }; timers.later('a()')",
            "[setTimeout][0]('a()')",
            "setTimeout.call(null, 'a()')",
            "setTimeout('a(' + input.text + ')')",
            "setTimeout(`a(${input.text})`)",
            "setTimeout(input.text + 'b')",
            "setTimeout(String(input.text))",
            "const code = 'a()'; setTimeout(code)",
            "setTimeout(input.x ? 'a()' : () => 1)",
            "(0, setTimeout)('a()')",
        ],
    );
    keeps(&[
        "const later = setTimeout; later(() => 1, 5)",
        "setTimeout(input.f, 5)",
        "setTimeout(() => 'text', 5)",
        "const o = { setTimeout: (x) => x }; o.setTimeout('text')",
        "globalThis.setTimeout(() => 1, 5)",
    ]);
}

#[test]
fn the_global_object_and_this_are_no_way_around() {
    breaks(
        "CODE-008",
        &[
            "const g = globalThis; g.a()",
            "globalThis[input.x]()",
            "globalThis.x = 1",
            "return self",
        ],
    );
    for (rule, code) in [
        ("CODE-006", "this.process.exit()"),
        ("CODE-005", "const load = () => this.require('fs')"),
        ("CODE-001", "this.eval('1')"),
        ("CODE-009", "__SECRET_LIBRARY__.a()"),
        ("CODE-008", "LIBRARY_INTERNAL_STATE_DO_NOT_USE.a()"),
    ] {
        assert!(
            scan_code("a.js", code)
                .findings
                .iter()
                .any(|f| f.rule.id() == rule),
            "{code}"
        );
    }
    assert_eq!(
        scan_code("a.js", "class A { process() {} run() { this.process() } }").verdict,
        Verdict::Pass
    );
    assert_eq!(
        scan_code("a.js", "const a = { process() {}, run() { this.process() } }").verdict,
        Verdict::Pass
    );
}

#[test]
fn types_hide_nothing_and_are_not_judged() {
    for (rule, code) in [
        ("CODE-006", "declare const process: any; process.exit()"),
        ("CODE-001", "declare function eval(x: string): any; eval('1')"),
        ("CODE-006", "declare global { var process: any } process.exit()"),
        (
            "CODE-006",
            "namespace process { export type A = 1 } process.exit()",
        ),
        ("CODE-006", "interface process { a: 1 } process.exit()"),
        ("CODE-006", "type process = 1; process.exit()"),
        ("CODE-003", "(input as any)['con' + ('structor' as string)]('1')"),
        ("CODE-003", "(input!).constructor!('1')"),
        ("CODE-001", "(eval as any)('1')"),
        ("CODE-001", "(<any>eval)('1')"),
        ("CODE-008", "(globalThis as any)['a']"),
        ("CODE-004", "(setTimeout as any)('a()' as any)"),
        ("CODE-001", "enum A { x = eval('1') }"),
        ("CODE-001", "class A { constructor(private x = eval('1')) {} }"),
        ("CODE-001", "const x = { a: eval } satisfies object"),
    ] {
        let code = format!("{code}; export default async (input: any, ctx: any) => 1");
        let code = match code.contains("input as") || code.contains("(input!)") {
            true => format!(
                "export default async (input: any) => {{ {} }}",
                code.split(';').next().unwrap()
            ),
            false => code,
        };
        let found = findings(&code);
        assert!(found.contains(&rule), "{code}: {found:?}");
    }
    keeps(&[
        "type G = typeof globalThis; const x: Record<string, typeof process> = input; return x",
        "interface A { constructor: Function; eval(x: string): void } const a = input as A; return a",
        "const f = <T extends Function>(x: T): T => x; return f(input)",
        "let x!: Buffer; return input as unknown as NodeJS.Timeout",
    ]);
}

#[test]
fn built_ins_stay_as_they_are() {
    breaks(
        "CODE-010",
        &[
            "const p = Array.prototype; p.map = 1",
            "const { prototype } = Array; Object.prototype.a = 1",
            "Object.defineProperty(Object.prototype, 'a', {})",
            "Object.defineProperties(Function.prototype, {})",
            "JSON.parse = (x) => x",
            "Object.defineProperty = () => 1",
            "Object.getPrototypeOf(Promise.prototype).then = 1",
            "Array = function () {}",
            "Array.prototype['ma' + 'p'] = 1",
            "input['__pro' + 'to__'].a = 1",
            "Object[Symbol.hasInstance].call = 1",
        ],
    );
    keeps(&[
        "const proto = { a: 1 }; const o = Object.create(proto); o.a = 2; return o",
        "const target = {}; Object.defineProperty(target, 'a', { value: 1 }); return Object.assign(target, input)",
        "class A {} const a = new A(); (a as any).prototype = 1; return Array.prototype.slice.call(input)",
        "const headers = new Headers(); headers.foo = 1; return headers",
        "const e = new Error('x'); e.name = 'Mine'; throw e",
    ]);
}

#[test]
fn reflection_and_stacks_are_left_alone() {
    breaks(
        "CODE-011",
        &[
            "new Proxy(input, {})",
            "Object.getOwnPropertyDescriptor(input, 'a')",
            "Object.getPrototypeOf(Object.getPrototypeOf(input))",
            "Object.getPrototypeOf(async () => {})",
            "return { [Symbol.species]: Array }",
            "Symbol.for('nodejs.util.inspect.custom')",
            "return { showProxy: true }",
            "const r = Reflect; r.construct(input)",
        ],
    );
    breaks(
        "CODE-012",
        &[
            "Error.captureStackTrace(input)",
            "const e = new Error(); e.name = Symbol(); return e.stack",
            "function f() { return f.caller } return f()",
            "function f() { return arguments.callee } return f()",
        ],
    );
    keeps(&[
        "return Object.getPrototypeOf(input) === Object.prototype",
        "return { [Symbol.iterator]: 1, species: 'cat', caller: input.caller }",
        "return input.call.caller + input.species",
    ]);
    for code in [
        "Reflect.ownKeys(input)",
        "Reflect.has(input, 'a')",
        "Reflect.get(input, 'a')",
    ] {
        let item = scan_code("a.js", &format!("async (input) => {code}"));
        let found = item.findings.iter().find(|f| f.rule.id() == "CODE-011").unwrap();
        assert_eq!(
            (found.confidence, item.verdict),
            (Confidence::Low, Verdict::Pass),
            "{code}"
        );
    }
    for code in [
        "Reflect.get(input, 'constructor')",
        "Reflect.ownKeys(globalThis)",
        "Reflect.apply(input, 1, [])",
    ] {
        assert_ne!(scan_code("a.js", code).verdict, Verdict::Pass, "{code}");
    }
}

#[test]
fn methods_are_called_by_names_that_stand_in_the_code() {
    breaks(
        "CODE-013",
        &[
            "[][input.a](1)",
            "Object[input.a](1)",
            "''[input.a]()",
            "input[input.a][input.b]('1')",
            "(() => 1)[input.a]('1')",
        ],
    );
    keeps(&[
        "const handlers = { a: () => 1 }; return handlers[input.a]()",
        "return input.rows[0](1) + input.rows[input.i + 1]",
        "return Math[input.round ? 'ceil' : 'floor'](input.n)",
        "for (let i = 0; i < 3; i++) input.list[i](input.list[i - 1])",
        "return input.table[1][2]()",
    ]);
}

#[test]
fn sloppy_code_is_named_as_such() {
    for code in [
        "with (a) { b }",
        "var a = 017",
        "function f(eval) { return 1 }",
        "delete a",
        "'use x'; var s = '\\07'",
    ] {
        let item = scan_code("a.js", code);
        assert!(
            item.findings.iter().any(|f| f.rule.id() == "CODE-014"),
            "{code}: {item:?}"
        );
    }
    for code in [
        "var a = 0o17",
        "const { with: w } = input",
        "return '\\0'",
        "delete a.b",
    ] {
        let item = scan_code("a.js", code);
        assert!(
            item.findings.iter().all(|f| f.rule.id() != "CODE-014"),
            "{code}: {item:?}"
        );
    }
}

#[test]
fn obfuscators_are_known_by_what_they_leave() {
    let names = "const _0x1a2b = 1, _0x1a2c = 2, _0x1a2d = 3; let _0x1a2e = 4; return _0x1a2b";
    let signs = "const ___ = 1, _$_ = 2, $$$ = 3, $_$ = 4; return ___";
    let escapes = format!("return '{}'", "\\x61".repeat(12));
    let unicode = format!("return `{}`", "\\u0061".repeat(12));
    let brackets = format!("return {}[]", "(![]+[])[+[]]+".repeat(20));
    let packed = format!("return input[atob('{}')]", "QUJD".repeat(300));
    let order = "const order = '3|1|0|2'.split('|'); return order";
    let rotation = "const list = ['a']; while (input.x()) { list.push(list.shift()) } return list";
    breaks(
        "CODE-015",
        &[
            names, signs, &escapes, &unicode, &brackets, &packed, order, rotation,
        ],
    );
    let table = format!("return '{}'", "\\u00e9".repeat(40));
    let long = format!("return '{}'", "QUJD".repeat(300));
    keeps(&[
        "const _a = 1, __b = 2, _0x = 3, $c = 4; return _a",
        "return /[\\x00-\\x1f\\x61-\\x7a]/.test(input.text)",
        "return '\\x1b\\n\\t\\u2028'",
        &table,
        &long,
        "const parts = '1-2-3'.split('-'); return parts",
        "const list = [1]; list.push(input.other.shift()); return list",
    ]);
}

#[test]
fn names_with_escapes_and_shared_memory_are_found() {
    breaks(
        "CODE-016",
        &[
            "return inp\\u0075t",
            "return input.\\u{61}b",
            "const \\u0061 = 1; return a",
        ],
    );
    keeps(&["return '\\u0061'", "const é = 1; return é + input.größe"]);
    breaks(
        "CODE-017",
        &[
            "new SharedArrayBuffer(8)",
            "Atomics.wait(input, 0, 0)",
            "globalThis['Atomics']",
        ],
    );
    keeps(&["return new ArrayBuffer(8)"]);
    breaks(
        "CODE-006",
        &[
            "Buffer.allocUnsafe(8)",
            "new Buffer(100)",
            "class A extends Buffer {}",
        ],
    );
}

#[test]
fn a_loop_needs_an_end() {
    breaks(
        "CODE-018",
        &[
            "while (true) {}",
            "for (;;) input.f()",
            "do { input.f() } while (1)",
            "const on = true; while (on) {}",
            "while (!![]) { for (const x of input.y) { break } }",
            "while (1 === 1) { const f = () => { return 1 } }",
            "while (true) { switch (input.x) { case 1: break } }",
            "for (let i = 0; i < 1e15; i++) {}",
            "Array.prototype.fill.call({ length: 2 ** 40 }, 1)",
            "return 'x'.repeat(1e9)",
            "return new Uint8Array(4 * 1024 * 1024 * 1024)",
        ],
    );
    keeps(&[
        "while (true) { if (input.x) break }",
        "while (true) { const page = await ctx.fetch('https://api.example.com/'); }",
        "for (;;) { if (input.done()) return 1 }",
        "for (;;) { throw new Error('x') }",
        "outer: while (true) { for (;;) { break outer } }",
        "const g = function* () { while (true) yield 1 }; return g().next()",
        "let on = true; while (on) { on = false }",
        "for (let i = 0; i < 1000; i++) {} return { length: 3 }",
        "return 'x'.repeat(input.n) + new Array(10)",
    ]);
}

#[test]
fn an_expression_that_can_take_forever_is_found() {
    breaks(
        "CODE-019",
        &[
            "return /^(a+)+$/.test(input.text)",
            "return new RegExp('^(\\\\w+\\\\s?)*$').test(input.text)",
            "return RegExp(`(x+x+)+y`)",
        ],
    );
    keeps(&[
        "return /^[a-z]+(?:-[a-z]+)*$/.test(input.text)",
        "return new RegExp(input.text)",
    ]);
}

#[test]
fn a_fragment_is_judged_for_what_it_shows() {
    for code in [
        "async (nango: Nango, input): Promise<z.infer<typeof Out>> => { return helper(await nango.get({ a: [1] })) }",
        "return input.a",
        "const a = await b(); return a",
        "module.exports",
        "export default async (input) => helper(input)",
    ] {
        let item = scan_code("a.ts", code);
        assert!(item.verdict <= Verdict::Warn, "{code}: {item:?}");
    }
    let item = scan_code("a.ts", "async function (input: string) { eval('1') }");
    assert_eq!(item.findings[0].snippet, "eval");
    let item = scan_code("a.ts", "async (input) => helper(input)");
    assert_eq!((item.verdict, item.score), (Verdict::Pass, 1));
    for code in [
        "eval('1')",
        "function foo(eval) { eval('foo') }",
        "with (a) { constructor.constructor('1')() }",
        "return this.constructor.constructor('return process')()",
    ] {
        assert_eq!(scan_code("a.js", code).verdict, Verdict::Block, "{code}");
    }
}

/// CWE-407: many findings, many loops inside loops, many writes to one name.
#[test]
fn judging_code_takes_time_in_proportion_to_its_size() {
    let nested = |count: usize| format!("{}{}", "while(1){".repeat(count), "}".repeat(count));
    for code in [
        "a[b];".repeat(10_000),
        "eval(1);".repeat(7_000),
        format!("let k='a';{}", "k+='b';x[k];".repeat(4_000)),
        format!(
            "const a=[{}];{}",
            "1,".repeat(10_000),
            "x[a[9999]];".repeat(3_000)
        ),
        nested(200).repeat(30),
        "x['a'+'b'+'c'];".repeat(4_000),
        format!("x[{}'a'];", "'a'+".repeat(500)).repeat(30),
        "const f=(a,b)=>a+b;x[f(f('a','b'),f('c','d'))];"
            .replace("const f=(a,b)=>a+b;", "")
            .repeat(1_500),
        "/(a+)+b/.test(x);".repeat(3_500),
        format!(
            "const a0='x';{}x[a900];",
            (1..901)
                .map(|i| format!("const a{i}=a{}+a{};", i - 1, i - 1))
                .collect::<String>()
        ),
        format!(
            "const b0={{p:1}};{}x[b900.p.p];",
            (1..901)
                .map(|i| format!("const b{i}={{p:b{}.p}};", i - 1))
                .collect::<String>()
        ),
        "const a=b.p,b=a.p;x[a.p.q];x[b.q.p];".to_owned(),
    ] {
        let started = Instant::now();
        scan_code("a.js", &code);
        let took = started.elapsed();
        assert!(
            took < Duration::from_secs(10),
            "{took:?}: {}",
            code.get(..60).unwrap()
        );
    }
}
