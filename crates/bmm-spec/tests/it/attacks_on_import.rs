//! Descriptions of APIs that are made to get code or endless work out of the import, or to lead its result elsewhere.

use bmm_spec::{Imported, OpenApiImport};
use serde_json::{Map, Value, json};
use std::time::{Duration, Instant};

/// The import of a document, which must end quickly.
fn import(document: &[u8]) -> Result<Imported, String> {
    let started = Instant::now();
    let imported = OpenApiImport::new(document)
        .run()
        .map_err(|error| error.to_string());
    assert!(
        started.elapsed() < Duration::from_secs(120),
        "took {:?}",
        started.elapsed()
    );
    imported
}

fn document(paths: Value, components: Value) -> Vec<u8> {
    let document = json!({
        "openapi": "3.0.3", "info": { "title": "Sample" }, "servers": [{ "url": "https://api.example.com/v1" }],
        "paths": paths, "components": components,
    });
    document.to_string().into_bytes()
}

/// One GET that takes a query parameter of this schema.
fn with_schema(schema: Value, schemas: Value) -> Vec<u8> {
    let operation =
        json!({ "operationId": "find", "parameters": [{ "name": "q", "in": "query", "schema": schema }] });
    document(
        json!({ "/find": { "get": operation } }),
        json!({ "schemas": schemas }),
    )
}

fn codes(imported: &Imported) -> Vec<&str> {
    imported
        .spec
        .spec()
        .tools
        .iter()
        .map(|tool| tool.implementation.as_str())
        .collect()
}

#[test]
fn no_text_becomes_code() {
    let hostile = [
        "\"); globalThis.stolen(); (\"",
        "'); globalThis.stolen(); ('",
        "`); globalThis.stolen(); (`",
        "${globalThis.stolen()}",
        "\n globalThis.stolen() //",
        "\u{2028}globalThis.stolen()//",
        "*/ globalThis.stolen() /*",
        "\\\"); globalThis.stolen(); (\\\"",
        "x]; globalThis.stolen(); input[x",
        "\u{202e}globalThis.stolen()",
    ];
    for text in hostile {
        let path = format!("/a/{text}/{{{text}}}/{{id}}");
        let parameter = |place: &str, style: &str| json!({ "name": text, "in": place, "style": style, "required": true, "description": text, "schema": { "type": "string", "enum": [text] } });
        let mut parameters = vec![
            parameter("query", "form"),
            parameter("query", "pipeDelimited"),
            parameter("header", "simple"),
        ];
        parameters.truncate(2);
        if path.matches('}').count() == 2 && path.matches('{').count() == 2 {
            parameters.push(parameter("path", "simple"));
        }
        parameters.push(json!({ "name": "id", "in": "path", "required": true, "schema": {} }));
        let operation = json!({
            "operationId": text, "summary": text, "description": text, "parameters": parameters,
            "security": [{ text: [] }],
            "requestBody": { "content": { "application/x-www-form-urlencoded": { "schema": {}, "encoding": { text: { "style": "deepObject" } } } } },
            "responses": { "200": { "content": { format!("application/{text}+json"): {}, "application/json": {} } } },
        });
        let schemes = json!({ text: { "type": "apiKey", "in": "query", "name": text, "description": text } });
        let bytes = document(
            json!({ path: { "post": operation } }),
            json!({ "securitySchemes": schemes }),
        );
        match import(&bytes) {
            // What came out is no reference to a global, however the text stands in it: the scanner would have refused the tool.
            Ok(imported) => {
                assert_eq!(codes(&imported).len(), 1, "{text:?}");
                assert!(
                    imported.report.findings.is_empty(),
                    "{text:?}: {}",
                    imported.report
                );
            }
            Err(error) => assert!(!error.contains("CODE-"), "{text:?}: {error}"),
        }
    }
}

#[test]
fn names_of_the_language_are_only_names() {
    for name in [
        "__proto__",
        "constructor",
        "eval",
        "prototype",
        "toString",
        "input",
        "ctx",
        "query",
        "class",
        "123",
        "…",
    ] {
        let place = |place: &str| json!({ "name": name, "in": place, "required": true, "schema": { "type": "string" } });
        let operation =
            json!({ "operationId": name, "parameters": [place("query"), place("path"), place("header")] });
        let imported = import(&document(
            json!({ format!("/a/{{{name}}}"): { "get": operation } }),
            json!({}),
        ));
        match imported {
            Ok(imported) => assert!(imported.report.findings.is_empty(), "{name}: {}", imported.report),
            Err(error) => assert!(name == "…" && error.contains("not supported"), "{name}: {error}"),
        }
    }
}

