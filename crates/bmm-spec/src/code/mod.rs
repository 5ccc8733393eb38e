//! Code of a spec: parsed within bounds, its types stripped, its lines kept findable.

mod nesting;
mod strip;

pub(crate) use nesting::check as check_nesting;
pub(crate) use strip::{Module, compile, range, with_fragment, with_module};

use crate::{
    diagnostic::{CodePlace, Diagnostic},
    rule::Rule,
};
use std::ops::Range;

/// Stack for parsing. The caps on nesting keep even an unoptimised build far below it; the pages are only taken when used.
const STACK_BYTES: usize = 16 * 1024 * 1024;

/// A problem of one piece of code, not yet placed in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CodeProblem {
    pub(crate) rule: Rule,
    pub(crate) span: Range<usize>,
    pub(crate) message: String,
}

impl CodeProblem {
    pub(crate) fn new(rule: Rule, span: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            rule,
            span,
            message: message.into(),
        }
    }

    pub(crate) fn at(self, pointer: &str, source: &str) -> Diagnostic {
        let place = place(source, self.span);
        Diagnostic::new(self.rule, pointer, self.message).with_code(place)
    }
}

/// Line and column of a span.
pub(crate) fn place(source: &str, span: Range<usize>) -> CodePlace {
    let before = source.get(..span.start).unwrap_or(source);
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    CodePlace {
        line: count(before.matches('\n').count() + 1),
        column: count(before.rsplit('\n').next().unwrap_or_default().chars().count() + 1),
        span,
    }
}

/// Runs the parser's work on a thread whose stack fits the nesting caps, whatever the caller's stack is.
///
/// # Errors
/// The thread cannot be started or died.
pub(crate) fn on_big_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, Box<Diagnostic>> {
    let failed = |what: &str| {
        Box::new(Diagnostic::new(
            Rule::ParseOrLimit,
            "",
            format!("the code checker {what}"),
        ))
    };
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("bmm-spec-code".into())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, work)
            .map_err(|error| failed(&format!("could not start: {error}")))?
            .join()
            .map_err(|_| failed("stopped in the middle"))
    })
}
