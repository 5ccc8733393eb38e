//! A vault whose keys are rows of a database that several replicas share.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::column::SealedColumn;
use super::database::VaultDb;
use super::error::SqlError;
use super::{keys, rows};
use crate::context::Context;
use crate::error::VaultError;
use crate::kek::{Kek, KekId, LocalKek};
use crate::key::KeyId;
use crate::rotation::RotationPolicy;
use crate::sealed::Sealed;
use crate::vault::{Vault, VaultConfig};
use crate::wrapped::{KeyState, WrappedKey, WrappedKeys, unix_seconds};

/// How soon the database is asked again for a key that it did not have.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How many such keys are remembered.
const UNKNOWN_KEYS: usize = 64;
/// How often a change of keys is tried again when others change them too.
const ATTEMPTS: usize = 10;

/// A [`Vault`] whose wrapped keys are rows of a database, shared by every replica of the service.
///
/// Each replica calls [`refresh`](Self::refresh) (or [`maintain`](Self::maintain)) more often than
/// [`RotationPolicy::propagation`].
pub struct SqlVault {
    db: VaultDb,
    vault: Arc<Vault>,
    kek: RwLock<Arc<dyn Kek>>,
    rotation: RotationPolicy,
    columns: Arc<[SealedColumn]>,
    unknown: Mutex<HashMap<KeyId, Instant>>,
    /// Whoever has read the keys first is to take them over first.
    refreshing: Mutex<()>,
}

/// How a [`SqlVault`] works.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SqlConfig {
    /// What the vault is for, who shares a key, and how much one may seal.
    pub vault: VaultConfig,
    /// How long the steps of a rotation wait for each other.
    pub rotation: RotationPolicy,
}

impl SqlVault {
    /// Opens the vault, or makes its first key where nothing is sealed yet. `columns` are all the columns that hold values
    /// sealed with it; the tables must exist.
    ///
    /// # Errors
    ///
    /// [`SqlError::KeysMissing`] if there are sealed values, but no keys; as [`Vault::open`] if the keys do not open. The
    /// host must not serve then.
    pub async fn open(
        db: VaultDb,
        kek: Arc<dyn Kek>,
        config: SqlConfig,
        columns: Vec<SealedColumn>,
        now: SystemTime,
    ) -> Result<Self, SqlError> {
        for column in &columns {
            rows::create_index(&db, column).await?;
        }
        let purpose = config.vault.purpose.clone();
        let mut stored = keys::load(&db, &purpose).await?;
        if stored.is_none() {
            if let Some(column) = sealed_column(&db, &columns).await? {
                return Err(SqlError::KeysMissing { column });
            }
            let kek = kek.clone();
            let first = blocking(move || WrappedKeys::create(&*kek, &purpose, now)).await?;
            // Somebody who was faster has made them just as well.
            keys::replace(&db, None, &first, None).await?;
            stored = keys::load(&db, &config.vault.purpose).await?;
        }
        let stored = stored.ok_or(SqlError::Damaged("the keys vanished"))?;
        let vault = {
            let kek = kek.clone();
            blocking(move || Vault::open_with(&*kek, stored, config.vault)).await?
        };
        Ok(Self {
            db,
            vault: Arc::new(vault),
            kek: RwLock::new(kek),
            rotation: config.rotation,
            columns: columns.into(),
            unknown: Mutex::default(),
            refreshing: Mutex::new(()),
        })
    }

