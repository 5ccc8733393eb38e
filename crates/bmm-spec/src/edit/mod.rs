//! Edits of a spec by its owner: words and schemas may change, code may not.

mod reads;

use crate::{
    code,
    diagnostic::{CodePlace, Diagnostic, Diagnostics},
    drift::{Change, spec_drift},
    json::{self, Positions},
    model::{RequiredSecret, SecretPlace, Spec, Tool},
    report::{Report, Verdict},
    rule::Rule,
    scan::scan,
    spec::ValidSpec,
};
use bmm_net::HostPattern;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// An edit: what is given replaces what is there, what is not given stays. Tools and secrets go by their place, so both lists must be
/// as long as the spec's; `{}` leaves an item as it is, `null` takes an optional text away.
///
/// Implementations, allowed domains, limits and scopes cannot be edited: whoever changes what code reaches makes a new spec.
///
/// ```
/// use bmm_spec::{Spec, SpecEdit};
///
/// let spec = Spec::parse(br#"{
///   "bmm": 1, "slug": "greeter", "name": "Greeter", "description": "Greets people.",
///   "tools": [{
///     "name": "greet", "description": "Greets somebody by name.",
///     "inputSchema": { "type": "object", "properties": { "name": { "type": "string" } } },
///     "implementation": "export default (input) => `Hello, ${input.name}!`"
///   }]
/// }"#)?;
/// let edit = SpecEdit::parse(br#"{"tools": [{
///   "description": "Greets a person.",
///   "inputSchema": { "type": "object", "properties": { "person": { "type": "string" } } }
/// }]}"#)?;
/// let edited = edit.apply(&spec)?;
/// assert_eq!(edited.spec.spec().tools[0].description, "Greets a person.");
/// assert_eq!(edited.orphaned[0].to_string(), "tool `greet` still reads `name` (now `person`) at line 1:43");
///
/// let refusal = SpecEdit::parse(br#"{"tools": []}"#)?.apply(&spec).unwrap_err();
/// assert_eq!(refusal.code(), "tool_count_mismatch");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SpecEdit {
    /// The server's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The server's description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The server's instructions.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub instructions: Option<Option<String>>,
    /// One entry for each tool of the spec.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<ToolEdit>>,
    /// One entry for each secret of the spec.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub required_secrets: Option<Vec<SecretEdit>>,
}

/// What of a tool an edit can change. In `headers` and the inputs of examples, renamed parameters are renamed too.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ToolEdit {
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its title.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub title: Option<Option<String>>,
    /// Its description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The whole schema of its arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_schema: Option<Map<String, Value>>,
    /// The whole schema of its results.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub output_schema: Option<Option<Map<String, Value>>>,
}

/// What of a secret an edit can change. Code that reads it by its old name is refused by the scan.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SecretEdit {
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Where to get it.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub how_to_get_url: Option<Option<String>>,
    /// Hosts it may be sent to, each covered by the spec's `allowedDomains`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domains: Option<Vec<HostPattern>>,
    /// Where in a request it may stand.
    #[serde(rename = "in", skip_serializing_if = "Option::is_none")]
    pub place: Option<SecretPlace>,
}

/// An edit that was admitted.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Edited {
    /// The spec as it is now, validated and scanned again.
    pub spec: ValidSpec,
    /// The report of that scan.
    pub report: Report,
    /// What the edit changed.
    pub changes: Vec<Change>,
    /// Arguments that the code reads and the new schemas no longer have: these tools need another implementation.
    pub orphaned: Vec<OrphanedParameter>,
}

/// An argument that code still reads although the tool no longer has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct OrphanedParameter {
    /// The tool, by its new name.
    pub tool: String,
    /// RFC 6901 pointer to the implementation.
    pub pointer: String,
    /// The argument's old name.
    pub parameter: String,
    /// Its new one; nothing if it was taken away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renamed_to: Option<String>,
    /// Where the code reads it.
    pub places: Vec<CodePlace>,
}

