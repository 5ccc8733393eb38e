//! Attacks on the sign-in through upstreams, each with its source.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bmm_oauth::*;
use http::{Request, StatusCode, header};
use serde_json::{Value, json};

use crate::app::*;
use crate::upstream_app::*;

/// MCP security best practices, "Confused Deputy Problem": the upstream knows us as one client and may not ask its user again, so nobody is
/// sent there before they have allowed this client on our page. Nor is anything remembered.
#[tokio::test]
async fn nobody_reaches_the_upstream_before_consenting_to_this_client() {
    let world = World::new();
    let app = app(&world);
    let mut browser = Browser::default();
    let trusted = app.client().await;
    let reply = browser.sign_in(&app, &world, &trusted, "corp").await;
    assert!(reply.location_parameter("code").is_some());
    let attackers = app
        .client_with(json!({ "redirect_uris": [REDIRECT], "client_name": "Test client" }))
        .await;
    for client in [&attackers, &trusted] {
        let page = browser.ask(&app, client, &[]).await;
        assert_eq!(page.status, StatusCode::OK, "a page, not a redirect");
        assert!(!page.headers.contains_key("location"));
    }
}

/// Nor to the client, with an error: anybody may register, and a link to us must not lead on to an address of theirs (RFC 9700 section 4.11.2).
#[tokio::test]
async fn an_error_before_the_consent_is_shown_and_not_sent() {
    let world = World::new();
    let app = app(&world);
    let client = app.client().await;
    for changes in [
        [("code_challenge_method", "plain")],
        [("response_type", "token")],
        [("resource", "")],
        [("scope", "\"")],
    ] {
        let reply = Browser::default().ask(&app, &client, &changes).await;
        reply.is_local_page();
        assert!(reply.body.contains("href=\"https://client.example/cb?error="));
    }
    let changes = [("redirect_uri", "https://evil.example/")];
    let reply = Browser::default().ask(&app, &client, &changes).await;
    reply.is_local_page();
    assert!(
        !reply.body.contains("href"),
        "no way to an address that is not the client's"
    );
}

/// CVE-2026-27124: an attacker consents, stops before the upstream, and lets a victim (who is signed in there) walk on.
#[tokio::test]
async fn a_callback_in_another_browser_does_not_count() {
    let world = World::new();
    let app = app(&world);
    let client = app.client().await;
    let (mut attacker, mut victim) = (Browser::default(), Browser::default());
    let location = attacker.allow(&app, &client, "corp").await;
    let back = world.visit(&location);
    let reply = victim.get(&app, &back).await;
    assert_eq!(reply.status, StatusCode::FORBIDDEN, "{}", reply.body);
    assert!(!reply.headers.contains_key("location"));
    let reply = attacker.get(&app, &back).await;
    assert_eq!(
        reply.status,
        StatusCode::FORBIDDEN,
        "the answer was tried once, whoever brought it"
    );

    // A victim in the middle of a sign-in of their own has a cookie, but of that one.
    victim.allow(&app, &client, "corp").await;
    let location = attacker.allow(&app, &client, "corp").await;
    let reply = victim.get(&app, &world.visit(&location)).await;
    assert_eq!(reply.status, StatusCode::FORBIDDEN);
    let outcomes: Vec<_> = app.events.take().into_iter().map(|event| event.outcome).collect();
    assert!(outcomes.contains(&Outcome::Refused("other_browser")));
}

/// RFC 9700 section 4.5: a code of the victim's, injected into a sign-in of the attacker's. The upstream refuses it: PKCE ties it to the
/// victim's browser.
#[tokio::test]
async fn a_stolen_upstream_code_does_not_fit_another_sign_in() {
    let world = World::new();
    // With OpenID Connect the nonce would be in the way as well.
    let app = app_with(Arc::new(MemoryStore::new()), vec![github(&world)], |server| {
        server
    });
    let client = app.client().await;
    let (mut attacker, mut victim) = (Browser::default(), Browser::default());
    let stolen = world.visit(&victim.allow(&app, &client, "github").await);
    let own = world.visit(&attacker.allow(&app, &client, "github").await);
    let code = |uri: &str| {
        uri.split_once("code=")
            .unwrap()
            .1
            .split('&')
            .next()
            .unwrap()
            .to_owned()
    };
    let injected = own.replace(&code(&own), &code(&stolen));
    let reply = attacker.get(&app, &injected).await;
    reply.redirects_error("access_denied");
}

