//! What a scan found, for programs (serde) and for a terminal (`Display`).

use crate::{
    diagnostic::{CodePlace, Diagnostic, escape},
    rule::{Confidence, Rule, Severity},
};
use serde::{Deserialize, Serialize};
use std::{fmt, ops::Range};

/// One finding of a scan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Finding {
    /// The rule.
    pub rule: Rule,
    /// How bad it is.
    pub severity: Severity,
    /// How sure the scanner is.
    pub confidence: Confidence,
    /// RFC 6901 pointer to the text or code.
    pub pointer: String,
    /// Bytes in the file, if the spec came from one.
    pub span: Option<Range<usize>>,
    /// Where in the code, for findings in an implementation.
    pub code: Option<CodePlace>,
    /// At most 120 characters of what was found, escaped.
    pub snippet: String,
    /// What it is, in one line.
    pub message: String,
    /// What to do about it, in one line.
    pub help: String,
}

/// What a scan says as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Nothing found that needs a look.
    Pass,
    /// Admitted; somebody should look.
    Warn,
    /// Refused.
    Block,
}

/// The report of a scan. Belongs to one spec: [`Spec::validate`](crate::Spec::validate) refuses another's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Report {
    /// Digest of the spec that was scanned.
    pub spec_digest: String,
    /// What was found, worst first.
    pub findings: Vec<Finding>,
}

impl Report {
    /// The verdict: critical and high findings block, medium ones warn.
    pub fn verdict(&self) -> Verdict {
        match self.findings.iter().map(|f| f.severity).max() {
            Some(Severity::Critical | Severity::High) => Verdict::Block,
            Some(Severity::Medium) => Verdict::Warn,
            Some(Severity::Low) | None => Verdict::Pass,
        }
    }

    pub(crate) fn blocking(&self) -> impl Iterator<Item = Diagnostic> + '_ {
        self.findings
            .iter()
            .filter(|f| f.severity >= Severity::High)
            .map(|f| {
                let mut diagnostic = Diagnostic::new(f.rule, f.pointer.clone(), f.message.clone());
                diagnostic.span = f.span.clone();
                diagnostic.code = f.code.clone();
                diagnostic.help = f.help.clone();
                diagnostic
            })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            let severity = format!("{:?}", finding.severity).to_lowercase();
            write!(f, "{severity:8} {} {}", finding.rule, escape(&finding.pointer))?;
            if let Some(code) = &finding.code {
                write!(f, " line {}:{}", code.line, code.column)?;
            }
            writeln!(f, "\n         {}", finding.message)?;
            if !finding.snippet.is_empty() {
                writeln!(f, "         > {}", finding.snippet)?;
            }
            writeln!(f, "         help: {}", finding.help)?;
        }
        let verdict = match self.verdict() {
            Verdict::Pass => "pass",
            Verdict::Warn => "warn",
            Verdict::Block => "block",
        };
        let count = self.findings.len();
        write!(
            f,
            "{verdict}: {count} finding{}",
            if count == 1 { "" } else { "s" }
        )
    }
}
