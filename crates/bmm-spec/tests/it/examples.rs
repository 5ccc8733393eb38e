//! The published schema and the example specs stay what they say they are. `BMM_UPDATE=1` rewrites what is generated.

use serde_json::Value;
use std::{fs, path::PathBuf};

const EXAMPLES: [&str; 3] = ["demo", "weather", "github-issues"];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples/specs")
}

fn update() -> bool {
    std::env::var_os("BMM_UPDATE").is_some_and(|value| value == "1")
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap() + "\n"
}

fn read(name: &str) -> String {
    fs::read_to_string(folder().join(format!("{name}.json"))).unwrap()
}

#[test]
fn the_published_schema_is_the_one_of_the_types() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("schema/bmm-spec-v1.schema.json");
    let generated = pretty(&bmm_spec::json_schema());
    if update() {
        fs::write(&path, &generated).unwrap();
    }
    let published = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        published == generated,
        "{} is out of date; BMM_UPDATE=1 writes it",
        path.display()
    );
}

#[test]
fn the_published_schema_is_a_schema_and_fits_the_examples() {
    let schema = bmm_spec::json_schema();
    jsonschema::draft202012::meta::validate(&schema).unwrap();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    for name in EXAMPLES {
        let spec: Value = serde_json::from_str(&read(name)).unwrap();
        let problems: Vec<String> = validator.iter_errors(&spec).map(|e| e.to_string()).collect();
        assert_eq!(problems, Vec::<String>::new(), "{name}");
        assert_eq!(spec["slug"], name);
    }
    assert!(
        !schema.to_string().contains("\"null\""),
        "an optional field is left out, never null"
    );
}

#[test]
fn implementations_are_the_readable_sources() {
    for name in EXAMPLES {
        let mut spec: Value = serde_json::from_str(&read(name)).unwrap();
        let mut differs = false;
        for tool in spec["tools"].as_array_mut().unwrap() {
            let path = folder()
                .join("src")
                .join(name)
                .join(format!("{}.ts", tool["name"].as_str().unwrap()));
            let source = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            differs |= tool["implementation"] != source;
            tool["implementation"] = source.into();
        }
        if update() {
            fs::write(folder().join(format!("{name}.json")), pretty(&spec)).unwrap();
        } else {
            assert!(
                !differs,
                "{name}.json differs from its sources; BMM_UPDATE=1 writes it"
            );
        }
    }
}

#[test]
fn the_examples_are_admitted_without_a_finding() {
    for name in EXAMPLES {
        let (valid, report) =
            bmm_spec::admit(read(name).as_bytes()).unwrap_or_else(|e| panic!("{name}:\n{e}"));
        assert!(report.findings.is_empty(), "{name}: {report}");
        for tool in &valid.spec().tools {
            assert!(!tool.examples.is_empty(), "{name}/{} has no example", tool.name);
            assert!(
                tool.annotations.is_some(),
                "{name}/{} has no annotations",
                tool.name
            );
            assert!(
                tool.examples.iter().any(|e| e.output.is_some()),
                "{name}/{} has no expected output",
                tool.name
            );
        }
        let compiled = valid.compile().unwrap();
        compiled.verify_digest().unwrap();
        assert!(
            compiled
                .tools
                .iter()
                .all(|tool| tool.code.contains("export default") && !tool.line_map.0.is_empty())
        );
    }
}

#[test]
fn no_slug_of_an_example_is_reserved_and_the_list_holds_slugs_only() {
    for name in EXAMPLES {
        assert!(name.parse::<bmm_spec::Slug>().is_ok());
    }
    for (index, word) in bmm_spec::RESERVED_SLUGS.iter().enumerate() {
        assert_eq!(
            word.parse::<bmm_spec::Slug>(),
            Err(bmm_spec::SlugError::Reserved),
            "{word} could not be a slug anyway"
        );
        assert!(
            !bmm_spec::RESERVED_SLUGS[..index].contains(word),
            "{word} stands twice"
        );
    }
}
