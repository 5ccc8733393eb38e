//! A JSON reader that knows where everything stands and is bounded before it starts.
//!
//! serde_json keeps no positions and lets the last of two equal keys win; here both matter. Recursion is safe because the nesting
//! is capped by a linear pass first.

use crate::{diagnostic::Diagnostic, rule::Rule};
use serde_json::{Map, Value, map::Entry};
use std::{
    ops::Range,
    sync::{Arc, OnceLock},
};

/// Largest spec file, in bytes.
pub const MAX_SPEC_BYTES: usize = 1024 * 1024;
/// Deepest nesting of arrays and objects.
pub const MAX_DEPTH: usize = 64;
/// Most values in one file; keeps the tree of positions small.
pub const MAX_VALUES: usize = 100_000;
const MAX_NUMBER_CHARS: usize = 64;

/// A file as a value and the places of its parts.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) value: Value,
    pub(crate) positions: Positions,
}

/// Where the parts of a file stand; empty for a spec that was not read from one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Positions(Option<Arc<File>>);

#[derive(Debug)]
struct File {
    text: String,
    /// Read when first asked for: most listings have nothing in them that must be pointed at.
    root: OnceLock<Node>,
}

impl File {
    fn root(&self) -> &Node {
        self.root.get_or_init(|| {
            let mut reader = Reader::new(&self.text, usize::MAX);
            reader.places = true;
            reader.value().map(|(_, node)| node).unwrap_or_default()
        })
    }
}

#[derive(Debug, Default)]
struct Node {
    key: Option<Range<usize>>,
    value: Range<usize>,
    children: Children,
}

#[derive(Debug, Default)]
enum Children {
    #[default]
    None,
    Items(Vec<Node>),
    Members(Vec<(Box<str>, Node)>),
}

/// What a file may hold at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caps {
    pub(crate) bytes: usize,
    pub(crate) values: usize,
}

/// The caps of a spec file.
const SPEC_CAPS: Caps = Caps {
    bytes: MAX_SPEC_BYTES,
    values: MAX_VALUES,
};

/// Reads a spec file. No document if it cannot be read to its end; problems may stand beside a document (duplicate keys).
pub(crate) fn read(bytes: &[u8]) -> (Option<Document>, Vec<Diagnostic>) {
    read_within(bytes, SPEC_CAPS)
}

/// Reads a file of another kind. The cap on nesting is the same for all: it guards the stack.
pub(crate) fn read_within(bytes: &[u8], caps: Caps) -> (Option<Document>, Vec<Diagnostic>) {
    match text_within_caps(bytes, caps.bytes) {
        Ok(text) => Reader::new(text, caps.values).document(),
        Err(problem) => (None, vec![*problem]),
    }
}

/// Appends a segment to an RFC 6901 pointer.
pub(crate) fn push_segment(pointer: &mut String, segment: &str) {
    pointer.push('/');
    if !segment.bytes().any(|b| matches!(b, b'~' | b'/')) {
        pointer.push_str(segment);
        return;
    }
    for c in segment.chars() {
        match c {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            c => pointer.push(c),
        }
    }
}

/// Appends the place of an item of an array.
pub(crate) fn push_index(pointer: &mut String, index: usize) {
    use std::fmt::Write as _;
    write!(pointer, "/{index}").expect("a String takes any text");
}

impl Positions {
    /// Bytes of the value at a pointer; of its nearest container that exists otherwise.
    pub(crate) fn value(&self, pointer: &str) -> Option<Range<usize>> {
        Some(self.node(pointer)?.value.clone())
    }

    /// Bytes of the key at a pointer, quotes included.
    pub(crate) fn key(&self, pointer: &str) -> Option<Range<usize>> {
        self.node(pointer)?.key.clone()
    }

    /// Bytes in the file of a range of bytes of the decoded string at a pointer.
    pub(crate) fn within_string(&self, pointer: &str, decoded: &Range<usize>) -> Option<Range<usize>> {
        let file = self.0.as_ref()?;
        let node = self.node(pointer)?;
        let raw = file
            .text
            .get(node.value.clone())?
            .strip_prefix('"')?
            .strip_suffix('"')?;
        let base = node.value.start + 1;
        Some(base + raw_offset(raw, decoded.start)..base + raw_offset(raw, decoded.end))
    }

    fn node(&self, pointer: &str) -> Option<&Node> {
        let mut node = self.0.as_ref()?.root();
        for segment in pointer.split('/').skip(1) {
            let next = match &node.children {
                Children::None => None,
                Children::Items(items) => segment.parse::<usize>().ok().and_then(|i| items.get(i)),
                Children::Members(members) => {
                    let key = segment.replace("~1", "/").replace("~0", "~");
                    members.iter().find(|(k, _)| **k == *key).map(|(_, n)| n)
                }
            };
            let Some(next) = next else { break };
            node = next;
        }
        Some(node)
    }
}

