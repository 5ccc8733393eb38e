//! The spec format, version 1, as types. The published JSON Schema is generated from this file, and the parser checks
//! a file's structure against that very schema, so the three cannot differ.

use crate::{json::Positions, slug::Slug};
use bmm_net::HostPattern;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The version of the format this crate reads and writes.
pub const FORMAT_VERSION: u32 = 1;
/// Longest piece of code, in bytes.
pub const MAX_CODE_BYTES: usize = 64 * 1024;

/// A spec of an MCP server: what it is called, what it offers, what it may reach.
///
/// Made by [`Spec::parse`](crate::Spec::parse), which finds every problem, or by serde, which stops at the first. Either way
/// nothing but [`Spec::validate`](crate::Spec::validate) makes a [`ValidSpec`](crate::ValidSpec).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spec {
    /// Version of the format, always 1.
    #[schemars(extend("const" = 1))]
    pub bmm: u32,
    /// Name of the server in URLs.
    pub slug: Slug,
    /// Name of the server for people.
    #[schemars(length(min = 1, max = 80))]
    pub name: String,
    /// What the server is for, in a sentence or two.
    #[schemars(length(min = 1, max = 2000))]
    pub description: String,
    /// Advice to the model on how to use the tools together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8000))]
    pub instructions: Option<String>,
    /// What a model can call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub tools: Vec<Tool>,
    /// What a client can read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub resources: Vec<Resource>,
    /// Message templates a person can pick.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub prompts: Vec<Prompt>,
    /// Secrets the owner supplies. The server starts without them; a tool that uses one which is not set fails.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub required_secrets: Vec<RequiredSecret>,
    /// Hosts the code may reach over https: `host` or `*.host` (subdomains only), optionally `:port`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>", length(max = 64), inner(length(min = 1, max = 260)))]
    pub allowed_domains: Vec<HostPattern>,
    /// Icons of the server.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub icons: Vec<Icon>,
    /// What one call may use.
    #[serde(default, skip_serializing_if = "Limits::is_default")]
    pub limits: Limits,
    #[serde(skip)]
    pub(crate) positions: Positions,
}

/// Something a model can call.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tool {
    /// Name by which the model calls it.
    #[schemars(length(max = 64), regex(pattern = "^[A-Za-z0-9_.-]+$"))]
    pub name: String,
    /// Name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 120))]
    pub title: Option<String>,
    /// What the tool does and when to use it, for the model.
    #[schemars(length(min = 1, max = 4096))]
    pub description: String,
    /// JSON Schema 2020-12 of the arguments; `type: object` at the root.
    pub input_schema: Map<String, Value>,
    /// JSON Schema 2020-12 of the structured result; `type: object` at the root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Map<String, Value>>,
    /// Hints about the tool's behaviour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<Annotations>,
    /// OAuth scopes a caller needs besides the one for listing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 64), regex(pattern = "^[a-z0-9:._-]+$")))]
    pub scopes: Vec<String>,
    /// Arguments that clients repeat as HTTP headers: property of `inputSchema` -> header name (`x-mcp-header` when listed).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 64), regex(pattern = "^[A-Za-z0-9-]+$")))]
    pub headers: BTreeMap<String, String>,
    /// Calls with what they should give.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub examples: Vec<Example>,
    /// ES module, JavaScript or TypeScript: `export default async (input, ctx) => …`. At most 64 KiB.
    #[schemars(length(min = 1, max = 65536))]
    pub implementation: String,
}

/// Hints about a tool's behaviour, as MCP defines them. Clients must not trust them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Annotations {
    /// Name for people, of older protocol revisions; prefer the tool's `title`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 120))]
    pub title: Option<String>,
    /// The tool changes nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_only_hint: Option<bool>,
    /// The tool may destroy something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destructive_hint: Option<bool>,
    /// Calling it again with the same arguments changes nothing more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotent_hint: Option<bool>,
    /// The tool talks to an open world, such as the web.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_world_hint: Option<bool>,
}

