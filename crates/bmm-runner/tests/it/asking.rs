//! Tools that ask the client something: forms, turns of the model, roots.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use bmm_runner::engine::{EngineLimits, InProcessEngine, QuestionKind, ToolFailure};
use bmm_runner::{Runner, RunnerLimits, RunnerService, Secrets};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::support::*;

pub(crate) fn cases() -> Vec<Trial> {
    vec![
        case("a_tool_asks_the_person_in_the_middle_of_a_call", form),
        case(
            "questions_that_do_not_wait_for_each_other_are_put_together",
            together,
        ),
        case("what_a_tool_said_before_it_asked_is_said_once", said_once),
        case("a_client_that_cannot_be_asked_is_not_asked", not_able),
        case("a_client_that_does_not_answer_is_waited_for_so_long", no_answer),
        case("a_call_cancelled_while_it_waits_runs_no_more", cancelled),
        case("a_client_that_refuses_is_told_of_in_the_tool", refused),
        case("an_answer_that_is_none_ends_the_call", wrong_answer),
        case(
            "a_tool_that_asks_something_else_with_the_answer_is_told_so",
            other_question,
        ),
        case(
            "questions_are_counted_and_bounded_and_must_be_well_formed",
            bounds,
        ),
        case("nobody_waiting_for_a_person_holds_a_worker", no_worker_waits),
        case("a_tool_that_finishes_without_its_answers_is_done", unheard),
        case("a_question_holds_no_secret_and_asks_for_none", no_secrets),
    ]
}

/// A spec of one tool `ask` with this body.
pub(crate) fn asking(body: &str) -> Runner {
    asking_with(body, json!({}))
}

pub(crate) fn asking_with(body: &str, more: Value) -> Runner {
    let mut ask = tool("ask");
    ask["implementation"] = json!(format!("export default async (input, ctx) => {{ {body} }}"));
    let spec = spec(json!([ask]), more);
    let limits = EngineLimits::default();
    let engine = InProcessEngine::insecure_in_process(&spec, limits).unwrap();
    guarded(spec, engine)
}

pub(crate) const NAME: &str = "{ message: 'Who are you?', schema: { type: 'object', properties: { name: { type: 'string' } }, required: ['name'] } }";

pub(crate) fn everything() -> Value {
    json!({"elicitation": {}, "sampling": {}, "roots": {}})
}

fn accept(content: Value) -> Value {
    json!({"result": {"action": "accept", "content": content}})
}

/// A session of 2025-11-25 whose client can do `able`.
async fn able_session(service: &RunnerService, able: Value) -> String {
    let mut initialize = initialize();
    initialize["params"]["capabilities"] = able;
    let answer = send(service, post(Some(ANN), &initialize)).await;
    let id = answer.header("mcp-session-id").to_owned();
    let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    send(service, legacy(ANN, &id, &initialized)).await;
    id
}

/// Calls `ask` in a session and lets `answer` answer what the server asks meanwhile (`None`: not at all). All messages, the result last.
async fn call(service: &RunnerService, id: &str, answer: impl Fn(&Value) -> Option<Value>) -> Vec<Value> {
    let call = request(
        7,
        "tools/call",
        json!({"name": "ask", "arguments": {}, "_meta": {"progressToken": 1}}),
    );
    let mut http = legacy(ANN, id, &call).body(Full::default()).unwrap();
    *http.body_mut() = Full::new(Bytes::from(call.to_string()));
    let mut body = service.clone().oneshot(http).await.unwrap().into_body();
    let (mut text, mut messages) = (String::new(), Vec::new());
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.unwrap().into_data() else {
            continue;
        };
        text.push_str(std::str::from_utf8(&data).unwrap());
        while let Some((event, rest)) = text.split_once("\n\n") {
            let data = event.lines().find_map(|line| line.strip_prefix("data:"));
            let message: Option<Value> = data.and_then(|data| serde_json::from_str(data).ok());
            text = rest.to_owned();
            let Some(message) = message else { continue };
            let is_request = message.get("id").is_some() && message.get("method").is_some();
            if let Some(mut answer) = is_request.then(|| answer(&message)).flatten() {
                answer["jsonrpc"] = json!("2.0");
                answer["id"] = message["id"].clone();
                let answered = send(service, legacy(ANN, id, &answer)).await;
                assert_eq!(answered.status, http::StatusCode::ACCEPTED, "{answered:?}");
            }
            messages.push(message);
        }
    }
    messages
}

