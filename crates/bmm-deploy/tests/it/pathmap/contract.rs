//! One table for the built-in router, nginx in both forms and Caddy: whoever routes, a request reaches the same server as the same
//! path, or nobody.

use std::time::Duration;

use libtest_mimic::Trial;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::fronts::{Front, Kind};
use super::world::{DOMAIN, SITE_HEADERS, World, exchange, get, get_with, read_head};
use crate::eventually;

/// Each check, once per front.
macro_rules! contract {
    ($($check:ident),* $(,)?) => {
        pub(crate) fn trials() -> Vec<Trial> {
            let mut trials = Vec::new();
            for kind in Kind::ALL {
                $(
                    let name = format!("{}::{}::{}", module_path!(), stringify!($check), kind.name());
                    let trial = crate::trial(&name, move || async move {
                        let world = World::new().await;
                        let front = Front::start(kind, &world, &[]);
                        $check(&world, &front).await;
                    });
                    trials.push(trial.with_ignored_flag(kind.is_missing()));
                )*
            }
            trials
        }
    };
}

contract!(
    a_path_leads_to_its_server_its_page_or_nobody,
    no_request_for_one_slug_reaches_another,
    what_no_http_server_accepts_reaches_nobody,
    the_absolute_form_means_the_same,
    another_hosts_name_reaches_no_server,
    servers_see_the_public_host_and_no_claims,
    pages_see_the_real_address_and_not_a_claimed_one,
    an_answer_comes_as_the_server_gave_it,
    a_server_cannot_lead_a_request_elsewhere,
    what_belongs_to_the_site_stays_with_its_pages,
    a_stream_comes_piece_by_piece,
    an_upload_goes_piece_by_piece,
    large_bodies_go_both_ways,
    a_client_that_leaves_ends_the_call_at_the_server,
    a_server_that_is_not_there_is_told_as_such,
    a_call_is_sent_once_though_the_server_drops_it,
    a_client_cannot_open_a_tunnel,
);

/// What a request target means.
#[derive(Debug, Clone, PartialEq, Eq)]
enum To {
    /// This server (or `bmm` itself), as this target.
    Server(String, String),
    Nobody,
}

fn to(server: &str, target: &str) -> To {
    To::Server(server.to_owned(), target.to_owned())
}

