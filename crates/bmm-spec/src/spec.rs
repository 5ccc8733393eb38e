//! The way of a spec: bytes, `Spec`, `ValidSpec`, `CompiledSpec`. Every stage reports all it finds at once.

use crate::{
    check, code,
    compiled::{
        COMPILED_VERSION, CompiledCode, CompiledPrompt, CompiledResource, CompiledSpec, CompiledTool,
        PromptContent, ResourceContent, ResourcePlace,
    },
    diagnostic::{Diagnostic, Diagnostics},
    digest,
    json::{self, Positions},
    model::{Prompt, Resource, Spec, Tool},
    report::Report,
    rule::Rule,
    scan, schema,
};
use serde_json::{Map, Value};

/// A spec that passed every check and whose scan found nothing that blocks. Made by [`Spec::validate`] only.
#[derive(Clone, Debug)]
pub struct ValidSpec(Spec);

/// Parses, scans and validates in one go: the answer holds the problems of all stages.
///
/// # Errors
/// Everything that keeps the spec from being admitted, with pointers and byte spans.
pub fn admit(bytes: &[u8]) -> Result<(ValidSpec, Report), Diagnostics> {
    let (document, mut problems) = json::read(bytes);
    let Some(document) = document else {
        return Err(some(problems));
    };
    problems.extend(check_all(&document.value, &document.positions));
    let mut report = scan::scan_value(&document.value, &document.positions);
    problems.extend(report.blocking());
    Diagnostics::none_or_err(problems)?;
    let spec = typed(document.value, document.positions)?;
    report.spec_digest = digest::spec_digest(&spec);
    Ok((ValidSpec(spec), report))
}

impl Spec {
    /// Reads a spec file (UTF-8 JSON, at most 1 MiB, 64 levels deep).
    ///
    /// # Errors
    /// All problems at once: of the JSON, of the format, of schemas, domains, examples, and code that does not parse. What
    /// code and texts *do* is the business of [`scan`](crate::scan()).
    pub fn parse(bytes: &[u8]) -> Result<Spec, Diagnostics> {
        let (document, mut problems) = json::read(bytes);
        let Some(document) = document else {
            return Err(some(problems));
        };
        problems.extend(check_all(&document.value, &document.positions));
        Diagnostics::none_or_err(problems)?;
        typed(document.value, document.positions)
    }

    /// The gate. Trusts neither the value, which may have been changed since it was parsed, nor a report of another spec.
    ///
    /// # Errors
    /// Every problem of the spec, and every finding of the report that blocks.
    pub fn validate(self, report: &Report) -> Result<ValidSpec, Diagnostics> {
        let value = serde_json::to_value(&self).unwrap_or_default();
        let mut problems = check_all(&value, &self.positions);
        if report.spec_digest != digest::spec_digest(&self) {
            let message = "the scan report belongs to another spec";
            problems
                .push(Diagnostic::new(Rule::BadValue, "", message).with_help("scan the spec as it is now"));
        }
        problems.extend(report.blocking());
        Diagnostics::none_or_err(problems)?;
        Ok(ValidSpec(self))
    }

    /// The digest of everything except the slug.
    pub fn digest(&self) -> String {
        digest::spec_digest(self)
    }

    pub(crate) fn positions(&self) -> &Positions {
        &self.positions
    }
}

impl ValidSpec {
    /// The spec.
    pub fn spec(&self) -> &Spec {
        &self.0
    }

    /// Gives the spec back for editing; it must be validated again.
    pub fn into_spec(self) -> Spec {
        self.0
    }

    /// Strips the types from the code and takes the digests.
    ///
    /// # Errors
    /// Code that cannot be turned into JavaScript; validation found everything else.
    pub fn compile(self) -> Result<CompiledSpec, Diagnostics> {
        let spec_digest = digest::spec_digest(&self.0);
        let positions = self.0.positions.clone();
        let mut compiler = Compiler { problems: Vec::new() };
        let spec = self.0;
        let mut compiled = code::on_big_stack(|| CompiledSpec {
            version: COMPILED_VERSION,
            slug: spec.slug,
            name: spec.name,
            description: spec.description,
            instructions: spec.instructions,
            tools: spec
                .tools
                .into_iter()
                .enumerate()
                .map(|(i, tool)| compiler.tool(i, tool))
                .collect(),
            resources: spec
                .resources
                .into_iter()
                .enumerate()
                .filter_map(|(i, r)| compiler.resource(i, r))
                .collect(),
            prompts: spec
                .prompts
                .into_iter()
                .enumerate()
                .map(|(i, p)| compiler.prompt(i, p))
                .collect(),
            required_secrets: spec.required_secrets,
            allowed_domains: spec.allowed_domains,
            icons: spec.icons,
            limits: spec.limits,
            manifest_digest: String::new(),
            spec_digest,
            compiled_digest: String::new(),
        })
        .map_err(|problem| some(vec![*problem]))?;
        let problems = compiler
            .problems
            .into_iter()
            .map(|p| check::locate(p, &positions))
            .collect();
        Diagnostics::none_or_err(problems)?;
        compiled.manifest_digest = compiled.listed_manifest_digest();
        compiled.compiled_digest = compiled.own_digest();
        Ok(compiled)
    }
}

