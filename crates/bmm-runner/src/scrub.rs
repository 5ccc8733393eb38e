//! Takes secret values out of whatever comes back.
//!
//! Two searches, each linear in the text. The first one knows every whole spelling of a value: plain, percent-encoded, as a form, in
//! JSON, in hexadecimal, in base64 at any offset. The second one compares normal forms, in which no escape is left that could
//! be undone, so that a value is found that is escaped in part, by several rules, or more than once.
//!
//! What is not found is a value that a host returns in pieces or transformed otherwise: compressed, reversed, encrypted.

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// Finds every spelling of some values and puts `[secret NAME]` in its place.
pub(crate) struct Scrubber {
    whole: Search,
    in_part: Search,
    alphabet: Alphabet,
}

impl Scrubber {
    pub(crate) fn new<'a>(values: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut needles = Vec::new();
        for (name, value) in values {
            needles.extend(spellings(value).into_iter().map(|needle| (needle, name)));
        }
        let alphabet = Alphabet::of(needles.iter().map(|(needle, _)| needle.as_slice()));
        let mut normal: Vec<_> = needles
            .iter()
            .map(|(needle, name)| (Normal::of(needle, &alphabet).bytes, *name, needle))
            // What is this short after it was undone occurs in any text by chance.
            .filter(|(normal, _, needle)| normal == *needle || normal.len() >= MIN_NORMAL_BYTES)
            .map(|(normal, name, _)| (normal, name))
            .collect();
        normal.sort_unstable();
        normal.dedup();
        Self {
            whole: Search::new(&needles),
            in_part: Search::new(&normal),
            alphabet,
        }
    }

    /// `text` without any value.
    pub(crate) fn scrub(&self, text: &[u8]) -> Vec<u8> {
        let Some(search) = &self.whole.search else {
            return text.to_vec();
        };
        let text = search.replace_all_bytes(text, &self.whole.replacements);
        self.scrub_in_part(text)
    }

    /// Whether any value occurs.
    pub(crate) fn finds(&self, text: &[u8]) -> bool {
        self.whole.finds(text) || self.in_part.finds(&Normal::of(text, &self.alphabet).bytes)
    }

    fn scrub_in_part(&self, text: Vec<u8>) -> Vec<u8> {
        let Some(search) = &self.in_part.search else {
            return text;
        };
        let normal = Normal::of(&text, &self.alphabet);
        let mut out = Vec::new();
        let mut kept = 0;
        for found in search.find_iter(&normal.bytes) {
            let (start, end) = (normal.span(found.start()).0, normal.span(found.end() - 1).1);
            out.extend_from_slice(text.get(kept..start).unwrap_or_default());
            let replacement = self.in_part.replacements.get(found.pattern().as_usize());
            out.extend_from_slice(replacement.map(String::as_bytes).unwrap_or_default());
            kept = end;
        }
        if kept == 0 {
            return text;
        }
        out.extend_from_slice(text.get(kept..).unwrap_or_default());
        out
    }
}

struct Search {
    search: Option<AhoCorasick>,
    replacements: Vec<String>,
}

impl Search {
    fn new(needles: &[(Vec<u8>, &str)]) -> Self {
        let search = (!needles.is_empty()).then(|| {
            // Never the DFA, the default for few needles: a value that repeats itself takes it minutes to build.
            AhoCorasick::builder()
                .kind(Some(AhoCorasickKind::ContiguousNFA))
                .match_kind(MatchKind::LeftmostLongest)
                // It compares whole needles wherever one might begin: slow for a text made for that.
                .prefilter(false)
                .build(needles.iter().map(|(needle, _)| needle))
                .expect("the needles are few and short, far below the automaton's limits")
        });
        let replacements = needles
            .iter()
            .map(|(_, name)| format!("[secret {name}]"))
            .collect();
        Self { search, replacements }
    }

    fn finds(&self, text: &[u8]) -> bool {
        self.search.as_ref().is_some_and(|search| search.is_match(text))
    }
}

const MIN_NORMAL_BYTES: usize = 4;
/// Of `&#x10ffff;`, and of the lone half of a pair of surrogates before `\uXXXX`.
const LONGEST_ENTITY: usize = 10;
const UNIT: usize = 6;
/// Backslashes between the halves of a pair of surrogates.
const MAX_DOUBLED: usize = 15;

