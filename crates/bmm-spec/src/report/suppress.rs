//! Suppressions: findings that somebody looked at and accepted, each with a reason and bound to the very text it is about.

use super::finding::{Finding, MAX_FINDINGS};
use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    json,
    rule::Rule,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Most entries of a file.
const MAX_SUPPRESSIONS: usize = 1000;

/// A finding that somebody accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suppression {
    /// The rule.
    pub rule: Rule,
    /// The finding's [`pointer`](Finding::pointer).
    pub pointer: String,
    /// Why it is accepted, for whoever reads the report. Without one it is not honoured.
    #[serde(default)]
    pub reason: String,
    /// The finding's [`sha256`](Finding::sha256): the acceptance ends when the text changes.
    pub sha256: String,
}

/// A suppression file: `{"suppressions": [{"rule", "pointer", "reason", "sha256"}]}`.
///
/// ```
/// use bmm_spec::{Suppressions, Verdict, scan_code};
///
/// let mut items: bmm_spec::Items = [scan_code("shim.js", "globalThis.answer = 42")].into_iter().collect();
/// let finding = &items.items[0].findings[0];
/// let file = format!(
///     r#"{{"suppressions": [{{"rule": "{}", "pointer": "{}", "sha256": "{}", "reason": "tests only"}}]}}"#,
///     finding.rule, finding.pointer, finding.sha256,
/// );
/// let left_over = items.suppress(&Suppressions::parse(file.as_bytes())?);
/// assert_eq!(items.verdict, Verdict::Pass);
/// assert_eq!(items.items[0].findings[0].suppressed.as_deref(), Some("tests only"));
/// assert!(left_over.is_empty());
/// # Ok::<(), bmm_spec::Diagnostics>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suppressions {
    /// The entries.
    pub suppressions: Vec<Suppression>,
}

impl Suppressions {
    /// Reads a suppression file.
    ///
    /// # Errors
    /// Not JSON, another shape, a rule that does not exist, a hash that is none, too many entries.
    pub fn parse(bytes: &[u8]) -> Result<Self, Diagnostics> {
        let (document, mut problems) = json::read(bytes);
        let Some(document) = document else {
            Diagnostics::none_or_err(problems)?;
            return Ok(Self::default());
        };
        let wrong = |pointer: &str, message: String| {
            let mut problem = Diagnostic::new(Rule::BadValue, pointer, message)
                .with_help("write {\"suppressions\": [{\"rule\", \"pointer\", \"reason\", \"sha256\"}]}");
            problem.span = document.positions.value(pointer);
            problem
        };
        let entries = document.value.get("suppressions").and_then(Value::as_array);
        if document.value.as_object().map(serde_json::Map::len) != Some(1) || entries.is_none() {
            problems.push(wrong("", "this is not a list of suppressions".to_owned()));
        }
        let entries = entries.map(Vec::as_slice).unwrap_or_default();
        if entries.len() > MAX_SUPPRESSIONS {
            problems.push(wrong(
                "/suppressions",
                format!("more than {MAX_SUPPRESSIONS} entries"),
            ));
        }
        let mut suppressions = Vec::new();
        for (index, entry) in entries.iter().take(MAX_SUPPRESSIONS).enumerate() {
            let pointer = format!("/suppressions/{index}");
            match Suppression::deserialize(entry) {
                // serde would read a list as the fields in their order.
                _ if !entry.is_object() => problems.push(wrong(&pointer, "not an object".to_owned())),
                Ok(one) if is_hash(&one.sha256) => suppressions.push(one),
                Ok(_) => problems.push(wrong(
                    &format!("{pointer}/sha256"),
                    "not a SHA-256 in lower-case hex".to_owned(),
                )),
                Err(error) => problems.push(wrong(&pointer, error.to_string())),
            }
        }
        Diagnostics::none_or_err(problems)?;
        Ok(Self { suppressions })
    }

    /// Marks the findings of all these lists; what was not honoured is returned.
    pub(crate) fn apply(&self, lists: &mut [&mut Vec<Finding>]) -> Vec<Diagnostic> {
        let mut left_over = Vec::new();
        for (index, suppression) in self.suppressions.iter().enumerate() {
            let refused = |message: &str| {
                let pointer = format!("/suppressions/{index}");
                let what = format!(
                    "the suppression of {} at `{}` {message}",
                    suppression.rule, suppression.pointer
                );
                Diagnostic::new(Rule::StaleSuppression, pointer, what)
            };
            let reason = suppression.reason.trim();
            if reason.is_empty() {
                left_over.push(refused("gives no reason"));
                continue;
            }
            // Findings that were cut off may be what an accepted one stands before.
            if lists.iter().any(|list| list.len() >= MAX_FINDINGS) {
                left_over.push(refused("counts for nothing: the report holds too many findings"));
                continue;
            }
            let (mut honoured, mut changed) = (false, false);
            for finding in lists.iter_mut().flat_map(|list| list.iter_mut()) {
                if finding.rule != suppression.rule || finding.pointer != suppression.pointer {
                    continue;
                }
                if finding.sha256 == suppression.sha256 && is_hash(&finding.sha256) {
                    finding.suppressed = Some(crate::diagnostic::escape(reason));
                    honoured = true;
                } else {
                    changed = true;
                }
            }
            if !honoured {
                left_over.push(refused(if changed {
                    "is about a text that has changed since"
                } else {
                    "fits no finding"
                }));
            }
        }
        left_over
    }
}

fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}
