//! The shape of code that does not want to be read: what obfuscators leave behind whatever they hide.

use super::{Hit, range};
use crate::rule::{Confidence, Rule};
use oxc_ast::ast::{StringLiteral, TemplateElement};
use oxc_span::Span;
use std::ops::Range;

/// Different names of the kind `_0x1a2b` or `$_$_`.
const MAX_MACHINE_NAMES: usize = 4;
/// Letters and digits written as escapes.
const MAX_ESCAPES: usize = 10;
/// Characters in a row of `[]()!+`.
const MAX_BRACKETS: usize = 100;
/// Length of a literal without a space that a decoder is there for.
const PACKED_BYTES: usize = 800;

/// What was seen on the way through a tree.
#[derive(Debug, Default)]
pub(super) struct Shape {
    machine_names: Vec<String>,
    escapes: usize,
    first_escape: Option<Range<usize>>,
    packed: Option<Range<usize>>,
    decodes: bool,
    order: Option<Range<usize>>,
    splits: bool,
    rotates: Option<Range<usize>>,
}

impl Shape {
    /// A name of a variable or a property.
    pub(super) fn name(&mut self, name: &str) {
        match name.as_bytes() {
            [b'_', b'0', b'x', ..] | [b'_' | b'$', b'_' | b'$', b'_' | b'$', ..]
                if self.machine_names.len() < MAX_MACHINE_NAMES
                    && is_machine_made(name)
                    && self.machine_names.iter().all(|known| known != name) =>
            {
                self.machine_names.push(name.to_owned());
            }
            b"atob" | b"unescape" | b"fromCharCode" | b"charCodeAt" | b"fromCodePoint" => self.decodes = true,
            b"split" => self.splits = true,
            _ => {}
        }
    }

    pub(super) fn literal(&mut self, literal: &StringLiteral<'_>) {
        let value = literal.value.as_str();
        if let Some(raw) = &literal.raw
            && raw.len() > value.len() + 2
        {
            self.escaped(raw.as_str(), literal.span);
        }
        let bytes = value.as_bytes();
        if bytes.len() >= PACKED_BYTES && !bytes.contains(&b' ') {
            self.packed.get_or_insert(range(literal.span));
        }
        if let [b'0'..=b'9', _, _, _, _, ..] = bytes
            && bytes.iter().all(|b| b.is_ascii_digit() || *b == b'|')
            && bytes.iter().filter(|b| **b == b'|').count() >= 2
        {
            self.order.get_or_insert(range(literal.span));
        }
    }

    pub(super) fn template(&mut self, element: &TemplateElement<'_>) {
        let cooked = element.value.cooked.as_ref().map_or(0, |text| text.len());
        if element.value.raw.len() > cooked {
            self.escaped(element.value.raw.as_str(), element.span);
        }
    }

    /// `list.push(list.shift())`
    pub(super) fn rotation(&mut self, span: Span) {
        self.rotates.get_or_insert(range(span));
    }

    fn escaped(&mut self, raw: &str, span: Span) {
        let found = plain_escapes(raw);
        if found > 0 {
            self.escapes += found;
            self.first_escape.get_or_insert(range(span));
        }
    }

    pub(super) fn judge(self, source: &str) -> Vec<Hit> {
        let mut hits = Vec::new();
        let mut hit = |span: Range<usize>, confidence, message: &str| {
            hits.push(Hit::new(Rule::Obfuscated, span, message).with_confidence(confidence));
        };
        if let Some(span) = bracket_run(source) {
            hit(span, Confidence::High, "is written in brackets and signs");
        }
        if self.machine_names.len() >= MAX_MACHINE_NAMES {
            let name = self.machine_names.first().map_or("", String::as_str);
            let at = source.find(name).unwrap_or(0);
            hit(
                at..at + name.len(),
                Confidence::High,
                "has names that a machine made up",
            );
        }
        if self.escapes >= MAX_ESCAPES {
            let span = self.first_escape.unwrap_or(0..0);
            hit(span, Confidence::High, "writes plain letters as escapes");
        }
        if let Some(span) = self.rotates {
            hit(
                span,
                Confidence::Medium,
                "turns a list until its entries are in another order",
            );
        }
        if let Some(span) = self.packed.filter(|_| self.decodes) {
            hit(span, Confidence::Medium, "unpacks a long literal");
        }
        if let Some(span) = self.order.filter(|_| self.splits) {
            hit(
                span,
                Confidence::Medium,
                "runs its steps in an order that a literal gives",
            );
        }
        hits
    }
}

fn is_machine_made(name: &str) -> bool {
    match name.strip_prefix("_0x") {
        Some(digits) => digits.len() >= 4 && digits.bytes().all(|b| b.is_ascii_hexdigit()),
        None => name.bytes().all(|b| matches!(b, b'_' | b'$')),
    }
}

/// Letters and digits written as `\x61`, `\u0061` or `\u{61}`: nobody does that by hand.
fn plain_escapes(raw: &str) -> usize {
    let mut parts = raw.split('\\');
    parts.next();
    let code = |digits: Option<&str>| digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
    parts
        .filter(|part| {
            let code = match part.as_bytes().first() {
                Some(b'x') => code(part.get(1..3)),
                Some(b'u') => match part.strip_prefix("u{") {
                    Some(rest) => code(rest.split('}').next()),
                    None => code(part.get(1..5)),
                },
                _ => None,
            };
            code.is_some_and(|code| code.is_ascii_alphanumeric())
        })
        .count()
}

/// The first long run of nothing but `[]()!+`.
fn bracket_run(source: &str) -> Option<Range<usize>> {
    let bytes = source.as_bytes();
    // Such code is full of `!`; this count is the whole cost for other code.
    if bytes.iter().filter(|b| **b == b'!').count() < MAX_BRACKETS / 8 {
        return None;
    }
    let mut start = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if !matches!(byte, b'[' | b']' | b'(' | b')' | b'!' | b'+') {
            start = at + 1;
        } else if at + 1 - start >= MAX_BRACKETS {
            return Some(start..at + 1);
        }
    }
    None
}
