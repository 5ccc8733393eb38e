//! One call in one fresh engine: runtime, context and prelude are made while the worker waits, so that a call finds them
//! ready; after the call all of it is thrown away, jobs and timers that the tool left behind included.
//!
//! The context is made without the intrinsic that compiles: what runs in it was bytecode before ([`Library`]).
//!
//! Own job pump instead of rquickjs's async runtime, which runs all jobs in one poll and so never comes back from a promise
//! bomb. A new engine per call instead of a new context: jobs of an old context would run in the next call.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use rquickjs::context::intrinsic::{
    DOMException, Date, Json, MapSet, Promise as PromiseIntrinsic, Proxy, RegExp, TypedArrays,
};
use rquickjs::promise::PromiseState;
use rquickjs::{
    CatchResultExt, CaughtError, Context, Ctx, Function, Object, Promise, Runtime, TypedArray, Value,
};

use super::bytecode::Bytecode;
use super::library::Library;
use super::native::{self, Stop, World};
use super::thrown::{cut, is_out_of_memory};
use super::wire::{FromWorker, Outcome, Port, Setup, ToWorker};

/// Not among them: Eval and RegExpCompiler (the compiler), WeakRef and FinalizationRegistry (they tell when memory is collected),
/// Performance (a fine clock). What the others bring along and nobody may have is taken away by `harden` in the prelude.
type Intrinsics = (
    Date,
    RegExp,
    Json,
    Proxy,
    MapSet,
    TypedArrays,
    PromiseIntrinsic,
    DOMException,
);

/// Heap at which a call's first collection is due.
const FIRST_COLLECTION_BYTES: usize = 1024 * 1024;
/// Jobs between two looks at the clock.
const JOBS_PER_LOOK: usize = 64;

/// Makes an engine, waits for a call, runs it, answers. `false` when the parent is gone.
pub(super) fn serve_one(port: &Rc<RefCell<Port>>, setup: &Rc<Setup>, library: &Rc<Library>) -> bool {
    let Ok(runtime) = Runtime::new() else { return false };
    runtime.set_memory_limit(setup.heap_bytes);
    // A context alone is near the engine's own threshold: most calls end without a collection.
    runtime.set_gc_threshold(FIRST_COLLECTION_BYTES.min(setup.heap_bytes / 8));
    runtime.set_max_stack_size(setup.stack_bytes);
    let world = Rc::new(World::new(Rc::clone(port), Rc::clone(setup)));
    let watched = Rc::clone(&world);
    runtime.set_interrupt_handler(Some(Box::new(move || watched.stop().is_some())));
    let Ok(context) = Context::custom::<Intrinsics>(&runtime) else {
        return false;
    };
    context.with(|ctx| serve(&ctx, &world, setup, library).unwrap_or(false))
}

fn serve(ctx: &Ctx<'_>, world: &Rc<World>, setup: &Setup, library: &Rc<Library>) -> rquickjs::Result<bool> {
    let prelude = Prelude::load(ctx, world, library)?;
    let (tool, secrets, input) = loop {
        match world.receive(None) {
            Some((ToWorker::Call { tool, secrets }, input)) => break (tool, secrets, input),
            // A late answer to the call before.
            Some(_) => {}
            None if world.stop().is_some() => return Ok(false),
            None => {}
        }
    };
    world.start();
    let call = Call {
        ctx,
        world,
        prelude: &prelude,
    };
    let finished = library
        .module(tool)
        .and_then(|module| call.run(module, &secrets, &input));
    let (outcome, output) = match finished {
        Ok(output) if output.len() > setup.output_bytes => (Outcome::OutputTooLarge, String::new()),
        Ok(output) => (Outcome::Output, output),
        Err(failure) => (failure, String::new()),
    };
    world.send(&FromWorker::Done(outcome), output.as_bytes());
    Ok(world.stop() != Some(Stop::Gone))
}

/// The functions that the prelude makes for the pump (`prelude/world.js`).
struct Prelude<'js> {
    deliver: Function<'js>,
    describe: Function<'js>,
    output: Function<'js>,
    run: Function<'js>,
    tick: Function<'js>,
}

