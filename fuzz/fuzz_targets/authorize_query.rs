//! Any bytes as the query of an authorization request of somebody who is signed in and consents to everything: the answer is a page or a
//! redirect, and a redirect leads to where the client that is named registered, if it can be sure of it.
#![no_main]

use std::sync::LazyLock;

use bmm_fuzz::{ORIGIN, Server, leads_to_one_of};
use bmm_oauth::ClientAuthMethod;

const CLIENTS: [(&str, &[&str]); 4] = [
    (
        "web",
        &["https://client.example/cb", "https://client.example/other?x=1"],
    ),
    (
        "native",
        &[
            "http://127.0.0.1/cb",
            "http://localhost:3000/cb",
            "http://[::1]/",
            "cursor://a/cb",
        ],
    ),
    ("single", &["com.example.app:/cb"]),
    // What was registered though it is unsafe is refused when it is used.
    (
        "unsafe",
        &[
            "javascript:alert(1)",
            "http://client.example/cb",
            "https://client.example/cb",
        ],
    ),
];

static SERVER: LazyLock<Server> = LazyLock::new(|| {
    let server = Server::new(|server| server);
    for (id, redirect_uris) in CLIENTS {
        server.enrol(id, ClientAuthMethod::None, None, redirect_uris);
    }
    server
});

libfuzzer_sys::fuzz_target!(|query: &[u8]| {
    let Ok(query) = std::str::from_utf8(query) else {
        return;
    };
    // What follows is a fragment, which is not sent.
    let query = query.split('#').next().unwrap_or_default();
    // Consents that nobody gave are swept once they have ended.
    SERVER.pass(61);
    let Some(location) = SERVER.authorize(query) else {
        return;
    };
    let named: Vec<String> = form_urlencoded::parse(query.as_bytes())
        .filter(|(name, _)| name == "client_id")
        .map(|(_, value)| value.into_owned())
        .collect();
    let [named] = named.as_slice() else {
        panic!("a redirect for a request that names {} clients", named.len());
    };
    let (_, registered) = CLIENTS
        .iter()
        .find(|(id, _)| id == named)
        .expect("a client that exists");
    assert!(leads_to_one_of(&location, registered), "{location}");

    let answer = url::Url::parse(&location).unwrap();
    let told = |wanted: &str| -> Vec<String> {
        let pairs = answer.query_pairs().filter(|(name, _)| name == wanted);
        pairs.map(|(_, value)| value.into_owned()).collect()
    };
    assert_eq!(told("iss"), [ORIGIN], "RFC 9207");
    assert_eq!(told("code").len() + told("error").len(), 1, "{location}");
});