fn check_all(value: &Value, positions: &Positions) -> Vec<Diagnostic> {
    let mut problems = schema::structure(value);
    problems.extend(check::meaning(value));
    problems
        .into_iter()
        .map(|p| check::locate(p, positions))
        .collect()
}

fn typed(value: Value, positions: Positions) -> Result<Spec, Diagnostics> {
    let mut spec: Spec = serde_json::from_value(value)
        .map_err(|error| some(vec![Diagnostic::new(Rule::BadValue, "", error.to_string())]))?;
    spec.positions = positions;
    Ok(spec)
}

fn some(problems: Vec<Diagnostic>) -> Diagnostics {
    match Diagnostics::none_or_err(problems) {
        Err(diagnostics) => diagnostics,
        Ok(()) => Diagnostics::try_from(vec![Diagnostic::new(
            Rule::NotJson,
            "",
            "the file cannot be read",
        )])
        .expect("a list of one is not empty"),
    }
}

struct Compiler {
    problems: Vec<Diagnostic>,
}

impl Compiler {
    fn tool(&mut self, index: usize, tool: Tool) -> CompiledTool {
        let compiled = self.code(format!("/tools/{index}/implementation"), &tool.implementation);
        CompiledTool {
            name: tool.name,
            title: tool.title,
            description: tool.description,
            input_schema: with_headers(tool.input_schema, &tool.headers),
            output_schema: tool.output_schema,
            annotations: tool.annotations,
            scopes: tool.scopes,
            code: compiled.code,
            line_map: compiled.line_map,
        }
    }

    fn resource(&mut self, index: usize, resource: Resource) -> Option<CompiledResource> {
        let place = match (resource.uri, resource.uri_template) {
            (Some(uri), _) => ResourcePlace::Uri(uri),
            (None, template) => ResourcePlace::Template(template?),
        };
        let content = match (resource.text, resource.blob, resource.implementation) {
            (Some(text), ..) => ResourceContent::Text(text),
            (None, Some(blob), _) => ResourceContent::Blob(blob),
            (None, None, source) => {
                ResourceContent::Computed(self.code(format!("/resources/{index}/implementation"), &source?))
            }
        };
        Some(CompiledResource {
            place,
            name: resource.name,
            title: resource.title,
            description: resource.description,
            mime_type: resource.mime_type,
            content,
        })
    }

    fn prompt(&mut self, index: usize, prompt: Prompt) -> CompiledPrompt {
        let content = match prompt.implementation {
            Some(source) => {
                PromptContent::Computed(self.code(format!("/prompts/{index}/implementation"), &source))
            }
            None => PromptContent::Messages(prompt.messages),
        };
        CompiledPrompt {
            name: prompt.name,
            title: prompt.title,
            description: prompt.description,
            arguments: prompt.arguments,
            content,
        }
    }

    fn code(&mut self, pointer: String, source: &str) -> CompiledCode {
        match code::compile(source) {
            Ok(compiled) => compiled,
            Err(problems) => {
                self.problems
                    .extend(problems.into_iter().map(|p| p.at(&pointer, source)));
                CompiledCode {
                    code: String::new(),
                    line_map: Default::default(),
                }
            }
        }
    }
}

fn with_headers(
    mut schema: Map<String, Value>,
    headers: &std::collections::BTreeMap<String, String>,
) -> Map<String, Value> {
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        for (property, header) in headers {
            if let Some(property) = properties.get_mut(property).and_then(Value::as_object_mut) {
                property.insert("x-mcp-header".to_owned(), Value::from(header.clone()));
            }
        }
    }
    schema
}
