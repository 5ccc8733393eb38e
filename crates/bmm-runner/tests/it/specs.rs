//! Compiled specs for tests of the engine.

use bmm_spec::{CompiledSpec, LineMap};

/// A spec whose tools are these modules, as they are: admission would refuse most of what these tests try. Line 1 of each
/// stands for line 11 of its source.
pub(crate) fn spec_of(modules: &[String]) -> CompiledSpec {
    let tools: Vec<_> = (0..modules.len())
        .map(|index| {
            serde_json::json!({
                "name": format!("tool_{index}"),
                "description": "A tool of a test.",
                "inputSchema": { "type": "object" },
                "implementation": "export default async (input, ctx) => { await ctx.fetch('https://api.example.com', { headers: { authorization: ctx.secrets.API_KEY } }); return input; };",
            })
        })
        .collect();
    let spec = serde_json::json!({
        "bmm": 1,
        "slug": "test",
        "name": "Test",
        "description": "A spec of a test.",
        "tools": tools,
        "allowedDomains": ["api.example.com"],
        "requiredSecrets": [{
            "name": "API_KEY",
            "description": "A key.",
            "howToGetUrl": "https://api.example.com/keys",
            "domains": ["api.example.com"],
        }],
    });
    let (spec, _report) = bmm_spec::admit(spec.to_string().as_bytes()).expect("admitted");
    let mut spec = spec.compile().expect("compiles");
    for (tool, module) in spec.tools.iter_mut().zip(modules) {
        tool.code = module.clone();
        tool.line_map = LineMap((1..200).map(|line| line + 10).collect());
    }
    spec
}