/// Offset in the raw string (between its quotes) of an offset in the decoded one.
fn raw_offset(raw: &str, decoded: usize) -> usize {
    let (mut at_raw, mut at_decoded) = (0, 0);
    let mut chars = raw.chars();
    while at_decoded < decoded {
        let Some(c) = chars.next() else { break };
        at_raw += c.len_utf8();
        if c != '\\' {
            at_decoded += c.len_utf8();
            continue;
        }
        let Some(kind) = chars.next() else { break };
        at_raw += kind.len_utf8();
        if kind != 'u' {
            at_decoded += 1;
            continue;
        }
        let unit = hex4(chars.as_str());
        skip(&mut chars, 4);
        at_raw += 4;
        let pair = (0xd800..0xdc00).contains(&unit) && chars.as_str().starts_with("\\u");
        if pair {
            skip(&mut chars, 6);
            at_raw += 6;
        }
        at_decoded += if pair {
            4
        } else {
            char::from_u32(unit).map_or(3, char::len_utf8)
        };
    }
    at_raw.min(raw.len())
}

fn skip(chars: &mut std::str::Chars<'_>, count: usize) {
    chars.nth(count - 1);
}

fn hex4(text: &str) -> u32 {
    text.get(..4)
        .and_then(|h| u32::from_str_radix(h, 16).ok())
        .unwrap_or(0)
}

fn text_within_caps(bytes: &[u8], most: usize) -> Result<&str, Box<Diagnostic>> {
    if bytes.len() > most {
        let message = format!("the file has {} bytes, the most is {most}", bytes.len());
        return Err(Box::new(Diagnostic::new(Rule::TooLarge, "", message)));
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        let problem = Diagnostic::new(Rule::NotJson, "", "the file is UTF-16; save it as UTF-8");
        return Err(Box::new(problem.with_span(0..2)));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        Box::new(Diagnostic::new(Rule::NotJson, "", format!("byte {at} is not UTF-8")).with_span(at..at + 1))
    })?;
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                if depth > MAX_DEPTH {
                    let message = format!("nested more than {MAX_DEPTH} levels deep");
                    let problem = Diagnostic::new(Rule::TooLarge, "", message);
                    return Err(Box::new(problem.with_span(at..at + 1)));
                }
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(text)
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    pointer: String,
    values: usize,
    most_values: usize,
    /// Notes where everything stands.
    places: bool,
    problems: Vec<Diagnostic>,
}

/// Reading cannot go on; the problem is already noted.
struct Stop;

impl<'t> Reader<'t> {
    fn new(text: &'t str, most_values: usize) -> Self {
        // A byte order mark is tolerated: editors write it and spans keep counting from the file's first byte.
        let at = if text.starts_with('\u{feff}') { 3 } else { 0 };
        Self {
            text,
            at,
            pointer: String::new(),
            values: 0,
            most_values,
            places: false,
            problems: Vec::new(),
        }
    }

    fn document(mut self) -> (Option<Document>, Vec<Diagnostic>) {
        let read = self.value().and_then(|pair| {
            self.space();
            if self.at < self.text.len() {
                Err(self.stop("something follows the end of the object"))
            } else {
                Ok(pair)
            }
        });
        let document = read.ok().map(|(value, _)| {
            let file = File {
                text: self.text.to_owned(),
                root: OnceLock::new(),
            };
            Document {
                value,
                positions: Positions(Some(Arc::new(file))),
            }
        });
        (document, self.problems)
    }

    fn value(&mut self) -> Result<(Value, Node), Stop> {
        self.space();
        self.values += 1;
        if self.values > self.most_values {
            let message = format!("more than {} values", self.most_values);
            self.problems
                .push(Diagnostic::new(Rule::TooLarge, "", message).with_span(self.at..self.at));
            return Err(Stop);
        }
        let start = self.at;
        let (value, children) = match self.peek() {
            Some(b'{') => self.object()?,
            Some(b'[') => self.array()?,
            Some(b'"') => (Value::String(self.string()?), Children::None),
            Some(b'-' | b'0'..=b'9') => (self.number()?, Children::None),
            Some(b't') => (self.word("true", Value::Bool(true))?, Children::None),
            Some(b'f') => (self.word("false", Value::Bool(false))?, Children::None),
            Some(b'n') => (self.word("null", Value::Null)?, Children::None),
            Some(_) => return Err(self.stop("expected a JSON value")),
            None => return Err(self.stop("the file ends where a JSON value should stand")),
        };
        Ok((
            value,
            Node {
                key: None,
                value: start..self.at,
                children,
            },
        ))
    }

