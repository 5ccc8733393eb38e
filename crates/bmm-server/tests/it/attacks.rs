//! Each test is one attack on people's browsers or on what is stored.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;

use serde_json::{Value, json};

use crate::bmm::{Place, Up, eventually, said, shout_spec};
use crate::http::{post_form, request};

fn up() -> (Place, Up) {
    let place = Place::new();
    let spec = place.spec("shout.json", &shout_spec("shout"));
    let up = place.up(&[&spec]);
    (place, up)
}

/// Open redirect: RFC 9700 section 4.11.
#[test]
fn signing_in_never_leads_to_another_site() {
    let (_place, up) = up();
    let cookie = up.session(up.sign_in_url());
    for target in [
        "https://evil.example/",
        "//evil.example/",
        "/%5Cevil.example/",
        "/%09/evil.example/",
        "/.//evil.example/",
        "javascript:alert(1)",
    ] {
        let response = up.get_with(&format!("/login?return_to={target}"), &[("Cookie", &cookie)]);
        let location = response.header("location").expect("a redirect");
        assert!(
            location.starts_with('/') && !location.starts_with("//") && !location.contains('\\'),
            "{target} leads to {location}"
        );
    }
    let response = post_form(
        up.address(),
        "/login",
        &[],
        &[("link", "x"), ("return_to", "//evil.example")],
    );
    assert!(!response.body.contains("evil.example"), "{}", response.body);
}

/// DNS rebinding: a page of another site reaches a loopback address under its own name.
#[test]
fn a_foreign_host_is_refused() {
    let (_place, up) = up();
    let cookie = up.session(up.sign_in_url());
    for path in [
        "/",
        "/login",
        "/api/servers",
        "/oauth/authorize",
        "/.well-known/oauth-authorization-server",
    ] {
        for host in ["evil.example", "evil.example:4000", "127.0.0.1.evil.example"] {
            let response = up.get_with(path, &[("Host", host), ("Cookie", &cookie)]);
            assert_eq!(response.status, 403, "{path} for {host}");
            assert_eq!(response.json()["error"], "foreign_host");
        }
    }
    let port = up.address().port();
    assert_eq!(
        up.get_with("/login", &[("Host", &format!("localhost:{port}"))])
            .status,
        200
    );
}

/// No URL is made from the Host header, not even from one that is admitted.
#[test]
fn the_host_header_is_never_believed() {
    let (_place, up) = up();
    let metadata = up.get_with(
        "/.well-known/oauth-authorization-server",
        &[("Host", "localhost")],
    );
    assert_eq!(metadata.json()["issuer"], up.origin());
}

/// Cross-site request forgery, where SameSite does not help.
#[test]
fn another_origin_cannot_post() {
    let (_place, up) = up();
    let cookie = up.session(up.sign_in_url());
    for origin in ["https://evil.example", "null", "http://127.0.0.1:1"] {
        let response = request(
            up.address(),
            "POST",
            "/logout",
            &[("Cookie", &cookie), ("Origin", origin)],
            "",
        );
        assert_eq!(response.status, 403, "{origin}");
    }
    assert_eq!(
        up.get_with("/api/servers", &[("Cookie", &cookie)]).status,
        200,
        "still signed in"
    );
    let own = up.origin().to_owned();
    assert_eq!(
        request(
            up.address(),
            "POST",
            "/logout",
            &[("Cookie", &cookie), ("Origin", &own)],
            ""
        )
        .status,
        303
    );
}

/// Session fixation: an id that was known before the sign-in is worth nothing after it.
#[test]
fn signing_in_makes_a_new_session_id() {
    let (place, up) = up();
    let planted = "bmm_session=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let response = up.get_with(up.path_of(up.sign_in_url()), &[("Cookie", planted)]);
    let first = response.cookie().expect("a session");
    assert_ne!(first, planted);
    assert_eq!(up.get_with("/api/servers", &[("Cookie", planted)]).status, 401);

    let link = crate::bmm::said(&crate::bmm::run(&["login-link", "--data-dir", &place.data()]));
    let second = up
        .get_with(up.path_of(&link), &[("Cookie", &first)])
        .cookie()
        .expect("a session");
    assert_ne!(first, second);
    assert_eq!(
        up.get_with("/api/servers", &[("Cookie", &first)]).status,
        401,
        "the one before has ended"
    );
}

