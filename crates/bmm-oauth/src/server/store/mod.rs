//! What the authorization server remembers. Everything single-use is one atomic step of the store: of any number of
//! racing callers, in any number of processes, exactly one succeeds, and losing is an outcome, not an error.

mod client_metadata;
mod contract;
mod delegate;
mod memory;
mod once;
#[cfg(feature = "sql")]
mod sql;
mod upstream_token;
mod upstream_token_contract;

use serde::{Deserialize, Deserializer, Serialize};

pub use client_metadata::{ClientMetadata, GrantType, GrantTypes};
pub use contract::store_contract;
pub use memory::MemoryStore;
pub use once::{Once, OnceKind};
#[cfg(feature = "sql")]
pub use sql::SqlStore;
pub use upstream_token::{UpstreamTokenRow, UpstreamTokenStore};

use super::secret::SecretHash;
use crate::clock::Timestamp;
use crate::jwk::Thumbprint;
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
    /// A JWT signed with a key of the client's (RFC 7523).
    PrivateKeyJwt,
}

impl ClientAuthMethod {
    /// The registered name.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ClientSecretBasic => "client_secret_basic",
            Self::ClientSecretPost => "client_secret_post",
            Self::PrivateKeyJwt => "private_key_jwt",
        }
    }

    /// The method of this registered name.
    pub fn from_name(name: &str) -> Option<Self> {
        let all = [
            Self::None,
            Self::ClientSecretBasic,
            Self::ClientSecretPost,
            Self::PrivateKeyJwt,
        ];
        all.into_iter().find(|method| method.name() == name)
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
    /// What else it registered.
    pub metadata: ClientMetadata,
}

/// What a client asks for; everything in it has been checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    #[serde(deserialize_with = "stored_resource")]
    pub resource: ResourceUri,
    /// What will be granted.
    pub scopes: Scopes,
    /// The only key that may redeem the code (`dpop_jkt`, RFC 9449 section 10).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dpop_jkt: Option<Thumbprint>,
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
    /// What is kept for a repeated request, until it has ended.
    pub replay: Option<Vec<u8>>,
}

/// The answer to a refresh, kept for a repeated request ([`OnceKind::RefreshReplay`], under the hash of the spent token).
#[derive(Clone, PartialEq, Eq)]
pub struct Replay {
    /// Sealed: a store cannot read it.
    pub sealed: Vec<u8>,
    /// When it is no longer needed.
    pub expires_at: Timestamp,
}

impl std::fmt::Debug for Replay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replay")
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// It is spent now, and its successor exists.
    Rotated,
    /// It had been spent before, then.
    Spent {
        /// When it was exchanged.
        rotated_at: Timestamp,
        /// What is kept for a repeated request, until it has ended.
        replay: Option<Vec<u8>>,
    },
    /// It does not exist or has expired, or its grant has expired or is revoked.
    Gone,
}

/// A piece of the sequence of revocations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Revocations {
    /// Names the sequence. If it changes, this is another store: start again from 0.
    pub epoch: String,
    /// The number to ask for next.
    pub next: u64,
    /// In the order of revocation.
    pub revoked: Vec<RevokedGrant>,
}

/// A revoked grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RevokedGrant {
    /// Its identifier, as in its access tokens.
    pub grant_id: String,
    /// When the last of its access tokens has ended, and it can be forgotten.
    pub until: Timestamp,
}

/// The authorization server's memory: [`MemoryStore`], or `SqlStore` with the feature `sql`. [`store_contract`] tests an
/// implementation. Secrets come in as hashes only; times are arguments. What expires and is used once is in [`Once`].
pub trait Store: Once + UpstreamTokenStore {
    /// Adds a client. If more than `max_unused` clients have never been used, the oldest of them are removed with it.
    fn put_client(&self, client: Client, max_unused: u32) -> StoreResult<'_, ()>;
    /// The client of this id.
    fn client<'a>(&'a self, id: &'a str) -> StoreResult<'a, Option<Client>>;
    /// Replaces a client that exists, except for its times. Says whether there was one.
    fn update_client(&self, client: Client) -> StoreResult<'_, bool>;
    /// Removes a client. Says whether there was one.
    fn remove_client<'a>(&'a self, id: &'a str) -> StoreResult<'a, bool>;

