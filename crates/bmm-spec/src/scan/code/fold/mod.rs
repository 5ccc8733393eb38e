//! Constant folding: what string does this expression spell, however it is put together?

mod methods;
mod names;

pub(crate) use names::is_global_object;

use methods::{arithmetic, base64_decoded, items, method_of, percent_decoded, spell, whole};
use oxc_ast::ast::{
    Argument, ArrayExpressionElement, CallExpression, Expression, IdentifierReference, PropertyKey,
    TemplateLiteral,
};
use oxc_semantic::{AstNodes, Scoping};
use oxc_syntax::{operator::BinaryOperator, symbol::SymbolId};
use rustc_hash::FxHashMap;

/// Work per piece of code, and more for each of its bytes; what takes more stays unfolded, which is a finding of its own.
const MIN_STEPS: usize = 50_000;
const STEPS_PER_BYTE: usize = 16;
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
    nodes: &'m AstNodes<'s>,
    known: FxHashMap<SymbolId, Option<Const>>,
    /// Parameters of the functions whose calls are being folded.
    arguments: Vec<(SymbolId, Const)>,
    steps: usize,
    max_steps: usize,
}

impl<'s, 'm> Folder<'s, 'm> {
    pub(crate) fn new(scoping: &'m Scoping, nodes: &'m AstNodes<'s>) -> Self {
        let bytes = usize::try_from(nodes.program().span.size()).unwrap_or(0);
        Self {
            scoping,
            nodes,
            known: FxHashMap::default(),
            arguments: Vec::new(),
            steps: 0,
            max_steps: MIN_STEPS + STEPS_PER_BYTE * bytes,
        }
    }

    /// The symbol an identifier stands for; `None` for a global.
    pub(crate) fn symbol(&self, name: &IdentifierReference<'_>) -> Option<SymbolId> {
        name.reference_id
            .get()
            .and_then(|id| self.scoping.get_reference(id).symbol_id())
    }

    /// Did the code ask for more folding than it gets?
    pub(crate) fn is_exhausted(&self) -> bool {
        self.steps > self.max_steps
    }

    /// The value of an expression.
    pub(crate) fn value(&mut self, expression: &'s Expression<'s>) -> Option<Const> {
        self.fold(expression, 0)
    }

    /// The string an expression spells.
    pub(crate) fn text(&mut self, expression: &'s Expression<'s>) -> Option<String> {
        self.fold(expression, 0).map(spell)
    }

    /// The number an expression is.
    pub(crate) fn number(&mut self, expression: &'s Expression<'s>) -> Option<f64> {
        match self.fold(expression, 0)? {
            Const::Number(number) => Some(number),
            _ => None,
        }
    }