impl std::fmt::Display for OrphanedParameter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "tool `{}` still reads `{}` (",
            self.tool,
            crate::diagnostic::escape(&self.parameter)
        )?;
        match &self.renamed_to {
            Some(name) => write!(f, "now `{}`)", crate::diagnostic::escape(name))?,
            None => f.write_str("now gone)")?,
        }
        for (index, place) in self.places.iter().enumerate() {
            let before = if index == 0 { " at line" } else { "," };
            write!(f, "{before} {}:{}", place.line, place.column)?;
        }
        Ok(())
    }
}

/// Why an edit is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EditRefusal {
    /// The edit has another number of tools than the spec.
    #[error(
        "the spec has {expected} tools and the edit {found}: give one entry for each, `{{}}` for no change"
    )]
    ToolCountMismatch {
        /// Tools of the spec.
        expected: usize,
        /// Entries of the edit.
        found: usize,
    },
    /// The edit has another number of secrets than the spec.
    #[error(
        "the spec has {expected} secrets and the edit {found}: give one entry for each, `{{}}` for no change"
    )]
    SecretCountMismatch {
        /// Secrets of the spec.
        expected: usize,
        /// Entries of the edit.
        found: usize,
    },
    /// The scan refuses what the edit would make of the spec. All problems, those of form included.
    #[error("{0}")]
    BannedPattern(Diagnostics),
    /// The spec would not be a valid one.
    #[error("{0}")]
    InvalidSpec(Diagnostics),
}

impl EditRefusal {
    /// The stable code for an API.
    pub fn code(&self) -> &'static str {
        match self {
            Self::ToolCountMismatch { .. } => "tool_count_mismatch",
            Self::SecretCountMismatch { .. } => "secret_count_mismatch",
            Self::BannedPattern(_) => "banned_pattern",
            Self::InvalidSpec(_) => "invalid_spec",
        }
    }
}

impl SpecEdit {
    /// Reads an edit, within the bounds of a spec file.
    ///
    /// # Errors
    /// Not JSON, keys that stand twice, fields that cannot be edited.
    pub fn parse(bytes: &[u8]) -> Result<Self, Diagnostics> {
        let (document, problems) = json::read(bytes);
        Diagnostics::none_or_err(problems)?;
        let value = document.map(|document| document.value).unwrap_or_default();
        let wrong = |message: String| {
            let problem = Diagnostic::new(Rule::BadValue, "", message)
                .with_help("an edit changes names, titles, descriptions, schemas and secrets");
            Diagnostics::try_from(vec![problem]).expect("a list of one is not empty")
        };
        // serde would read a list as the fields in their order.
        let lists = ["tools", "requiredSecrets"]
            .iter()
            .filter_map(|list| value.get(*list));
        let mut entries = lists.filter_map(Value::as_array).flatten();
        if !value.is_object() || !entries.all(Value::is_object) {
            return Err(wrong("an edit and its entries are objects".to_owned()));
        }
        Self::deserialize(value).map_err(|error| wrong(error.to_string()))
    }

    /// What the spec becomes, validated and scanned as a whole as if it had been handed in like this.
    ///
    /// # Errors
    /// The edit does not fit the spec, or the result would not be admitted.
    pub fn apply(&self, spec: &Spec) -> Result<Edited, EditRefusal> {
        let mut edited = spec.clone();
        // Places in the file as it was say nothing about the spec as it is now.
        edited.positions = Positions::default();
        put(&mut edited.name, &self.name);
        put(&mut edited.description, &self.description);
        put(&mut edited.instructions, &self.instructions);
        let mut renamed = Vec::new();
        if let Some(edits) = &self.tools {
            let (expected, found) = (edited.tools.len(), edits.len());
            if expected != found {
                return Err(EditRefusal::ToolCountMismatch { expected, found });
            }
            renamed = edited
                .tools
                .iter_mut()
                .zip(edits)
                .map(|(tool, edit)| edit.put_into(tool))
                .collect();
        }
        if let Some(edits) = &self.required_secrets {
            let (expected, found) = (edited.required_secrets.len(), edits.len());
            if expected != found {
                return Err(EditRefusal::SecretCountMismatch { expected, found });
            }
            for (secret, edit) in edited.required_secrets.iter_mut().zip(edits) {
                edit.put_into(secret);
            }
        }
        let report = scan(&edited);
        let banned = report.verdict() == Verdict::Block;
        let valid = edited.validate(&report).map_err(|problems| match banned {
            true => EditRefusal::BannedPattern(problems),
            false => EditRefusal::InvalidSpec(problems),
        })?;
        Ok(Edited {
            changes: spec_drift(spec, valid.spec()),
            orphaned: orphaned(valid.spec(), &renamed),
            spec: valid,
            report,
        })
    }
}

