//! A client manages its registration (RFC 7592) with the token that it got when it registered.

use axum::body::Body;
use axum::extract::{Path, Request, State};
use http::{HeaderMap, Method, Response, StatusCode, header};
use serde_json::Value;

use super::authorization_server::{AuthorizationServer, is_client_id};
use super::register::{self, Management};
use super::secret::SecretHash;
use super::store::{Client, StoreError};
use super::to_its_end::to_its_end;
use super::wire::{self, ErrorCode, OAuthError};
use crate::cors;
use crate::events::{Event, EventKind};

/// Grants that are revoked in one step when a client removes itself.
const BATCH: u32 = 1000;

pub(super) async fn handle(
    State(server): State<AuthorizationServer>,
    Path(id): Path<String>,
    request: Request,
) -> Response<Body> {
    let kind = match *request.method() {
        Method::PUT => EventKind::ClientUpdated,
        Method::DELETE => EventKind::ClientDeleted,
        _ => EventKind::ClientRead,
    };
    let mut event = server.event(kind, request.extensions());
    let mut response = match manage(&server, &id, request, &mut event).await {
        Ok(Some(document)) => wire::json(StatusCode::OK, &document),
        Ok(None) => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NO_CONTENT;
            response
        }
        Err(error) => {
            event.outcome = error.outcome();
            error.response()
        }
    };
    server.events.record(event);
    cors::public_endpoint(response.headers_mut(), "GET, PUT, DELETE, OPTIONS");
    response
}

async fn manage(
    server: &AuthorizationServer,
    id: &str,
    request: Request,
    event: &mut Event,
) -> Result<Option<Value>, OAuthError> {
    let client = match is_client_id(id) {
        true => server.store.client(id).await?,
        false => None,
    };
    let client = owner(client, request.headers())?;
    event.client_id = Some(client.id.clone());
    match *request.method() {
        Method::PUT => register::replace(server, client, request).await.map(Some),
        // A client that does not wait for the answer must not keep half of what it had.
        Method::DELETE => {
            to_its_end(remove(server.clone(), client.id)).await?;
            Ok(None)
        }
        _ => Ok(Some(register::answer(
            server,
            &client,
            None,
            &Management::Unchanged,
        ))),
    }
}

/// The client, if the token is its own. An unknown client, one without a token and a wrong token get one answer (RFC 7592 section 2), after one
/// comparison.
fn owner(client: Option<Client>, headers: &HeaderMap) -> Result<Client, OAuthError> {
    let refused = || {
        OAuthError::new(
            ErrorCode::InvalidToken,
            "the registration access token is not valid",
        )
    };
    let token = bearer(headers).ok_or_else(refused)?;
    let stored = client
        .as_ref()
        .and_then(|client| client.metadata.registration_token);
    let compared = stored.unwrap_or_else(|| SecretHash::from_bytes([0; 32]));
    let matches = compared.matches(token) && stored.is_some();
    client.filter(|_| matches).ok_or_else(refused)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim_matches(' '))
}

/// First the client, so that it gets no new grant, then all it holds.
async fn remove(server: AuthorizationServer, client_id: String) -> Result<(), StoreError> {
    server.store.remove_client(&client_id).await?;
    loop {
        let (now, until) = (server.clock.now(), server.revoked_until());
        let revoked = server
            .store
            .revoke_grants_of(&client_id, now, until, BATCH)
            .await?;
        if revoked.is_empty() {
            return Ok(());
        }
        server.tell_of_revocations(revoked);
    }
}
