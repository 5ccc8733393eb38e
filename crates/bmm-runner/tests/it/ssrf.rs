//! Server-side request forgery: every way we know to name a destination that is not on the public internet.
//!
//! The cases run in a network namespace of their own in which *every* address is this machine's, so that each forbidden destination
//! is a listener that can be reached, and is reached first without the guard. Nothing leaves the namespace.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bmm_net::{Dialer, address};
use bmm_runner::engine::{FetchRequest, ToolFailure};
use bmm_runner::{Connector, Runner};
use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use crate::fetch::{get, tls};
use crate::support::*;

/// Set in the process that is inside the namespace.
const INSIDE: &str = "BMM_TEST_SSRF_INSIDE";

/// The `ip` of iproute2.
const IP: &str = "BMM_TEST_IP";

pub(crate) fn cases() -> Vec<Trial> {
    let name = "no_notation_no_redirect_and_no_rebinding_reaches_an_address_that_is_not_global";
    vec![
        Trial::test(name, || {
            let output = Command::new("unshare")
                .args(["--user", "--map-root-user", "--net", "--"])
                .arg(std::env::current_exe()?)
                .env(INSIDE, "1")
                // Whoever took a proxy from the environment would reach it: it is one of the listeners.
                .envs(PROXY_VARIABLES.map(|name| (name, "http://127.0.0.1:443")))
                .output()?;
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            let why = String::from_utf8_lossy(&output.stderr).into_owned();
            if !output.status.success() {
                return Err(format!("{said}\n{why}").into());
            }
            println!("{said}");
            Ok(())
        })
        // Needs iproute2 and util-linux: `cargo xtask test` names them.
        .with_ignored_flag(std::env::var_os(IP).is_none()),
    ]
}

/// The process inside the namespace, if this is the one.
pub(crate) fn inside() -> Option<ExitCode> {
    std::env::var_os(INSIDE)?;
    let ip = std::env::var_os(IP).expect("the outer process found it");
    for arguments in [
        "link set lo up",
        "route add local 0.0.0.0/0 dev lo",
        "-6 route add local ::/0 dev lo",
    ] {
        let status = Command::new(&ip).args(arguments.split(' ')).status();
        assert!(status.is_ok_and(|status| status.success()), "ip {arguments}");
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(120), every_notation())
            .await
            .expect("it ends in time");
    });
    Some(ExitCode::SUCCESS)
}

/// What HTTP clients look at for a proxy.
const PROXY_VARIABLES: [&str; 6] = [
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
    "HTTP_PROXY",
    "http_proxy",
];

/// One address of every kind that is not global, first and last ones of ranges included.
const FORBIDDEN: &[&str] = &[
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.254",
    "100.64.0.1",
    "100.100.100.200",
    "100.127.255.254",
    "127.0.0.1",
    "127.0.0.53",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.0.1",
    "169.254.169.253",
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.1",
    "172.17.0.1",
    "172.31.255.254",
    "192.0.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "192.168.255.254",
    "198.18.0.1",
    "198.19.255.254",
    "198.51.100.1",
    "203.0.113.1",
    "240.0.0.1",
    "255.255.255.254",
    "::1",
    "::127.0.0.1",
    "::7f00:2",
    "::ffff:10.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:0:7f00:1::1",
    "2001:2::1",
    "2001:10::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "2002:a9fe:a9fe::1",
    "2002:c0a8:1::1",
    "2606:4700::5efe:10.0.0.1",
    "2606:4700:0:0:200:5efe:a9fe:a9fe",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fd12:3456:789a::1",
    "fec0::1",
];

/// What TCP cannot reach even without a guard (link-local addresses not without a scope); refused all the same.
const UNREACHABLE: &[&str] = &[
    "224.0.0.1",
    "239.255.255.250",
    "255.255.255.255",
    "fe80::1",
    "ff02::1",
    "::",
];

