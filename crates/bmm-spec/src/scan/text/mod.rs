//! What hides in a text that a model reads: every way of writing that a person does not read and a model does.
//!
//! A text is judged as it is, in plain letters, and in every decoded view: messages in hidden characters, encoded runs, escapes. What a
//! view says is judged like the text itself, two views deep, with spans that lead back to the text. All of it takes time linear in
//! the text; plain ASCII without anything of the kind is looked over once.

pub(crate) mod confusable;
mod encoded;
mod escapes;
mod invisible;
mod literals;
mod mapped;
mod normal;
mod shell;
mod survey;

use super::{Hit, grammar};
use crate::rule::{Confidence, Rule};
pub(crate) use literals::judge as in_literals;

use encoded::is_prose;
use mapped::Mapped;
use normal::{Disguised, Normal};
use std::{collections::BTreeMap, ops::Range};
use survey::{MIN_BLANKS, Survey};

/// A view of a view is the last that is looked at.
const MAX_VIEWS_DEEP: usize = 2;
/// Runs of hidden characters that are reported of one text.
const MAX_RUNS: usize = 8;
/// Findings of one rule that are kept of one text, the surest first: a text of nothing else would have thousands.
const MAX_SAME: usize = 16;
/// Escapes of letters that needed none, from which on a text is an encoded one.
const MIN_NEEDLESS: usize = 8;
/// Letters in a row, or in all, that are styled on purpose.
const MIN_STYLED: usize = 3;

/// Judges one text.
pub(crate) fn judge(text: &str, context: &grammar::Context<'_>) -> Vec<Hit> {
    let mut judge = Judge {
        context,
        // Views of an honest text are shorter than it. The rest of what is packed for the sake of packing stays packed, and is a finding.
        budget: text.len().saturating_mul(4).saturating_add(4096),
    };
    judge.text(text, 0, Hidden::Report)
}

/// Whether a text is one word by which no rule can be tripped: most strings of a schema are. Only letters, digits and `_`, too short for
/// an encoded run, and no word that is a finding by itself.
pub(crate) fn is_harmless_word(text: &str) -> bool {
    text.len() < survey::MIN_RUN
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && grammar::is_harmless_word(text)
}

/// Hidden characters in code, where they make a reader see another program.
pub(crate) fn in_source(source: &str) -> Vec<Hit> {
    if is_plain(source) {
        return Vec::new();
    }
    invisible::runs(source)
        .into_iter()
        .map(|run| {
            let message = format!("the code holds {}", run.kind);
            Hit::new(Rule::UnicodeSource, run.span, message).with_confidence(run.confidence)
        })
        .collect()
}

/// Printable ASCII, in which nothing hides: answered many bytes at once.
fn is_plain(source: &str) -> bool {
    let plain = |byte: u8| (b' '..=b'~').contains(&byte) | matches!(byte, b'\t' | b'\n' | b'\r');
    source
        .as_bytes()
        .chunks(64)
        .all(|chunk| chunk.iter().fold(true, |all, byte| all & plain(*byte)))
}

/// Names that cannot be told apart: the index of the later one, and what is wrong.
pub(crate) fn alike(names: &[&str]) -> Vec<(usize, Hit)> {
    let mut seen: std::collections::HashMap<String, usize> = std::collections::HashMap::new();
    let mut found = Vec::new();
    for (index, name) in names.iter().enumerate() {
        match seen.entry(normal::skeleton(name)) {
            std::collections::hash_map::Entry::Vacant(slot) => drop(slot.insert(index)),
            std::collections::hash_map::Entry::Occupied(first) => {
                if let Some(other) = names.get(*first.get()).filter(|other| *other != name) {
                    let message = format!("looks like the name `{other}`");
                    found.push((index, Hit::new(Rule::ConfusableName, 0..name.len(), message)));
                }
            }
        }
    }
    found
}

/// Whether hidden characters of a text are findings: escapes spell them in plain sight.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hidden {
    Report,
    Drop,
}

/// How a view came about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Channel {
    /// In characters that are not shown.
    Hidden,
    /// In an encoding of a whole text.
    Encoded,
    /// Character by character, within the text.
    Escaped,
}

struct Judge<'c> {
    context: &'c grammar::Context<'c>,
    /// Bytes of views that may still be looked at.
    budget: usize,
}