/// The methods of what came, and the text of the result.
fn outline(messages: &[Value]) -> (Vec<&str>, &str, bool) {
    let methods = messages
        .iter()
        .filter_map(|message| message["method"].as_str())
        .collect();
    let result = &messages.last().unwrap()["result"];
    let text = result["content"][0]["text"].as_str().unwrap_or_default();
    (methods, text, result["isError"] == true)
}

async fn form() {
    let body = format!("const a = await ctx.elicit({NAME}); return `${{a.action}} ${{a.content?.name}}`;");
    let service = asking(&body).into_service();
    let id = able_session(&service, everything()).await;
    let messages = call(&service, &id, |_| Some(accept(json!({"name": "Ann"})))).await;
    assert_eq!(
        outline(&messages),
        (vec!["elicitation/create"], "accept Ann", false)
    );
    let params = &messages[0]["params"];
    assert_eq!(params["mode"], "form");
    assert_eq!(params["message"], "Who are you?");
    assert_eq!(params["requestedSchema"]["properties"]["name"]["type"], "string");
    assert_eq!(params["requestedSchema"]["required"], json!(["name"]));

    for action in ["decline", "cancel"] {
        let answer = json!({"result": {"action": action, "content": {"name": "not to be seen"}}});
        let messages = call(&service, &id, |_| Some(answer.clone())).await;
        assert_eq!(outline(&messages).1, format!("{action} undefined"));
    }
}

async fn together() {
    let body = format!(
        "const [name, said, roots] = await Promise.all([ctx.elicit({NAME}), ctx.sample({{ messages: [{{ role: 'user', content: {{ type: \
         'text', text: 'Greet.' }} }}], maxTokens: 50 }}), ctx.roots()]); return `${{said.content.text}}, ${{name.content.name}} in \
         ${{roots[0].uri}} by ${{said.model}}`;"
    );
    let service = asking(&body).into_service();
    let id = able_session(&service, everything()).await;
    let messages = call(&service, &id, |asked| {
        Some(match asked["method"].as_str().unwrap() {
            "elicitation/create" => accept(json!({"name": "Ann"})),
            "roots/list" => json!({"result": {"roots": [{"uri": "file:///home"}]}}),
            "sampling/createMessage" => {
                assert_eq!(asked["params"]["maxTokens"], 50);
                json!({"result": {"role": "assistant", "content": {"type": "text", "text": "Hello"}, "model": "m"}})
            }
            other => panic!("{other}"),
        })
    })
    .await;
    let (mut methods, text, _) = outline(&messages);
    methods.sort_unstable();
    assert_eq!(
        methods,
        ["elicitation/create", "roots/list", "sampling/createMessage"]
    );
    assert_eq!(text, "Hello, Ann in file:///home by m");
}

async fn said_once() {
    let body = format!(
        "ctx.progress(1); await ctx.elicit({NAME}); ctx.progress(2); await ctx.elicit({{ message: 'Sure?' }}); ctx.progress(3); return 'done';"
    );
    let service = asking(&body).into_service();
    let id = able_session(&service, everything()).await;
    let messages = call(&service, &id, |asked| {
        let is_first = asked["params"]["message"] == "Who are you?";
        Some(accept(if is_first {
            json!({"name": "Ann"})
        } else {
            json!({})
        }))
    })
    .await;
    let progress: Vec<_> = messages
        .iter()
        .filter_map(|message| message["params"]["progress"].as_f64())
        .collect();
    assert_eq!(progress, [1.0, 2.0, 3.0]);
    assert_eq!(outline(&messages).1, "done");
}

async fn not_able() {
    let ask_all = format!(
        "const asked = await Promise.allSettled([ctx.elicit({NAME}), ctx.sample({{ messages: [], maxTokens: 1 }}), ctx.roots()]); \
         return asked.map(({{ reason }}) => reason.message).join('; ');"
    );
    let service = asking(&ask_all).into_service();
    let id = able_session(&service, json!({"elicitation": {"url": {}}})).await;
    let messages = call(&service, &id, |_| panic!("it was asked")).await;
    let why = |what| format!("the client cannot be asked: it did not declare {what}");
    let all = ["elicitation of forms", "sampling", "roots"].map(why).join("; ");
    assert_eq!(outline(&messages), (vec![], all.as_str(), false));

    // What the tool does not catch is the tool's error.
    let service = asking(&format!("await ctx.elicit({NAME});")).into_service();
    let id = session(&service, ANN).await;
    let messages = call(&service, &id, |_| panic!("it was asked")).await;
    let (_, text, is_error) = outline(&messages);
    assert!(
        is_error && text.contains("it did not declare elicitation"),
        "{text}"
    );
}

