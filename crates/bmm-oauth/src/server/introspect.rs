//! Introspection (RFC 7662): a resource server asks about a token that was sent to it, a client about its own.

use axum::body::Body;
use axum::extract::{Request, State};
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::authorization_server::AuthorizationServer;
use super::client_request::{authenticated, token};
use super::endpoints;
use super::grant_steps::about;
use super::own_token::OwnToken;
use super::store::{Client, ClientAuthMethod};
use super::wire::{self, ErrorCode, OAuthError};
use crate::events::{Event, EventKind, Outcome};

pub(super) async fn handle(State(server): State<AuthorizationServer>, request: Request) -> Response<Body> {
    let mut event = server.event(EventKind::TokenIntrospected, request.extensions());
    let response = match introspect(&server, request, &mut event).await {
        Ok(document) => wire::json(StatusCode::OK, &document),
        Err(error) => {
            event.outcome = error.outcome();
            error.response()
        }
    };
    server.events.record(event);
    wire::readable_anywhere(response)
}

async fn introspect(
    server: &AuthorizationServer,
    request: Request,
    event: &mut Event,
) -> Result<Value, OAuthError> {
    let (client, form) = authenticated(server, request, endpoints::INTROSPECT, event).await?;
    // RFC 7662 section 2.1: whoever asks must prove who he is, or tokens could be tried out here.
    if client.auth_method == ClientAuthMethod::None {
        return Err(OAuthError::new(
            ErrorCode::InvalidClient,
            "unknown client, or not authenticated as it was registered",
        ));
    }
    let found = OwnToken::find(server, token(&form)?).await?;
    let Some(found) = found.filter(|found| may_ask(&client, found)) else {
        event.outcome = Outcome::Refused("inactive");
        return Ok(json!({ "active": false }));
    };
    Ok(describe(server, &found, event))
}

/// A client may ask about what is its own, and a resource server about access tokens for its resources.
fn may_ask(client: &Client, token: &OwnToken) -> bool {
    let for_it = match token {
        OwnToken::Access(info) => client.metadata.resource_server_of.contains(info.resource()),
        OwnToken::Refresh(_) => false,
    };
    for_it || token.client_id() == client.id
}

/// The answer for a token that is active. `grant_id` is ours: what a revocation names.
fn describe(server: &AuthorizationServer, token: &OwnToken, event: &mut Event) -> Value {
    let iss = server.config.issuer.as_str();
    match token {
        OwnToken::Access(info) => {
            event.subject = Some(info.subject().clone());
            event.resource = Some(info.resource().clone());
            event.grant_id = Some(info.grant_id().to_owned());
            let mut document = json!({
                "active": true,
                "iss": iss,
                "sub": info.subject(),
                "aud": info.resource().as_str(),
                "client_id": info.client_id(),
                "scope": info.scopes().to_string(),
                "exp": info.expires_at(),
                "grant_id": info.grant_id(),
                "token_type": info.bound_to().map_or("Bearer", |_| "DPoP"),
            });
            if let (Some(key), Some(members)) = (info.bound_to(), document.as_object_mut()) {
                members.insert("cnf".to_owned(), json!({ "jkt": key.as_str() }));
            }
            document
        }
        OwnToken::Refresh(token) => {
            about(event, &token.grant);
            json!({
                "active": true,
                "iss": iss,
                "sub": token.grant.subject,
                "aud": token.grant.resource.as_str(),
                "client_id": token.grant.client_id,
                "scope": token.grant.scopes.to_string(),
                "exp": token.expires_at,
                "grant_id": token.grant.id,
            })
        }
    }
}
