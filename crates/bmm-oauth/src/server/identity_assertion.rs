//! Enterprise-managed authorization: a trusted identity provider's word for a user, made out to one client and to us, becomes an access token
//! (RFC 7523 section 2.1, draft-ietf-oauth-identity-assertion-authz-grant; MCP extension `enterprise-managed-authorization`).

use serde_json::Value as Json;

use super::authorization_server::AuthorizationServer;
use super::client_credentials::{access_token_alone, grantable, requested_scopes};
use super::client_document::is_document_url;
use super::dpop::Proven;
use super::form::Parameters;
use super::grant_steps::{invalid_request, requested_resource};
use super::identity_provider::IdentityProvider;
use super::jws::{self, Jws, Reason, Single};
use super::secret::{SecretHash, random_id};
use super::store::{Client, ClientAuthMethod, Grant, GrantType, OnceKind};
use super::wire::{ErrorCode, OAuthError};
use crate::clock::Timestamp;
use crate::events::Event;
use crate::resource_uri::ResourceUri;
use crate::scope::Scopes;
use crate::strict_json::{Object, Value};
use crate::verifier::{Subject, VerifyError};

/// The `grant_type`, and what the metadata says of it.
pub(super) const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
pub(super) const PROFILE: &str = "urn:ietf:params:oauth:grant-profile:id-jag";

/// An assertion may end this far ahead at most; its `jti` is remembered until then.
const MAX_LIFETIME_SECS: u64 = 3600;
/// Longest `sub` in a token of ours.
const MAX_SUBJECT_BYTES: usize = 512;

pub(super) async fn exchange(
    server: &AuthorizationServer,
    client: &Client,
    form: &Parameters,
    proven: &Proven,
    event: &mut Event,
) -> Result<Json, OAuthError> {
    if !may_exchange(client) {
        return Err(OAuthError::new(
            ErrorCode::UnauthorizedClient,
            "the client may not use this grant type",
        ));
    }
    let assertion = match form.get("assertion") {
        Ok(Some(assertion)) => assertion,
        _ => return Err(invalid_request("assertion is missing")),
    };
    let (resource, scopes) = (requested_resource(form)?, requested_scopes(form)?);
    let said = read(server, client, assertion).await?;
    let resource = match (&said.resource, resource) {
        (Some(said), Some(asked)) if *said != asked => return Err(refused("for another resource")),
        (Some(said), _) => said.clone(),
        (None, asked) => asked
            .or_else(|| server.config.default_resource.clone())
            .ok_or_else(|| OAuthError::new(ErrorCode::InvalidTarget, "resource is missing (RFC 8707)"))?,
    };
    event.subject = Some(said.subject.clone());
    event.resource = Some(resource.clone());
    let asked = narrowed(&scopes, said.scopes.as_ref())?;
    let scopes = grantable(server, &resource, &said.subject, &asked).await?;
    // What a default brings must not go beyond what the assertion says.
    let scopes = said
        .scopes
        .as_ref()
        .map_or(scopes.clone(), |said| scopes.intersection(said));
    // Last, so that a look-up that fails does not use it up.
    let id = SecretHash::of(&format!("{}\0{}", said.issuer, said.single.jti));
    let now = server.clock.now();
    let first = server
        .claim(OnceKind::IdentityAssertion, id, said.single.exp, event.address)
        .await?;
    if !first {
        return Err(refused("used before"));
    }
    let grant = Grant {
        id: random_id(),
        client_id: client.id.clone(),
        subject: said.subject,
        resource,
        scopes,
        expires_at: now.plus(server.config.access_token_ttl),
        revoked: false,
    };
    access_token_alone(server, grant, proven, event).await
}

/// Clients that prove who they are, and that the host enrolled for it or that can be known by their document.
fn may_exchange(client: &Client) -> bool {
    client.auth_method != ClientAuthMethod::None
        && (client.metadata.grant_types.contains(GrantType::JwtBearer) || is_document_url(&client.id))
}

/// What a verified assertion says.
struct Said {
    issuer: String,
    subject: Subject,
    resource: Option<ResourceUri>,
    /// No more than these, if it says.
    scopes: Option<Scopes>,
    single: Single,
}

