//! Cuts a text into tokens: words with their classes, identifiers with their owner, literals, and the ends of clauses and sentences.

use super::{
    Context,
    lexicon::{self, Classes},
};
use std::ops::Range;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Word,
    /// Shaped like a name of code: `read_file`, `readFile`, `'read-file'`, `fs.read`.
    Ident,
    /// A plain word in quotes, which may be a tool, a parameter or a value.
    Name,
    /// Opens a quoted phrase.
    Quote,
    Number,
    Email,
    Url,
    Path,
    /// `,` `;` `(` `)` and dashes.
    Comma,
    Colon,
    /// Ends a sentence, a bullet or a paragraph.
    End,
}

/// A token with its place and what it can be.
#[derive(Clone, Debug)]
pub(super) struct Token<'t> {
    pub(super) text: &'t str,
    pub(super) span: Range<usize>,
    pub(super) kind: Kind,
    pub(super) classes: Classes,
    /// Names the tool that the text belongs to.
    pub(super) own: bool,
    /// Names another tool of the same server.
    pub(super) sibling: bool,
    /// Names a parameter of that tool.
    pub(super) parameter: bool,
    /// Stands inside quotes.
    pub(super) quoted: bool,
    /// Every letter is a capital.
    pub(super) shouted: bool,
}

impl Token<'_> {
    pub(super) fn is(&self, classes: Classes) -> bool {
        self.classes.has(classes)
    }

    /// A word of prose, not of a quotation.
    pub(super) fn says(&self, classes: Classes) -> bool {
        !self.quoted && self.classes.has(classes)
    }

    /// A value written out: what an attacker wants to see in an argument.
    pub(super) fn is_literal(&self) -> bool {
        matches!(
            self.kind,
            Kind::Quote | Kind::Name | Kind::Number | Kind::Email | Kind::Url | Kind::Path
        )
    }

    /// This very word, whatever its case.
    #[inline]
    pub(super) fn is_word(&self, word: &str) -> bool {
        self.text.len() == word.len()
            && self.kind == Kind::Word
            && !self.quoted
            && self.text.eq_ignore_ascii_case(word)
    }

    pub(super) fn ends_clause(&self) -> bool {
        matches!(self.kind, Kind::Comma | Kind::Colon)
    }
}

/// A quotation longer than this is prose in quotes, not a value.
const MAX_QUOTE: usize = 300;

/// Names of tools and parameters that are looked at for each identifier.
const MAX_NAMES: usize = 256;

/// Cuts a text up. Linear in its length.
pub(super) fn tokens<'t>(text: &'t str, context: &'t Context<'t>) -> Vec<Token<'t>> {
    let mut cutter = Cutter {
        text,
        bytes: text.as_bytes(),
        at: 0,
        quote_end: 0,
        context,
        own: context.tool.map(|tool| skeleton(tool.name)).unwrap_or_default(),
        found: Vec::with_capacity(text.len() / 5 + 4),
    };
    cutter.run();
    cutter.found
}

struct Cutter<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    quote_end: usize,
    context: &'a Context<'a>,
    own: String,
    found: Vec<Token<'a>>,
}

