//! Servers generated from an OpenAPI description, against a mock of the service they describe.

use std::collections::BTreeMap;

use bmm_runner::engine::{EngineLimits, InProcessEngine};
use bmm_runner::{Runner, RunnerService, Secrets};
use bmm_spec::OpenApiImport;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::fetch::{API, Upstream};
use crate::support::*;

const LIBRARY: &[u8] = include_bytes!("../../../bmm-spec/tests/fixtures/library-3.0.yaml");

pub(crate) fn cases() -> Vec<Trial> {
    let mut cases = vec![
        case(
            "an_imported_server_calls_the_service_as_it_is_described",
            requests,
        ),
        case("an_imported_server_gives_back_what_the_service_answers", answers),
        case("no_argument_of_an_imported_server_leaves_its_path", segments),
    ];
    // By hand: what `bmm import` makes of descriptions of real services, which are files separated by colons.
    if std::env::var_os(DOCUMENTS).is_some() {
        cases.push(Trial::test(
            "openapi::real_descriptions_become_servers_that_answer",
            || {
                let runtime = tokio::runtime::Runtime::new()?;
                runtime.block_on(real_descriptions());
                Ok(())
            },
        ));
    }
    cases
}

const DOCUMENTS: &str = "BMM_OPENAPI_DOCUMENTS";

const SECRETS: [(&str, &str); 4] = [
    ("API_TOKEN", "token-5ecret"),
    ("PARTNER", "partner-5ecret"),
    ("STAFF_LOGIN_USERNAME", "ada"),
    ("STAFF_LOGIN_PASSWORD", "pass-5ecret"),
];

async fn library(upstream: &Upstream) -> RunnerService {
    let imported = OpenApiImport::new(LIBRARY)
        .with_server("https://api.example.com/v1")
        .run()
        .unwrap();
    let spec = imported.spec.compile().unwrap();
    let engine = InProcessEngine::insecure_in_process(&spec, EngineLimits::default()).unwrap();
    Runner::new(spec, engine)
        .unwrap()
        .with_connector(upstream.connector())
        .with_secrets(Secrets::from_iter(SECRETS))
        .into_service()
}

async fn call(service: &RunnerService, name: &str, arguments: Value) -> Value {
    let mut call = modern(ANN, "tools/call", json!({"name": name, "arguments": arguments}));
    let headers = call.headers_mut().unwrap();
    headers.insert("host", "localhost".parse().unwrap());
    let answer = send(service, call).await.json();
    assert!(answer["result"].is_object(), "{answer}");
    answer["result"].clone()
}

async fn requests() {
    let upstream = Upstream::start().await;
    let service = library(&upstream).await;
    let find = json!({
        "q": "a&b=c", "subject": ["sea", "sky"], "shelf": [1, 2], "filter": {"language": "en", "year": {"from": 1900}},
        "sort_by": "year", "X-Branch": "north",
    });
    let book = json!({"title": "Œuvres", "subtitle": null, "medium": {"kind": "paper", "pages": 3}});
    let member = json!({"name": "Ada & Co", "interests": ["x", "y"], "address": {"town": "Oslo"}});
    for (name, arguments) in [
        ("listBooks", find),
        ("addBook", json!({"body": book})),
        ("deleteBook", json!({"id": "../a b?"})),
        ("addMember", json!({"body": member})),
        ("listLoans", json!({})),
    ] {
        let result = call(&service, name, arguments).await;
        assert_eq!(result["isError"], json!(false), "{name}: {result}");
    }
    let seen = upstream.seen();
    let lines: Vec<String> = seen
        .iter()
        .map(|one| format!("{} {}", one.method, one.target))
        .collect();
    assert_eq!(
        lines,
        [
            "GET /v1/books?q=a%26b%3Dc&subject=sea&subject=sky&shelf=1%2C2&filter%5Blanguage%5D=en\
             &filter%5Byear%5D%5Bfrom%5D=1900&sort%5Bby%5D=year",
            "POST /v1/books",
            "DELETE /v1/books/..%2Fa%20b%3F",
            "POST /v1/members",
            "GET /v1/loans?partner_key=partner-5ecret",
        ]
    );
    let header = |at: usize, name: &str| seen[at].headers.get(name).map(|v| v.to_str().unwrap().to_owned());
    assert_eq!(header(0, "x-branch").as_deref(), Some("north"));
    assert_eq!(header(0, "accept").as_deref(), Some("application/json"));
    assert_eq!(header(0, "authorization").as_deref(), Some("Bearer token-5ecret"));
    assert_eq!(serde_json::from_str::<Value>(&seen[1].body).unwrap(), book);
    assert_eq!(header(1, "content-type").as_deref(), Some("application/json"));
    assert_eq!(
        seen[3].body,
        "name=Ada+%26+Co&interests=x&interests=y&address%5Btown%5D=Oslo"
    );
    assert_eq!(
        header(3, "content-type").as_deref(),
        Some("application/x-www-form-urlencoded;charset=UTF-8")
    );
    assert_eq!(
        header(3, "authorization").as_deref(),
        Some("Basic YWRhOnBhc3MtNWVjcmV0")
    );
    assert_eq!(header(4, "authorization"), None);
}

