//! What this crate's tables keep sealed, for the sweep of the host's vault.

use bmm_vault::{Column, SealedColumn};

use super::keys::SigningKeys;
use super::upstream_token;

/// Every column of [`SqlStore`](crate::SqlStore)'s tables that holds values sealed with the host's vault. Give them to
/// [`SqlVault::open`](bmm_vault::SqlVault::open), over the same database.
pub fn sealed_columns() -> Vec<SealedColumn> {
    let signing_keys = SealedColumn::new("oauth_signing_keys", "sealed", [Column::integer("id")], |_| {
        Some(SigningKeys::place())
    });
    let upstream_tokens = SealedColumn::new(
        "oauth_upstream_tokens",
        "sealed",
        [Column::text("subject")],
        |row| {
            let generation = u64::try_from(row.integer("generation")?).ok()?;
            Some(upstream_token::place(
                row.text("subject")?,
                row.text("upstream")?,
                generation,
            ))
        },
    )
    .and_then(|column| column.with_columns([Column::text("upstream"), Column::integer("generation")]));
    [signing_keys, upstream_tokens]
        .map(|column| column.expect("the names are plain"))
        .into()
}
