//! SARIF 2.1.0 (OASIS standard), as code hosts and editors read it.

use super::finding::Finding;
use crate::{
    diagnostic::Diagnostic,
    digest,
    items::Items,
    rule::{Rule, Severity},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, ops::Range};

const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";
/// How many bytes lie between two marks of the character count.
const MARK_BYTES: usize = 4096;

/// A SARIF 2.1.0 log of one run over one or more files.
///
/// Every result has the finding's pointer as its logical location, the place in the file as its physical one if both are known, and
/// a fingerprint of rule and snippet that stays when lines move. Suppressed findings are results with a suppression.
///
/// ```
/// use bmm_spec::{Sarif, Spec};
///
/// # let file: &[u8] = br#"{"bmm": 1, "slug": "sample", "name": "S", "description": "S.", "tools": [
/// # {"name": "t", "description": "T.", "inputSchema": {"type": "object"}, "implementation": "export default () => 1"}]}"#;
/// let report = bmm_spec::scan(&Spec::parse(file)?);
/// let log = Sarif::new().with_findings("specs/sample.json", Some(file), &report.findings).into_value();
/// assert_eq!(log["version"], "2.1.0");
/// # Ok::<(), bmm_spec::Diagnostics>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Sarif {
    artifacts: Vec<Value>,
    /// Where in that list a URI is.
    known: BTreeMap<String, usize>,
    results: Vec<Value>,
}

impl Sarif {
    /// A log without results.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds what was found in a file. `uri` is its path relative to the repository with `/` between folders, or an absolute URL.
    /// With its bytes, places have lines and columns, which code hosts ask for.
    pub fn with_findings<'f>(
        mut self,
        uri: &str,
        file: Option<&[u8]>,
        findings: impl IntoIterator<Item = &'f Finding>,
    ) -> Self {
        let artifact = self.artifact(uri, file);
        let results = findings.into_iter().map(|finding| artifact.result(finding));
        self.results.extend(results);
        self
    }

    /// Adds what was found in the items of one file, such as the tools of a listing.
    pub fn with_items(self, uri: &str, file: Option<&[u8]>, items: &Items) -> Self {
        self.with_findings(uri, file, items.items.iter().flat_map(|item| &item.findings))
    }

    /// Adds what is wrong with a file, such as a spec that does not parse or a suppression that is stale.
    pub fn with_problems<'p>(
        self,
        uri: &str,
        file: Option<&[u8]>,
        problems: impl IntoIterator<Item = &'p Diagnostic>,
    ) -> Self {
        let findings: Vec<Finding> = problems.into_iter().cloned().map(Finding::from).collect();
        self.with_findings(uri, file, &findings)
    }

    /// The log as JSON.
    pub fn into_value(self) -> Value {
        json!({
            "$schema": SCHEMA,
            "version": "2.1.0",
            "runs": [{
                "tool": { "driver": {
                    "name": "bmm-spec",
                    "semanticVersion": env!("CARGO_PKG_VERSION"),
                    "rules": Rule::ALL.iter().map(|rule| descriptor(*rule)).collect::<Vec<_>>(),
                }},
                "columnKind": "unicodeCodePoints",
                "artifacts": self.artifacts,
                "results": self.results,
            }]
        })
    }

    fn artifact<'f>(&mut self, uri: &str, file: Option<&'f [u8]>) -> Artifact<'f> {
        let uri = encoded(uri);
        let location = json!({ "uri": uri });
        let index = match self.known.get(&uri) {
            Some(index) => *index,
            None => {
                let index = self.artifacts.len();
                self.known.insert(uri.clone(), index);
                self.artifacts.push(object([
                    ("location", Some(location)),
                    ("length", file.map(|file| json!(file.len()))),
                    (
                        "hashes",
                        file.map(|file| json!({ "sha-256": digest::sha256(file) })),
                    ),
                ]));
                index
            }
        };
        Artifact {
            location: json!({ "uri": uri, "index": index }),
            lines: file
                .and_then(|bytes| std::str::from_utf8(bytes).ok())
                .map(Lines::of),
        }
    }
}

