//! `bmm up --runtime docker` on a real daemon.

use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::bmm::{Place, Up, eventually, free_address, run, said, shout_spec, stderr_lines};

const NOBODY_WAITS_LONGER: Duration = Duration::from_secs(20);

fn socket() -> String {
    std::env::var("BMM_TEST_DOCKER").expect("BMM_TEST_DOCKER: cargo xtask test")
}

/// The Docker command line: what somebody else than bmm sees.
fn docker(args: &[&str]) -> Vec<String> {
    let output = Command::new("docker")
        .arg(format!("--host=unix://{}", socket()))
        .args(args)
        .output()
        .expect("docker runs");
    said(&output).lines().map(str::to_owned).collect()
}

/// All containers of a server, running and not.
fn containers(slug: &str) -> Vec<String> {
    let filter = format!("label=bmm.slug={slug}");
    docker(&["ps", "--all", "--quiet", "--filter", &filter])
}

fn up(place: &Place, listen: &str, spec: &str) -> Up {
    let (data, socket) = (place.data(), socket());
    Up::start(&[
        "up",
        "--json",
        "--runtime",
        "docker",
        "--docker-socket",
        &socket,
        "--listen",
        listen,
        "--data-dir",
        &data,
        spec,
    ])
}

#[test]
#[ignore = "needs Docker: cargo xtask test"]
fn a_server_in_a_container_is_signed_in_to_and_called_and_leaves_nothing() {
    let place = Place::new();
    let spec = place.spec("shout.json", &shout_spec("in-container"));
    let up = up(&place, "127.0.0.1:0", &spec);
    let output = up.call(
        &place.path("credentials.json"),
        "in-container",
        "shout",
        &json!({ "text": "hello" }),
        Some(up.sign_in_url()),
    );
    assert_eq!(said(&output), "HELLO");

    let there = containers("in-container");
    assert_eq!(there.len(), 1, "{there:?}");
    let inspected = docker(&["inspect", &there[0]]).join("\n");
    assert!(inspected.contains("\"NetworkMode\": \"none\""));
    assert!(
        !inspected.contains(up.origin()) && !inspected.contains("toUpperCase"),
        "nothing that it was told shows from outside"
    );

    assert_eq!(up.stop().0, Some(0));
    assert_eq!(containers("in-container"), [""; 0]);
}

#[test]
#[ignore = "needs Docker: cargo xtask test"]
fn after_kill_9_the_next_start_serves_from_one_container() {
    let place = Place::new();
    let address = free_address().to_string();
    let credentials = place.path("credentials.json");
    let spec = place.spec("shout.json", &shout_spec("after-kill"));
    let first = up(&place, &address, &spec);
    let before = containers("after-kill");
    let link = first.sign_in_url().to_owned();
    said(&first.call(
        &credentials,
        "after-kill",
        "shout",
        &json!({ "text": "a" }),
        Some(&link),
    ));
    first.kill();
    let ended = eventually(NOBODY_WAITS_LONGER, || {
        let running = docker(&["ps", "--quiet", "--filter", "label=bmm.slug=after-kill"]);
        running.is_empty().then_some(())
    });
    assert!(ended.is_some(), "a container without its host ends by itself");

    let second = up(&place, &address, &spec);
    let output = second.call(&credentials, "after-kill", "shout", &json!({ "text": "b" }), None);
    assert_eq!(said(&output), "B");
    let swept = eventually(NOBODY_WAITS_LONGER, || {
        let there = containers("after-kill");
        (there.len() == 1 && there != before).then_some(())
    });
    assert!(swept.is_some(), "{:?}", containers("after-kill"));
    assert_eq!(second.stop().0, Some(0));
    assert_eq!(containers("after-kill"), [""; 0]);
}

#[test]
#[ignore = "needs Docker: cargo xtask test"]
fn the_image_of_this_program_is_made_once() {
    let socket = socket();
    let build = || said(&run(&["image", "build", "--docker-socket", &socket]));
    let id = build();
    assert!(id.starts_with("sha256:") && id.lines().count() == 1, "{id}");
    assert_eq!(id, build());
}

#[test]
#[ignore = "needs Docker: cargo xtask test"]
fn what_is_no_runner_is_told_by_its_last_words() {
    let (place, socket) = (Place::new(), socket());
    let (data, spec) = (place.data(), place.spec("shout.json", &shout_spec("no-runner")));
    let output = run(&[
        "up",
        "--runtime",
        "docker",
        "--docker-socket",
        &socket,
        "--docker-runner",
        "/bin/ls",
        "--listen",
        "127.0.0.1:0",
        "--data-dir",
        &data,
        &spec,
    ]);
    assert_eq!(output.status.code(), Some(1));
    let lines = stderr_lines(&output);
    let told = |line: &String| line.starts_with("bmm:") && line.contains("bmm-cage:contained:runner");
    assert!(lines.iter().any(told), "{lines:?}");
    assert_eq!(containers("no-runner"), [""; 0]);

    let output = run(&[
        "image",
        "build",
        "--docker-socket",
        &socket,
        "--docker-runner",
        &spec,
    ]);
    let lines = stderr_lines(&output);
    assert!(
        matches!(lines.as_slice(), [line] if line.contains("cannot make an image of") && line.contains("ELF")),
        "{lines:?}"
    );
}

#[test]
fn a_daemon_that_is_not_there_is_one_line() {
    let place = Place::new();
    let nowhere = place.path("docker.sock");
    let nowhere = nowhere.to_str().expect("a UTF-8 path");
    let data = place.data();
    let output = run(&[
        "up",
        "--runtime",
        "docker",
        "--docker-socket",
        nowhere,
        "--listen",
        "127.0.0.1:0",
        "--data-dir",
        &data,
    ]);
    let lines = stderr_lines(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        matches!(lines.as_slice(), [line] if line.contains("no Docker daemon answers at") && line.contains(nowhere)),
        "{lines:?}"
    );

    let output = run(&[
        "up",
        "--runtime",
        "docker",
        "--docker-socket",
        "tcp://192.0.2.1:2375",
    ]);
    assert_eq!(output.status.code(), Some(64));
}
