//! A virtual host put into a real proxy that runs, and a path map that it takes up.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bmm_deploy::pathmap::{
    Addresses, Folder, Form, InstallError, Layout, PathMap, Port, Proxy, PublishError, Publisher, SocketDir,
    Tls, Vhost, Watch,
};
use bmm_deploy::{Routes, Upstream};

use super::parts::{Caddy, Nginx, free_address};
use super::world::{DOMAIN, OWN, World, get};
use super::{caddy, nginx, trials_with};
use crate::eventually;

trials_with!(nginx() => trials_with_nginx:
    an_installed_nginx_follows_the_map,
    an_installed_nginx_follows_the_snippets,
    an_installation_that_nginx_refuses_is_taken_back,
    a_map_that_nginx_refuses_is_taken_back,
);

trials_with!(caddy() => trials_with_caddy:
    an_installed_caddy_follows_the_map,
    an_installation_leaves_the_rest_of_a_caddyfile_alone,
);

const SOON: Duration = Duration::from_secs(20);

fn vhost(form: Form, layout: &Layout, world: &World, address: SocketAddr) -> Vhost {
    let own = OWN.map(|word| word.parse().unwrap());
    let routes = layout.routes().unwrap();
    let mut vhost = Vhost::new(DOMAIN.parse().unwrap(), form, routes, world.bmm, own);
    vhost.listen = vec![address];
    vhost.tls = Tls::Plain;
    vhost
}

/// From a route that comes or goes, over a folder and its watcher, to requests that arrive or do not.
async fn follows(form: Form, layout: &Layout, proxy: Proxy, world: &World, address: SocketAddr) {
    let folder = tempfile::tempdir().unwrap();
    let addresses = match form {
        Form::NginxIf => Addresses::Port(Port::new(world.bmm.port()).unwrap()),
        _ => Addresses::Sockets(SocketDir::new(world.sockets()).unwrap()),
    };
    let folder = Folder::new(form, folder.path());
    let publisher = Publisher::new(form, layout.routes().unwrap().as_path(), proxy);
    let watch = Watch::new(folder.clone(), publisher).with_expected(addresses.clone());
    let watching = tokio::spawn(watch.run());
    let routes = Routes::new();
    let following = tokio::spawn(PathMap::in_folder(folder, addresses).follow(routes.clone()));

    // A proxy that was told to reload may turn a connection away.
    let nobody = async |slug: &str| get(address, &format!("/{slug}/mcp")).await.status == 404;
    eventually(SOON, "nobody is there", async || nobody("mine").await).await;
    eventually(SOON, "bmm is reached", async || {
        let seen = get(address, "/login").await.seen();
        seen.is_some_and(|(server, _)| server == "bmm")
    })
    .await;
    let reaches = async |slug: &str| {
        let answer = get(address, &format!("/{slug}/mcp")).await;
        let seen = answer.seen().map(|(server, _)| server);
        assert!(seen.is_none() || seen.as_deref() == Some(slug), "{answer:?}");
        seen.is_some()
    };
    routes.set("mine", Upstream::unix("/unused")).unwrap();
    eventually(SOON, "mine is reached", async || reaches("mine").await).await;
    routes.set("victim", Upstream::unix("/unused")).unwrap();
    eventually(SOON, "victim is reached", async || reaches("victim").await).await;
    routes.remove("victim");
    eventually(SOON, "victim is gone", async || nobody("victim").await).await;
    eventually(SOON, "mine is reached still", async || reaches("mine").await).await;
    following.abort();
    watching.abort();
}

async fn in_nginx(form: Form) {
    let (nginx, world, address) = (Nginx::new(), World::new().await, free_address());
    let layout = Layout::new(form, nginx.dir.path());
    let proxy = nginx.proxy();
    // It runs before anything of ours is there, on an address of its own.
    let other = free_address();
    let other_host = format!("server {{ listen {other}; return 204; }}\n");
    std::fs::write(nginx.path("nginx/conf.d/other.conf"), other_host).unwrap();
    let _running = tokio::task::block_in_place(|| nginx.run(other));
    let vhost = vhost(form, &layout, &world, address);
    assert!(layout.install(&vhost, &proxy).await.unwrap());
    assert!(
        !layout.install(&vhost, &proxy).await.unwrap(),
        "the second time nothing changes"
    );
    eventually(SOON, "nginx listens", async || {
        tokio::net::TcpStream::connect(address).await.is_ok()
    })
    .await;
    follows(form, &layout, proxy, &world, address).await;
    // Installed again, it keeps the map.
    let map = std::fs::read_to_string(layout.routes().unwrap().as_path()).unwrap();
    assert!(map.contains("mine") && !layout.install(&vhost, &nginx.proxy()).await.unwrap());
}

async fn an_installed_nginx_follows_the_map() {
    in_nginx(Form::NginxMap).await;
}

async fn an_installed_nginx_follows_the_snippets() {
    in_nginx(Form::NginxIf).await;
}