#[test]
fn references_that_lead_nowhere_or_in_circles_end() {
    let reference = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    let loop_of = |names: &[&str]| {
        let next = names.iter().cycle().skip(1);
        names
            .iter()
            .zip(next)
            .map(|(name, next)| ((*name).to_owned(), reference(next)))
            .collect::<Map<_, _>>()
    };
    for schemas in [
        json!(loop_of(&["a"])),
        json!(loop_of(&["a", "b", "c"])),
        json!({ "a": { "allOf": [reference("a")] } }),
        json!({ "a": { "not": { "anyOf": [{ "oneOf": [reference("a")] }] } } }),
        json!({ "a": { "$ref": "#" } }),
        json!({ "a": { "$ref": "#/components/schemas/a/%" } }),
        json!({ "a": { "$ref": "https://evil.example.com/schema.json" } }),
        json!({ "a": { "$ref": "file:///etc/passwd" } }),
    ] {
        let imported = import(&with_schema(reference("a"), schemas.clone()));
        let listed = match &imported {
            Ok(imported) => imported.skipped.len(),
            Err(error) => usize::from(!error.is_empty()),
        };
        assert!(listed > 0, "{schemas}");
    }
    let useful = json!({ "a": { "type": "object", "properties": { "child": reference("a") } } });
    assert!(
        import(&with_schema(reference("a"), useful))
            .unwrap()
            .skipped
            .is_empty(),
        "a tree is no circle"
    );
    let parameters =
        json!({ "a": { "$ref": "#/components/parameters/b" }, "b": { "$ref": "#/components/parameters/a" } });
    let operation = json!({ "parameters": [{ "$ref": "#/components/parameters/a" }] });
    let error = import(&document(
        json!({ "/a": { "get": operation } }),
        json!({ "parameters": parameters }),
    ))
    .unwrap_err();
    assert!(error.contains("references in a row"), "{error}");
}

#[test]
fn references_that_multiply_are_bounded() {
    let mut schemas = Map::new();
    for level in 0..60 {
        let next = json!({ "$ref": format!("#/components/schemas/s{}", level + 1) });
        let doubled = json!({ "allOf": [next, next], "properties": { "a": next, "b": next } });
        schemas.insert(format!("s{level}"), doubled);
    }
    schemas.insert("s60".to_owned(), json!({ "type": "object" }));
    let first = json!({ "$ref": "#/components/schemas/s0" });
    let result = import(&with_schema(first.clone(), json!(schemas)));
    assert!(result.is_err_and(|error| error.contains("SPEC-012")));

    // One large schema behind many operations is not converted anew without end.
    let wide: Map<String, Value> = (0..5_000)
        .map(|i| {
            (
                format!("p{i}"),
                json!({ "type": "string", "pattern": format!("^a{i}{{1,200}}$") }),
            )
        })
        .collect();
    let operation = json!({ "requestBody": { "content": { "application/json": { "schema": { "$ref": "#/components/schemas/wide" } } } } });
    let paths: Map<String, Value> = (0..500)
        .map(|i| (format!("/p{i}"), json!({ "post": operation })))
        .collect();
    let imported = import(&document(
        json!(paths),
        json!({ "schemas": { "wide": { "properties": wide } } }),
    ))
    .unwrap();
    assert!(imported.skipped.iter().any(|each| each.reason.contains("cut")));
}

#[test]
fn sizes_and_depths_are_bounded() {
    for text in [
        "[".repeat(200_000),
        "{\"a\":".repeat(200_000),
        "- ".repeat(100_000),
        "? ".repeat(100_000),
        "[a: ".repeat(50_000),
        "{a: [".repeat(50_000),
        (0..2_000)
            .map(|depth| format!("{}a:\n", " ".repeat(depth)))
            .collect(),
        "&a ".repeat(50_000),
        "!!str ".repeat(50_000),
        "*a ".repeat(50_000),
        "\"".to_owned() + &"\\x".repeat(100_000),
        "%YAML ".repeat(50_000),
        "a: |\n".repeat(50_000),
        "'".repeat(200_001),
        "#".repeat(200_000),
        "\t".repeat(200_000),
        "a:\r".repeat(50_000) + ":",
    ] {
        let error = import(text.as_bytes()).unwrap_err();
        assert!(
            error.contains("cannot be read") || error.contains("no field"),
            "{error}"
        );
        assert!(error.len() < 1000, "{}", error.len());
    }
    assert!(
        import(&vec![b' '; 33 * 1024 * 1024])
            .unwrap_err()
            .contains("the most is")
    );
    assert!(
        import(format!("[{}1]", "1,".repeat(2_000_000)).as_bytes())
            .unwrap_err()
            .contains("values")
    );
    let long = "x".repeat(10 * 1024 * 1024);
    let operation = json!({ "operationId": long, "summary": long, "description": long, "tags": [long], "parameters": [
        { "name": long, "in": "query", "description": long, "schema": { "type": "string", "enum": [long], "default": long, "pattern": "x" } },
    ] });
    let imported = import(&document(json!({ "/a": { "get": operation } }), json!({})));
    assert!(
        imported.is_err_and(|error| error.contains("bytes")),
        "together more than may be read"
    );
    let long = "<x y".repeat(500_000);
    let operation = json!({ "operationId": long, "summary": long, "description": long, "parameters": [
        { "name": long, "in": "query", "description": long, "schema": { "type": "string", "enum": [long], "default": long } },
    ] });
    let imported = import(&document(json!({ "/a": { "get": operation } }), json!({}))).unwrap();
    assert!(imported.to_json().len() < 64 * 1024);
}

