//! What the server of a spec answers.

use bmm_runner::Runner;
use bmm_runner::engine::ToolFailure;
use http::StatusCode;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::support::*;

pub(crate) fn cases() -> Vec<Trial> {
    vec![
        case(
            "arguments_against_the_schema_are_a_tool_error_and_do_not_run",
            bad_arguments,
        ),
        case("an_unknown_tool_is_invalid_params", unknown_tool),
        case("failures_are_told_to_the_model", failures),
        case("an_output_against_the_output_schema_is_a_tool_error", bad_output),
        case("resources_are_listed_and_read", resources),
        case("prompts_are_listed_and_filled", prompts),
        case("a_cursor_that_nobody_gave_out_is_refused", cursors),
        case("a_tool_with_scopes_is_listed_and_called_only_with_them", scopes),
        case("a_drifted_spec_does_not_serve", drift),
        case("elsewhere_is_a_json_404", elsewhere),
        case("the_metadata_names_resource_and_issuer", metadata),
    ]
}

async fn call(service: &bmm_runner::RunnerService, name: &str, arguments: Value) -> Value {
    send(
        service,
        modern(ANN, "tools/call", json!({"name": name, "arguments": arguments})),
    )
    .await
    .json()
}

async fn bad_arguments() {
    let never = engine(|_, _| async { panic!("must not run") });
    let service = guarded(spec(json!([tool("echo")]), json!({})), never).into_service();
    let result = call(&service, "echo", json!({"text": 7, "more": 1})).await["result"].clone();
    assert_eq!(result["isError"], true);
    let text = result["content"][0]["text"].as_str().unwrap();
    assert!(text.contains("/text") && text.contains("more"), "{text}");
}

async fn unknown_tool() {
    let service = guarded(spec(json!([tool("echo")]), json!({})), echo()).into_service();
    assert_eq!(call(&service, "nope", json!({})).await["error"]["code"], -32602);
}

async fn failures() {
    let failing = engine(|call, _| async move {
        Err(match call.input["text"].as_str() {
            Some("throw") => ToolFailure::Thrown {
                message: "Error: no such city".to_owned(),
            },
            Some("slow") => ToolFailure::Timeout { limit_ms: 10_000 },
            Some("large") => ToolFailure::OutputTooLarge { limit_kib: 256 },
            _ => ToolFailure::Host("internal detail".to_owned()),
        })
    });
    let service = guarded(spec(json!([tool("fail")]), json!({})), failing).into_service();
    for (text, expected) in [
        ("throw", "no such city"),
        ("slow", "10000 ms"),
        ("large", "256 KiB"),
        ("host", "the server could not run the tool"),
    ] {
        let result = call(&service, "fail", json!({"text": text})).await["result"].clone();
        assert_eq!(result["isError"], true, "{result}");
        let said = result["content"][0]["text"].as_str().unwrap();
        assert!(
            said.contains(expected) && !said.contains("internal detail"),
            "{said}"
        );
    }
}

async fn bad_output() {
    let mut checked = tool("checked");
    checked["outputSchema"] = json!({
        "type": "object", "properties": {"n": {"type": "number"}}, "required": ["n"],
    });
    let parsing =
        engine(
            |call, _| async move { Ok(serde_json::from_str(call.input["text"].as_str().unwrap()).unwrap()) },
        );
    let service = guarded(spec(json!([checked]), json!({})), parsing).into_service();
    let good = call(&service, "checked", json!({"text": "{\"n\": 1}"})).await["result"].clone();
    assert_eq!(good["structuredContent"], json!({"n": 1}));
    let bad = call(&service, "checked", json!({"text": "{\"n\": \"x\"}"})).await["result"].clone();
    assert_eq!(bad["isError"], true);
    assert_eq!(bad.get("structuredContent"), None);
}

async fn resources() {
    let more = json!({"resources": [
        {"uri": "notes://a", "name": "a", "text": "A"},
        {"uri": "notes://b", "name": "b", "blob": "aGk=", "mimeType": "image/png"},
        {"uri": "notes://now", "name": "now", "implementation": "export default () => 'x'"},
        {"uriTemplate": "notes://by/{id}", "name": "by", "implementation": "export default (input) => input.id"},
    ]});
    // Unit 0 is the tool, 1 and 2 the two resources with code.
    let code = engine(|call, _| async move { Ok(json!(format!("{}: {}", call.tool, call.input))) });
    let service = guarded(spec(json!([tool("echo")]), more), code).into_service();
    let read = |uri: &'static str| {
        let service = service.clone();
        async move {
            send(&service, modern(ANN, "resources/read", json!({"uri": uri})))
                .await
                .json()
        }
    };
    let listed = send(&service, modern(ANN, "resources/list", json!({})))
        .await
        .json();
    assert_eq!(listed["result"]["resources"].as_array().unwrap().len(), 3);
    let listed = send(&service, modern(ANN, "resources/templates/list", json!({})))
        .await
        .json();
    assert_eq!(
        listed["result"]["resourceTemplates"][0]["uriTemplate"],
        "notes://by/{id}"
    );
    assert_eq!(read("notes://a").await["result"]["contents"][0]["text"], "A");
    let blob = read("notes://b").await["result"]["contents"][0].clone();
    assert_eq!(
        (blob["blob"].clone(), blob["mimeType"].clone()),
        (json!("aGk="), json!("image/png"))
    );
    assert_eq!(
        read("notes://now").await["result"]["contents"][0]["text"],
        "1: {\"uri\":\"notes://now\"}"
    );
    let by = read("notes://by/7").await["result"]["contents"][0]["text"].clone();
    assert_eq!(by, "2: {\"id\":\"7\",\"uri\":\"notes://by/7\"}");
    assert_eq!(read("notes://nowhere").await["error"]["code"], -32602);
    let id = session(&service, ANN).await;
    let missing = request(1, "resources/read", json!({"uri": "notes://nowhere"}));
    assert_eq!(
        send(&service, legacy(ANN, &id, &missing)).await.json()["error"]["code"],
        -32002
    );
}