/// The bytes that an escape is undone for: those of the values, and those that escapes are made of. Any other escape stays as it is,
/// so that one that merely stands before a value (a line break in JSON) does not take its first characters.
struct Alphabet([bool; 256]);

impl Alphabet {
    fn of<'a>(values: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut of = Self([false; 256]);
        values
            .flatten()
            .chain(b"%\\&#;ux0123456789abcdefABCDEF")
            .for_each(|byte| of.add(folded(*byte)));
        of
    }

    fn add(&mut self, byte: u8) {
        if let Some(known) = self.0.get_mut(usize::from(byte)) {
            *known = true;
        }
    }

    fn has(&self, byte: u8) -> bool {
        self.0.get(usize::from(byte)).copied().unwrap_or_default()
    }
}

/// A text with its escapes undone, innermost first, until none is left, and without backslashes: `%25%32f`, `\\u002f` and `&#x2f;` are
/// all `/`. Each byte is taken in once, and each step that undoes something makes the text shorter, so it is linear.
struct Normal {
    bytes: Vec<u8>,
    /// Where in the text each byte begins and ends.
    spans: Vec<(usize, usize)>,
}

impl Normal {
    fn of(text: &[u8], alphabet: &Alphabet) -> Self {
        let mut normal = Self {
            bytes: Vec::with_capacity(text.len()),
            spans: Vec::with_capacity(text.len()),
        };
        for (at, byte) in text.iter().enumerate() {
            normal.bytes.push(folded(*byte));
            normal.spans.push((at, at + 1));
            while normal.undo_last(alphabet) {}
        }
        // An escape takes one backslash with it. How many are left says how often the text was escaped, or nothing.
        let mut bytes = normal.bytes.iter();
        normal.spans.retain(|_| bytes.next() != Some(&b'\\'));
        normal.bytes.retain(|byte| *byte != b'\\');
        normal
    }

    /// Undoes the escape that the text ends with. Whether there was one.
    fn undo_last(&mut self, alphabet: &Alphabet) -> bool {
        let Some((length, character)) = escape_at_end(&self.bytes) else {
            return false;
        };
        let mut utf8 = [0; 4];
        let undone = match character {
            Undone::Byte(byte) => {
                utf8[0] = byte;
                utf8.get(..1).unwrap_or_default()
            }
            Undone::Char(character) => character.encode_utf8(&mut utf8).as_bytes(),
        };
        if !undone.iter().all(|byte| alphabet.has(folded(*byte))) {
            return false;
        }
        let at = self.bytes.len() - length;
        let span = (self.span(at).0, self.span(self.bytes.len() - 1).1);
        self.bytes.truncate(at);
        self.spans.truncate(at);
        self.bytes.extend(undone.iter().map(|byte| folded(*byte)));
        self.spans.resize(self.bytes.len(), span);
        true
    }

    fn span(&self, at: usize) -> (usize, usize) {
        self.spans.get(at).copied().unwrap_or_default()
    }
}

/// In a form a `+` is a space, elsewhere it is itself: both are one here.
fn folded(byte: u8) -> u8 {
    if byte == b'+' { b' ' } else { byte }
}

enum Undone {
    Byte(u8),
    Char(char),
}

