//! Any text as code: alone, and as the implementation of a tool. It is judged, never run; what is admitted compiles, and what was
//! compiled passes again.
#![no_main]

use bmm_spec::{Verdict, scan_code};
use serde_json::json;

libfuzzer_sys::fuzz_target!(|source: &str| {
    let item = scan_code("input", source);
    for finding in &item.findings {
        let span = finding.code.as_ref().map(|place| place.span.clone());
        assert!(span.is_none_or(|span| span.end <= source.len()), "{finding:?}");
        assert!(!finding.snippet.contains(char::is_control), "{finding:?}");
    }
    let spec = |code: &str| {
        let tool = json!({ "name": "run", "description": "Runs.", "inputSchema": { "type": "object" }, "implementation": code });
        let spec = json!({ "bmm": 1, "slug": "sample", "name": "Sample", "description": "A sample.", "tools": [tool] });
        bmm_spec::admit(spec.to_string().as_bytes())
    };
    let Ok((valid, _)) = spec(source) else { return };
    assert_ne!(item.verdict, Verdict::Block, "what blocks alone blocks in a spec: {:?}", item.findings);
    let compiled = valid.compile().expect("what is admitted compiles");
    let code = &compiled.tools[0].code;
    if code.len() <= bmm_spec::MAX_CODE_BYTES
        && let Err(problems) = spec(code)
    {
        panic!("{problems}\n{code}");
    }
});