/// An argument's old name and its new one.
type Renamed = (String, Option<String>);

impl ToolEdit {
    /// Returns the arguments that are gone, with what became of them.
    fn put_into(&self, tool: &mut Tool) -> Vec<Renamed> {
        put(&mut tool.name, &self.name);
        put(&mut tool.title, &self.title);
        put(&mut tool.description, &self.description);
        put(&mut tool.output_schema, &self.output_schema);
        let Some(schema) = &self.input_schema else {
            return Vec::new();
        };
        let gone = gone(&tool.input_schema, schema);
        tool.input_schema = schema.clone();
        for (old, new) in &gone {
            let Some(new) = new else { continue };
            if let Some(header) = tool.headers.remove(old) {
                tool.headers.insert(new.clone(), header);
            }
            for example in &mut tool.examples {
                if let Some(value) = example.input.remove(old) {
                    example.input.insert(new.clone(), value);
                }
            }
        }
        gone
    }
}

impl SecretEdit {
    fn put_into(&self, secret: &mut RequiredSecret) {
        put(&mut secret.name, &self.name);
        put(&mut secret.description, &self.description);
        put(&mut secret.how_to_get_url, &self.how_to_get_url);
        put(&mut secret.domains, &self.domains);
        put(&mut secret.place, &self.place);
    }
}

fn put<T: Clone>(field: &mut T, edit: &Option<T>) {
    if let Some(value) = edit {
        *field = value.clone();
    }
}

/// Arguments of the old schema that the new one does not have. If as many came as went, each was renamed to the one in its place;
/// otherwise to a new one of the same schema, if there is one.
fn gone(old: &Map<String, Value>, new: &Map<String, Value>) -> Vec<Renamed> {
    let (none, properties) = (Map::new(), "properties");
    let old = old.get(properties).and_then(Value::as_object).unwrap_or(&none);
    let new = new.get(properties).and_then(Value::as_object).unwrap_or(&none);
    let went: Vec<(&String, &Value)> = old.iter().filter(|(key, _)| !new.contains_key(*key)).collect();
    let mut came: Vec<(&String, &Value)> = new.iter().filter(|(key, _)| !old.contains_key(*key)).collect();
    let as_many = went.len() == came.len();
    let became = |(name, schema): (&String, &Value)| {
        let alike = || came.iter().position(|(_, other)| *other == schema);
        let at = if as_many { Some(0) } else { alike() };
        (name.clone(), at.map(|at| came.remove(at).0.clone()))
    };
    went.into_iter().map(became).collect()
}

fn orphaned(spec: &Spec, renamed: &[Vec<Renamed>]) -> Vec<OrphanedParameter> {
    if renamed.iter().all(Vec::is_empty) {
        return Vec::new();
    }
    let look = || {
        let tools = spec.tools.iter().zip(renamed).enumerate();
        tools
            .flat_map(|(index, (tool, gone))| of_tool(index, tool, gone))
            .collect()
    };
    // The spec is valid, so its code has been through the same parser a moment ago.
    code::on_big_stack(look).unwrap_or_default()
}

fn of_tool(index: usize, tool: &Tool, gone: &[Renamed]) -> Vec<OrphanedParameter> {
    if gone.is_empty() {
        return Vec::new();
    }
    let source = tool.implementation.as_str();
    let read = code::with_module(source, reads::arguments).unwrap_or_default();
    let pointer = format!("/tools/{index}/implementation");
    let orphan = |(old, new): &Renamed| {
        let places: Vec<CodePlace> = read
            .iter()
            .filter(|(name, _)| name == old)
            .map(|(_, span)| code::place(source, span.clone()))
            .collect();
        (!places.is_empty()).then(|| OrphanedParameter {
            tool: tool.name.clone(),
            pointer: pointer.clone(),
            parameter: old.clone(),
            renamed_to: new.clone(),
            places,
        })
    };
    gone.iter().filter_map(orphan).collect()
}

/// `null` is an edit, not an absence.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}
