//! The rules on the syntax tree: what a piece of code can reach decides, not how it is spelled.

pub(super) mod fold;
mod globals;
pub(super) mod hosts;
mod loops;
pub(crate) mod names;
mod regex;
mod shape;

use super::Hit;
use crate::{
    check,
    code::{Module, range},
    rule::{Confidence, Rule},
};
use bmm_net::HostPattern;
use fold::{Folder, global_name, is_global_object};
use hosts::judge_url;
use oxc_ast::{
    AstKind,
    ast::{
        BindingPattern, BindingProperty, ExportDefaultDeclarationKind, Expression, FormalParameters,
        ObjectProperty, PropertyKey, UnaryOperator,
    },
};
use oxc_span::{GetSpan, Span};
use oxc_syntax::{node::NodeId, symbol::SymbolId};
use rustc_hash::FxHashMap;
use serde_json::Value;
use shape::Shape;
use std::{collections::BTreeSet, ops::Range};

/// What a spec says its code may reach.
#[derive(Debug, Default)]
pub(crate) struct Declared {
    hosts: Vec<HostPattern>,
    secrets: BTreeSet<String>,
}

impl Declared {
    pub(crate) fn of(spec: &Value) -> Self {
        let secrets = spec
            .get("requiredSecrets")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        Self {
            hosts: check::domains(spec, "/allowedDomains", &mut Vec::new()),
            secrets: secrets
                .filter_map(|s| s.get("name").and_then(Value::as_str))
                .map(str::to_owned)
                .collect(),
        }
    }
}

/// Judges one module.
pub(crate) fn judge(module: &Module<'_>, declared: &Declared) -> Vec<Hit> {
    let nodes = module.semantic.nodes();
    let mut judge = Judge {
        module,
        declared,
        folder: folder(module),
        origins: FxHashMap::default(),
        shape: Shape::default(),
        unknown: false,
        hits: Vec::new(),
    };
    judge.find_origins();
    for node in nodes.iter() {
        judge.node(node.id(), node.kind());
    }
    if let Some(problem) = &module.sloppy {
        let hit = Hit::new(
            Rule::Sloppy,
            problem.span.clone(),
            format!("is no strict code: {}", problem.message),
        );
        judge.hits.push(hit);
    }
    let Judge {
        shape,
        folder,
        mut hits,
        ..
    } = judge;
    if folder.is_exhausted() {
        let message = "puts its names together in more steps than are followed";
        hits.push(Hit::new(Rule::Obfuscated, 0..0, message));
    }
    hits.extend(shape.judge(module.source));
    for hit in &mut hits {
        let at = |offset: usize| offset.saturating_sub(module.shift);
        hit.span = at(hit.span.start)..at(hit.span.end);
    }
    hits
}

/// What folds the constants of a module.
pub(super) fn folder<'s, 'm>(module: &'m Module<'s>) -> Folder<'s, 'm> {
    Folder::new(module.semantic.scoping(), module.semantic.nodes())
}

/// Parts of the host interface that a name can stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Ctx,
    Secrets,
    Fetch,
}

struct Judge<'s, 'm> {
    module: &'m Module<'s>,
    declared: &'m Declared,
    folder: Folder<'s, 'm>,
    origins: FxHashMap<SymbolId, Origin>,
    shape: Shape,
    /// Was an unknown global reported?
    unknown: bool,
    hits: Vec<Hit>,
}

