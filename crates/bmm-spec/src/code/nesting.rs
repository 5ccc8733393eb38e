//! How deep can the syntax tree of this text be? Answered without a parser, in one linear pass.
//!
//! Parsers recurse, and a stack overflow is not a panic that could be caught. So before the parser sees a text, this pass bounds the
//! depth of any tree it could build: brackets, and tokens that can nest without brackets (`!!!!x`, `a=>a=>…`, `a+a+…`, `if(a)if(a)…`).
//! To count brackets one must know what is a string, a comment, a template or a regular expression; the pass refuses the few places where
//! `/` cannot be told apart without a parser, so that nothing can be hidden from the count.

use super::CodeProblem;
use crate::rule::Rule;
use std::ops::Range;

/// Deepest nesting of brackets.
const MAX_BRACKETS: usize = 256;
/// Most tokens that may nest without brackets, counted over all open brackets.
const MAX_CHAIN: usize = 1024;
/// Most `<` likewise: a parser of TypeScript tries each as the start of type arguments.
const MAX_ANGLES: usize = 64;

/// Refuses text whose tree might be too deep.
pub(crate) fn check(source: &str) -> Result<(), CodeProblem> {
    if source.starts_with("#!") {
        return Err(refuse(0..2, "starts with `#!`"));
    }
    if is_flat(source.as_bytes()) {
        return Ok(());
    }
    measure(source)
}

/// Bounds the depth by reading the text as tokens.
fn measure(source: &str) -> Result<(), CodeProblem> {
    Pass {
        source,
        bytes: source.as_bytes(),
        at: 0,
        levels: vec![Level::new(Bracket::Module)],
        chain: 0,
        angles: 0,
        last: Last::Start,
    }
    .run()
}

/// Is the whole text below the caps, whatever its tokens mean? Most tools are so short that counting answers the question.
fn is_flat(bytes: &[u8]) -> bool {
    // Counts of so few bytes fit into a byte, so that the compiler counts many bytes at once.
    const CHUNK: usize = 255;
    let (Some(first), Some(later)) = (bytes.first(), bytes.get(1..)) else {
        return true;
    };
    let (mut brackets, mut angles) = (usize::from(is_open(*first)), usize::from(*first == b'<'));
    let mut tokens = 1;
    for (before, chunk) in bytes.chunks(CHUNK).zip(later.chunks(CHUNK)) {
        let (mut opened, mut less, mut signs, mut words) = (0u8, 0u8, 0u8, 0u8);
        for (last, byte) in before.iter().zip(chunk) {
            // A sign is a token at most, a word starts where its neighbour is none.
            let word = in_word(*byte);
            opened += u8::from(is_open(*byte));
            less += u8::from(*byte == b'<');
            signs += u8::from(!word & (*byte > b' '));
            words += u8::from(word & !in_word(*last));
        }
        brackets += usize::from(opened);
        angles += usize::from(less);
        tokens += usize::from(signs) + usize::from(words);
        if brackets > MAX_BRACKETS || angles > MAX_ANGLES || tokens > MAX_CHAIN {
            return false;
        }
    }
    true
}

fn is_open(byte: u8) -> bool {
    matches!(byte, b'(' | b'[' | b'{' | b'`')
}

fn in_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || byte >= 0x80
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bracket {
    Module,
    Round { control: bool },
    Square,
    Curly,
    Template,
}

/// One open bracket and what may nest inside it without brackets.
#[derive(Debug)]
struct Level {
    bracket: Bracket,
    chain: usize,
    angles: usize,
}

impl Level {
    fn new(bracket: Bracket) -> Self {
        Self {
            bracket,
            chain: 0,
            angles: 0,
        }
    }
}

