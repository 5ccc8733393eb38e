//! `bmm up`: everything on one port.

use std::collections::HashSet;
use std::io::{IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bmm_cage::Launcher;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::app::{App, RunsOn};
use crate::cli::{Runtime, UpArgs};
use crate::client_lines::{own_command, quote};
use crate::commands::login_link::PUBLIC_URL;
use crate::commands::spec_file;
use crate::containers::Containers;
use crate::data_dir::{DataDir, default_path};
use crate::deploy::{Admitted, SmokeCalls};
use crate::key_care;
use crate::pages::ServerCard;
use crate::path_map;
use crate::public_url::PublicUrl;
use crate::serve::serve;
use crate::session::sign_in_link;

const DEMO: &str = include_str!("../../../../examples/specs/demo.json");

/// Time for calls to end once we are told to stop; below the ten seconds that service managers grant.
const DRAIN: Duration = Duration::from_secs(8);

pub(crate) async fn up(args: UpArgs, launcher: Launcher) -> anyhow::Result<ExitCode> {
    // Everything that can be refused is refused before anything is touched.
    let mut specs = match admit_files(&args) {
        Ok(specs) => specs,
        Err(problems) => {
            for problem in problems {
                eprintln!("{problem}");
            }
            return Ok(ExitCode::FAILURE);
        }
    };
    PublicUrl::decide(args.public_url.as_deref(), args.listen, args.insecure_http)?;

    let mut dir = DataDir::open(&args.data_dir.data_dir.clone().map_or_else(default_path, Ok)?)?;
    if let Some(run) = &args.proxy.run_dir {
        dir = dir.with_run_dir(path_map::servers_in(run)?);
    }
    let listener = bind(args.listen).await?;
    let listening = listener.local_addr().context("the listening address")?;
    let public_url = PublicUrl::decide(args.public_url.as_deref(), listening, args.insecure_http)?;

    let path_map = path_map::Wanted::decide(&args.proxy, &dir.run(), listening)?;
    let (path_map, public_sockets) = match path_map {
        Some(wanted) => (Some(wanted.map), wanted.sockets),
        None => (None, None),
    };

    let containers = match args.runtime {
        Runtime::Process => None,
        Runtime::Docker => {
            progress(&args, "preparing the image …");
            Some(Containers::prepare(&args.docker).await?)
        }
    };
    let runs_on = match &containers {
        None => RunsOn::Processes(launcher),
        Some(containers) => RunsOn::Containers(containers),
    };
    let smoke_calls = match args.smoke_call {
        true => SmokeCalls::On,
        false => SmokeCalls::Off,
    };
    let app = App::build(&dir, &public_url, listening, runs_on, public_sockets, smoke_calls).await?;
    if specs.is_empty() && app.storage.db.servers().await?.is_empty() {
        specs.push(
            admit(DEMO.as_bytes().to_vec())
                .map_err(|problems| anyhow::anyhow!("the demo: {}", problems.join("; ")))?,
        );
    }

    app.storage
        .db
        .set_setting(PUBLIC_URL, public_url.as_str())
        .await?;

    let (stop, stopped) = watch::channel(false);
    let serving = tokio::spawn(serve(
        listener,
        app.router.clone(),
        args.proxy.trusted_proxy.clone(),
        stopped,
    ));
    let signal = stop_signal()?;
    tokio::pin!(signal);
    let started = tokio::select! {
        started = start(&args, &app, &public_url, specs) => Some(started),
        () = &mut signal => None,
    };
    let code = match started {
        None => ExitCode::SUCCESS,
        Some(Err(error)) => super::failure::tell(&error),
        Some(Ok(())) => {
            if let Some(containers) = &containers
                && let Err(error) = containers.collect().await
            {
                tracing::warn!(error = %format_args!("{error:#}"), "cannot remove old images");
            }
            // Ends before the servers do: a proxy goes on to know them, and finds them again after a restart.
            let path_map = async {
                match path_map {
                    Some(path_map) => path_map.follow(app.routes.clone()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = app.deploys.follow() => {}
                () = path_map => {}
                () = key_care::keep(&app, dir.kek()) => {}
                () = &mut signal => {}
            }
            ExitCode::SUCCESS
        }
    };

    // Nothing new comes in, what is under way may end, and what does not end in time is ended.
    stop.send_replace(true);
    let drained = async {
        app.deploys.shut_down().await;
        serving.await
    };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        tracing::warn!("some calls were still running and were ended");
    }
    app.storage.close().await?;
    drop(dir);
    Ok(code)
}

/// Resolves when the process is asked to stop; a second request ends it at once.
pub(crate) fn stop_signal() -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            std::process::exit(1);
        });
    })
}

