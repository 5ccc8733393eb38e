//! Reports for people.

use super::{
    finding::{Finding, Verdict},
    whole::Report,
};
use crate::{diagnostic::escape, items::Items};
use std::fmt;

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Pass => "pass",
            Verdict::Warn => "warn",
            Verdict::Block => "block",
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = format!("{:?}", self.severity).to_lowercase();
        let confidence = format!("{:?}", self.confidence).to_lowercase();
        let pointer = match self.pointer.as_str() {
            "" => "(root)",
            pointer => pointer,
        };
        write!(f, "{severity:8} {} {}", self.rule, escape(pointer))?;
        if let Some(code) = &self.code {
            write!(f, " line {}:{}", code.line, code.column)?;
        }
        write!(f, "\n         {} ({confidence} confidence)", self.message)?;
        if !self.snippet.is_empty() {
            write!(f, "\n         > {}", self.snippet)?;
        }
        if let Some(decoded) = &self.decoded {
            write!(f, "\n         decoded: {decoded}")?;
        }
        if let Some(reason) = &self.suppressed {
            return write!(f, "\n         suppressed: {reason}");
        }
        write!(f, "\n         help: {}", self.help)?;
        if !self.tags.is_empty() {
            write!(f, "\n         see: {}", self.tags.join(", "))?;
        }
        Ok(())
    }
}

/// Every finding, and the verdict as the last line.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        write!(f, "{}: {}", self.verdict(), Count::of(&self.findings))
    }
}

/// Every item that has findings, and the verdict as the last line.
impl fmt::Display for Items {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut flagged = 0;
        for item in &self.items {
            flagged += usize::from(item.verdict > Verdict::Pass);
            if item.findings.is_empty() {
                continue;
            }
            let count = Count::of(&item.findings);
            let (name, score) = (escape(&item.name), item.score);
            writeln!(f, "{name}: {}, score {score}, {count}", item.verdict)?;
            for finding in &item.findings {
                writeln!(f, "{finding}")?;
            }
        }
        let of = self.items.len();
        let plural = if of == 1 { "item" } else { "items" };
        write!(f, "{}: {flagged} of {of} {plural} flagged", self.verdict)
    }
}

struct Count {
    all: usize,
    suppressed: usize,
}

impl Count {
    fn of(findings: &[Finding]) -> Self {
        Self {
            all: findings.len(),
            suppressed: findings.iter().filter(|f| f.suppressed.is_some()).count(),
        }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.all == 1 { "" } else { "s" };
        write!(f, "{} finding{plural}", self.all)?;
        match self.suppressed {
            0 => Ok(()),
            some => write!(f, ", {some} suppressed"),
        }
    }
}
