//! Any bytes as a registration: an answer, and if it is accepted, only safe redirect URIs of it can be used.
#![no_main]

use std::sync::LazyLock;

use axum::body::Body;
use bmm_fuzz::{CHALLENGE, RESOURCE, Server, leads_to_one_of};
use http::{Request, StatusCode, header};
use serde_json::Value;

static SERVER: LazyLock<Server> = LazyLock::new(|| Server::new(|server| server));

libfuzzer_sys::fuzz_target!(|body: &[u8]| {
    // No more than a client a minute, so that those that nobody used are forgotten in time.
    SERVER.pass(61);
    let request = Request::post("/oauth/register").header(header::CONTENT_TYPE, "application/json");
    let answer = SERVER.send(request.body(Body::from(body.to_vec())).unwrap());
    let document: Value = serde_json::from_slice(&answer.body).expect("the answer is JSON");
    if answer.status != StatusCode::CREATED {
        assert!(document["error"].is_string());
        return;
    }
    assert!(
        document["token_endpoint_auth_method"].is_string(),
        "RFC 7591 section 3.2.1: always said"
    );
    let registered = document["redirect_uris"].as_array().expect("they are told");
    let registered: Vec<&str> = registered
        .iter()
        .map(|uri| uri.as_str().expect("a text"))
        .collect();
    for uri in registered.iter().take(3) {
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("response_type", "code")
            .append_pair("client_id", document["client_id"].as_str().unwrap())
            .append_pair("redirect_uri", uri)
            .append_pair("code_challenge", CHALLENGE)
            .append_pair("code_challenge_method", "S256")
            .append_pair("resource", RESOURCE)
            .finish();
        if let Some(location) = SERVER.authorize(&query) {
            assert!(leads_to_one_of(&location, &[*uri]), "{uri} {location}");
        }
    }
});
