//! The one way out of a container: through its door, to what is on its list.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bmm_deploy::{Deployer, Deployment, DockerRuntime, EgressProxy, ReadyIsEnough, RouterService, Routes};
use bmm_net::{Dialer, ResolveFuture};
use libtest_mimic::Trial;
use tokio::net::TcpListener;

use super::daemon::{Daemon, docker_trials};
use crate::deploys::get;
use crate::docker::limits;
use crate::fake_runner::Config;

pub(super) fn docker() -> Vec<Trial> {
    docker_trials!(a_container_reaches_what_is_on_its_list_and_nothing_else)
}

async fn a_container_reaches_what_is_on_its_list_and_nothing_else(daemon: Daemon) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let here = listener.local_addr().unwrap();
    let reached = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&reached);
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    // Every name is ours, but for one whose owner points it inwards.
    let resolver = move |host: String, port: u16| -> ResolveFuture {
        let address = match host.as_str() {
            "inwards.example.com" => SocketAddr::from(([169, 254, 169, 254], port)),
            _ => here,
        };
        Box::pin(async move { Ok(vec![address]) })
    };
    let dialer = Dialer::insecure_with(resolver, |ip| match ip.is_loopback() {
        true => None,
        false => bmm_net::address::refusal(ip),
    });
    let folder = tempfile::tempdir().unwrap();
    let instance = format!("door{}", std::process::id());
    let runtime = DockerRuntime::new(
        daemon.docker.clone(),
        daemon.image().await,
        instance,
        folder.path().join("run"),
    )
    .await
    .unwrap();
    let routes = Routes::new();
    let egress = EgressProxy::new(dialer, || Box::pin(async { "{\"keys\":[]}".into() }));
    let deployer = Deployer::with_limits(runtime, routes.clone(), egress, Arc::new(ReadyIsEnough), limits());
    let router = RouterService::new(routes);
    let connect = async |to: &str| get(&router, &format!("/demo/egress?CONNECT+{to}")).await.1;
    let roll = async |revision: &str, hosts: &[&str]| {
        let config = Config::new(revision);
        let hosts: Vec<_> = hosts.iter().map(|host| host.parse().unwrap()).collect();
        let deployment = Deployment::new("demo", revision, config.bytes()).with_egress(hosts);
        deployer.roll(deployment).await.unwrap()
    };

    let live = roll("1", &["listed.example.com", "inwards.example.com"]).await;
    assert!(live.report.is_full(), "{}", live.report);
    let answer = connect("listed.example.com:443").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    for to in [
        "other.example.com:443",
        "listed.example.com:80",
        "inwards.example.com:443",
        "169.254.169.254:80",
        "10.99.7.1:443",
        "127.0.0.1:443",
        "[::1]:443",
        "localhost:443",
        "host.docker.internal:443",
    ] {
        let answer = connect(to).await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{to}: {answer}");
    }
    assert_eq!(reached.load(Ordering::SeqCst), 1, "only the one");

    // It is the list that refused the other.
    roll("2", &["other.example.com"]).await;
    let answer = connect("other.example.com:443").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let answer = connect("listed.example.com:443").await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    deployer.shutdown().await;
}
