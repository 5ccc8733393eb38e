//! `bmm run FILE`: one spec by itself, on stdio or on a loopback address, without sign-in; the file may change meanwhile.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use bmm_cage::Launcher;
use bmm_net::Dialer;
use bmm_runner::engine::{CagedEngine, engine_limits};
use bmm_runner::{Connector, Reloader, Runner, Secrets};

use crate::cli::RunArgs;
use crate::commands::{secrets_file, spec_file, up};

const DRAIN: Duration = Duration::from_secs(5);
/// How often the file is looked at. Polling works on every file system, and editors replace files in many ways.
const LOOK: Duration = Duration::from_millis(300);

pub(crate) async fn run(args: RunArgs, launcher: Launcher) -> anyhow::Result<ExitCode> {
    let author = Author { args, launcher };
    let seen = author.version();
    let Some(runner) = author.runner()? else {
        return Ok(ExitCode::FAILURE);
    };
    let http = author.args.http;
    let reloads = |reloader| author.watch(seen, reloader);
    match http {
        None => bmm_runner::run::stdio_with_reloads(runner, reloads).await?,
        Some(address) => {
            let server = bmm_runner::run::loopback(address).await?;
            eprintln!("{}", server.url());
            server
                .serve_with_reloads(runner, reloads, up::stop_signal()?, DRAIN)
                .await;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What tells one state of a file from another.
type Version = Option<(SystemTime, u64)>;

struct Author {
    args: RunArgs,
    launcher: Launcher,
}

impl Author {
    /// The spec as it is in the file now; `None` after its problems were told.
    fn runner(&self) -> anyhow::Result<Option<Runner>> {
        let bytes = spec_file::read(&self.args.file)?;
        let spec = match bmm_spec::admit(&bytes).and_then(|(valid, _report)| valid.compile()) {
            Ok(spec) => spec,
            Err(problems) => {
                eprintln!("{problems}");
                return Ok(None);
            }
        };
        let secrets = match &self.args.secrets {
            Some(path) => secrets_file::read(path, &spec)?,
            None => Secrets::new(),
        };
        for secret in &spec.required_secrets {
            if !secrets.names().any(|name| name == secret.name) {
                eprintln!(
                    "bmm: the secret {} is not set: give it with --secrets FILE",
                    secret.name
                );
            }
        }
        let mut limits = engine_limits(&spec);
        // Mostly nobody calls: one is ready, and calls at a time bring theirs.
        limits.warm_workers = 1;
        let engine = CagedEngine::new(&self.launcher, &spec, limits)?;
        let runner = Runner::new(spec, engine)?
            .with_connector(Connector::direct(Dialer::new()))
            .with_secrets(secrets);
        Ok(Some(runner))
    }

    fn version(&self) -> Version {
        let file = std::fs::metadata(&self.args.file).ok()?;
        Some((file.modified().ok()?, file.len()))
    }

    /// Serves what the file becomes. A file that is no spec changes nothing: the one before goes on being served.
    async fn watch(self, mut seen: Version, reloader: Reloader) {
        loop {
            tokio::time::sleep(LOOK).await;
            let now = self.version();
            if now.is_none() || now == seen {
                continue;
            }
            seen = now;
            match self.reload(&reloader).await {
                Ok(true) => eprintln!("bmm: reloaded {}", self.args.file.display()),
                Ok(false) => eprintln!("bmm: not reloaded, the server before it goes on"),
                Err(error) => eprintln!("bmm: not reloaded, the server before it goes on: {error:#}"),
            }
        }
    }

    async fn reload(&self, reloader: &Reloader) -> anyhow::Result<bool> {
        // Scanning and starting workers take milliseconds of a thread.
        let runner = tokio::task::block_in_place(|| self.runner()).context("cannot use the changed file")?;
        Ok(runner.map(|runner| reloader.replace(runner)).is_some())
    }
}
