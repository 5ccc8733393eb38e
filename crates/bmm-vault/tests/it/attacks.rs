//! Each test is one attack by somebody who can read and write everything that is stored, but does not hold the KEK.
//!
//! Sources: NIST SP 800-38D (AES-GCM); the "encryption context" of AWS KMS and the AWS Encryption SDK, which binds a value
//! to its place; kms-aead, whose documentation says that a row of its key table can be moved; and those named below.

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use bmm_vault::{Context, KeyScope, LocalKek, Vault, VaultConfig, VaultError, WrappedKeys};
use proptest::prelude::*;

use zeroize::Zeroizing;

use crate::{kek, vault};

proptest! {
    /// NIST SP 800-38D, section 7.2: what is not authentic is not returned, in no part.
    #[test]
    fn any_flipped_bit_keeps_a_value_shut(value: Vec<u8>, at: proptest::sample::Index) {
        let vault = vault();
        let context = Context::new("secrets").tenant("1").row("r").name("n");
        let sealed = vault.seal(&context, &value).expect("seals");

        let mut bytes = BASE64URL.decode(&sealed).expect("base64url");
        let bit = at.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        let opened = vault.open_value(&context, &BASE64URL.encode(bytes));
        prop_assert!(opened.is_err());
        // Behind format, key id, nonce, mark, version and length, the error names what happened.
        prop_assert!(bit / 8 < 66 || matches!(opened, Err(VaultError::Altered)));

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
        prop_assert!(matches!(vault.open_value(&context, cut), Err(VaultError::Truncated)));
    }

    /// A rollback of one row (CWE-294, replay).
    #[test]
    fn a_value_of_another_version_than_its_caller_holds_is_told_as_such(
        sealed in proptest::option::of(0_u64..4),
        held in proptest::option::of(0_u64..4),
        value: Vec<u8>,
    ) {
        let place = |version| {
            let place = Context::new("secrets").tenant("1").row("r");
            match version {
                Some(version) => place.version(version),
                None => place,
            }
        };
        let vault = vault();
        let text = vault.seal(&place(sealed), &value).expect("seals");
        match vault.open_value(&place(held), &text) {
            Ok(opened) => prop_assert!(sealed == held && *opened == value),
            Err(VaultError::OtherVersion { sealed: was, expected }) => {
                prop_assert!(sealed != held && was == sealed && expected == held);
            }
            Err(other) => prop_assert!(false, "{other}"),
        }
    }

    #[test]
    fn arbitrary_text_is_refused_and_never_panics(text: String) {
        prop_assert!(vault().open_value(&Context::new("secrets"), &text).is_err());
    }

    /// A confused deputy (CWE-441): the service is made to open one customer's secret for another.
    #[test]
    fn swapped_rows_do_not_open(a in "[a-z]{1,8}", b in "[a-z]{1,8}", one: Vec<u8>, other: Vec<u8>) {
        prop_assume!(a != b);
        let vault = vault();
        let (at_a, at_b) = (Context::new("secrets").row(a), Context::new("secrets").row(b));
        let one = vault.seal(&at_a, &one).expect("seals");
        let other = vault.seal(&at_b, &other).expect("seals");
        prop_assert!(matches!(vault.open_value(&at_b, &one), Err(VaultError::Relocated)));
        prop_assert!(matches!(vault.open_value(&at_a, &other), Err(VaultError::Relocated)));
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
fn a_value_of_another_vault_is_foreign() {
    let sealed = vault().seal(&Context::new("secrets"), b"x").expect("seals");
    let opened = vault().open_value(&Context::new("secrets"), &sealed);
    assert!(matches!(opened, Err(VaultError::UnknownKey)));
}

/// A downgrade (CWE-757) to a format with less to authenticate.
#[test]
fn a_value_of_another_format_is_named_as_such() {
    let vault = vault();
    let sealed = vault.seal(&Context::new("secrets"), b"x").expect("seals");
    for format in [0, 2, 255] {
        let mut bytes = BASE64URL.decode(&sealed).expect("base64url");
        bytes[0] = format;
        let opened = vault.open_value(&Context::new("secrets"), &BASE64URL.encode(bytes));
        assert!(matches!(opened, Err(VaultError::UnsupportedFormat(f)) if f == format));
    }
}

#[test]
fn a_value_with_something_appended_is_refused() {
    let vault = vault();
    let sealed = vault.seal(&Context::new("secrets"), b"x").expect("seals");
    let opened = vault.open_value(&Context::new("secrets"), &format!("{sealed}AAAA"));
    assert!(matches!(opened, Err(VaultError::Malformed)));
}

/// The "invisible salamander" (Dodis, Grubbs, Ristenpart, Woodage, "Fast Message Franking", CRYPTO 2018; Len, Grubbs,
/// Ristenpart, "Partitioning Oracle Attacks", USENIX Security 2021): AES-GCM alone lets one ciphertext open under two keys.
/// Here a value that names another key than it was sealed with never reaches the cipher of either.
#[test]
fn a_value_opens_under_the_one_key_it_commits_to() {
    let kek = kek(7);
    let mut stored = vault().wrapped();
    let next = stored.stage(&kek, None, SystemTime::UNIX_EPOCH).expect("stages");
    let vault = Vault::open(&kek, stored.clone()).expect("opens");
    let context = Context::new("secrets");
    let mut bytes = BASE64URL
        .decode(vault.seal(&context, b"x").expect("seals"))
        .expect("base64url");
    let other = BASE64URL.decode(&next).expect("base64url");
    bytes[1..33].copy_from_slice(&other);
    assert!(vault.open_value(&context, &BASE64URL.encode(&bytes)).is_err());

    // Nor can a key be stored under an id that it does not hash to.
    stored.keys[1].id = stored.keys[0].id.clone();
    assert!(matches!(
        Vault::open(&kek, stored),
        Err(VaultError::WrappedKeys(_))
    ));
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
    assert!(matches!(
        Vault::open(&kek(7), stored),
        Err(VaultError::WrappedKeys(_))
    ));
}

#[test]
fn a_whole_key_row_of_another_purpose_does_not_open() {
    // One KEK, two vaults: kms-aead documents that its key rows can be moved like this.
    let config = VaultConfig {
        purpose: "tokens".to_owned(),
        ..VaultConfig::default()
    };
    let tokens = WrappedKeys::create(&kek(7), &config.purpose, SystemTime::UNIX_EPOCH).expect("keys");
    let mut stored = vault().wrapped();
    stored.keys = tokens.keys.clone();
    assert!(matches!(
        Vault::open(&kek(7), stored),
        Err(VaultError::WrappedKeys(_))
    ));
    assert!(matches!(
        Vault::open(&kek(7), tokens),
        Err(VaultError::WrappedKeys(_))
    ));
}

#[test]
fn a_wrapped_key_does_not_open_for_another_tenant() {
    let kek = kek(7);
    let mut stored = vault().wrapped();
    for tenant in ["1", "2"] {
        let id = stored
            .stage(&kek, Some(tenant), SystemTime::UNIX_EPOCH)
            .expect("stages");
        stored.promote(&id, SystemTime::UNIX_EPOCH).expect("promotes");
    }
    Vault::open(&kek, stored.clone()).expect("opens as it is");
    stored.keys[1].tenant = Some("2".to_owned());
    stored.keys[2].tenant = Some("1".to_owned());
    assert!(matches!(
        Vault::open(&kek, stored),
        Err(VaultError::WrappedKeys(_))
    ));
}

#[test]
fn a_tenant_s_key_opens_nothing_of_another_tenant() {
    let kek = kek(7);
    let mut stored = vault().wrapped();
    for tenant in ["1", "2"] {
        let id = stored
            .stage(&kek, Some(tenant), SystemTime::UNIX_EPOCH)
            .expect("stages");
        stored.promote(&id, SystemTime::UNIX_EPOCH).expect("promotes");
    }
    let config = VaultConfig {
        scope: KeyScope::PerTenant,
        ..VaultConfig::default()
    };
    let vault = Vault::open_with(&kek, stored, config).expect("opens");
    let of = |tenant: &str| Context::new("secrets").tenant(tenant).row("r");
    let (one, two) = (
        vault.seal(&of("1"), b"x").expect("seals"),
        vault.seal(&of("2"), b"x").expect("seals"),
    );
    assert_ne!(one[..44], two[..44], "each tenant has a key of its own");
    assert!(matches!(
        vault.open_value(&of("2"), &one),
        Err(VaultError::Relocated)
    ));
    assert!(matches!(
        vault.open_value(&Context::new("secrets").row("r"), &one),
        Err(VaultError::Relocated)
    ));
    assert!(matches!(vault.seal(&of("3"), b"x"), Err(VaultError::NoTenantKey)));
}

#[test]
fn stored_keys_that_contradict_themselves_are_refused() {
    let whole = vault().wrapped();
    let mut none = whole.clone();
    none.keys.clear();
    let mut twice = whole.clone();
    twice.keys.push(whole.keys[0].clone());
    let mut two_active = whole.clone();
    let id = two_active
        .stage(&kek(7), None, SystemTime::UNIX_EPOCH)
        .expect("stages");
    two_active
        .keys
        .iter_mut()
        .for_each(|key| key.state = bmm_vault::KeyState::Active);
    assert!(two_active.get(&id).is_some());
    for stored in [none, twice, two_active] {
        assert!(matches!(
            Vault::open(&kek(7), stored),
            Err(VaultError::WrappedKeys(_))
        ));
    }
}

#[test]
fn a_known_value_that_does_not_open_stops_the_start() {
    let mut stored = vault().wrapped();
    stored.keys[0].known = vault().wrapped().keys[0].known.clone();
    let opened = Vault::open(&kek(7), stored);
    assert!(matches!(
        opened,
        Err(VaultError::WrappedKeys("a known value does not open"))
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

#[test]
fn a_value_from_before_envelopes_opens_only_by_its_own_method() {
    // Encrypted with other means: AES-256-GCM, key 32 x 0x07, nonce 12 x 0x01, no associated data, value "legacy".
    let legacy = crate::LEGACY;
    let kek = LocalKek::from_bytes(Zeroizing::new([7; 32]));
    assert_eq!(
        kek.insecure_open_legacy(legacy).expect("opens").as_slice(),
        b"legacy"
    );
    assert!(vault().open_value(&Context::new("secrets"), legacy).is_err());

    let mut bytes = base64::engine::general_purpose::STANDARD
        .decode(legacy)
        .expect("base64");
    bytes[14] ^= 1;
    let changed = base64::engine::general_purpose::STANDARD.encode(&bytes);
    assert!(matches!(
        kek.insecure_open_legacy(&changed),
        Err(VaultError::Altered)
    ));
    assert!(matches!(
        kek.insecure_open_legacy(&legacy[..16]),
        Err(VaultError::Truncated)
    ));
    let other = LocalKek::from_bytes(Zeroizing::new([8; 32]));
    assert!(matches!(
        other.insecure_open_legacy(legacy),
        Err(VaultError::Altered)
    ));
}
