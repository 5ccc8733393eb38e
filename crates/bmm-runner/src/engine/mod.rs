//! The sandbox: runs one tool call at a time in a fresh JavaScript context, inside a caged worker process.
//!
//! [`ToolEngine`] is the seam: [`CagedEngine`] is the one to use, [`InProcessEngine`] is for tests and for hosts that
//! run nobody's code but their own. What a tool may reach outside its context goes through [`ToolHost`], which lives on
//! this side of the wall: the worker holds neither network nor secrets.
//!
//! Every call is bounded ([`EngineLimits`]), first by asking (the engine's interrupt handler), then, 100 ms later, by
//! killing the worker. Dropping the future of a call cancels it.

mod bytecode;
mod exchange;
mod in_process;
mod library;
mod limits;
mod native;
mod pool;
mod script;
mod thrown;
mod units;
mod wire;
mod worker;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;

pub use self::in_process::InProcessEngine;
pub use self::limits::{EngineLimits, engine_limits};
pub use self::pool::{CagedEngine, EngineError};
pub use self::worker::ENGINE_ROLE;

/// Runs the tools of one spec.
pub trait ToolEngine: Send + Sync + 'static {
    /// Runs one tool to its end. Dropping the future cancels the call and frees what it held.
    fn call(&self, call: ToolCall, host: Arc<dyn ToolHost>)
    -> BoxFuture<'_, Result<ToolOutput, ToolFailure>>;
}

/// One call of one tool.
#[derive(Debug, Clone)]
pub struct ToolCall {
    /// Which tool: its index in `CompiledSpec::tools`.
    pub tool: usize,
    /// The arguments, already validated against the tool's input schema by the caller.
    pub input: serde_json::Value,
}

/// What a tool's default export resolved to.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolOutput {
    /// The value as JSON; `undefined` is `null`.
    pub value: serde_json::Value,
}

/// Why a call has no output. The text is written for the model and the tool's author, and holds nothing of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ToolFailure {
    /// The tool threw (or rejected); with the lines of the tool's own source.
    #[error("{message}")]
    Thrown {
        /// The error's text, then its stack in the tool's own lines, at most 8 KiB.
        message: String,
    },
    /// The tool can never finish: nothing is pending that could settle its promise.
    #[error("the tool waits for something that will never happen")]
    Stalled,
    /// The wall-clock limit was reached.
    #[error("the tool ran longer than {limit_ms} ms and was stopped")]
    Timeout {
        /// The limit in milliseconds.
        limit_ms: u64,
    },
    /// The CPU limit was reached.
    #[error("the tool used more than {limit_ms} ms of processor time and was stopped")]
    Cpu {
        /// The limit in milliseconds.
        limit_ms: u64,
    },
    /// The heap limit was reached.
    #[error("the tool used more than {limit_mib} MiB of memory and was stopped")]
    Memory {
        /// The limit in MiB.
        limit_mib: u32,
    },
    /// The output is larger than the limit.
    #[error("the tool's output is larger than {limit_kib} KiB; return less, or page")]
    OutputTooLarge {
        /// The limit in KiB.
        limit_kib: u32,
    },
    /// What the tool returned is not JSON (a cycle, a BigInt).
    #[error("the tool's output is not JSON: {message}")]
    OutputNotJson {
        /// What the engine says about it.
        message: String,
    },
    /// The arguments are larger than a worker takes.
    #[error("the arguments are larger than {limit_kib} KiB")]
    InputTooLarge {
        /// The limit in KiB.
        limit_kib: u32,
    },
    /// All workers are busy and the queue is full.
    #[error("the server is busy; try again shortly")]
    Overloaded,
    /// The worker process died under the call. The next call gets another one.
    #[error("the tool's sandbox ended unexpectedly; try again")]
    Crashed,
    /// The tool's code could not be loaded: it does not compile, or has no callable default export.
    #[error("the tool could not be loaded: {message}")]
    NotLoadable {
        /// What the engine says about it.
        message: String,
    },
    /// The tool waits for answers of the client that the host does not have yet ([`ToolHost::ask`]). The call is over; with the
    /// answers it is made again.
    #[error("the tool asks the client something, and nobody is there to answer")]
    Asking,
    /// There is no tool of this index.
    #[error("there is no such tool")]
    NoSuchTool,
    /// The host's side failed; the detail is in the log.
    #[error("the server could not run the tool")]
    Host(String),
}