impl<'js> Prelude<'js> {
    /// The prelude finds the way to its parts as a global, takes that away, and puts its own functions beside it. (An export would be
    /// there for a tool that imports `prelude.js`.)
    fn load(ctx: &Ctx<'js>, world: &Rc<World>, library: &Rc<Library>) -> rquickjs::Result<Self> {
        let host = native::host(ctx, world, library)?;
        ctx.globals().set("host", host.clone())?;
        let (_, evaluated) = library.world().load(ctx)?.eval()?;
        evaluated
            .result::<()>()
            .unwrap_or(Err(rquickjs::Error::Unknown))?;
        let made: Object<'js> = host.get("made")?;
        host.remove("made")?;
        Ok(Self {
            deliver: made.get("deliver")?,
            describe: made.get("describe")?,
            output: made.get("output")?,
            run: made.get("run")?,
            tick: made.get("tick")?,
        })
    }
}

/// One call under way.
struct Call<'a, 'js> {
    ctx: &'a Ctx<'js>,
    world: &'a World,
    prelude: &'a Prelude<'js>,
}

impl<'js> Call<'_, 'js> {
    /// The output as JSON text.
    fn run(&self, module: &Bytecode, secrets: &[(String, String)], input: &[u8]) -> Result<String, Outcome> {
        let ctx = self.ctx;
        let (module, evaluated) = module
            .load(ctx)
            .and_then(rquickjs::Module::eval)
            .catch(ctx)
            .map_err(|error| self.not_loadable(error))?;
        self.settle(&evaluated)?;
        let tool: Function<'js> = module.get("default").map_err(|_| Outcome::NotLoadable {
            message: "the module has no function as its default export".to_owned(),
        })?;

        let input = String::from_utf8_lossy(input).into_owned();
        let secrets = serde_json::to_string(secrets).unwrap_or_else(|_| "[]".to_owned());
        let promise: Promise<'js> = self
            .prelude
            .run
            .call((tool, input, secrets))
            .catch(ctx)
            .map_err(|error| self.failure(error))?;
        let value = self.settle(&promise)?;
        self.prelude
            .output
            .call((value,))
            .catch(ctx)
            .map_err(|error| match self.failure(error) {
                Outcome::Thrown { message } => Outcome::OutputNotJson { message },
                other => other,
            })
    }

    /// Runs jobs, timers and deliveries until `promise` is settled.
    fn settle(&self, promise: &Promise<'js>) -> Result<Value<'js>, Outcome> {
        loop {
            let jobs = (0..JOBS_PER_LOOK)
                .take_while(|_| self.ctx.execute_pending_job())
                .count();
            if let Some(stop) = self.world.stop() {
                return Err(stopped(stop));
            }
            if promise.state() != PromiseState::Pending {
                let settled = promise
                    .result::<Value<'js>>()
                    .unwrap_or_else(|| Err(rquickjs::Error::Unknown));
                return settled.catch(self.ctx).map_err(|error| self.failure(error));
            }
            if jobs < JOBS_PER_LOOK {
                self.wait_for_something()?;
            }
        }
    }

    /// No job is pending: runs a timer that is due, or waits for the next timer or answer. Ends the call if there is a question left and
    /// nothing but timers besides.
    fn wait_for_something(&self) -> Result<(), Outcome> {
        // Timers do not count: a tool that races a question with a timeout would never be answered.
        if self.world.is_asking() && !self.world.is_fetching() {
            return Err(Outcome::Asking);
        }
        let next_ms: f64 = self
            .prelude
            .tick
            .call(())
            .catch(self.ctx)
            .map_err(|error| self.failure(error))?;
        let timeout = match (next_ms, self.world.is_fetching()) {
            (0.0, false) => return Ok(()),
            (0.0.., _) => Some(Duration::try_from_secs_f64(next_ms / 1000.0).unwrap_or(Duration::MAX)),
            (_, true) => None,
            (_, false) => return Err(Outcome::Stalled),
        };
        if let Some((ToWorker::Fetched { id, outcome }, body)) = self.world.receive(timeout) {
            self.deliver(id, outcome, body)
                .catch(self.ctx)
                .map_err(|error| self.failure(error))?;
        }
        Ok(())
    }

    fn deliver(
        &self,
        id: u32,
        outcome: Result<super::wire::ResponseHead, String>,
        body: Bytes,
    ) -> rquickjs::Result<()> {
        match outcome {
            Ok(head) => {
                let head = serde_json::to_string(&head).unwrap_or_default();
                let body = TypedArray::<u8>::new(self.ctx.clone(), body.to_vec())?;
                self.prelude.deliver.call((id, rquickjs::Undefined, head, body))
            }
            Err(message) => self.prelude.deliver.call((id, message)),
        }
    }

    fn not_loadable(&self, error: CaughtError<'js>) -> Outcome {
        match self.failure(error) {
            Outcome::Thrown { message } => Outcome::NotLoadable { message },
            other => other,
        }
    }

    /// What a caught error means.
    fn failure(&self, error: CaughtError<'js>) -> Outcome {
        if let Some(stop) = self.world.stop() {
            return stopped(stop);
        }
        if is_out_of_memory(&error) {
            return Outcome::Memory;
        }
        let thrown = match error {
            CaughtError::Exception(exception) => exception.into_object().into_value(),
            CaughtError::Value(value) => value,
            CaughtError::Error(error) => {
                return Outcome::Thrown {
                    message: error.to_string(),
                };
            }
        };
        let message: Result<String, CaughtError<'js>> = self.prelude.describe.call((thrown,)).catch(self.ctx);
        match message {
            Ok(message) => Outcome::Thrown {
                message: cut(message),
            },
            Err(error) if is_out_of_memory(&error) => Outcome::Memory,
            Err(_) => Outcome::Thrown {
                message: "the tool threw something that cannot be shown".to_owned(),
            },
        }
    }
}

