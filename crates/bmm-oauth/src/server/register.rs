//! Dynamic client registration (RFC 7591).

use axum::body::Body;
use axum::extract::{Request, State};
use http::{Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::authorization_server::AuthorizationServer;
use super::body::{has_content_type, read_body};
use super::redirect;
use super::secret::{SecretHash, random_id, random_secret};
use super::store::{Client, ClientAuthMethod};
use super::wire::{self, ErrorCode, OAuthError};
use crate::json_object;

const MAX_BODY_BYTES: usize = 16 * 1024;
const MAX_REDIRECT_URIS: usize = 16;
const MAX_NAME_CHARS: usize = 80;

pub(super) async fn handle(State(server): State<AuthorizationServer>, request: Request) -> Response<Body> {
    let response = match register(&server, request).await {
        Ok(document) => wire::json(StatusCode::CREATED, &document),
        Err(error) => error.response(),
    };
    wire::readable_anywhere(response)
}

async fn register(server: &AuthorizationServer, request: Request) -> Result<Value, OAuthError> {
    let now = server.clock.now();
    // Before the body is read: a flood costs nothing but this.
    if !server
        .registrations
        .spend(now, server.config.max_registrations_per_minute)
    {
        return Err(OAuthError::new(
            ErrorCode::TemporarilyUnavailable,
            "too many registrations, try again in a minute",
        ));
    }
    if !has_content_type(request.headers(), "application/json") {
        return Err(refused("send the client metadata as application/json"));
    }
    let body = read_body(request, MAX_BODY_BYTES).await?;
    let asked: Asked = json_object::parse(&body)
        .ok_or_else(|| refused("the body is not a JSON object of client metadata (RFC 7591)"))?;
    let accepted = judge(asked, &server.config.known_app_schemes)?;

    let secret = (accepted.auth_method != ClientAuthMethod::None).then(random_secret);
    let client = Client {
        id: format!("bmm_{}", random_id()),
        secret_hash: secret.as_deref().map(SecretHash::of),
        auth_method: accepted.auth_method,
        name: accepted.name.clone(),
        redirect_uris: accepted.redirect_uris,
        created_at: now,
        used_at: None,
    };
    let document = answer(&client, secret.as_deref());
    tracing::info!(
        client_id = client.id,
        client_name = client.name,
        "client registered"
    );
    server
        .store
        .put_client(client, server.config.max_unused_clients)
        .await?;
    server.sweep_now_and_then().await;
    Ok(document)
}

/// What clients send (RFC 7591 section 2); the rest is ignored, as section 3.1 allows. Some send `null` for absent.
#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    redirect_uris: Option<Vec<String>>,
    #[serde(default)]
    client_name: Option<String>,
    #[serde(default)]
    token_endpoint_auth_method: Option<String>,
    #[serde(default)]
    grant_types: Option<Vec<String>>,
    #[serde(default)]
    response_types: Option<Vec<String>>,
}

struct Accepted {
    redirect_uris: Vec<String>,
    name: String,
    auth_method: ClientAuthMethod,
}

/// The decision. One acceptable redirect URI is enough: applications register several, and an unsafe one is refused when it is used
/// (losing the whole registration over it locks real clients out).
fn judge(asked: Asked, known_app_schemes: &[String]) -> Result<Accepted, OAuthError> {
    let redirect_uris = asked.redirect_uris.unwrap_or_default();
    let refuse_uri = |why: String| OAuthError::new(ErrorCode::InvalidRedirectUri, why);
    if redirect_uris.len() > MAX_REDIRECT_URIS {
        return Err(refuse_uri(format!("more than {MAX_REDIRECT_URIS} redirect_uris")));
    }
    if redirect_uris
        .iter()
        .any(|uri| uri.len() > redirect::MAX_REDIRECT_BYTES)
    {
        return Err(refuse_uri("a redirect URI is longer than 2048 bytes".to_owned()));
    }
    let judged = redirect_uris
        .iter()
        .map(|uri| redirect::classify(uri, known_app_schemes));
    let refusals: Vec<_> = judged.filter_map(Result::err).collect();
    if refusals.len() == redirect_uris.len() {
        let why = refusals
            .first()
            .map_or("there is none".to_owned(), ToString::to_string);
        return Err(refuse_uri(format!("no acceptable redirect URI: {why}")));
    }
    // RFC 7591 has `client_secret_basic` for clients that say nothing. Those of MCP are installed applications that cannot keep a secret,
    // and section 3.2.1 lets a server choose: `none`, said in the answer.
    let auth_method = match asked.token_endpoint_auth_method.as_deref() {
        None => ClientAuthMethod::None,
        Some(name) => ClientAuthMethod::from_name(name).ok_or_else(|| {
            refused("token_endpoint_auth_method must be none, client_secret_basic or client_secret_post")
        })?,
    };
    if asked
        .grant_types
        .is_some_and(|types| !types.iter().any(|t| t == "authorization_code"))
    {
        return Err(refused("grant_types must contain authorization_code"));
    }
    if asked
        .response_types
        .is_some_and(|types| !types.iter().any(|t| t == "code"))
    {
        return Err(refused("response_types must contain code"));
    }
    Ok(Accepted {
        redirect_uris,
        name: clean_name(asked.client_name.as_deref().unwrap_or_default()),
        auth_method,
    })
}

/// The client information response (RFC 7591 section 3.2.1). Every value is explicit, none is `null`.
fn answer(client: &Client, secret: Option<&str>) -> Value {
    let mut document = json!({
        "client_id": client.id,
        "client_id_issued_at": client.created_at,
        "client_name": client.name,
        "redirect_uris": client.redirect_uris,
        "token_endpoint_auth_method": client.auth_method.name(),
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
    });
    if let (Some(secret), Some(members)) = (secret, document.as_object_mut()) {
        members.insert("client_secret".to_owned(), secret.into());
        members.insert("client_secret_expires_at".to_owned(), 0.into());
    }
    document
}

/// A name fit for display: no control characters, and none that turn or hide text (a name that reads differently than it is spelled).
fn clean_name(name: &str) -> String {
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
            || matches!(c, '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
    };
    let name: String = name
        .chars()
        .filter(|c| !hidden(*c))
        .take(MAX_NAME_CHARS)
        .collect();
    let name = name.trim();
    if name.is_empty() {
        "An application without a name".to_owned()
    } else {
        name.to_owned()
    }
}

fn refused(why: &'static str) -> OAuthError {
    OAuthError::new(ErrorCode::InvalidClientMetadata, why)
}
