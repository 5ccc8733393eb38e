//! Tokens of ours that come back, whatever resource they are for.

use super::authorization_server::AuthorizationServer;
use super::jws::Jws;
use super::secret::SecretHash;
use super::store::{RefreshToken, StoreError};
use crate::resource_uri::ResourceUri;
use crate::strict_json::Value;
use crate::verifier::{AuthInfo, Verifier, VerifyError};

/// A token that can be used now.
pub(super) enum OwnToken {
    Access(AuthInfo),
    Refresh(RefreshToken),
}

impl OwnToken {
    /// What this text is, if it is a token of ours that can be used now: its signature verifies, or the store knows its hash, it has not
    /// ended, and neither has its grant.
    pub(super) async fn find(server: &AuthorizationServer, text: &str) -> Result<Option<Self>, StoreError> {
        if Self::is_access(text) {
            return Ok(access(server, text).await?.map(Self::Access));
        }
        let now = server.clock.now();
        let token = server.store.refresh_token(SecretHash::of(text), now).await?;
        let alive = token.filter(|token| {
            let grant = &token.grant;
            token.rotated_at.is_none() && token.expires_at > now && grant.expires_at > now && !grant.revoked
        });
        Ok(alive.map(Self::Refresh))
    }

    /// Whether the text looks like an access token: a JWS has two dots; a refresh token has one where it names a key (dpop.rs), or none.
    pub(super) fn is_access(text: &str) -> bool {
        text.matches('.').count() == 2
    }

    /// Whose it is.
    pub(super) fn client_id(&self) -> &str {
        match self {
            Self::Access(info) => info.client_id(),
            Self::Refresh(token) => &token.grant.client_id,
        }
    }
}

async fn access(server: &AuthorizationServer, text: &str) -> Result<Option<AuthInfo>, StoreError> {
    let Some(resource) = claimed_resource(text) else {
        return Ok(None);
    };
    match server.verifier(resource).verify(text).await {
        Ok(info) => Ok(Some(info)),
        Err(VerifyError::Unavailable(error)) => Err(StoreError::new("cannot verify a token", error)),
        Err(_) => Ok(None),
    }
}

/// The resource that the token itself names: it is for nobody else, and who asks is judged later.
fn claimed_resource(text: &str) -> Option<ResourceUri> {
    match Jws::parse(text).ok()?.unverified().get("aud")? {
        Value::Text(aud) => ResourceUri::insecure_http(aud).ok(),
        _ => None,
    }
}
