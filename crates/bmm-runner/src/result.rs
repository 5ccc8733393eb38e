//! What a tool returned, as the protocol says it.

use rmcp::model::{CallToolResult, ContentBlock};
use serde_json::Value;

/// Maps an output (design of the spec format: a string is text; `{content: […]}` is taken as it is; other JSON is
/// structured content plus text).
///
/// `any_structured`: whether structured content may be any JSON value (2026-07-28 on) or only an object.
pub(crate) fn success(value: Value, any_structured: bool) -> CallToolResult {
    if let Some(result) = as_it_is(&value) {
        return result;
    }
    let text = match &value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let mut result = CallToolResult::success(vec![ContentBlock::text(text)]);
    if !value.is_string() && (any_structured || value.is_object()) {
        result.structured_content = Some(value);
    }
    result
}

/// A failure that the model should read.
pub(crate) fn failure(message: impl Into<String>) -> CallToolResult {
    CallToolResult::error(vec![ContentBlock::text(message)])
}

/// `{content: […], structuredContent?, isError?, _meta?}` with nothing else in it and every block valid.
fn as_it_is(value: &Value) -> Option<CallToolResult> {
    let object = value.as_object()?;
    object.get("content")?.as_array()?;
    let known = ["content", "structuredContent", "isError", "_meta"];
    if object.keys().any(|key| !known.contains(&key.as_str())) {
        return None;
    }
    let mut result: CallToolResult = serde_json::from_value(value.clone()).ok()?;
    result.result_type = CallToolResult::success(Vec::new()).result_type;
    Some(result)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// (output, any JSON may be structured) -> result
    #[test]
    fn outputs_are_mapped_as_the_format_says() {
        let text = |text: &str| json!([{"type": "text", "text": text}]);
        let image = json!([{"type": "image", "data": "aGk=", "mimeType": "image/png"}]);
        for (output, any, expected) in [
            (json!("hi"), true, json!({"content": text("hi")})),
            (
                json!({"a": 1}),
                false,
                json!({"content": text("{\"a\":1}"), "structuredContent": {"a": 1}}),
            ),
            (
                json!([1, 2]),
                true,
                json!({"content": text("[1,2]"), "structuredContent": [1, 2]}),
            ),
            (json!([1, 2]), false, json!({"content": text("[1,2]")})),
            (json!(7), false, json!({"content": text("7")})),
            (json!(null), false, json!({"content": text("null")})),
            (json!({"content": image}), false, json!({"content": image})),
            (
                json!({"content": text("no"), "isError": true}),
                false,
                json!({"content": text("no"), "isError": true}),
            ),
            // Content that is not content is data.
            (
                json!({"content": [{"type": "dance"}]}),
                false,
                json!({
                    "content": text("{\"content\":[{\"type\":\"dance\"}]}"),
                    "structuredContent": {"content": [{"type": "dance"}]},
                }),
            ),
            (
                json!({"content": [], "pages": 3}),
                false,
                json!({
                    "content": text("{\"content\":[],\"pages\":3}"),
                    "structuredContent": {"content": [], "pages": 3},
                }),
            ),
        ] {
            let mut got = serde_json::to_value(success(output.clone(), any)).unwrap();
            let object = got.as_object_mut().unwrap();
            object.remove("resultType");
            if object.get("isError") == Some(&json!(false)) {
                object.remove("isError");
            }
            assert_eq!(got, expected, "{output}");
        }
    }
}
