//! One piece of code through the parser: syntax, module form, and JavaScript without types.

use super::{CodeProblem, check_nesting};
use crate::{
    compiled::{CompiledCode, LineMap},
    model::MAX_CODE_BYTES,
    rule::Rule,
};
use oxc_allocator::Allocator;
use oxc_ast::ast::{ExportDefaultDeclarationKind, Expression, Program, Statement};
use oxc_codegen::{Codegen, CodegenOptions};
use oxc_parser::Parser;
use oxc_semantic::{Semantic, SemanticBuilder};
use oxc_span::{GetSpan, SourceType, Span};
use oxc_transformer::{TransformOptions, Transformer};
use std::{ops::Range, path::Path};

/// Only the most important few: after the first error a parser mostly reports its own confusion.
const MAX_SYNTAX_ERRORS: usize = 8;

/// A module that parsed: plain JavaScript as a tree, with the author's spans.
pub(crate) struct Module<'s> {
    pub(crate) program: &'s Program<'s>,
    pub(crate) semantic: Semantic<'s>,
}

/// Strips the types.
pub(crate) fn compile(source: &str) -> Result<CompiledCode, Vec<CodeProblem>> {
    with_module(source, |module| {
        let options = CodegenOptions {
            source_map_path: Some("tool.ts".into()),
            ..CodegenOptions::default()
        };
        let printed = Codegen::new().with_options(options).build(module.program);
        let mut lines = vec![0u32; printed.code.lines().count()];
        for token in printed.map.iter().flat_map(|map| map.get_tokens()) {
            let slot = usize::try_from(token.get_dst_line())
                .ok()
                .and_then(|line| lines.get_mut(line));
            if let Some(slot @ 0) = slot {
                *slot = token.get_src_line().saturating_add(1);
            }
        }
        CompiledCode {
            code: printed.code,
            line_map: LineMap(lines),
        }
    })
}

/// Parses within the caps, checks the module's form, strips the types, and shows the result to `look`.
///
/// Runs on the caller's stack: call it inside [`on_big_stack`](super::on_big_stack).
pub(crate) fn with_module<T>(
    source: &str,
    look: impl FnOnce(&Module<'_>) -> T,
) -> Result<T, Vec<CodeProblem>> {
    if source.len() > MAX_CODE_BYTES {
        let message = format!(
            "the code has {} bytes, the most is {MAX_CODE_BYTES}",
            source.len()
        );
        return Err(vec![CodeProblem::new(Rule::ParseOrLimit, 0..0, message)]);
    }
    check_nesting(source).map_err(|problem| vec![problem])?;
    let allocator = Allocator::default();
    let parsed = Parser::new(&allocator, source, SourceType::ts().with_module(true)).parse();
    let mut problems = syntax(&parsed.diagnostics);
    if !problems.is_empty() || parsed.panicked {
        if problems.is_empty() {
            problems.push(CodeProblem::new(
                Rule::ParseOrLimit,
                0..0,
                "the code does not parse",
            ));
        }
        return Err(problems);
    }
    let mut program = parsed.program;
    let checked = SemanticBuilder::new()
        .with_check_syntax_error(true)
        .with_enum_eval(true)
        .build(&program);
    problems.extend(syntax(&checked.diagnostics));
    problems.extend(module_form(&program));
    if !problems.is_empty() {
        return Err(problems);
    }
    let scoping = checked.semantic.into_scoping();
    let options = TransformOptions::default();
    let stripped = Transformer::new(&allocator, Path::new("tool.ts"), &options)
        .build_with_scoping(scoping, &mut program);
    problems.extend(syntax(&stripped.diagnostics));
    if !problems.is_empty() {
        return Err(problems);
    }
    // Again, since what is judged is what runs: the tree without types.
    let semantic = SemanticBuilder::new()
        .with_build_nodes(true)
        .build(&program)
        .semantic;
    Ok(look(&Module {
        program: &program,
        semantic,
    }))
}

pub(crate) fn range(span: Span) -> Range<usize> {
    usize_range(span.start, span.end - span.start)
}

fn usize_range(start: u32, len: u32) -> Range<usize> {
    let wide = |offset: u32| usize::try_from(offset).unwrap_or(usize::MAX);
    wide(start)..wide(start).saturating_add(wide(len))
}

fn syntax(errors: &oxc_diagnostics::Diagnostics) -> Vec<CodeProblem> {
    errors
        .iter()
        .take(MAX_SYNTAX_ERRORS)
        .map(|error| {
            let span = error
                .labels
                .first()
                .map_or(0..0, |label| usize_range(label.offset(), label.len()));
            CodeProblem::new(Rule::ParseOrLimit, span, error.message.to_string())
        })
        .collect()
}

/// One self-contained module whose default export is a function.
fn module_form(program: &Program<'_>) -> Vec<CodeProblem> {
    let mut problems = Vec::new();
    let mut default_export = None;
    for statement in &program.body {
        match statement {
            Statement::ImportDeclaration(import) if !import.import_kind.is_type() => {
                let message = format!("imports `{}`", import.source.value);
                problems.push(CodeProblem::new(Rule::ModuleLoad, range(import.span), message));
            }
            Statement::ExportAllDeclaration(export) => {
                let message = format!("exports from `{}`", export.source.value);
                problems.push(CodeProblem::new(Rule::ModuleLoad, range(export.span), message));
            }
            Statement::ExportDefaultDeclaration(export) => {
                default_export = Some(range(export.span));
                if !may_be_function(&export.declaration, program) {
                    let message = "the default export is not a function";
                    problems.push(CodeProblem::new(
                        Rule::DefaultExport,
                        range(export.declaration.span()),
                        message,
                    ));
                }
            }
            Statement::ExportFromDeclaration(export) if !export.export_kind.is_type() => {
                let message = format!("exports from `{}`", export.source.value);
                problems.push(CodeProblem::new(Rule::ModuleLoad, range(export.span), message));
            }
            Statement::ExportNamedDeclaration(export) => {
                if let Some(default) = export.specifiers.iter().find(|s| s.exported.name() == "default") {
                    default_export = Some(range(default.span));
                }
            }
            _ => {}
        }
    }
    if default_export.is_none() {
        problems.push(CodeProblem::new(
            Rule::DefaultExport,
            0..0,
            "the module has no default export",
        ));
    }
    problems
}

/// Refuses what is certainly no function; the engine sees the rest at its first call.
fn may_be_function(declaration: &ExportDefaultDeclarationKind<'_>, program: &Program<'_>) -> bool {
    let expression = match declaration {
        ExportDefaultDeclarationKind::FunctionDeclaration(_) => return true,
        ExportDefaultDeclarationKind::ClassDeclaration(_)
        | ExportDefaultDeclarationKind::TSInterfaceDeclaration(_) => return false,
        other => match other.as_expression() {
            Some(expression) => expression,
            None => return false,
        },
    };
    match expression.without_parentheses() {
        Expression::ObjectExpression(_)
        | Expression::ArrayExpression(_)
        | Expression::ClassExpression(_)
        | Expression::TemplateLiteral(_)
        | Expression::NewExpression(_)
        | Expression::UnaryExpression(_)
        | Expression::BinaryExpression(_) => false,
        Expression::Identifier(name) => program.body.iter().all(|statement| match statement {
            Statement::ClassDeclaration(class) => class.id.as_ref().is_none_or(|id| id.name != name.name),
            _ => true,
        }),
        literal => !literal.is_literal(),
    }
}
