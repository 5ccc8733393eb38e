//! `bmm run FILE`: one spec by itself, on stdio or on a loopback address, without sign-in.

use std::process::ExitCode;
use std::time::Duration;

use bmm_cage::Launcher;
use bmm_net::Dialer;
use bmm_runner::engine::{CagedEngine, engine_limits};
use bmm_runner::{Connector, Runner, Secrets};

use crate::cli::RunArgs;
use crate::commands::{secrets_file, spec_file, up};

const DRAIN: Duration = Duration::from_secs(5);

pub(crate) async fn run(args: RunArgs, launcher: Launcher) -> anyhow::Result<ExitCode> {
    let bytes = spec_file::read(&args.file)?;
    let spec = match bmm_spec::admit(&bytes).and_then(|(valid, _report)| valid.compile()) {
        Ok(spec) => spec,
        Err(problems) => {
            eprintln!("{problems}");
            return Ok(ExitCode::FAILURE);
        }
    };
    let secrets = match &args.secrets {
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
    let engine = CagedEngine::new(&launcher, &spec, engine_limits(&spec))?;
    let runner = Runner::new(spec, engine)?
        .with_connector(Connector::direct(Dialer::new()))
        .with_secrets(secrets);
    match args.http {
        None => bmm_runner::run::stdio(runner).await?,
        Some(address) => {
            let server = bmm_runner::run::loopback(address).await?;
            eprintln!("{}", server.url());
            server.serve(runner, up::stop_signal()?, DRAIN).await;
        }
    }
    Ok(ExitCode::SUCCESS)
}
