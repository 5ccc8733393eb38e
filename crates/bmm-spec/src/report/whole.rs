//! The findings of one spec.

use super::{
    finding::{Finding, Verdict},
    score::{blocking, score},
    suppress::Suppressions,
};
use crate::diagnostic::Diagnostic;
use serde::{Deserialize, Serialize};

/// The report of a scan. Belongs to one spec: [`Spec::validate`](crate::Spec::validate) refuses another's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Report {
    /// Digest of the spec that was scanned.
    pub spec_digest: String,
    /// What was found, worst first, suppressed findings included.
    pub findings: Vec<Finding>,
}

impl Report {
    /// The highest score of one text or one piece of code: the sum over the rules it breaks, each counted once by its weightiest finding.
    pub fn score(&self) -> u32 {
        score(&self.findings)
    }

    /// The verdict: a score of 3 warns, one of 5 blocks.
    pub fn verdict(&self) -> Verdict {
        Verdict::of(self.score())
    }

    /// Marks the findings that somebody looked at and accepted.
    ///
    /// Returns the suppressions that were not honoured, as warnings with pointers into the suppression file: one without a reason,
    /// one of a text that has changed since, one of a finding that is gone.
    pub fn suppress(&mut self, suppressions: &Suppressions) -> Vec<Diagnostic> {
        suppressions.apply(&mut [&mut self.findings])
    }

    /// The findings of texts and code that are refused, as problems.
    pub(crate) fn blocking(&self) -> impl Iterator<Item = Diagnostic> + '_ {
        blocking(&self.findings).map(|finding| {
            let mut diagnostic =
                Diagnostic::new(finding.rule, finding.pointer.clone(), finding.message.clone());
            diagnostic.span = finding.span.clone();
            diagnostic.code = finding.code.clone();
            diagnostic.help = finding.help.clone();
            diagnostic
        })
    }
}
