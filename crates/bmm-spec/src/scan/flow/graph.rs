//! The module as a graph of values: symbols, fields by name, functions, and the labels that have flowed to each.
//!
//! Flow-insensitive: what is assigned to a name anywhere may be read from it anywhere. What a function gives back is kept in terms of
//! its own parameters, so that a helper called with a secret in one place and with an argument in another mixes neither.

use super::{
    interface::Interface,
    labels::{self, Labels, Value},
};
use crate::{
    code::Module,
    scan::code::fold::{Folder, global_name},
};
use oxc_ast::{
    AstKind,
    ast::{
        ArrowFunctionBody, AssignmentTarget, BindingPattern, ExportDefaultDeclarationKind, Expression,
        FormalParameters, Statement,
    },
};
use oxc_syntax::{node::NodeId, symbol::SymbolId};
use rustc_hash::FxHashMap;
use std::collections::BTreeSet;

/// Parameters whose arguments are told apart.
const MAX_PARAMS: u32 = 64;

/// Work per module: nodes seen, times rounds. Data that flows through more names than that takes is told as a finding.
const MAX_VISITS: usize = 1_000_000;

/// A function of the module.
pub(super) struct Function<'s> {
    pub(super) params: &'s FormalParameters<'s>,
    pub(super) result: Value,
    /// What it returns, for whoever follows a URL.
    pub(super) returned: Vec<&'s Expression<'s>>,
}

/// A value written to a name.
#[derive(Clone, Copy)]
pub(super) struct Write<'s> {
    pub(super) value: &'s Expression<'s>,
    /// It is added to the end of what is there.
    pub(super) appends: bool,
}

pub(super) struct Graph<'s, 'm> {
    pub(super) module: &'m Module<'s>,
    pub(super) folder: Folder<'s, 'm>,
    pub(super) interface: &'m Interface<'m>,
    pub(super) values: Vec<Value>,
    pub(super) symbols: Vec<Value>,
    /// What is put into the objects of parameters, for whoever gave the objects.
    pub(super) mutated: FxHashMap<SymbolId, Labels>,
    pub(super) fields: FxHashMap<String, Value>,
    pub(super) functions: Vec<Function<'s>>,
    /// The function each node stands in.
    owner: Vec<Option<usize>>,
    by_node: FxHashMap<NodeId, usize>,
    by_symbol: FxHashMap<SymbolId, usize>,
    /// Methods of classes and objects, by name.
    pub(super) methods: FxHashMap<String, Vec<usize>>,
    /// The functions that are called with the arguments and `ctx`.
    pub(super) mains: Vec<usize>,
    /// `resolve` (0) and `reject` (1) of a promise, with the function that is given them.
    settlers: FxHashMap<SymbolId, (usize, usize)>,
    pub(super) bits: FxHashMap<SymbolId, u32>,
    arguments: Vec<Labels>,
    /// Arguments that are read by name.
    pub(super) read: BTreeSet<String>,
    /// The argument object is used as a whole, so that every argument may be read.
    pub(super) read_all: bool,
    /// What computed member names spell.
    pub(super) spelled: FxHashMap<NodeId, Option<String>>,
    pub(super) changed: bool,
    /// The work was not enough to follow everything.
    pub(super) unsettled: bool,
}

impl<'s, 'm> Graph<'s, 'm> {
    pub(super) fn new(module: &'m Module<'s>, folder: Folder<'s, 'm>, interface: &'m Interface<'m>) -> Self {
        let nodes = module.semantic.nodes();
        let mut graph = Self {
            module,
            folder,
            interface,
            values: vec![Value::NONE; nodes.len()],
            symbols: vec![Value::NONE; module.semantic.scoping().symbols_len()],
            mutated: FxHashMap::default(),
            fields: FxHashMap::default(),
            functions: Vec::new(),
            owner: vec![None; nodes.len()],
            by_node: FxHashMap::default(),
            by_symbol: FxHashMap::default(),
            methods: FxHashMap::default(),
            mains: Vec::new(),
            settlers: FxHashMap::default(),
            bits: FxHashMap::default(),
            arguments: Vec::new(),
            read: BTreeSet::new(),
            read_all: false,
            spelled: FxHashMap::default(),
            changed: false,
            unsettled: false,
        };
        graph.find_functions();
        graph.find_main();
        graph
    }

