//! Any bytes as the document of a client whose id is its URL: an answer, and a redirect only to where the document says, if that is safe.
//!
//! The first byte chooses how the document is served. It comes through the server's own way out over a connection on loopback: what is
//! read, kept and judged is what production reads, keeps and judges.
#![no_main]

use std::sync::{Arc, LazyLock, Mutex};

use bmm_fuzz::{CHALLENGE, RESOURCE, Server, leads_to_one_of};
use bmm_net::{Dialer, Fetcher, Transport};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const CLIENT: &str = "https://client.example/oauth.json";
const HEADS: [&str; 4] = [
    "content-type: application/json",
    "content-type: application/json; charset=utf-8\r\ncache-control: max-age=99999999999",
    "content-type: application/oauth-client+json\r\ncache-control: no-store",
    "content-type: text/html",
];

type Served = Arc<Mutex<Vec<u8>>>;

static FIXTURE: LazyLock<(Server, Served)> = LazyLock::new(|| {
    let served = Served::default();
    // Its port is known before there is a runtime to listen in.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let dialer = Dialer::insecure_with(move |_, _| Box::pin(async move { Ok(vec![address]) }), |_| None);
    let fetcher = Fetcher::insecure_with(dialer, Transport::PlainLoopback).unwrap();
    let server = Server::new(|server| server.with_fetcher(fetcher));
    let shelf = Arc::clone(&served);
    server.runtime.spawn(async move {
        let listener = TcpListener::from_std(listener).unwrap();
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = shelf.lock().unwrap().clone();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") && stream.read_buf(&mut asked).await.is_ok_and(|n| n > 0) {}
            let _ = stream.write_all(&answer).await;
            // Whoever closes first waits with the port; let it be the other side.
            let _ = stream.read(&mut [0; 1]).await;
        }
    });
    (server, served)
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((kind, document)) = bytes.split_first() else {
        return;
    };
    let (server, served) = &*FIXTURE;
    let head = HEADS[usize::from(*kind) % HEADS.len()];
    let length = document.len();
    let mut answer = format!("HTTP/1.1 200 OK\r\n{head}\r\ncontent-length: {length}\r\n\r\n").into_bytes();
    answer.extend_from_slice(document);
    *served.lock().unwrap() = answer;
    // Longer than a document is kept.
    server.pass(3601);

    let read: Option<Value> = serde_json::from_slice(document).ok();
    let listed: Vec<&str> = read
        .iter()
        .filter_map(|document| document["redirect_uris"].as_array())
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let asked_for = listed.first().copied().unwrap_or("https://client.example/cb");
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("response_type", "code")
        .append_pair("client_id", CLIENT)
        .append_pair("redirect_uri", asked_for)
        .append_pair("code_challenge", CHALLENGE)
        .append_pair("code_challenge_method", "S256")
        .append_pair("resource", RESOURCE)
        .finish();
    let Some(location) = server.authorize(&query) else {
        return;
    };
    let read = read.as_ref().expect("a client without a document");
    assert_eq!(read["client_id"], CLIENT, "the document is another client's");
    assert!(
        read.get("client_secret").is_none(),
        "a secret that everybody can read"
    );
    assert_ne!(kind % 4, 3, "a page of HTML is no document");
    assert!(leads_to_one_of(&location, &listed), "{location} {listed:?}");
});