/// The last token, as far as it decides what the next one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    Start,
    /// A name or a literal, `]`, the `)` of a call.
    Operand,
    /// `if`, `while`, `for`, `with`: the parenthesis that follows belongs to it.
    Control,
    /// A keyword before which an operand cannot stand, such as `return`.
    Keyword,
    /// The `)` of `if (…)`.
    ControlClosed,
    /// `}`: the end of a block or of an object.
    CurlyClosed,
    /// `;`, `,`, or the end of a statement by line break.
    Separator,
    Dot,
    /// `>`, `++`, `as`, `keyof` and others after which a `/` cannot be judged and a line break ends nothing.
    Unsure,
    /// `!` after an operand: TypeScript's non-null assertion, or a new statement.
    Bang,
    Operator,
}

struct Pass<'s> {
    source: &'s str,
    bytes: &'s [u8],
    at: usize,
    levels: Vec<Level>,
    chain: usize,
    angles: usize,
    last: Last,
}

impl Pass<'_> {
    fn run(mut self) -> Result<(), CodeProblem> {
        let mut line_break = false;
        while let Some(byte) = self.peek(0) {
            match byte {
                b' ' => {
                    let rest = self.bytes.get(self.at..).unwrap_or_default();
                    self.at += rest.iter().position(|byte| *byte != b' ').unwrap_or(rest.len());
                }
                b'\t' | b'\r' | 0x0b | 0x0c => self.at += 1,
                b'\n' => {
                    line_break = true;
                    self.at += 1;
                }
                0x80.. if self.rest().starts_with(is_space) => {
                    line_break |= self.starts_with_line_separator();
                    self.at += self.rest().chars().next().map_or(1, char::len_utf8);
                }
                b'/' if self.peek(1) == Some(b'/') => self.skip_line(),
                b'/' if self.peek(1) == Some(b'*') => line_break |= self.skip_comment()?,
                _ => {
                    self.token(byte, line_break)?;
                    line_break = false;
                }
            }
        }
        Ok(())
    }

    fn token(&mut self, byte: u8, line_break: bool) -> Result<(), CodeProblem> {
        match byte {
            b'"' | b'\'' => {
                self.operand_starts(line_break);
                self.skip_string(byte)?;
                self.last = Last::Operand;
            }
            b'`' => {
                self.count()?;
                self.at += 1;
                self.template()?;
            }
            b'/' => self.slash()?,
            b'(' => {
                let control = self.last == Last::Control;
                self.count()?;
                self.open(Bracket::Round { control })?;
            }
            b'[' => {
                self.count()?;
                self.open(Bracket::Square)?;
            }
            b'{' => {
                self.count()?;
                self.open(Bracket::Curly)?;
            }
            b')' | b']' | b'}' => self.close(byte)?,
            b';' | b',' => {
                self.at += 1;
                self.last = Last::Separator;
                if byte == b',' {
                    self.reset();
                }
            }
            b'.' if !self.peek(1).is_some_and(|b| b.is_ascii_digit()) => {
                self.count()?;
                let dots = self.rest().bytes().take_while(|b| *b == b'.').count();
                self.at += dots;
                self.last = if dots == 1 { Last::Dot } else { Last::Operator };
            }
            b if b.is_ascii_digit() || b == b'.' => {
                self.operand_starts(line_break);
                self.skip_while(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.');
                self.last = Last::Operand;
            }
            b if b.is_ascii_alphabetic() || matches!(b, b'_' | b'$' | b'\\' | b'#' | b'@') || b >= 0x80 => {
                self.word(line_break)?
            }
            _ => self.operator(line_break)?,
        }
        Ok(())
    }

    fn word(&mut self, line_break: bool) -> Result<(), CodeProblem> {
        let start = self.at;
        self.skip_word();
        let word = self.source.get(start..self.at).unwrap_or_default();
        if self.last == Last::Dot {
            self.last = Last::Operand;
            return Ok(());
        }
        match word {
            // These go on with what stands before them, over any `;` or `}`.
            "else" | "catch" | "finally" | "instanceof" | "in" | "extends" => {
                self.count()?;
                self.last = Last::Keyword;
            }
            // These may be names as well.
            "of" | "as" | "satisfies" | "is" | "implements" | "keyof" | "readonly" | "unique" | "infer"
            | "asserts" => {
                self.count()?;
                self.last = Last::Unsure;
            }
            "if" | "while" | "for" | "with" => {
                self.operand_starts(line_break);
                self.count()?;
                self.last = Last::Control;
            }
            // `for await (`
            "await" if self.last == Last::Control => self.count()?,
            "return" | "throw" | "case" | "typeof" | "void" | "delete" | "new" | "await" | "yield" | "do"
            | "default" | "export" => {
                self.operand_starts(line_break);
                self.count()?;
                self.last = Last::Keyword;
            }
            _ => {
                self.operand_starts(line_break);
                // Names in a row nest too: `keyof keyof T`, `a: b: c: …`.
                self.count()?;
                self.last = Last::Operand;
            }
        }
        Ok(())
    }

    fn operator(&mut self, line_break: bool) -> Result<(), CodeProblem> {
        let start = self.at;
        let rest = self.rest();
        let (len, last) = if rest.starts_with("++") || rest.starts_with("--") {
            (2, Last::Unsure)
        } else if rest.starts_with("=>") {
            (2, Last::Operator)
        } else if rest.starts_with('!') && !rest.starts_with("!=") {
            match self.last {
                Last::Operand | Last::Bang if !line_break => (1, Last::Bang),
                Last::CurlyClosed | Last::Unsure => (1, Last::Unsure),
                _ => (1, Last::Operator),
            }
        } else if rest.starts_with('>') && !rest.starts_with(">=") {
            (1, Last::Unsure)
        } else {
            (rest.chars().next().map_or(1, char::len_utf8), Last::Operator)
        };
        if rest.starts_with('<') {
            self.angles += 1;
            if let Some(level) = self.levels.last_mut() {
                level.angles += 1;
            }
            if self.angles > MAX_ANGLES {
                return Err(refuse(
                    start..start + 1,
                    format!("more than {MAX_ANGLES} `<` in one expression"),
                ));
            }
        }
        self.count()?;
        self.at += len;
        self.last = last;
        Ok(())
    }

    fn slash(&mut self) -> Result<(), CodeProblem> {
        match self.last {
            Last::Operand | Last::Bang => {
                self.count()?;
                self.at += 1;
                self.last = Last::Operator;
                Ok(())
            }
            Last::CurlyClosed | Last::Unsure => {
                let message = "cannot tell here whether `/` divides or starts a regular expression; put parentheses around what it belongs to";
                Err(refuse(self.at..self.at + 1, message))
            }
            _ => {
                self.count()?;
                self.skip_regex()?;
                self.last = Last::Operand;
                Ok(())
            }
        }
    }

    /// What comes may start a new statement, and so end what could nest.
    fn operand_starts(&mut self, line_break: bool) {
        let ends = match self.last {
            Last::Separator | Last::CurlyClosed => true,
            Last::Operand | Last::Bang => line_break,
            _ => false,
        };
        if ends {
            self.reset();
        }
    }

    fn reset(&mut self) {
        if let Some(level) = self.levels.last_mut() {
            self.chain -= std::mem::take(&mut level.chain);
            self.angles -= std::mem::take(&mut level.angles);
        }
    }

    fn count(&mut self) -> Result<(), CodeProblem> {
        self.chain += 1;
        if let Some(level) = self.levels.last_mut() {
            level.chain += 1;
        }
        if self.chain > MAX_CHAIN {
            return Err(refuse(
                self.at..self.at + 1,
                "an expression or statement of too many parts; split it",
            ));
        }
        Ok(())
    }

    fn open(&mut self, bracket: Bracket) -> Result<(), CodeProblem> {
        if self.levels.len() > MAX_BRACKETS {
            return Err(refuse(
                self.at..self.at + 1,
                format!("nested more than {MAX_BRACKETS} brackets deep"),
            ));
        }
        self.levels.push(Level::new(bracket));
        self.at += 1;
        self.last = Last::Start;
        Ok(())
    }

    fn close(&mut self, byte: u8) -> Result<(), CodeProblem> {
        let open = if self.levels.len() > 1 {
            self.levels.pop()
        } else {
            None
        };
        let fits = open.as_ref().map(|level| (byte, level.bracket));
        if let Some(level) = open {
            self.chain -= level.chain;
            self.angles -= level.angles;
        }
        self.last = match fits {
            Some((b')', Bracket::Round { control: true })) => Last::ControlClosed,
            Some((b')', Bracket::Round { .. }) | (b']', Bracket::Square)) => Last::Operand,
            Some((b'}', Bracket::Curly)) => Last::CurlyClosed,
            Some((b'}', Bracket::Template)) => {
                self.at += 1;
                return self.template();
            }
            _ => {
                let message = format!("`{}` closes nothing that is open", char::from(byte));
                return Err(refuse(self.at..self.at + 1, message));
            }
        };
        self.at += 1;
        Ok(())
    }

    /// The text part of a template, up to its end or the next `${`.
    fn template(&mut self) -> Result<(), CodeProblem> {
        let start = self.at;
        while let Some(byte) = self.peek(0) {
            match byte {
                b'\\' => self.skip_escape(),
                b'`' => {
                    self.at += 1;
                    self.last = Last::Operand;
                    return Ok(());
                }
                b'$' if self.peek(1) == Some(b'{') => {
                    self.at += 1;
                    return self.open(Bracket::Template);
                }
                _ => self.at += 1,
            }
        }
        Err(refuse(start..start, "this template has no end"))
    }

    fn skip_string(&mut self, quote: u8) -> Result<(), CodeProblem> {
        let start = self.at;
        self.at += 1;
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let plain = rest
                .iter()
                .position(|byte| *byte == quote || matches!(byte, b'\\' | b'\n' | b'\r'));
            self.at += plain.unwrap_or(rest.len());
            let Some(byte) = self.peek(0) else { break };
            match byte {
                b'\\' => self.skip_escape(),
                b'\n' | b'\r' => break,
                b if b == quote => {
                    self.at += 1;
                    return Ok(());
                }
                _ => self.at += 1,
            }
        }
        Err(refuse(start..start + 1, "this string has no end on its line"))
    }

    fn skip_regex(&mut self) -> Result<(), CodeProblem> {
        let start = self.at;
        self.at += 1;
        let mut class = false;
        while let Some(byte) = self.peek(0) {
            match byte {
                b'\\' if !matches!(self.peek(1), Some(b'\n' | b'\r')) => self.skip_escape(),
                b'\n' | b'\r' | b'\\' => break,
                b'[' => {
                    class = true;
                    self.at += 1;
                }
                b']' => {
                    class = false;
                    self.at += 1;
                }
                b'/' if !class => {
                    self.at += 1;
                    self.skip_while(|c| c.is_ascii_alphabetic());
                    return Ok(());
                }
                _ if self.starts_with_line_separator() => break,
                _ => self.at += 1,
            }
        }
        Err(refuse(
            start..start + 1,
            "this regular expression has no end on its line",
        ))
    }

    fn skip_line(&mut self) {
        while let Some(byte) = self.peek(0) {
            if matches!(byte, b'\n' | b'\r') || self.starts_with_line_separator() {
                break;
            }
            self.at += 1;
        }
    }

    fn skip_comment(&mut self) -> Result<bool, CodeProblem> {
        let start = self.at;
        let body = self.source.get(start + 2..).unwrap_or_default();
        let Some(len) = body.find("*/") else {
            return Err(refuse(start..start + 2, "this comment has no end"));
        };
        self.at = start + 2 + len + 2;
        Ok(body.get(..len).is_some_and(|text| text.contains('\n')))
    }

    fn skip_escape(&mut self) {
        self.at += 1;
        // `\` + CR LF is one line continuation.
        let crlf = self.peek(0) == Some(b'\r') && self.peek(1) == Some(b'\n');
        self.at += if crlf {
            2
        } else {
            self.rest().chars().next().map_or(0, char::len_utf8)
        };
    }

    /// Skips what can be part of a name, escapes included.
    fn skip_word(&mut self) {
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let plain = rest.iter().position(|byte| !is_word(*byte));
            self.at += plain.unwrap_or(rest.len());
            match self.peek(0) {
                Some(0x80..) if !self.rest().starts_with(is_space) => {
                    self.at += self.rest().chars().next().map_or(1, char::len_utf8);
                }
                _ => break,
            }
        }
    }

    fn skip_while(&mut self, more: impl Fn(char) -> bool) {
        let rest = self.rest();
        self.at += rest.find(|c| !more(c)).unwrap_or(rest.len());
    }

    /// U+2028 and U+2029 end a line of code.
    fn starts_with_line_separator(&self) -> bool {
        self.peek(0) == Some(0xe2) && self.peek(1) == Some(0x80) && matches!(self.peek(2), Some(0xa8 | 0xa9))
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.bytes.get(self.at + ahead).copied()
    }

    /// What is left, from a character boundary on: `at` may stand inside a character only where bytes are skipped one by one.
    fn rest(&self) -> &str {
        self.source.get(self.at..).unwrap_or_default()
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'\\' | b'#' | b'@')
}

