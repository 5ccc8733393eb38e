//! What a scan came to.

use std::path::Path;

use bmm_spec::{Diagnostic, Diagnostics, Items, Report, Spec, Suppressions, Verdict, scan_codes, scan_tools};

use crate::cli::EXIT_UNUSABLE;
use crate::commands::spec_file;

/// Something that was scanned, with what a report calls it.
pub(super) struct File {
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
    /// Whether it is a file that others can look at, unlike what a server listed.
    pub(super) on_disk: bool,
}

impl File {
    /// The bytes that a place can be shown in.
    pub(super) fn shown(&self) -> Option<&[u8]> {
        self.on_disk.then_some(self.bytes.as_slice())
    }

    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        Ok(Self {
            name: path.display().to_string(),
            bytes: spec_file::read(path)?,
            on_disk: true,
        })
    }
}

/// What a scan came to.
pub(super) struct Outcome {
    /// What was scanned: one file, or as many as there are items of code.
    pub(super) files: Vec<File>,
    pub(super) judged: Judged,
    /// Suppressions that were not honoured, with pointers into their file.
    pub(super) left_over: Vec<Diagnostic>,
}

pub(super) enum Judged {
    /// A spec that could be deployed unless the report blocks it.
    Spec(Report),
    /// Tools of one listing, each judged alone.
    Tools(Items),
    /// Pieces of code, each a file of its own and judged alone.
    Code(Items),
    /// Nothing that could be judged as what it was given for, with what the scan of a spec found nevertheless.
    Unusable(Diagnostics, Option<Report>),
}

impl Outcome {
    pub(super) fn of_spec(file: File, accepted: Option<&Suppressions>) -> Self {
        let mut left_over = Vec::new();
        let judged = match Spec::parse(&file.bytes) {
            Err(problems) => Judged::Unusable(problems, None),
            Ok(spec) => {
                let mut report = bmm_spec::scan(&spec);
                left_over = accepted
                    .map(|accepted| report.suppress(accepted))
                    .unwrap_or_default();
                if report.verdict() == Verdict::Block {
                    Judged::Spec(report)
                } else {
                    match spec.validate(&report).and_then(|valid| valid.compile()) {
                        Ok(_) => Judged::Spec(report),
                        Err(problems) => Judged::Unusable(problems, Some(report)),
                    }
                }
            }
        };
        Self {
            files: vec![file],
            judged,
            left_over,
        }
    }

    pub(super) fn of_tools(file: File, accepted: Option<&Suppressions>) -> Self {
        let (judged, left_over) = match scan_tools(&file.bytes) {
            Ok(mut items) => {
                let left_over = accepted.map(|accepted| items.suppress(accepted));
                if !file.on_disk {
                    // Places in bytes that nobody else has.
                    let findings = items.items.iter_mut().flat_map(|item| &mut item.findings);
                    findings.for_each(|finding| finding.span = None);
                }
                (Judged::Tools(items), left_over.unwrap_or_default())
            }
            Err(problems) => (Judged::Unusable(problems, None), Vec::new()),
        };
        Self {
            files: vec![file],
            judged,
            left_over,
        }
    }

    pub(super) fn of_code(files: Vec<File>, accepted: Option<&Suppressions>) -> Self {
        let texts: Vec<_> = files
            .iter()
            // What is no text in UTF-8 does not parse either, and says so.
            .map(|file| (file.name.as_str(), String::from_utf8_lossy(&file.bytes)))
            .collect();
        let pieces: Vec<(&str, &str)> = texts.iter().map(|(name, text)| (*name, text.as_ref())).collect();
        let mut items = scan_codes(&pieces);
        let left_over = accepted
            .map(|accepted| items.suppress(accepted))
            .unwrap_or_default();
        drop(texts);
        Self {
            files,
            judged: Judged::Code(items),
            left_over,
        }
    }

    pub(super) fn exit_code(&self) -> u8 {
        let verdict = match &self.judged {
            Judged::Spec(report) => report.verdict(),
            Judged::Tools(items) | Judged::Code(items) => items.verdict,
            Judged::Unusable(..) => return EXIT_UNUSABLE,
        };
        match verdict {
            Verdict::Pass => 0,
            Verdict::Warn => 1,
            Verdict::Block => 2,
        }
    }
}
