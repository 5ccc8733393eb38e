//! Sign-in through upstreams: the way there and back, and what each kind of upstream needs.

use std::sync::Arc;

use bmm_oauth::*;
use http::StatusCode;

use crate::app::*;
use crate::upstream_app::*;

#[tokio::test]
async fn a_user_consents_then_signs_in_at_an_upstream_and_the_client_gets_tokens() {
    let world = World::new();
    let app = app(&world);
    let client = app.client().await;
    let mut browser = Browser::default();

    let page = browser.ask(&app, &client, &[("scope", "mcp:read")]).await;
    assert_eq!(page.status, StatusCode::OK);
    for said in [
        "Test client",
        "client.example",
        RESOURCE,
        "mcp:read",
        "See what it offers",
        "Allow and sign in with corp",
        "its own claim",
    ] {
        assert!(page.body.contains(said), "{said}: {}", page.body);
    }
    assert!(
        world.state.lock().unwrap().fetches.is_empty(),
        "consent comes first"
    );

    let reply = browser.decide(&app, &page, "allow:corp").await;
    let location = reply.header("location").to_owned();
    assert!(
        location.starts_with("https://id.example/authorize?tenant=a&"),
        "{location}"
    );
    let reply = browser.get(&app, &world.visit(&location)).await;
    assert_eq!(reply.status, StatusCode::SEE_OTHER, "{}", reply.body);
    assert!(reply.header("location").starts_with(REDIRECT));
    assert_eq!(reply.location_parameter("state").as_deref(), Some("xyz"));
    assert_eq!(reply.location_parameter("iss").as_deref(), Some(ORIGIN));
    assert_eq!(browser.cookies.len(), 1, "the sign-in's cookie is gone");

    let code = reply.location_parameter("code").unwrap();
    let reply = app.exchange(&client, &code).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
    assert_eq!(reply.json()["scope"], "mcp:read");
    let (access, refresh) = reply.tokens();
    assert_eq!(subject_of(&access), "https://id.example#7");
    assert_eq!(app.refresh(&client, &refresh).await.status, StatusCode::OK);
    let kinds: Vec<_> = app.events.take().iter().map(|event| event.kind).collect();
    assert!(kinds.contains(&EventKind::SignedIn), "{kinds:?}");
}

#[tokio::test]
async fn each_kind_of_upstream_says_who_the_user_is_in_its_own_way() {
    let world = World::new();
    let upstreams = vec![corp(&world), github(&world), forgejo(&world)];
    let app = app_with(Arc::new(MemoryStore::new()), upstreams, |server| server);
    let client = app.client().await;
    let page = Browser::default().ask(&app, &client, &[]).await;
    for name in ["corp", "GitHub", "Forgejo"] {
        assert!(page.body.contains(&format!("sign in with {name}<")));
    }
    let expected = [
        ("corp", "https://id.example#7"),
        ("github", "https://github.com/login/oauth#7"),
        ("forgejo", "https://forge.example#7"),
    ];
    for (name, subject) in expected {
        let reply = Browser::default().sign_in(&app, &world, &client, name).await;
        let code = reply.location_parameter("code").expect(name);
        let (access, _) = app.exchange(&client, &code).await.tokens();
        assert_eq!(subject_of(&access), subject);
    }
}

#[tokio::test]
async fn google_spells_its_issuer_in_two_ways_and_its_organisations_are_checked() {
    let world = World::new();
    let google = |world: &Arc<World>| {
        Google::new("our-client-id", CLIENT_SECRET)
            .with_hosted_domain("corp.example")
            .insecure_with_http(world.http())
    };
    let upstreams: Vec<Arc<dyn Upstream>> = vec![Arc::new(google(&world))];
    let app = app_with(Arc::new(MemoryStore::new()), upstreams, |server| server);
    let client = app.client().await;
    let signed_in = async |iss: &'static str, domain: Option<&'static str>| {
        world.state.lock().unwrap().twist = Some(Box::new(move |_, claims| {
            claims["iss"] = iss.into();
            if let Some(domain) = domain {
                claims["hd"] = domain.into();
            }
        }));
        let mut browser = Browser::default();
        let location = browser.allow(&app, &client, "google").await;
        assert!(location.contains("hd=corp.example"), "{location}");
        let reply = browser.get(&app, &world.visit(&location)).await;
        reply.location_parameter("code").is_some()
    };
    assert!(signed_in("https://accounts.google.com", Some("corp.example")).await);
    assert!(signed_in("accounts.google.com", Some("corp.example")).await);
    assert!(!signed_in("accounts.google.com", Some("other.example")).await);
    assert!(!signed_in("accounts.google.com", None).await, "a private account");
    assert!(!signed_in("http://accounts.google.com", Some("corp.example")).await);
}

