//! `private_key_jwt`: a client signs who it is (RFC 7523 section 3, and the advice of its update to name the issuer alone).

use super::authorization_server::AuthorizationServer;
use super::client_keys;
use super::endpoints;
use super::jws::{self, Jws, Reason, Single};
use super::outgoing::Unfetched;
use super::presented::Presented;
use super::secret::SecretHash;
use super::store::{Client, OnceKind};
use super::wire::{ErrorCode, OAuthError};
use crate::clock::Timestamp;
use crate::strict_json::Object;

/// An assertion may end this far ahead at most. Libraries write five minutes or less; it also bounds what must be remembered.
const MAX_LIFETIME_SECS: u64 = 600;

/// Whose assertion this claims to be.
pub(super) fn claimed_client(assertion: &str) -> Option<String> {
    let jws = Jws::parse(assertion).ok()?;
    jws.unverified().text("sub").ok().map(str::to_owned)
}

/// Whether the assertion is this client's, is meant for us, and has not been used. That we cannot know is an error of its own.
pub(super) async fn verify(
    server: &AuthorizationServer,
    client: &Client,
    assertion: &str,
    presented: &Presented<'_>,
) -> Result<Result<(), Reason>, OAuthError> {
    let now = server.clock.now();
    let single = match check(server, client, assertion, presented, now).await {
        Ok(single) => single,
        Err(Refused::Because(reason)) => return Ok(Err(reason)),
        Err(Refused::NoKeys) => {
            let why = "the keys of the client cannot be fetched now, try again";
            return Err(OAuthError::new(ErrorCode::TemporarilyUnavailable, why));
        }
    };
    // Last, so that nobody but the client can use up its identifiers. A client id contains no NUL.
    let key = SecretHash::of(&format!("{}\0{}", client.id, single.jti));
    let first = server
        .claim(OnceKind::ClientAssertion, key, single.exp, presented.address)
        .await?;
    Ok(if first { Ok(()) } else { Err("used before") })
}

enum Refused {
    Because(Reason),
    /// Its keys cannot be fetched now; it may be a good one.
    NoKeys,
}

impl From<Reason> for Refused {
    fn from(reason: Reason) -> Self {
        Self::Because(reason)
    }
}

async fn check(
    server: &AuthorizationServer,
    client: &Client,
    assertion: &str,
    presented: &Presented<'_>,
    now: Timestamp,
) -> Result<Single, Refused> {
    let jws = Jws::parse(assertion)?;
    // Not a token of another kind by the same key (RFC 8725 section 3.11).
    if jws.has_type() && !jws.is_typed(&["jwt", "client-authentication+jwt"])? {
        return Err("typ is of something else".into());
    }
    let issuer = &server.config.issuer;
    let (token, here) = (
        issuer.endpoint(endpoints::TOKEN),
        issuer.endpoint(presented.endpoint),
    );
    let ours = [issuer.as_str(), &token, &here];
    match (
        &client.metadata.jwks,
        &client.metadata.jwks_uri,
        &server.remote_keys,
    ) {
        (Some(jwks), ..) => {
            let keys = client_keys::registered(jwks)?;
            Ok(judge(jws.verified(&keys)?, &client.id, &ours, now)?)
        }
        (None, Some(url), Some(remote)) => {
            // Before anything is fetched: what is no assertion of this client for us, or too old, costs its host nothing.
            judge(jws.unverified(), &client.id, &ours, now)?;
            let keys = remote.at(url, jws.kid(), presented.address, now).await;
            let keys = keys.map_err(|why| match why {
                Unfetched::Invalid(reason) => Refused::Because(reason),
                Unfetched::Busy | Unfetched::Failed => Refused::NoKeys,
            })?;
            Ok(judge(jws.verified(&keys)?, &client.id, &ours, now)?)
        }
        _ => Err("the client has no keys".into()),
    }
}

/// The decision over the claims.
fn judge(claims: &Object, client_id: &str, ours: &[&str], now: Timestamp) -> Result<Single, Reason> {
    if claims.text("iss")? != client_id || claims.text("sub")? != client_id {
        return Err("iss and sub are not the client");
    }
    if !jws::is_for(claims, ours) {
        return Err("for another audience");
    }
    jws::check_validity(claims, now, MAX_LIFETIME_SECS)
}