/// MCP security best practices: `state` works once and for ten minutes.
#[tokio::test]
async fn a_callback_works_once_and_not_for_long() {
    let world = World::new();
    let app = app(&world);
    let client = app.client().await;
    let mut browser = Browser::default();
    let back = world.visit(&browser.allow(&app, &client, "corp").await);
    let before = browser.clone();
    let reply = browser.get(&app, &back).await;
    assert!(reply.location_parameter("code").is_some());
    let reply = before.clone().get(&app, &back).await;
    assert_eq!(reply.status, StatusCode::FORBIDDEN, "replayed with its cookie");
    let back = world.visit(&browser.allow(&app, &client, "corp").await);
    app.advance(600);
    assert_eq!(browser.get(&app, &back).await.status, StatusCode::FORBIDDEN);
    for query in [
        "",
        "?state=",
        "?code=x",
        "?state=a&state=b&code=x",
        "?state=%00&code=x",
        "?state=guess&code=x",
    ] {
        let reply = browser.get(&app, &format!("/oauth/callback/corp{query}")).await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN, "{query}");
        assert!(!reply.headers.contains_key("location"));
    }
    for path in [
        "/oauth/callback/nobody",
        "/oauth/callback/corp%00",
        "/oauth/callback/CORP",
    ] {
        let reply = browser.get(&app, &format!("{path}?state=guess&code=x")).await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN, "{path}");
    }
}

/// RFC 9700 section 4.4, cross-toolkit confusion: an answer of one upstream brought to the callback of another.
#[tokio::test]
async fn an_answer_counts_at_the_callback_of_its_own_upstream_only() {
    let world = World::new();
    let upstreams = vec![corp(&world), oidc(&world, "other", "https://other.example")];
    let app = app_with(Arc::new(MemoryStore::new()), upstreams, |server| server);
    let client = app.client().await;
    let mut browser = Browser::default();
    let back = world.visit(&browser.allow(&app, &client, "corp").await);
    assert!(back.starts_with("/oauth/callback/corp?"));
    let before = world.state.lock().unwrap().fetches.len();
    let confused = back.replace("/callback/corp", "/callback/other");
    let reply = browser.get(&app, &confused).await;
    assert_eq!(reply.status, StatusCode::FORBIDDEN);
    assert_eq!(
        world.state.lock().unwrap().fetches.len(),
        before,
        "the code went nowhere"
    );
}

/// RFC 9207 section 2.4: mix-up. The code of one issuer must not be sent to another.
#[tokio::test]
async fn an_answer_that_names_another_issuer_goes_nowhere() {
    let world = World::new();
    world.state.lock().unwrap().sends_iss = true;
    let app = app_with(
        Arc::new(MemoryStore::new()),
        vec![corp(&world), github(&world), forgejo(&world)],
        |server| server,
    );
    let client = app.client().await;
    let mut browser = Browser::default();
    let reply = browser.sign_in(&app, &world, &client, "corp").await;
    assert!(reply.location_parameter("code").is_some(), "its own issuer");
    let honest = "iss=https%3A%2F%2Fid.example";
    for other in [
        "iss=https%3A%2F%2Fevil.example",
        "iss=https%3A%2F%2Fid.example%2F",
        "iss=https%3A%2F%2FID.example",
        "iss=id.example",
    ] {
        let back = world.visit(&browser.allow(&app, &client, "corp").await);
        let reply = browser.get(&app, &back.replace(honest, other)).await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN, "{other}");
    }
    let back = world.visit(&browser.allow(&app, &client, "corp").await);
    let reply = browser.get(&app, &back.replace(&format!("&{honest}"), "")).await;
    reply.redirects_error("access_denied");

    // Of the others, who do not say whether they send it, what is there must be right: GitHub's has a path, Forgejo's may end in a slash.
    for (name, iss, counts) in [
        ("github", "https://github.com/login/oauth", true),
        ("github", "https://github.com", false),
        ("forgejo", "https://forge.example", true),
        ("forgejo", "https://forge.example/", true),
        ("forgejo", "https://forge.example//", false),
        ("forgejo", "https://id.example", false),
    ] {
        let back = world.visit(&browser.allow(&app, &client, name).await);
        let (back, _) = back.split_once("&iss=").unwrap();
        let reply = browser
            .get(&app, &format!("{back}&{}", encode(&[("iss", iss)])))
            .await;
        assert_eq!(reply.headers.contains_key("location"), counts, "{name} {iss}");
    }
}

