//! The way out, driven from the guest's end of a door without a cage around it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bmm_cage::door::egress::{EgressDoor, pair};
use bmm_deploy::{EgressLimits, EgressProxy};
use bmm_net::Dialer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixStream};

use crate::{eventually, trials};

trials!(
    bytes_go_both_ways_through_a_declared_host,
    what_follows_the_head_at_once_is_not_lost,
    one_side_may_finish_and_still_listen,
    an_undeclared_host_or_port_is_403,
    literals_and_odd_authorities_are_403,
    a_name_with_a_private_address_is_refused,
    a_name_with_one_private_address_among_public_ones_is_refused,
    a_name_is_resolved_once,
    an_unreachable_host_is_502,
    jwks_are_the_hosts_own,
    the_feed_of_revocations_is_the_hosts_own,
    everything_else_is_403_or_405,
    an_oversized_head_ends_the_stream,
    a_silent_stream_is_closed,
    a_silent_tunnel_is_closed,
    streams_are_capped,
    a_guest_that_breaks_the_rules_loses_its_way_out,
);

/// A listener of our own under the name `api.example.com`, which echoes.
struct World {
    door: EgressDoor,
    resolved: Arc<AtomicUsize>,
    accepted: Arc<AtomicUsize>,
}

/// Which address the name has, and which addresses the policy refuses.
#[derive(Clone, Copy)]
enum Policy {
    /// Loopback is let through, since that is where the tests listen.
    LetsLoopbackThrough,
    /// The one of production.
    Real,
}

impl World {
    async fn new() -> Self {
        Self::with(Policy::LetsLoopbackThrough, EgressLimits::default(), &[]).await
    }

    async fn with(policy: Policy, limits: EgressLimits, more: &'static [IpAddr]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&accepted);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                counted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        let resolved = Arc::new(AtomicUsize::new(0));
        let asked = Arc::clone(&resolved);
        let resolver = move |host: String, _port: u16| -> bmm_net::ResolveFuture {
            let before = asked.fetch_add(1, Ordering::SeqCst);
            Box::pin(async move {
                Ok(match host.as_str() {
                    // A closed port of this machine.
                    "closed.example.com" => vec![SocketAddr::from(([127, 0, 0, 1], 1))],
                    // Changes its mind: public when checked, private when asked again.
                    "rebinds.example.com" if before > 0 => {
                        vec![SocketAddr::from(([10, 0, 0, 1], here.port()))]
                    }
                    "gone.example.com" => return Err(std::io::Error::other("no such name")),
                    _ => more
                        .iter()
                        .map(|ip| SocketAddr::new(*ip, 443))
                        .chain([here])
                        .collect(),
                })
            })
        };
        let dialer = match policy {
            Policy::LetsLoopbackThrough => Dialer::insecure_with(resolver, |ip| match ip.is_loopback() {
                true => None,
                false => bmm_net::address::refusal(ip),
            }),
            Policy::Real => Dialer::insecure_with(resolver, bmm_net::address::refusal),
        };
        let proxy = EgressProxy::new(dialer, || Box::pin(async { "{\"keys\":[1]}".into() }))
            .with_revocations(|after| {
                let page = (after != Some(503)).then(|| format!("after {after:?}").into());
                Box::pin(async move { page })
            })
            .with_limits(limits);
        let (requests, guest) = pair().unwrap();
        let allowed: Vec<_> = ["*.example.com", "api.other.example:8443"]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        tokio::spawn(proxy.serve("demo".into(), allowed.into(), requests));
        Self {
            door: EgressDoor::new(guest).unwrap(),
            resolved,
            accepted,
        }
    }

    async fn ask(&self, head: &str) -> (u16, UnixStream) {
        let mut stream = self.door.connect().await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let status = status(&mut stream).await;
        (status, stream)
    }

    async fn connect(&self, authority: &str) -> (u16, UnixStream) {
        self.ask(&format!(
            "CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n"
        ))
        .await
    }
}

/// Reads the head of an answer, byte by byte; 0 when the stream ends instead.
async fn status(stream: &mut UnixStream) -> u16 {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&head)
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .unwrap_or(0)
}

async fn echo(stream: &mut UnixStream, text: &str) -> String {
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut back = vec![0; text.len()];
    stream.read_exact(&mut back).await.unwrap();
    String::from_utf8(back).unwrap()
}