impl<'s> Judge<'s, '_> {
    fn node(&mut self, id: NodeId, kind: AstKind<'s>) {
        match kind {
            AstKind::IdentifierReference(name) => {
                self.spelled(name.span, name.name.as_str());
                if self.folder.symbol(name).is_none() {
                    self.global(id, name);
                } else if name.name == "eval" && self.is_called(id) {
                    self.hit(Rule::Eval, name.span, "calls something named `eval`");
                }
            }
            AstKind::IdentifierName(name) => self.spelled(name.span, name.name.as_str()),
            AstKind::BindingIdentifier(name) => self.spelled(name.span, name.name.as_str()),
            AstKind::StaticMemberExpression(member) => {
                let name = member.property.name.as_str();
                self.member(id, &member.object, name, member.property.span);
            }
            AstKind::ComputedMemberExpression(member) => {
                // A text is the rule, a number the exception.
                if matches!(&member.expression, Expression::NumericLiteral(_)) {
                    return;
                }
                let names = self.folder.candidates(&member.expression);
                for name in &names {
                    self.member(id, &member.object, name, member.expression.span());
                }
                if names.is_empty() {
                    self.dynamic(id, member);
                }
            }
            AstKind::BindingProperty(property) => {
                if let Some(name) = self.folder.key(&property.key, property.computed) {
                    self.reached(&name, property.key.span());
                }
            }
            AstKind::AssignmentTargetPropertyIdentifier(property) => {
                self.reached(property.binding.name.as_str(), property.span);
            }
            AstKind::AssignmentTargetPropertyProperty(property) => {
                if let Some(name) = self.folder.key(&property.name, property.computed) {
                    self.reached(&name, property.name.span());
                }
            }
            AstKind::ObjectProperty(property) => self.field(property),
            AstKind::ImportExpression(import) => {
                self.hit(Rule::ModuleLoad, import.span, "loads a module with `import()`")
            }
            AstKind::ImportMeta(meta) => self.hit(Rule::ModuleLoad, meta.span, "uses `import.meta`"),
            AstKind::AssignmentExpression(assignment) => self.assignment(assignment),
            AstKind::CallExpression(call) => self.call(call),
            AstKind::NewExpression(new) => self.construction(new),
            AstKind::Class(class) => self.superclass(class),
            AstKind::StringLiteral(text) => self.shape.literal(text),
            AstKind::TemplateElement(element) => self.shape.template(element),
            AstKind::RegExpLiteral(literal) => {
                if let Some(danger) = regex::danger(literal.regex.pattern.text.as_str()) {
                    self.redos(danger, literal.span);
                }
            }
            AstKind::WhileStatement(_) | AstKind::DoWhileStatement(_) | AstKind::ForStatement(_) => {
                if let Some((span, message)) = loops::endless(kind, &mut self.folder) {
                    self.hit(Rule::UnboundedLoop, span, message);
                }
            }
            AstKind::WithStatement(with) => self.hit(Rule::Sloppy, with.span, "uses `with`"),
            _ => {}
        }
    }

    /// An identifier that is written with escapes.
    fn spelled(&mut self, span: Span, name: &str) {
        self.shape.name(name);
        if usize::try_from(span.size()).is_ok_and(|size| size > name.len()) {
            let message = format!("spells the name `{name}` with escapes");
            self.hit(Rule::UnicodeSource, span, message);
        }
    }

    fn member(&mut self, id: NodeId, object: &'s Expression<'s>, name: &str, span: Span) {
        if !self.origins.is_empty() && self.origin(object) == Some(Origin::Secrets) {
            self.secret(name, span);
            return;
        }
        if matches!(object.get_inner_expression(), Expression::ThisExpression(_)) {
            self.this_member(id, name, span);
        }
        if global_name(&self.folder, object).is_some_and(is_global_object)
            && let Some(rule) = names::global(name)
            && names::property(name).is_none()
        {
            self.hit(rule, span, format!("reaches `{name}`"));
        }
        if names::hooks(name) && self.folder.global(object).as_deref() == Some("Symbol") {
            self.hit(
                Rule::Reflection,
                span,
                format!("hooks into the language through `Symbol.{name}`"),
            );
        }
        if !names::may_be_property(name) {
            return;
        }
        if name == "constructor" && self.harmless_constructor(id) {
            return;
        }
        if name == "caller" && !self.is_function(object) {
            return;
        }
        self.reached(name, span);
    }

    fn reached(&mut self, name: &str, span: Span) {
        if let Some((rule, confidence)) = names::property(name) {
            self.hits
                .push(Hit::new(rule, range(span), format!("reaches `{name}`")).with_confidence(confidence));
        }
    }

    /// `x.constructor.name`, comparisons and tests: nothing is called, nothing goes on.
    fn harmless_constructor(&self, id: NodeId) -> bool {
        let mut at = id;
        loop {
            let (inner, parent) = self.outer(at);
            return match parent {
                AstKind::StaticMemberExpression(parent) => parent.property.name == "name",
                AstKind::BinaryExpression(binary) => binary.operator.is_equality(),
                AstKind::UnaryExpression(unary) => {
                    matches!(unary.operator, UnaryOperator::Typeof | UnaryOperator::LogicalNot)
                }
                AstKind::LogicalExpression(both) if both.operator.is_and() => {
                    let span = self.module.semantic.nodes().kind(inner).span();
                    if both.left.span() == span {
                        // Goes on only when there is none.
                        return true;
                    }
                    at = self.module.semantic.nodes().parent_id(inner);
                    continue;
                }
                _ => false,
            };
        }
    }

    /// The node around an expression that is not only its brackets or types, and the expression with those.
    fn outer(&self, id: NodeId) -> (NodeId, AstKind<'s>) {
        let nodes = self.module.semantic.nodes();
        let mut at = id;
        loop {
            let parent = nodes.parent_id(at);
            match nodes.kind(parent) {
                AstKind::ParenthesizedExpression(_)
                | AstKind::ChainExpression(_)
                | AstKind::TSAsExpression(_)
                | AstKind::TSSatisfiesExpression(_)
                | AstKind::TSNonNullExpression(_)
                | AstKind::TSTypeAssertion(_) => at = parent,
                kind => return (at, kind),
            }
        }
    }

    fn is_called(&self, id: NodeId) -> bool {
        let (at, parent) = self.outer(id);
        let span = self.module.semantic.nodes().kind(at).span();
        matches!(parent, AstKind::CallExpression(call) if call.callee.span() == span)
    }

    /// Fields whose names change what the object is, or what a host does with it.
    fn field(&mut self, property: &'s ObjectProperty<'s>) {
        let plain = !property.shorthand && !property.method && !property.computed;
        let name = match &property.key {
            PropertyKey::StaticIdentifier(name) => name.name.as_str(),
            PropertyKey::StringLiteral(text) => text.value.as_str(),
            _ => return,
        };
        match name {
            "__proto__" if plain => {
                let span = property.key.span();
                self.hit(Rule::ProtoTamper, span, "sets a prototype through `__proto__`");
            }
            "showProxy" if plain => {
                let span = property.key.span();
                self.hit(Rule::Reflection, span, "asks for what is behind a proxy");
            }
            "length" if plain => {
                if let Some(length) = self.folder.number(&property.value).filter(|n| *n >= loops::HUGE) {
                    let message = format!("pretends to a length of {length}");
                    self.hit(Rule::UnboundedLoop, property.span, message);
                }
            }
            _ => {}
        }
    }

    fn redos(&mut self, danger: regex::Danger, span: Span) {
        let confidence = match danger {
            regex::Danger::Certain => Confidence::High,
            regex::Danger::Possible => Confidence::Medium,
        };
        let message = "a repetition inside a repetition can match the same text in many ways";
        self.hits
            .push(Hit::new(Rule::Redos, range(span), message).with_confidence(confidence));
    }

    fn secret(&mut self, name: &str, span: Span) {
        if !self.declared.secrets.contains(name) {
            self.hit(
                Rule::UndeclaredSecret,
                span,
                format!("reads the secret `{name}`, which requiredSecrets does not declare"),
            );
        }
    }

    fn destination(&mut self, url: &'s Expression<'s>) {
        let (start, whole) = self.folder.prefix(url);
        if let Some((rule, message)) = judge_url(&start, whole, &self.declared.hosts) {
            self.hit(rule, url.span(), message);
        }
    }

    /// Which names stand for `ctx`, `ctx.secrets` and `ctx.fetch`.
    fn find_origins(&mut self) {
        let module = self.module;
        let program = module.program;
        let mut default_name = None;
        for statement in &program.body {
            if let oxc_ast::ast::Statement::ExportDefaultDeclaration(export) = statement {
                match &export.declaration {
                    ExportDefaultDeclarationKind::FunctionDeclaration(function) => {
                        self.parameters(&function.params)
                    }
                    other => match other.as_expression().map(Expression::get_inner_expression) {
                        Some(Expression::ArrowFunctionExpression(function)) => {
                            self.parameters(&function.params)
                        }
                        Some(Expression::FunctionExpression(function)) => self.parameters(&function.params),
                        Some(Expression::Identifier(name)) => default_name = self.folder.symbol(name),
                        _ => {}
                    },
                }
            }
        }
        for node in module.semantic.nodes().iter() {
            match node.kind() {
                AstKind::Function(function) => {
                    let symbol = function.id.as_ref().and_then(|id| id.symbol_id.get());
                    if symbol.is_some() && symbol == default_name {
                        self.parameters(&function.params);
                    }
                }
                // Helpers are given `ctx` by that name.
                AstKind::FormalParameter(parameter) => {
                    if let BindingPattern::BindingIdentifier(id) = &parameter.pattern
                        && id.name == "ctx"
                        && let Some(symbol) = id.symbol_id.get()
                    {
                        self.origins.insert(symbol, Origin::Ctx);
                    }
                }
                AstKind::VariableDeclarator(declarator) => {
                    let Some(init) = &declarator.init else { continue };
                    if let (BindingPattern::BindingIdentifier(id), Some(default)) =
                        (&declarator.id, default_name)
                        && id.symbol_id.get() == Some(default)
                    {
                        match init.get_inner_expression() {
                            Expression::ArrowFunctionExpression(function) => {
                                self.parameters(&function.params)
                            }
                            Expression::FunctionExpression(function) => self.parameters(&function.params),
                            _ => {}
                        }
                    }
                    if let Some(origin) = self.origin(init) {
                        self.bind(&declarator.id, origin);
                    }
                }
                _ => {}
            }
        }
    }

    fn parameters(&mut self, parameters: &'s FormalParameters<'s>) {
        if let Some(ctx) = parameters.items.get(1) {
            self.bind(&ctx.pattern, Origin::Ctx);
        }
    }

    fn bind(&mut self, pattern: &'s BindingPattern<'s>, origin: Origin) {
        match pattern {
            BindingPattern::BindingIdentifier(id) => {
                if let Some(symbol) = id.symbol_id.get() {
                    self.origins.insert(symbol, origin);
                }
            }
            BindingPattern::ObjectPattern(object) => {
                for property in &object.properties {
                    self.bind_property(property, origin);
                }
            }
            BindingPattern::AssignmentPattern(with_default) => self.bind(&with_default.left, origin),
            BindingPattern::ArrayPattern(_) => {}
        }
    }

    fn bind_property(&mut self, property: &'s BindingProperty<'s>, origin: Origin) {
        let Some(name) = self.folder.key(&property.key, property.computed) else {
            return;
        };
        match (origin, name.as_str()) {
            (Origin::Ctx, "secrets") => self.bind(&property.value, Origin::Secrets),
            (Origin::Ctx, "fetch") => self.bind(&property.value, Origin::Fetch),
            (Origin::Secrets, name) => self.secret(name, property.key.span()),
            _ => {}
        }
    }

    fn origin(&mut self, expression: &'s Expression<'s>) -> Option<Origin> {
        let (object, name) = match expression.get_inner_expression() {
            Expression::Identifier(name) => return self.origins.get(&self.folder.symbol(name)?).copied(),
            Expression::StaticMemberExpression(member) => (&member.object, member.property.name.to_string()),
            Expression::ComputedMemberExpression(member) => {
                (&member.object, self.folder.text(&member.expression)?)
            }
            Expression::ChainExpression(chain) => match chain.expression.as_member_expression()? {
                oxc_ast::ast::MemberExpression::StaticMemberExpression(member) => {
                    (&member.object, member.property.name.to_string())
                }
                _ => return None,
            },
            _ => return None,
        };
        match (self.origin(object)?, name.as_str()) {
            (Origin::Ctx, "secrets") => Some(Origin::Secrets),
            (Origin::Ctx, "fetch") => Some(Origin::Fetch),
            _ => None,
        }
    }

    fn hit(&mut self, rule: Rule, span: Span, message: impl Into<String>) {
        let span: Range<usize> = range(span);
        self.hits.push(Hit::new(rule, span, message));
    }
}