    /// Lets labels flow until nothing changes.
    pub(super) fn settle(&mut self) {
        let nodes = self.module.semantic.nodes();
        for main in self.mains.clone() {
            let Some(params) = self.functions.get(main).map(|f| f.params) else {
                continue;
            };
            for (item, facts) in params.items.iter().zip([labels::INPUT, labels::CTX]) {
                self.bind(&item.pattern, Value::of(facts));
            }
        }
        let order = self.operands_first();
        for round in 0..=MAX_VISITS / nodes.len().max(1) {
            self.changed = false;
            // Both ways, so that neither definitions before their use nor after it take a round each.
            if round % 2 == 0 {
                order.iter().for_each(|id| self.visit(*id));
            } else {
                (0..nodes.len())
                    .rev()
                    .for_each(|index| self.visit(NodeId::from_usize(index)));
            }
            if !self.changed {
                return;
            }
        }
        self.unsettled = true;
    }

    fn visit(&mut self, id: NodeId) {
        let value = self.transfer(id, self.module.semantic.nodes().kind(id));
        if let Some(slot) = self.values.get_mut(id.index()) {
            let sum = slot.or(value);
            self.changed |= sum != *slot;
            *slot = sum;
        }
    }

    /// Every node after its operands, otherwise in the order of the text.
    fn operands_first(&self) -> Vec<NodeId> {
        let nodes = self.module.semantic.nodes();
        let mut order = Vec::with_capacity(nodes.len());
        let mut open: Vec<NodeId> = Vec::new();
        for (id, _) in nodes.iter_enumerated() {
            let parent = nodes.parent_id(id);
            while let Some(last) = open.pop_if(|last| *last != parent) {
                order.push(last);
            }
            open.push(id);
        }
        order.extend(open.into_iter().rev());
        order
    }

    fn find_functions(&mut self) {
        let nodes = self.module.semantic.nodes();
        for (id, node) in nodes.iter_enumerated() {
            let parent = nodes.parent_id(id);
            let outer = self.owner.get(parent.index()).copied().flatten();
            let (params, symbol) = match node.kind() {
                AstKind::Function(function) => (
                    &*function.params,
                    function.id.as_ref().and_then(|name| name.symbol_id.get()),
                ),
                AstKind::ArrowFunctionExpression(function) => (&*function.params, None),
                kind => {
                    if let Some(slot) = self.owner.get_mut(id.index()) {
                        *slot = outer;
                    }
                    if let (AstKind::ReturnStatement(statement), Some(function)) = (kind, outer)
                        && let (Some(value), Some(function)) =
                            (&statement.argument, self.functions.get_mut(function))
                    {
                        function.returned.push(value);
                    }
                    continue;
                }
            };
            let index = self.functions.len();
            self.functions.push(Function {
                params,
                result: Value::NONE,
                returned: Vec::new(),
            });
            if let Some(slot) = self.owner.get_mut(id.index()) {
                *slot = Some(index);
            }
            self.by_node.insert(id, index);
            if let Some(symbol) = symbol {
                self.by_symbol.insert(symbol, index);
            }
            for item in &params.items {
                if let BindingPattern::BindingIdentifier(name) = &item.pattern
                    && let (Some(symbol), Ok(bit)) =
                        (name.symbol_id.get(), u32::try_from(self.arguments.len()))
                    && bit < MAX_PARAMS
                {
                    self.bits.insert(symbol, bit);
                    self.arguments.push(Labels::NONE);
                }
            }
            self.name_function(index, nodes.parent_kind(id));
            if let AstKind::NewExpression(new) = nodes.parent_kind(id)
                && global_name(&self.folder, &new.callee) == Some("Promise")
            {
                for (place, item) in params.items.iter().enumerate() {
                    if let BindingPattern::BindingIdentifier(name) = &item.pattern
                        && let Some(symbol) = name.symbol_id.get()
                    {
                        self.settlers.insert(symbol, (place, index));
                    }
                }
            }
            if let AstKind::ArrowFunctionExpression(arrow) = node.kind()
                && let (Some(body), Some(function)) =
                    (arrow.body.as_expression(), self.functions.get_mut(index))
            {
                function.returned.push(body);
            }
        }
    }

