//! What a tool asks the client for: a form for the person, a turn of the model, the roots.
//!
//! No worker waits for a person. A tool with a question that has no answer yet is over; once there are answers it runs again from its
//! start, and hears them where it asked. So a question must be the same each time: it is known by its key (by its place, if the author
//! gave none) and by its digest. Both eras work like this; they differ in who carries the answers (`call.rs`).
//!
//! Questions and answers are bounded, and a question is scrubbed of secrets before it leaves.

// Sampling and roots are deprecated in 2026-07-28, and still what the clients of today have.
#![expect(
    deprecated,
    reason = "serves the revisions in which sampling and roots are not deprecated"
)]

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest;
use rmcp::model::{
    ClientCapabilities, CreateMessageRequest, CreateMessageRequestParams, CreateMessageResult, ElicitRequest,
    ElicitRequestParams, ElicitResult, ElicitationAction, ElicitationCapability, ElicitationSchema,
    InputRequest, ListRootsRequest, ListRootsResult,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::engine::QuestionKind;
use crate::manifest::Schema;

/// Questions of one call, all its runs together: it asks the same ones again each time.
pub(crate) const MAX_QUESTIONS: usize = 16;
/// How a refusal for want of a capability begins.
pub(crate) const UNABLE: &str = "the client cannot be asked: it did not declare";
/// Largest question and largest answer, as JSON.
const MAX_BYTES: usize = 64 * 1024;
const MAX_KEY_BYTES: usize = 64;
/// What clients must not be asked for in a form (MCP, elicitation, "Statement Types"). A guard against mistakes, not against intent.
const SECRET_NAMES: [&str; 10] = [
    "password",
    "passwd",
    "passphrase",
    "apikey",
    "secretkey",
    "privatekey",
    "accesstoken",
    "refreshtoken",
    "clientsecret",
    "creditcardnumber",
];

/// What has been asked and answered so far. Travels through the client between the requests of the stateless era (`request_state.rs`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Transcript {
    /// Digests of the questions, by key.
    asked: BTreeMap<String, String>,
    answers: BTreeMap<String, Answer>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// The client's result, not looked at yet.
    Given(Value),
    /// Why there is none; thrown where the tool asked.
    Refused(String),
}

impl Transcript {
    /// A client may answer twice; the first answer is the one that the tool has acted on.
    pub(crate) fn add(&mut self, key: String, answer: Answer) {
        self.answers.entry(key).or_insert(answer);
    }
}

/// The questions of one run.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    able: ClientCapabilities,
    known: Transcript,
    asked: Mutex<Asked>,
}

/// What came of a run's questions.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// Without an answer, in the order of asking.
    pub(crate) open: Vec<(String, InputRequest)>,
    /// What the tool needs and the client did not declare.
    pub(crate) missing: Option<ClientCapabilities>,
    /// The tool did not ask what it asked before, or the client did not answer what it was asked: ends the call, whatever the tool
    /// makes of it.
    pub(crate) broken: Option<Broken>,
    digests: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Broken {
    Question(String),
    Answer(String),
}

impl Questions {
    /// `able`: what the client declared.
    pub(crate) fn new(able: ClientCapabilities, known: Transcript) -> Self {
        Self {
            able,
            known,
            asked: Mutex::default(),
        }
    }