/// White space of ECMAScript outside ASCII.
fn is_space(c: char) -> bool {
    c == '\u{feff}' || c.is_whitespace()
}

fn refuse(span: Range<usize>, message: impl Into<String>) -> CodeProblem {
    CodeProblem::new(Rule::ParseOrLimit, span, message)
}

#[cfg(test)]
mod tests {
    use super::{check, measure};

    #[test]
    fn ordinary_code_passes() {
        let code = "const a = b / c / d;\nif (x) /re(/.test(y)\nconst t = `a${ {b: `c${d}`} }`\nfor (const x of y) { z! / 2; !/a[/(]/.test(q) }\n";
        assert_eq!(check(code), Ok(()));
        let many = "f(a, b)\nconst x = y + z\n".repeat(1500);
        assert_eq!(
            check(&many),
            Ok(()),
            "statements without semicolons do not add up"
        );
        let table = format!("const t = {{{}}}", "a: [1, 2, { b: 'c' }],\n".repeat(2000));
        assert_eq!(check(&table), Ok(()), "tables do not add up");
        let blocks = "if (a) { b() }\nfunction f() { return 1 }\n".repeat(800);
        assert_eq!(check(&blocks), Ok(()));
    }

    #[test]
    fn every_way_to_nest_is_counted() {
        for (open, count) in [
            ("(", 300),
            ("[", 300),
            ("{", 300),
            ("`${", 300),
            ("!", 2000),
            ("a=>", 2000),
            ("a+", 2000),
            ("a.", 2000),
            ("a<", 100),
            ("if(a)", 2000),
            ("if(a)b;else ", 2000),
            ("if(a){}else ", 2000),
            ("if(a)\n", 2000),
            ("new ", 2000),
            ("typeof ", 2000),
            ("a:", 2000),
            ("a?b:", 2000),
            ("x=", 2000),
            ("- ", 2000),
            ("await ", 2000),
            ("\"(\"+(", 300),
            ("/[(]/,(", 300),
            ("/*)*/(", 300),
            ("//)\n(", 300),
            ("')',(", 300),
            ("`)`,(", 300),
            ("for(;;)", 2000),
            ("while(a)", 2000),
            ("do ", 2000),
            ("a?.b", 2000),
            ("a()", 2000),
            ("keyof ", 2000),
            ("a as b ", 2000),
            ("async a=>", 2000),
            ("keyof\n", 2000),
            ("<a>\ntypeof ", 100),
            ("/)/,(", 300),
            ("{}/(/,(", 300),
        ] {
            assert!(check(&open.repeat(count)).is_err(), "{open:?} x {count} passed");
        }
    }

    #[test]
    fn a_slash_that_cannot_be_judged_is_refused() {
        for code in [
            "x = {} / 2",
            "a++ / 2",
            "f<T> / 2",
            "of / 2",
            "as / (1) / 2",
            "{} !/(/",
        ] {
            assert!(measure(code).is_err(), "{code:?} passed");
            assert_eq!(check(code), Ok(()), "so short a text needs no measuring");
        }
    }
}
