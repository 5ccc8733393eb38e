//! `bmm backup FILE`: a copy of the database, wrapped keys included, without what unwraps them.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use crate::cli::BackupArgs;
use crate::data_dir::{DataDir, default_path};
use crate::storage::Storage;

pub(crate) async fn backup(args: BackupArgs) -> anyhow::Result<ExitCode> {
    let path = args.data_dir.data_dir.map_or_else(default_path, Ok)?;
    let visit = DataDir::visit(&path)?;
    let file = std::path::absolute(&args.file).context("the file to write")?;
    if file.exists() {
        bail!("{} exists; nothing was written", file.display());
    }
    // A vault that does not open would make a backup that does not either.
    let storage = Storage::visit(&visit).await?;
    storage.vault.refresh().await?;

    let draft = file.with_file_name(format!(".bmm-backup-{}", std::process::id()));
    let draft_text = draft.to_str().context("the file's path is not UTF-8")?;
    let written = storage.db.copy_to(draft_text).await;
    let kek = storage.vault.kek_id().to_string();
    storage.close().await?;
    let published = written
        .map_err(anyhow::Error::new)
        .and_then(|()| Ok(publish(&draft, &file)?));
    let removed = fs::remove_file(&draft);
    published.with_context(|| format!("cannot write {}", file.display()))?;
    removed.with_context(|| format!("cannot remove {}", draft.display()))?;

    println!(
        "{} holds everything but the key-encryption key (id {}), without which nobody can read its secrets. Keep a copy of {} \
         apart from it; `bmm restore` takes both.",
        file.display(),
        kek.get(..8).unwrap_or(&kek),
        visit.kek().display(),
    );
    Ok(ExitCode::SUCCESS)
}

/// Gives the finished file its name. A hard link fails if the name is taken meanwhile.
fn publish(draft: &Path, file: &Path) -> io::Result<()> {
    File::open(draft)?.sync_all()?;
    fs::hard_link(draft, file)?;
    File::open(file.parent().unwrap_or(Path::new("/")))?.sync_all()
}
