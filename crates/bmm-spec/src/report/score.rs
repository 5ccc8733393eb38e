//! From findings to a number and a verdict.

use super::finding::{Finding, MAX_FINDINGS, Verdict};
use crate::rule::{Confidence, Rule, Severity};
use std::{cmp::Reverse, collections::BTreeMap};

/// The score from which on a text or piece of code is refused.
const BLOCK_SCORE: u32 = 5;
/// The score from which on somebody should look.
const WARN_SCORE: u32 = 3;

impl Finding {
    /// What the finding adds to the score of the text or code it is in.
    pub fn weight(&self) -> u32 {
        if self.suppressed.is_some() {
            return 0;
        }
        let [high, medium, low] = match self.severity {
            Severity::Critical => [10, 5, 3],
            Severity::High => [5, 3, 2],
            Severity::Medium => [3, 2, 1],
            Severity::Low => [1, 1, 0],
        };
        match self.confidence {
            Confidence::High => high,
            Confidence::Medium => medium,
            Confidence::Low => low,
        }
    }
}

impl Verdict {
    /// The verdict of a score: 3 warns, 5 blocks.
    pub fn of(score: u32) -> Self {
        match score {
            BLOCK_SCORE.. => Verdict::Block,
            WARN_SCORE.. => Verdict::Warn,
            _ => Verdict::Pass,
        }
    }
}

/// The highest score of one text or one piece of code.
pub(crate) fn score(findings: &[Finding]) -> u32 {
    scores(findings).into_values().max().unwrap_or(0)
}

/// Each finding once, and if they are too many, those that decide: first the heaviest of each rule in each text, of the texts with the
/// highest scores, so that no number of repeated findings can push out what makes a verdict.
pub(crate) fn keep_worst(mut findings: Vec<Finding>) -> Vec<Finding> {
    let start = |finding: &Finding| {
        let code = finding.code.as_ref().map(|code| &code.span);
        code.or(finding.span.as_ref()).map_or(0, |span| span.start)
    };
    findings.sort_by(|a, b| {
        let order = (&a.pointer, a.rule, b.weight(), start(a));
        order.cmp(&(&b.pointer, b.rule, a.weight(), start(b)))
    });
    findings.dedup();
    if findings.len() <= MAX_FINDINGS {
        return findings;
    }
    let scores = scores(&findings);
    let mut ranks = Vec::with_capacity(findings.len());
    let mut before: Option<&Finding> = None;
    for finding in &findings {
        let repeated = before.is_some_and(|b| (&b.pointer, b.rule) == (&finding.pointer, finding.rule));
        let score = scores.get(finding.pointer.as_str()).copied().unwrap_or(0);
        ranks.push((repeated, Reverse(score)));
        before = Some(finding);
    }
    let mut ranked: Vec<((bool, Reverse<u32>), Finding)> = ranks.into_iter().zip(findings).collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.truncate(MAX_FINDINGS);
    ranked.into_iter().map(|(_, finding)| finding).collect()
}

/// The findings that weigh something in texts and code that are refused.
pub(super) fn blocking(findings: &[Finding]) -> impl Iterator<Item = &Finding> {
    let scores = scores(findings);
    findings.iter().filter(move |finding| {
        let score = scores.get(finding.pointer.as_str());
        finding.weight() > 0 && score.is_some_and(|score| *score >= BLOCK_SCORE)
    })
}

/// The score of every text and piece of code that has findings, by its pointer. Findings of low severity never reach a warning alone.
fn scores(findings: &[Finding]) -> BTreeMap<&str, u32> {
    let mut weights: BTreeMap<(&str, Rule), (u32, Severity)> = BTreeMap::new();
    for finding in findings {
        let found = (finding.weight(), finding.severity);
        let heaviest = weights
            .entry((finding.pointer.as_str(), finding.rule))
            .or_insert(found);
        *heaviest = found.max(*heaviest);
    }
    let mut sums: BTreeMap<&str, (u32, u32)> = BTreeMap::new();
    for ((pointer, _), (weight, severity)) in weights {
        let (low, rest) = sums.entry(pointer).or_default();
        *(if severity == Severity::Low { low } else { rest }) += weight;
    }
    let total = |(low, rest): (u32, u32)| match rest {
        0 => low.min(WARN_SCORE - 1),
        _ => low + rest,
    };
    sums.into_iter()
        .map(|(pointer, sum)| (pointer, total(sum)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn low(rule: Rule) -> Finding {
        Finding {
            severity: Severity::Low,
            ..Finding::new(rule, "/a", "", "")
        }
    }

    #[test]
    fn what_is_low_never_warns_alone_and_adds_to_what_is_not() {
        let mut findings = vec![
            low(Rule::Eval),
            low(Rule::Drift),
            low(Rule::Sloppy),
            low(Rule::Redos),
        ];
        assert_eq!(Verdict::of(score(&findings)), Verdict::Pass);
        findings.push(Finding::new(Rule::Promotion, "/a", "", ""));
        assert_eq!(score(&findings), 7);
        let elsewhere = Finding::new(Rule::Promotion, "/b", "", "");
        assert_eq!(score(&[findings, vec![elsewhere]].concat()), 7);
    }

    #[test]
    fn what_decides_is_kept_of_too_many() {
        let at = |pointer: &str, rule: Rule, start: usize| Finding {
            span: Some(start..start + 1),
            ..Finding::new(rule, pointer, "", "")
        };
        let mut findings: Vec<Finding> = (0..1000).map(|n| at("/a", Rule::UnknownGlobal, n)).collect();
        findings.extend((0..600).map(|n| at(&format!("/b/{n}"), Rule::UnknownGlobal, 0)));
        findings.extend([
            at("/a", Rule::Redos, 2000),
            at("/z", Rule::Redos, 0),
            at("/z", Rule::Sloppy, 0),
        ]);
        let before = score(&findings);
        let kept = keep_worst(findings);
        assert_eq!((before, score(&kept), kept.len()), (8, 8, MAX_FINDINGS));
        assert_eq!(kept.iter().filter(|finding| finding.pointer == "/a").count(), 2);
    }

    #[test]
    fn weight_follows_severity_and_confidence() {
        let mut weights = Vec::new();
        for severity in [
            Severity::Critical,
            Severity::High,
            Severity::Medium,
            Severity::Low,
        ] {
            for confidence in [Confidence::High, Confidence::Medium, Confidence::Low] {
                let mut finding = Finding::new(Rule::Eval, "", "", "");
                (finding.severity, finding.confidence) = (severity, confidence);
                weights.push(finding.weight());
            }
        }
        assert_eq!(weights, [10, 5, 3, 5, 3, 2, 3, 2, 1, 1, 1, 0]);
    }
}
