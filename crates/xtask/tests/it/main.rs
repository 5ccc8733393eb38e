//! What the workspace promises of its own shape.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that goes wrong says so by a panic"
)]

mod cycles;
mod graph;
mod security;
mod sources;
mod unsafe_code;
