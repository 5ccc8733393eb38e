//! What the targets of bmm-oauth share: a server that is always signed in to, and keys that do not change from run to run.
#![cfg(feature = "oauth")]

mod keys;
mod server;

pub use keys::{KEY_SET, Signer};
pub use server::{Answer, CHALLENGE, ORIGIN, RESOURCE, Server, VERIFIER, leads_to_one_of};