/// `to(..)`, for each row of the table.
fn table() -> Vec<(String, To)> {
    let long = "a123456789012345678901234567890123456789";
    let far = format!("/{}", "x".repeat(3000));
    let query = format!("q={}", "y".repeat(3000));
    let rows = [
        // The prefix is stripped, the rest stays as it is.
        ("/mine/mcp", to("mine", "/mcp")),
        ("/mine", to("mine", "/")),
        ("/mine/", to("mine", "/")),
        ("/mine/a/b/", to("mine", "/a/b/")),
        ("/default/mcp", to("default", "/mcp")),
        ("/import/mcp", to("import", "/mcp")),
        ("/mine/mine/victim", to("mine", "/mine/victim")),
        ("/mine/login", to("mine", "/login")),
        ("/mine/health", to("mine", "/health")),
        ("/mine/a%20b", to("mine", "/a%20b")),
        ("/mine/%76%e4%C3%a4", to("mine", "/%76%e4%C3%a4")),
        ("/mine/%25%32%66", to("mine", "/%25%32%66")),
        ("/mine/$&+,=:@-._~", to("mine", "/$&+,=:@-._~")),
        ("/mine/...", to("mine", "/...")),
        ("/mine/.a/a.", to("mine", "/.a/a.")),
        ("/mine/%2e%2e%2e", to("mine", "/%2e%2e%2e")),
        (
            "/mine/.well-known/oauth-protected-resource",
            to("mine", "/.well-known/oauth-protected-resource"),
        ),
        // Queries are the server's.
        ("/mine/mcp?a=b&c=%2F..", to("mine", "/mcp?a=b&c=%2F..")),
        ("/mine/mcp?", to("mine", "/mcp?")),
        ("/mine?x", to("mine", "/?x")),
        ("/mine/mcp?/../victim/mcp", to("mine", "/mcp?/../victim/mcp")),
        (
            "/mine/mcp?a+b=%zz&&=;{}|'!?//",
            to("mine", "/mcp?a+b=%zz&&=;{}|'!?//"),
        ),
        (
            "/mine/mcp?$host{env.HOME}${1}$1",
            to("mine", "/mcp?$host{env.HOME}${1}$1"),
        ),
        // The metadata that stands before the path (RFC 9728 section 3.1).
        (
            "/.well-known/oauth-protected-resource/mine/mcp",
            to("mine", "/.well-known/oauth-protected-resource"),
        ),
        (
            "/.well-known/oauth-protected-resource/mine/mcp?a=b",
            to("mine", "/.well-known/oauth-protected-resource?a=b"),
        ),
        (
            "/.well-known/oauth-protected-resource/default/mcp",
            to("default", "/.well-known/oauth-protected-resource"),
        ),
        // bmm's own.
        ("/", to("bmm", "/")),
        ("/?a", to("bmm", "/?a")),
        ("/health", to("bmm", "/health")),
        ("/login?token=a%2Fb", to("bmm", "/login?token=a%2Fb")),
        ("/oauth/token", to("bmm", "/oauth/token")),
        ("/api/servers/", to("bmm", "/api/servers/")),
        (
            "/.well-known/oauth-authorization-server",
            to("bmm", "/.well-known/oauth-authorization-server"),
        ),
        // Nobody's.
        ("/nobody/mcp", To::Nobody),
        ("/nobody", To::Nobody),
        ("/.well-known/oauth-protected-resource/nobody/mcp", To::Nobody),
        ("/.well-known/oauth-protected-resource", To::Nobody),
        ("/.well-known/oauth-protected-resource/mine", To::Nobody),
        ("/.well-known/oauth-protected-resource/mine/mcp/", To::Nobody),
        ("/.well-known/oauth-protected-resource/mine/x/mcp", To::Nobody),
        ("/.well-known/oauth-protected-resource//mcp", To::Nobody),
        ("/.well-known/oauth-protected-resource/MINE/mcp", To::Nobody),
        (
            "/.well-known/oauth-protected-resource/mine/../victim/mcp",
            To::Nobody,
        ),
        (
            "/.well-known/oauth-protected-resource/mine%2f..%2fvictim/mcp",
            To::Nobody,
        ),
        (
            "/.well-known/oauth-protected-resource/victim/mcp/../../mine/mcp",
            To::Nobody,
        ),
        ("/.well-known/../victim/mcp", To::Nobody),
        ("/%2ewell-known/oauth-protected-resource/mine/mcp", To::Nobody),
        ("/mine/../victim/mcp", To::Nobody),
        ("/mine/..", To::Nobody),
        ("/mine/.", To::Nobody),
        ("/mine/./mcp", To::Nobody),
        ("/mine/..%2fvictim/mcp", To::Nobody),
        ("/mine/%2e%2e/victim/mcp", To::Nobody),
        ("/mine/.%2E/victim/mcp", To::Nobody),
        ("/mine/%2e", To::Nobody),
        ("/mine%2f..%2fvictim/mcp", To::Nobody),
        ("/mine/..;/victim/mcp", To::Nobody),
        ("/mine//victim/mcp", To::Nobody),
        ("/mine//", To::Nobody),
        ("//mine/mcp", To::Nobody),
        ("//victim/mcp", To::Nobody),
        ("///", To::Nobody),
        ("/./victim/mcp", To::Nobody),
        ("/%76ictim/mcp", To::Nobody),
        ("/VICTIM/mcp", To::Nobody),
        ("/Victim/mcp", To::Nobody),
        ("/victim%20/mcp", To::Nobody),
        ("/victim./mcp", To::Nobody),
        ("/victim;x/mcp", To::Nobody),
        ("/victim;/mcp", To::Nobody),
        ("/victim%2Fmcp", To::Nobody),
        ("/victim:80/mcp", To::Nobody),
        ("/victim_/mcp", To::Nobody),
        ("/-victim/mcp", To::Nobody),
        ("/1/mcp", To::Nobody),
        ("/mine/..%5cvictim/mcp", To::Nobody),
        ("/mine/%5C..%5Cvictim", To::Nobody),
        ("/mine/a%2Fb", To::Nobody),
        ("/login/../victim/mcp", To::Nobody),
        ("/login%2f..%2fvictim/mcp", To::Nobody),
        ("/LOGIN", To::Nobody),
        // Spelled by some as escapes.
        ("/mine/a!", To::Nobody),
        ("/mine/(a)", To::Nobody),
        ("/mine/*", To::Nobody),
        ("/mine/'", To::Nobody),
        ("/mine/../health", To::Nobody),
        ("/nobody/../health", To::Nobody),
    ];
    let more = [
        (
            format!("/{long}/mcp"),
            To::Server(long.to_owned(), "/mcp".to_owned()),
        ),
        (format!("/{long}0/mcp"), To::Nobody),
        (format!("/{}/mcp", "a".repeat(2000)), To::Nobody),
        (
            format!("/mine{far}?{query}"),
            To::Server("mine".to_owned(), format!("{far}?{query}")),
        ),
    ];
    let rows = rows.into_iter().map(|(target, to)| (target.to_owned(), to));
    rows.chain(more).collect()
}

