//! A description of an API (OpenAPI 3.0 or 3.1, JSON or YAML) as a spec: operations become tools, security schemes secrets,
//! servers allowed domains.
//!
//! Deterministic: the same bytes and options give the same spec. What cannot be said in a spec is listed, never left out in
//! silence. The result passed admission like any other spec; its texts were written by strangers and are scanned as such, and an
//! operation whose text or code does not pass is listed with what was found.

mod arguments;
mod bounds;
mod document;
mod error;
mod operation;
mod schema;
mod security;
mod server;
mod text;
mod write;
mod yaml;

pub use document::MAX_OPENAPI_BYTES;
pub use error::{ImportError, Skipped};

use crate::{
    diagnostic::Diagnostics,
    json::{MAX_SPEC_BYTES, MAX_VALUES},
    model::{FORMAT_VERSION, RequiredSecret},
    report::Report,
    slug::{MAX_SLUG_CHARS, Slug},
    spec::{ValidSpec, admit},
};
use document::Document;
use operation::{Made, Operation, Selection};
use security::Security;
use serde_json::{Value, json};
use server::Server;
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fmt,
};

/// Most tools of a spec.
const MAX_TOOLS: usize = 100;
/// Most hosts of a spec and of one secret, and most secrets: the format's limits.
const MAX_HOSTS: usize = 16;
const MAX_SECRETS: usize = 32;
/// Sizes of one tool's arguments, tried until all tools fit into one spec.
const SCHEMA_BYTES: [usize; 3] = [24 * 1024, 10 * 1024, 5 * 1024];
const LEAST_SCHEMA_BYTES: usize = 2 * 1024;
/// Left free for what is not a tool.
const RESERVED_BYTES: usize = 64 * 1024;
const RESERVED_VALUES: usize = 2_000;
/// Operations that do not pass are taken out and the rest is looked at again, at most this often.
const MAX_ROUNDS: usize = 8;

/// What is to be imported, and how.
///
/// ```
/// use bmm_spec::OpenApiImport;
///
/// let document = br#"
/// openapi: 3.1.0
/// info: { title: Cats, version: "1" }
/// servers: [{ url: "https://cats.example.com/v1" }]
/// paths:
///   /cats/{id}:
///     get:
///       operationId: getCat
///       summary: One cat
///       parameters: [{ name: id, in: path, required: true, schema: { type: string } }]
///       responses: { "200": { description: The cat } }
/// "#;
/// let imported = OpenApiImport::new(document).run()?;
/// let spec = imported.spec.spec();
/// assert_eq!(spec.slug.as_str(), "cats");
/// assert_eq!(spec.tools[0].name, "getCat");
/// assert!(spec.tools[0].implementation.contains("https://cats.example.com/v1/cats/${segment(input.id)}"));
/// # Ok::<(), bmm_spec::ImportError>(())
/// ```
#[derive(Clone, Debug)]
pub struct OpenApiImport<'b> {
    bytes: &'b [u8],
    slug: Option<Slug>,
    operations: Vec<String>,
    tags: Vec<String>,
    server: Option<String>,
    bearer: Option<String>,
}

/// A spec that was imported. It has been admitted.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The spec.
    pub spec: ValidSpec,
    /// What the scan found that does not block.
    pub report: Report,
    /// What is in the description and not in the spec, in the order of the description.
    pub skipped: Vec<Skipped>,
}

impl<'b> OpenApiImport<'b> {
    /// Everything in a description, JSON or YAML.
    pub fn new(bytes: &'b [u8]) -> Self {
        Self {
            bytes,
            slug: None,
            operations: Vec::new(),
            tags: Vec::new(),
            server: None,
            bearer: None,
        }
    }

    /// The slug, instead of one made of the title.
    pub fn with_slug(mut self, slug: Slug) -> Self {
        self.slug = Some(slug);
        self
    }

    /// Only these operations, by `operationId` or as `GET /path`, and those of [`with_tags`](Self::with_tags).
    pub fn with_operations<S: Into<String>>(mut self, operations: impl IntoIterator<Item = S>) -> Self {
        self.operations.extend(operations.into_iter().map(Into::into));
        self
    }

    /// Only operations with one of these tags, and those of [`with_operations`](Self::with_operations).
    pub fn with_tags<S: Into<String>>(mut self, tags: impl IntoIterator<Item = S>) -> Self {
        self.tags.extend(tags.into_iter().map(Into::into));
        self
    }

    /// Where the service is, an https URL, instead of what the description says.
    pub fn with_server(mut self, url: impl Into<String>) -> Self {
        self.server = Some(url.into());
        self
    }

    /// The name of a secret that is sent as bearer token with operations that the description asks no credentials of: many
    /// descriptions do not say that there are any.
    pub fn with_bearer(mut self, secret: impl Into<String>) -> Self {
        self.bearer = Some(secret.into());
        self
    }

