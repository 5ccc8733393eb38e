//! Revocation (RFC 7009): a client ends what it holds. Any token ends its whole grant, since each can be turned into the others.

use axum::body::Body;
use axum::extract::{Request, State};
use http::{Response, StatusCode};

use super::authorization_server::AuthorizationServer;
use super::client_request::{authenticated, token};
use super::endpoints;
use super::grant_steps::about;
use super::own_token::OwnToken;
use super::secret::SecretHash;
use super::wire::{self, OAuthError};
use crate::events::{Event, EventKind, Outcome};

pub(super) async fn handle(State(server): State<AuthorizationServer>, request: Request) -> Response<Body> {
    let mut event = server.event(EventKind::TokenRevoked, request.extensions());
    let response = match revoke(&server, request, &mut event).await {
        // RFC 7009 section 2.2: the same answer for a token that is not one, or not this client's. It tells nothing.
        Ok(()) => wire::json(StatusCode::OK, &serde_json::json!({})),
        Err(error) => {
            event.outcome = error.outcome();
            error.response()
        }
    };
    server.events.record(event);
    wire::readable_anywhere(response)
}

async fn revoke(server: &AuthorizationServer, request: Request, event: &mut Event) -> Result<(), OAuthError> {
    let (client, form) = authenticated(server, request, endpoints::REVOKE, event).await?;
    let text = token(&form)?;
    let grant_id = if OwnToken::is_access(text) {
        match OwnToken::find(server, text).await? {
            Some(OwnToken::Access(info)) if info.client_id() == client.id => {
                event.subject = Some(info.subject().clone());
                event.resource = Some(info.resource().clone());
                Some(info.grant_id().to_owned())
            }
            _ => None,
        }
    } else {
        // A refresh token that is spent or too old still names its family.
        let now = server.clock.now();
        let token = server.store.refresh_token(SecretHash::of(text), now).await?;
        let own = token.filter(|token| token.grant.client_id == client.id);
        own.map(|token| {
            about(event, &token.grant);
            token.grant.id
        })
    };
    match grant_id {
        Some(grant_id) => {
            server.revoke_grant(&grant_id).await?;
            event.grant_id = Some(grant_id);
        }
        None => event.outcome = Outcome::Refused("no_token_of_this_client"),
    }
    Ok(())
}
