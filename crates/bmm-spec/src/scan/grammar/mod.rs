//! What words try to do to a model: a grammar over token classes, sentence by sentence. Linear in the text.
//!
//! `lexicon` says what a word can be, `tokens` cuts a text up, `clause` reads conditions and orders of one sentence. The rules stand on
//! what was read: `govern` (who governs whom), `conduct` (concealment, rank, persistence, coercion), `leak` (paths and data that leave),
//! `promote` (praise), `overrides` (other instructions set aside) and `steer` (roles, rights and answers that are bent).

mod clause;
mod conceal;
mod conduct;
mod govern;
mod leak;
mod lexicon;
mod overrides;
mod promote;
mod steer;
mod tokens;
mod window;

use super::{Hit, units::UnitKind};
use crate::rule::{Confidence, Rule};
use clause::{Order, Reading};
use lexicon::Classes;
use std::ops::Range;
use tokens::{Kind, Token};

/// Whose text it is: what is its own and what belongs to somebody else decides who governs whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context<'a> {
    /// What the text is.
    pub(crate) kind: UnitKind,
    /// The tool the text belongs to.
    pub(crate) tool: Option<ToolNames<'a>>,
    /// Names of all tools of the same server, this one's included.
    pub(crate) tools: &'a [&'a str],
}

/// A tool by its names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ToolNames<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// The names of its parameters, nested ones included.
    pub(crate) parameters: &'a [&'a str],
}

/// The rules look around freely within a sentence; this bounds how far.
const MAX_SENTENCE: usize = 160;

/// A sentence with what was read from it.
struct Sentence<'t> {
    /// Its place in the text: the first one tells what the tool does.
    index: usize,
    tokens: &'t [Token<'t>],
    /// The classes of all its words, quoted ones included: what is not among them no rule has to look for.
    classes: Classes,
    reading: Reading,
}

impl Sentence<'_> {
    /// Whether some word is of these classes.
    fn has(&self, classes: Classes) -> bool {
        self.classes.has(classes)
    }

    /// The place of an order with its objects.
    fn span(&self, order: &Order) -> Range<usize> {
        self.place(order.at, order.end.saturating_sub(1))
    }

    /// From one token to another, both included.
    fn place(&self, from: usize, to: usize) -> Range<usize> {
        let start = self.tokens.get(from).map_or(0, |t| t.span.start);
        let end = self
            .tokens
            .get(to)
            .or(self.tokens.last())
            .map_or(start, |t| t.span.end);
        start..end.max(start)
    }
}

/// Judges one text.
pub(crate) fn judge(text: &str, context: &Context<'_>) -> Vec<Hit> {
    let mut hits = Vec::new();
    overrides::markup(text, &mut hits);
    let tokens = tokens::tokens(text, context);
    // Without a verb there is no order, and without an order no rule asks for conditions.
    let orders = tokens.iter().any(|token| token.is(clause::ORDERS));
    let sentences: Vec<Sentence<'_>> = tokens
        .split(|token| token.kind == Kind::End)
        .flat_map(|tokens| tokens.chunks(MAX_SENTENCE))
        .enumerate()
        .map(|(index, tokens)| Sentence {
            index,
            tokens,
            classes: tokens
                .iter()
                .fold(Classes::NONE, |classes, token| classes | token.classes),
            reading: if orders {
                clause::read(tokens)
            } else {
                Reading::default()
            },
        })
        .collect();
    overrides::judge(&sentences, &mut hits);
    conduct::judge(&sentences, &mut hits);
    let evidence = conduct::evidence(&sentences, &hits);
    govern::judge(&sentences, evidence, &mut hits);
    leak::judge(&sentences, &mut hits);
    steer::judge(&sentences, context, &mut hits);
    promote::judge(&sentences, &mut hits);
    if matches!(context.kind, UnitKind::Content) {
        // A resource or a prompt is read because somebody asked for it; manuals speak of many tools.
        hits.iter_mut()
            .filter(|hit| hit.rule != Rule::InstructionOverride)
            .for_each(soften);
    }
    hits
}

/// Whether a word of ASCII letters, digits and `_` that is a whole text trips no rule.
pub(crate) fn is_harmless_word(word: &str) -> bool {
    // Every rule but these needs a second word.
    let plain = word.bytes().all(|b| b.is_ascii_lowercase());
    !lexicon::classes(word.as_bytes()).has(lexicon::CONDUCT) && (plain || !leak::is_sensitive(word))
}

fn soften(hit: &mut Hit) {
    hit.confidence = match hit.confidence {
        Confidence::High => Confidence::Medium,
        Confidence::Medium | Confidence::Low => Confidence::Low,
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> usize {
        let tools = ["run", "other_tool"];
        let tool = ToolNames {
            name: "run",
            parameters: &["text"],
        };
        let context = Context {
            kind: UnitKind::Description,
            tool: Some(tool),
            tools: &tools,
        };
        let hits = judge(text, &context);
        assert!(
            hits.iter().all(|h| text.get(h.span.clone()).is_some()),
            "{text:?}"
        );
        hits.len()
    }

    /// A fifth of a megabyte of what makes a backtracking reader slow.
    #[test]
    fn time_is_linear_in_the_text() {
        let pieces = [
            "'",
            "must ",
            "before a_b ",
            "ignore the ",
            "\"a b",
            "a.",
            "<",
            "`x` ",
            "\u{2019}",
            "\u{e9}",
            "all other ",
            "not ",
            "!",
            "a_b ",
            "-",
            "\\n",
            "\u{2026}",
            "this ",
            "user ",
            "\u{201c}",
            "e.g. ",
            "call a_b with 'x' and ",
        ];
        for piece in pieces {
            let started = std::time::Instant::now();
            rules(&piece.repeat(200_000 / piece.len()));
            assert!(
                started.elapsed().as_secs() < 20,
                "{piece:?} took {:?}",
                started.elapsed()
            );
        }
    }

    /// What the short cut for single words says must be what the rules say.
    #[test]
    fn a_harmless_word_trips_no_rule() {
        let words = lexicon::words();
        let more = [
            "id_rsa",
            "crontab",
            "cronTab",
            "authorized_keys",
            "known_hosts",
            "a_b",
            "42",
            "system32",
            "MUST",
        ];
        for word in words.chain(more) {
            if is_harmless_word(word) && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                assert_eq!(rules(word), 0, "{word}");
            }
        }
        assert!(!is_harmless_word("henceforth") && !is_harmless_word("id_rsa"));
        assert!(is_harmless_word("string"));
    }

    /// Many combinations of such pieces: no place outside the text, nothing that stops the reader.
    #[test]
    fn any_mixture_is_read() {
        let pieces = [
            "all", "other", "over", "tool", "must", "be", "'", "\"", "`", ".", ",", ":", " ", "\n", "a_b",
            "run", "\u{2019}", "\u{2014}", "\u{e9}", "from", "priority", "not", "tell", "\\n", "=", "~/x",
            "x@y.z", "before", "instead", "without", "highest", "the",
        ];
        for a in pieces {
            for b in pieces {
                for c in ["tool", "'", "\u{2019}", "."] {
                    rules(&format!("{a} {b}{c}"));
                    rules(&format!("{c}{a}{b}"));
                }
            }
        }
    }
}
