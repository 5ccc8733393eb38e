//! The crate from outside.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod addresses;
mod attacks;
#[cfg(feature = "fetch")]
mod attacks_on_fetch;
#[cfg(feature = "dial")]
mod dial;
#[cfg(feature = "fetch")]
mod fetch;
mod hosts;
