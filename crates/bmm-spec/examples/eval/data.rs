//! The labelled data, as far as the figures need it.

use std::error::Error;
use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

/// What the snippets of vm2's tests are, labelled by reading them.
const VM2_LABELS: &str = include_str!("../../tests/labels/vm2.json");

pub(crate) struct Data {
    /// Tools with a poisoned description.
    pub(crate) poisoned: Vec<Value>,
    /// Real tools with their schemas.
    pub(crate) benign: Vec<Value>,
    /// Names and descriptions of community tools.
    pub(crate) community: Vec<Value>,
    /// Short payloads, each in eight disguises.
    pub(crate) disguised: Vec<String>,
    /// ESLint's cases of code that evaluates strings.
    pub(crate) evaluating: Vec<String>,
    /// vm2's snippets, and whether each tries to escape.
    pub(crate) snippets: Vec<(String, bool)>,
}

impl Data {
    pub(crate) fn read(folder: &Path) -> Result<Self, Box<dyn Error>> {
        let evaluating = rows(folder, "eslint_eval_rule_cases_300.json")?;
        let evaluating = evaluating
            .into_iter()
            .filter(|row| row.get("label") == Some(&json!("invalid")));
        let labels: Value = serde_json::from_str(VM2_LABELS)?;
        let snippets = rows(folder, "vm2_snippets_dev_half.json")?
            .into_iter()
            .enumerate();
        Ok(Self {
            poisoned: tools(folder, "mcptox_dev_half.json")?,
            benign: tools(folder, "benign_livemcpbench_527.json")?,
            community: tools(folder, "benign_toolsdk_dev_half.json")?,
            disguised: rows(folder, "js_escape_obfuscated_dev_half.json")?
                .iter()
                .map(code)
                .collect(),
            evaluating: evaluating.map(|row| code(&row)).collect(),
            snippets: snippets
                .map(|(index, row)| {
                    let code = code(&row);
                    let escape = is_escape(&labels, index, &code);
                    (code, escape)
                })
                .collect(),
        })
    }
}

/// A row without a label, or with the label of other code, counts as an escape.
fn is_escape(labels: &Value, index: usize, code: &str) -> bool {
    let hash: String = Sha256::digest(code)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let label = labels.get("rows").and_then(|rows| rows.get(index.to_string()));
    let says = |field: &str, value: &str| label.and_then(|label| label.get(field)?.as_str()) == Some(value);
    !(says("sha256", &hash) && says("label", "harmless"))
}

fn rows(folder: &Path, name: &str) -> Result<Vec<Value>, Box<dyn Error>> {
    let path = folder.join(name);
    let bytes = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let rows: Vec<Value> =
        serde_json::from_slice(&bytes).map_err(|error| format!("{}: {error}", path.display()))?;
    match rows.is_empty() {
        true => Err(format!("{} has no rows", path.display()).into()),
        false => Ok(rows),
    }
}

/// Rows as a server would list them.
fn tools(folder: &Path, name: &str) -> Result<Vec<Value>, Box<dyn Error>> {
    let listed = |row: Value| {
        let fields = ["name", "title", "description", "inputSchema", "annotations"];
        let tool = fields
            .into_iter()
            .filter_map(|field| Some((field.to_owned(), row.get(field)?.clone())));
        Value::Object(tool.collect::<Map<_, _>>())
    };
    Ok(rows(folder, name)?.into_iter().map(listed).collect())
}

fn code(row: &Value) -> String {
    row.get("code")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}
