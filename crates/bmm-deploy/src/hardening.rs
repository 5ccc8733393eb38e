//! Which controls hold around a runner, whatever runs it.

use std::fmt;

use bmm_cage::CageReport;
use serde::{Deserialize, Serialize};

/// The controls around one runner, as found before it was told anything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HardeningReport {
    /// Those that hold.
    pub held: Vec<String>,
    /// Those that were meant to and do not.
    pub missing: Vec<MissingControl>,
}

/// A control that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingControl {
    /// Which.
    pub control: String,
    /// What was found instead, or why it could not be had.
    pub reason: String,
}

impl HardeningReport {
    /// Whether every control holds.
    pub fn is_full(&self) -> bool {
        self.missing.is_empty()
    }

    /// Whether `control` holds.
    pub fn holds(&self, control: &str) -> bool {
        self.held.iter().any(|held| held == control)
    }

    fn missing_list(&self) -> String {
        let missing: Vec<String> = self
            .missing
            .iter()
            .map(|missing| format!("{} ({})", missing.control, missing.reason))
            .collect();
        missing.join(", ")
    }

    /// Notes one control: `Err` with what was found instead.
    pub fn note(&mut self, control: &str, found: Result<(), impl fmt::Display>) {
        match found {
            Ok(()) => self.held.push(control.to_owned()),
            Err(reason) => self.missing.push(MissingControl {
                control: control.to_owned(),
                reason: reason.to_string(),
            }),
        }
    }
}

impl From<&CageReport> for HardeningReport {
    fn from(report: &CageReport) -> Self {
        Self {
            held: report.held.iter().map(ToString::to_string).collect(),
            missing: report
                .missing
                .iter()
                .map(|missing| MissingControl {
                    control: missing.control.to_string(),
                    reason: missing.reason.clone(),
                })
                .collect(),
        }
    }
}

impl fmt::Display for HardeningReport {
    /// One line: `holds: a, b; missing: c (reason)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "holds: {}", self.held.join(", "))?;
        if !self.missing.is_empty() {
            write!(f, "; missing: {}", self.missing_list())?;
        }
        Ok(())
    }
}
