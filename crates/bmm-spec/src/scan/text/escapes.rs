//! Characters spelled by number or name: percent encoding, character references, backslash escapes. And markup that a page does not show.

use super::mapped::Mapped;
use std::ops::Range;

/// A text with its escapes read.
#[derive(Debug, Default)]
pub(crate) struct Unescaped {
    pub(crate) text: Mapped,
    /// Letters and digits that needed no escape.
    pub(crate) needless: usize,
    /// Of the needless ones, from the first to the last, in the source.
    pub(crate) span: Option<Range<usize>>,
}

/// The text with percent encoding, character references and backslash escapes read. `None` if there are none.
pub(crate) fn unescape(text: &str) -> Option<Unescaped> {
    let mut made = Unescaped::default();
    let mut rest = 0;
    let mut at = 0;
    while let Some(offset) = text
        .get(at..)
        .and_then(|tail| tail.bytes().position(|b| matches!(b, b'%' | b'&' | b'\\')))
    {
        let start = at + offset;
        let tail = text.get(start..).unwrap_or_default();
        let Some((stands_for, length)) = escape_at(tail) else {
            at = start + 1;
            continue;
        };
        made.text.copy(text, rest..start);
        made.text.put(&stands_for, start..start + length);
        let needless = stands_for.chars().filter(char::is_ascii_alphanumeric).count();
        if needless > 0 {
            made.needless += needless;
            let first = made.span.as_ref().map_or(start, |s| s.start);
            made.span = Some(first..start + length);
        }
        at = start + length;
        rest = at;
    }
    if rest == 0 {
        return None;
    }
    made.text.copy(text, rest..text.len());
    Some(made)
}

/// What the escape at the start of a text stands for, and its length.
fn escape_at(text: &str) -> Option<(String, usize)> {
    match text.as_bytes().first()? {
        b'%' => byte_escapes(text, "%"),
        b'&' => reference(text),
        _ => backslash(text),
    }
}

/// Escapes of bytes in a row, as UTF-8. At most as many as make a few characters, so that the way back stays fine.
fn byte_escapes(text: &str, prefix: &str) -> Option<(String, usize)> {
    let step = prefix.len() + 2;
    let mut bytes = Vec::new();
    while bytes.len() < 4 {
        let from = bytes.len() * step;
        let Some(byte) = text
            .get(from..from + step)
            .and_then(|escape| escape.strip_prefix(prefix))
            .filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok())
        else {
            break;
        };
        bytes.push(byte);
        if let Ok(text) = std::str::from_utf8(&bytes) {
            return Some((text.to_owned(), bytes.len() * step));
        }
    }
    None
}

/// A longer name or number is none.
const MAX_REFERENCE: usize = 12;

fn reference(text: &str) -> Option<(String, usize)> {
    let end = text.bytes().take(MAX_REFERENCE).position(|b| b == b';')?;
    let name = text.get(1..end)?;
    let c = match name.strip_prefix('#') {
        Some(number) => {
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16),
                None => number.parse(),
            };
            char::from_u32(code.ok()?)?
        }
        None => match name {
            "lt" => '<',
            "gt" => '>',
            "amp" => '&',
            "quot" => '"',
            "apos" => '\'',
            "nbsp" | "ensp" | "emsp" | "thinsp" => ' ',
            "Tab" | "tab" => '\t',
            "NewLine" => '\n',
            "shy" | "zwj" | "zwnj" | "ZeroWidthSpace" => return Some((String::new(), end + 1)),
            "sol" => '/',
            "period" => '.',
            "colon" => ':',
            "comma" => ',',
            _ => return None,
        },
    };
    Some((c.to_string(), end + 1))
}

fn backslash(text: &str) -> Option<(String, usize)> {
    let hex = |range: Range<usize>| {
        text.get(range)
            .filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|digits| u32::from_str_radix(digits, 16).ok())
    };
    match text.as_bytes().get(1)? {
        b'n' | b'r' => Some(("\n".to_owned(), 2)),
        b't' => Some(("\t".to_owned(), 2)),
        b'x' => byte_escapes(text, "\\x").or_else(|| {
            let c = char::from_u32(hex(2..4)?)?;
            Some((c.to_string(), 4))
        }),
        b'u' if text.as_bytes().get(2) == Some(&b'{') => {
            let end = text.bytes().take(MAX_REFERENCE).position(|b| b == b'}')?;
            Some((char::from_u32(hex(3..end)?)?.to_string(), end + 1))
        }
        b'u' => {
            let first = hex(2..6)?;
            if let Some(c) = char::from_u32(first) {
                return Some((c.to_string(), 6));
            }
            let second = text
                .get(6..8)
                .filter(|next| *next == "\\u")
                .and_then(|_| hex(8..12))?;
            let units = [u16::try_from(first).ok()?, u16::try_from(second).ok()?];
            Some((String::from_utf16(&units).ok()?, 12))
        }
        b'U' => Some((char::from_u32(hex(2..10)?)?.to_string(), 10)),
        b'0'..=b'3' => {
            let digits = text.get(1..4)?;
            let c = char::from(u8::from_str_radix(digits, 8).ok()?);
            (!c.is_control()).then(|| (c.to_string(), 4))
        }
        _ => None,
    }
}

/// What a rendered page leaves out: the spans of comments, and the text without them.
pub(crate) fn comments(text: &str) -> Option<(Vec<Range<usize>>, Mapped)> {
    const OPEN: &str = "<!--";
    const CLOSE: &str = "-->";
    let mut spans = Vec::new();
    let mut made = Mapped::default();
    let mut at = 0;
    while let Some(start) = text.get(at..).and_then(|tail| tail.find(OPEN)).map(|o| at + o) {
        let inside = text.get(start + OPEN.len()..).unwrap_or_default();
        // A comment without an end runs to the end of the text.
        let end = inside
            .find(CLOSE)
            .map_or(text.len(), |o| start + OPEN.len() + o + CLOSE.len());
        made.copy(text, at..start);
        spans.push(start..end);
        at = end;
    }
    made.copy(text, at..text.len());
    (!spans.is_empty()).then_some((spans, made))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_read_in_place() {
        for (text, expected) in [
            ("%52ead%20the%20file", "Read the file"),
            ("&#82;&#x65;ad&nbsp;it &lt;now&gt;", "Read it <now>"),
            (r"\u0052\u{65}\x61\144 it\nnow", "Read it\nnow"),
            (r"\ud83d\ude00 ok", "😀 ok"),
            ("%C3%A9t%C3%A9", "été"),
        ] {
            let made = unescape(text).expect("it has escapes");
            assert_eq!(made.text.text(), expected, "{text}");
            let all = made.text.back(&(0..made.text.text().len()));
            assert_eq!(all, 0..text.len());
        }
        assert_eq!(unescape("%52ead").map(|u| u.needless), Some(1));
        for text in [
            "100% of a & b",
            "50%de",
            r"C:\dir \d+ \w",
            "&unknown; &;",
            r"\uZZZZ \ud800 \x",
            "%",
        ] {
            assert!(unescape(text).is_none(), "{text}");
        }
    }

    #[test]
    fn comments_are_cut_out() {
        let text = "Reads<!-- a --> it<!DOCTYPE x><!-- b";
        let (spans, shown) = comments(text).expect("it has comments");
        assert_eq!(spans, [5..15, 30..36]);
        assert_eq!(shown.text(), "Reads it<!DOCTYPE x>");
        assert_eq!(comments("a <b> c"), None);
    }
}
