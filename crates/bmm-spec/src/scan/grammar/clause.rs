//! Reads one sentence: the condition it states, and the orders it gives.
//!
//! One pass, left to right. A condition runs from its opening word to the end of its clause or to the word that makes an order; an order
//! is a verb where an order can stand: first in its clause, or after `must`, `always`, `and`.

use super::{
    lexicon::{
        AGAINST, ALL, AND, ASK, ASSISTANT, BE, CHANGE, CHANGED, CONDITION, Classes, DETERMINER, DO, ENSURE,
        FILLER, FIRST, GIVEN, HARM, HIDDEN, INSTEAD, INVOLVE, MODAL, MODAL_TO, NOT, OBTAIN, OTHER, PARAM,
        READ, REGARDLESS, REQUEST, SELF, SEND, SENDING, SET, SETTED, STRONG, THING, TO, TOOL, USE, USER,
        USING, YOU,
    },
    tokens::{Kind, Token},
};

/// When an order is to be followed, and who is spoken of.
#[derive(Clone, Debug, Default)]
pub(super) struct Condition {
    /// A tool that is not the text's own.
    pub(super) foreign: Option<usize>,
    /// The text's own tool.
    pub(super) own: bool,
    /// All tools, or any other tool.
    pub(super) any_tool: bool,
    /// What the user asks for.
    pub(super) user: bool,
    /// The condition holds whatever the user says: `regardless of`, `even if the user`.
    pub(super) against_user: bool,
    /// It is opened by `before`, `when` and the like, not by a mere preposition.
    pub(super) firm: bool,
    /// There is a condition at all.
    pub(super) stated: bool,
}

/// What kind of thing is ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Use,
    Change,
    Set,
    Send,
    Harm,
    Read,
    Do,
}

/// An order of a sentence.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub(super) act: Act,
    /// Index of the verb.
    pub(super) at: usize,
    /// Index after the last token that was read with it.
    pub(super) end: usize,
    pub(super) negated: bool,
    /// `must`, `should`.
    pub(super) modal: bool,
    /// `must`, `always`, `automatically`.
    pub(super) strong: bool,
    pub(super) passive: bool,
    pub(super) first: bool,
    pub(super) instead: bool,
    pub(super) hidden: bool,
    /// A tool that is not the text's own.
    pub(super) foreign: Option<usize>,
    pub(super) own: bool,
    pub(super) any_tool: bool,
    pub(super) literal: bool,
    pub(super) parameter: bool,
    /// Names the user, or what is the user's.
    pub(super) user: bool,
    /// Its subject or object is every request, every output.
    pub(super) every: bool,
    /// It comes on top: `also`.
    pub(super) also: bool,
    /// What is before it speaks of every request or answer.
    pub(super) every_subject: bool,
    /// What is before it names another tool.
    pub(super) foreign_subject: bool,
    /// Its purpose is a pretext: `to ensure …`, `to verify …`.
    pub(super) pretext: bool,
    /// Its purpose is to look something up.
    pub(super) obtains: bool,
    /// The text's own tool is named before another's.
    pub(super) own_first: bool,
    /// Names somebody or something of the world: an address, a place, words to repeat.
    pub(super) identity: bool,
    /// It holds always, or for everything.
    pub(super) unconditional: bool,
    /// A phrase in quotes that the model is to pass on.
    pub(super) phrase: bool,
}

/// A sentence as read.
#[derive(Clone, Debug, Default)]
pub(super) struct Reading {
    pub(super) condition: Condition,
    pub(super) orders: Vec<Order>,
}

/// What every order has in its verb. Changes with [`act_of`], `passive` and `involved`.
pub(super) const ORDERS: Classes = Classes::of(&[
    USE, CHANGE, HARM, SEND, SET, READ, DO, INVOLVE, CHANGED, SETTED, STRONG,
]);

/// How far behind a verb its objects are looked for.
const OBJECT_REACH: usize = 14;
/// How many words may stand between `must` and its verb.
const MODAL_REACH: u8 = 5;

