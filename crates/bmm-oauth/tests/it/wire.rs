//! What goes on the wire, word for word. A change here is a change for every client.

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Method, Request, StatusCode};
use insta::assert_json_snapshot;
use serde_json::{Value, json};

use crate::app::*;

#[tokio::test]
async fn the_authorization_server_metadata() {
    let reply = App::new().get("/.well-known/oauth-authorization-server").await;
    assert_eq!(reply.header("content-type"), "application/json");
    assert_json_snapshot!("authorization_server_metadata", reply.json());
}

#[tokio::test]
async fn the_protected_resource_metadata() {
    let reply = App::new()
        .get("/.well-known/oauth-protected-resource/files/mcp")
        .await;
    assert_eq!(reply.header("content-type"), "application/json");
    assert_json_snapshot!("protected_resource_metadata", reply.json());
}

#[tokio::test]
async fn a_public_clients_registration() {
    let app = App::new();
    // As the TypeScript SDK v1 sends it.
    let reply = app
        .register(
            json!({ "client_name": "Inspector", "redirect_uris": ["http://localhost:6274/oauth/callback"] }),
        )
        .await;
    assert_json_snapshot!(
        "registration_public",
        without(
            reply.json(),
            &[
                "client_id",
                "registration_access_token",
                "registration_client_uri"
            ]
        )
    );
    let id = reply.json()["client_id"].as_str().unwrap().to_owned();
    assert!(id.len() == 36 && id.starts_with("bmm_"), "{id}");
}

#[tokio::test]
async fn a_confidential_clients_registration() {
    let app = App::new();
    let reply = app
        .register(json!({
            "client_name": "Backend", "redirect_uris": [REDIRECT], "token_endpoint_auth_method": "client_secret_basic",
            "grant_types": ["authorization_code"], "logo_uri": null, "application_type": "web",
        }))
        .await;
    assert_json_snapshot!(
        "registration_confidential",
        without(
            reply.json(),
            &[
                "client_id",
                "client_secret",
                "registration_access_token",
                "registration_client_uri"
            ]
        )
    );
}

#[tokio::test]
async fn unsupported_client_metadata() {
    let app = App::new();
    for (metadata, name) in [
        (
            json!({ "redirect_uris": [REDIRECT], "token_endpoint_auth_method": "private_key_jwt" }),
            "auth method",
        ),
        (
            json!({ "redirect_uris": [REDIRECT], "grant_types": ["implicit"] }),
            "grant type",
        ),
        (
            json!({ "redirect_uris": [REDIRECT], "response_types": ["token"] }),
            "response type",
        ),
        (
            json!({ "redirect_uris": "https://client.example/cb" }),
            "redirect_uris as a string",
        ),
        (json!([]), "no object"),
    ] {
        let reply = app.register(metadata).await;
        assert_eq!(
            (reply.status, &*reply.error()),
            (StatusCode::BAD_REQUEST, "invalid_client_metadata"),
            "{name}"
        );
    }
}

#[tokio::test]
async fn tokens_and_their_claims() {
    let app = App::new();
    let client = app.client().await;
    let code = app.code(&client).await;
    let reply = app.exchange(&client, &code).await;
    assert_json_snapshot!(
        "token_response",
        without(reply.json(), &["access_token", "refresh_token"])
    );
    let (token, _) = reply.tokens();
    let part = |index| -> Value {
        serde_json::from_slice(
            &URL_SAFE_NO_PAD
                .decode(token.split('.').nth(index).unwrap())
                .unwrap(),
        )
        .unwrap()
    };
    assert_json_snapshot!("access_token_header", without(part(0), &["kid"]));
    assert_json_snapshot!(
        "access_token_claims",
        without(part(1), &["client_id", "grant_id", "jti"])
    );
}

#[tokio::test]
async fn the_key_set() {
    let app = App::new();
    let reply = app.get("/oauth/jwks").await;
    assert_json_snapshot!("jwks", without(reply.json(), &["kid", "x", "y"]));
    assert!(!reply.body.contains("\"d\""), "no private member");
}

/// The walk of a page in a browser (MCP Inspector): preflights, readable answers.
#[tokio::test]
async fn pages_may_read_metadata_and_use_token_and_register() {
    let app = App::new();
    let from_page = |method: Method, path: &str| {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("origin", "https://inspector.example");
        request
            .header("access-control-request-method", "POST")
            .header("mcp-protocol-version", "2024-11-05")
    };
    let documents = [
        "/.well-known/oauth-authorization-server",
        "/.well-known/oauth-protected-resource/files/mcp",
        "/oauth/jwks",
    ];
    for path in documents.into_iter().chain(["/oauth/token", "/oauth/register"]) {
        let reply = app
            .send(from_page(Method::OPTIONS, path).body(Body::empty()).unwrap())
            .await;
        assert_eq!(reply.status, StatusCode::NO_CONTENT, "{path}");
        assert_eq!(reply.header("access-control-allow-origin"), "*");
        assert!(
            reply
                .header("access-control-allow-headers")
                .contains("mcp-protocol-version")
        );
        let method = if documents.contains(&path) {
            Method::GET
        } else {
            Method::POST
        };
        let reply = app
            .send(from_page(method, path).body(Body::empty()).unwrap())
            .await;
        assert_eq!(reply.header("access-control-allow-origin"), "*", "{path}");
        assert!(!reply.headers.contains_key("access-control-allow-credentials"));
    }
}

/// The style's hash is in the policy, or browsers show the page bare.
#[tokio::test]
async fn the_consent_page() {
    let app = App::new();
    let client = app.client().await;
    let page = app.consent_page(&client).await;
    let style = page
        .reply
        .body
        .split("<style>")
        .nth(1)
        .unwrap()
        .split("</style>")
        .next()
        .unwrap();
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, style.as_bytes());
    let source = format!(
        "'sha256-{}'",
        base64::engine::general_purpose::STANDARD.encode(hash)
    );
    assert!(page.reply.header("content-security-policy").contains(&source));
    insta::assert_snapshot!(
        "consent_page",
        page.reply
            .body
            .replace(style, "…")
            .replace(&page.handle, "HANDLE")
    );
}

/// The document with the random members blotted out, wherever they are.
fn without(mut document: Value, names: &[&str]) -> Value {
    match &mut document {
        Value::Object(members) => {
            for (name, value) in members.iter_mut() {
                *value = if names.contains(&name.as_str()) {
                    "…".into()
                } else {
                    without(value.take(), names)
                };
            }
        }
        Value::Array(values) => values
            .iter_mut()
            .for_each(|value| *value = without(value.take(), names)),
        _ => {}
    }
    document
}
