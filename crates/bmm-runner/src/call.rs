//! One run of a spec's code for a client: its messages told, its questions put, its end when the client is gone.

// Logging is deprecated in 2026-07-28; the clients of 2025-11-25 and earlier have nothing else.
#![expect(
    deprecated,
    reason = "serves the revisions in which logging is not deprecated"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rmcp::ErrorData;
use rmcp::model::{
    InputRequest, InputRequiredResult, InputResponses, LoggingLevel, LoggingMessageNotificationParam,
    ProgressNotificationParam, ProtocolVersion, ServerRequest,
};
use rmcp::service::{PeerRequestOptions, RequestContext, RoleServer, ServiceError};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::engine::{LogLevel, ToolCall, ToolFailure};
use crate::host::CallEvent;
use crate::live::Shared;
use crate::questions::{Answer, Asked, Broken, Questions, Transcript, UNABLE};
use crate::request_state::{Purpose, StateError};
use crate::session::Principal;

/// Messages of a tool waiting for a slow client; more are dropped.
const EVENT_BUFFER: usize = 64;
/// For one message, and for all that are left at the end of a call: a client that does not read must not hold its answer.
const NOTIFY_TIMEOUT: Duration = Duration::from_secs(5);
/// Of a client's error, in what the tool hears.
const MAX_REASON_CHARS: usize = 300;

/// Where code runs, and for whom.
pub(crate) struct Site<'a> {
    pub(crate) principal: Principal,
    pub(crate) shared: &'a Shared,
    pub(crate) context: &'a RequestContext<RoleServer>,
    /// What the client of a session wants to hear at least.
    pub(crate) least_severity: u8,
}

/// The request that code runs for, as far as a run cares.
pub(crate) struct Occasion<'a> {
    /// `tools/call`, `prompts/get` or `resources/read`.
    pub(crate) method: &'static str,
    pub(crate) name: &'a str,
    /// What a client of the stateless era sends when it comes back with answers.
    pub(crate) state: Option<String>,
    pub(crate) responses: Option<InputResponses>,
}

/// How a run ended.
pub(crate) enum Ran {
    Value(Value),
    Failed(ToolFailure),
    /// Comes back with the answers. In the stateless era only.
    Asks(InputRequiredResult),
}

/// What has been said in the runs before: who runs again says it again.
#[derive(Default)]
struct Told {
    logs: usize,
    progress: Option<f64>,
}

