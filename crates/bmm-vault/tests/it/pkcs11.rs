//! Needs a token: the variables name its module, label and user PIN.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use bmm_vault::{
    Context, Kek, Pkcs11Config, Pkcs11Kek, SqlError, SqlVault, Vault, VaultConfig, VaultError, WrappedKeys,
};
use zeroize::Zeroizing;

use crate::database::{TestDb, columns};
use crate::{NOW, at_once, kek};

fn config(key_label: &str) -> Pkcs11Config {
    let part = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    Pkcs11Config {
        module: PathBuf::from(part("BMM_TEST_PKCS11_MODULE")),
        token_label: part("BMM_TEST_PKCS11_TOKEN"),
        pin: Zeroizing::new(part("BMM_TEST_PKCS11_PIN")),
        key_label: key_label.to_owned(),
    }
}

/// A label that no other run has used.
fn fresh_label() -> String {
    let file = tempfile::Builder::new()
        .prefix("bmm-kek-")
        .tempfile()
        .expect("a name");
    file.path()
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned()
}

#[test]
#[ignore = "needs SoftHSM: cargo xtask test"]
fn a_key_in_a_token_wraps_and_unwraps_and_is_never_replaced() {
    let label = fresh_label();
    assert!(matches!(Pkcs11Kek::open(config(&label)), Err(VaultError::Kek(_))));
    let made = Pkcs11Kek::create(config(&label)).expect("makes the key");
    assert!(matches!(
        Pkcs11Kek::create(config(&label)),
        Err(VaultError::Kek(_))
    ));

    let vault = Vault::create(&made).expect("a vault");
    let place = Context::new("secrets").tenant("1");
    let sealed = vault.seal(&place, b"x").expect("seals");
    let again = Pkcs11Kek::open(config(&label)).expect("opens");
    assert_eq!(again.id(), made.id());
    let vault = Vault::open(&again, vault.wrapped()).expect("opens");
    vault.open_value(&place, &sealed).expect("opens");
}

#[test]
#[ignore = "needs SoftHSM: cargo xtask test"]
fn a_wrapped_key_is_bound_by_the_token_too() {
    let kek = Pkcs11Kek::create(config(&fresh_label())).expect("makes the key");
    let wrapped = kek.wrap_key(&[5; 32], b"here").expect("wraps");
    assert_eq!(*kek.unwrap_key(&wrapped, b"here").expect("unwraps"), [5; 32]);
    assert!(matches!(
        kek.unwrap_key(&wrapped, b"there"),
        Err(VaultError::Altered)
    ));
    let mut changed = wrapped.clone();
    changed[20] ^= 1;
    assert!(matches!(
        kek.unwrap_key(&changed, b"here"),
        Err(VaultError::Altered)
    ));
    assert!(matches!(
        kek.unwrap_key(&wrapped[1..], b"here"),
        Err(VaultError::Altered)
    ));
    assert!(matches!(kek.unwrap_key(b"", b"here"), Err(VaultError::Altered)));
}

#[test]
#[ignore = "needs SoftHSM: cargo xtask test"]
fn another_key_of_the_token_is_the_wrong_one() {
    let one = Pkcs11Kek::create(config(&fresh_label())).expect("makes a key");
    let other = Pkcs11Kek::create(config(&fresh_label())).expect("makes a key");
    assert_ne!(one.id(), other.id());
    let keys = Vault::create(&one).expect("a vault").wrapped();
    assert!(matches!(Vault::open(&other, keys), Err(VaultError::WrongKek)));
}

#[test]
#[ignore = "needs SoftHSM: cargo xtask test"]
fn keys_move_from_a_file_to_a_token_by_a_rewrap() {
    let token = Pkcs11Kek::create(config(&fresh_label())).expect("makes a key");
    let mut keys =
        WrappedKeys::create(&kek(7), &VaultConfig::default().purpose, SystemTime::UNIX_EPOCH).expect("keys");
    let place = Context::new("secrets");
    let sealed = Vault::open(&kek(7), keys.clone())
        .expect("opens")
        .seal(&place, b"x")
        .expect("seals");
    assert_eq!(keys.rewrap(&kek(7), &token).expect("rewraps"), 1);
    assert_eq!(keys.keys[0].kek_id(), Some(token.id()));
    Vault::open(&token, keys)
        .expect("opens")
        .open_value(&place, &sealed)
        .expect("opens");
}

#[test]
#[ignore = "needs SoftHSM: cargo xtask test"]
fn a_wrong_pin_is_an_error_and_is_not_printed() {
    let mut wrong = config("any");
    wrong.pin = Zeroizing::new("not-the-pin-1759".to_owned());
    let printed = format!("{wrong:?}");
    let error = Pkcs11Kek::open(wrong).expect_err("the token refuses");
    assert!(!printed.contains("1759") && !format!("{error:?} {error}").contains("1759"));
}

#[test]
#[ignore = "needs SoftHSM: cargo xtask test"]
fn many_threads_use_one_token() {
    let label = fresh_label();
    let one = Pkcs11Kek::create(config(&label)).expect("makes a key");
    let other = Pkcs11Kek::open(config(&label)).expect("opens");
    std::thread::scope(|scope| {
        for kek in [&one, &other, &one, &other] {
            scope.spawn(move || {
                for _ in 0..20 {
                    let wrapped = kek.wrap_key(&[5; 32], b"here").expect("wraps");
                    assert_eq!(*kek.unwrap_key(&wrapped, b"here").expect("unwraps"), [5; 32]);
                }
            });
        }
    });
}

#[tokio::test]
#[ignore = "needs SoftHSM: cargo xtask test"]
async fn a_service_keeps_its_kek_in_a_token_and_moves_to_the_next_one() {
    let db = TestDb::sqlite().await;
    let label = fresh_label();
    let token = Arc::new(Pkcs11Kek::create(config(&label)).expect("makes a key"));
    let vault = SqlVault::open(db.connect().await, token, at_once(), columns(), NOW)
        .await
        .expect("opens");
    db.put(&vault, 1, "x").await;
    let next = vault.stage(None, NOW).await.expect("stages");
    vault.promote(&next, NOW).await.expect("promotes");
    db.put(&vault, 2, "y").await;

    let new = Arc::new(Pkcs11Kek::create(config(&fresh_label())).expect("makes a key"));
    assert_eq!(vault.rewrap(new.clone()).await.expect("rewraps"), 2);
    let old = Arc::new(Pkcs11Kek::open(config(&label)).expect("opens"));
    let refused = SqlVault::open(db.connect().await, old, at_once(), columns(), NOW).await;
    assert!(matches!(refused, Err(SqlError::Vault(VaultError::WrongKek))));
    let vault = SqlVault::open(db.connect().await, new, at_once(), columns(), NOW)
        .await
        .expect("opens");
    assert_eq!(
        (db.value(&vault, 1).await, db.value(&vault, 2).await),
        ("x".to_owned(), "y".to_owned())
    );
}