    /// Imports.
    ///
    /// # Errors
    /// See [`ImportError`]. That single operations cannot be converted is no error.
    pub fn run(self) -> Result<Imported, ImportError> {
        let server = self
            .server
            .as_deref()
            .map(Server::parse)
            .transpose()
            .map_err(ImportError::Server)?;
        if let Some(name) = self.bearer.as_ref().filter(|name| !is_secret_name(name)) {
            return Err(ImportError::SecretName(document::brief(name)));
        }
        let document = Document::read(self.bytes)?;
        let selection = Selection::new(&self.operations, &self.tags);
        let mut skipped = Vec::new();
        let operations = operation::all(&document, &selection, &mut skipped)?;
        let import = Import {
            slug: match self.slug {
                Some(slug) => slug,
                None => slug_of(&document)?,
            },
            security: Security::new(&document, self.bearer),
            document: &document,
            server,
        };
        import.run(&operations, skipped)
    }
}

/// Must all tools fit into the spec?
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fit {
    All,
    Some,
}

struct Import<'d> {
    document: &'d Document,
    slug: Slug,
    security: Security<'d>,
    server: Option<Server>,
}

impl<'d> Import<'d> {
    fn run(&self, operations: &[Operation<'d>], mut skipped: Vec<Skipped>) -> Result<Imported, ImportError> {
        let mut made = self.tools(operations, &mut skipped);
        self.within_hosts(&mut made, &mut skipped);
        for over in made.split_off(made.len().min(MAX_TOOLS)) {
            skipped.push(Skipped::new(
                &over.pointer,
                format!("a spec has at most {MAX_TOOLS} tools"),
            ));
        }
        for _ in 0..MAX_ROUNDS {
            if made.is_empty() {
                break;
            }
            let spec = pretty(&self.spec(&made));
            let problems = match admit(spec.as_bytes()) {
                Ok((spec, report)) => {
                    let skipped = in_order(skipped, operations);
                    return Ok(Imported {
                        spec,
                        report,
                        skipped,
                    });
                }
                Err(problems) => problems,
            };
            let refused = refused_tools(&problems);
            if refused.is_empty() {
                return Err(ImportError::Refused(problems));
            }
            let mut index = 0;
            made.retain(|tool| {
                let found = refused.iter().find(|(at, _)| *at == index);
                if let Some((_, reason)) = found {
                    skipped.push(Skipped::new(&tool.pointer, reason.clone()));
                }
                index += 1;
                found.is_none()
            });
        }
        // What is said of an operation as a whole is said last.
        let last = |each: &&Skipped| {
            operations
                .iter()
                .any(|operation| operation.pointer == each.pointer)
        };
        let reason = skipped.iter().rev().find(last).map(|each| each.reason.clone());
        Err(ImportError::Nothing {
            reason: reason.unwrap_or_else(|| "there is none".to_owned()),
            skipped: in_order(skipped, operations),
        })
    }

    /// Tools of the operations, in as much detail as one spec has room for.
    fn tools(&self, operations: &[Operation<'d>], skipped: &mut Vec<Skipped>) -> Vec<Made> {
        let (made, notes) = SCHEMA_BYTES
            .iter()
            .find_map(|bytes| self.tools_that_fit(operations, *bytes, Fit::All))
            .or_else(|| self.tools_that_fit(operations, LEAST_SCHEMA_BYTES, Fit::Some))
            .unwrap_or_default();
        skipped.extend(notes);
        made
    }

    /// Nothing if they must all fit and do not.
    fn tools_that_fit(
        &self,
        operations: &[Operation<'d>],
        schema_bytes: usize,
        fit: Fit,
    ) -> Option<(Vec<Made>, Vec<Skipped>)> {
        let (mut made, mut notes) = (Vec::new(), Vec::new());
        let (mut bytes, mut values) = (RESERVED_BYTES, RESERVED_VALUES);
        for operation in operations {
            let mut own = Vec::new();
            let reason = if made.len() >= MAX_TOOLS {
                format!("a spec has at most {MAX_TOOLS} tools")
            } else {
                let server = self.server.as_ref();
                match operation.make(self.document, &self.security, server, schema_bytes, &mut own) {
                    Ok(tool)
                        if bytes + tool.bytes <= MAX_SPEC_BYTES && values + tool.values <= MAX_VALUES =>
                    {
                        bytes += tool.bytes;
                        values += tool.values;
                        notes.extend(own);
                        made.push(tool);
                        continue;
                    }
                    Ok(_) if fit == Fit::All => return None,
                    Ok(_) => "the spec would be too large with it".to_owned(),
                    Err(reason) => reason,
                }
            };
            notes.push(Skipped::new(&operation.pointer, reason));
        }
        Some((made, notes))
    }

    /// A spec names few hosts: the first that come.
    fn within_hosts(&self, made: &mut Vec<Made>, skipped: &mut Vec<Skipped>) {
        let (mut hosts, mut secrets) = (BTreeSet::new(), BTreeSet::new());
        made.retain(|tool| {
            let host = tool.host.to_string();
            let places: BTreeSet<String> = tool.credentials.iter().map(|each| format!("{each:?}")).collect();
            let known_host = hosts.contains(&host) || hosts.len() < MAX_HOSTS;
            // Basic authentication has two secrets.
            let known_secrets =
                places.is_subset(&secrets) || 2 * secrets.union(&places).count() <= MAX_SECRETS;
            if known_host && known_secrets {
                hosts.insert(host);
                secrets.extend(places);
            } else {
                let reason = format!("a spec has at most {MAX_HOSTS} hosts and as many credentials");
                skipped.push(Skipped::new(&tool.pointer, reason));
            }
            known_host && known_secrets
        });
    }

    fn spec(&self, made: &[Made]) -> Value {
        let info = |key: &str| {
            let info = self.document.root.get("info");
            info.and_then(|info| info.get(key))
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let name = Some(text::first_line(info("title"), 80)).filter(|name| !name.is_empty());
        let name = name.unwrap_or_else(|| self.slug.to_string());
        let summary = text::plain(info("summary"), 500);
        let description = match text::plain(info("description"), 1000) {
            text if !text.is_empty() => text,
            _ if !summary.is_empty() => summary,
            _ => format!("The API of {name}."),
        };
        let mut hosts = Vec::new();
        for tool in made {
            if !hosts.contains(&tool.host) {
                hosts.push(tool.host.clone());
            }
        }
        let used = made.iter().flat_map(|tool| {
            tool.credentials
                .iter()
                .map(|credential| (credential.clone(), tool.host.clone()))
        });
        let secrets: Vec<RequiredSecret> = self.security.secrets(&used.collect::<Vec<_>>(), &name);
        let tools: Vec<&Value> = made.iter().map(|tool| &tool.tool).collect();
        let mut spec = json!({
            "bmm": FORMAT_VERSION, "slug": self.slug, "name": name, "description": description, "tools": tools,
        });
        if let Value::Object(spec) = &mut spec {
            if !secrets.is_empty() {
                spec.insert("requiredSecrets".to_owned(), json!(secrets));
            }
            spec.insert("allowedDomains".to_owned(), json!(hosts));
        }
        spec
    }
}

impl Imported {
    /// The spec as a file: JSON, indented.
    pub fn to_json(&self) -> String {
        pretty(&serde_json::to_value(self.spec.spec()).unwrap_or_default())
    }
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}",
            if self.pointer.is_empty() {
                "(root)"
            } else {
                &self.pointer
            },
            self.reason
        )
    }
}

fn pretty(value: &Value) -> String {
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}

fn is_secret_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_uppercase())
        && name
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}

