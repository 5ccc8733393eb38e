//! What the crate promises, as one test binary.

#![allow(clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod attacks;
mod database;
mod key_file;
mod life_of_keys;
mod load;
#[cfg(feature = "pkcs11")]
mod pkcs11;
mod replicas;
mod sealing;
mod sweeping;

use std::time::{Duration, SystemTime};

use bmm_vault::{LocalKek, RotationPolicy, SqlConfig, Vault};
use zeroize::Zeroizing;

/// `legacy`, encrypted by another implementation (Python's `cryptography`) in the layout from before envelopes, under the
/// KEK of 32 bytes 0x07.
const LEGACY: &str = "AQEBAQEBAQEBAQEBGoTu1vPG1Ynzafw4XANrOheOCZHN0A==";

fn kek(byte: u8) -> LocalKek {
    LocalKek::from_bytes(Zeroizing::new([byte; 32]))
}

fn vault() -> Vault {
    Vault::create(&kek(7)).expect("a vault")
}

/// Some moment.
const NOW: SystemTime = SystemTime::UNIX_EPOCH;

/// A configuration in which no step of a rotation waits.
fn at_once() -> SqlConfig {
    let rotation = RotationPolicy {
        propagation: Duration::ZERO,
        grace: Duration::ZERO,
        drain: Duration::ZERO,
        max_age: None,
    };
    SqlConfig {
        rotation,
        ..SqlConfig::default()
    }
}
