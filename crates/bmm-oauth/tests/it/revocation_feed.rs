//! The feed of revocations that the authorization server serves, and who hears of them when.

use std::sync::Arc;
use std::time::Duration;

use bmm_oauth::{Algorithm, AsConfig, ClientAddress, MemoryStore, SigningKeys, SqlStore, Store, Timestamp};
use http::{Method, StatusCode};
use tokio::time::Instant;

use crate::app::*;

#[tokio::test]
async fn a_revoked_grant_is_listed_and_its_token_refused_at_once() {
    let app = App::new();
    let client = app.client().await;
    let (access, _) = app.tokens(&client).await;
    app.server.revoke_grant(&grant_of(&access)).await.unwrap();
    assert_eq!(app.call(&access).await.status, StatusCode::UNAUTHORIZED);
    let reply = app.get("/oauth/revocations?after=0").await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(reply.header("cache-control"), "no-store");
    assert_eq!(reply.header("content-type"), "application/json");
    let document = reply.json();
    assert_eq!(document["next"], 1);
    assert_eq!(document["revoked"].as_array().unwrap().len(), 1);
    assert_eq!(document["revoked"][0]["grant_id"], grant_of(&access));
    // An access token may live a day, and the clocks of two replicas may be a minute apart.
    assert_eq!(document["revoked"][0]["until"], 1_800_000_000 + 24 * 3600 + 60);
    assert!(!document["epoch"].as_str().unwrap().is_empty());
    let again = app.server.revocations_after(0).await.unwrap();
    assert_eq!(serde_json::to_value(again).unwrap(), document);
}

#[tokio::test(start_paused = true)]
async fn without_news_the_answer_takes_twenty_seconds() {
    let app = App::new();
    app.server.revoke_grant("grant").await.unwrap();
    let began = Instant::now();
    let reply = app.get("/oauth/revocations?after=1").await;
    assert_eq!(began.elapsed().as_secs(), 20);
    let document = reply.json();
    assert_eq!(
        (&document["next"], &document["revoked"]),
        (&1.into(), &serde_json::json!([]))
    );
}

