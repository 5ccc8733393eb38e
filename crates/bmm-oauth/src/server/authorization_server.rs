//! The server itself: what its endpoints share.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bmm_net::Fetcher;
use bmm_vault::Vault;

use super::budget::{MinuteBudget, counted};
use super::client_document::{ClientDocuments, is_document_url};
use super::client_keys::RemoteKeys;
use super::config::AsConfig;
use super::consent_page::{ConsentPage, PlainConsentPage};
use super::identity_provider::IdentityProvider;
use super::keys::SigningKeys;
use super::local_verifier::LocalVerifier;
use super::outgoing::{Outgoing, Unfetched};
use super::resources::Resources;
use super::revocation_watch::RevocationWatch;
use super::secret::{self, SecretHash};
use super::sign_in::SignIn;
use super::store::{Client, Grant, OnceKind, Store, StoreError};
use super::to_its_end::to_its_end;
use super::wire::{ErrorCode, OAuthError};
use crate::access_token::{Claims, Confirmation, Expected};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::dpop::DpopNonces;
use crate::events::{ClientAddress, Event, EventKind, EventSink, Outcome, TracingEvents};
use crate::jwk::Thumbprint;
use crate::resource_uri::ResourceUri;
use crate::scope::Scopes;
use crate::token_cache::TokenCache;
use crate::verifier::Subject;

/// `client_id` and `sub` of [`mint_probe_token`](AuthorizationServer::mint_probe_token).
pub const PROBE_CLIENT_ID: &str = "bmm-health-probe";

/// Probe tokens live this long at most.
const MAX_PROBE_TTL: Duration = Duration::from_secs(300);
/// How often, and how many rows of each kind, requests sweep away what has ended.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
const SWEEP_ROWS: u32 = 100;
/// Revoked grants are listed for so long at least: tokens that were issued before the operator shortened their life must not come back to life.
const LONGEST_ACCESS_TOKEN: Duration = Duration::from_secs(24 * 3600);
/// Things to be used once that requests may bring in a minute: from one address, behind which a hosted client may speak for many people, and
/// altogether. Each is kept for minutes.
const MAX_CLAIMS_PER_ADDRESS: u32 = 1200;
const MAX_CLAIMS_PER_MINUTE: u32 = 30_000;
/// Longest client id, in bytes: one may be a URL.
const MAX_CLIENT_ID_BYTES: usize = 2048;
/// How far the clocks of replicas may be apart: a token may have been signed by one that is ahead.
pub(super) const CLOCK_SKEW: Duration = Duration::from_secs(60);