    fn name_function(&mut self, index: usize, parent: AstKind<'s>) {
        let key = match parent {
            AstKind::VariableDeclarator(declarator) => {
                if let BindingPattern::BindingIdentifier(name) = &declarator.id
                    && let Some(symbol) = name.symbol_id.get()
                {
                    self.by_symbol.insert(symbol, index);
                }
                return;
            }
            AstKind::MethodDefinition(method) => (&method.key, method.computed),
            AstKind::PropertyDefinition(property) => (&property.key, property.computed),
            AstKind::ObjectProperty(property) => (&property.key, property.computed),
            _ => return,
        };
        let name = self.key(key.0, key.1);
        if let Some(name) = name {
            self.methods.entry(name).or_default().push(index);
        }
    }

    fn find_main(&mut self) {
        for statement in &self.module.program.body {
            let export = match statement {
                Statement::ExportDefaultDeclaration(export) => export,
                // `export { f as default }`
                Statement::ExportNamedDeclaration(list)
                    if list.specifiers.iter().any(|one| one.exported.name() == "default") =>
                {
                    self.mains = (0..self.functions.len()).collect();
                    continue;
                }
                _ => continue,
            };
            let main = match &export.declaration {
                ExportDefaultDeclarationKind::FunctionDeclaration(function) => {
                    self.by_node.get(&function.node_id()).copied()
                }
                other => other.as_expression().and_then(|value| self.function_at(value)),
            };
            // A default export that is put together may be any function.
            self.mains = main.map_or_else(|| (0..self.functions.len()).collect(), |main| vec![main]);
        }
    }

    /// The function of this module that an expression is.
    pub(super) fn function_at(&self, expression: &'s Expression<'s>) -> Option<usize> {
        match expression.without_parentheses() {
            Expression::Identifier(name) => self.by_symbol.get(&self.folder.symbol(name)?).copied(),
            other => self.by_node.get(&other.node_id()).copied(),
        }
    }

    /// The executor of a promise, if an expression is its `resolve` (0) or `reject` (1).
    pub(super) fn settles(&self, callee: &Expression<'s>, place: usize) -> Option<usize> {
        let Expression::Identifier(name) = callee.without_parentheses() else {
            return None;
        };
        let (at, executor) = self.settlers.get(&self.folder.symbol(name)?)?;
        (*at == place).then_some(*executor)
    }

    pub(super) fn value(&self, expression: &Expression<'s>) -> Value {
        self.at(expression.node_id())
    }

    /// What a function gives back, for reading a getter.
    pub(super) fn result_of(&self, function: &Expression<'s>) -> Value {
        self.result_at(function.node_id())
    }

    pub(super) fn result_at(&self, id: NodeId) -> Value {
        let function = self.by_node.get(&id).and_then(|index| self.functions.get(*index));
        function.map_or(Value::NONE, |function| function.result)
    }

    pub(super) fn at(&self, id: NodeId) -> Value {
        self.values.get(id.index()).copied().unwrap_or_default()
    }

    pub(super) fn symbol_value(&self, symbol: SymbolId) -> Value {
        self.symbols.get(symbol.index()).copied().unwrap_or_default()
    }

    pub(super) fn function_of(&self, id: NodeId) -> Option<usize> {
        self.owner.get(id.index()).copied().flatten()
    }

    /// Labels with every parameter replaced by what callers give.
    pub(super) fn concrete(&self, labels: Labels) -> u64 {
        let (mut facts, mut done, mut open) = (labels.facts, 0u64, labels.params);
        while open != 0 {
            let bit = open.trailing_zeros();
            done |= 1 << bit;
            let given = usize::try_from(bit)
                .ok()
                .and_then(|bit| self.arguments.get(bit))
                .copied()
                .unwrap_or_default();
            facts |= given.facts;
            open = (open | given.params) & !done;
        }
        facts
    }