async fn a_path_leads_to_its_server_its_page_or_nobody(world: &World, front: &Front) {
    for (target, to) in table() {
        let before = world.calls();
        let answer = get(front.address, &target).await;
        match to {
            To::Server(server, path) => {
                assert_eq!(answer.seen(), Some((server, path)), "{target}: {answer:?}");
            }
            To::Nobody => {
                // nginx knows by itself that a path leads out of everything.
                let refused = answer.status == 404 || answer.status == 400;
                assert!(refused && answer.seen().is_none(), "{target}: {answer:?}");
                assert_eq!(world.calls(), before, "{target} reached a server");
            }
        }
    }
    let answer = get(front.address, "/nobody/mcp").await;
    assert_eq!(
        (answer.status, answer.json()["error"].as_str()),
        (404, Some("not_found"))
    );
    for header in [
        "content-type: application/json",
        "cache-control: no-store",
        "access-control-allow-origin: *",
    ] {
        assert!(answer.headers.contains(header), "{header}: {}", answer.headers);
    }
}

/// Path confusion between proxies (CWE-22, CWE-436), by dice: what the front makes of a target is what the built-in router does.
async fn no_request_for_one_slug_reaches_another(world: &World, front: &Front) {
    let piece = prop::sample::select(vec![
        "/",
        "/",
        "//",
        "mine",
        "mine",
        "victim",
        "VICTIM",
        ".",
        "..",
        "%2e",
        "%2E%2e",
        "%2f",
        "%2F",
        "%5c",
        "%00",
        ";",
        "%",
        "%g",
        "?",
        "mcp",
        ".well-known",
        "oauth-protected-resource",
        "login",
        "oauth",
        "api",
        "health",
        "default",
        "a",
        "%6d",
        "x",
        "~",
        "$1",
        "{bmm_slug}",
        ":",
        "@",
        "&",
        "=",
        "+",
        "*",
        "'",
        "|",
        "\"",
        "<",
        "^",
        "`",
        "{",
        "}",
        "\\",
        "_",
    ]);
    let targets = (
        prop::sample::select(vec![
            "/mine/",
            "/mine",
            "/",
            "/.well-known/oauth-protected-resource/mine/",
            "/login/",
            "",
        ]),
        prop::collection::vec(piece, 0..6),
    )
        .prop_map(|(start, pieces)| format!("{start}{}", pieces.concat()));
    let mut runner = TestRunner::new_with_rng(
        Config::default(),
        TestRng::deterministic_rng(RngAlgorithm::ChaCha),
    );
    let mut reached = 0;
    for _ in 0..500 {
        let target = targets.new_tree(&mut runner).unwrap().current();
        let [here, there] = [front.address, world.bmm].map(|address| {
            let target = target.clone();
            async move { get(address, &target).await }
        });
        let (here, there) = (here.await, there.await);
        // A Caddy that passes everything on spells a path anew, and what is odd is plain then.
        let respelled = front.kind == Kind::CaddyPlain && there.seen().is_none();
        assert!(
            respelled || here.seen() == there.seen(),
            "{target}: {here:?} {there:?}"
        );
        match here.seen() {
            Some((server, _)) => {
                assert_ne!(server, "victim", "{target}");
                reached += 1;
            }
            None => assert!((400..500).contains(&here.status), "{target}: {here:?}"),
        }
    }
    assert!((50..450).contains(&reached), "{reached}");
}