/// The title in the letters of a slug.
fn slug_of(document: &Document) -> Result<Slug, ImportError> {
    let title = document
        .root
        .pointer("/info/title")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let mut slug = String::new();
    for c in title.chars().take(200) {
        match c.to_ascii_lowercase() {
            c @ ('a'..='z' | '0'..='9') => slug.push(c),
            _ if !slug.ends_with('-') => slug.push('-'),
            _ => {}
        }
    }
    let slug: String = slug
        .trim_start_matches(|c: char| !c.is_ascii_lowercase())
        .chars()
        .take(MAX_SLUG_CHARS)
        .collect();
    slug.trim_end_matches('-').parse().map_err(|_| ImportError::Slug)
}

/// Which tools the problems are about, each with its first.
fn refused_tools(problems: &Diagnostics) -> Vec<(usize, String)> {
    let mut refused: Vec<(usize, String)> = Vec::new();
    for problem in problems {
        let index = problem
            .pointer
            .strip_prefix("/tools/")
            .and_then(|rest| rest.split('/').next());
        let Some(index) = index.and_then(|index| index.parse().ok()) else {
            continue;
        };
        if !refused.iter().any(|(known, _)| *known == index) {
            refused.push((
                index,
                format!("does not pass: {} {}", problem.rule, problem.message),
            ));
        }
    }
    refused
}

/// In the order of the operations they belong to; what belongs to none comes first.
fn in_order(skipped: Vec<Skipped>, operations: &[Operation<'_>]) -> Vec<Skipped> {
    let places = operations
        .iter()
        .zip(1..)
        .map(|(operation, place)| (operation.pointer.as_str(), place));
    let places: HashMap<&str, usize> = places.collect();
    let place = |skipped: &Skipped| {
        // `/paths/~1path/method`, whatever follows.
        let end = skipped
            .pointer
            .match_indices('/')
            .nth(3)
            .map_or(skipped.pointer.len(), |(at, _)| at);
        let operation = skipped.pointer.get(..end).unwrap_or_default();
        places.get(operation).copied().unwrap_or(0)
    };
    let mut keyed: Vec<(usize, Skipped)> = skipped.into_iter().map(|each| (place(&each), each)).collect();
    keyed.sort_by_key(|(place, _)| *place);
    let mut seen = HashSet::new();
    keyed
        .into_iter()
        .map(|(_, each)| each)
        .filter(|each| seen.insert(each.clone()))
        .collect()
}
