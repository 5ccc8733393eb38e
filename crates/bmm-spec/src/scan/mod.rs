//! The scanner: what code can reach, and what words try to do to a model.

mod capability;
mod code;
mod cross;
mod flow;
mod grammar;
mod siblings;
mod text;
mod units;

pub use capability::{Capabilities, capabilities};
pub use code::names::OFFERED_GLOBALS;

/// Is this a property that code may not reach, whatever the object?
pub(crate) fn refused_property(name: &str) -> bool {
    code::names::property(name).is_some()
}

use crate::{
    check, code as source,
    diagnostic::CodePlace,
    digest,
    json::Positions,
    model::Spec,
    report::{Finding, Report, cut, keep_worst},
    rule::{Confidence, Rule},
};
use serde_json::Value;
use std::{collections::BTreeMap, ops::Range};

/// Most findings of one rule in one text or piece of code.
const MAX_HITS_OF_A_RULE: usize = 20;
/// From here on findings are thinned out before all are there: they are larger than the words they are about.
const MANY_FINDINGS: usize = 50_000;

/// Judges the code and the texts of a spec. Takes time linear in their size; starts nothing, reaches nothing.
pub fn scan(spec: &Spec) -> Report {
    let value = serde_json::to_value(spec).unwrap_or_default();
    Report {
        spec_digest: digest::spec_digest(spec),
        ..scan_value(&value, spec.positions())
    }
}

/// Scans whatever can be scanned of a spec, well-formed or not.
pub(crate) fn scan_value(spec: &Value, positions: &Positions) -> Report {
    let mut findings = Vec::new();
    let sources = check::implementations(spec);
    for (pointer, source) in &sources {
        let hidden = few(text::in_source(source)).into_iter();
        findings.extend(hidden.map(|hit| in_code(pointer, source, hit)));
    }
    let (declared, declarations) = (code::Declared::of(spec), flow::Declarations::of(spec));
    let judged = source::on_big_stack(|| {
        let judge = |(pointer, source): &(String, &str)| {
            let looked = source::with_module(source, |module| {
                let (mut hits, can) = capability::of_module(module, pointer, spec, &declared, &declarations);
                hits.extend(text::in_literals(module));
                (hits, can)
            });
            // Code that cannot be read cannot be judged, so it is itself a finding.
            let (hits, can) = match looked {
                Ok((hits, can)) => (hits, Some(can)),
                Err(problems) => (problems.into_iter().map(Hit::from).collect(), None),
            };
            let found = few(hits).into_iter().map(|hit| in_code(pointer, source, hit));
            (found.collect::<Vec<_>>(), can)
        };
        sources.iter().map(judge).collect::<Vec<_>>()
    });
    let mut can = Some(Vec::new());
    match judged {
        Ok(judged) => {
            for (found, capabilities) in judged {
                findings.extend(found);
                // Of code that was not read nothing is known, so nothing can be called unused.
                can = can.take().zip(capabilities).map(|(mut all, one)| {
                    all.push(one);
                    all
                });
            }
        }
        Err(problem) => findings.push(finding("", "", Hit::new(problem.rule, 0..0, problem.message))),
    }
    let tools = tool_names(spec);
    let names: Vec<&str> = tools.iter().map(|(name, _)| *name).collect();
    units::units(spec, &mut |unit| judge_unit(unit, &tools, &names, &mut findings));
    findings.extend(cross::spec(spec, can.as_deref()));
    for (index, hit) in text::alike(&names) {
        let name = names.get(index).copied().unwrap_or_default();
        findings.push(finding(&format!("/tools/{index}/name"), name, hit));
    }
    let listed = spec.get("tools").and_then(Value::as_array);
    for (pointer, hit) in siblings::near_duplicates(listed.map(Vec::as_slice).unwrap_or_default()) {
        let text = spec.pointer(&pointer).and_then(Value::as_str).unwrap_or_default();
        findings.push(finding(&pointer, text, hit));
    }
    Report {
        spec_digest: String::new(),
        findings: in_order(findings, positions, |at| spec.pointer(at).map(Content::Value)),
    }
}

/// Judges what a module can reach and what its strings say.
fn whole_module(module: &source::Module<'_>, declared: &code::Declared) -> Vec<Hit> {
    let mut hits = code::judge(module, declared);
    hits.extend(text::in_literals(module));
    hits
}

