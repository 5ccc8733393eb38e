//! How a sweep that takes its time is shown on a terminal.

use bmm_vault::Progress as Step;

/// A line that is written over and over. Nothing is shown where nobody looks.
pub(crate) struct Progress {
    what: &'static str,
    shown: bool,
}

impl Progress {
    pub(crate) fn new(what: &'static str, shown: bool) -> Self {
        Self { what, shown }
    }

    pub(crate) fn show(&self, step: &Step) {
        if self.shown {
            eprint!(
                "\r{}: {} {} of {}\x1b[K",
                self.what, step.column, step.looked_at, step.rows
            );
        }
    }

    pub(crate) fn end(&self) {
        if self.shown {
            eprint!("\r\x1b[K");
        }
    }
}
