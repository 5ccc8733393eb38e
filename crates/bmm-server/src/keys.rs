//! The vault of a data directory and the file of its key-encryption key.
//!
//! A change of that key passes through three states, each of which a start understands: `kek.next` is written; the keys in the
//! database are wrapped with it; it takes the place of `kek`, which stays behind under its own name for the sake of older
//! backups.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use bmm_oauth::{Clock, Timestamp};
use bmm_vault::{
    Kek as _, LocalKek, SealedColumn, SqlConfig, SqlError, SqlVault, SweepConfig, VaultDb, VaultError,
};

/// How often a server looks after its keys: well within the two minutes between a key's making and its use.
const KEEP_EVERY: Duration = Duration::from_secs(20);

/// Opens the vault, or makes it where nothing is sealed yet. `kek` is the key file.
pub(crate) async fn open_vault(
    db: &VaultDb,
    kek: &Path,
    config: SqlConfig,
    columns: Vec<SealedColumn>,
    now: Timestamp,
) -> anyhow::Result<SqlVault> {
    let open = |kek: PathBuf| {
        let (db, config, columns) = (db.clone(), config.clone(), columns.clone());
        async move { SqlVault::open_local(db, &kek, config, columns, wall(now)).await }
    };
    let next = next(kek);
    match open(kek.to_owned()).await {
        // A change of the key that was stopped after the database and before the file.
        Err(SqlError::Vault(VaultError::WrongKek)) if next.exists() => {
            let vault = open(next).await?;
            take_over(kek)?;
            Ok(vault)
        }
        opened => Ok(opened?),
    }
}

/// Wraps all keys with a fresh key-encryption key, which takes the place of the old one. Gives how many keys that were, and
/// where the old one is kept.
pub(crate) async fn rewrap(vault: &SqlVault, kek: &Path) -> anyhow::Result<(usize, PathBuf)> {
    let next = next(kek);
    // One that is there was never used: else opening the vault would have taken it over.
    let fresh = if next.exists() {
        LocalKek::load(&next)?
    } else {
        LocalKek::create(&next)?
    };
    let count = vault.rewrap(Arc::new(fresh)).await?;
    Ok((count, take_over(kek)?))
}

/// Looks after the keys for as long as the server runs: takes every step of a rotation when it is due, and takes over a
/// changed key-encryption key. Never returns.
pub(crate) async fn keep(vault: Arc<SqlVault>, kek: PathBuf, clock: Arc<dyn Clock>) {
    let mut ticks = tokio::time::interval(KEEP_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = keep_once(&vault, &kek, clock.now()).await {
            tracing::error!(error = format!("{error:#}"), "the keys could not be looked after");
        }
    }
}

async fn keep_once(vault: &SqlVault, kek: &Path, now: Timestamp) -> anyhow::Result<()> {
    match LocalKek::load(kek) {
        Ok(on_disk) if on_disk.id() != vault.kek_id() => {
            vault.use_kek(Arc::new(on_disk)).await?;
            tracing::info!("the key-encryption key was changed");
        }
        Ok(_) => {}
        // What was loaded goes on; who is told now can still put it back.
        Err(error) => tracing::warn!(%error, "the key file cannot be used; the next start will need it"),
    }
    let done = vault.maintain(SweepConfig::default(), wall(now)).await?;
    for step in done.steps {
        tracing::info!(?step, "a step of the rotation of keys");
    }
    if done.sweep.moved > 0 {
        tracing::info!(values = done.sweep.moved, "sealed anew with the present key");
    }
    for row in done.sweep.poison_rows {
        tracing::warn!(row.column, row.row, row.reason, "a sealed value does not open");
    }
    Ok(())
}

/// The time as the vault takes it.
pub(crate) fn wall(now: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(now.as_secs())
}

fn next(kek: &Path) -> PathBuf {
    kek.with_extension("next")
}

/// Puts `kek.next` in the place of `kek`. There is a `kek` at every moment.
fn take_over(kek: &Path) -> anyhow::Result<PathBuf> {
    let old = LocalKek::load(kek)?.id().to_string();
    let old = kek.with_file_name(format!("kek-{}", old.get(..8).unwrap_or(&old)));
    let done = keep_under(kek, &old).and_then(|()| match fs::rename(next(kek), kek) {
        // Somebody else has done it just now.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    });
    done.and_then(|()| fs::File::open(kek.parent().unwrap_or(Path::new(".")))?.sync_all())
        .with_context(|| format!("cannot put the new key file in the place of {}", kek.display()))?;
    Ok(old)
}

fn keep_under(kek: &Path, name: &Path) -> io::Result<()> {
    match fs::hard_link(kek, name) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use bmm_oauth::ManualClock;
    use bmm_vault::{Context, KeyState};

    use super::*;
    use crate::db::{Db, LOCAL_ORGANISATION, NewServer};
    use crate::secrets::sealed_column;

    #[tokio::test]
    async fn a_staged_key_seals_everything_after_minutes_and_the_old_one_goes() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, kek) = (folder.path().join("bmm.db"), folder.path().join("kek"));
        let clock = ManualClock::new(Timestamp::from_secs(1_000_000));
        let db = Db::open(&file).await.expect("opens");
        let vault_db = VaultDb::open(&file).await.expect("opens");
        vault_db.migrate().await.expect("migrates");
        let columns = vec![sealed_column()];
        let vault = open_vault(&vault_db, &kek, SqlConfig::default(), columns, clock.now()).await;
        let vault = vault.expect("a vault");
        let server = NewServer {
            slug: "a".to_owned(),
            spec_digest: String::new(),
            source: Vec::new(),
            compiled: String::new(),
        };
        db.put_server(&server, 1, clock.now()).await.expect("puts");
        let place = Context::new("server_secrets")
            .tenant(LOCAL_ORGANISATION)
            .row("a")
            .name("ONE");
        let sealed = vault.vault().seal(&place, b"x").expect("seals");
        let put = db
            .put_secret("a", LOCAL_ORGANISATION, "ONE", &sealed, clock.now())
            .await;
        assert!(put.expect("puts"));

        vault.stage(None, wall(clock.now())).await.expect("stages");
        let mut seen = Vec::new();
        for _ in 0..60 {
            keep_once(&vault, &kek, clock.now()).await.expect("keeps");
            let states: Vec<_> = vault.vault().wrapped().keys.iter().map(|key| key.state).collect();
            if seen.last() != Some(&states) {
                seen.push(states);
            }
            let sealed = &db.secrets("a").await.expect("reads")[0].sealed;
            let opened = vault
                .open_value(&place, sealed)
                .await
                .expect("opens at every moment");
            assert_eq!(*opened, b"x");
            clock.advance(KEEP_EVERY);
        }
        use KeyState::{Active, Retired, Retiring, Staged};
        assert_eq!(seen, [[Active, Staged], [Retiring, Active], [Retired, Active]]);
        assert_ne!(db.secrets("a").await.expect("reads")[0].sealed, sealed);
    }
}