/// Scans what a server lists, one item alone: `part` is the list it stands in (`tools`, `prompts`, `resources`).
pub(crate) fn scan_listed(part: &str, item: &Value, pointer: &str, positions: &Positions) -> Vec<Finding> {
    let mut findings = Vec::new();
    let tools = match part {
        "tools" => vec![names_of(item)],
        _ => Vec::new(),
    };
    let names: Vec<&str> = tools.iter().map(|(name, _)| *name).collect();
    let tool = (part == "tools").then_some(0);
    units::of_item(part, item, pointer, tool, &mut |unit| {
        judge_unit(unit, &tools, &names, &mut findings);
    });
    if part == "tools" {
        findings.extend(cross::listed(item, pointer));
    }
    in_order(findings, positions, |at| {
        item.pointer(at.strip_prefix(pointer)?).map(Content::Value)
    })
}

/// Scans a server's instructions.
pub(crate) fn scan_instructions(text: &str, pointer: &str, positions: &Positions) -> Vec<Finding> {
    let unit = units::Unit {
        pointer,
        text,
        kind: units::UnitKind::Instructions,
        tool: None,
    };
    let mut findings = Vec::new();
    judge_unit(&unit, &[], &[], &mut findings);
    in_order(findings, positions, |_| Some(Content::Text(text)))
}

/// Scans code of which no spec is known, a module or a fragment. Needs [`on_big_stack`](source::on_big_stack).
///
/// What only a spec could declare is not judged, and a global that nobody knows is a guess: the rest of the program is not seen.
pub(crate) fn scan_fragment(source: &str) -> Vec<Finding> {
    let declared = code::Declared::default();
    let judged = source::with_fragment(source, |module| {
        let mut hits = whole_module(module, &declared);
        hits.extend(flow::of_fragment(module, code::folder(module)));
        hits
    });
    let hits = judged.unwrap_or_else(|problems| problems.into_iter().map(Hit::from).collect());
    let seen = hits.into_iter().filter_map(|hit| match hit.rule {
        Rule::UndeclaredHost | Rule::UndeclaredSecret | Rule::DefaultExport => None,
        Rule::UnknownGlobal => Some(hit.with_confidence(Confidence::Low)),
        _ => Some(hit),
    });
    let hits = few(text::in_source(source).into_iter().chain(seen).collect());
    in_order(
        hits.into_iter().map(|hit| in_code("", source, hit)).collect(),
        &Positions::default(),
        |_| Some(Content::Text(source)),
    )
}

/// Judges a text in the context of the tool it belongs to.
fn judge_unit(
    unit: &units::Unit<'_>,
    tools: &[(&str, Vec<&str>)],
    names: &[&str],
    findings: &mut Vec<Finding>,
) {
    if text::is_harmless_word(unit.text) {
        return;
    }
    let tool = unit.tool.and_then(|index| tools.get(index));
    let context = grammar::Context {
        kind: unit.kind,
        tool: tool.map(|(name, parameters)| grammar::ToolNames { name, parameters }),
        tools: names,
    };
    for hit in few(text::judge(unit.text, &context)) {
        let mut found = finding(unit.pointer, unit.text, hit);
        // The pointer of a key is that of its value.
        found.span = found.span.filter(|_| unit.kind != units::UnitKind::Key);
        findings.push(found);
    }
    if findings.len() > MANY_FINDINGS {
        *findings = keep_worst(std::mem::take(findings));
    }
}

/// The surest hits of every rule in one text or piece of code: the score counts a rule once, and nobody reads a hundredth example.
fn few(mut hits: Vec<Hit>) -> Vec<Hit> {
    if hits.len() > MAX_HITS_OF_A_RULE {
        hits.sort_by_key(|hit| std::cmp::Reverse(hit.confidence));
        let mut counts: BTreeMap<Rule, usize> = BTreeMap::new();
        hits.retain(|hit| {
            let count = counts.entry(hit.rule).or_default();
            *count += 1;
            *count <= MAX_HITS_OF_A_RULE
        });
    }
    hits
}

