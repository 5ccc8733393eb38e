//! Which arguments a tool's code reads, and where.

use crate::code::{Module, range};
use oxc_ast::{
    AstKind,
    ast::{
        Argument, AssignmentTarget, AssignmentTargetProperty, BindingPattern, ExportDefaultDeclarationKind,
        Expression, FormalParameters, IdentifierReference, Statement,
    },
};
use oxc_span::{GetSpan, Span};
use oxc_syntax::symbol::SymbolId;
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    ops::Range,
};

/// How often names are followed from one to the next: through variables and into helper functions.
const ROUNDS: usize = 8;

/// Name and place of every argument that is read by a name in the code, in the order of the code. Arguments that are reached by a
/// computed name, or only after the whole input left the module's own functions, are not seen.
pub(super) fn arguments(module: &Module<'_>) -> Vec<(String, Range<usize>)> {
    let mut reader = Reader {
        module,
        inputs: HashSet::new(),
        reads: BTreeSet::new(),
    };
    let functions = reader.functions();
    if let Some(parameters) = reader.default_export(&functions) {
        reader.parameter(parameters, 0);
    }
    for _ in 0..ROUNDS {
        let known = (reader.inputs.len(), reader.reads.len());
        for node in module.semantic.nodes().iter() {
            reader.node(node.kind(), &functions);
        }
        if known == (reader.inputs.len(), reader.reads.len()) {
            break;
        }
    }
    let reads = reader.reads.into_iter();
    reads
        .map(|(start, end, name)| (name, range(Span::new(start, end))))
        .collect()
}

/// The functions of the module that have a name.
type Functions<'s> = HashMap<SymbolId, &'s FormalParameters<'s>>;

struct Reader<'m, 's> {
    module: &'m Module<'s>,
    /// Names that stand for the input as a whole.
    inputs: HashSet<SymbolId>,
    reads: BTreeSet<(u32, u32, String)>,
}

