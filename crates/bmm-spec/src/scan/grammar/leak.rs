//! What is to leave: files of keys and settings that a description names, and data it orders sent away.

use super::{
    Sentence,
    clause::{Act, Order},
    lexicon::{CONTEXT, DATA, SECRET, SEND, SENDING, SET, STRONG, TO, USER, WHOLE},
    tokens::{Kind, Token},
    window::{ahead_of, before, behind},
};
use crate::{
    rule::{Confidence, Rule},
    scan::Hit,
};

/// Places of keys and password hashes: nothing a description has to name.
const KEYS: &[&str] = &[
    "id_rsa",
    "id_ed25519",
    "id_ecdsa",
    "id_dsa",
    "/etc/shadow",
    "/etc/passwd",
    "/etc/sudoers",
    ".aws/credentials",
    "authorized_keys",
    ".git-credentials",
    ".netrc",
    ".gnupg",
    ".pgpass",
    "known_hosts",
    "/proc/self/environ",
    "login.keychain",
    "wallet.dat",
    "ntds.dit",
    "config/sam",
    "config\\sam",
    "cookies.sqlite",
    "private.key",
    "private_key.pem",
    "/var/run/secrets",
    "serviceaccount/token",
];

/// Places of settings that shells, agents and clients obey; manuals of honest servers name some.
const SETTINGS: &[&str] = &[
    "/.ssh",
    ".ssh/",
    ".bashrc",
    ".zshrc",
    ".bash_profile",
    "/.profile",
    ".npmrc",
    ".pypirc",
    ".kube/config",
    "mcp.json",
    ".cursor/",
    ".cursorrules",
    "claude_desktop_config",
    ".claude/",
    ".gitconfig",
    ".env",
    "/etc/",
    "crontab",
    ".bash_history",
    ".zsh_history",
    "system32",
    ".vscode/settings",
    "/root/",
    ".docker/config.json",
    "credentials.json",
];