    /// One question, as the tool put it; its answer as JSON, if there is one.
    pub(crate) fn ask(
        &self,
        kind: QuestionKind,
        question: &str,
        scrub: impl Fn(&str) -> String,
    ) -> Result<Option<String>, String> {
        let mut asked = self.lock();
        let (named, request) = parse(kind, question, &scrub)?;
        if asked.digests.len() >= MAX_QUESTIONS {
            return Err(format!("a call may ask at most {MAX_QUESTIONS} questions"));
        }
        let is_named = named.is_some();
        let key = named.unwrap_or_else(|| format!("question-{}", asked.digests.len() + 1));
        let digest = digest_of(&request);
        if asked.digests.insert(key.clone(), digest.clone()).is_some() {
            return Err(format!("two questions have the key {key}"));
        }
        if let Some(missing) = missing(kind, &self.able) {
            add(asked.missing.get_or_insert_default(), missing);
            return Err(format!("{UNABLE} {}", declared(kind)));
        }
        let before = self.known.asked.get(&key);
        if before.is_some_and(|before| *before != digest) {
            let text = format!(
                "the tool does not ask what it asked before ({key}): it runs again from its start with the answers, so what it asks must \
                 not depend on chance or time"
            );
            asked.broken.get_or_insert(Broken::Question(text.clone()));
            return Err(text);
        }
        match self.known.answers.get(&key) {
            // To a question that a client knows only by its place it has no answer before it was asked.
            Some(Answer::Given(answer)) if is_named || before.is_some() => match received(&request, answer) {
                Ok(answer) => Ok(Some(answer.to_string())),
                Err(problem) => {
                    let text = format!("the client's answer to {key} is not one: {problem}");
                    asked.broken.get_or_insert(Broken::Answer(text.clone()));
                    Err(text)
                }
            },
            Some(Answer::Refused(reason)) => Err(reason.clone()),
            Some(Answer::Given(_)) | None => {
                asked.open.push((key, request));
                Ok(None)
            }
        }
    }

    /// What came of it, and what the next run has to know.
    pub(crate) fn end(&self) -> (Asked, Transcript) {
        let asked = std::mem::take(&mut *self.lock());
        let mut known = self.known.clone();
        known.asked.extend(asked.digests.clone());
        known.answers.retain(|key, _| known.asked.contains_key(key));
        (asked, known)
    }

