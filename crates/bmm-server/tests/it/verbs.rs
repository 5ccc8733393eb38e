use std::io::Write as _;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::bmm::{Place, command, run, said, shout_spec, stderr_lines};

fn scan(place: &Place, name: &str, spec: &Value, format: &str) -> (Option<i32>, String) {
    let file = place.spec(name, spec);
    let output = run(&["scan", &file, "--format", format]);
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
    )
}

#[test]
fn scan_says_pass_block_and_unusable_by_its_exit_code() {
    let place = Place::new();
    assert_eq!(scan(&place, "good.json", &shout_spec("good"), "text").0, Some(0));

    let mut spec = shout_spec("bad");
    spec["tools"][0]["implementation"] = json!("export default async (input) => eval(input.text);");
    assert_eq!(scan(&place, "bad.json", &spec, "text").0, Some(2));
    let (_, report) = scan(&place, "bad.json", &spec, "json");
    let report: Value = serde_json::from_str(&report).expect("JSON");
    assert_eq!(report["verdict"], "block");
    assert!(
        report["findings"][0]["pointer"]
            .as_str()
            .is_some_and(|p| p.starts_with("/tools/0/")),
        "{report}"
    );

    let (code, report) = scan(&place, "odd.json", &json!({ "bmm": 1, "surprise": true }), "json");
    let report: Value = serde_json::from_str(&report).expect("JSON");
    assert_eq!((code, report["verdict"].as_str()), (Some(64), Some("unusable")));
    assert!(
        report["problems"]
            .as_array()
            .is_some_and(|problems| problems.len() > 1),
        "{report}"
    );

    assert_eq!(run(&["scan", "/nonexistent.json"]).status.code(), Some(64));
    assert_eq!(run(&["scan"]).status.code(), Some(64));
}

#[test]
fn run_serves_a_spec_on_stdio() {
    let place = Place::new();
    let file = place.spec("shout.json", &shout_spec("shout"));
    let mut child = command(&["run", &file])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("bmm runs");
    let mut stdin = child.stdin.take().expect("piped");
    for message in [
        json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
            "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "test", "version": "1" } } }),
        json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }),
        json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {
            "name": "shout", "arguments": { "text": "quiet" } } }),
    ] {
        writeln!(stdin, "{message}").expect("writes");
    }
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().expect("piped")));
    let answer = lines
        .by_ref()
        .map(|line| serde_json::from_str::<Value>(&line.expect("reads")).expect("JSON and nothing else"))
        .find(|message| message["id"] == 2)
        .expect("an answer");
    assert_eq!(answer["result"]["content"][0]["text"], "QUIET");
    drop(stdin);
    assert!(child.wait().expect("it ends").success());
}

#[test]
fn run_refuses_to_listen_beyond_this_machine() {
    let place = Place::new();
    let file = place.spec("shout.json", &shout_spec("shout"));
    let output = run(&["run", &file, "--http", "0.0.0.0:0"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stderr_lines(&output).len(), 1);
}

#[test]
fn call_lists_tools_and_refuses_input_that_is_no_object() {
    let place = Place::new();
    let spec = place.spec("shout.json", &shout_spec("shout"));
    let up = place.up(&[&spec]);
    let credentials = place.path("c.json").to_str().expect("UTF-8").to_owned();
    let url = up.mcp_url("shout");
    let output = run(&[
        "call",
        &url,
        "--sign-in-url",
        up.sign_in_url(),
        "--credentials",
        &credentials,
    ]);
    assert_eq!(said(&output), "shout: Turns text into upper case.");

    for input in ["[1]", "{", "\"text\""] {
        let output = run(&["call", &url, "shout", input, "--credentials", &credentials]);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(stderr_lines(&output).len(), 1, "{input}");
    }
}

#[test]
fn call_says_when_a_tool_failed() {
    let place = Place::new();
    let mut spec = shout_spec("fails");
    spec["tools"][0]["implementation"] =
        json!("export default async (input) => { throw new Error('no ' + input.text); };");
    let spec = place.spec("fails.json", &spec);
    let up = place.up(&[&spec]);
    let output = up.call(
        &place.path("c.json"),
        "fails",
        "shout",
        &json!({ "text": "luck" }),
        Some(up.sign_in_url()),
    );
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("no luck"),
        "{output:?}"
    );
}