/// The escape that `text` ends with, as its length and what it stands for.
fn escape_at_end(text: &[u8]) -> Option<(usize, Undone)> {
    let (last, before) = text.split_last()?;
    if *last == b';' {
        return entity_at_end(before);
    }
    if let [.., b'%', high] = before
        && let Some(byte) = number(&[*high, *last], 16)
    {
        return Some((3, Undone::Byte(u8::try_from(byte).ok()?)));
    }
    if let [.., b'\\', b'x', high] = before
        && let Some(byte) = number(&[*high, *last], 16)
    {
        return Some((4, Undone::Char(char::from(u8::try_from(byte).ok()?))));
    }
    if let Some(unit) = unit_at_end(text) {
        if let Some(character) = char::from_u32(unit) {
            return Some((UNIT, Undone::Char(character)));
        }
        // Each half may have been escaped again.
        let before = text.get(..text.len() - UNIT)?;
        let doubled = before
            .iter()
            .rev()
            .take(MAX_DOUBLED)
            .take_while(|byte| **byte == b'\\')
            .count();
        let first = unit_at_end(before.get(..before.len() - doubled)?)?;
        let pair = [u16::try_from(first).ok()?, u16::try_from(unit).ok()?];
        let character = char::decode_utf16(pair).next()?.ok()?;
        return Some((2 * UNIT + doubled, Undone::Char(character)));
    }
    let byte = match (before.last()?, last) {
        (b'\\', b'"' | b'\'' | b'/') => *last,
        (b'\\', b'b') => 8,
        (b'\\', b'f') => 12,
        (b'\\', b'n') => b'\n',
        (b'\\', b'r') => b'\r',
        (b'\\', b't') => b'\t',
        _ => return None,
    };
    Some((2, Undone::Byte(byte)))
}

/// The UTF-16 unit of a `\uXXXX` at the end.
fn unit_at_end(text: &[u8]) -> Option<u32> {
    match text.last_chunk::<UNIT>()? {
        [b'\\', b'u', digits @ ..] => number(digits, 16),
        _ => None,
    }
}

/// A character reference of HTML whose semicolon follows `text`.
fn entity_at_end(text: &[u8]) -> Option<(usize, Undone)> {
    let tail = text.get(text.len().saturating_sub(LONGEST_ENTITY)..)?;
    let at = tail.iter().rposition(|byte| *byte == b'&')?;
    let name = tail.get(at + 1..)?;
    let character = match name {
        b"amp" => '&',
        b"lt" => '<',
        b"gt" => '>',
        b"quot" => '"',
        b"apos" => '\'',
        [b'#', b'x' | b'X', digits @ ..] => char::from_u32(number(digits, 16)?)?,
        [b'#', digits @ ..] => char::from_u32(number(digits, 10)?)?,
        _ => return None,
    };
    Some((name.len() + 2, Undone::Char(character)))
}

fn number(digits: &[u8], radix: u32) -> Option<u32> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u32, |number, digit| {
        let digit = char::from(*digit).to_digit(radix)?;
        number.checked_mul(radix)?.checked_add(digit)
    })
}

/// How a value may come back: as it is, percent-encoded, form-encoded, inside JSON, in hexadecimal and in base64 at any
/// offset.
fn spellings(value: &str) -> Vec<Vec<u8>> {
    if value.is_empty() {
        return Vec::new();
    }
    let bytes = value.as_bytes();
    let percent_upper = percent(bytes, false);
    let mut all = vec![
        value.to_owned(),
        percent_upper.replace('%', "%25"),
        lower_escapes(&percent_upper),
        percent_upper,
        lower_escapes(&percent(bytes, true)),
        percent(bytes, true),
        json_inner(value),
    ];
    // The encodings of a very short value occur in any text by chance.
    if bytes.len() >= 4 {
        all.push(hex(bytes));
        all.push(hex(bytes).to_ascii_uppercase());
        for offset in 0..3usize {
            let mut shifted = vec![0u8; offset];
            shifted.extend_from_slice(bytes);
            // Characters that also hold bits of what stands before or after the value are left out.
            let skip = [0, 2, 3].get(offset).copied().unwrap_or_default();
            let cut = usize::from(!shifted.len().is_multiple_of(3));
            for text in [STANDARD_NO_PAD.encode(&shifted), URL_SAFE_NO_PAD.encode(&shifted)] {
                if let Some(core) = text
                    .get(skip..text.len().saturating_sub(cut))
                    .filter(|core| core.len() >= 4)
                {
                    all.push(core.to_owned());
                }
            }
        }
    }
    all.sort_unstable();
    all.dedup();
    all.into_iter().map(String::into_bytes).collect()
}