/// An OAuth 2.1 authorization server: metadata, registration, authorization with consent, tokens, keys. Clones share everything.
#[derive(Clone)]
pub struct AuthorizationServer {
    pub(super) config: Arc<AsConfig>,
    pub(super) store: Arc<dyn Store>,
    pub(super) keys: Arc<SigningKeys>,
    pub(super) sign_in: SignIn,
    pub(super) resources: Arc<dyn Resources>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) dpop_nonces: Option<DpopNonces>,
    pub(super) events: Arc<dyn EventSink>,
    pub(super) registrations: Arc<MinuteBudget<IpAddr>>,
    pub(super) pushes: Arc<MinuteBudget<IpAddr>>,
    claims: Arc<MinuteBudget<IpAddr>>,
    /// Consent pages for people who have not signed in.
    pub(super) askings: Arc<MinuteBudget<IpAddr>>,
    /// Where there is a way out: the keys of clients that keep them at a URL.
    pub(super) remote_keys: Option<Arc<RemoteKeys>>,
    pub(super) revocation_watch: Arc<RevocationWatch>,
    pub(super) documents: Option<Arc<ClientDocuments>>,
    pub(super) identity_providers: Arc<[IdentityProvider]>,
    pub(super) swept_at: Arc<AtomicU64>,
    pub(super) consent_page: Arc<dyn ConsentPage>,
    pub(super) upstream_vault: Option<Arc<Vault>>,
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
            keys: Arc::new(keys),
            sign_in,
            resources,
            clock: Arc::new(SystemClock),
            dpop_nonces: None,
            events: Arc::new(TracingEvents),
            registrations: Arc::default(),
            pushes: Arc::default(),
            claims: Arc::default(),
            askings: Arc::default(),
            remote_keys: None,
            revocation_watch: Arc::default(),
            documents: None,
            identity_providers: Arc::new([]),
            swept_at: Arc::default(),
            consent_page: Arc::new(PlainConsentPage),
            upstream_vault: None,
        }
    }

    /// Shows this consent page.
    pub fn with_consent_page(mut self, page: impl ConsentPage) -> Self {
        self.consent_page = Arc::new(page);
        self
    }

    /// Keeps the tokens that users bring from upstreams, sealed with this vault, for [`upstream_token`](Self::upstream_token). Without,
    /// they are used to learn who the user is, and dropped.
    pub fn with_upstream_tokens(mut self, vault: Arc<Vault>) -> Self {
        self.upstream_vault = Some(vault);
        self
    }

    /// Takes the time from `clock`.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Tells `events` of every decision, in place of [`TracingEvents`].
    pub fn with_events(mut self, events: Arc<dyn EventSink>) -> Self {
        self.events = events;
        self
    }

    /// Lets the server fetch what clients name by URL: the document that describes a client whose id is a URL (Client ID Metadata
    /// Documents), and keys (`jwks_uri`). Without it the server dials nothing on a client's word.
    pub fn with_fetcher(mut self, fetcher: Fetcher) -> Self {
        let outgoing = Arc::new(Outgoing::new(fetcher));
        self.remote_keys = Some(Arc::new(RemoteKeys::new(Arc::clone(&outgoing))));
        let (schemes, hosts) = (&self.config.known_app_schemes, &self.config.client_document_hosts);
        self.documents = Some(Arc::new(ClientDocuments::new(outgoing, schemes, hosts.clone())));
        self
    }

    /// Takes the word of these identity providers for their users, without a consent page (enterprise-managed authorization).
    pub fn with_identity_providers(mut self, providers: impl IntoIterator<Item = IdentityProvider>) -> Self {
        self.identity_providers = providers.into_iter().collect();
        self
    }

    /// Wants a nonce in every DPoP proof at the token endpoint (RFC 9449 section 8). Replicas need the same ones.
    pub fn with_dpop_nonces(mut self, nonces: DpopNonces) -> Self {
        self.dpop_nonces = Some(nonces);
        self
    }

    /// A verifier of this server's tokens for one resource.
    pub fn verifier(&self, resource: ResourceUri) -> LocalVerifier {
        LocalVerifier {
            keys: Arc::clone(&self.keys),
            expected: Expected {
                issuer: self.config.issuer.clone(),
                resource,
            },
            store: Arc::clone(&self.store),
            clock: Arc::clone(&self.clock),
            cache: Arc::new(TokenCache::new()),
        }
    }

    /// The public keys as a JWK Set, as they are published now.
    pub fn jwks(&self) -> serde_json::Value {
        self.keys.jwks(self.clock.now())
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
        self.mint(&probe, scopes, ttl.min(MAX_PROBE_TTL), None)
    }

    /// Removes a batch of what has ended. Requests do so themselves now and then; call it where there are few requests. Says how
    /// many rows went.
    pub async fn sweep(&self) -> Result<u64, StoreError> {
        let now = self.clock.now();
        let unused_since = now
            .as_secs()
            .saturating_sub(self.config.unused_client_ttl.as_secs());
        let removed = self
            .store
            .sweep(now, Timestamp::from_secs(unused_since), SWEEP_ROWS)
            .await?;
        Ok(removed + self.store.sweep_upstream_tokens(now, SWEEP_ROWS).await?)
    }

    /// The client of this id, wherever it is kept. What the host has enrolled comes before what a document says.
    pub(super) async fn client(
        &self,
        id: &str,
        asked_by: Option<IpAddr>,
    ) -> Result<Option<Client>, ClientError> {
        if !is_client_id(id) {
            return Ok(None);
        }
        // Whom the host enrolled comes before what anybody says of himself.
        let stored = self.store.client(id).await?;
        let documents = self.documents.as_ref().filter(|_| is_document_url(id));
        let (None, Some(documents)) = (&stored, documents) else {
            return Ok(stored);
        };
        let now = self.clock.now();
        match documents.client(id, asked_by, now).await {
            Ok(client) => Ok(Some(client)),
            Err(why) => {
                let outcome = Outcome::Refused(why.name());
                let mut event = Event::new(EventKind::ClientDocumentFetched, outcome, now);
                event.address = asked_by;
                self.events.record(event);
                match why {
                    Unfetched::Invalid(_) => Ok(None),
                    Unfetched::Busy | Unfetched::Failed => Err(ClientError::Unreachable),
                }
            }
        }
    }

    /// Uses up what a request brought, and says whether it was the first to bring it. Done last before anything is issued for it, so that who is not
    /// entitled to anything adds no row.
    pub(super) async fn claim(
        &self,
        kind: OnceKind,
        key: SecretHash,
        ends_at: Timestamp,
        asked_by: Option<IpAddr>,
    ) -> Result<bool, OAuthError> {
        let (address, now) = (asked_by.map(counted), self.clock.now());
        if !self
            .claims
            .spend(address, MAX_CLAIMS_PER_ADDRESS, MAX_CLAIMS_PER_MINUTE, now)
        {
            let why = "too many requests, try again in a minute";
            return Err(OAuthError::new(ErrorCode::TemporarilyUnavailable, why));
        }
        // Another replica, whose clock is behind, takes it for valid a little longer.
        let first = self.store.claim(kind, key, ends_at.plus(CLOCK_SKEW), now).await?;
        self.sweep_now_and_then().await;
        Ok(first)
    }

    /// The beginning of an event about a request; it counts as allowed until it is said otherwise.
    pub(super) fn event(&self, kind: EventKind, request: &http::Extensions) -> Event {
        let mut event = Event::new(kind, Outcome::Allowed, self.clock.now());
        event.address = ClientAddress::of(request);
        event
    }

    /// Revokes a grant: none of its refresh tokens rotates any more, its access tokens are refused, and whoever follows the feed hears of it.
    /// Once begun it comes to its end, also if the caller does not wait for it.
    pub async fn revoke_grant(&self, grant_id: &str) -> Result<(), StoreError> {
        let (server, grant_id) = (self.clone(), grant_id.to_owned());
        to_its_end(async move {
            server
                .store
                .revoke_grant(&grant_id, server.revoked_until())
                .await?;
            server.tell_of_revocations([grant_id]);
            Ok(())
        })
        .await
    }

    /// When the last access token has ended that a grant may have got by now.
    pub(super) fn revoked_until(&self) -> Timestamp {
        self.clock
            .now()
            .plus(self.config.access_token_ttl.max(LONGEST_ACCESS_TOKEN))
            .plus(CLOCK_SKEW)
    }

    /// Who follows the feed hears of it, and so do the events.
    pub(super) fn tell_of_revocations(&self, grant_ids: impl IntoIterator<Item = String>) {
        self.revocation_watch.wake();
        for grant_id in grant_ids {
            let mut event = Event::new(EventKind::GrantRevoked, Outcome::Allowed, self.clock.now());
            event.grant_id = Some(grant_id);
            self.events.record(event);
        }
    }

    /// An RFC 9068 access token of a grant, for the holder of `key` alone if there is one.
    pub(super) fn mint(
        &self,
        grant: &Grant,
        scopes: &Scopes,
        ttl: Duration,
        key: Option<&Thumbprint>,
    ) -> String {
        let now = self.clock.now();
        let claims = Claims {
            iss: self.config.issuer.to_string(),
            aud: grant.resource.to_string(),
            sub: grant.subject.to_string(),
            client_id: grant.client_id.clone(),
            grant_id: grant.id.clone(),
            jti: secret::random_id(),
            iat: now.as_secs(),
            nbf: now.as_secs(),
            exp: now.plus(ttl).min(grant.expires_at).as_secs(),
            scope: scopes.to_string(),
            cnf: key.map(|key| Confirmation { jkt: key.to_string() }),
        };
        self.keys.sign(&claims, now)
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

/// Whether this can be the id of a client at all. What cannot is never looked up: not every store takes any text.
pub(super) fn is_client_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= MAX_CLIENT_ID_BYTES && !id.contains(char::is_control)
}

/// Why a client cannot be looked up.
#[derive(Debug)]
pub(super) enum ClientError {
    Store(StoreError),
    /// Its document cannot be fetched now; it may be a good one.
    Unreachable,
}

impl From<StoreError> for ClientError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<ClientError> for OAuthError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Store(error) => error.into(),
            ClientError::Unreachable => Self::new(
                ErrorCode::TemporarilyUnavailable,
                "the document of the client cannot be fetched now, try again",
            ),
        }
    }
}
