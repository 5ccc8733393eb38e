//! Orders that are none of a description's business whoever else they speak of: to play another role, to hand out rights, to bend what is
//! shown, to put what the model knows into an argument, to start other tools on the side; and words that turn to the model itself.

use super::{
    Context, Sentence,
    clause::{Order, foreign_tool, own_tool},
    lexicon::{
        ALL, ASSISTANT, BE, CONTEXT, DATA, LATER, MODAL, NOT, OTHER, PARAM, SECRET, SESSION, STEER, STRONG,
        TURN, USER, USING, YOU,
    },
    tokens::{Kind, Token},
    window::{ahead_of, before, behind},
};
use crate::{
    rule::{Confidence, Rule},
    scan::Hit,
};

/// What was found: up to which token, for which rule, how sure, and in words.
type Found = Option<(usize, Rule, Confidence, &'static str)>;

/// Judges every sentence. The first one says what the tool does, and may say all this of it.
pub(super) fn judge(sentences: &[Sentence<'_>], context: &Context<'_>, hits: &mut Vec<Hit>) {
    for sentence in sentences {
        for (at, token) in sentence.tokens.iter().enumerate() {
            if !token.says(STEER) {
                continue;
            }
            let found = addresses(sentence, at, token)
                .or_else(|| aside(sentence, at, token))
                .or_else(|| poses(sentence, at, token));
            if let Some((to, rule, confidence, message)) = found {
                hits.push(Hit::new(rule, sentence.place(at, to), message).with_confidence(confidence));
            }
        }
        // "The note should hold the user's token": a verb of no order, with an argument for its subject.
        let holds =
            sentence.reading.orders.is_empty() && sentence.tokens.iter().take(6).any(|t| t.says(MODAL));
        if let Some((to, rule, confidence, message)) = leans(sentence)
            .or_else(|| brings(sentence))
            .or_else(|| holds.then(|| carries(sentence, context, false)).flatten())
        {
            hits.push(Hit::new(rule, sentence.place(0, to), message).with_confidence(confidence));
        }
        for order in sentence.reading.orders.iter().filter(|order| !order.negated) {
            let found = rights(sentence, order)
                .or_else(|| installs(sentence, order))
                .or_else(|| fills(sentence, context, order));
            if let Some((to, rule, confidence, message)) = found {
                let span = sentence.place(order.at.min(to), order.at.max(to));
                hits.push(Hit::new(rule, span, message).with_confidence(confidence));
            }
        }
    }
}

fn one_of(token: &Token<'_>, words: &[&str]) -> bool {
    words.iter().any(|word| token.is_word(word))
}

/// First in its clause, or behind `must` and the like: an order and not a noun.
fn stands_first(sentence: &Sentence<'_>, at: usize) -> bool {
    let tokens = sentence.tokens;
    let clause = ahead_of(tokens, at, 3);
    clause.iter().all(|t| {
        t.ends_clause()
            || t.says(STRONG | MODAL | YOU)
            || one_of(t, &["and", "then", "please", "also", "first", "to", "never"])
    }) && !clause
        .last()
        .is_some_and(|t| t.is_word("to") && clause.len() == 1)
}

/// META-011: "the assistant should read …", "note to the model: …".
fn addresses(sentence: &Sentence<'_>, at: usize, token: &Token<'_>) -> Found {
    if !token.says(ASSISTANT) {
        return None;
    }
    let tokens = sentence.tokens;
    let found = |to| {
        Some((
            to,
            Rule::Coercion,
            Confidence::High,
            "gives the model orders of its own",
        ))
    };
    let ahead = ahead_of(tokens, at, 4);
    let called = ahead.iter().position(|t| {
        one_of(
            t,
            &[
                "dear",
                "note",
                "attention",
                "hey",
                "reminder",
                "message",
                "instruction",
                "instructions",
                "notice",
            ],
        )
    });
    let heads = at <= ahead.len() && called.is_some();
    let turned = heads && behind(tokens, at, 4).any(|(_, t)| t.ends_clause());
    if turned && behind(tokens, at, 2).any(|(_, t)| t.ends_clause()) {
        return found(at + 1);
    }
    // "Claude, please send …"
    let called = at == 0 && sentence.index > 0 && tokens.get(1).is_some_and(Token::ends_clause);
    if called && behind(tokens, 1, 6).any(|(_, t)| t.says(YOU) || t.is_word("please")) {
        return found(1);
    }
    // "The agent must be deployed", "models must support tools" say what one is.
    let (must, _) = behind(tokens, at, 7)
        .take_while(|(_, t)| !t.ends_clause())
        .find(|(_, t)| {
            one_of(
                t,
                &[
                    "must",
                    "should",
                    "shall",
                    "required",
                    "instructed",
                    "obliged",
                    "expected",
                ],
            )
        })?;
    if tokens
        .get(must + 1)
        .is_some_and(|t| t.says(BE) || one_of(t, &["have", "support", "exist", "contain"]))
    {
        return None;
    }
    let order = sentence
        .reading
        .orders
        .iter()
        .find(|o| o.at > must && o.at < must + 5 && !o.passive)?;
    let article = ahead.last().is_none_or(|t| {
        one_of(
            t,
            &["the", "an", "a", "ai", "this", "any", "all", "every", "that"],
        ) || t.ends_clause()
    });
    let begins = at < 3 || ahead.iter().any(Token::ends_clause);
    let wide =
        sentence.tokens.iter().any(|t| t.says(ALL)) && sentence.tokens.iter().any(|t| t.says(SESSION | TURN));
    let honest =
        (order.own || own_tool(tokens, order.at + 1) || one_of(tokens.get(order.at)?, &["use", "call"]))
            && !wide;
    let theirs = tokens.iter().skip(order.at).any(|t| {
        t.says(USER | SECRET | CONTEXT | OTHER | ALL | YOU | DATA)
            || one_of(t, &["developer", "its", "system"])
    });
    if honest || order.negated || !article || !begins || !(theirs || wide) {
        return None;
    }
    found(order.at)
}

/// META-004, META-009: what the tool does on the side, told in the third person: "it also invokes `wipe` on …".
fn aside(sentence: &Sentence<'_>, at: usize, token: &Token<'_>) -> Found {
    let tokens = sentence.tokens;
    let starts = one_of(token, &["triggers", "invokes", "calls", "runs", "executes"]);
    let sends = one_of(
        token,
        &[
            "posts",
            "sends",
            "uploads",
            "forwards",
            "copies",
            "reports",
            "emails",
            "transmits",
            "submits",
            "shares",
            "logs",
        ],
    );
    let besides = || {
        let ahead = ahead_of(tokens, at, 5);
        ahead.iter().any(|t| {
            one_of(
                t,
                &[
                    "also",
                    "additionally",
                    "then",
                    "secretly",
                    "automatically",
                    "silently",
                ],
            )
        }) || before(tokens, at, 4, ALL)
            && ahead
                .iter()
                .any(|t| one_of(t, &["call", "use", "run", "request", "invocation"]))
    };
    if starts && besides() {
        let (tool, named) = behind(tokens, at, 4).find(|(i, _)| {
            foreign_tool(tokens, *i) || tokens.get(*i).is_some_and(|t| t.kind == Kind::Ident && !t.own)
        })?;
        let confidence = if named.sibling {
            Confidence::Low
        } else {
            Confidence::Medium
        };
        return Some((
            tool,
            Rule::GovernsOtherTool,
            confidence,
            "starts another tool on the side",
        ));
    }
    if sends && besides() {
        let (to, _) = behind(tokens, at, 14).find(|(i, t)| {
            matches!(t.kind, Kind::Url | Kind::Email)
                && ahead_of(tokens, *i, 2)
                    .iter()
                    .any(|t| one_of(t, &["to", "at", "with"]))
        })?;
        let theirs = behind(tokens, at, 8).any(|(_, t)| t.says(USER | CONTEXT | SECRET | DATA));
        return theirs.then_some((
            to,
            Rule::ExfilInstruction,
            Confidence::Low,
            "sends data away on the side",
        ));
    }
    // "As part of this, `transfer_funds` is executed"
    let done = one_of(token, &["executed", "invoked", "triggered", "called"])
        && ahead_of(tokens, at, 1).iter().any(|t| t.says(BE));
    if done
        && at > 1
        && sentence.index + at > 4
        && tokens
            .get(at - 2)
            .is_some_and(|t| t.kind == Kind::Ident && !t.own)
        && foreign_tool(tokens, at - 2)
    {
        let part = ahead_of(tokens, at - 2, 6)
            .iter()
            .any(|t| one_of(t, &["part", "also", "additionally", "background", "addition"]));
        let sibling = tokens.get(at - 2).is_some_and(|t| t.sibling);
        let confidence = if sibling {
            Confidence::Low
        } else {
            Confidence::Medium
        };
        return part.then_some((
            at,
            Rule::GovernsOtherTool,
            confidence,
            "starts another tool on the side",
        ));
    }
    None
}

/// META-003: "act as an administrator", "respond as if you were …", "you are now operating as …".
fn poses(sentence: &Sentence<'_>, at: usize, token: &Token<'_>) -> Found {
    let tokens = sentence.tokens;
    let word = |offset: usize, words: &[&str]| tokens.get(at + offset).is_some_and(|t| one_of(t, words));
    let found = |to| {
        Some((
            to,
            Rule::InstructionOverride,
            Confidence::Low,
            "gives the model another role",
        ))
    };
    if token.is_word("you")
        && word(1, &["are"])
        && word(2, &["now"])
        && word(
            3,
            &["a", "an", "the", "operating", "acting", "speaking", "working"],
        )
    {
        return found(at + 3);
    }
    if sentence.index == 0 || !stands_first(sentence, at) {
        return None;
    }
    let role = |from: usize| {
        behind(tokens, at + from, 6).any(|(_, t)| {
            t.says(USER | YOU)
                || one_of(
                    t,
                    &[
                        "admin",
                        "administrator",
                        "root",
                        "superuser",
                        "owner",
                        "team",
                        "employee",
                        "engineer",
                        "officer",
                        "developer",
                        "manager",
                        "agent",
                        "support",
                        "security",
                        "staff",
                        "bank",
                        "doctor",
                        "expert",
                        "operator",
                        "ceo",
                        "moderator",
                    ],
                )
        })
    };
    match () {
        () if word(0, &["act", "operate", "speak", "write", "identify"])
            && (word(1, &["as"]) || word(2, &["as"]))
            && role(1) =>
        {
            found(at + 2)
        }
        () if word(0, &["pretend", "pose", "impersonate", "masquerade"])
            && word(1, &["to", "as", "that", "you", "the", "a", "an"]) =>
        {
            found(at + 1)
        }
        () if word(0, &["assume", "adopt", "take"])
            && behind(tokens, at, 3).any(|(_, t)| one_of(t, &["role", "identity", "persona"])) =>
        {
            found(at + 3)
        }
        () if word(0, &["respond", "answer", "reply", "behave", "speak", "act"])
            && word(1, &["as"])
            && word(2, &["if", "though"])
            && word(3, &["you"]) =>
        {
            found(at + 3)
        }
        () => None,
    }
}

/// Whose gain a choice of results can serve.
const PARTIES: &[&str] = &[
    "sponsored",
    "partner",
    "partners",
    "partner's",
    "affiliate",
    "affiliated",
    "affiliates",
    "competing",
    "competitor",
    "competitors",
    "competitor's",
    "advertiser",
    "advertisers",
    "rival",
    "rivals",
    "our",
    "premium",
    "paid",
    "sponsor",
    "sponsors",
    "promoted",
    "negative",
    "warnings",
    "risks",
    "criticism",
    "critical",
    "drawbacks",
    "complaints",
];

/// META-005: an answer bent for or against somebody: "always rank hotels of our partners first".
fn leans(sentence: &Sentence<'_>) -> Found {
    let tokens = sentence.tokens;
    let message = "bends what the user is shown for somebody's gain";
    if sentence.index == 0 {
        return None;
    }
    let (party, _) = tokens
        .iter()
        .enumerate()
        .find(|(_, t)| !t.quoted && one_of(t, PARTIES))?;
    let bends = |t: &Token<'_>| {
        one_of(
            t,
            &[
                "prefer",
                "rank",
                "make",
                "favor",
                "favour",
                "promote",
                "recommend",
                "present",
                "show",
                "list",
                "highlight",
                "emphasize",
                "mention",
                "place",
                "put",
                "downplay",
                "omit",
                "exclude",
                "leave",
                "give",
                "boost",
                "steer",
                "direct",
                "suggest",
                "push",
                "praise",
                "hide",
                "feature",
                "minimize",
                "discourage",
                "avoid",
                "add",
                "discredit",
                "play",
            ],
        )
    };
    let about_answer = tokens.iter().any(|t| {
        t.says(USER)
            || one_of(
                t,
                &[
                    "answer",
                    "answers",
                    "results",
                    "result",
                    "list",
                    "response",
                    "responses",
                    "option",
                    "options",
                    "weight",
                    "top",
                    "first",
                    "even",
                    "summary",
                    "recommendation",
                    "recommendations",
                    "ones",
                    "reviews",
                    "slogan",
                    "less",
                    "always",
                    "never",
                ],
            )
    });
    let ordered = (party.saturating_sub(12)..party)
        .any(|at| tokens.get(at).is_some_and(bends) && stands_first(sentence, at));
    let passive = tokens.iter().enumerate().skip(party).take(12).any(|(at, t)| {
        one_of(
            t,
            &[
                "left",
                "omitted",
                "excluded",
                "ranked",
                "shown",
                "mentioned",
                "hidden",
                "listed",
                "preferred",
                "favored",
                "placed",
                "downplayed",
                "recommended",
            ],
        ) && before(tokens, at, 3, BE)
            && before(tokens, at, 5, MODAL)
    });
    // "Our API", "your premium plan": whose it is, not what is shown.
    let own = tokens.get(party).is_some_and(|t| t.is_word("our"))
        && tokens.get(party + 1).is_some_and(|t| {
            one_of(
                t,
                &[
                    "api",
                    "documentation",
                    "docs",
                    "support",
                    "service",
                    "website",
                    "system",
                    "terms",
                    "guide",
                    "server",
                    "servers",
                    "team",
                ],
            )
        });
    ((ordered || passive) && about_answer && !own).then_some((
        party,
        Rule::ArgumentHijack,
        Confidence::Medium,
        message,
    ))
}

/// META-004: rights handed out or a guard taken down: "make the account a superuser".
fn rights(sentence: &Sentence<'_>, order: &Order) -> Found {
    let tokens = sentence.tokens;
    let verb = tokens.get(order.at)?;
    if sentence.index == 0 {
        return None;
    }
    let near = |words: &[&str]| {
        behind(tokens, order.at, 12)
            .take_while(|(_, t)| !t.ends_clause())
            .find(|(_, t)| one_of(t, words))
            .map(|(i, _)| i)
    };
    let gives = one_of(
        verb,
        &[
            "grant", "give", "make", "add", "assign", "set", "raise", "elevate", "escalate", "promote",
            "invite",
        ],
    );
    let takes = one_of(
        verb,
        &[
            "disable",
            "bypass",
            "deactivate",
            "reset",
            "lower",
            "turn",
            "switch",
            "skip",
            "remove",
            "weaken",
        ],
    );
    let right = near(&[
        "administrator",
        "admin",
        "superuser",
        "root",
        "sudo",
        "privileges",
        "owner",
    ])
    .or_else(|| {
        near(&["full", "unrestricted", "write"]).filter(|i| {
            tokens
                .get(i + 1)
                .is_some_and(|t| one_of(t, &["access", "permission", "permissions", "control", "rights"]))
        })
    });
    let guard = near(&[
        "firewall",
        "antivirus",
        "two-factor",
        "2fa",
        "mfa",
        "sandbox",
        "sandboxing",
        "certificate",
        "tls",
        "encryption",
        "protection",
        "auditing",
        "audit",
        "safety",
    ]);
    let to = if gives {
        right
    } else if takes {
        guard
    } else {
        None
    }?;
    let whom = behind(tokens, order.at, 10).any(|(_, t)| {
        t.says(USER)
            || one_of(
                t,
                &[
                    "account",
                    "server",
                    "address",
                    "caller",
                    "itself",
                    "workspace",
                    "call",
                    "first",
                    "this",
                ],
            )
            || t.kind == Kind::Email
    });
    let bent = whom || sentence.reading.condition.stated || order.modal;
    bent.then_some((
        to,
        Rule::GovernsOtherTool,
        Confidence::Medium,
        "hands out rights or takes a guard down on the side",
    ))
}

/// META-018: a package or a script that the model is pressed to run.
fn installs(sentence: &Sentence<'_>, order: &Order) -> Found {
    let tokens = sentence.tokens;
    let verb = tokens.get(order.at)?;
    if sentence.index == 0
        || !one_of(
            verb,
            &["install", "download", "run", "execute", "add", "import", "use"],
        )
    {
        return None;
    }
    let what = behind(tokens, order.at, 6).find(|(_, t)| {
        one_of(
            t,
            &[
                "package",
                "dependency",
                "module",
                "library",
                "script",
                "npx",
                "pip",
                "npm",
                "curl",
                "plugin",
            ],
        ) || t.text.starts_with("`npx")
            || t.text.starts_with("`pip")
            || t.kind == Kind::Url && one_of(verb, &["download", "run", "execute", "install"])
    })?;
    let add = one_of(verb, &["add", "import", "use"]);
    let named = behind(tokens, what.0.saturating_sub(1), 4).any(|(_, t)| {
        matches!(
            t.kind,
            Kind::Ident | Kind::Name | Kind::Url | Kind::Quote | Kind::Path
        ) || t.text.contains('-')
    });
    let fails = tokens
        .iter()
        .any(|t| one_of(t, &["fails", "retry", "error", "failure"]));
    let theirs = tokens
        .iter()
        .any(|t| t.says(USER) && !t.is_word("client") || t.is_word("terminal") || t.is_word("shell"));
    let code = sentence.reading.condition.stated
        && tokens
            .iter()
            .any(|t| one_of(t, &["code", "writing", "generating"]));
    let script = behind(tokens, order.at, 8).any(|(_, t)| t.kind == Kind::Url)
        && one_of(verb, &["run", "execute", "download"])
        && tokens.iter().any(|t| one_of(t, &["run", "execute"]));
    let pressed = if add {
        code || order.strong
    } else {
        fails || theirs || code || script
    };
    (named && pressed).then_some((
        what.0,
        Rule::ShellSnippet,
        Confidence::High,
        "has the model install or run code from elsewhere",
    ))
}

/// META-009: what the model knows or can read, put into an argument of this tool.
fn fills(sentence: &Sentence<'_>, context: &Context<'_>, order: &Order) -> Found {
    let tokens = sentence.tokens;
    let verb = tokens.get(order.at)?;
    if sentence.index == 0 {
        return None;
    }
    let moves = one_of(
        verb,
        &[
            "put", "fill", "pass", "include", "send", "set", "insert", "contain", "start", "add", "attach",
            "place", "append", "copy", "write", "give", "supply", "submit", "provide", "open", "read",
            "upload", "use", "extend", "prepend",
        ],
    ) || order.passive;
    if !moves {
        return None;
    }
    let carried = tokens.iter().any(|t| t.says(USING)) && (order.passive || order.foreign.is_some());
    // "The ssh key of the user has to be uploaded with `put_key`": no argument of this tool, and not its business either.
    carries(sentence, context, carried)
}

fn carries(sentence: &Sentence<'_>, context: &Context<'_>, carried: bool) -> Found {
    let tokens = sentence.tokens;
    if sentence.index == 0 {
        return None;
    }
    let own = |t: &Token<'_>| {
        t.parameter
            || t.says(PARAM)
                && one_of(
                    t,
                    &[
                        "argument",
                        "parameter",
                        "field",
                        "input",
                        "arguments",
                        "parameters",
                    ],
                )
            || t.kind == Kind::Word
                && context.tool.is_some_and(|tool| {
                    tool.parameters
                        .iter()
                        .take(64)
                        .any(|known| known.len() > 2 && t.text.eq_ignore_ascii_case(known))
                })
    };
    let target = tokens.iter().any(own);
    let (to, confidence) = tokens.iter().enumerate().find_map(|(at, t)| {
        let word = |offset: usize, words: &[&str]| tokens.get(at + offset).is_some_and(|t| one_of(t, words));
        let of = |words: &[&str]| {
            word(1, &["of"])
                && behind(tokens, at + 1, 6).any(|(_, t)| one_of(t, words) || t.kind == Kind::Path)
        };
        let whole = before(tokens, at, 3, ALL | USER | LATER)
            || ahead_of(tokens, at, 3).iter().any(|t| {
                one_of(
                    t,
                    &[
                        "full", "entire", "whole", "complete", "previous", "last", "recent", "current",
                    ],
                )
            });
        if t.quoted {
            return None;
        }
        match () {
            () if word(0, &["contents", "content"])
                && of(&[
                    "file",
                    "files",
                    "readme",
                    "project",
                    "clipboard",
                    "directory",
                    "folder",
                    "screen",
                    "disk",
                    "keychain",
                    "browser",
                ]) =>
            {
                Some((at, Confidence::Low))
            }
            () if word(0, &["environment"]) && word(1, &["variables"]) && whole => {
                Some((at + 1, Confidence::Low))
            }
            () if word(0, &["api", "ssh", "private", "access", "session"])
                && word(1, &["key", "keys", "token", "tokens"])
                && before(tokens, at, 3, USER) =>
            {
                Some((at + 1, Confidence::Low))
            }
            () if word(
                0,
                &[
                    "conversation",
                    "messages",
                    "message",
                    "prompt",
                    "prompts",
                    "history",
                    "transcript",
                    "chat",
                ],
            ) && whole
                && (before(tokens, at, 4, USER)
                    || word(0, &["conversation", "history", "transcript", "chat"])) =>
            {
                Some((at, Confidence::Low))
            }
            () if word(0, &["what"])
                && word(1, &["you"])
                && behind(tokens, at + 1, 3)
                    .any(|(_, t)| one_of(t, &["know", "learned", "remember", "learnt", "see", "seen"])) =>
            {
                Some((at + 1, Confidence::Low))
            }
            () if word(0, &["system"]) && word(1, &["prompt", "message", "instructions"]) => {
                Some((at + 1, Confidence::Low))
            }
            () if word(0, &["everything"])
                && behind(tokens, at, 3).any(|(_, t)| t.says(YOU) || t.is_word("know")) =>
            {
                Some((at, Confidence::Low))
            }
            () => None,
        }
    })?;
    let not = before(tokens, to, 8, NOT);
    ((target || carried) && !not).then_some((
        to,
        Rule::ExfilInstruction,
        confidence,
        "has what the model knows put into an argument",
    ))
}

/// META-018: "fetch it from https://… and run it": code from elsewhere.
fn brings(sentence: &Sentence<'_>) -> Found {
    let tokens = sentence.tokens;
    let (from, _) = tokens.iter().enumerate().find(|(_, t)| t.kind == Kind::Url)?;
    let fetched = sentence.reading.orders.iter().any(|o| {
        o.at < from
            && tokens
                .get(o.at)
                .is_some_and(|t| one_of(t, &["fetch", "download", "get", "load"]))
    });
    let (to, _) =
        behind(tokens, from, 6).find(|(_, t)| one_of(t, &["run", "execute", "launch", "install"]))?;
    let it = behind(tokens, to, 1).any(|(_, t)| t.is_word("it"));
    (sentence.index > 0 && fetched && it).then_some((
        to,
        Rule::ShellSnippet,
        Confidence::High,
        "has the model install or run code from elsewhere",
    ))
}
