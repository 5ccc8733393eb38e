use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bmm_vault::{Budget, Context, KeyState, Vault, VaultConfig, VaultError, WrappedKeys};

use crate::{kek, vault};

const NOW: SystemTime = SystemTime::UNIX_EPOCH;

fn place() -> Context {
    Context::new("secrets").tenant("1").row("r")
}

#[test]
fn a_key_goes_from_staged_to_destroyed_one_step_at_a_time() {
    let (kek, vault) = (kek(7), vault());
    let old = vault.seal(&place(), b"old").expect("seals");

    let mut keys = vault.wrapped();
    let first = keys.keys[0].id.clone();
    let next = keys.stage(&kek, None, NOW).expect("stages");
    assert_eq!(keys.stage(&kek, None, NOW).expect("stages once"), next);
    vault.reload(&kek, keys.clone()).expect("reloads");
    let still_old = vault.seal(&place(), b"still").expect("seals");
    assert_eq!(still_old[..44], old[..44], "a staged key seals nothing");

    keys.promote(&next, NOW).expect("promotes");
    vault.reload(&kek, keys.clone()).expect("reloads");
    let new = vault.seal(&place(), b"new").expect("seals");
    assert_ne!(new[..44], old[..44]);
    for (sealed, value) in [(&old, "old"), (&still_old, "still"), (&new, "new")] {
        assert_eq!(
            vault.open_value(&place(), sealed).expect("opens").as_slice(),
            value.as_bytes()
        );
    }

    assert!(matches!(
        keys.retire(&next, NOW),
        Err(VaultError::KeyState {
            number: 2,
            state: "active"
        })
    ));
    assert!(matches!(
        keys.destroy(&first),
        Err(VaultError::KeyState { number: 1, .. })
    ));
    keys.retire(&first, NOW).expect("retires");
    vault.reload(&kek, keys.clone()).expect("reloads");
    assert!(matches!(
        vault.open_value(&place(), &old),
        Err(VaultError::RetiredKey)
    ));

    keys.reinstate(&first).expect("comes back");
    vault.reload(&kek, keys.clone()).expect("reloads");
    vault.open_value(&place(), &old).expect("opens again");

    keys.retire(&first, NOW).expect("retires");
    keys.destroy(&first).expect("destroys");
    assert!(keys.keys[0].wrapped.is_empty() && keys.keys[0].state == KeyState::Destroyed);
    vault.reload(&kek, keys.clone()).expect("reloads");
    vault.open_value(&place(), &new).expect("opens");
    Vault::open(&kek, keys).expect("a start after all of it");
}

#[test]
fn a_new_kek_rewraps_keys_and_touches_no_value() {
    let vault = vault();
    let sealed = vault.seal(&place(), b"x").expect("seals");
    let mut keys = vault.wrapped();
    let next = keys.stage(&kek(7), None, NOW).expect("stages");
    keys.promote(&next, NOW).expect("promotes");
    let before = keys.clone();

    assert_eq!(keys.rewrap(&kek(7), &kek(8)).expect("rewraps"), 2);
    assert!(matches!(
        Vault::open(&kek(7), keys.clone()),
        Err(VaultError::WrongKek)
    ));
    let opened = Vault::open(&kek(8), keys.clone()).expect("opens");
    opened.open_value(&place(), &sealed).expect("opens as before");
    // Replicas that still hold the old KEK go on with the keys they hold.
    vault.reload(&kek(7), before).expect("reloads");
    vault
        .reload(&kek(7), keys)
        .expect("reloads without unwrapping anything");
    vault.open_value(&place(), &sealed).expect("opens");
}

#[test]
fn a_rewrap_with_the_wrong_kek_changes_nothing() {
    let mut keys = vault().wrapped();
    let before = keys.clone();
    assert!(matches!(keys.rewrap(&kek(9), &kek(8)), Err(VaultError::WrongKek)));
    assert_eq!(keys, before);
}

#[test]
fn a_reload_that_fails_leaves_the_vault_as_it_was() {
    let vault = vault();
    let sealed = vault.seal(&place(), b"x").expect("seals");
    let mut keys = vault.wrapped();
    let refused = keys.stage(&kek(8), None, NOW);
    assert!(
        matches!(refused, Err(VaultError::WrongKek)),
        "all keys are under one KEK"
    );
    keys.rewrap(&kek(7), &kek(8)).expect("rewraps");
    keys.stage(&kek(8), None, NOW).expect("stages under the new KEK");
    assert!(matches!(vault.reload(&kek(7), keys), Err(VaultError::WrongKek)));
    vault.open_value(&place(), &sealed).expect("opens");
}

#[test]
fn a_key_without_budget_seals_nothing_more_and_opens_everything() {
    let config = VaultConfig {
        budget: Budget {
            max_values: 3,
            max_bytes: 100,
            rotate_at_percent: 50,
        },
        ..VaultConfig::default()
    };
    let kek = kek(7);
    let keys = WrappedKeys::create(&kek, &config.purpose, NOW).expect("keys");
    let vault = Vault::open_with(&kek, keys, config.clone()).expect("opens");
    let sealed: Vec<_> = (0..3)
        .map(|_| vault.seal(&place(), b"value").expect("room"))
        .collect();
    assert!(matches!(
        vault.seal(&place(), b"value"),
        Err(VaultError::BudgetSpent)
    ));
    for sealed in &sealed {
        vault.open_value(&place(), sealed).expect("opens");
    }

    // The counts are stored with the keys: a restart does not give the budget back.
    let vault = Vault::open_with(&kek, vault.wrapped(), config).expect("opens");
    assert_eq!(
        (vault.wrapped().keys[0].values, vault.wrapped().keys[0].bytes),
        (3, 15)
    );
    assert!(matches!(
        vault.seal(&place(), b"value"),
        Err(VaultError::BudgetSpent)
    ));
}

#[test]
fn sealing_and_opening_go_on_while_keys_change() {
    let (kek, vault) = (kek(7), Arc::new(vault()));
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut last = vault.seal(&place(), b"x").expect("seals");
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    vault.open_value(&place(), &last).expect("opens");
                    last = vault.seal(&place(), b"x").expect("seals");
                }
            });
        }
        for round in 0..20 {
            let now = NOW + Duration::from_secs(round);
            let mut keys = vault.wrapped();
            let id = keys.stage(&kek, None, now).expect("stages");
            vault.reload(&kek, keys.clone()).expect("reloads");
            keys.promote(&id, now).expect("promotes");
            vault.reload(&kek, keys).expect("reloads");
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert_eq!(vault.wrapped().keys.len(), 21);
}
