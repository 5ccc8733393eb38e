//! No text breaks out of what is written (CWE-74): whatever is accepted passes nginx's own test, and nothing is accepted that could
//! stand for more than itself.

use std::path::Path;

use bmm_deploy::pathmap::{
    Address, Cidr, ConfigPath, Domain, Form, PathTable, Port, RouteSlug, SocketDir, SocketPath, Tls, Vhost,
    combined, nginx_if_line,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::parts::{Caddy, Nginx, free_address};
use super::{caddy, nginx, trials_with};
use crate::trials;

trials!(
    what_is_accepted_has_no_character_that_means_something,
    a_refusal_says_what_to_do_in_one_plain_line,
);

trials_with!(nginx() => trials_with_nginx:
    whatever_is_accepted_passes_nginx,
    every_domain_that_is_accepted_passes_nginx,
    the_proxies_own_words_are_slugs_like_others_to_nginx,
);

trials_with!(caddy() => trials_with_caddy:
    whatever_is_accepted_passes_caddy,
);

/// What proxies, shells and terminals take for more than a letter.
const HOSTILE: &[&str] = &[
    "\"",
    "'",
    "`",
    ";",
    "{",
    "}",
    "$",
    "$host",
    "${host}",
    "{env.HOME}",
    "{$HOME}",
    "\\",
    "\\\"",
    "\n",
    "\r\n",
    "\t",
    " ",
    "\0",
    "#",
    "~",
    "~^.*$",
    "*",
    "?",
    "[",
    "..",
    "/",
    "//",
    "%2f",
    "%00",
    ":",
    "@",
    "\u{85}",
    "\u{a0}",
    "\u{2028}",
    "\u{202e}",
    "\u{ff0f}",
    "\u{feff}",
    "-",
    ".",
    "_",
    "A",
    "é",
    "\u{1b}[2J",
    "\"; } server { listen 1; } #",
    ";\ninclude /etc/passwd;\n",
    "\") { return 200 owned; } if ($bmm_slug = \"",
    " unix:/var/run/docker.sock;\nx",
    "\n}\nrespond owned\n",
    "; return 200;",
    "\nimport /etc/passwd\n",
];

/// Texts that are nearly right, right, or anything at all.
fn text(right: &'static str) -> impl Strategy<Value = String> {
    let hostile = prop::sample::select(HOSTILE);
    prop_oneof![
        2 => right.prop_map(|text| text),
        4 => (right, hostile.clone(), right).prop_map(|(a, hostile, b)| format!("{a}{hostile}{b}")),
        1 => (hostile.clone(), right).prop_map(|(hostile, a)| format!("{hostile}{a}")),
        1 => (right, hostile).prop_map(|(a, hostile)| format!("{a}{hostile}")),
        1 => any::<String>(),
    ]
}

fn slugs() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => text("[a-z][a-z0-9-]{0,12}"),
        1 => "[a-z][a-z0-9-]{30,60}",
        1 => prop::sample::select(&["default", "include", "hostnames", "volatile", "import", "nginx", "true", "if", "set"][..])
            .prop_map(str::to_owned),
    ]
}

fn paths() -> impl Strategy<Value = String> {
    prop_oneof![8 => text("/[a-zA-Z0-9._+@-]{1,12}"), 1 => "/[a-z/]{90,130}"]
}

fn domains() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => text("[a-z0-9]{1,5}([.][a-zA-Z0-9-]{1,5}){0,3}(:[0-9]{1,5})?"),
        1 => "[0-9]{1,3}([.][0-9]{1,3}){0,3}",
        1 => prop::sample::select(&["default", "localhost", "_", "*.example.com", ".example.com", "~^a$", "\"\"", "a..b", "a.b."][..])
            .prop_map(str::to_owned),
    ]
}

fn ports() -> impl Strategy<Value = String> {
    prop_oneof![
        text("[0-9]{1,6}"),
        (0_u32..70_000).prop_map(|port| port.to_string())
    ]
}

/// So many texts of a kind, the same in every run.
fn many(count: usize, strategy: impl Strategy<Value = String>) -> Vec<String> {
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    (0..count)
        .map(|_| strategy.new_tree(&mut runner).expect("a text").current())
        .collect()
}

