//! Digests: the same for the same meaning, different for any other.

use crate::{sample, sample_with};
use bmm_spec::{CompiledSpec, Spec, manifest_digest};
use serde_json::{Value, json};

fn compiled(spec: &Value) -> CompiledSpec {
    bmm_spec::admit(spec.to_string().as_bytes())
        .unwrap()
        .0
        .compile()
        .unwrap()
}

fn reversed(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            Value::Object(map.iter().rev().map(|(k, v)| (k.clone(), reversed(v))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(reversed).collect()),
        other => other.clone(),
    }
}

#[test]
fn key_order_and_white_space_do_not_matter() {
    let (a, b) = (compiled(&sample()), compiled(&reversed(&sample())));
    let pretty = serde_json::to_string_pretty(&sample()).unwrap();
    let c = bmm_spec::admit(pretty.as_bytes()).unwrap().0.compile().unwrap();
    for other in [&b, &c] {
        assert_eq!(a.spec_digest, other.spec_digest);
        assert_eq!(a.manifest_digest, other.manifest_digest);
        assert_eq!(a.compiled_digest, other.compiled_digest);
    }
    assert_eq!(a.spec_digest.len(), 64);
}

#[test]
fn the_slug_does_not_matter_and_everything_else_does() {
    let digest = |spec: &Value| compiled(spec).spec_digest;
    let same = digest(&sample());
    assert_eq!(same, digest(&sample_with("/slug", json!("another"))));
    assert_eq!(
        same,
        digest(&sample_with("/limits", json!({ "wallMs": 10000 }))),
        "a default that is said is still the default"
    );
    for (pointer, value) in [
        ("/name", json!("Other")),
        ("/instructions", json!("Use it.")),
        ("/tools/0/description", json!("Other.")),
        (
            "/tools/0/implementation",
            json!("export default (input) => input.text.length // other"),
        ),
        ("/limits", json!({ "wallMs": 9999 })),
        ("/allowedDomains", json!(["api.example.com"])),
    ] {
        assert_ne!(same, digest(&sample_with(pointer, value)), "{pointer}");
    }
}

#[test]
fn the_manifest_digest_covers_what_tools_list_shows() {
    let of = |spec: &Value| compiled(spec).manifest_digest;
    let same = of(&sample());
    assert_eq!(
        same,
        of(&sample_with(
            "/tools/0/implementation",
            json!("export default () => 2")
        ))
    );
    assert_ne!(same, of(&sample_with("/tools/0/title", json!("Run"))));
    assert_ne!(
        same,
        of(&sample_with("/tools/0/headers", json!({"text": "Text"})))
    );
    let mut listed = compiled(&sample()).tools[0].listed();
    assert_eq!(same, manifest_digest(&[listed.clone()]));
    // What one protocol revision adds and another leaves out.
    listed["_meta"] = json!({"x": 1});
    listed["icons"] = json!([]);
    listed["title"] = Value::Null;
    listed["annotations"] = json!({});
    listed["inputSchema"]["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    assert_eq!(same, manifest_digest(&[reversed(&listed)]));
    listed["description"] = json!("Drifted.");
    assert_ne!(same, manifest_digest(&[listed]));
}

#[test]
fn a_compiled_spec_that_was_changed_is_found_out() {
    let spec = compiled(&sample());
    let bytes = serde_json::to_vec(&spec).unwrap();
    let back: CompiledSpec = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(back.verify_digest(), Ok(()));
    let mut renamed = back.clone();
    renamed.slug = "elsewhere".parse().unwrap();
    assert_eq!(renamed.verify_digest(), Ok(()), "a fork has another slug");
    let mut code = back.clone();
    code.tools[0].code.push_str("\n//");
    assert!(code.verify_digest().is_err());
    let mut domain = back.clone();
    domain.allowed_domains.push("evil.example".parse().unwrap());
    assert!(domain.verify_digest().is_err());
    let mut description = back;
    description.tools[0].description = "Other.".to_owned();
    assert!(description.verify_digest().is_err());
}

#[test]
fn types_are_stripped_and_lines_found_again() {
    let code = "interface Input {\n  a: number;\n}\n\ntype T = Input;\nenum E { A = 1 }\n\nconst f = (x: T): number => {\n  return x.a as number;\n};\n\nexport default async function run(input: Input, ctx: any): Promise<number> {\n  throw new Error(String(f(input)! + E.A));\n}\n";
    let tool = compiled(&crate::with_code(code)).tools.remove(0);
    insta::assert_snapshot!(tool.code);
    let line = tool.code.lines().position(|l| l.contains("throw")).unwrap() + 1;
    assert_eq!(tool.line_map.source_line(u32::try_from(line).unwrap()), Some(13));
    assert_eq!(tool.line_map.source_line(0), None);
    assert_eq!(tool.line_map.source_line(10_000), None);
}

#[test]
fn headers_are_listed_in_the_schema() {
    let tool = compiled(&sample_with("/tools/0/headers", json!({"text": "Text"})))
        .tools
        .remove(0);
    assert_eq!(
        tool.listed()["inputSchema"]["properties"]["text"]["x-mcp-header"],
        "Text"
    );
}

#[test]
fn a_spec_written_back_is_the_same_spec() {
    let spec = Spec::parse(sample().to_string().as_bytes()).unwrap();
    let again = Spec::parse(serde_json::to_string(&spec).unwrap().as_bytes()).unwrap();
    assert_eq!(spec.digest(), again.digest());
}
