//! Both protocol eras on one URL.

use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::Full;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::support::*;

pub(crate) fn cases() -> Vec<Trial> {
    vec![
        case(
            "a_client_of_2025_11_25_initializes_lists_pings_and_calls",
            stateful,
        ),
        case(
            "a_client_of_2026_07_28_discovers_lists_and_calls_without_a_session",
            stateless,
        ),
        case(
            "lists_and_reads_carry_cache_hints_for_2026_07_28_only",
            cache_hints,
        ),
        case(
            "headers_of_2026_07_28_must_agree_with_the_body",
            headers_must_agree,
        ),
        case("an_unknown_method_is_404_for_2026_07_28", unknown_method),
        case(
            "progress_and_log_messages_reach_the_client_that_asked",
            notifications,
        ),
        case(
            "a_client_that_does_not_read_does_not_hold_its_call",
            unread_messages,
        ),
        case("a_client_that_goes_away_cancels_its_call", cancellation),
    ]
}

async fn stateful() {
    let service = guarded(spec(json!([tool("echo")]), json!({})), echo()).into_service();
    let answer = send(&service, post(Some(ANN), &initialize())).await;
    let result = &answer.json()["result"];
    assert_eq!(result["protocolVersion"], "2025-11-25");
    assert_eq!(result["serverInfo"]["name"], "demo-server");
    assert_eq!(result["serverInfo"]["title"], "Demo");
    assert_eq!(result["instructions"], "Call the tools.");
    assert!(result["capabilities"]["tools"].is_object());
    assert!(result["capabilities"].get("resources").is_none());

    let id = session(&service, ANN).await;
    let listed = send(&service, legacy(ANN, &id, &request(1, "tools/list", json!({}))))
        .await
        .json();
    let listed = &listed["result"]["tools"][0];
    assert_eq!(listed["name"], "echo");
    assert_eq!(listed["title"], "Title of echo");
    assert_eq!(listed["annotations"], json!({"readOnlyHint": true}));
    assert_eq!(listed["inputSchema"]["properties"]["text"]["type"], "string");

    let pong = send(&service, legacy(ANN, &id, &request(2, "ping", json!({}))))
        .await
        .json();
    assert_eq!(pong, json!({"jsonrpc": "2.0", "id": 2, "result": {}}));

    let call = request(
        3,
        "tools/call",
        json!({"name": "echo", "arguments": {"text": "hi"}}),
    );
    let called = send(&service, legacy(ANN, &id, &call)).await;
    assert_eq!(called.header("x-accel-buffering"), "no");
    assert_eq!(
        called.json()["result"],
        json!({"content": [{"type": "text", "text": "hi"}], "isError": false})
    );

    let delete = http::Request::delete("/mcp")
        .header("host", HOST)
        .header("authorization", format!("Bearer {ANN}"));
    let delete = delete
        .header("mcp-session-id", &id)
        .header("mcp-protocol-version", "2025-11-25");
    assert_eq!(send(&service, delete).await.status, StatusCode::ACCEPTED);
    let gone = send(&service, legacy(ANN, &id, &request(4, "ping", json!({})))).await;
    assert_eq!(gone.status, StatusCode::NOT_FOUND);
}

async fn stateless() {
    let service = guarded(spec(json!([tool("echo")]), json!({})), echo()).into_service();
    let discovered = send(&service, modern(ANN, "server/discover", json!({}))).await;
    assert_eq!(discovered.status, StatusCode::OK, "{discovered:?}");
    assert_eq!(discovered.header("mcp-session-id"), "");
    let result = discovered.json()["result"].clone();
    assert!(
        result["supportedVersions"]
            .as_array()
            .unwrap()
            .contains(&json!(MODERN))
    );
    assert_eq!(result["instructions"], "Call the tools.");
    assert_eq!(result["resultType"], "complete");

    let listed = send(&service, modern(ANN, "tools/list", json!({}))).await.json();
    assert_eq!(listed["result"]["tools"][0]["name"], "echo");

    let called = send(
        &service,
        modern(
            ANN,
            "tools/call",
            json!({"name": "echo", "arguments": {"text": "hi"}}),
        ),
    )
    .await;
    assert_eq!(called.header("content-type"), "application/json");
    let result = called.json()["result"].clone();
    assert_eq!(result["content"], json!([{"type": "text", "text": "hi"}]));
    assert_eq!(result["resultType"], "complete");

    // What only the stateful era has.
    let ping = send(&service, modern(ANN, "ping", json!({}))).await;
    assert_eq!(
        (ping.status, ping.json()["error"]["code"].clone()),
        (StatusCode::NOT_FOUND, json!(-32601))
    );
}