async fn an_installation_that_nginx_refuses_is_taken_back() {
    let (nginx, world) = (Nginx::new(), World::new().await);
    let layout = Layout::new(Form::NginxMap, nginx.dir.path());
    let mut vhost = vhost(Form::NginxMap, &layout, &world, free_address());
    let missing = |name: &str| bmm_deploy::pathmap::ConfigPath::new(nginx.path(name)).unwrap();
    vhost.tls = Tls::Files {
        chain: missing("no.pem"),
        key: missing("no.key"),
    };
    let error = layout.install(&vhost, &nginx.proxy()).await.unwrap_err();
    assert!(matches!(error, InstallError::Publish(PublishError::Refused(_))));
    assert!(error.to_string().contains("no.pem"), "{error}");
    assert!(!nginx.vhost().exists());
    nginx.test().unwrap();
}

async fn a_map_that_nginx_refuses_is_taken_back() {
    let (nginx, world) = (Nginx::new(), World::new().await);
    let address = free_address();
    let layout = Layout::new(Form::NginxMap, nginx.dir.path());
    let vhost = vhost(Form::NginxMap, &layout, &world, address);
    std::fs::create_dir_all(nginx.path("nginx/bmm")).unwrap();
    std::fs::write(layout.routes().unwrap().as_path(), "").unwrap();
    std::fs::write(nginx.vhost(), vhost.config()).unwrap();
    let _running = tokio::task::block_in_place(|| nginx.run(address));
    let file = layout.routes().unwrap().as_path().to_owned();
    let mut publisher = Publisher::new(Form::NginxMap, &file, nginx.proxy());
    let mut table = world.table.clone();
    table.remove(&"victim".parse().unwrap());
    publisher.publish(&table).await.unwrap();
    eventually(SOON, "mine is reached", async || {
        get(address, "/mine/mcp").await.status == 200
    })
    .await;
    // Somebody else's file is broken meanwhile.
    std::fs::write(
        nginx.path("nginx/conf.d/other.conf"),
        "server { listen nowhere; }",
    )
    .unwrap();
    let before = std::fs::read_to_string(&file).unwrap();
    let error = publisher.publish(&world.table).await.unwrap_err();
    assert!(error.to_string().contains("other.conf"), "{error}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), before);
    // A worker from before the first reload may still answer.
    eventually(SOON, "it goes on with what it had", async || {
        get(address, "/mine/mcp").await.status == 200 && get(address, "/victim/mcp").await.status == 404
    })
    .await;
    std::fs::remove_file(nginx.path("nginx/conf.d/other.conf")).unwrap();
    publisher.publish(&world.table).await.unwrap();
    eventually(SOON, "victim is reached", async || {
        get(address, "/victim/mcp").await.status == 200
    })
    .await;
}

async fn an_installed_caddy_follows_the_map() {
    let (caddy, world, address) = (Caddy::new(), World::new().await, free_address());
    let layout = Layout::new(Form::Caddy, caddy.dir.path());
    std::fs::create_dir(caddy.path("caddy")).unwrap();
    let other = free_address();
    let text = format!("{}\nhttp://{other} {{\n\trespond 204\n}}\n", caddy.options());
    std::fs::write(layout.main(), text).unwrap();
    let _running = tokio::task::block_in_place(|| caddy.run(&layout.main(), other));
    let vhost = vhost(Form::Caddy, &layout, &world, address);
    let proxy = caddy.proxy(&layout.main());
    assert!(layout.install(&vhost, &proxy).await.unwrap());
    assert!(
        !layout.install(&vhost, &proxy).await.unwrap(),
        "the second time nothing changes"
    );
    eventually(SOON, "Caddy listens", async || {
        tokio::net::TcpStream::connect(address).await.is_ok()
    })
    .await;
    follows(Form::Caddy, &layout, proxy, &world, address).await;
}

async fn an_installation_leaves_the_rest_of_a_caddyfile_alone() {
    let (caddy, world) = (Caddy::new(), World::new().await);
    let layout = Layout::new(Form::Caddy, caddy.dir.path());
    let proxy = Proxy::new(caddy.proxy_test(&layout.main()), Vec::new());
    let site = "other.example.com {\n\trespond \"other\"\n}\n";
    for before in [
        None,
        Some(String::new()),
        Some(format!("{}\n{site}", caddy.options())),
    ] {
        let _ = std::fs::remove_dir_all(caddy.path("caddy"));
        if let Some(before) = &before {
            std::fs::create_dir(caddy.path("caddy")).unwrap();
            std::fs::write(layout.main(), before).unwrap();
        }
        let vhost = vhost(Form::Caddy, &layout, &world, free_address());
        assert!(layout.install(&vhost, &proxy).await.unwrap());
        assert!(!layout.install(&vhost, &proxy).await.unwrap());
        let after = std::fs::read_to_string(layout.main()).unwrap();
        assert!(
            after.starts_with(before.as_deref().unwrap_or_default().trim_end()),
            "{after}"
        );
        assert_eq!(after.matches("import bmm.caddy").count(), 1, "{after}");
        caddy.validate(&layout.main()).unwrap();
        let files: [&Path; 2] = [&layout.main(), &layout.vhost()];
        for file in files {
            assert_eq!(caddy.misformatted(file), [""; 0], "{}", file.display());
        }
    }
}
