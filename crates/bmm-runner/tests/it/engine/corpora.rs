//! Escapes that worked elsewhere, and payloads in disguise: in the shared data, not in the repository.

use bmm_cage::Launcher;
use bmm_runner::engine::{EngineLimits, ToolFailure};
use libtest_mimic::Trial;
use serde::Deserialize;
use serde_json::json;

use super::{Bench, body};

pub(super) fn cases(launcher: &Launcher) -> Vec<Trial> {
    let is_missing = std::env::var_os("BMM_EVAL_DATA").is_none();
    // need the corpora: cargo xtask test
    let trials = trials![launcher:
        what_escaped_another_sandbox_finds_nothing_here,
        a_payload_fails_in_every_disguise,
    ];
    trials
        .into_iter()
        .map(|trial| trial.with_ignored_flag(is_missing))
        .collect()
}

#[derive(Deserialize)]
struct Snippet {
    code: String,
}

fn snippets(name: &str) -> Vec<Snippet> {
    let folder = std::path::PathBuf::from(std::env::var_os("BMM_EVAL_DATA").expect("not ignored"));
    let list = std::fs::read(folder.join(name)).expect("the list is there");
    serde_json::from_slice(&list).expect("the list is JSON")
}

/// A spec has no more.
const MAX_TOOLS: usize = 100;

/// Says of the world what an escape would have changed: a host's names, a way to make code.
const PROBE: &str = "const found = ['process', 'require', 'module', 'Deno', 'Bun', 'host', 'eval'].filter((name) => name in globalThis);
    for (const like of [() => {}, async () => {}, function* () {}, async function* () {}]) {
      try { found.push(like.constructor('return 1')); } catch {}
    }
    return found;";

/// Regression inputs of vm2. Each runs first, and then the probe in the same context.
fn what_escaped_another_sandbox_finds_nothing_here(launcher: &Launcher) {
    let snippets = snippets("vm2_snippets_dev_half.json");
    assert!(snippets.len() > 100);
    let (mut harmless, mut refused) = (0, 0);
    for some in snippets.chunks(MAX_TOOLS) {
        let probed = |code: &str| {
            body(&format!(
                "try {{ await (async () => {{ {code}\n }})(); }} catch {{}}\n{PROBE}"
            ))
        };
        let modules: Vec<String> = some.iter().map(|snippet| probed(&snippet.code)).collect();
        let bench = Bench::new(launcher, &modules, EngineLimits::default());
        for (tool, snippet) in some.iter().enumerate() {
            match bench.call(tool) {
                Ok(found) => {
                    assert_eq!(found, json!([]), "{}", snippet.code);
                    harmless += 1;
                }
                Err(ToolFailure::NotLoadable { .. } | ToolFailure::Thrown { .. } | ToolFailure::Stalled) => {
                    refused += 1
                }
                Err(other) => panic!("{other}: {}", snippet.code),
            }
        }
    }
    println!(
        "vm2: {harmless} ran and found nothing, {refused} failed, of {}",
        snippets.len()
    );
}

/// Each payload, called as a tool.
fn a_payload_fails_in_every_disguise(launcher: &Launcher) {
    let snippets = snippets("js_escape_obfuscated_dev_half.json");
    assert!(snippets.len() >= 64);
    for some in snippets.chunks(MAX_TOOLS) {
        let called = |code: &str| body(&format!("{code}\nreturn await run({{}});"));
        let modules: Vec<String> = some.iter().map(|snippet| called(&snippet.code)).collect();
        let bench = Bench::new(launcher, &modules, EngineLimits::default());
        for (tool, snippet) in some.iter().enumerate() {
            let outcome = bench.call(tool);
            assert!(
                matches!(outcome, Err(ToolFailure::Thrown { .. })),
                "{}: {outcome:?}",
                snippet.code
            );
        }
    }
}