impl Cutter<'_> {
    fn run(&mut self) {
        while let Some(byte) = self.peek(0) {
            match byte {
                b'\n' => self.newline(),
                // A line break of a text that was escaped twice.
                b'\\' if self.peek(1) == Some(b'n') => {
                    self.mark(2, Kind::End);
                }
                b' ' | b'\t' | b'\r' => self.at += 1,
                b'.' | b'!' | b'?' => self.full_stop(),
                b',' | b';' | b'(' | b')' | b'[' | b']' | b'{' | b'}' | b'|' => self.mark(1, Kind::Comma),
                b':' => self.mark(1, Kind::Colon),
                b'=' => self.word(self.at, self.at + 1),
                b'\'' | b'"' | b'`' => self.quote(1),
                0xe2 => self.typographic(),
                0xe3 if self.bytes.get(self.at..self.at + 3) == Some("。".as_bytes()) => {
                    self.mark(3, Kind::End);
                }
                b'~' | b'/' | b'\\' | b'$' | b'@' | b'#' | b'%' | b'_' => self.chunk(),
                _ if byte.is_ascii_alphanumeric() || byte >= 0x80 => self.chunk(),
                _ => self.at += 1,
            }
        }
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.bytes.get(self.at + ahead).copied()
    }

    fn push(&mut self, span: Range<usize>, kind: Kind, classes: Classes) {
        let quoted = span.start < self.quote_end;
        self.found.push(Token {
            text: self.text.get(span.clone()).unwrap_or_default(),
            span,
            kind,
            classes,
            own: false,
            sibling: false,
            parameter: false,
            quoted,
            shouted: false,
        });
    }

    fn mark(&mut self, length: usize, kind: Kind) {
        let start = self.at;
        self.at += length;
        if start >= self.quote_end {
            self.push(start..self.at, kind, Classes::NONE);
        }
    }

    /// A line that wraps goes on; one that is followed by a blank line or a bullet ends.
    fn newline(&mut self) {
        let start = self.at;
        let mut lines = 0;
        while let Some(byte) = self.peek(0) {
            match byte {
                b'\n' => lines += 1,
                b' ' | b'\t' | b'\r' => {}
                _ => break,
            }
            self.at += 1;
        }
        let bullet = match self.peek(0) {
            Some(b'-' | b'*' | b'#' | b'|' | b'>' | b'+') => true,
            Some(b'"' | b'{' | b'}' | b'[' | b'`') => true,
            Some(byte) if byte.is_ascii_digit() => {
                matches!(self.peek(1), Some(b'.' | b')')) || matches!(self.peek(2), Some(b'.' | b')'))
            }
            // `limit: how many`, `limit (int)`
            _ => {
                let line = self
                    .bytes
                    .get(self.at..self.bytes.len().min(self.at + 32))
                    .unwrap_or_default();
                let word = line
                    .iter()
                    .position(|b| !(b.is_ascii_alphanumeric() || *b == b'_'))
                    .unwrap_or(line.len());
                matches!(
                    line.get(word..).unwrap_or_default(),
                    [b':', ..] | [b' ', b'(', ..]
                )
            }
        };
        if lines > 1 || bullet || self.peek(0).is_none() {
            self.quote_end = self.quote_end.min(start);
            self.push(start..self.at, Kind::End, Classes::NONE);
        }
    }

    fn full_stop(&mut self) {
        let ends = match self.peek(1) {
            None
            | Some(b'\\' | b'\n' | b'\r' | b'\t' | b'\'' | b'"' | b'`' | b')' | b'*' | b'!' | b'?' | b'<') => {
                true
            }
            Some(b' ') => !self.abbreviates(),
            // A sentence that starts without a space, as pasted text has it.
            Some(next) => next.is_ascii_uppercase() && self.peek(2).is_some_and(|c| c.is_ascii_lowercase()),
        };
        if ends && self.at >= self.quote_end {
            self.mark(1, Kind::End);
        } else if self.peek(1) == Some(b'/') || self.peek(1).is_some_and(|c| c.is_ascii_lowercase()) {
            self.chunk();
        } else {
            self.at += 1;
        }
    }

    fn abbreviates(&self) -> bool {
        let before = self
            .bytes
            .get(self.at.saturating_sub(4)..self.at)
            .unwrap_or_default();
        [&b"e.g"[..], b"i.e", b" vs", b"etc", b"(eg"]
            .iter()
            .any(|known| before.ends_with(known))
    }

    fn typographic(&mut self) {
        match self.bytes.get(self.at..self.at + 3) {
            Some(b"\xe2\x80\x98" | b"\xe2\x80\x9c" | b"\xe2\x80\x9d") => self.quote(3),
            Some(b"\xe2\x80\x99") => self.at += 3,
            Some(b"\xe2\x80\x93" | b"\xe2\x80\x94" | b"\xe2\x86\x92") => {
                self.mark(3, Kind::Comma);
            }
            Some(b"\xe2\x80\xa2") => self.mark(3, Kind::End),
            Some([_, 0x80 | 0x86, _]) => self.at += 3,
            _ => self.chunk(),
        }
    }

    /// An opening quote with its closing one in reach: a name if one word stands between, else a phrase.
    fn quote(&mut self, length: usize) {
        let start = self.at;
        let from = start + length;
        self.at = from;
        if start < self.quote_end {
            return;
        }
        let close: &[u8] = match self.bytes.get(start..from) {
            Some(b"\xe2\x80\x98") => b"\xe2\x80\x99",
            Some(b"\xe2\x80\x9c" | b"\xe2\x80\x9d") => b"\xe2\x80\x9d",
            Some(same) => same,
            None => return,
        };
        let window = self
            .bytes
            .get(from..self.bytes.len().min(from + MAX_QUOTE))
            .unwrap_or_default();
        let single = close == b"'" || close == b"\xe2\x80\x99";
        if single
            && start
                .checked_sub(1)
                .and_then(|before| self.bytes.get(before))
                .is_some_and(u8::is_ascii_alphanumeric)
        {
            return;
        }
        let end = (0..window.len()).find(|at| {
            let rest = window.get(*at..).unwrap_or_default();
            let after = rest.get(close.len());
            rest.starts_with(close) && !(single && after.is_some_and(u8::is_ascii_alphanumeric))
        });
        let Some(inside) = end.and_then(|end| self.text.get(from..from + end)) else {
            return;
        };
        let whole = start..from + inside.len() + close.len();
        if inside.is_empty() || inside.bytes().any(|b| b.is_ascii_whitespace()) || inside.len() > 64 {
            self.push(whole, Kind::Quote, Classes::NONE);
            self.quote_end = from + inside.len();
            return;
        }
        self.at = whole.end;
        let kind = match shape(inside) {
            Shape::Email => Kind::Email,
            Shape::Url => Kind::Url,
            Shape::Path => Kind::Path,
            Shape::Number => Kind::Number,
            Shape::Ident => Kind::Ident,
            _ if inside.contains('-') && is_kebab(inside) => Kind::Ident,
            _ => Kind::Name,
        };
        self.quote_end = whole.end;
        let name = inside.trim_end_matches("()");
        self.identify(whole, kind, name);
    }

    /// A run without spaces: an address, a path, a name of code, or words joined by hyphens and slashes.
    fn chunk(&mut self) {
        let start = self.at;
        let stops = |b: u8| {
            b.is_ascii_whitespace()
                || matches!(
                    b,
                    b',' | b';'
                        | b'('
                        | b')'
                        | b'['
                        | b']'
                        | b'{'
                        | b'}'
                        | b'"'
                        | b'`'
                        | b'|'
                        | b'<'
                        | b'>'
                        | b'*'
                )
        };
        let rest = self.bytes.get(start..).unwrap_or_default();
        if let Some(length) = plain_word(rest)
            && rest.get(length).is_none_or(|b| stops(*b))
        {
            self.word(start, start + length);
            return;
        }
        // A typographic mark ends a word too, and so does a line break of a text that was escaped twice; `C:\new` is a path.
        let ends = |at: usize, byte: u8| match byte {
            0xe2 => rest.get(at + 1).is_some_and(|b| matches!(b, 0x80 | 0x86)),
            b'\\' => {
                at > 0
                    && rest.get(at + 1) == Some(&b'n')
                    && !rest.get(at + 2).is_some_and(u8::is_ascii_lowercase)
            }
            byte => stops(byte),
        };
        let mut length = rest
            .iter()
            .enumerate()
            .position(|(at, b)| ends(at, *b))
            .unwrap_or(rest.len());
        while length > 1
            && rest
                .get(length - 1)
                .is_some_and(|b| matches!(b, b'.' | b':' | b'!' | b'?' | b'\'' | b'='))
        {
            length -= 1;
        }
        let end = start + length.max(1);
        self.at = end;
        let Some(chunk) = self.text.get(start..end) else {
            // The middle of a character: step over what is no mark of ours.
            self.at = (start + 1..self.bytes.len())
                .find(|at| self.text.is_char_boundary(*at))
                .unwrap_or(self.bytes.len());
            return;
        };
        match shape(chunk) {
            Shape::Email => self.identify(start..end, Kind::Email, chunk),
            Shape::Url => self.identify(start..end, Kind::Url, chunk),
            Shape::Path => self.identify(start..end, Kind::Path, chunk),
            Shape::Number => self.push(start..end, Kind::Number, Classes::NONE),
            Shape::Ident => self.identify(start..end, Kind::Ident, chunk),
            Shape::Words => self.split(start, end),
        }
    }

    /// Words joined by hyphens, slashes, dots or `=`.
    fn split(&mut self, start: usize, end: usize) {
        let whole = self.bytes.get(start..end).unwrap_or_default();
        if whole.contains(&b'-') && lexicon::classes(whole) != Classes::NONE {
            self.word(start, end);
            return;
        }
        let mut from = start;
        for (offset, byte) in whole.iter().enumerate() {
            if !(byte.is_ascii_alphanumeric() || *byte >= 0x80 || matches!(byte, b'_' | b'\'')) {
                if start + offset > from {
                    self.word(from, start + offset);
                }
                if *byte == b'=' {
                    self.word(start + offset, start + offset + 1);
                } else if *byte == b':' && start + offset >= self.quote_end {
                    self.push(start + offset..start + offset + 1, Kind::Colon, Classes::NONE);
                }
                from = start + offset + 1;
            }
        }
        if end > from {
            self.word(from, end);
        }
    }

    fn word(&mut self, start: usize, end: usize) {
        self.at = self.at.max(end);
        let raw = self.bytes.get(start..end).unwrap_or_default();
        let classes = lexicon::classes(raw);
        let shouted = raw.len() > 1 && raw.iter().all(|b| b.is_ascii_uppercase() || *b == b'\'');
        self.push(start..end, Kind::Word, classes);
        let text = self.text.get(start..end).unwrap_or_default();
        // "call search": only behind such a verb is a plain word the tool's name.
        let named = self
            .found
            .iter()
            .rev()
            .nth(1)
            .is_some_and(|t| t.is(lexicon::USE | lexicon::USING));
        let own = named && !self.own.is_empty() && same(text, &self.own);
        if let Some(token) = self.found.last_mut() {
            token.shouted = shouted;
            token.own = own;
        }
    }

    fn identify(&mut self, span: Range<usize>, kind: Kind, name: &str) {
        let classes = if kind == Kind::Name {
            lexicon::classes(name.as_bytes())
        } else {
            Classes::NONE
        };
        self.push(span, kind, classes);
        let own = matches!(kind, Kind::Ident | Kind::Name) && !self.own.is_empty() && same(name, &self.own);
        let named = matches!(kind, Kind::Ident | Kind::Name);
        let sibling = named
            && !own
            && self
                .context
                .tools
                .iter()
                .take(MAX_NAMES)
                .any(|tool| letters(tool).eq(letters(name)));
        let parameter = self.is_parameter(name);
        if let Some(token) = self.found.last_mut() {
            token.own = own;
            token.sibling = sibling;
            token.parameter = parameter;
        }
    }

    fn is_parameter(&self, name: &str) -> bool {
        self.context.tool.is_some_and(|tool| {
            tool.parameters
                .iter()
                .take(MAX_NAMES)
                .any(|known| letters(known).eq(letters(name)))
        })
    }
}

