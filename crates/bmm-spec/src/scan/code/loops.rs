//! Loops that nothing ends.

use super::fold::Folder;
use oxc_ast::{
    AstKind,
    ast::{
        ArrowFunctionExpression, AwaitExpression, BinaryOperator, BreakStatement, ContinueStatement,
        DoWhileStatement, Expression, ForInStatement, ForOfStatement, ForStatement, Function,
        ReturnStatement, Statement, SwitchStatement, ThrowStatement, UnaryOperator, WhileStatement,
        YieldExpression,
    },
};
use oxc_ast_visit::{Visit, walk};
use oxc_span::{GetSpan, Span};
use oxc_syntax::scope::ScopeFlags;

/// More elements or rounds than any tool's limits allow for.
pub(super) const HUGE: f64 = 50_000_000.0;

/// What is wrong with a loop: a test that is always true, or true for ages, and no way out.
pub(super) fn endless<'s>(loop_: AstKind<'s>, folder: &mut Folder<'s, '_>) -> Option<(Span, &'static str)> {
    const FOREVER: &str = "loops without an end: the test is always true, and nothing leaves or waits";
    const AGES: &str = "loops more often than any limit allows, and nothing leaves or waits";
    let (span, test, body) = match loop_ {
        AstKind::WhileStatement(l) => (l.span, Some(&l.test), &l.body),
        AstKind::DoWhileStatement(l) => (l.span, Some(&l.test), &l.body),
        AstKind::ForStatement(l) => (l.span, l.test.as_ref(), &l.body),
        _ => return None,
    };
    let message = match test {
        None => FOREVER,
        Some(test) if truth(test, folder, 0) == Some(true) => FOREVER,
        Some(test) if counts_far(test, folder) => AGES,
        Some(_) => return None,
    };
    let start = Span::new(span.start, body.span().start.max(span.start + 1));
    (!has_exit(body)).then_some((start, message))
}

fn truth<'s>(expression: &'s Expression<'s>, folder: &mut Folder<'s, '_>, depth: usize) -> Option<bool> {
    const MAX_DEPTH: usize = 64;
    if depth > MAX_DEPTH {
        return None;
    }
    match folder.resolve(expression) {
        Expression::BooleanLiteral(literal) => Some(literal.value),
        Expression::NumericLiteral(number) => Some(number.value != 0.0),
        Expression::StringLiteral(text) => Some(!text.value.is_empty()),
        Expression::NullLiteral(_) => Some(false),
        Expression::ArrayExpression(_)
        | Expression::ObjectExpression(_)
        | Expression::ArrowFunctionExpression(_)
        | Expression::FunctionExpression(_) => Some(true),
        Expression::UnaryExpression(not) if not.operator == UnaryOperator::LogicalNot => {
            truth(&not.argument, folder, depth + 1).map(|value| !value)
        }
        Expression::BinaryExpression(binary) => {
            let (left, right) = (folder.value(&binary.left)?, folder.value(&binary.right)?);
            match binary.operator {
                BinaryOperator::Equality | BinaryOperator::StrictEquality => Some(left == right),
                BinaryOperator::Inequality | BinaryOperator::StrictInequality => Some(left != right),
                _ => None,
            }
        }
        _ => None,
    }
}

/// `i < 1e12`
fn counts_far<'s>(test: &'s Expression<'s>, folder: &mut Folder<'s, '_>) -> bool {
    let Expression::BinaryExpression(binary) = test.get_inner_expression() else {
        return false;
    };
    let bound = match binary.operator {
        BinaryOperator::LessThan | BinaryOperator::LessEqualThan => &binary.right,
        BinaryOperator::GreaterThan | BinaryOperator::GreaterEqualThan => &binary.left,
        _ => return false,
    };
    folder.number(bound).is_some_and(|bound| bound >= HUGE)
}

fn has_exit(body: &Statement<'_>) -> bool {
    let mut exits = Exits::default();
    exits.visit_statement(body);
    exits.found
}

/// Looks for what leaves a loop, or lets others run.
#[derive(Default)]
struct Exits {
    /// Loops and switches inside, which take a bare `break` for themselves.
    inside: usize,
    found: bool,
}

impl Exits {
    fn nested(&mut self, walk: impl FnOnce(&mut Self)) {
        self.inside += 1;
        walk(self);
        self.inside -= 1;
    }
}

impl<'a> Visit<'a> for Exits {
    fn visit_break_statement(&mut self, it: &BreakStatement<'a>) {
        self.found |= it.label.is_some() || self.inside == 0;
    }

    fn visit_continue_statement(&mut self, it: &ContinueStatement<'a>) {
        // Of an outer loop, most likely.
        self.found |= it.label.is_some();
    }

    fn visit_return_statement(&mut self, _: &ReturnStatement<'a>) {
        self.found = true;
    }

    fn visit_throw_statement(&mut self, _: &ThrowStatement<'a>) {
        self.found = true;
    }

    fn visit_await_expression(&mut self, _: &AwaitExpression<'a>) {
        self.found = true;
    }

    fn visit_yield_expression(&mut self, _: &YieldExpression<'a>) {
        self.found = true;
    }

    fn visit_function(&mut self, _: &Function<'a>, _: ScopeFlags) {}

    fn visit_arrow_function_expression(&mut self, _: &ArrowFunctionExpression<'a>) {}

    fn visit_while_statement(&mut self, it: &WhileStatement<'a>) {
        self.nested(|s| walk::walk_while_statement(s, it));
    }

    fn visit_do_while_statement(&mut self, it: &DoWhileStatement<'a>) {
        self.nested(|s| walk::walk_do_while_statement(s, it));
    }

    fn visit_for_statement(&mut self, it: &ForStatement<'a>) {
        self.nested(|s| walk::walk_for_statement(s, it));
    }

    fn visit_for_in_statement(&mut self, it: &ForInStatement<'a>) {
        self.nested(|s| walk::walk_for_in_statement(s, it));
    }

    fn visit_for_of_statement(&mut self, it: &ForOfStatement<'a>) {
        self.found |= it.r#await;
        self.nested(|s| walk::walk_for_of_statement(s, it));
    }

    fn visit_switch_statement(&mut self, it: &SwitchStatement<'a>) {
        self.nested(|s| walk::walk_switch_statement(s, it));
    }
}
