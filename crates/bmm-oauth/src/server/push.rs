//! Pushed authorization requests (RFC 9126): the client sends the request itself and gets a handle for the browser to carry, so that nobody on the
//! way can read or change it.

use axum::body::Body;
use axum::extract::{Request, State};
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::authorization_server::AuthorizationServer;
use super::authorize;
use super::budget::counted;
use super::client_request::authenticated;
use super::dpop;
use super::endpoints;
use super::pushed_request::{PREFIX, Pushed};
use super::secret::random_secret;
use super::wire::{self, ErrorCode, OAuthError};
use crate::events::{Event, EventKind};

/// Requests that may be pushed in a minute: from one address, and altogether.
const MAX_PER_ADDRESS: u32 = 60;
const MAX_PER_MINUTE: u32 = 3000;

/// What proves who the client is, and is no part of the request.
const CREDENTIALS: [&str; 3] = ["client_secret", "client_assertion", "client_assertion_type"];

pub(super) async fn handle(State(server): State<AuthorizationServer>, request: Request) -> Response<Body> {
    let mut event = server.event(EventKind::RequestPushed, request.extensions());
    let mut response = match push(&server, request, &mut event).await {
        Ok(document) => {
            server.sweep_now_and_then().await;
            wire::json(StatusCode::CREATED, &document)
        }
        Err(error) => {
            event.outcome = error.outcome();
            error.response()
        }
    };
    server.events.record(event);
    dpop::give_nonce(&server, response.headers_mut());
    wire::readable_anywhere(response)
}

async fn push(
    server: &AuthorizationServer,
    request: Request,
    event: &mut Event,
) -> Result<Value, OAuthError> {
    let headers = request.headers().clone();
    let (client, mut form) = authenticated(server, request, endpoints::PUSH, event).await?;
    // Public clients prove nothing, and what is pushed is kept.
    let address = event.address.map(counted);
    if !server
        .pushes
        .spend(address, MAX_PER_ADDRESS, MAX_PER_MINUTE, server.clock.now())
    {
        return Err(OAuthError::new(
            ErrorCode::TemporarilyUnavailable,
            "too many requests, try again in a minute",
        ));
    }
    let refused = |why: &'static str| OAuthError::new(ErrorCode::InvalidRequest, why);
    if !matches!(form.get("request_uri"), Ok(None)) {
        return Err(refused("request_uri cannot be pushed"));
    }
    // RFC 9449 section 10.1: a proof here binds the code to its key, as `dpop_jkt` does; the two must not differ.
    let proven = dpop::proven(server, &headers, endpoints::PUSH, event.address)?;
    if let Some(key) = proven.key() {
        match form.get("dpop_jkt") {
            Ok(Some(named)) if named != key.as_str() => return Err(dpop::invalid_proof()),
            _ => form = form.with("dpop_jkt", key.as_str()),
        }
    }
    // Everything that the authorization endpoint will check is checked now, while the client can still hear of it.
    let resource = authorize::check_pushed(server, &client, &form)?;
    event.resource = Some(resource);
    proven.use_up(server).await?;
    let pushed = Pushed {
        client_id: client.id,
        query: form.without(&CREDENTIALS),
    };
    let handle = random_secret();
    let ttl = server.config.pushed_request_ttl;
    pushed.keep(server, &handle, ttl).await?;
    Ok(json!({ "request_uri": format!("{PREFIX}{handle}"), "expires_in": ttl.as_secs() }))
}
