//! Runs of base64, hexadecimal digits and character codes, and the text they stand for.

use super::{mapped::Mapped, survey::MIN_RUN};
use std::ops::Range;

/// The shortest plaintext that says something.
const MIN_TEXT_CHARS: usize = 10;
/// So many codes in a row may be a text.
const MIN_CODES: usize = 8;
/// Words in a row that a text has and other data has not.
const MIN_WORDS: usize = 3;
/// Words in a row from which on a plaintext is prose.
const MIN_PROSE_WORDS: usize = 4;

/// Plaintexts of the base64 and hexadecimal runs of a text.
pub(crate) fn runs(text: &str) -> Vec<(&'static str, Mapped)> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut start = 0;
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        at += 1;
        if !is_run(*byte) {
            start = at;
        } else if at - start >= MIN_RUN {
            let length = bytes
                .get(start..)
                .map_or(0, |rest| rest.iter().take_while(|b| is_run(**b)).count());
            at = start + length;
            if bytes.get(start..at).is_some_and(may_be_encoded) {
                let run = Run::read(bytes, start);
                at = run.end;
                run.plaintexts(&mut found);
            }
            start = at;
        }
    }
    found
}

/// Whether a run may stand for a text. Most runs are names and paths, in one case and without many digits.
fn may_be_encoded(run: &[u8]) -> bool {
    let (mut upper, mut lower, mut digits, mut hex) = (false, false, 0usize, 0usize);
    for byte in run {
        upper |= byte.is_ascii_uppercase();
        lower |= byte.is_ascii_lowercase();
        digits += usize::from(byte.is_ascii_digit());
        hex += usize::from(byte.is_ascii_hexdigit());
    }
    upper && (lower || digits > 0) || hex + 2 >= run.len()
}

/// Part of an alphabet.
fn is_run(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'/' | b'_')
}

fn sextet(byte: u8) -> Option<u8> {
    Some(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    })
}

/// Symbols of an alphabet in a row; lines of them count as one run.
struct Run {
    symbols: Vec<u8>,
    places: Vec<usize>,
    end: usize,
}

impl Run {
    fn read(bytes: &[u8], start: usize) -> Self {
        let mut run = Self {
            symbols: Vec::new(),
            places: Vec::new(),
            end: start,
        };
        let mut in_line = 0usize;
        while let Some(byte) = bytes.get(run.end).copied() {
            if is_run(byte) {
                run.symbols.push(byte);
                run.places.push(run.end);
                run.end += 1;
                in_line += 1;
                continue;
            }
            // The next line of a wrapped run; prose does not fill a line with one word.
            let blanks = bytes.get(run.end..).map_or(0, |rest| {
                rest.iter()
                    .take(32)
                    .take_while(|b| b.is_ascii_whitespace())
                    .count()
            });
            let line_break = bytes
                .get(run.end..run.end + blanks)
                .is_some_and(|gap| gap.contains(&b'\n'));
            let goes_on = bytes.get(run.end + blanks).is_some_and(|b| is_run(*b));
            if in_line < MIN_RUN || !line_break || !goes_on {
                break;
            }
            run.end += blanks;
            in_line = 0;
        }
        run
    }

    fn plaintexts(&self, found: &mut Vec<(&'static str, Mapped)>) {
        let has = |class: fn(&u8) -> bool| self.symbols.iter().any(class);
        if self.symbols.iter().filter(|b| b.is_ascii_hexdigit()).count() + 2 >= self.symbols.len() {
            self.hex(found);
        }
        // Words and names have one case only, or no digits; a text in base64 has both cases within 16 symbols, nearly always.
        if has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase) {
            for phase in (0..4).filter(|phase| self.may_be_text(*phase)) {
                self.base64(phase, found);
            }
        }
        if self
            .symbols
            .iter()
            .all(|b| matches!(b, b'A'..=b'Z' | b'2'..=b'7'))
            && has(u8::is_ascii_digit)
        {
            self.base32(found);
        }
    }

