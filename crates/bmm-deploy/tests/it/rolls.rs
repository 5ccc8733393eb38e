//! Redeploys under load: no call is lost, by whichever way it comes. `BMM_SCALE=prove` makes it 100 redeploys each instead of 10.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bmm_deploy::pathmap::{self, Address, ConfigPath, Folder, Form, PathTable, Vhost};
use bmm_deploy::{Live, RouterService};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use libtest_mimic::Trial;

use crate::deploys::World;
use crate::fake_runner::Config;
use crate::load::{Front, Load, RATE};
use crate::pathmap::{Nginx, nginx};
use crate::{eventually, trial_within};

const WITHIN: Duration = Duration::from_secs(900);

pub(crate) fn trials() -> Vec<Trial> {
    let name = |test| format!("rolls::{test}");
    vec![
        trial_within(
            &name("no_call_is_lost_through_the_built_in_router"),
            WITHIN,
            no_call_is_lost_through_the_built_in_router,
        ),
        trial_within(
            &name("no_call_is_lost_on_the_public_socket"),
            WITHIN,
            no_call_is_lost_on_the_public_socket,
        ),
        trial_within(
            &name("no_call_is_lost_through_nginx_that_reloads"),
            WITHIN,
            no_call_is_lost_through_nginx_that_reloads,
        )
        .with_ignored_flag(nginx().is_none()),
        trial_within(
            &name("no_call_is_lost_when_servers_are_containers"),
            WITHIN,
            no_call_is_lost_when_servers_are_containers,
        )
        .with_kind("needs Docker: cargo xtask test")
        .with_ignored_flag(true),
    ]
}

fn rolls() -> u32 {
    match std::env::var("BMM_SCALE").as_deref() {
        Ok("prove") => 100,
        _ => 10,
    }
}