async fn start(args: &UpArgs, app: &App, public_url: &PublicUrl, specs: Vec<Admitted>) -> anyhow::Result<()> {
    progress(args, "starting servers …");
    for error in app.deploys.resume(&specs).await? {
        eprintln!("bmm: {error:#}");
    }
    for spec in specs {
        let slug = spec.spec.slug.to_string();
        app.deploys
            .replace(spec)
            .await
            .with_context(|| format!("{slug} did not start"))?;
    }

    let now = app.clock.now();
    let owner = app.storage.db.local_owner(now).await?;
    let sign_in_url = sign_in_link(&app.storage.db, public_url.as_str(), &owner, now).await?;
    let servers = app.deploys.cards(&owner).await?;
    let text = if args.json {
        for server in &servers {
            for line in missing_secrets(args, server) {
                eprintln!("bmm: {} {line}", server.slug);
            }
        }
        announce_json(public_url, &sign_in_url, &servers)
    } else {
        announce(args, &sign_in_url, &servers)
    };
    // Whoever started us may not be listening; we serve all the same.
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    Ok(())
}

fn progress(args: &UpArgs, text: &str) {
    if !args.json && std::io::stderr().is_terminal() {
        eprintln!("{text}");
    }
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            bail!("{address} is in use; choose another address with --listen")
        }
        Err(error) => Err(error).with_context(|| format!("cannot listen on {address}")),
    }
}

/// All given specs, or every problem of every one of them.
fn admit_files(args: &UpArgs) -> Result<Vec<Admitted>, Vec<String>> {
    let mut specs = Vec::new();
    let mut problems = Vec::new();
    let mut slugs = HashSet::new();
    for path in &args.specs {
        let read = spec_file::read(path).map_err(|error| vec![format!("bmm: {error:#}")]);
        let admitted = read.and_then(|bytes| {
            admit(bytes).map_err(|found| {
                found
                    .into_iter()
                    .map(|problem| format!("{}: {problem}", path.display()))
                    .collect()
            })
        });
        match admitted {
            Ok(spec) if !slugs.insert(spec.spec.slug.to_string()) => {
                problems.push(format!(
                    "{}: /slug: another given spec has the slug {}",
                    path.display(),
                    spec.spec.slug
                ));
            }
            Ok(spec) => specs.push(spec),
            Err(found) => problems.extend(found),
        }
    }
    if problems.is_empty() {
        Ok(specs)
    } else {
        Err(problems)
    }
}

fn admit(source: Vec<u8>) -> Result<Admitted, Vec<String>> {
    let admitted = bmm_spec::admit(&source).and_then(|(valid, _report)| valid.compile());
    match admitted {
        Ok(spec) => Ok(Admitted { spec, source }),
        Err(problems) => Err(problems.iter().map(ToString::to_string).collect()),
    }
}

fn announce_json(public_url: &PublicUrl, sign_in_url: &str, servers: &[ServerCard]) -> String {
    let servers: Vec<_> = servers
        .iter()
        .filter(|server| server.running)
        .map(|server| json!({ "slug": server.slug, "mcp_url": server.mcp_url }))
        .collect();
    let line = json!({
        "issuer": public_url.as_str(),
        "dashboard_url": public_url.join("/"),
        "sign_in_url": sign_in_url,
        "servers": servers,
    });
    format!("{line}\n")
}

fn announce(args: &UpArgs, sign_in_url: &str, servers: &[ServerCard]) -> String {
    let mut text = format!("\nDashboard (sign-in link, works once):\n  {sign_in_url}\n");
    for server in servers.iter().filter(|server| server.running) {
        text.push_str(&format!("\n{}: {}\n", server.name, server.mcp_url));
        for line in missing_secrets(args, server) {
            text.push_str(&format!("  {line}\n"));
        }
        for line in &server.lines {
            text.push_str(&format!(
                "  {} ({})\n    {}\n",
                line.client, line.place, line.text
            ));
        }
    }
    let login_link = with_data_dir(args, "login-link");
    text.push_str(&format!("\nAnother sign-in link: {login_link}\nStop: Ctrl-C\n"));
    text
}

/// One line for every secret that a server still needs.
fn missing_secrets(args: &UpArgs, server: &ServerCard) -> Vec<String> {
    let line = |name| {
        let command = with_data_dir(args, &format!("secret {} {name}", server.slug));
        format!("needs the secret {name}: set it on the dashboard, or with {command}")
    };
    server.missing_secrets().into_iter().map(line).collect()
}

/// This program with a verb, for the data directory that is in use.
fn with_data_dir(args: &UpArgs, verb: &str) -> String {
    let command = format!("{} {verb}", own_command());
    match &args.data_dir.data_dir {
        Some(dir) => format!("{command} --data-dir {}", quote(&dir.to_string_lossy())),
        None => command,
    }
}
