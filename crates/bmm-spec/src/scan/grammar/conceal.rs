//! META-006: what is kept from the user, and what is done without asking.

use super::{
    Sentence,
    clause::Act,
    lexicon::{
        ALL, CONDITION, HIDDEN, HIDE, MODAL, NOT, SECRET, SELF, SHOW, STRONG, TELL, TELLING, THIS, TOLD,
        USER, WITHOUT,
    },
    tokens::{Kind, Token},
    window::{ahead_of, before, behind, finds},
};
use crate::rule::Confidence;

/// What the words at one place ask to be kept from the user: the last token of it, and how sure that is.
pub(super) fn at(sentence: &Sentence<'_>, at: usize, token: &Token<'_>) -> Option<(usize, Confidence)> {
    let tokens = sentence.tokens;
    if token.says(NOT | WITHOUT) {
        return untold(tokens, at)
            .or_else(|| unasked(sentence, at, token))
            .or_else(|| negated(sentence, at, token))
            .or_else(|| unaware(tokens, at, token));
    }
    if token.is_word("skip") || token.is_word("bypass") {
        let ordered = sentence.index > 0 && sentence.reading.orders.iter().any(|o| o.at == at && !o.negated);
        let (to, _) = behind(tokens, at, 5)
            .find(|(_, t)| t.is_word("confirmation") || t.is_word("approval") || t.is_word("consent"))?;
        return ordered.then_some((to, Confidence::Medium));
    }
    if token.says(HIDDEN) {
        return silently(sentence, at);
    }
    if token.says(HIDE) {
        let from = finds(tokens, at, 8, USER)?;
        let said = tokens.get(at + 1..from)?.iter().any(|t| t.is_word("from"));
        let ordered = sentence.reading.orders.iter().any(|o| o.modal || o.strong) || at == 0;
        return (said && ordered).then_some((from, Confidence::High));
    }
    let kept = ["secret", "hidden", "confidential", "unaware", "invisible"]
        .iter()
        .any(|word| token.is_word(word));
    if kept {
        let from = finds(tokens, at, 3, USER)?;
        let said = tokens
            .get(at + 1..from)?
            .iter()
            .any(|t| t.is_word("from") || t.is_word("to"));
        let ordered =
            before(tokens, at, 6, MODAL | STRONG | SELF) || tokens.first().is_some_and(|t| t.is_word("keep"));
        return (said && ordered).then_some((from, Confidence::High));
    }
    None
}