async fn cache_hints() {
    let more = json!({"resources": [{"uri": "notes://a", "name": "a", "text": "A"}]});
    let service = guarded(spec(json!([tool("echo")]), more), echo()).into_service();
    for (method, params) in [
        ("server/discover", json!({})),
        ("tools/list", json!({})),
        ("resources/list", json!({})),
        ("resources/templates/list", json!({})),
        ("prompts/list", json!({})),
        ("resources/read", json!({"uri": "notes://a"})),
    ] {
        let result = send(&service, modern(ANN, method, params)).await.json()["result"].clone();
        assert_eq!(result["cacheScope"], "private", "{method}: {result}");
        assert!(result["ttlMs"].is_u64(), "{method}: {result}");
    }
    let id = session(&service, ANN).await;
    let result = send(&service, legacy(ANN, &id, &request(1, "tools/list", json!({}))))
        .await
        .json()["result"]
        .clone();
    assert_eq!(result.get("ttlMs"), None);
    assert_eq!(result.get("resultType"), None);
}

async fn headers_must_agree() {
    let mut headed = tool("echo");
    headed["headers"] = json!({"text": "Text"});
    let service = guarded(spec(json!([headed]), json!({})), echo()).into_service();
    let call = json!({"name": "echo", "arguments": {"text": "hi"}});
    let ok = modern(ANN, "tools/call", call.clone()).header("mcp-param-text", "hi");
    assert_eq!(send(&service, ok).await.status, StatusCode::OK);

    let other_param = modern(ANN, "tools/call", call.clone()).header("mcp-param-text", "ho");
    let mut other_name = modern(ANN, "tools/call", call.clone()).header("mcp-param-text", "hi");
    other_name
        .headers_mut()
        .unwrap()
        .insert("mcp-name", "other".parse().unwrap());
    let mut other_method = modern(ANN, "tools/call", call.clone()).header("mcp-param-text", "hi");
    other_method
        .headers_mut()
        .unwrap()
        .insert("mcp-method", "tools/list".parse().unwrap());
    let mut no_method = modern(ANN, "tools/call", call).header("mcp-param-text", "hi");
    no_method.headers_mut().unwrap().remove("mcp-method");
    for (what, request) in [
        ("param", other_param),
        ("name", other_name),
        ("method", other_method),
        ("no method", no_method),
    ] {
        let answer = send(&service, request).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{what}: {answer:?}");
        assert_eq!(answer.json()["error"]["code"], -32020, "{what}");
    }

    let mut unsupported = json!({"_meta": {
        "io.modelcontextprotocol/protocolVersion": "2099-01-01", "io.modelcontextprotocol/clientCapabilities": {},
    }});
    unsupported["name"] = json!("echo");
    let mut unsupported = modern_with_meta(ANN, "tools/call", unsupported);
    unsupported
        .headers_mut()
        .unwrap()
        .insert("mcp-protocol-version", "2099-01-01".parse().unwrap());
    let answer = send(&service, unsupported).await;
    assert_eq!(
        (answer.status, answer.json()["error"]["code"].clone()),
        (StatusCode::BAD_REQUEST, json!(-32022))
    );
}

async fn unknown_method() {
    let service = guarded(spec(json!([tool("echo")]), json!({})), echo()).into_service();
    let answer = send(&service, modern(ANN, "no/such", json!({}))).await;
    assert_eq!(
        (answer.status, answer.json()["error"]["code"].clone()),
        (StatusCode::NOT_FOUND, json!(-32601))
    );
}

