//! Connections, to listeners of our own.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bmm_net::{DialError, Dialer, ResolveFuture, address};
use tokio::net::TcpListener;

fn resolver(addresses: Vec<SocketAddr>) -> impl Fn(String, u16) -> ResolveFuture + Send + Sync + 'static {
    move |_, _| {
        let addresses = addresses.clone();
        Box::pin(async move { Ok(addresses) })
    }
}

/// The policy of production, with loopback let through since that is where tests listen.
fn but_loopback(ip: IpAddr) -> Option<&'static str> {
    if ip.is_loopback() {
        None
    } else {
        address::refusal(ip)
    }
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

#[tokio::test]
async fn a_checked_address_is_connected_to() {
    let (listener, here) = listener().await;
    let dialer = Dialer::insecure_with(resolver(vec![here]), but_loopback);
    let stream = dialer.connect("API.example.com.", 443).await.unwrap();
    assert_eq!(stream.peer_addr().unwrap(), here);
    assert_eq!(listener.accept().await.unwrap().1, stream.local_addr().unwrap());
}

#[tokio::test]
async fn the_resolver_gets_the_one_spelling_once() {
    let (_listener, here) = listener().await;
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let dialer = Dialer::insecure_with(
        move |host, port| {
            assert_eq!((host.as_str(), port), ("xn--bcher-kva.example", 8443));
            count.fetch_add(1, Ordering::SeqCst);
            Box::pin(async move { Ok(vec![here]) })
        },
        but_loopback,
    );
    dialer.connect("BÜCHER.example", 8443).await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn one_bad_address_spoils_the_name_and_nothing_is_sent() {
    let (listener, here) = listener().await;
    let metadata = SocketAddr::from(([169, 254, 169, 254], 443));
    for addresses in [vec![here, metadata], vec![metadata, here]] {
        let dialer = Dialer::insecure_with(resolver(addresses), but_loopback);
        let error = dialer.connect("api.example.com", 443).await.unwrap_err();
        assert!(
            matches!(&error, DialError::Refused { reason: "link-local", address, .. } if *address == metadata.ip())
        );
        assert!(
            !error.to_string().contains("169.254"),
            "the address is for the operator: {error}"
        );
    }
    assert!(
        tokio::time::timeout(Duration::from_millis(50), listener.accept())
            .await
            .is_err()
    );
}

#[tokio::test]
async fn the_policy_of_production_refuses_this_machine() {
    let (listener, here) = listener().await;
    let dialer = Dialer::insecure_with(resolver(vec![here]), address::refusal);
    let error = dialer.connect("api.example.com", 443).await.unwrap_err();
    assert!(matches!(
        error,
        DialError::Refused {
            reason: "loopback",
            ..
        }
    ));
    assert!(matches!(
        Dialer::new().connect("localhost", here.port()).await,
        Err(DialError::Refused { .. })
    ));
    assert!(
        tokio::time::timeout(Duration::from_millis(50), listener.accept())
            .await
            .is_err()
    );
}

#[tokio::test]
async fn an_address_is_no_name_to_dial() {
    let dialer = Dialer::insecure_with(|_, _| panic!("asked"), |_| None);
    for host in ["127.0.0.1", "[::1]", "2130706433", "8.8.8.8", "", "a b"] {
        assert!(
            matches!(dialer.connect(host, 443).await, Err(DialError::Host(_))),
            "{host}"
        );
    }
}

#[tokio::test]
async fn the_next_address_is_tried_when_one_is_closed() {
    let (_listener, here) = listener().await;
    let closed = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let dialer = Dialer::insecure_with(resolver(vec![closed, closed, here]), but_loopback);
    assert_eq!(
        dialer
            .connect("api.example.com", 443)
            .await
            .unwrap()
            .peer_addr()
            .unwrap(),
        here
    );
    let dialer = Dialer::insecure_with(resolver(vec![closed]), but_loopback);
    assert!(matches!(
        dialer.connect("api.example.com", 443).await,
        Err(DialError::Connect { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn a_resolver_that_hangs_or_fails_is_an_error_in_time() {
    let dialer = Dialer::insecure_with(|_, _| Box::pin(std::future::pending()), but_loopback);
    assert!(matches!(
        dialer.connect("api.example.com", 443).await,
        Err(DialError::ResolveTimeout { .. })
    ));
    let dialer = Dialer::insecure_with(
        |_, _| Box::pin(async { Err(io::Error::other("no")) }),
        but_loopback,
    );
    assert!(matches!(
        dialer.connect("api.example.com", 443).await,
        Err(DialError::Resolve { .. })
    ));
    let dialer = Dialer::insecure_with(resolver(Vec::new()), but_loopback);
    assert!(matches!(
        dialer.connect("api.example.com", 443).await,
        Err(DialError::NoAddress { .. })
    ));
}