impl Site<'_> {
    /// Runs one unit of code whose input has been checked, until it ends or asks what only another request can answer.
    pub(crate) async fn run(
        &self,
        unit: usize,
        input: Value,
        occasion: Occasion<'_>,
    ) -> Result<Ran, ErrorData> {
        let call = ToolCall { tool: unit, input };
        if is_modern(self.context) {
            self.run_stateless(call, occasion).await
        } else {
            self.run_in_session(call).await
        }
    }

    /// The client of a session is asked meanwhile, and the code runs again and again until all that it asks is answered.
    async fn run_in_session(&self, call: ToolCall) -> Result<Ran, ErrorData> {
        let able = self.context.client_capabilities().unwrap_or_default();
        let mut known = Transcript::default();
        let mut told = Told::default();
        let mut patience = self.shared.patience;
        // Ends: each run asks something that none did before, and the questions of all runs are counted together.
        loop {
            let questions = Arc::new(Questions::new(able.clone(), known));
            let outcome = self.run_once(call.clone(), &questions, &mut told).await?;
            let (asked, so_far) = questions.end();
            known = so_far;
            let Asked { open, broken, .. } = asked;
            if let Some(Broken::Question(message) | Broken::Answer(message)) = broken {
                return Ok(Ran::Failed(ToolFailure::Thrown { message }));
            }
            match outcome {
                Err(ToolFailure::Asking) if !open.is_empty() => {
                    let since = Instant::now();
                    for (key, answer) in self.put(open, patience).await? {
                        known.add(key, answer);
                    }
                    patience = patience.saturating_sub(since.elapsed());
                }
                Err(failure) => return Ok(Ran::Failed(failure)),
                Ok(value) => return Ok(Ran::Value(value)),
            }
        }
    }

    /// The server sends no requests: the client comes back with the answers, and with what was asked and answered before.
    async fn run_stateless(&self, call: ToolCall, occasion: Occasion<'_>) -> Result<Ran, ErrorData> {
        let Occasion {
            method,
            name,
            state,
            responses,
        } = occasion;
        let input = call.input.clone();
        let purpose = Purpose {
            principal: &self.principal,
            spec_digest: &self.shared.spec.spec_digest,
            method,
            name,
            arguments: &input,
        };
        let states = &self.shared.states;
        let refused = |error: StateError| ErrorData::invalid_params(error.to_string(), None);
        let mut known = match state {
            Some(state) => states.open(&state, &purpose, Instant::now()).map_err(refused)?,
            None => Transcript::default(),
        };
        for (key, answer) in responses.unwrap_or_default() {
            known.add(key, Answer::Given(answer));
        }
        let able = self.context.client_capabilities().unwrap_or_default();
        let questions = Arc::new(Questions::new(able, known));
        let outcome = self.run_once(call, &questions, &mut Told::default()).await?;
        let (asked, known) = questions.end();
        match (asked.broken, outcome) {
            (Some(Broken::Question(message)), _) => Ok(Ran::Failed(ToolFailure::Thrown { message })),
            (Some(Broken::Answer(message)), _) => Err(ErrorData::invalid_params(message, None)),
            (None, Err(ToolFailure::Asking)) if !asked.open.is_empty() => {
                let state = states.seal(known, &purpose, Instant::now()).map_err(refused)?;
                let open = asked.open.into_iter().collect();
                Ok(Ran::Asks(InputRequiredResult::new(Some(open), Some(state))))
            }
            (None, Err(ToolFailure::Thrown { message })) => match asked.missing {
                Some(missing) if message.contains(UNABLE) => {
                    Err(ErrorData::missing_required_client_capability(missing))
                }
                _ => Ok(Ran::Failed(ToolFailure::Thrown { message })),
            },
            (None, Err(failure)) => Ok(Ran::Failed(failure)),
            (None, Ok(value)) => Ok(Ran::Value(value)),
        }
    }

    async fn run_once(
        &self,
        call: ToolCall,
        questions: &Arc<Questions>,
        told: &mut Told,
    ) -> Result<Result<Value, ToolFailure>, ErrorData> {
        let (events, mut said) = mpsc::channel(EVENT_BUFFER);
        let host = Arc::new(self.shared.broker.for_call(events, Arc::clone(questions)));
        let mut call = self.shared.engine.call(call, Arc::clone(&host) as _);
        // Beside the call and not in turn with it: its limits are kept by polling it.
        let telling = async {
            let before = std::mem::take(told);
            while let Some(event) = said.recv().await {
                let is_new = match &event {
                    CallEvent::Log { .. } => {
                        told.logs += 1;
                        told.logs > before.logs
                    }
                    CallEvent::Progress { progress, .. } => {
                        let furthest = before.progress.unwrap_or(f64::NEG_INFINITY);
                        told.progress = Some(furthest.max(*progress));
                        *progress > furthest
                    }
                };
                if is_new {
                    self.tell(event).await;
                }
            }
            told.logs = told.logs.max(before.logs);
        };
        let outcome = {
            tokio::pin!(telling);
            let mut all_told = false;
            let outcome = loop {
                tokio::select! {
                    biased;
                    // Dropping the call is what stops it.
                    () = self.context.ct.cancelled() => return Err(cancelled()),
                    () = &mut telling, if !all_told => all_told = true,
                    outcome = &mut call => break outcome,
                }
            };
            let outcome = match outcome {
                Ok(output) => Ok(output.value),
                Err(ToolFailure::Thrown { message }) => Err(ToolFailure::Thrown {
                    message: host.scrub(&message),
                }),
                Err(failure) => Err(failure),
            };
            // With these two the channel ends, and the telling with what is still in it.
            drop((call, host));
            if !all_told {
                let _ = tokio::time::timeout(NOTIFY_TIMEOUT, telling).await;
            }
            outcome
        };
        Ok(outcome)
    }

    /// Puts the questions to the client of a session, all at once. Nothing but this future waits with it.
    async fn put(
        &self,
        open: Vec<(String, InputRequest)>,
        patience: Duration,
    ) -> Result<Vec<(String, Answer)>, ErrorData> {
        let answers = join_all(open.into_iter().map(|(key, request)| async {
            let answer = self.put_one(request, patience).await;
            (key, answer)
        }));
        tokio::select! {
            biased;
            () = self.context.ct.cancelled() => Err(cancelled()),
            answers = answers => Ok(answers),
        }
    }

    async fn put_one(&self, request: InputRequest, patience: Duration) -> Answer {
        let unheard = || {
            let limit = self.shared.patience.as_secs();
            Answer::Refused(format!("the client did not answer within {limit} s"))
        };
        let request = match request {
            InputRequest::Elicitation(request) => ServerRequest::ElicitRequest(request),
            InputRequest::CreateMessage(request) => ServerRequest::CreateMessageRequest(request),
            InputRequest::ListRoots(request) => ServerRequest::ListRootsRequest(request),
            _ => return Answer::Refused("the client cannot be asked this".to_owned()),
        };
        let asked = async {
            let options = PeerRequestOptions::with_timeout(patience);
            self.context
                .peer
                .send_request_with_option(request, options)
                .await?
                .await_response()
                .await
        };
        // The request has a timeout of its own, which tells the client; this one is for a client that does not even read.
        match tokio::time::timeout(patience + NOTIFY_TIMEOUT, asked).await {
            Ok(Ok(answer)) => match serde_json::to_value(answer) {
                Ok(answer) => Answer::Given(answer),
                Err(_) => Answer::Refused("the client's answer cannot be read".to_owned()),
            },
            Ok(Err(ServiceError::McpError(error))) => {
                let reason: String = error.message.chars().take(MAX_REASON_CHARS).collect();
                Answer::Refused(format!("the client refused: {reason}"))
            }
            Ok(Err(ServiceError::Timeout { .. })) | Err(_) => unheard(),
            Ok(Err(_)) => Answer::Refused("the client could not be asked".to_owned()),
        }
    }

    async fn tell(&self, event: CallEvent) {
        let context = self.context;
        let told = async {
            match event {
                CallEvent::Log { level, message } => {
                    let level = logging_level(level);
                    if severity(level) < self.least_severity() {
                        return;
                    }
                    let params = LoggingMessageNotificationParam::new(level, Value::from(message));
                    let _ = context.peer.notify_logging_message(params).await;
                }
                CallEvent::Progress {
                    progress,
                    total,
                    message,
                } => {
                    let Some(token) = context.meta.get_progress_token() else {
                        return;
                    };
                    let mut params = ProgressNotificationParam::new(token, progress);
                    params.total = total;
                    params.message = message;
                    let _ = context.peer.notify_progress(params).await;
                }
            }
        };
        let _ = tokio::time::timeout(NOTIFY_TIMEOUT, told).await;
    }

    /// From 2026-07-28 on a request without a level wants no messages.
    fn least_severity(&self) -> u8 {
        match self.context.meta.log_level() {
            Some(level) => severity(level),
            None if is_modern(self.context) => u8::MAX,
            None => self.least_severity,
        }
    }
}

pub(crate) fn is_modern(context: &RequestContext<RoleServer>) -> bool {
    context
        .protocol_version()
        .is_some_and(|version| version.as_str() >= ProtocolVersion::V_2026_07_28.as_str())
}

pub(crate) fn severity(level: LoggingLevel) -> u8 {
    match level {
        LoggingLevel::Debug => 0,
        LoggingLevel::Info => 1,
        LoggingLevel::Notice => 2,
        LoggingLevel::Warning => 3,
        LoggingLevel::Error => 4,
        LoggingLevel::Critical => 5,
        LoggingLevel::Alert => 6,
        LoggingLevel::Emergency => 7,
    }
}

fn logging_level(level: LogLevel) -> LoggingLevel {
    match level {
        LogLevel::Debug => LoggingLevel::Debug,
        LogLevel::Info => LoggingLevel::Info,
        LogLevel::Warning => LoggingLevel::Warning,
        LogLevel::Error => LoggingLevel::Error,
    }
}

fn cancelled() -> ErrorData {
    ErrorData::internal_error("the call was cancelled", None)
}
