//! Everything that a data directory keeps: the tables of all parts, in the order in which they need each other, and the vault
//! over them.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use bmm_oauth::{Clock as _, SqlStore, SystemClock};
use bmm_vault::{SqlConfig, SqlVault, VaultDb};

use crate::data_dir::Visit;
use crate::db::Db;
use crate::{keys, secrets};

/// The opened storage of a data directory.
pub(crate) struct Storage {
    pub(crate) db: Db,
    pub(crate) oauth: SqlStore,
    pub(crate) vault: Arc<SqlVault>,
    vault_db: VaultDb,
}

impl Storage {
    /// Opens it, made if there is nothing, for whoever holds the directory's lock.
    pub(crate) async fn open(database: &Path, kek: &Path) -> anyhow::Result<Self> {
        let db = Db::open(database).await?;
        Self::with(db, database, kek, SqlConfig::default()).await
    }

    /// Opens what a directory holds, for a short piece of work.
    pub(crate) async fn visit(visit: &Visit) -> anyhow::Result<Self> {
        let db = if visit.is_served() {
            Db::attach(&visit.database()).await?
        } else {
            Db::open(&visit.database()).await?
        };
        Self::with(db, &visit.database(), &visit.kek(), visit.vault_config()).await
    }

    async fn with(db: Db, database: &Path, kek: &Path, config: SqlConfig) -> anyhow::Result<Self> {
        let oauth = SqlStore::open(database).await?;
        oauth.migrate().await?;
        let vault_db = VaultDb::open(database).await?;
        vault_db.migrate().await?;
        let columns = bmm_oauth::sealed_columns()
            .into_iter()
            .chain([secrets::sealed_column()])
            .collect();
        let vault = keys::open_vault(&vault_db, kek, config, columns, SystemClock.now())
            .await
            .context("the vault")?;
        Ok(Self {
            db,
            oauth,
            vault: Arc::new(vault),
            vault_db,
        })
    }

    /// Closes all connections; the write-ahead log is folded in.
    pub(crate) async fn close(self) -> anyhow::Result<()> {
        // Counts what was sealed.
        self.vault.refresh().await?;
        self.vault_db.close().await;
        self.oauth.close().await;
        self.db.close().await;
        Ok(())
    }
}