/// Texts in the place of a host, or of the whole URL, that mean, or might be read as, something else than a declared host.
const NOTATIONS: &[&str] = &[
    // IPv4 in every spelling that some parser takes.
    "https://127.0.0.1/",
    "https://127.0.0.1./",
    "https://127.1/",
    "https://127.0.1/",
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0x7f.0.0.1/",
    "https://0x7f.1/",
    "https://0X7F.0x0.0x0.0x1/",
    "https://017700000001/",
    "https://0177.0.0.1/",
    "https://0177.0.0.01/",
    "https://00000177.0.0.1/",
    "https://127.0.0.0x1/",
    "https://127.00.00.01/",
    "https://0/",
    "https://0.0.0.0/",
    "https://10.0.0.1/",
    "https://0xa.1/",
    "https://167772161/",
    "https://192.168.1.1/",
    "https://3232235777/",
    "https://169.254.169.254/latest/meta-data/",
    "https://2852039166/",
    "https://0xa9fea9fe/",
    "https://0xa9.0xfe.0xa9.0xfe/",
    "https://0251.0376.0251.0376/",
    "https://169.254.43518/",
    "https://169.16689662/",
    "https://100.100.100.200/",
    "https://168.63.129.16/",
    "https://1.1.1.1/",
    // Digits of other scripts and circled ones fold to ASCII.
    "https://１２７.０.０.１/",
    "https://①②⑦.⓪.⓪.①/",
    "https://127。0。0。1/",
    "https://127．0．0．1/",
    "https://127｡0｡0｡1/",
    "https://⑯⑨。②⑤④。⑯⑨｡②⑤④/",
    "https://%31%32%37.0.0.1/",
    "https://127.0.0.%31/",
    "https://%6c%6f%63%61%6c%68%6f%73%74/",
    // IPv6.
    "https://[::1]/",
    "https://[0:0:0:0:0:0:0:1]/",
    "https://[0000:0000:0000:0000:0000:0000:0000:0001]/",
    "https://[::]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:7f00:1]/",
    "https://[::127.0.0.1]/",
    "https://[::ffff:a9fe:a9fe]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[2002:7f00:1::]/",
    "https://[fd00:ec2::254]/",
    "https://[fe80::1]/",
    "https://[fe80::1%25eth0]/",
    "https://[fe80::1%25lo]/",
    "https://[2606:4700:4700::1111]/",
    "https://[::1/",
    "https://::1/",
    // Names of this machine and of metadata services.
    "https://localhost/",
    "https://LOCALHOST/",
    "https://localhost./",
    "https://localhost.localdomain/",
    "https://a.localhost/",
    "https://ip6-localhost/",
    "https://metadata/",
    "https://metadata.google.internal/",
    "https://metadata.goog/",
    "https://instance-data/",
    "https://kubernetes.default.svc/",
    "https://host.docker.internal/",
    "https://127.0.0.1.nip.io/",
    "https://localtest.me/",
    "https://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/",
    "https://loc\u{ad}alhost/",
    "https://local\u{200b}host/",
    // Who is the host here?
    "https://api.example.com@127.0.0.1/",
    "https://api.example.com:443@127.0.0.1/",
    "https://127.0.0.1@api.example.com/",
    "https://user:password@api.example.com/",
    "https://api.example.com%40127.0.0.1/",
    "https://127.0.0.1#@api.example.com/",
    "https://127.0.0.1?@api.example.com/",
    "https://127.0.0.1\\@api.example.com/",
    "https:\\\\127.0.0.1\\",
    "https:127.0.0.1/",
    "https:/127.0.0.1/",
    "https:///127.0.0.1/",
    "https:////127.0.0.1/",
    "https://127.0.0.1%2f.example.com/",
    "https://127.0.0.1%00.example.com/",
    "https://127.0.0.1%09.example.com/",
    "https://127.0.0.1%23.example.com/",
    "https://127.0.0.1 .example.com/",
    "https://1\t2\n7.0.0.1/",
    " https://127.0.0.1/",
    "https://127.0.0.1:443/",
    "https://127.0.0.1:80/",
    "https://api.example.com:22/",
    "https://api.example.com:6379/",
    "https://api.example.com:99999/",
    // Hosts that look like a declared one.
    "https://example.com/",
    "https://api.example.com.evil.example.org/",
    "https://evilexample.com/",
    "https://xn--pi-fmc.example.org/",
    "https://аpi.example.org/",
    "https://.api.example.com/",
    "https://api..example.com/",
    "https://api_.127.0.0.1/",
    "https:///",
    "https://",
    // Other schemes.
    "http://api.example.com/",
    "http://127.0.0.1/",
    "HTTP://127.0.0.1/",
    "ftp://127.0.0.1/",
    "file:///etc/passwd",
    "file://127.0.0.1/etc/passwd",
    "gopher://127.0.0.1:6379/_FLUSHALL",
    "dict://127.0.0.1:11211/stats",
    "ws://127.0.0.1/",
    "wss://127.0.0.1/",
    "unix:/var/run/docker.sock",
    "data:text/plain,hello",
    "javascript:1",
    "blob:https://api.example.com/1",
    "jar:https://127.0.0.1!/",
    "//127.0.0.1/",
    "127.0.0.1",
    "",
];

