//! Resources and prompts of a spec: what is listed, which one a request means, and how code's output becomes one.

use bmm_spec::{
    CompiledPrompt, CompiledResource, CompiledSpec, PromptContent, ResourceContent, ResourcePlace,
};
use rmcp::model::{
    JsonObject, Prompt, PromptArgument, PromptMessage, Resource, ResourceContents, ResourceTemplate, Role,
};
use serde_json::{Value, json};

/// The resources and prompts of one spec, each with its place in [`code_units`](crate::manifest::code_units).
pub(crate) struct Documents {
    resources: Vec<(CompiledResource, Option<usize>)>,
    prompts: Vec<(CompiledPrompt, Option<usize>)>,
}

/// Where content comes from.
pub(crate) enum Source<T> {
    Ready(T),
    Code { unit: usize, input: Value },
}

impl Documents {
    pub(crate) fn new(spec: &CompiledSpec) -> Self {
        let mut units = spec.tools.len()..;
        let mut unit = |computed: bool| if computed { units.next() } else { None };
        let resources = spec.resources.iter().map(|resource| {
            let computed = matches!(resource.content, ResourceContent::Computed(_));
            (resource.clone(), unit(computed))
        });
        let resources = resources.collect();
        let prompts = spec.prompts.iter().map(|prompt| {
            let computed = matches!(prompt.content, PromptContent::Computed(_));
            (prompt.clone(), unit(computed))
        });
        Self {
            resources,
            prompts: prompts.collect(),
        }
    }

    pub(crate) fn has_resources(&self) -> bool {
        !self.resources.is_empty()
    }

    pub(crate) fn has_prompts(&self) -> bool {
        !self.prompts.is_empty()
    }

    pub(crate) fn resources(&self) -> Vec<Resource> {
        let listed = self.resources.iter().filter_map(|(resource, _)| {
            let ResourcePlace::Uri(uri) = &resource.place else {
                return None;
            };
            let mut listed = Resource::new(uri, &resource.name);
            listed.title = resource.title.clone();
            listed.description = resource.description.clone();
            listed.mime_type = resource.mime_type.clone();
            Some(listed)
        });
        listed.collect()
    }

    pub(crate) fn templates(&self) -> Vec<ResourceTemplate> {
        let listed = self.resources.iter().filter_map(|(resource, _)| {
            let ResourcePlace::Template(template) = &resource.place else {
                return None;
            };
            let mut listed = ResourceTemplate::new(template, &resource.name);
            listed.title = resource.title.clone();
            listed.description = resource.description.clone();
            listed.mime_type = resource.mime_type.clone();
            Some(listed)
        });
        listed.collect()
    }

    pub(crate) fn prompts(&self) -> Vec<Prompt> {
        let listed = self.prompts.iter().map(|(prompt, _)| {
            let arguments = prompt.arguments.iter().map(|argument| {
                let mut listed = PromptArgument::new(&argument.name).with_required(argument.required);
                listed.title = argument.title.clone();
                listed.description = argument.description.clone();
                listed
            });
            let arguments: Vec<_> = arguments.collect();
            let mut listed = Prompt::new(
                &prompt.name,
                prompt.description.as_deref(),
                (!arguments.is_empty()).then_some(arguments),
            );
            listed.title = prompt.title.clone();
            listed
        });
        listed.collect()
    }

    /// Whether `uri` names a resource.
    pub(crate) fn has(&self, uri: &str) -> bool {
        self.resource(uri).is_some()
    }

    /// Whether the resource that `uri` names is another one there, or is in one of the two only.
    pub(crate) fn differ(&self, other: &Self, uri: &str) -> bool {
        let found = |documents: &Self| {
            let (resource, _) = documents.resource(uri)?;
            serde_json::to_value(resource).ok()
        };
        found(self) != found(other)
    }

    /// The resource that `uri` names: an exact one first, then the first template that fits.
    pub(crate) fn resource(&self, uri: &str) -> Option<(&CompiledResource, Source<ResourceContents>)> {
        let exact = self
            .resources
            .iter()
            .find_map(|(resource, unit)| match &resource.place {
                ResourcePlace::Uri(place) if place == uri => Some((resource, *unit, JsonObject::new())),
                _ => None,
            });
        let (resource, unit, mut input) = exact.or_else(|| {
            self.resources
                .iter()
                .find_map(|(resource, unit)| match &resource.place {
                    ResourcePlace::Template(template) => Some((resource, *unit, variables(template, uri)?)),
                    ResourcePlace::Uri(_) => None,
                })
        })?;
        let mime_type = resource.mime_type.as_deref();
        let source = match (&resource.content, unit) {
            (ResourceContent::Text(text), _) => Source::Ready(text_contents(uri, mime_type, text)),
            (ResourceContent::Blob(blob), _) => Source::Ready(blob_contents(uri, mime_type, blob)),
            (ResourceContent::Computed(_), unit) => {
                input.insert("uri".to_owned(), Value::from(uri));
                Source::Code {
                    unit: unit?,
                    input: Value::Object(input),
                }
            }
        };
        Some((resource, source))
    }

    pub(crate) fn prompt(&self, name: &str) -> Option<(&CompiledPrompt, Option<usize>)> {
        self.prompts
            .iter()
            .find(|(prompt, _)| prompt.name == name)
            .map(|(prompt, unit)| (prompt, *unit))
    }
}

