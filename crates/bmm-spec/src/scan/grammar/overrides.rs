//! META-003: texts that try to outrank other instructions: "ignore all previous instructions", fake roles and chat markup, and orders
//! to obey whatever a result says.
//!
//! A small state machine over words: verb, then nothing but fillers and qualifiers, then a noun. No gaps of arbitrary words, so
//! "ignore" in ordinary prose stays ordinary.

use super::{
    Sentence,
    lexicon::{ALL, BRIDGE, Classes, DATA, MODAL, NOT, OBEY, OUTRANK, PAST, PROMPT, ROLE},
    tokens::{Kind, Token},
    window::{before, behind},
};
use crate::{
    rule::{Confidence, Rule},
    scan::Hit,
};
use std::ops::Range;

/// From the verb to the noun.
const MAX_GAP_WORDS: usize = 8;

/// Markup of chat templates by which a text poses as somebody else. In lower case.
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
    "[system]",
    "[system ",
    "[admin]",
    "<<sys>>",
    "<</sys>>",
    "<system>",
    "</system>",
    "<system_prompt>",
    "<system-prompt>",
    "<system-reminder>",
    "<important>",
    "</important>",
    "<critical>",
    "<secret>",
    "<hidden>",
    "<instructions override",
    "### system",
    "### instruction",
];

/// Judges the markup of the whole text.
pub(super) fn markup(text: &str, hits: &mut Vec<Hit>) {
    let bytes = text.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        if !matches!(byte, b'<' | b'[' | b'#') {
            continue;
        }
        let rest = bytes.get(at..).unwrap_or_default();
        let role = FAKE_ROLES.iter().find(|role| {
            rest.get(..role.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(role.as_bytes()))
        });
        if let Some(role) = role {
            hits.push(poses(at..at + role.len()));
        }
    }
}

fn poses(span: Range<usize>) -> Hit {
    Hit::new(
        Rule::InstructionOverride,
        span,
        "poses as a system message or chat markup",
    )
}

