//! `bmm keys status|rotate|rewrap`.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};
use std::process::ExitCode;

use bmm_oauth::{Clock as _, SystemClock};
use bmm_vault::{SqlVault, Status, SweepConfig, Sweeper};

use crate::cli::{DataDirArg, KeysCommand};
use crate::commands::progress::Progress;
use crate::data_dir::{DataDir, Visit, default_path};
use crate::keys;
use crate::storage::Storage;
use crate::wall_clock::wall;

pub(crate) async fn keys(command: KeysCommand) -> anyhow::Result<ExitCode> {
    match command {
        KeysCommand::Status(args) => status(args.data_dir, args.json).await,
        KeysCommand::Rotate(args) => rotate(args.data_dir).await,
        KeysCommand::Rewrap(args) => rewrap(args.data_dir).await,
    }
}

async fn status(data_dir: DataDirArg, json: bool) -> anyhow::Result<ExitCode> {
    let (_visit, storage) = open(data_dir).await?;
    let status = storage.vault.status().await?;
    let kek = storage.vault.kek_id().to_string();
    storage.close().await?;
    if json {
        println!("{}", serde_json::to_string(&status)?);
    } else {
        print!("{}", describe(&status, &kek));
    }
    Ok(ExitCode::SUCCESS)
}

/// The status for people.
fn describe(status: &Status, kek: &str) -> String {
    let mut text = format!("key-encryption key {}\n", kek.get(..8).unwrap_or(kek));
    for key in &status.keys {
        let _ = writeln!(
            text,
            "key {:<4} {:<9} {} sealed in all, {} stored now",
            key.number,
            key.state.as_str(),
            key.values,
            key.rows
        );
    }
    for column in &status.columns {
        let _ = writeln!(
            text,
            "{:<28} {} stored, {} to seal anew",
            column.column,
            column.rows,
            column.to_migrate + column.unsealed
        );
    }
    for row in &status.poison {
        let _ = writeln!(text, "{} {} does not open: {}", row.column, row.row, row.reason);
    }
    text
}

async fn rotate(data_dir: DataDirArg) -> anyhow::Result<ExitCode> {
    let (visit, storage) = open(data_dir).await?;
    let now = wall(SystemClock.now());
    let id = storage.vault.stage(None, now).await?;
    let number = number(&storage.vault, &id);
    if visit.is_served() {
        println!(
            "key {number} is made; the bmm that is running seals with it in about two minutes and then seals every value anew. \
             `bmm keys status` shows how far it is."
        );
    } else {
        // Nobody else holds keys: every step can follow at once.
        storage.vault.promote(&id, now).await?;
        let progress = Progress::new("sealing anew", io::stderr().is_terminal());
        let sweep = SweepConfig {
            max_rows_per_second: None,
            ..SweepConfig::default()
        };
        let report = Sweeper::new(&storage.vault, sweep)
            .run(now, |step| progress.show(step))
            .await?;
        progress.end();
        for row in &report.poison_rows {
            eprintln!("bmm: {} {} does not open: {}", row.column, row.row, row.reason);
        }
        storage.vault.maintain(sweep, now).await?;
        println!(
            "key {number} seals from now on; {} values were sealed anew with it",
            report.moved
        );
    }
    storage.close().await?;
    Ok(ExitCode::SUCCESS)
}

async fn rewrap(data_dir: DataDirArg) -> anyhow::Result<ExitCode> {
    let (visit, storage) = open(data_dir).await?;
    let (count, old) = keys::rewrap(&storage.vault, &visit.kek()).await?;
    storage.close().await?;
    println!(
        "{count} keys are wrapped with a new key-encryption key, {}. The old one is kept as {}: backups made before now \
         open with that one only. Delete it when you keep none of them.",
        visit.kek().display(),
        old.display()
    );
    Ok(ExitCode::SUCCESS)
}

async fn open(data_dir: DataDirArg) -> anyhow::Result<(Visit, Storage)> {
    let path = data_dir.data_dir.map_or_else(default_path, Ok)?;
    let visit = DataDir::visit(&path)?;
    let storage = Storage::visit(&visit).await?;
    Ok((visit, storage))
}

fn number(vault: &SqlVault, id: &str) -> u64 {
    vault.vault().wrapped().get(id).map_or(0, |key| key.number)
}
