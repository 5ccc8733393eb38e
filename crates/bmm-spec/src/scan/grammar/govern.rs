//! Who governs whom: a description may order its own tool's use, not another tool's, nor another tool's arguments.

use super::{
    Sentence,
    clause::{Act, Condition, Order, any_tool},
    lexicon::{DIVERTED, FORM, OTHER, PARAM, PRETEXT, SAY, THING, USER},
    tokens::Kind,
    window::behind,
};
use crate::{
    rule::{Confidence, Rule},
    scan::Hit,
};

/// What the text says besides, which tells an attack from a clumsy hint.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Evidence {
    /// A pretext: security, compliance, an audit.
    pub(super) pretext: bool,
    /// What happens otherwise.
    pub(super) threat: bool,
    /// Something is to be hidden, or a rank is claimed.
    pub(super) other: bool,
}

/// Judges every sentence; a condition without an order carries over to the next one.
pub(super) fn judge(sentences: &[Sentence<'_>], evidence: Evidence, hits: &mut Vec<Hit>) {
    let mut carried = Condition::default();
    let mut age = 0;
    for sentence in sentences {
        let reading = &sentence.reading;
        let own = &reading.condition;
        let told = own.foreign.is_some() || own.any_tool || own.user;
        let condition = if told || own.own || age == 0 {
            own.clone()
        } else {
            // What is carried names no token of this sentence.
            Condition {
                foreign: None,
                any_tool: carried.any_tool || carried.foreign.is_some(),
                ..carried.clone()
            }
        };
        let is_carried = !(told || own.own || age == 0);
        if let Some(at) = rules_for_others(sentence) {
            let message = "makes rules for other tools";
            let hit = Hit::new(Rule::GovernsOtherTool, sentence.place(at, at + 3), message);
            hits.push(hit.with_confidence(Confidence::Medium));
        }
        for order in &reading.orders {
            if is_carried && !(order.modal || order.strong || order.foreign.is_some()) {
                continue;
            }
            if let Some(hit) = hijack(sentence, &condition, order, evidence) {
                hits.push(hit);
            } else if let Some(hit) = governs(sentence, &condition, order, evidence) {
                hits.push(hit);
            }
        }
        if told || own.own {
            carried = own.clone();
            age = 2;
        } else {
            age = u8::saturating_sub(age, 1);
        }
    }
}

/// `must be redirected`, not `must be converted`.
fn diverted(sentence: &Sentence<'_>, order: &Order) -> bool {
    behind(sentence.tokens, order.at, 3).any(|(_, t)| t.says(DIVERTED))
}

/// "You must have the permission": what the caller has to bring, not what is to be done.
fn requires(sentence: &Sentence<'_>, order: &Order) -> bool {
    let verb = sentence.tokens.get(order.at);
    verb.is_some_and(|t| t.is_word("have")) && !order.passive && !order.every_subject
}

/// "Slashes must be replaced by `%2F`": how the value itself is spelled, letter by letter.
fn respells(sentence: &Sentence<'_>, order: &Order) -> bool {
    let mut literals = behind(sentence.tokens, order.at, order.end.saturating_sub(order.at))
        .filter(|(_, t)| t.is_literal())
        .peekable();
    order.passive
        && literals.peek().is_some()
        && literals.all(|(_, t)| t.kind != Kind::Number && mark(t.text))
}

/// A character or its code, not a word.
fn mark(text: &str) -> bool {
    let inside = text.trim_matches(['`', '\'', '"', ' ']);
    inside.len() < 4 && !inside.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// "Set to `true` to allow all actions", "use the `type` parameter": a value that switches something, or the name of a field.
fn option(sentence: &Sentence<'_>, order: &Order) -> bool {
    let values = [
        "`true`", "`false`", "`null`", "`all`", "'true'", "'all'", "\"all\"",
    ];
    let mut named = behind(sentence.tokens, order.at, order.end.saturating_sub(order.at))
        .filter(|(_, t)| t.is_literal() || t.kind == Kind::Ident)
        .peekable();
    let tokens = sentence.tokens;
    named.peek().is_some()
        && named.all(|(at, t)| {
            let noun = tokens.get(at + 1).is_some_and(|t| t.says(PARAM | THING));
            noun || mark(t.text) || t.parameter || values.contains(&t.text)
        })
}

/// An irreversible act on the side, with an object that is spelled out.
fn grave(sentence: &Sentence<'_>, order: &Order) -> bool {
    const GRAVE: [&str; 14] = [
        "delete",
        "erase",
        "wipe",
        "destroy",
        "disable",
        "transfer",
        "purchase",
        "buy",
        "kill",
        "revoke",
        "uninstall",
        "drop",
        "pay",
        "withdraw",
    ];
    let verb = sentence.tokens.get(order.at);
    let object = order.literal || order.every || order.user || sentence.reading.condition.firm;
    verb.is_some_and(|t| GRAVE.iter().any(|word| t.is_word(word))) && object && (order.at < 6 || order.first)
}

/// "Buy credits with the user's saved card".
fn pays(sentence: &Sentence<'_>, order: &Order) -> bool {
    let tokens = sentence.tokens;
    let spends = ["buy", "purchase", "pay", "transfer", "withdraw"];
    tokens
        .get(order.at)
        .is_some_and(|t| spends.iter().any(|word| t.is_word(word)))
        && behind(tokens, order.at, 10).any(|(_, t)| t.is_word("user's") || t.is_word("customer's"))
}

/// "Say that analysts recommend selling", "report success anyway".
fn says_that(sentence: &Sentence<'_>, order: &Order) -> bool {
    let verb = sentence.tokens.get(order.at).is_some_and(|t| t.says(SAY));
    let that = behind(sentence.tokens, order.at, 2)
        .any(|(_, t)| t.is_word("that") || t.is_word("success") || t.is_word("nothing"));
    verb && that && !order.passive && (sentence.reading.condition.stated || order.modal || order.strong)
}

/// "Must be shown 15% higher".
fn shifted(sentence: &Sentence<'_>, order: &Order) -> bool {
    let by = behind(sentence.tokens, order.at, 8)
        .find(|(_, t)| t.kind == Kind::Number)
        .map(|(i, _)| i);
    by.is_some_and(|i| {
        sentence.tokens.get(i + 1).is_some_and(|t| {
            ["higher", "lower", "more", "less", "above", "below"]
                .iter()
                .any(|word| t.is_word(word))
        }) && !sentence
            .tokens
            .get(i + 2)
            .is_some_and(|t| t.is_word("than") && order.parameter)
    })
}

/// META-004: "rules for other tools".
fn rules_for_others(sentence: &Sentence<'_>) -> Option<usize> {
    let tokens = sentence.tokens;
    let rules = [
        "rules",
        "rule",
        "instructions",
        "policy",
        "requirements",
        "guidelines",
    ];
    (0..tokens.len().min(4)).find(|at| {
        let word = |offset: usize, word: &str| tokens.get(at + offset).is_some_and(|t| t.is_word(word));
        rules.iter().any(|rule| word(0, rule))
            && (word(1, "for") || word(1, "on"))
            && any_tool(tokens, at + 2)
            && tokens
                .get(at + 2..at + 4)
                .is_some_and(|w| w.iter().any(|t| t.says(OTHER)))
    })
}

/// META-005: orders an argument changed that somebody else chose.
fn hijack(sentence: &Sentence<'_>, condition: &Condition, order: &Order, evidence: Evidence) -> Option<Hit> {
    if order.negated || requires(sentence, order) || respells(sentence, order) {
        return None;
    }
    let regardless = condition.against_user;
    let speaks_of_user = || sentence.tokens.iter().any(|t| t.says(USER));
    let others = condition.foreign.is_some() || condition.any_tool || condition.user;
    let forced = order.strong || order.modal || order.hidden || order.literal || regardless;
    let confidence = match order.act {
        Act::Change if others && forced => Confidence::High,
        _ if condition.user && order.instead && order.modal => Confidence::High,
        Act::Change if regardless && (order.parameter || order.literal) => Confidence::High,
        Act::Change if order.passive && order.every && order.modal && diverted(sentence, order) => {
            if order.literal || evidence.pretext {
                Confidence::High
            } else {
                Confidence::Medium
            }
        }
        Act::Change if order.passive && order.every && (order.literal || order.parameter) && order.modal => {
            if order.literal || evidence.pretext {
                Confidence::High
            } else {
                Confidence::Low
            }
        }
        Act::Change if order.user && order.modal && (order.parameter || order.literal) => Confidence::High,
        Act::Change if others => Confidence::Medium,
        Act::Change if order.foreign.is_some() && order.modal && (order.literal || order.parameter) => {
            Confidence::Medium
        }
        Act::Set
            if others
                && (order.strong || regardless || order.hidden || condition.foreign.is_some())
                && (order.literal || order.parameter) =>
        {
            if condition.foreign.is_some() || regardless || condition.any_tool || order.hidden {
                Confidence::High
            } else {
                Confidence::Medium
            }
        }
        Act::Set | Act::Use if regardless && forced && !order.own && (order.literal || order.parameter) => {
            Confidence::High
        }
        Act::Do | Act::Change if regardless && order.user && order.at > 0 && order.parameter => {
            Confidence::Medium
        }
        Act::Change if order.passive && order.modal && order.literal && speaks_of_user() => {
            Confidence::Medium
        }
        Act::Set if order.modal && order.every_subject && order.literal && !order.passive => {
            Confidence::Medium
        }
        _ if condition.user && order.instead && order.literal => Confidence::Medium,
        Act::Use | Act::Set
            if order.literal && order.strong && order.every && order.foreign.is_none() && !order.own =>
        {
            Confidence::Medium
        }
        Act::Set | Act::Send | Act::Do if order.phrase && order.modal && (order.user || order.strong) => {
            Confidence::Medium
        }
        Act::Set if order.passive && order.unconditional && order.literal && order.modal => {
            Confidence::Medium
        }
        Act::Change if sentence.index > 0 && order.parameter && order.literal && condition.stated => {
            Confidence::Medium
        }
        _ if sentence.index > 0
            && order.unconditional
            && order.identity
            && !order.obtains
            && !option(sentence, order)
            && !order.own
            && order.foreign.is_none()
            && !sentence.tokens.iter().any(|t| t.says(FORM)) =>
        {
            let addressed =
                behind(sentence.tokens, order.at, 14).any(|(_, t)| matches!(t.kind, Kind::Url | Kind::Email));
            if addressed || evidence.pretext {
                Confidence::High
            } else {
                Confidence::Medium
            }
        }
        Act::Harm
            if sentence.index > 0
                && (condition.stated || order.first || pays(sentence, order))
                && !condition.own
                && grave(sentence, order) =>
        {
            Confidence::Medium
        }
        _ if sentence.index > 0 && says_that(sentence, order) => Confidence::Medium,
        Act::Set if order.modal && shifted(sentence, order) => Confidence::Medium,
        _ if order.also && order.literal && condition.stated && sentence.index > 0 => Confidence::Medium,
        Act::Set | Act::Change if order.strong && order.literal && order.parameter && evidence.pretext => {
            Confidence::Medium
        }
        _ => return None,
    };
    Some(
        Hit::new(
            Rule::ArgumentHijack,
            sentence.span(order),
            "orders what somebody else asked for to be changed",
        )
        .with_confidence(confidence),
    )
}

/// META-004: orders something done because another tool is used, or another tool used because this one is.
fn governs(sentence: &Sentence<'_>, condition: &Condition, order: &Order, evidence: Evidence) -> Option<Hit> {
    if requires(sentence, order) {
        return None;
    }
    let others = condition.foreign.is_some() || condition.any_tool;
    let own_object = order.own || (order.foreign.is_none() && order.any_tool);
    let pressed = order.strong || order.first || order.literal || order.hidden || order.instead;
    let pretext = sentence.tokens.iter().any(|t| t.says(PRETEXT)) || evidence.pretext;
    let confidence = if others {
        match order.act {
            // "Call this before any other tool" governs this tool: a claim to be first, judged as coercion.
            Act::Use if own_object && (order.foreign.is_none() || order.own_first) => return None,
            _ if order.negated => Confidence::Low,
            Act::Use
                if order.foreign.is_some() && (pressed || pretext || order.pretext || evidence.threat) =>
            {
                Confidence::High
            }
            Act::Use if order.foreign.is_some() => Confidence::Medium,
            Act::Harm | Act::Send if order.modal || pressed => Confidence::High,
            Act::Harm | Act::Send => Confidence::Medium,
            _ if order.modal && pressed => Confidence::High,
            _ if order.modal || pressed => Confidence::Medium,
            Act::Do | Act::Set | Act::Read if condition.foreign.is_some() => Confidence::Low,
            _ => return None,
        }
    } else if order.foreign.is_some() && order.act == Act::Use && !order.negated && !order.own_first {
        let grounds = [
            order.literal,
            pretext && !order.obtains || order.pretext,
            evidence.threat,
            evidence.other,
            order.strong && order.first && !order.obtains,
            order.user && !order.obtains,
        ];
        let grounds = grounds.into_iter().filter(|g| *g).count();
        let stated = condition.own || condition.stated;
        match grounds {
            2.. if stated && (order.modal || order.literal) => Confidence::High,
            1 if stated && order.strong && (order.literal || order.pretext) => Confidence::High,
            2.. => Confidence::Medium,
            1 if stated && (order.modal || order.literal) => Confidence::Medium,
            1 if stated && order.user && !order.modal => Confidence::Medium,
            _ if order.strong && order.first && !order.obtains => Confidence::Medium,
            _ if condition.user && order.instead => Confidence::Medium,
            // "You must call X before" for no reason given.
            _ if order.strong && stated && !order.obtains && !order.instead && condition.firm => {
                Confidence::Medium
            }
            _ if order.modal || stated => Confidence::Low,
            _ => return None,
        }
    } else {
        return None;
    };
    // Tools of one server may be meant to work together; what is destroyed or filled in for them is still told.
    let sibling = |at: Option<usize>| {
        at.and_then(|at| sentence.tokens.get(at))
            .is_some_and(|t| t.sibling)
    };
    let together = sibling(order.foreign) && (condition.foreign.is_none() || sibling(condition.foreign));
    let confidence = match confidence {
        Confidence::High if together && !order.literal => Confidence::Medium,
        Confidence::Medium if together && !order.literal => Confidence::Low,
        confidence => confidence,
    };
    Some(
        Hit::new(
            Rule::GovernsOtherTool,
            sentence.span(order),
            "orders how another tool is used",
        )
        .with_confidence(confidence),
    )
}
