//! What each kind of expression does to labels.

use super::{
    graph::Graph,
    labels::{self, Labels, Value},
    store::element,
};
use crate::scan::code::fold::global_name;
use oxc_ast::{
    AstKind,
    ast::{
        Argument, ArrayExpressionElement, CallExpression, ChainElement, Expression, ForStatementLeft,
        MethodDefinitionKind, ObjectPropertyKind, PropertyKind,
    },
};
use oxc_syntax::{
    node::NodeId,
    operator::{AssignmentOperator, LogicalOperator, UnaryOperator},
};

type Given<'s> = Vec<(Option<&'s Expression<'s>>, Value)>;

impl<'s> Graph<'s, '_> {
    /// The value of a node whose children are known, and what it does to names, fields and results.
    pub(super) fn transfer(&mut self, id: NodeId, kind: AstKind<'s>) -> Value {
        match kind {
            AstKind::IdentifierReference(name) => match self.folder.symbol(name) {
                Some(symbol) => self.symbol_value(symbol),
                None => match name.name.as_str() {
                    "fetch" => Value::of(labels::FETCH),
                    "console" => Value::of(labels::LOG),
                    "arguments" if self.function_of(id).is_some_and(|f| self.mains.contains(&f)) => Value {
                        own: Labels::NONE,
                        inside: Labels::facts(labels::INPUT | labels::CTX),
                    },
                    _ => Value::NONE,
                },
            },
            AstKind::ThisExpression(_) => Value::of(labels::THIS),
            AstKind::StaticMemberExpression(member) => {
                let object = self.value(&member.object);
                self.member(object, Some(member.property.name.as_str()))
            }
            AstKind::ComputedMemberExpression(member) => {
                let object = self.value(&member.object);
                if object.is_none() {
                    return Value::NONE;
                }
                let name = self.spelled(&member.expression);
                if global_name(&self.folder, &member.object) == Some("arguments") {
                    return match name.as_deref() {
                        Some("0") => Value::of(labels::INPUT),
                        Some("1") => Value::of(labels::CTX),
                        _ => object,
                    };
                }
                self.member(object, name.as_deref())
            }
            AstKind::PrivateFieldExpression(member) => {
                self.member(Value::of(labels::THIS), Some(&format!("#{}", member.field.name)))
            }
            AstKind::CallExpression(call) => self.call_value(call),
            AstKind::NewExpression(new) => {
                let given = self.given(&new.arguments);
                if let Some(class) = self
                    .methods
                    .get("constructor")
                    .cloned()
                    .filter(|found| found.len() <= 4)
                    && global_name(&self.folder, &new.callee).is_none()
                {
                    for function in class {
                        self.call(function, &given);
                    }
                    // Methods find what the constructor was given in the fields it put it into.
                    let inside = given
                        .iter()
                        .fold(Labels::NONE, |sum, (_, value)| sum.or(value.all()));
                    return Value {
                        own: Labels::NONE,
                        inside,
                    };
                }
                let mut result = Value::NONE;
                for (expression, _) in &given {
                    result = result.or(self
                        .run_callback(*expression, Value::NONE, &[])
                        .unwrap_or_default());
                }
                match (global_name(&self.folder, &new.callee), given.as_slice()) {
                    // What the executor gives to `resolve` counts as its result.
                    (Some("Promise"), _) => return result,
                    (Some("Proxy"), [(_, target), ..]) => return *target,
                    _ => {}
                }
                let inside = self.flat_all(&given);
                Value {
                    own: Labels::NONE,
                    inside,
                }
            }
            AstKind::TemplateLiteral(template) => {
                let parts = template.expressions.iter();
                let own = parts.fold(Labels::NONE, |sum, part| {
                    let value = self.value(part);
                    sum.or(self.flat(value))
                });
                Value::own(own)
            }
            AstKind::TaggedTemplateExpression(tagged) => self.at(tagged.quasi.node_id()),
            AstKind::BinaryExpression(binary) => {
                if binary.operator.is_equality()
                    || binary.operator.is_compare()
                    || binary.operator.is_instance_of()
                    || binary.operator.is_in()
                {
                    return Value::NONE;
                }
                let (left, right) = (self.value(&binary.left), self.value(&binary.right));
                Value::own(self.flat(left).or(self.flat(right)))
            }
            AstKind::LogicalExpression(logical) => match logical.operator {
                // The left side is given back only when there is nothing in it.
                LogicalOperator::And => self.value(&logical.right),
                _ => self.value(&logical.left).or(self.value(&logical.right)),
            },
            AstKind::ConditionalExpression(choice) => {
                self.value(&choice.consequent).or(self.value(&choice.alternate))
            }
            AstKind::AssignmentExpression(assignment) => {
                let mut value = self.value(&assignment.right);
                if assignment.operator != AssignmentOperator::Assign && !assignment.operator.is_logical() {
                    value = Value::own(self.flat(value));
                }
                self.assign(&assignment.left, value);
                value
            }
            AstKind::SequenceExpression(sequence) => sequence
                .expressions
                .last()
                .map_or(Value::NONE, |last| self.value(last)),
            AstKind::AwaitExpression(wait) => self.value(&wait.argument),
            AstKind::ParenthesizedExpression(inner) => self.value(&inner.expression),
            AstKind::TSNonNullExpression(inner) => self.value(&inner.expression),
            AstKind::TSAsExpression(inner) => self.value(&inner.expression),
            AstKind::ChainExpression(chain) => match &chain.expression {
                ChainElement::CallExpression(call) => self.at(call.node_id()),
                ChainElement::TSNonNullExpression(inner) => self.value(&inner.expression),
                other => other
                    .as_member_expression()
                    .map_or(Value::NONE, |member| self.at(member.node_id())),
            },
            AstKind::YieldExpression(give) => {
                let value = give
                    .argument
                    .as_ref()
                    .map_or(Value::NONE, |value| self.value(value));
                let inside = value.all();
                self.add_to_result(
                    self.function_of(id),
                    Value {
                        own: Labels::NONE,
                        inside,
                    },
                );
                Value::NONE
            }
            AstKind::UnaryExpression(unary) => match unary.operator {
                UnaryOperator::UnaryPlus | UnaryOperator::UnaryNegation | UnaryOperator::BitwiseNot => {
                    Value::own(self.value(&unary.argument).own.data())
                }
                _ => Value::NONE,
            },
            AstKind::ArrayExpression(array) => {
                let mut inside = Labels::NONE;
                for item in &array.elements {
                    let value = match item {
                        ArrayExpressionElement::SpreadElement(spread) => {
                            element(self.value(&spread.argument))
                        }
                        other => other.as_expression().map_or(Value::NONE, |item| self.value(item)),
                    };
                    inside = inside.or(value.all());
                }
                Value {
                    own: Labels::NONE,
                    inside,
                }
            }
            AstKind::ObjectExpression(object) => {
                let mut value = Value::NONE;
                for property in &object.properties {
                    match property {
                        ObjectPropertyKind::ObjectProperty(property) => {
                            let stored = match property.kind {
                                PropertyKind::Get => self.result_of(&property.value),
                                _ => self.value(&property.value),
                            };
                            if let Some(name) = self.key(&property.key, property.computed) {
                                self.add_to_field(&name, stored);
                            }
                            value.inside = value.inside.or(stored.all());
                            if property.computed
                                && let Some(key) = property.key.as_expression()
                            {
                                let key = self.value(key);
                                value.inside = value.inside.or(self.flat(key));
                            }
                        }
                        ObjectPropertyKind::SpreadProperty(spread) => {
                            value = value.or(self.value(&spread.argument));
                        }
                    }
                }
                value
            }
            other => {
                self.effect(id, other);
                Value::NONE
            }
        }
    }

    /// Statements and declarations: nothing by themselves, but they move values.
    fn effect(&mut self, id: NodeId, kind: AstKind<'s>) {
        match kind {
            AstKind::VariableDeclarator(declarator) => {
                if let Some(init) = &declarator.init {
                    let value = self.value(init);
                    self.bind(&declarator.id, value);
                }
            }
            AstKind::FormalParameter(parameter) => {
                if let Some(init) = &parameter.initializer {
                    let value = self.value(init);
                    self.bind(&parameter.pattern, value);
                }
            }
            AstKind::AssignmentPattern(with_default) => {
                let value = self.value(&with_default.right);
                self.bind(&with_default.left, value);
            }
            AstKind::AssignmentTargetWithDefault(with_default) => {
                let value = self.value(&with_default.init);
                self.assign(&with_default.binding, value);
            }
            AstKind::ForOfStatement(statement) => {
                let value = element(self.value(&statement.right));
                self.each(&statement.left, value);
            }
            AstKind::ForInStatement(statement) => {
                let value = self.value(&statement.right);
                self.read_all |= value.own.facts & labels::INPUT != 0;
                self.each(&statement.left, Value::own(value.own.data()));
            }
            AstKind::ReturnStatement(statement) => {
                if let Some(value) = &statement.argument {
                    let value = self.value(value);
                    self.add_to_result(self.function_of(id), value);
                }
            }
            AstKind::ArrowFunctionExpression(arrow) => self.arrow_result(id, &arrow.body),
            AstKind::MethodDefinition(method) if method.kind == MethodDefinitionKind::Get => {
                if let Some(name) = self.key(&method.key, method.computed) {
                    let value = self.result_at(method.value.node_id());
                    self.add_to_field(&name, value);
                }
            }
            AstKind::PropertyDefinition(property) => {
                if let Some(value) = &property.value {
                    let value = self.value(value);
                    let name = self.key(&property.key, property.computed);
                    if let Some(name) = name {
                        self.add_to_field(&name, value);
                    }
                }
            }
            _ => {}
        }
    }

    fn each(&mut self, left: &'s ForStatementLeft<'s>, value: Value) {
        match left {
            ForStatementLeft::VariableDeclaration(declaration) => {
                for declarator in &declaration.declarations {
                    self.bind(&declarator.id, value);
                }
            }
            other => {
                if let Some(target) = other.as_assignment_target() {
                    self.assign(target, value);
                }
            }
        }
    }

    fn given(&self, arguments: &'s [Argument<'s>]) -> Given<'s> {
        arguments
            .iter()
            .map(|argument| match argument {
                Argument::SpreadElement(spread) => (None, element(self.value(&spread.argument))),
                other => {
                    let expression = other.as_expression();
                    (
                        expression,
                        expression.map_or(Value::NONE, |value| self.value(value)),
                    )
                }
            })
            .collect()
    }

    fn flat_all(&mut self, given: &Given<'s>) -> Labels {
        given
            .iter()
            .fold(Labels::NONE, |sum, (_, value)| sum.or(self.flat(*value)))
    }

    fn call_value(&mut self, call: &'s CallExpression<'s>) -> Value {
        let given = self.given(&call.arguments);
        let callee = call.callee.without_parentheses();
        let what = self.value(callee).own.facts;
        if what & labels::FETCH != 0 {
            return match method_name(callee) {
                Some("bind") => Value::of(labels::FETCH),
                _ => Value::of(labels::RESPONSE),
            };
        }
        if what & labels::LOG != 0 {
            return Value::NONE;
        }
        if what & labels::HMAC != 0 {
            let mut all = self.flat_all(&given);
            all.facts &= !labels::secrets_mask();
            return Value::own(all);
        }
        if what & labels::BASIC_AUTH != 0 {
            return Value::own(self.flat_all(&given));
        }
        if let Some(executor) = self.settles(callee, 0) {
            let value = given.iter().fold(Value::NONE, |sum, (_, value)| sum.or(*value));
            self.add_to_result(Some(executor), value);
            return Value::NONE;
        }
        if let Some(function) = self.function_at(callee) {
            return self.call(function, &given);
        }
        let Some((object, method)) = receiver(callee) else {
            return self.call_global(callee, &given);
        };
        let receiver = self.value(object);
        if let Some(found) = self.methods.get(method).filter(|found| found.len() <= 4).cloned() {
            return found
                .into_iter()
                .fold(Value::NONE, |sum, function| sum.or(self.call(function, &given)));
        }
        self.call_method(object, receiver, method, &given)
    }

    fn call_global(&mut self, callee: &'s Expression<'s>, given: &Given<'s>) -> Value {
        match global_name(&self.folder, callee) {
            Some("Boolean" | "isNaN" | "isFinite") => Value::NONE,
            Some("structuredClone") => given.first().map_or(Value::NONE, |(_, value)| *value),
            _ => {
                for (expression, _) in given {
                    self.run_callback(*expression, Value::NONE, &[]);
                }
                Value::own(self.flat_all(given))
            }
        }
    }

    fn call_method(
        &mut self,
        object: &'s Expression<'s>,
        receiver: Value,
        method: &str,
        given: &Given<'s>,
    ) -> Value {
        let base = global_name(&self.folder, object);
        match (base, method) {
            (Some("Object"), "keys") => {
                self.flat_all(given);
                return Value::NONE;
            }
            (Some(_), "isArray" | "isInteger" | "isFinite" | "isNaN" | "hasOwn" | "is") => {
                return Value::NONE;
            }
            (Some("Object"), "assign") => {
                let all = given.iter().fold(Value::NONE, |sum, (_, value)| sum.or(*value));
                if let Some((Some(target), _)) = given.first() {
                    self.put_into(target, all);
                }
                return all;
            }
            (Some("Object"), "freeze" | "seal") | (Some("Promise"), "resolve") => {
                return given.first().map_or(Value::NONE, |(_, value)| *value);
            }
            (Some("Promise"), "all" | "allSettled" | "race" | "any") | (Some("Array"), "of") => {
                return given.first().map_or(Value::NONE, |(_, value)| Value {
                    own: value.own,
                    inside: value.inside,
                });
            }
            (Some(_), _) => {
                let mut results = Value::NONE;
                for (expression, _) in given {
                    let others: Vec<Value> = given.iter().map(|(_, value)| element(*value)).collect();
                    results = results.or(self
                        .run_callback(*expression, Value::NONE, &others)
                        .unwrap_or_default());
                }
                return Value::own(self.flat_all(given).or(results.all().data()));
            }
            _ => {}
        }
        match method {
            "includes" | "startsWith" | "endsWith" | "has" | "test" | "hasOwnProperty" | "every" | "some"
            | "indexOf" | "lastIndexOf" | "localeCompare" | "search" => {
                let items = element(receiver);
                for (expression, _) in given {
                    self.run_callback(*expression, items, &[]);
                }
                return Value::NONE;
            }
            "push" | "unshift" | "add" | "set" | "append" | "fill" | "splice" => {
                let all = Value::own(
                    given
                        .iter()
                        .fold(Labels::NONE, |sum, (_, value)| sum.or(value.all())),
                );
                self.put_into(object, all);
                return match method {
                    "set" | "add" | "splice" => receiver.or(Value {
                        own: Labels::NONE,
                        inside: all.own,
                    }),
                    _ => Value::NONE,
                };
            }
            _ => {}
        }
        let items = element(receiver);
        let mut results = Value::NONE;
        let mut called = false;
        for (expression, _) in given {
            let others: Vec<Value> = given.iter().map(|(_, value)| *value).collect();
            if let Some(result) = self.run_callback(*expression, items, &others) {
                (results, called) = (results.or(result), true);
            }
        }
        let kept = match method {
            "map" | "flatMap" | "then" | "forEach" if called => Value::NONE,
            "reduce" | "reduceRight" if called => given.get(1).map_or(Value::NONE, |(_, initial)| *initial),
            "filter" | "slice" | "sort" | "reverse" | "toSorted" | "toReversed" | "values" | "flat"
            | "find" | "at" | "pop" | "shift" | "findLast" | "catch" | "finally" => {
                let own = items.own;
                Value {
                    own,
                    inside: receiver.inside,
                }
            }
            _ => {
                let own = self.flat(receiver).or(self.flat_all(given));
                return Value::own(own).or(results);
            }
        };
        let inside = results.all();
        match method {
            "then" | "catch" | "finally" | "reduce" | "reduceRight" => kept.or(results),
            "forEach" => Value::NONE,
            _ => kept.or(Value {
                own: Labels::NONE,
                inside,
            }),
        }
    }

    /// A function given to something unknown, which calls it with the items it has.
    fn run_callback(
        &mut self,
        callback: Option<&'s Expression<'s>>,
        items: Value,
        others: &[Value],
    ) -> Option<Value> {
        let function = self.function_at(callback?)?;
        let mut all = items;
        for value in others {
            all = all.or(*value);
        }
        let given: Given<'s> = vec![(None, all), (None, all)];
        Some(self.call(function, &given))
    }
}

/// The object and the name of a method call.
pub(super) fn receiver<'s>(callee: &'s Expression<'s>) -> Option<(&'s Expression<'s>, &'s str)> {
    match callee {
        Expression::StaticMemberExpression(member) => Some((&member.object, member.property.name.as_str())),
        Expression::PrivateFieldExpression(member) => Some((&member.object, member.field.name.as_str())),
        Expression::ComputedMemberExpression(member) => Some((&member.object, "[]")),
        _ => None,
    }
}

pub(super) fn method_name<'s>(callee: &'s Expression<'s>) -> Option<&'s str> {
    receiver(callee).map(|(_, name)| name)
}