async fn read(server: &AuthorizationServer, client: &Client, assertion: &str) -> Result<Said, OAuthError> {
    let jws = Jws::parse(assertion).map_err(refused)?;
    if !jws.is_typed(&["oauth-id-jag+jwt"]).map_err(refused)? {
        return Err(refused("typ is not oauth-id-jag+jwt"));
    }
    let claimed = jws.unverified().text("iss").map_err(refused)?;
    let providers = server.identity_providers.iter();
    let provider = providers
        .clone()
        .find(|provider| provider.issuer.as_str() == claimed)
        .ok_or_else(|| refused("by nobody who is trusted"))?;
    let (ours, now) = (server.config.issuer.as_str(), server.clock.now());
    // Before any key is fetched: what is not for us and this client costs nobody anything.
    judge(jws.unverified(), provider, client, ours, now).map_err(refused)?;
    let kid = jws.kid().ok_or_else(|| refused("no key id"))?;
    let keys = match provider.keys.key(kid, now).await {
        Ok((_, keys)) => keys,
        Err(VerifyError::Invalid(reason)) => return Err(refused(reason)),
        Err(_) => {
            return Err(OAuthError::new(
                ErrorCode::TemporarilyUnavailable,
                "the keys of the identity provider cannot be fetched now, try again",
            ));
        }
    };
    judge(jws.verified(&keys).map_err(refused)?, provider, client, ours, now).map_err(refused)
}

/// The decision over the claims.
fn judge(
    claims: &Object,
    provider: &IdentityProvider,
    client: &Client,
    ours: &str,
    now: Timestamp,
) -> Result<Said, Reason> {
    if claims.text("iss")? != provider.issuer.as_str() {
        return Err("issued by somebody else");
    }
    if !jws::is_for(claims, &[ours]) {
        return Err("for another audience");
    }
    if claims.text("client_id")? != client.id {
        return Err("made out to another client");
    }
    claims.whole("iat")?;
    let single = jws::check_validity(claims, now, MAX_LIFETIME_SECS)?;
    if claims.has_any(&["cnf"]) {
        return Err("bound to a key, which is not checked here");
    }
    let subject = provider
        .subject(claims.text("sub")?)
        .filter(|subject| !subject.as_str().is_empty() && subject.as_str().len() <= MAX_SUBJECT_BYTES)
        .ok_or("for a user who is not known here")?;
    let scopes = claims.optional_text("scope")?;
    let scopes = scopes
        .map(str::parse)
        .transpose()
        .map_err(|_| "scope is malformed")?;
    Ok(Said {
        issuer: provider.issuer.to_string(),
        subject,
        resource: resource(claims)?,
        scopes,
        single,
    })
}

/// `resource`: none, or one, be it in an array.
fn resource(claims: &Object) -> Result<Option<ResourceUri>, Reason> {
    let text = match claims.get("resource") {
        None => return Ok(None),
        Some(Value::Text(text)) => text,
        Some(Value::Array(resources)) => match resources.as_slice() {
            [Value::Text(text)] => text,
            _ => return Err("for several resources"),
        },
        Some(_) => return Err("resource has the wrong type"),
    };
    ResourceUri::insecure_http(text)
        .map(Some)
        .map_err(|_| "resource is not an absolute https URI")
}

/// What is asked for, within what the assertion allows. Nothing asked for is all of it.
fn narrowed(asked: &Scopes, said: Option<&Scopes>) -> Result<Scopes, OAuthError> {
    let both = match said {
        Some(said) if asked.is_empty() => return Ok(said.clone()),
        Some(said) => asked.intersection(said),
        None => return Ok(asked.clone()),
    };
    if both.is_empty() {
        return Err(OAuthError::new(
            ErrorCode::InvalidScope,
            "none of the scopes is in the assertion",
        ));
    }
    Ok(both)
}

/// One answer for all that is wrong with an assertion.
fn refused(reason: Reason) -> OAuthError {
    tracing::info!(reason, "an identity assertion was refused");
    OAuthError::new(
        ErrorCode::InvalidGrant,
        "the assertion is not valid for this client and this server",
    )
}