#[test]
fn what_no_json_can_say_is_refused_or_read_as_text() {
    for text in [
        "{\"openapi\": \"3.0.0\", \"info\": {\"title\": \"\\ud800\"}}".to_owned(),
        format!("{{\"openapi\": 3{}}}", "0".repeat(10_000)),
        format!("openapi: 3{}", "0".repeat(10_000)),
        "openapi: \"\\ud800\"".to_owned(),
        "openapi: 3.0.0\u{0}".to_owned(),
        "\u{0}".to_owned(),
    ] {
        assert!(import(text.as_bytes()).is_err(), "{text:?}");
    }
    assert!(import(b"openapi: \xff").unwrap_err().contains("UTF-8"));
    assert!(import(b"\xfe\xff\x00{").unwrap_err().contains("UTF-8"));
}

#[test]
fn lists_that_repeat_take_linear_time() {
    let same = |value: Value, count: usize| Value::Array(vec![value; count]);
    let names: Vec<String> = (0..50_000).map(|i| format!("n{i}")).collect();
    let hidden: Map<String, Value> = names
        .iter()
        .map(|name| (name.clone(), json!({ "readOnly": true })))
        .collect();
    let schema = json!({
        "type": same(json!("string"), 50_000), "required": names, "properties": hidden, "enum": names,
        "x": 1, "allOf": same(json!({ "wrong": 1 }), 50_000),
    });
    let operation = json!({
        "operationId": "same", "tags": names, "security": same(json!({ "nope": [] }), 50_000),
        "servers": same(json!({ "url": "ftp://a" }), 50_000),
        "parameters": same(json!({ "name": "q", "in": "query", "schema": schema["enum"] }), 10),
        "requestBody": { "content": { "application/json": { "schema": schema } } },
    });
    drop(import(&document(
        json!({ "/a": { "post": operation } }),
        json!({}),
    )));
    let many: Map<String, Value> = (0..20_000)
        .map(|i| (format!("/p{i}"), json!({ "get": { "operationId": "same" } })))
        .collect();
    let imported = import(&document(json!(many), json!({}))).unwrap();
    assert_eq!(
        (imported.spec.spec().tools.len(), imported.skipped.len()),
        (100, 19_900)
    );
}

#[test]
fn a_server_that_nobody_may_reach_is_not_imported() {
    for url in [
        "https://169.254.169.254",
        "https://0x7f.1",
        "https://localhost",
        "https://[::1]",
        "https://user:pass@api.example.com",
        "https://*.example.com",
        "https://com",
        "javascript:alert(1)",
        "//api.example.com",
        "https://api.example.com/?to=https://evil.example.org",
        "https://{host}",
    ] {
        let document = json!({
            "openapi": "3.1.0", "info": { "title": "Sample" }, "servers": [{ "url": url }], "paths": { "/a": { "get": {} } },
        });
        let error = import(document.to_string().as_bytes()).unwrap_err();
        assert!(error.contains("server"), "{url}: {error}");
    }
}

#[test]
fn a_reason_cannot_write_on_the_terminal() {
    let name = "\u{1b}[2J\u{202e}\nerror";
    let operation =
        json!({ "operationId": "a", "parameters": [{ "name": name, "in": "cookie", "schema": {} }] });
    let imported = import(&document(
        json!({ format!("/{name}"): { "get": operation } }),
        json!({}),
    ))
    .unwrap();
    let lines: Vec<String> = imported.skipped.iter().map(ToString::to_string).collect();
    assert!(!lines.is_empty());
    assert!(
        lines
            .iter()
            .all(|line| !line.contains(['\u{1b}', '\u{202e}', '\n'])),
        "{lines:?}"
    );
}
