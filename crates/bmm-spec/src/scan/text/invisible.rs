//! Runs of characters that a reader does not see, and what is spelled with them.

use super::mapped::Mapped;
use crate::{hidden::hidden, rule::Confidence};
use std::ops::Range;

/// Hidden characters in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) span: Range<usize>,
    pub(crate) kind: &'static str,
    pub(crate) confidence: Confidence,
}

/// Runs of hidden characters. What scripts and emoji need is left out: one presentation selector, joiners, flags.
pub(crate) fn runs(text: &str) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut before = None;
    let mut chars = text.char_indices().peekable();
    let mut flag_until = 0;
    while let Some((at, c)) = chars.next() {
        let after = chars.peek().map(|(_, c)| *c);
        if c == '\u{1f3f4}' {
            flag_until = flag_end(text, at);
        }
        if let Some(kind) = hidden(c)
            && at >= flag_until
            && let Some(confidence) = suspicion(c, before, after)
        {
            let end = at + c.len_utf8();
            match runs.last_mut() {
                Some(run) if run.span.end == at => {
                    run.span.end = end;
                    // Several in a row are never what a script needs.
                    run.confidence = Confidence::High;
                }
                _ => runs.push(Run {
                    span: at..end,
                    kind,
                    confidence,
                }),
            }
        }
        before = Some(c);
    }
    runs
}

/// How sure it is that a hidden character does harm between its neighbours. `None` where a script or an emoji needs it.
fn suspicion(c: char, before: Option<char>, after: Option<char>) -> Option<Confidence> {
    let is = |what: fn(char) -> bool, place: Option<char>| place.is_some_and(what);
    let needed = match c {
        '\u{fe0e}' | '\u{fe0f}' => {
            before.is_some_and(|b| is_pictograph(b) || b.is_ascii_digit() || matches!(b, '#' | '*'))
        }
        '\u{200d}' if is(|b| is_pictograph(b) || b == '\u{fe0f}', before) => is(is_pictograph, after),
        '\u{200c}' | '\u{200d}' => {
            is(is_joining, before) && after.is_none_or(|a| is_joining(a) || !a.is_alphanumeric())
        }
        '\u{180b}'..='\u{180f}' => is(|b| matches!(b, '\u{1820}'..='\u{18aa}'), before),
        '\u{e0100}'..='\u{e01ef}' => is(is_ideograph, before),
        '\u{2800}' => is(is_braille, before) || is(is_braille, after),
        _ => false,
    };
    if needed {
        return None;
    }
    let plausible = match c {
        '\u{200e}' | '\u{200f}' | '\u{61c}' => is(is_right_to_left, before) || is(is_right_to_left, after),
        '\u{ad}' => is(char::is_alphabetic, before) && is(char::is_alphabetic, after),
        _ => false,
    };
    Some(if plausible {
        Confidence::Low
    } else {
        Confidence::High
    })
}

/// Where the flag of a region ends that starts here: a black flag, tag letters, the cancel tag.
fn flag_end(text: &str, at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    ["gbeng", "gbsct", "gbwls"]
        .iter()
        .find_map(|region| {
            let tags = region
                .chars()
                .filter_map(|c| char::from_u32(u32::from(c) + 0xe0000));
            let flag: String = std::iter::once('\u{1f3f4}')
                .chain(tags)
                .chain(['\u{e007f}'])
                .collect();
            rest.starts_with(&flag).then_some(at + flag.len())
        })
        .unwrap_or(0)
}

pub(crate) fn is_pictograph(c: char) -> bool {
    matches!(c, '\u{a9}' | '\u{ae}' | '\u{203c}' | '\u{2049}' | '\u{2100}'..='\u{2bff}' | '\u{3030}' | '\u{303d}' | '\u{3297}' | '\u{3299}' | '\u{1f000}'..='\u{1faff}')
        && !is_braille(c)
}

/// Letters of scripts whose shaping joiners steer: Arabic and its kin, the scripts of India and its neighbours.
fn is_joining(c: char) -> bool {
    matches!(c, '\u{600}'..='\u{8ff}' | '\u{900}'..='\u{dff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{18af}' | '\u{fb50}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}')
}

fn is_right_to_left(c: char) -> bool {
    matches!(c, '\u{590}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}')
}

fn is_ideograph(c: char) -> bool {
    matches!(c, '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{323af}')
}

fn is_braille(c: char) -> bool {
    matches!(c, '\u{2801}'..='\u{28ff}')
}

/// What hidden characters of a text spell: tag characters, bytes as variation selectors, bits as zero-width characters.
///
/// All of them are read, those that a script needs included, or a message could pass as shaping.
pub(crate) fn messages(text: &str) -> Vec<(&'static str, Mapped)> {
    let mut tags = Spelled::default();
    let mut selectors = Spelled::default();
    let mut bits = Bits::default();
    for (at, c) in text.char_indices() {
        let code = u32::from(c);
        let span = at..at + c.len_utf8();
        match code {
            0xe0020..=0xe007e => tags.add(code - 0xe0000, span),
            0xfe00..=0xfe0f => selectors.add(code - 0xfe00, span),
            0xe0100..=0xe01ef => selectors.add(code - 0xe0100 + 16, span),
            _ if hidden(c).is_some() && !c.is_control() => bits.add(code, span),
            _ => {}
        }
    }
    let mut found = Vec::new();
    found.extend(tags.message().map(|m| ("tag characters", m)));
    found.extend(selectors.message().map(|m| ("variation selectors", m)));
    found.extend(bits.message().map(|m| ("zero-width characters", m)));
    found
}

#[derive(Default)]
struct Spelled {
    bytes: Vec<u8>,
    span: Option<Range<usize>>,
}

