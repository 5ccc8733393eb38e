//! The sweep: seals values anew, a batch at a time, while the service reads and writes them.
//!
//! Rows are read in the order of their primary key, from a position that is stored with every batch, so that a sweep that
//! was killed goes on where it was. A value is replaced only if it still is the one that was read. Two replicas that
//! sweep the same rows do some of the work twice and no harm.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use tokio::time::{Instant, sleep, sleep_until};

use super::column::{SealedColumn, Value};
use super::error::SqlError;
use super::rows::{self, Change, Found};
use super::vault::{SqlVault, blocking};
use crate::error::VaultError;
use crate::kek::LocalKek;
use crate::sealed;
use crate::vault::Vault;
use crate::wrapped::unix_seconds;

/// How often a column is gone through for one key: rows that others held at first, or wrote late, are met again.
const PASSES: usize = 3;
/// Most rows that a report names.
const NAMED_ROWS: usize = 100;
/// A batch that takes longer to write shows that the database is busy.
const BUSY: Duration = Duration::from_millis(25);
/// How long a sweep gives way to a service that holds the database, each time on top of the driver's own patience.
const WAITS: [Duration; 3] = [
    Duration::from_millis(100),
    Duration::from_secs(1),
    Duration::from_secs(5),
];
/// Name of the sweep over values from before envelopes.
const LEGACY: &str = "legacy";

/// How a sweep goes about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SweepConfig {
    /// Rows of a batch, which is one short transaction.
    pub batch_rows: u32,
    /// Characters of sealed text after which a batch ends early. One value may be larger.
    pub batch_bytes: usize,
    /// Rows looked at in a second, on average; as fast as it goes if none.
    pub max_rows_per_second: Option<NonZeroU32>,
    /// Whether anything is written.
    pub effect: Effect,
}

/// Whether a sweep writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Effect {
    /// Seals anew.
    #[default]
    Write,
    /// Opens what would be sealed anew, and reports. Writes nothing, not even its progress.
    DryRun,
}

impl Default for SweepConfig {
    /// 200 rows or 4 MiB at a time, 2,000 rows a second.
    fn default() -> Self {
        Self {
            batch_rows: 200,
            batch_bytes: 4 * 1024 * 1024,
            max_rows_per_second: NonZeroU32::new(2_000),
            effect: Effect::Write,
        }
    }
}

/// Where a sweep is, told after each batch.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// The column, as `table.column`.
    pub column: String,
    /// Number of the key that is being emptied; none for values from before envelopes.
    pub key: Option<u64>,
    /// Rows there were to be looked at when the pass began.
    pub rows: u64,
    /// Rows looked at in this pass by this process.
    pub looked_at: u64,
}

/// What a sweep did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SweepReport {
    /// Rows looked at.
    pub looked_at: u64,
    /// Values sealed anew (or, in a dry run, that would be).
    pub moved: u64,
    /// Values that somebody else changed or held at that moment.
    pub passed_over: u64,
    /// Values that do not open; they are left as they are.
    pub poison: u64,
    /// The first of them.
    pub poison_rows: Vec<PoisonRow>,
}

/// A row whose value does not open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PoisonRow {
    /// The column, as `table.column`.
    pub column: String,
    /// Its primary key, as a JSON array (bytes in hexadecimal).
    pub row: String,
    /// Why it does not open.
    pub reason: String,
}

/// Sweeps over the registered columns of a [`SqlVault`].
#[derive(Debug)]
pub struct Sweeper<'a> {
    vault: &'a SqlVault,
    config: SweepConfig,
}

/// What a pass is after.
struct Pass<'a> {
    column: &'a SealedColumn,
    /// Its name in the tables: the id of the key, or [`LEGACY`].
    sweep: &'a str,
    number: Option<u64>,
    prefix: Option<String>,
    legacy: Option<Arc<LocalKek>>,
    rows: u64,
}

impl SweepReport {
    fn add(&mut self, other: Self) {
        self.looked_at += other.looked_at;
        self.moved += other.moved;
        self.passed_over += other.passed_over;
        self.poison += other.poison;
        self.poison_rows.extend(other.poison_rows);
        self.poison_rows.truncate(NAMED_ROWS);
    }
}

impl<'a> Sweeper<'a> {
    /// A sweeper of this vault's columns.
    pub fn new(vault: &'a SqlVault, config: SweepConfig) -> Self {
        Self { vault, config }
    }

    /// Seals every value of a retiring key with the key that is active now.
    ///
    /// # Errors
    ///
    /// Of the database; [`VaultError::BudgetSpent`]. What was done stays done.
    pub async fn run(
        &self,
        now: SystemTime,
        mut progress: impl FnMut(&Progress),
    ) -> Result<SweepReport, SqlError> {
        self.vault.refresh().await?;
        let mut report = SweepReport::default();
        for key in self.vault.retiring() {
            let prefix = sealed::prefix(&key.key_id()?);
            for column in self.vault.columns().iter() {
                let rows = rows::count(self.vault.db(), column, &prefix).await?;
                if rows == 0 {
                    if self.config.effect == Effect::Write {
                        rows::clear_poison(self.vault.db(), column, &key.id).await?;
                    }
                    continue;
                }
                let pass = Pass {
                    column,
                    sweep: &key.id,
                    number: Some(key.number),
                    prefix: Some(prefix.clone()),
                    legacy: None,
                    rows,
                };
                report.add(self.passes(&pass, now, &mut progress).await?);
            }
        }
        Ok(report)
    }

