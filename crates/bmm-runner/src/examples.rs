//! Runs the examples that are written in a spec: each call in a fresh context, its fetches answered from the recording.
//!
//! A recorded fetch goes through the same checks as a real one (allowed hosts, limits, where a secret may go), with a stand-in for
//! every declared secret, so an example that passes here fails elsewhere only by what the host really answers.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bmm_spec::{CompiledSpec, Example, RecordedFetch, Spec};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::connect::Connector;
use crate::engine::{
    FetchRequest, FetchResponse, LogLevel, ToolCall, ToolEngine, ToolFailure, ToolHost, ToolOutput,
};
use crate::error::RunnerError;
use crate::host::{Broker, CallHost, FetchLimits};
use crate::manifest::{ListedTool, Manifest};
use crate::result;
use crate::secrets::Secrets;

/// How one example ended.
#[derive(Debug)]
#[non_exhaustive]
pub struct ExampleReport {
    /// The tool.
    pub tool: String,
    /// The example's name, or its number from 1.
    pub example: String,
    /// Whether the call gave what the example says.
    pub outcome: Result<(), ExampleFailure>,
    /// How long the call took.
    pub took: Duration,
}

/// Why an example does not hold.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExampleFailure {
    /// The code asked for something that the example has no answer for.
    #[error("no recorded answer for {}", .requests.join(", "))]
    NotRecorded {
        /// Method and URL of each.
        requests: Vec<String>,
    },
    /// The example has answers that the code did not ask for.
    #[error("never fetched: {}", .requests.join(", "))]
    NotFetched {
        /// Method and URL of each.
        requests: Vec<String>,
    },
    /// The call succeeded with something else.
    #[error("expected {expected}, got {found}")]
    Output {
        /// What the example says.
        expected: Box<Value>,
        /// What the code returned.
        found: Box<Value>,
    },
    /// The call succeeded and should have failed.
    #[error("expected an error with {expected:?}, got {found}")]
    NoError {
        /// Text that the error should contain.
        expected: String,
        /// What the code returned.
        found: Value,
    },
    /// The call failed, with another error than the example says or where none is expected.
    #[error("{message}")]
    Failed {
        /// What the client of a real call would have read.
        message: String,
    },
    /// The result is not what the tool's output schema promises.
    #[error("the result does not match outputSchema: {problems}")]
    OutputSchema {
        /// What is wrong with it.
        problems: String,
    },
}

/// Runs every example of every tool, one after the other, in the order of the spec.
///
/// `compiled` must be what `spec` compiles to and what `engine` was made for.
///
/// # Errors
/// The compiled spec is not the one that was compiled, or a schema does not compile.
pub async fn run(
    spec: &Spec,
    compiled: &CompiledSpec,
    engine: &dyn ToolEngine,
) -> Result<Vec<ExampleReport>, RunnerError> {
    compiled.verify_digest().map_err(|_| RunnerError::Drifted)?;
    let manifest = Manifest::new(compiled)?;
    let stand_ins: Secrets = compiled
        .required_secrets
        .iter()
        .map(|secret| (secret.name.as_str(), format!("stand-in-for-{}", secret.name)))
        .collect();
    let broker = Broker::new(compiled, &stand_ins, &Connector::closed(), FetchLimits::default());
    let mut reports = Vec::new();
    for tool in &spec.tools {
        let Some((index, listed)) = manifest.tool(&tool.name) else {
            continue;
        };
        for (number, example) in tool.examples.iter().enumerate() {
            let host = Arc::new(RecordedHost::new(&broker, &example.fetches));
            let call = ToolCall {
                tool: index,
                input: Value::Object(example.input.clone()),
            };
            let started = Instant::now();
            let outcome = engine.call(call, Arc::clone(&host) as _).await;
            reports.push(ExampleReport {
                tool: tool.name.clone(),
                example: example
                    .name
                    .clone()
                    .unwrap_or_else(|| format!("example {}", number + 1)),
                took: started.elapsed(),
                outcome: judge(example, listed, outcome, &host),
            });
        }
    }
    Ok(reports)
}

