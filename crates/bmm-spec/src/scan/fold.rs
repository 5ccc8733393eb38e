//! Constant folding: what string does this expression spell, however it is put together?

use oxc_ast::ast::{
    Argument, ArrayExpressionElement, BinaryOperator, CallExpression, Expression, IdentifierReference,
    ObjectPropertyKind, PropertyKey, TemplateLiteral,
};
use oxc_semantic::Scoping;
use oxc_syntax::symbol::SymbolId;
use std::collections::HashMap;

/// Work per piece of code; what takes more stays unfolded.
const MAX_STEPS: usize = 50_000;
const MAX_DEPTH: usize = 64;
const MAX_LEN: usize = 4096;

/// A value known without running the code.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Const {
    Text(String),
    Number(f64),
    List(Vec<Const>),
}

/// Folds the expressions of one module.
pub(crate) struct Folder<'s, 'm> {
    scoping: &'m Scoping,
    /// What never changes after its declaration.
    pub(crate) constants: HashMap<SymbolId, &'s Expression<'s>>,
    known: HashMap<SymbolId, Option<Const>>,
    steps: usize,
}

impl<'s, 'm> Folder<'s, 'm> {
    pub(crate) fn new(scoping: &'m Scoping, constants: HashMap<SymbolId, &'s Expression<'s>>) -> Self {
        Self {
            scoping,
            constants,
            known: HashMap::new(),
            steps: 0,
        }
    }

    /// The symbol an identifier stands for; `None` for a global.
    pub(crate) fn symbol(&self, name: &IdentifierReference<'_>) -> Option<SymbolId> {
        name.reference_id
            .get()
            .and_then(|id| self.scoping.get_reference(id).symbol_id())
    }

    /// The string an expression spells.
    pub(crate) fn text(&mut self, expression: &'s Expression<'s>) -> Option<String> {
        self.fold(expression, 0).map(spell)
    }

    /// How the string of an expression starts, and whether that is all of it.
    pub(crate) fn prefix(&mut self, expression: &'s Expression<'s>) -> (String, bool) {
        self.prefix_at(expression, 0)
    }

    /// The name of a property key.
    pub(crate) fn key(&mut self, key: &'s PropertyKey<'s>, computed: bool) -> Option<String> {
        match key {
            PropertyKey::StaticIdentifier(name) if !computed => Some(name.name.to_string()),
            PropertyKey::PrivateIdentifier(_) => None,
            other => self.text(other.as_expression()?),
        }
    }

    fn prefix_at(&mut self, expression: &'s Expression<'s>, depth: usize) -> (String, bool) {
        let unknown = (String::new(), false);
        if depth > MAX_DEPTH || !self.step() {
            return unknown;
        }
        if let Some(whole) = self.fold(expression, depth) {
            return (spell(whole), true);
        }
        match expression.without_parentheses() {
            Expression::BinaryExpression(sum) if sum.operator == BinaryOperator::Addition => {
                let (mut start, whole) = self.prefix_at(&sum.left, depth + 1);
                if whole {
                    start.push_str(&self.prefix_at(&sum.right, depth + 1).0);
                }
                (start, false)
            }
            Expression::TemplateLiteral(template) => {
                let mut start = String::new();
                for (index, quasi) in template.quasis.iter().enumerate() {
                    start.push_str(quasi.value.cooked.as_ref().map_or("", |text| text.as_str()));
                    let Some(part) = template.expressions.get(index) else {
                        break;
                    };
                    let (text, whole) = self.prefix_at(part, depth + 1);
                    start.push_str(&text);
                    if !whole || start.len() > MAX_LEN {
                        break;
                    }
                }
                (start, false)
            }
            Expression::Identifier(name) => {
                match self
                    .symbol(name)
                    .and_then(|symbol| self.constants.get(&symbol).copied())
                {
                    Some(value) => self.prefix_at(value, depth + 1),
                    None => unknown,
                }
            }
            Expression::NewExpression(new) => {
                let callee = global_name(self, &new.callee);
                let mut arguments = new.arguments.iter().filter_map(Argument::as_expression);
                match (callee, arguments.next(), arguments.next()) {
                    (Some("URL"), Some(path), Some(base)) => {
                        let (start, whole) = self.prefix_at(path, depth + 1);
                        if start.contains(':') || (start.is_empty() && !whole) || start.starts_with("//") {
                            // Something absolute, or unknown, takes the base's place.
                            (start, whole)
                        } else {
                            let (base, whole) = self.prefix_at(base, depth + 1);
                            (if whole { base + "/" } else { base }, false)
                        }
                    }
                    (Some("URL" | "Request"), Some(url), _) => self.prefix_at(url, depth + 1),
                    _ => unknown,
                }
            }
            Expression::StaticMemberExpression(member) if member.property.name == "href" => {
                self.prefix_at(&member.object, depth + 1)
            }
            Expression::CallExpression(call) => match &call.callee {
                Expression::StaticMemberExpression(member)
                    if matches!(member.property.name.as_str(), "toString" | "concat") =>
                {
                    let (start, _) = self.prefix_at(&member.object, depth + 1);
                    (start, member.property.name == "toString")
                }
                Expression::Identifier(_) if global_name(self, &call.callee) == Some("String") => {
                    match call.arguments.first().and_then(Argument::as_expression) {
                        Some(value) => self.prefix_at(value, depth + 1),
                        None => unknown,
                    }
                }
                _ => unknown,
            },
            _ => unknown,
        }
    }