struct Artifact<'f> {
    location: Value,
    lines: Option<Lines<'f>>,
}

impl Artifact<'_> {
    fn result(&self, finding: &Finding) -> Value {
        let index = Rule::ALL.iter().position(|rule| *rule == finding.rule);
        let name = Some(finding.pointer.as_str()).filter(|pointer| !pointer.is_empty());
        let location = object([
            (
                "physicalLocation",
                Some(object([
                    ("artifactLocation", Some(self.location.clone())),
                    ("region", self.region(finding)),
                ])),
            ),
            (
                "logicalLocations",
                name.map(|name| json!([{ "fullyQualifiedName": name, "kind": "member" }])),
            ),
        ]);
        let code = finding.code.as_ref();
        let properties = object([
            ("severity", Some(json!(finding.severity))),
            ("confidence", Some(json!(finding.confidence))),
            ("tags", Some(json!(finding.tags))),
            ("help", Some(json!(finding.help))),
            ("snippet", Some(json!(finding.snippet))),
            ("decoded", finding.decoded.as_ref().map(|text| json!(text))),
            ("sha256", Some(json!(finding.sha256))),
            (
                "code",
                code.map(|code| json!({ "line": code.line, "column": code.column })),
            ),
        ]);
        let accepted = finding
            .suppressed
            .as_ref()
            .map(|reason| json!([{ "kind": "external", "status": "accepted", "justification": reason }]));
        object([
            ("ruleId", Some(json!(finding.rule.id()))),
            ("ruleIndex", index.map(|index| json!(index))),
            ("level", Some(json!(level(finding.severity)))),
            ("message", Some(json!({ "text": finding.message }))),
            ("locations", Some(json!([location]))),
            (
                "partialFingerprints",
                Some(json!({ "ruleAndSnippet/v1": fingerprint(finding) })),
            ),
            ("properties", Some(properties)),
            ("suppressions", accepted),
        ])
    }

    /// Where in the file: the span of the finding, or that of code that is a file of its own.
    fn region(&self, finding: &Finding) -> Option<Value> {
        let bare = finding.code.as_ref().filter(|_| finding.pointer.is_empty());
        let span = finding.span.clone().or_else(|| Some(bare?.span.clone()))?;
        let places = self
            .lines
            .as_ref()
            .map(|lines| (lines.place(span.start), lines.place(span.end)));
        let start = places.map(|(start, _)| start);
        let start = start.or_else(|| bare.map(|code| (code.line, code.column)));
        let end = places.map(|(_, end)| end);
        Some(object([
            ("startLine", start.map(|(line, _)| json!(line))),
            ("startColumn", start.map(|(_, column)| json!(column))),
            ("endLine", end.map(|(line, _)| json!(line))),
            ("endColumn", end.map(|(_, column)| json!(column))),
            ("byteOffset", Some(json!(span.start))),
            ("byteLength", Some(json!(span.len()))),
        ]))
    }
}

/// An object of the members that have a value.
fn object<const N: usize>(members: [(&str, Option<Value>); N]) -> Value {
    let members = members.into_iter();
    members
        .filter_map(|(key, value)| Some((key.to_owned(), value?)))
        .collect()
}

fn descriptor(rule: Rule) -> Value {
    let mut tags = vec!["security".to_owned()];
    // The spelling by which code hosts recognise CWE.
    tags.extend(rule.tags().iter().map(|tag| match tag.strip_prefix("CWE-") {
        Some(number) => format!("external/cwe/cwe-{number:0>3}"),
        None => (*tag).to_owned(),
    }));
    json!({
        "id": rule.id(),
        "name": rule.name(),
        "shortDescription": { "text": rule.name().replace('-', " ") },
        "help": { "text": rule.help() },
        "defaultConfiguration": { "level": level(rule.severity()) },
        "properties": { "tags": tags, "security-severity": severity(rule.severity()) },
    })
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical | Severity::High => "error",
        Severity::Medium => "warning",
        Severity::Low => "note",
    }
}

