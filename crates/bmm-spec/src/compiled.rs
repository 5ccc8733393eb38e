//! What a runner gets: code without types, schemas, limits, and the digests that pin all of it.

use crate::{
    digest,
    model::{Annotations, Icon, Limits, PromptArgument, PromptMessage, RequiredSecret},
    slug::Slug,
};
use bmm_net::HostPattern;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Version of the serialised form of [`CompiledSpec`].
pub const COMPILED_VERSION: u32 = 1;

/// A spec as a runner takes it. Made by [`ValidSpec::compile`](crate::ValidSpec::compile) only; one that arrives as data is
/// checked with [`verify_digest`](Self::verify_digest).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct CompiledSpec {
    /// [`COMPILED_VERSION`].
    pub version: u32,
    /// Name of the server in URLs.
    pub slug: Slug,
    /// Name of the server for people.
    pub name: String,
    /// What the server is for.
    pub description: String,
    /// Advice to the model.
    pub instructions: Option<String>,
    /// What a model can call, in the order of the spec.
    pub tools: Vec<CompiledTool>,
    /// What a client can read.
    pub resources: Vec<CompiledResource>,
    /// Message templates.
    pub prompts: Vec<CompiledPrompt>,
    /// Secrets the owner supplies.
    pub required_secrets: Vec<RequiredSecret>,
    /// Hosts the code may reach.
    pub allowed_domains: Vec<HostPattern>,
    /// Icons of the server.
    pub icons: Vec<Icon>,
    /// What one call may use.
    pub limits: Limits,
    /// Digest of the public tool fields, see [`manifest_digest`](crate::manifest_digest).
    pub manifest_digest: String,
    /// Digest of the spec as it was written, everything except the slug. What a template pins.
    pub spec_digest: String,
    /// Digest of this very value, except the slug: what [`verify_digest`](Self::verify_digest) recomputes.
    pub compiled_digest: String,
}

/// A tool as a runner takes it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CompiledTool {
    /// Name by which the model calls it.
    pub name: String,
    /// Name for people.
    pub title: Option<String>,
    /// What it does.
    pub description: String,
    /// Schema of the arguments, `x-mcp-header` included.
    pub input_schema: Map<String, Value>,
    /// Schema of the structured result.
    pub output_schema: Option<Map<String, Value>>,
    /// Hints.
    pub annotations: Option<Annotations>,
    /// Scopes a caller needs.
    pub scopes: Vec<String>,
    /// What runs: text of an ES module with a default export.
    pub code: String,
    /// Where the lines of `code` came from.
    pub line_map: LineMap,
}

/// JavaScript, ready for an engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CompiledCode {
    /// Text of an ES module with a default export.
    pub code: String,
    /// Where the lines of `code` came from.
    pub line_map: LineMap,
}

/// For each line of generated code, the line of the author's source it came from, counted from 1; 0 where there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LineMap(pub Vec<u32>);

impl LineMap {
    /// The author's line for a generated line, both from 1.
    pub fn source_line(&self, generated_line: u32) -> Option<u32> {
        let index = usize::try_from(generated_line.checked_sub(1)?).ok()?;
        self.0.get(index).copied().filter(|line| *line != 0)
    }
}

/// A resource as a runner takes it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CompiledResource {
    /// Where it is, or a template of where (`{var}`, RFC 6570 level 1).
    #[serde(flatten)]
    pub place: ResourcePlace,
    /// Name by which programs call it.
    pub name: String,
    /// Name for people.
    pub title: Option<String>,
    /// What it holds.
    pub description: Option<String>,
    /// Media type.
    pub mime_type: Option<String>,
    /// What it is.
    pub content: ResourceContent,
}

/// Where a resource is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResourcePlace {
    /// One resource.
    #[serde(rename = "uri")]
    Uri(String),
    /// A family of resources.
    #[serde(rename = "uriTemplate")]
    Template(String),
}

/// What a resource is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ResourceContent {
    /// Text.
    Text(String),
    /// Bytes, in base64.
    Blob(String),
    /// Made at every read.
    Computed(CompiledCode),
}

/// A prompt as a runner takes it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CompiledPrompt {
    /// Name by which programs call it.
    pub name: String,
    /// Name for people.
    pub title: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// What to ask the person for.
    pub arguments: Vec<PromptArgument>,
    /// What it is.
    pub content: PromptContent,
}

/// What a prompt is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PromptContent {
    /// Messages with `{{name}}` where an argument goes.
    Messages(Vec<PromptMessage>),
    /// Made at every use.
    Computed(CompiledCode),
}

impl CompiledSpec {
    /// Recomputes what [`compiled_digest`](Self::compiled_digest) and [`manifest_digest`](Self::manifest_digest) pin.
    ///
    /// # Errors
    /// Which digest differs: the value was changed after it was compiled.
    pub fn verify_digest(&self) -> Result<(), DigestMismatch> {
        if self.version != COMPILED_VERSION {
            return Err(DigestMismatch::Version { found: self.version });
        }
        if self.listed_manifest_digest() != self.manifest_digest {
            return Err(DigestMismatch::Manifest);
        }
        if self.own_digest() != self.compiled_digest {
            return Err(DigestMismatch::Compiled);
        }
        Ok(())
    }

    /// The digest of everything but the slug and itself.
    pub(crate) fn own_digest(&self) -> String {
        digest::without(
            serde_json::to_value(self).unwrap_or_default(),
            &["slug", "compiledDigest"],
        )
    }

    pub(crate) fn listed_manifest_digest(&self) -> String {
        let listed: Vec<Value> = self.tools.iter().map(CompiledTool::listed).collect();
        digest::manifest_digest(&listed)
    }
}

impl CompiledTool {
    /// The tool as `tools/list` shows it.
    pub fn listed(&self) -> Value {
        let mut listed = json!({
            "name": self.name,
            "description": self.description,
            "inputSchema": self.input_schema,
        });
        if let Some(object) = listed.as_object_mut() {
            if let Some(title) = &self.title {
                object.insert("title".into(), json!(title));
            }
            if let Some(schema) = &self.output_schema {
                object.insert("outputSchema".into(), json!(schema));
            }
            if let Some(annotations) = &self.annotations {
                object.insert("annotations".into(), json!(annotations));
            }
        }
        listed
    }
}

/// What was changed after a spec was compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DigestMismatch {
    /// The public fields of a tool.
    #[error("the tools differ from the manifest digest")]
    Manifest,
    /// Something else.
    #[error("the compiled spec differs from its digest")]
    Compiled,
    /// Made by another version.
    #[error(
        "the compiled spec has version {found}, this program reads {}",
        COMPILED_VERSION
    )]
    Version {
        /// The version it says.
        found: u32,
    },
}