pub(crate) fn percent(bytes: &[u8], form: bool) -> String {
    let mut out = String::with_capacity(bytes.len() * 3);
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' => out.push(char::from(*byte)),
            b'~' if !form => out.push('~'),
            b' ' if form => out.push('+'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn lower_escapes(percent: &str) -> String {
    let mut left = 0;
    percent
        .chars()
        .map(|c| {
            if c == '%' {
                left = 2;
                c
            } else if left > 0 {
                left -= 1;
                c.to_ascii_lowercase()
            } else {
                c
            }
        })
        .collect()
}

pub(crate) fn json_inner(value: &str) -> String {
    let quoted = serde_json::Value::from(value).to_string();
    quoted
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .unwrap_or(&quoted)
        .to_owned()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn scrub(value: &str, text: &str) -> String {
        String::from_utf8(Scrubber::new([("KEY", value)].into_iter()).scrub(text.as_bytes())).unwrap()
    }

    #[test]
    fn every_spelling_of_a_value_is_taken_out() {
        let value = "s3cr/t \"va+lue";
        for text in [
            value.to_owned(),
            "s3cr%2Ft%20%22va%2Blue".to_owned(),
            "s3cr%2ft%20%22va%2blue".to_owned(),
            "s3cr%2Ft+%22va%2Blue".to_owned(),
            "s3cr%2ft+%22va%2blue".to_owned(),
            r#"s3cr/t \"va+lue"#.to_owned(),
            hex(value.as_bytes()),
            STANDARD.encode(value),
        ] {
            let scrubbed = scrub(value, &format!("<{text}>"));
            assert!(scrubbed.starts_with("<[secret KEY]"), "{text}: {scrubbed}");
        }
    }

    #[test]
    fn base64_is_found_whatever_stands_before_and_after_the_value() {
        for before in ["", "a", "ab", "abc", "user:"] {
            for after in ["", "z", "yz", "xyz"] {
                let text = STANDARD.encode(format!("{before}a-long-enough-value{after}"));
                assert!(
                    scrub("a-long-enough-value", &text).contains("[secret KEY]"),
                    "{before}|{after}"
                );
            }
        }
    }

    #[test]
    fn a_value_escaped_in_part_by_any_rule_is_taken_out() {
        let value = "s3cr/t \"va<lue&é";
        for text in [
            // What a URL parser leaves as it is, in either case, and with a form's space.
            r#"s3cr/t%20%22va%3clue&%C3%a9"#,
            r#"s3cr%2ft+"va%3Clue&é"#,
            // JSON that escapes more than it has to, or less.
            r#"s3cr\/t \"va\u003clue\u0026\u00e9"#,
            r#"s3cr/t \x22va\x3Clue&\u00E9"#,
            // HTML, by name and by number.
            "s3cr/t &quot;va&lt;lue&amp;é",
            "s3cr&#47;t &#x22;va&#60;lue&&#xE9;",
            // Escapes of escapes.
            "s3cr%252Ft%2520%2522va%253Clue%2526%25C3%25A9",
            r#"s3cr\\/t \\\"va\\u003clue&é"#,
            "s3cr/t &amp;quot;va&amp;lt;lue&amp;amp;é",
            "s3cr/t%20%5C%22va%26lt%3Blue%26\\u00e9",
            // Every character, whether it needs it or not.
            "%73%33%63%72%2F%74%20%22%76%61%3C%6C%75%65%26%C3%A9",
        ] {
            assert_eq!(scrub(value, &format!("<{text}>")), "<[secret KEY]>", "{text}");
        }
    }

    #[test]
    fn what_is_made_of_a_value_is_found_escaped_in_part_as_well() {
        // Base64 with slashes and pluses, as some JSON writers and URLs show it.
        let value = "a>b?c>d?e~f~g???>>>";
        let encoded = STANDARD.encode(value);
        assert!(encoded.contains('/') && encoded.contains('+'), "{encoded}");
        for text in [
            encoded.replace('/', "\\/"),
            encoded.replace('/', "%2F"),
            encoded.replace('+', "%2b"),
        ] {
            assert!(scrub(value, &text).contains("[secret KEY]"), "{text}");
        }
    }

    #[test]
    fn an_escape_beside_a_value_does_not_hide_it() {
        for (before, after) in [
            ("\\n", "\\"),
            ("%", "%4"),
            ("100%\\", "&"),
            ("&#", ";"),
            ("\\u", "%"),
            ("\\u00", ""),
        ] {
            let text = format!("{before}ab/c\\u0022def{after}");
            assert!(scrub("ab/c\\u0022def", &text).contains("[secret KEY]"), "{text}");
        }
        // Of a line break, only what is the value's goes.
        assert_eq!(scrub("name/va\"lue", r#"\nname\/va\"lue\n"#), r"\n[secret KEY]\n");
    }

    #[test]
    fn what_holds_no_value_stays_as_it_is() {
        for text in [
            r#"{"a": "\u0041\n%20&amp;\ud83d\ude00 100% \\ &;"}"#,
            "",
            "%",
            "\\",
            "&#;",
            "\\u12",
            "\u{1f600}",
        ] {
            assert_eq!(scrub("a-long-enough-value+/", text), text);
        }
        // A value of two characters is not any two that it could be undone to.
        assert_eq!(scrub("+%20", "a  b"), "a  b");
    }

    /// Of a value that begins with backslashes, those may be left.
    fn rest(scrubbed: Vec<u8>) -> String {
        String::from_utf8(scrubbed)
            .unwrap()
            .replace("%5c", "")
            .replace('\\', "")
    }

    #[test]
    fn a_value_that_is_itself_made_of_escapes_is_found() {
        for value in ["a%2Fb%%41c\\n", r"\u00e9\\x&amp;amp;", "100%25 &#x26; \u{1f600}"] {
            let scrubber = Scrubber::new([("KEY", value)].into_iter());
            let half: String = value
                .bytes()
                .enumerate()
                .map(|(at, byte)| {
                    if at % 2 == 0 {
                        format!("%{byte:02x}")
                    } else {
                        char::from(byte).to_string()
                    }
                })
                .collect();
            if value.is_ascii() {
                assert_eq!(rest(scrubber.scrub(half.as_bytes())), "[secret KEY]", "{half}");
            }
            let json = json_inner(value).replace('%', "\\u0025");
            assert_eq!(rest(scrubber.scrub(json.as_bytes())), "[secret KEY]", "{json}");
        }
    }

    #[test]
    fn any_mixture_of_escapes_is_undone() {
        let value = "tok/en+with \"all\" of <them>&'é\u{1f600}\\end";
        let scrubber = Scrubber::new([("KEY", value)].into_iter());
        let mut state = 0x5eed_u64;
        let mut throw = |sides: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % sides
        };
        for _ in 0..2_000 {
            let mut text = value.to_owned();
            for _ in 0..=throw(2) {
                text = text
                    .chars()
                    .map(|c| match throw(5) {
                        0 => percent(c.to_string().as_bytes(), false),
                        1 => c
                            .encode_utf16(&mut [0; 2])
                            .iter()
                            .map(|unit| format!("\\u{unit:04x}"))
                            .collect(),
                        2 => format!("&#{};", u32::from(c)),
                        3 if "\"\\".contains(c) => format!("\\{c}"),
                        _ => c.to_string(),
                    })
                    .collect();
            }
            let scrubbed = rest(scrubber.scrub(format!("<{text}>").as_bytes()));
            assert_eq!(scrubbed, "<[secret KEY]>", "{text}");
        }
    }

    #[test]
    fn no_text_takes_more_than_linear_time() {
        let value = format!("{}/\"{}", "a".repeat(2_000), "\\".repeat(200));
        let scrubber = Scrubber::new([("KEY", value.as_str())].into_iter());
        // The value is long, so that work for each byte of it would show.
        for unit in [
            "%25", "%2525", "\\", "\\u005c", "&amp;", "&#38;", "a", "%61", "\\ud83d", "&", "&#0",
        ] {
            let of = |bytes: usize| {
                let text = unit.repeat(bytes / unit.len());
                let begun = std::time::Instant::now();
                let _ = scrubber.scrub(text.as_bytes());
                begun.elapsed()
            };
            of(8 * 1024);
            let (small, large) = (of(32 * 1024), of(256 * 1024));

            let bound = 20 * small + std::time::Duration::from_millis(500);
            assert!(
                large < bound && large.as_secs() < 5,
                "{unit}: {small:?}, eight times as much {large:?}"
            );
        }
    }
}