async fn what_no_http_server_accepts_reaches_nobody(world: &World, front: &Front) {
    let before = world.calls();
    for line in [
        "GET /mine/mcp#/../victim HTTP/1.1".as_bytes(),
        b"GET /mine/a b HTTP/1.1",
        b"GET /mine/\x00 HTTP/1.1",
        b"GET /mine/\x7f HTTP/1.1",
        b"GET /mine/\xc3\xa4 HTTP/1.1",
        b"GET /mine/mcp?\xff HTTP/1.1",
        b"GET mine/mcp HTTP/1.1",
        b"GET * HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"CONNECT victim:80 HTTP/1.1",
        b"CONNECT mcp.example.com:80 HTTP/1.1",
        b"CONNECT /mine/mcp HTTP/1.1",
        b"GET \\mine\\mcp HTTP/1.1",
    ] {
        let host = format!("\r\nHost: {DOMAIN}\r\nConnection: close\r\n\r\n");
        let answer = exchange(front.address, &[line, host.as_bytes()].concat()).await;
        let shown = String::from_utf8_lossy(line);
        if let Some((server, _)) = answer.seen() {
            // The parser before the built-in router takes a fragment off, and Caddy spells anew what is not ASCII.
            let fragment = shown.contains('#') && front.kind.is_plain();
            let respelled = shown.contains('ä') && front.kind == Kind::CaddyPlain;
            assert!((fragment || respelled) && server == "mine", "{shown}: {answer:?}");
            continue;
        }
        // Caddy has empty answers of its own to `OPTIONS *` and to hosts that it does not know.
        let refused = answer.status == 0 || (400..500).contains(&answer.status);
        let empty = matches!(front.kind, Kind::Caddy | Kind::CaddyPlain) && answer.body.is_empty();
        assert!(refused || empty, "{shown}: {answer:?}");
    }
    assert!(front.kind.is_plain() || world.calls() == before);
}

async fn the_absolute_form_means_the_same(_: &World, front: &Front) {
    for (target, seen) in [
        ("http://mcp.example.com/mine/mcp?a=b", Some(("mine", "/mcp?a=b"))),
        (
            "http://mcp.example.com/.well-known/oauth-protected-resource/mine/mcp",
            Some(("mine", "/.well-known/oauth-protected-resource")),
        ),
        ("http://mcp.example.com/mine/../victim/mcp", None),
        ("http://mcp.example.com//victim/mcp", None),
        ("http://mcp.example.com/VICTIM/mcp", None),
    ] {
        let answer = get(front.address, target).await;
        let seen = seen.map(|(server, path)| (server.to_owned(), path.to_owned()));
        assert_eq!(answer.seen(), seen, "{target}: {answer:?}");
    }
}

async fn another_hosts_name_reaches_no_server(world: &World, front: &Front) {
    // Behind the built-in router stands bmm's own check of the Host header.
    if front.kind.is_plain() {
        return;
    }
    for request in [
        "GET /mine/mcp HTTP/1.1\r\nHost: evil.example\r\n",
        "GET /mine/mcp HTTP/1.1\r\nHost: mcp.example.com.evil.example\r\n",
        "GET /mine/mcp HTTP/1.1\r\nHost: mcp-example.com\r\n",
        "GET /mine/mcp HTTP/1.1\r\nHost: mcp.example.com@evil.example\r\n",
        "GET http://evil.example/mine/mcp HTTP/1.1\r\nHost: mcp.example.com\r\n",
        "GET /mine/mcp HTTP/1.1\r\nHost: mcp.example.com\r\nHost: evil.example\r\n",
        "GET /mine/mcp HTTP/1.1\r\n",
    ] {
        let answer = exchange(
            front.address,
            format!("{request}Connection: close\r\n\r\n").as_bytes(),
        )
        .await;
        assert_eq!(answer.seen(), None, "{request}: {answer:?}");
    }
    assert_eq!(world.calls(), 0);
    let answer = get_with(front.address, "/mine/mcp", "X-Forwarded-Host: evil.example\r\n").await;
    assert!(answer.seen().is_some());
}

