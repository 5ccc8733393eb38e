//! Where does a request go? The URL as text and unknown parts, followed through names, parameters, helpers and tables.

use super::{
    graph::{Graph, Write},
    labels::Labels,
    transfer::receiver,
};
use crate::scan::code::fold::global_name;
use oxc_ast::ast::{Argument, BinaryOperator, ChainElement, Expression, ObjectPropertyKind};
use oxc_syntax::symbol::SymbolId;
use rustc_hash::FxHashMap;

const MAX_DEPTH: usize = 24;
/// Work per request, and for all requests of a module.
const MAX_STEPS: usize = 4_000;
const MAX_STEPS_IN_ALL: usize = 100_000;
/// Different URLs that one request may have, as far as they are followed.
const MAX_ALTERNATIVES: usize = 32;

/// A piece of a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Text(String),
    /// Only known at run time.
    Unknown(Labels),
}

/// One URL that a request may have.
pub(super) type Parts = Vec<Part>;

pub(super) struct Urls<'g, 's, 'm> {
    graph: &'g mut Graph<'s, 'm>,
    writes: FxHashMap<SymbolId, Vec<Write<'s>>>,
    /// Names being followed, so that `url = url + x` ends.
    open: Vec<SymbolId>,
    steps: usize,
    steps_in_all: usize,
}

impl<'g, 's, 'm> Urls<'g, 's, 'm> {
    pub(super) fn new(graph: &'g mut Graph<'s, 'm>) -> Self {
        let writes = graph.writes();
        Self {
            graph,
            writes,
            open: Vec::new(),
            steps: 0,
            steps_in_all: 0,
        }
    }

    pub(super) fn graph(&mut self) -> &mut Graph<'s, 'm> {
        self.graph
    }

    pub(super) fn read(&self) -> &Graph<'s, 'm> {
        self.graph
    }

    /// Every URL that an expression may be.
    pub(super) fn of(&mut self, expression: &'s Expression<'s>) -> Vec<Parts> {
        self.steps_in_all += self.steps;
        self.steps = if self.steps_in_all > MAX_STEPS_IN_ALL {
            MAX_STEPS
        } else {
            0
        };
        let mut found = self.parts(expression, 0);
        found.dedup();
        found
    }

    /// Every text that an expression may be; the others are `None`.
    pub(super) fn texts(&mut self, expression: &'s Expression<'s>) -> Vec<Option<String>> {
        let whole = |parts: Parts| {
            parts.into_iter().try_fold(String::new(), |sum, part| match part {
                Part::Text(text) => Some(sum + &text),
                Part::Unknown(_) => None,
            })
        };
        self.of(expression).into_iter().map(whole).collect()
    }

    /// The values a name is given.
    pub(super) fn values(&self, symbol: SymbolId) -> &[Write<'s>] {
        self.writes.get(&symbol).map(Vec::as_slice).unwrap_or_default()
    }

    fn unknown(&self, expression: &'s Expression<'s>) -> Vec<Parts> {
        vec![vec![Part::Unknown(self.graph.value(expression).flat())]]
    }

