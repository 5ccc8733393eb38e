//! What the authorization server remembers. Everything single-use is one atomic step of the store: of any number of
//! racing callers, in any number of processes, exactly one succeeds, and losing is an outcome, not an error.

mod contract;
mod memory;
#[cfg(feature = "sql")]
mod sql;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use contract::store_contract;
pub use memory::MemoryStore;
#[cfg(feature = "sql")]
pub use sql::SqlStore;

use super::secret::SecretHash;
use crate::clock::Timestamp;
use crate::resource_uri::ResourceUri;
use crate::scope::Scopes;
use crate::verifier::{BoxError, BoxFuture, Subject};

/// A store could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[error("the OAuth store failed: {message}")]
pub struct StoreError {
    message: String,
    #[source]
    source: Option<BoxError>,
}

impl StoreError {
    /// A failure with its cause.
    pub fn new(message: impl Into<String>, source: impl Into<BoxError>) -> Self {
        Self {
            message: message.into(),
            source: Some(source.into()),
        }
    }

    /// A failure that has no cause of its own.
    pub fn message(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            source: None,
        }
    }
}

/// What a store operation answers with.
pub type StoreResult<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// How a client authenticates at the token endpoint (RFC 7591 section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuthMethod {
    /// A public client: PKCE is all it has.
    None,
    /// Secret in the `Authorization` header.
    ClientSecretBasic,
    /// Secret in the form.
    ClientSecretPost,
}

impl ClientAuthMethod {
    /// The registered name.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ClientSecretBasic => "client_secret_basic",
            Self::ClientSecretPost => "client_secret_post",
        }
    }

    /// The method of this registered name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::None, Self::ClientSecretBasic, Self::ClientSecretPost]
            .into_iter()
            .find(|method| method.name() == name)
    }
}

/// A registered client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// `client_id`.
    pub id: String,
    /// Hash of the secret, for the secret methods.
    pub secret_hash: Option<SecretHash>,
    /// The only method that is accepted from it.
    pub auth_method: ClientAuthMethod,
    /// What it calls itself; cleaned, not verified.
    pub name: String,
    /// As registered: may hold ones that will be refused when used.
    pub redirect_uris: Vec<String>,
    /// When it registered.
    pub created_at: Timestamp,
    /// When it first got a token; until then it may be forgotten.
    pub used_at: Option<Timestamp>,
}

/// A valid authorization request of a signed-in user, waiting for the decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingConsent {
    /// What is asked for.
    pub request: AuthorizationRequest,
    /// Who is asked.
    pub subject: Subject,
    /// Hash of the cookie of the browser that shows the page.
    pub browser: SecretHash,
    /// When the page is too old.
    pub expires_at: Timestamp,
}

/// What a client asks for; everything in it has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizationRequest {
    /// Who asks.
    pub client_id: String,
    /// Where the answer goes.
    pub redirect_uri: String,
    /// Whether the request named it; the token request must then repeat it (RFC 6749 section 4.1.3).
    pub redirect_uri_was_sent: bool,
    /// The client's `state`, to be returned.
    pub state: Option<String>,
    /// PKCE, S256.
    pub code_challenge: String,
    /// What the token will be for.
    pub resource: ResourceUri,
    /// What will be granted.
    pub scopes: Scopes,
}

/// An authorization code, under the hash of its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizationCode {
    /// What was consented to.
    pub request: AuthorizationRequest,
    /// By whom.
    pub subject: Subject,
    /// The grant that redeeming it will make.
    pub grant_id: String,
    /// When it is too old.
    pub expires_at: Timestamp,
}

/// One consent turned into tokens: the family of refresh tokens, and `grant_id` of the access tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Its identifier.
    pub id: String,
    /// Who holds the tokens.
    pub client_id: String,
    /// For whom they speak.
    pub subject: Subject,
    /// The one resource they are for.
    pub resource: ResourceUri,
    /// What they may be used for.
    pub scopes: Scopes,
    /// When it ends, whatever happens.
    pub expires_at: Timestamp,
    /// Whether it has been revoked.
    pub revoked: bool,
}

/// A refresh token to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewRefresh {
    /// Hash of its text.
    pub hash: SecretHash,
    /// When it ends if it is not used.
    pub expires_at: Timestamp,
}

/// A refresh token as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefreshToken {
    /// Its family.
    pub grant: Grant,
    /// When it ends if it is not used.
    pub expires_at: Timestamp,
    /// When it was exchanged for its successor.
    pub rotated_at: Option<Timestamp>,
}

/// What became of a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redemption {
    /// It is used now, and the grant and its first refresh token exist.
    Redeemed,
    /// It had been used before: somebody has it twice.
    AlreadyUsed,
    /// It does not exist, or has expired unused.
    Gone,
}

/// What became of a refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// It is spent now, and its successor exists.
    Rotated,
    /// It had been spent before, then.
    Spent {
        /// When it was exchanged.
        rotated_at: Timestamp,
    },
    /// It does not exist or has expired, or its grant has expired or is revoked.
    Gone,
}