    /// Adds a code.
    fn put_code(&self, hash: SecretHash, code: AuthorizationCode) -> StoreResult<'_, ()>;
    /// The code, used or not, expired or not, to be checked before it is redeemed.
    fn code(&self, hash: SecretHash) -> StoreResult<'_, Option<AuthorizationCode>>;
    /// In one step: marks the code as used, so that it ends with its grant, adds `grant` with its first refresh token, and marks the client as
    /// used.
    fn redeem_code(
        &self,
        hash: SecretHash,
        grant: Grant,
        refresh: NewRefresh,
        now: Timestamp,
    ) -> StoreResult<'_, Redemption>;

    /// Adds a grant that has no refresh token, and marks the client as used.
    fn put_grant(&self, grant: Grant, now: Timestamp) -> StoreResult<'_, ()>;

    /// The refresh token, spent or not, expired or not, to be checked before it is rotated, with what is kept at `now` for a repeated
    /// request.
    fn refresh_token(&self, hash: SecretHash, now: Timestamp) -> StoreResult<'_, Option<RefreshToken>>;
    /// In one step: spends the token `old`, if it can be, adds its successor, and keeps the answer for a repeated request. A step that
    /// succeeds came before every revocation of the grant.
    fn rotate_refresh(
        &self,
        old: SecretHash,
        successor: NewRefresh,
        replay: Option<Replay>,
        now: Timestamp,
    ) -> StoreResult<'_, Rotation>;
    /// Revokes a grant, and adds it to the sequence of revocations: from here on none of its refresh tokens rotates. It is listed until
    /// the last of its access tokens has ended: the latest `until` counts. It need not be a grant that the store has.
    fn revoke_grant<'a>(&'a self, grant_id: &'a str, until: Timestamp) -> StoreResult<'a, ()>;
    /// In one step: the same for grants of a client that are neither revoked nor ended, at most `limit`. Says which they were.
    fn revoke_grants_of<'a>(
        &'a self,
        client_id: &'a str,
        now: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> StoreResult<'a, Vec<String>>;
    /// Whether this grant is revoked and its access tokens may still live. Asked with every request of a resource, so it has to be
    /// quick. What this store revoked it knows at once, what another replica revoked within a second.
    fn is_revoked<'a>(&'a self, grant_id: &'a str) -> StoreResult<'a, bool>;
    /// What was revoked after the number `after`, at most `limit` grants, without those whose access tokens have ended by `now`. Numbers become
    /// visible in their order: what is not listed up to `next` never will be.
    fn revocations(&self, after: u64, limit: u32, now: Timestamp) -> StoreResult<'_, Revocations>;

    /// The sealed signing keys.
    fn signing_keys(&self) -> StoreResult<'_, Option<String>>;
    /// Stores sealed signing keys if there are none, and returns the ones that stand: of two processes starting at once, one
    /// adopts the other's.
    fn init_signing_keys(&self, sealed: String) -> StoreResult<'_, String>;
    /// Replaces the sealed signing keys if `old` still stands, and says whether it did.
    fn replace_signing_keys(&self, old: String, new: String) -> StoreResult<'_, bool>;

    /// Removes what ended before `now`, at most `limit` rows of each kind, and clients that were never used and registered before
    /// `unused_since`. Says how many rows went.
    fn sweep(&self, now: Timestamp, unused_since: Timestamp, limit: u32) -> StoreResult<'_, u64>;
}

/// A resource that was accepted when it was stored, be it by the operator's leave ([`ResourceUri::insecure_http`]).
fn stored_resource<'de, D: Deserializer<'de>>(from: D) -> Result<ResourceUri, D::Error> {
    ResourceUri::insecure_http(&String::deserialize(from)?).map_err(serde::de::Error::custom)
}
