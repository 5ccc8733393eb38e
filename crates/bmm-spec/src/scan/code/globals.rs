//! What code does with globals: which it names, which it changes, which timers and built-ins it calls.

use super::{
    Hit, Judge, Origin,
    fold::{global_name, is_global_object},
    loops, names, range, regex,
};
use crate::rule::{Confidence, Rule};
use oxc_ast::{
    AstKind,
    ast::{
        Argument, AssignmentExpression, AssignmentTarget, BinaryOperator, CallExpression, Class,
        ComputedMemberExpression, Expression, IdentifierReference, NewExpression, UnaryOperator,
    },
};
use oxc_span::{GetSpan, Span};
use oxc_syntax::node::NodeId;

impl<'s> Judge<'s, '_> {
    /// A name that no declaration stands for.
    pub(super) fn global(&mut self, id: NodeId, name: &'s IdentifierReference<'s>) {
        let (text, span) = (name.name.as_str(), name.span);
        let reference = name.reference_id.get();
        let scoping = self.module.semantic.scoping();
        if reference.is_some_and(|id| !scoping.get_reference(id).is_value()) {
            return; // In a type.
        }
        let parent = self.outer(id).1;
        if matches!(parent, AstKind::UnaryExpression(unary) if unary.operator == UnaryOperator::Typeof) {
            return;
        }
        match names::global(text) {
            // `x instanceof Function` reaches nothing.
            Some(Rule::FunctionCtor) if matches!(parent, AstKind::BinaryExpression(b) if b.operator.is_instance_of()) =>
                {}
            Some(Rule::GlobalObject) if self.is_plain_use(id) => {}
            Some(Rule::Reflection) => {
                let confidence = match self.is_plain_reflection(id) {
                    true => Confidence::Low,
                    false => Confidence::High,
                };
                let hit = Hit::new(Rule::Reflection, range(span), format!("uses `{text}`"));
                self.hits.push(hit.with_confidence(confidence));
            }
            Some(rule) => {
                // In a fragment these may be names of the code around it.
                let common = matches!(text, "top" | "parent" | "frames" | "vm" | "module" | "exports");
                let confidence = match self.module.fragment && common {
                    true => Confidence::Low,
                    false => Confidence::High,
                };
                let hit = Hit::new(rule, range(span), format!("uses `{text}`"));
                self.hits.push(hit.with_confidence(confidence));
            }
            None if names::offered(text) => {}
            None if names::is_internal(text) => {
                let message = format!("reaches for `{text}`, which its owner marks as not for use");
                self.hit(Rule::GlobalObject, span, message);
            }
            // Of a fragment one finding for all such names, since most of them are declared around it.
            None if self.module.fragment && std::mem::replace(&mut self.unknown, true) => {}
            None => {
                let message = match text {
                    "fetch" => "there is no global `fetch`; call `ctx.fetch`".to_owned(),
                    _ => format!("`{text}` does not exist at run time"),
                };
                let confidence = match self.module.fragment {
                    true => Confidence::Low,
                    false => Confidence::High,
                };
                let hit = Hit::new(Rule::UnknownGlobal, range(span), message);
                self.hits.push(hit.with_confidence(confidence));
            }
        }
    }

    /// `globalThis.setTimeout(…)`: the global object only says where a known global comes from.
    fn is_plain_use(&self, id: NodeId) -> bool {
        let (at, parent) = self.outer(id);
        let AstKind::StaticMemberExpression(member) = parent else {
            return false;
        };
        let nodes = self.module.semantic.nodes();
        let written = nodes.parent_id(at);
        names::offered(member.property.name.as_str())
            && matches!(
                self.outer(written).1,
                AstKind::CallExpression(_) | AstKind::NewExpression(_) | AstKind::StaticMemberExpression(_)
            )
            && self.is_called(written)
    }

    /// `Reflect.ownKeys(x)`, `Reflect.has(x, 'a')` and `Reflect.get(x, 'a')` do what plain code does.
    fn is_plain_reflection(&mut self, id: NodeId) -> bool {
        let (at, AstKind::StaticMemberExpression(member)) = self.outer(id) else {
            return false;
        };
        let nodes = self.module.semantic.nodes();
        let (_, AstKind::CallExpression(call)) = self.outer(nodes.parent_id(at)) else {
            return false;
        };
        if global_name(&self.folder, &member.object) != Some("Reflect") {
            return false;
        }
        let target = call.arguments.first().and_then(Argument::as_expression);
        if target.is_none_or(|target| self.folder.global(target).is_some()) {
            return false;
        }
        match member.property.name.as_str() {
            "ownKeys" | "has" => true,
            "get" | "deleteProperty" => {
                let key = call.arguments.get(1).and_then(Argument::as_expression);
                let key = key.and_then(|key| self.folder.text(key));
                key.is_some_and(|key| names::property(&key).is_none())
            }
            _ => false,
        }
    }

    /// `this` outside of classes and methods is the global object of sloppy code.
    pub(super) fn this_member(&mut self, id: NodeId, name: &str, span: Span) {
        let Some(rule) = names::global(name) else { return };
        let nodes = self.module.semantic.nodes();
        let mut confidence = Confidence::High;
        for (kind, parent) in nodes.ancestor_kinds(id).zip(nodes.ancestor_kinds(id).skip(1)) {
            match kind {
                AstKind::Class(_) => return,
                AstKind::Function(_) => match parent {
                    AstKind::ObjectProperty(_) | AstKind::MethodDefinition(_) => return,
                    _ => {
                        confidence = Confidence::Low;
                        break;
                    }
                },
                _ => {}
            }
        }
        let common = matches!(
            name,
            "top" | "parent" | "self" | "frames" | "module" | "exports" | "vm"
        );
        if confidence == Confidence::Low
            && (common || matches!(self.outer(id).1, AstKind::AssignmentExpression(_)))
        {
            return;
        }
        let hit = Hit::new(rule, range(span), format!("reaches `{name}` through `this`"));
        self.hits.push(hit.with_confidence(confidence));
    }

    /// Writes to built-in objects and their prototypes.
    pub(super) fn assignment(&mut self, assignment: &'s AssignmentExpression<'s>) {
        let target = &assignment.left;
        let object = match target {
            AssignmentTarget::StaticMemberExpression(member) => {
                if member.property.name == "name" && self.is_symbol(&assignment.right) {
                    let message = "gives an error a symbol for a name, so that formatting its stack fails";
                    self.hit(Rule::StackHooks, target.span(), message);
                }
                &member.object
            }
            AssignmentTarget::ComputedMemberExpression(member) => &member.object,
            AssignmentTarget::AssignmentTargetIdentifier(name) => {
                let text = name.name.as_str();
                if self.folder.symbol(name).is_none() && (names::offered(text) || text == "Buffer") {
                    self.hit(
                        Rule::ProtoTamper,
                        target.span(),
                        format!("replaces the built-in `{text}`"),
                    );
                }
                return;
            }
            _ => return,
        };
        if self.is_builtin(object, 0) {
            self.hit(Rule::ProtoTamper, target.span(), "changes a built-in object");
        }
    }

    fn is_symbol(&mut self, expression: &'s Expression<'s>) -> bool {
        match self.folder.resolve(expression) {
            Expression::CallExpression(call) => global_name(&self.folder, &call.callee) == Some("Symbol"),
            _ => false,
        }
    }

    /// A built-in object, its prototype, or something that hangs on them.
    fn is_builtin(&mut self, expression: &'s Expression<'s>, depth: usize) -> bool {
        const MAX_CHAIN: usize = 8;
        if depth > MAX_CHAIN {
            return false;
        }
        let at = self.folder.resolve(expression);
        if let Some(name) = global_name(&self.folder, at) {
            return names::offered(name) && name != "arguments" && name != "console"
                || matches!(name, "Buffer" | "Function" | "Reflect");
        }
        match at {
            Expression::StaticMemberExpression(member) => {
                self.is_builtin(&member.object, depth + 1)
                    || member.property.name == "prototype"
                        && global_name(&self.folder, &member.object).is_some_and(|name| name != "exports")
            }
            Expression::ComputedMemberExpression(member) => self.is_builtin(&member.object, depth + 1),
            Expression::CallExpression(call) => {
                let reads = matches!(
                    call.callee.get_inner_expression(),
                    Expression::StaticMemberExpression(m) if m.property.name == "getPrototypeOf"
                );
                reads
                    && self
                        .first(&call.arguments)
                        .is_some_and(|of| self.is_builtin(of, depth + 1))
            }
            _ => false,
        }
    }

    /// Is this `arguments.callee`, a function, or the name of one?
    pub(super) fn is_function(&mut self, expression: &'s Expression<'s>) -> bool {
        let at = self.folder.resolve(expression);
        if at.is_function() {
            return true;
        }
        match at {
            Expression::Identifier(name) => match self.folder.symbol(name) {
                Some(symbol) => self.module.semantic.scoping().symbol_flags(symbol).is_function(),
                None => name.name == "arguments",
            },
            _ => self
                .folder
                .member(at)
                .is_some_and(|(_, name)| matches!(name.as_str(), "callee" | "caller")),
        }
    }

    fn first(&self, arguments: &'s [Argument<'s>]) -> Option<&'s Expression<'s>> {
        arguments.first().and_then(Argument::as_expression)
    }

    pub(super) fn call(&mut self, call: &'s CallExpression<'s>) {
        let first = self.first(&call.arguments);
        let callee = call.callee.get_inner_expression();
        if !self.origins.is_empty()
            && self.origin(callee) == Some(Origin::Fetch)
            && let Some(url) = first
        {
            self.destination(url);
        }
        if let Some(name) = self.folder.global(callee) {
            self.global_call(&name, call);
            return;
        }
        let computed;
        let method = match callee {
            Expression::StaticMemberExpression(member) => (&member.object, member.property.name.as_str()),
            Expression::ComputedMemberExpression(member) => match self.folder.text(&member.expression) {
                Some(name) => {
                    computed = name;
                    (&member.object, computed.as_str())
                }
                None => return,
            },
            _ => return,
        };
        match method {
            (object, "push" | "unshift") => self.rotation(object, first, call.span),
            // `setTimeout.call(null, 'code')`
            (object, "call" | "apply" | "bind") => {
                if self.folder.global(object).is_some_and(|name| is_timer(&name))
                    && let Some(code) = call.arguments.get(1).and_then(Argument::as_expression)
                    && self.is_text(code, 0)
                {
                    self.hit(Rule::StringTimer, call.span, "a timer with a string as its code");
                }
            }
            (_, "repeat" | "padStart" | "padEnd") => {
                let argument = match method.1 {
                    "repeat" => first,
                    _ => first
                        .filter(|_| matches!(method.0.get_inner_expression(), Expression::StringLiteral(_))),
                };
                self.huge(argument, call.span);
            }
            (object, "alloc" | "allocUnsafe" | "allocUnsafeSlow")
                if self.folder.global(object).as_deref() == Some("Buffer") =>
            {
                self.huge(first, call.span)
            }
            (object, "for") if self.folder.global(object).as_deref() == Some("Symbol") => {
                if first
                    .and_then(|key| self.folder.text(key))
                    .is_some_and(|key| key.starts_with("nodejs."))
                {
                    self.hit(
                        Rule::Reflection,
                        call.span,
                        "names a symbol by which the host is hooked",
                    );
                }
            }
            (object, name) => {
                let base = match object.get_inner_expression() {
                    Expression::Identifier(_) => global_name(&self.folder, object),
                    _ => None,
                };
                if matches!(base, Some("Reflect" | "Object")) {
                    self.object_call(base == Some("Object"), name, call);
                }
            }
        }
    }

    fn global_call(&mut self, name: &str, call: &'s CallExpression<'s>) {
        let first = self.first(&call.arguments);
        if is_timer(name) && first.is_some_and(|code| self.is_text(code, 0)) {
            self.hit(Rule::StringTimer, call.span, "a timer with a string as its code");
        }
        if name == "fetch"
            && let Some(url) = first
        {
            self.destination(url);
        }
        match name {
            "RegExp" => self.pattern(first, call.span),
            "Array" => self.huge(first, call.span),
            _ => {}
        }
    }

    /// Is this certainly a string, whatever it says?
    fn is_text(&mut self, expression: &'s Expression<'s>, depth: usize) -> bool {
        const MAX_DEPTH: usize = 64;
        if depth > MAX_DEPTH {
            return false;
        }
        match self.folder.resolve(expression) {
            Expression::StringLiteral(_) | Expression::TemplateLiteral(_) => true,
            Expression::BinaryExpression(sum) if sum.operator == BinaryOperator::Addition => {
                self.is_text(&sum.right, depth + 1) || self.is_text(&sum.left, depth + 1)
            }
            Expression::ConditionalExpression(choice) => {
                self.is_text(&choice.consequent, depth + 1) || self.is_text(&choice.alternate, depth + 1)
            }
            Expression::LogicalExpression(choice) => {
                self.is_text(&choice.left, depth + 1) || self.is_text(&choice.right, depth + 1)
            }
            Expression::CallExpression(call) => match call.callee.get_inner_expression() {
                Expression::StaticMemberExpression(member) => {
                    matches!(
                        member.property.name.as_str(),
                        "toString"
                            | "join"
                            | "concat"
                            | "replace"
                            | "replaceAll"
                            | "trim"
                            | "fromCharCode"
                            | "slice"
                    ) || self.folder.text(expression).is_some()
                }
                callee => {
                    matches!(
                        global_name(&self.folder, callee),
                        Some("String" | "atob" | "decodeURIComponent")
                    ) || self.folder.text(expression).is_some()
                }
            },
            other => {
                matches!(other, Expression::Identifier(_)) && !self.folder.candidates(expression).is_empty()
            }
        }
    }

    /// `list.push(list.shift())`
    fn rotation(&mut self, list: &'s Expression<'s>, value: Option<&'s Expression<'s>>, span: Span) {
        let Some(Expression::CallExpression(inner)) = value.map(Expression::get_inner_expression) else {
            return;
        };
        let Some((from, name)) = self.folder.member(&inner.callee) else {
            return;
        };
        let symbol = |expression: &Expression<'_>| match expression.get_inner_expression() {
            Expression::Identifier(name) => self.folder.symbol(name),
            _ => None,
        };
        if matches!(name.as_str(), "shift" | "pop") && symbol(list).is_some() && symbol(list) == symbol(from)
        {
            self.shape.rotation(span);
        }
    }

    fn object_call(&mut self, object: bool, method: &str, call: &'s CallExpression<'s>) {
        let writes = matches!(
            method,
            "assign" | "defineProperty" | "defineProperties" | "set" | "deleteProperty"
        );
        let reads = !object || method.starts_with("getOwnPropertyDescriptor") || method == "defineProperty";
        let Some(target) = self.first(&call.arguments) else {
            return;
        };
        if writes && self.is_builtin(target, 0) {
            self.hit(Rule::ProtoTamper, target.span(), "changes a built-in object");
        }
        if reads {
            for argument in call.arguments.iter().skip(1).filter_map(Argument::as_expression) {
                for name in self.folder.candidates(argument) {
                    self.reached(&name, argument.span());
                }
            }
        }
        if method == "getPrototypeOf" {
            self.prototype_walk(target, call.span);
        }
    }

    /// The prototype of a prototype, or of a function that is only there for it.
    fn prototype_walk(&mut self, of: &'s Expression<'s>, span: Span) {
        let at = self.folder.resolve(of);
        let walks = match at {
            Expression::CallExpression(inner) => matches!(
                inner.callee.get_inner_expression(),
                Expression::StaticMemberExpression(m) if m.property.name == "getPrototypeOf"
            ),
            other => other.is_function(),
        };
        if walks {
            self.hit(Rule::Reflection, span, "walks up a chain of prototypes");
        }
    }

    pub(super) fn construction(&mut self, new: &'s NewExpression<'s>) {
        let first = self.first(&new.arguments);
        let Some(name) = global_name(&self.folder, &new.callee) else {
            return;
        };
        match name {
            "RegExp" => self.pattern(first, new.span),
            "Buffer" => {
                let number = first.is_some_and(|size| self.folder.number(size).is_some());
                if number {
                    self.uncleared(new.span);
                }
                self.huge(first, new.span);
            }
            "Array" | "ArrayBuffer" => self.huge(first, new.span),
            name if name.ends_with("Array") => self.huge(first, new.span),
            _ => {}
        }
    }

    pub(super) fn superclass(&mut self, class: &'s Class<'s>) {
        if let Some(parent) = class.heritage.as_ref().map(|heritage| &heritage.expression)
            && global_name(&self.folder, parent) == Some("Buffer")
        {
            self.uncleared(parent.span());
        }
    }

    fn uncleared(&mut self, span: Span) {
        let hit = Hit::new(
            Rule::ProcessAccess,
            range(span),
            "takes memory of the process that was not cleared",
        );
        self.hits.push(hit.with_confidence(Confidence::Medium));
    }

    fn pattern(&mut self, pattern: Option<&'s Expression<'s>>, span: Span) {
        if let Some(danger) = pattern
            .and_then(|pattern| self.folder.text(pattern))
            .and_then(|text| regex::danger(&text))
        {
            self.redos(danger, span);
        }
    }

    /// Something of a size that no tool needs.
    fn huge(&mut self, size: Option<&'s Expression<'s>>, span: Span) {
        if let Some(size) = size
            .and_then(|size| self.folder.number(size))
            .filter(|n| *n >= loops::HUGE)
        {
            self.hit(
                Rule::UnboundedLoop,
                span,
                format!("asks for {size} elements at once"),
            );
        }
    }

    /// `x[expr](…)` with a key that only the run knows.
    pub(super) fn dynamic(&mut self, id: NodeId, member: &'s ComputedMemberExpression<'s>) {
        if !self.is_called(id) || is_count(&member.expression) {
            return;
        }
        let base = member.object.get_inner_expression();
        let confidence = match base {
            Expression::ArrayExpression(_)
            | Expression::StringLiteral(_)
            | Expression::TemplateLiteral(_)
            | Expression::RegExpLiteral(_)
            | Expression::ArrowFunctionExpression(_)
            | Expression::FunctionExpression(_) => Confidence::High,
            Expression::ThisExpression(_) => Confidence::Low,
            Expression::ComputedMemberExpression(inner) => {
                match is_count(&inner.expression) || self.folder.text(&inner.expression).is_some() {
                    true => return,
                    false => Confidence::High,
                }
            }
            _ => match self.folder.global(base).as_deref() {
                Some("Math" | "console") => return,
                Some(name) if names::offered(name) || is_global_object(name) || name == "Buffer" => {
                    Confidence::High
                }
                _ => return,
            },
        };
        let message = "calls a method whose name only the run knows";
        let hit = Hit::new(Rule::DynamicCall, range(member.span), message);
        self.hits.push(hit.with_confidence(confidence));
    }
}

fn is_timer(name: &str) -> bool {
    matches!(name, "setTimeout" | "setInterval" | "setImmediate" | "execScript")
}

/// An index, not a name.
fn is_count(key: &Expression<'_>) -> bool {
    match key.get_inner_expression() {
        Expression::NumericLiteral(_) | Expression::UpdateExpression(_) => true,
        Expression::BinaryExpression(binary) => binary.operator != BinaryOperator::Addition,
        Expression::UnaryExpression(unary) => unary.operator != UnaryOperator::Typeof,
        Expression::Identifier(name) => matches!(name.name.as_str(), "i" | "j" | "k" | "index" | "idx" | "n"),
        _ => false,
    }
}