async fn bytes_go_both_ways_through_a_declared_host() {
    let world = World::new().await;
    let (status, mut stream) = world.connect("api.example.com:443").await;
    assert_eq!(status, 200);
    assert_eq!(echo(&mut stream, "hello").await, "hello");
    assert_eq!(echo(&mut stream, &"x".repeat(100_000)).await.len(), 100_000);
    let (status, _) = world.connect("API.Example.Com.:443").await;
    assert_eq!(status, 200, "the same host in another spelling");
}

async fn what_follows_the_head_at_once_is_not_lost() {
    let world = World::new().await;
    let (status, mut stream) = world
        .ask("CONNECT api.example.com:443 HTTP/1.1\r\nHost: x\r\n\r\nearly")
        .await;
    assert_eq!(status, 200);
    let mut back = [0; 5];
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"early");
}

async fn one_side_may_finish_and_still_listen() {
    let world = World::new().await;
    let (_, mut stream) = world.connect("api.example.com:443").await;
    stream.write_all(b"last words").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut back = String::new();
    stream.read_to_string(&mut back).await.unwrap();
    assert_eq!(back, "last words");
}

async fn an_undeclared_host_or_port_is_403() {
    let world = World::new().await;
    for authority in [
        "evil.example:443",
        "example.com:443",
        "api.example.com:80",
        "api.example.com:8443",
        "api.other.example:443",
        "api.example.com.evil.example:443",
        "notexample.com:443",
    ] {
        assert_eq!(world.connect(authority).await.0, 403, "{authority}");
    }
    assert_eq!(
        world.resolved.load(Ordering::SeqCst),
        0,
        "a name that is not on the list is not even resolved"
    );
}

async fn literals_and_odd_authorities_are_403() {
    let world = World::new().await;
    for authority in [
        "127.0.0.1:443",
        "[::1]:443",
        "[::ffff:127.0.0.1]:443",
        "2130706433:443",
        "0x7f.1:443",
        "0177.0.0.1:443",
        "169.254.169.254:443",
        "localhost:443",
        "api.example.com@evil.example:443",
        "evil.example@api.example.com:443",
    ] {
        let (status, _) = world.connect(authority).await;
        assert!(matches!(status, 400 | 403), "{authority}: {status}");
    }
    for head in [
        "CONNECT api.example.com HTTP/1.1\r\nHost: api.example.com:443\r\n\r\n",
        "CONNECT / HTTP/1.1\r\n\r\n",
    ] {
        let (status, _) = world.ask(head).await;
        assert!(matches!(status, 0 | 400 | 403), "{head}: {status}");
    }
    assert_eq!(world.accepted.load(Ordering::SeqCst), 0);
}

/// The list names the host, its owner names the address: 127.0.0.1 here, the metadata service elsewhere (CWE-918).
async fn a_name_with_a_private_address_is_refused() {
    let world = World::with(Policy::Real, EgressLimits::default(), &[]).await;
    let (status, mut stream) = world.connect("api.example.com:443").await;
    assert_eq!(status, 403);
    let mut body = String::new();
    stream.read_to_string(&mut body).await.unwrap();
    assert!(
        body.contains("address_not_allowed") && !body.contains("127.0.0.1"),
        "{body}"
    );
    assert_eq!(world.accepted.load(Ordering::SeqCst), 0);
}

async fn a_name_with_one_private_address_among_public_ones_is_refused() {
    // Documentation addresses are not public either; the policy under test lets loopback through, so only this one is refused.
    const METADATA: &[IpAddr] = &[IpAddr::V4(std::net::Ipv4Addr::new(169, 254, 169, 254))];
    let world = World::with(Policy::LetsLoopbackThrough, EgressLimits::default(), METADATA).await;
    assert_eq!(world.connect("api.example.com:443").await.0, 403);
    assert_eq!(world.accepted.load(Ordering::SeqCst), 0);
}

/// DNS rebinding: there is no second resolution to answer differently.
async fn a_name_is_resolved_once() {
    let world = World::new().await;
    let (status, mut stream) = world.connect("rebinds.example.com:443").await;
    assert_eq!(status, 200);
    assert_eq!(echo(&mut stream, "pinned").await, "pinned");
    assert_eq!(world.resolved.load(Ordering::SeqCst), 1);
    assert_eq!(
        world.connect("rebinds.example.com:443").await.0,
        403,
        "and the next connection is checked anew"
    );
}

async fn an_unreachable_host_is_502() {
    let world = World::new().await;
    assert_eq!(world.connect("closed.example.com:443").await.0, 502);
    assert_eq!(world.connect("gone.example.com:443").await.0, 502);
}

