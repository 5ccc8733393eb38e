//! The rules on the syntax tree: what a piece of code can reach decides, not how it is spelled.

use super::{
    Hit,
    fold::{Folder, global_name},
    names,
};
use crate::{
    check,
    code::{Module, range},
    rule::Rule,
};
use bmm_net::HostPattern;
use oxc_ast::{
    AstKind,
    ast::{
        Argument, AssignmentTarget, BindingPattern, BindingProperty, CallExpression,
        ExportDefaultDeclarationKind, Expression, FormalParameters, UnaryOperator,
    },
};
use oxc_span::{GetSpan, Span};
use oxc_syntax::{node::NodeId, symbol::SymbolId};
use serde_json::Value;
use std::{
    collections::{BTreeSet, HashMap},
    ops::Range,
};

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
    let scoping = module.semantic.scoping();
    let mut constants = HashMap::new();
    for node in nodes.iter() {
        if let AstKind::VariableDeclarator(declarator) = node.kind()
            && let (BindingPattern::BindingIdentifier(id), Some(init)) = (&declarator.id, &declarator.init)
            && let Some(symbol) = id.symbol_id.get()
            && !scoping.symbol_is_mutated(symbol)
        {
            constants.insert(symbol, init);
        }
    }
    let mut judge = Judge {
        module,
        declared,
        folder: Folder::new(scoping, constants),
        origins: HashMap::new(),
        hits: Vec::new(),
    };
    judge.find_origins();
    for node in nodes.iter() {
        judge.node(node.id(), node.kind());
    }
    judge.hits
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
    origins: HashMap<SymbolId, Origin>,
    hits: Vec<Hit>,
}

