//! Attacks on refresh tokens: stolen ones, repeated ones, and races. A client that repeats its request in time hears the same answer again; nobody
//! else does, and nothing that was stored gives it away.

use std::sync::Arc;

use bmm_oauth::{AsConfig, SqlStore, Store};
use http::StatusCode;

use crate::app::*;

/// RFC 9700 section 4.14.2: theft shows when a spent token comes back.
#[tokio::test]
async fn a_reused_refresh_token_revokes_its_family() {
    let app = App::new();
    let client = app.client().await;
    let (_, stolen) = app.tokens(&client).await;
    let (access, next) = app.refresh(&client, &stolen).await.tokens();
    // The window, and what the clocks of replicas may be apart.
    app.advance(30 + 60 + 1);
    app.refresh(&client, &stolen).await.refused(400, "invalid_grant");
    app.refresh(&client, &next).await.refused(400, "invalid_grant");
    assert_eq!(app.call(&access).await.status, StatusCode::UNAUTHORIZED);
}

/// An operator who wants no window has none.
#[tokio::test]
async fn without_a_window_every_second_use_revokes_the_family() {
    let app = App::with(|config| config.replay_window = std::time::Duration::ZERO);
    let client = app.client().await;
    let (_, first) = app.tokens(&client).await;
    let (_, next) = app.refresh(&client, &first).await.tokens();
    app.refresh(&client, &first).await.refused(400, "invalid_grant");
    app.refresh(&client, &next).await.refused(400, "invalid_grant");
}

/// A client that repeats a request whose answer it lost is no thief, and loses nothing.
#[tokio::test]
async fn a_repeated_refresh_within_the_window_gets_the_same_answer() {
    let app = App::new();
    let client = app.client().await;
    let (_, first) = app.tokens(&client).await;
    let answer = app.refresh(&client, &first).await;
    for _ in 0..3 {
        app.advance(10);
        let again = app.refresh(&client, &first).await;
        assert_eq!((again.status, &again.body), (StatusCode::OK, &answer.body));
        assert_eq!(again.header("cache-control"), "no-store");
    }
    let (access, next) = answer.tokens();
    assert_eq!(app.call(&access).await.status, StatusCode::OK);
    assert_eq!(app.refresh(&client, &next).await.status, StatusCode::OK);
}

/// Behind a load balancer the repetition reaches another process.
#[tokio::test]
async fn another_replica_repeats_the_answer_byte_for_byte() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (replica(&folder).await, replica(&folder).await);
    let client = one.client().await;
    let (_, first) = one.tokens(&client).await;
    let answer = one.refresh(&client, &first).await;
    let again = two.refresh(&client, &first).await;
    assert_eq!((again.status, &again.body), (StatusCode::OK, &answer.body));
    assert_eq!(
        two.refresh(&client, &answer.tokens().1).await.status,
        StatusCode::OK
    );
}

/// RFC 6749 section 10.4. Nor may a stranger end the family, or hear what its owner heard.
#[tokio::test]
async fn another_clients_refresh_token_is_worthless() {
    let app = App::new();
    let (client, stranger) = (app.client().await, app.client().await);
    let (_, refresh) = app.tokens(&client).await;
    let refused = async |when| {
        let reply = app.refresh(&stranger, &refresh).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{when}");
        reply.refused(400, "invalid_grant");
    };
    refused("unspent").await;
    let (_, next) = app.refresh(&client, &refresh).await.tokens();
    refused("spent, in the window").await;
    app.advance(3600);
    refused("spent long ago").await;
    assert_eq!(
        app.refresh(&client, &next).await.status,
        StatusCode::OK,
        "the stranger's replay revoked nothing"
    );
}

/// The window is for a request that is repeated, not for another one.
#[tokio::test]
async fn a_spent_token_with_another_scope_or_resource_gets_nothing() {
    let app = App::new();
    let client = app.client().await;
    let (_, first) = app.tokens(&client).await;
    let form = |changes: &[(&'static str, &'static str)]| {
        let mut form = vec![
            ("grant_type", "refresh_token".to_owned()),
            ("client_id", client.id.clone()),
            ("refresh_token", first.clone()),
        ];
        form.extend(changes.iter().map(|(name, value)| (*name, (*value).to_owned())));
        form
    };
    let send = async |changes: &[(&'static str, &'static str)]| {
        let form = form(changes);
        let pairs: Vec<_> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
        app.token(&pairs).await
    };
    let asked = [("scope", "mcp:read"), ("resource", RESOURCE)];
    let answer = send(&asked).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let others: [&[(&str, &str)]; 5] = [
        &[],
        &[("scope", "mcp:read")],
        &[("resource", RESOURCE)],
        &[("scope", "mcp:read"), ("resource", OTHER_RESOURCE)],
        &[("scope", "mcp:write"), ("resource", RESOURCE)],
    ];
    for other in others {
        send(other).await.refused(400, "invalid_grant");
    }
    assert_eq!(
        send(&asked).await.body,
        answer.body,
        "the refusals harmed nothing"
    );
    let next = answer.tokens().1;
    assert_eq!(app.refresh(&client, &next).await.status, StatusCode::OK);
}