impl Judge<'_> {
    fn text(&mut self, text: &str, depth: usize, hidden: Hidden) -> Vec<Hit> {
        let survey = Survey::of(text);
        let mut hits = Vec::new();
        if survey.gap {
            hits.extend(gap(text));
        }
        if !survey.unusual() {
            hits.extend(self.plain(text, survey, depth));
            return hits;
        }
        let look = normal::look(text);
        if look.nothing() {
            hits.extend(self.plain(text, survey, depth));
            return hits;
        }
        let visible = if look.hidden {
            let messages = invisible::messages(text);
            if hidden == Hidden::Report {
                hits.extend(hidden_runs(text, &messages));
            }
            for (what, message) in messages {
                self.view(&message, (what, Channel::Hidden), depth, &mut hits);
            }
            normal::visible(text)
        } else {
            Mapped::same(text)
        };
        let normal = normal::plain_letters(visible.text(), look);
        let mut found = disguised(&normal, self.context);
        for hit in self.plain(normal.text.text(), Survey::of(normal.text.text()), depth) {
            found.push(Hit {
                span: normal.text.back(&hit.span),
                ..hit
            });
        }
        found.extend(styled(&normal, &found));
        hits.extend(found.into_iter().map(|hit| Hit {
            span: visible.back(&hit.span),
            ..hit
        }));
        hits
    }

    /// A text in plain letters.
    fn plain(&mut self, text: &str, survey: Survey, depth: usize) -> Vec<Hit> {
        let mut hits = grammar::judge(text, self.context);
        if survey.commands() || shell::without_signs(text) {
            hits.extend(shell::judge(text));
        }
        thin(&mut hits);
        if survey.markup()
            && let Some((comments, shown)) = escapes::comments(text)
        {
            hits.extend(
                comments
                    .iter()
                    .filter_map(|span| comment(text, span, &hits))
                    .collect::<Vec<_>>(),
            );
            self.view(&shown, ("a comment", Channel::Escaped), depth, &mut hits);
        }
        if survey.run {
            for (what, run) in encoded::runs(text) {
                self.view(&run, (what, Channel::Encoded), depth, &mut hits);
            }
        }
        if survey.codes {
            for (what, run) in encoded::codes(text) {
                self.view(&run, (what, Channel::Encoded), depth, &mut hits);
            }
        }
        if survey.escapes()
            && let Some(unescaped) = escapes::unescape(text)
        {
            let shown = &unescaped.text;
            if let Some(span) = unescaped.span.filter(|_| unescaped.needless >= MIN_NEEDLESS)
                && is_prose(shown.text())
            {
                let message = "letters are written as escapes";
                hits.push(packed(span, Confidence::Medium, message, shown.text()));
            }
            self.view(shown, ("escapes", Channel::Escaped), depth, &mut hits);
        }
        thin(&mut hits);
        hits
    }

    /// Judges a view, and adds what it says to the findings of the text it was made from.
    fn view(
        &mut self,
        view: &Mapped,
        (what, channel): (&'static str, Channel),
        depth: usize,
        hits: &mut Vec<Hit>,
    ) {
        let text = view.text();
        let all = view.back(&(0..text.len()));
        let Some(left) = self
            .budget
            .checked_sub(text.len())
            .filter(|_| depth < MAX_VIEWS_DEEP)
        else {
            if channel == Channel::Encoded {
                hits.push(packed(all, Confidence::Medium, "is encoded over and over", text));
            }
            return;
        };
        self.budget = left;
        let hidden = if channel == Channel::Escaped {
            Hidden::Drop
        } else {
            Hidden::Report
        };
        let mut worst: Option<Range<usize>> = None;
        let mut steers = false;
        for hit in self.text(text, depth + 1, hidden) {
            let span = view.back(&hit.span);
            let known = |other: &Hit| {
                other.rule == hit.rule && other.confidence >= hit.confidence && overlap(&other.span, &span)
            };
            if channel == Channel::Escaped && hits.iter().any(known) {
                continue;
            }
            steers |= hit.rule != Rule::EncodedPayload || hit.confidence == Confidence::High;
            worst.get_or_insert_with(|| span.clone());
            let decoded = hit.decoded.or_else(|| Some(text.to_owned()));
            let message = format!("behind {what}: {}", hit.message);
            hits.push(Hit {
                span,
                decoded,
                message,
                ..hit
            });
        }
        let steers_from = worst.filter(|_| steers);
        match (steers_from, channel) {
            (Some(span), _) => {
                let span = if channel == Channel::Escaped { span } else { all };
                let message = format!("{what} stand for a text that steers the model");
                hits.push(packed(span, Confidence::High, message, text));
            }
            (None, Channel::Encoded) if is_prose(text) => {
                let message = format!("{what} stands for a text of several words");
                hits.push(packed(all, Confidence::Medium, message, text));
            }
            _ => {}
        }
    }
}

/// Keeps so many findings of each rule, the surest ones.
fn thin(hits: &mut Vec<Hit>) {
    if hits.len() <= MAX_SAME {
        return;
    }
    hits.sort_by_key(|hit| std::cmp::Reverse(hit.confidence));
    let mut kept: BTreeMap<Rule, usize> = BTreeMap::new();
    hits.retain(|hit| {
        let count = kept.entry(hit.rule).or_default();
        *count += 1;
        *count <= MAX_SAME
    });
}

