//! Dynamic client registration (RFC 7591).

use axum::body::Body;
use axum::extract::{Request, State};
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::authorization_server::AuthorizationServer;
use super::body::{has_content_type, read_body};
use super::budget::counted;
use super::client_description::{self, Accepted, Described, KeyUrls, refused};
use super::endpoints;
use super::secret::{SecretHash, random_id, random_secret};
use super::store::{Client, ClientAuthMethod, ClientMetadata};
use super::wire::{self, ErrorCode, OAuthError};
use crate::events::{Event, EventKind};
use crate::json_object;

const MAX_BODY_BYTES: usize = 16 * 1024;

pub(super) async fn handle(State(server): State<AuthorizationServer>, request: Request) -> Response<Body> {
    let mut event = server.event(EventKind::ClientRegistered, request.extensions());
    let response = match register(&server, request, &mut event).await {
        Ok(document) => wire::json(StatusCode::CREATED, &document),
        Err(error) => {
            event.outcome = error.outcome();
            error.response()
        }
    };
    server.events.record(event);
    wire::readable_anywhere(response)
}

async fn register(
    server: &AuthorizationServer,
    request: Request,
    event: &mut Event,
) -> Result<Value, OAuthError> {
    let now = server.clock.now();
    // Before the body is read: a flood costs nothing but this.
    let (each, total) = (
        server.config.max_registrations_per_minute_per_address,
        server.config.max_registrations_per_minute,
    );
    if !server
        .registrations
        .spend(event.address.map(counted), each, total, now)
    {
        return Err(OAuthError::new(
            ErrorCode::TemporarilyUnavailable,
            "too many registrations, try again in a minute",
        ));
    }
    let accepted = read(server, request).await?;
    let (secret, token) = (new_secret(accepted.auth_method), random_secret());
    let client = Client {
        id: format!("bmm_{}", random_id()),
        secret_hash: secret.as_deref().map(SecretHash::of),
        auth_method: accepted.auth_method,
        name: accepted.name,
        redirect_uris: accepted.redirect_uris,
        created_at: now,
        used_at: None,
        metadata: ClientMetadata {
            registration_token: Some(SecretHash::of(&token)),
            ..accepted.metadata
        },
    };
    let document = answer(server, &client, secret.as_deref(), &Management::Token(token));
    event.client_id = Some(client.id.clone());
    server
        .store
        .put_client(client, server.config.max_unused_clients)
        .await?;
    server.sweep_now_and_then().await;
    Ok(document)
}

/// Replaces a registration (RFC 7592 section 2.2). The token is replaced with it, and the secret where another method needs one.
pub(super) async fn replace(
    server: &AuthorizationServer,
    client: Client,
    request: Request,
) -> Result<Value, OAuthError> {
    let accepted = read(server, request).await?;
    if accepted.client_id.is_some_and(|id| id != client.id) {
        return Err(refused("client_id is not that of this registration"));
    }
    let wrong_secret = |secret: &String| !client.secret_hash.is_some_and(|hash| hash.matches(secret));
    if accepted.client_secret.as_ref().is_some_and(wrong_secret) {
        return Err(refused("client_secret is not that of this registration"));
    }
    let keeps_secret = client.secret_hash.is_some() && has_secret(accepted.auth_method);
    let secret = match keeps_secret {
        true => None,
        false => new_secret(accepted.auth_method),
    };
    let secret_hash = match keeps_secret {
        true => client.secret_hash,
        false => secret.as_deref().map(SecretHash::of),
    };
    let token = random_secret();
    let updated = Client {
        secret_hash,
        auth_method: accepted.auth_method,
        name: accepted.name,
        redirect_uris: accepted.redirect_uris,
        metadata: ClientMetadata {
            registration_token: Some(SecretHash::of(&token)),
            // What the host set stays: nobody registers it, so nobody changes it.
            grant_types: client.metadata.grant_types,
            resource_server_of: client.metadata.resource_server_of,
            require_pushed_authorization_requests: client.metadata.require_pushed_authorization_requests,
            ..accepted.metadata
        },
        ..client
    };
    let document = answer(server, &updated, secret.as_deref(), &Management::Token(token));
    match server.store.update_client(updated).await? {
        true => Ok(document),
        // Removed while it was being replaced.
        false => Err(OAuthError::new(
            ErrorCode::InvalidToken,
            "the registration access token is not valid",
        )),
    }
}

async fn read(server: &AuthorizationServer, request: Request) -> Result<Accepted, OAuthError> {
    if !has_content_type(request.headers(), "application/json") {
        return Err(refused("send the client metadata as application/json"));
    }
    let body = read_body(request, MAX_BODY_BYTES).await?;
    let described: Described = json_object::parse(&body)
        .ok_or_else(|| refused("the body is not a JSON object of client metadata (RFC 7591)"))?;
    client_description::judge(described, &server.config.known_app_schemes, key_urls(server))
}

fn has_secret(method: ClientAuthMethod) -> bool {
    matches!(
        method,
        ClientAuthMethod::ClientSecretBasic | ClientAuthMethod::ClientSecretPost
    )
}

fn new_secret(method: ClientAuthMethod) -> Option<String> {
    has_secret(method).then(random_secret)
}

/// What is said about managing a registration.
pub(super) enum Management {
    /// With this token from now on.
    Token(String),
    /// As before.
    Unchanged,
}

/// The client information response (RFC 7591 section 3.2.1). Every value is explicit, none is `null`.
pub(super) fn answer(
    server: &AuthorizationServer,
    client: &Client,
    secret: Option<&str>,
    management: &Management,
) -> Value {
    let mut document = json!({
        "client_id": client.id,
        "client_id_issued_at": client.created_at,
        "client_name": client.name,
        "redirect_uris": client.redirect_uris,
        "token_endpoint_auth_method": client.auth_method.name(),
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "registration_client_uri": format!("{}/{}", server.config.issuer.endpoint(endpoints::REGISTER), client.id),
    });
    if let Some(members) = document.as_object_mut() {
        if let Some(secret) = secret {
            members.insert("client_secret".to_owned(), secret.into());
            members.insert("client_secret_expires_at".to_owned(), 0.into());
        }
        if let Management::Token(token) = management {
            members.insert("registration_access_token".to_owned(), token.as_str().into());
        }
        if let Some(jwks) = &client.metadata.jwks {
            members.insert("jwks".to_owned(), jwks.clone());
        }
        if let Some(jwks_uri) = &client.metadata.jwks_uri {
            members.insert("jwks_uri".to_owned(), jwks_uri.as_str().into());
        }
    }
    document
}

fn key_urls(server: &AuthorizationServer) -> KeyUrls {
    match server.remote_keys {
        Some(_) => KeyUrls::Fetched,
        None => KeyUrls::Refused,
    }
}