/// Permission that was taken away is not given back by repeating an old request.
#[tokio::test]
async fn a_user_who_was_shut_out_gets_no_answer_repeated() {
    let app = App::new();
    let client = app.client().await;
    let (_, first) = app.tokens(&client).await;
    app.refresh(&client, &first).await.tokens();
    app.banned.lock().unwrap().insert("alice".to_owned());
    app.refresh(&client, &first).await.refused(400, "invalid_grant");
}

#[tokio::test]
async fn a_revoked_family_gets_no_answer_repeated() {
    let app = App::new();
    let client = app.client().await;
    let (_, first) = app.tokens(&client).await;
    let (access, next) = app.refresh(&client, &first).await.tokens();
    app.server.revoke_grant(&grant_of(&access)).await.unwrap();
    for token in [&first, &next] {
        app.refresh(&client, token).await.refused(400, "invalid_grant");
    }
    assert_eq!(app.call(&access).await.status, StatusCode::UNAUTHORIZED);
}

/// RFC 9700 section 4.14.2. Of two concurrent refreshes both once succeeded, or one ended the family.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_racing_refreshes_hear_one_answer() {
    let folder = tempfile::tempdir().unwrap();
    let on_memory = Arc::new(App::new());
    let (one, two) = (Arc::new(replica(&folder).await), Arc::new(replica(&folder).await));
    for replicas in [[on_memory.clone(), on_memory], [one, two]] {
        let client = replicas[0].client().await;
        let (_, refresh) = replicas[0].tokens(&client).await;
        let racers: Vec<_> = (0..50)
            .map(|index| {
                let app = replicas[index % 2].clone();
                let (client, refresh) = (client.clone(), refresh.clone());
                tokio::spawn(async move { app.refresh(&client, &refresh).await })
            })
            .collect();
        let mut answers = Vec::new();
        for racer in racers {
            let reply = racer.await.unwrap();
            assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
            answers.push(reply);
        }
        assert!(answers.iter().all(|answer| answer.body == answers[0].body));
        let next = answers[0].tokens().1;
        assert_eq!(replicas[1].refresh(&client, &next).await.status, StatusCode::OK);
    }
}

/// A rotation that was under way when the family was revoked must leave nothing that works.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rotation_in_flight_does_not_resurrect_a_revoked_family() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (Arc::new(replica(&folder).await), Arc::new(replica(&folder).await));
    let client = one.client().await;
    for round in 0..20 {
        let (access, mut refresh) = one.tokens(&client).await;
        let rotating = {
            let (app, client) = (two.clone(), client.clone());
            tokio::spawn(async move {
                let mut tokens = vec![refresh.clone()];
                while let reply = app.refresh(&client, &refresh).await
                    && reply.status == StatusCode::OK
                {
                    refresh = reply.tokens().1;
                    tokens.push(refresh.clone());
                }
                tokens
            })
        };
        for _ in 0..round {
            tokio::task::yield_now().await;
        }
        one.server.revoke_grant(&grant_of(&access)).await.unwrap();
        for token in rotating.await.unwrap() {
            one.refresh(&client, &token).await.refused(400, "invalid_grant");
        }
    }
}

/// A leaked database, with the answers of the last seconds in it.
#[tokio::test]
async fn a_dump_of_the_database_opens_no_kept_answer() {
    let folder = tempfile::tempdir().unwrap();
    let app = replica(&folder).await;
    let client = app.client().await;
    let (_, first) = app.tokens(&client).await;
    let answer = app.refresh(&client, &first).await;
    let (access, next) = answer.tokens();
    let url = format!("sqlite://{}", folder.path().join("auth.db").display());
    let pool = sqlx::SqlitePool::connect(&url).await.unwrap();
    let rows: Vec<(Vec<u8>, Vec<u8>)> =
        sqlx::query_as("SELECT key_hash, value FROM oauth_once WHERE kind = 'refresh_replay'")
            .fetch_all(&pool)
            .await
            .unwrap();
    let [(key, value)] = &rows[..] else {
        panic!("{} answers are kept", rows.len());
    };
    assert!(value.len() > answer.body.len(), "the whole answer is kept");
    let contains = |bytes: &[u8], text: &str| bytes.windows(text.len()).any(|w| w == text.as_bytes());
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        for secret in [&first, &access, &next, &answer.body] {
            assert!(!contains(&bytes, secret), "a secret stands in the database");
        }
        let signature = access.rsplit('.').next().unwrap();
        assert!(!contains(&bytes, signature));
    }
    // What the dump does hold is not accepted in a token's place.
    let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    app.refresh(&client, &hex).await.refused(400, "invalid_grant");
}

async fn replica(folder: &tempfile::TempDir) -> App {
    let store = SqlStore::open(&folder.path().join("auth.db")).await.unwrap();
    store.migrate().await.unwrap();
    let store: Arc<dyn Store> = Arc::new(store);
    App::on(store, |_: &mut AsConfig| {})
}
