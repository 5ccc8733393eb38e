//! The crate from outside.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod addresses;
mod attacks;
#[cfg(feature = "dial")]
mod dial;
mod hosts;
