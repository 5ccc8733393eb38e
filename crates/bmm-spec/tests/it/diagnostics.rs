//! What authors are told.

use crate::{problems, sample, sample_with};
use bmm_spec::{Rule, Spec};
use serde_json::{Value, json};

const BROKEN: &str = r#"{
  "bmm": 2,
  "slug": "api",
  "name": "",
  "descripton": "A typo.",
  "tools": [
    {
      "name": "twice",
      "description": "One.",
      "inputSchema": { "type": "object", "properties": { "n": { "type": "nmber" } } },
      "implementation": "export default (input) => {\n  return input.;\n}"
    },
    {
      "name": "twice",
      "title": 7,
      "description": "Two.",
      "inputSchema": { "type": "array" },
      "implementation": "export const x = 1"
    }
  ],
  "requiredSecrets": [{ "name": "apiKey", "description": "x", "domains": ["api.example.net"], "in": "cookie" }],
  "allowedDomains": ["api.example.com", "*.co.uk", "127.0.0.1"],
  "limits": { "wallMs": 5, "heapMib": 100000 },
  "slug": "other"
}"#;

#[test]
fn a_broken_spec_hears_about_everything_at_once() {
    let found = bmm_spec::admit(BROKEN.as_bytes()).unwrap_err();
    insta::assert_snapshot!(found.to_string());
}

#[test]
fn spans_point_at_the_characters_in_the_file() {
    let found = bmm_spec::admit(BROKEN.as_bytes()).unwrap_err();
    let at = |rule: Rule| {
        let found = found
            .iter()
            .find(|d| d.rule == rule)
            .unwrap_or_else(|| panic!("no {rule}"));
        &BROKEN[found.span.clone().expect("a span")]
    };
    assert_eq!(at(Rule::UnknownField), "\"descripton\"");
    assert_eq!(at(Rule::DuplicateKey), "\"slug\"");
    assert_eq!(at(Rule::ReservedSlug), "\"api\"");
    assert_eq!(at(Rule::BadDomain), "\"*.co.uk\"");
    assert_eq!(at(Rule::DuplicateName), "\"twice\"");
    assert!(
        at(Rule::ParseOrLimit).starts_with(';'),
        "{}",
        at(Rule::ParseOrLimit)
    );
}

#[test]
fn a_good_spec_passes_with_and_without_a_byte_order_mark() {
    let text = sample().to_string();
    assert!(bmm_spec::admit(text.as_bytes()).is_ok());
    assert!(bmm_spec::admit(format!("\u{feff}{text}").as_bytes()).is_ok());
}

