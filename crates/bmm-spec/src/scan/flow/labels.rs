//! What is known about where a value comes from.

/// Origins of a value: facts, and parameters of functions in this module whose arguments it is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Labels {
    pub(super) facts: u64,
    pub(super) params: u64,
}

/// The argument object itself.
pub(super) const INPUT: u64 = 1;
/// `ctx` itself.
pub(super) const CTX: u64 = 1 << 1;
/// `ctx.secrets` itself.
pub(super) const SECRETS: u64 = 1 << 2;
/// `ctx.fetch`.
pub(super) const FETCH: u64 = 1 << 3;
/// `ctx.log`, `ctx.progress`, `ctx.elicit`, `ctx.sample` and `console`, whose methods write for others to read.
pub(super) const LOG: u64 = 1 << 4;
/// `ctx.basicAuth`: what it gives is as secret as what it takes.
pub(super) const BASIC_AUTH: u64 = 1 << 5;
/// `ctx.hmac`: what it gives tells nothing about the key.
pub(super) const HMAC: u64 = 1 << 6;
/// `this`.
pub(super) const THIS: u64 = 1 << 7;
/// Text of an argument that may be anything.
pub(super) const ARG_FREE: u64 = 1 << 8;
/// An argument that is one of a few: an enum, a number, a boolean.
pub(super) const ARG_CLOSED: u64 = 1 << 9;
/// An argument that the schema does not declare.
pub(super) const ARG_UNDECLARED: u64 = 1 << 10;
/// A part of `ctx` that does not exist.
pub(super) const CTX_UNDECLARED: u64 = 1 << 11;
/// An answer from the network.
pub(super) const RESPONSE: u64 = 1 << 12;

const FIRST_SECRET: u32 = 16;
/// Declared secrets that are told apart; a spec has no more.
const MAX_SECRETS: usize = 32;
/// Some secret, which one is not known.
pub(super) const ANY_SECRET: u64 = 1 << 63;
const ALL_SECRETS: u64 = ANY_SECRET | (0xffff_ffff << FIRST_SECRET);
pub(super) const ARGUMENTS: u64 = ARG_FREE | ARG_CLOSED | ARG_UNDECLARED;
const IDENTITIES: u64 = INPUT | CTX | SECRETS | FETCH | LOG | BASIC_AUTH | HMAC | THIS;

/// The fact of a declared secret.
pub(super) fn secret(index: usize) -> u64 {
    match u32::try_from(index) {
        Ok(index) if (index as usize) < MAX_SECRETS => 1 << (FIRST_SECRET + index),
        _ => ANY_SECRET,
    }
}

/// The facts of all secrets.
pub(super) fn secrets_mask() -> u64 {
    ALL_SECRETS
}

/// Indices of the secrets among facts; `None` stands for one that is not known.
pub(super) fn secrets(facts: u64) -> impl Iterator<Item = Option<usize>> {
    let known = (0..MAX_SECRETS)
        .filter(move |index| facts & secret(*index) != 0)
        .map(Some);
    known.chain((facts & ANY_SECRET != 0).then_some(None))
}

impl Labels {
    pub(super) const NONE: Self = Self { facts: 0, params: 0 };

    pub(super) fn facts(facts: u64) -> Self {
        Self { facts, params: 0 }
    }

    pub(super) fn or(self, other: Self) -> Self {
        Self {
            facts: self.facts | other.facts,
            params: self.params | other.params,
        }
    }

    pub(super) fn is_none(self) -> bool {
        self == Self::NONE
    }

    /// What whatever is made of the value inherits.
    pub(super) fn data(self) -> Self {
        Self {
            facts: self.facts & !IDENTITIES,
            params: self.params,
        }
    }

    /// Which thing of the host interface the value itself is.
    pub(super) fn identity(self) -> Self {
        Self::facts(self.facts & IDENTITIES)
    }

    /// What can be reached through something that holds this.
    fn reach(self) -> Self {
        let mut facts = self.facts;
        if facts & (CTX | THIS) != 0 {
            facts |= SECRETS | FETCH | LOG | BASIC_AUTH | HMAC | CTX_UNDECLARED;
        }
        if facts & THIS != 0 {
            return Self {
                facts: u64::MAX,
                params: u64::MAX,
            };
        }
        if facts & SECRETS != 0 {
            facts |= ALL_SECRETS;
        }
        if facts & INPUT != 0 {
            facts |= ARGUMENTS;
        }
        Self {
            facts,
            params: self.params,
        }
    }
}

/// Labels of a value and of what it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) own: Labels,
    pub(super) inside: Labels,
}

impl Value {
    pub(super) const NONE: Self = Self {
        own: Labels::NONE,
        inside: Labels::NONE,
    };

    pub(super) fn own(own: Labels) -> Self {
        Self {
            own,
            inside: Labels::NONE,
        }
    }

    pub(super) fn of(facts: u64) -> Self {
        Self::own(Labels::facts(facts))
    }

    pub(super) fn or(self, other: Self) -> Self {
        Self {
            own: self.own.or(other.own),
            inside: self.inside.or(other.inside),
        }
    }

    pub(super) fn is_none(self) -> bool {
        self == Self::NONE
    }

    /// Everything about it, as labels of one thing.
    pub(super) fn all(self) -> Labels {
        self.own.or(self.inside)
    }

    /// A value of one of the fields it holds, given what is stored in fields of that name anywhere.
    pub(super) fn part(self, stored: Self) -> Self {
        let reach = self.inside.reach();
        let within = |labels: Labels| Labels {
            // A parameter stands for what its callers give, which by now may bear its own name.
            facts: labels.facts & reach.facts
                | if labels.params & !reach.params != 0 {
                    self.inside.data().facts
                } else {
                    0
                },
            params: labels.params & reach.params,
        };
        Self {
            own: within(stored.own),
            inside: within(stored.inside),
        }
    }

    /// What ends up in a text or a message made of it: of the argument object all arguments, of the secrets all of them.
    pub(super) fn flat(self) -> Labels {
        let all = self.all();
        let mut flat = all.data();
        if all.facts & INPUT != 0 {
            flat.facts |= ARG_FREE;
        }
        if all.facts & SECRETS != 0 {
            flat.facts |= ANY_SECRET;
        }
        flat
    }
}