impl<'s> Judge<'s, '_> {
    fn node(&mut self, id: NodeId, kind: AstKind<'s>) {
        match kind {
            AstKind::IdentifierReference(name) if self.folder.symbol(name).is_none() => {
                self.global(id, name.name.as_str(), name.span)
            }
            AstKind::StaticMemberExpression(member) => {
                let name = member.property.name.as_str();
                self.member(id, &member.object, name, member.property.span);
            }
            AstKind::ComputedMemberExpression(member) => {
                if let Some(name) = self.folder.text(&member.expression) {
                    self.member(id, &member.object, &name, member.expression.span());
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
            AstKind::ObjectProperty(property)
                if !property.computed
                    && !property.shorthand
                    && !property.method
                    && self.folder.key(&property.key, false).as_deref() == Some("__proto__") =>
            {
                self.hit(
                    Rule::ProtoTamper,
                    property.key.span(),
                    "sets a prototype through `__proto__`",
                );
            }
            AstKind::ImportExpression(import) => {
                self.hit(Rule::ModuleLoad, import.span, "loads a module with `import()`")
            }
            AstKind::ImportMeta(meta) => self.hit(Rule::ModuleLoad, meta.span, "uses `import.meta`"),
            AstKind::AssignmentExpression(assignment) => self.assignment(&assignment.left),
            AstKind::CallExpression(call) => self.call(call),
            _ => {}
        }
    }

    fn global(&mut self, id: NodeId, name: &str, span: Span) {
        let parent = self.module.semantic.nodes().parent_kind(id);
        if matches!(parent, AstKind::UnaryExpression(unary) if unary.operator == UnaryOperator::Typeof) {
            return;
        }
        match names::global(name) {
            // `x instanceof Function` reaches nothing.
            Some(Rule::FunctionCtor) if matches!(parent, AstKind::BinaryExpression(b) if b.operator.is_instance_of()) =>
                {}
            Some(rule) => self.hit(rule, span, format!("uses `{name}`")),
            None if names::offered(name) => {}
            None if name == "fetch" => self.hit(
                Rule::UnknownGlobal,
                span,
                "there is no global `fetch`; call `ctx.fetch`",
            ),
            None => self.hit(
                Rule::UnknownGlobal,
                span,
                format!("`{name}` does not exist at run time"),
            ),
        }
    }

    fn member(&mut self, id: NodeId, object: &'s Expression<'s>, name: &str, span: Span) {
        if self.origin(object) == Some(Origin::Secrets) {
            self.secret(name, span);
            return;
        }
        if name == "constructor" && self.harmless_constructor(id) {
            return;
        }
        if name == "env" && global_name(&self.folder, object) == Some("process") {
            return; // `process` itself is already a finding.
        }
        self.reached(name, span);
    }

    fn reached(&mut self, name: &str, span: Span) {
        if let Some(rule) = names::property(name) {
            self.hit(rule, span, format!("reaches `{name}`"));
        }
    }

    /// `x.constructor.name`, and comparisons: nothing is called.
    fn harmless_constructor(&self, id: NodeId) -> bool {
        let nodes = self.module.semantic.nodes();
        match nodes.parent_kind(id) {
            AstKind::StaticMemberExpression(parent) => parent.property.name == "name",
            AstKind::BinaryExpression(binary) => binary.operator.is_equality(),
            _ => false,
        }
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

    /// Writes to `X.prototype`, of a global X.
    fn assignment(&mut self, target: &'s AssignmentTarget<'s>) {
        let object = match target {
            AssignmentTarget::StaticMemberExpression(member) => &member.object,
            AssignmentTarget::ComputedMemberExpression(member) => &member.object,
            _ => return,
        };
        if self.is_builtin_prototype(object) || global_name(&self.folder, object).is_some_and(names::offered)
        {
            self.hit(Rule::ProtoTamper, target.span(), "changes a built-in object");
        }
    }

    fn is_builtin_prototype(&mut self, expression: &'s Expression<'s>) -> bool {
        match expression.without_parentheses() {
            Expression::StaticMemberExpression(member) => {
                member.property.name == "prototype" && global_name(&self.folder, &member.object).is_some()
            }
            Expression::ComputedMemberExpression(member) => {
                self.folder.text(&member.expression).as_deref() == Some("prototype")
                    && global_name(&self.folder, &member.object).is_some()
            }
            _ => false,
        }
    }

    fn call(&mut self, call: &'s CallExpression<'s>) {
        let first = call.arguments.first().and_then(Argument::as_expression);
        let name = global_name(&self.folder, &call.callee);
        if matches!(name, Some("setTimeout" | "setInterval" | "setImmediate"))
            && first.is_some_and(|code| self.folder.text(code).is_some())
        {
            self.hit(Rule::StringTimer, call.span, "a timer with a string as its code");
        }
        if (name == Some("fetch") || self.origin(&call.callee) == Some(Origin::Fetch))
            && let Some(url) = first
        {
            self.destination(url);
        }
        let Expression::StaticMemberExpression(callee) = call.callee.without_parentheses() else {
            return;
        };
        let base = global_name(&self.folder, &callee.object);
        if matches!(base, Some("Reflect" | "Object")) {
            for argument in call.arguments.iter().filter_map(Argument::as_expression) {
                if base == Some("Object")
                    && callee.property.name != "create"
                    && self.is_builtin_prototype(argument)
                {
                    let writes = matches!(
                        callee.property.name.as_str(),
                        "assign" | "defineProperty" | "defineProperties"
                    );
                    if writes {
                        self.hit(Rule::ProtoTamper, argument.span(), "changes a built-in prototype");
                    }
                }
                let reads =
                    base == Some("Reflect") || callee.property.name.starts_with("getOwnPropertyDescriptor");
                if reads && let Some(name) = self.folder.text(argument) {
                    self.reached(&name, argument.span());
                }
            }
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
                    other => match other.as_expression().map(Expression::without_parentheses) {
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
                        match init.without_parentheses() {
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
        let (object, name) = match expression.without_parentheses() {
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

/// Judges how a URL starts: is its host known, and is it allowed?
fn judge_url(start: &str, whole: bool, allowed: &[HostPattern]) -> Option<(Rule, String)> {
    let (scheme, rest) = start.trim_start().split_once(':')?;
    if !scheme
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    {
        return None;
    }
    if !scheme.eq_ignore_ascii_case("https") {
        return Some((Rule::UnsafeTarget, format!("fetches from a `{scheme}:` URL")));
    }
    let rest = rest.trim_start_matches(['/', '\\']);
    let authority = match rest.find(['/', '\\', '?', '#']) {
        Some(end) => rest.get(..end)?,
        None if whole => rest,
        // The rest of the host is only known at run time, when the proxy asks the same list.
        None => return None,
    };
    let url = match url::Url::parse(&format!("https://{authority}/")) {
        Ok(url) => url,
        Err(_) => {
            return Some((
                Rule::UnsafeTarget,
                format!("fetches from `{authority}`, which is no host"),
            ));
        }
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Some((
            Rule::UnsafeTarget,
            "fetches from a URL with a user name or password".to_owned(),
        ));
    }
    match url.host() {
        Some(url::Host::Domain(host)) => {
            let port = url.port_or_known_default().unwrap_or(443);
            let known = allowed.iter().any(|pattern| pattern.matches(host, port));
            (!known).then(|| {
                (
                    Rule::UndeclaredHost,
                    format!("fetches from `{authority}`, which allowedDomains does not allow"),
                )
            })
        }
        _ => Some((
            Rule::UnsafeTarget,
            format!("fetches from the address `{authority}`"),
        )),
    }
}