    /// Whether bytes of text stand in a row among those that the run stands for. Looks and keeps nothing, for the sake of the many
    /// names that are runs.
    fn may_be_text(&self, phase: usize) -> bool {
        let (mut held, mut bits) = (0u32, 0u32);
        let (mut streak, mut following) = (0usize, 0u32);
        for symbol in self.symbols.iter().skip(phase) {
            held = (held << 6 | u32::from(sextet(*symbol).unwrap_or_default())) & 0xffff;
            bits += 6;
            if bits < 8 {
                continue;
            }
            bits -= 8;
            (streak, following) = match ((held >> bits) & 0xff, following) {
                // UTF-16 of Latin letters has them everywhere.
                (0, _) => (streak, 0),
                (0x80..=0xbf, 1..) => (streak + 1, following - 1),
                (0x20..=0x7e | 9 | 10 | 13, 0) => (streak + 1, 0),
                (0xc2..=0xdf, 0) => (streak + 1, 1),
                (0xe0..=0xef, 0) => (streak + 1, 2),
                (0xf0..=0xf4, 0) => (streak + 1, 3),
                _ => (0, 0),
            };
            if streak >= MIN_TEXT_CHARS {
                return true;
            }
        }
        false
    }

    fn base64(&self, phase: usize, found: &mut Vec<(&'static str, Mapped)>) {
        let symbols = self.symbols.get(phase..).unwrap_or_default();
        let values = symbols.iter().filter_map(|b| sextet(*b));
        let bytes = repack(values, 6);
        let place = |byte: usize| phase + byte * 8 / 6;
        self.texts("base64", &bytes, place, found);
    }

    fn base32(&self, found: &mut Vec<(&'static str, Mapped)>) {
        let values = self.symbols.iter().map(|b| {
            if b.is_ascii_digit() {
                b - b'2' + 26
            } else {
                b - b'A'
            }
        });
        let bytes = repack(values, 5);
        self.texts("base32", &bytes, |byte| byte * 8 / 5, found);
    }

    fn hex(&self, found: &mut Vec<(&'static str, Mapped)>) {
        let start = if self.symbols.starts_with(b"0x") || self.symbols.starts_with(b"0X") {
            2
        } else {
            0
        };
        for phase in [start, start + 1] {
            let digits = self.symbols.get(phase..).unwrap_or_default();
            let values = digits.iter().map_while(|b| nibble(*b));
            let bytes = repack(values, 4);
            self.texts("hexadecimal", &bytes, |byte| phase + byte * 2, found);
        }
    }

    /// Adds the stretches of text among decoded bytes.
    fn texts(
        &self,
        what: &'static str,
        bytes: &[u8],
        place: impl Fn(usize) -> usize,
        found: &mut Vec<(&'static str, Mapped)>,
    ) {
        let narrow;
        let (bytes, width) = match halved(bytes) {
            Some(halves) => {
                narrow = halves;
                (narrow.as_slice(), 2)
            }
            None => (bytes, 1),
        };
        for (range, text) in stretches(bytes) {
            let symbol = |byte: usize| {
                let last = self.places.last().copied().unwrap_or_default();
                self.places.get(place(byte * width)).copied().unwrap_or(last)
            };
            let span = symbol(range.start)..symbol(range.end.saturating_sub(1)) + 1;
            // The symbol that ends a byte may be the one after.
            let end = (span.end + 1).min(self.end);
            found.push((what, Mapped::whole(text, span.start..end)));
        }
    }
}

fn nibble(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok())
}

/// Values of some bits each, as bytes.
fn repack(values: impl Iterator<Item = u8>, width: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (mut held, mut bits) = (0u32, 0u32);
    for value in values {
        held = (held << width) | u32::from(value);
        bits += width;
        if bits >= 8 {
            bits -= 8;
            bytes.extend(u8::try_from((held >> bits) & 0xff));
            held &= (1 << bits) - 1;
        }
    }
    bytes
}

/// UTF-16 of Latin text without its zero bytes.
fn halved(bytes: &[u8]) -> Option<Vec<u8>> {
    let zeros = |from: usize| bytes.iter().skip(from).step_by(2).filter(|b| **b == 0).count();
    let enough = bytes.len() / 2 * 4 / 5;
    if bytes.len() < 2 * MIN_TEXT_CHARS {
        return None;
    }
    let keep = if zeros(1) >= enough {
        0
    } else if zeros(0) >= enough {
        1
    } else {
        return None;
    };
    Some(bytes.iter().skip(keep).step_by(2).copied().collect())
}

/// Stretches of UTF-8 without control characters that are long enough and mostly letters.
fn stretches(bytes: &[u8]) -> Vec<(Range<usize>, String)> {
    let mut found = Vec::new();
    let mut at = 0;
    for chunk in bytes.utf8_chunks() {
        let valid = chunk.valid();
        let mut start = 0;
        let ends = valid
            .char_indices()
            .filter(|(_, c)| c.is_control() && !matches!(c, '\n' | '\t' | '\r'))
            .map(|(place, c)| (place, place + c.len_utf8()))
            .chain([(valid.len(), valid.len())]);
        for (end, next) in ends {
            let part = valid.get(start..end).unwrap_or_default();
            if says_something(part) {
                found.push((at + start..at + end, part.to_owned()));
            }
            start = next;
        }
        at += valid.len() + chunk.invalid().len();
    }
    found
}

/// Long enough, and mostly letters and blanks, or with words among other things.
fn says_something(text: &str) -> bool {
    let count = text.chars().count();
    let letters = text
        .chars()
        .filter(|c| c.is_alphabetic() || c.is_whitespace() || crate::hidden::hidden(*c).is_some())
        .count();
    count >= MIN_TEXT_CHARS && (letters * 10 >= count * 6 || words_in_a_row(text) >= MIN_WORDS)
}

/// Texts written as character codes: `73 103 110`, `0x49, 0x67`, `49:67:6e`, `01001001 01100111`.
pub(crate) fn codes(text: &str) -> Vec<(&'static str, Mapped)> {
    let mut found = Vec::new();
    let mut streaks = [
        Streak::new(Base::Binary),
        Streak::new(Base::Hex),
        Streak::new(Base::Decimal),
    ];
    let mut end = 0;
    for token in text.split(|c: char| !c.is_ascii_alphanumeric()) {
        let start = end;
        end += token.len();
        let gap = text.get(end..).and_then(|rest| rest.chars().next());
        if !token.is_empty() {
            for streak in &mut streaks {
                streak.next(token, start..end, &mut found);
            }
        }
        end += gap.map_or(0, char::len_utf8);
    }
    for streak in &mut streaks {
        streak.end(&mut found);
    }
    found
}

#[derive(Clone, Copy)]
enum Base {
    Binary,
    Hex,
    Decimal,
}

struct Streak {
    base: Base,
    bytes: Vec<u8>,
    span: Range<usize>,
}

impl Streak {
    fn new(base: Base) -> Self {
        Self {
            base,
            bytes: Vec::new(),
            span: 0..0,
        }
    }

    fn next(&mut self, token: &str, span: Range<usize>, found: &mut Vec<(&'static str, Mapped)>) {
        let value = match (self.base, token.len()) {
            (Base::Binary, 7 | 8) => u8::from_str_radix(token, 2).ok(),
            (Base::Hex, 2) => u8::from_str_radix(token, 16).ok(),
            (Base::Hex, 3 | 4) => token
                .strip_prefix("0x")
                .or_else(|| token.strip_prefix("U"))
                .or_else(|| token.strip_prefix('x'))
                .and_then(|digits| u8::from_str_radix(digits, 16).ok()),
            (Base::Decimal, 1..=3) => token.parse().ok(),
            _ => None,
        };
        match value {
            Some(value) => {
                if self.bytes.is_empty() {
                    self.span.start = span.start;
                }
                self.span.end = span.end;
                self.bytes.push(value);
            }
            None => self.end(found),
        }
    }

    fn end(&mut self, found: &mut Vec<(&'static str, Mapped)>) {
        let bytes = std::mem::take(&mut self.bytes);
        if bytes.len() < MIN_CODES {
            return;
        }
        let texts = stretches(&bytes);
        found.extend(
            texts
                .into_iter()
                .map(|(_, text)| ("character codes", Mapped::whole(text, self.span.clone()))),
        );
    }
}

/// Whether prose of several words stands in a text, whatever else does.
pub(crate) fn is_prose(text: &str) -> bool {
    words_in_a_row(text) >= MIN_PROSE_WORDS
}

/// The most words in a row, parted as a sentence parts them. Two ideographs count as a word.
fn words_in_a_row(text: &str) -> usize {
    let (mut words, mut most) = (0usize, 0usize);
    let mut rest = text;
    while let Some(start) = rest.find(char::is_alphabetic) {
        let (gap, tail) = rest.split_at(start);
        let end = tail
            .find(|c: char| !c.is_alphabetic() && !matches!(c, '\'' | '’'))
            .unwrap_or(tail.len());
        let (word, after) = tail.split_at(end);
        if !parts_words(gap) {
            words = 0;
        }
        let letters = word.chars().count();
        words += match word.chars().next() {
            Some('\u{3041}'..='\u{9fff}') => letters / 2,
            _ if (2..=20).contains(&letters) => 1,
            _ => 0,
        };
        most = most.max(words);
        rest = after;
    }
    most
}

/// Blanks, one mark before them, one quote or bracket after them.
fn parts_words(gap: &str) -> bool {
    let gap = gap
        .strip_prefix(['.', ',', ';', ':', '!', '?', ')', '"', '-'])
        .unwrap_or(gap);
    let gap = gap.strip_suffix(['(', '"', '`', '\'']).unwrap_or(gap);
    gap.chars()
        .all(|c| c.is_whitespace() || matches!(c, '，' | '。' | '、' | '：' | '-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<String> {
        runs(text)
            .into_iter()
            .chain(codes(text))
            .map(|(what, mapped)| {
                let span = mapped.back(&(0..mapped.text().len()));
                assert!(text.get(span).is_some());
                format!("{what}: {}", mapped.text())
            })
            .collect()
    }

    #[test]
    fn encoded_texts_are_read() {
        for (text, expected) in [
            (
                "data: UmVhZCB0aGUgZmlsZSBmaXJzdC4= end",
                "base64: Read the file first.",
            ),
            (
                "path/xUmVhZCB0aGUgZmlsZSBmaXJzdC4",
                "base64: Read the file first.",
            ),
            ("UmVhZCB0aGUgZmls\n  ZSBmaXJzdC4=", "base64: Read the file first."),
            ("UgBlAGEAZAAgAHQAaABlACAAZgBpAGwAZQA=", "base64: Read the file"),
            ("52656164207468652066696c65", "hexadecimal: Read the file"),
            ("0x52656164207468652066696c65", "hexadecimal: Read the file"),
            ("KJSWCZBAORUGKIDGNFWGKIDGNFZHG5BO", "base32: Read the file first."),
            (
                "52 65 61 64 20 74 68 65 20 66 69 6c 65",
                "character codes: Read the file",
            ),
            (
                "0x52, 0x65, 0x61, 0x64, 0x20, 0x74, 0x68, 0x65, 0x20, 0x6d",
                "character codes: Read the m",
            ),
            (
                "82 101 97 100 32 116 104 101 32 102 105 108 101",
                "character codes: Read the file",
            ),
        ] {
            assert!(
                texts(text).contains(&expected.to_owned()),
                "{text}: {:?}",
                texts(text)
            );
        }
    }

    #[test]
    fn names_hashes_and_keys_are_no_texts() {
        for text in [
            "getUserInformationFromDatabaseById",
            "https://example.com/some/long/path/to/Documents/and/Settings_of_users",
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "550e8400-e29b-41d4-a716-446655440000",
            "AKIAIOSFODNN7EXAMPLE wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHUk8mVJb6lcn3tFxkEnYtVTLVOJ",
            "10, 20, 30, 40, 50, 60, 70, 80, 90, 100",
            "MAX_RETRY_COUNT_EXCEEDED_Error",
            "2024 01 02 03 04 05 06 07 08 09 10 11",
        ] {
            assert_eq!(texts(text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn prose_is_told_from_data() {
        assert!(is_prose("Read the file first."));
        assert!(is_prose("先读取文件再继续操作"));
        assert!(is_prose(
            "0000 {1: 2} read the file first 9999 {{{}}} 1234567890 1234567890"
        ));
        assert!(!is_prose(
            "{\"name\": \"value\", \"type\": \"string\", \"id\": \"five\"}"
        ));
        assert!(!is_prose("a=b&city=Paris&unit=metric&lang=en"));
        assert!(!is_prose("{\"a\": 1, \"b\": [2, 3]}"));
        assert!(!is_prose("Hello World"));
        assert!(!is_prose("user:password"));
    }
}