async fn no_answer() {
    let body = format!("try {{ await ctx.elicit({NAME}); }} catch (error) {{ return error.message; }}");
    let mut limits = RunnerLimits::default();
    limits.answer_secs = 1;
    let service = asking(&body).with_limits(limits).into_service();
    let id = able_session(&service, everything()).await;
    let messages = call(&service, &id, |_| None).await;
    assert_eq!(outline(&messages).1, "the client did not answer within 1 s");
}

async fn refused() {
    let body = format!(
        "try {{ await ctx.elicit({NAME}); }} catch (error) {{ return `${{error.name}}: ${{error.message}}`; }}"
    );
    let service = asking(&body).into_service();
    let id = able_session(&service, everything()).await;
    let no = json!({"error": {"code": -1, "message": "not now"}});
    let messages = call(&service, &id, |_| Some(no.clone())).await;
    assert_eq!(outline(&messages).1, "TypeError: the client refused: not now");
}

async fn wrong_answer() {
    let body = format!("try {{ await ctx.elicit({NAME}); }} catch {{}} return 'went on';");
    let service = asking(&body).into_service();
    let id = able_session(&service, everything()).await;
    for (answer, why) in [
        (accept(json!({"name": 7})), "is not of type"),
        (accept(json!({})), "required"),
        (accept(json!("Ann")), "is not of type"),
        (json!({"result": {"roots": []}}), "has not the form"),
        (accept(json!({"name": "x".repeat(70_000)})), "larger than 64 KiB"),
    ] {
        let messages = call(&service, &id, |_| Some(answer.clone())).await;
        let (_, text, is_error) = outline(&messages);
        assert!(is_error && text.contains(why), "{answer}: {text}");
    }
}

async fn other_question() {
    let body = "try { await ctx.elicit({ message: crypto.randomUUID() }); } catch {} return 'went on';";
    let service = asking(body).into_service();
    let id = able_session(&service, everything()).await;
    let messages = call(&service, &id, |_| Some(accept(json!({})))).await;
    let (_, text, is_error) = outline(&messages);
    assert!(
        is_error && text.contains("must not depend on chance or time"),
        "{text}"
    );
}

async fn bounds() {
    for (body, why) in [
        (
            "for (let i = 0; ; i++) await ctx.elicit({ message: `${i}` })",
            "at most 16 questions",
        ),
        (
            "await ctx.elicit({ message: 'x'.repeat(70_000) })",
            "at most 64 KiB",
        ),
        ("await ctx.elicit('x')", "a question is an object"),
        ("await ctx.elicit({})", "a form has a message"),
        (
            "await ctx.elicit({ message: 'x', url: 'https://a.example' })",
            "and no url",
        ),
        (
            "await ctx.elicit({ message: 'x', schema: { type: 'object', properties: { a: { type: 'object' } } } })",
            "the schema of a form",
        ),
        (
            "await ctx.elicit({ message: 'x', key: 'no spaces' })",
            "a key is at most 64",
        ),
        (
            "await Promise.all([1, 2].map(() => ctx.elicit({ message: 'x', key: 'same' })))",
            "two questions have the key same",
        ),
        (
            "await ctx.sample({ messages: [], maxTokens: 1, tools: [] })",
            "has no tools",
        ),
        ("await ctx.sample({ messages: 'x' })", "messages and maxTokens"),
        ("await ctx.roots({ all: true })", "nothing but a key"),
    ] {
        let service = asking(body).into_service();
        let id = able_session(&service, everything()).await;
        let messages = call(&service, &id, |_| Some(accept(json!({})))).await;
        let (_, text, is_error) = outline(&messages);
        assert!(is_error && text.contains(why), "{body}: {text}");
    }
}