    /// Opens the vault with a key file, which is made (0600) where there are neither keys nor sealed values.
    ///
    /// # Errors
    ///
    /// [`SqlError::KekMissing`] if the file is missing and something is sealed; else as [`open`](Self::open).
    pub async fn open_local(
        db: VaultDb,
        kek: &Path,
        config: SqlConfig,
        columns: Vec<SealedColumn>,
        now: SystemTime,
    ) -> Result<Self, SqlError> {
        let kek = match LocalKek::load(kek) {
            Err(VaultError::KeyFileIo { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                let sealed = keys::load(&db, &config.vault.purpose).await?.is_some();
                if sealed || sealed_column(&db, &columns).await?.is_some() {
                    return Err(SqlError::KekMissing {
                        path: kek.display().to_string(),
                    });
                }
                match LocalKek::create(kek) {
                    // Another replica has made it meanwhile.
                    Err(VaultError::KeyFileIo { source, .. })
                        if source.kind() == std::io::ErrorKind::AlreadyExists =>
                    {
                        LocalKek::load(kek)?
                    }
                    made => made?,
                }
            }
            loaded => loaded?,
        };
        Self::open(db, Arc::new(kek), config, columns, now).await
    }

    /// The vault itself, for those who seal and open without waiting. It follows every refresh.
    pub fn vault(&self) -> &Arc<Vault> {
        &self.vault
    }

    /// Seals a value; a tenant's first value makes its key, where each has its own.
    ///
    /// # Errors
    ///
    /// As [`Vault::seal`], and of the database.
    pub async fn seal(&self, context: &Context, value: &[u8], now: SystemTime) -> Result<String, SqlError> {
        match (self.vault.seal(context, value), context.tenant_name()) {
            (Err(VaultError::NoTenantKey), Some(tenant)) => {
                self.ensure_tenant(tenant, now).await?;
                Ok(self.vault.seal(context, value)?)
            }
            (sealed, _) => Ok(sealed?),
        }
    }

    /// Opens a value; if its key is unknown, after asking the database for new keys (at most once a second for each key
    /// that it does not have).
    ///
    /// # Errors
    ///
    /// As [`Vault::open_value`], and of the database.
    pub async fn open_value(&self, context: &Context, sealed: &str) -> Result<Zeroizing<Vec<u8>>, SqlError> {
        match self.vault.open_value(context, sealed) {
            Err(VaultError::UnknownKey) => {}
            opened => return Ok(opened?),
        }
        let key = *Sealed::parse(sealed)?.key_id();
        // One asks, the others wait for the answer.
        let mut unknown = self.unknown.lock().await;
        let opened = self.vault.open_value(context, sealed);
        let asked_before = unknown.get(&key).is_some_and(|asked| asked.elapsed() < ASK_AGAIN);
        if !matches!(opened, Err(VaultError::UnknownKey)) || asked_before {
            return Ok(opened?);
        }
        self.refresh().await?;
        let opened = self.vault.open_value(context, sealed);
        if matches!(opened, Err(VaultError::UnknownKey)) {
            unknown.retain(|_, asked| asked.elapsed() < ASK_AGAIN);
            if unknown.len() >= UNKNOWN_KEYS {
                unknown.clear();
            }
            unknown.insert(key, Instant::now());
        }
        Ok(opened?)
    }

    /// Stores what was sealed since the last time, and takes over the keys as they are in the database.
    ///
    /// # Errors
    ///
    /// Of the database, or as [`Vault::reload`]; the vault goes on with the keys it has.
    pub async fn refresh(&self) -> Result<(), SqlError> {
        let usage = self.vault.drain_usage();
        if !usage.is_empty() {
            let fresh = usage.iter().map(|(id, _, fresh)| (id.as_str(), *fresh));
            if let Err(error) = keys::add_usage(&self.db, fresh).await {
                usage.iter().for_each(|(_, usage, fresh)| usage.give_back(*fresh));
                return Err(error);
            }
        }
        let _turn = self.refreshing.lock().await;
        let stored = self.load().await?;
        let (vault, kek) = (self.vault.clone(), self.kek());
        blocking(move || vault.reload(&*kek, stored)).await
    }

    /// Makes the next shared key, or the next one of a tenant, and gives its id. Replicas load it at their next refresh.
    ///
    /// # Errors
    ///
    /// As [`WrappedKeys::stage`], and of the database.
    pub async fn stage(&self, tenant: Option<&str>, now: SystemTime) -> Result<String, SqlError> {
        let tenant = tenant.map(str::to_owned);
        self.change(None, move |keys, kek| {
            Ok(keys.stage(kek, tenant.as_deref(), now)?)
        })
        .await
    }

    /// Lets a staged key seal from now on.
    ///
    /// # Errors
    ///
    /// [`SqlError::TooEarly`] before [`RotationPolicy::propagation`] is over; as [`WrappedKeys::promote`].
    pub async fn promote(&self, id: &str, now: SystemTime) -> Result<(), SqlError> {
        let (id, wait) = (id.to_owned(), self.rotation.propagation);
        self.change(None, move |keys, _| {
            if let Some(key) = keys.get(&id).filter(|key| key.state == KeyState::Staged) {
                // Nobody holds values of a tenant without an active key; there is nothing to wait for.
                if keys.active(key.tenant.as_deref()).is_some() {
                    not_before(Some(key.staged_at), wait, now)?;
                }
            }
            Ok(keys.promote(&id, now)?)
        })
        .await
    }

    /// Puts a retiring key aside. The first call that finds it empty notes that; one that comes
    /// [`RotationPolicy::drain`] later retires it.
    ///
    /// # Errors
    ///
    /// [`SqlError::StillUsed`]; [`SqlError::TooEarly`] before [`RotationPolicy::grace`] and then
    /// [`RotationPolicy::drain`] are over; as [`WrappedKeys::retire`].
    pub async fn retire(&self, id: &str, now: SystemTime) -> Result<(), SqlError> {
        let (key, wait) = (id.to_owned(), self.rotation);
        let step = move |keys: &mut WrappedKeys, _: &dyn Kek| {
            if let Some(found) = keys.get(&key).filter(|key| key.state == KeyState::Retiring) {
                not_before(found.replaced_at, wait.grace, now)?;
            }
            keys.note_values(&key, 0, now)?;
            let emptied_at = keys.get(&key).and_then(|key| key.emptied_at);
            if let Err(too_early) = not_before(emptied_at, wait.drain, now) {
                return Ok(Err(too_early));
            }
            Ok(Ok(keys.retire(&key, now)?))
        };
        match self.change(Some(id), step).await {
            Err(SqlError::StillUsed { rows }) => {
                let id = id.to_owned();
                self.change(None, move |keys, _| Ok(keys.note_values(&id, rows, now)?))
                    .await?;
                Err(SqlError::StillUsed { rows })
            }
            done => done?,
        }
    }

    /// Takes a retired key back into use for opening, after older rows were restored.
    ///
    /// # Errors
    ///
    /// As [`WrappedKeys::reinstate`], and of the database.
    pub async fn reinstate(&self, id: &str) -> Result<(), SqlError> {
        let id = id.to_owned();
        self.change(None, move |keys, _| Ok(keys.reinstate(&id)?)).await
    }

    /// Forgets a retired key: backups with values of it cannot be opened after this.
    ///
    /// # Errors
    ///
    /// [`SqlError::StillUsed`]; as [`WrappedKeys::destroy`].
    pub async fn destroy(&self, id: &str) -> Result<(), SqlError> {
        let key = id.to_owned();
        self.change(Some(id), move |keys, _| Ok(keys.destroy(&key)?))
            .await
    }

    /// Wraps every key under another KEK, in one transaction, and gives how many. No value is touched, and replicas go on
    /// with the keys they hold; until they are given the new KEK ([`use_kek`](Self::use_kek)) they make no new ones.
    ///
    /// # Errors
    ///
    /// As [`WrappedKeys::rewrap`], and of the database; nothing has changed then.
    pub async fn rewrap(&self, to: Arc<dyn Kek>) -> Result<usize, SqlError> {
        let new = to.clone();
        let count = self
            .change(None, move |keys, from| Ok(keys.rewrap(from, &*new)?))
            .await?;
        *self.kek.write().unwrap_or_else(PoisonError::into_inner) = to;
        Ok(count)
    }

    /// The KEK that this replica unwraps and wraps with.
    pub fn kek_id(&self) -> KekId {
        self.kek().id()
    }

    /// Takes over the KEK that another replica's [`rewrap`](Self::rewrap) has wrapped every key with.
    ///
    /// # Errors
    ///
    /// As [`Vault::open`], and of the database; this replica goes on with the KEK it has.
    pub async fn use_kek(&self, kek: Arc<dyn Kek>) -> Result<(), SqlError> {
        let (stored, config, new) = (self.load().await?, self.vault.config().clone(), kek.clone());
        blocking(move || Vault::open_with(&*new, stored, config)).await?;
        *self.kek.write().unwrap_or_else(PoisonError::into_inner) = kek;
        Ok(())
    }

    /// Makes a tenant's first key, if it has none.
    ///
    /// # Errors
    ///
    /// As [`WrappedKeys::stage`], and of the database.
    pub async fn ensure_tenant(&self, tenant: &str, now: SystemTime) -> Result<(), SqlError> {
        let tenant = tenant.to_owned();
        self.change(None, move |keys, kek| {
            if keys.active(Some(&tenant)).is_none() {
                let id = keys.stage(kek, Some(&tenant), now)?;
                keys.promote(&id, now)?;
            }
            Ok(())
        })
        .await
    }

    pub(super) fn db(&self) -> &VaultDb {
        &self.db
    }

    pub(super) fn columns(&self) -> &Arc<[SealedColumn]> {
        &self.columns
    }

    pub(super) fn rotation(&self) -> &RotationPolicy {
        &self.rotation
    }

    /// The retiring keys.
    pub(super) fn retiring(&self) -> Vec<WrappedKey> {
        let keys = self.vault.wrapped().keys;
        keys.into_iter()
            .filter(|key| key.state == KeyState::Retiring)
            .collect()
    }

    async fn load(&self) -> Result<WrappedKeys, SqlError> {
        let stored = keys::load(&self.db, &self.vault.config().purpose).await?;
        stored.ok_or(SqlError::Damaged("the keys vanished"))
    }

    /// Does a step on the keys as they are in the database, and takes over the result. The step may be done again if
    /// somebody else changes the keys at the same time; the KEK is never waited for within a transaction.
    async fn change<T: Send + 'static>(
        &self,
        unused: Option<&str>,
        step: impl Fn(&mut WrappedKeys, &dyn Kek) -> Result<T, SqlError> + Send + Sync + 'static,
    ) -> Result<T, SqlError> {
        let step = Arc::new(step);
        for _ in 0..ATTEMPTS {
            let before = self.load().await?;
            let (kek, step, mut after) = (self.kek(), step.clone(), before.clone());
            let (after, done) = blocking(move || {
                let done = step(&mut after, &*kek)?;
                Ok::<_, SqlError>((after, done))
            })
            .await?;
            let unused = unused.map(|id| (id, &*self.columns));
            if keys::replace(&self.db, Some(&before), &after, unused).await? {
                self.refresh().await?;
                return Ok(done);
            }
        }
        Err(SqlError::Busy)
    }

    fn kek(&self) -> Arc<dyn Kek> {
        self.kek.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for SqlVault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlVault")
            .field("vault", &self.vault)
            .field("columns", &self.columns)
            .finish_non_exhaustive()
    }
}

/// The first column that holds a sealed value.
async fn sealed_column(db: &VaultDb, columns: &[SealedColumn]) -> Result<Option<String>, SqlError> {
    for column in columns {
        if rows::holds_sealed(db, column).await? {
            return Ok(Some(column.name()));
        }
    }
    Ok(None)
}

fn not_before(since: Option<u64>, wait: Duration, now: SystemTime) -> Result<(), SqlError> {
    let from = since.unwrap_or_default().saturating_add(wait.as_secs());
    match from.saturating_sub(unix_seconds(now)) {
        0 => Ok(()),
        seconds => Err(SqlError::TooEarly { seconds }),
    }
}

/// Runs what computes or waits for a token away from the runtime's threads.
pub(super) async fn blocking<T: Send + 'static, E: Into<SqlError> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, SqlError> {
    match spawn_blocking(work).await {
        Ok(done) => done.map_err(Into::into),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => Err(SqlError::Database(Box::new(error))),
        },
    }
}