/// A call with what it should give.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Example {
    /// What the example shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 120))]
    pub name: Option<String>,
    /// The arguments.
    pub input: Map<String, Value>,
    /// What the implementation returns; not given, anything will do.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    #[schemars(with = "Value")]
    pub output: Option<Value>,
    /// Text that the error contains, for calls that must fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 400))]
    pub error: Option<String>,
    /// Answers to the requests the code makes, so that the example runs without a network.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub fetches: Vec<RecordedFetch>,
}

/// A request the code makes and the answer it got once.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RecordedFetch {
    /// HTTP method, `GET` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^(GET|HEAD|POST|PUT|PATCH|DELETE)$"))]
    pub method: Option<String>,
    /// The whole URL.
    #[schemars(length(min = 1, max = 4096))]
    pub url: String,
    /// HTTP status, 200 if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 200, max = 599))]
    pub status: Option<u16>,
    /// Headers of the answer.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(length(max = 32))]
    pub headers: BTreeMap<String, String>,
    /// Body of the answer: a string as it is, other JSON serialised.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub body: Value,
}

/// Something a client can read: exactly one of `text`, `blob` and `implementation`, exactly one of `uri` and `uriTemplate`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Resource {
    /// Where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024), regex(pattern = "^[a-z][a-z0-9+.-]*:[^\\s{}]+$"))]
    pub uri: Option<String>,
    /// Where a family of them is, RFC 6570 level 1 (`notes://{id}`); needs an `implementation`, whose input holds `uri` and the variables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 1024),
        regex(pattern = "^[a-z][a-z0-9+.-]*:([^\\s{}]|\\{[A-Za-z0-9_]+\\})+$")
    )]
    pub uri_template: Option<String>,
    /// Name by which programs call it.
    #[schemars(length(min = 1, max = 120))]
    pub name: String,
    /// Name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 120))]
    pub title: Option<String>,
    /// What it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2000))]
    pub description: Option<String>,
    /// Media type of the content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 120),
        regex(pattern = "^[A-Za-z0-9.+-]+/[A-Za-z0-9.+-]+(;[^\\r\\n]*)?$")
    )]
    pub mime_type: Option<String>,
    /// Content that is text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 262144))]
    pub text: Option<String>,
    /// Content that is bytes, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 524288), regex(pattern = "^[A-Za-z0-9+/]*={0,2}$"))]
    pub blob: Option<String>,
    /// Code that makes the content: `export default async (input, ctx) => string | { text } | { blob }`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65536))]
    pub implementation: Option<String>,
}

/// A message template a person can pick: exactly one of `messages` and `implementation`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Prompt {
    /// Name by which programs call it.
    #[schemars(length(max = 64), regex(pattern = "^[A-Za-z0-9_.-]+$"))]
    pub name: String,
    /// Name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 120))]
    pub title: Option<String>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2000))]
    pub description: Option<String>,
    /// What to ask the person for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub arguments: Vec<PromptArgument>,
    /// The messages; `{{name}}` in a text is replaced by the argument of that name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub messages: Vec<PromptMessage>,
    /// Code that makes the messages: `export default async (input, ctx) => string | messages`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65536))]
    pub implementation: Option<String>,
}

/// What a prompt asks a person for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PromptArgument {
    /// Name in the template.
    #[schemars(length(max = 64), regex(pattern = "^[A-Za-z0-9_.-]+$"))]
    pub name: String,
    /// Name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 120))]
    pub title: Option<String>,
    /// What to write there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2000))]
    pub description: Option<String>,
    /// The prompt needs it.
    #[serde(default)]
    pub required: bool,
}

/// One message of a prompt, in MCP's shape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PromptMessage {
    /// Who says it.
    pub role: Role,
    /// What is said.
    pub content: TextContent,
}

/// Who says a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The person.
    User,
    /// The model.
    Assistant,
}

