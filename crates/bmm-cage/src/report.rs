//! Which controls hold around a child, and which do not and why.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One wall of a cage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Control {
    /// A system-call filter of the profile. Never missing: without it nothing starts.
    Seccomp,
    /// Resource limits. Never missing.
    ResourceLimits,
    /// No program can give the child more rights. Never missing.
    NoNewPrivileges,
    /// No capability, and a user that owns nothing (or the caller's own user in a user namespace).
    Unprivileged,
    /// Landlock: no file but what re-execution needs (none at all in a worker).
    Filesystem,
    /// Landlock scopes: no signal and no abstract Unix socket out of the cage.
    Scopes,
    /// A process namespace: nothing outside is seen, and everything inside ends with its first process.
    PidNamespace,
    /// A network namespace without an interface.
    NetNamespace,
    /// An IPC namespace.
    IpcNamespace,
    /// A host name namespace.
    UtsNamespace,
    /// The child ends with its parent, whatever it does.
    Lifeline,
}

impl fmt::Display for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Seccomp => "seccomp",
            Self::ResourceLimits => "resource limits",
            Self::NoNewPrivileges => "no new privileges",
            Self::Unprivileged => "unprivileged user",
            Self::Filesystem => "Landlock file rules",
            Self::Scopes => "Landlock scopes",
            Self::PidNamespace => "pid namespace",
            Self::NetNamespace => "network namespace",
            Self::IpcNamespace => "IPC namespace",
            Self::UtsNamespace => "UTS namespace",
            Self::Lifeline => "lifeline",
        })
    }
}

/// A control that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// Which.
    pub control: Control,
    /// Why, as the kernel says it.
    pub reason: String,
}

/// What holds around one child, as found while it was caged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CageReport {
    /// Controls that hold.
    pub held: Vec<Control>,
    /// Controls of the profile that do not, with the reason.
    pub missing: Vec<Missing>,
}

impl CageReport {
    /// Whether every control of the profile holds.
    pub fn is_full(&self) -> bool {
        self.missing.is_empty()
    }

    /// Whether `control` holds.
    pub fn holds(&self, control: Control) -> bool {
        self.held.contains(&control)
    }

    pub(crate) fn note(&mut self, control: Control, outcome: Result<(), impl fmt::Display>) {
        match outcome {
            Ok(()) => self.held.push(control),
            Err(reason) => self.missing.push(Missing {
                control,
                reason: reason.to_string(),
            }),
        }
    }
}

impl fmt::Display for CageReport {
    /// One line: `holds: a, b; missing: c (reason)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held: Vec<String> = self.held.iter().map(ToString::to_string).collect();
        write!(f, "holds: {}", held.join(", "))?;
        if !self.missing.is_empty() {
            let missing: Vec<String> = self
                .missing
                .iter()
                .map(|missing| format!("{} ({})", missing.control, missing.reason))
                .collect();
            write!(f, "; missing: {}", missing.join(", "))?;
        }
        Ok(())
    }
}