    fn step(&mut self) -> bool {
        self.steps += 1;
        self.steps <= MAX_STEPS
    }

    fn fold(&mut self, expression: &'s Expression<'s>, depth: usize) -> Option<Const> {
        if depth > MAX_DEPTH || !self.step() {
            return None;
        }
        let value = match expression.without_parentheses() {
            Expression::StringLiteral(text) => Const::Text(text.value.to_string()),
            Expression::NumericLiteral(number) => Const::Number(number.value),
            Expression::TemplateLiteral(template) => Const::Text(self.template(template, depth)?),
            Expression::TaggedTemplateExpression(tagged) => {
                let raw =
                    matches!(&tagged.tag, Expression::StaticMemberExpression(m) if m.property.name == "raw");
                let quasi = tagged
                    .quasi
                    .quasis
                    .first()
                    .filter(|_| raw && tagged.quasi.expressions.is_empty())?;
                Const::Text(quasi.value.raw.to_string())
            }
            Expression::Identifier(name) => {
                let symbol = self.symbol(name)?;
                if let Some(known) = self.known.get(&symbol) {
                    return known.clone();
                }
                let value = *self.constants.get(&symbol)?;
                // Also what stops `const a = a`.
                self.known.insert(symbol, None);
                let folded = self.fold(value, depth + 1);
                self.known.insert(symbol, folded.clone());
                folded?
            }
            Expression::BinaryExpression(binary) => {
                let (left, right) = (
                    self.fold(&binary.left, depth + 1)?,
                    self.fold(&binary.right, depth + 1)?,
                );
                arithmetic(binary.operator, left, right)?
            }
            Expression::SequenceExpression(sequence) => self.fold(sequence.expressions.last()?, depth + 1)?,
            Expression::ArrayExpression(array) => {
                let mut list = Vec::new();
                for element in &array.elements {
                    match element {
                        ArrayExpressionElement::SpreadElement(spread) => {
                            list.extend(items(self.fold(&spread.argument, depth + 1)?));
                        }
                        ArrayExpressionElement::Elision(_) => list.push(Const::Text(String::new())),
                        other => list.push(self.fold(other.as_expression()?, depth + 1)?),
                    }
                    if list.len() > MAX_LEN {
                        return None;
                    }
                }
                Const::List(list)
            }
            Expression::ComputedMemberExpression(member) => {
                let key = self.fold(&member.expression, depth + 1)?;
                match (&member.object, &key) {
                    (_, Const::Number(index)) => {
                        let index = whole(*index)?;
                        items(self.fold(&member.object, depth + 1)?)
                            .into_iter()
                            .nth(index)?
                    }
                    (object, _) => self.property(object, &spell(key), depth)?,
                }
            }
            Expression::StaticMemberExpression(member) => {
                match (&member.object, member.property.name.as_str()) {
                    (Expression::RegExpLiteral(regex), "source") => {
                        Const::Text(regex.regex.pattern.text.to_string())
                    }
                    (object, name) => self.property(object, name, depth)?,
                }
            }
            Expression::CallExpression(call) => self.call(call, depth)?,
            _ => return None,
        };
        match &value {
            Const::Text(text) if text.len() > MAX_LEN => None,
            _ => Some(value),
        }
    }