/// OpenID Connect Core section 3.1.3.7, RFC 8725: ID tokens for others, by others, of other sign-ins.
#[tokio::test]
async fn an_id_token_that_is_not_for_this_sign_in_signs_nobody_in() {
    type Change = fn(&mut Value, &mut Value);
    let twists: [(&str, Change); 14] = [
        ("iss", |_, claims| claims["iss"] = "https://evil.example".into()),
        ("aud", |_, claims| claims["aud"] = "another-client".into()),
        ("aud of two", |_, claims| {
            claims["aud"] = json!(["our-client-id", "another"])
        }),
        ("azp", |_, claims| claims["azp"] = "another-client".into()),
        ("nonce", |_, claims| claims["nonce"] = "of-another-sign-in".into()),
        ("no nonce", |_, claims| {
            drop(claims.as_object_mut().unwrap().remove("nonce"))
        }),
        ("exp", |_, claims| claims["exp"] = START.into()),
        ("exp as text", |_, claims| claims["exp"] = "9999999999".into()),
        ("sub", |_, claims| claims["sub"] = "".into()),
        ("alg none", |head, _| head["alg"] = "none".into()),
        ("alg HS256", |head, _| head["alg"] = "HS256".into()),
        ("kid", |head, _| head["kid"] = "unknown".into()),
        ("jwk", |head, _| head["jwk"] = json!({"kty": "EC"})),
        ("typ", |head, _| head["typ"] = "at+jwt".into()),
    ];
    let world = World::new();
    let app = app(&world);
    let client = app.client().await;
    let mut browser = Browser::default();
    let reply = browser.sign_in(&app, &world, &client, "corp").await;
    assert!(reply.location_parameter("code").is_some(), "unchanged it counts");
    for (what, twist) in twists {
        world.state.lock().unwrap().twist = Some(Box::new(twist));
        let reply = browser.sign_in(&app, &world, &client, "corp").await;
        assert_eq!(
            reply.location_parameter("error").as_deref(),
            Some("access_denied"),
            "{what}"
        );
    }
    world.state.lock().unwrap().twist = None;
    world.state.lock().unwrap().stranger_signs = true;
    let reply = browser.sign_in(&app, &world, &client, "corp").await;
    reply.redirects_error("access_denied");
}

/// OpenID Connect Discovery section 4.3: a document that speaks for somebody else is nobody's.
#[tokio::test]
async fn a_discovery_document_of_another_issuer_is_not_believed() {
    let world = World::new();
    world.state.lock().unwrap().discovered_issuer = Some("https://id.example/");
    let app = app(&world);
    let client = app.client().await;
    let mut browser = Browser::default();
    let page = browser.ask(&app, &client, &[]).await;
    let reply = browser.decide(&app, &page, "allow:corp").await;
    reply.redirects_error("temporarily_unavailable");
}

/// Session fixation: cookies that somebody planted before the consent are not the ones that count after it.
#[tokio::test]
async fn a_planted_cookie_is_replaced_at_the_consent() {
    let world = World::new();
    let app = app(&world);
    let client = app.client().await;
    let mut victim = Browser::default();
    let planted = "A".repeat(43);
    victim
        .cookies
        .insert("__Host-bmm_consent".to_owned(), planted.clone());
    let location = victim.allow(&app, &client, "corp").await;
    let back = world.visit(&location);
    let fresh: Vec<_> = victim
        .cookies
        .iter()
        .filter(|(name, _)| name.starts_with("__Host-bmm_sign_in_"))
        .collect();
    assert_eq!(fresh.len(), 1);
    assert_ne!(*fresh[0].1, planted);
    let mut attacker = Browser::default();
    for name in victim.cookies.keys() {
        attacker.cookies.insert(name.clone(), planted.clone());
    }
    assert_eq!(attacker.get(&app, &back).await.status, StatusCode::FORBIDDEN);
}

