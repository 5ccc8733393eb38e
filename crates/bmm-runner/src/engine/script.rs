//! One call in one fresh engine: runtime, context and prelude are made while the worker waits, so that a call finds them
//! ready; after the call all of it is thrown away, jobs and timers that the tool left behind included.
//!
//! Own job pump instead of rquickjs's async runtime, which runs all jobs in one poll and so never comes back from a promise
//! bomb. A new engine per call instead of a new context: jobs of an old context would run in the next call.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use rquickjs::context::EvalOptions;
use rquickjs::context::intrinsic::{
    DOMException, Date, Eval, Json, MapSet, Promise as PromiseIntrinsic, Proxy, RegExp, RegExpCompiler,
    TypedArrays,
};
use rquickjs::promise::PromiseState;
use rquickjs::{
    CatchResultExt, CaughtError, Context, Ctx, Function, Module, Object, Promise, Runtime, Type, TypedArray,
    Value,
};

use super::native::{self, Stop, World};
use super::wire::{FromWorker, Outcome, Port, Setup, ToWorker};

/// Everything but WeakRef, FinalizationRegistry (they tell when memory is collected) and Performance (a fine clock).
type Intrinsics = (
    Date,
    Eval,
    RegExpCompiler,
    RegExp,
    Json,
    Proxy,
    MapSet,
    TypedArrays,
    PromiseIntrinsic,
    DOMException,
);

const PRELUDE: &str = include_str!("prelude.js");
/// The module's name, as it stands in stack traces.
pub(super) const MODULE: &str = "tool.js";
/// Jobs between two looks at the clock.
const JOBS_PER_LOOK: usize = 64;
/// Longest text of an error.
pub(super) const MAX_ERROR_BYTES: usize = 8 * 1024;

/// Makes an engine, waits for a call, runs it, answers. `false` when the parent is gone.
pub(super) fn serve_one(port: &Rc<RefCell<Port>>, setup: &Rc<Setup>, modules: &[String]) -> bool {
    let Ok(runtime) = Runtime::new() else { return false };
    runtime.set_memory_limit(setup.heap_bytes);
    runtime.set_max_stack_size(setup.stack_bytes);
    let world = Rc::new(World::new(Rc::clone(port), Rc::clone(setup)));
    let watched = Rc::clone(&world);
    runtime.set_interrupt_handler(Some(Box::new(move || watched.stop().is_some())));
    let Ok(context) = Context::custom::<Intrinsics>(&runtime) else {
        return false;
    };
    context.with(|ctx| serve(&ctx, &world, setup, modules).unwrap_or(false))
}

fn serve(ctx: &Ctx<'_>, world: &Rc<World>, setup: &Setup, modules: &[String]) -> rquickjs::Result<bool> {
    let prelude = Prelude::load(ctx, world)?;
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
    let finished = match modules.get(tool) {
        Some(module) => call.run(module, &secrets, &input),
        None => Err(Outcome::NoSuchTool),
    };
    let (outcome, output) = match finished {
        Ok(output) if output.len() > setup.output_bytes => (Outcome::OutputTooLarge, String::new()),
        Ok(output) => (Outcome::Output, output),
        Err(failure) => (failure, String::new()),
    };
    world.send(&FromWorker::Done(outcome), output.as_bytes());
    Ok(world.stop() != Some(Stop::Gone))
}

/// The functions that `prelude.js` returns.
struct Prelude<'js> {
    deliver: Function<'js>,
    describe: Function<'js>,
    harden: Function<'js>,
    output: Function<'js>,
    run: Function<'js>,
    tick: Function<'js>,
}

impl<'js> Prelude<'js> {
    fn load(ctx: &Ctx<'js>, world: &Rc<World>) -> rquickjs::Result<Self> {
        let mut options = EvalOptions::default();
        options.filename = Some("prelude.js".to_owned());
        let prelude: Function<'js> = ctx.eval_with_options(PRELUDE, options)?;
        let made: Object<'js> = prelude.call((native::host(ctx, world)?,))?;
        Ok(Self {
            deliver: made.get("deliver")?,
            describe: made.get("describe")?,
            harden: made.get("harden")?,
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
    fn run(&self, module: &str, secrets: &[(String, String)], input: &[u8]) -> Result<String, Outcome> {
        let ctx = self.ctx;
        let module = Module::declare(ctx.clone(), MODULE, module)
            .catch(ctx)
            .map_err(|error| self.not_loadable(error))?;
        // Compiled; from here on nothing is.
        self.prelude
            .harden
            .call::<_, ()>(())
            .catch(ctx)
            .map_err(|error| self.failure(error))?;
        let (module, evaluated) = module
            .eval()
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

    /// No job is pending: runs a timer that is due, or waits for the next timer or answer.
    fn wait_for_something(&self) -> Result<(), Outcome> {
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

/// The engine throws `null`, or something uninitialized, when there is no memory left to make an error of.
fn is_out_of_memory(error: &CaughtError<'_>) -> bool {
    match error {
        CaughtError::Exception(exception) => exception.message().as_deref() == Some("out of memory"),
        CaughtError::Value(value) => matches!(value.type_of(), Type::Null | Type::Uninitialized),
        CaughtError::Error(error) => matches!(error, rquickjs::Error::Allocation),
    }
}

pub(super) fn cut(mut message: String) -> String {
    message.truncate(message.floor_char_boundary(MAX_ERROR_BYTES));
    message
}
