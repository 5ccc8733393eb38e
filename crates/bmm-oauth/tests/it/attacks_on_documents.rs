//! Client documents as a way to reach our network, to be somebody else, or to wear us out (CWE-918; draft-ietf-oauth-client-id-metadata-document-00
//! section 6; MCP 2026-07-28, Client ID Metadata Document Security).

use std::sync::Arc;
use std::time::Duration;

use bmm_net::{Dialer, Fetcher, Transport, address};
use bmm_oauth::{ClientAddress, MemoryStore, Outcome};
use http::StatusCode;
use serde_json::json;
use tokio::net::TcpListener;

use crate::app::*;
use crate::client_auth::{app_with, asserted, claims, key_client};
use crate::documents::*;
use crate::elsewhere::Elsewhere;
use crate::jwks::is_pending;
use crate::signer::Signer;

/// Every spelling of an address, every scheme but https, every part that two parsers read differently: nothing is even dialled.
#[tokio::test]
async fn a_client_id_that_is_no_plain_url_is_not_dialled() {
    let elsewhere = Elsewhere::new().await;
    let app = app_with(&elsewhere, |_| {});
    for id in [
        "https://127.0.0.1/client.json",
        "https://2130706433/client.json",
        "https://0x7f.1/client.json",
        "https://[::1]/client.json",
        "https://[::ffff:169.254.169.254]/latest/meta-data",
        "https://169.254.169.254/latest/meta-data",
        "http://client.example/client.json",
        "file:///etc/passwd",
        "https://client.example:22/client.json",
        "https://user@client.example/client.json",
        "https://client.example/",
        "https://client.example/a/../client.json",
        "https://CLIENT.example/client.json",
        "https://client.example/client.json#x",
    ] {
        elsewhere.put(id, &document(id));
        app.authorize(&described(id), &[]).await.is_local_page();
        app.refresh(&described(id), "x")
            .await
            .refused(401, "invalid_client");
    }
    assert!(elsewhere.asked().is_empty());
}

/// A name that leads into our network, or to this machine, is refused before anything is sent; as is one that leads to both.
#[tokio::test]
async fn a_document_on_our_own_network_is_not_fetched() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let here = listener.local_addr().unwrap();
    for addresses in [
        vec![here],
        vec![([10, 0, 0, 1], 443).into()],
        vec![([169, 254, 169, 254], 443).into()],
        vec![([93, 184, 215, 14], 443).into(), here],
    ] {
        let dialer = Dialer::insecure_with(
            move |_, _| {
                let addresses = addresses.clone();
                Box::pin(async move { Ok(addresses) })
            },
            address::refusal,
        );
        let fetcher = Fetcher::insecure_with(dialer, Transport::PlainLoopback).unwrap();
        let app = App::extended(
            Arc::new(MemoryStore::new()),
            |_| {},
            |server| server.with_fetcher(fetcher),
        );
        app.authorize(&described(DOCUMENT), &[]).await.is_local_page();
    }
    let accepted = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
    assert!(accepted.is_err(), "nothing was dialled");
}

/// RFC 7591 section 5: a client's `jwks_uri` is as good a way in as its document.
#[tokio::test]
async fn keys_on_our_own_network_are_not_fetched() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let here = listener.local_addr().unwrap();
    let dialer = Dialer::insecure_with(
        move |_, _| Box::pin(async move { Ok(vec![here]) }),
        address::refusal,
    );
    let fetcher = Fetcher::insecure_with(dialer, Transport::PlainLoopback).unwrap();
    let app = App::extended(
        Arc::new(MemoryStore::new()),
        |_| {},
        |server| server.with_fetcher(fetcher),
    );
    let signer = Signer::new("k1");
    let form = [("grant_type", "refresh_token"), ("refresh_token", "x")];
    for keys in ["https://keys.example/jwks", "https://169.254.169.254/jwks"] {
        let client = key_client(&app, ("jwks_uri", json!(keys))).await;
        let assertion = signer.sign(None, &claims(&app, &client, "1"));
        app.token(&asserted(&form, &assertion))
            .await
            .refused(401, "invalid_client");
    }
    let accepted = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
    assert!(accepted.is_err(), "nothing was dialled");
}

