//! `cargo xtask prove`: the tests that have a scale, at their full scale, with a report.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};

use crate::parts;
use crate::workspace::{Workspace, cargo};

/// The tests that take their size from `BMM_SCALE`: package and a part of their names.
const SCALED: &[(&str, &str)] = &[
    ("bmm-deploy", "rolls::"),
    ("bmm-oauth", "double_click::"),
    ("bmm-runner", "exhaustion::"),
    ("bmm-vault", "load::"),
];

/// Runs them, those of one package if it is named, and writes `benches/results/prove-PACKAGE.md`.
pub(crate) fn run(packages: &[String]) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    let parts = parts::provide_all(&workspace)?;
    let mut failed = false;
    for (package, names) in SCALED {
        if !packages.is_empty() && !packages.iter().any(|wanted| wanted == package) {
            continue;
        }
        let arguments = format!(
            "test -p {package} --all-features --test it -- --include-ignored --nocapture --test-threads=1 {names}"
        );
        let before = Instant::now();
        let mut command = cargo();
        command
            .current_dir(&workspace.root)
            .args(arguments.split(' '))
            .envs(parts.exports.iter().map(|(name, value)| (name, value)))
            .env("BMM_SCALE", "prove");
        let (said, success) = observe(&mut command)?;
        failed |= !success;
        let report = report(package, &said, before.elapsed().as_secs(), success)?;
        let file = workspace.root.join(format!("benches/results/prove-{package}.md"));
        std::fs::write(&file, report).with_context(|| file.display().to_string())?;
        println!("wrote {}", file.display());
    }
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Runs a command and shows what it prints; gives what its tests said.
fn observe(command: &mut Command) -> Result<(String, bool)> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut output = BufReader::new(child.stdout.take().context("the child has no standard output")?);
    let (mut said, mut line) = (String::new(), Vec::new());
    while output.read_until(b'\n', &mut line)? > 0 {
        std::io::stdout().write_all(&line)?;
        said.push_str(&String::from_utf8_lossy(&line));
        line.clear();
    }
    Ok((said, child.wait()?.success()))
}

fn report(package: &str, said: &str, seconds: u64, success: bool) -> Result<String> {
    let commit = Command::new("git")
        .args(["describe", "--always", "--dirty"])
        .output()
        .context("git describe")?;
    let mut report = format!("# Full scale: {package}\n\n");
    writeln!(
        report,
        "`cargo xtask prove {package}` at {}, {} processors: {} after {} min {} s.\n\n```text",
        String::from_utf8_lossy(&commit.stdout).trim(),
        std::thread::available_parallelism()?,
        if success { "passed" } else { "FAILED" },
        seconds / 60,
        seconds % 60
    )?;
    said.lines()
        .filter(|line| !line.is_empty())
        .try_for_each(|line| writeln!(report, "{line}"))?;
    report.push_str("```\n");
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_test_that_has_a_scale_is_run_at_it() {
        let crates = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        let mut scaled = Vec::new();
        for package in std::fs::read_dir(crates).expect("the crates") {
            let package = package.expect("a crate");
            let name = package.file_name().into_string().expect("a name");
            let mut folders = vec![package.path().join("tests/it")];
            while let Some(folder) = folders.pop() {
                let Ok(tests) = std::fs::read_dir(folder) else {
                    continue;
                };
                for file in tests.map(|file| file.expect("a file").path()) {
                    if file.is_dir() {
                        folders.push(file);
                        continue;
                    }
                    let reads_scale =
                        std::fs::read_to_string(&file).is_ok_and(|text| text.contains("BMM_SCALE"));
                    if reads_scale && name != "xtask" {
                        let module = file.file_stem().expect("a name").to_string_lossy().into_owned();
                        scaled.push((name.clone(), format!("{module}::")));
                    }
                }
            }
        }
        scaled.sort();
        let listed = SCALED
            .iter()
            .map(|(package, names)| ((*package).to_owned(), (*names).to_owned()));
        assert_eq!(scaled, listed.collect::<Vec<_>>());
    }
}
