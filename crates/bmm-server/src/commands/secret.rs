//! `bmm secret SLUG NAME`: sets a secret of a stored server, whether `bmm up` runs or not.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use bmm_oauth::{Clock as _, SystemClock};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::cli::SecretArgs;
use crate::data_dir::{DataDir, default_path};
use crate::db::LOCAL_ORGANISATION;
use crate::secrets::{MAX_VALUE_BYTES, SecretStore, SecretValue};
use crate::storage::Storage;

pub(crate) async fn secret(args: SecretArgs) -> anyhow::Result<ExitCode> {
    let SecretArgs { slug, name, data_dir } = args;
    let path = data_dir.data_dir.map_or_else(default_path, Ok)?;
    let echo = io::stdin().is_terminal().then(NoEcho::begin).flatten();
    if echo.is_some() {
        eprintln!("Value of {name} (it is not shown):");
    }
    let value = tokio::select! {
        read = tokio::task::spawn_blocking(read_value) => read??,
        _ = tokio::signal::ctrl_c() => return Ok(ExitCode::FAILURE),
    };
    drop(echo);

    // Not before the value is there: a `bmm up` may want to start meanwhile.
    let visit = DataDir::visit(&path)?;
    let storage = Storage::visit(&visit).await?;
    let store = SecretStore::new(storage.db.clone(), Arc::clone(&storage.vault));
    store
        .set(LOCAL_ORGANISATION, &slug, &name, &value, SystemClock.now())
        .await?;
    storage.close().await?;
    let from_when = if visit.is_served() {
        "the bmm that is running takes it up within a few seconds"
    } else {
        "`bmm up` will use it"
    };
    println!("{name} of {slug} is set; {from_when}");
    Ok(ExitCode::SUCCESS)
}

/// Standard input without the newline at its end; one line of it if somebody types.
fn read_value() -> anyhow::Result<SecretValue> {
    let stdin = io::stdin().lock();
    let from_terminal = stdin.is_terminal();
    let mut input = stdin.take(MAX_VALUE_BYTES as u64 + 3);
    // As large as it can get from the start: growing would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_VALUE_BYTES + 3));
    if from_terminal {
        input.read_until(b'\n', &mut bytes)
    } else {
        input.read_to_end(&mut bytes)
    }
    .context("cannot read the value from standard input")?;
    let text = std::str::from_utf8(&bytes)
        .ok()
        .context("the value is not UTF-8 text")?;
    let text = text
        .strip_suffix('\n')
        .map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
    Ok(SecretValue::new(Zeroizing::new(text.to_owned()))?)
}

/// A terminal that does not show what is typed, until this is dropped.
struct NoEcho(Termios);

impl NoEcho {
    /// `None` where that cannot be.
    fn begin() -> Option<Self> {
        let before = tcgetattr(io::stdin()).ok()?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &silent).ok()?;
        Some(Self(before))
    }
}

impl Drop for NoEcho {
    fn drop(&mut self) {
        // A terminal that is gone needs no echo.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}
