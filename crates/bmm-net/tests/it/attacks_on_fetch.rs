//! Server-side request forgery through a URL that a stranger chose (CWE-918), and peers that mean harm with their answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bmm_net::{DialError, Dialer, FetchError, FetchLimits, Fetcher, Transport, address};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::fetch::{Peer, answering, get, limits};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";

/// An address is no host, however it is spelled; the resolver is not even asked.
#[tokio::test]
async fn a_url_with_an_address_is_refused_in_every_notation() {
    let dialer = Dialer::insecure_with(|host, _| panic!("asked for {host}"), |_| None);
    let fetcher = Fetcher::insecure_with(dialer, Transport::PublicRoots).unwrap();
    for host in [
        "127.0.0.1",
        "127.1",
        "0177.0.0.1",
        "0x7f.1",
        "0x7f000001",
        "2130706433",
        "017700000001",
        "0",
        "127.0.0.1.",
        "169.254.169.254",
        "0xa9fea9fe",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[fe80::1]",
        "8.8.8.8",
        "%31%32%37.0.0.1",
        "127.0.0.1%00.example.com",
    ] {
        for url in [format!("https://{host}/"), format!("https://{host}:8443/")] {
            let Ok(request) = http::Request::get(&url).body(bytes::Bytes::new()) else {
                continue;
            };
            let error = fetcher.fetch(request, FetchLimits::default()).await.unwrap_err();
            assert!(matches!(error, FetchError::Host(_)), "{url} {error:?}");
        }
    }
}

/// The policy of production, over names that resolve to places off the public internet.
#[tokio::test]
async fn a_name_of_any_address_that_is_not_global_is_refused() {
    for address in [
        "0.0.0.0",
        "10.0.0.1",
        "100.64.0.1",
        "127.0.0.1",
        "169.254.169.254",
        "168.63.129.16",
        "172.16.0.1",
        "192.0.0.1",
        "192.168.0.1",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:10.0.0.1",
        "::10.0.0.1",
        "::ffff:0:10.0.0.1",
        "64:ff9b::a00:1",
        "64:ff9b:1::a00:1",
        "2001:0:a00:1::",
        "2001:db8::1",
        "2002:a00:1::1",
        "2600::5efe:a00:1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "ff02::1",
    ] {
        let address = SocketAddr::new(address.parse().unwrap(), 443);
        let dialer = Dialer::insecure_with(
            move |_, _| Box::pin(async move { Ok(vec![address]) }),
            address::refusal,
        );
        let fetcher = Fetcher::insecure_with(dialer, Transport::PublicRoots).unwrap();
        let error = fetcher
            .fetch(get("https://a.example/"), limits(10))
            .await
            .unwrap_err();
        assert!(
            matches!(error, FetchError::Dial(DialError::Refused { .. })),
            "{address} {error:?}"
        );
    }
}

/// A name with one private address among public ones is not ours to choose from; the good address hears nothing.
#[tokio::test]
async fn one_private_address_among_good_ones_refuses_the_name() {
    let mut peer = Peer::plain(OK).await;
    let private = SocketAddr::from(([10, 0, 0, 1], 443));
    for addresses in [vec![peer.address, private], vec![private, peer.address]] {
        let fetcher = Fetcher::insecure_with(answering(addresses), Transport::PlainLoopback).unwrap();
        let error = fetcher
            .fetch(get("https://a.example/"), limits(10))
            .await
            .unwrap_err();
        assert!(
            matches!(error, FetchError::Dial(DialError::Refused { .. })),
            "{error:?}"
        );
    }
    assert!(peer.requests.try_recv().is_err());
}

