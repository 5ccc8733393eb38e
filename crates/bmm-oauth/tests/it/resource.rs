//! The resource server as clients meet it, around a service that is no axum router.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bmm_oauth::*;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use proptest::prelude::*;
use tower::{Layer, Service, ServiceExt};

const RESOURCE: &str = "https://mcp.example.com/weather/mcp";
const CHALLENGE: &str = r#"resource_metadata="https://mcp.example.com/.well-known/oauth-protected-resource/weather/mcp", scope="mcp:read""#;

#[tokio::test]
async fn every_method_without_a_token_gets_the_one_challenge() {
    for method in [
        Method::GET,
        Method::POST,
        Method::DELETE,
        Method::PUT,
        Method::OPTIONS,
        Method::HEAD,
    ] {
        let response = send(
            &guard(),
            Request::builder()
                .method(method.clone())
                .body(Full::default())
                .unwrap(),
        )
        .await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{method}");
        let challenges: Vec<_> = response
            .headers()
            .get_all(header::WWW_AUTHENTICATE)
            .iter()
            .collect();
        assert_eq!(challenges, [format!("Bearer {CHALLENGE}").as_str()], "{method}");
    }
}

#[tokio::test]
async fn a_bad_token_is_told_so_and_why_is_not() {
    let response = send(&guard(), with_token("nonsense")).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    let expected = format!(
        "Bearer error=\"invalid_token\", error_description=\"the access token is not valid here\", {CHALLENGE}"
    );
    assert_eq!(response.headers()[header::WWW_AUTHENTICATE], expected.as_str());
}

#[tokio::test]
async fn too_few_scopes_get_all_that_are_needed() {
    let response = send(&guard(), with_token("scopes:other")).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    let challenge = response.headers()[header::WWW_AUTHENTICATE]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(
        challenge.starts_with("Bearer error=\"insufficient_scope\""),
        "{challenge}"
    );
    assert!(
        challenge.ends_with("scope=\"mcp:read other\""),
        "with what it has: {challenge}"
    );
    let step_up = guard().insufficient_scope(&Scopes::new(["tool:write"]).unwrap());
    assert_eq!(step_up.status(), StatusCode::FORBIDDEN);
    assert!(
        step_up.headers()[header::WWW_AUTHENTICATE]
            .to_str()
            .unwrap()
            .ends_with("scope=\"mcp:read tool:write\"")
    );
}

/// MCP "Scope Challenge Handling": one challenge with what the token has and what the operation needs, and never `offline_access`.
#[tokio::test]
async fn a_step_up_names_all_scopes_at_once() {
    let auth = |scopes: &[&str]| {
        AuthInfo::insecure_asserted(
            "https://mcp.example.com".parse().unwrap(),
            RESOURCE.parse().unwrap(),
            Subject::new("alice"),
            "client".to_owned(),
            Scopes::new(scopes.iter().copied()).unwrap(),
            "grant".to_owned(),
            Timestamp::from_secs(2_000_000_000),
        )
    };
    let hierarchy = ScopeHierarchy::new([("files:admin", ["files:read", "files:write"])]).unwrap();
    let tools = ToolScopes::new()
        .with_tool("move", ["files:read", "files:write"])
        .unwrap()
        .with_hierarchy(hierarchy);
    let caller = auth(&["mcp:read", "mail:send", "offline_access"]);
    let missing = tools.check(&caller, "move").unwrap_err();
    let answer = guard().step_up(&caller, &missing.needed);
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    let challenge = answer.headers()[header::WWW_AUTHENTICATE].to_str().unwrap();
    assert!(
        challenge.starts_with("Bearer error=\"insufficient_scope\""),
        "{challenge}"
    );
    assert!(
        challenge.ends_with("scope=\"files:read files:write mail:send mcp:read\""),
        "{challenge}"
    );
    assert_eq!(
        answer.headers().get_all(header::WWW_AUTHENTICATE).iter().count(),
        1
    );
    assert!(tools.check(&caller, "list").is_ok());
    assert!(tools.check(&auth(&["files:read", "files:write"]), "move").is_ok());
    assert!(tools.check(&auth(&["files:admin"]), "move").is_ok());
    assert!(tools.check(&auth(&["files:write"]), "move").is_err());
}

#[tokio::test]
async fn a_scope_that_includes_the_one_needed_is_enough() {
    let hierarchy = ScopeHierarchy::new([("admin", ["mcp:read"])]).unwrap();
    let response = send(&guard(), with_token("scopes:admin")).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    let response = send(
        &guard().with_scope_hierarchy(hierarchy),
        with_token("scopes:admin"),
    )
    .await;
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn what_passes_carries_the_identity_and_not_the_token() {
    let response = send(&guard(), with_token("scopes:mcp:read")).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "alice");
}