/// The authorization server's memory: [`MemoryStore`], or `SqlStore` with the feature `sql`. [`store_contract`] tests an
/// implementation. Secrets come in as hashes only; times are arguments.
pub trait Store: Send + Sync + 'static {
    /// Adds a client. If more than `max_unused` clients have never been used, the oldest of them are removed with it.
    fn put_client(&self, client: Client, max_unused: u32) -> StoreResult<'_, ()>;
    /// The client of this id.
    fn client<'a>(&'a self, id: &'a str) -> StoreResult<'a, Option<Client>>;

    /// Adds a consent under the hash of its handle.
    fn put_consent(&self, handle: SecretHash, consent: PendingConsent) -> StoreResult<'_, ()>;
    /// Removes and returns a consent: for one caller only. It may have expired.
    fn take_consent(&self, handle: SecretHash) -> StoreResult<'_, Option<PendingConsent>>;

    /// Adds a code.
    fn put_code(&self, hash: SecretHash, code: AuthorizationCode) -> StoreResult<'_, ()>;
    /// The code, used or not, expired or not, to be checked before it is redeemed.
    fn code(&self, hash: SecretHash) -> StoreResult<'_, Option<AuthorizationCode>>;
    /// In one step: marks the code as used, adds `grant` with its first refresh token, and marks the client as used.
    fn redeem_code(
        &self,
        hash: SecretHash,
        grant: Grant,
        refresh: NewRefresh,
        now: Timestamp,
    ) -> StoreResult<'_, Redemption>;

    /// The refresh token, spent or not, expired or not, to be checked before it is rotated.
    fn refresh_token(&self, hash: SecretHash) -> StoreResult<'_, Option<RefreshToken>>;
    /// In one step: spends the token `old`, if it can be, and adds its successor.
    fn rotate_refresh(
        &self,
        old: SecretHash,
        successor: NewRefresh,
        now: Timestamp,
    ) -> StoreResult<'_, Rotation>;
    /// Revokes a grant: from here on none of its refresh tokens rotates.
    fn revoke_grant<'a>(&'a self, grant_id: &'a str) -> StoreResult<'a, ()>;
    /// Whether this grant is known as revoked.
    fn is_revoked<'a>(&'a self, grant_id: &'a str) -> StoreResult<'a, bool>;

    /// The sealed signing keys.
    fn signing_keys(&self) -> StoreResult<'_, Option<String>>;
    /// Stores sealed signing keys if there are none, and returns the ones that stand: of two processes starting at once, one
    /// adopts the other's.
    fn init_signing_keys(&self, sealed: String) -> StoreResult<'_, String>;

    /// Removes what ended before `now`, at most `limit` rows of each kind, and clients that were never used and registered before
    /// `unused_since`. Says how many rows went.
    fn sweep(&self, now: Timestamp, unused_since: Timestamp, limit: u32) -> StoreResult<'_, u64>;
}

/// So that a store can be shared with its host.
impl<S: Store + ?Sized> Store for Arc<S> {
    fn put_client(&self, client: Client, max_unused: u32) -> StoreResult<'_, ()> {
        (**self).put_client(client, max_unused)
    }

    fn client<'a>(&'a self, id: &'a str) -> StoreResult<'a, Option<Client>> {
        (**self).client(id)
    }

    fn put_consent(&self, handle: SecretHash, consent: PendingConsent) -> StoreResult<'_, ()> {
        (**self).put_consent(handle, consent)
    }

    fn take_consent(&self, handle: SecretHash) -> StoreResult<'_, Option<PendingConsent>> {
        (**self).take_consent(handle)
    }

    fn put_code(&self, hash: SecretHash, code: AuthorizationCode) -> StoreResult<'_, ()> {
        (**self).put_code(hash, code)
    }

    fn code(&self, hash: SecretHash) -> StoreResult<'_, Option<AuthorizationCode>> {
        (**self).code(hash)
    }

    fn redeem_code(
        &self,
        hash: SecretHash,
        grant: Grant,
        refresh: NewRefresh,
        now: Timestamp,
    ) -> StoreResult<'_, Redemption> {
        (**self).redeem_code(hash, grant, refresh, now)
    }

    fn refresh_token(&self, hash: SecretHash) -> StoreResult<'_, Option<RefreshToken>> {
        (**self).refresh_token(hash)
    }

    fn rotate_refresh(
        &self,
        old: SecretHash,
        successor: NewRefresh,
        now: Timestamp,
    ) -> StoreResult<'_, Rotation> {
        (**self).rotate_refresh(old, successor, now)
    }

    fn revoke_grant<'a>(&'a self, grant_id: &'a str) -> StoreResult<'a, ()> {
        (**self).revoke_grant(grant_id)
    }

    fn is_revoked<'a>(&'a self, grant_id: &'a str) -> StoreResult<'a, bool> {
        (**self).is_revoked(grant_id)
    }

    fn signing_keys(&self) -> StoreResult<'_, Option<String>> {
        (**self).signing_keys()
    }

    fn init_signing_keys(&self, sealed: String) -> StoreResult<'_, String> {
        (**self).init_signing_keys(sealed)
    }

    fn sweep(&self, now: Timestamp, unused_since: Timestamp, limit: u32) -> StoreResult<'_, u64> {
        (**self).sweep(now, unused_since, limit)
    }
}