/// Those that are accepted, which are neither all nor none.
fn accepted<T>(texts: &[String], read: impl Fn(&str) -> Option<T>) -> Vec<T> {
    let accepted: Vec<T> = texts.iter().filter_map(|text| read(text)).collect();
    let (some, all) = (accepted.len(), texts.len());
    assert!(
        some * 20 > all && some * 20 < 19 * all,
        "{some} of {all} were accepted"
    );
    accepted
}

fn vhost(form: Form, routes: &Path, domain: &str) -> Vhost {
    let mut vhost = Vhost::new(
        domain.parse().unwrap(),
        form,
        ConfigPath::new(routes).unwrap(),
        "127.0.0.1:4000".parse().unwrap(),
        ["login", "oauth", "include", "default"].map(|word| word.parse().unwrap()),
    );
    vhost.listen = vec!["127.0.0.1:18080".parse().unwrap()];
    vhost
}

async fn what_is_accepted_has_no_character_that_means_something() {
    let mut runner = TestRunner::new(Config {
        failure_persistence: None,
        ..Config::with_cases(4000)
    });
    let all = (slugs(), paths(), domains(), ports());
    runner
        .run(&all, |(slug, path, domain, port)| {
            let harmless = |text: &str, more: &str| {
                text.chars()
                    .all(|char| char.is_alphanumeric() || more.contains(char))
            };
            if let Ok(slug) = slug.parse::<RouteSlug>() {
                prop_assert!(harmless(slug.as_str(), "-"));
            }
            for path in [
                ConfigPath::new(&path).map(|path| path.to_string()),
                SocketPath::new(&path).map(|path| path.to_string()),
            ]
            .into_iter()
            .flatten()
            {
                prop_assert!(harmless(&path, "/._-+@") && path.starts_with('/'));
            }
            for text in [
                &path,
                &domain,
                &port,
                &format!("unix:{path}"),
                &format!("{domain}:{port}"),
            ] {
                if let Ok(address) = text.parse::<Address>() {
                    prop_assert!(harmless(&address.to_string(), "/._-+@:[]"));
                }
                if let Ok(domain) = text.parse::<Domain>() {
                    prop_assert!(harmless(&domain.to_string(), ".-:") && domain.to_string().is_ascii());
                }
                if let Ok(port) = text.parse::<Port>() {
                    prop_assert_eq!(&port.to_string(), text);
                }
                if let Ok(range) = format!("{text}/{port}").parse::<Cidr>() {
                    prop_assert!(harmless(&range.to_string(), ".:/"));
                }
            }
            Ok(())
        })
        .unwrap();
}

async fn a_refusal_says_what_to_do_in_one_plain_line() {
    let mut refusals = Vec::new();
    for text in many(3000, prop_oneof![slugs(), paths(), domains(), ports()]) {
        refusals.extend(text.parse::<RouteSlug>().err().map(|error| error.to_string()));
        refusals.extend(text.parse::<Domain>().err().map(|error| error.to_string()));
        refusals.extend(text.parse::<Port>().err().map(|error| error.to_string()));
        refusals.extend(text.parse::<Address>().err().map(|error| error.to_string()));
        refusals.extend(SocketPath::new(&text).err().map(|error| error.to_string()));
        refusals.extend(SocketDir::new(&text).err().map(|error| error.to_string()));
    }
    assert!(refusals.len() > 3000);
    for refusal in refusals {
        let plain = refusal
            .chars()
            .all(|char| !char.is_control() && char != '\u{2028}');
        assert!(
            plain && refusal.len() > 20 && !refusal.ends_with('.'),
            "{refusal:?}"
        );
    }
}