async fn answers() {
    let upstream = Upstream::start().await;
    let service = library(&upstream).await;
    let status = call(&service, "status", json!({})).await;
    assert_eq!(
        status["structuredContent"],
        json!({"status": 200, "body": {"open": true}})
    );
    let missing = call(&service, "deleteBook", json!({"id": "404"})).await;
    assert_eq!(missing["isError"], true);
    let text = missing["content"][0]["text"].as_str().unwrap();
    assert!(
        text.contains("DELETE /books/{id} answered 404: no such book"),
        "{text}"
    );
    let wrong = call(&service, "listBooks", json!({"q": "", "more": 1})).await;
    assert_eq!(wrong["isError"], true, "arguments are held against the schema");
    assert_eq!(upstream.seen().len(), 2);
}

async fn segments() {
    let upstream = Upstream::start().await;
    let service = library(&upstream).await;
    for id in [".", "..", ""] {
        let result = call(&service, "deleteBook", json!({"id": id})).await;
        assert_eq!(result["isError"], true, "{id:?}: {result}");
    }
    assert!(upstream.seen().is_empty(), "{:?}", upstream.seen());
    for id in ["%2e%2e", "../..", "\\..", "a/../../b", "x#y", "x;y", "..;"] {
        call(&service, "deleteBook", json!({"id": id})).await;
    }
    for seen in upstream.seen() {
        assert_eq!(seen.target.matches('/').count(), 3, "{}", seen.target);
        assert!(seen.target.starts_with("/v1/books/"), "{}", seen.target);
    }
}

/// Imports every operation, a hundred at a time, and calls every tool once with the least input that its schema takes.
async fn real_descriptions() {
    let documents = std::env::var(DOCUMENTS).unwrap();
    for file in documents.split(':') {
        let bytes = std::fs::read(file).unwrap();
        let upstream = Upstream::start().await;
        let (mut tools, mut answered, mut unsent, mut reasons) = (0, 0, Vec::new(), BTreeMap::new());
        let mut next: Vec<String> = Vec::new();
        loop {
            let mut import = OpenApiImport::new(&bytes).with_server(format!("https://{API}"));
            if !next.is_empty() {
                import = import.with_operations(next.split_off(next.len().saturating_sub(100)));
            }
            let first = tools == 0;
            let imported = import.run().unwrap_or_else(|error| panic!("{file}: {error}"));
            for skipped in &imported.skipped {
                match operation_of(&skipped.pointer).filter(|_| first && skipped.reason.contains("100 tools"))
                {
                    Some(operation) => next.push(operation),
                    None => *reasons.entry(skipped.reason.clone()).or_insert(0) += 1,
                }
            }
            let spec = imported.spec.compile().unwrap();
            tools += spec.tools.len();
            let inputs: Vec<_> = spec
                .tools
                .iter()
                .map(|tool| {
                    (
                        tool.name.clone(),
                        least(&json!(tool.input_schema), &json!(tool.input_schema), 0),
                    )
                })
                .collect();
            let secrets: Vec<_> = spec
                .required_secrets
                .iter()
                .map(|secret| (secret.name.clone(), "stand-in-5ecret".to_owned()))
                .collect();
            let engine = InProcessEngine::insecure_in_process(&spec, EngineLimits::default()).unwrap();
            let service = Runner::new(spec, engine)
                .unwrap()
                .with_connector(upstream.connector())
                .with_secrets(Secrets::from_iter(secrets))
                .into_service();
            for (name, input) in inputs {
                upstream.seen.lock().unwrap().clear();
                let result = call(&service, &name, input).await;
                let seen = upstream.seen();
                if seen.len() == 1 && seen[0].host == API && result["isError"] == json!(false) {
                    answered += 1;
                } else {
                    unsent.push(format!("{name}: {result}"));
                }
            }
            if next.is_empty() {
                break;
            }
        }
        println!("{file}: {tools} tools, {answered} called the mock and answered");
        for (reason, count) in reasons {
            println!("  not converted, {count} times: {reason}");
        }
        for one in unsent {
            println!("  did not answer: {}", one.chars().take(300).collect::<String>());
        }
    }
}