#[tokio::test]
async fn keys_that_cannot_be_fetched_are_no_verdict() {
    let response = send(&guard(), with_token("unavailable")).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(!response.headers().contains_key(header::WWW_AUTHENTICATE));
    assert!(response.headers().contains_key(header::RETRY_AFTER));
}

/// A wiring mistake must not open a server to another's tokens.
#[tokio::test]
async fn a_verifier_of_another_resource_lets_nobody_in() {
    let other: ResourceUri = "https://mcp.example.com/other/mcp".parse().unwrap();
    let layer = RequireAuthLayer::new(other, "https://mcp.example.com".parse().unwrap(), ByName);
    assert_eq!(
        send(&layer, with_token("scopes:mcp:read")).await.status(),
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn a_preflight_is_answered_before_authentication() {
    let request = Request::options("/mcp")
        .header("origin", "https://inspector.example")
        .header("access-control-request-method", "POST")
        .header(
            "access-control-request-headers",
            "authorization, mcp-param-city, x-evil\u{9}, x-other",
        );
    let response = send(&guard(), request.body(Full::default()).unwrap()).await;
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    let headers = response.headers();
    assert_eq!(headers["access-control-allow-origin"], "*");
    let allowed = headers["access-control-allow-headers"].to_str().unwrap();
    for name in [
        "authorization",
        "content-type",
        "mcp-protocol-version",
        "mcp-method",
        "mcp-name",
        "mcp-session-id",
        "last-event-id",
        "mcp-param-city",
    ] {
        assert!(allowed.contains(name), "{allowed}");
    }
    assert!(!allowed.contains("x-other"));
}

#[tokio::test]
async fn pages_can_read_the_challenge_and_the_session() {
    for token in ["nonsense", "scopes:mcp:read"] {
        let mut request = with_token(token);
        request
            .headers_mut()
            .insert(header::ORIGIN, "https://inspector.example".parse().unwrap());
        let response = send(&guard(), request).await;
        assert_eq!(response.headers()["access-control-allow-origin"], "*");
        assert_eq!(
            response.headers()["access-control-expose-headers"],
            "mcp-session-id, www-authenticate, dpop-nonce"
        );
    }
}

#[tokio::test]
async fn the_instance_that_was_ready_is_the_one_called() {
    let mut service = guard().layer(NeedsReady {
        ready: AtomicBool::new(false),
    });
    service.ready().await.unwrap();
    assert_eq!(
        service
            .call(with_token("scopes:mcp:read"))
            .await
            .unwrap()
            .status(),
        StatusCode::OK
    );
}

#[tokio::test]
async fn the_metadata_service_answers_get_head_and_preflight() {
    let service = guard().metadata_service();
    for (method, status) in [
        (Method::GET, 200),
        (Method::HEAD, 200),
        (Method::OPTIONS, 204),
        (Method::POST, 405),
    ] {
        let request = Request::builder().method(method.clone()).body(()).unwrap();
        let response = service.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{method}");
        assert_eq!(response.headers()["access-control-allow-origin"], "*");
    }
}

#[test]
fn identifiers_are_absolute_and_secure() {
    for text in [
        "",
        "/mcp",
        "mcp.example.com/mcp",
        "ftp://mcp.example.com/",
        "http://mcp.example.com/mcp",
        "https://u:p@mcp.example.com/",
        "https://@mcp.example.com/",
        "https://mcp.example.com/#x",
        "https://mcp.example.com/ x",
        "https://mcp.example.com\\x",
        "https://",
        "http://localhost.evil.example/",
        "http://127.0.0.1.evil.example/",
        "http://[::2]/",
        "https://mcp.example.com/\r\nx",
        "javascript:x",
    ] {
        assert!(text.parse::<ResourceUri>().is_err(), "{text}");
        assert!(text.parse::<Issuer>().is_err(), "{text}");
    }
    for text in [
        "http://127.0.0.1:4000/demo/mcp",
        "http://localhost:4000/x",
        "http://[::1]:4000/x",
        "https://mcp.example.com/a?b=c",
    ] {
        assert_eq!(text.parse::<ResourceUri>().unwrap().as_str(), text);
    }
    assert!("https://mcp.example.com/?x".parse::<Issuer>().is_err());
    assert_eq!(
        "https://mcp.example.com/"
            .parse::<ResourceUri>()
            .unwrap()
            .as_str(),
        "https://mcp.example.com"
    );
    assert_eq!(
        "https://tenant.example/".parse::<Issuer>().unwrap().as_str(),
        "https://tenant.example/"
    );
    assert_eq!(
        ResourceUri::insecure_http("http://10.0.0.1/mcp")
            .unwrap()
            .as_str(),
        "http://10.0.0.1/mcp"
    );
}

#[test]
fn metadata_lives_between_host_and_path() {
    for (resource, url) in [
        (
            "https://h.example",
            "https://h.example/.well-known/oauth-protected-resource",
        ),
        (
            "https://h.example/",
            "https://h.example/.well-known/oauth-protected-resource",
        ),
        (
            "https://h.example/a/mcp",
            "https://h.example/.well-known/oauth-protected-resource/a/mcp",
        ),
        (
            "https://h.example/a/",
            "https://h.example/.well-known/oauth-protected-resource/a",
        ),
        (
            "https://h.example/a?b=c",
            "https://h.example/.well-known/oauth-protected-resource/a?b=c",
        ),
        (
            "http://127.0.0.1:4000/demo/mcp",
            "http://127.0.0.1:4000/.well-known/oauth-protected-resource/demo/mcp",
        ),
    ] {
        assert_eq!(metadata_url(&resource.parse().unwrap()), url);
    }
    assert_eq!(
        authorization_server_path(&"https://h.example/id/".parse().unwrap()),
        "/.well-known/oauth-authorization-server/id"
    );
}

proptest! {
    #[test]
    fn a_resource_reads_itself_back(text in "https://[a-zA-Z0-9.-]{1,20}(:[0-9]{1,4})?(/[a-zA-Z0-9._~%-]{0,10}){0,4}(\\?[a-z=&]{0,10})?") {
        if let Ok(resource) = text.parse::<ResourceUri>() {
            prop_assert_eq!(resource.as_str().parse::<ResourceUri>().unwrap(), resource.clone());
            prop_assert!(metadata_url(&resource).parse::<url::Url>().is_ok());
        }
    }
}

fn guard() -> RequireAuthLayer {
    RequireAuthLayer::new(
        RESOURCE.parse().unwrap(),
        "https://mcp.example.com".parse().unwrap(),
        ByName,
    )
    .with_scopes(["mcp:read"])
}

async fn send(layer: &RequireAuthLayer, request: Request<Full<Bytes>>) -> Response<GuardedBody<Full<Bytes>>> {
    layer
        .layer(NeedsReady {
            ready: AtomicBool::new(false),
        })
        .oneshot(request)
        .await
        .unwrap()
}

fn with_token(token: &str) -> Request<Full<Bytes>> {
    // A colon is not in the alphabet of tokens.
    let token = token.replace(':', "~");
    Request::post("/mcp")
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .body(Full::default())
        .unwrap()
}

/// Accepts `scopes~<scope>`.
struct ByName;

impl Verifier for ByName {
    fn verify<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<AuthInfo, VerifyError>> {
        Box::pin(async move {
            let token = token.replace('~', ":");
            match token.split_once(':') {
                Some(("scopes", scope)) => Ok(AuthInfo::insecure_asserted(
                    "https://mcp.example.com".parse().unwrap(),
                    RESOURCE.parse().unwrap(),
                    Subject::new("alice"),
                    "client".to_owned(),
                    Scopes::new([scope]).unwrap(),
                    "grant".to_owned(),
                    Timestamp::from_secs(2_000_000_000),
                )),
                _ if token == "unavailable" => Err(VerifyError::Unavailable("away".into())),
                _ => Err(VerifyError::Invalid("nonsense")),
            }
        })
    }
}

/// Panics when it is called without having been polled ready. Says who called.
struct NeedsReady {
    ready: AtomicBool,
}

impl Clone for NeedsReady {
    fn clone(&self) -> Self {
        Self {
            ready: AtomicBool::new(false),
        }
    }
}

impl Service<Request<Full<Bytes>>> for NeedsReady {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.ready.store(true, Ordering::SeqCst);
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        assert!(
            self.ready.swap(false, Ordering::SeqCst),
            "called before it was ready"
        );
        assert!(!request.headers().contains_key(header::AUTHORIZATION));
        let subject = request
            .extensions()
            .get::<AuthInfo>()
            .unwrap()
            .subject()
            .to_string();
        std::future::ready(Ok(Response::new(Full::from(subject))))
    }
}

/// The layer's types are what `tower` stacks need.
#[test]
fn the_layer_is_clone_send_and_sync() {
    fn check<T: Clone + Send + Sync + 'static>() {}
    check::<RequireAuthLayer>();
    check::<Arc<RequireAuth<MetadataService>>>();
    check::<RequireAuth<MetadataService>>();
}
