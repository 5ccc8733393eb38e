//! What clients speak to: the built-in router, or a proxy with what bmm wrote for it.

use std::any::Any;
use std::net::SocketAddr;

use bmm_deploy::pathmap::{Cidr, ConfigPath, Form, Port, Tls, Vhost, combined, nginx_if_line};

use super::parts::{Caddy, Nginx, free_address};
use super::world::{DOMAIN, OWN, World};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    BuiltIn,
    NginxMap,
    NginxIf,
    Caddy,
    /// nginx with what the page for operators shows: everything is passed on.
    NginxPlain,
    /// Caddy likewise.
    CaddyPlain,
}

impl Kind {
    pub(crate) const ALL: [Self; 6] = [
        Self::BuiltIn,
        Self::NginxMap,
        Self::NginxIf,
        Self::Caddy,
        Self::NginxPlain,
        Self::CaddyPlain,
    ];

    /// Whether all is the built-in router's.
    pub(crate) fn is_plain(self) -> bool {
        matches!(self, Self::BuiltIn | Self::NginxPlain | Self::CaddyPlain)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::BuiltIn => "built_in",
            Self::NginxMap => "nginx_map",
            Self::NginxIf => "nginx_if",
            Self::Caddy => "caddy",
            Self::NginxPlain => "nginx_plain",
            Self::CaddyPlain => "caddy_plain",
        }
    }

    pub(crate) fn is_missing(self) -> bool {
        match self {
            Self::BuiltIn => false,
            Self::NginxMap | Self::NginxIf | Self::NginxPlain => super::nginx().is_none(),
            Self::Caddy | Self::CaddyPlain => super::caddy().is_none(),
        }
    }
}

/// Runs as long as it is kept.
pub(crate) struct Front {
    pub(crate) kind: Kind,
    pub(crate) address: SocketAddr,
    _running: Box<dyn Any + Send>,
}

impl Front {
    pub(crate) fn start(kind: Kind, world: &World, trusted: &[Cidr]) -> Self {
        tokio::task::block_in_place(|| {
            let address = free_address();
            match kind {
                Kind::BuiltIn => Self {
                    kind,
                    address: world.bmm,
                    _running: Box::new(()),
                },
                Kind::NginxMap | Kind::NginxIf => Self::nginx(kind, world, trusted, address),
                Kind::Caddy => Self::caddy(world, trusted, address),
                Kind::NginxPlain => Self::nginx_plain(world, address),
                Kind::CaddyPlain => Self::caddy_plain(world, address),
            }
        })
    }

    fn nginx(kind: Kind, world: &World, trusted: &[Cidr], address: SocketAddr) -> Self {
        let nginx = Nginx::new();
        let routes = nginx.path("routes");
        let (form, text) = if kind == Kind::NginxMap {
            (Form::NginxMap, combined(Form::NginxMap, &world.table).unwrap())
        } else {
            let port = Port::new(world.bmm.port()).unwrap();
            let lines: Vec<String> = world.table.keys().map(|slug| nginx_if_line(slug, port)).collect();
            (Form::NginxIf, lines.join("\n"))
        };
        std::fs::write(&routes, text).unwrap();
        let mut vhost = vhost(
            form,
            ConfigPath::new(&routes).unwrap(),
            world.bmm,
            address,
            trusted,
        );
        vhost.access_log = Some(ConfigPath::new(nginx.path("access.log")).unwrap());
        std::fs::write(nginx.vhost(), vhost.config()).unwrap();
        let running = nginx.run(address);
        Self {
            kind,
            address,
            _running: Box::new((running, nginx)),
        }
    }

    fn nginx_plain(world: &World, address: SocketAddr) -> Self {
        let nginx = Nginx::new();
        let addresses = [
            ("443 ssl http2", address.to_string()),
            ("127.0.0.1:4000", world.bmm.to_string()),
        ];
        std::fs::write(nginx.vhost(), shown("nginx", addresses)).unwrap();
        let running = nginx.run(address);
        Self {
            kind: Kind::NginxPlain,
            address,
            _running: Box::new((running, nginx)),
        }
    }

    fn caddy_plain(world: &World, address: SocketAddr) -> Self {
        let (caddy, port) = (Caddy::new(), address.port());
        let addresses = [
            ("mcp.example.com {", format!("http://mcp.example.com:{port} {{")),
            ("127.0.0.1:4000", world.bmm.to_string()),
        ];
        let config = caddy.path("Caddyfile");
        std::fs::write(
            &config,
            format!("{}\n{}", caddy.options(), shown("caddyfile", addresses)),
        )
        .unwrap();
        assert_eq!(caddy.misformatted(&config), [""; 0]);
        let running = caddy.run(&config, address);
        Self {
            kind: Kind::CaddyPlain,
            address,
            _running: Box::new((running, caddy)),
        }
    }

    fn caddy(world: &World, trusted: &[Cidr], address: SocketAddr) -> Self {
        let caddy = Caddy::new();
        let (routes, config) = (caddy.path("routes"), caddy.path("Caddyfile"));
        std::fs::write(&routes, combined(Form::Caddy, &world.table).unwrap()).unwrap();
        let vhost = vhost(
            Form::Caddy,
            ConfigPath::new(&routes).unwrap(),
            world.bmm,
            address,
            trusted,
        );
        std::fs::write(&config, format!("{}\n{}", caddy.options(), vhost.config())).unwrap();
        caddy.validate(&config).unwrap();
        assert_eq!(caddy.misformatted(&config), [""; 0]);
        let running = caddy.run(&config, address);
        Self {
            kind: Kind::Caddy,
            address,
            _running: Box::new((running, caddy)),
        }
    }
}

/// The one block of this kind on the page for operators, with the addresses of a test.
fn shown(kind: &str, addresses: [(&str, String); 2]) -> String {
    let page = include_str!("../../../../../docs/operators.md");
    let start = format!("```{kind}\n");
    let (_, block) = page.split_once(&start).expect("such a block");
    let (block, _) = block.split_once("```").expect("its end");
    let mut text: String = block
        .lines()
        .filter(|line| !line.contains("ssl_certificate"))
        .map(|line| format!("{line}\n"))
        .collect();
    for (shown, here) in addresses {
        assert!(text.contains(shown), "{shown}: {text}");
        text = text.replace(shown, &here);
    }
    text
}

fn vhost(form: Form, routes: ConfigPath, bmm: SocketAddr, address: SocketAddr, trusted: &[Cidr]) -> Vhost {
    let own = OWN.map(|word| word.parse().unwrap());
    let mut vhost = Vhost::new(DOMAIN.parse().unwrap(), form, routes, bmm, own);
    vhost.listen = vec![address];
    vhost.tls = Tls::Plain;
    vhost.trusted = trusted.to_vec();
    vhost
}
