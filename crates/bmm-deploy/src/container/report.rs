//! Which walls of a container were found standing.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::facts::DaemonFacts;
use super::plan::Hardening;
use super::walls::Control;
use crate::hardening::{HardeningReport, MissingControl};

/// What was wanted of one container and what was found, control by control.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerReport {
    /// Whether the walls were wanted at all.
    pub hardening: Hardening,
    /// The daemon: its own walls are not ours, but good to know.
    pub daemon: DaemonFacts,
    /// Why the kernel could not be asked about the container; then the daemon's word is all there is.
    pub unseen: Option<String>,
    /// Every control, in the order of [`Control::ALL`].
    pub findings: Vec<Finding>,
}

/// One control.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Which.
    pub control: Control,
    /// Whether it stands.
    pub verdict: Verdict,
    /// What was wanted.
    pub wanted: String,
    /// What was found, by the daemon's word and the kernel's.
    pub found: String,
}

/// Whether a control stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Daemon and kernel say so, as far as each can know.
    Holds,
    /// One of them says that it does not.
    Weaker,
    /// Nobody can say for certain.
    Unknown,
}

/// A container that is weaker than it must be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the container is weaker than it must be: {0}")]
pub struct TooWeak(String);

impl ContainerReport {
    /// Whether every control stands for certain.
    pub fn is_full(&self) -> bool {
        self.findings
            .iter()
            .all(|finding| finding.verdict == Verdict::Holds)
    }

    /// Whether `control` stands for certain.
    pub fn holds(&self, control: Control) -> bool {
        self.with(Verdict::Holds)
            .any(|finding| finding.control == control)
    }

    /// The controls of one verdict.
    pub fn with(&self, verdict: Verdict) -> impl Iterator<Item = &Finding> {
        self.findings
            .iter()
            .filter(move |finding| finding.verdict == verdict)
    }

    /// Refuses a container that is weaker than its plan. Without hardening nothing is refused.
    pub fn admit(&self) -> Result<(), TooWeak> {
        let weaker: Vec<String> = self.with(Verdict::Weaker).map(ToString::to_string).collect();
        if weaker.is_empty() || self.hardening == Hardening::Disabled {
            Ok(())
        } else {
            Err(TooWeak(weaker.join("; ")))
        }
    }
}

impl fmt::Display for ContainerReport {
    /// One line: how many hold, what is missing, and what the daemon is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.hardening == Hardening::Disabled {
            f.write_str("HARDENING IS DISABLED: ")?;
        }
        write!(
            f,
            "{} of {} controls hold",
            self.with(Verdict::Holds).count(),
            self.findings.len()
        )?;
        for (verdict, words) in [(Verdict::Weaker, "weaker"), (Verdict::Unknown, "not known")] {
            for (number, finding) in self.with(verdict).enumerate() {
                let before = if number == 0 {
                    format!("; {words}: ")
                } else {
                    ", ".to_owned()
                };
                write!(f, "{before}{finding}")?;
            }
        }
        if let Some(reason) = &self.unseen {
            write!(f, "; the kernel was not asked: {reason}")?;
        }
        write!(f, "; {}", self.daemon)
    }
}

impl fmt::Display for Finding {
    /// `control (wanted …, found …)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} (wanted {}, found {})",
            self.control, self.wanted, self.found
        )
    }
}

impl From<&ContainerReport> for HardeningReport {
    fn from(report: &ContainerReport) -> Self {
        let missing = |finding: &Finding| MissingControl {
            control: finding.control.to_string(),
            reason: match finding.verdict {
                Verdict::Unknown => format!("not known: wanted {}, found {}", finding.wanted, finding.found),
                _ => format!("wanted {}, found {}", finding.wanted, finding.found),
            },
        };
        Self {
            held: report
                .with(Verdict::Holds)
                .map(|finding| finding.control.to_string())
                .collect(),
            missing: report
                .findings
                .iter()
                .filter(|finding| finding.verdict != Verdict::Holds)
                .map(missing)
                .collect(),
        }
    }
}