    fn parts(&mut self, expression: &'s Expression<'s>, depth: usize) -> Vec<Parts> {
        self.steps += 1;
        if depth > MAX_DEPTH || self.steps > MAX_STEPS {
            return self.unknown(expression);
        }
        if let Some(text) = self.graph.folder.text(expression) {
            return vec![vec![Part::Text(text)]];
        }
        let next = depth + 1;
        match expression.without_parentheses() {
            Expression::BinaryExpression(sum) if sum.operator == BinaryOperator::Addition => {
                let left = self.parts(&sum.left, next);
                let right = self.parts(&sum.right, next);
                joined(left, &right)
            }
            Expression::TemplateLiteral(template) => {
                let mut sum = vec![Vec::new()];
                for (index, quasi) in template.quasis.iter().enumerate() {
                    let text = quasi.value.cooked.as_ref().map_or("", |text| text.as_str());
                    sum = joined(sum, &[vec![Part::Text(text.to_owned())]]);
                    if let Some(part) = template.expressions.get(index) {
                        let part = self.parts(part, next);
                        sum = joined(sum, &part);
                    }
                }
                sum
            }
            Expression::ConditionalExpression(choice) => {
                let mut all = self.parts(&choice.consequent, next);
                all.extend(self.parts(&choice.alternate, next));
                all
            }
            Expression::LogicalExpression(logical) => {
                let mut all = self.parts(&logical.right, next);
                if !logical.operator.is_and() {
                    all.extend(self.parts(&logical.left, next));
                }
                all
            }
            Expression::AwaitExpression(wait) => self.parts(&wait.argument, next),
            Expression::AssignmentExpression(assignment) => self.parts(&assignment.right, next),
            Expression::ChainExpression(chain) => match &chain.expression {
                ChainElement::CallExpression(call) => {
                    self.call(expression, &call.callee, &call.arguments, next)
                }
                _ => self.unknown(expression),
            },
            Expression::Identifier(name) => match self.graph.folder.symbol(name) {
                Some(symbol) => self.name(expression, symbol, next),
                None => self.unknown(expression),
            },
            Expression::NewExpression(new) => {
                let arguments: Vec<_> = new.arguments.iter().filter_map(Argument::as_expression).collect();
                match (global_name(&self.graph.folder, &new.callee), arguments.as_slice()) {
                    (Some("URL"), [path, base, ..]) => {
                        let paths = self.parts(path, next);
                        let bases = self.parts(base, next);
                        resolved(paths, &bases)
                    }
                    (Some("URL" | "Request"), [url, ..]) => self.parts(url, next),
                    _ => self.unknown(expression),
                }
            }
            Expression::StaticMemberExpression(member) => match member.property.name.as_str() {
                "href" => self.parts(&member.object, next),
                name => self.field(expression, &member.object, Some(name), next),
            },
            // One of a table in the code.
            Expression::ComputedMemberExpression(member) => {
                let name = self.graph.folder.text(&member.expression);
                self.field(expression, &member.object, name.as_deref(), next)
            }
            Expression::CallExpression(call) => self.call(expression, &call.callee, &call.arguments, next),
            _ => self.unknown(expression),
        }
    }

    fn name(&mut self, expression: &'s Expression<'s>, symbol: SymbolId, depth: usize) -> Vec<Parts> {
        let writes = self.writes.get(&symbol).cloned().unwrap_or_default();
        if writes.iter().all(|write| write.appends) || self.open.contains(&symbol) {
            return self.unknown(expression);
        }
        self.open.push(symbol);
        let mut all = Vec::new();
        for write in writes.iter().filter(|write| !write.appends) {
            if !starts_with_itself(self.graph, write.value, symbol) {
                all.extend(self.parts(write.value, depth));
            }
        }
        if writes.iter().any(|write| write.appends) {
            all = joined(all, &self.unknown(expression));
        }
        self.open.pop();
        all.truncate(MAX_ALTERNATIVES);
        if all.is_empty() {
            self.unknown(expression)
        } else {
            all
        }
    }

    /// A field of an object that is written out in the code: the one of this name, or any.
    fn field(
        &mut self,
        expression: &'s Expression<'s>,
        object: &'s Expression<'s>,
        name: Option<&str>,
        depth: usize,
    ) -> Vec<Parts> {
        let literal = match object.without_parentheses() {
            Expression::Identifier(id) => {
                match self.graph.folder.symbol(id).map(|symbol| self.values(symbol)) {
                    Some([one]) if !one.appends => one.value,
                    _ => return self.unknown(expression),
                }
            }
            other => other,
        };
        let mut all = Vec::new();
        match literal.without_parentheses() {
            Expression::ObjectExpression(object) => {
                for property in &object.properties {
                    let ObjectPropertyKind::ObjectProperty(property) = property else {
                        return self.unknown(expression);
                    };
                    let key = self.graph.folder.key(&property.key, property.computed);
                    if name.is_none() || key.is_none() || key.as_deref() == name {
                        all.extend(self.parts(&property.value, depth));
                    }
                }
            }
            Expression::ArrayExpression(array) if name.is_none() => {
                for item in &array.elements {
                    match item.as_expression() {
                        Some(item) => all.extend(self.parts(item, depth)),
                        None => return self.unknown(expression),
                    }
                }
            }
            _ => return self.unknown(expression),
        }
        all.truncate(MAX_ALTERNATIVES);
        if all.is_empty() {
            self.unknown(expression)
        } else {
            all
        }
    }