const GLOBAL: &str = "93.184.215.14";
const GLOBAL_V6: &str = "2606:2800:21f:cb07:6820:80da:af6b:8b2c";

type Zone = Arc<Mutex<BTreeMap<String, Vec<Vec<IpAddr>>>>>;

/// A TLS server on port 443 of every address there is, and what came in by the address it was meant for.
struct World {
    root: Vec<u8>,
    met: Arc<Mutex<Vec<IpAddr>>>,
    /// Host -> the answers of its next lookups, the last one again and again.
    zone: Zone,
    lookups: Arc<AtomicUsize>,
    next_location: Arc<Mutex<String>>,
}

impl World {
    async fn make() -> Self {
        let (root, acceptor) = tls(&["*.example.com", "localhost"], &[]);
        let world = Self {
            root,
            met: Arc::default(),
            zone: Arc::default(),
            lookups: Arc::default(),
            next_location: Arc::default(),
        };
        let listener = TcpListener::bind("[::]:443").await.unwrap();
        let (met, location) = (Arc::clone(&world.met), Arc::clone(&world.next_location));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                met.lock()
                    .unwrap()
                    .push(stream.local_addr().unwrap().ip().to_canonical());
                let (acceptor, location) = (acceptor.clone(), Arc::clone(&location));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let answer = move |_| {
                        let location = location.lock().unwrap().clone();
                        async move {
                            let answer = Response::builder().header("connection", "close");
                            let answer = if location.is_empty() {
                                answer
                            } else {
                                answer.status(302).header("location", location.as_bytes())
                            };
                            answer.body(Full::new(Bytes::from("here")))
                        }
                    };
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), hyper::service::service_fn(answer))
                        .await;
                });
            }
        });
        world
    }

    fn says(&self, host: &str, answers: &[&[&str]]) {
        let answers = answers
            .iter()
            .map(|addresses| addresses.iter().map(|ip| ip.parse().unwrap()).collect())
            .collect();
        self.zone.lock().unwrap().insert(host.to_owned(), answers);
    }

    fn connector(&self) -> Connector {
        let (zone, lookups) = (Arc::clone(&self.zone), Arc::clone(&self.lookups));
        let resolver = move |host: String, port: u16| {
            lookups.fetch_add(1, Ordering::SeqCst);
            let mut zone = zone.lock().unwrap();
            // A resolver reads numbers as addresses, which is why none may get this far.
            let answer = match zone.get_mut(&host) {
                Some(answers) if answers.len() > 1 => Ok(answers.remove(0)),
                Some(answers) => Ok(answers[0].clone()),
                None => Ok(vec![IpAddr::from([127, 0, 0, 1])]),
            };
            let answer: std::io::Result<Vec<SocketAddr>> =
                answer.map(|ips| ips.into_iter().map(|ip| (ip, port).into()).collect());
            Box::pin(std::future::ready(answer)) as _
        };
        Connector::direct(Dialer::insecure_with(resolver, address::refusal))
            .insecure_with_trust_roots([self.root.clone()])
    }

    /// What `ctx.fetch` of a tool comes to.
    async fn fetch(&self, url: &str) -> Result<String, String> {
        let request: FetchRequest = get(url);
        let engine = engine(move |_, host| {
            let request = request.clone();
            async move {
                match host.fetch(request).await {
                    Ok(response) => Ok(json!(String::from_utf8_lossy(&response.body))),
                    Err(message) => Err(ToolFailure::Thrown { message }),
                }
            }
        });
        let spec = spec(json!([tool("run")]), json!({"allowedDomains": ["*.example.com"]}));
        let service = Runner::new(spec, engine)
            .unwrap()
            .with_connector(self.connector())
            .into_service();
        let mut call = modern(ANN, "tools/call", json!({"name": "run"}));
        call.headers_mut()
            .unwrap()
            .insert("host", "localhost".parse().unwrap());
        let result: Value = send(&service, call).await.json()["result"].clone();
        let text = result["content"][0]["text"].as_str().unwrap().to_owned();
        if result["isError"] == true {
            Err(text)
        } else {
            Ok(text)
        }
    }

    fn met(&self) -> Vec<IpAddr> {
        std::mem::take(&mut *self.met.lock().unwrap())
    }
}