async fn no_worker_waits() {
    let mut ask = tool("ask");
    ask["implementation"] = json!(format!(
        "export default async (input, ctx) => {{ await ctx.elicit({NAME}); return 'done'; }}"
    ));
    let spec = spec(json!([ask, tool("echo")]), json!({}));
    let mut limits = EngineLimits::default();
    (limits.workers, limits.queue) = (1, 0);
    let engine = InProcessEngine::insecure_in_process(&spec, limits).unwrap();
    let service = guarded(spec, engine).into_service();
    let id = able_session(&service, everything()).await;
    let meanwhile = Mutex::new(None);
    let messages = call(&service, &id, |_| {
        let service = service.clone();
        let echo = json!({"name": "echo", "arguments": {"text": "hi"}});
        let answered = tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current()
                .block_on(async { send(&service, modern(ANN, "tools/call", echo)).await.json() })
        });
        *meanwhile.lock().unwrap() = Some(answered["result"]["content"][0]["text"].clone());
        Some(accept(json!({"name": "Ann"})))
    })
    .await;
    assert_eq!(outline(&messages).1, "done");
    assert_eq!(meanwhile.into_inner().unwrap(), Some(json!("hi")));
}

async fn unheard() {
    let service = asking(&format!("ctx.elicit({NAME}); return 'did not wait';")).into_service();
    let id = able_session(&service, everything()).await;
    let messages = call(&service, &id, |_| panic!("it was asked")).await;
    assert_eq!(outline(&messages), (vec![], "did not wait", false));
}

async fn no_secrets() {
    let more = json!({
        "allowedDomains": ["api.example.com"],
        "requiredSecrets": [{"name": "SERVICE_WORD", "description": "A word.", "howToGetUrl": "https://api.example.com/keys", "domains": ["api.example.com"]}],
    });
    // A tool cannot see a value; it may have been told one by its caller.
    let body = "await ctx.elicit({ message: 'Is it sesame-open-wide?', schema: { type: 'object', properties: { 'sesame-open-wide': { type: \
                'string', description: 'sesame-open-wide' } } } }); return 'done';";
    let secrets = Secrets::from_iter([("SERVICE_WORD", "sesame-open-wide")]);
    let service = asking_with(body, more).with_secrets(secrets).into_service();
    let id = able_session(&service, everything()).await;
    let messages = call(&service, &id, |_| Some(accept(json!({})))).await;
    assert_eq!(outline(&messages), (vec!["elicitation/create"], "done", false));
    assert!(!messages[0].to_string().contains("sesame"), "{}", messages[0]);

    for name in ["password", "API-key", "github_access_token", "newPassphrase"] {
        let body = format!(
            "await ctx.elicit({{ message: 'x', schema: {{ type: 'object', properties: {{ '{name}': {{ type: 'string' }} }} }} }});"
        );
        let service = asking(&body).into_service();
        let id = able_session(&service, everything()).await;
        let messages = call(&service, &id, |_| panic!("it was asked")).await;
        let (_, text, is_error) = outline(&messages);
        assert!(is_error && text.contains("must not ask for a secret"), "{text}");
    }
}

async fn cancelled() {
    let runs = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&runs);
    let asks = engine(move |_, host: Host| {
        counted.fetch_add(1, Ordering::SeqCst);
        async move {
            match host.ask(QuestionKind::Roots, "{}") {
                Ok(None) => Err(ToolFailure::Asking),
                Ok(Some(_)) => Ok(json!("done")),
                Err(message) => Err(ToolFailure::Thrown { message }),
            }
        }
    });
    let service = guarded(spec(json!([tool("ask")]), json!({})), asks).into_service();
    let id = able_session(&service, everything()).await;
    let (asked, was_asked) = tokio::sync::oneshot::channel();
    let asked = Mutex::new(Some(asked));
    let waiting = tokio::spawn({
        let (service, id) = (service.clone(), id.clone());
        async move {
            call(&service, &id, |question| {
                let asked = asked.lock().unwrap().take();
                let _ = asked.map(|asked| asked.send(question["id"].clone()));
                None
            })
            .await
        }
    });
    let question = was_asked.await.unwrap();
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}});
    send(&service, legacy(ANN, &id, &cancel)).await;
    // Answered in order after the cancellation; then another call, which the answer would have been before.
    let late = json!({"jsonrpc": "2.0", "id": question, "result": {"roots": []}});
    send(&service, legacy(ANN, &id, &late)).await;
    let messages = call(&service, &id, |_| Some(json!({"result": {"roots": []}}))).await;
    assert_eq!(outline(&messages).1, "done");
    assert_eq!(
        runs.load(Ordering::SeqCst),
        3,
        "once for the cancelled call, twice for the other"
    );
    waiting.abort();
}