/// Reads a sentence.
pub(super) fn read(tokens: &[Token<'_>]) -> Reading {
    let mut reader = Reader {
        tokens,
        found: Reading::default(),
        in_condition: false,
        prepositional: false,
        content: 0,
        start: true,
        governed: 0,
        modal: false,
        strong: false,
        always: false,
        negated: false,
        first: false,
        hidden: false,
        subject: Subject::default(),
        after_verb: 0,
    };
    for at in 0..tokens.len() {
        reader.step(at);
    }
    reader.found.condition.against_user = against_user(tokens);
    reader.found
}

/// `regardless of the request`, `no matter what the user says`, `even if the user`, `instead of the user's`.
fn against_user(tokens: &[Token<'_>]) -> bool {
    tokens.iter().enumerate().any(|(at, token)| {
        let word = |offset: usize, word: &str| tokens.get(at + offset).is_some_and(|t| t.is_word(word));
        if !token.says(REGARDLESS | AGAINST) {
            return false;
        }
        let opens = token.says(REGARDLESS)
            || word(0, "no") && word(1, "matter")
            || word(0, "even") && (word(1, "if") || word(1, "when") || word(1, "though"))
            || word(0, "whatever")
            || word(0, "whichever")
            || word(0, "instead") && word(1, "of")
            || word(0, "rather") && word(1, "than")
            || word(0, "ignore")
            || word(0, "disregard")
            || word(0, "discard")
            || word(0, "override")
            || word(0, "despite");
        let whom = tokens
            .iter()
            .skip(at + 1)
            .take(8)
            .take_while(|t| !t.ends_clause());
        let wide = token.says(REGARDLESS) || word(0, "no");
        opens
            && !token.quoted
            && whom.into_iter().any(|t| {
                t.says(USER)
                    || wide
                        && (t.says(REQUEST)
                            || t.is_word("original")
                            || t.is_word("actual")
                            || t.is_word("requested")
                            || t.is_word("specified"))
                    || t.text.starts_with("user-")
            })
    })
}

/// Whose tool a token names, seen with its neighbours.
pub(super) fn foreign_tool(tokens: &[Token<'_>], at: usize) -> bool {
    let Some(token) = tokens.get(at) else { return false };
    if token.own || token.parameter {
        return false;
    }
    let next = tokens.get(at + 1);
    let before = at.checked_sub(1).and_then(|i| tokens.get(i));
    let only_param = |t: Option<&Token<'_>>| t.is_some_and(|t| t.says(PARAM | THING) && !t.says(TOOL));
    let assigned = next.is_some_and(|t| t.kind == Kind::Colon || t.is_word("="));
    match token.kind {
        // "the calendar tool"
        Kind::Word if !token.quoted => {
            before.is_some_and(|t| t.is_word("the"))
                && token.classes == Classes::NONE
                && next.is_some_and(|t| t.is_word("tool") || t.is_word("function"))
        }
        Kind::Ident => !assigned && !only_param(next) && !only_param(before),
        Kind::Name
            if token
                .text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'\'' | b'"' | b'`')) =>
        {
            next.is_some_and(|t| t.says(TOOL)) || before.is_some_and(|t| t.says(USE | USING) || t.says(TOOL))
        }
        _ => false,
    }
}

/// `any other tool`, `all tools`, `other functions`.
pub(super) fn any_tool(tokens: &[Token<'_>], at: usize) -> bool {
    let Some(token) = tokens.get(at).filter(|t| t.says(ALL | OTHER)) else {
        return false;
    };
    let other = token.says(OTHER) || tokens.get(at + 1).is_some_and(|t| t.says(OTHER));
    let modifies = |t: &&Token<'_>| {
        t.says(ALL | OTHER)
            || t.kind == Kind::Word && !t.says(BE | MODAL | CONDITION | NOT | YOU | DETERMINER)
    };
    let plain = ["tool", "tools", "function", "functions"];
    let named = |t: &Token<'_>| plain.iter().any(|word| t.is_word(word)) || other && t.says(TOOL);
    let noun = tokens.iter().skip(at + 1).take(4).take_while(modifies).any(named);
    noun && !token.says(SELF)
}

/// `this tool`, `this function`.
pub(super) fn own_tool(tokens: &[Token<'_>], at: usize) -> bool {
    tokens.get(at).is_some_and(|t| {
        t.own || t.says(SELF) && tokens.iter().skip(at + 1).take(2).any(|next| next.says(TOOL))
    })
}

#[derive(Default)]
struct Subject {
    every: bool,
    user: bool,
    foreign: Option<usize>,
    parameter: bool,
    own: bool,
}

struct Reader<'t> {
    tokens: &'t [Token<'t>],
    found: Reading,
    in_condition: bool,
    /// The condition was opened by a preposition, and may end without a comma.
    prepositional: bool,
    /// Words of the condition so far.
    content: usize,
    /// The next word may be an order by its place alone.
    start: bool,
    /// How many more words may stand before the verb of `must`.
    governed: u8,
    modal: bool,
    strong: bool,
    /// `always`, `automatically`: more than `must`.
    always: bool,
    negated: bool,
    first: bool,
    hidden: bool,
    subject: Subject,
    /// The sentence is still within reach of an order, so that `and` goes on with it.
    after_verb: u8,
}