    /// The strings an expression may spell: the one it does, or those of its branches, defaults and assignments.
    pub(crate) fn candidates(&mut self, expression: &'s Expression<'s>) -> Vec<String> {
        let mut found = Vec::new();
        self.collect(expression, 0, &mut found);
        found
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

    fn collect(&mut self, expression: &'s Expression<'s>, depth: usize, found: &mut Vec<String>) {
        const MAX_CANDIDATES: usize = 16;
        if depth > MAX_DEPTH || found.len() >= MAX_CANDIDATES || !self.step() {
            return;
        }
        if let Some(value) = self.fold(expression, depth) {
            found.push(spell(value));
            return;
        }
        match expression.get_inner_expression() {
            Expression::ConditionalExpression(choice) => {
                self.collect(&choice.consequent, depth + 1, found);
                self.collect(&choice.alternate, depth + 1, found);
            }
            Expression::LogicalExpression(choice) => {
                self.collect(&choice.left, depth + 1, found);
                self.collect(&choice.right, depth + 1, found);
            }
            Expression::Identifier(name) => {
                let Some(symbol) = self.symbol(name) else { return };
                if let Some(default) = self.default_of(symbol) {
                    self.collect(default, depth + 1, found);
                }
                found.extend(self.assigned(symbol, depth + 1));
            }
            _ => {}
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
        match expression.get_inner_expression() {
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
            Expression::Identifier(_) | Expression::StaticMemberExpression(_)
                if !std::ptr::eq(self.resolve(expression), expression.get_inner_expression()) =>
            {
                let value = self.resolve(expression);
                self.prefix_at(value, depth + 1)
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
            Expression::CallExpression(call) => match call.callee.get_inner_expression() {
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
        self.steps <= self.max_steps
    }

    /// A copy of a value costs as much as making it.
    fn copy(&mut self, value: &Const) -> Option<Const> {
        self.steps += match value {
            Const::Text(text) => text.len() / 64,
            Const::List(list) => list.len(),
            Const::Number(_) => 0,
        };
        (self.steps <= self.max_steps).then(|| value.clone())
    }

    fn fold(&mut self, expression: &'s Expression<'s>, depth: usize) -> Option<Const> {
        if depth > MAX_DEPTH || !self.step() {
            return None;
        }
        let value = match expression.get_inner_expression() {
            Expression::StringLiteral(text) => Const::Text(text.value.to_string()),
            Expression::NumericLiteral(number) => Const::Number(number.value),
            Expression::TemplateLiteral(template) => Const::Text(self.template(template, depth)?),
            Expression::TaggedTemplateExpression(tagged) => {
                let raw =
                    matches!(&tagged.tag, Expression::StaticMemberExpression(m) if m.property.name == "raw");
                if !raw {
                    return None;
                }
                let mut text = String::new();
                for (index, quasi) in tagged.quasi.quasis.iter().enumerate() {
                    text.push_str(quasi.value.raw.as_str());
                    if let Some(part) = tagged.quasi.expressions.get(index) {
                        text.push_str(&spell(self.fold(part, depth + 1)?));
                    }
                }
                Const::Text(text)
            }
            Expression::Identifier(name) => {
                let symbol = self.symbol(name)?;
                if let Some(at) = self.arguments.iter().rposition(|(known, _)| *known == symbol) {
                    let value = self.arguments.get(at)?.1.clone();
                    return self.copy(&value);
                }
                if let Some(known) = self.known.get(&symbol) {
                    let known = known.clone()?;
                    return self.copy(&known);
                }
                // Also what stops `const a = a`.
                self.known.insert(symbol, None);
                let folded = self.bound_value(symbol, depth + 1)?;
                self.known.insert(symbol, Some(folded.clone()));
                folded
            }
            Expression::BinaryExpression(binary) if binary.operator == BinaryOperator::Addition => {
                return self.sum(expression, depth);
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
                match (self.part(&member.object, &spell(key.clone()), depth + 1), key) {
                    (Some(part), _) => self.fold(part, depth + 1)?,
                    (None, Const::Number(index)) => items(self.fold(&member.object, depth + 1)?)
                        .into_iter()
                        .nth(whole(index)?)?,
                    _ => return None,
                }
            }
            Expression::StaticMemberExpression(member) => {
                let name = member.property.name.as_str();
                if let Some(part) = self.part(&member.object, name, depth + 1) {
                    return self.fold(part, depth + 1);
                }
                match (self.resolve(&member.object), name) {
                    (Expression::RegExpLiteral(regex), "source") => {
                        Const::Text(regex.regex.pattern.text.to_string())
                    }
                    (Expression::FunctionExpression(function), "name") => {
                        Const::Text(function.id.as_ref()?.name.to_string())
                    }
                    (Expression::ClassExpression(class), "name") => {
                        Const::Text(class.id.as_ref()?.name.to_string())
                    }
                    (Expression::CallExpression(call), "description")
                        if global_name(self, &call.callee) == Some("Symbol") =>
                    {
                        self.fold(call.arguments.first()?.as_expression()?, depth + 1)?
                    }
                    _ => return None,
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

    /// A chain of `+`, however long: its left side is walked, not recursed into.
    fn sum(&mut self, expression: &'s Expression<'s>, depth: usize) -> Option<Const> {
        let (mut rest, mut parts) = (expression.get_inner_expression(), Vec::new());
        while let Expression::BinaryExpression(sum) = rest
            && sum.operator == BinaryOperator::Addition
        {
            parts.push(&sum.right);
            rest = sum.left.get_inner_expression();
        }
        let mut value = self.fold(rest, depth + 1)?;
        for part in parts.into_iter().rev() {
            let part = self.fold(part, depth + 1)?;
            value = arithmetic(BinaryOperator::Addition, value, part)?;
            if matches!(&value, Const::Text(text) if text.len() > MAX_LEN) {
                return None;
            }
        }
        Some(value)
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

    fn call(&mut self, call: &'s CallExpression<'s>, depth: usize) -> Option<Const> {
        let (object, method) = match call.callee.get_inner_expression() {
            Expression::StaticMemberExpression(member) => (&member.object, member.property.name.to_string()),
            Expression::ComputedMemberExpression(member) => {
                let name = self.fold(&member.expression, depth + 1)?;
                (&member.object, spell(name))
            }
            callee => {
                if let Some(name) = global_name(self, callee) {
                    return self.global_call(name, call, depth);
                }
                let arguments = self.arguments_of(call, depth)?;
                return self.apply(callee, arguments, depth + 1);
            }
        };
        match (global_name(self, object), method.as_str()) {
            (Some("Object"), "keys" | "getOwnPropertyNames") => {
                let keys = self.keys_of(call.arguments.first()?.as_expression()?)?;
                return Some(Const::List(keys.into_iter().map(Const::Text).collect()));
            }
            (Some("Array"), "from") => {
                let value = self.fold(call.arguments.first()?.as_expression()?, depth + 1)?;
                let list = items(value);
                return match call.arguments.get(1).and_then(Argument::as_expression) {
                    Some(function) => self.map(function, list, depth + 1).map(Const::List),
                    None => Some(Const::List(list)),
                };
            }
            (Some("Array"), "of") => return Some(Const::List(self.arguments_of(call, depth)?)),
            (Some("Buffer"), "from") => {
                let arguments = self.arguments_of(call, depth)?;
                return methods::bytes_of(&arguments);
            }
            (Some("JSON"), "parse" | "stringify") => {
                let text = spell(self.fold(call.arguments.first()?.as_expression()?, depth + 1)?);
                return Some(Const::Text(text.trim_matches('"').to_owned()));
            }
            _ => {}
        }
        if matches!(method.as_str(), "fromCharCode" | "fromCodePoint") {
            return methods::from_codes(self.arguments_of(call, depth)?);
        }
        if matches!(method.as_str(), "apply" | "call") {
            // `String.fromCharCode.apply(null, codes)`
            let mut arguments = self.arguments_after_receiver(call, depth)?;
            if method == "apply" {
                arguments = arguments.into_iter().next().map(items)?;
            }
            return match object.get_inner_expression() {
                Expression::StaticMemberExpression(member)
                    if matches!(member.property.name.as_str(), "fromCharCode" | "fromCodePoint") =>
                {
                    methods::from_codes(arguments)
                }
                callee => self.apply(callee, arguments, depth + 1),
            };
        }
        if method == "decode"
            && let Expression::NewExpression(new) = self.resolve(object)
            && global_name(self, &new.callee) == Some("TextDecoder")
        {
            let argument = call.arguments.first()?.as_expression()?;
            let bytes = match self.resolve(argument) {
                Expression::NewExpression(array) => array.arguments.first()?.as_expression()?,
                other => other,
            };
            let codes = items(self.fold(bytes, depth + 1)?);
            return methods::from_codes(codes);
        }
        let target = self.fold(object, depth + 1)?;
        if let Some(function) = call.arguments.first().and_then(Argument::as_expression)
            && function.get_inner_expression().is_function()
        {
            return match (target, method.as_str()) {
                (Const::List(list), "map") => self.map(function, list, depth + 1).map(Const::List),
                (Const::List(list), "reduce") => {
                    let initial = call.arguments.get(1).and_then(Argument::as_expression);
                    let mut values = list.into_iter();
                    let mut sum = match initial {
                        Some(initial) => self.fold(initial, depth + 1)?,
                        None => values.next()?,
                    };
                    for value in values {
                        sum = self.apply(function, vec![sum, value], depth + 1)?;
                    }
                    Some(sum)
                }
                _ => None,
            };
        }
        let arguments = self.arguments_of(call, depth)?;
        method_of(target, &method, &arguments)
    }

    fn global_call(&mut self, name: &str, call: &'s CallExpression<'s>, depth: usize) -> Option<Const> {
        if !matches!(
            name,
            "String" | "decodeURIComponent" | "decodeURI" | "unescape" | "atob" | "Number" | "parseInt"
        ) {
            return None;
        }
        let text = spell(self.arguments_of(call, depth)?.into_iter().next()?);
        match name {
            "String" => Some(Const::Text(text)),
            "atob" => Some(Const::Text(base64_decoded(&text)?)),
            "Number" | "parseInt" => text.parse().ok().map(Const::Number),
            _ => Some(Const::Text(percent_decoded(&text))),
        }
    }

    fn arguments_of(&mut self, call: &'s CallExpression<'s>, depth: usize) -> Option<Vec<Const>> {
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
        Some(arguments)
    }

    /// The arguments of `f.call` and `f.apply` without the first, which need not be known.
    fn arguments_after_receiver(&mut self, call: &'s CallExpression<'s>, depth: usize) -> Option<Vec<Const>> {
        let rest = call.arguments.iter().skip(1);
        rest.map(|argument| self.fold(argument.as_expression()?, depth + 1))
            .collect()
    }

    fn map(&mut self, function: &'s Expression<'s>, list: Vec<Const>, depth: usize) -> Option<Vec<Const>> {
        // `.map(String)` and `.map(Number)` do not change what is spelled.
        if matches!(global_name(self, function), Some("String" | "Number")) {
            return Some(list);
        }
        let values = list.into_iter().enumerate();
        values
            .map(|(index, value)| {
                let index = Const::Number(f64::from(u32::try_from(index).ok()?));
                self.apply(function, vec![value, index], depth)
            })
            .collect()
    }

    /// What a function of one expression gives for known arguments.
    fn apply(&mut self, callee: &'s Expression<'s>, arguments: Vec<Const>, depth: usize) -> Option<Const> {
        if depth > MAX_DEPTH || !self.step() {
            return None;
        }
        let (parameters, body) = self.function(callee)?;
        let before = self.arguments.len();
        for (parameter, value) in parameters.items.iter().zip(arguments) {
            let symbol = parameter.pattern.get_binding_identifier()?.symbol_id.get()?;
            self.arguments.push((symbol, value));
        }
        let value = self.fold(body, depth + 1);
        self.arguments.truncate(before);
        value
    }
}

/// The name of a global that an expression is.
pub(crate) fn global_name<'e>(folder: &Folder<'_, '_>, expression: &'e Expression<'_>) -> Option<&'e str> {
    match expression.get_inner_expression() {
        Expression::Identifier(name) if folder.symbol(name).is_none() => Some(name.name.as_str()),
        _ => None,
    }
}
