//! What there is: keys, counts, and what is left to do.

use serde::Serialize;

use super::error::SqlError;
use super::rows;
use super::sweep::PoisonRow;
use super::vault::SqlVault;
use crate::wrapped::KeyState;

/// Most poison rows of a column that a status names.
const NAMED_ROWS: u32 = 100;

/// Where a vault stands. Contains no key material.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// What the vault is for.
    pub purpose: String,
    /// The shared key that seals now.
    pub active: Option<u64>,
    /// The history of keys, oldest first.
    pub keys: Vec<KeyStatus>,
    /// The registered columns.
    pub columns: Vec<ColumnStatus>,
    /// Rows that a sweep could not open, the first hundred of each column.
    pub poison: Vec<PoisonRow>,
}

/// One key. Times are seconds of the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct KeyStatus {
    /// Its place in the history.
    pub number: u64,
    /// Its id.
    pub id: String,
    /// The tenant it belongs to; none if it is shared.
    pub tenant: Option<String>,
    /// Where it stands in its life.
    pub state: KeyState,
    /// The KEK it is wrapped with.
    pub kek: Option<String>,
    /// When it was made.
    pub staged_at: u64,
    /// When it began to seal.
    pub promoted_at: Option<u64>,
    /// When another key took over.
    pub replaced_at: Option<u64>,
    /// When nothing was found sealed with it any more.
    pub emptied_at: Option<u64>,
    /// When it was put aside.
    pub retired_at: Option<u64>,
    /// Values ever sealed with it, by this replica's knowledge.
    pub values: u64,
    /// Bytes ever sealed with it.
    pub bytes: u64,
    /// Values in the registered columns that are sealed with it now.
    pub rows: u64,
}

/// One registered column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ColumnStatus {
    /// Its name, as `table.column`.
    pub column: String,
    /// Values it holds.
    pub rows: u64,
    /// Values of keys that no longer seal.
    pub to_migrate: u64,
    /// Values that name no key of this vault: from before envelopes, or foreign.
    pub unsealed: u64,
}

impl Status {
    /// Values that a sweep has to seal anew, from before envelopes included.
    pub fn rows_to_migrate(&self) -> u64 {
        self.columns
            .iter()
            .map(|column| column.to_migrate + column.unsealed)
            .sum()
    }
}

impl SqlVault {
    /// Where the vault stands.
    ///
    /// # Errors
    ///
    /// Of the database.
    pub async fn status(&self) -> Result<Status, SqlError> {
        self.refresh().await?;
        let wrapped = self.vault().wrapped();
        let mut keys: Vec<KeyStatus> = wrapped
            .keys
            .iter()
            .map(|key| KeyStatus {
                number: key.number,
                id: key.id.clone(),
                tenant: key.tenant.clone(),
                state: key.state,
                kek: key.kek_id().map(|id| id.to_string()),
                staged_at: key.staged_at,
                promoted_at: key.promoted_at,
                replaced_at: key.replaced_at,
                emptied_at: key.emptied_at,
                retired_at: key.retired_at,
                values: key.values,
                bytes: key.bytes,
                rows: 0,
            })
            .collect();
        let mut columns = Vec::new();
        let mut poison = Vec::new();
        for column in self.columns().iter() {
            let total = rows::count_all(self.db(), column).await?;
            let (mut sealed, mut to_migrate) = (0, 0);
            for (id, rows) in rows::count_by_key(self.db(), column, &wrapped.purpose).await? {
                sealed += rows;
                if let Some(key) = keys.iter_mut().find(|key| key.id == id) {
                    key.rows += rows;
                    if !matches!(key.state, KeyState::Active | KeyState::Staged) {
                        to_migrate += rows;
                    }
                }
            }
            let unsealed = total.saturating_sub(sealed);
            columns.push(ColumnStatus {
                column: column.name(),
                rows: total,
                to_migrate,
                unsealed,
            });
            let rows = rows::poison(self.db(), column, NAMED_ROWS).await?;
            poison.extend(rows.into_iter().map(|(row, reason)| PoisonRow {
                column: column.name(),
                row,
                reason,
            }));
        }
        let active = wrapped.active(None).map(|key| key.number);
        Ok(Status {
            purpose: wrapped.purpose,
            active,
            keys,
            columns,
            poison,
        })
    }
}