impl<'s> Reader<'_, 's> {
    fn functions(&self) -> Functions<'s> {
        let mut found = HashMap::new();
        for node in self.module.semantic.nodes().iter() {
            let (symbol, parameters) = match node.kind() {
                AstKind::Function(function) => {
                    let symbol = function.id.as_ref().and_then(|id| id.symbol_id.get());
                    (symbol, Some(&*function.params))
                }
                AstKind::VariableDeclarator(declarator) => {
                    let symbol = match &declarator.id {
                        BindingPattern::BindingIdentifier(id) => id.symbol_id.get(),
                        _ => None,
                    };
                    (symbol, declarator.init.as_ref().and_then(parameters_of))
                }
                _ => continue,
            };
            if let (Some(symbol), Some(parameters)) = (symbol, parameters) {
                found.insert(symbol, parameters);
            }
        }
        found
    }

    fn default_export(&self, functions: &Functions<'s>) -> Option<&'s FormalParameters<'s>> {
        self.module
            .program
            .body
            .iter()
            .find_map(|statement| match statement {
                Statement::ExportDefaultDeclaration(export) => match &export.declaration {
                    ExportDefaultDeclarationKind::FunctionDeclaration(function) => Some(&*function.params),
                    other => match other.as_expression()?.without_parentheses() {
                        Expression::Identifier(name) => functions.get(&self.symbol(name)?).copied(),
                        function => parameters_of(function),
                    },
                },
                Statement::ExportNamedDeclaration(export) => {
                    let default = export
                        .specifiers
                        .iter()
                        .find(|s| s.exported.name() == "default")?;
                    let scoping = self.module.semantic.scoping();
                    let symbol = scoping.get_root_binding(default.local.name().as_str().into())?;
                    functions.get(&symbol).copied()
                }
                _ => None,
            })
    }

    fn node(&mut self, kind: AstKind<'s>, functions: &Functions<'s>) {
        match kind {
            AstKind::StaticMemberExpression(member) if self.is_input(&member.object) => {
                self.read(member.property.name.as_str(), member.property.span);
            }
            AstKind::ComputedMemberExpression(member) if self.is_input(&member.object) => {
                if let Some(name) = member.static_property_name() {
                    self.read(name.as_str(), member.expression.span());
                }
            }
            AstKind::VariableDeclarator(declarator)
                if declarator.init.as_ref().is_some_and(|init| self.is_input(init)) =>
            {
                self.bind(&declarator.id);
            }
            AstKind::AssignmentExpression(assignment) if self.is_input(&assignment.right) => {
                self.assign(&assignment.left);
            }
            AstKind::CallExpression(call) => {
                let Expression::Identifier(name) = call.callee.without_parentheses() else {
                    return;
                };
                let function = self
                    .symbol(name)
                    .and_then(|symbol| functions.get(&symbol).copied());
                let Some(parameters) = function else { return };
                for (index, argument) in call.arguments.iter().enumerate() {
                    if argument
                        .as_expression()
                        .is_some_and(|argument| self.is_input(argument))
                    {
                        self.parameter(parameters, index);
                    }
                    if matches!(argument, Argument::SpreadElement(_)) {
                        return;
                    }
                }
            }
            _ => {}
        }
    }

    fn parameter(&mut self, parameters: &'s FormalParameters<'s>, index: usize) {
        if let Some(parameter) = parameters.items.get(index) {
            self.bind(&parameter.pattern);
        }
    }

    /// A pattern that takes the input.
    fn bind(&mut self, pattern: &'s BindingPattern<'s>) {
        match pattern {
            BindingPattern::BindingIdentifier(id) => self.inputs.extend(id.symbol_id.get()),
            BindingPattern::AssignmentPattern(with_default) => self.bind(&with_default.left),
            BindingPattern::ObjectPattern(object) => {
                for property in &object.properties {
                    if let Some(name) = property.key.static_name() {
                        self.read(&name, property.key.span());
                    }
                }
                if let Some(rest) = &object.rest {
                    self.bind(&rest.argument);
                }
            }
            BindingPattern::ArrayPattern(_) => {}
        }
    }

    fn assign(&mut self, target: &'s AssignmentTarget<'s>) {
        match target {
            AssignmentTarget::AssignmentTargetIdentifier(name) => {
                let symbol = self.symbol(name);
                self.inputs.extend(symbol);
            }
            AssignmentTarget::ObjectAssignmentTarget(object) => {
                for property in &object.properties {
                    match property {
                        AssignmentTargetProperty::AssignmentTargetPropertyIdentifier(property) => {
                            self.read(property.binding.name.as_str(), property.span);
                        }
                        AssignmentTargetProperty::AssignmentTargetPropertyProperty(property) => {
                            if let Some(name) = property.name.static_name() {
                                self.read(&name, property.name.span());
                            }
                        }
                    }
                }
            }
            _ => {}
        }
    }

    fn read(&mut self, name: &str, span: Span) {
        self.reads.insert((span.start, span.end, name.to_owned()));
    }

    fn is_input(&self, expression: &Expression<'s>) -> bool {
        match expression.without_parentheses() {
            Expression::Identifier(name) => self
                .symbol(name)
                .is_some_and(|symbol| self.inputs.contains(&symbol)),
            // `input ?? {}`
            Expression::LogicalExpression(either) => self.is_input(&either.left),
            _ => false,
        }
    }

    fn symbol(&self, name: &IdentifierReference<'_>) -> Option<SymbolId> {
        let reference = name.reference_id.get()?;
        self.module
            .semantic
            .scoping()
            .get_reference(reference)
            .symbol_id()
    }
}

fn parameters_of<'s>(expression: &'s Expression<'s>) -> Option<&'s FormalParameters<'s>> {
    match expression.without_parentheses() {
        Expression::ArrowFunctionExpression(function) => Some(&*function.params),
        Expression::FunctionExpression(function) => Some(&*function.params),
        _ => None,
    }
}