async fn jwks_are_the_hosts_own() {
    let world = World::new().await;
    let (status, mut stream) = world.ask("GET /jwks HTTP/1.1\r\nHost: host\r\n\r\n").await;
    assert_eq!(status, 200);
    let mut body = String::new();
    stream.read_to_string(&mut body).await.unwrap();
    assert_eq!(body, "{\"keys\":[1]}");
}

async fn the_feed_of_revocations_is_the_hosts_own() {
    let world = World::new().await;
    for (query, expected) in [
        ("", (200, "after None")),
        ("?after=7", (200, "after Some(7)")),
        ("?after=503", (503, "")),
        ("?after=", (403, "")),
        ("?after=-1", (403, "")),
        ("?after=1&after=2", (403, "")),
    ] {
        let head = format!("GET /revocations{query} HTTP/1.1\r\nHost: host\r\n\r\n");
        let (status, mut stream) = world.ask(&head).await;
        assert_eq!(status, expected.0, "{query}");
        let mut body = String::new();
        stream.read_to_string(&mut body).await.unwrap();
        assert!(status != 200 || body == expected.1, "{body}");
    }
}

async fn everything_else_is_403_or_405() {
    let world = World::new().await;
    for (head, expected) in [
        ("GET / HTTP/1.1\r\nHost: host\r\n\r\n", 403),
        ("GET /jwks/../admin HTTP/1.1\r\nHost: host\r\n\r\n", 403),
        (
            "GET http://api.example.com/jwks HTTP/1.1\r\nHost: api.example.com\r\n\r\n",
            403,
        ),
        (
            "POST /jwks HTTP/1.1\r\nHost: host\r\nContent-Length: 0\r\n\r\n",
            405,
        ),
        ("DELETE / HTTP/1.1\r\nHost: host\r\n\r\n", 405),
        ("OPTIONS * HTTP/1.1\r\nHost: host\r\n\r\n", 405),
    ] {
        assert_eq!(world.ask(head).await.0, expected, "{head}");
    }
}

async fn an_oversized_head_ends_the_stream() {
    let world = World::new().await;
    let mut stream = world.door.connect().await.unwrap();
    let head = format!(
        "CONNECT api.example.com:443 HTTP/1.1\r\nx: {}\r\n\r\n",
        "y".repeat(200_000)
    );
    // The proxy may close before it has read all of it.
    let _ = stream.write_all(head.as_bytes()).await;
    assert!(matches!(status(&mut stream).await, 0 | 400 | 431));
    assert_eq!(world.accepted.load(Ordering::SeqCst), 0);
}

async fn a_silent_stream_is_closed() {
    let mut limits = EgressLimits::default();
    limits.head_timeout = Duration::from_millis(50);
    let world = World::with(Policy::LetsLoopbackThrough, limits, &[]).await;
    for said in ["", "CONNECT api.example.com:443 HTTP/1.1\r\n"] {
        let (status, _) = world.ask(said).await;
        assert!(matches!(status, 0 | 408), "{said:?}: {status}");
    }
}

async fn a_silent_tunnel_is_closed() {
    let mut limits = EgressLimits::default();
    limits.idle_timeout = Duration::from_millis(50);
    let world = World::with(Policy::LetsLoopbackThrough, limits, &[]).await;
    let (_, mut stream) = world.connect("api.example.com:443").await;
    assert_eq!(echo(&mut stream, "hello").await, "hello");
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0, "closed");
}

async fn streams_are_capped() {
    let mut limits = EgressLimits::default();
    limits.streams = 2;
    let world = World::with(Policy::LetsLoopbackThrough, limits, &[]).await;
    let (_, first) = world.connect("api.example.com:443").await;
    let (_, _second) = world.connect("api.example.com:443").await;
    let third = world.door.connect();
    tokio::pin!(third);
    assert!(
        tokio::time::timeout(Duration::from_millis(100), third.as_mut())
            .await
            .is_err(),
        "a third has to wait"
    );
    drop(first);
    third.await.unwrap();
}

async fn a_guest_that_breaks_the_rules_loses_its_way_out() {
    let proxy = EgressProxy::new(Dialer::new(), || Box::pin(async { "".into() }));
    let (requests, guest) = pair().unwrap();
    let served = tokio::spawn(proxy.serve("demo".into(), Arc::from([]), requests));
    rustix::net::send(
        &guest,
        b"a longer message than there is",
        rustix::net::SendFlags::empty(),
    )
    .unwrap();
    eventually(Duration::from_secs(5), "its proxy ends", async || {
        served.is_finished()
    })
    .await;
}