#[test]
fn every_field_has_its_rule() {
    let long = "x".repeat(5000);
    let cases: Vec<(&str, Value, &str, &str)> = vec![
        ("/slug", json!("Upper"), "SPEC-007", "/slug"),
        ("/slug", json!("a".repeat(41)), "SPEC-002", "/slug"),
        ("/slug", json!("dashboard"), "SPEC-009", "/slug"),
        ("/bmm", json!(2), "SPEC-015", "/bmm"),
        ("/instructions", Value::Null, "SPEC-006", "/instructions"),
        ("/extra", json!(1), "SPEC-004", "/extra"),
        ("/tools/0/name", json!("no spaces"), "SPEC-007", "/tools/0/name"),
        (
            "/tools/0/description",
            json!(long),
            "SPEC-002",
            "/tools/0/description",
        ),
        (
            "/tools/0/scopes",
            json!(["Files:Read"]),
            "SPEC-007",
            "/tools/0/scopes/0",
        ),
        (
            "/tools/0/annotations",
            json!({"readonlyHint": true}),
            "SPEC-004",
            "/tools/0/annotations/readonlyHint",
        ),
        (
            "/tools/0/inputSchema",
            json!({"type": "string"}),
            "SPEC-012",
            "/tools/0/inputSchema",
        ),
        (
            "/tools/0/inputSchema",
            json!({"type": "object", "minProperties": -1}),
            "SPEC-012",
            "/tools/0/inputSchema/minProperties",
        ),
        (
            "/tools/0/inputSchema",
            json!({"type": "object", "$schema": "http://json-schema.org/draft-07/schema#"}),
            "SPEC-012",
            "/tools/0/inputSchema/$schema",
        ),
        (
            "/tools/0/headers",
            json!({"nope": "X-Nope"}),
            "SPEC-017",
            "/tools/0/headers/nope",
        ),
        (
            "/tools/0/examples",
            json!([{"input": {"text": 1}}]),
            "SPEC-013",
            "/tools/0/examples/0/input/text",
        ),
        (
            "/tools/0/implementation",
            json!("const x = 1"),
            "SPEC-016",
            "/tools/0/implementation",
        ),
        (
            "/tools/0/implementation",
            json!("export default { a: 1 }"),
            "SPEC-016",
            "/tools/0/implementation",
        ),
        (
            "/tools/0/implementation",
            json!("export default (a: ) => a"),
            "CODE-020",
            "/tools/0/implementation",
        ),
        (
            "/tools/0/implementation",
            json!(""),
            "SPEC-007",
            "/tools/0/implementation",
        ),
        (
            "/tools/0/implementation",
            json!("import fs from 'fs'; export default () => fs"),
            "CODE-005",
            "/tools/0/implementation",
        ),
        (
            "/requiredSecrets/0/name",
            json!("apiKey"),
            "SPEC-007",
            "/requiredSecrets/0/name",
        ),
        (
            "/requiredSecrets/0/domains",
            json!(["api.example.net"]),
            "SPEC-011",
            "/requiredSecrets/0/domains/0",
        ),
        (
            "/requiredSecrets/0/domains",
            json!(["*.example.com"]),
            "SPEC-011",
            "/requiredSecrets/0/domains/0",
        ),
        (
            "/requiredSecrets/0/howToGetUrl",
            json!("javascript:alert(1)"),
            "SPEC-007",
            "/requiredSecrets/0/howToGetUrl",
        ),
        (
            "/allowedDomains",
            json!(["api.example.com", "[::1]"]),
            "SPEC-010",
            "/allowedDomains/1",
        ),
        ("/limits", json!({"wallMs": 1}), "SPEC-007", "/limits/wallMs"),
        (
            "/resources",
            json!([{"name": "r", "uri": "notes://a", "text": "a", "blob": "YQ=="}]),
            "SPEC-014",
            "/resources/0",
        ),
        (
            "/resources",
            json!([{"name": "r", "uriTemplate": "notes://{id}", "text": "a"}]),
            "SPEC-014",
            "/resources/0",
        ),
        ("/prompts", json!([{"name": "p"}]), "SPEC-014", "/prompts/0"),
        (
            "/icons",
            json!([{"src": "http://example.com/a.png"}]),
            "SPEC-007",
            "/icons/0/src",
        ),
    ];
    for (pointer, value, rule, at) in cases {
        let found = problems(&sample_with(pointer, value.clone()));
        assert!(
            found.contains(&(rule.to_owned(), at.to_owned())),
            "{pointer} = {value}: {found:?}"
        );
    }
}

#[test]
fn what_the_format_offers_is_accepted() {
    let cases: Vec<(&str, Value)> = vec![
        (
            "/requiredSecrets/0/domains",
            json!(["any.example.org", "*.deep.example.org"]),
        ),
        ("/tools/0/headers", json!({"text": "Text"})),
        (
            "/tools/0/inputSchema",
            json!({"type": "object", "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}}, "properties": {"list": {"$ref": "#/$defs/node"}}}),
        ),
        ("/tools/0/outputSchema", json!({"type": "object"})),
        (
            "/resources",
            json!([{"name": "r", "uri": "notes://a", "mimeType": "text/plain", "text": "a"}, {"name": "t", "uriTemplate": "notes://{id}", "implementation": "export default (input) => input.id"}]),
        ),
        (
            "/prompts",
            json!([{"name": "p", "arguments": [{"name": "x", "required": true}], "messages": [{"role": "user", "content": {"type": "text", "text": "About {{x}}."}}]}]),
        ),
        (
            "/icons",
            json!([{"src": "https://example.com/a.png", "mimeType": "image/png", "sizes": ["48x48"], "theme": "dark"}]),
        ),
        ("/limits", json!({"wallMs": 30000, "heapMib": 128})),
    ];
    for (pointer, value) in cases {
        assert_eq!(
            problems(&sample_with(pointer, value.clone())),
            [],
            "{pointer} = {value}"
        );
    }
}

#[test]
fn validation_trusts_neither_a_changed_spec_nor_a_foreign_report() {
    let parse = || Spec::parse(sample().to_string().as_bytes()).unwrap();
    let report = bmm_spec::scan(&parse());
    assert!(parse().validate(&report).is_ok());
    let mut changed = parse();
    changed.tools[0].implementation = "export default () => eval('1')".to_owned();
    assert!(
        changed
            .clone()
            .validate(&report)
            .unwrap_err()
            .to_string()
            .contains("another spec")
    );
    changed.tools[0].name = "not a name".to_owned();
    let problems = changed.clone().validate(&bmm_spec::scan(&changed)).unwrap_err();
    let rules: Vec<Rule> = problems.iter().map(|d| d.rule).collect();
    assert!(
        rules.contains(&Rule::BadValue) && rules.contains(&Rule::Eval),
        "{problems}"
    );
}