/// Somebody who reads the database must not be able to sign in with what is in it.
#[test]
fn stored_sessions_and_links_are_hashes() {
    let (place, up) = up();
    let token = up
        .sign_in_url()
        .split_once("token=")
        .expect("a token")
        .1
        .to_owned();
    let cookie = up.session(up.sign_in_url());
    let id = cookie.split_once('=').expect("a value").1.to_owned();
    let link = crate::bmm::said(&crate::bmm::run(&["login-link", "--data-dir", &place.data()]));
    let unused = link.split_once("token=").expect("a token").1.to_owned();
    up.stop();
    for entry in fs::read_dir(place.data())
        .expect("lists")
        .map(|entry| entry.expect("an entry"))
    {
        if entry.file_type().expect("a type").is_file() {
            let bytes = fs::read(entry.path()).expect("reads");
            for secret in [&token, &id, &unused] {
                let raw = BASE64URL.decode(secret).expect("base64url");
                for needle in [secret.as_bytes(), &raw] {
                    let found = bytes.windows(needle.len()).any(|window| window == needle);
                    assert!(!found, "a secret in {:?}", entry.path());
                }
            }
        }
    }
}

/// Other users of the machine.
#[test]
fn nobody_else_can_read_the_data_directory() {
    let (place, up) = up();
    let mut folders = vec![std::path::PathBuf::from(place.data())];
    while let Some(folder) = folders.pop() {
        let mode = fs::metadata(&folder).expect("metadata").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{} has {mode:o}", folder.display());
        for entry in fs::read_dir(&folder)
            .expect("lists")
            .map(|entry| entry.expect("an entry"))
        {
            let metadata = entry.metadata().expect("metadata");
            if metadata.is_dir() {
                folders.push(entry.path());
            } else if metadata.is_file() {
                let mode = metadata.permissions().mode();
                assert_eq!(mode & 0o077, 0, "{} has {mode:o}", entry.path().display());
            }
        }
    }
    drop(up);
}

/// A lost key file must not be papered over: what is sealed could never be opened again.
#[test]
fn a_missing_key_file_is_never_replaced() {
    let (place, up) = up();
    up.stop();
    let key = std::path::Path::new(&place.data()).join("kek");
    fs::remove_file(&key).expect("removes");
    let output = crate::bmm::run(&["up", "--listen", "127.0.0.1:0", "--data-dir", &place.data()]);
    assert!(!output.status.success());
    let lines = crate::bmm::stderr_lines(&output);
    assert!(lines.len() == 1 && lines[0].contains("key file"), "{lines:?}");
    assert!(!key.exists());
}

/// A token that was stolen, and whose owner revokes the grant (RFC 7009), while a runner has already checked and remembered it.
#[test]
fn a_revoked_grant_is_refused_by_its_server_within_five_seconds() {
    let (place, up) = up();
    let credentials = place.path("credentials.json");
    let input = json!({ "text": "a" });
    said(&up.call(&credentials, "shout", "shout", &input, Some(up.sign_in_url())));
    let stored: Value = serde_json::from_slice(&fs::read(&credentials).expect("reads")).expect("JSON");
    let stored = &stored["servers"][up.mcp_url("shout")];
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let (access, refresh) = (
        text(&stored["token_response"]["access_token"]),
        text(&stored["token_response"]["refresh_token"]),
    );
    let bearer = format!("Bearer {access}");
    let status = || {
        let headers = [
            ("Authorization", bearer.as_str()),
            ("Accept", "application/json, text/event-stream"),
            ("Content-Type", "application/json"),
        ];
        let ping = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" }).to_string();
        request(up.address(), "POST", "/shout/mcp", &headers, &ping).status
    };
    assert_ne!(status(), 401, "the token is good");

    let form = [
        ("token", refresh.as_str()),
        ("client_id", &text(&stored["client_id"])),
    ];
    let revoked = post_form(up.address(), "/oauth/revoke", &[], &form);
    assert_eq!(revoked.status, 200, "{}", revoked.body);
    let refused = eventually(Duration::from_secs(5), || (status() == 401).then_some(()));
    assert!(refused.is_some(), "the token still works");
}
