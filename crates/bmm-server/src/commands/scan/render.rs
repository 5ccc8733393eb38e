//! A scan's outcome, for people, for programs and for code hosts.

use std::fmt::Write as _;
use std::io::Write as _;

use bmm_spec::{Finding, Report, Sarif};
use serde_json::{Value, json};

use super::outcome::{File, Judged, Outcome};
use crate::cli::ReportFormat;

pub(super) fn print(outcome: &Outcome, suppressions: Option<&File>, format: ReportFormat) {
    let mut out = match format {
        ReportFormat::Text => text(outcome),
        ReportFormat::Json => document(outcome).to_string(),
        ReportFormat::Sarif => sarif(outcome, suppressions).to_string(),
    };
    out.push('\n');
    // A reader that has seen enough (`| head`) is none of the scan's business: its exit code says what it found.
    let _ = std::io::stdout().write_all(out.as_bytes());
}

fn text(outcome: &Outcome) -> String {
    let mut out = String::new();
    for problem in &outcome.left_over {
        // Writing to a string does not fail.
        let _ = writeln!(out, "{problem}");
    }
    let _ = match &outcome.judged {
        Judged::Spec(report) => write!(out, "{report}"),
        Judged::Tools(items) | Judged::Code(items) => write!(out, "{items}"),
        Judged::Unusable(problems, report) => {
            let _ = writeln!(out, "{problems}");
            if let Some(report) = report.as_ref().filter(|report| !report.findings.is_empty()) {
                let _ = writeln!(out, "{report}");
            }
            write!(
                out,
                "unusable: this cannot be judged as what it was given for, or not be deployed"
            )
        }
    };
    out
}

fn document(outcome: &Outcome) -> Value {
    match &outcome.judged {
        Judged::Spec(report) => json!({
            "verdict": report.verdict(),
            "score": report.score(),
            "findings": report.findings,
            "problems": outcome.left_over,
        }),
        Judged::Tools(items) | Judged::Code(items) => {
            let mut document = json!(items);
            if let (Value::Object(fields), false) = (&mut document, outcome.left_over.is_empty()) {
                fields.insert("problems".to_owned(), json!(outcome.left_over));
            }
            document
        }
        Judged::Unusable(problems, report) => json!({
            "verdict": "unusable",
            "findings": of_report(report.as_ref()),
            "problems": problems,
        }),
    }
}

fn sarif(outcome: &Outcome, suppressions: Option<&File>) -> Value {
    let log = Sarif::new();
    let file = outcome.files.first();
    let (name, bytes) = file.map_or(("", None), |file| (file.name.as_str(), file.shown()));
    let log = match &outcome.judged {
        Judged::Spec(report) => log.with_findings(name, bytes, &report.findings),
        Judged::Tools(items) => {
            let findings = items.items.iter().flat_map(|item| item.findings.iter().cloned());
            log.with_findings(name, bytes, &findings.collect::<Vec<_>>())
        }
        Judged::Code(items) => items
            .items
            .iter()
            .zip(&outcome.files)
            .fold(log, |log, (item, file)| {
                log.with_findings(&file.name, file.shown(), &item.findings)
            }),
        Judged::Unusable(problems, report) => {
            log.with_problems(name, bytes, problems)
                .with_findings(name, bytes, of_report(report.as_ref()))
        }
    };
    match suppressions {
        Some(file) => log.with_problems(&file.name, file.shown(), &outcome.left_over),
        None => log,
    }
    .into_value()
}

fn of_report(report: Option<&Report>) -> &[Finding] {
    report
        .map(|report| report.findings.as_slice())
        .unwrap_or_default()
}