/// `GET /path` of a pointer to an operation.
fn operation_of(pointer: &str) -> Option<String> {
    let mut parts = pointer.strip_prefix("/paths/")?.split('/');
    let path = parts.next()?.replace("~1", "/").replace("~0", "~");
    Some(format!("{} {path}", parts.next()?.to_uppercase()))
}

/// The least value that a schema takes, as far as it can be read off it.
fn least(schema: &Value, root: &Value, depth: usize) -> Value {
    let at = |key: &str| &schema[key];
    if depth > 12 {
        return Value::Null;
    }
    if let Some(reference) = at("$ref").as_str() {
        let target = root
            .pointer(reference.trim_start_matches('#'))
            .cloned()
            .unwrap_or_default();
        return least(&target, root, depth + 1);
    }
    for key in ["const", "default"] {
        if !at(key).is_null() {
            return at(key).clone();
        }
    }
    if let Some(first) = at("enum").get(0).or(at("examples").get(0)) {
        return first.clone();
    }
    for key in ["oneOf", "anyOf", "allOf"] {
        if let Some(first) = at(key).get(0) {
            return least(first, root, depth + 1);
        }
    }
    let kind = at("type").as_str().or(at("type")[0].as_str());
    match kind {
        Some("integer" | "number") => json!(at("minimum").as_i64().unwrap_or(1).max(1)),
        Some("boolean") => json!(true),
        Some("array") => {
            let few = at("minItems").as_u64().unwrap_or(0);
            (0..few).map(|_| least(at("items"), root, depth + 1)).collect()
        }
        Some("null") => Value::Null,
        Some("object") | None if at("properties").is_object() || kind == Some("object") => {
            let required = at("required").as_array().cloned().unwrap_or_default();
            let names = required.iter().filter_map(Value::as_str);
            names
                .map(|name| {
                    (
                        name.to_owned(),
                        least(&schema["properties"][name], root, depth + 1),
                    )
                })
                .collect::<serde_json::Map<_, _>>()
                .into()
        }
        // Identifiers: letters that say of what, then so many hexadecimal digits.
        _ if let Some((kind, digits)) = at("pattern")
            .as_str()
            .and_then(|pattern| pattern.strip_prefix('^')?.split_once("[0-9a-fA-F]{")) =>
        {
            let kind = kind
                .trim_matches(['(', ')'])
                .split('|')
                .next()
                .unwrap_or_default();
            let digits = digits.trim_end_matches(['}', '$']).parse().unwrap_or(32);
            json!(format!("{kind}{}", "0".repeat(digits)))
        }
        _ => {
            let chars = at("minLength").as_u64().unwrap_or(1).max(1);
            json!("x".repeat(usize::try_from(chars).unwrap().min(1000)))
        }
    }
}
