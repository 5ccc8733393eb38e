//! `bmm restore FILE --kek KEYFILE`: a data directory from a backup.
//!
//! The directory must not hold a database. Everything is written and checked under another name first, so that a restore that
//! was stopped leaves a directory that the next one can use.

use std::fs::{self, OpenOptions};
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use bmm_oauth::{Clock as _, SystemClock};
use bmm_vault::{Kek as _, LocalKek, SweepConfig, Sweeper};
use zeroize::Zeroizing;

use crate::cli::RestoreArgs;
use crate::commands::progress::Progress;
use crate::data_dir::{DataDir, default_path};
use crate::db::{Db, DbError};
use crate::storage::Storage;
use crate::wall_clock::wall;

/// What every SQLite file begins with.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

pub(crate) async fn restore(args: RestoreArgs) -> anyhow::Result<ExitCode> {
    let kek = LocalKek::load(&args.kek)?;
    check_magic(&args.file).with_context(|| format!("{}", args.file.display()))?;

    let dir = DataDir::open(&args.data_dir.data_dir.map_or_else(default_path, Ok)?)?;
    if dir.database().exists() {
        bail!(
            "{} exists; restore into a new data directory",
            dir.database().display()
        );
    }
    if dir.kek().exists() && LocalKek::load(&dir.kek())?.id() != kek.id() {
        bail!("{} is another key; move it away first", dir.kek().display());
    }
    let draft = dir.database().with_extension("restoring");
    for suffix in ["", "-wal", "-shm"] {
        let mut leftover = draft.clone().into_os_string();
        leftover.push(suffix);
        match fs::remove_file(&leftover) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    fs::copy(&args.file, &draft).with_context(|| format!("cannot copy {}", args.file.display()))?;

    match Db::attach(&draft).await {
        Ok(db) => db.close().await,
        // Opening it brings it up to date, or says that it is newer.
        Err(DbError::OtherVersion) => {}
        Err(error) => return Err(anyhow::Error::new(error).context("this is not a backup of bmm")),
    }
    let storage = Storage::open(&draft, &args.kek).await?;
    storage.db.check().await?;
    let progress = Progress::new("checking sealed values", io::stderr().is_terminal());
    let report = Sweeper::new(&storage.vault, unhurried())
        .verify(wall(SystemClock.now()), |step| progress.show(step))
        .await?;
    progress.end();
    for row in &report.poison_rows {
        eprintln!("bmm: {} {}: {}; set it again", row.column, row.row, row.reason);
    }
    // What was revoked or signed out since the backup must not come back with it.
    storage.oauth.end_all_grants().await?;
    storage.db.sign_everybody_out().await?;
    storage.close().await?;

    if !dir.kek().exists() {
        copy_key(&args.kek, &dir.kek()).with_context(|| format!("cannot write {}", dir.kek().display()))?;
    }
    fs::File::open(&draft)?.sync_all()?;
    fs::rename(&draft, dir.database())?;
    fs::File::open(dir.database().parent().unwrap_or(Path::new(".")))?.sync_all()?;
    println!(
        "restored, {} sealed values checked, {} of them do not open; everybody has to sign in again",
        report.looked_at, report.poison
    );
    Ok(ExitCode::SUCCESS)
}

fn check_magic(file: &Path) -> anyhow::Result<()> {
    let mut start = [0; MAGIC.len()];
    let read = fs::File::open(file)?.read_exact(&mut start);
    match read {
        Ok(()) if start == *MAGIC => Ok(()),
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(error.into()),
        _ => bail!("this is not a backup of bmm"),
    }
}

fn copy_key(from: &Path, to: &Path) -> io::Result<()> {
    let key = Zeroizing::new(fs::read(from)?);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)?;
    file.write_all(&key)?;
    file.sync_all()
}

fn unhurried() -> SweepConfig {
    SweepConfig {
        max_rows_per_second: None,
        ..SweepConfig::default()
    }
}
