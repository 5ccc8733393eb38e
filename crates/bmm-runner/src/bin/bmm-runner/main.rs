//! Runs one spec: on standard input and output for whoever started it, or over HTTP for whoever has a token of the issuer.
//! Launched by a host it is the role `runner`.

mod arguments;
mod issuer;

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::serve::ListenerExt as _;
use bmm_oauth::{JwksVerifier, RequireAuthLayer, RevocationFeed};
use bmm_runner::engine::{CagedEngine, engine_limits};
use bmm_runner::{Connector, Runner, Secrets, run};
use bmm_spec::CompiledSpec;
use tokio::signal::unix::{SignalKind, signal};
use zeroize::Zeroizing;

use crate::arguments::{Arguments, Http, USAGE};

const MAX_SECRETS_BYTES: u64 = 1024 * 1024;
/// As of a runner that a host has launched.
const DRAIN: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let launcher = bmm_runner::init();
    let arguments = match Arguments::parse(std::env::args_os().skip(1)) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            eprintln!("bmm-runner: {problem}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match serve(&launcher, arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bmm-runner: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(launcher: &bmm_cage::Launcher, arguments: Arguments) -> anyhow::Result<()> {
    let Arguments {
        file,
        secrets_fd,
        http,
    } = arguments;
    let bytes = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let spec = compiled(&bytes)?;
    let secrets = match secrets_fd {
        Some(descriptor) => read_secrets(descriptor, &spec)?,
        None => Secrets::new(),
    };
    for secret in &spec.required_secrets {
        if !secrets.names().any(|name| name == secret.name) {
            eprintln!(
                "bmm-runner: the secret {} is not set: give it with --secrets-fd N",
                secret.name
            );
        }
    }
    let engine = CagedEngine::new(launcher, &spec, engine_limits(&spec))?;
    let runner = Runner::new(spec, engine)?
        .with_secrets(secrets)
        .with_connector(Connector::direct(bmm_net::Dialer::new()));
    tokio::runtime::Runtime::new()?.block_on(async {
        match http {
            None => Ok(run::stdio(runner).await?),
            Some(http) => serve_http(runner, http).await,
        }
    })
}

async fn serve_http(runner: Runner, http: Http) -> anyhow::Result<()> {
    let Http {
        listen,
        public_url,
        issuer,
        jwks,
        revocations,
        scopes,
    } = http;
    let mut verifier = JwksVerifier::new(issuer.clone(), public_url.clone(), issuer::keys(jwks)?);
    if let Some(url) = revocations {
        let feed = RevocationFeed::new(issuer::revocations(url)?);
        tokio::spawn(feed.clone().follow());
        verifier = verifier.with_revocations(feed);
    }
    let guard = RequireAuthLayer::new(public_url.clone(), issuer, verifier).with_scopes(scopes.iter());
    let service = runner
        .with_public_url(&public_url)
        .with_auth(guard)
        .into_service();

    let listener = tokio::net::TcpListener::bind(listen)
        .await
        .with_context(|| format!("cannot listen on {listen}"))?;
    eprintln!("bmm-runner: {public_url} is served on {}", listener.local_addr()?);
    // Without Nagle's algorithm, which holds small answers back; it works with it, only later.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    if !service.serve(listener, stop, DRAIN).await {
        bail!("calls were still running when the time to drain was over");
    }
    Ok(())
}

/// A compiled spec has digests; anything else goes through the gate.
fn compiled(bytes: &[u8]) -> anyhow::Result<CompiledSpec> {
    if let Ok(spec) = serde_json::from_slice::<CompiledSpec>(bytes) {
        return Ok(spec);
    }
    let (spec, _report) = bmm_spec::admit(bytes)?;
    Ok(spec.compile()?)
}

/// `{"NAME": "value"}` from a pipe or a file that is open as this descriptor.
fn read_secrets(descriptor: u32, spec: &CompiledSpec) -> anyhow::Result<Secrets> {
    let shown = format!("file descriptor {descriptor}");
    // As large as it can get from the start: growing would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_SECRETS_BYTES as usize + 1));
    File::open(Path::new("/proc/self/fd").join(descriptor.to_string()))
        .and_then(|file| file.take(MAX_SECRETS_BYTES + 1).read_to_end(&mut bytes))
        .with_context(|| format!("cannot read {shown}"))?;
    if bytes.len() as u64 > MAX_SECRETS_BYTES {
        bail!(
            "the secrets on {shown} are larger than {} KiB",
            MAX_SECRETS_BYTES / 1024
        );
    }
    // The parser's own words may quote a value.
    let secrets: Secrets = serde_json::from_slice(&bytes).map_err(|error| {
        anyhow::anyhow!(
            "{shown} does not hold a JSON object from names to texts (line {}, column {})",
            error.line(),
            error.column()
        )
    })?;
    for name in secrets.names() {
        if !spec.required_secrets.iter().any(|secret| secret.name == name) {
            bail!("{shown}: {name} is none of the secrets of this spec");
        }
    }
    Ok(secrets)
}