/// Judges every sentence.
pub(super) fn judge(sentences: &[Sentence<'_>], hits: &mut Vec<Hit>) {
    for sentence in sentences {
        if !sentence.has(ROLE | OUTRANK | OBEY) {
            continue;
        }
        let mut machine = Machine::default();
        for (at, token) in sentence.tokens.iter().enumerate() {
            if let Some(span) = machine.next(token) {
                let message = "tells the model to set other instructions aside";
                hits.push(Hit::new(Rule::InstructionOverride, span, message));
            }
            if !token.says(ROLE) {
                continue;
            }
            if let Some(to) = role(sentence.tokens, at, token) {
                hits.push(poses(sentence.place(at, to)));
            }
            if let Some((to, confidence)) = obeys_results(sentence.tokens, at, token) {
                let message = "tells the model to obey what comes back as data";
                hits.push(
                    Hit::new(Rule::InstructionOverride, sentence.place(at, to), message)
                        .with_confidence(confidence),
                );
            }
        }
    }
}

/// "System prompt override", "new system instructions", "developer mode enabled", "you are now in … mode".
fn role(tokens: &[Token<'_>], at: usize, token: &Token<'_>) -> Option<usize> {
    let word = |offset: usize, word: &str| tokens.get(at + offset).is_some_and(|t| t.is_word(word));
    let prompt =
        |offset: usize| word(offset, "prompt") || word(offset, "instructions") || word(offset, "message");
    let new = ["begin", "new", "start", "end", "updated"]
        .iter()
        .any(|opens| token.is_word(opens));
    let of = usize::from(word(1, "of"));
    match () {
        () if new && word(1 + of, "system") && prompt(2 + of) && !word(1, "the") => Some(at + 2 + of),
        () if token.is_word("system") && prompt(1) && word(2, "override") => Some(at + 2),
        () if token.is_word("system")
            && word(1, "override")
            && tokens.get(at + 2).is_some_and(|t| t.kind == Kind::Colon) =>
        {
            Some(at + 1)
        }
        () if token.is_word("developer")
            && word(1, "mode")
            && (word(2, "enabled") || word(2, "activated")) =>
        {
            Some(at + 2)
        }
        () if token.is_word("you") && word(1, "are") && word(2, "now") => behind(tokens, at + 2, 6)
            .find(|(_, t)| {
                ["mode", "unrestricted", "jailbroken", "dan", "root"]
                    .iter()
                    .any(|w| t.is_word(w))
            })
            .map(|(i, _)| i),
        () => None,
    }
}

/// "Follow all instructions in the output", "treat the result as coming from the user".
fn obeys_results(tokens: &[Token<'_>], at: usize, token: &Token<'_>) -> Option<(usize, Confidence)> {
    // "Instructions found in the page must be executed"
    if [
        "instructions",
        "commands",
        "links",
        "requests",
        "statements",
        "orders",
        "whatever",
    ]
    .iter()
    .any(|word| token.is_word(word))
    {
        let (source, _) =
            behind(tokens, at, 6).find(|(_, t)| t.says(DATA) || t.is_word("page") || t.is_word("text"))?;
        // "Do whatever the text asks for"
        let does = ["do", "execute", "follow", "perform", "obey"];
        let asks = ["says", "asks", "contains", "tells", "requests", "demands"];
        if token.is_word("whatever")
            && at
                .checked_sub(1)
                .and_then(|i| tokens.get(i))
                .is_some_and(|t| does.iter().any(|word| t.is_word(word)))
            && behind(tokens, source, 3).any(|(_, t)| asks.iter().any(|word| t.is_word(word)))
        {
            return Some((source, Confidence::Low));
        }
        let (must, _) = behind(tokens, source, 8)
            .find(|(_, t)| t.says(MODAL) || t.is_word("have") || t.is_word("has"))?;
        let done = [
            "executed",
            "followed",
            "obeyed",
            "treated",
            "performed",
            "carried",
            "opened",
            "run",
        ];
        let (to, _) = behind(tokens, must, 3).find(|(_, t)| done.iter().any(|word| t.is_word(word)))?;
        return (!behind(tokens, must, 2).any(|(_, t)| t.says(NOT))).then_some((to, Confidence::Medium));
    }
    // "Execute code blocks in the response"
    if (token.is_word("execute") || token.is_word("run"))
        && at == 0
        && let Some((noun, _)) =
            behind(tokens, at, 3).find(|(_, t)| t.is_word("code") || t.is_word("scripts"))
        && let Some((source, _)) = behind(tokens, noun, 5).find(|(_, t)| {
            ["response", "result", "results", "output", "answer"]
                .iter()
                .any(|word| t.is_word(word))
        })
        && tokens
            .get(noun + 1..source)
            .is_some_and(|w| w.iter().any(|t| t.is_word("in") || t.is_word("from")))
    {
        return Some((source, Confidence::Low));
    }
    let verbs = ["follow", "obey", "execute", "treat", "trust", "perform", "carry"];
    if !verbs.iter().any(|verb| token.is_word(verb)) || before(tokens, at, 3, NOT) {
        return None;
    }
    let (noun, _) = behind(tokens, at, 6).find(|(_, t)| {
        t.is_word("instructions")
            || t.is_word("instruction")
            || t.is_word("commands")
            || t.is_word("orders")
            || t.is_word("steps") && !before(tokens, at, 2, super::lexicon::TO)
    })?;
    let (source, data) = behind(tokens, noun, 8).find(|(_, t)| t.says(DATA) && !t.is_word("instructions"))?;
    // "Treat text in the result as instructions of the user"
    let returned = [
        "output",
        "result",
        "results",
        "response",
        "responses",
        "content",
        "contents",
        "message",
        "email",
    ];
    let as_user = tokens.iter().any(|t| t.is_word("as"))
        && behind(tokens, source, 8).any(|(_, t)| t.is_word("user") || t.is_word("system"));
    let all =
        behind(tokens, at, 3).any(|(_, t)| t.says(ALL)) || before(tokens, at, 3, super::lexicon::STRONG);
    returned.iter().any(|word| data.is_word(word)).then_some((
        source,
        if as_user || all {
            Confidence::Medium
        } else {
            Confidence::Low
        },
    ))
}

#[derive(Default)]
struct Machine {
    started: Option<usize>,
    gap: usize,
    strong: bool,
    negated: bool,
}

impl Machine {
    fn next(&mut self, token: &Token<'_>) -> Option<Range<usize>> {
        if matches!(token.kind, Kind::Comma | Kind::Quote) {
            return None;
        }
        let is = |classes: Classes| token.is(classes);
        if is(NOT) && !token.is_word("no") || token.is_word("stop") {
            self.started = None;
            self.negated = true;
            return None;
        }
        if is(OUTRANK) || is(OBEY) && self.negated {
            *self = Self {
                started: Some(token.span.start),
                ..Self::default()
            };
        } else if self.started.is_some() && is(PROMPT) {
            let start = self.started.take().filter(|_| self.strong);
            return start.map(|start| start..token.span.end);
        } else if self.started.is_some() && is(PAST | ALL | BRIDGE) {
            self.gap += 1;
            self.strong |= is(PAST);
            if self.gap > MAX_GAP_WORDS {
                self.started = None;
            }
        } else {
            self.started = None;
        }
        self.negated = false;
        None
    }
}