async fn notifications() {
    let talk = engine(|_, host: Host| async move {
        host.log(bmm_runner::engine::LogLevel::Debug, "quiet");
        host.log(bmm_runner::engine::LogLevel::Warning, "loud");
        host.progress(0.5, Some(1.0), Some("half"));
        Ok(json!("done"))
    });
    let service = guarded(spec(json!([tool("talk")]), json!({})), talk).into_service();
    let kinds = |answer: &Answered| -> Vec<String> {
        let methods = answer
            .messages()
            .into_iter()
            .map(|message| match message["method"].as_str() {
                Some("notifications/message") => {
                    format!("log:{}", message["params"]["data"].as_str().unwrap())
                }
                Some("notifications/progress") => {
                    format!("progress:{}", message["params"]["message"].as_str().unwrap())
                }
                _ => "result".to_owned(),
            });
        methods.collect()
    };

    let mut params = json!({"name": "talk", "_meta": {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/logLevel": "info",
        "progressToken": "p",
    }});
    let answer = send(&service, modern_with_meta(ANN, "tools/call", params.clone())).await;
    assert_eq!(kinds(&answer), ["log:loud", "progress:half", "result"]);
    // Without a level nothing is logged, without a token there is no progress.
    params["_meta"]
        .as_object_mut()
        .unwrap()
        .remove("io.modelcontextprotocol/logLevel");
    params["_meta"].as_object_mut().unwrap().remove("progressToken");
    let answer = send(&service, modern_with_meta(ANN, "tools/call", params)).await;
    assert_eq!(kinds(&answer), ["result"]);

    let id = session(&service, ANN).await;
    let set = request(1, "logging/setLevel", json!({"level": "debug"}));
    assert_eq!(
        send(&service, legacy(ANN, &id, &set)).await.json()["result"],
        json!({})
    );
    let call = request(
        2,
        "tools/call",
        json!({"name": "talk", "_meta": {"progressToken": 7}}),
    );
    let answer = send(&service, legacy(ANN, &id, &call)).await;
    assert!(kinds(&answer).contains(&"progress:half".to_owned()), "{answer:?}");
    assert_eq!(answer.json()["result"]["content"][0]["text"], "done");
}

async fn unread_messages() {
    let (finish, finished) = tokio::sync::oneshot::channel();
    let finish = Mutex::new(Some(finish));
    let talk = engine(move |_, host: Host| {
        let finish = finish.lock().unwrap().take();
        async move {
            for step in 0..60 {
                host.progress(f64::from(step), None, Some("on the way"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            let _ = finish.map(|finish| finish.send(()));
            Ok(json!("done"))
        }
    });
    let service = guarded(spec(json!([tool("talk")]), json!({})), talk).into_service();
    let id = session(&service, ANN).await;
    let call = request(
        2,
        "tools/call",
        json!({"name": "talk", "_meta": {"progressToken": 7}}),
    );
    let mut request = legacy(ANN, &id, &call).body(Full::default()).unwrap();
    *request.body_mut() = Full::new(Bytes::from(call.to_string()));
    let unread = service.clone().oneshot(request).await.unwrap();
    assert_eq!(unread.status(), StatusCode::OK);
    tokio::time::timeout(Duration::from_secs(4), finished)
        .await
        .expect("the call goes on")
        .unwrap();
}

async fn cancellation() {
    struct OnDrop(tokio::sync::mpsc::UnboundedSender<()>);
    impl Drop for OnDrop {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }
    let (dropped, mut was_dropped) = tokio::sync::mpsc::unbounded_channel();
    let (started, mut was_started) = tokio::sync::mpsc::unbounded_channel();
    let forever = engine(move |_, _| {
        let guard = OnDrop(dropped.clone());
        let started = started.clone();
        async move {
            let _guard = guard;
            let _ = started.send(());
            std::future::pending::<Result<Value, _>>().await
        }
    });
    let service = guarded(spec(json!([tool("forever")]), json!({})), forever).into_service();
    let call = tokio::spawn({
        let service = service.clone();
        async move { send(&service, modern(ANN, "tools/call", json!({"name": "forever"}))).await }
    });
    was_started.recv().await.unwrap();
    call.abort();
    was_dropped.recv().await.unwrap();

    // A client of the older era says so instead.
    let id = session(&service, ANN).await;
    let call = tokio::spawn({
        let (service, id) = (service.clone(), id.clone());
        async move {
            send(
                &service,
                legacy(ANN, &id, &request(5, "tools/call", json!({"name": "forever"}))),
            )
            .await
        }
    });
    was_started.recv().await.unwrap();
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 5}});
    send(&service, legacy(ANN, &id, &cancel)).await;
    was_dropped.recv().await.unwrap();
    call.abort();
}
