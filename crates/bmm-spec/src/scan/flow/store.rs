//! Reading and writing: names, fields, patterns.

use super::{
    graph::Graph,
    interface::Kind,
    labels::{self, Labels, Value},
};
use oxc_ast::ast::{
    AssignmentTarget, AssignmentTargetMaybeDefault, AssignmentTargetProperty, BindingPattern, Expression,
    PropertyKey,
};
use oxc_syntax::symbol::SymbolId;

impl<'s> Graph<'s, '_> {
    pub(super) fn add_to_symbol(&mut self, symbol: SymbolId, value: Value) {
        if let Some(slot) = self.symbols.get_mut(symbol.index()) {
            let sum = slot.or(value);
            self.changed |= sum != *slot;
            *slot = sum;
        }
    }

    pub(super) fn add_to_field(&mut self, name: &str, value: Value) {
        if value.is_none() {
            return;
        }
        match self.fields.get_mut(name) {
            Some(slot) => {
                let sum = slot.or(value);
                self.changed |= sum != *slot;
                *slot = sum;
            }
            None => {
                self.fields.insert(name.to_owned(), value);
                self.changed = true;
            }
        }
    }

    pub(super) fn add_to_result(&mut self, function: Option<usize>, value: Value) {
        if let Some(function) = function.and_then(|index| self.functions.get_mut(index)) {
            let sum = function.result.or(value);
            self.changed |= sum != function.result;
            function.result = sum;
        }
    }

    /// Puts something into an object.
    pub(super) fn put_into(&mut self, object: &Expression<'s>, value: Value) {
        let inside = value.all();
        if inside.is_none() {
            return;
        }
        let mut object = object.without_parentheses();
        loop {
            object = match object {
                Expression::StaticMemberExpression(member) => member.object.without_parentheses(),
                Expression::ComputedMemberExpression(member) => member.object.without_parentheses(),
                Expression::PrivateFieldExpression(member) => member.object.without_parentheses(),
                Expression::CallExpression(call) => match call.callee.without_parentheses() {
                    // Chained calls that give back the object itself, as `set` of a Map does.
                    Expression::StaticMemberExpression(member) => member.object.without_parentheses(),
                    _ => return,
                },
                Expression::Identifier(name) => {
                    if let Some(symbol) = self.folder.symbol(name) {
                        self.add_to_symbol(
                            symbol,
                            Value {
                                own: Labels::NONE,
                                inside,
                            },
                        );
                        if self.bits.contains_key(&symbol) {
                            let slot = self.mutated.entry(symbol).or_default();
                            *slot = slot.or(inside);
                        }
                    }
                    return;
                }
                _ => return,
            };
        }
    }

    /// A property of a value.
    pub(super) fn member(&mut self, object: Value, name: Option<&str>) -> Value {
        let mut value = Value::own(object.own.data());
        if name.is_some_and(|name| matches!(name, "length" | "size" | "byteLength" | "ok" | "status")) {
            value = Value::NONE;
        }
        let own = object.own.facts;
        if own & labels::INPUT != 0 {
            value.own.facts |= self.argument(name);
        }
        if own & labels::CTX != 0 {
            value.own.facts |= match name {
                Some("secrets") => labels::SECRETS,
                Some("fetch") => labels::FETCH,
                Some("log" | "progress" | "elicit" | "sample") => labels::LOG,
                Some("basicAuth") => labels::BASIC_AUTH,
                Some("hmac") => labels::HMAC,
                Some("signal" | "roots") | None => 0,
                Some(_) => labels::CTX_UNDECLARED,
            };
        }
        if own & labels::SECRETS != 0 {
            value.own.facts |= match name {
                Some(name) => self
                    .interface
                    .secret(name)
                    .map_or(labels::ANY_SECRET, labels::secret),
                None => labels::ANY_SECRET,
            };
        }
        if own & (labels::LOG | labels::FETCH) != 0 {
            // `console.error`, `ctx.log.info`, `ctx.fetch.bind`.
            value.own.facts |= own & (labels::LOG | labels::FETCH);
        }
        if own & labels::THIS != 0
            && let Some(stored) = name.and_then(|name| self.fields.get(name))
        {
            value = value.or(*stored);
        }
        if object.inside.is_none() {
            return value;
        }
        let listed = |name: &str| {
            matches!(
                name,
                "href"
                    | "search"
                    | "searchParams"
                    | "origin"
                    | "pathname"
                    | "host"
                    | "hash"
                    | "body"
                    | "headers"
                    | "message"
                    | "stack"
                    | "cause"
                    | "value"
            )
        };
        match name.map(|name| (name, self.fields.get(name))) {
            Some((_, Some(stored))) => value.or(object.part(*stored)),
            Some((name, None)) if !listed(name) && !name.bytes().all(|b| b.is_ascii_digit()) => value,
            _ => value.or(Value {
                own: object.inside,
                inside: object.inside,
            }),
        }
    }

    fn argument(&mut self, name: Option<&str>) -> u64 {
        let Some(name) = name else {
            self.read_all = true;
            return labels::ARG_FREE;
        };
        if !self.read.contains(name) {
            self.read.insert(name.to_owned());
        }
        match self.interface.inputs.known.get(name) {
            Some(Kind::Closed) => labels::ARG_CLOSED,
            Some(Kind::Free) => labels::ARG_FREE,
            None if self.interface.inputs.open => labels::ARG_FREE,
            None => labels::ARG_FREE | labels::ARG_UNDECLARED,
        }
    }

    /// What a value is once it is part of a text, a message or something unknown.
    pub(super) fn flat(&mut self, value: Value) -> Labels {
        self.read_all |= value.all().facts & labels::INPUT != 0;
        value.flat()
    }

    pub(super) fn bind(&mut self, pattern: &'s BindingPattern<'s>, value: Value) {
        if value.is_none() {
            return;
        }
        match pattern {
            BindingPattern::BindingIdentifier(name) => {
                if let Some(symbol) = name.symbol_id.get() {
                    self.add_to_symbol(symbol, value);
                }
            }
            BindingPattern::ObjectPattern(object) => {
                for property in &object.properties {
                    let name = self.key(&property.key, property.computed);
                    let part = self.member(value, name.as_deref());
                    self.bind(&property.value, part);
                }
                if let Some(rest) = &object.rest {
                    self.bind(&rest.argument, value);
                }
            }
            BindingPattern::ArrayPattern(array) => {
                let part = element(value);
                for item in array.elements.iter().flatten() {
                    self.bind(item, part);
                }
                if let Some(rest) = &array.rest {
                    self.bind(&rest.argument, value);
                }
            }
            BindingPattern::AssignmentPattern(with_default) => self.bind(&with_default.left, value),
        }
    }

    pub(super) fn assign(&mut self, target: &'s AssignmentTarget<'s>, value: Value) {
        match target {
            AssignmentTarget::AssignmentTargetIdentifier(name) => {
                if let Some(symbol) = self.folder.symbol(name) {
                    self.add_to_symbol(symbol, value);
                }
            }
            AssignmentTarget::StaticMemberExpression(member) => {
                self.add_to_field(member.property.name.as_str(), value);
                self.put_into(&member.object, value);
            }
            AssignmentTarget::PrivateFieldExpression(member) => {
                self.add_to_field(&format!("#{}", member.field.name), value);
            }
            AssignmentTarget::ComputedMemberExpression(member) => {
                if let Some(name) = self.spelled(&member.expression) {
                    self.add_to_field(&name, value);
                }
                self.put_into(&member.object, value);
            }
            AssignmentTarget::ObjectAssignmentTarget(object) => {
                for property in &object.properties {
                    match property {
                        AssignmentTargetProperty::AssignmentTargetPropertyIdentifier(property) => {
                            let part = self.member(value, Some(property.binding.name.as_str()));
                            if let Some(symbol) = self.folder.symbol(&property.binding) {
                                self.add_to_symbol(symbol, part);
                            }
                        }
                        AssignmentTargetProperty::AssignmentTargetPropertyProperty(property) => {
                            let name = self.key(&property.name, property.computed);
                            let part = self.member(value, name.as_deref());
                            self.assign_maybe(&property.binding, part);
                        }
                    }
                }
                if let Some(rest) = &object.rest {
                    self.assign(&rest.target, value);
                }
            }
            AssignmentTarget::ArrayAssignmentTarget(array) => {
                let part = element(value);
                for item in array.elements.iter().flatten() {
                    self.assign_maybe(item, part);
                }
                if let Some(rest) = &array.rest {
                    self.assign(&rest.target, value);
                }
            }
            _ => {}
        }
    }

    fn assign_maybe(&mut self, target: &'s AssignmentTargetMaybeDefault<'s>, value: Value) {
        match target {
            AssignmentTargetMaybeDefault::AssignmentTargetWithDefault(with) => {
                self.assign(&with.binding, value)
            }
            other => {
                if let Some(target) = other.as_assignment_target() {
                    self.assign(target, value);
                }
            }
        }
    }

    /// What a computed member name spells.
    pub(super) fn spelled(&mut self, name: &'s Expression<'s>) -> Option<String> {
        let id = name.node_id();
        if let Some(known) = self.spelled.get(&id) {
            return known.clone();
        }
        let text = self.folder.text(name);
        self.spelled.insert(id, text.clone());
        text
    }

    /// The name of a property, private ones with their `#`.
    pub(super) fn key(&mut self, key: &'s PropertyKey<'s>, computed: bool) -> Option<String> {
        match key {
            PropertyKey::StaticIdentifier(name) if !computed => Some(name.name.to_string()),
            PropertyKey::PrivateIdentifier(name) => Some(format!("#{}", name.name)),
            other => self.spelled(other.as_expression()?),
        }
    }
}

/// An item of a list.
pub(super) fn element(value: Value) -> Value {
    Value {
        own: value.own.data().or(value.inside),
        inside: value.inside,
    }
}