/// CWE-644: what a client says about who it is, and about the connection, is not passed on (RFC 9110 section 7.6.1).
async fn servers_see_the_public_host_and_no_claims(_: &World, front: &Front) {
    let claims = "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Host: evil.example\r\nX-Forwarded-Proto: https\r\n\
                  X-Forwarded-Prefix: /evil\r\nX-Forwarded-Port: 1\r\nX-Forwarded-Server: evil\r\n\
                  Forwarded: for=1.2.3.4;host=evil.example\r\nX-Real-IP: 1.2.3.4\r\n\
                  Keep-Alive: timeout=5\r\nTE: trailers\r\nTrailer: x\r\nUpgrade: websocket\r\n\
                  Proxy-Authorization: Basic x\r\nProxy-Connection: keep-alive\r\n\
                  Authorization: Bearer t\r\nMcp-Session-Id: s\r\nMcp-Param-City: %20\r\nAccept: text/event-stream\r\n";
    let answer = get_with(front.address, "/mine/mcp", claims).await;
    let mut seen = answer.seen_headers();
    // Said by the proxy about its own connection to the server.
    seen.retain(|header| *header != ("connection".to_owned(), "close".to_owned()));
    let expected = [
        ("accept", "text/event-stream"),
        ("authorization", "Bearer t"),
        ("host", DOMAIN),
        ("mcp-param-city", "%20"),
        ("mcp-session-id", "s"),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(seen, expected);

    // By prefix, and by the names that Connection gives. nginx has no words for either.
    if front.kind != Kind::NginxMap {
        let request = format!(
            "GET /mine/mcp HTTP/1.1\r\nHost: {DOMAIN}\r\nX-Forwarded-Anything: x\r\nX-Secret: 1\r\nConnection: close, X-Secret\r\n\r\n"
        );
        let answer = exchange(front.address, request.as_bytes()).await;
        let names: Vec<String> = answer.seen_headers().into_iter().map(|(name, _)| name).collect();
        let left_out = |name: &str| !names.iter().any(|seen| seen == name);
        assert!(left_out("x-forwarded-anything"), "{names:?}");
        // Where nginx passes everything on, it has taken the list away before the built-in router could follow it.
        let lost = matches!(front.kind, Kind::NginxIf | Kind::NginxPlain);
        assert!(left_out("x-secret") || lost, "{names:?}");
    }
    let upper = exchange(
        front.address,
        b"GET /mine/mcp HTTP/1.1\r\nHost: MCP.example.com:443\r\nConnection: close\r\n\r\n",
    );
    if !front.kind.is_plain() {
        let host = ("host".to_owned(), DOMAIN.to_owned());
        assert!(upper.await.seen_headers().contains(&host));
    }
}

async fn pages_see_the_real_address_and_not_a_claimed_one(world: &World, front: &Front) {
    if front.kind == Kind::BuiltIn {
        return;
    }
    let forwarded = |headers: Vec<(String, String)>| {
        let mut all = headers.into_iter().filter(|(name, _)| name == "x-forwarded-for");
        let (_, address) = all.next().unwrap();
        assert!(all.next().is_none());
        address
    };
    let claims = "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: 192.0.2.2\r\nX-Real-IP: 192.0.2.3\r\nForwarded: for=192.0.2.4\r\n";
    let answer = get_with(front.address, "/login", claims).await;
    assert_eq!(forwarded(answer.seen_headers()), "127.0.0.1");
    if front.kind.is_plain() {
        return;
    }
    let text = answer.json().to_string();
    assert!(
        !text.contains("192.0.2.3") && !text.contains("192.0.2.4"),
        "{text}"
    );

    // Of a proxy that is trusted, the word is taken.
    let trusting = Front::start(front.kind, world, &["127.0.0.0/8".parse().unwrap()]);
    let answer = get_with(trusting.address, "/login", "X-Forwarded-For: 192.0.2.1\r\n").await;
    assert!(forwarded(answer.seen_headers()).starts_with("192.0.2.1"));
    let answer = get_with(trusting.address, "/mine/mcp", "X-Forwarded-For: 192.0.2.1\r\n").await;
    assert!(
        !answer.json().to_string().contains("192.0.2.1"),
        "servers learn no address"
    );
}

async fn an_answer_comes_as_the_server_gave_it(_: &World, front: &Front) {
    for (target, status) in [("/mine/404", 404), ("/mine/502", 502)] {
        let answer = get(front.address, target).await;
        assert_eq!(
            (answer.status, answer.body.as_slice()),
            (status, &b"my own"[..]),
            "{target}"
        );
    }
    assert!(get(front.address, "/mine/404").await.headers.contains("x-own: 1"));
}

/// `X-Accel-Redirect` is an order to nginx: with it, one server would answer with another's words.
async fn a_server_cannot_lead_a_request_elsewhere(world: &World, front: &Front) {
    let before = world.calls();
    let answer = get(front.address, "/mine/accel").await;
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"accel"[..]));
    assert!(
        answer.headers.contains("location: /victim/mcp"),
        "not rewritten: {}",
        answer.headers
    );
    assert_eq!(world.calls(), before + 1);
}