    fn call(
        &mut self,
        expression: &'s Expression<'s>,
        callee: &'s Expression<'s>,
        arguments: &'s [Argument<'s>],
        depth: usize,
    ) -> Vec<Parts> {
        if let Some(function) = self.graph.callee(callee) {
            let returned = self
                .graph
                .functions
                .get(function)
                .map(|f| f.returned.clone())
                .unwrap_or_default();
            let mut all = Vec::new();
            for value in returned {
                all.extend(self.parts(value, depth));
            }
            all.truncate(MAX_ALTERNATIVES);
            return if all.is_empty() {
                self.unknown(expression)
            } else {
                all
            };
        }
        let first = arguments.first().and_then(Argument::as_expression);
        if let (Some("String"), Some(value)) = (global_name(&self.graph.folder, callee), first) {
            return self.parts(value, depth);
        }
        match receiver(callee.without_parentheses()) {
            Some((
                object,
                "toString" | "replace" | "replaceAll" | "trim" | "trimEnd" | "slice" | "substring"
                | "toLowerCase",
            )) => self.parts(object, depth),
            Some((object, "concat")) => {
                let mut sum = self.parts(object, depth);
                for argument in arguments.iter().filter_map(Argument::as_expression) {
                    let part = self.parts(argument, depth);
                    sum = joined(sum, &part);
                }
                sum
            }
            Some((object, "join")) => match object.without_parentheses() {
                Expression::ArrayExpression(array) => {
                    let between = first.map_or(Some(",".to_owned()), |text| self.graph.folder.text(text));
                    let between = between.map_or_else(Vec::new, |text| vec![Part::Text(text)]);
                    let mut sum = vec![Vec::new()];
                    for (index, item) in array.elements.iter().enumerate() {
                        let Some(item) = item.as_expression() else {
                            return self.unknown(expression);
                        };
                        if index > 0 {
                            sum = joined(sum, std::slice::from_ref(&between));
                        }
                        let part = self.parts(item, depth);
                        sum = joined(sum, &part);
                    }
                    sum
                }
                _ => self.unknown(expression),
            },
            _ => self.unknown(expression),
        }
    }
}

/// `url = url + "…"`, `url = `${url}…``: the start stays what it was.
fn starts_with_itself<'s>(graph: &Graph<'s, '_>, value: &'s Expression<'s>, symbol: SymbolId) -> bool {
    let mut at = value.without_parentheses();
    for _ in 0..MAX_DEPTH {
        at = match at {
            Expression::BinaryExpression(sum) => sum.left.without_parentheses(),
            Expression::TemplateLiteral(template)
                if template
                    .quasis
                    .first()
                    .is_some_and(|first| first.value.raw.is_empty()) =>
            {
                match template.expressions.first() {
                    Some(first) => first.without_parentheses(),
                    None => return false,
                }
            }
            Expression::CallExpression(call) => match receiver(call.callee.without_parentheses()) {
                Some((object, "concat" | "replace" | "trim" | "toString")) => object.without_parentheses(),
                _ => return false,
            },
            Expression::Identifier(name) => return graph.folder.symbol(name) == Some(symbol),
            _ => return false,
        };
    }
    false
}

fn joined(left: Vec<Parts>, right: &[Parts]) -> Vec<Parts> {
    let mut all = Vec::new();
    for start in &left {
        for end in right {
            if all.len() >= MAX_ALTERNATIVES {
                return all;
            }
            let mut parts = start.clone();
            for part in end {
                match (parts.last_mut(), part) {
                    (Some(Part::Text(text)), Part::Text(more)) => text.push_str(more),
                    (_, part) => parts.push(part.clone()),
                }
            }
            all.push(parts);
        }
    }
    all
}

/// `new URL(path, base)`.
fn resolved(paths: Vec<Parts>, bases: &[Parts]) -> Vec<Parts> {
    let slash = [vec![Part::Text("/".to_owned())]];
    let mut all = Vec::new();
    for path in paths {
        let relative = match path.first() {
            Some(Part::Text(text)) => {
                !text.starts_with("//")
                    && !text
                        .split(['/', '?', '#'])
                        .next()
                        .is_some_and(|first| first.contains(':'))
            }
            // An absolute URL would take the place of the base.
            Some(Part::Unknown(_)) => false,
            None => true,
        };
        if relative {
            all.extend(joined(joined(bases.to_vec(), &slash), &[path]));
        } else {
            all.push(path);
        }
    }
    all.truncate(MAX_ALTERNATIVES);
    all
}
