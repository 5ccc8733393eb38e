//! The authorization server (feature `server`).

mod authorization_server;
mod authorize;
mod body;
mod client_auth;
mod config;
mod consent;
mod form;
mod keys;
mod local_verifier;
mod metadata;
mod page;
mod redirect;
mod register;
mod registration_budget;
mod resources;
mod router;
#[cfg(feature = "sql")]
mod sealed_columns;
mod secret;
mod sign_in;
mod store;
mod token;
mod wire;

pub use authorization_server::{AuthorizationServer, PROBE_CLIENT_ID};
pub use config::AsConfig;
pub use keys::{KeyError, SigningKeys};
pub use local_verifier::LocalVerifier;
pub use resources::{ResourceInfo, Resources};
#[cfg(feature = "sql")]
pub use sealed_columns::sealed_columns;
pub use secret::SecretHash;
pub use sign_in::{Session, SignIn, User};
#[cfg(feature = "sql")]
pub use store::SqlStore;
pub use store::{
    AuthorizationCode, AuthorizationRequest, Client, ClientAuthMethod, Grant, MemoryStore, NewRefresh,
    PendingConsent, Redemption, RefreshToken, Rotation, Store, StoreError, StoreResult, store_contract,
};