    /// Gives a function its arguments; the answer is what it gives back.
    pub(super) fn call(&mut self, function: usize, given: &[(Option<&'s Expression<'s>>, Value)]) -> Value {
        let Some((params, mut result)) = self.functions.get(function).map(|f| (f.params, f.result)) else {
            return Value::NONE;
        };
        for (index, item) in params.items.iter().enumerate() {
            let (expression, value) = given.get(index).copied().unwrap_or_default();
            let bit = match &item.pattern {
                BindingPattern::BindingIdentifier(name) => name
                    .symbol_id
                    .get()
                    .and_then(|symbol| Some((symbol, *self.bits.get(&symbol)?))),
                _ => None,
            };
            let Some((symbol, bit)) = bit else {
                self.bind(&item.pattern, value);
                continue;
            };
            let data = value.own.data();
            if let Some(slot) = usize::try_from(bit)
                .ok()
                .and_then(|bit| self.arguments.get_mut(bit))
            {
                let sum = slot.or(data);
                self.changed |= sum != *slot;
                *slot = sum;
            }
            let own = Labels {
                facts: value.own.identity().facts,
                params: 1 << bit,
            };
            self.add_to_symbol(
                symbol,
                Value {
                    own,
                    inside: value.inside,
                },
            );
            if let (Some(put), Some(object)) = (self.mutated.get(&symbol).copied(), expression) {
                self.put_into(object, Value::own(put));
            }
            for labels in [&mut result.own, &mut result.inside] {
                if labels.params & 1 << bit != 0 {
                    labels.params &= !(1 << bit);
                    *labels = labels.or(data);
                }
            }
        }
        if let Some(rest) = &params.rest {
            let others = given.iter().skip(params.items.len());
            let inside = others.fold(Labels::NONE, |sum, (_, value)| sum.or(value.all()));
            self.bind(
                &rest.rest.argument,
                Value {
                    own: Labels::NONE,
                    inside,
                },
            );
        }
        result
    }

    /// Every place where a name is written, and for a parameter every argument it is given.
    pub(super) fn writes(&self) -> FxHashMap<SymbolId, Vec<Write<'s>>> {
        let mut writes: FxHashMap<SymbolId, Vec<Write<'s>>> = FxHashMap::default();
        let mut add = |symbol: Option<SymbolId>, value: &'s Expression<'s>, appends: bool| {
            if let Some(symbol) = symbol {
                writes.entry(symbol).or_default().push(Write { value, appends });
            }
        };
        for node in self.module.semantic.nodes().iter() {
            match node.kind() {
                AstKind::VariableDeclarator(declarator) => {
                    if let (BindingPattern::BindingIdentifier(name), Some(init)) =
                        (&declarator.id, &declarator.init)
                    {
                        add(name.symbol_id.get(), init, false);
                    }
                }
                AstKind::FormalParameter(parameter) => {
                    if let (BindingPattern::BindingIdentifier(name), Some(init)) =
                        (&parameter.pattern, &parameter.initializer)
                    {
                        add(name.symbol_id.get(), init, false);
                    }
                }
                AstKind::AssignmentExpression(assignment) => {
                    if let AssignmentTarget::AssignmentTargetIdentifier(name) = &assignment.left {
                        let appends =
                            assignment.operator == oxc_syntax::operator::AssignmentOperator::Addition;
                        add(self.folder.symbol(name), &assignment.right, appends);
                    }
                }
                AstKind::CallExpression(call) => {
                    let Some(function) = self
                        .callee(&call.callee)
                        .and_then(|index| self.functions.get(index))
                    else {
                        continue;
                    };
                    for (item, argument) in function.params.items.iter().zip(&call.arguments) {
                        if let (BindingPattern::BindingIdentifier(name), Some(value)) =
                            (&item.pattern, argument.as_expression())
                        {
                            add(name.symbol_id.get(), value, false);
                        }
                    }
                }
                _ => {}
            }
        }
        writes
    }

    /// The one function of this module that is called.
    pub(super) fn callee(&self, callee: &'s Expression<'s>) -> Option<usize> {
        let name = match callee.without_parentheses() {
            Expression::StaticMemberExpression(member) => member.property.name.to_string(),
            Expression::PrivateFieldExpression(member) => format!("#{}", member.field.name),
            other => return self.function_at(other),
        };
        match self.methods.get(&name).map(Vec::as_slice) {
            Some([one]) => Some(*one),
            _ => None,
        }
    }

    pub(super) fn arrow_result(&mut self, id: NodeId, body: &'s ArrowFunctionBody<'s>) {
        if let Some(body) = body.as_expression() {
            let value = self.value(body);
            self.add_to_result(self.by_node.get(&id).copied(), value);
        }
    }
}
