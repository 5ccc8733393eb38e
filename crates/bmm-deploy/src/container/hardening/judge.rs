//! Two who speak about one control, and what is made of it.

use std::fmt::Display;

use bollard::models::{ContainerConfig, HostConfig};

use crate::container::evidence::Evidence;
use crate::container::facts::DaemonFacts;
use crate::container::kernel::Kernel;
use crate::container::plan::ContainerPlan;
use crate::container::report::{Finding, Verdict};
use crate::container::walls::Control;

pub(super) struct Judge<'a> {
    pub(super) plan: &'a ContainerPlan,
    pub(super) facts: &'a DaemonFacts,
    pub(super) evidence: &'a Evidence,
    /// What the daemon remembers to have been asked for.
    pub(super) asked: HostConfig,
    pub(super) config: ContainerConfig,
    pub(super) kernel: Option<&'a Kernel>,
}

/// What is said about one control.
pub(super) struct Statements {
    pub(super) wanted: String,
    pub(super) daemon: Said,
    pub(super) kernel: Said,
}

/// What one of the two says.
pub(super) enum Said {
    Fine(String),
    Weak(String),
    /// It would know, and does not tell.
    Unknown,
    /// It is none of its business.
    Nothing,
}

impl Said {
    pub(super) fn so(fine: bool, found: impl Display) -> Self {
        let found = found.to_string();
        if fine {
            Self::Fine(found)
        } else {
            Self::Weak(found)
        }
    }

    /// A number that must not be larger. `None` = not limited.
    pub(super) fn at_most<T: PartialOrd + Display>(found: Option<T>, wanted: T) -> Self {
        match found {
            Some(found) => Self::so(found <= wanted, found),
            None => Self::Weak("no limit".to_owned()),
        }
    }
}

impl Statements {
    pub(super) fn finding(self, control: Control) -> Finding {
        use Said::{Fine, Nothing, Unknown, Weak};
        let verdict = match (&self.daemon, &self.kernel) {
            (Weak(_), _) | (_, Weak(_)) => Verdict::Weaker,
            (_, Unknown) | (Unknown, Nothing) => Verdict::Unknown,
            (_, Fine(_)) | (Fine(_) | Nothing, Nothing) => Verdict::Holds,
        };
        let words: Vec<String> = [("daemon", self.daemon), ("kernel", self.kernel)]
            .into_iter()
            .filter_map(|(who, said)| match said {
                Fine(found) | Weak(found) => Some(format!("{who}: {found}")),
                Unknown => Some(format!("{who}: ?")),
                Nothing => None,
            })
            .collect();
        Finding {
            control,
            verdict,
            wanted: self.wanted,
            found: words.join(", "),
        }
    }
}

impl Judge<'_> {
    /// What the kernel says, if it could be asked.
    pub(super) fn seen(&self, look: impl FnOnce(&Kernel) -> Said) -> Said {
        self.kernel.map_or(Said::Unknown, look)
    }

    pub(super) fn security_options(&self) -> impl Iterator<Item = &str> {
        self.asked.security_opt.iter().flatten().map(String::as_str)
    }
}

pub(super) fn statements(wanted: impl Display, daemon: Said, kernel: Said) -> Statements {
    Statements {
        wanted: wanted.to_string(),
        daemon,
        kernel,
    }
}

/// Of what the kernel knows nothing.
pub(super) fn daemon_only(wanted: impl Display, daemon: Said) -> Statements {
    statements(wanted, daemon, Said::Nothing)
}

pub(super) fn said_of(holds: Option<bool>) -> Said {
    holds.map_or(Said::Unknown, |holds| {
        Said::so(holds, if holds { "yes" } else { "no" })
    })
}

pub(super) fn open_paths<'a>(open: impl Iterator<Item = &'a str>) -> Said {
    let open: Vec<&str> = open.collect();
    if open.is_empty() {
        Said::Fine("yes".to_owned())
    } else {
        Said::Weak(format!("not {}", list(&open)))
    }
}

pub(super) fn list<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    if items.is_empty() {
        "nothing".to_owned()
    } else {
        items.join(" ")
    }
}
