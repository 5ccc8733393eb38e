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
mod attacks_on_consent;
mod attacks_on_redirects;
mod attacks_on_tokens;
mod flow;
mod jwks;
mod resource;
mod store;
mod wire;
