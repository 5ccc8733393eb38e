//! What a tool asks the model for: secrets, and the conversation itself.

use super::{
    Notes,
    words::{self, Topic},
};
use crate::{
    json::push_segment,
    rule::{Confidence, Rule},
};
use serde_json::{Map, Value};

/// Where the tool stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// A spec, where secrets have a place of their own.
    Spec,
    /// A foreign server's list.
    Listing,
}

/// Judges every parameter of a tool by its name, type and description.
pub(super) fn parameters(tool: &Value, pointer: &str, place: Place, notes: &mut Notes) {
    let Some(schema) = tool.get("inputSchema") else {
        return;
    };
    let topic = Topic::of(tool);
    let mut walk = |parameter: &Parameter<'_>| {
        if !parameter.is_text() {
            return;
        }
        let words = words::of_name(parameter.name);
        if let Some(confidence) = secret(parameter, &words, &topic, place) {
            let message = format!("asks the model for a secret: `{}`", parameter.name);
            notes.add(Rule::SecretArgument, confidence, parameter.pointer, "", message);
        }
        if let Some(confidence) = side_channel(parameter, &words, &topic) {
            let message = format!("asks for what is not the tool's business: `{}`", parameter.name);
            notes.add(Rule::SideChannelParam, confidence, parameter.pointer, "", message);
        }
    };
    visit(schema, &mut format!("{pointer}/inputSchema"), &mut walk);
}

struct Parameter<'v> {
    name: &'v str,
    schema: &'v Map<String, Value>,
    required: bool,
    pointer: &'v str,
}

impl Parameter<'_> {
    fn description(&self) -> String {
        let text = |key: &str| self.schema.get(key).and_then(Value::as_str).unwrap_or_default();
        format!("{} {}", text("title"), text("description")).to_lowercase()
    }

    /// Does its description hold a word that every way of asking for the conversation has? See [`wants_surroundings`].
    fn may_want_surroundings(&self) -> bool {
        const TURNING: [&str; 13] = [
            "system",
            "window",
            "thought",
            "tool",
            "tools",
            "messages",
            "prompts",
            "turns",
            "conversation",
            "chat",
            "dialogue",
            "dialog",
            "transcript",
        ];
        ["title", "description"].iter().any(|key| {
            let text = self.schema.get(*key).and_then(Value::as_str).unwrap_or_default();
            let turns = |word: &[u8]| {
                (4..=12).contains(&word.len())
                    && TURNING
                        .iter()
                        .any(|known| known.as_bytes().eq_ignore_ascii_case(word))
            };
            !text.is_ascii() || text.as_bytes().split(|b| !b.is_ascii_alphanumeric()).any(turns)
        })
    }

    /// May it hold a text that somebody makes up?
    fn is_text(&self) -> bool {
        let text = |kind: &Value| matches!(kind.as_str(), Some("string" | "object" | "array"));
        !self.schema.contains_key("enum")
            && !self.schema.contains_key("const")
            && match self.schema.get("type") {
                Some(Value::Array(kinds)) => kinds.iter().any(text),
                Some(kind) => text(kind),
                None => true,
            }
    }
}