/// On the scale of CVSS, which code hosts sort by.
fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "9.5",
        Severity::High => "8.0",
        Severity::Medium => "5.5",
        Severity::Low => "2.0",
    }
}

/// The same for the same rule and words, wherever they stand and however they are spaced.
fn fingerprint(finding: &Finding) -> String {
    let words: Vec<&str> = finding.snippet.split_whitespace().collect();
    let normal = match words.is_empty() {
        true => finding.pointer.clone(),
        false => words.join(" ").to_lowercase(),
    };
    digest::sha256(format!("{}\0{normal}", finding.rule.id()).as_bytes())
}

/// A path as a URI reference; an absolute URL stays as it is.
fn encoded(path: &str) -> String {
    if url::Url::parse(path).is_ok_and(|url| url.has_host()) {
        return path.to_owned();
    }
    let mut uri = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                uri.push(char::from(byte));
            }
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri
}

/// Lines and columns of byte offsets, each found in bounded time also in a file of one line.
struct Lines<'t> {
    text: &'t str,
    /// Where each line starts.
    starts: Vec<usize>,
    /// Characters before every multiple of [`MARK_BYTES`].
    marks: Vec<usize>,
}

impl<'t> Lines<'t> {
    fn of(text: &'t str) -> Self {
        let breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        let marks = text.as_bytes().chunks(MARK_BYTES).scan(0, |count, chunk| {
            let before = *count;
            *count += starts_of_chars(chunk);
            Some(before)
        });
        Self {
            text,
            starts: std::iter::once(0).chain(breaks).collect(),
            marks: marks.collect(),
        }
    }

    /// Line and column in characters, both from 1.
    fn place(&self, offset: usize) -> (u32, u32) {
        let offset = offset.min(self.text.len());
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts.get(line - 1).copied().unwrap_or(0);
        let column = self.chars_before(offset) - self.chars_before(start) + 1;
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        (count(line), count(column))
    }

    fn chars_before(&self, offset: usize) -> usize {
        let mark = offset / MARK_BYTES;
        let rest: Range<usize> = mark * MARK_BYTES..offset;
        let counted = self.marks.get(mark).copied().unwrap_or_else(|| {
            // The file ends on a mark.
            self.marks.last().map_or(0, |last| {
                let chunk = self.text.as_bytes().get((mark - 1) * MARK_BYTES..rest.start);
                last + starts_of_chars(chunk.unwrap_or_default())
            })
        });
        counted + starts_of_chars(self.text.as_bytes().get(rest).unwrap_or_default())
    }
}

fn starts_of_chars(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte & 0xc0 != 0x80).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_a_plain_count() {
        let mut text = "äö😀x\n".repeat(2000);
        text.push_str(&"日本".repeat(5000));
        let lines = Lines::of(&text);
        let (mut line, mut column) = (1, 1);
        for (at, c) in text.char_indices() {
            assert_eq!(lines.place(at), (line, column), "at {at}");
            (line, column) = if c == '\n' {
                (line + 1, 1)
            } else {
                (line, column + 1)
            };
        }
        assert_eq!(lines.place(text.len()), (line, column));
        let full = "a".repeat(2 * MARK_BYTES);
        assert_eq!(Lines::of(&full).place(full.len()), (1, 8193));
        assert_eq!(Lines::of("").place(0), (1, 1));
    }

    #[test]
    fn a_path_is_a_uri_reference() {
        assert_eq!(encoded("a b/ä.json"), "a%20b/%C3%A4.json");
        assert_eq!(
            encoded("https://mcp.example.com/mcp"),
            "https://mcp.example.com/mcp"
        );
        assert_eq!(encoded("mcp:server"), "mcp%3Aserver");
    }
}
