//! `bmm scan FILE`: what the scanner thinks of a spec, as an exit code and a report.

use std::process::ExitCode;

use bmm_spec::{Diagnostics, Report, Spec, Verdict};
use serde_json::json;

use crate::cli::{EXIT_UNUSABLE, ReportFormat, ScanArgs};
use crate::commands::spec_file;

/// What a scan came to.
enum Outcome {
    /// The spec could be scanned, and could be deployed unless the report blocks it.
    Scanned(Report),
    /// Not a spec that could be deployed, whatever it does.
    Unusable(Diagnostics, Option<Report>),
}

pub(crate) fn scan(args: &ScanArgs) -> ExitCode {
    let bytes = match spec_file::read(&args.file) {
        Ok(bytes) => bytes,
        Err(error) => {
            eprintln!("bmm: {error:#}");
            return ExitCode::from(EXIT_UNUSABLE);
        }
    };
    let outcome = judge(&bytes);
    match args.format {
        ReportFormat::Text => print_text(&outcome),
        ReportFormat::Json => print_json(&outcome),
    }
    ExitCode::from(match outcome {
        Outcome::Scanned(report) => match report.verdict() {
            Verdict::Pass => 0,
            Verdict::Warn => 1,
            Verdict::Block => 2,
        },
        Outcome::Unusable(..) => EXIT_UNUSABLE,
    })
}

fn judge(bytes: &[u8]) -> Outcome {
    let spec = match Spec::parse(bytes) {
        Ok(spec) => spec,
        Err(problems) => return Outcome::Unusable(problems, None),
    };
    let report = bmm_spec::scan(&spec);
    if report.verdict() == Verdict::Block {
        return Outcome::Scanned(report);
    }
    match spec.validate(&report).and_then(|valid| valid.compile()) {
        Ok(_) => Outcome::Scanned(report),
        Err(problems) => Outcome::Unusable(problems, Some(report)),
    }
}

fn print_text(outcome: &Outcome) {
    match outcome {
        Outcome::Scanned(report) => println!("{report}"),
        Outcome::Unusable(problems, report) => {
            println!("{problems}");
            if let Some(report) = report.as_ref().filter(|report| !report.findings.is_empty()) {
                println!("{report}");
            }
            println!("unusable: this is not a spec that could be deployed");
        }
    }
}

fn print_json(outcome: &Outcome) {
    let document = match outcome {
        Outcome::Scanned(report) => {
            json!({ "verdict": report.verdict(), "findings": report.findings, "problems": [] })
        }
        Outcome::Unusable(problems, report) => json!({
            "verdict": "unusable",
            "findings": report.as_ref().map(|report| report.findings.as_slice()).unwrap_or_default(),
            "problems": problems,
        }),
    };
    println!("{document}");
}
