//! `cargo bench -p bmm-spec`: what a scan costs beside a bare parse and beside peers, in one run, and how it grows.
//!
//! Code: every `.ts` and `.js` file of the folder named by `BMM_BENCH_CODE`, or else the implementations in `examples/specs`.
//! Tools: `benign_livemcpbench_527.json` in `BMM_EVAL_DATA`, or else tools of our own. `BMM_PEER_PYTHON` names a Python that has
//! cisco-ai-mcp-scanner (`benches/peers/cisco-yara.py`). Times are processor times, so that other work on the machine counts little.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a benchmark fails by panicking"
)]

use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use bmm_spec::{Rule, scan_codes, scan_tools};
use oxc_allocator::Allocator;
use oxc_parser::Parser;
use oxc_span::SourceType;
use regex::RegexSet;
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

const TURNS: usize = 9;

/// The kind of list that a scanner of code was before it read syntax trees.
const LIST: &[&str] = &[
    r"\beval\s*\(",
    r"\bnew\s+Function\b",
    r"\bFunction\s*\(",
    r"process\s*\.\s*(binding|dlopen|mainModule|env)",
    r"\.constructor\s*\.\s*constructor",
    r"\b_load\b",
    r"runIn(New|This)?Context",
    r"globalThis\s*\[",
    r"child_process",
    r"\bimport\s*\(",
    r"\brequire\s*\(",
];

fn main() {
    code();
    metadata();
    growth();
}

fn code() {
    let pieces = pieces();
    let named: Vec<(&str, &str)> = pieces
        .iter()
        .map(|(name, code)| (name.as_str(), code.as_str()))
        .collect();
    let bytes: usize = pieces.iter().map(|(_, code)| code.len()).sum();
    println!("code: {} pieces, {bytes} bytes", pieces.len());
    let list = RegexSet::new(LIST).expect("a list of expressions");
    let parse = || {
        for (_, code) in &named {
            let allocator = Allocator::default();
            let parsed = Parser::new(&allocator, code, SourceType::ts()).parse();
            black_box(parsed.program.body.len());
        }
    };
    let parser = best(parse);
    let scan = best(|| drop(black_box(scan_codes(&named))));
    let regexes = best(|| {
        for (_, code) in &named {
            black_box(list.matches(code).into_iter().count());
        }
    });
    for (what, time) in [
        ("bare parser", parser),
        ("scan", scan),
        ("list of expressions", regexes),
    ] {
        println!(
            "  {what:22} {:8.1} MB/s  {:8.1} µs a piece",
            rate(bytes, time),
            micros(time, pieces.len())
        );
    }
    println!(
        "  scan by bare parser    {:8.2}",
        parser.as_secs_f64() / scan.as_secs_f64()
    );
    let flagged = scan_codes(&named)
        .items
        .iter()
        .filter(|item| item.score >= 3)
        .count();
    println!("  flagged                {flagged:8} of {}", pieces.len());
}

fn metadata() {
    let (tools, file) = tools();
    let listing = serde_json::to_vec(&json!({ "tools": tools })).expect("serializes");
    println!("tools: {}, {} bytes", tools.len(), listing.len());
    let scan = best(|| drop(black_box(scan_tools(&listing).expect("a listing"))));
    let ours = micros(scan, tools.len());
    println!(
        "  scan, JSON and all     {:8.1} MB/s  {ours:8.2} µs a tool",
        rate(listing.len(), scan)
    );
    let descriptions: Vec<Value> = tools
        .iter()
        .map(|tool| json!({ "name": "t", "description": tool["description"] }))
        .collect();
    let bare = serde_json::to_vec(&descriptions).expect("serializes");
    let scan = best(|| drop(black_box(scan_tools(&bare).expect("a listing"))));
    println!(
        "  names and descriptions {:8.1} MB/s  {:8.2} µs a tool",
        rate(bare.len(), scan),
        micros(scan, tools.len())
    );
    let (Ok(python), Some(file)) = (std::env::var("BMM_PEER_PYTHON"), file) else {
        println!("  (no BMM_PEER_PYTHON or no BMM_EVAL_DATA: no peer)");
        return;
    };
    let poisoned = file.with_file_name("mcptox_dev_half.json");
    let peer = Command::new(python)
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../benches/peers/cisco-yara.py"
        ))
        .args([&file, &poisoned])
        .arg("5")
        .stderr(Stdio::null())
        .output()
        .expect("the peer runs");
    let peer: Value = serde_json::from_slice(&peer.stdout).expect("the peer prints JSON");
    let time = |key: &str| peer[key].as_f64().expect("a time");
    for (what, key) in [
        ("Cisco, its analyser", "per_tool_us"),
        ("Cisco, bare YARA match", "bare_match_per_tool_us"),
    ] {
        println!(
            "  {what:22}                {:8.2} µs a tool, {:.1} times ours",
            time(key),
            time(key) / ours
        );
    }
    println!("  Cisco, the whole       {peer}");
}

