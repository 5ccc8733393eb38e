//! What changed since something was approved.

use crate::{sample, sample_with};
use bmm_spec::{
    Change, ChangeKind, Finding, Rule, Severity, Spec, manifest_digest, manifest_drift, spec_drift,
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn tool(name: &str, description: &str) -> Value {
    json!({
        "name": name, "description": description,
        "inputSchema": { "type": "object", "properties": { "a": { "type": "string" }, "b": { "enum": ["x", "y"] } }, "required": ["a", "b"] },
    })
}

fn spec(value: &Value) -> Spec {
    Spec::parse(value.to_string().as_bytes()).unwrap_or_else(|e| panic!("{e}"))
}

fn between(pinned: &Value, now: &Value) -> Vec<(ChangeKind, String)> {
    spec_drift(&spec(pinned), &spec(now))
        .into_iter()
        .map(|c| (c.kind, c.pointer))
        .collect()
}

fn lines(changes: &[Change]) -> Vec<String> {
    changes.iter().map(Change::to_string).collect()
}

#[test]
fn every_change_of_a_manifest_is_named_with_its_place() {
    let pinned = [tool("a", "Adds."), tool("b", "Subtracts."), tool("c", "Divides.")];
    let mut now = vec![
        tool("d", "New."),
        tool("b", "Subtracts."),
        tool("a", "Adds\u{200b}."),
    ];
    now[1]["inputSchema"]["properties"]["a"]["type"] = json!("integer");
    now[1]["inputSchema"]["properties"]["b"]["enum"] = json!(["y", "z"]);
    now[1]["inputSchema"]["properties"]["notes"] = json!({ "type": "string" });
    now[1]["inputSchema"]["required"] = json!(["b", "a"]);
    assert_eq!(
        lines(&manifest_drift(&pinned, &now)),
        [
            r#"added /tools/0 (tool `d`): `{"name":"d","description":"New.","inputSchema":{"type":"object","properties":{"a":{"type":"string"},"b":{"enum":["x","y"`"#,
            "changed /tools/1/inputSchema/properties/a/type (tool `b`): `string` is now `integer`",
            "added /tools/1/inputSchema/properties/b/enum/1 (tool `b`): `z`",
            "removed /tools/1/inputSchema/properties/b/enum/0 (tool `b`): `x`",
            r#"added /tools/1/inputSchema/properties/notes (tool `b`): `{"type":"string"}`"#,
            "reordered /tools/1/inputSchema/required (tool `b`)",
            "changed /tools/2/description (tool `a`): `Adds.` is now `Adds\\u{200b}.`",
            r#"removed /tools/2 (tool `c`): `{"name":"c","description":"Divides.","inputSchema":{"type":"object","properties":{"a":{"type":"string"},"b":{"enum":["x"`"#,
        ]
    );
}

#[test]
fn what_the_manifest_digest_leaves_out_is_no_drift() {
    let pinned = [tool("a", "Adds."), tool("b", "Subtracts.")];
    let mut now = [tool("b", "Subtracts."), tool("a", "Adds.")];
    now[0]["_meta"] = json!({ "x": 1 });
    now[1]["annotations"] = json!({});
    now[1]["inputSchema"]["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    assert_eq!(manifest_drift(&pinned, &now), []);
}

#[test]
fn the_spelling_of_a_number_is_no_change_beside_another() {
    let mut pinned = [tool("a", "Adds.")];
    pinned[0]["inputSchema"]["properties"]["a"] = json!({ "default": 1, "maximum": 100 });
    let mut now = [tool("a", "Adds more.")];
    now[0]["inputSchema"]["properties"]["a"] = json!({ "maximum": 1e2, "default": 1.0 });
    let pointers: Vec<String> = manifest_drift(&pinned, &now)
        .into_iter()
        .map(|c| c.pointer)
        .collect();
    assert_eq!(pointers, ["/tools/0/description"]);
}

#[test]
fn two_tools_of_one_name_are_told_apart_by_their_order() {
    let pinned = [tool("a", "One."), tool("a", "Two.")];
    let now = [tool("a", "Two."), tool("a", "One.")];
    assert_eq!(manifest_drift(&pinned, &now).len(), 2);
    assert_eq!(manifest_drift(&pinned, &pinned[..1]).len(), 1);
}

#[test]
fn every_part_of_a_spec_but_the_slug_can_drift() {
    let pinned = sample();
    assert_eq!(between(&pinned, &sample_with("/slug", json!("other"))), []);
    for (pointer, value) in [
        ("/description", json!("Another.")),
        ("/tools/0/implementation", json!("export default () => 2")),
        ("/requiredSecrets/0/description", json!("Another key.")),
    ] {
        assert_eq!(
            between(&pinned, &sample_with(pointer, value)),
            [(ChangeKind::Changed, pointer.to_owned())]
        );
    }
    assert_eq!(
        between(
            &pinned,
            &sample_with(
                "/allowedDomains",
                json!(["evil.example", "api.example.com", "*.example.org"])
            )
        ),
        [(ChangeKind::Added, "/allowedDomains/0".to_owned())]
    );
    assert_eq!(
        between(
            &pinned,
            &sample_with("/allowedDomains", json!(["*.example.org", "api.example.com"]))
        ),
        [(ChangeKind::Reordered, "/allowedDomains".to_owned())]
    );
    assert_eq!(
        between(&pinned, &sample_with("/limits", json!({ "fetches": 99 }))),
        [(ChangeKind::Added, "/limits".to_owned())]
    );
    let renamed = sample_with("/requiredSecrets/0/name", json!("OTHER_KEY"));
    let kinds: Vec<ChangeKind> = between(&pinned, &renamed)
        .into_iter()
        .map(|(kind, _)| kind)
        .collect();
    assert_eq!(kinds, [ChangeKind::Added, ChangeKind::Removed]);
}

#[test]
fn a_change_in_a_long_text_is_shown_where_it_is() {
    let long = "word ".repeat(300);
    let pinned = [tool("a", &format!("{long}end{long}"))];
    let now = [tool("a", &format!("{long}and then send it{long}"))];
    let changes = manifest_drift(&pinned, &now);
    let after = changes[0].after.clone().unwrap();
    assert!(
        after.contains("and then send it") && after.starts_with('…') && after.ends_with('…'),
        "{after}"
    );
    assert!(after.chars().count() <= 122);
    let finding = Finding::from(&changes[0]);
    assert_eq!(
        (finding.rule, finding.severity),
        (Rule::Drift, Severity::Critical)
    );
    assert_eq!(
        (finding.pointer, finding.snippet),
        ("/tools/0/description".to_owned(), after)
    );
}

fn small_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..3i64).prop_map(Value::from),
        Just(json!(1.0)),
        Just(json!(9_007_199_254_740_993u64)),
        Just(json!(9_007_199_254_740_992u64)),
        "[ab]{0,2}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("tools|name|[ab]", inner, 0..3).prop_map(|m| m.into_iter().collect()),
        ]
    })
}

fn tools() -> impl Strategy<Value = Vec<Value>> {
    let one = ("[ab]", small_json(), small_json())
        .prop_map(|(name, schema, annotations)| json!({ "name": name, "inputSchema": schema, "annotations": annotations }));
    prop::collection::vec(prop_oneof![one, small_json()], 0..4)
}

proptest! {
    #[test]
    fn drift_is_empty_exactly_if_the_digests_are_equal(pinned in tools(), now in tools()) {
        for now in [&now, &pinned] {
            let equal = manifest_digest(&pinned) == manifest_digest(now);
            prop_assert_eq!(manifest_drift(&pinned, now).is_empty(), equal);
        }
    }
}
