use bmm_vault::{Context, Vault, VaultError, WrappedKeys};
use proptest::prelude::*;

use crate::{kek, vault};

fn any_context() -> impl Strategy<Value = Context> {
    let part = || proptest::option::of("[a-c]{0,3}");
    (
        "[a-c]{0,3}",
        part(),
        part(),
        part(),
        proptest::option::of(0_u64..3),
    )
        .prop_map(|(purpose, tenant, row, name, version)| {
            let mut context = Context::new(purpose);
            if let Some(tenant) = tenant {
                context = context.tenant(tenant);
            }
            if let Some(row) = row {
                context = context.row(row);
            }
            if let Some(name) = name {
                context = context.name(name);
            }
            if let Some(version) = version {
                context = context.version(version);
            }
            context
        })
}

proptest! {
    #[test]
    fn a_sealed_value_opens_where_it_was_sealed(context in any_context(), value: Vec<u8>) {
        let vault = vault();
        let sealed = vault.seal(&context, &value).expect("seals");
        prop_assert_eq!(&*vault.open_value(&context, &sealed).expect("opens"), &value);
    }

    #[test]
    fn a_value_opens_in_one_context_only(here in any_context(), there in any_context(), value: Vec<u8>) {
        let vault = vault();
        let sealed = vault.seal(&here, &value).expect("seals");
        let opened = vault.open_value(&there, &sealed);
        prop_assert_eq!(opened.is_ok(), here == there);
    }
}

#[test]
fn a_vault_reopened_from_its_stored_form_opens_old_values() {
    let vault = vault();
    let context = Context::new("secrets").tenant("1");
    let sealed = vault.seal(&context, b"value").expect("seals");

    let stored = serde_json::to_string(&vault.wrapped()).expect("serializes");
    let stored: WrappedKeys = serde_json::from_str(&stored).expect("parses");
    let vault = Vault::open(&kek(7), stored).expect("opens");

    assert_eq!(
        vault.open_value(&context, &sealed).expect("opens").as_slice(),
        b"value"
    );
}

#[test]
fn equal_values_seal_differently() {
    let vault = vault();
    let context = Context::new("secrets");
    assert_ne!(
        vault.seal(&context, b"x").expect("seals"),
        vault.seal(&context, b"x").expect("seals")
    );
}

#[test]
fn a_value_over_the_bound_is_refused() {
    let value = vec![0; Vault::MAX_VALUE_BYTES + 1];
    assert!(matches!(
        vault().seal(&Context::new("secrets"), &value),
        Err(VaultError::TooLarge)
    ));
}

#[test]
fn nothing_printed_contains_a_key_or_a_value() {
    let kek = kek(0xAB);
    let vault = Vault::create(&kek).expect("a vault");
    assert_eq!(format!("{kek:?}"), "LocalKek(..)");
    let printed = format!("{vault:?}");
    let id = vault.wrapped().keys[0].id.clone();
    let expected = format!("Vault {{ purpose: \"values\", active: Some(\"{id}\"), keys: 1, .. }}");
    assert_eq!(printed, expected);
}
