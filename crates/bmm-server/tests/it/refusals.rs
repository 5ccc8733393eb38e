use std::fs;
use std::net::TcpListener;

use serde_json::json;

use crate::bmm::{Place, descendants, run, shout_spec, stderr_lines};

/// The one line with which a start was refused.
fn refusal(args: &[&str]) -> String {
    let output = run(args);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let lines = stderr_lines(&output);
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines.into_iter().next().unwrap_or_default()
}

#[test]
fn all_problems_of_all_specs_are_told_at_once_and_nothing_is_deployed() {
    let place = Place::new();
    let good = place.spec("good.json", &shout_spec("good"));
    let mut spec = shout_spec("api");
    spec["tools"][0]["implementation"] = json!("export default async (input: => 1");
    spec["tools"][0]["inputSchema"] = json!({ "type": "nonsense" });
    let tool = spec["tools"][0].clone();
    spec["tools"].as_array_mut().expect("a list").push(tool);
    let bad = place.spec("bad.json", &spec);
    fs::write(place.path("text.json"), "not json").expect("writes");
    let text = place.path("text.json").to_str().expect("UTF-8").to_owned();
    let data = place.data();

    let output = run(&[
        "up",
        "--json",
        "--listen",
        "127.0.0.1:0",
        "--data-dir",
        &data,
        &good,
        &bad,
        &text,
        "/nonexistent.json",
    ]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let lines = stderr_lines(&output);
    let said = |parts: &[&str]| {
        lines
            .iter()
            .any(|line| parts.iter().all(|part| line.contains(part)))
    };
    assert!(said(&["bad.json", "/slug"]), "{lines:#?}");
    assert!(said(&["bad.json", "/tools/0/inputSchema"]), "{lines:#?}");
    assert!(said(&["bad.json", "/tools/0/implementation"]), "{lines:#?}");
    assert!(said(&["bad.json", "/tools/1/name"]), "{lines:#?}");
    assert!(said(&["text.json"]), "{lines:#?}");
    assert!(said(&["/nonexistent.json"]), "{lines:#?}");
    assert!(!said(&["good.json"]), "{lines:#?}");
    assert!(!fs::exists(&data).expect("checks"), "nothing was stored");
}

#[test]
fn two_given_specs_with_one_slug_are_refused() {
    let place = Place::new();
    let (one, two) = (
        place.spec("one.json", &shout_spec("same")),
        place.spec("two.json", &shout_spec("same")),
    );
    let line = refusal(&[
        "up",
        "--listen",
        "127.0.0.1:0",
        "--data-dir",
        &place.data(),
        &one,
        &two,
    ]);
    assert!(line.contains("two.json") && line.contains("same"), "{line}");
}

#[test]
fn a_port_in_use_is_one_line() {
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = taken.local_addr().expect("an address").to_string();
    let line = refusal(&["up", "--listen", &address, "--data-dir", &place.data()]);
    assert!(line.contains(&address) && line.contains("in use"), "{line}");
    assert!(!place.path("data/bmm.db").exists(), "nothing was started");
}

#[test]
fn a_second_bmm_on_the_same_directory_is_one_line() {
    let place = Place::new();
    let spec = place.spec("shout.json", &shout_spec("shout"));
    let up = place.up(&[&spec]);
    let before = descendants(up.pid()).len();
    let line = refusal(&["up", "--listen", "127.0.0.1:0", "--data-dir", &place.data()]);
    assert!(
        line.contains("already serving") && line.contains(&up.pid().to_string()),
        "{line}"
    );
    assert_eq!(descendants(up.pid()).len(), before, "the first is not disturbed");
}

#[test]
fn a_directory_that_cannot_be_written_is_one_line() {
    let place = Place::new();
    fs::write(place.path("file"), "").expect("writes");
    let inside = place.path("file/data").to_str().expect("UTF-8").to_owned();
    let line = refusal(&["up", "--listen", "127.0.0.1:0", "--data-dir", &inside]);
    assert!(line.contains(&inside) && line.contains("--data-dir"), "{line}");
}

#[test]
fn a_directory_from_another_version_is_one_line_and_left_alone() {
    for (version, said) in [("1", "before the first release"), ("3", "newer version")] {
        let place = Place::new();
        let data = place.data();
        fs::create_dir(&data).expect("creates");
        fs::write(place.path("data/VERSION"), version).expect("writes");
        let line = refusal(&["up", "--listen", "127.0.0.1:0", "--data-dir", &data]);
        assert!(line.contains(said), "{line}");
        assert_eq!(
            fs::read_to_string(place.path("data/VERSION")).expect("reads"),
            version
        );
        assert_eq!(fs::read_dir(&data).expect("lists").count(), 1);
    }
}

#[test]
fn somebody_elses_directory_is_left_alone() {
    let place = Place::new();
    fs::create_dir(place.path("data")).expect("creates");
    fs::write(place.path("data/thesis.tex"), "").expect("writes");
    let line = refusal(&["up", "--listen", "127.0.0.1:0", "--data-dir", &place.data()]);
    assert!(line.contains("not a data directory"), "{line}");
}

#[test]
fn plain_http_beyond_this_machine_is_refused() {
    let place = Place::new();
    let data = place.data();
    for flags in [
        vec!["--listen", "0.0.0.0:0"],
        vec!["--listen", "0.0.0.0:0", "--public-url", "http://mcp.example.com"],
        vec![
            "--listen",
            "127.0.0.1:0",
            "--public-url",
            "http://mcp.example.com",
        ],
        vec!["--listen", "[::]:0", "--public-url", "http://127.0.0.1:4000"],
    ] {
        let mut args = vec!["up", "--data-dir", &data];
        args.extend(&flags);
        let line = refusal(&args);
        assert!(
            line.contains("--public-url") || line.contains("--insecure-http"),
            "{flags:?}: {line}"
        );
    }
    assert!(!fs::exists(&data).expect("checks"));
}

#[test]
fn a_runtime_that_does_not_exist_is_wrong_usage() {
    let output = run(&["up", "--runtime", "kubernetes"]);
    assert_eq!(output.status.code(), Some(64));
}
