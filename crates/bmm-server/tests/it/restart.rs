use std::time::{Duration, Instant};

use serde_json::json;

use crate::bmm::{Place, alive, descendants, eventually, free_address, said, shout_spec};

#[test]
fn a_second_start_finds_everything_as_it_was() {
    let place = Place::new();
    let (address, credentials) = (free_address(), place.path("credentials.json"));
    let spec = place.spec("shout.json", &shout_spec("shout"));

    let up = place.up_at(address, &[&spec]);
    let before = up.line["servers"].clone();
    let cookie = up.session(up.sign_in_url());
    let link = said(&crate::bmm::run(&["login-link", "--data-dir", &place.data()]));
    said(&up.call(
        &credentials,
        "shout",
        "shout",
        &json!({ "text": "a" }),
        Some(&link),
    ));
    assert_eq!(up.stop().0, Some(0));

    let up = place.up_at(address, &[]);
    assert_eq!(
        up.line["servers"], before,
        "the same servers, and no demo beside them"
    );
    let output = up.call(&credentials, "shout", "shout", &json!({ "text": "b" }), None);
    assert_eq!(said(&output), "B", "the same token is still good");
    let servers = up.get_with("/api/servers", &[("Cookie", &cookie)]);
    assert_eq!(servers.status, 200, "the same session is still good");
    assert_eq!(servers.json()["servers"][0]["revision"], 1);
}

#[test]
fn a_spec_given_again_replaces_its_server_and_leaves_the_others() {
    let place = Place::new();
    let one = place.spec("one.json", &shout_spec("one"));
    let two = place.spec("two.json", &shout_spec("two"));
    assert_eq!(place.up(&[&one, &two]).stop().0, Some(0));

    let mut changed = shout_spec("two");
    changed["tools"][0]["implementation"] =
        json!("export default async (input) => input.text.toLowerCase();");
    let two = place.spec("two.json", &changed);
    let up = place.up(&[&two]);

    let cookie = up.session(up.sign_in_url());
    let servers = up.get_with("/api/servers", &[("Cookie", &cookie)]).json();
    let revisions: Vec<_> = servers["servers"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|s| (s["slug"].clone(), s["revision"].clone()))
        .collect();
    assert_eq!(revisions, [(json!("one"), json!(1)), (json!("two"), json!(2))]);

    let link = said(&crate::bmm::run(&["login-link", "--data-dir", &place.data()]));
    let output = up.call(
        &place.path("c.json"),
        "two",
        "shout",
        &json!({ "text": "LOUD" }),
        Some(&link),
    );
    assert_eq!(said(&output), "loud");
}

#[test]
fn a_killed_runner_is_back_within_two_seconds() {
    let place = Place::new();
    let spec = place.spec("shout.json", &shout_spec("shout"));
    let up = place.up(&[&spec]);
    let credentials = place.path("credentials.json");
    said(&up.call(
        &credentials,
        "shout",
        "shout",
        &json!({ "text": "a" }),
        Some(up.sign_in_url()),
    ));

    let runners: Vec<_> = descendants(up.pid())
        .into_iter()
        .filter(|process| process.name.contains("runner"))
        .map(|p| p.pid)
        .collect();
    assert!(!runners.is_empty(), "{:?}", descendants(up.pid()));
    let killed = Instant::now();
    runners
        .iter()
        .filter(|pid| !alive(&[**pid]).is_empty())
        .for_each(|pid| {
            // One of them may end by the death of another.
            let _ = std::process::Command::new("kill")
                .args(["-KILL", &pid.to_string()])
                .status();
        });

    let output = up.call(&credentials, "shout", "shout", &json!({ "text": "b" }), None);
    assert_eq!(said(&output), "B");
    assert!(
        killed.elapsed() < Duration::from_secs(2),
        "{:?}",
        killed.elapsed()
    );
}

#[test]
fn kill_9_leaves_no_orphan_and_loses_nothing() {
    let place = Place::new();
    let (address, credentials) = (free_address(), place.path("credentials.json"));
    let spec = place.spec("shout.json", &shout_spec("shout"));
    let up = place.up_at(address, &[&spec]);
    let cookie = up.session(up.sign_in_url());
    let link = said(&crate::bmm::run(&["login-link", "--data-dir", &place.data()]));
    said(&up.call(
        &credentials,
        "shout",
        "shout",
        &json!({ "text": "a" }),
        Some(&link),
    ));

    let children: Vec<_> = descendants(up.pid())
        .into_iter()
        .map(|process| process.pid)
        .collect();
    assert!(children.len() >= 2, "a runner and its workers");
    up.kill();
    let gone = eventually(Duration::from_secs(5), || {
        alive(&children).is_empty().then_some(())
    });
    assert!(gone.is_some(), "orphans: {:?}", alive(&children));

    let up = place.up_at(address, &[]);
    assert_eq!(
        said(&up.call(&credentials, "shout", "shout", &json!({ "text": "b" }), None)),
        "B"
    );
    assert_eq!(up.get_with("/api/servers", &[("Cookie", &cookie)]).status, 200);
}

/// As after a version that stores specs otherwise.
#[test]
fn a_stored_server_that_cannot_be_read_does_not_hold_up_the_others() {
    let place = Place::new();
    let (address, one) = (free_address(), place.spec("one.json", &shout_spec("one")));
    let two = place.spec("two.json", &shout_spec("two"));
    assert_eq!(place.up_at(address, &[&one, &two]).stop().0, Some(0));
    let database = std::path::Path::new(&place.data()).join("bmm.db");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let pool = sqlx::SqlitePool::connect(&format!("sqlite://{}", database.display()))
            .await
            .expect("connects");
        sqlx::query("UPDATE servers SET compiled = '{}' WHERE slug = 'one'")
            .execute(&pool)
            .await
            .expect("updates");
        pool.close().await;
    });

    let up = place.up_at(address, &[]);
    let slugs: Vec<_> = up.line["servers"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|server| server["slug"].clone())
        .collect();
    assert_eq!(slugs, [json!("two")]);
    let cookie = up.session(up.sign_in_url());
    assert_eq!(up.get_with("/", &[("Cookie", &cookie)]).status, 200);
}

#[test]
fn a_call_under_way_ends_before_bmm_does() {
    let place = Place::new();
    let mut spec = shout_spec("slow");
    spec["tools"][0]["implementation"] = json!(
        "export default async (input) => { const end = Date.now() + 1500; while (Date.now() < end) {} return 'done'; };"
    );
    let spec = place.spec("slow.json", &spec);
    let up = place.up(&[&spec]);
    let (url, link, credentials) = (
        up.mcp_url("slow"),
        up.sign_in_url().to_owned(),
        place.path("c.json"),
    );
    let credentials = credentials.to_str().expect("UTF-8");
    let call = crate::bmm::command(&[
        "call",
        &url,
        "shout",
        r#"{"text":"a"}"#,
        "--sign-in-url",
        &link,
        "--credentials",
        credentials,
    ])
    .stdout(std::process::Stdio::piped())
    .spawn()
    .expect("bmm runs");

    let busy = || {
        descendants(up.pid())
            .iter()
            .any(|one| one.name.contains("engine") && one.state == 'R')
            .then_some(())
    };
    assert!(
        eventually(Duration::from_secs(20), busy).is_some(),
        "the call never got to the engine"
    );
    assert_eq!(up.stop().0, Some(0));
    assert_eq!(said(&call.wait_with_output().expect("it ends")), "done");
}