/// Servers are other people's, and the pages of the site share their origin.
async fn what_belongs_to_the_site_stays_with_its_pages(_: &World, front: &Front) {
    let cookie = ("cookie".to_owned(), "__Host-session=a".to_owned());
    let more = "Cookie: __Host-session=a\r\n";
    let page = get_with(front.address, "/login", more).await;
    assert!(page.seen_headers().contains(&cookie) && page.headers.contains("set-cookie: of-bmm=1"));
    let server = get_with(front.address, "/mine/mcp", more).await;
    assert!(!server.seen_headers().iter().any(|(name, _)| name == "cookie"));
    let names: Vec<&str> = server
        .headers
        .lines()
        .filter_map(|line| Some(line.split_once(": ")?.0))
        .collect();
    for name in SITE_HEADERS {
        assert!(!names.contains(&name), "{name}: {names:?}");
    }
}

async fn a_stream_comes_piece_by_piece(world: &World, front: &Front) {
    let kind = if front.kind == Kind::BuiltIn {
        "/stream"
    } else {
        "/stream/long"
    };
    streams(world, front, kind).await;
    for kind in ["/stream", "/stream/plain"] {
        let world = World::new().await;
        let front = Front::start(front.kind, &world, &[]);
        streams(&world, &front, kind).await;
    }
}