/// Text, in MCP's shape: `{"type": "text", "text": "…"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TextContent {
    /// Always `text`.
    #[serde(rename = "type")]
    pub kind: TextKind,
    /// The text.
    #[schemars(length(min = 1, max = 16384))]
    pub text: String,
}

/// The one kind of content a static prompt holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TextKind {
    /// Text.
    Text,
}

/// A secret the owner must supply. Code gets a handle, never the value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RequiredSecret {
    /// Name in `ctx.secrets`, UPPER_SNAKE_CASE.
    #[schemars(length(max = 64), regex(pattern = "^[A-Z][A-Z0-9_]*$"))]
    pub name: String,
    /// What it is, for the owner.
    #[schemars(length(min = 1, max = 2000))]
    pub description: String,
    /// Where to get it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024), regex(pattern = "^https://[^\\s\"<>]+$"))]
    pub how_to_get_url: Option<String>,
    /// Hosts it may be sent to, each covered by `allowedDomains`.
    #[schemars(
        with = "Vec<String>",
        length(min = 1, max = 16),
        inner(length(min = 1, max = 260))
    )]
    pub domains: Vec<HostPattern>,
    /// Where in a request it may stand.
    #[serde(rename = "in", default, skip_serializing_if = "SecretPlace::is_default")]
    pub place: SecretPlace,
}

/// Where in a request a secret may stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SecretPlace {
    /// In a header's value.
    #[default]
    Header,
    /// In a query parameter's value.
    Query,
    /// In the body.
    Body,
    /// In the path.
    Path,
}

impl SecretPlace {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// An icon, in MCP's shape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Icon {
    /// An https URL, or a data URL of a PNG, JPEG, WebP or SVG image.
    #[schemars(
        length(max = 65536),
        regex(
            pattern = "^(https://[^\\s\"<>]+|data:image/(png|jpeg|webp|svg\\+xml);base64,[A-Za-z0-9+/=]+)$"
        )
    )]
    pub src: String,
    /// Media type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^image/(png|jpeg|jpg|webp|svg\\+xml)$"))]
    pub mime_type: Option<String>,
    /// Sizes such as `48x48`, or `any`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 8),
        inner(regex(pattern = "^([1-9][0-9]{0,4}x[1-9][0-9]{0,4}|any)$"))
    )]
    pub sizes: Vec<String>,
    /// For which background.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub theme: Option<IconTheme>,
}

/// The background an icon is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum IconTheme {
    /// Light.
    Light,
    /// Dark.
    Dark,
}

/// What one call may use. A host may lower these, never raise them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Limits {
    /// Time from call to answer, in milliseconds.
    #[schemars(range(min = 100, max = 120_000))]
    pub wall_ms: u32,
    /// Time on the processor, in milliseconds.
    #[schemars(range(min = 10, max = 60_000))]
    pub cpu_ms: u32,
    /// Memory of the code's heap, in MiB.
    #[schemars(range(min = 8, max = 512))]
    pub heap_mib: u32,
    /// Stack of the code, in KiB.
    #[schemars(range(min = 64, max = 1024))]
    pub stack_kib: u32,
    /// Requests per call.
    #[schemars(range(min = 0, max = 100))]
    pub fetches: u32,
    /// Requests at the same time.
    #[schemars(range(min = 1, max = 32))]
    pub concurrent_fetches: u32,
    /// Size of one answer to a request, decompressed, in KiB.
    #[schemars(range(min = 1, max = 16_384))]
    pub response_kib: u32,
    /// Size of a result, in KiB.
    #[schemars(range(min = 1, max = 4096))]
    pub output_kib: u32,
    /// What one call may write to the log, in KiB.
    #[schemars(range(min = 1, max = 1024))]
    pub log_kib: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            wall_ms: 10_000,
            cpu_ms: 2_000,
            heap_mib: 64,
            stack_kib: 256,
            fetches: 20,
            concurrent_fetches: 8,
            response_kib: 2048,
            output_kib: 256,
            log_kib: 64,
        }
    }
}

impl Limits {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// `"output": null` is an expectation, not an absence.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}
