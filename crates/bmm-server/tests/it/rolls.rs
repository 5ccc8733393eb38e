//! Redeploys of a real server under tool calls: none is lost.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bmm::{Place, eventually, run, said, shout_spec};
use crate::http::request;

const CALLERS: usize = 8;
const ROLLS: usize = 6;

#[test]
fn no_tool_call_is_lost_while_a_server_goes_back_and_forth() {
    let place = Place::new();
    let mut whisper = shout_spec("voice");
    whisper["tools"][0]["implementation"] =
        json!("export default async (input) => input.text.toLowerCase();");
    let shout = place.spec("shout.json", &shout_spec("voice"));
    let whisper = place.spec("whisper.json", &whisper);
    assert_eq!(place.up(&[&shout]).stop().0, Some(0));
    let up = place.up(&[&whisper]);
    let credentials = place.path("credentials.json");
    let first = up.call(
        &credentials,
        "voice",
        "shout",
        &json!({"text": "Aa"}),
        Some(up.sign_in_url()),
    );
    assert_eq!(said(&first), "aa");
    let credentials = std::fs::read_to_string(&credentials).expect("kept");
    let token = access_token(&serde_json::from_str(&credentials).expect("JSON")).expect("a token");

    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let (answers, failures) = (Mutex::new([0_u64; 2]), Mutex::new(Vec::new()));
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    sent.fetch_add(1, Ordering::Relaxed);
                    match call(up.address(), &token) {
                        Ok(answer) => answers.lock().expect("no panic")[usize::from(answer == "aa")] += 1,
                        Err(error) => failures.lock().expect("no panic").push(error),
                    }
                }
            });
        }
        for _ in 0..ROLLS {
            let before = sent.load(Ordering::Relaxed);
            let rolled = run(&["rollback", "voice", "--data-dir", &place.data()]);
            if !rolled.status.success() {
                failures.lock().expect("no panic").push(format!("{rolled:?}"));
            }
            eventually(Duration::from_secs(10), || {
                (sent.load(Ordering::Relaxed) > before + 50).then_some(())
            });
        }
        stop.store(true, Ordering::Relaxed);
    });
    let (sent, seconds) = (sent.load(Ordering::Relaxed), begun.elapsed().as_secs_f64());
    let failures = failures.lock().expect("no panic");
    println!(
        "{sent} calls at {:.0}/s, {} failed",
        sent as f64 / seconds,
        failures.len()
    );
    assert!(
        failures.is_empty(),
        "{:#?}",
        failures.iter().take(5).collect::<Vec<_>>()
    );
    assert!(
        answers
            .lock()
            .expect("no panic")
            .iter()
            .all(|answers| *answers > 50)
    );
    assert!(sent > 300, "{sent} calls are no load");
}

/// What the tool says, over a connection of its own.
fn call(address: std::net::SocketAddr, token: &str) -> Result<String, String> {
    let body = json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": { "name": "shout", "arguments": { "text": "Aa" }, "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": { "name": "load", "version": "1" },
        }},
    });
    let token = format!("Bearer {token}");
    let headers = [
        ("Authorization", token.as_str()),
        ("Content-Type", "application/json"),
        ("Accept", "application/json, text/event-stream"),
        ("MCP-Protocol-Version", "2026-07-28"),
        ("Mcp-Method", "tools/call"),
        ("Mcp-Name", "shout"),
    ];
    let response = request(address, "POST", "/voice/mcp", &headers, &body.to_string());
    if response.status != 200 {
        return Err(format!("status {}: {}", response.status, response.body));
    }
    let text = &response.json()["result"]["content"][0]["text"];
    match text.as_str() {
        Some(text @ ("AA" | "aa")) => Ok(text.to_owned()),
        _ => Err(response.body.clone()),
    }
}

/// The first access token in what `bmm call` keeps.
fn access_token(kept: &Value) -> Option<String> {
    match kept {
        Value::Object(fields) => match fields.get("access_token") {
            Some(Value::String(token)) => Some(token.clone()),
            _ => fields.values().find_map(access_token),
        },
        Value::Array(items) => items.iter().find_map(access_token),
        _ => None,
    }
}
