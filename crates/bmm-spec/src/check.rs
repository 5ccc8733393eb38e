//! What the published schema cannot say: names that clash, domains, secrets, schemas, examples, code that does not parse.
//!
//! Works on the raw value, so that a file with a wrong type in one place still hears about everything else.

use crate::{
    code,
    diagnostic::Diagnostic,
    json::Positions,
    rule::Rule,
    schema_work::Budget,
    slug::{Slug, SlugError},
    tool_schema,
};
use bmm_net::HostPattern;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The scope that every server has besides those of its tools.
const LISTING_SCOPE: &str = "mcp:read";
/// Most scopes of a server, and most bytes of their list.
const MAX_SCOPES: usize = 64;
const MAX_SCOPE_BYTES: usize = 4096;

/// Every problem of meaning, without spans.
pub(crate) fn meaning(spec: &Value) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    slug(spec, &mut problems);
    names(spec, &mut problems);
    let allowed = domains(spec, "/allowedDomains", &mut problems);
    secrets(spec, &allowed, &mut problems);
    let mut budget = Budget::default();
    for (index, tool) in list(spec, "tools").iter().enumerate() {
        tool_parts(tool, &format!("/tools/{index}"), &mut budget, &mut problems);
    }
    scopes(spec, &mut problems);
    alternatives(spec, &mut problems);
    implementations_parse(spec, &mut problems);
    problems
}

/// Adds to a problem the place in the file.
pub(crate) fn locate(mut problem: Diagnostic, positions: &Positions) -> Diagnostic {
    if problem.span.is_some() {
        return problem;
    }
    problem.span = match (&problem.code, problem.rule) {
        (Some(place), _) => positions.within_string(&problem.pointer, &place.span),
        (None, Rule::UnknownField) => positions.key(&problem.pointer),
        _ => positions.value(&problem.pointer),
    };
    problem
}

/// Every piece of code of a spec with its pointer.
pub(crate) fn implementations(spec: &Value) -> Vec<(String, &str)> {
    let mut found = Vec::new();
    for part in ["tools", "resources", "prompts"] {
        for (index, item) in list(spec, part).iter().enumerate() {
            if let Some(source) = text(item, "implementation") {
                found.push((format!("/{part}/{index}/implementation"), source));
            }
        }
    }
    found
}

/// The domains of a list that are well-formed; the others are problems.
pub(crate) fn domains(spec: &Value, pointer: &str, problems: &mut Vec<Diagnostic>) -> Vec<HostPattern> {
    let entries = spec
        .pointer(pointer)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    let mut parsed = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        match entry.as_str().map(str::parse::<HostPattern>) {
            Some(Ok(pattern)) => parsed.push(pattern),
            Some(Err(error)) => {
                problems.push(Diagnostic::new(
                    Rule::BadDomain,
                    format!("{pointer}/{index}"),
                    error.to_string(),
                ));
            }
            None => {}
        }
    }
    parsed
}

fn slug(spec: &Value, problems: &mut Vec<Diagnostic>) {
    if let Some(Err(SlugError::Reserved)) = text(spec, "slug").map(str::parse::<Slug>) {
        let message = format!(
            "the slug `{}` is reserved",
            text(spec, "slug").unwrap_or_default()
        );
        problems.push(Diagnostic::new(Rule::ReservedSlug, "/slug", message));
    }
}

fn names(spec: &Value, problems: &mut Vec<Diagnostic>) {
    for (part, key) in [
        ("tools", "name"),
        ("prompts", "name"),
        ("requiredSecrets", "name"),
        ("resources", "uri"),
        ("resources", "uriTemplate"),
    ] {
        unique(list(spec, part), &format!("/{part}"), key, problems);
    }
    for (index, prompt) in list(spec, "prompts").iter().enumerate() {
        unique(
            list(prompt, "arguments"),
            &format!("/prompts/{index}/arguments"),
            "name",
            problems,
        );
    }
    if ["tools", "resources", "prompts"].iter().all(|part| {
        spec.get(part)
            .is_none_or(|v| v.as_array().is_some_and(Vec::is_empty))
    }) {
        let problem = Diagnostic::new(Rule::MissingField, "", "the spec offers nothing");
        problems.push(problem.with_help("add a tool, a resource or a prompt"));
    }
}

fn unique(items: &[Value], pointer: &str, key: &str, problems: &mut Vec<Diagnostic>) {
    let mut seen = BTreeMap::new();
    for (index, item) in items.iter().enumerate() {
        let Some(name) = text(item, key) else { continue };
        if let Some(first) = seen.insert(name, index) {
            let message = format!("`{name}` is already the {key} of {pointer}/{first}");
            problems.push(Diagnostic::new(
                Rule::DuplicateName,
                format!("{pointer}/{index}/{key}"),
                message,
            ));
            seen.insert(name, first);
        }
    }
}

fn secrets(spec: &Value, allowed: &[HostPattern], problems: &mut Vec<Diagnostic>) {
    for index in 0..list(spec, "requiredSecrets").len() {
        let pointer = format!("/requiredSecrets/{index}/domains");
        let entries = spec
            .pointer(&pointer)
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default();
        domains(spec, &pointer, problems);
        for (at, entry) in entries.iter().enumerate() {
            let Some(Ok(domain)) = entry.as_str().map(str::parse::<HostPattern>) else {
                continue;
            };
            if !allowed.iter().any(|pattern| covers(pattern, &domain)) {
                let message = format!("`{domain}` is not covered by allowedDomains");
                problems.push(Diagnostic::new(
                    Rule::SecretDomain,
                    format!("{pointer}/{at}"),
                    message,
                ));
            }
        }
    }
}

