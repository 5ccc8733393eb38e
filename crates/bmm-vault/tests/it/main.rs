//! Tests of the vault's public interface.

mod attacks;
mod key_file;
mod sealing;

use bmm_vault::{LocalKek, Vault};
use zeroize::Zeroizing;

fn kek(byte: u8) -> LocalKek {
    LocalKek::from_bytes(Zeroizing::new([byte; 32]))
}

fn vault() -> Vault {
    Vault::create(&kek(7)).expect("a vault")
}