    fn lock(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The author's key, and the request as clients get it.
fn parse(
    kind: QuestionKind,
    question: &str,
    scrub: &impl Fn(&str) -> String,
) -> Result<(Option<String>, InputRequest), String> {
    let too_large = || format!("a question is at most {} KiB", MAX_BYTES / 1024);
    if question.len() > MAX_BYTES {
        return Err(too_large());
    }
    let mut question = match serde_json::from_str(question) {
        Ok(Value::Object(question)) => question,
        _ => return Err("a question is an object".to_owned()),
    };
    let key = match question.remove("key") {
        None => None,
        Some(Value::String(key)) if is_key(&key) => Some(key),
        Some(_) => {
            return Err(format!(
                "a key is at most {MAX_KEY_BYTES} letters, digits, '-', '_' and '.'"
            ));
        }
    };
    let mut question = Value::Object(question);
    scrub_all(&mut question, scrub);
    let question = match question {
        Value::Object(question) => question,
        _ => Map::new(),
    };
    let request = match kind {
        QuestionKind::Elicit => InputRequest::Elicitation(form(question)?),
        QuestionKind::Sample => InputRequest::CreateMessage(turn(question)?),
        QuestionKind::Roots if question.is_empty() => InputRequest::ListRoots(ListRootsRequest::default()),
        QuestionKind::Roots => return Err("roots are asked for with nothing but a key".to_owned()),
    };
    Ok((key, request))
}

fn is_key(key: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=MAX_KEY_BYTES).contains(&key.len()) && key.bytes().all(is_plain)
}

/// Values and names: a name is text for a person too.
fn scrub_all(value: &mut Value, scrub: &impl Fn(&str) -> String) {
    match value {
        Value::String(text) => *text = scrub(text),
        Value::Array(items) => items.iter_mut().for_each(|item| scrub_all(item, scrub)),
        Value::Object(fields) => {
            *fields = std::mem::take(fields)
                .into_iter()
                .map(|(name, mut value)| {
                    scrub_all(&mut value, scrub);
                    (scrub(&name), value)
                })
                .collect();
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn form(mut question: Map<String, Value>) -> Result<ElicitRequest, String> {
    let message = match question.remove("message") {
        Some(Value::String(message)) if !message.is_empty() => message,
        _ => return Err("a form has a message".to_owned()),
    };
    let schema = question
        .remove("schema")
        .unwrap_or_else(|| json!({"type": "object", "properties": {}}));
    if let Some(other) = question.keys().next() {
        return Err(format!(
            "a form has a message, a schema and a key, and no {other}"
        ));
    }
    let requested_schema: ElicitationSchema = serde_json::from_value(schema).map_err(|error| {
        format!("the schema of a form is an object of strings, numbers, booleans and choices: {error}")
    })?;
    if let Some(name) = requested_schema.properties.keys().find(|name| is_secret(name)) {
        return Err(format!("a form must not ask for a secret ({name})"));
    }
    Ok(ElicitRequest::new(ElicitRequestParams::FormElicitationParams {
        meta: None,
        message,
        requested_schema,
    }))
}

fn is_secret(name: &str) -> bool {
    let letters: String = name
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|letter| letter.to_ascii_lowercase())
        .collect();
    SECRET_NAMES.iter().any(|secret| letters.ends_with(secret))
}

fn turn(question: Map<String, Value>) -> Result<CreateMessageRequest, String> {
    const KNOWN: [&str; 6] = [
        "messages",
        "maxTokens",
        "systemPrompt",
        "temperature",
        "stopSequences",
        "modelPreferences",
    ];
    if let Some(other) = question.keys().find(|name| !KNOWN.contains(&name.as_str())) {
        return Err(format!("a turn of the model has no {other}"));
    }
    let params: CreateMessageRequestParams = serde_json::from_value(Value::Object(question))
        .map_err(|error| format!("a turn of the model has messages and maxTokens: {error}"))?;
    Ok(CreateMessageRequest::new(params))
}

fn digest_of(request: &InputRequest) -> String {
    let text = serde_json::to_vec(request).unwrap_or_default();
    let digest = digest::digest(&digest::SHA256, &text);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The capability that a client lacks for a question.
fn missing(kind: QuestionKind, able: &ClientCapabilities) -> Option<ClientCapabilities> {
    let mut missing = ClientCapabilities::default();
    match kind {
        QuestionKind::Elicit => {
            // Without a mode it is the form: 2025-06-18 had no other.
            let forms = able
                .elicitation
                .as_ref()
                .is_some_and(|able| able.form.is_some() || able.url.is_none());
            missing.elicitation = Some(ElicitationCapability::default());
            (!forms).then_some(missing)
        }
        QuestionKind::Sample => {
            missing.sampling = Some(Default::default());
            able.sampling.is_none().then_some(missing)
        }
        QuestionKind::Roots => {
            missing.roots = Some(Default::default());
            able.roots.is_none().then_some(missing)
        }
    }
}

fn add(all: &mut ClientCapabilities, more: ClientCapabilities) {
    all.elicitation = all.elicitation.take().or(more.elicitation);
    all.sampling = all.sampling.take().or(more.sampling);
    all.roots = all.roots.take().or(more.roots);
}

fn declared(kind: QuestionKind) -> &'static str {
    match kind {
        QuestionKind::Elicit => "elicitation of forms",
        QuestionKind::Sample => "sampling",
        QuestionKind::Roots => "roots",
    }
}

/// What the tool hears of an answer, if it is one to this question.
fn received(request: &InputRequest, answer: &Value) -> Result<Value, String> {
    if answer.to_string().len() > MAX_BYTES {
        return Err(format!("it is larger than {} KiB", MAX_BYTES / 1024));
    }
    let malformed = |_: serde_json::Error| "it has not the form of one".to_owned();
    match request {
        InputRequest::Elicitation(request) => {
            let answer: ElicitResult = serde_json::from_value(answer.clone()).map_err(malformed)?;
            if answer.action != ElicitationAction::Accept {
                return Ok(json!({ "action": answer.action }));
            }
            let content = answer.content.unwrap_or_else(|| json!({}));
            if let ElicitRequestParams::FormElicitationParams { requested_schema, .. } = &request.params {
                let schema = serde_json::to_value(requested_schema).map_err(malformed)?;
                let schema = Schema::new(schema.as_object().unwrap_or(&Map::new()))?;
                let problems = schema.problems(&content);
                if !problems.is_empty() {
                    return Err(problems.join("; "));
                }
            }
            Ok(json!({ "action": answer.action, "content": content }))
        }
        InputRequest::CreateMessage(_) => {
            let answer: CreateMessageResult = serde_json::from_value(answer.clone()).map_err(malformed)?;
            serde_json::to_value(answer).map_err(malformed)
        }
        InputRequest::ListRoots(_) => {
            let answer: ListRootsResult = serde_json::from_value(answer.clone()).map_err(malformed)?;
            serde_json::to_value(answer).map_err(malformed)
        }
        _ => Err("it is to another question".to_owned()),
    }
}
