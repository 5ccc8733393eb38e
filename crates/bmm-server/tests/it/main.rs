//! Tests that drive the real binary, as a person, a script and an attacker would.

#![allow(
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests may fail a test"
)]

mod attacks;
mod bmm;
mod clients;
mod conformance;
mod containers;
mod http;
mod keys;
mod node;
mod orders;
mod pathmap;
mod refusals;
mod restart;
mod rmcp_client;
mod rolls;
mod scan;
mod secrets;
mod sign_in;
mod single;
mod up;
mod verbs;
