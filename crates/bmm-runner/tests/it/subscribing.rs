//! Subscriptions to resources: told of by a reload, in both eras.

use bmm_runner::RunnerService;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Body as _;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::support::*;

pub(crate) fn cases() -> Vec<Trial> {
    vec![
        case("who_subscribed_hears_of_a_reload", heard),
        case(
            "a_server_whose_resources_never_change_offers_no_subscription",
            not_offered,
        ),
        case("subscriptions_are_bounded_and_to_what_there_is", bounds),
    ]
}

fn resources(texts: &[(&str, &str)]) -> bmm_spec::CompiledSpec {
    let resources: Vec<_> = texts
        .iter()
        .map(|(name, text)| json!({"uri": format!("notes://{name}"), "name": name, "text": text}))
        .collect();
    spec(json!([tool("echo")]), json!({ "resources": resources }))
}

/// Messages of a stream until one fits.
async fn until(
    service: &RunnerService,
    request: http::request::Builder,
    ready: impl FnOnce(),
    fits: impl Fn(&Value) -> bool,
) -> Vec<Value> {
    let mut http = request.body(Full::default()).unwrap();
    if let Some(body) = http.extensions_mut().remove::<Value>() {
        *http.body_mut() = Full::new(Bytes::from(body.to_string()));
    }
    let mut body = service.clone().oneshot(http).await.unwrap().into_body();
    let (mut text, mut messages, mut ready) = (String::new(), Vec::new(), Some(ready));
    while !messages.last().is_some_and(&fits) {
        // The stream has begun: with its first event, or at once if it has none.
        let frame = tokio::time::timeout(std::time::Duration::from_millis(300), body.frame()).await;
        if let Some(ready) = ready.take() {
            ready();
        }
        let Ok(frame) = frame else { continue };
        let Some(frame) = frame else {
            panic!("{messages:?}, then the stream ended: {}", body.is_end_stream())
        };
        let Ok(data) = frame.unwrap().into_data() else {
            continue;
        };
        text.push_str(std::str::from_utf8(&data).unwrap());
        while let Some((event, rest)) = text.split_once("\n\n") {
            let data = event.lines().find_map(|line| line.strip_prefix("data:"));
            messages.extend(data.and_then(|data| serde_json::from_str::<Value>(data).ok()));
            text = rest.to_owned();
        }
    }
    messages
}

fn updated(messages: &[Value]) -> Vec<&str> {
    let updated = messages
        .iter()
        .filter(|message| message["method"] == "notifications/resources/updated");
    updated
        .filter_map(|message| message["params"]["uri"].as_str())
        .collect()
}

async fn heard() {
    let one = [("a", "A"), ("b", "B"), ("c", "C"), ("d", "D")];
    // Another a, the same b, no c; another d that nobody watches.
    let two = [("a", "other"), ("b", "B"), ("d", "other")];
    let watched = ["notes://a", "notes://b", "notes://c"];
    let is_last = |message: &Value| message["params"]["uri"] == "notes://c";

    let (service, reloader) = guarded(resources(&one), echo()).into_reloadable_service();
    let id = session(&service, ANN).await;
    for (uri, number) in watched.iter().chain(&["notes://d"]).zip(1..) {
        let subscribe = request(number, "resources/subscribe", json!({ "uri": uri }));
        assert_eq!(
            send(&service, legacy(ANN, &id, &subscribe)).await.json()["result"],
            json!({})
        );
    }
    let unsubscribe = request(9, "resources/unsubscribe", json!({"uri": "notes://d"}));
    assert_eq!(
        send(&service, legacy(ANN, &id, &unsubscribe)).await.json()["result"],
        json!({})
    );
    let stream = http::Request::get("/mcp")
        .header("host", HOST)
        .header("accept", "text/event-stream")
        .header("authorization", format!("Bearer {ANN}"))
        .header("mcp-session-id", &id)
        .header("mcp-protocol-version", "2025-11-25");
    let reload = || reloader.replace(guarded(resources(&two), echo()));
    let messages = until(&service, stream, reload, is_last).await;
    assert_eq!(updated(&messages), ["notes://a", "notes://c"]);

    let (service, reloader) = guarded(resources(&one), echo()).into_reloadable_service();
    let listen = json!({"notifications": {"resourceSubscriptions": watched, "toolsListChanged": true}});
    let reload = || reloader.replace(guarded(resources(&two), echo()));
    let messages = until(
        &service,
        modern(ANN, "subscriptions/listen", listen),
        reload,
        is_last,
    )
    .await;
    assert_eq!(updated(&messages), ["notes://a", "notes://c"]);
    let lists: Vec<_> = messages
        .iter()
        .filter_map(|message| {
            message["method"]
                .as_str()
                .filter(|method| method.ends_with("list_changed"))
        })
        .collect();
    assert_eq!(lists, ["notifications/tools/list_changed"]);
}

async fn not_offered() {
    let service = guarded(resources(&[("a", "A")]), echo()).into_service();
    let answer = send(&service, post(Some(ANN), &initialize())).await.json();
    assert_eq!(answer["result"]["capabilities"]["resources"], json!({}));
    let id = session(&service, ANN).await;
    for method in ["resources/subscribe", "resources/unsubscribe"] {
        let answer = send(
            &service,
            legacy(ANN, &id, &request(1, method, json!({"uri": "notes://a"}))),
        )
        .await;
        assert_eq!(answer.json()["error"]["code"], -32601, "{method}");
    }

    let (service, _reloader) = guarded(resources(&[]), echo()).into_reloadable_service();
    let answer = send(&service, post(Some(ANN), &initialize())).await.json();
    assert_eq!(
        answer["result"]["capabilities"]["resources"],
        json!({"listChanged": true, "subscribe": true})
    );
}

async fn bounds() {
    let more = json!({"resources": [{"uriTemplate": "notes://{name}", "name": "any", "implementation": "export default () => 'any'"}]});
    let spec = spec(json!([tool("echo")]), more);
    let (service, _reloader) = guarded(spec, echo()).into_reloadable_service();
    let id = session(&service, ANN).await;
    let subscribe = |uri: String| {
        let (service, id) = (service.clone(), id.clone());
        async move {
            let subscribe = request(1, "resources/subscribe", json!({ "uri": uri }));
            send(&service, legacy(ANN, &id, &subscribe)).await.json()
        }
    };
    assert_eq!(subscribe("other://a".to_owned()).await["error"]["code"], -32002);
    for number in 0..256 {
        assert_eq!(
            subscribe(format!("notes://{number}")).await["result"],
            json!({}),
            "{number}"
        );
    }
    let refused = subscribe("notes://one-more".to_owned()).await;
    assert!(
        refused["error"]["message"]
            .as_str()
            .unwrap()
            .contains("at most 256"),
        "{refused}"
    );
    assert_eq!(subscribe("notes://7".to_owned()).await["result"], json!({}));
    let unsubscribe = request(2, "resources/unsubscribe", json!({"uri": "notes://7"}));
    send(&service, legacy(ANN, &id, &unsubscribe)).await;
    assert!(subscribe("x".repeat(3000)).await["error"].is_object());
    assert_eq!(
        subscribe("notes://one-more".to_owned()).await["result"],
        json!({})
    );
}