    fn template(&mut self, template: &'s TemplateLiteral<'s>, depth: usize) -> Option<String> {
        let mut text = String::new();
        for (index, quasi) in template.quasis.iter().enumerate() {
            text.push_str(quasi.value.cooked.as_ref()?.as_str());
            if let Some(part) = template.expressions.get(index) {
                text.push_str(&spell(self.fold(part, depth + 1)?));
            }
            if text.len() > MAX_LEN {
                return None;
            }
        }
        Some(text)
    }

    /// A field of an object literal that is a constant.
    fn property(&mut self, object: &'s Expression<'s>, name: &str, depth: usize) -> Option<Const> {
        let literal = match object.without_parentheses() {
            Expression::Identifier(id) => *self.constants.get(&self.symbol(id)?)?,
            other => other,
        };
        let Expression::ObjectExpression(literal) = literal.without_parentheses() else {
            return None;
        };
        for property in &literal.properties {
            let ObjectPropertyKind::ObjectProperty(property) = property else {
                return None;
            };
            if self.key(&property.key, property.computed).as_deref() == Some(name) {
                return self.fold(&property.value, depth + 1);
            }
        }
        None
    }

    fn call(&mut self, call: &'s CallExpression<'s>, depth: usize) -> Option<Const> {
        let mut arguments = Vec::new();
        for argument in &call.arguments {
            match argument {
                Argument::SpreadElement(spread) => {
                    arguments.extend(items(self.fold(&spread.argument, depth + 1)?))
                }
                other => arguments.push(self.fold(other.as_expression()?, depth + 1)?),
            }
            if arguments.len() > MAX_LEN {
                return None;
            }
        }
        if let Some(name) = global_name(self, &call.callee) {
            let text = spell(arguments.into_iter().next()?);
            return match name {
                "String" => Some(Const::Text(text)),
                "decodeURIComponent" | "decodeURI" | "unescape" => Some(Const::Text(percent_decoded(&text))),
                "atob" => Some(Const::Text(base64_decoded(&text)?)),
                _ => None,
            };
        }
        let (object, method) = match call.callee.without_parentheses() {
            Expression::StaticMemberExpression(member) => (&member.object, member.property.name.to_string()),
            Expression::ComputedMemberExpression(member) => {
                let name = self.fold(&member.expression, depth + 1)?;
                (&member.object, spell(name))
            }
            _ => return None,
        };
        if matches!(method.as_str(), "fromCharCode" | "fromCodePoint") {
            let mut text = String::new();
            for argument in arguments {
                let Const::Number(code) = argument else {
                    return None;
                };
                text.push(char::from_u32(u32::try_from(whole(code)?).ok()?)?);
            }
            return Some(Const::Text(text));
        }
        let target = self.fold(object, depth + 1)?;
        method_of(target, &method, &arguments)
    }
}

/// The name of a global that an expression is.
pub(crate) fn global_name<'e>(folder: &Folder<'_, '_>, expression: &'e Expression<'_>) -> Option<&'e str> {
    match expression.without_parentheses() {
        Expression::Identifier(name) if folder.symbol(name).is_none() => Some(name.name.as_str()),
        _ => None,
    }
}