    fn object(&mut self) -> Result<(Value, Children), Stop> {
        self.at += 1;
        let (mut map, mut members) = (Map::new(), Vec::new());
        self.space();
        if self.take(b'}') {
            return Ok((Value::Object(map), Children::Members(members)));
        }
        loop {
            self.space();
            let key_start = self.at;
            if self.peek() != Some(b'"') {
                return Err(self.stop("expected a key in double quotes"));
            }
            let key = self.string()?;
            let key_span = key_start..self.at;
            self.space();
            if !self.take(b':') {
                return Err(self.stop("expected `:` after the key"));
            }
            let above = self.pointer.len();
            push_segment(&mut self.pointer, &key);
            let segment = self.places.then(|| key.clone().into_boxed_str());
            let entry = map.entry(key);
            if let Entry::Occupied(entry) = entry {
                let key = entry.key();
                let message = format!("the key `{key}` stands twice in this object");
                self.problem(
                    Diagnostic::new(Rule::DuplicateKey, self.pointer.clone(), message)
                        .with_span(key_span.clone()),
                );
                self.value()?;
            } else {
                let (value, mut node) = self.value()?;
                if let Some(segment) = segment {
                    node.key = Some(key_span);
                    members.push((segment, node));
                }
                entry.or_insert(value);
            }
            self.pointer.truncate(above);
            self.space();
            if self.take(b'}') {
                return Ok((Value::Object(map), Children::Members(members)));
            }
            if !self.take(b',') {
                return Err(self.stop("expected `,` or `}`"));
            }
        }
    }

    fn array(&mut self) -> Result<(Value, Children), Stop> {
        self.at += 1;
        let (mut list, mut items) = (Vec::new(), Vec::new());
        self.space();
        if self.take(b']') {
            return Ok((Value::Array(list), Children::Items(items)));
        }
        loop {
            let above = self.pointer.len();
            push_index(&mut self.pointer, list.len());
            let (value, node) = self.value()?;
            self.pointer.truncate(above);
            list.push(value);
            if self.places {
                items.push(node);
            }
            self.space();
            if self.take(b']') {
                return Ok((Value::Array(list), Children::Items(items)));
            }
            if !self.take(b',') {
                return Err(self.stop("expected `,` or `]`"));
            }
        }
    }

    fn string(&mut self) -> Result<String, Stop> {
        let start = self.at;
        self.at += 1;
        let mut escapes = false;
        loop {
            let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
            let plain = |b: &u8| !matches!(b, b'"' | b'\\' | 0..=0x1f);
            self.at += rest.iter().position(|b| !plain(b)).unwrap_or(rest.len());
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    escapes = true;
                    self.at += 1;
                    self.at += self
                        .text
                        .get(self.at..)
                        .and_then(|t| t.chars().next())
                        .map_or(0, char::len_utf8);
                }
                Some(0..=0x1f) => {
                    return Err(
                        self.stop("control characters in strings are written as escapes, such as `\\n`")
                    );
                }
                Some(_) => self.at += 1,
                None => {
                    self.at = start;
                    return Err(self.stop("this string has no end"));
                }
            }
        }
        self.at += 1;
        let raw = self.text.get(start..self.at).unwrap_or("\"\"");
        if !escapes {
            return Ok(raw.get(1..raw.len() - 1).unwrap_or_default().to_owned());
        }
        Ok(serde_json::from_str(raw).unwrap_or_else(|_| {
            let message = "this string has an escape that stands for no character (lone surrogates are none)";
            self.problem(
                Diagnostic::new(Rule::NotJson, self.pointer.clone(), message).with_span(start..self.at),
            );
            String::new()
        }))
    }

    fn number(&mut self) -> Result<Value, Stop> {
        let start = self.at;
        while matches!(self.peek(), Some(b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')) {
            self.at += 1;
        }
        let raw = self.text.get(start..self.at).unwrap_or_default();
        if raw.len() <= MAX_NUMBER_CHARS
            && let Ok(value) = serde_json::from_str(raw)
        {
            return Ok(value);
        }
        let message = if raw.len() > MAX_NUMBER_CHARS {
            "a number of too many digits"
        } else {
            "not a number that JSON can write"
        };
        self.problem(Diagnostic::new(Rule::NotJson, self.pointer.clone(), message).with_span(start..self.at));
        Ok(Value::from(0))
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, Stop> {
        if !self
            .text
            .get(self.at..)
            .is_some_and(|rest| rest.starts_with(word))
        {
            return Err(self.stop("expected a JSON value"));
        }
        self.at += word.len();
        Ok(value)
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn problem(&mut self, problem: Diagnostic) {
        if self.problems.len() < crate::diagnostic::MAX_DIAGNOSTICS {
            self.problems.push(problem);
        }
    }

    fn stop(&mut self, message: &str) -> Stop {
        let before = self.text.get(..self.at).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let len = self
            .text
            .get(self.at..)
            .and_then(|t| t.chars().next())
            .map_or(0, char::len_utf8);
        let message = format!("{message} (line {line}, column {column})");
        self.problems.push(
            Diagnostic::new(Rule::NotJson, self.pointer.clone(), message).with_span(self.at..self.at + len),
        );
        Stop
    }
}
