//! The MCP conformance package: its authorization suite against `bmm up`, its server suites against a spec of their own.
//!
//! What a server suite may fail stands in `tests/conformance/expected-failures-*.yml`, each entry with its reason. The package
//! fails on an entry that passes, so the lists cannot go stale.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::bmm::Place;
use crate::node::{Drivers, run};
use crate::single::Single;

const PACKAGE: &str = "node_modules/@modelcontextprotocol/conformance/dist/index.js";

/// Scenarios that no list may excuse.
const DUE: &[&str] = &[
    "server-initialize",
    "server-session-lifecycle",
    "server-stateless",
    "ping",
    "tools-list",
    "tools-call-simple-text",
    "tools-call-error",
    "caching",
    "http-header-validation",
    "dns-rebinding-protection",
    "server-sse-multiple-streams",
];

/// Checks of such a scenario that the package makes by having a tool change what the server lists; see the list.
const NOT_TESTABLE: &[&str] = &[
    "server-stateless:sep-2575-server-sends-prompts-list-changed-on-subscription",
    "server-stateless:sep-2575-server-sends-tools-list-changed-on-subscription",
];

#[test]
#[ignore = "needs Node 22: cargo xtask test"]
fn the_authorization_suite_passes() {
    let (place, drivers) = (Place::new(), Drivers::new());
    let server = place.up(&[]);
    let mut suite = drivers.node("authorization-suite.js");
    suite.args([server.origin(), &server.mcp_url("demo"), server.sign_in_url()]);
    let printed = said(&mut suite);
    assert!(printed.contains("Total: 3 passed, 0 failed"), "{printed}");
}

#[test]
#[ignore = "needs Node 22: cargo xtask test"]
fn the_requirements_of_2025_11_25_are_met_but_for_the_expected_failures() {
    requirements("2025-11-25");
}

#[test]
#[ignore = "needs Node 22: cargo xtask test"]
fn the_requirements_of_2026_07_28_are_met_but_for_the_expected_failures() {
    requirements("2026-07-28");
}

/// The package holds these back as pending, so that `--requirements` does not score them.
#[test]
#[ignore = "needs Node 22: cargo xtask test"]
fn headers_are_validated_against_the_body() {
    let (server, drivers) = (Single::run(&file("spec.json")), Drivers::new());
    for scenario in ["http-header-validation", "http-custom-header-server-validation"] {
        let mut suite = drivers.node(PACKAGE);
        suite.args([
            "server",
            "--url",
            &server.mcp_url,
            "--scenario",
            scenario,
            "--spec-version",
            "2026-07-28",
        ]);
        said(&mut suite);
    }
}

#[test]
fn what_is_due_is_not_excused() {
    for revision in ["2025-11-25", "2026-07-28"] {
        let list = std::fs::read_to_string(expected_failures(revision)).expect("a list of expected failures");
        for entry in list.lines().filter_map(|line| line.trim().strip_prefix("- ")) {
            let scenario = entry.split(':').next().unwrap_or_default();
            let excused = !DUE.contains(&scenario) || NOT_TESTABLE.contains(&entry);
            assert!(excused, "{entry} is due and must not be excused ({revision})");
        }
    }
}

fn requirements(revision: &str) {
    let (server, drivers) = (Single::run(&file("spec.json")), Drivers::new());
    let mut suite = drivers.node(PACKAGE);
    suite.args([
        "server",
        "--url",
        &server.mcp_url,
        "--requirements",
        revision,
        "--expected-failures",
    ]);
    suite.arg(expected_failures(revision));
    said(&mut suite);
}

/// What a suite printed; shown with the test's output too, since it names every scenario.
fn said(suite: &mut Command) -> String {
    let printed = String::from_utf8_lossy(&run(suite).stdout).into_owned();
    println!("{printed}");
    printed
}

fn expected_failures(revision: &str) -> PathBuf {
    file(&format!("expected-failures-{revision}.yml"))
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/conformance")
        .join(name)
}