fn method_of(target: Const, method: &str, arguments: &[Const]) -> Option<Const> {
    let first = arguments.first();
    let index = |at: usize| match arguments.get(at) {
        Some(Const::Number(n)) => whole(*n),
        _ => None,
    };
    let text_of = |at: usize| arguments.get(at).cloned().map(spell);
    Some(match (target, method) {
        (Const::List(list), "join") => {
            let separator = first.cloned().map_or(",".to_owned(), spell);
            Const::Text(list.into_iter().map(spell).collect::<Vec<_>>().join(&separator))
        }
        (Const::List(mut list), "reverse" | "toReversed") => {
            list.reverse();
            Const::List(list)
        }
        (Const::List(mut list), "concat") => {
            for argument in arguments {
                match argument {
                    Const::List(more) => list.extend(more.iter().cloned()),
                    one => list.push(one.clone()),
                }
            }
            Const::List(list)
        }
        (Const::List(list), "at") => list.into_iter().nth(index(0)?)?,
        (Const::List(list), "toString") => Const::Text(spell(Const::List(list))),
        (Const::Text(mut text), "concat") => {
            arguments.iter().for_each(|a| text.push_str(&spell(a.clone())));
            Const::Text(text)
        }
        (Const::Text(text), "split") => {
            let separator = text_of(0)?;
            let parts = if separator.is_empty() {
                text.chars().map(|c| Const::Text(c.to_string())).collect()
            } else {
                text.split(&separator)
                    .map(|part| Const::Text(part.to_owned()))
                    .collect()
            };
            Const::List(parts)
        }
        (Const::Text(text), "toString" | "valueOf" | "normalize") => Const::Text(text),
        (Const::Text(text), "trim") => Const::Text(text.trim().to_owned()),
        (Const::Text(text), "toLowerCase" | "toLocaleLowerCase") => Const::Text(text.to_lowercase()),
        (Const::Text(text), "toUpperCase" | "toLocaleUpperCase") => Const::Text(text.to_uppercase()),
        (Const::Text(text), "charAt" | "at") => Const::Text(text.chars().nth(index(0)?)?.to_string()),
        (Const::Text(text), "slice" | "substring" | "substr") => {
            let (start, second) = (index(0)?, index(1).unwrap_or(MAX_LEN));
            let len = if method == "substr" {
                second
            } else {
                second.saturating_sub(start)
            };
            Const::Text(text.chars().skip(start).take(len).collect())
        }
        (Const::Text(text), "replace") => Const::Text(text.replacen(&text_of(0)?, &text_of(1)?, 1)),
        (Const::Text(text), "replaceAll") => {
            let (from, to) = (text_of(0)?, text_of(1)?);
            if from.is_empty() || to.len() > 16 {
                return None;
            }
            Const::Text(text.replace(&from, &to))
        }
        (Const::Number(number), "toString") => Const::Text(in_radix(whole(number)?, index(0).unwrap_or(10))?),
        _ => return None,
    })
}

fn arithmetic(operator: BinaryOperator, left: Const, right: Const) -> Option<Const> {
    match (operator, left, right) {
        (BinaryOperator::Addition, Const::Number(a), Const::Number(b)) => Some(Const::Number(a + b)),
        (BinaryOperator::Addition, a, b) => Some(Const::Text(spell(a) + &spell(b))),
        (operator, Const::Number(a), Const::Number(b)) => Some(Const::Number(match operator {
            BinaryOperator::Subtraction => a - b,
            BinaryOperator::Multiplication => a * b,
            BinaryOperator::Division => a / b,
            BinaryOperator::Remainder => a % b,
            BinaryOperator::BitwiseXOR => {
                f64::from(u32::try_from(whole(a)?).ok()? ^ u32::try_from(whole(b)?).ok()?)
            }
            _ => return None,
        })),
        _ => None,
    }
}

fn items(value: Const) -> Vec<Const> {
    match value {
        Const::List(list) => list,
        Const::Text(text) => text.chars().map(|c| Const::Text(c.to_string())).collect(),
        Const::Number(_) => Vec::new(),
    }
}

fn spell(value: Const) -> String {
    match value {
        Const::Text(text) => text,
        Const::Number(number) => number.to_string(),
        Const::List(list) => list.into_iter().map(spell).collect::<Vec<_>>().join(","),
    }
}

fn whole(number: f64) -> Option<usize> {
    const MAX_EXACT: f64 = 9_007_199_254_740_992.0;
    // In range and without a fraction, so the cast is exact.
    (number.fract() == 0.0 && (0.0..MAX_EXACT).contains(&number)).then_some(number as usize)
}

fn in_radix(mut number: usize, radix: usize) -> Option<String> {
    let base = u32::try_from(radix).ok().filter(|base| (2..=36).contains(base))?;
    let mut digits = Vec::new();
    loop {
        digits.push(char::from_digit(u32::try_from(number % radix).ok()?, base)?);
        number /= radix;
        if number == 0 {
            return Some(digits.into_iter().rev().collect());
        }
    }
}

fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let hex = text
            .get(at + 1..at + 3)
            .filter(|_| *byte == b'%')
            .and_then(|h| u8::from_str_radix(h, 16).ok());
        out.push(hex.unwrap_or(*byte));
        at += if hex.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn base64_decoded(text: &str) -> Option<String> {
    let (mut out, mut buffer, mut bits) = (Vec::new(), 0u32, 0u32);
    for byte in text.bytes().filter(|b| !b.is_ascii_whitespace() && *b != b'=') {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        buffer = (buffer << 6 | u32::from(value)) & 0xffff;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push(u8::try_from(buffer >> bits & 0xff).ok()?);
        }
    }
    // `atob` gives one character per byte.
    Some(out.into_iter().map(char::from).collect())
}
