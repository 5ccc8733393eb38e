//! What holds for every input.

use crate::sample;
use bmm_spec::{Diagnostics, Spec};
use proptest::prelude::*;
use serde_json::Value;

/// JSON that looks like a spec in places.
fn json() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(vec![
        "bmm",
        "slug",
        "name",
        "tools",
        "inputSchema",
        "type",
        "object",
        "a/b",
        "m~n",
        "ü",
        "",
        "$ref",
        "\u{1f600}",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        word.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::vec((word.clone(), inner), 0..6).prop_map(|fields| Value::Object(
                fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
            )),
        ]
    })
}

fn spans_are_within(file: &[u8], found: &Diagnostics) {
    for problem in found {
        if let Some(span) = &problem.span {
            assert!(
                span.start <= span.end && span.end <= file.len(),
                "{problem}: {span:?} of {}",
                file.len()
            );
        }
        assert!(
            problem.pointer.is_empty() || problem.pointer.starts_with('/'),
            "{}",
            problem.pointer
        );
        assert!(!problem.message.contains('\n'));
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        if let Err(found) = bmm_spec::admit(&bytes) {
            spans_are_within(&bytes, &found);
        }
    }

    #[test]
    fn arbitrary_json_gets_diagnostics_inside_the_file(value in json()) {
        let file = value.to_string();
        let found = bmm_spec::admit(file.as_bytes()).map(|_| ()).unwrap_err();
        spans_are_within(file.as_bytes(), &found);
    }

    /// A value's span, parsed on its own, is the value at the diagnostic's pointer.
    #[test]
    fn pointer_and_span_name_the_same_value(value in json(), pretty in any::<bool>()) {
        let mut spec = sample();
        spec["tools"][0]["inputSchema"] = value;
        let file = if pretty { serde_json::to_string_pretty(&spec).unwrap() } else { spec.to_string() };
        if let Err(found) = Spec::parse(file.as_bytes()) {
            for problem in &found {
                let span = problem.span.clone().expect("every problem of a file has a place");
                if problem.code.is_none() && problem.rule != bmm_spec::Rule::UnknownField
                    && let Some(target) = spec.pointer(&problem.pointer)
                {
                    let parsed: Value = serde_json::from_str(&file[span]).unwrap();
                    prop_assert_eq!(&parsed, target);
                }
            }
        }
    }

    /// Places in code survive JSON's escapes.
    #[test]
    fn places_in_code_point_at_the_code(before in "[a-z\\n\\t\"\u{e9}\u{1f600}\\\\]{0,20}") {
        let code = format!("/* {before} */ export default () => eval('1')");
        let mut spec = sample();
        spec["tools"][0]["implementation"] = code.clone().into();
        // Every character beyond ASCII as an escape, pairs included.
        let file: String = spec.to_string().chars().map(|c| if c.is_ascii() { c.to_string() } else {
            c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect()
        }).collect();
        for file in [file, spec.to_string()] {
            let found = bmm_spec::admit(file.as_bytes()).map(|_| ()).unwrap_err();
            let eval = found.iter().find(|d| d.rule == bmm_spec::Rule::Eval).expect("eval is found");
            prop_assert_eq!(&file[eval.span.clone().unwrap()], "eval");
            prop_assert_eq!(&code[eval.code.clone().unwrap().span], "eval");
        }
    }

    #[test]
    fn arbitrary_code_never_panics(code in "[ -~\\n]{0,200}") {
        let mut spec = sample();
        spec["tools"][0]["implementation"] = code.into();
        let file = spec.to_string();
        if let Err(found) = bmm_spec::admit(file.as_bytes()) {
            spans_are_within(file.as_bytes(), &found);
        }
    }
}
