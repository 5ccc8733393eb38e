//! The authorization server (feature `server`).

mod authorization_server;
mod authorize;
mod body;
mod budget;
mod callback;
mod client_assertion;
mod client_auth;
mod client_credentials;
mod client_description;
mod client_document;
mod client_keys;
mod client_request;
mod code_response;
mod config;
mod consent;
mod consent_page;
mod cookie;
mod dpop;
mod endpoints;
mod form;
mod grant_steps;
mod identity_assertion;
mod identity_provider;
mod introspect;
mod jws;
mod key_error;
mod key_rotation;
mod keys;
mod local_verifier;
mod manage;
mod metadata;
mod outgoing;
mod own_token;
mod page;
mod pending_consent;
mod presented;
mod push;
mod pushed_request;
mod redirect;
mod refresh;
mod register;
mod replay;
mod resources;
mod revocation_watch;
mod revocations;
mod revoke;
mod router;
#[cfg(feature = "sql")]
mod sealed_columns;
mod secret;
mod shared_read;
mod sign_in;
mod sign_in_transaction;
mod signing_key;
mod store;
mod to_its_end;
mod token;
mod upstream;
mod upstream_token;
mod wire;

pub use authorization_server::{AuthorizationServer, PROBE_CLIENT_ID};
pub use config::AsConfig;
pub use consent_page::{ConsentHtml, ConsentPage, ConsentView, ConsentWarning, PlainConsentPage, ScopeView};
pub use identity_provider::IdentityProvider;
pub use key_error::KeyError;
pub use keys::SigningKeys;
pub use local_verifier::LocalVerifier;
pub use page::escape_html;
pub use redirect::Target as RedirectTarget;
pub use resources::{ResourceInfo, Resources};
#[cfg(feature = "sql")]
pub use sealed_columns::sealed_columns;
pub use secret::SecretHash;
pub use sign_in::{Arrival, OnArrival, Session, SignIn, SignInError, User};
#[cfg(feature = "sql")]
pub use store::SqlStore;
pub use store::{
    AuthorizationCode, AuthorizationRequest, Client, ClientAuthMethod, ClientMetadata, Grant, GrantType,
    GrantTypes, MemoryStore, NewRefresh, Once, OnceKind, Redemption, RefreshToken, Replay, Revocations,
    RevokedGrant, Rotation, Store, StoreError, StoreResult, store_contract,
};
pub use store::{UpstreamTokenRow, UpstreamTokenStore};
pub use upstream::{
    ClientSecret, Forgejo, GitHub, Google, Oidc, SendUpstream, SignInAttempt, Upstream, UpstreamAnswer,
    UpstreamError, UpstreamResult, UpstreamTokens, UpstreamUser,
};
pub use upstream_token::{UpstreamToken, UpstreamTokenError};
