//! What is wrong with a spec and where: the one shape in which every stage reports.

use crate::hidden::hidden;
use crate::rule::{Rule, Severity};
use serde::{Deserialize, Serialize};
use std::{fmt, ops::Range};

/// A place inside a piece of code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodePlace {
    /// Bytes in the decoded source text.
    pub span: Range<usize>,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

/// One problem of a spec.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Diagnostic {
    /// The rule that was broken.
    pub rule: Rule,
    /// How bad it is.
    pub severity: Severity,
    /// RFC 6901 pointer to the value, `""` for the whole file.
    pub pointer: String,
    /// Bytes in the file, if the spec came from one.
    pub span: Option<Range<usize>>,
    /// Where in the code, for problems of an implementation.
    pub code: Option<CodePlace>,
    /// What is wrong, in one line.
    pub message: String,
    /// What to do about it, in one line.
    pub help: String,
}

impl Diagnostic {
    pub(crate) fn new(rule: Rule, pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            rule,
            severity: rule.severity(),
            pointer: pointer.into(),
            span: None,
            code: None,
            message: one_line(&message.into()),
            help: rule.help().to_owned(),
        }
    }

    pub(crate) fn with_span(mut self, span: Range<usize>) -> Self {
        self.span = Some(span);
        self
    }

    pub(crate) fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = one_line(&help.into());
        self
    }

    pub(crate) fn with_code(mut self, place: CodePlace) -> Self {
        self.code = Some(place);
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = if self.severity >= Severity::High {
            "error"
        } else {
            "warning"
        };
        let pointer = if self.pointer.is_empty() {
            "(root)"
        } else {
            &self.pointer
        };
        write!(f, "{level}[{}] {}", self.rule, escape(pointer))?;
        if let Some(code) = &self.code {
            write!(f, " line {}:{}", code.line, code.column)?;
        }
        write!(f, ": {} ({})", self.message, self.help)
    }
}

/// All problems found, never none. `Display` prints one per line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Diagnostic>", into = "Vec<Diagnostic>")]
pub struct Diagnostics(Vec<Diagnostic>);

/// At most this many problems are reported; a file with more has one cause behind many of them.
pub(crate) const MAX_DIAGNOSTICS: usize = 200;

impl Diagnostics {
    /// `Err` with the problems, in the order of the file, if there are any.
    pub(crate) fn none_or_err(mut problems: Vec<Diagnostic>) -> Result<(), Self> {
        if problems.is_empty() {
            return Ok(());
        }
        problems.sort_by(|a, b| order(a).cmp(&order(b)));
        problems.dedup();
        problems.truncate(MAX_DIAGNOSTICS);
        Err(Self(problems))
    }

    /// The problems, at least one.
    pub fn as_slice(&self) -> &[Diagnostic] {
        &self.0
    }

    /// The problems, in the order of the file.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl TryFrom<Vec<Diagnostic>> for Diagnostics {
    type Error = &'static str;
    fn try_from(list: Vec<Diagnostic>) -> Result<Self, Self::Error> {
        if list.is_empty() {
            Err("diagnostics are never empty")
        } else {
            Ok(Self(list))
        }
    }
}

impl From<Diagnostics> for Vec<Diagnostic> {
    fn from(list: Diagnostics) -> Self {
        list.0
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, diagnostic) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            diagnostic.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

fn order(d: &Diagnostic) -> (usize, usize, Rule, &str) {
    let start = d.span.as_ref().map_or(usize::MAX, |s| s.start);
    (
        start,
        d.code.as_ref().map_or(0, |c| c.span.start),
        d.rule,
        &d.pointer,
    )
}

/// Text from strangers as it may stand on a terminal: control, bidi and invisible characters as escapes, line breaks too.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || hidden(c).is_some() {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

fn one_line(text: &str) -> String {
    const MAX_CHARS: usize = 400;
    let mut out = escape(&text.replace(['\n', '\r', '\t'], " "));
    if let Some((end, _)) = out.char_indices().nth(MAX_CHARS) {
        out.truncate(end);
        out.push('…');
    }
    out
}
