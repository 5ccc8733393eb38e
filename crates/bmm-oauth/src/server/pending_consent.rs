//! A consent page that waits for its decision.

use serde::{Deserialize, Serialize};

use super::authorization_server::AuthorizationServer;
use super::secret::SecretHash;
use super::store::{AuthorizationRequest, OnceKind, StoreError};
use crate::verifier::Subject;

/// A valid authorization request, waiting for the decision: kept as [`OnceKind::Consent`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PendingConsent {
    /// What is asked for.
    pub(super) request: AuthorizationRequest,
    /// Who is asked; unknown yet where users sign in at an upstream after it.
    pub(super) subject: Option<Subject>,
    /// Hash of the cookie of the browser that shows the page.
    pub(super) browser: SecretHash,
}

impl PendingConsent {
    pub(super) async fn keep(&self, server: &AuthorizationServer, handle: &str) -> Result<(), StoreError> {
        let value = serde_json::to_vec(self).expect("a consent is plain data");
        let expires_at = server.clock.now().plus(server.config.consent_ttl);
        let key = SecretHash::of(handle);
        server.store.put(OnceKind::Consent, key, value, expires_at).await
    }

    /// For one caller only, and in time.
    pub(super) async fn take(server: &AuthorizationServer, handle: &str) -> Result<Option<Self>, StoreError> {
        let (key, now) = (SecretHash::of(handle), server.clock.now());
        let value = server.store.take(OnceKind::Consent, key, now).await?;
        value
            .map(|value| serde_json::from_slice(&value))
            .transpose()
            .map_err(|error| StoreError::new("a consent is damaged", error))
    }
}
