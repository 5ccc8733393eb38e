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
fn test_runs_the_examples_of_a_spec_and_says_which_do_not_hold() {
    let place = Place::new();
    let mut spec = shout_spec("shout");
    spec["tools"][0]["examples"] = json!([
        { "name": "a word", "input": { "text": "quiet" }, "output": "QUIET" },
        { "input": { "text": "a" }, "output": "B\u{1b}[2J" },
    ]);
    let output = run(&["test", &place.spec("shout.json", &spec)]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    let lines: Vec<_> = said.lines().collect();
    assert!(lines[0].starts_with("ok      shout: a word ("), "{said}");
    assert_eq!(lines[1], "FAILED  shout: example 2");
    assert_eq!(lines[3], "1 passed, 1 failed");
    assert!(!said.contains('\u{1b}'), "{said:?}");

    spec["tools"][0]["examples"] = json!([]);
    let output = run(&["test", &place.spec("none.json", &spec)]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("without an example: shout"));
    spec["tools"][0]["implementation"] = json!("not code (");
    assert_eq!(
        run(&["test", &place.spec("bad.json", &spec)]).status.code(),
        Some(64)
    );
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

/// Lines of JSON to and from a child.
struct Talk {
    stdin: std::process::ChildStdin,
    lines: std::sync::mpsc::Receiver<Value>,
}

impl Talk {
    fn say(&mut self, message: &Value) {
        writeln!(self.stdin, "{message}").expect("writes");
    }

    /// The next message that is the one.
    fn hear(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let message = self
                .lines
                .recv_timeout(std::time::Duration::from_secs(20))
                .expect("it comes");
            if wanted(&message) {
                return message;
            }
        }
    }

    fn tools(&mut self, id: u32) -> Vec<String> {
        self.say(&json!({ "jsonrpc": "2.0", "id": id, "method": "tools/list" }));
        let list = self.hear(|message| message["id"] == id);
        let tools = list["result"]["tools"].as_array().expect("a list");
        tools
            .iter()
            .map(|tool| tool["name"].as_str().expect("a name").to_owned())
            .collect()
    }
}

#[test]
fn run_serves_what_the_file_becomes_and_tells_clients_of_both_eras() {
    let place = Place::new();
    let spec = |tool: &str| {
        let mut spec = shout_spec("shout");
        spec["tools"][0]["name"] = json!(tool);
        spec
    };
    for modern in [false, true] {
        let file = place.spec("shout.json", &spec("first"));
        let mut child = command(&["run", &file])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("bmm runs");
        let stdout = std::io::BufReader::new(child.stdout.take().expect("piped"));
        let mut errors =
            std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().expect("piped")));
        let (sender, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in std::io::BufRead::lines(stdout).map_while(Result::ok) {
                let _ = sender.send(serde_json::from_str(&line).expect("JSON and nothing else"));
            }
        });
        let stdin = child.stdin.take().expect("piped");
        let mut talk = Talk { stdin, lines };
        let meta = json!({ "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" }, "io.modelcontextprotocol/clientCapabilities": {} });
        if modern {
            talk.say(
                &json!({ "jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen",
                "params": { "_meta": meta, "notifications": { "toolsListChanged": true } } }),
            );
            talk.hear(|message| message["method"] == "notifications/subscriptions/acknowledged");
        } else {
            talk.say(&json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
                "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "test", "version": "1" } } }));
            let about = talk.hear(|message| message["id"] == 1);
            assert_eq!(about["result"]["capabilities"]["tools"]["listChanged"], true);
            talk.say(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
            assert_eq!(talk.tools(2), ["first"]);
        }

        place.spec("shout.json", &spec("the_second"));
        talk.hear(|message| message["method"] == "notifications/tools/list_changed");
        if !modern {
            assert_eq!(talk.tools(3), ["the_second"]);
            // A file that is no spec changes nothing.
            std::fs::write(&file, "{").expect("writes");
            errors
                .find(|line| line.as_ref().is_ok_and(|line| line.contains("not reloaded")))
                .expect("it is said")
                .expect("reads");
            assert_eq!(talk.tools(4), ["the_second"]);
        }
        drop(talk.stdin);
        assert!(child.wait().expect("it ends").success());
    }
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