    /// The first sweep: seals the values from before envelopes, which were encrypted with the KEK itself
    /// ([`LocalKek::insecure_open_legacy`]). Values that name a key of this vault are left alone. When a column holds no
    /// other values any more, this way is closed for it, for good.
    ///
    /// # Errors
    ///
    /// [`SqlError::LegacyClosed`] if it is closed for every column; else as [`run`](Self::run).
    pub async fn migrate_legacy(
        &self,
        kek: Arc<LocalKek>,
        now: SystemTime,
        mut progress: impl FnMut(&Progress),
    ) -> Result<SweepReport, SqlError> {
        self.vault.refresh().await?;
        let db = self.vault.db();
        let mut report = SweepReport::default();
        let mut closed = Vec::new();
        for column in self.vault.columns().iter() {
            if rows::is_finished(db, column, LEGACY).await? {
                closed.push(column.name());
                continue;
            }
            let pass = Pass {
                column,
                sweep: LEGACY,
                number: None,
                prefix: None,
                legacy: Some(kek.clone()),
                rows: rows::count_all(db, column).await?,
            };
            report.add(self.passes(&pass, now, &mut progress).await?);
        }
        match closed.pop() {
            Some(column) if closed.len() + 1 == self.vault.columns().len() => {
                Err(SqlError::LegacyClosed { column })
            }
            _ => Ok(report),
        }
    }

    /// Opens every value of every column and reports those that do not open: after a restore, say. Writes nothing.
    ///
    /// # Errors
    ///
    /// Of the database.
    pub async fn verify(
        &self,
        now: SystemTime,
        mut progress: impl FnMut(&Progress),
    ) -> Result<SweepReport, SqlError> {
        self.vault.refresh().await?;
        let mut report = SweepReport::default();
        let config = SweepConfig {
            effect: Effect::DryRun,
            ..self.config
        };
        let dry = Self {
            vault: self.vault,
            config,
        };
        for column in self.vault.columns().iter() {
            let rows = rows::count_all(self.vault.db(), column).await?;
            let pass = Pass {
                column,
                sweep: "",
                number: None,
                prefix: None,
                legacy: None,
                rows,
            };
            report.add(dry.pass(&pass, now, &mut progress).await?);
        }
        Ok(report)
    }

    /// Goes through a column until nothing is left but what does not open.
    async fn passes(
        &self,
        pass: &Pass<'_>,
        now: SystemTime,
        progress: &mut impl FnMut(&Progress),
    ) -> Result<SweepReport, SqlError> {
        let (db, column) = (self.vault.db(), pass.column);
        let mut report = SweepReport::default();
        for round in 0..PASSES {
            let one = self.pass(pass, now, progress).await?;
            let moved = one.moved;
            // Each pass finds what does not open again.
            (report.poison, report.poison_rows) = (0, Vec::new());
            report.add(one);
            if self.config.effect == Effect::DryRun {
                break;
            }
            let left = match &pass.prefix {
                Some(prefix) => rows::count(db, column, prefix).await?,
                None => self.unsealed(column).await?,
            };
            let finished_at = (pass.legacy.is_some() && left == 0).then(|| unix_seconds(now));
            rows::end_pass(db, column, pass.sweep, finished_at).await?;
            // The first round may have gone on where another one was stopped.
            if left <= rows::count_poison(db, column, pass.sweep).await? || (moved == 0 && round > 0) {
                break;
            }
        }
        Ok(report)
    }

    /// Values of a column that name no key of this vault.
    async fn unsealed(&self, column: &SealedColumn) -> Result<u64, SqlError> {
        let (db, purpose) = (self.vault.db(), &self.vault.vault().config().purpose);
        let known: u64 = rows::count_by_key(db, column, purpose)
            .await?
            .iter()
            .map(|(_, rows)| rows)
            .sum();
        Ok(rows::count_all(db, column).await?.saturating_sub(known))
    }

