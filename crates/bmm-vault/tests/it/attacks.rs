//! Each test is one attack on what is stored.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use bmm_vault::{Context, Vault, VaultError};
use proptest::prelude::*;

use crate::{kek, vault};

proptest! {
    #[test]
    fn any_flipped_bit_keeps_a_value_shut(value: Vec<u8>, at: proptest::sample::Index) {
        let vault = vault();
        let context = Context::new("secrets").tenant("1").row("r").name("n");
        let sealed = vault.seal(&context, &value).expect("seals");

        let mut bytes = BASE64URL.decode(&sealed).expect("base64url");
        let bit = at.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(vault.open_value(&context, &BASE64URL.encode(bytes)).is_err());

        // And in the text itself, where two texts must never mean the same bytes.
        let mut text = sealed.into_bytes();
        let bit = at.index(text.len() * 8);
        text[bit / 8] ^= 1 << (bit % 8);
        if let Ok(text) = String::from_utf8(text) {
            prop_assert!(vault.open_value(&context, &text).is_err());
        }
    }

    #[test]
    fn any_truncation_keeps_a_value_shut(value: Vec<u8>, at: proptest::sample::Index) {
        let vault = vault();
        let context = Context::new("secrets");
        let sealed = vault.seal(&context, &value).expect("seals");
        let cut = &sealed[..at.index(sealed.len())];
        prop_assert!(vault.open_value(&context, cut).is_err());
    }

    #[test]
    fn arbitrary_text_is_refused_and_never_panics(text: String) {
        prop_assert!(vault().open_value(&Context::new("secrets"), &text).is_err());
    }

    #[test]
    fn swapped_rows_do_not_open(a in "[a-z]{1,8}", b in "[a-z]{1,8}", one: Vec<u8>, other: Vec<u8>) {
        prop_assume!(a != b);
        let vault = vault();
        let (at_a, at_b) = (Context::new("secrets").row(a), Context::new("secrets").row(b));
        let one = vault.seal(&at_a, &one).expect("seals");
        let other = vault.seal(&at_b, &other).expect("seals");
        prop_assert!(matches!(vault.open_value(&at_b, &one), Err(VaultError::NotAuthentic)));
        prop_assert!(matches!(vault.open_value(&at_a, &other), Err(VaultError::NotAuthentic)));
    }

    #[test]
    fn any_flipped_bit_keeps_a_wrapped_key_shut(at: proptest::sample::Index) {
        let mut stored = vault().wrapped();
        let mut bytes = BASE64URL.decode(&stored.keys[0].wrapped).expect("base64url");
        let bit = at.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        stored.keys[0].wrapped = BASE64URL.encode(bytes);
        prop_assert!(Vault::open(&kek(7), stored).is_err());
    }
}

#[test]
fn an_older_value_does_not_pass_for_a_newer_version() {
    let vault = vault();
    let old = vault
        .seal(&Context::new("secrets").version(1), b"old")
        .expect("seals");
    let opened = vault.open_value(&Context::new("secrets").version(2), &old);
    assert!(matches!(opened, Err(VaultError::NotAuthentic)));
}

#[test]
fn a_value_of_another_vault_is_foreign() {
    let sealed = vault().seal(&Context::new("secrets"), b"x").expect("seals");
    assert!(matches!(
        vault().open_value(&Context::new("secrets"), &sealed),
        Err(VaultError::UnknownKey)
    ));
}

#[test]
fn a_value_of_a_later_format_is_named_as_such() {
    let vault = vault();
    let sealed = vault.seal(&Context::new("secrets"), b"x").expect("seals");
    let mut bytes = BASE64URL.decode(sealed).expect("base64url");
    bytes[0] = 2;
    let opened = vault.open_value(&Context::new("secrets"), &BASE64URL.encode(bytes));
    assert!(matches!(opened, Err(VaultError::UnsupportedFormat(2))));
}

#[test]
fn a_wrong_kek_says_so() {
    assert!(matches!(
        Vault::open(&kek(8), vault().wrapped()),
        Err(VaultError::WrongKek)
    ));
}

#[test]
fn a_wrapped_key_does_not_open_under_another_id() {
    let mut stored = vault().wrapped();
    let other = vault().wrapped();
    stored.keys[0].id = other.keys[0].id.clone();
    stored.active = other.active;
    assert!(matches!(
        Vault::open(&kek(7), stored),
        Err(VaultError::WrappedKeys(_))
    ));
}

#[test]
fn a_wrapped_key_does_not_open_for_another_tenant() {
    let mut stored = vault().wrapped();
    stored.keys[0].tenant = Some("42".to_owned());
    assert!(matches!(
        Vault::open(&kek(7), stored),
        Err(VaultError::WrappedKeys(_))
    ));
}

#[test]
fn stored_keys_without_the_active_one_are_refused() {
    let mut stored = vault().wrapped();
    stored.keys.clear();
    assert!(matches!(
        Vault::open(&kek(7), stored),
        Err(VaultError::WrappedKeys(_))
    ));
}

#[test]
fn a_sealed_value_does_not_pass_for_a_wrapped_key() {
    // With KEK and DEK of equal bytes, roles and associated data still keep the two apart.
    let vault = vault();
    let mut stored = vault.wrapped();
    stored.keys[0].wrapped = vault.seal(&Context::new("secrets"), &[7; 32]).expect("seals");
    assert!(Vault::open(&kek(7), stored).is_err());
}
