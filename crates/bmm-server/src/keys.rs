//! The vault of a data directory and the file of its key-encryption key.
//!
//! A change of that key passes through three states, each of which a start understands: `kek.next` is written; the keys in the
//! database are wrapped with it; it takes the place of `kek`, which stays behind under its own name for the sake of older
//! backups.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use bmm_oauth::Timestamp;
use bmm_vault::{Kek as _, LocalKek, SealedColumn, SqlConfig, SqlError, SqlVault, VaultDb, VaultError};

use crate::wall_clock::wall;

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
