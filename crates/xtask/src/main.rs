//! `cargo xtask`: what a developer and the CI run in this workspace.
//!
//! `cargo xtask test [FILTER…]` provides the real parts that the tests drive (see [`parts`]), then runs the whole suite.

mod parts;
mod tally;
mod test;
mod workspace;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask test [FILTER…]

test   formatting, lints, every test of the workspace with its real parts, doc tests;
       with filters: only the tests whose names contain one of them";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.split_first() {
        Some((verb, filters)) if verb == "test" && !filters.iter().any(|filter| filter.starts_with('-')) => {
            test::run(filters)
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
