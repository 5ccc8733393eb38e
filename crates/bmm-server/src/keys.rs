//! The vault of a data directory: fail closed, never replace a key that something is sealed with.

use std::path::Path;

use anyhow::{Context as _, bail};
use bmm_vault::{LocalKek, Vault, WrappedKeys};

use crate::db::Db;

/// Opens the vault, or makes it where nothing is sealed yet. `kek` is the key file.
pub(crate) async fn open_vault(kek: &Path, db: &Db) -> anyhow::Result<Vault> {
    if let Some(vault) = stored_vault(kek, db).await? {
        return Ok(vault);
    }
    // A key file alone is what a start that died right here leaves behind.
    let kek = if kek.exists() {
        LocalKek::load(kek)?
    } else {
        LocalKek::create(kek)?
    };
    let vault = Vault::create(&kek)?;
    db.insert_vault_keys(&serde_json::to_string(&vault.wrapped())?)
        .await?;
    Ok(vault)
}

/// Opens the vault if there is one.
pub(crate) async fn stored_vault(kek: &Path, db: &Db) -> anyhow::Result<Option<Vault>> {
    let Some(stored) = db.vault_keys().await? else {
        return Ok(None);
    };
    if !kek.exists() {
        bail!(
            "the key file {} is missing, and the database holds values sealed with it: put it back",
            kek.display()
        );
    }
    let stored: WrappedKeys =
        serde_json::from_str(&stored).context("the wrapped keys in the database are damaged")?;
    Ok(Some(Vault::open(&LocalKek::load(kek)?, stored)?))
}