#[tokio::test]
async fn a_user_who_does_not_sign_in_or_may_not_use_the_resource_sends_an_error_to_the_client() {
    let world = World::new();
    let app = app(&world);
    let client = app.client().await;
    let mut browser = Browser::default();
    let page = browser.ask(&app, &client, &[]).await;
    browser
        .decide(&app, &page, "deny")
        .await
        .redirects_error("access_denied");

    let location = browser.allow(&app, &client, "corp").await;
    let back = world.visit(&location);
    let (path, query) = back.split_once('?').unwrap();
    let state = query.split_once("state=").unwrap().1;
    let reply = browser
        .get(&app, &format!("{path}?error=access_denied&state={state}"))
        .await;
    reply.redirects_error("access_denied");
    let location = browser.allow(&app, &client, "corp").await;
    let state = world.visit(&location).split_once("state=").unwrap().1.to_owned();
    let reply = browser
        .get(
            &app,
            &format!("{path}?error=server_error&error_description=x&state={state}"),
        )
        .await;
    reply.redirects_error("server_error");

    app.banned
        .lock()
        .unwrap()
        .insert("https://id.example#7".to_owned());
    let reply = browser.sign_in(&app, &world, &client, "corp").await;
    reply.redirects_error("invalid_target");
    world.state.lock().unwrap().user = 8;
    let reply = browser.sign_in(&app, &world, &client, "corp").await;
    assert!(reply.location_parameter("code").is_some());
    let page = browser.ask(&app, &client, &[("scope", "unknown")]).await;
    let reply = browser.decide(&app, &page, "allow:corp").await;
    let location = reply.header("location").to_owned();
    let reply = browser.get(&app, &world.visit(&location)).await;
    reply.redirects_error("invalid_scope");
}

#[tokio::test]
async fn an_upstream_that_is_away_is_temporary_and_no_fault_of_ours() {
    let world = World::new();
    let app = app(&world);
    let client = app.client().await;
    let mut browser = Browser::default();
    world.state.lock().unwrap().broken = Some(503);
    let page = browser.ask(&app, &client, &[]).await;
    let reply = browser.decide(&app, &page, "allow:corp").await;
    reply.redirects_error("temporarily_unavailable");
    app.advance(10);
    world.state.lock().unwrap().broken = None;
    let location = browser.allow(&app, &client, "corp").await;
    let back = world.visit(&location);
    world.state.lock().unwrap().broken = Some(502);
    browser
        .get(&app, &back)
        .await
        .redirects_error("temporarily_unavailable");
}

#[tokio::test]
async fn discovery_is_asked_once_an_hour_however_many_sign_in() {
    let world = World::new();
    let app = app(&world);
    let client = app.client().await;
    for _ in 0..5 {
        let reply = Browser::default().sign_in(&app, &world, &client, "corp").await;
        assert!(reply.location_parameter("code").is_some());
    }
    let count = |path: &str| {
        let state = world.state.lock().unwrap();
        state.fetches.iter().filter(|uri| uri.ends_with(path)).count()
    };
    assert_eq!(
        (count("/.well-known/openid-configuration"), count("/keys")),
        (1, 1)
    );
}

#[test]
fn upstreams_that_cannot_be_told_apart_are_refused() {
    let world = World::new();
    let named = |name: &str| oidc(&world, name, CORP);
    assert_eq!(
        SignIn::upstreams(Vec::<Arc<dyn Upstream>>::new()).err(),
        Some(SignInError::NoUpstream)
    );
    assert_eq!(
        SignIn::upstreams([named("a"), named("a")]).err(),
        Some(SignInError::SameName("a".to_owned()))
    );
    for name in ["", "A", "a/b", "a b", "../token", "{x}", &"a".repeat(33)] {
        assert!(SignIn::upstreams([named(name)]).is_err(), "{name}");
    }
    let many: Vec<_> = (0..17).map(|n| named(&format!("a{n}"))).collect();
    assert_eq!(SignIn::upstreams(many).err(), Some(SignInError::TooMany));
}

#[test]
fn no_secret_of_an_upstream_is_shown() {
    let world = World::new();
    let shown = format!(
        "{:?} {:?} {:?} {:?}",
        Oidc::new("a", CORP.parse().unwrap(), "id", CLIENT_SECRET),
        GitHub::new("id", CLIENT_SECRET),
        Forgejo::new(CORP.parse().unwrap(), "id", CLIENT_SECRET),
        Google::new("id", CLIENT_SECRET),
    );
    assert!(!shown.contains(CLIENT_SECRET), "{shown}");
    let sign_in = SignIn::upstreams([corp(&world)]).unwrap();
    assert_eq!(format!("{sign_in:?}"), "{\"corp\"}");
}

#[tokio::test]
async fn the_host_hears_who_signed_in_before_it_says_what_they_may_use() {
    let world = World::new();
    let arrivals = Arc::new(std::sync::Mutex::new(Vec::new()));
    let away = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let heard = Arc::clone(&arrivals);
    let fails = Arc::clone(&away);
    let sign_in = SignIn::upstreams([corp(&world)])
        .unwrap()
        .with_arrivals(Arc::new(move |arrival| {
            heard.lock().unwrap().push(arrival);
            let fails = fails.load(std::sync::atomic::Ordering::SeqCst);
            Box::pin(async move { if fails { Err("no database".into()) } else { Ok(()) } })
        }));
    let app = app_signing_in(Arc::new(MemoryStore::new()), sign_in, |server| server);
    let client = app.client().await;
    let reply = Browser::default().sign_in(&app, &world, &client, "corp").await;
    assert!(reply.location_parameter("code").is_some());
    let arrival = arrivals.lock().unwrap().pop().unwrap();
    assert_eq!(arrival.subject.as_str(), "https://id.example#7");
    assert_eq!(
        (arrival.upstream.as_str(), arrival.user.display_name.as_str()),
        ("corp", "Ada")
    );
    away.store(true, std::sync::atomic::Ordering::SeqCst);
    let reply = Browser::default().sign_in(&app, &world, &client, "corp").await;
    reply.redirects_error("temporarily_unavailable");
}
