//! One piece of code through the parser: syntax, module form, and JavaScript without types.

use super::{CodeProblem, check_nesting};
use crate::{
    compiled::{CompiledCode, LineMap},
    model::MAX_CODE_BYTES,
    rule::Rule,
};
use oxc_allocator::Allocator;
use oxc_ast::{
    AstKind,
    ast::{ExportDefaultDeclarationKind, Expression, Program, Statement},
};
use oxc_codegen::{Codegen, CodegenOptions};
use oxc_parser::{ParseOptions, Parser};
use oxc_semantic::{AstNode, Semantic, SemanticBuilder};
use oxc_span::{GetSpan, SourceType, Span};
use oxc_syntax::symbol::SymbolFlags;
use oxc_transformer::{TransformOptions, Transformer};
use std::{ops::Range, path::Path};

/// Only the most important few: after the first error a parser mostly reports its own confusion.
const MAX_SYNTAX_ERRORS: usize = 8;

/// A module that parsed, as a tree with the author's spans.
///
/// What does not exist at run time is either gone or stands around what does: types, `as`, `satisfies`, `!`. So look at expressions through
/// `get_inner_expression`, and at references only if they are of values.
pub(crate) struct Module<'s> {
    pub(crate) source: &'s str,
    pub(crate) program: &'s Program<'s>,
    pub(crate) semantic: Semantic<'s>,
    /// The code around it is not seen.
    pub(crate) fragment: bool,
    /// Why it runs as a script only.
    pub(crate) sloppy: Option<CodeProblem>,
    /// How far its spans are ahead of the text that was given.
    pub(crate) shift: usize,
}

/// Strips the types.
pub(crate) fn compile(source: &str) -> Result<CompiledCode, Vec<CodeProblem>> {
    check_caps(source)?;
    let allocator = Allocator::default();
    stripped(&allocator, source, SourceType::ts().with_module(true), Form::Tool).map(|program| {
        let options = CodegenOptions {
            source_map_path: Some("tool.ts".into()),
            ..CodegenOptions::default()
        };
        let printed = Codegen::new().with_options(options).build(&program);
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

/// Parses within the caps, checks the module's form, and shows the module to `look`.
///
/// Runs on the caller's stack: call it inside [`on_big_stack`](super::on_big_stack).
pub(crate) fn with_module<T>(
    source: &str,
    look: impl FnOnce(&Module<'_>) -> T,
) -> Result<T, Vec<CodeProblem>> {
    check_caps(source)?;
    let allocator = Allocator::default();
    read(&allocator, source, SourceType::ts().with_module(true), Form::Tool).map(|module| look(&module))
}

/// The same for code that need not be a tool's module: no default export is asked for, `return` may stand outside a function, and
/// what is no module (`with`, octal numbers) is read as a script.
pub(crate) fn with_fragment<T>(
    source: &str,
    look: impl FnOnce(&Module<'_>) -> T,
) -> Result<T, Vec<CodeProblem>> {
    check_caps(source)?;
    let (first, second) = (Allocator::default(), Allocator::default());
    let problems = match read(&first, source, SourceType::ts().with_module(true), Form::Fragment) {
        Ok(module) => return Ok(look(&module)),
        Err(problems) => problems,
    };
    // TypeScript knows no `with`.
    let scripts = [SourceType::ts().with_script(true), SourceType::script()];
    let script = scripts
        .into_iter()
        .find_map(|kind| read(&second, source, kind, Form::Fragment).ok());
    if let Some(script) = script {
        return Ok(look(&Module {
            sloppy: problems.into_iter().next(),
            ..script
        }));
    }
    // `function (input) { … }` is an expression and no statement.
    let wrapped = format!("({source}\n)");
    let wrapped = second.alloc_str(&wrapped);
    match read(
        &second,
        wrapped,
        SourceType::ts().with_module(true),
        Form::Fragment,
    ) {
        Ok(expression) => Ok(look(&Module {
            shift: 1,
            ..expression
        })),
        Err(_) => Err(problems),
    }
}

/// What code must be besides correct.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// One self-contained module whose default export is a function.
    Tool,
    /// Anything.
    Fragment,
}

fn check_caps(source: &str) -> Result<(), Vec<CodeProblem>> {
    if source.len() > MAX_CODE_BYTES {
        let message = format!(
            "the code has {} bytes, the most is {MAX_CODE_BYTES}",
            source.len()
        );
        return Err(vec![CodeProblem::new(Rule::ParseOrLimit, 0..0, message)]);
    }
    check_nesting(source).map_err(|problem| vec![problem])
}

fn read<'a>(
    allocator: &'a Allocator,
    source: &'a str,
    kind: SourceType,
    form: Form,
) -> Result<Module<'a>, Vec<CodeProblem>> {
    let program = allocator.alloc(parse(allocator, source, kind, form)?);
    let checked = SemanticBuilder::new()
        .with_build_nodes(true)
        .with_check_syntax_error(true)
        .build(program);
    let mut problems = syntax(&checked.diagnostics);
    problems.extend(module_form(program, form));
    if !problems.is_empty() {
        return Err(problems);
    }
    let module = |program, semantic| Module {
        source,
        program,
        semantic,
        fragment: form == Form::Fragment,
        sloppy: None,
        shift: 0,
    };
    if !declares_types(&checked.semantic) {
        return Ok(module(program, checked.semantic));
    }
    // Rare, and then what is judged is what runs: a tree without types, read a second time.
    let program = allocator.alloc(stripped(allocator, source, kind, form)?);
    let semantic = SemanticBuilder::new()
        .with_build_nodes(true)
        .build(program)
        .semantic;
    Ok(module(program, semantic))
}

/// The tree without types.
fn stripped<'a>(
    allocator: &'a Allocator,
    source: &'a str,
    kind: SourceType,
    form: Form,
) -> Result<Program<'a>, Vec<CodeProblem>> {
    let mut program = parse(allocator, source, kind, form)?;
    let checked = SemanticBuilder::new()
        .with_check_syntax_error(true)
        .with_enum_eval(true)
        .build(&program);
    let mut problems = syntax(&checked.diagnostics);
    problems.extend(module_form(&program, form));
    if !problems.is_empty() {
        return Err(problems);
    }
    let scoping = checked.semantic.into_scoping();
    let options = TransformOptions::default();
    let stripped =
        Transformer::new(allocator, Path::new("tool.ts"), &options).build_with_scoping(scoping, &mut program);
    problems.extend(syntax(&stripped.diagnostics));
    if problems.is_empty() {
        Ok(program)
    } else {
        Err(problems)
    }
}

