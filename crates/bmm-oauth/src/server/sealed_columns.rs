//! What this crate's tables keep sealed, for the sweep of the host's vault.

use bmm_vault::{Column, SealedColumn};

use super::keys::SigningKeys;

/// Every column of [`SqlStore`](crate::SqlStore)'s tables that holds values sealed with the host's vault. Give them to
/// [`SqlVault::open`](bmm_vault::SqlVault::open), over the same database.
pub fn sealed_columns() -> Vec<SealedColumn> {
    let signing_keys = SealedColumn::new("oauth_signing_keys", "sealed", [Column::integer("id")], |_| {
        Some(SigningKeys::place())
    });
    vec![signing_keys.expect("the names are plain")]
}
