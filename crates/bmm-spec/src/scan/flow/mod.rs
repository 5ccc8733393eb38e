//! Data flow inside one module: where arguments and secrets go, and where requests may go.

mod graph;
mod interface;
mod keys;
mod labels;
mod sinks;
mod store;
mod transfer;
mod url;

pub(crate) use interface::{Declarations, Interface};

use super::{Hit, capability::Capabilities, code::fold::Folder};
use crate::{code::Module, rule::Rule};
use oxc_ast::{AstKind, ast::Expression};

/// What flows where in a module that has been given an interface.
pub(crate) struct Flow {
    pub(crate) hits: Vec<Hit>,
    pub(crate) capabilities: Capabilities,
}

/// Follows the data of a tool's module. Time is linear in the size of the code, times the depth of its data flow, which is bounded.
pub(crate) fn analyse<'s>(module: &Module<'s>, folder: Folder<'s, '_>, interface: &Interface<'_>) -> Flow {
    let mut graph = graph::Graph::new(module, folder, interface);
    graph.settle();
    let mut flow = sinks::judge(graph);
    flow.hits.extend(keys::hardcoded(module));
    flow
}

/// Keys written into code of which no spec is known, and secrets that a tool's module lets out.
pub(crate) fn of_fragment<'s>(module: &Module<'s>, folder: Folder<'s, '_>) -> Vec<Hit> {
    let mut hits = keys::hardcoded(module);
    if !may_name_secrets(module) {
        return hits;
    }
    let interface = Interface::unknown();
    let mut graph = graph::Graph::new(module, folder, &interface);
    // Only a default export is called with a `ctx`.
    if !graph.mains.is_empty() {
        graph.settle();
        let flow = sinks::judge(graph);
        hits.extend(
            flow.hits
                .into_iter()
                .filter(|hit| hit.rule == Rule::SecretToOutput),
        );
    }
    hits
}

/// Can any access of the module be to `secrets`? Secrets have no other source (`Graph::member`), so without one none gets out.
fn may_name_secrets(module: &Module<'_>) -> bool {
    // Escapes spell a name in other letters, and a computed key may put it together.
    let is_plain =
        |key: &Expression<'_>| matches!(key, Expression::StringLiteral(_) | Expression::NumericLiteral(_));
    module.source.contains("secrets")
        || module.source.contains('\\')
        || module.semantic.nodes().iter().any(|node| match node.kind() {
            AstKind::ComputedMemberExpression(member) => !is_plain(&member.expression),
            AstKind::BindingProperty(property) => property.computed,
            AstKind::AssignmentTargetPropertyProperty(property) => property.computed,
            _ => false,
        })
}