/// DNS rebinding: the second answer of the resolver would be another one. It is never asked for.
#[tokio::test]
async fn a_name_is_resolved_once_for_a_fetch() {
    let peer = Peer::plain(OK).await;
    let asked = Arc::new(AtomicUsize::new(0));
    let (count, good) = (Arc::clone(&asked), peer.address);
    let dialer = Dialer::insecure_with(
        move |_, _| {
            let first = count.fetch_add(1, Ordering::SeqCst) == 0;
            let address = if first {
                good
            } else {
                SocketAddr::from(([10, 0, 0, 1], 443))
            };
            Box::pin(async move { Ok(vec![address]) })
        },
        |ip| {
            if ip.is_loopback() {
                None
            } else {
                address::refusal(ip)
            }
        },
    );
    let fetcher = Fetcher::insecure_with(dialer, Transport::PlainLoopback).unwrap();
    fetcher
        .fetch(get("https://a.example/"), limits(10))
        .await
        .unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

/// A redirect leads where nobody has looked: it is an error, and nothing else is dialled.
#[tokio::test]
async fn a_redirect_is_not_followed() {
    for status in [301, 302, 303, 307, 308, 399] {
        let answer = format!(
            "HTTP/1.1 {status} Elsewhere\r\nlocation: https://a.example/other\r\ncontent-length: 0\r\n\r\n"
        );
        let mut peer = Peer::plain(answer).await;
        let error = peer
            .fetcher()
            .fetch(get("https://a.example/"), limits(10))
            .await
            .unwrap_err();
        assert!(
            matches!(error, FetchError::Redirect { status: s } if s == status),
            "{error:?}"
        );
        assert!(peer.requests.recv().await.is_some());
        assert!(peer.requests.try_recv().is_err(), "asked once only");
    }
}

/// Neither what is announced nor what merely keeps coming is read beyond the limit.
#[tokio::test]
async fn an_answer_larger_than_the_limit_is_refused() {
    let announced = "HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551615\r\n\r\n";
    let endless = format!(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{}",
        format!("1000\r\n{}\r\n", "x".repeat(0x1000)).repeat(64)
    );
    let until_close = format!("HTTP/1.0 200 OK\r\n\r\n{}", "x".repeat(200_000));
    for answer in [announced.to_owned(), endless, until_close] {
        let error = Peer::plain(answer)
            .await
            .fetcher()
            .fetch(get("https://a.example/"), limits(64 * 1024))
            .await
            .unwrap_err();
        assert!(
            matches!(
                error,
                FetchError::TooLarge { max_bytes: 65_536 } | FetchError::Http(_)
            ),
            "{error:?}"
        );
    }
    let head = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(100_000));
    let fields = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(200));
    for answer in [head, fields] {
        let error = Peer::plain(answer)
            .await
            .fetcher()
            .fetch(get("https://a.example/"), limits(10))
            .await
            .unwrap_err();
        assert!(matches!(error, FetchError::Http(_)), "{error:?}");
    }
}

/// One byte at a time keeps a connection alive for ever, unless the clock runs over everything together.
#[tokio::test(start_paused = true)]
async fn a_peer_that_dribbles_is_cut_off() {
    for head in [
        "HTTP/1.1 200 ",
        "HTTP/1.1 200 OK\r\nx",
        "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n",
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let dribbling = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 1024]).await;
            stream.write_all(head.as_bytes()).await.unwrap();
            while stream.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        let fetcher = Fetcher::insecure_with(answering(vec![address]), Transport::PlainLoopback).unwrap();
        let error = fetcher
            .fetch(get("https://a.example/"), limits(10_000))
            .await
            .unwrap_err();
        assert!(matches!(error, FetchError::Timeout), "{error:?}");
        dribbling.await.unwrap();
    }
}

/// A peer that takes the connection and never finishes the TLS handshake.
#[tokio::test(start_paused = true)]
async fn a_handshake_that_hangs_is_cut_off() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let fetcher = Fetcher::insecure_with(
        answering(vec![listener.local_addr().unwrap()]),
        Transport::PublicRoots,
    )
    .unwrap();
    let error = fetcher
        .fetch(get("https://a.example/"), limits(10))
        .await
        .unwrap_err();
    assert!(matches!(error, FetchError::Timeout), "{error:?}");
}

/// The certificate must be for the host of the URL, by an authority that is trusted; nothing is sent before.
#[tokio::test]
async fn a_certificate_for_another_host_or_by_nobody_is_refused() {
    let mut peer = Peer::tls("b.example", OK).await;
    let error = peer
        .fetcher()
        .fetch(get("https://a.example/"), limits(10))
        .await
        .unwrap_err();
    assert!(matches!(error, FetchError::Tls(_)), "{error:?}");
    let fetcher = Fetcher::insecure_with(peer.dialer(), Transport::PublicRoots).unwrap();
    let error = fetcher
        .fetch(get("https://b.example/"), limits(10))
        .await
        .unwrap_err();
    assert!(matches!(error, FetchError::Tls(_)), "{error:?}");
    assert_eq!(peer.requests.recv().await.as_deref(), Some("no TLS"));
    assert_eq!(peer.requests.recv().await.as_deref(), Some("no TLS"));
}

/// What two parsers of URLs read differently, and what is not https.
#[tokio::test]
async fn a_url_of_another_form_is_refused() {
    let dialer = || Dialer::insecure_with(|host, _| panic!("asked for {host}"), |_| None);
    let fetcher = Fetcher::insecure_with(dialer(), Transport::PublicRoots).unwrap();
    for url in [
        "http://a.example/",
        "ftp://a.example/",
        "/path",
        "a.example:443",
        "https://user@a.example/",
        "https://user:password@a.example/",
        "https://a.example@b.example/",
        "https://a.example:/",
        "https://a.example:99999/",
    ] {
        let Ok(request) = http::Request::get(url).body(bytes::Bytes::new()) else {
            continue;
        };
        let error = fetcher.fetch(request, limits(10)).await.unwrap_err();
        assert!(
            matches!(error, FetchError::NotHttps | FetchError::UserInfo),
            "{url} {error:?}"
        );
    }
    let plain = Fetcher::insecure_with(dialer(), Transport::PlainLoopback).unwrap();
    let error = plain
        .fetch(get("ftp://a.example/"), limits(10))
        .await
        .unwrap_err();
    assert!(matches!(error, FetchError::NotHttps));
}
