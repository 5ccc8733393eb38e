//! The code of a spec as the engine takes it, and the way back from generated lines to the author's.

use std::time::Duration;

use bmm_spec::{CompiledSpec, LineMap};
use bytes::Bytes;
use serde_json::Value;

use super::exchange::{self, Ended, Failed};
use super::thrown::{MODULE, cut};
use super::wire::{Outcome, Setup, ToWorker, frame};
use super::{EngineLimits, ToolCall, ToolFailure, ToolHost, ToolOutput};
use crate::manifest::code_units;

/// The spec's code and what goes with every call.
#[derive(Debug)]
pub(super) struct Units {
    lines: Vec<LineMap>,
    secrets: Vec<String>,
    /// The first frame to every worker.
    pub(super) setup: Bytes,
}

impl Units {
    pub(super) fn new(spec: &CompiledSpec, limits: &EngineLimits) -> std::io::Result<Self> {
        let units = code_units(spec);
        let code: Vec<&str> = units.iter().map(|unit| unit.code.as_str()).collect();
        let setup = Setup {
            heap_bytes: limits.heap_mib as usize * 1024 * 1024,
            stack_bytes: limits.stack_kib as usize * 1024,
            wall: limits.wall,
            cpu: limits.cpu,
            output_bytes: limits.output_kib as usize * 1024,
            log_bytes: limits.log_kib as usize * 1024,
        };
        Ok(Self {
            lines: units.iter().map(|unit| unit.line_map.clone()).collect(),
            secrets: spec
                .required_secrets
                .iter()
                .map(|secret| secret.name.to_string())
                .collect(),
            setup: Bytes::from(frame(&ToWorker::Setup(setup), &serde_json::to_vec(&code)?)?),
        })
    }

    /// The frame that starts `call`.
    pub(super) fn start(
        &self,
        call: &ToolCall,
        host: &dyn ToolHost,
        limits: &EngineLimits,
    ) -> Result<Bytes, ToolFailure> {
        let input = call.input.to_string();
        if input.len() > limits.input_kib as usize * 1024 {
            return Err(ToolFailure::InputTooLarge {
                limit_kib: limits.input_kib,
            });
        }
        let secrets = self
            .secrets
            .iter()
            .filter_map(|name| Some((name.clone(), host.secret_handle(name)?)))
            .collect();
        let start = ToWorker::Call {
            tool: call.tool,
            secrets,
        };
        frame(&start, input.as_bytes())
            .map(Bytes::from)
            .map_err(|error| ToolFailure::Host(error.to_string()))
    }

    /// What the caller gets.
    pub(super) fn result(
        &self,
        tool: usize,
        ended: Ended,
        limits: &EngineLimits,
    ) -> Result<ToolOutput, ToolFailure> {
        match ended.result {
            Ok(output) if output.len() > limits.output_kib as usize * 1024 => {
                Err(ToolFailure::OutputTooLarge {
                    limit_kib: limits.output_kib,
                })
            }
            Ok(output) => serde_json::from_slice::<Value>(&output)
                .map(|value| ToolOutput { value })
                .map_err(|error| ToolFailure::OutputNotJson {
                    message: error.to_string(),
                }),
            Err(Failed::Parent(failure)) => Err(failure),
            Err(Failed::Worker(outcome)) => Err(self.failure(tool, outcome, limits)),
        }
    }

    fn failure(&self, tool: usize, outcome: Outcome, limits: &EngineLimits) -> ToolFailure {
        // A worker of ours has cut it, another one may not have.
        let own = |message: String| match self.lines.get(tool) {
            Some(lines) => cut(in_own_lines(&cut(message), lines)),
            None => cut(message),
        };
        match outcome {
            Outcome::Thrown { message } => ToolFailure::Thrown {
                message: own(message),
            },
            Outcome::NotLoadable { message } => ToolFailure::NotLoadable {
                message: own(message),
            },
            Outcome::OutputNotJson { message } => ToolFailure::OutputNotJson {
                message: own(message),
            },
            Outcome::Stalled => ToolFailure::Stalled,
            Outcome::Asking => ToolFailure::Asking,
            Outcome::Timeout => exchange::timeout(limits),
            Outcome::Cpu => exchange::cpu(limits),
            Outcome::Memory => ToolFailure::Memory {
                limit_mib: limits.heap_mib,
            },
            Outcome::OutputTooLarge => ToolFailure::OutputTooLarge {
                limit_kib: limits.output_kib,
            },
            Outcome::NoSuchTool => ToolFailure::NoSuchTool,
            // Comes with a tail, never as a failure.
            Outcome::Output => ToolFailure::Crashed,
        }
    }
}

/// How long a call may wait for a worker.
pub(super) fn queue_timeout(limits: &EngineLimits) -> Duration {
    limits.wall.max(Duration::from_secs(1))
}

/// `tool.js:LINE:COLUMN` of the generated code, as lines of the source (columns are not kept by the compiler's map).
fn in_own_lines(message: &str, lines: &LineMap) -> String {
    let mut rest = message;
    let mut mapped = String::with_capacity(message.len());
    let prefix = format!("{MODULE}:");
    while let Some(at) = rest.find(&prefix) {
        let (before, after) = rest.split_at(at + prefix.len());
        let digits = after.len()
            - after
                .trim_start_matches(|digit: char| digit.is_ascii_digit())
                .len();
        let (number, after) = after.split_at(digits);
        mapped.push_str(before);
        match number.parse().ok().and_then(|line| lines.source_line(line)) {
            Some(line) => {
                mapped.push_str(&line.to_string());
                let column = after
                    .strip_prefix(':')
                    .map(|column| column.trim_start_matches(|digit: char| digit.is_ascii_digit()));
                rest = column.unwrap_or(after);
            }
            None => {
                mapped.push_str(number);
                rest = after;
            }
        }
    }
    mapped.push_str(rest);
    mapped
}

#[cfg(test)]
mod tests {
    use super::super::thrown::MAX_ERROR_BYTES;
    use super::*;

    #[test]
    fn what_a_worker_says_of_its_end_is_cut() {
        let units = Units {
            lines: vec![LineMap(vec![1_000_000])],
            secrets: Vec::new(),
            setup: Bytes::new(),
        };
        for message in ["x".repeat(100_000), "tool.js:1:1 ".repeat(10_000)] {
            let (thrown, output) = (message.clone(), message.clone());
            for outcome in [
                Outcome::Thrown { message: thrown },
                Outcome::NotLoadable { message },
                Outcome::OutputNotJson { message: output },
            ] {
                let failure = units.failure(0, outcome, &EngineLimits::default()).to_string();
                assert!(failure.len() <= MAX_ERROR_BYTES + 100, "{}", failure.len());
            }
        }
    }

    #[test]
    fn errors_carry_the_lines_of_the_source() {
        let lines = LineMap(vec![1, 4, 0]);
        assert_eq!(
            in_own_lines("E: x\n  at f (tool.js:2:17)\n  at tool.js:1:1", &lines),
            "E: x\n  at f (tool.js:4)\n  at tool.js:1"
        );
        assert_eq!(
            in_own_lines("at tool.js:3:5 and tool.js:99:1", &lines),
            "at tool.js:3:5 and tool.js:99:1"
        );
        assert_eq!(in_own_lines("tool.js: no number", &lines), "tool.js: no number");
    }
}
