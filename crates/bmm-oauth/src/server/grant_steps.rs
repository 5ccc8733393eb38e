//! What the grant types have in common: what a request asks for, and what it is answered with.

use serde_json::{Value, json};

use super::authorization_server::AuthorizationServer;
use super::dpop;
use super::form::Parameters;
use super::secret::{SecretHash, random_secret};
use super::store::{Client, Grant, NewRefresh};
use super::wire::{ErrorCode, OAuthError};
use crate::clock::Timestamp;
use crate::events::Event;
use crate::jwk::Thumbprint;
use crate::resource_uri::ResourceUri;
use crate::scope::Scopes;

/// What an event says of a grant.
pub(super) fn about(event: &mut Event, grant: &Grant) {
    event.subject = Some(grant.subject.clone());
    event.grant_id = Some(grant.id.clone());
    event.resource = Some(grant.resource.clone());
}

pub(super) fn new_refresh(
    server: &AuthorizationServer,
    client: &Client,
    grant: &Grant,
    key: Option<&Thumbprint>,
    now: Timestamp,
) -> (String, NewRefresh) {
    let secret = dpop::refresh_token(random_secret(), client, key);
    let expires_at = now.plus(server.config.refresh_idle_ttl).min(grant.expires_at);
    let refresh = NewRefresh {
        hash: SecretHash::of(&secret),
        expires_at,
    };
    (secret, refresh)
}

/// The answer of RFC 6749 section 5.1.
pub(super) fn tokens(
    server: &AuthorizationServer,
    grant: &Grant,
    scopes: &Scopes,
    key: Option<&Thumbprint>,
    refresh_token: &str,
) -> Value {
    let ttl = server
        .config
        .access_token_ttl
        .min(grant.expires_at.since(server.clock.now()));
    let mut document = json!({
        "access_token": server.mint(grant, scopes, ttl, key),
        "token_type": dpop::token_type(key),
        "expires_in": ttl.as_secs(),
        "refresh_token": refresh_token,
    });
    if let (false, Some(members)) = (scopes.is_empty(), document.as_object_mut()) {
        members.insert("scope".to_owned(), scopes.to_string().into());
    }
    document
}

/// `resource`, if it is sent: one, and a URI (RFC 8707 section 2.2).
pub(super) fn requested_resource(form: &Parameters) -> Result<Option<ResourceUri>, OAuthError> {
    let invalid = |why| OAuthError::new(ErrorCode::InvalidTarget, why);
    match form.resources().as_slice() {
        [] => Ok(None),
        [one] => ResourceUri::insecure_http(one)
            .map(Some)
            .map_err(|_| invalid("resource is not an absolute https URI")),
        _ => Err(invalid("ask for one resource at a time")),
    }
}

pub(super) fn check_resource(
    requested: Option<&ResourceUri>,
    granted: &ResourceUri,
) -> Result<(), OAuthError> {
    match requested {
        Some(requested) if requested != granted => Err(OAuthError::new(
            ErrorCode::InvalidTarget,
            "the grant is for another resource",
        )),
        _ => Ok(()),
    }
}

pub(super) fn invalid_request(why: &'static str) -> OAuthError {
    OAuthError::new(ErrorCode::InvalidRequest, why)
}

pub(super) fn repeated() -> OAuthError {
    invalid_request("a parameter is repeated")
}