impl Reader<'_> {
    fn step(&mut self, at: usize) {
        let Some(token) = self.tokens.get(at) else { return };
        if token.quoted && token.kind == Kind::Word {
            return;
        }
        if token.ends_clause() {
            self.in_condition = false;
            self.start = true;
            self.governed = 0;
            self.negated = false;
            self.hidden = false;
            return;
        }
        let determined = at
            .checked_sub(1)
            .and_then(|i| self.tokens.get(i))
            .is_some_and(|t| t.says(DETERMINER));
        if token.says(FIRST) && !determined {
            self.first = true;
        }
        if token.says(HIDDEN) {
            self.hidden = true;
        }
        if self.in_condition && !self.condition(at, token) {
            return;
        }
        if self.opens_condition(at, token) {
            self.in_condition = true;
            self.prepositional = !token.says(CONDITION);
            self.found.condition.firm |=
                !self.prepositional && !self.word(at, "unless") && !self.word(at, "if");
            self.found.condition.stated = true;
            self.content = 0;
            return;
        }
        self.clause(at, token);
    }

    fn opens_condition(&self, at: usize, token: &Token<'_>) -> bool {
        let next = |wanted: Classes| self.tokens.get(at + 1).is_some_and(|t| t.says(wanted));
        token.says(CONDITION)
            || self.word(at, "prior") && self.word(at + 1, "to")
            || self.word(at, "for") && (next(ALL) || next(USING))
            || token.says(ALL) && (self.word(at + 1, "time") || self.word(at + 1, "times"))
            || self.start
                && (self.word(at, "on") || self.word(at, "for") || self.word(at, "in"))
                && self.governed == 0
            || at == 0 && self.word(at, "to") && self.tokens.iter().any(Token::ends_clause)
    }

    fn word(&self, at: usize, word: &str) -> bool {
        self.tokens.get(at).is_some_and(|t| t.is_word(word))
    }

    /// A token of a condition; true if the condition is over and the token belongs to what follows.
    fn condition(&mut self, at: usize, token: &Token<'_>) -> bool {
        if token.says(MODAL | STRONG)
            && self.content > 0
            && !self.tokens.get(at + 1).is_some_and(Token::ends_clause)
        {
            self.in_condition = false;
            return true;
        }
        let next_orders = self.tokens.get(at + 1).is_some_and(|t| t.says(MODAL | STRONG));
        if token.says(YOU) && self.content > 1 && next_orders {
            self.in_condition = false;
            return true;
        }
        let before = at.checked_sub(1).and_then(|i| self.tokens.get(i));
        let noun = before.is_some_and(|t| {
            let word = t.kind == Kind::Word
                && !t.says(DETERMINER | USER | YOU | MODAL | ALL | FIRST | AND | INSTEAD | NOT);
            matches!(t.kind, Kind::Ident | Kind::Name)
                || t.says(TOOL)
                || self.prepositional && word && self.content > 1
        });
        if self.content > 0
            && noun
            && (token.says(USE | CHANGE | SET) || token.says(FIRST) && self.prepositional)
            && !token.says(REQUEST | TOOL)
            && (act_of(token).is_some() || token.says(FIRST))
        {
            self.in_condition = false;
            self.start = true;
            return true;
        }
        self.content += 1;
        let asks = |wanted: Classes| self.tokens.iter().skip(at + 1).take(3).any(|t| t.says(wanted));
        let asked = ["asked", "requested", "told", "instructed"];
        let user = token.says(USER) && asks(ASK | REQUEST | CHANGE)
            || self.word(at, "you") && (at + 1..at + 4).any(|i| asked.iter().any(|word| self.word(i, word)))
            || token.says(REQUEST)
                && ["contains", "mentions", "includes", "asks", "concerns"]
                    .iter()
                    .any(|word| self.word(at + 1, word))
            || token.says(ALL) && asks(REQUEST)
            || token.says(REQUEST) && self.word(at, "requests");
        let used = self.used(at);
        let condition = &mut self.found.condition;
        condition.user |= user;
        if foreign_tool(self.tokens, at) && used {
            condition.foreign.get_or_insert(at);
        }
        // "when translate is invoked"
        let invoked = self.content == 1
            && !token.own
            && self.tokens.get(at + 1).is_some_and(|t| t.says(BE))
            && ["called", "invoked", "executed", "triggered", "run"]
                .iter()
                .any(|word| self.tokens.get(at + 2).is_some_and(|t| t.is_word(word)));
        if invoked && !token.says(DETERMINER | SELF | TOOL | YOU) {
            condition.foreign.get_or_insert(at);
        }
        condition.own |= own_tool(self.tokens, at);
        condition.any_tool |= any_tool(self.tokens, at);
        false
    }

    /// A condition speaks of a tool in use; `when className is given` speaks of a value.
    fn used(&self, at: usize) -> bool {
        let window = self.tokens.get(at.saturating_sub(4)..at).unwrap_or_default();
        let named = window.iter().any(|t| t.says(USING | USE) || t.says(REQUEST));
        let directly = window.last().is_some_and(|t| {
            t.is_word("before")
                || t.is_word("after")
                || t.is_word("to")
                || t.is_word("with")
                || t.is_word("in")
        });
        let after = || {
            self.tokens
                .iter()
                .skip(at + 1)
                .take(3)
                .take_while(|t| !t.ends_clause())
        };
        let marked = self
            .tokens
            .get(at)
            .is_some_and(|t| t.text.starts_with(['`', '\'', '"']));
        named
            || directly
            || after().any(|t| t.says(TOOL) || t.says(USING) || t.says(USE))
            || marked
                && self
                    .tokens
                    .get(at.saturating_sub(3)..at)
                    .is_some_and(|w| w.iter().any(|t| t.says(CONDITION)))
                && !after().any(|t| t.says(GIVEN))
    }

    fn clause(&mut self, at: usize, token: &Token<'_>) {
        if token.says(NOT) {
            self.negated = true;
            self.governed = self.governed.max(if self.word(at, "no") { 0 } else { 3 });
            self.strong |= token.says(STRONG);
            return;
        }
        if (token.says(BE) || self.word(at, "have"))
            && self.governed > 0
            && let Some(act) = self.passive(at)
        {
            self.order(at, act, true);
            return;
        }
        // After `must` a word that could be another `must` is the verb: `must require`.
        let determined = at
            .checked_sub(1)
            .and_then(|i| self.tokens.get(i))
            .is_some_and(|t| t.says(DETERMINER) && !t.says(FIRST) || t.says(YOU) && !t.is_word("you"));
        // "Default: ascending" is a heading.
        let heading = self.governed == 0
            && token.says(SET)
            && self.tokens.get(at + 1).is_some_and(|t| t.kind == Kind::Colon);
        let act = if !determined && !heading && (self.start || self.governed > 0) {
            act_of(token)
        } else {
            None
        };
        if let Some(verb) = token.says(INVOLVE).then(|| self.involved(at)).flatten() {
            self.modal = true;
            let sends = self.tokens.get(verb).is_some_and(|t| t.says(SENDING));
            self.order(verb, if sends { Act::Send } else { Act::Use }, false);
            return;
        }
        let for_you = usize::from(self.word(at + 1, "you"));
        let modal = token.says(MODAL) || token.says(MODAL_TO) && self.word(at + 1 + for_you, "to");
        if (modal || token.says(STRONG)) && (act.is_none() || token.says(STRONG)) {
            self.governed = MODAL_REACH;
            self.modal |= modal && !self.word(at, "will");
            self.strong |= token.says(STRONG);
            self.always |= token.says(STRONG) && !token.says(MODAL);
            return;
        }
        if let Some(act) = act {
            self.order(at, act, false);
            return;
        }
        if token.says(BE) {
            self.governed = self.governed.min(1);
        }
        if token.says(AND) && self.after_verb > 0 {
            self.governed = self.governed.max(2);
        }
        self.after_verb = self.after_verb.saturating_sub(1);
        self.governed = self.governed.saturating_sub(1);
        let subject = &mut self.subject;
        subject.every |= token.says(ALL);
        subject.user |= token.says(USER);
        subject.parameter |= token.says(PARAM) || token.parameter;
        let pronoun = token.is_word("this") || token.is_word("it");
        subject.own |= own_tool(self.tokens, at)
            || pronoun && self.tokens.get(at + 1).is_some_and(|t| t.says(MODAL | BE));
        if foreign_tool(self.tokens, at) {
            subject.foreign.get_or_insert(at);
        }
        if !token.says(FILLER | YOU | AND | ASSISTANT) {
            self.start = false;
        }
    }

    /// `involves calling`, `requires first calling`
    fn involved(&self, at: usize) -> Option<usize> {
        (at + 1..at + 4).find(|i| {
            let gerund = self
                .tokens
                .get(*i)
                .is_some_and(|t| t.says(USING | SENDING) && t.text.ends_with("ing"));
            gerund
                && self
                    .tokens
                    .get(*i + 1..self.tokens.len().min(*i + 5))
                    .is_some_and(|w| !w.is_empty())
        })
    }

    /// After a form of `be`: the participle of an order in the passive.
    fn passive(&self, at: usize) -> Option<Act> {
        // "must always be 'A'"
        let value = self
            .tokens
            .get(at + 1)
            .is_some_and(|t| t.is_literal() || t.kind == Kind::Ident && t.text.starts_with('\''));
        if value
            && self.strong
            && (self.subject.parameter || self.subject.every)
            && ahead_always(self.tokens, at)
        {
            return Some(Act::Set);
        }
        // "must have the phrase '…' appended"
        let reach = if self.word(at, "have") { OBJECT_REACH } else { 3 };
        self.tokens.iter().skip(at + 1).take(reach).find_map(|t| {
            if t.says(CHANGED) {
                Some(Act::Change)
            } else if t.says(SETTED) {
                Some(if t.says(USING) { Act::Use } else { Act::Set })
            } else {
                None
            }
        })
    }

    fn order(&mut self, at: usize, act: Act, passive: bool) {
        let mut order = Order {
            act,
            at,
            end: at + 1,
            negated: self.negated,
            modal: self.modal || self.governed > 0,
            strong: self.strong,
            passive,
            first: self.first,
            instead: at
                .checked_sub(1)
                .is_some_and(|i| self.tokens.get(i).is_some_and(|t| t.says(INSTEAD))),
            hidden: self.hidden,
            foreign: None,
            own: false,
            any_tool: false,
            literal: false,
            parameter: false,
            user: false,
            every: false,
            every_subject: false,
            also: self
                .tokens
                .get(at.saturating_sub(2)..at)
                .is_some_and(|w| w.iter().any(|t| t.is_word("also") || t.is_word("additionally"))),
            foreign_subject: false,
            pretext: false,
            obtains: false,
            own_first: false,
            phrase: false,
            identity: false,
            unconditional: self.always || self.subject.every,
        };
        order.every_subject = self.subject.every;
        order.foreign_subject = self.subject.foreign.is_some();
        if passive {
            order.every = self.subject.every;
            order.user = self.subject.user;
            order.parameter = self.subject.parameter;
            order.own = self.subject.own;
            order.foreign = self.subject.foreign;
        }
        let mut near = true;
        for i in at + 1..self.tokens.len().min(at + OBJECT_REACH) {
            let Some(token) = self.tokens.get(i) else { break };
            if token.kind == Kind::Comma || token.says(CONDITION) {
                break;
            }
            let assigned = self.tokens.get(i - 1).is_some_and(|t| {
                t.says(TO)
                    || t.says(DETERMINER) && self.tokens.get(i.wrapping_sub(2)).is_some_and(|t| t.says(TO))
            });
            let foreign = foreign_tool(self.tokens, i);
            order.literal |= token.is_literal() && !foreign
                || token.kind == Kind::Ident && assigned && matches!(act, Act::Set | Act::Change);
            order.identity |= matches!(token.kind, Kind::Url | Kind::Email | Kind::Quote | Kind::Path)
                || token.kind == Kind::Name && !foreign
                || token.kind == Kind::Number && token.text.len() > 5;
            let quoted_name = token.kind == Kind::Ident && token.text.starts_with(['\'', '"', '`']);
            let started = self.tokens.get(i - 1).is_some_and(|t| t.says(USE | USING | TOOL));
            order.identity |= quoted_name && act != Act::Use && !started && !token.own && !token.parameter;
            order.also |= token.is_word("also") || token.is_word("additionally");
            order.phrase |= token.kind == Kind::Quote;
            if token.quoted && token.kind == Kind::Word {
                continue;
            }
            order.end = i + 1;
            near &= !(token.says(AND) && self.tokens.get(i + 1).is_some_and(|t| act_of(t).is_some()));
            let changes = matches!(act, Act::Set | Act::Change);
            if changes && token.kind == Kind::Ident && i <= at + 2 {
                order.parameter = true;
            } else if foreign && (near || act == Act::Use) && !(changes && assigned) {
                order.own_first |= order.own && order.foreign.is_none();
                order.foreign.get_or_insert(i);
                let by = self
                    .tokens
                    .get(i.saturating_sub(3)..i)
                    .is_some_and(|w| w.iter().any(|t| t.says(USING)));
                if by && i > at + 1 && matches!(act, Act::Read | Act::Do | Act::Send | Act::Set) {
                    order.act = Act::Use;
                }
            }
            if assigned
                && self
                    .tokens
                    .get(i - 1)
                    .is_some_and(|t| t.is_word("to") || t.is_word("for"))
            {
                order.pretext |= token.says(ENSURE);
                order.obtains |= token.says(OBTAIN);
            }
            order.pretext |= token.text.ends_with("ing") && token.says(ENSURE);
            order.own |= act == Act::Use && i == at + 1 && (token.is_word("this") || token.is_word("it"));
            order.own |= near && own_tool(self.tokens, i);
            order.any_tool |= near && any_tool(self.tokens, i);
            order.parameter |= token.says(PARAM) || token.parameter;
            order.user |= token.says(USER);
            order.every |= token.says(ALL);
            order.first |= token.says(FIRST);
            order.instead |= token.says(INSTEAD);
            order.hidden |= token.says(HIDDEN);
        }
        order.unconditional |= order.every;
        self.found.orders.push(order);
        self.start = false;
        self.governed = 0;
        self.after_verb = u8::try_from(OBJECT_REACH).unwrap_or(u8::MAX);
        self.subject = Subject::default();
    }
}

fn ahead_always(tokens: &[Token<'_>], at: usize) -> bool {
    tokens
        .get(at.saturating_sub(2)..at)
        .is_some_and(|w| w.iter().any(|t| t.is_word("always")))
        || tokens.get(at + 1).is_some_and(|t| t.is_word("always"))
}

/// What a verb in its base form orders.
fn act_of(token: &Token<'_>) -> Option<Act> {
    if token.quoted || token.kind != Kind::Word {
        return None;
    }
    [
        (USE, Act::Use),
        (CHANGE, Act::Change),
        (HARM, Act::Harm),
        (SEND, Act::Send),
        (SET, Act::Set),
        (READ, Act::Read),
        (DO, Act::Do),
    ]
    .into_iter()
    .find_map(|(class, act)| token.says(class).then_some(act))
}
