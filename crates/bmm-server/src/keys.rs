//! The vault of a data directory: fail closed, never replace a key that something is sealed with.

use anyhow::{Context as _, bail};
use bmm_vault::{LocalKek, Vault, WrappedKeys};

use crate::data_dir::DataDir;
use crate::db::Db;

/// Opens the vault, or makes it where nothing is sealed yet.
pub(crate) async fn open_vault(dir: &DataDir, db: &Db) -> anyhow::Result<Vault> {
    let path = dir.kek();
    match db.vault_keys().await? {
        Some(stored) => {
            if !path.exists() {
                bail!(
                    "the key file {} is missing, and the database holds values sealed with it: put it back",
                    path.display()
                );
            }
            let stored: WrappedKeys =
                serde_json::from_str(&stored).context("the wrapped keys in the database are damaged")?;
            Ok(Vault::open(&LocalKek::load(&path)?, stored)?)
        }
        None => {
            // A key file alone is what a start that died right here leaves behind.
            let kek = if path.exists() {
                LocalKek::load(&path)?
            } else {
                LocalKek::create(&path)?
            };
            let vault = Vault::create(&kek)?;
            db.insert_vault_keys(&serde_json::to_string(&vault.wrapped())?)
                .await?;
            Ok(vault)
        }
    }
}