/// What a computed resource returned: a string, `{text}` or `{blob}`.
pub(crate) fn computed_contents(
    uri: &str,
    mime_type: Option<&str>,
    value: &Value,
) -> Option<ResourceContents> {
    match value {
        Value::String(text) => Some(text_contents(uri, mime_type, text)),
        Value::Object(object) => match (object.get("text"), object.get("blob")) {
            (Some(Value::String(text)), None) => Some(text_contents(uri, mime_type, text)),
            (None, Some(Value::String(blob))) => Some(blob_contents(uri, mime_type, blob)),
            _ => None,
        },
        _ => None,
    }
}

/// Checks a prompt's arguments and makes its messages, or says what its code gets.
pub(crate) fn prompt_messages(
    prompt: &CompiledPrompt,
    unit: Option<usize>,
    arguments: &JsonObject,
) -> Result<Source<Vec<PromptMessage>>, String> {
    for argument in &prompt.arguments {
        match arguments.get(&argument.name) {
            Some(Value::String(_)) => {}
            Some(_) => return Err(format!("the argument {} must be a string", argument.name)),
            None if argument.required => return Err(format!("the argument {} is required", argument.name)),
            None => {}
        }
    }
    match (&prompt.content, unit) {
        (PromptContent::Messages(messages), _) => {
            let filled = messages.iter().map(|message| {
                let role = match message.role {
                    bmm_spec::Role::User => Role::User,
                    bmm_spec::Role::Assistant => Role::Assistant,
                };
                PromptMessage::new_text(role, fill(&message.content.text, arguments))
            });
            Ok(Source::Ready(filled.collect()))
        }
        (PromptContent::Computed(_), Some(unit)) => Ok(Source::Code {
            unit,
            input: json!(arguments),
        }),
        (PromptContent::Computed(_), None) => Err("the prompt has no code".to_owned()),
    }
}

/// What a computed prompt returned: a string, which the user says, or messages.
pub(crate) fn computed_messages(value: Value) -> Option<Vec<PromptMessage>> {
    match value {
        Value::String(text) => Some(vec![PromptMessage::new_text(Role::User, text)]),
        messages @ Value::Array(_) => serde_json::from_value(messages).ok(),
        Value::Object(mut object) => serde_json::from_value(object.remove("messages")?).ok(),
        _ => None,
    }
}

/// Puts arguments in place of `{{name}}`, in one pass: an argument's text is not looked at again.
fn fill(template: &str, arguments: &JsonObject) -> String {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, from)) = rest.split_once("{{") {
        out.push_str(before);
        match from.split_once("}}") {
            Some((name, after)) if is_name(name.trim()) => {
                out.push_str(
                    arguments
                        .get(name.trim())
                        .and_then(Value::as_str)
                        .unwrap_or_default(),
                );
                rest = after;
            }
            _ => {
                out.push_str("{{");
                rest = from;
            }
        }
    }
    out.push_str(rest);
    out
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// The variables of a level 1 template (RFC 6570 section 3.2.2) in `uri`: each stands for one or more unreserved or
/// percent-encoded characters.
fn variables(template: &str, uri: &str) -> Option<JsonObject> {
    let mut found = JsonObject::new();
    let (mut template, mut uri) = (template, uri);
    loop {
        let Some((literal, from)) = template.split_once('{') else {
            return (template == uri).then_some(found);
        };
        let (name, after) = from.split_once('}')?;
        uri = uri.strip_prefix(literal)?;
        let next_literal = after.split('{').next().unwrap_or_default();
        let end = if next_literal.is_empty() {
            uri.len()
        } else {
            uri.match_indices(next_literal)
                .map(|(at, _)| at)
                .find(|at| *at > 0)?
        };
        let (value, rest) = uri.split_at_checked(end)?;
        let unreserved = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'%');
        if value.is_empty() || !value.bytes().all(unreserved) {
            return None;
        }
        found.insert(name.to_owned(), Value::from(percent_decoded(value)?));
        (template, uri) = (after, rest);
    }
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%' {
            let (pair, after) = after.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?);
            rest = after;
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

fn text_contents(uri: &str, mime_type: Option<&str>, text: &str) -> ResourceContents {
    ResourceContents::text(text, uri).with_mime_type(mime_type.unwrap_or("text/plain"))
}

fn blob_contents(uri: &str, mime_type: Option<&str>, blob: &str) -> ResourceContents {
    ResourceContents::blob(blob, uri).with_mime_type(mime_type.unwrap_or("application/octet-stream"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_matches_what_it_can_expand_to_and_nothing_else() {
        let of = |template, uri| variables(template, uri).map(Value::Object);
        assert_eq!(of("notes://{id}", "notes://a%2Fb"), Some(json!({"id": "a/b"})));
        assert_eq!(
            of("x://{a}/and/{b}.txt", "x://1/and/2.txt"),
            Some(json!({"a": "1", "b": "2"}))
        );
        assert_eq!(of("notes://{id}", "notes://"), None);
        assert_eq!(of("notes://{id}", "notes://a/b"), None);
        assert_eq!(of("notes://{id}", "other://a"), None);
        assert_eq!(of("notes://{id}", "notes://%zz"), None);
        assert_eq!(of("notes://{id}/x", "notes://a/xy"), None);
    }

    #[test]
    fn an_argument_that_looks_like_a_placeholder_stays_text() {
        let arguments = json!({"a": "{{b}}", "b": "secret"});
        assert_eq!(
            fill("{{a}} and {{ b }} {{", arguments.as_object().unwrap()),
            "{{b}} and secret {{"
        );
    }
}