/// A document speaks for its own URL only, and must be one that no two readers understand differently.
#[tokio::test]
async fn a_document_that_is_not_right_in_everything_describes_nobody() {
    let good = document(DOCUMENT);
    let with = |member: &str, value: serde_json::Value| {
        let mut document = good.clone();
        document[member] = value;
        document.to_string()
    };
    let without = |member: &str| {
        let mut document = good.clone();
        document.as_object_mut().unwrap().remove(member);
        document.to_string()
    };
    let mut private = Signer::new("k1").jwks();
    private["keys"][0]["d"] = json!("AAAA");
    let mut private_key = good.clone();
    private_key["token_endpoint_auth_method"] = json!("private_key_jwt");
    private_key["jwks"] = private;
    let bodies = [
        with("client_id", json!("https://client.example/other.json")),
        with("client_id", json!(format!("{DOCUMENT}/"))),
        with("client_id", json!("https://CLIENT.example/oauth/client.json")),
        without("client_id"),
        without("client_name"),
        without("redirect_uris"),
        with("redirect_uris", json!([])),
        with("redirect_uris", json!(["javascript:alert(1)"])),
        with("redirect_uris", json!(REDIRECT)),
        with("token_endpoint_auth_method", json!("client_secret_basic")),
        with("token_endpoint_auth_method", json!("client_secret_post")),
        with("token_endpoint_auth_method", json!("client_secret_jwt")),
        with("token_endpoint_auth_method", json!("private_key_jwt")),
        with("client_secret", json!("x")),
        with("client_secret_expires_at", json!(0)),
        private_key.to_string(),
        format!("[{good}]"),
        good.to_string()
            .replacen('{', "{\"client_id\":\"https://evil.example/x\",", 1),
        String::new(),
        "null".to_owned(),
        "{".to_owned(),
        with("padding", json!("x".repeat(70_000))),
    ];
    for body in bodies {
        let elsewhere = Elsewhere::new().await;
        let app = app_with(&elsewhere, |_| {});
        elsewhere.put_raw(DOCUMENT, 200, "content-type: application/json", &body);
        app.authorize(&described(DOCUMENT), &[]).await.is_local_page();
        assert_eq!(elsewhere.asked().len(), 1);
    }
    for (status, headers) in [
        (200, "content-type: text/html"),
        (200, "content-type: application/javascript"),
        (200, "x: y"),
        (201, "content-type: application/json"),
        (404, "content-type: application/json"),
        (
            302,
            "content-type: application/json\nlocation: https://client.example/good.json",
        ),
        (500, "content-type: application/json"),
    ] {
        let elsewhere = Elsewhere::new().await;
        let app = app_with(&elsewhere, |_| {});
        elsewhere.put("https://client.example/good.json", &good);
        elsewhere.put_raw(DOCUMENT, status, headers, &good.to_string());
        app.authorize(&described(DOCUMENT), &[]).await.is_local_page();
        assert_eq!(elsewhere.asked(), [DOCUMENT], "{status} {headers}");
    }
}

/// Answers go where the document says, and nowhere else.
#[tokio::test]
async fn a_redirect_that_the_document_does_not_list_is_refused() {
    let elsewhere = Elsewhere::new().await;
    let app = app_with(&elsewhere, |_| {});
    let mut mixed = document(DOCUMENT);
    mixed["redirect_uris"] = json!([REDIRECT, "http://localhost/cb", "javascript:alert(1)"]);
    elsewhere.put(DOCUMENT, &mixed);
    let client = described(DOCUMENT);
    for uri in [
        "https://evil.example/cb",
        "https://client.example/cb/",
        "javascript:alert(1)",
        "https://localhost/cb",
    ] {
        app.authorize(&client, &[("redirect_uri", uri)])
            .await
            .is_local_page();
    }
    for uri in [REDIRECT, "http://localhost:8123/cb"] {
        let reply = app.authorize(&client, &[("redirect_uri", uri)]).await;
        assert_eq!(reply.status, StatusCode::OK, "{uri}");
    }
}

/// A document that is replaced counts from its next fetch on: a redirect URI that is gone is refused, and a client that has keys now must sign.
#[tokio::test]
async fn a_replaced_document_is_not_outlived_by_the_old_one() {
    let elsewhere = Elsewhere::new().await;
    let app = app_with(&elsewhere, |_| {});
    elsewhere.put(DOCUMENT, &document(DOCUMENT));
    let client = described(DOCUMENT);
    let (_, refresh) = app.tokens(&client).await;
    let mut replaced = document(DOCUMENT);
    replaced["redirect_uris"] = json!(["https://client.example/new"]);
    replaced["token_endpoint_auth_method"] = json!("private_key_jwt");
    replaced["jwks"] = Signer::new("k1").jwks();
    elsewhere.put(DOCUMENT, &replaced);
    app.advance(3600);
    app.authorize(&client, &[]).await.is_local_page();
    app.refresh(&client, &refresh)
        .await
        .refused(401, "invalid_client");
    elsewhere.put_raw(DOCUMENT, 404, "content-type: text/plain", "");
    app.advance(3600);
    let uri = "https://client.example/new";
    app.authorize(&client, &[("redirect_uri", uri)])
        .await
        .is_local_page();
}

