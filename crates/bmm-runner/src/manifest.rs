//! What the server lists, made once: tools, resources and prompts in rmcp's types, with their compiled schemas.

use std::collections::HashMap;

use bmm_spec::{CompiledCode, CompiledSpec, CompiledTool, LineMap, PromptContent, ResourceContent};
use jsonschema::{Draft, PatternOptions, Validator};
use rmcp::model::{Icon, JsonObject, Tool};
use serde_json::Value;

use crate::error::RunnerError;

/// A regular expression in a schema may not cost more than this on one input.
const PATTERN_BACKTRACKS: usize = 100_000;
/// Problems named in one answer.
const MAX_PROBLEMS: usize = 8;

/// One piece of code of a spec.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CodeUnit<'a> {
    pub(crate) code: &'a String,
    pub(crate) line_map: &'a LineMap,
}

/// All code of a spec: the tools', then that of computed resources, then that of computed prompts. A
/// [`ToolCall`](crate::engine::ToolCall) names its place in this list.
pub(crate) fn code_units(spec: &CompiledSpec) -> Vec<CodeUnit<'_>> {
    fn unit(code: &CompiledCode) -> CodeUnit<'_> {
        CodeUnit {
            code: &code.code,
            line_map: &code.line_map,
        }
    }
    let tools = spec.tools.iter().map(|tool| CodeUnit {
        code: &tool.code,
        line_map: &tool.line_map,
    });
    let resources = spec
        .resources
        .iter()
        .filter_map(|resource| match &resource.content {
            ResourceContent::Computed(code) => Some(unit(code)),
            ResourceContent::Text(_) | ResourceContent::Blob(_) => None,
        });
    let prompts = spec.prompts.iter().filter_map(|prompt| match &prompt.content {
        PromptContent::Computed(code) => Some(unit(code)),
        PromptContent::Messages(_) => None,
    });
    tools.chain(resources).chain(prompts).collect()
}

pub(crate) struct Manifest {
    tools: Vec<ListedTool>,
    by_name: HashMap<String, usize>,
}

pub(crate) struct ListedTool {
    tool: Tool,
    input: Schema,
    output: Option<Schema>,
    scopes: Vec<String>,
}

impl Manifest {
    pub(crate) fn new(spec: &CompiledSpec) -> Result<Self, RunnerError> {
        let tools = spec
            .tools
            .iter()
            .map(ListedTool::new)
            .collect::<Result<Vec<_>, _>>()?;
        let by_name = spec
            .tools
            .iter()
            .enumerate()
            .map(|(index, tool)| (tool.name.to_string(), index))
            .collect();
        Ok(Self { tools, by_name })
    }

    /// The tools as both eras list them.
    pub(crate) fn listed(&self) -> Vec<Tool> {
        self.tools.iter().map(|tool| tool.tool.clone()).collect()
    }

    pub(crate) fn tool(&self, name: &str) -> Option<(usize, &ListedTool)> {
        let index = *self.by_name.get(name)?;
        Some((index, self.tools.get(index)?))
    }

    pub(crate) fn has_scoped_tools(&self) -> bool {
        self.tools.iter().any(|tool| !tool.scopes.is_empty())
    }
}

impl ListedTool {
    fn new(tool: &CompiledTool) -> Result<Self, RunnerError> {
        let schema_error = |which: &'static str| {
            let tool = tool.name.to_string();
            move |message: String| RunnerError::Schema { tool, which, message }
        };
        let input = Schema::new(&tool.input_schema).map_err(schema_error("inputSchema"))?;
        let output = match &tool.output_schema {
            Some(schema) => Some(Schema::new(schema).map_err(schema_error("outputSchema"))?),
            None => None,
        };
        let listed: Tool = serde_json::from_value(tool.listed())
            .map_err(|error| schema_error("declaration")(error.to_string()))?;
        Ok(Self {
            tool: listed,
            input,
            output,
            scopes: tool.scopes.iter().map(ToString::to_string).collect(),
        })
    }

    pub(crate) fn definition(&self) -> &Tool {
        &self.tool
    }

    pub(crate) fn input(&self) -> &Schema {
        &self.input
    }

    pub(crate) fn output(&self) -> Option<&Schema> {
        self.output.as_ref()
    }

    pub(crate) fn scopes(&self) -> &[String] {
        &self.scopes
    }
}

/// A compiled JSON Schema 2020-12. References never leave the document.
pub(crate) struct Schema {
    schema: Value,
    validator: Validator,
}

impl Schema {
    pub(crate) fn new(schema: &JsonObject) -> Result<Self, String> {
        let schema = Value::Object(schema.clone());
        let validator = jsonschema::options()
            .with_draft(Draft::Draft202012)
            .with_pattern_options(PatternOptions::fancy_regex().backtrack_limit(PATTERN_BACKTRACKS))
            .offline()
            .build(&schema)
            .map_err(|error| error.to_string())?;
        Ok(Self { schema, validator })
    }

    /// What is wrong with a value, in words for the model; empty when nothing is.
    pub(crate) fn problems(&self, value: &Value) -> Vec<String> {
        if !bmm_spec::validation_is_bounded(&self.schema, value) {
            return vec![
                "the value: it takes too many steps to check; make it smaller or less deep".to_owned(),
            ];
        }
        self.validator
            .iter_errors(value)
            .take(MAX_PROBLEMS)
            .map(|error| {
                let path = error.instance_path().to_string();
                let at = if path.is_empty() {
                    "the value".to_owned()
                } else {
                    path
                };
                let text = error.to_string();
                // The value itself may be megabytes.
                format!("{at}: {}", text.chars().take(300).collect::<String>())
            })
            .collect()
    }
}

pub(crate) fn icons(icons: &impl serde::Serialize) -> Option<Vec<Icon>> {
    let icons: Vec<Icon> = serde_json::to_value(icons)
        .and_then(serde_json::from_value)
        .ok()?;
    (!icons.is_empty()).then_some(icons)
}