/// RFC 9700 section 4.7: the consent that comes before an upstream is guarded as the other one is.
#[tokio::test]
async fn a_consent_before_an_upstream_cannot_be_forged_or_reused() {
    let world = World::new();
    let app = app(&world);
    let client = app.client().await;
    let mut browser = Browser::default();
    let page = browser.ask(&app, &client, &[]).await;
    let form = encode(&[("handle", &handle(&page)), ("decision", "allow:corp")]);
    for origin in ["https://evil.example", "null"] {
        let request = Request::post("/oauth/consent")
            .header(header::ORIGIN, origin)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let reply = browser
            .send(&app, request.body(Body::from(form.clone())).unwrap())
            .await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN, "{origin}");
    }
    let reply = Browser::default().decide(&app, &page, "allow:corp").await;
    assert_eq!(reply.status, StatusCode::FORBIDDEN, "another browser");
    let page = browser.ask(&app, &client, &[]).await;
    let reply = browser.decide(&app, &page, "allow:corp").await;
    assert_eq!(reply.status, StatusCode::SEE_OTHER);
    let reply = browser.decide(&app, &page, "allow:corp").await;
    assert_eq!(reply.status, StatusCode::FORBIDDEN, "a second time");
    // No user is known, so the answer of a host with sessions of its own says nothing; nor does an upstream that is not there.
    for decision in ["allow", "allow:", "allow:nobody", "ALLOW:corp", "yes"] {
        let page = browser.ask(&app, &client, &[]).await;
        browser
            .decide(&app, &page, decision)
            .await
            .redirects_error("access_denied");
    }
}

/// OWASP clickjacking, and stored cross-site scripting: anybody may register any name.
#[tokio::test]
async fn the_consent_before_an_upstream_cannot_be_framed_or_scripted() {
    let world = World::new();
    let app = app(&world);
    let name = "<script>alert(1)</script>\"'><img src=x>";
    let client = app
        .client_with(json!({ "redirect_uris": ["http://localhost/cb"], "client_name": name }))
        .await;
    let changes = [("redirect_uri", "http://localhost/cb"), ("scope", "mcp:read")];
    let page = Browser::default().ask(&app, &client, &changes).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(
        !page.body.contains("<script") && !page.body.contains("<img"),
        "{}",
        page.body
    );
    assert!(page.body.contains("Any program on this computer"), "a warning");
    let policy = page.header("content-security-policy");
    for directive in ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"] {
        assert!(policy.contains(directive), "{policy}");
    }
    assert!(!policy.contains("unsafe"));
    assert_eq!(page.header("x-frame-options"), "DENY");
    assert_eq!(page.header("cache-control"), "no-store");
    let callback = Browser::default().get(&app, "/oauth/callback/corp?state=x").await;
    assert_eq!(callback.header("x-frame-options"), "DENY");
}

/// A database that leaks gives no way into a sign-in that is under way.
#[tokio::test]
async fn a_leaked_sign_in_holds_no_secret() {
    let world = World::new();
    let store = Arc::new(MemoryStore::new());
    let app = app_with(
        Arc::clone(&store) as Arc<dyn Store>,
        vec![corp(&world)],
        |server| server,
    );
    let client = app.client().await;
    let mut browser = Browser::default();
    let location = browser.allow(&app, &client, "corp").await;
    let url = url::Url::parse(&location).unwrap();
    let query = |name: &str| {
        let (_, value) = url.query_pairs().find(|(n, _)| n == name).unwrap();
        value.into_owned()
    };
    let state = query("state");
    let value = store
        .take(OnceKind::SignIn, SecretHash::of(&state), app.clock.now())
        .await
        .unwrap()
        .unwrap();
    let value = String::from_utf8(value).unwrap();
    let secrets = [state, query("nonce"), query("code_challenge")];
    for secret in secrets.iter().chain(browser.cookies.values()) {
        assert!(!value.contains(secret.as_str()), "{value}");
    }
}

/// A refresh token that rotates is spent when it is used. Whoever asked goes away while the upstream answers: what it answered is kept.
#[tokio::test]
async fn fresh_upstream_tokens_are_kept_though_the_caller_goes_away() {
    let world = World::new();
    let app = app_with(Arc::new(MemoryStore::new()), vec![corp(&world)], |server| {
        server.with_upstream_tokens(vault())
    });
    let client = app.client().await;
    Browser::default().sign_in(&app, &world, &client, "corp").await;
    app.advance(600);
    let subject = Subject::new("https://id.example#7");
    let held = world.gate.acquire_many(100).await.unwrap();
    let caller = tokio::spawn({
        let (server, subject) = (app.server.clone(), subject.clone());
        async move { server.upstream_token(&subject).await }
    });
    until(|| {
        world
            .state
            .lock()
            .unwrap()
            .fetches
            .iter()
            .filter(|uri| uri.ends_with("/token"))
            .count()
            == 2
    })
    .await;
    caller.abort();
    drop(held);
    until(|| world.state.lock().unwrap().refreshes == 1).await;
    let token = app.server.upstream_token(&subject).await.unwrap();
    assert_eq!(
        world.state.lock().unwrap().refreshes,
        1,
        "nobody had to spend another refresh token"
    );
    assert_eq!(
        token.expires_at(),
        Some(app.clock.now().plus(Duration::from_secs(600)))
    );
}

