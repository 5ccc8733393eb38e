//! `bmm pathmap`: nginx or Caddy lead requests to servers by themselves.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use bmm_deploy::pathmap::{
    Addresses, Folder, Form, Layout, Proxy, Publisher, RouteSlug, SocketDir, Tls, Vhost, Watch,
};
use bmm_spec::RESERVED_SLUGS;

use crate::cli::{PathmapCommand, PathmapInstallArgs, PathmapWatchArgs, ProxyKind, ProxyPlaceArgs};
use crate::commands::up::stop_signal;

pub(crate) async fn pathmap(command: PathmapCommand) -> anyhow::Result<ExitCode> {
    match command {
        PathmapCommand::Install(args) => install(args).await,
        PathmapCommand::Watch(args) => watch(args).await,
    }
}

async fn install(args: PathmapInstallArgs) -> anyhow::Result<ExitCode> {
    let form = match (args.proxy, args.by_if) {
        (ProxyKind::Nginx, false) => Form::NginxMap,
        (ProxyKind::Nginx, true) => Form::NginxIf,
        (ProxyKind::Caddy, false) => Form::Caddy,
        (ProxyKind::Caddy, true) => bail!("--if is a form of nginx"),
    };
    let layout = layout(form, &args.place)?;
    let routes = layout
        .routes()
        .with_context(|| format!("--prefix {}", args.place.prefix.display()))?;
    // What no server may be called is ours, now or later.
    let own = RESERVED_SLUGS
        .iter()
        .filter_map(|word| word.parse::<RouteSlug>().ok());
    let mut vhost = Vhost::new(args.domain, form, routes, args.bmm, own);
    vhost.listen = args.listen;
    vhost.trusted = args.trusted;
    vhost.access_log = args.access_log;
    vhost.tls = match (args.cert, args.key) {
        (Some(chain), Some(key)) => Tls::Files { chain, key },
        _ if args.plain_http => Tls::Plain,
        _ => Tls::Automatic,
    };
    if args.print {
        print!("{}", vhost.config());
        return Ok(ExitCode::SUCCESS);
    }
    let changed = layout.install(&vhost, &proxy(form, &layout, &args.place)).await?;
    let place = layout.vhost();
    match changed {
        true => println!("{} is written, tested and in use", place.display()),
        false => println!("{} is there already", place.display()),
    }
    Ok(ExitCode::SUCCESS)
}

async fn watch(args: PathmapWatchArgs) -> anyhow::Result<ExitCode> {
    let form = args.form;
    let expected = match (form, args.sockets, args.port) {
        (Form::NginxIf, Some(_), _) => bail!("--sockets is for the other forms: nginx-if leads to a port"),
        (Form::NginxIf, None, port) => port.map(Addresses::Port),
        (_, _, Some(_)) => bail!("--port is for nginx-if: the other forms lead to sockets"),
        (_, Some(sockets), None) => {
            let sockets = std::path::absolute(sockets).context("--sockets")?;
            Some(Addresses::Sockets(SocketDir::new(sockets).context("--sockets")?))
        }
        (_, None, None) => None,
    };
    let layout = layout(form, &args.place)?;
    let file = layout
        .routes()
        .with_context(|| format!("--prefix {}", args.place.prefix.display()))?;
    if !file.as_path().exists() {
        bail!("{file} is not there; put it there with `bmm pathmap install`");
    }
    let publisher = Publisher::new(form, file.as_path(), proxy(form, &layout, &args.place));
    let mut watch = Watch::new(Folder::new(form, args.dir), publisher);
    if let Some(expected) = expected {
        watch = watch.with_expected(expected);
    }
    if args.once {
        let look = watch.look().await?;
        for problem in &look.problems {
            eprintln!("bmm: {problem}");
        }
        return match look.servers {
            Some(servers) => {
                println!("{servers} servers are in use");
                Ok(match look.problems.is_empty() {
                    true => ExitCode::SUCCESS,
                    false => ExitCode::FAILURE,
                })
            }
            None => bail!("nothing was written there yet; is it the directory that bmm writes to?"),
        };
    }
    tokio::select! {
        ended = watch.run() => ended?,
        () = stop_signal()? => {}
    }
    Ok(ExitCode::SUCCESS)
}

fn layout(form: Form, place: &ProxyPlaceArgs) -> anyhow::Result<Layout> {
    let prefix = std::path::absolute(&place.prefix).context("--prefix")?;
    Ok(Layout::new(form, prefix))
}

fn proxy(form: Form, layout: &Layout, place: &ProxyPlaceArgs) -> Proxy {
    let usual = match form {
        Form::Caddy => "caddy",
        _ => "nginx",
    };
    let executable = place.executable.clone().unwrap_or_else(|| PathBuf::from(usual));
    let proxy = layout.proxy(&executable);
    match &place.reload_unit {
        Some(unit) => proxy.with_reload(["systemctl", "reload", "--", unit].map(OsString::from).into()),
        None => proxy,
    }
}