async fn streams(world: &World, front: &Front, kind: &str) {
    let mut stream = TcpStream::connect(front.address).await.unwrap();
    let request = format!("GET /mine{kind} HTTP/1.1\r\nHost: {DOMAIN}\r\nAccept-Encoding: gzip\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut seen = Vec::new();
    for number in 0..4 {
        // The next is not sent before this one has arrived.
        let event = format!("data: {number}\n\n");
        assert_eq!(event.len(), 9);
        world.feed.send(format!("{event}.").into()).await.unwrap();
        let arrived = async {
            while !String::from_utf8_lossy(&seen).contains(event.trim_end()) {
                let mut part = [0; 4096];
                let count = stream.read(&mut part).await.unwrap();
                assert!(count > 0, "ended early: {}", String::from_utf8_lossy(&seen));
                seen.extend(&part[..count]);
            }
        };
        tokio::time::timeout(Duration::from_secs(5), arrived)
            .await
            .unwrap_or_else(|_| panic!("{kind} was held back at {number}"));
    }
}

async fn an_upload_goes_piece_by_piece(world: &World, front: &Front) {
    let mut stream = TcpStream::connect(front.address).await.unwrap();
    let head = format!("POST /mine/upload HTTP/1.1\r\nHost: {DOMAIN}\r\nTransfer-Encoding: chunked\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut uploaded = world.uploaded.lock().await;
    for part in ["one", "two", "six"] {
        stream
            .write_all(format!("3\r\n{part}\r\n").as_bytes())
            .await
            .unwrap();
        let arrived = tokio::time::timeout(Duration::from_secs(5), uploaded.recv()).await;
        assert_eq!(arrived.expect("not held back").unwrap(), part);
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    assert!(read_head(&mut stream).await.0.starts_with("http/1.1 200"));
}

async fn large_bodies_go_both_ways(_: &World, front: &Front) {
    let body = vec![b'x'; 3 * 1024 * 1024];
    let head = format!(
        "POST /mine/echo HTTP/1.1\r\nHost: {DOMAIN}\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(front.address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let (go, _) = read_head(&mut stream).await;
    assert!(go.starts_with("http/1.1 100"), "{go}");
    let (mut read, mut write) = stream.split();
    let sent = async { write.write_all(&body).await.unwrap() };
    let got = async {
        let mut got = Vec::new();
        read.read_to_end(&mut got).await.unwrap();
        got
    };
    let ((), got) = tokio::join!(sent, got);
    // After the last head: some say "go on" twice.
    let start = got.windows(4).rposition(|four| four == b"\r\n\r\n").unwrap() + 4;
    assert_eq!(got.len() - start, body.len());
}

async fn a_client_that_leaves_ends_the_call_at_the_server(world: &World, front: &Front) {
    let mut stream = TcpStream::connect(front.address).await.unwrap();
    let request = format!("GET /mine/stream HTTP/1.1\r\nHost: {DOMAIN}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    world.feed.send("data: 1\n\n".into()).await.unwrap();
    assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
    drop(stream);
    eventually(
        Duration::from_secs(10),
        "the server's side is closed",
        async || world.feed.is_closed(),
    )
    .await;
}

async fn a_server_that_is_not_there_is_told_as_such(_: &World, front: &Front) {
    let answer = get(front.address, "/gone/mcp").await;
    assert!(matches!(answer.status, 502 | 503), "{answer:?}");
    assert!(answer.json()["error"].is_string(), "{answer:?}");
    for header in ["content-type: application/json", "retry-after: 5"] {
        assert!(answer.headers.contains(header), "{}", answer.headers);
    }
}

async fn a_call_is_sent_once_though_the_server_drops_it(world: &World, front: &Front) {
    for method in ["GET", "POST"] {
        let before = world.calls();
        let request = format!(
            "{method} /mine/die HTTP/1.1\r\nHost: {DOMAIN}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        );
        let answer = exchange(front.address, request.as_bytes()).await;
        assert_eq!(answer.status, 502, "{answer:?}");
        assert_eq!(answer.json()["error"], json!("bad_gateway"), "{answer:?}");
        assert_eq!(world.calls(), before + 1, "{method}");
    }
}

/// CVE-2019-20372 and request smuggling by upgrade: nothing but requests goes through.
async fn a_client_cannot_open_a_tunnel(world: &World, front: &Front) {
    for more in [
        "Connection: Upgrade\r\nUpgrade: websocket\r\n",
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n",
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding : chunked\r\n",
    ] {
        let before = world.calls();
        let smuggled = format!("GET /victim/mcp HTTP/1.1\r\nHost: {DOMAIN}\r\nConnection: close\r\n\r\n");
        let request = format!("GET /mine/mcp HTTP/1.1\r\nHost: {DOMAIN}\r\n{more}\r\n0\r\n\r\n{smuggled}");
        let answer = exchange(front.address, request.as_bytes()).await;
        assert_ne!(answer.status, 101, "{more}: {answer:?}");
        let names = answer.json().to_string();
        assert!(
            !names.contains("h2c") && !names.contains("websocket"),
            "{more}: {names}"
        );
        // What comes after on the same connection is a request of its own, or nothing.
        assert!(world.calls() <= before + 2, "{more}");
    }
}