fn packed(span: Range<usize>, confidence: Confidence, message: impl Into<String>, decoded: &str) -> Hit {
    Hit {
        decoded: Some(decoded.to_owned()),
        ..Hit::new(Rule::EncodedPayload, span, message).with_confidence(confidence)
    }
}

fn overlap(a: &Range<usize>, b: &Range<usize>) -> bool {
    a.start < b.end && b.start < a.end
}

/// Runs of hidden characters, the first few each and the others together.
fn hidden_runs(text: &str, messages: &[(&'static str, Mapped)]) -> Vec<Hit> {
    let runs = invisible::runs(text);
    let more = runs.len().saturating_sub(MAX_RUNS);
    let mut hits: Vec<Hit> = runs
        .into_iter()
        .take(MAX_RUNS)
        .map(|run| {
            let message = format!("a text for the model holds {}", run.kind);
            let decoded = messages
                .iter()
                .find(|(_, m)| overlap(&m.back(&(0..m.text().len())), &run.span))
                .map(|(_, m)| m.text().to_owned());
            Hit {
                decoded,
                ..Hit::new(Rule::HiddenUnicode, run.span, message).with_confidence(run.confidence)
            }
        })
        .collect();
    if let Some(last) = hits.last_mut().filter(|_| more > 0) {
        last.message = format!("{}, and there are {more} more such places", last.message);
    }
    hits
}

/// A text after so many blanks that nobody scrolls to it.
fn gap(text: &str) -> Option<Hit> {
    let mut start = 0;
    for (at, byte) in text.bytes().enumerate() {
        if !byte.is_ascii_whitespace() {
            if at - start >= MIN_BLANKS && start > 0 {
                let message = format!("{} blanks push what follows out of sight", at - start);
                return Some(
                    Hit::new(Rule::HiddenUnicode, start..at, message).with_confidence(Confidence::Low),
                );
            }
            start = at + 1;
        }
    }
    None
}

/// Words in which letters of another script pass as Latin, as one finding.
fn disguised(normal: &Normal, context: &grammar::Context<'_>) -> Vec<Hit> {
    use super::units::UnitKind;
    let is_name = matches!(context.kind, UnitKind::Name | UnitKind::Key);
    // A short text in another script may consist of such words by chance; a name that does is made to.
    let words: Vec<&Disguised> = normal
        .disguised
        .iter()
        .filter(|word| word.mixed || is_name || normal.among_latin)
        .collect();
    let long = words.iter().filter(|word| !word.short).count();
    let Some(first) = words.iter().find(|word| !word.short || is_name) else {
        return Vec::new();
    };
    let reads: Vec<&str> = words.iter().take(12).map(|word| word.reads.as_str()).collect();
    let many = long > 1 || (is_name && first.mixed);
    let message = if first.mixed {
        "a word mixes letters of scripts that look alike"
    } else {
        "a word is written in letters of another script that look like Latin ones"
    };
    let confidence = if many {
        Confidence::High
    } else {
        Confidence::Medium
    };
    vec![Hit {
        decoded: Some(reads.join(" ")),
        ..Hit::new(Rule::ConfusableName, first.span.clone(), message).with_confidence(confidence)
    }]
}

/// Styled letters: a finding where they are words, and a grave one where those words steer the model.
fn styled(normal: &Normal, found: &[Hit]) -> Option<Hit> {
    let words: Vec<&Range<usize>> = normal
        .styled
        .iter()
        .filter(|span| span.len() >= MIN_STYLED * 3)
        .collect();
    let hides = normal
        .styled
        .iter()
        .find(|span| found.iter().any(|hit| overlap(&hit.span, span)));
    let (span, confidence) = match (hides, words.as_slice()) {
        (Some(span), _) => (span, Confidence::High),
        (None, [first, _, ..]) => (*first, Confidence::Medium),
        (None, [only]) => (*only, Confidence::Low),
        (None, []) => return None,
    };
    let message = "words are written in letters made for formulas or decoration";
    Some(Hit::new(Rule::ConfusableName, span.clone(), message).with_confidence(confidence))
}

/// A comment that steers the model while a page does not show it, or that says anything at all.
fn comment(text: &str, span: &Range<usize>, hits: &[Hit]) -> Option<Hit> {
    let inside = text.get(span.clone()).unwrap_or_default();
    if hits.iter().any(|hit| overlap(&hit.span, span)) {
        let message = "a comment, which a page does not show, steers the model";
        return Some(packed(span.clone(), Confidence::High, message, inside));
    }
    let prose = is_prose(inside.trim_matches(|c: char| !c.is_alphabetic()));
    prose.then(|| {
        packed(
            span.clone(),
            Confidence::Low,
            "a comment speaks to the model only",
            inside,
        )
    })
}
