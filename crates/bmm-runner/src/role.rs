//! The role `runner`: what a caged child does from its first instruction to its last.

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bmm_cage::door::egress::EgressDoor;
use bmm_cage::door::{DoorError, Guest, Order};
use bmm_cage::{Inherited, Launcher, Role};
use bmm_oauth::{FetchJwks, FetchRevocations, JwksVerifier, RequireAuthLayer, RevocationFeed};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::{ConfigError, RunnerConfig};
use crate::connect::{Connector, OpenEgress, get_from_host};
use crate::engine::{CagedEngine, EngineError, engine_limits};
use crate::error::RunnerError;
use crate::http::RunnerService;
use crate::runner::Runner;

/// A runner behind the door: takes its configuration, its listening socket and its way out over the inherited channel,
/// serves until it is told to stop, and ends with the channel.
pub const RUNNER_ROLE: Role = Role { name: "runner", run };

/// Where the host answers with its JWK Set.
const JWKS_PATH: &str = "/jwks";
const MAX_JWKS_BYTES: usize = 256 * 1024;
const JWKS_TIMEOUT: Duration = Duration::from_secs(10);
/// Where the host says which grants were revoked. It may wait 20 s for news.
const REVOCATIONS_PATH: &str = "/revocations";
const MAX_REVOCATIONS_BYTES: usize = 4 * 1024 * 1024;
const REVOCATIONS_TIMEOUT: Duration = Duration::from_secs(25);
/// One runner serves one spec; its tools run in processes of their own.
const THREADS: usize = 2;

fn run(inherited: Inherited) -> ExitCode {
    log_to_stderr();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => {
            let outcome = runtime.block_on(serve_host(inherited));
            // Nothing that still runs may keep the process alive.
            runtime.shutdown_background();
            match outcome {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    tracing::error!(%error, "the runner ends");
                    ExitCode::FAILURE
                }
            }
        }
        Err(error) => {
            tracing::error!(%error, "no runtime");
            ExitCode::FAILURE
        }
    }
}

/// JSON lines, which the host reads. Secrets are not in anything that is logged: their types do not print them.
fn log_to_stderr() {
    // Fails only if somebody else has set one, which then is the one to use.
    let _ = tracing_subscriber::fmt()
        .json()
        .with_writer(io::stderr)
        .with_max_level(tracing::Level::INFO)
        .with_ansi(false)
        .try_init();
}

async fn serve_host(inherited: Inherited) -> Result<(), StartError> {
    let mut host = Guest::new(inherited.channel)?;
    let started = start(&mut host, &inherited.launcher).await;
    let started = match started {
        Ok(started) => started,
        Err(error) => {
            host.failed(&error.to_string()).await?;
            return Err(error);
        }
    };
    host.ready().await?;
    let mut terminate = signal(SignalKind::terminate()).map_err(StartError::Io)?;
    let stop = async move {
        tokio::select! {
            order = host.order() => match order {
                Order::Drain => {
                    // While it drains, the host may still end.
                    tokio::spawn(async move {
                        host.order().await;
                        std::process::exit(1);
                    });
                }
                // Nobody is left to serve for.
                Order::HostGone => std::process::exit(0),
            },
            _ = terminate.recv() => {}
        }
    };
    let Started {
        service,
        listener,
        drain,
    } = started;
    if !service.serve(listener, stop, drain).await {
        tracing::warn!("calls were still running when the time to drain was over");
    }
    Ok(())
}

struct Started {
    service: RunnerService,
    listener: UnixListener,
    drain: Duration,
}

async fn start(host: &mut Guest, launcher: &Launcher) -> Result<Started, StartError> {
    let handover = host.receive().await?;
    let config = zeroize::Zeroizing::new(handover.config);
    let RunnerConfig {
        spec,
        public_url,
        issuer,
        scopes,
        secrets,
        limits,
        allowed_origins,
        ..
    } = RunnerConfig::from_bytes(&config)?;
    let listener = std::os::unix::net::UnixListener::from(handover.listener);
    listener.set_nonblocking(true).map_err(StartError::Io)?;
    let listener = UnixListener::from_std(listener).map_err(StartError::Io)?;

    let door = Arc::new(EgressDoor::new(handover.egress)?);
    let open: OpenEgress = Arc::new(move || {
        let door = Arc::clone(&door);
        Box::pin(async move { door.connect().await.map_err(io::Error::other) })
    });
    let revocations = RevocationFeed::new(fetch_revocations(Arc::clone(&open)));
    // Ends with the runtime.
    tokio::spawn(revocations.clone().follow());
    let verifier = JwksVerifier::new(issuer.clone(), public_url.clone(), fetch_jwks(Arc::clone(&open)))
        .with_revocations(revocations);
    let guard = RequireAuthLayer::new(public_url.clone(), issuer, verifier).with_scopes(scopes.iter());

    let engine = CagedEngine::new(launcher, &spec, engine_limits(&spec))?;
    let service = Runner::new(spec, engine)?
        .with_secrets(secrets)
        .with_connector(Connector::egress(move || open()))
        .with_limits(limits)
        .with_public_url(&public_url)
        .with_allowed_origins(allowed_origins)
        .with_auth(guard)
        .into_service();
    Ok(Started {
        service,
        listener,
        drain: Duration::from_secs(limits.drain_secs.into()),
    })
}

fn fetch_jwks(open: OpenEgress) -> FetchJwks {
    Arc::new(move || {
        let open = Arc::clone(&open);
        Box::pin(async move {
            let fetched = get_from_host(&open, JWKS_PATH, MAX_JWKS_BYTES);
            Ok(tokio::time::timeout(JWKS_TIMEOUT, fetched).await??)
        })
    })
}

fn fetch_revocations(open: OpenEgress) -> FetchRevocations {
    Arc::new(move |after| {
        let open = Arc::clone(&open);
        Box::pin(async move {
            let path = match after {
                Some(after) => format!("{REVOCATIONS_PATH}?after={after}"),
                None => REVOCATIONS_PATH.to_owned(),
            };
            let fetched = get_from_host(&open, &path, MAX_REVOCATIONS_BYTES);
            Ok(tokio::time::timeout(REVOCATIONS_TIMEOUT, fetched).await??)
        })
    })
}

/// Why a runner did not start. The host gets the text.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Runner(#[from] RunnerError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Door(#[from] DoorError),
    #[error("a socket could not be used")]
    Io(#[source] io::Error),
}
