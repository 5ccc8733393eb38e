//! `cargo xtask test`: every check, one after the other, none of them skipped because an earlier one failed.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};

use crate::eval::EVAL_DATA;
use crate::parts;
use crate::tally::Tally;
use crate::workspace::{Workspace, cargo};

/// Provides the parts, runs the checks, prints `N passed, N failed` as the last line.
pub(crate) fn run(filter: Option<&str>) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    let parts = parts::provide_all(&workspace)?;
    let mut exports = parts.exports.clone();
    let data = std::env::var_os(EVAL_DATA);
    let evaluated = data.is_some() && filter.is_none();
    if let Some(data) = data {
        // A test runs in the folder of its package; the name was given for this one.
        exports.push((EVAL_DATA, std::path::absolute(data).context(EVAL_DATA)?.into()));
    }

    let mut tally = Tally::default();
    let mut summary = Vec::new();
    for check in checks(filter, evaluated) {
        let mut command = cargo();
        command
            .current_dir(&workspace.root)
            .args(&check.arguments)
            .envs(exports.iter().map(|(name, value)| (name, value)));
        println!("\n=== {}: cargo {}", check.name, check.arguments.join(" "));
        let before = Instant::now();
        let success = observe(&mut command, &mut tally).with_context(|| check.name)?;
        let verdict = if success { "ok" } else { "FAILED" };
        summary.push(format!(
            "{verdict:>6}  {:>5} s  {}",
            before.elapsed().as_secs(),
            check.name
        ));
    }

    println!("\n=== summary");
    for line in &summary {
        println!("{line}");
    }
    if tally == Tally::default() {
        println!("no test was run: no name contains {}", filter.unwrap_or_default());
        tally.failed = 1;
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    Ok(if tally.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

struct Check {
    name: &'static str,
    arguments: Vec<String>,
}

fn checks(filter: Option<&str>, evaluated: bool) -> Vec<Check> {
    let check = |name, arguments: &str| Check {
        name,
        arguments: arguments.split(' ').map(String::from).collect(),
    };
    // Doc tests are a run of their own: `--include-ignored` would run what a doc comment marks as not to be run.
    let mut tests = check(
        "tests",
        "test --workspace --all-features --tests --no-fail-fast -- --include-ignored",
    );
    if let Some(filter) = filter {
        tests.arguments.push(filter.to_owned());
        return vec![tests];
    }
    let mut checks = vec![
        check("formatting", "fmt --all --check"),
        check(
            "lints",
            "clippy --workspace --all-targets --all-features -- -D warnings",
        ),
        tests,
        check(
            "doc tests",
            "test --workspace --all-features --doc --no-fail-fast",
        ),
    ];
    if evaluated {
        checks.push(check("figures on labelled data", "run --quiet -p xtask -- eval"));
    }
    checks
}

/// Runs a command, shows everything it prints, counts its tests. A failure that names no failed test counts as one.
fn observe(command: &mut Command, tally: &mut Tally) -> Result<bool> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let failed_before = tally.failed;
    let mut output = BufReader::new(child.stdout.take().context("the child has no standard output")?);
    let mut line = Vec::new();
    while output.read_until(b'\n', &mut line)? > 0 {
        std::io::stdout().write_all(&line)?;
        tally.read(&String::from_utf8_lossy(&line));
        line.clear();
    }
    let success = child.wait()?.success();
    if !success && tally.failed == failed_before {
        tally.failed += 1;
    }
    Ok(success)
}
