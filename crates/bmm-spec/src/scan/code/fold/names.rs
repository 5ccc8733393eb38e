//! What a name stands for: declarations, destructuring, defaults, assignments, and constant parts of literals.

use super::{Const, Folder, MAX_DEPTH, global_name, items, spell};
use oxc_ast::{
    AstKind,
    ast::{
        ArrowFunctionBody, AssignmentOperator, BindingPattern, Expression, FormalParameters, FunctionBody,
        ObjectPropertyKind, Statement,
    },
};
use oxc_syntax::symbol::SymbolId;

/// The value of a name, as it was declared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound<'s> {
    pub(crate) value: &'s Expression<'s>,
    /// It is only the default for a value that is not known.
    pub(crate) default: bool,
}

impl<'s> Folder<'s, '_> {
    /// The expression behind names and constant parts of literals: the farthest one that is certain.
    pub(crate) fn resolve(&mut self, expression: &'s Expression<'s>) -> &'s Expression<'s> {
        self.resolve_at(expression, 0)
    }

    fn resolve_at(&mut self, expression: &'s Expression<'s>, depth: usize) -> &'s Expression<'s> {
        let mut at = expression.get_inner_expression();
        for depth in depth..MAX_DEPTH {
            if !self.step() {
                break;
            }
            let next = match at {
                Expression::Identifier(name) => self
                    .symbol(name)
                    .and_then(|symbol| self.bound(symbol, depth + 1))
                    .filter(|bound| !bound.default)
                    .map(|bound| bound.value),
                Expression::StaticMemberExpression(member) => {
                    self.part(&member.object, member.property.name.as_str(), depth + 1)
                }
                Expression::ComputedMemberExpression(member) => self
                    .fold(&member.expression, depth + 1)
                    .and_then(|key| self.part(&member.object, &spell(key), depth + 1)),
                Expression::SequenceExpression(sequence) => sequence.expressions.last(),
                _ => None,
            };
            match next {
                Some(next) => at = next.get_inner_expression(),
                None => break,
            }
        }
        at
    }

    /// A field of an object literal, an element of an array literal.
    pub(super) fn part(
        &mut self,
        object: &'s Expression<'s>,
        name: &str,
        depth: usize,
    ) -> Option<&'s Expression<'s>> {
        if depth > MAX_DEPTH {
            return None;
        }
        // Most objects are the result of a call or a parameter: nothing to look into.
        match object.get_inner_expression() {
            Expression::ObjectExpression(_)
            | Expression::ArrayExpression(_)
            | Expression::Identifier(_)
            | Expression::StaticMemberExpression(_)
            | Expression::ComputedMemberExpression(_)
            | Expression::SequenceExpression(_) => {}
            _ => return None,
        }
        match self.resolve_at(object, depth + 1) {
            Expression::ObjectExpression(literal) => {
                let mut found = None;
                for property in &literal.properties {
                    self.step();
                    match property {
                        ObjectPropertyKind::ObjectProperty(property) => {
                            if self.key(&property.key, property.computed).as_deref() == Some(name) {
                                found = Some(&property.value);
                            }
                        }
                        ObjectPropertyKind::SpreadProperty(_) => found = None,
                    }
                }
                found
            }
            Expression::ArrayExpression(literal) => {
                let index: usize = name.parse().ok()?;
                let plain = literal.elements.iter().take(index + 1).all(|e| !e.is_spread());
                literal
                    .elements
                    .get(index)
                    .filter(|_| plain)
                    .and_then(|element| element.as_expression())
            }
            _ => None,
        }
    }

    /// The names of an object literal's fields.
    pub(super) fn keys_of(&mut self, object: &'s Expression<'s>) -> Option<Vec<String>> {
        let Expression::ObjectExpression(literal) = self.resolve(object) else {
            return None;
        };
        literal
            .properties
            .iter()
            .map(|property| match property {
                ObjectPropertyKind::ObjectProperty(property) => self.key(&property.key, property.computed),
                ObjectPropertyKind::SpreadProperty(_) => None,
            })
            .collect()
    }

    /// What a name that never changes was declared as.
    pub(crate) fn bound(&mut self, symbol: SymbolId, depth: usize) -> Option<Bound<'s>> {
        if depth > MAX_DEPTH || self.scoping.symbol_is_mutated(symbol) {
            return None;
        }
        match self.nodes.kind(self.scoping.symbol_declaration(symbol)) {
            AstKind::VariableDeclarator(declarator) => {
                self.within(&declarator.id, symbol, declarator.init.as_ref(), depth)
            }
            AstKind::FormalParameter(parameter) => {
                let default = parameter.initializer.as_deref();
                let bound = self.within(&parameter.pattern, symbol, default, depth)?;
                Some(Bound {
                    default: true,
                    ..bound
                })
            }
            _ => None,
        }
    }

    fn within(
        &mut self,
        pattern: &'s BindingPattern<'s>,
        symbol: SymbolId,
        value: Option<&'s Expression<'s>>,
        depth: usize,
    ) -> Option<Bound<'s>> {
        if depth > MAX_DEPTH {
            return None;
        }
        match pattern {
            BindingPattern::BindingIdentifier(id) if id.symbol_id.get() == Some(symbol) => {
                value.map(|value| Bound {
                    value,
                    default: false,
                })
            }
            BindingPattern::BindingIdentifier(_) => None,
            BindingPattern::AssignmentPattern(with_default) => {
                if let Some(bound) = self.within(&with_default.left, symbol, value, depth + 1) {
                    return Some(bound);
                }
                let bound = self.within(&with_default.left, symbol, Some(&with_default.right), depth + 1)?;
                Some(Bound {
                    default: true,
                    ..bound
                })
            }
            BindingPattern::ObjectPattern(object) => object.properties.iter().find_map(|property| {
                let part = match (value, self.key(&property.key, property.computed)) {
                    (Some(value), Some(name)) => self.part(value, &name, depth + 1),
                    _ => None,
                };
                self.within(&property.value, symbol, part, depth + 1)
            }),
            BindingPattern::ArrayPattern(array) => {
                array.elements.iter().enumerate().find_map(|(index, element)| {
                    let part = value.and_then(|value| self.part(value, &index.to_string(), depth + 1));
                    self.within(element.as_ref()?, symbol, part, depth + 1)
                })
            }
        }
    }

    /// The constant that a name stands for.
    pub(super) fn bound_value(&mut self, symbol: SymbolId, depth: usize) -> Option<Const> {
        if let Some(bound) = self.bound(symbol, depth) {
            return if bound.default {
                None
            } else {
                self.fold(bound.value, depth + 1)
            };
        }
        if self.scoping.symbol_is_mutated(symbol) {
            return None;
        }
        // `const [a, b] = 'x,y'.split(',')`
        let AstKind::VariableDeclarator(declarator) =
            self.nodes.kind(self.scoping.symbol_declaration(symbol))
        else {
            return None;
        };
        let BindingPattern::ArrayPattern(array) = &declarator.id else {
            return None;
        };
        let index = array.elements.iter().position(|element| {
            let id = element
                .as_ref()
                .and_then(|element| element.get_binding_identifier());
            id.is_some_and(|id| id.symbol_id.get() == Some(symbol))
        })?;
        let list = items(self.fold(declarator.init.as_ref()?, depth + 1)?);
        list.into_iter().nth(index)
    }

    /// The default of a parameter or of a destructured name.
    pub(super) fn default_of(&mut self, symbol: SymbolId) -> Option<&'s Expression<'s>> {
        self.bound(symbol, 0)
            .filter(|bound| bound.default)
            .map(|bound| bound.value)
    }

    /// What a name that changes may be: its first value, each value given to it, and what `+=` makes of them.
    pub(super) fn assigned(&mut self, symbol: SymbolId, depth: usize) -> Vec<String> {
        const MAX_ASSIGNMENTS: usize = 64;
        let mut found = Vec::new();
        if !self.scoping.symbol_is_mutated(symbol) {
            return found;
        }
        let mut sum = match self.nodes.kind(self.scoping.symbol_declaration(symbol)) {
            AstKind::VariableDeclarator(declarator) => declarator.init.as_ref(),
            _ => None,
        }
        .and_then(|init| self.fold(init, depth + 1))
        .map(spell);
        found.extend(sum.clone());
        let references = self.scoping.get_resolved_reference_ids(symbol);
        for id in references.iter().take(MAX_ASSIGNMENTS) {
            let reference = self.scoping.get_reference(*id);
            if !reference.is_write() {
                continue;
            }
            let AstKind::AssignmentExpression(assignment) = self.nodes.parent_kind(reference.node_id())
            else {
                continue;
            };
            let value = self.fold(&assignment.right, depth + 1).map(spell);
            sum = match (assignment.operator, sum, value) {
                (AssignmentOperator::Assign, _, value) => value,
                (AssignmentOperator::Addition, Some(start), Some(more)) => Some(start + &more),
                _ => None,
            };
            found.extend(sum.clone());
        }
        found
    }

    /// Parameters and value of a function that is one expression.
    pub(super) fn function(
        &mut self,
        callee: &'s Expression<'s>,
    ) -> Option<(&'s FormalParameters<'s>, &'s Expression<'s>)> {
        match self.resolve(callee) {
            Expression::ArrowFunctionExpression(arrow) => match &arrow.body {
                ArrowFunctionBody::FunctionBody(body) => Some((&arrow.params, returned(body)?)),
                other => Some((&arrow.params, other.as_expression()?)),
            },
            Expression::FunctionExpression(function) => {
                Some((&function.params, returned(function.body.as_ref()?)?))
            }
            Expression::Identifier(name) => {
                let symbol = self.symbol(name)?;
                let AstKind::Function(function) = self.nodes.kind(self.scoping.symbol_declaration(symbol))
                else {
                    return None;
                };
                Some((&function.params, returned(function.body.as_ref()?)?))
            }
            _ => None,
        }
    }

    /// The global that an expression is, however it was named on the way: `f` after `const f = setTimeout`, `[setTimeout][0]`,
    /// `globalThis.setTimeout`.
    pub(crate) fn global(&mut self, expression: &'s Expression<'s>) -> Option<String> {
        let at = self.resolve(expression);
        if let Some(name) = global_name(self, at) {
            return Some(name.to_owned());
        }
        let object = match at {
            Expression::StaticMemberExpression(member) => &member.object,
            Expression::ComputedMemberExpression(member) => &member.object,
            Expression::ChainExpression(chain) => chain.expression.as_member_expression()?.object(),
            _ => return None,
        };
        // Most calls are methods of a local: told apart without copying a name.
        let base = self.global(object)?;
        if !is_global_object(&base) {
            return None;
        }
        self.member(at).map(|(_, name)| name)
    }

    /// Object and name of a member access.
    pub(crate) fn member(&mut self, expression: &'s Expression<'s>) -> Option<(&'s Expression<'s>, String)> {
        match expression.get_inner_expression() {
            Expression::StaticMemberExpression(member) => {
                Some((&member.object, member.property.name.to_string()))
            }
            Expression::ComputedMemberExpression(member) => {
                Some((&member.object, self.text(&member.expression)?))
            }
            Expression::ChainExpression(chain) => match chain.expression.as_member_expression()? {
                oxc_ast::ast::MemberExpression::StaticMemberExpression(member) => {
                    Some((&member.object, member.property.name.to_string()))
                }
                oxc_ast::ast::MemberExpression::ComputedMemberExpression(member) => {
                    Some((&member.object, self.text(&member.expression)?))
                }
                oxc_ast::ast::MemberExpression::PrivateFieldExpression(_) => None,
            },
            _ => None,
        }
    }
}

/// Is this the name of the global object?
pub(crate) fn is_global_object(name: &str) -> bool {
    matches!(
        name,
        "globalThis" | "self" | "window" | "global" | "frames" | "top" | "parent"
    )
}

/// The one expression that a body returns.
fn returned<'s>(body: &'s FunctionBody<'s>) -> Option<&'s Expression<'s>> {
    match body.statements.as_slice() {
        [Statement::ReturnStatement(statement)] => statement.argument.as_ref(),
        _ => None,
    }
}
