//! `cargo xtask`: what a developer and the CI run in this workspace.
//!
//! `cargo xtask test [FILTER]` provides the real parts that the tests drive (see [`parts`]), then runs the whole suite.
//! `cargo xtask prove [PACKAGE…]` runs the tests that have a scale at their full scale.
//! `cargo xtask eval [--write]` measures the scanner on labelled data.

mod eval;
mod parts;
mod prove;
mod tally;
mod test;
mod workspace;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask test [FILTER]
       cargo xtask prove [PACKAGE…]
       cargo xtask eval [--write]

test   formatting, lints, every test of the workspace with its real parts, doc tests;
       with a filter: only the tests whose names contain it
prove  the tests that have a scale at their full scale (hours), with a report in benches/results
eval   what the scanner finds on the labelled data in the folder $BMM_EVAL_DATA; fails when a figure falls;
       with --write: publishes the figures in the README of bmm-spec";

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
        Some((verb, [])) if verb == "eval" => eval::run(false),
        Some((verb, [option])) if verb == "eval" && option == "--write" => eval::run(true),
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