fn judge(
    example: &Example,
    tool: &ListedTool,
    outcome: Result<ToolOutput, ToolFailure>,
    host: &RecordedHost,
) -> Result<(), ExampleFailure> {
    let (missing, unused) = host.differences();
    if !missing.is_empty() {
        return Err(ExampleFailure::NotRecorded { requests: missing });
    }
    match (outcome, &example.error) {
        (Err(failure), Some(expected)) if failure.to_string().contains(expected.as_str()) => {}
        (Err(failure), _) => {
            return Err(ExampleFailure::Failed {
                message: host.call.scrub(&failure.to_string()),
            });
        }
        (Ok(output), Some(expected)) => {
            return Err(ExampleFailure::NoError {
                expected: expected.clone(),
                found: output.value,
            });
        }
        (Ok(output), None) => returned(example, tool, output.value)?,
    }
    if !unused.is_empty() {
        return Err(ExampleFailure::NotFetched { requests: unused });
    }
    Ok(())
}

fn returned(example: &Example, tool: &ListedTool, value: Value) -> Result<(), ExampleFailure> {
    if let Some(schema) = tool.output() {
        let result = result::success(value.clone(), true);
        let problems = match &result.structured_content {
            _ if result.is_error == Some(true) => Vec::new(),
            Some(structured) => schema.problems(structured),
            None => vec!["there is no structured result".to_owned()],
        };
        if !problems.is_empty() {
            return Err(ExampleFailure::OutputSchema {
                problems: problems.join("; "),
            });
        }
    }
    match &example.output {
        Some(expected) if !same(expected, &value) => Err(ExampleFailure::Output {
            expected: Box::new(expected.clone()),
            found: Box::new(value),
        }),
        _ => Ok(()),
    }
}

/// Equal as JavaScript sees it: `1` and `1.0` are one number.
pub(crate) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        (a, b) => a == b,
    }
}

/// Answers from a recording. Each answer is given once, those to the same request in the order of the file.
struct RecordedHost {
    call: CallHost,
    left: Mutex<Vec<RecordedFetch>>,
    missing: Mutex<Vec<String>>,
}

impl RecordedHost {
    fn new(broker: &Broker, recorded: &[RecordedFetch]) -> Self {
        // What a tool logs is of no interest here.
        let (events, _) = mpsc::channel(1);
        Self {
            call: broker.for_call(events, Arc::default()),
            left: Mutex::new(recorded.to_vec()),
            missing: Mutex::default(),
        }
    }

    /// Requests without an answer, answers without a request.
    fn differences(&self) -> (Vec<String>, Vec<String>) {
        let missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let unused = left
            .iter()
            .map(|fetch| line(method_of(fetch), &fetch.url))
            .collect();
        (missing.clone(), unused)
    }

    fn answer(&self, request: &FetchRequest) -> Result<FetchResponse, String> {
        self.call.rehearse(request)?;
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let place = left
            .iter()
            .position(|fetch| method_of(fetch) == request.method && fetch.url == request.url);
        let Some(place) = place else {
            let line = line(&request.method, &self.call.scrub(&request.url));
            self.missing
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(line.clone());
            return Err(format!("no recorded answer for {line}"));
        };
        let fetch = left.remove(place);
        Ok(FetchResponse {
            status: fetch.status.unwrap_or(200),
            url: request.url.clone(),
            headers: fetch.headers.into_iter().collect(),
            body: match fetch.body {
                Value::Null => Bytes::new(),
                Value::String(text) => Bytes::from(text),
                other => Bytes::from(other.to_string()),
            },
        })
    }
}

impl ToolHost for RecordedHost {
    fn fetch(&self, request: FetchRequest) -> BoxFuture<'_, Result<FetchResponse, String>> {
        Box::pin(std::future::ready(self.answer(&request)))
    }

    fn log(&self, _level: LogLevel, _message: &str) {}

    fn progress(&self, _progress: f64, _total: Option<f64>, _message: Option<&str>) {}

    fn basic_auth(&self, user: &str, secret: &str) -> Result<String, String> {
        self.call.basic_auth(user, secret)
    }

    fn hmac(&self, algorithm: &str, secret: &str, data: &[u8]) -> Result<String, String> {
        self.call.hmac(algorithm, secret, data)
    }

    fn secret_handle(&self, name: &str) -> Option<String> {
        self.call.secret_handle(name)
    }
}

impl fmt::Debug for RecordedHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordedHost").finish_non_exhaustive()
    }
}

fn method_of(fetch: &RecordedFetch) -> &str {
    fetch.method.as_deref().unwrap_or("GET")
}

fn line(method: &str, url: &str) -> String {
    format!("{method} {url}")
}