async fn prompts() {
    let more = json!({"prompts": [
        {"name": "greet", "arguments": [{"name": "who", "required": true}],
         "messages": [{"role": "user", "content": {"type": "text", "text": "Greet {{who}}."}}]},
        {"name": "made", "implementation": "export default () => 'x'"},
    ]});
    let code = engine(|_, _| async move { Ok(json!("made text")) });
    let service = guarded(spec(json!([tool("echo")]), more), code).into_service();
    let get = |params: Value| {
        let service = service.clone();
        async move { send(&service, modern(ANN, "prompts/get", params)).await.json() }
    };
    let listed = send(&service, modern(ANN, "prompts/list", json!({})))
        .await
        .json();
    assert_eq!(listed["result"]["prompts"][0]["arguments"][0]["required"], true);
    let greeted = get(json!({"name": "greet", "arguments": {"who": "Ada"}})).await;
    assert_eq!(greeted["result"]["messages"][0]["content"]["text"], "Greet Ada.");
    assert_eq!(
        get(json!({"name": "made"})).await["result"]["messages"][0]["content"]["text"],
        "made text"
    );
    assert_eq!(get(json!({"name": "greet"})).await["error"]["code"], -32602);
    assert_eq!(get(json!({"name": "nope"})).await["error"]["code"], -32602);
}

async fn cursors() {
    let service = guarded(spec(json!([tool("echo")]), json!({})), echo()).into_service();
    let answer = send(&service, modern(ANN, "tools/list", json!({"cursor": "x"})))
        .await
        .json();
    assert_eq!(answer["error"]["code"], -32602);
}

async fn scopes() {
    let mut writing = tool("write");
    writing["scopes"] = json!(["demo:write"]);
    let service = guarded(spec(json!([tool("echo"), writing]), json!({})), echo()).into_service();
    let listed = send(&service, modern(ANN, "tools/list", json!({}))).await.json();
    assert_eq!(listed["result"]["tools"].as_array().unwrap().len(), 2);
    let write = json!({"name": "write", "arguments": {"text": "hi"}});
    let refused = send(&service, modern(ANN, "tools/call", write.clone())).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let challenge = refused.header("www-authenticate");
    assert!(
        challenge.starts_with("Bearer ") && challenge.contains("error=\"insufficient_scope\""),
        "{challenge}"
    );
    assert!(
        challenge.contains("demo:write") && challenge.contains("resource_metadata="),
        "{challenge}"
    );
    let granted = send(
        &service,
        modern("ann.client.mcp_read.demo_write", "tools/call", write),
    )
    .await;
    assert_eq!(granted.json()["result"]["content"][0]["text"], "hi");
    assert_eq!(
        call(&service, "echo", json!({"text": "free"})).await["result"]["content"][0]["text"],
        "free"
    );
}

async fn drift() {
    let mut changed = spec(json!([tool("echo")]), json!({}));
    changed.tools[0].code.push_str("\n// something else");
    assert!(Runner::new(changed, echo()).is_err());
}

async fn elsewhere() {
    let service = guarded(spec(json!([tool("echo")]), json!({})), echo()).into_service();
    for path in [
        "/",
        "/mcp/",
        "/mcp/x",
        "/.well-known/oauth-protected-resource/demo/mcp",
        "/.well-known/openid-configuration",
    ] {
        let answer = send(&service, http::Request::get(path).header("host", HOST)).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(answer.header("content-type"), "application/json");
    }
}

async fn metadata() {
    let service = guarded(spec(json!([tool("echo")]), json!({})), echo()).into_service();
    let answer = send(
        &service,
        http::Request::get("/.well-known/oauth-protected-resource").header("host", HOST),
    )
    .await;
    let document = answer.json();
    assert_eq!(document["resource"], PUBLIC_URL);
    assert_eq!(document["authorization_servers"], json!([ISSUER]));
}
