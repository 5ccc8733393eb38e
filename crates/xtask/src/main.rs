//! `cargo xtask`: what a developer and the CI run in this workspace.
//!
//! `cargo xtask test [FILTER]` provides the real parts that the tests drive (see [`parts`]), then runs the whole suite.
//! `cargo xtask prove [PACKAGE…]` runs the tests that have a scale at their full scale.

mod parts;
mod prove;
mod tally;
mod test;
mod workspace;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask test [FILTER]
       cargo xtask prove [PACKAGE…]

test   formatting, lints, every test of the workspace with its real parts, doc tests;
       with a filter: only the tests whose names contain it
prove  the tests that have a scale at their full scale (hours), with a report in benches/results";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.split_first() {
        Some((verb, [])) if verb == "test" => test::run(None),
        Some((verb, [filter])) if verb == "test" && !filter.starts_with('-') => test::run(Some(filter)),
        Some((verb, packages))
            if verb == "prove" && !packages.iter().any(|package| package.starts_with('-')) =>
        {
            prove::run(packages)
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