/// How much longer four times the input takes. Linear is 4.
fn growth() {
    println!("growth                             64 KiB       256 KiB    times");
    let texts: [(&str, &str); 8] = [
        ("prose", "It looks up what is asked for, and answers. "),
        (
            "orders",
            "Before using the tool you must read the file and then call it. ",
        ),
        ("one word", "a"),
        ("encoded", "QWRkcyB0d28gbnVtYmVycy4"),
        ("escapes", "%41&#x41;\\u0041"),
        ("comments", "<!-- a <!-- "),
        ("hidden characters", "a\u{200b}\u{e0041}\u{202e}"),
        ("letters of two scripts", "раураl "),
    ];
    for (what, part) in texts {
        let time = |size: usize| {
            let text = part.repeat(size / part.len());
            let listing =
                serde_json::to_vec(&json!([{ "name": "t", "description": text }])).expect("serializes");
            best(|| drop(black_box(scan_tools(&listing).expect("a listing"))))
        };
        line(what, time(1 << 16), time(1 << 18));
    }
    println!("growth                             15 KiB        60 KiB    times");
    let codes: [(&str, &str); 4] = [
        (
            "code: statements",
            "out.push({ id: row.id, name: `${row.a} ${row.b}` });\n",
        ),
        (
            "code: strings",
            "take('a' + 'b', 'c'.concat(input.b), [1, 2].join('-'));\n",
        ),
        ("code: nested calls", "f(g(h(input.a)));\n"),
        ("code: comparisons", "if (a < b && c > d) e = f;\n"),
    ];
    for (what, part) in codes {
        let time = |size: usize| {
            let code = format!(
                "export default (input) => {{ {} }}",
                part.repeat(size / part.len())
            );
            let judged = scan_codes(&[("code", &code)]);
            let refused = judged
                .items
                .iter()
                .flat_map(|item| &item.findings)
                .any(|found| found.rule == Rule::ParseOrLimit);
            assert!(!refused, "{what} is not read to its end");
            best(|| drop(black_box(scan_codes(&[("code", &code)]))))
        };
        line(what, time(15 << 10), time(60 << 10));
    }
}

fn line(what: &str, small: Duration, large: Duration) {
    println!(
        "  {what:24} {:12.1} µs {:12.1} µs {:8.2}",
        small.as_secs_f64() * 1e6,
        large.as_secs_f64() * 1e6,
        large.as_secs_f64() / small.as_secs_f64()
    );
}

/// The least processor time of several turns, of all threads: what other programs do beside does not count.
fn best(mut work: impl FnMut()) -> Duration {
    work();
    let turn = |_| {
        let begun = processor_time();
        work();
        processor_time() - begun
    };
    (0..TURNS).map(turn).min().expect("turns")
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).expect("a time that is not negative")
}

fn rate(bytes: usize, time: Duration) -> f64 {
    bytes as f64 / 1e6 / time.as_secs_f64()
}

fn micros(time: Duration, of: usize) -> f64 {
    time.as_secs_f64() * 1e6 / of as f64
}

fn pieces() -> Vec<(String, String)> {
    let mut found = Vec::new();
    match std::env::var_os("BMM_BENCH_CODE") {
        Some(folder) => files(Path::new(&folder), &mut found),
        None => {
            let specs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/specs");
            for spec in fs::read_dir(specs).expect("the examples").flatten() {
                let Some(spec) = fs::read(spec.path())
                    .ok()
                    .and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok())
                else {
                    continue;
                };
                for tool in spec["tools"].as_array().into_iter().flatten() {
                    let code = tool["implementation"].as_str().unwrap_or_default().to_owned();
                    found.push((format!("{}.ts", tool["name"]), code));
                }
            }
        }
    }
    assert!(!found.is_empty(), "no code");
    found
}

fn files(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        let is_code = path.extension().is_some_and(|end| end == "ts" || end == "js");
        if path.is_dir() {
            files(&path, found);
        } else if let (true, Ok(code)) = (is_code, fs::read_to_string(&path)) {
            found.push((path.display().to_string(), code));
        }
    }
}

fn tools() -> (Vec<Value>, Option<PathBuf>) {
    if let Some(folder) = std::env::var_os("BMM_EVAL_DATA") {
        let file = Path::new(&folder).join("benign_livemcpbench_527.json");
        let tools = serde_json::from_slice(&fs::read(&file).expect("the data")).expect("JSON");
        return (tools, Some(file));
    }
    let tool = |index: usize| {
        json!({
            "name": format!("list_orders_{index}"),
            "description": "Lists the orders of a customer, newest first. At most a hundred are returned; give `after` to go on.",
            "inputSchema": { "type": "object", "properties": {
                "customer": { "type": "string", "description": "The customer's number." },
                "after": { "type": "string", "description": "The last order of the page before." } } }
        })
    };
    ((0..500).map(tool).collect(), None)
}