async fn every_notation() {
    let world = World::make().await;
    for address in FORBIDDEN {
        let ip: IpAddr = address.parse().unwrap();
        // Without the guard it is there.
        TcpStream::connect((ip, 443))
            .await
            .unwrap_or_else(|error| panic!("{ip} cannot be reached at all: {error}"));
        assert!(address::refusal(ip).is_some(), "{ip}");
    }
    let reached = FORBIDDEN.len();
    while world.met.lock().unwrap().len() < reached {
        tokio::task::yield_now().await;
    }
    world.met();

    // With it, the public address is reached under a declared name, and nothing else.
    for (host, address) in [("v4.example.com", GLOBAL), ("v6.example.com", GLOBAL_V6)] {
        world.says(host, &[&[address]]);
        let body = world.fetch(&format!("https://{host}/")).await;
        assert_eq!(
            (body, world.met()),
            (Ok("here".to_owned()), vec![address.parse().unwrap()])
        );
    }

    let mut tried = 0;
    let mut refused = async |what: String, url: &str| {
        let outcome = world.fetch(url).await;
        assert!(outcome.is_err(), "{what}: {outcome:?}");
        let strangers: Vec<IpAddr> = world
            .met()
            .into_iter()
            .filter(|ip| address::refusal(*ip).is_some())
            .collect();
        assert!(strangers.is_empty(), "{what} reached {strangers:?}");
        tried += 1;
    };
    // Names that resolve to it: alone, and among global ones.
    for address in FORBIDDEN.iter().chain(UNREACHABLE) {
        for answer in [vec![*address], vec![GLOBAL, address], vec![address, GLOBAL_V6]] {
            world.says("bad.example.com", &[&answer]);
            refused(format!("name {answer:?}"), "https://bad.example.com/").await;
        }
    }
    // Texts.
    for url in NOTATIONS {
        refused(format!("url {url:?}"), url).await;
    }
    // A host of the list redirects there.
    world.says("good.example.com", &[&[GLOBAL]]);
    for address in FORBIDDEN.iter().chain(UNREACHABLE) {
        world.says("bad.example.com", &[&[address]]);
        *world.next_location.lock().unwrap() = "https://bad.example.com/".to_owned();
        refused(
            format!("redirect to a name of {address}"),
            "https://good.example.com/",
        )
        .await;
    }
    for url in NOTATIONS {
        if url.is_empty() || url.contains(['\n', '\t']) || !url.contains(':') {
            continue; // Cannot stand in a header, or is a path of the same host.
        }
        *world.next_location.lock().unwrap() = (*url).to_owned();
        refused(format!("redirect to {url:?}"), "https://good.example.com/").await;
    }
    world.next_location.lock().unwrap().clear();
    // Rebinding: global when it is asked first, private after that. One lookup belongs to one connection.
    for address in FORBIDDEN {
        world.says("turn.example.com", &[&[GLOBAL], &[address]]);
        let before = world.lookups.load(Ordering::SeqCst);
        let first = world.fetch("https://turn.example.com/").await;
        assert_eq!(
            (first, world.met()),
            (Ok("here".to_owned()), vec![GLOBAL.parse().unwrap()])
        );
        assert_eq!(world.lookups.load(Ordering::SeqCst), before + 1);
        refused(format!("rebinding to {address}"), "https://turn.example.com/").await;
    }
    assert!(tried >= 500, "{tried}");
    println!(
        "{} addresses reached without the guard; {tried} attempts with it, none of them arrived",
        FORBIDDEN.len()
    );
}