/// Many at once wait for one fetch, and a failure is remembered as well.
#[tokio::test]
async fn a_crowd_costs_the_host_one_request() {
    let elsewhere = Elsewhere::new().await;
    let app = app_with(&elsewhere, |_| {});
    elsewhere.put(DOCUMENT, &document(DOCUMENT));
    let mut crowd = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (router, client) = (app.router.clone(), described(DOCUMENT));
        let request = as_user("alice", authorize_request(&client, &[]));
        crowd.spawn(async move {
            tower::ServiceExt::oneshot(router, request)
                .await
                .unwrap()
                .status()
        });
    }
    let statuses = crowd.join_all().await;
    assert!(
        statuses.iter().all(|status| *status == StatusCode::OK),
        "{statuses:?}"
    );
    assert_eq!(elsewhere.asked(), [DOCUMENT]);
    let missing = "https://client.example/missing.json";
    for _ in 0..20 {
        app.authorize(&described(missing), &[]).await.is_local_page();
    }
    assert_eq!(elsewhere.asked(), [missing]);
}

/// A request that goes away does not take the fetch with it: it must not be a way to keep a client unknown.
#[tokio::test]
async fn who_asks_and_leaves_does_not_spoil_it_for_the_others() {
    let elsewhere = Elsewhere::new().await;
    let app = app_with(&elsewhere, |_| {});
    elsewhere.put(DOCUMENT, &document(DOCUMENT));
    let client = described(DOCUMENT);
    {
        // Polled once: a timeout of nothing still leaves a fast fetch the time to end.
        let mut first = std::pin::pin!(app.authorize(&client, &[]));
        assert!(is_pending(&mut first).await);
    }
    let reply = app.authorize(&client, &[]).await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(elsewhere.asked(), [DOCUMENT]);
}

/// We are not to be made a flooder of one host; nor is one address to use up what all share.
#[tokio::test]
async fn a_flood_of_client_ids_is_cut_off() {
    let elsewhere = Elsewhere::new().await;
    let app = app_with(&elsewhere, |_| {});
    for n in 0..100 {
        let id = format!("https://victim.example/{n}");
        app.authorize(&described(&id), &[]).await.is_local_page();
    }
    assert_eq!(elsewhere.asked().len(), 30, "one host");
    elsewhere.put(DOCUMENT, &document(DOCUMENT));
    app.consent_page(&described(DOCUMENT)).await;
    elsewhere.asked();
    for n in 0..100 {
        let id = format!("https://victim-{n}.example/client.json");
        let mut request = as_user("alice", authorize_request(&described(&id), &[]));
        request
            .extensions_mut()
            .insert(ClientAddress([192, 0, 2, 1].into()));
        app.send(request).await.is_local_page();
    }
    assert_eq!(elsewhere.asked().len(), 60, "one address");
    for n in 0..2000 {
        let id = format!("https://other-{n}.example/client.json");
        app.authorize(&described(&id), &[]).await.is_local_page();
    }
    let all = elsewhere.asked().len();
    assert!((500..=600).contains(&all), "{all} altogether");
    let page = app.authorize(&described(DOCUMENT), &[]).await;
    assert_eq!(page.status, StatusCode::OK, "who is known is not locked out");
}

/// Who keeps us busy with new URLs delays nobody whose document was good, and does not push them out of memory.
#[tokio::test]
async fn a_flood_of_client_ids_takes_nothing_from_who_is_known() {
    let elsewhere = Elsewhere::new().await;
    let app = app_with(&elsewhere, |_| {});
    elsewhere.put(DOCUMENT, &document(DOCUMENT));
    let client = described(DOCUMENT);
    let (_, refresh) = app.tokens(&client).await;
    app.advance(600);
    for n in 0..1200 {
        let id = format!("https://other-{n}.example/client.json");
        app.authorize(&described(&id), &[]).await.is_local_page();
    }
    elsewhere.asked();
    let mut replaced = document(DOCUMENT);
    replaced["client_name"] = json!("Replaced");
    elsewhere.put(DOCUMENT, &replaced);
    assert_eq!(app.refresh(&client, &refresh).await.status, StatusCode::OK);
    assert_eq!(elsewhere.asked(), [DOCUMENT], "fetched again in time");
    assert!(app.consent_page(&client).await.reply.body.contains("Replaced"));
}

/// Nothing is kept but what is used: a registration could not hold more.
#[tokio::test]
async fn a_document_is_judged_when_it_is_read() {
    let many: Vec<String> = (0..17).map(|n| format!("https://client.example/{n}")).collect();
    let mut keys = document(DOCUMENT);
    keys["token_endpoint_auth_method"] = json!("private_key_jwt");
    keys["jwks"] = Signer::new("k1").jwks();
    keys["jwks"]["padding"] = json!("x".repeat(17_000));
    let mut uris = document(DOCUMENT);
    uris["redirect_uris"] = json!(many);
    for document in [keys, uris] {
        let elsewhere = Elsewhere::new().await;
        let app = app_with(&elsewhere, |_| {});
        elsewhere.put(DOCUMENT, &document);
        app.authorize(&described(DOCUMENT), &[]).await.is_local_page();
        let told = app.events.take();
        assert!(
            told.iter()
                .any(|event| event.outcome == Outcome::Refused("invalid"))
        );
    }
}