fn stopped(stop: Stop) -> Outcome {
    match stop {
        Stop::Timeout | Stop::Gone => Outcome::Timeout,
        Stop::Cpu => Outcome::Cpu,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a module in a context as calls get it, before the prelude has touched it; what its default export is as JSON.
    fn in_a_bare_context(module: &str) -> serde_json::Value {
        let module =
            Bytecode::compile("bare.js", module, 1 << 24, 1 << 18).unwrap_or_else(|_| panic!("compiles"));
        let runtime = Runtime::new().expect("a runtime");
        let context = Context::custom::<Intrinsics>(&runtime).expect("a context");
        context.with(|ctx| {
            let (module, evaluated) = module
                .load(&ctx)
                .and_then(rquickjs::Module::eval)
                .catch(&ctx)
                .expect("it runs");
            evaluated.finish::<()>().catch(&ctx).expect("it ends");
            let found: String = module.get("default").expect("a text");
            serde_json::from_str(&found).expect("JSON")
        })
    }

    /// Not only closed by the prelude (`text_does_not_become_code` in the integration tests): the compiler is not there.
    #[test]
    fn a_context_has_no_compiler() {
        let found = in_a_bare_context(
            r"const made = [
                () => eval('1'), () => (0, eval)('1'), () => globalThis.eval('1'), () => Function('1'), () => new Function('1'),
                () => (() => {}).constructor('1'), () => (async () => {}).constructor('1'), () => (function* () {}).constructor('1'),
                () => (async function* () {}).constructor('1'), () => Reflect.construct(Function, ['1'], class {}),
                () => new (class extends Function {})('1'), () => ''.constructor.constructor('1'),
              ];
              const outcomes = made.map((make) => { try { return `made ${make()}`; } catch (error) { return String(error); } });
              export default JSON.stringify(outcomes);",
        );
        let outcomes = found.as_array().expect("a list");
        assert_eq!(outcomes.len(), 12);
        for outcome in outcomes {
            assert_eq!(outcome, "TypeError: eval is not supported");
        }
    }

    #[test]
    fn a_context_tells_neither_collections_nor_a_fine_clock() {
        let found = in_a_bare_context(
            "const names = ['WeakRef', 'FinalizationRegistry', 'performance', 'navigator', 'setTimeout', 'fetch', 'std', 'os'];
             export default JSON.stringify(names.filter((name) => name in globalThis));",
        );
        assert_eq!(found, serde_json::json!([]));
    }

    #[test]
    fn literals_that_the_compiler_prepares_work_without_it() {
        let found = in_a_bare_context(
            "const tag = (strings, ...values) => strings.raw.join('|') + values.length;
             class Point { #x = 2n ** 70n; get x() { return this.#x; } static { this.made = true; } }
             const [{ groups }] = 'a1b22'.matchAll(/(?<letter>[a-z])(?<digits>\\p{Nd}+)/gu);
             export default JSON.stringify([groups.digits, /x/dgimsuy.flags, tag`a${1}\\n${2}c`, String(new Point().x), Point.made]);",
        );
        assert_eq!(
            found,
            serde_json::json!(["1", "dgimsuy", "a|\\n|c2", "1180591620717411303424", true])
        );
    }
}