#[tokio::test(start_paused = true)]
async fn who_waits_hears_of_a_revocation_at_once() {
    let app = Arc::new(App::new());
    let waiting: Vec<_> = (0..20)
        .map(|_| {
            let app = Arc::clone(&app);
            tokio::spawn(async move { app.get("/oauth/revocations?after=0").await.json() })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(7350)).await;
    let began = Instant::now();
    app.server.revoke_grant("grant").await.unwrap();
    for waiter in waiting {
        assert_eq!(waiter.await.unwrap()["revoked"][0]["grant_id"], "grant");
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
}

/// Another replica's revocation: nobody tells this one, so it looks.
#[tokio::test(start_paused = true)]
async fn who_waits_hears_of_another_replicas_revocation_within_a_second() {
    let store = MemoryStore::new();
    let app = Arc::new(App::on(Arc::new(store.clone()), |_| {}));
    let waiting = {
        let app = Arc::clone(&app);
        tokio::spawn(async move { app.get("/oauth/revocations?after=0").await.json() })
    };
    tokio::time::sleep(Duration::from_millis(5500)).await;
    let began = Instant::now();
    store
        .revoke_grant("elsewhere", Timestamp::from_secs(1_900_000_000))
        .await
        .unwrap();
    assert_eq!(waiting.await.unwrap()["revoked"][0]["grant_id"], "elsewhere");
    assert!(began.elapsed() <= Duration::from_secs(1), "{:?}", began.elapsed());
}

/// The same with two stores over one database, and for the verifier inside the other replica.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_replica_refuses_a_revoked_grant_within_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let open = async || {
        let store = SqlStore::open(&folder.path().join("auth.db")).await.unwrap();
        store.migrate().await.unwrap();
        App::on(Arc::new(store), |_: &mut AsConfig| {})
    };
    let (one, two) = (open().await, Arc::new(open().await));
    let client = two.client().await;
    let (access, _) = two.tokens(&client).await;
    assert_eq!(two.call(&access).await.status, StatusCode::OK);
    let waiting = {
        let two = Arc::clone(&two);
        tokio::spawn(async move { two.get("/oauth/revocations?after=0").await.json() })
    };
    one.server.revoke_grant(&grant_of(&access)).await.unwrap();
    let began = Instant::now();
    while two.call(&access).await.status == StatusCode::OK {
        assert!(began.elapsed() < Duration::from_secs(2), "still accepted");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(
        waiting.await.unwrap()["revoked"][0]["grant_id"],
        grant_of(&access)
    );
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_long_list_comes_in_pages() {
    let app = App::new();
    for index in 0..2500 {
        app.server.revoke_grant(&format!("grant {index}")).await.unwrap();
    }
    let (mut after, mut sizes, mut grants) = (0, Vec::new(), Vec::new());
    while after < 2500 {
        let page = app.get(&format!("/oauth/revocations?after={after}")).await;
        assert!(page.body.len() < 128 * 1024);
        let page = page.json();
        after = page["next"].as_u64().unwrap();
        sizes.push(page["revoked"].as_array().unwrap().len());
        grants.extend(
            page["revoked"]
                .as_array()
                .unwrap()
                .iter()
                .map(|r| r["grant_id"].to_string()),
        );
    }
    assert_eq!(sizes, [1000, 1000, 500]);
    grants.dedup();
    assert_eq!(grants.len(), 2500);
}

#[tokio::test]
async fn only_grants_whose_tokens_may_live_are_listed() {
    let app = App::new();
    app.server.revoke_grant("old").await.unwrap();
    app.advance(24 * 3600 + 59);
    assert_eq!(
        app.get("/oauth/revocations?after=0").await.json()["revoked"][0]["grant_id"],
        "old"
    );
    app.advance(1);
    app.server.revoke_grant("new").await.unwrap();
    while app.server.sweep().await.unwrap() > 0 {}
    let document = app.get("/oauth/revocations?after=0").await.json();
    assert_eq!(document["next"], 2, "numbers are not given again");
    assert_eq!(document["revoked"].as_array().unwrap().len(), 1);
    assert_eq!(document["revoked"][0]["grant_id"], "new");
}

/// Another store stands behind the server: the numbers of the old one mean nothing.
#[tokio::test]
async fn another_store_has_another_epoch() {
    let (one, two) = (App::new(), App::new());
    for app in [&one, &two] {
        app.server.revoke_grant("grant").await.unwrap();
    }
    let epoch = async |app: &App| app.get("/oauth/revocations?after=0").await.json()["epoch"].clone();
    assert_ne!(epoch(&one).await, epoch(&two).await);
    // A number from the future of a copy that was restored is answered with everything.
    let document = one.get("/oauth/revocations?after=1000").await.json();
    assert_eq!(
        (&document["next"], &document["revoked"][0]["grant_id"]),
        (&1.into(), &"grant".into())
    );
}

#[tokio::test]
async fn a_malformed_question_gets_an_error_code() {
    let app = App::new();
    for query in [
        "after=-1",
        "after=x",
        "after=1&after=1",
        "after=99999999999999999999",
        "after=%00",
    ] {
        let reply = app.get(&format!("/oauth/revocations?{query}")).await;
        reply.refused(400, "invalid_request");
    }
    let post = app.send(request(Method::POST, "/oauth/revocations")).await;
    assert_eq!(post.status, StatusCode::METHOD_NOT_ALLOWED);
}

/// Who takes all places must not keep anybody from hearing of revocations.
#[tokio::test(start_paused = true)]
async fn where_a_crowd_waits_the_others_are_answered_at_once() {
    let app = Arc::new(App::new());
    let ask = |count: usize| -> Vec<_> {
        let ask = |_| {
            let app = Arc::clone(&app);
            tokio::spawn(async move { app.get("/oauth/revocations?after=0").await })
        };
        (0..count).map(ask).collect()
    };
    let waiting = ask(4096);
    tokio::time::sleep(Duration::from_millis(1)).await;
    let began = Instant::now();
    for uri in ["/oauth/revocations?after=0", "/oauth/revocations"] {
        let reply = app.get(uri).await;
        assert_eq!(reply.status, StatusCode::OK);
        assert_eq!(reply.json()["next"], 0);
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
    app.server.revoke_grant("grant").await.unwrap();
    let reply = app.get("/oauth/revocations?after=0").await;
    assert_eq!(reply.json()["revoked"][0]["grant_id"], "grant");
    for waiter in waiting {
        assert_eq!(waiter.await.unwrap().status, StatusCode::OK);
    }
}

/// One address takes the places of one address.
#[tokio::test(start_paused = true)]
async fn one_address_does_not_take_the_places_of_others() {
    let app = Arc::new(App::new());
    let ask = |address: [u8; 4]| {
        let app = Arc::clone(&app);
        tokio::spawn(async move {
            let mut request = request(Method::GET, "/oauth/revocations?after=0");
            request.extensions_mut().insert(ClientAddress(address.into()));
            let began = Instant::now();
            assert_eq!(app.send(request).await.status, StatusCode::OK);
            began.elapsed().as_secs()
        })
    };
    let greedy: Vec<_> = (0..100).map(|_| ask([192, 0, 2, 1])).collect();
    let other = ask([192, 0, 2, 2]);
    let mut waited = 0;
    for reply in greedy {
        waited += usize::from(reply.await.unwrap() == 20);
    }
    assert_eq!((waited, other.await.unwrap()), (64, 20));
}

/// The operator has shortened the life of access tokens, and one from before lives on.
#[tokio::test]
async fn a_revoked_grants_token_stays_refused_also_when_tokens_have_become_shorter() {
    let keys = SigningKeys::create(Algorithm::Es256).unwrap();
    let again = SigningKeys::from_bytes(&keys.to_sealable_bytes()).unwrap();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let before = App::signing_with(keys, Arc::clone(&store), |_| {}, |server| server);
    let client = before.client().await;
    let (access, _) = before.tokens(&client).await;
    let shorter = |config: &mut AsConfig| config.access_token_ttl = Duration::from_secs(60);
    let app = App::signing_with(again, store, shorter, |server| server);
    assert_eq!(app.call(&access).await.status, StatusCode::OK);
    app.server.revoke_grant(&grant_of(&access)).await.unwrap();
    app.advance(3599);
    while app.server.sweep().await.unwrap() > 0 {}
    assert_eq!(app.call(&access).await.status, StatusCode::UNAUTHORIZED);
}
