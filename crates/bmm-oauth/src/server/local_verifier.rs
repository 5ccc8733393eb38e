//! Verification in the authorization server's own process.

use std::sync::Arc;

use super::store::Store;
use crate::access_token::{self, Expected};
use crate::clock::Clock;
use crate::key_set::KeySet;
use crate::verifier::{AuthInfo, BoxFuture, Verifier, VerifyError};

/// A [`Verifier`] with the authorization server's own keys; made by [`AuthorizationServer::verifier`](super::AuthorizationServer::verifier). It
/// asks the store whether the grant is revoked, so a revoked token ends at once.
#[derive(Clone)]
pub struct LocalVerifier {
    pub(super) keys: Arc<KeySet>,
    pub(super) expected: Expected,
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
}

impl Verifier for LocalVerifier {
    fn verify<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<AuthInfo, VerifyError>> {
        Box::pin(async move {
            let now = self.clock.now();
            let info =
                access_token::verify(token, &self.keys, &self.expected, now).map_err(VerifyError::Invalid)?;
            let revoked = self.store.is_revoked(info.grant_id()).await;
            match revoked.map_err(|error| VerifyError::Unavailable(error.into()))? {
                true => Err(VerifyError::Invalid("the grant is revoked")),
                false => Ok(info),
            }
        })
    }
}