/// What a tool reaches outside its context. One value per call; everything it hands out belongs to that call.
///
/// The engine counts and bounds (fetches, concurrent fetches, log bytes); the host decides (allowed hosts, secrets).
pub trait ToolHost: Send + Sync + 'static {
    /// `ctx.fetch`. The error text is shown to the tool as the message of a `TypeError`.
    fn fetch(&self, request: FetchRequest) -> BoxFuture<'_, Result<FetchResponse, String>>;
    /// `ctx.log` and `console.*`. Called at most until the call's log limit; must not block.
    fn log(&self, level: LogLevel, message: &str);
    /// `ctx.progress(progress, total?, message?)`. Must not block.
    fn progress(&self, progress: f64, total: Option<f64>, message: Option<&str>);
    /// `ctx.basicAuth(user, secret)`: a handle that stands for a whole `Basic …` header value. `secret` may be a handle.
    fn basic_auth(&self, user: &str, secret: &str) -> Result<String, String>;
    /// `ctx.hmac(algorithm, secret, data)`: lower-case hex of the MAC. `secret` may be a handle.
    fn hmac(&self, algorithm: &str, secret: &str, data: &[u8]) -> Result<String, String>;
    /// The handle that stands for a secret in `ctx.secrets`; `None` when the spec does not declare it. Using the handle of one that is
    /// not set fails.
    fn secret_handle(&self, name: &str) -> Option<String>;
    /// `ctx.elicit`, `ctx.sample`, `ctx.roots`: a question to the client, as JSON text. Must not block: `None` is an answer that is not
    /// there yet. A tool that has nothing left to do but to wait for such answers ends with [`ToolFailure::Asking`].
    ///
    /// No worker waits for a person: whoever has the answers calls the tool again, and it hears them where it asked.
    fn ask(&self, kind: QuestionKind, question: &str) -> Result<Option<String>, String> {
        let _ = (kind, question);
        Err("there is no client to ask here".to_owned())
    }
}

/// What a tool asks the client for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum QuestionKind {
    /// The person behind it to fill in a form.
    Elicit,
    /// Its model to continue a conversation.
    Sample,
    /// Its roots.
    Roots,
}

/// How important a tool says its message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// `console.debug`, `console.trace`.
    Debug,
    /// `ctx.log`, `console.log`, `console.info`.
    Info,
    /// `console.warn`.
    Warning,
    /// `console.error`.
    Error,
}

/// A request as the tool asked for it: nothing in it has been checked.
#[derive(Debug, Clone)]
pub struct FetchRequest {
    /// The absolute URL, as the tool gave it.
    pub url: String,
    /// The method, upper case.
    pub method: String,
    /// Header names (lower case) and values, in the tool's order.
    pub headers: Vec<(String, String)>,
    /// The body, at most 1 MiB.
    pub body: Option<Bytes>,
    /// What to do with a redirect.
    pub redirect: Redirect,
}

/// `redirect` of a request's options.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Redirect {
    /// Follow it, every hop checked again.
    #[default]
    Follow,
    /// Hand the 3xx response to the tool.
    Manual,
    /// Fail.
    Error,
}

/// A response, bounded and scrubbed by the host before it gets here.
#[derive(Debug, Clone, Default)]
pub struct FetchResponse {
    /// The status code.
    pub status: u16,
    /// The final URL, after redirects.
    pub url: String,
    /// Header names and values.
    pub headers: Vec<(String, String)>,
    /// The body, decompressed. Hosts keep it to 2 MiB or so: it counts towards the tool's heap.
    pub body: Bytes,
}
