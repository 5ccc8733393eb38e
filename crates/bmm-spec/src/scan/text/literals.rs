//! Texts inside code: string literals that a tool may return to the model.
//!
//! Code speaks to people and machines too, so only what nobody writes by chance counts here: orders to set instructions aside, to hide
//! something, to send data away, and messages in characters that are not shown.

use super::super::{Hit, grammar, units::UnitKind};
use crate::{
    code::{Module, range},
    rule::{Confidence, Rule},
};
use oxc_ast::{
    AstKind,
    ast::{BinaryExpression, BinaryOperator, Expression, TemplateLiteral},
};
use oxc_span::GetSpan;
use std::ops::Range;

/// A shorter literal orders nothing.
const MIN_CHARS: usize = 16;
/// What stands in a text for a part that is not known before the code runs.
const UNKNOWN: &str = "{}";

/// Judges the texts of a module.
pub(crate) fn judge(module: &Module<'_>) -> Vec<Hit> {
    let context = grammar::Context {
        kind: UnitKind::Content,
        tool: None,
        tools: &[],
    };
    texts(module)
        .into_iter()
        .filter(|(_, text)| text.chars().nth(MIN_CHARS).is_some())
        .flat_map(|(span, text)| {
            let hits = super::judge(&text, &context).into_iter();
            hits.filter(counts).map(move |hit| Hit {
                span: span.clone(),
                message: format!("a string: {}", hit.message),
                decoded: hit.decoded.or_else(|| Some(text.clone())),
                ..hit
            })
        })
        .collect()
}

fn counts(hit: &Hit) -> bool {
    let grave = match hit.rule {
        Rule::InstructionOverride | Rule::Concealment | Rule::ExfilInstruction | Rule::EncodedPayload => true,
        // Code that cleans texts names single characters; what spells something is no such list.
        Rule::HiddenUnicode => hit.decoded.is_some(),
        _ => false,
    };
    grave && hit.confidence == Confidence::High
}

/// The strings that a module spells, with their places: literals, templates and sums of them, cooked.
fn texts(module: &Module<'_>) -> Vec<(Range<usize>, String)> {
    let nodes = module.semantic.nodes();
    let within_sum = |node| matches!(nodes.parent_kind(node), AstKind::BinaryExpression(sum) if sum.operator == BinaryOperator::Addition);
    let mut found = Vec::new();
    for node in nodes.iter() {
        match node.kind() {
            AstKind::StringLiteral(literal) if !within_sum(node.id()) => {
                found.push((range(literal.span), literal.value.to_string()));
            }
            AstKind::TemplateLiteral(template) if !within_sum(node.id()) => {
                found.push((range(template.span), cooked(template)));
            }
            AstKind::BinaryExpression(sum)
                if sum.operator == BinaryOperator::Addition && !within_sum(node.id()) =>
            {
                found.push((range(sum.span()), spelled(sum)));
            }
            _ => {}
        }
    }
    found
}

fn cooked(template: &TemplateLiteral<'_>) -> String {
    let quasis: Vec<&str> = template
        .quasis
        .iter()
        .map(|quasi| quasi.value.cooked.as_ref().map_or("", |text| text.as_str()))
        .collect();
    quasis.join(UNKNOWN)
}

/// What a sum of strings spells. Sums lean to the left, so the parts are taken from the right, without recursion.
fn spelled(sum: &BinaryExpression<'_>) -> String {
    let mut parts = vec![part(&sum.right)];
    let mut left = &sum.left;
    loop {
        match left {
            Expression::BinaryExpression(inner) if inner.operator == BinaryOperator::Addition => {
                parts.push(part(&inner.right));
                left = &inner.left;
            }
            first => {
                parts.push(part(first));
                break;
            }
        }
    }
    parts.reverse();
    parts.concat()
}

fn part(expression: &Expression<'_>) -> String {
    match expression {
        Expression::StringLiteral(literal) => literal.value.to_string(),
        Expression::TemplateLiteral(template) => cooked(template),
        // As deep as the cap on nesting lets it be.
        Expression::ParenthesizedExpression(inner) => part(&inner.expression),
        Expression::BinaryExpression(sum) if sum.operator == BinaryOperator::Addition => spelled(sum),
        _ => UNKNOWN.to_owned(),
    }
}