/// What a finding is in.
enum Content<'v> {
    Text(&'v str),
    Value(&'v Value),
}

/// The worst findings, each once, with their places and the hash of what they are in.
fn in_order<'v>(
    findings: Vec<Finding>,
    positions: &Positions,
    content: impl Fn(&str) -> Option<Content<'v>>,
) -> Vec<Finding> {
    if findings.is_empty() {
        return findings;
    }
    // Places are costly in large files, so only what is kept gets them.
    let mut findings = keep_worst(findings);
    let mut hashes: BTreeMap<String, String> = BTreeMap::new();
    for finding in &mut findings {
        let content = content(&finding.pointer);
        if let (Some(place), Some(text)) = (&mut finding.code, content.as_ref().and_then(Content::text)) {
            *place = source::place(text, place.span.clone());
        }
        finding.sha256 = match (hashes.get(&finding.pointer), content) {
            (Some(hash), _) => hash.clone(),
            (None, Some(content)) => hashes
                .entry(finding.pointer.clone())
                .or_insert(content.hash())
                .clone(),
            (None, None) => String::new(),
        };
        let inside = finding
            .code
            .as_ref()
            .map(|place| &place.span)
            .or(finding.span.as_ref());
        finding.span = match inside {
            Some(span) => positions.within_string(&finding.pointer, span),
            // A key, which stands before the value.
            None => positions.key(&finding.pointer),
        };
        finding.span = finding.span.take().or_else(|| positions.value(&finding.pointer));
    }
    findings.sort_by(|a, b| {
        let place = |f: &Finding| f.span.as_ref().map_or(0, |s| s.start);
        (b.severity, place(a), a.rule).cmp(&(a.severity, place(b), b.rule))
    });
    findings
}

impl Content<'_> {
    fn text(&self) -> Option<&str> {
        match self {
            Content::Text(text) => Some(text),
            Content::Value(value) => value.as_str(),
        }
    }

    fn hash(&self) -> String {
        match self {
            Content::Text(text) => digest::sha256(text.as_bytes()),
            Content::Value(value) => digest::content(value),
        }
    }
}

/// The name and the parameters' names of every tool.
fn tool_names(spec: &Value) -> Vec<(&str, Vec<&str>)> {
    let tools = spec.get("tools").and_then(Value::as_array).into_iter().flatten();
    tools.map(names_of).collect()
}

fn names_of(tool: &Value) -> (&str, Vec<&str>) {
    let mut parameters = Vec::new();
    if let Some(schema) = tool.get("inputSchema") {
        property_names(schema, &mut parameters);
    }
    let name = tool.get("name").and_then(Value::as_str).unwrap_or_default();
    (name, parameters)
}

fn property_names<'v>(schema: &'v Value, found: &mut Vec<&'v str>) {
    match schema {
        Value::Object(map) => {
            for (key, value) in map {
                if key == "properties"
                    && let Value::Object(properties) = value
                {
                    found.extend(properties.keys().map(String::as_str));
                }
                property_names(value, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| property_names(item, found)),
        _ => {}
    }
}

/// Something found in a text or a piece of code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hit {
    pub(crate) rule: Rule,
    pub(crate) confidence: Confidence,
    pub(crate) span: Range<usize>,
    pub(crate) message: String,
    /// The hidden text, for what was found in a decoded view.
    pub(crate) decoded: Option<String>,
}

impl Hit {
    pub(crate) fn new(rule: Rule, span: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            rule,
            confidence: Confidence::High,
            span,
            message: message.into(),
            decoded: None,
        }
    }

    pub(crate) fn with_confidence(self, confidence: Confidence) -> Self {
        Self { confidence, ..self }
    }
}

impl From<source::CodeProblem> for Hit {
    fn from(problem: source::CodeProblem) -> Self {
        Self::new(problem.rule, problem.span, problem.message)
    }
}

fn in_code(pointer: &str, source: &str, hit: Hit) -> Finding {
    // Line and column are counted for what is kept.
    let place = CodePlace {
        span: hit.span.clone(),
        line: 0,
        column: 0,
    };
    Finding {
        code: Some(place),
        ..finding(pointer, source, hit)
    }
}

fn finding(pointer: &str, text: &str, hit: Hit) -> Finding {
    let found = text.get(hit.span.clone()).unwrap_or_default();
    Finding {
        confidence: hit.confidence,
        span: Some(hit.span),
        decoded: hit.decoded.map(|text| cut(&text)),
        ..Finding::new(hit.rule, pointer, found, &hit.message)
    }
}
