//! What is sent to break the reader, and code that hides what it does. Each must end in a diagnostic, quickly.

use crate::{findings, problems, sample_with, with_code};
use serde_json::json;
use std::time::{Duration, Instant};

fn refused(bytes: &[u8]) -> String {
    let started = Instant::now();
    let text = bmm_spec::admit(bytes).map(|_| ()).unwrap_err().to_string();
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "took {:?}",
        started.elapsed()
    );
    text
}

fn refused_code(code: &str) -> String {
    refused(with_code(code).to_string().as_bytes())
}

#[test]
fn nesting_of_100_000_is_refused_before_parsing() {
    assert!(refused("[".repeat(100_000).as_bytes()).contains("SPEC-002"));
    assert!(refused(r#"{"a":"#.repeat(100_000).as_bytes()).contains("SPEC-002"));
    let inside = format!(r#"{{"bmm":1,"tools":{}{}}}"#, "[".repeat(65), "]".repeat(65));
    assert!(refused(inside.as_bytes()).contains("SPEC-002"));
}

#[test]
fn ten_megabytes_are_refused_before_parsing() {
    assert!(refused(&vec![b' '; 10 * 1024 * 1024]).contains("SPEC-002"));
    let long = format!(r#"{{"bmm":1,"name":"{}"}}"#, "x".repeat(10 * 1024 * 1024));
    assert!(refused(long.as_bytes()).contains("SPEC-002"));
}

#[test]
fn a_million_small_values_are_refused() {
    let many = format!("[{}1]", "1,".repeat(500_000));
    assert!(refused(many.as_bytes()).contains("SPEC-002"));
    let tools = json!({"bmm": 1, "tools": vec![json!({}); 5000]});
    assert!(refused(tools.to_string().as_bytes()).lines().count() <= 200);
}

#[test]
fn duplicate_keys_are_refused_at_every_depth() {
    let text = with_code("export default () => 1").to_string();
    let doubled = text.replacen("\"name\":\"run\"", "\"name\":\"run\",\"n\\u0061me\":\"other\"", 1);
    let found = refused(doubled.as_bytes());
    assert!(found.contains("error[SPEC-003] /tools/0/name"), "{found}");
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    assert!(refused(b"\xff\xfe{\x00}\x00").contains("UTF-16"));
    assert!(refused(b"{\"bmm\": \"\xc3\x28\"}").contains("not UTF-8"));
    assert!(refused(br#"{"name": "\ud800"}"#).contains("surrogate"));
    assert!(refused(br#"{"name": "\udc00\ud800"}"#).contains("surrogate"));
    assert!(refused(b"{\"name\": \"a\0b\"}").contains("control characters"));
    assert!(refused(b"").contains("SPEC-001"));
    assert!(refused(b"\0").contains("SPEC-001"));
    assert!(refused(format!("{{\"bmm\": 1{}}}", "0".repeat(10_000)).as_bytes()).contains("too many digits"));
    assert!(refused(b"{\"bmm\": 1e999}").contains("SPEC-001"));
    assert!(refused(b"{\"bmm\": 01}").contains("SPEC-001"));
}

#[test]
fn a_nul_in_a_name_or_text_is_refused() {
    assert!(
        problems(&sample_with("/tools/0/name", json!("a\0b")))
            .iter()
            .any(|(rule, _)| rule == "SPEC-007")
    );
    assert!(
        problems(&sample_with("/name", json!("a\0b")))
            .iter()
            .any(|(rule, _)| rule == "META-001")
    );
}

/// Parsers recurse; a stack overflow aborts the process. Sizes near the 64 KiB cap, far above what the stack holds.
#[test]
fn code_nested_without_end_is_refused_before_parsing() {
    for open in [
        "(",
        "[",
        "{",
        "`${",
        "!",
        "-",
        "~",
        "a=>",
        "a+",
        "a.",
        "a?b:",
        "a:",
        "x=",
        "new ",
        "typeof ",
        "await ",
        "if(a)",
        "if(a)b;else ",
        "for(;;)",
        "while(a)",
        "do ",
        "a<",
        "<a>",
        "a<b<",
        "async()=>",
        "function f(){",
        "class A{a=",
        "keyof ",
        "a as b ",
        "a?.b",
        "a()",
        "[...",
        "{a:",
        "a`${",
        "(a,",
        "switch(a){case ",
        "try{",
        "a**",
        "a??",
        "/*)*/(",
        "')',(",
        "`)`,(",
        "/)/,(",
        "\u{2028}(",
    ] {
        let code = format!("export default () => 1\n{}", open.repeat(60_000 / open.len()));
        let found = refused_code(&code);
        assert!(found.contains("CODE-020"), "{open:?}: {found}");
    }
    let deep = format!(
        "export default () => {}1{}",
        "(".repeat(100_000),
        ")".repeat(100_000)
    );
    assert!(refused_code(&deep).contains("SPEC-002"));
}

/// Just inside the caps, whatever the way to nest: the parser, the transformer and the printer must cope on their stack.
#[test]
fn code_at_the_nesting_caps_is_handled() {
    for (open, middle, close, count) in [
        ("(", "1", ")", 250),
        ("[", "1", "]", 250),
        ("{a:", "1", "}", 250),
        ("`${", "1", "}`", 250),
        ("!", "1", "", 1000),
        ("a=>", "1", "", 490),
        ("1+", "1", "", 1000),
        ("a?1:", "1", "", 330),
        ("((a)=>", "1", ")", 250),
        ("(x=", "1", ")", 250),
        ("a?(", "1", "):1", 240),
        ("f(", "1", ")", 250),
        ("function(){return ", "1", "}", 1),
        ("typeof ", "1", "", 1000),
        ("(async()=>", "1", ")", 120),
        ("a<(", "1", ")", 60),
        ("(a<b>", "1", ")", 60),
        ("a?(b)=>", "1", ":1", 120),
        ("a?(b):c=>", "1", "", 120),
        ("({a=", "1", "}={})", 60),
        ("(a={b=", "1", "})=>1", 60),
    ] {
        let code = format!(
            "export default (input, a, b, c, d, f, x) => {}{middle}{}",
            open.repeat(count),
            close.repeat(count)
        );
        let started = Instant::now();
        let found = bmm_spec::admit(with_code(&code).to_string().as_bytes())
            .map(|_| ())
            .map_err(|e| e.to_string());
        assert!(
            started.elapsed() < Duration::from_secs(10),
            "{open:?} took {:?}",
            started.elapsed()
        );
        let early = found.is_err_and(|e| {
            ["brackets deep", "too many parts", "`<` in one"]
                .iter()
                .any(|cap| e.contains(cap))
        });
        assert!(!early, "{open:?} was meant to reach the parser");
    }
}

#[test]
fn schemas_cannot_reach_the_network_or_run_away() {
    let schema = |value| problems(&sample_with("/tools/0/inputSchema", value));
    let bomb = {
        let mut defs = serde_json::Map::new();
        for level in 0..40 {
            let next = format!("#/$defs/d{}", level + 1);
            defs.insert(
                format!("d{level}"),
                json!({"anyOf": [{"$ref": next}, {"$ref": next}]}),
            );
        }
        defs.insert("d40".into(), json!({"type": "string"}));
        json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/d0"}}, "$defs": defs})
    };
    for (value, what) in [
        (
            json!({"type": "object", "$ref": "https://evil.example/schema.json"}),
            "remote",
        ),
        (
            json!({"type": "object", "properties": {"a": {"$ref": "file:///etc/passwd"}}}),
            "file",
        ),
        (json!({"type": "object", "$id": "https://evil.example/"}), "base"),
        (
            json!({"type": "object", "$dynamicRef": "https://evil.example/#a"}),
            "dynamic",
        ),
        (json!({"type": "object", "$ref": "#"}), "itself"),
        (
            json!({"type": "object", "allOf": [{"$ref": "#/allOf/0"}]}),
            "itself in a composition",
        ),
        (
            json!({"type": "object", "$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}),
            "a circle",
        ),
        (json!({"type": "object", "$ref": "#/$defs/nothing"}), "nothing"),
        (bomb, "two to the power of forty"),
        (
            json!({"type": "object", "properties": {"a": {"pattern": "("}}}),
            "a broken pattern",
        ),
    ] {
        let found = schema(value);
        assert!(
            found.iter().any(|(rule, _)| rule == "SPEC-012"),
            "{what}: {found:?}"
        );
    }
}

#[test]
fn a_pattern_that_backtracks_does_not_hang_the_check_of_examples() {
    let mut spec = sample_with(
        "/tools/0/inputSchema",
        json!({"type": "object", "properties": {"a": {"pattern": "^(a|a|aa)+(?!b)$"}}}),
    );
    spec["tools"][0]["examples"] = json!([{"input": {"a": "a".repeat(5000) + "!"}}]);
    let started = Instant::now();
    let _ = bmm_spec::admit(spec.to_string().as_bytes());
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "took {:?}",
        started.elapsed()
    );
}

#[test]
fn eval_is_found_in_every_disguise() {
    for code in [
        "eval('1')",
        "(0, eval)('1')",
        "\\u0065val('1')",
        "input['ev' + 'al']('1')",
        "input[`ev${'al'}`]('1')",
        "input[['e', 'v', 'a', 'l'].join('')]('1')",
        "input[String.fromCharCode(101, 118, 97, 108)]('1')",
        "input['lave'.split('').reverse().join('')]('1')",
        "const a = 'ev'; const b = 'al'; const c = a.concat(b); input[c]('1')",
        "input[atob('ZXZhbA==')]('1')",
        "input[unescape('%65%76%61%6c')]('1')",
        "const p = { x: 'ev', y: 'al' }; input[p.x + p['y']]('1')",
        "input[(693741).toString(36).slice(0, 0) + /eval/.source]('1')",
        "const { eval: run } = input; run('1')",
        "const { ['ev' + 'al']: run } = input; run('1')",
        "this.eval('1')",
        "Reflect.get(input, 'eval')('1')",
        "input['EVAL'.toLowerCase()]('1')",
        "input[[...'lave'].reverse().join('')]('1')",
        "(/* */ eval /* */)('1')",
        "input?.['ev' + 'al']('1')",
    ] {
        let code = format!("export default function (input, ctx) {{ {code} }}");
        let found = findings(&code);
        assert!(found.contains(&"CODE-001"), "{code}: {found:?}");
    }
}

#[test]
fn folding_is_bounded() {
    let doubling: String = (1..60)
        .map(|i| format!("const s{i} = s{} + s{};", i - 1, i - 1))
        .collect();
    let circle = "const a = () => b; const b = a; const c = c + 'x'; input[c];";
    let started = Instant::now();
    findings(&format!(
        "export default (input) => {{ const s0 = 'aaaaaaaa'; {doubling} {circle} return input[s59] }}"
    ));
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "took {:?}",
        started.elapsed()
    );
}

#[test]
fn a_message_cannot_write_on_the_terminal() {
    let text = refused(r#"{"\u001b[2J\u202e": 1, "\n\nerror": 2}"#.as_bytes());
    assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'), "{text:?}");
    assert!(
        text.lines()
            .all(|line| line.starts_with("error[") || line.starts_with("warning[")),
        "{text}"
    );
}

/// The schema as a tool's, with an input to hold against it.
fn refused_schema(schema: serde_json::Value, input: serde_json::Value) -> Option<String> {
    let mut spec = sample_with("/tools/0/inputSchema", schema);
    spec["tools"][0]["examples"] = json!([{ "input": input }]);
    let started = Instant::now();
    let problems = bmm_spec::admit(spec.to_string().as_bytes())
        .err()
        .map(|problems| problems.to_string());
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "took {:?}",
        started.elapsed()
    );
    problems
}

#[test]
fn expressions_that_are_large_when_written_out_are_refused_together() {
    let patterns = (0..5000).map(|i| {
        (
            format!("p{i}"),
            json!({ "pattern": format!("(((a{{10}}){{10}}){{10}}){{10}}{i}") }),
        )
    });
    let schema = json!({ "type": "object", "properties": patterns.collect::<serde_json::Map<_, _>>() });
    assert!(
        refused_schema(schema, json!({}))
            .is_some_and(|text| text.contains("SPEC-012") && text.contains("too large"))
    );
    let patterns = (0..1000).map(|i| (format!("p{i}"), json!({ "pattern": "^[A-Z]{2}[0-9a-f]{32}$" })));
    let schema = json!({ "type": "object", "properties": patterns.collect::<serde_json::Map<_, _>>() });
    assert_eq!(refused_schema(schema, json!({})), None);
}

#[test]
fn an_example_that_takes_too_many_steps_is_refused() {
    let branches = vec![json!({ "type": "string", "pattern": "(a|b|ab)*c" }); 900];
    let schema = json!({ "type": "object", "properties": { "x": { "items": { "anyOf": branches } } } });
    let input = json!({ "x": vec!["abababab"; 9000] });
    assert!(refused_schema(schema, input).is_some_and(|text| text.contains("too many steps")));

    // Two ways at every level: 2^50.
    let branch = json!({ "properties": { "a": { "$ref": "#/$defs/d" } }, "required": ["b"] });
    let schema = json!({
        "type": "object", "properties": { "x": { "$ref": "#/$defs/d" } }, "$defs": { "d": { "anyOf": [branch, branch] } },
    });
    let nested = |depth: usize| (0..depth).fold(json!(1), |value, _| json!({ "a": value }));
    assert!(
        refused_schema(schema.clone(), json!({ "x": nested(50) }))
            .is_some_and(|text| text.contains("too many steps"))
    );
    assert!(
        refused_schema(schema, json!({ "x": nested(3) }))
            .is_some_and(|text| text.contains("not valid under any"))
    );
}

#[test]
fn circles_of_references_are_found_whatever_the_properties_are_called() {
    for name in [
        "properties",
        "$defs",
        "patternProperties",
        "allOf",
        "default",
        "enum",
        "items",
        "x",
    ] {
        let at = format!("#/properties/{name}");
        let itself = json!({ "type": "object", "properties": { name: { "$ref": at } } });
        let text = refused_schema(itself, json!({ name: 1 })).unwrap_or_else(|| panic!("{name} passed"));
        assert!(text.contains("again and again"), "{name}: {text}");
        let outside = json!({ "type": "object", "properties": { name: { "$ref": "https://example.com/schema.json" } } });
        let text = refused_schema(outside, json!({})).unwrap_or_else(|| panic!("{name} passed"));
        assert!(text.contains("only references inside"), "{name}: {text}");
    }
    let data =
        json!({ "type": "object", "properties": { "x": { "default": { "$ref": "https://example.com" } } } });
    assert_eq!(
        refused_schema(data, json!({})),
        None,
        "data may look like anything"
    );
}

#[test]
fn recursive_schemas_and_long_lists_of_definitions_pass() {
    let expression = json!({ "anyOf": [
        { "type": "number" },
        { "type": "object", "properties": { "op": { "const": "and" }, "of": { "items": { "$ref": "#/$defs/e" } } } },
        { "type": "object", "properties": { "op": { "const": "not" }, "of": { "$ref": "#/$defs/e" } } },
    ] });
    let schema = json!({ "type": "object", "properties": { "e": { "$ref": "#/$defs/e" } }, "$defs": { "e": expression } });
    assert_eq!(
        refused_schema(
            schema,
            json!({ "e": { "op": "not", "of": { "op": "and", "of": [1, 2] } } })
        ),
        None
    );
    let next =
        |i: usize| json!({ "properties": { "next": { "$ref": format!("#/$defs/d{}", (i + 1) % 300) } } });
    let defs: serde_json::Map<_, _> = (0..300).map(|i| (format!("d{i}"), next(i))).collect();
    let schema = json!({ "type": "object", "properties": { "d": { "$ref": "#/$defs/d0" } }, "$defs": defs });
    assert_eq!(refused_schema(schema, json!({ "d": { "next": {} } })), None);
}

#[test]
fn a_schema_as_deep_as_may_be_is_held_against_a_value_on_a_small_stack() {
    // Five schemas for each level of the value.
    let mut defs = serde_json::Map::new();
    for i in 0..5 {
        defs.insert(
            format!("d{i}"),
            json!({ "allOf": [{ "$ref": format!("#/$defs/d{}", i + 1) }] }),
        );
    }
    defs.insert(
        "d5".to_owned(),
        json!({ "properties": { "a": { "$ref": "#/$defs/d0" } } }),
    );
    let schema = json!({ "type": "object", "properties": { "x": { "$ref": "#/$defs/d0" } }, "$defs": defs });
    let nested = |depth: usize| (0..depth).fold(json!(1), |value, _| json!({ "a": value }));
    assert_eq!(refused_schema(schema.clone(), json!({ "x": nested(30) })), None);
    assert!(
        refused_schema(schema, json!({ "x": nested(50) }))
            .is_some_and(|text| text.contains("too many steps"))
    );
}

#[test]
fn code_of_nothing_but_findings_takes_linear_time() {
    let text = refused_code(&format!("export default () => {{ {} }}", "eval;".repeat(13_000)));
    assert!(text.lines().filter(|line| line.contains("CODE-001")).count() >= 10);
    let text = refused_code(&format!(
        "export default () => {{ {}{} }}",
        "\n".repeat(30_000),
        "eval\n;".repeat(5_000)
    ));
    assert!(text.contains("CODE-001"), "{text}");
}