enum Shape {
    Words,
    Ident,
    Number,
    Email,
    Url,
    Path,
}

/// How files that hold keys and settings end.
const FILES: [&[u8]; 9] = [
    b".json", b".dat", b".pem", b".key", b".env", b".conf", b".toml", b".yml", b".sqlite",
];

/// What a run without spaces looks like.
fn shape(chunk: &str) -> Shape {
    let bytes = chunk.as_bytes();
    let has = |wanted: u8| bytes.contains(&wanted);
    let Some(first) = bytes.first() else {
        return Shape::Words;
    };
    if has(b':')
        && (chunk.contains("://") || chunk.starts_with("mailto:") || chunk.starts_with("javascript:"))
    {
        return Shape::Url;
    }
    if has(b'@') && !matches!(first, b'@') {
        let domain = chunk.rsplit('@').next().unwrap_or_default();
        if domain.contains('.') && !chunk.contains('/') {
            return Shape::Email;
        }
    }
    let rooted = matches!(first, b'/' | b'~' | b'\\' | b'%' | b'$') && (has(b'/') || has(b'\\'));
    let dotted = *first == b'.' && bytes.len() > 2;
    let drive = bytes.get(1..3) == Some(br":\");
    if bytes.len() > 2 && (rooted || dotted || drive) {
        return Shape::Path;
    }
    if bytes
        .iter()
        .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'%' | b'-' | b':' | b'x' | b'#' | b'$'))
        && bytes.iter().any(u8::is_ascii_digit)
    {
        return Shape::Number;
    }
    if FILES.iter().any(|end| bytes.ends_with(end)) {
        return Shape::Path;
    }
    if is_ident(bytes) {
        Shape::Ident
    } else {
        Shape::Words
    }
}