    /// Goes through a column once.
    async fn pass(
        &self,
        pass: &Pass<'_>,
        now: SystemTime,
        progress: &mut impl FnMut(&Progress),
    ) -> Result<SweepReport, SqlError> {
        let db = self.vault.db();
        let writes = self.config.effect == Effect::Write;
        let started = Instant::now();
        let mut report = SweepReport::default();
        let mut position = None;
        if writes {
            position = rows::position(db, pass.column, pass.sweep).await?;
            if position.is_none() {
                rows::clear_poison(db, pass.column, pass.sweep).await?;
            }
        }
        loop {
            let (rows, bytes) = (self.config.batch_rows.max(1), self.config.batch_bytes);
            let prefix = pass.prefix.as_deref();
            let batch = rows::read(db, pass.column, prefix, position.as_deref(), rows, bytes).await?;
            let Some(last) = batch.last().map(|row| row.key.clone()) else {
                return Ok(report);
            };
            let read = batch.len() as u64;
            let done = self.reseal(pass, Arc::new(batch), now).await?;
            let wrote = Instant::now();
            let moved = if writes {
                self.write(pass, &done, &last).await?
            } else {
                done.changes.len() as u64
            };
            let took = wrote.elapsed();
            position = Some(last);
            report.looked_at += read;
            report.moved += moved;
            report.passed_over += (done.changes.len() as u64).saturating_sub(moved);
            report.poison += done.poison.len() as u64;
            let room = NAMED_ROWS.saturating_sub(report.poison_rows.len());
            report
                .poison_rows
                .extend(done.poison.into_iter().take(room).map(|(key, reason)| PoisonRow {
                    column: pass.column.name(),
                    row: rows::key_text(&key),
                    reason,
                }));
            progress(&Progress {
                column: pass.column.name(),
                key: pass.number,
                rows: pass.rows,
                looked_at: report.looked_at,
            });
            // SQLite's waiting writers are not served in turn: leave them as much time as was taken.
            if took >= BUSY {
                sleep(took).await;
            }
            if let Some(rate) = self.config.max_rows_per_second {
                sleep_until(started + pace(report.looked_at, rate)).await;
            }
        }
    }

    /// Writes a batch, and tries again where the service kept the database for itself.
    async fn write(&self, pass: &Pass<'_>, done: &Resealed, last: &[Value]) -> Result<u64, SqlError> {
        let mut waits = WAITS.into_iter();
        loop {
            let db = self.vault.db();
            let written = rows::write(db, pass.column, pass.sweep, &done.changes, &done.poison, last).await;
            match (written, waits.next()) {
                (Err(error), Some(wait)) if error.is_transient() => sleep(wait).await,
                (written, _) => return written,
            }
        }
    }

    /// Opens and seals a batch; makes keys for tenants who have none yet.
    async fn reseal(
        &self,
        pass: &Pass<'_>,
        batch: Arc<Vec<Found>>,
        now: SystemTime,
    ) -> Result<Resealed, SqlError> {
        loop {
            let (vault, column) = (self.vault.vault().clone(), pass.column.clone());
            let (batch, legacy, effect) = (batch.clone(), pass.legacy.clone(), self.config.effect);
            let done = blocking(move || {
                Ok::<_, SqlError>(reseal(&vault, &column, legacy.as_deref(), &batch, effect))
            });
            match done.await? {
                Ok(done) => return Ok(done),
                Err((VaultError::NoTenantKey, Some(tenant))) => {
                    self.vault.ensure_tenant(&tenant, now).await?
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
    }
}

#[derive(Default)]
struct Resealed {
    changes: Vec<Change>,
    poison: Vec<(Vec<Value>, String)>,
}

/// Opens and seals a batch. An error means that sealing failed, for the tenant that is given.
fn reseal(
    vault: &Vault,
    column: &SealedColumn,
    legacy: Option<&LocalKek>,
    batch: &[Found],
    effect: Effect,
) -> Result<Resealed, (VaultError, Option<String>)> {
    let mut done = Resealed::default();
    for found in batch {
        if legacy.is_some() && vault.names_key(&found.sealed) {
            continue;
        }
        let Some(context) = column.place(&found.row) else {
            done.poison.push((
                found.key.clone(),
                "its columns do not say where it belongs".to_owned(),
            ));
            continue;
        };
        let opened = match legacy {
            Some(kek) => kek.insecure_open_legacy(&found.sealed),
            None => vault.open_value(&context, &found.sealed),
        };
        match opened {
            Ok(value) => {
                let new = match effect {
                    Effect::DryRun => String::new(),
                    Effect::Write => vault
                        .seal(&context, &value)
                        .map_err(|error| (error, context.tenant_name().map(str::to_owned)))?,
                };
                done.changes.push(Change {
                    key: found.key.clone(),
                    old: found.sealed.clone(),
                    new,
                });
            }
            Err(error) => done.poison.push((found.key.clone(), error.to_string())),
        }
    }
    Ok(done)
}

/// How long this many rows take at this rate.
fn pace(rows: u64, per_second: NonZeroU32) -> Duration {
    let rate = u64::from(per_second.get());
    Duration::from_secs(rows / rate) + Duration::from_nanos(rows % rate * 1_000_000_000 / rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_kept_over_any_number_of_rows() {
        let rate = NonZeroU32::new(2_000).expect("not zero");
        assert_eq!(pace(0, rate), Duration::ZERO);
        assert_eq!(pace(200, rate), Duration::from_millis(100));
        assert_eq!(pace(200_000_000_001, rate), Duration::new(100_000_000, 500_000));
        assert_eq!(
            pace(u64::MAX, NonZeroU32::MAX),
            Duration::from_secs(4_294_967_297)
        );
    }
}
