//! Any bytes as a sequence of token requests, beside a code and a refresh token that are good: no credential but these yields a token,
//! the code yields one once, and the refresh token one answer however often it is sent.
//!
//! Requests are separated by NUL. What stands before a line feed in one is its `Authorization` header.
#![no_main]

use std::cell::RefCell;

use axum::body::Body;
use bmm_fuzz::{CHALLENGE, RESOURCE, Server};
use bmm_oauth::*;
use http::{Request, StatusCode, header};

const REDIRECT: &str = "https://client.example/cb";
const MAX_REQUESTS: usize = 4;
/// So that what the runs leave behind does not fill the memory.
const RUNS_PER_SERVER: u32 = 2000;

thread_local! {
    static SERVER: RefCell<Option<(Server, u32)>> = const { RefCell::new(None) };
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    SERVER.with_borrow_mut(|kept| {
        let fresh = kept.take().filter(|(_, runs)| *runs < RUNS_PER_SERVER);
        let (server, runs) = fresh.unwrap_or_else(|| (server(), 0));
        run(&server, runs, bytes);
        *kept = Some((server, runs + 1));
    });
});

fn server() -> Server {
    let server = Server::new(|server| server);
    server.enrol("public", ClientAuthMethod::None, None, &[REDIRECT]);
    server.enrol(
        "basic",
        ClientAuthMethod::ClientSecretBasic,
        Some("secret"),
        &[REDIRECT],
    );
    server.enrol(
        "post",
        ClientAuthMethod::ClientSecretPost,
        Some("secret"),
        &[REDIRECT],
    );
    server
}

/// A code and a refresh token of the public client, under texts that the input can spell.
fn give(server: &Server, run: u32) {
    let now = server.clock.now();
    let later = now.plus(std::time::Duration::from_secs(60));
    let resource: ResourceUri = RESOURCE.parse().unwrap();
    let scopes = Scopes::new(["mcp:read"]).unwrap();
    let code = |grant_id: String| AuthorizationCode {
        request: AuthorizationRequest {
            client_id: "public".to_owned(),
            redirect_uri: REDIRECT.to_owned(),
            redirect_uri_was_sent: true,
            state: None,
            code_challenge: CHALLENGE.to_owned(),
            resource: resource.clone(),
            scopes: scopes.clone(),
            dpop_jkt: None,
        },
        subject: Subject::new("alice"),
        grant_id,
        expires_at: later,
    };
    let grant = Grant {
        id: format!("r{run}"),
        client_id: "public".to_owned(),
        subject: Subject::new("alice"),
        resource: resource.clone(),
        scopes: scopes.clone(),
        expires_at: later,
        revoked: false,
    };
    let refresh = NewRefresh {
        hash: SecretHash::of("REFRESH"),
        expires_at: later,
    };
    let spent = SecretHash::of(&format!("spent{run}"));
    server.runtime.block_on(async {
        server
            .store
            .put_code(SecretHash::of("CODE"), code(format!("c{run}")))
            .await
            .unwrap();
        server
            .store
            .put_code(spent, code(grant.id.clone()))
            .await
            .unwrap();
        let made = server
            .store
            .redeem_code(spent, grant, refresh, now)
            .await
            .unwrap();
        assert_eq!(made, Redemption::Redeemed);
    });
}

fn run(server: &Server, run: u32, bytes: &[u8]) {
    // What was given to the run before has ended.
    server.pass(61);
    give(server, run);
    let mut redeemed = 0;
    let mut refreshed: Option<Vec<u8>> = None;
    for request in bytes.split(|byte| *byte == 0).take(MAX_REQUESTS) {
        let line = request.iter().position(|byte| *byte == b'\n');
        let (authorization, form) = match line {
            Some(end) => (Some(&request[..end]), &request[end + 1..]),
            None => (None, request),
        };
        let mut builder =
            Request::post("/oauth/token").header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        if let Some(authorization) = authorization {
            builder = builder.header(header::AUTHORIZATION, authorization);
        }
        let Ok(request) = builder.body(Body::from(form.to_vec())) else {
            continue;
        };
        let answer = server.send(request);
        if answer.status != StatusCode::OK {
            let error: serde_json::Value = serde_json::from_slice(&answer.body).expect("an error is JSON");
            assert!(error["error"].is_string());
            continue;
        }
        let sent = |wanted: &str| {
            let mut values = form_urlencoded::parse(form).filter(|(name, _)| name == wanted);
            values.next().map(|(_, value)| value.into_owned())
        };
        assert_eq!(
            sent("client_id").as_deref(),
            Some("public"),
            "the one client that has something"
        );
        match sent("grant_type").as_deref() {
            Some("authorization_code") => {
                assert_eq!(sent("code").as_deref(), Some("CODE"));
                assert_eq!(sent("code_verifier").as_deref(), Some(bmm_fuzz::VERIFIER));
                assert_eq!(sent("redirect_uri").as_deref(), Some(REDIRECT));
                redeemed += 1;
            }
            Some("refresh_token") => {
                assert_eq!(sent("refresh_token").as_deref(), Some("REFRESH"));
                let first = refreshed.get_or_insert_with(|| answer.body.clone());
                assert_eq!(*first, answer.body, "a successor that is not the first one's");
            }
            other => panic!("a token for {other:?}"),
        }
        let document: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        let token = document["access_token"].as_str().unwrap();
        let verifier = server.server.verifier(RESOURCE.parse().unwrap());
        let verified = server
            .runtime
            .block_on(verifier.verify(token))
            .expect("what is issued is good");
        assert_eq!(verified.subject().as_str(), "alice");
        assert!(
            Scopes::new(["mcp:read"]).unwrap().covers(verified.scopes()),
            "no more than was granted"
        );
    }
    assert!(redeemed <= 1, "a code was redeemed twice");
}