/// The length of the word at the start if it is one of prose beyond doubt: letters without a hump.
fn plain_word(rest: &[u8]) -> Option<usize> {
    let mut lower = false;
    let mut length = 0;
    for byte in rest {
        if byte.is_ascii_lowercase() {
            lower = true;
        } else if lower || !byte.is_ascii_uppercase() {
            break;
        }
        length += 1;
    }
    (length > 0).then_some(length)
}

/// `snake_case`, `camelCase`, `mcp__server__tool`: what prose does not spell so. Constants and brands are no names of tools.
fn is_ident(bytes: &[u8]) -> bool {
    let name = bytes.strip_suffix(b"'s").unwrap_or(bytes);
    if !name
        .iter()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b':'))
        || !name.iter().any(u8::is_ascii_lowercase)
    {
        return false;
    }
    let inner = name.get(1..name.len().saturating_sub(1)).unwrap_or_default();
    if inner.contains(&b'_') {
        return true;
    }
    let starts_lower = name.first().is_some_and(u8::is_ascii_lowercase);
    let humps = name
        .windows(2)
        .filter(|pair| matches!(pair, [a, b] if a.is_ascii_lowercase() && b.is_ascii_uppercase()))
        .count();
    starts_lower && humps > 0 && name.len() > 5 && !name.starts_with(b"mac") && !name.contains(&b'.')
}

fn is_kebab(name: &str) -> bool {
    name.bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-')
}

/// A name without its way of writing: `read_file`, `readFile` and `read-file` are the same.
fn skeleton(name: &str) -> String {
    letters(name).map(char::from).collect()
}

fn same(name: &str, skeleton: &str) -> bool {
    letters(name).eq(skeleton.bytes())
}

fn letters(name: &str) -> impl Iterator<Item = u8> + '_ {
    name.strip_suffix("'s")
        .unwrap_or(name)
        .bytes()
        .filter(|b| !matches!(b, b'_' | b'-' | b'.' | b' ' | b'(' | b')'))
        .map(|b| b.to_ascii_lowercase())
}