fn parse<'a>(
    allocator: &'a Allocator,
    source: &'a str,
    kind: SourceType,
    form: Form,
) -> Result<Program<'a>, Vec<CodeProblem>> {
    let options = ParseOptions {
        allow_return_outside_function: form == Form::Fragment,
        ..ParseOptions::default()
    };
    let parsed = Parser::new(allocator, source, kind).with_options(options).parse();
    let mut problems = syntax(&parsed.diagnostics);
    if problems.is_empty() && parsed.panicked {
        let message = "the code does not parse";
        problems.push(CodeProblem::new(Rule::ParseOrLimit, 0..0, message));
    }
    if problems.is_empty() {
        Ok(parsed.program)
    } else {
        Err(problems)
    }
}

/// Does the code declare names that only a compiler of TypeScript sees? Such a name would stand for a global at run time.
fn declares_types(semantic: &Semantic<'_>) -> bool {
    let (nodes, scoping) = (semantic.nodes(), semantic.scoping());
    let declares = |node: &AstNode<'_>| {
        matches!(
            node.kind(),
            AstKind::TSExternalModuleDeclaration(_)
                | AstKind::TSNamespaceDeclaration(_)
                | AstKind::TSGlobalDeclaration(_)
                | AstKind::TSImportEqualsDeclaration(_)
                | AstKind::TSExportAssignment(_)
                | AstKind::TSNamespaceExportDeclaration(_)
                | AstKind::Decorator(_)
        )
    };
    nodes.iter().any(declares)
        || scoping.symbol_ids().any(|symbol| {
            let flags = scoping.symbol_flags(symbol);
            let erased = SymbolFlags::ConstEnum | SymbolFlags::TypeImport;
            flags.intersects(erased)
                || flags.is_ambient() && flags.is_value()
                || flags.is_function()
                    && scoping.symbol_declarations(symbol).any(
                        |id| matches!(nodes.kind(id), AstKind::Function(function) if function.body.is_none()),
                    )
        })
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
fn module_form(program: &Program<'_>, form: Form) -> Vec<CodeProblem> {
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
    if form == Form::Fragment {
        problems.retain(|problem| problem.rule != Rule::DefaultExport);
    } else if default_export.is_none() {
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
    match expression.get_inner_expression() {
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