async fn whatever_is_accepted_passes_nginx() {
    let (count, batches) = (3000, 6);
    let slugs = accepted(&many(count, slugs()), |text| text.parse::<RouteSlug>().ok());
    let sockets = accepted(&many(count, paths()), |text| SocketPath::new(text).ok());
    let ports = accepted(&many(count, ports()), |text| text.parse::<Port>().ok());
    let nginx = Nginx::new();
    for batch in 0..batches {
        let mut table = PathTable::new();
        let mut snippets = String::new();
        let share = slugs.len().div_ceil(batches);
        for (number, slug) in slugs.iter().enumerate().skip(batch * share).take(share) {
            let socket = sockets[number % sockets.len()].clone();
            table.insert(slug.clone(), Address::Socket(socket));
            snippets.push_str(&nginx_if_line(slug, ports[number % ports.len()]));
            snippets.push('\n');
        }
        for (form, text) in [
            (Form::NginxMap, combined(Form::NginxMap, &table).unwrap()),
            (Form::NginxIf, snippets),
        ] {
            let routes = nginx.path("routes");
            std::fs::write(&routes, text).unwrap();
            let config = vhost(form, &routes, "mcp.example.com").config();
            std::fs::write(nginx.vhost(), config).unwrap();
            nginx.test().unwrap_or_else(|error| panic!("{form}: {error}"));
        }
    }
}

/// All of it in one file: as many sites as there are domains, over one map of all slugs.
async fn whatever_is_accepted_passes_caddy() {
    let caddy = Caddy::new();
    let slugs = accepted(&many(2000, slugs()), |text| text.parse::<RouteSlug>().ok());
    let sockets = accepted(&many(2000, paths()), |text| SocketPath::new(text).ok());
    let sockets = sockets.into_iter().cycle().map(Address::Socket);
    let table: PathTable = slugs.into_iter().zip(sockets).collect();
    let routes = caddy.path("routes");
    std::fs::write(&routes, combined(Form::Caddy, &table).unwrap()).unwrap();
    let mut domains = accepted(&many(150, domains()), |text| text.parse::<Domain>().ok());
    domains.sort_by(|a, b| a.host().cmp(b.host()));
    domains.dedup_by(|a, b| a.host() == b.host());
    let mut text = caddy.options();
    for domain in domains {
        let mut vhost = vhost(Form::Caddy, &routes, &domain.to_string());
        vhost.listen = vec![free_address()];
        vhost.trusted = vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        vhost.tls = Tls::Plain;
        text.push('\n');
        text.push_str(&vhost.config());
    }
    let config = caddy.path("Caddyfile");
    std::fs::write(&config, text).unwrap();
    caddy.validate(&config).unwrap();
    assert_eq!(caddy.misformatted(&config), [""; 0]);
}

async fn every_domain_that_is_accepted_passes_nginx() {
    let domains = accepted(&many(150, domains()), |text| text.parse::<Domain>().ok());
    let nginx = Nginx::new();
    let routes = nginx.path("routes");
    std::fs::write(&routes, "").unwrap();
    for domain in domains {
        let mut vhost = vhost(Form::NginxMap, &routes, &domain.to_string());
        vhost.trusted = vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        vhost.access_log = Some(ConfigPath::new(nginx.path("access.log")).unwrap());
        std::fs::write(nginx.vhost(), vhost.config()).unwrap();
        nginx.test().unwrap_or_else(|error| panic!("{domain}: {error}"));
    }
}

async fn the_proxies_own_words_are_slugs_like_others_to_nginx() {
    let nginx = Nginx::new();
    let routes = nginx.path("routes");
    for word in [
        "default",
        "include",
        "hostnames",
        "volatile",
        "nginx",
        "true",
        "import",
    ] {
        let slug: RouteSlug = word.parse().unwrap();
        let table = PathTable::from([(slug, "unix:/nowhere/x.sock".parse().unwrap())]);
        std::fs::write(&routes, combined(Form::NginxMap, &table).unwrap()).unwrap();
        let config = vhost(Form::NginxMap, &routes, "mcp.example.com").config();
        std::fs::write(nginx.vhost(), config).unwrap();
        nginx.test().unwrap_or_else(|error| panic!("{word}: {error}"));
    }
    // And without the care that the writer takes, nginx does see its own word: it looks for a file.
    std::fs::write(&routes, "include unix:/nowhere/x.sock;\n").unwrap();
    assert!(nginx.test().unwrap_err().contains("/nowhere/x.sock"));
}