/// Judges every sentence.
pub(super) fn judge(sentences: &[Sentence<'_>], hits: &mut Vec<Hit>) {
    for sentence in sentences {
        for (at, token) in sentence.tokens.iter().enumerate() {
            if let Some(confidence) = path(sentence, token) {
                let message = "names a place of keys, credentials or agent settings";
                hits.push(
                    Hit::new(Rule::SensitivePath, sentence.place(at, at), message)
                        .with_confidence(confidence),
                );
            }
        }
        for order in &sentence.reading.orders {
            let found = sent_away(sentence, order)
                .or_else(|| context(sentence, order))
                .or_else(|| phishing(sentence, order));
            if let Some((to, confidence)) = found {
                let span = sentence.place(order.at, to);
                let message = "orders data sent away, or collected to be";
                hits.push(Hit::new(Rule::ExfilInstruction, span, message).with_confidence(confidence));
            }
        }
    }
}

/// What two letters a known place can start with, and what two can follow, by their low bits, which do not tell the case.
static STARTS: [[bool; 1024]; 2] = starts();

const fn starts() -> [[bool; 1024]; 2] {
    let mut table = [[false; 1024]; 2];
    let mut lists = [KEYS, SETTINGS].as_slice();
    while let [list, others @ ..] = lists {
        lists = others;
        let mut rest = *list;
        while let [known, others @ ..] = rest {
            rest = others;
            // All are at least four bytes long.
            if let [first, second, third, fourth, ..] = known.as_bytes() {
                #[allow(clippy::indexing_slicing, reason = "ten bits are an index into 1024 entries")]
                {
                    table[0][slot(*first, *second)] = true;
                    table[1][slot(*third, *fourth)] = true;
                }
            }
        }
    }
    table
}

const fn slot(first: u8, second: u8) -> usize {
    (first as usize & 31) << 5 | second as usize & 31
}

/// Whether a word names a known place, whatever its case. One pass.
pub(super) fn is_sensitive(word: &str) -> bool {
    let bytes = word.as_bytes();
    let [starts, follow] = &STARTS;
    let known = |table: &[bool; 1024], first, second| table.get(slot(first, second)) == Some(&true);
    bytes.windows(4).enumerate().any(|(at, four)| {
        let [first, second, third, fourth] = *four else {
            return false;
        };
        known(starts, first, second)
            && known(follow, third, fourth)
            && KEYS.iter().chain(SETTINGS).any(|known| {
                bytes
                    .get(at..at + known.len())
                    .is_some_and(|part| part.eq_ignore_ascii_case(known.as_bytes()))
            })
    })
}

/// META-008.
fn path(sentence: &Sentence<'_>, token: &Token<'_>) -> Option<Confidence> {
    if !matches!(token.kind, Kind::Path | Kind::Name | Kind::Ident | Kind::Url) {
        return None;
    }
    if !is_sensitive(token.text) {
        return None;
    }
    let lower = token.text.to_ascii_lowercase();
    let names = |list: &[&str]| list.iter().any(|known| lower.contains(known));
    let reading = &sentence.reading;
    let ordered = || {
        let governs = reading.condition.foreign.is_some();
        reading
            .orders
            .iter()
            .any(|o| !o.negated && (o.modal || o.strong || o.foreign.is_some() || governs))
            || sentence.tokens.iter().any(|t| t.says(STRONG))
    };
    if names(KEYS) {
        let reads = reading
            .orders
            .iter()
            .any(|o| !o.negated && sentence.index > 0 && matches!(o.act, Act::Read | Act::Send));
        return Some(if ordered() || reads {
            Confidence::High
        } else {
            Confidence::Medium
        });
    }
    // `process.env.NAME`, `.env.example` are words of manuals.
    let environment = lower.contains(".env") && !lower.trim_end_matches(['\'', '"', '`']).ends_with(".env");
    if !names(SETTINGS) || environment {
        return None;
    }
    let moved = reading.orders.iter().any(|o| {
        let writes = matches!(o.act, Act::Change | Act::Harm) || o.act == Act::Set && !lower.contains(".env");
        !o.negated && sentence.index > 0 && o.at < 3 && (o.act == Act::Send || writes)
    });
    Some(if ordered() || moved {
        Confidence::Medium
    } else {
        Confidence::Low
    })
}

/// META-009: something sent, and somebody to receive it.
fn sent_away(sentence: &Sentence<'_>, order: &Order) -> Option<(usize, Confidence)> {
    let tokens = sentence.tokens;
    let verb = tokens.get(order.at)?;
    let sends = order.act == Act::Send
        || verb.says(SEND | SENDING)
        || order.passive
            && behind(tokens, order.at, 3)
                .any(|(_, t)| t.is_word("sent") || t.is_word("forwarded") || t.is_word("copied"));
    let copies = |t: &Token<'_>| t.is_word("bcc") || t.is_word("cc") || t.is_word("copied");
    let copied = verb.says(SET) && (behind(tokens, order.at, 8).any(|(_, t)| copies(t)) || copies(verb))
        || copies(verb);
    let to_somebody = order.act == Act::Use && order.foreign.is_some();
    if order.negated || !(sends || copied || to_somebody) {
        return None;
    }
    // "You need to [submit the review](https://…)" names the page about it.
    let linked = |at: usize| {
        let opens = |i: usize, mark: &str| tokens.get(i).is_some_and(|t| t.text == mark);
        let target = at > 1 && opens(at - 1, "(") && opens(at - 2, "]");
        target
            && tokens.get(..order.at).is_some_and(|t| {
                t.iter()
                    .rev()
                    .find(|t| matches!(t.text, "[" | "]"))
                    .is_some_and(|t| t.text == "[")
            })
    };
    let receiver = behind(tokens, order.at, 18).find(|(i, t)| match t.kind {
        Kind::Email => true,
        Kind::Url => sends && !linked(*i),
        _ => sends && t.is_word("me") && tokens.get(i.wrapping_sub(1)).is_some_and(|t| t.says(TO)),
    });
    let (to, who) = receiver?;
    let example = ["example", "e.g", "eg", "such", "format"]
        .iter()
        .any(|word| tokens.iter().any(|t| t.is_word(word)))
        || ["example.com", "example.org", "user@", "localhost"]
            .iter()
            .any(|known| who.text.contains(known));
    if example && !order.strong {
        return None;
    }
    let theirs = tokens
        .iter()
        .any(|t| t.says(CONTEXT | SECRET | USER) && !t.is_word("owner"));
    let data = tokens.iter().any(|t| t.says(DATA));
    let governs = sentence.reading.condition.foreign.is_some()
        || sentence.reading.condition.any_tool
        || order.foreign.is_some();
    let pressed = order.modal || order.strong || order.first || order.hidden || governs;
    let confidence = match (pressed, theirs || copied, data) {
        (true, true, _) | (true, _, true) => Confidence::High,
        (true, ..) => Confidence::Medium,
        (false, true, _) if sentence.index > 0 => Confidence::Medium,
        (false, _, true) if sentence.index > 0 && who.kind == Kind::Email => Confidence::Medium,
        (false, _, true) if sentence.index > 0 => Confidence::Low,
        _ => return None,
    };
    Some((to, confidence))
}

/// META-009: what the model knows of its user, put into an argument: the conversation, the system prompt, the environment.
fn context(sentence: &Sentence<'_>, order: &Order) -> Option<(usize, Confidence)> {
    let tokens = sentence.tokens;
    if order.negated
        || !matches!(order.act, Act::Send | Act::Set | Act::Read | Act::Use | Act::Do)
        || sentence.index == 0 && !order.modal
    {
        return None;
    }
    for (at, token) in behind(tokens, order.at, 14) {
        let next = |word: &str| tokens.get(at + 1).is_some_and(|t| t.is_word(word));
        let whole = before(tokens, at, 3, WHOLE | USER);
        let talk = token.is_word("conversation") || token.is_word("chat") || token.is_word("dialogue");
        let found = match () {
            () if token.is_word("system") && (next("prompt") || next("message") || next("instructions")) => {
                Some(Confidence::Medium)
            }
            () if token.is_word("environment") && next("variables") && order.act != Act::Set => {
                Some(Confidence::Low)
            }
            () if talk
                && (next("history") || next("context") || next("transcript") || next("log"))
                && whole =>
            {
                Some(Confidence::Low)
            }
            () if talk && ahead_of(tokens, at, 1).iter().any(|t| t.says(WHOLE)) => Some(Confidence::Low),
            () if ["messages", "message", "prompts", "prompt", "question"]
                .iter()
                .any(|word| token.is_word(word))
                && whole
                && before(tokens, at, 2, USER | WHOLE)
                && before(tokens, at, 4, WHOLE) =>
            {
                Some(Confidence::Low)
            }
            () if token.is_word("reasoning") && before(tokens, at, 3, WHOLE) => Some(Confidence::Low),
            // "the value of GITHUB_TOKEN", "the contents of the credentials file"
            () if (token.is_word("value") || token.is_word("content") || token.is_word("contents"))
                && next("of") =>
            {
                let secret = behind(tokens, at + 1, 3)
                    .any(|(_, t)| t.says(SECRET) && !t.is_word("key") || constant_secret(t.text));
                secret.then_some(Confidence::Low)
            }
            () => None,
        };
        if let Some(confidence) = found {
            return Some((at + 1, confidence));
        }
    }
    None
}

fn constant_secret(text: &str) -> bool {
    ["_TOKEN", "_KEY", "_SECRET", "_PASSWORD", "_PAT"]
        .iter()
        .any(|end| text.ends_with(end))
}

/// META-009: the user asked for a secret: "ask the user to enter their password again".
fn phishing(sentence: &Sentence<'_>, order: &Order) -> Option<(usize, Confidence)> {
    let tokens = sentence.tokens;
    let verb = tokens.get(order.at)?;
    let asks = ["ask", "prompt", "request", "tell", "instruct", "require"]
        .iter()
        .any(|word| verb.is_word(word));
    if order.negated || !asks || sentence.index == 0 {
        return None;
    }
    let user = behind(tokens, order.at, 3).any(|(_, t)| t.says(USER) || t.is_word("them"));
    let (to, _) = behind(tokens, order.at, 12).find(|(_, t)| {
        [
            "password",
            "passwords",
            "passphrase",
            "pin",
            "otp",
            "cvv",
            "mnemonic",
            "credentials",
            "card",
            "iban",
            "ssn",
        ]
        .iter()
        .any(|word| t.is_word(word))
    })?;
    let gives = behind(tokens, order.at, 12).any(|(_, t)| {
        [
            "enter", "re-enter", "provide", "give", "supply", "type", "for", "share", "paste", "confirm",
        ]
        .iter()
        .any(|word| t.is_word(word))
    });
    (user && gives).then_some((to, Confidence::Low))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_place_is_found_in_any_case_and_anywhere() {
        for known in KEYS.iter().chain(SETTINGS) {
            assert!(known.len() >= 4);
            for text in [
                (*known).to_owned(),
                format!("x{known}"),
                format!("{}y", known.to_uppercase()),
            ] {
                assert!(is_sensitive(&text), "{text}");
            }
        }
        for text in ["", "a", "string", "environment", "idle_rsa"] {
            assert!(!is_sensitive(text), "{text}");
        }
    }
}
