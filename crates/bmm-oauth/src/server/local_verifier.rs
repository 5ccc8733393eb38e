//! Verification in the authorization server's own process.

use std::sync::Arc;

use super::keys::SigningKeys;
use super::store::Store;
use crate::access_token::{self, Expected};
use crate::clock::Clock;
use crate::token_cache::{TokenCache, TokenHash};
use crate::verifier::{AuthInfo, BoxFuture, Verifier, VerifyError};

/// A [`Verifier`] with the authorization server's own keys; made by [`AuthorizationServer::verifier`](super::AuthorizationServer::verifier). It
/// asks the store every time whether the grant is revoked, so a revoked token ends at once.
#[derive(Clone)]
pub struct LocalVerifier {
    pub(super) keys: Arc<SigningKeys>,
    pub(super) expected: Expected,
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) cache: Arc<TokenCache>,
}

impl LocalVerifier {
    /// The verdict over the token itself, kept while the keys are the same.
    fn judge(&self, token: &str) -> Result<AuthInfo, VerifyError> {
        let (hash, now) = (TokenHash::of(token), self.clock.now());
        let keys = self.keys.key_set(now);
        if let Some(info) = self.cache.get(&hash, keys.fingerprint(), now) {
            return Ok(info);
        }
        let info = access_token::verify(token, &keys, &self.expected, now).map_err(VerifyError::Invalid)?;
        self.cache
            .put(hash, info.clone(), info.expires_at(), *keys.fingerprint());
        Ok(info)
    }
}

impl Verifier for LocalVerifier {
    fn verify<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<AuthInfo, VerifyError>> {
        Box::pin(async move {
            let info = self.judge(token)?;
            let revoked = self.store.is_revoked(info.grant_id()).await;
            match revoked.map_err(|error| VerifyError::Unavailable(error.into()))? {
                true => Err(VerifyError::Invalid("the grant is revoked")),
                false => Ok(info),
            }
        })
    }
}
