//! JavaScript as the engine's bytecode: compiled in an engine that does nothing else and is thrown away, loaded into a context
//! that cannot compile.
//!
//! The only `unsafe` outside of bmm-cage is here (`crates/xtask/tests/it/unsafe_code.rs` names this file).

use rquickjs::context::intrinsic::{Eval, RegExp, RegExpCompiler};
use rquickjs::{CatchResultExt, CaughtError, Context, Ctx, Module, Runtime, WriteOptions};

use super::thrown::{cut, is_out_of_memory, text_of};

/// A compiled module.
///
/// The engine believes every byte of it, so there is one way to get one, [`Bytecode::compile`]: no conversion, no deserialization, no
/// access to the bytes.
pub(super) struct Bytecode {
    bytes: Vec<u8>,
}

/// Why there is no bytecode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Uncompiled {
    /// What the engine says about the text.
    Refused(String),
    /// It took more memory than a call may.
    Memory,
}

impl Bytecode {
    /// Compiles a module. It may import nothing, and none of it runs.
    pub(super) fn compile(
        name: &str,
        source: &str,
        heap_bytes: usize,
        stack_bytes: usize,
    ) -> Result<Self, Uncompiled> {
        let runtime = Runtime::new().map_err(|_| Uncompiled::Memory)?;
        runtime.set_memory_limit(heap_bytes);
        runtime.set_max_stack_size(stack_bytes);
        let context =
            Context::custom::<(Eval, RegExpCompiler, RegExp)>(&runtime).map_err(|_| Uncompiled::Memory)?;
        context.with(|ctx| {
            let options = WriteOptions {
                // `toString` of a function is all that would need it. Lines are kept.
                strip_source: true,
                ..WriteOptions::default()
            };
            Module::declare(ctx.clone(), name, source)
                .and_then(|module| module.write(options))
                .catch(&ctx)
                .map(|bytes| Self { bytes })
                .map_err(refused)
        })
    }

    /// Loads the module into a context, which needs no way to compile.
    pub(super) fn load<'js>(&self, ctx: &Ctx<'js>) -> rquickjs::Result<Module<'js>> {
        // SAFETY: `Module::load` asks for valid bytecode. These bytes are what `JS_WriteObject` made, in `compile` above, of a module that the
        // same engine, linked into this very executable, had compiled without an error; the field is private to this file, set nowhere else
        // and never changed. So they never come from a spec, a file, a socket or another process. The engine copies what it keeps of them
        // (`JS_ReadFunctionBytecode`), so they need not outlive the context.
        #[allow(unsafe_code, reason = "the one place that loads bytecode")]
        unsafe {
            Module::load(ctx.clone(), &self.bytes)
        }
    }
}

fn refused(error: CaughtError<'_>) -> Uncompiled {
    if is_out_of_memory(&error) {
        return Uncompiled::Memory;
    }
    Uncompiled::Refused(match error {
        CaughtError::Exception(exception) => text_of(&exception),
        other => cut(other.to_string()),
    })
}
