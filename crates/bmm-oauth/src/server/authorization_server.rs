//! The server itself: what its endpoints share.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::config::AsConfig;
use super::keys::SigningKeys;
use super::local_verifier::LocalVerifier;
use super::registration_budget::RegistrationBudget;
use super::resources::Resources;
use super::sign_in::SignIn;
use super::store::{Grant, Store, StoreError};
use super::{metadata, secret};
use crate::access_token::{Audience, Claims, Expected};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::key_set::KeySet;
use crate::resource_uri::ResourceUri;
use crate::scope::Scopes;
use crate::verifier::Subject;

/// `client_id` and `sub` of [`mint_probe_token`](AuthorizationServer::mint_probe_token).
pub const PROBE_CLIENT_ID: &str = "bmm-health-probe";

/// Probe tokens live this long at most.
const MAX_PROBE_TTL: Duration = Duration::from_secs(300);
/// How often, and how many rows of each kind, requests sweep away what has ended.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
const SWEEP_ROWS: u32 = 100;

/// An OAuth 2.1 authorization server: metadata, registration, authorization with consent, tokens, keys. Clones share everything.
#[derive(Clone)]
pub struct AuthorizationServer {
    pub(super) config: Arc<AsConfig>,
    pub(super) store: Arc<dyn Store>,
    pub(super) keys: Arc<SigningKeys>,
    pub(super) key_set: Arc<KeySet>,
    pub(super) sign_in: SignIn,
    pub(super) resources: Arc<dyn Resources>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) registrations: Arc<RegistrationBudget>,
    pub(super) swept_at: Arc<AtomicU64>,
}

impl AuthorizationServer {
    /// A server with this memory, these keys, this way to know users, and these resources to issue tokens for.
    pub fn new(
        config: AsConfig,
        store: impl Store,
        keys: SigningKeys,
        sign_in: SignIn,
        resources: Arc<dyn Resources>,
    ) -> Self {
        Self {
            config: Arc::new(config),
            store: Arc::new(store),
            key_set: Arc::new(keys.key_set()),
            keys: Arc::new(keys),
            sign_in,
            resources,
            clock: Arc::new(SystemClock),
            registrations: Arc::default(),
            swept_at: Arc::default(),
        }
    }

    /// Takes the time from `clock`.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// A verifier of this server's tokens for one resource.
    pub fn verifier(&self, resource: ResourceUri) -> LocalVerifier {
        LocalVerifier {
            keys: Arc::clone(&self.key_set),
            expected: Expected {
                issuer: self.config.issuer.clone(),
                resource,
            },
            store: Arc::clone(&self.store),
            clock: Arc::clone(&self.clock),
        }
    }

    /// The RFC 8414 document.
    pub fn metadata(&self) -> serde_json::Value {
        metadata::authorization_server(&self.config)
    }

    /// The public keys as a JWK Set.
    pub fn jwks(&self) -> serde_json::Value {
        self.keys.jwks()
    }

    /// A token for the host's own health probe of a resource, without a grant and without a user: client and subject are
    /// [`PROBE_CLIENT_ID`]. It lives five minutes at most.
    pub fn mint_probe_token(&self, resource: &ResourceUri, scopes: &Scopes, ttl: Duration) -> String {
        let probe = Grant {
            id: PROBE_CLIENT_ID.to_owned(),
            client_id: PROBE_CLIENT_ID.to_owned(),
            subject: Subject::new(PROBE_CLIENT_ID),
            resource: resource.clone(),
            scopes: scopes.clone(),
            expires_at: self.clock.now().plus(MAX_PROBE_TTL),
            revoked: false,
        };
        self.mint(&probe, scopes, ttl.min(MAX_PROBE_TTL))
    }

    /// Removes a batch of what has ended. Requests do so themselves now and then; call it where there are few requests. Says how
    /// many rows went.
    pub async fn sweep(&self) -> Result<u64, StoreError> {
        let now = self.clock.now();
        let unused_since = now
            .as_secs()
            .saturating_sub(self.config.unused_client_ttl.as_secs());
        self.store
            .sweep(now, Timestamp::from_secs(unused_since), SWEEP_ROWS)
            .await
    }

    /// An RFC 9068 access token of a grant.
    pub(super) fn mint(&self, grant: &Grant, scopes: &Scopes, ttl: Duration) -> String {
        let now = self.clock.now();
        self.keys.sign(&Claims {
            iss: self.config.issuer.to_string(),
            aud: Audience::One(grant.resource.to_string()),
            sub: grant.subject.to_string(),
            client_id: grant.client_id.clone(),
            grant_id: grant.id.clone(),
            jti: secret::random_id(),
            iat: now.as_secs(),
            nbf: now.as_secs(),
            exp: now.plus(ttl).min(grant.expires_at).as_secs(),
            scope: scopes.to_string(),
        })
    }

    /// Sweeps if nobody has for a minute, or if the last sweep left something. Called where rows are added, so that a flood sweeps
    /// behind itself.
    pub(super) async fn sweep_now_and_then(&self) {
        let (now, last) = (self.clock.now().as_secs(), self.swept_at.load(Ordering::Relaxed));
        let due = now.saturating_sub(last) >= SWEEP_INTERVAL.as_secs();
        let ours = || {
            self.swept_at
                .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        };
        if !due || !ours() {
            return;
        }
        match self.sweep().await {
            // More may be left: the next request goes on.
            Ok(removed) if removed >= u64::from(SWEEP_ROWS) => self.swept_at.store(last, Ordering::Relaxed),
            Ok(_) => {}
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "cannot sweep the OAuth store"
            ),
        }
    }
}

impl fmt::Debug for AuthorizationServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthorizationServer")
            .field("issuer", &self.config.issuer)
            .finish_non_exhaustive()
    }
}
