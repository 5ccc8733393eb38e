//! What the crate promises, as one test binary. Each test makes its own application; nothing opens a socket.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod app;
mod attacks;
mod attacks_by_flood;
mod attacks_on_claims;
mod attacks_on_clients;
mod attacks_on_consent;
mod attacks_on_documents;
mod attacks_on_dpop;
mod attacks_on_dpop_tokens;
mod attacks_on_endpoints;
mod attacks_on_identity_assertions;
mod attacks_on_keys;
mod attacks_on_redirects;
mod attacks_on_refresh;
mod attacks_on_sign_in;
mod attacks_on_tokens;
mod client_auth;
mod consent_page;
mod documents;
mod double_click;
mod dpop;
mod elsewhere;
mod endpoints;
mod events;
mod flow;
mod hang_up;
mod introspection;
mod jwks;
mod key_pairs;
mod key_rotation;
mod postgres;
mod real_provider;
mod resource;
mod revocation;
mod revocation_feed;
mod signer;
mod store;
mod upstream;
mod upstream_app;
mod upstream_tokens;
mod wire;