/// The lease ran out while the upstream took its time, and another replica failed with the refresh token that was spent: the fresh tokens
/// are stored all the same.
#[tokio::test]
async fn fresh_upstream_tokens_are_kept_though_the_lease_is_lost() {
    let world = World::new();
    let vault = vault();
    let app = app_with(Arc::new(MemoryStore::new()), vec![corp(&world)], |server| {
        server.with_upstream_tokens(Arc::clone(&vault))
    });
    let client = app.client().await;
    Browser::default().sign_in(&app, &world, &client, "corp").await;
    app.advance(600);
    let subject = Subject::new("https://id.example#7");
    let held = world.gate.acquire_many(100).await.unwrap();
    let slow = tokio::spawn({
        let (server, subject) = (app.server.clone(), subject.clone());
        async move { server.upstream_token(&subject).await }
    });
    until(|| {
        world
            .state
            .lock()
            .unwrap()
            .fetches
            .iter()
            .filter(|uri| uri.ends_with("/token"))
            .count()
            == 2
    })
    .await;
    // What the other replica leaves behind.
    let row = app.store.upstream_token(&subject).await.unwrap().unwrap();
    let failed = UpstreamTokenRow {
        revision: row.revision + 1,
        lease_until: None,
        needs_sign_in: true,
        ..row
    };
    assert!(app.store.put_upstream_token(failed).await.unwrap());
    drop(held);
    let fresh = slow.await.unwrap().unwrap();
    assert_eq!(app.server.upstream_token(&subject).await.unwrap(), fresh);
}

/// The other way round: a replica that failed with a spent refresh token ends nothing if newer tokens have come meanwhile.
#[tokio::test]
async fn a_late_failure_does_not_end_a_newer_sign_in() {
    let world = World::new();
    let app = app_with(Arc::new(MemoryStore::new()), vec![corp(&world)], |server| {
        server.with_upstream_tokens(vault())
    });
    let client = app.client().await;
    Browser::default().sign_in(&app, &world, &client, "corp").await;
    app.advance(600);
    let subject = Subject::new("https://id.example#7");
    let held = world.gate.acquire_many(100).await.unwrap();
    let late = tokio::spawn({
        let (server, subject) = (app.server.clone(), subject.clone());
        async move { server.upstream_token(&subject).await }
    });
    until(|| {
        world
            .state
            .lock()
            .unwrap()
            .fetches
            .iter()
            .filter(|uri| uri.ends_with("/token"))
            .count()
            == 2
    })
    .await;
    world.state.lock().unwrap().twist = Some(Box::new(|_, claims| claims["exp"] = (START + 900).into()));
    Browser::default().sign_in(&app, &world, &client, "corp").await;
    drop(held);
    let newer = late.await.unwrap().unwrap();
    assert_eq!(app.server.upstream_token(&subject).await.unwrap(), newer);
}

/// Anybody can ask without signing in, and what waits for a consent is kept: a flood from one address ends there, and nobody else notices.
#[tokio::test]
async fn a_flood_of_requests_from_one_address_stops_at_its_share() {
    let world = World::new();
    let app = app(&world);
    let client = app.client().await;
    let ask = async |address: [u8; 4]| {
        let mut request = authorize_request(&client, &[]);
        request.extensions_mut().insert(ClientAddress(address.into()));
        app.send(request).await.status
    };
    for _ in 0..60 {
        assert_eq!(ask([192, 0, 2, 1]).await, StatusCode::OK);
    }
    assert_eq!(ask([192, 0, 2, 1]).await, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(ask([192, 0, 2, 2]).await, StatusCode::OK);
    app.advance(60);
    assert_eq!(ask([192, 0, 2, 1]).await, StatusCode::OK);
}