impl Spelled {
    fn add(&mut self, byte: u32, span: Range<usize>) {
        self.bytes.extend(u8::try_from(byte));
        let start = self.span.as_ref().map_or(span.start, |s| s.start);
        self.span = Some(start..span.end);
    }

    fn message(self) -> Option<Mapped> {
        let text = readable(&self.bytes)?;
        Some(Mapped::whole(text, self.span?))
    }
}

/// Zero-width characters as digits. Two of them are bits, four are pairs of bits, and one more may stand between the bytes.
#[derive(Default)]
struct Bits {
    codes: Vec<u32>,
    span: Option<Range<usize>>,
}

/// More different characters than this spell nothing we know.
const MAX_SYMBOLS: usize = 5;

impl Bits {
    fn add(&mut self, code: u32, span: Range<usize>) {
        self.codes.push(code);
        let start = self.span.as_ref().map_or(span.start, |s| s.start);
        self.span = Some(start..span.end);
    }

    fn message(self) -> Option<Mapped> {
        let mut symbols = Vec::new();
        for code in &self.codes {
            if !symbols.contains(code) {
                symbols.push(*code);
                if symbols.len() > MAX_SYMBOLS {
                    return None;
                }
            }
        }
        symbols.sort_unstable();
        let without = |dropped: Option<u32>| -> Vec<String> {
            let digits: Vec<u32> = symbols.iter().copied().filter(|s| Some(*s) != dropped).collect();
            let width = match digits.len() {
                2 => 1,
                4 => 2,
                _ => return Vec::new(),
            };
            let values: Vec<u32> = self
                .codes
                .iter()
                .filter_map(|code| digits.iter().position(|d| d == code))
                .filter_map(|value| u32::try_from(value).ok())
                .collect();
            let top = (1 << width) - 1;
            let turned: Vec<u32> = values.iter().map(|value| top - value).collect();
            let readings = [&values, &turned];
            [8, 7, 16]
                .iter()
                .flat_map(|size| readings.map(|values| (values, *size)))
                .filter_map(|(values, size)| readable(&bytes_of(values, width, size)))
                .collect()
        };
        let dropped = std::iter::once(None).chain(symbols.iter().copied().map(Some));
        let letters = |text: &String| {
            let count = text
                .chars()
                .filter(|c| c.is_ascii_alphabetic() || *c == ' ')
                .count();
            count * 1000 / text.chars().count().max(1)
        };
        let text = dropped.flat_map(without).max_by_key(letters)?;
        Some(Mapped::whole(text, self.span?))
    }
}

fn bytes_of(values: &[u32], width: u32, size: u32) -> Vec<u8> {
    let per_unit = usize::try_from(size.div_ceil(width)).unwrap_or(8);
    values
        .chunks_exact(per_unit)
        .flat_map(|unit| {
            let value = unit.iter().fold(0u32, |value, digit| (value << width) | digit);
            // Units of 16 bits are code points; most messages are Latin.
            char::from_u32(value)
                .map(|c| c.to_string().into_bytes())
                .filter(|_| size == 16)
                .unwrap_or_else(|| u8::try_from(value).into_iter().collect())
        })
        .collect()
}

/// A message of some length without control characters.
fn readable(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    let fits = text.chars().count() >= 3
        && text
            .chars()
            .all(|c| (!c.is_control() && hidden(c).is_none()) || matches!(c, '\n' | '\t' | '\r'));
    fits.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelled(text: &str) -> Vec<String> {
        messages(text)
            .into_iter()
            .map(|(_, m)| m.text().to_owned())
            .collect()
    }

    fn tags(text: &str) -> String {
        text.chars()
            .filter_map(|c| char::from_u32(u32::from(c) + 0xe0000))
            .collect()
    }

    #[test]
    fn hidden_messages_are_read() {
        assert_eq!(spelled(&format!("a{}b", tags("read it"))), ["read it"]);
        let selectors: String = "read it"
            .bytes()
            .filter_map(|b| {
                let b = u32::from(b);
                char::from_u32(if b < 16 { 0xfe00 + b } else { 0xe0100 + b - 16 })
            })
            .collect();
        assert_eq!(spelled(&format!("😀{selectors}")), ["read it"]);
        for (zero, one, between) in [
            ("\u{200b}", "\u{200c}", ""),
            ("\u{200d}", "\u{200b}", "\u{2060}"),
            ("\u{2062}", "\u{2064}", "x"),
        ] {
            let bits: String = "read it"
                .bytes()
                .map(|b| format!("{b:08b}").replace('0', zero).replace('1', one) + between)
                .collect();
            assert_eq!(spelled(&bits), ["read it"], "{zero:?} {one:?} {between:?}");
        }
        assert_eq!(spelled("a\u{200b}b"), Vec::<String>::new());
    }

    #[test]
    fn what_scripts_and_emoji_need_is_left_alone() {
        for text in [
            "☀️ and 👨‍👩‍👧 and 1️⃣ and 🏴󠁧󠁢󠁥󠁮󠁧󠁿 and 👍🏽",
            "می\u{200c}خواهم",
            "क्\u{200d}ष",
            "葛\u{e0100}城",
            "⠓\u{2800}⠊",
        ] {
            assert_eq!(runs(text), [], "{text:?}");
        }
        for text in [
            "a\u{200c}b",
            "a\u{200d}b",
            "a\u{fe0f}",
            "葛\u{e0100}\u{e0101}",
            "a\u{2800}b",
            "🏴\u{e0067}\u{e0062}",
        ] {
            assert_eq!(runs(text).len(), 1, "{text:?}");
        }
        let mark = runs("שלום\u{200f}!");
        assert_eq!(mark.first().map(|run| run.confidence), Some(Confidence::Low));
    }
}
