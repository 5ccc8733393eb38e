//! The code of a worker: compiled when it is first called, kept as bytecode.

use std::cell::OnceCell;

use super::bytecode::{Bytecode, Uncompiled};
use super::thrown::MODULE;
use super::wire::{Outcome, Setup};

/// Runs in every context.
const WORLD: &str = include_str!("prelude/world.js");
/// Each runs in a context that touches something of it; `world.js` says what belongs to which.
const PARTS: [(&str, &str); 10] = [
    ("abort", include_str!("prelude/abort.js")),
    ("asking", include_str!("prelude/asking.js")),
    ("buffer", include_str!("prelude/buffer.js")),
    ("bytes", include_str!("prelude/bytes.js")),
    ("console", include_str!("prelude/console.js")),
    ("copying", include_str!("prelude/copying.js")),
    ("crypto", include_str!("prelude/crypto.js")),
    ("fetch", include_str!("prelude/fetch.js")),
    ("timers", include_str!("prelude/timers.js")),
    ("url", include_str!("prelude/url.js")),
];
/// Their name in stack traces, from which `describe` drops them.
const PRELUDE_MODULE: &str = "prelude.js";
const PRELUDE_STACK_BYTES: usize = 256 * 1024;

/// The prelude and the spec's modules.
pub(super) struct Library {
    world: Bytecode,
    parts: [(&'static str, OnceCell<Option<Bytecode>>); PARTS.len()],
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
            world: ours(WORLD)?,
            parts: PARTS.map(|(name, _)| (name, OnceCell::new())),
            units: units.collect(),
            heap_bytes: setup.heap_bytes,
            stack_bytes: setup.stack_bytes,
        })
    }

    /// What runs first in every context.
    pub(super) fn world(&self) -> &Bytecode {
        &self.world
    }

    /// A part of the prelude, compiled when it is first wanted.
    pub(super) fn part(&self, name: &str) -> Option<&Bytecode> {
        let (_, compiled) = self.parts.iter().find(|(own, _)| *own == name)?;
        let compile = || {
            let (_, source) = PARTS.iter().find(|(own, _)| *own == name)?;
            ours(source)
        };
        compiled.get_or_init(compile).as_ref()
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

/// Compiles what is ours, hence not under the limits of a tool. `None` when there is no memory for it.
fn ours(source: &str) -> Option<Bytecode> {
    Bytecode::compile(PRELUDE_MODULE, source, usize::MAX, PRELUDE_STACK_BYTES).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prelude_compiles() {
        for (name, source) in [("world", WORLD)].into_iter().chain(PARTS) {
            let compiled = Bytecode::compile(PRELUDE_MODULE, source, usize::MAX, PRELUDE_STACK_BYTES);
            assert_eq!(compiled.err(), None, "{name}");
        }
    }
}
