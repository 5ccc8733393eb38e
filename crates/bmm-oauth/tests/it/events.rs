//! What is told to the event sink.

use axum::body::Body;
use bmm_oauth::{ClientAddress, Event, EventKind, Outcome};
use http::Request;
use serde_json::json;

use crate::app::*;

fn kinds(events: &[Event]) -> Vec<(EventKind, &str)> {
    events
        .iter()
        .map(|event| (event.kind, event.outcome.name()))
        .collect()
}

#[tokio::test]
async fn every_step_of_a_sign_in_is_told() {
    let app = App::new();
    let client = app.client().await;
    let (_, refresh) = app.tokens(&client).await;
    app.refresh(&client, &refresh).await;
    let events = app.events.take();
    assert_eq!(
        kinds(&events),
        [
            (EventKind::ClientRegistered, "allowed"),
            (EventKind::AuthorizationRequested, "allowed"),
            (EventKind::ConsentDecided, "allowed"),
            (EventKind::CodeRedeemed, "allowed"),
            (EventKind::TokenRefreshed, "allowed"),
        ]
    );
    assert!(
        events
            .iter()
            .all(|event| event.client_id.as_ref() == Some(&client.id))
    );
    let grants: Vec<_> = events
        .iter()
        .skip(2)
        .map(|event| event.grant_id.clone())
        .collect();
    assert!(grants[0].is_some() && grants.iter().all(|grant| *grant == grants[0]));
    for event in events.iter().skip(1) {
        assert_eq!(event.subject.as_ref().unwrap().as_str(), "alice");
        assert_eq!(event.resource.as_ref().unwrap().as_str(), RESOURCE);
    }
}

#[tokio::test]
async fn refusals_and_replays_are_told_with_their_reason() {
    let app = App::new();
    let client = app.client().await;
    let code = app.code(&client).await;
    let (_, refresh) = app.exchange(&client, &code).await.tokens();
    app.events.take();
    app.exchange(&client, &code).await;
    let (_, refresh_2) = app.tokens(&client).await;
    app.refresh(&client, &refresh).await;
    app.refresh(&client, &refresh_2).await;
    app.advance(3600);
    app.refresh(&client, &refresh_2).await;
    app.token(&[("client_id", "nobody"), ("grant_type", "refresh_token")])
        .await;
    app.authorize(&client, &[("redirect_uri", "https://evil.example/")])
        .await;
    app.authorize(&client, &[("resource", "https://auth.example/none")])
        .await;
    app.register(json!({})).await;
    let page = app.consent_page(&client).await;
    app.decide(&page, "deny").await;
    app.decide(&page, "allow").await;
    let events = app.events.take();
    let refused: Vec<_> = kinds(&events)
        .into_iter()
        .filter(|(_, why)| *why != "allowed")
        .collect();
    assert_eq!(
        refused,
        [
            (EventKind::CodeReplayed, "invalid_grant"),
            (EventKind::TokenRefreshed, "invalid_grant"),
            (EventKind::RefreshReplayed, "invalid_grant"),
            (EventKind::TokenRequested, "invalid_client"),
            (EventKind::AuthorizationRequested, "invalid_redirect_uri"),
            (EventKind::AuthorizationRequested, "invalid_target"),
            (EventKind::ClientRegistered, "invalid_redirect_uri"),
            (EventKind::ConsentDecided, "access_denied"),
            (EventKind::ConsentDecided, "spent"),
        ]
    );
    let stranger = events
        .iter()
        .find(|event| event.kind == EventKind::TokenRequested)
        .unwrap();
    assert_eq!(
        stranger.client_id, None,
        "what a stranger claims is not taken down"
    );
}

/// The address is the host's to say: no header can put one in.
#[tokio::test]
async fn the_address_is_what_the_host_says_and_never_a_header() {
    let app = App::new();
    let mut lying = Request::post("/oauth/token")
        .header("x-forwarded-for", "203.0.113.9")
        .header("forwarded", "for=203.0.113.9")
        .body(Body::empty())
        .unwrap();
    app.send(lying.clone_without_body()).await;
    lying
        .extensions_mut()
        .insert(ClientAddress([192, 0, 2, 7].into()));
    app.send(lying).await;
    let events = app.events.take();
    assert_eq!(events[0].address, None);
    assert_eq!(events[1].address, Some([192, 0, 2, 7].into()));
    assert_eq!(events[1].outcome, Outcome::Refused("invalid_request"));
}

/// Whatever secret a request carries, no event has it.
#[tokio::test]
async fn no_secret_is_in_an_event() {
    let app = App::new();
    let client = app
        .client_with(
            json!({ "redirect_uris": [REDIRECT], "token_endpoint_auth_method": "client_secret_post" }),
        )
        .await;
    let code = app.code(&client).await;
    let reply = app.exchange(&client, &code).await;
    let (access, refresh) = reply.tokens();
    let mut misplaced = client.clone();
    misplaced.id = client.secret.clone().unwrap();
    app.exchange(&misplaced, &code).await;
    let text = serde_json::to_string(&app.events.take()).unwrap();
    for secret in [client.secret.unwrap(), code, access, refresh] {
        assert!(!text.contains(&secret), "{text}");
    }
}

/// A database that is away says nothing about permissions: the user is told to come back, and the refresh token still works.
#[tokio::test]
async fn a_failed_look_up_is_not_a_refusal_and_loses_nothing() {
    let app = App::new();
    let client = app.client().await;
    let (_, refresh) = app.tokens(&client).await;
    app.banned.lock().unwrap().insert(RESOURCES_ARE_AWAY.to_owned());
    app.authorize(&client, &[])
        .await
        .redirects_error("temporarily_unavailable");
    app.refresh(&client, &refresh)
        .await
        .refused(429, "temporarily_unavailable");
    app.banned.lock().unwrap().clear();
    assert!(app.refresh(&client, &refresh).await.status.is_success());
}

trait CloneRequest {
    fn clone_without_body(&self) -> Request<Body>;
}

impl CloneRequest for Request<Body> {
    fn clone_without_body(&self) -> Request<Body> {
        let mut copy = Request::post(self.uri()).body(Body::empty()).unwrap();
        *copy.headers_mut() = self.headers().clone();
        copy
    }
}
