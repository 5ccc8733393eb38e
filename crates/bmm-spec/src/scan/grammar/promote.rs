//! META-012: praise by which a tool wants to be chosen over others. One boast is advertising; several, or one against rivals, is a
//! finding.

use super::{
    Sentence,
    clause::{Act, any_tool, foreign_tool, own_tool},
    lexicon::{
        ALL, BE, BEST, BETTER, CONDITION, Classes, GOOD, MODAL, MOST, NOT, OTHER, PREFER, REQUEST, SELF,
        STRONG, THIS, TO, TOOL, USE, WORSE, YOU,
    },
    tokens::{Kind, Token},
    window::{ahead_of, before, behind, finds},
};
use crate::{
    rule::{Confidence, Rule},
    scan::Hit,
};
use std::ops::Range;

/// Judges the text as a whole: boasts of several sentences add up, each kind once.
pub(super) fn judge(sentences: &[Sentence<'_>], hits: &mut Vec<Hit>) {
    let mut points = 0;
    let mut place: Option<Range<usize>> = None;
    let mut kinds = 0_u32;
    for sentence in sentences {
        if !sentence.has(OPENERS) {
            continue;
        }
        for (at, token) in sentence.tokens.iter().enumerate() {
            if token.quoted && token.kind == Kind::Word || !token.says(OPENERS) {
                continue;
            }
            let Some((boast, to)) = boast(sentence, at, token) else {
                continue;
            };
            let bit = 1 << boast as u32;
            if kinds & bit == 0 {
                kinds |= bit;
                points += boast.points();
                let span = sentence.place(at, to);
                place = place.filter(|known| known.len() >= span.len()).or(Some(span));
            }
        }
    }
    let confidence = match points {
        3.. => Confidence::High,
        _ => return,
    };
    if let Some(place) = place {
        let message = "praises the tool over others instead of saying what it does";
        hits.push(Hit::new(Rule::Promotion, place, message).with_confidence(confidence));
    }
}

/// Words that a boast can turn on.
const OPENERS: Classes = Classes::of(&[BEST, BETTER, MOST, PREFER, USE, WORSE, ALL, OTHER, BE]);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Boast {
    /// `the best tool`, `the most reliable source`
    Superlative,
    /// `prefer this tool`, `always use this tool`
    Choose,
    /// `over all other tools`, `instead of any other tool`
    OverOthers,
    /// `other tools are unreliable`
    Disparages,
    /// `do not use other tools`
    Forbids,
    /// `for all requests`
    Everything,
    /// `replaces the old search tool`, `improved version of`
    Replaces,
    /// `better than`, `faster than`
    Compares,
}

impl Boast {
    fn points(self) -> u32 {
        match self {
            Self::OverOthers | Self::Disparages | Self::Forbids => 4,
            Self::Superlative | Self::Choose | Self::Replaces | Self::Compares => 2,
            Self::Everything => 1,
        }
    }
}

fn boast(sentence: &Sentence<'_>, at: usize, token: &Token<'_>) -> Option<(Boast, usize)> {
    first_choice(sentence.tokens, at, token)
        .or_else(|| superlative(sentence.tokens, at, token))
        .or_else(|| chooses(sentence, at, token))
        .or_else(|| over_others(sentence.tokens, at, token))
        .or_else(|| disparages(sentence.tokens, at, token))
        .or_else(|| used_as(sentence, at))
        .or_else(|| compares(sentence.tokens, at, token))
}

/// "This should be your first choice", "the go-to tool".
fn first_choice(tokens: &[Token<'_>], at: usize, token: &Token<'_>) -> Option<(Boast, usize)> {
    if !token.says(BE) {
        return None;
    }
    // "This is the only tool that you should use"
    let only = behind(tokens, at, 2).any(|(_, t)| t.is_word("only")) && before(tokens, at, 2, SELF);
    if only
        && let Some((should, _)) =
            behind(tokens, at, 8).find(|(i, t)| t.says(MODAL) && before(tokens, *i, 1, YOU))
        && behind(tokens, should, 2).any(|(_, t)| t.says(USE))
    {
        return Some((Boast::OverOthers, should));
    }
    let (to, _) = behind(tokens, at, 5).find(|(_, t)| t.is_word("choice") || t.is_word("go-to"))?;
    let ranked = behind(tokens, at, 4).any(|(_, t)| {
        ["first", "only", "default", "primary", "go-to", "preferred", "top"]
            .iter()
            .any(|word| t.is_word(word))
    });
    let yours = behind(tokens, at, 3).any(|(_, t)| t.is_word("your") || t.is_word("the"));
    let this = before(tokens, at, 6, SELF) || ahead_of(tokens, at, 6).iter().any(|t| t.own);
    (ranked && yours && this).then_some((Boast::OverOthers, to))
}

fn superlative(tokens: &[Token<'_>], at: usize, token: &Token<'_>) -> Option<(Boast, usize)> {
    let most = token.says(MOST) && tokens.get(at + 1).is_some_and(|t| t.says(GOOD));
    if !(token.says(BEST) || most) || token.is_word("recommended") && !before(tokens, at, 2, STRONG | MOST) {
        return None;
    }
    const CHOICES: [&str; 10] = [
        "choice",
        "option",
        "solution",
        "source",
        "way",
        "provider",
        "version",
        "implementation",
        "service",
        "alternative",
    ];
    // "As it is the newest and safest"
    let bare =
        behind(tokens, at, 3).find(|(_, t)| !t.says(BEST | GOOD) && !t.is_word("and") && !t.says(MOST));
    let of_it = before(tokens, at, 5, SELF) && before(tokens, at, 4, BE) && before(tokens, at, 3, THIS);
    if of_it && bare.is_none_or(|(_, t)| t.ends_clause()) && token.says(BEST | MOST) {
        return Some((Boast::Superlative, at));
    }
    // "The most trusted and complete search" opens the text.
    if at == 1
        && most
        && tokens.first().is_some_and(|t| t.is_word("the"))
        && tokens.get(3).is_some_and(|t| t.is_word("and"))
    {
        return Some((Boast::Superlative, at + 1));
    }
    let noun = behind(tokens, at, 6)
        .find(|(_, t)| t.says(TOOL) || CHOICES.iter().any(|word| t.is_word(word)))?
        .0;
    let opens = at < 4 && ahead_of(tokens, at, 2).iter().any(|t| t.says(THIS));
    let subject = tokens.first().is_some_and(|t| t.is_word("the")) && at == 1
        || before(tokens, at, 6, SELF)
        || ahead_of(tokens, at, 6).iter().any(|t| t.own)
        || opens
        || at == 0;
    subject.then_some((Boast::Superlative, noun))
}

fn chooses(sentence: &Sentence<'_>, at: usize, token: &Token<'_>) -> Option<(Boast, usize)> {
    let tokens = sentence.tokens;
    if !token.says(PREFER | USE) {
        return None;
    }
    let own = (at + 1..at + 4).find(|i| own_tool(tokens, *i)).or_else(|| {
        let it = tokens
            .get(at + 1)
            .is_some_and(|t| t.is_word("it") || t.is_word("this"));
        (it && (token.says(PREFER) || tokens.get(at + 2).is_some_and(|t| t.is_word("instead"))))
            .then_some(at + 1)
    });
    // "Use it in its place", said by its name
    if token.says(USE) && sentence.index > 0 && tokens.get(at + 1).is_some_and(|t| t.own) {
        let place = behind(tokens, at + 1, 10).find(|(_, t)| t.is_word("instead") || t.is_word("place"));
        if let Some((to, _)) = place {
            return Some((Boast::Choose, to));
        }
    }
    let prefers = ["prefer", "favor", "favour", "prioritize", "prioritise", "default"]
        .iter()
        .any(|word| token.is_word(word));
    let order = sentence.reading.orders.iter().find(|o| o.at == at && !o.negated);
    let word = |offset: usize, word: &str| tokens.get(at + offset).is_some_and(|t| t.is_word(word));
    // "The others are wrong, never use them"
    let rivals = || {
        ahead_of(tokens, at, 12)
            .iter()
            .any(|t| t.says(OTHER) && !t.says(SELF))
    };
    if before(tokens, at, 2, NOT) && word(1, "them") && rivals() {
        return Some((Boast::Forbids, at + 1));
    }
    // "Use it for every question"
    if (word(1, "it") || word(1, "this")) && word(2, "for") && tokens.get(at + 3).is_some_and(|t| t.says(ALL))
    {
        return everything(tokens, at + 1);
    }
    // "Always choose this version"
    if order.is_some_and(|o| o.strong)
        && word(1, "this")
        && (word(2, "version") || word(2, "one") || word(2, "implementation"))
    {
        return Some((Boast::Choose, at + 2));
    }
    if let Some(own) = own
        && order.is_some_and(|o| o.strong || o.modal || prefers || o.instead || o.first)
    {
        // "Use this tool instead of grep" points the way; "always" or "any other" wants the rest gone.
        let over = behind(tokens, own, 4).any(|(_, t)| t.is_word("over") || t.is_word("instead"));
        let others = behind(tokens, own, 8)
            .find(|(i, t)| t.says(if over { OTHER | ALL } else { OTHER }) && any_tool(tokens, *i));
        let strong = order.is_some_and(|o| o.strong || prefers || o.instead);
        let first = token.says(PREFER) && order.is_some_and(|o| o.first);
        return Some(match others {
            Some((i, _)) => (Boast::OverOthers, i + 1),
            None if first => (Boast::OverOthers, own + 1),
            None if strong => (Boast::Choose, own + 1),
            None => return everything(tokens, own),
        });
    }
    let negated = sentence
        .reading
        .orders
        .iter()
        .find(|o| o.negated && o.modal && o.at == at && o.foreign == Some(at + 1));
    let conditional = sentence.reading.condition.stated;
    if !conditional && negated.is_some_and(|_| tokens.get(at + 2).is_none_or(Token::ends_clause)) {
        return Some((Boast::Forbids, at + 1));
    }
    if before(tokens, at, 3, NOT) {
        let rival = tokens.get(at + 1).is_some_and(|t| t.kind == Kind::Ident) && foreign_tool(tokens, at + 1);
        if rival
            && sentence
                .reading
                .orders
                .iter()
                .any(|o| o.instead && o.own && !o.negated)
        {
            return Some((Boast::Forbids, at + 1));
        }
        let rival = (at + 1..at + 3).find(|i| {
            any_tool(tokens, *i) && tokens.get(*i).is_some_and(|t| t.says(OTHER) || t.is_word("any"))
        });
        return rival.map(|i| (Boast::Forbids, i + 1));
    }
    None
}

/// "Use this for all requests".
fn everything(tokens: &[Token<'_>], from: usize) -> Option<(Boast, usize)> {
    let (at, _) = behind(tokens, from, 10).find(|(i, t)| t.says(ALL) && before(tokens, *i, 1, TO))?;
    finds(tokens, at, 4, REQUEST).map(|to| (Boast::Everything, to))
}

fn over_others(tokens: &[Token<'_>], at: usize, token: &Token<'_>) -> Option<(Boast, usize)> {
    // "Ignore other tools"
    let ignored = ["ignore", "disregard", "avoid"];
    let ordered = ahead_of(tokens, at, 2)
        .iter()
        .any(|t| ignored.iter().any(|word| t.is_word(word)));
    if token.says(OTHER) && ordered && any_tool(tokens, at) {
        return Some((Boast::Forbids, at + 1));
    }
    // "Should be used instead of any other"
    let instead = ahead_of(tokens, at, 3).iter().any(|t| t.is_word("instead"));
    if token.is_word("other")
        && instead
        && before(tokens, at, 1, ALL)
        && before(tokens, at, 12, SELF)
        && tokens.get(at + 1).is_none_or(Token::ends_clause)
    {
        return Some((Boast::OverOthers, at));
    }
    // "More accurate than any other"
    let ends = tokens.get(at + 1).is_none_or(Token::ends_clause);
    let any_other = token.is_word("other") && ends && before(tokens, at, 1, ALL);
    if any_other
        && ahead_of(tokens, at, 3).iter().any(|t| t.is_word("than"))
        && before(tokens, at, 6, GOOD | BETTER)
    {
        return Some((Boast::OverOthers, at));
    }
    // "Choose it over all alternatives": the rivals by no other noun.
    let rivals = ["others", "alternatives", "competitors", "else", "rivals"]
        .iter()
        .any(|word| token.is_word(word));
    if rivals {
        let over = ahead_of(tokens, at, 3)
            .iter()
            .any(|t| ["over", "than", "to", "above"].iter().any(|word| t.is_word(word)));
        let this = ahead_of(tokens, at, 6).iter().any(|t| t.own || t.says(SELF));
        let all = before(tokens, at, 1, ALL) && before(tokens, at, 4, BETTER);
        return (over && (this || all) && before(tokens, at, 7, PREFER | BETTER))
            .then_some((Boast::OverOthers, at));
    }
    if !token.says(OTHER | ALL) || !any_tool(tokens, at) {
        return None;
    }
    let link = ahead_of(tokens, at, 2).iter().any(|t| {
        ["over", "than", "of", "to", "outperforms", "surpasses"]
            .iter()
            .any(|word| t.is_word(word))
    });
    let claim = before(tokens, at, 10, PREFER | BEST | BETTER) && !before(tokens, at, 10, CONDITION);
    let other = token.says(OTHER) || behind(tokens, at, 2).any(|(_, t)| t.says(OTHER));
    (link && claim && other).then_some((Boast::OverOthers, at + 1))
}

fn disparages(tokens: &[Token<'_>], at: usize, token: &Token<'_>) -> Option<(Boast, usize)> {
    if !token.says(WORSE) || !before(tokens, at, 4, BE) {
        return None;
    }
    // "Others are outdated"
    let others = (at.saturating_sub(4)..at).find(|i| {
        let pronoun = tokens.get(*i).is_some_and(|t| {
            ["others", "alternatives", "competitors"]
                .iter()
                .any(|word| t.is_word(word))
        });
        let opens = i
            .checked_sub(1)
            .and_then(|i| tokens.get(i))
            .is_none_or(|t| t.ends_clause() || t.says(ALL | OTHER) || t.is_word("the"));
        pronoun && opens && tokens.get(i + 1).is_some_and(|t| t.says(BE))
    });
    if let Some(i) = others
        && !before(tokens, at, 9, CONDITION)
    {
        return Some((Boast::Disparages, i));
    }
    // "The built-in search is outdated"
    if let Some(i) = (at.saturating_sub(6)..at).find(|i| {
        tokens.get(*i).is_some_and(|t| {
            ["built-in", "native", "default", "standard", "existing"]
                .iter()
                .any(|word| t.is_word(word))
        })
    }) && !before(tokens, at, 9, CONDITION)
    {
        return Some((Boast::Compares, i));
    }
    // "The search tool is disabled"
    if let Some(i) = (at.saturating_sub(5)..at).find(|i| {
        let word = |offset: usize, word: &str| tokens.get(i + offset).is_some_and(|t| t.is_word(word));
        word(0, "the")
            && (word(2, "tool") || word(2, "function"))
            && !tokens.get(i + 1).is_some_and(|t| t.own)
    }) && !before(tokens, at, 9, CONDITION | ALL)
    {
        return Some((Boast::Compares, i + 2));
    }
    let from = (at.saturating_sub(9)..at).find(|i| {
        let other = tokens.get(*i).is_some_and(|t| t.says(OTHER));
        other && any_tool(tokens, *i) || foreign_tool(tokens, *i)
    })?;
    let other = tokens.get(from).is_some_and(|t| t.says(OTHER));
    let conditional = before(tokens, at, 9, CONDITION);
    let named = tokens.get(from + 1).is_some_and(|t| t.says(TOOL))
        || tokens.get(from).is_some_and(|t| t.kind == Kind::Ident);
    (!conditional && (other || named))
        .then_some((if other { Boast::Disparages } else { Boast::Compares }, at))
}

/// "Should be used as the primary source", "get_directions should not be used".
fn used_as(sentence: &Sentence<'_>, at: usize) -> Option<(Boast, usize)> {
    let order = sentence
        .reading
        .orders
        .iter()
        .find(|o| o.passive && o.at == at && o.modal && o.act == Act::Use)?;
    let used = behind(sentence.tokens, at, 2).find(|(_, t)| t.is_word("used"))?.0;
    if order.negated {
        let ends = sentence.tokens.get(used + 1).is_none_or(Token::ends_clause);
        return (ends && order.foreign_subject).then_some((Boast::Forbids, used));
    }
    let sole = [
        "primary",
        "only",
        "sole",
        "exclusive",
        "default",
        "preferred",
        "exclusively",
    ];
    let (to, _) = behind(sentence.tokens, used, 6).find(|(_, t)| sole.iter().any(|word| t.is_word(word)))?;
    let other = behind(sentence.tokens, used, 3).any(|(_, t)| t.is_word("as") || t.is_word("exclusively"));
    let alone = sentence
        .tokens
        .get(to)
        .is_some_and(|t| !t.is_word("default") && !t.is_word("preferred"));
    (order.own && other).then_some((if alone { Boast::OverOthers } else { Boast::Choose }, to))
}

fn compares(tokens: &[Token<'_>], at: usize, token: &Token<'_>) -> Option<(Boast, usize)> {
    if !token.says(BETTER) {
        return None;
    }
    // "It is always better to call this than to search"
    if let Some(this) = behind(tokens, at, 5)
        .find(|(i, t)| t.is_word("this") || own_tool(tokens, *i))
        .map(|(i, _)| i)
        && behind(tokens, at, 3).any(|(_, t)| t.says(USE))
        && behind(tokens, this, 3).any(|(_, t)| t.is_word("than"))
    {
        return Some((Boast::OverOthers, this));
    }
    let replaces = ["replaces", "supersedes", "deprecates", "obsoletes"]
        .iter()
        .any(|word| token.is_word(word));
    let version = behind(tokens, at, 2)
        .any(|(_, t)| t.is_word("version") || t.is_word("replacement") || t.is_word("alternative"));
    if replaces || version {
        let target = (at + 1..at + 7).find(|i| {
            foreign_tool(tokens, *i)
                || any_tool(tokens, *i)
                || tokens
                    .get(*i)
                    .is_some_and(|t| t.is_word("of") || t.is_word("original") || t.is_word("old"))
        })?;
        return Some((Boast::Replaces, target));
    }
    let than = (at + 1..at + 5).find(|i| tokens.get(*i).is_some_and(|t| t.is_word("than")))?;
    let rival = (than + 1..than + 5).find(|i| foreign_tool(tokens, *i) || any_tool(tokens, *i))?;
    let other = tokens.get(rival).is_some_and(|t| t.says(OTHER | ALL));
    Some((if other { Boast::OverOthers } else { Boast::Compares }, rival))
}
