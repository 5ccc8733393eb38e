//! The scanner: what code can reach, and what words try to do to a model.

mod code_rules;
mod fold;
mod names;
mod override_grammar;
pub(crate) mod text;

pub use names::OFFERED_GLOBALS;

use crate::{
    check, code,
    diagnostic::escape,
    digest,
    json::Positions,
    model::Spec,
    report::{Finding, Report},
    rule::{Confidence, Rule},
};
use serde_json::Value;
use std::ops::Range;

const MAX_FINDINGS: usize = 500;
const MAX_SNIPPET_CHARS: usize = 120;

/// Judges the code and the texts of a spec. Takes time linear in their size; starts nothing, reaches nothing.
pub fn scan(spec: &Spec) -> Report {
    let value = serde_json::to_value(spec).unwrap_or_default();
    Report {
        spec_digest: digest::spec_digest(spec),
        ..scan_value(&value, spec.positions())
    }
}

/// Scans whatever can be scanned of a spec, well-formed or not.
pub(crate) fn scan_value(spec: &Value, positions: &Positions) -> Report {
    let mut findings = Vec::new();
    for (pointer, source) in check::implementations(spec) {
        for hit in text::in_source(source) {
            findings.push(in_code(&pointer, source, hit));
        }
    }
    let declared = code_rules::Declared::of(spec);
    let sources = check::implementations(spec);
    let judged = code::on_big_stack(|| {
        let judge = |(pointer, source): &(String, &str)| {
            // Code that cannot be read cannot be judged, so it is itself a finding.
            let hits = code::with_module(source, |module| code_rules::judge(module, &declared))
                .unwrap_or_else(|problems| {
                    problems
                        .into_iter()
                        .map(|p| Hit::new(p.rule, p.span, p.message))
                        .collect()
                });
            hits.into_iter()
                .map(|hit| in_code(pointer, source, hit))
                .collect::<Vec<_>>()
        };
        sources.iter().flat_map(judge).collect::<Vec<_>>()
    });
    findings.extend(
        judged.unwrap_or_else(|problem| vec![finding("", "", Hit::new(problem.rule, 0..0, problem.message))]),
    );
    for unit in text::units(spec) {
        for hit in text::judge(unit.text) {
            findings.push(finding(&unit.pointer, unit.text, hit));
        }
    }
    for finding in &mut findings {
        finding.span = match &finding.code {
            Some(place) => positions.within_string(&finding.pointer, &place.span),
            None => finding
                .span
                .take()
                .and_then(|s| positions.within_string(&finding.pointer, &s)),
        };
        finding.span = finding.span.take().or_else(|| positions.value(&finding.pointer));
    }
    findings.sort_by(|a, b| {
        let place = |f: &Finding| f.span.as_ref().map_or(0, |s| s.start);
        (b.severity, place(a), a.rule).cmp(&(a.severity, place(b), b.rule))
    });
    findings.dedup();
    findings.truncate(MAX_FINDINGS);
    Report {
        spec_digest: String::new(),
        findings,
    }
}

/// Something found in a text or a piece of code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hit {
    pub(crate) rule: Rule,
    pub(crate) confidence: Confidence,
    pub(crate) span: Range<usize>,
    pub(crate) message: String,
}

impl Hit {
    pub(crate) fn new(rule: Rule, span: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            rule,
            confidence: Confidence::High,
            span,
            message: message.into(),
        }
    }
}

fn in_code(pointer: &str, source: &str, hit: Hit) -> Finding {
    let place = code::place(source, hit.span.clone());
    Finding {
        code: Some(place),
        ..finding(pointer, source, hit)
    }
}

fn finding(pointer: &str, text: &str, hit: Hit) -> Finding {
    let found = text.get(hit.span.clone()).unwrap_or_default();
    let snippet: String = found.chars().take(MAX_SNIPPET_CHARS).collect();
    Finding {
        rule: hit.rule,
        severity: hit.rule.severity(),
        confidence: hit.confidence,
        pointer: pointer.to_owned(),
        span: Some(hit.span),
        code: None,
        snippet: escape(&snippet).chars().take(MAX_SNIPPET_CHARS).collect(),
        message: escape(&hit.message.chars().take(300).collect::<String>()),
        help: hit.rule.help().to_owned(),
    }
}
