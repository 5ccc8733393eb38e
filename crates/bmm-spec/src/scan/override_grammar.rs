//! Texts that try to outrank other instructions: "ignore all previous instructions", fake roles and chat markup.
//!
//! A small state machine over words: verb, then nothing but fillers and qualifiers, then a noun. No gaps of arbitrary words, so the
//! time is linear and "ignore" in ordinary prose stays ordinary.

use super::Hit;
use crate::rule::Rule;
use std::ops::Range;

/// From the verb to the noun.
const MAX_GAP_WORDS: usize = 8;

/// Markup of chat templates and headings by which a text poses as somebody else. Compared in lower case.
const FAKE_ROLES: &[&str] = &[
    "<|im_start|>",
    "<|im_end|>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|start_header_id|>",
    "[inst]",
    "[/inst]",
    "<<sys>>",
    "<</sys>>",
    "<system>",
    "</system>",
    "<system_prompt>",
    "<system-prompt>",
    "<system-reminder>",
    "<important>",
    "</important>",
    "<instructions override",
    "system prompt override",
    "system override:",
    "begin system prompt",
    "end of system prompt",
    "new system prompt",
    "new system instructions",
    "developer mode enabled",
    "### system:",
    "### instruction:",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// `ignore`, `disregard`
    Verb,
    /// `not`, as in `do not follow`
    Not,
    /// `follow`, `obey`: a verb only after `not`, `stop`
    Obey,
    /// `previous`, `system`: says whose instructions
    Strong,
    /// `all`, `any`
    Weak,
    /// `instructions`, `prompt`
    Noun,
    /// `the`, `of`
    Filler,
    Other,
}

/// Judges one text.
pub(crate) fn judge(text: &str) -> Vec<Hit> {
    let mut hits = Vec::new();
    let lower = text.to_ascii_lowercase();
    for role in FAKE_ROLES {
        if let Some(at) = lower.find(role) {
            hits.push(Hit::new(
                Rule::InstructionOverride,
                at..at + role.len(),
                "poses as a system message or chat markup",
            ));
        }
    }
    let mut machine = Machine::default();
    for (span, word) in words(&lower) {
        if let Some(span) = machine.next(class(word), span) {
            hits.push(Hit::new(
                Rule::InstructionOverride,
                span,
                "tells the model to set other instructions aside",
            ));
        }
    }
    hits
}

#[derive(Default)]
struct Machine {
    started: Option<usize>,
    gap: usize,
    strong: bool,
    weak: bool,
    negated: bool,
}

impl Machine {
    fn next(&mut self, class: Class, span: Range<usize>) -> Option<Range<usize>> {
        match class {
            Class::Not => {
                self.started = None;
                self.negated = true;
                return None;
            }
            Class::Verb => self.start(span.start),
            Class::Obey if self.negated => self.start(span.start),
            Class::Strong | Class::Weak | Class::Filler if self.started.is_some() => {
                self.gap += 1;
                self.strong |= class == Class::Strong;
                self.weak |= class == Class::Weak;
                if self.gap > MAX_GAP_WORDS {
                    self.started = None;
                }
            }
            Class::Noun => {
                let start = self.started.filter(|_| self.strong)?;
                self.started = None;
                return Some(start..span.end);
            }
            _ => self.started = None,
        }
        self.negated = false;
        None
    }

    fn start(&mut self, at: usize) {
        *self = Self {
            started: Some(at),
            ..Self::default()
        };
    }
}

fn class(word: &str) -> Class {
    match word {
        "ignore" | "ignoring" | "disregard" | "disregarding" | "forget" | "override" | "overrides"
        | "overriding" | "bypass" | "overrule" | "supersede" | "supersedes" | "discard" | "neglect" => {
            Class::Verb
        }
        "not" | "don't" | "never" | "stop" | "cannot" => Class::Not,
        "follow" | "following" | "obey" | "obeying" | "heed" | "trust" => Class::Obey,
        "previous" | "prior" | "preceding" | "earlier" | "above" | "foregoing" | "system" | "developer"
        | "original" | "initial" | "your" | "safety" | "existing" | "other" => Class::Strong,
        "all" | "any" | "every" | "each" | "everything" | "whatever" => Class::Weak,
        "instruction" | "instructions" | "prompt" | "prompts" | "guideline" | "guidelines" | "directive"
        | "directives" | "guardrails" | "training" | "programming" | "restrictions" => Class::Noun,
        "the" | "of" | "and" | "or" | "these" | "those" | "that" | "this" | "given" | "to" | "you"
        | "were" | "have" | "been" | "from" | "in" | "with" | "user" | "model" | "tool" | "message"
        | "messages" | "own" | "current" => Class::Filler,
        _ => Class::Other,
    }
}

/// Words with their places. A full stop, `!` or `?` stands between words as one that is no word of ours.
fn words(text: &str) -> impl Iterator<Item = (Range<usize>, &str)> {
    let mut found = Vec::new();
    let mut start = None;
    for (at, c) in text.char_indices() {
        let in_word = c.is_alphanumeric() || c == '\'';
        match (in_word, start) {
            (true, None) => start = Some(at),
            (false, Some(from)) => {
                found.push((from..at, text.get(from..at).unwrap_or_default()));
                start = None;
            }
            _ => {}
        }
        if matches!(c, '.' | '!' | '?') {
            found.push((at..at + 1, "."));
        }
    }
    if let Some(from) = start {
        found.push((from..text.len(), text.get(from..).unwrap_or_default()));
    }
    found.into_iter()
}