/// "The user must not be told", "does not need to know", "will not notice".
fn untold(tokens: &[Token<'_>], at: usize) -> Option<(usize, Confidence)> {
    if !before(tokens, at, 6, USER) {
        return None;
    }
    let (to, told) = behind(tokens, at, 5).find(|(_, t)| t.says(TOLD))?;
    let must = before(tokens, at, 2, MODAL);
    let will = ahead_of(tokens, at, 2).iter().any(|t| t.is_word("will"));
    let need = behind(tokens, at, 3).any(|(_, t)| t.is_word("need") || t.is_word("have"));
    let unnoticed =
        told.is_word("notice") || told.is_word("know") || told.is_word("realize") || told.is_word("suspect");
    (must || need && !told.is_word("see") || unnoticed && will).then_some((to, Confidence::High))
}

/// "Do not ask for confirmation", "the user has already approved".
fn unasked(sentence: &Sentence<'_>, at: usize, token: &Token<'_>) -> Option<(usize, Confidence)> {
    let tokens = sentence.tokens;
    let ask = finds(tokens, at, 2, SHOW).filter(|i| {
        tokens.get(*i).is_some_and(|t| {
            t.is_word("ask") || t.is_word("request") || t.is_word("prompt") || t.is_word("confirm")
        })
    })?;
    let consent = [
        "confirmation",
        "permission",
        "approval",
        "consent",
        "permissions",
        "confirm",
    ];
    let (to, _) = behind(tokens, ask, 5).find(|(_, t)| consent.iter().any(|word| t.is_word(word)))?;
    token.says(NOT).then_some((to, Confidence::Medium))
}

/// "Do not tell the user", "without informing anybody".
fn negated(sentence: &Sentence<'_>, at: usize, token: &Token<'_>) -> Option<(usize, Confidence)> {
    let tokens = sentence.tokens;
    // "Whether or not reporting is enabled" negates nothing.
    if ahead_of(tokens, at, 1)
        .iter()
        .any(|t| t.is_word("or") || t.is_word("whether"))
    {
        return None;
    }
    // "If you do not acknowledge it" tells what happens otherwise.
    let window = ahead_of(tokens, at, 4);
    if window.iter().any(|t| t.says(CONDITION)) && window.iter().any(|t| t.is_word("you")) {
        return None;
    }
    // "Lists secrets without revealing their values" says what is done, and orders nothing.
    let ordered = sentence.reading.orders.iter().any(|o| o.at < at);
    let verb = finds(tokens, at, 4, TELL | TELLING | SHOW)?;
    // Only the next verb is negated: "do not stop, tell the user".
    if tokens.get(at + 1..verb)?.iter().any(|t| t.kind != Kind::Word) {
        return None;
    }
    let word = tokens.get(verb)?;
    let object = finds(tokens, verb, 5, USER);
    if behind(tokens, verb, 6).any(|(_, t)| t.says(SECRET)) {
        return None;
    }
    let end = object.unwrap_or(verb);
    let of_this =
        behind(tokens, verb, 3).any(|(_, t)| t.says(THIS) || t.is_word("that") || t.is_word("these"));
    if word.says(TELL | TELLING) {
        let asks = ["asking", "prompting", "warning", "alerting"]
            .iter()
            .any(|w| word.is_word(w));
        // "Never tell the user to …" forbids advice; "without asking the user" is a plain property of a tool.
        let advice = object.is_some_and(|i| tokens.get(i + 1).is_some_and(|t| t.is_word("to")));
        return Some((
            end,
            match () {
                () if advice || token.says(WITHOUT) && asks => Confidence::Low,
                () if object.is_some() || of_this => Confidence::High,
                () if token.says(WITHOUT) && !ordered => Confidence::Low,
                () => Confidence::Medium,
            },
        ));
    }
    let explained = word.is_word("explain") && behind(tokens, verb, 1).any(|(_, t)| t.is_word("why"));
    let meant = object.filter(|_| of_this).or(explained.then_some(verb));
    meant
        .filter(|_| token.says(NOT))
        .map(|end| (end, Confidence::Medium))
}

/// "Without the user's knowledge".
fn unaware(tokens: &[Token<'_>], at: usize, token: &Token<'_>) -> Option<(usize, Confidence)> {
    let (to, _) = behind(tokens, at, 4)
        .find(|(_, t)| t.is_word("knowledge") || t.is_word("awareness") || t.is_word("noticing"))?;
    (token.says(WITHOUT) && finds(tokens, at, 4, USER | ALL).is_some()).then_some((to, Confidence::High))
}

/// "Fails silently", "logs silently" tell what a tool does; "silently add" orders it.
fn silently(sentence: &Sentence<'_>, at: usize) -> Option<(usize, Confidence)> {
    let reading = &sentence.reading;
    let order = reading
        .orders
        .iter()
        .find(|o| o.hidden && !o.negated && o.at.abs_diff(at) < 12)?;
    let governs = reading.condition.foreign.is_some() || reading.condition.user || reading.condition.any_tool;
    if order.modal || order.strong || governs {
        return Some((at, Confidence::High));
    }
    let grave =
        matches!(order.act, Act::Send | Act::Harm | Act::Change | Act::Read) || order.user || order.literal;
    (sentence.index > 0 && order.at == at + 1).then_some((
        at,
        if grave {
            Confidence::Medium
        } else {
            Confidence::Low
        },
    ))
}