/// Does `wide` match every host that `narrow` matches?
fn covers(wide: &HostPattern, narrow: &HostPattern) -> bool {
    if wide == narrow {
        return true;
    }
    let text = narrow.to_string();
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().unwrap_or(443)),
        None => (text.as_str(), 443),
    };
    match host.strip_prefix("*.") {
        // A name that no exact pattern can be: only a wildcard over the same or a higher domain matches it.
        Some(parent) => wide.to_string().starts_with("*.") && wide.matches(&format!("any.{parent}"), port),
        None => wide.matches(host, port),
    }
}

fn tool_parts(tool: &Value, pointer: &str, budget: &mut Budget, problems: &mut Vec<Diagnostic>) {
    let input = tool_schema::check(
        tool.get("inputSchema"),
        &format!("{pointer}/inputSchema"),
        budget,
        problems,
    );
    let output = tool_schema::check(
        tool.get("outputSchema"),
        &format!("{pointer}/outputSchema"),
        budget,
        problems,
    );
    headers(tool, pointer, problems);
    for (index, example) in list(tool, "examples").iter().enumerate() {
        let at = format!("{pointer}/examples/{index}");
        if let (Some(schema), Some(value)) = (&input, example.get("input")) {
            schema.fits(value, &format!("{at}/input"), "inputSchema", budget, problems);
        }
        if let (Some(schema), Some(value)) = (&output, example.get("output")) {
            schema.fits(value, &format!("{at}/output"), "outputSchema", budget, problems);
        }
        if example.get("output").is_some() && example.get("error").is_some() {
            problems.push(Diagnostic::new(
                Rule::Content,
                at,
                "an example expects an output or an error, not both",
            ));
        }
    }
}

/// A token names all its scopes in one list (`Scopes` of bmm-oauth): what does not fit into it, nobody could sign in to.
fn scopes(spec: &Value, problems: &mut Vec<Diagnostic>) {
    let tools = list(spec, "tools").iter();
    let mut all: BTreeSet<&str> = tools
        .flat_map(|tool| list(tool, "scopes"))
        .filter_map(Value::as_str)
        .collect();
    all.insert(LISTING_SCOPE);
    let bytes: usize = all.iter().map(|scope| scope.len() + 1).sum();
    if all.len() > MAX_SCOPES || bytes > MAX_SCOPE_BYTES {
        let message = format!(
            "the tools and `{LISTING_SCOPE}` have {} scopes of {bytes} bytes, the most is {MAX_SCOPES} of {MAX_SCOPE_BYTES} bytes",
            all.len()
        );
        problems.push(Diagnostic::new(Rule::TooLarge, "/tools", message));
    }
}

fn headers(tool: &Value, pointer: &str, problems: &mut Vec<Diagnostic>) {
    let Some(headers) = tool.get("headers").and_then(Value::as_object) else {
        return;
    };
    let mut seen = BTreeSet::new();
    for (property, header) in headers {
        let mut at = format!("{pointer}/headers");
        crate::json::push_segment(&mut at, property);
        let kind = tool
            .pointer("/inputSchema/properties")
            .and_then(|p| p.get(property))
            .and_then(|p| p.get("type"));
        if !matches!(
            kind.and_then(Value::as_str),
            Some("string" | "integer" | "boolean")
        ) {
            let message = format!("`{property}` is no string, integer or boolean property of inputSchema");
            problems.push(Diagnostic::new(Rule::Header, at.clone(), message));
        }
        if header
            .as_str()
            .is_some_and(|name| !seen.insert(name.to_ascii_lowercase()))
        {
            problems.push(Diagnostic::new(
                Rule::Header,
                at,
                "another argument has this header",
            ));
        }
    }
}

/// Fields of which exactly one must be given.
fn alternatives(spec: &Value, problems: &mut Vec<Diagnostic>) {
    let mut exactly_one = |item: &Value, pointer: String, keys: &[&str]| {
        let given = keys.iter().filter(|key| item.get(**key).is_some()).count();
        if given != 1 && item.is_object() {
            let message = format!("exactly one of {} must be given, found {given}", keys.join(", "));
            problems.push(Diagnostic::new(Rule::Content, pointer, message));
        }
    };
    for (index, resource) in list(spec, "resources").iter().enumerate() {
        let pointer = format!("/resources/{index}");
        exactly_one(resource, pointer.clone(), &["uri", "uriTemplate"]);
        if resource.get("uriTemplate").is_some() {
            exactly_one(resource, pointer.clone(), &["implementation"]);
        }
        exactly_one(resource, pointer, &["text", "blob", "implementation"]);
    }
    for (index, prompt) in list(spec, "prompts").iter().enumerate() {
        exactly_one(
            prompt,
            format!("/prompts/{index}"),
            &["messages", "implementation"],
        );
    }
}

fn implementations_parse(spec: &Value, problems: &mut Vec<Diagnostic>) {
    let sources = implementations(spec);
    if sources.is_empty() {
        return;
    }
    let checked = code::on_big_stack(|| {
        let check = |(pointer, source): &(String, &str)| match code::with_module(source, |_| ()) {
            Ok(()) => Vec::new(),
            Err(found) => found.into_iter().map(|p| p.at(pointer, source)).collect(),
        };
        sources.iter().flat_map(check).collect::<Vec<_>>()
    });
    match checked {
        Ok(found) => problems.extend(found),
        Err(problem) => problems.push(*problem),
    }
}

fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value
        .get(key)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

fn text<'v>(value: &'v Value, key: &str) -> Option<&'v str> {
    value.get(key).and_then(Value::as_str)
}