/// Every property of a schema, however deep.
fn visit(schema: &Value, pointer: &mut String, see: &mut impl FnMut(&Parameter<'_>)) {
    let length = pointer.len();
    match schema {
        Value::Object(map) => {
            for (key, value) in map {
                if matches!(
                    key.as_str(),
                    "enum" | "const" | "default" | "examples" | "required"
                ) {
                    continue;
                }
                push_segment(pointer, key);
                match value {
                    Value::Object(properties) if key == "properties" => {
                        let required = map.get("required").and_then(Value::as_array);
                        for (name, property) in properties {
                            let inner = pointer.len();
                            push_segment(pointer, name);
                            if let Some(schema) = property.as_object() {
                                let required =
                                    required.is_some_and(|list| list.iter().any(|one| one == name));
                                see(&Parameter {
                                    name,
                                    schema,
                                    required,
                                    pointer,
                                });
                            }
                            visit(property, pointer, see);
                            pointer.truncate(inner);
                        }
                    }
                    other => visit(other, pointer, see),
                }
                pointer.truncate(length);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                push_segment(pointer, &index.to_string());
                visit(item, pointer, see);
                pointer.truncate(length);
            }
        }
        _ => {}
    }
}

/// Pairs of words that end the name of a credential.
const SECRET_PAIRS: &[(&str, &str)] = &[
    ("api", "key"),
    ("api", "token"),
    ("api", "secret"),
    ("access", "token"),
    ("access", "key"),
    ("auth", "token"),
    ("auth", "key"),
    ("bearer", "token"),
    ("refresh", "token"),
    ("secret", "key"),
    ("private", "key"),
    ("client", "secret"),
    ("session", "token"),
    ("session", "cookie"),
    ("security", "token"),
    ("personal", "token"),
    ("oauth", "token"),
    ("ssh", "key"),
    ("signing", "key"),
    ("encryption", "key"),
    ("seed", "phrase"),
    ("recovery", "phrase"),
    ("recovery", "code"),
    ("app", "secret"),
    ("app", "password"),
    ("webhook", "secret"),
    ("login", "token"),
    ("id", "token"),
];
/// Words that end the name of a credential by themselves.
const SECRET_WORDS: &[&str] = &[
    "apikey",
    "password",
    "passwd",
    "pwd",
    "passphrase",
    "credentials",
    "credential",
    "jwt",
    "authtoken",
    "accesstoken",
];
/// Words that name a credential only in the right company.
const VAGUE_SECRETS: &[&str] = &["token", "secret", "authorization", "cookie", "cookies", "key"];
/// Tools whose work is on a secret of the caller: a protected file, a hash.
const WORKS_ON_SECRETS: &[&str] = &[
    "encrypt",
    "decrypt",
    "protect",
    "unprotect",
    "unlock",
    "lock",
    "hash",
    "password",
    "passphrase",
    "zip",
    "archive",
    "strength",
    "verify",
    "cipher",
    "sign",
];

fn secret(
    parameter: &Parameter<'_>,
    words: &[String],
    topic: &Topic<'_>,
    place: Place,
) -> Option<Confidence> {
    let last = words.last()?.as_str();
    let pair = words
        .len()
        .checked_sub(2)
        .and_then(|at| words.get(at))
        .map(String::as_str);
    let named = SECRET_WORDS.contains(&last)
        || pair.is_some_and(|first| SECRET_PAIRS.contains(&(first, last)))
        || parameter
            .schema
            .get("format")
            .is_some_and(|format| format == "password");
    let vague = VAGUE_SECRETS.contains(&last)
        && words.len() == 1
        && words::of_text(&parameter.description()).any(|word| {
            matches!(
                word.as_str(),
                "bearer"
                    | "authentication"
                    | "authenticate"
                    | "authorization"
                    | "api"
                    | "login"
                    | "credential"
                    | "credentials"
                    | "oauth"
            )
        });
    if !named && !vague {
        return None;
    }
    let work = named && !matches!(last, "key" | "apikey" | "token") && topic.speaks_of_any(WORKS_ON_SECRETS);
    Some(match (place, parameter.required, work) {
        (_, _, true) => Confidence::Low,
        (Place::Spec, true, _) => Confidence::High,
        (Place::Spec, false, _) | (Place::Listing, true, _) => Confidence::Medium,
        (Place::Listing, false, _) => Confidence::Low,
    })
}

/// Names that only make sense for what surrounds a call.
const SURROUNDINGS: &[&str] = &[
    "sidenote",
    "sidenotes",
    "sidechannel",
    "scratchpad",
    "conversation",
    "conversationhistory",
    "conversationcontext",
    "conversationlog",
    "conversationsummary",
    "fullconversation",
    "chathistory",
    "chatcontext",
    "chatlog",
    "usercontext",
    "fullcontext",
    "contextwindow",
    "previousmessages",
    "priormessages",
    "allmessages",
    "messagehistory",
    "sessionhistory",
    "sessioncontext",
    "systemprompt",
    "systeminstructions",
    "systemmessage",
    "chainofthought",
    "internalreasoning",
    "modelreasoning",
    "modelcontext",
    "modelnotes",
    "internalnotes",
    "agentcontext",
    "agentmemory",
    "agentnotes",
    "llmcontext",
    "toolhistory",
    "tooloutputs",
    "previousresults",
    "userprompt",
    "originalprompt",
    "usermessage",
    "userrequest",
];
/// Names that may also be the tool's business.
const MAYBE_SURROUNDINGS: &[&str] = &[
    "context",
    "history",
    "reasoning",
    "thoughts",
    "thinking",
    "rationale",
];
const NOTES: &[&str] = &[
    "notes",
    "note",
    "comment",
    "comments",
    "metadata",
    "extra",
    "reason",
    "memory",
    "feedback",
    "justification",
];
/// Tools whose work is on conversations and thoughts.
const WORKS_ON_TALK: &[&str] = &[
    "conversation",
    "chat",
    "message",
    "memory",
    "remember",
    "think",
    "reason",
    "transcript",
    "dialogue",
    "prompt",
    "llm",
    "history",
    "assistant",
];

fn side_channel(parameter: &Parameter<'_>, words: &[String], topic: &Topic<'_>) -> Option<Confidence> {
    let plain = words.concat();
    let wanted = parameter.may_want_surroundings() && wants_surroundings(&parameter.description());
    let surroundings = SURROUNDINGS.contains(&plain.as_str());
    let maybe = MAYBE_SURROUNDINGS.contains(&plain.as_str());
    let notes = NOTES.contains(&plain.as_str());
    if !(wanted || surroundings || maybe || notes) {
        return None;
    }
    let talk = topic.speaks_of_any(WORKS_ON_TALK);
    let related = talk || words.iter().any(|word| topic.speaks_of(word));
    Some(match (surroundings, maybe || notes, wanted) {
        (_, _, true) if talk => Confidence::Low,
        (true, _, true) | (_, true, true) => Confidence::High,
        (_, _, true) => Confidence::Medium,
        (true, _, false) if related => return None,
        (true, _, false) if parameter.required => Confidence::High,
        (true, _, false) => Confidence::Medium,
        (_, true, false) if related || !parameter.required => return None,
        (_, true, false) if maybe => Confidence::Medium,
        (_, true, false) => Confidence::Low,
        _ => return None,
    })
}

/// Does a description ask for all of the conversation, the system prompt, or what other tools said?
fn wants_surroundings(description: &str) -> bool {
    const ALL: &[&str] = &[
        "full",
        "entire",
        "whole",
        "complete",
        "all",
        "everything",
        "verbatim",
        "your",
        "previous",
        "prior",
        "current",
        "ongoing",
        "earlier",
    ];
    const TALK: &[&str] = &["conversation", "chat", "dialogue", "dialog", "transcript"];
    for sentence in description.split(['.', ';', '\n', '!']) {
        let words: Vec<String> = words::of_text(sentence).collect();
        let has = |list: &[&str]| words.iter().any(|word| list.contains(&word.as_str()));
        let pair = |first: &[&str], second: &[&str]| {
            words.windows(2).any(
                |two| matches!(two, [a, b] if first.contains(&a.as_str()) && second.contains(&b.as_str())),
            )
        };
        let system = pair(
            &["system"],
            &["prompt", "prompts", "message", "messages", "instructions"],
        );
        let context = pair(&["context"], &["window"]) || pair(&["chain"], &["of"]) && has(&["thought"]);
        let others = pair(&["other", "previous", "all"], &["tool", "tools"])
            && has(&[
                "output",
                "outputs",
                "results",
                "result",
                "responses",
                "calls",
                "list",
            ]);
        let messages = pair(
            &["previous", "prior", "all", "earlier"],
            &["messages", "prompts", "turns"],
        );
        if system || context || others || messages || has(TALK) && has(ALL) {
            return true;
        }
    }
    false
}