/// The built-in router as an HTTP server of its own.
pub(crate) async fn serve(router: RouterService) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let router = router.clone();
            tokio::spawn(async move {
                let service = service_fn(|request| {
                    let router = router.clone();
                    async move { Ok::<_, Infallible>(router.handle(request).await) }
                });
                let _ = http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    address
}

/// Rolls again and again while `load` goes on.
pub(crate) async fn roll_under(load: &Load, roll: impl AsyncFn(&Config) -> Live) {
    load.goes_on(RATE / 5).await;
    for revision in 1..=rolls() {
        let live = roll(&Config::new(&revision.to_string())).await;
        assert_eq!(live.revision, revision.to_string());
        load.goes_on(RATE / 5).await;
    }
    // Until the slow calls of the last but one are answered.
    load.goes_on(RATE / 5).await;
}

async fn nothing_but_the_last(world: &World) {
    eventually(Duration::from_secs(70), "the old ones are retired", async || {
        world.deployer.status().len() == 1
    })
    .await;
    assert_eq!(world.sockets(), 1);
    assert_eq!(world.restarts("demo"), 0);
    world.deployer.shutdown().await;
}

async fn no_call_is_lost_through_the_built_in_router() {
    let world = World::new();
    world.roll("demo", &Config::new("0")).await.unwrap();
    let load = Load::begin(Front::Tcp(serve(world.router.clone()).await), "/demo");
    roll_under(&load, async |config| world.roll("demo", config).await.unwrap()).await;
    let tally = load.end().await;
    tally.check("built-in router");
    assert_eq!(tally.revisions.len(), rolls() as usize + 1);
    nothing_but_the_last(&world).await;
}

async fn no_call_is_lost_on_the_public_socket() {
    let world = World::new();
    world.roll("demo", &Config::new("0")).await.unwrap();
    let load = Load::begin(Front::Unix(world.public("demo")), "");
    roll_under(&load, async |config| world.roll("demo", config).await.unwrap()).await;
    let tally = load.end().await;
    tally.check("public socket");
    assert_eq!(tally.revisions.len(), rolls() as usize + 1);
    nothing_but_the_last(&world).await;
}

async fn no_call_is_lost_when_servers_are_containers() {
    let world = crate::docker::World::new().await;
    world.roll("demo", &Config::new("0")).await.unwrap();
    let load = Load::begin(Front::Tcp(serve(world.router.clone()).await), "/demo");
    roll_under(&load, async |config| world.roll("demo", config).await.unwrap()).await;
    let tally = load.end().await;
    tally.check("containers");
    assert_eq!(tally.revisions.len(), rolls() as usize + 1);
    world.deployer.shutdown().await;
    eventually(Duration::from_secs(30), "nothing is left", async || {
        world.left().is_empty()
    })
    .await;
}

/// Another server comes and goes meanwhile, so that the set of slugs changes and nginx reloads.
async fn no_call_is_lost_through_nginx_that_reloads() {
    let world = World::new();
    world.roll("demo", &Config::new("0")).await.unwrap();
    let proxy = Proxy::start(&world);
    let load = Load::begin(Front::Tcp(proxy.address), "/demo");
    let done = Arc::new(AtomicBool::new(false));
    let reloads = {
        let (done, deployer, proxy) = (Arc::clone(&done), world.deployer.clone(), proxy.handle());
        tokio::spawn(async move {
            let mut reloads = 0;
            while !done.load(Ordering::Relaxed) {
                let other = Config::new("1");
                let other = bmm_deploy::Deployment::new("other", "1", other.bytes());
                deployer.roll(other).await.unwrap();
                proxy.write(&["demo", "other"]);
                proxy.reload();
                tokio::time::sleep(Duration::from_millis(300)).await;
                proxy.write(&["demo"]);
                proxy.reload();
                tokio::time::sleep(Duration::from_millis(300)).await;
                deployer.remove("other").await;
                reloads += 2;
            }
            reloads
        })
    };
    roll_under(&load, async |config| world.roll("demo", config).await.unwrap()).await;
    let tally = load.end().await;
    done.store(true, Ordering::Relaxed);
    let reloads = reloads.await.unwrap();
    tally.check(&format!("nginx, {reloads} reloads"));
    assert!(reloads >= 2);
    assert_eq!(tally.revisions.len(), rolls() as usize + 1);
    proxy.end();
    nothing_but_the_last(&world).await;
}

/// A real nginx with our virtual host over the public sockets.
struct Proxy {
    nginx: Nginx,
    child: std::process::Child,
    address: SocketAddr,
    sockets: std::path::PathBuf,
}

/// What changes the map of a [`Proxy`].
struct Handle {
    pid: u32,
    folder: Folder,
    sockets: pathmap::SocketDir,
}

impl Proxy {
    fn start(world: &World) -> Self {
        let (nginx, sockets) = (Nginx::new(), world.public("demo").parent().unwrap().to_owned());
        let address = free_address();
        let routes = nginx.path("bmm.map");
        let mut vhost = Vhost::new(
            "mcp.example.com".parse().unwrap(),
            Form::NginxMap,
            ConfigPath::new(&routes).unwrap(),
            ([127, 0, 0, 1], 9).into(),
            [],
        );
        vhost.listen = vec![address];
        std::fs::write(nginx.vhost(), vhost.config()).unwrap();
        write(
            &Folder::new(Form::NginxMap, nginx.dir.path()),
            &sockets,
            &["demo"],
        );
        nginx.test().unwrap();
        let child = nginx
            .command()
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect(address).is_err() {
            assert!(std::time::Instant::now() < deadline, "nginx does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self {
            nginx,
            child,
            address,
            sockets,
        }
    }

    fn handle(&self) -> Handle {
        Handle {
            pid: self.child.id(),
            folder: Folder::new(Form::NginxMap, self.nginx.dir.path()),
            sockets: pathmap::SocketDir::new(&self.sockets).unwrap(),
        }
    }

    fn end(mut self) {
        signal(self.child.id(), rustix::process::Signal::QUIT);
        self.child.wait().unwrap();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            signal(self.child.id(), rustix::process::Signal::TERM);
            let _ = self.child.wait();
        }
    }
}

impl Handle {
    fn write(&self, slugs: &[&str]) {
        write(&self.folder, self.sockets.directory(), slugs);
    }

    fn reload(&self) {
        signal(self.pid, rustix::process::Signal::HUP);
    }
}

fn write(folder: &Folder, sockets: &std::path::Path, slugs: &[&str]) {
    let sockets = pathmap::SocketDir::new(sockets).unwrap();
    let table: PathTable = slugs
        .iter()
        .map(|slug| {
            let slug = slug.parse().unwrap();
            let address: Address = sockets.of(&slug).unwrap();
            (slug, address)
        })
        .collect();
    assert!(folder.write(&table).unwrap());
}

fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// A port that was free a moment ago.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
