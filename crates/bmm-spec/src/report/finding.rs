//! One finding, and what findings amount to.

use crate::{
    diagnostic::{CodePlace, Diagnostic, escape},
    rule::{Confidence, Rule, Severity},
};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Most findings of one report or item; the worst are kept.
pub(crate) const MAX_FINDINGS: usize = 500;
const MAX_SNIPPET_CHARS: usize = 120;
const MAX_MESSAGE_CHARS: usize = 300;

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
    /// The text that was hidden, for what was found in a decoded view, cut and escaped like the snippet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decoded: Option<String>,
    /// What it is, in one line.
    pub message: String,
    /// What to do about it, in one line.
    pub help: String,
    /// Entries of CWE and of OWASP's lists that the rule belongs to, see [`Rule::tags`].
    #[serde(default)]
    pub tags: Vec<String>,
    /// SHA-256, in hex, of the whole text or code it is in (of the canonical JSON if that is no string): what a [`Suppression`] names.
    #[serde(default)]
    pub sha256: String,
    /// The reason for which somebody suppressed it. It stays in the report and counts for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suppressed: Option<String>,
}

impl Finding {
    /// A finding of high confidence that has no place yet; texts from outside are cut and escaped.
    pub(crate) fn new(rule: Rule, pointer: &str, snippet: &str, message: &str) -> Self {
        Self {
            rule,
            severity: rule.severity(),
            confidence: Confidence::High,
            pointer: pointer.to_owned(),
            span: None,
            code: None,
            snippet: cut(snippet),
            decoded: None,
            message: escape(&message.chars().take(MAX_MESSAGE_CHARS).collect::<String>()),
            help: rule.help().to_owned(),
            tags: rule.tags().iter().map(|tag| (*tag).to_owned()).collect(),
            sha256: String::new(),
            suppressed: None,
        }
    }
}

impl From<Diagnostic> for Finding {
    fn from(problem: Diagnostic) -> Self {
        Self {
            span: problem.span,
            code: problem.code,
            help: problem.help,
            ..Self::new(problem.rule, &problem.pointer, "", &problem.message)
        }
    }
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

/// At most as many characters as a snippet may have, escaped.
pub(crate) fn cut(text: &str) -> String {
    let start: String = text.chars().take(MAX_SNIPPET_CHARS).collect();
    escape(&start).chars().take(MAX_SNIPPET_CHARS).collect()
}
