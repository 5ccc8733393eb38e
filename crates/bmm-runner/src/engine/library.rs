//! The code of a worker: compiled when it is first called, kept as bytecode.

use std::cell::OnceCell;

use super::bytecode::{Bytecode, Uncompiled};
use super::thrown::MODULE;
use super::wire::{Outcome, Setup};

/// Concatenated, one module: the files share their names.
const PRELUDE: &str = concat!(
    include_str!("prelude/bytes.js"),
    include_str!("prelude/url.js"),
    include_str!("prelude/abort.js"),
    include_str!("prelude/timers.js"),
    include_str!("prelude/fetch.js"),
    include_str!("prelude/buffer.js"),
    include_str!("prelude/copying.js"),
    include_str!("prelude/world.js"),
);
/// Its name in stack traces, from which `describe` drops it.
const PRELUDE_MODULE: &str = "prelude.js";

/// The prelude and the spec's modules.
pub(super) struct Library {
    prelude: Bytecode,
    units: Vec<Unit>,
    heap_bytes: usize,
    stack_bytes: usize,
}

struct Unit {
    source: String,
    compiled: OnceCell<Result<Bytecode, Outcome>>,
}

impl Library {
    /// `None` when there is not even memory for the prelude.
    pub(super) fn new(modules: Vec<String>, setup: &Setup) -> Option<Self> {
        let units = modules.into_iter().map(|source| Unit {
            source,
            compiled: OnceCell::new(),
        });
        Some(Self {
            // Ours, so not under the limits of a tool.
            prelude: Bytecode::compile(
                PRELUDE_MODULE,
                PRELUDE,
                usize::MAX,
                setup.stack_bytes.max(256 * 1024),
            )
            .ok()?,
            units: units.collect(),
            heap_bytes: setup.heap_bytes,
            stack_bytes: setup.stack_bytes,
        })
    }

    pub(super) fn prelude(&self) -> &Bytecode {
        &self.prelude
    }

    /// A module of the spec. Not compiled in advance: a text that takes the compiler for ever costs the calls of its own tool alone.
    pub(super) fn module(&self, index: usize) -> Result<&Bytecode, Outcome> {
        let unit = self.units.get(index).ok_or(Outcome::NoSuchTool)?;
        let compile = || {
            Bytecode::compile(MODULE, &unit.source, self.heap_bytes, self.stack_bytes).map_err(|refusal| {
                match refusal {
                    Uncompiled::Refused(message) => Outcome::NotLoadable { message },
                    Uncompiled::Memory => Outcome::Memory,
                }
            })
        };
        unit.compiled.get_or_init(compile).as_ref().map_err(Clone::clone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prelude_compiles() {
        let compiled = Bytecode::compile(PRELUDE_MODULE, PRELUDE, usize::MAX, 1 << 18);
        assert_eq!(compiled.err(), None);
    }
}
