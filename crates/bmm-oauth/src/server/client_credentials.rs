//! Tokens for a client itself (RFC 6749 section 4.4): confidential clients that the host enrolled for it, one resource, no refresh token.

use serde_json::{Value, json};

use super::authorization_server::AuthorizationServer;
use super::dpop::{self, Proven};
use super::form::Parameters;
use super::grant_steps::{about, invalid_request, requested_resource};
use super::resources::resources_failed;
use super::secret::random_id;
use super::store::{Client, ClientAuthMethod, Grant, GrantType};
use super::wire::{ErrorCode, OAuthError};
use crate::events::Event;
use crate::resource_uri::ResourceUri;
use crate::scope::Scopes;
use crate::verifier::Subject;

pub(super) async fn issue(
    server: &AuthorizationServer,
    client: &Client,
    form: &Parameters,
    proven: &Proven,
    event: &mut Event,
) -> Result<Value, OAuthError> {
    if client.auth_method == ClientAuthMethod::None
        || !client.metadata.grant_types.contains(GrantType::ClientCredentials)
    {
        return Err(OAuthError::new(
            ErrorCode::UnauthorizedClient,
            "the client may not use this grant type",
        ));
    }
    let resource = requested_resource(form)?
        .or_else(|| server.config.default_resource.clone())
        .ok_or_else(|| OAuthError::new(ErrorCode::InvalidTarget, "resource is missing (RFC 8707)"))?;
    let asked = requested_scopes(form)?;
    // The client speaks for itself (RFC 9068 section 2.2): the host says whether a subject of this name may use the resource.
    let subject = Subject::new(&*client.id);
    let scopes = grantable(server, &resource, &subject, &asked).await?;
    let grant = Grant {
        id: random_id(),
        client_id: client.id.clone(),
        subject,
        resource,
        scopes,
        expires_at: server.clock.now().plus(server.config.access_token_ttl),
        revoked: false,
    };
    access_token_alone(server, grant, proven, event).await
}

/// `scope`, if it is sent.
pub(super) fn requested_scopes(form: &Parameters) -> Result<Scopes, OAuthError> {
    let scope = form
        .get("scope")
        .map_err(|_| invalid_request("a parameter is repeated"))?;
    scope
        .unwrap_or_default()
        .parse()
        .map_err(|_| OAuthError::new(ErrorCode::InvalidScope, "scope is malformed"))
}

/// What of `asked` this subject may have at this resource; what is usual there if nothing is asked for.
pub(super) async fn grantable(
    server: &AuthorizationServer,
    resource: &ResourceUri,
    subject: &Subject,
    asked: &Scopes,
) -> Result<Scopes, OAuthError> {
    let info = server.resources.lookup(resource, subject).await;
    let info = info.map_err(resources_failed)?.ok_or_else(|| {
        OAuthError::new(
            ErrorCode::InvalidTarget,
            "this resource does not exist, or you may not use it",
        )
    })?;
    if asked.is_empty() {
        return Ok(info.default_scopes);
    }
    let granted = asked.intersection(&info.scopes_supported);
    if granted.is_empty() {
        return Err(OAuthError::new(
            ErrorCode::InvalidScope,
            "none of the scopes exists at this resource",
        ));
    }
    Ok(granted)
}

/// Makes the grant and its one access token.
pub(super) async fn access_token_alone(
    server: &AuthorizationServer,
    grant: Grant,
    proven: &Proven,
    event: &mut Event,
) -> Result<Value, OAuthError> {
    proven.use_up(server).await?;
    let (now, key) = (server.clock.now(), proven.key());
    about(event, &grant);
    server.store.put_grant(grant.clone(), now).await?;
    let ttl = server.config.access_token_ttl.min(grant.expires_at.since(now));
    let mut document = json!({
        "access_token": server.mint(&grant, &grant.scopes, ttl, key),
        "token_type": dpop::token_type(key),
        "expires_in": ttl.as_secs(),
    });
    if let (false, Some(members)) = (grant.scopes.is_empty(), document.as_object_mut()) {
        members.insert("scope".to_owned(), grant.scopes.to_string().into());
    }
    Ok(document)
}
