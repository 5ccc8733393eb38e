//! Tools that ask clients of 2026-07-28: `input_required`, and the request again with the answers.

use bmm_runner::RunnerService;
use bmm_runner::engine::{EngineLimits, InProcessEngine};
use http::StatusCode;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::asking::{NAME, asking, everything};
use crate::support::*;

pub(crate) fn cases() -> Vec<Trial> {
    vec![
        case("a_call_that_asks_is_made_again_with_the_answers", rounds),
        case("what_a_client_leaves_unanswered_it_is_asked_again", unanswered),
        case("answers_to_questions_with_a_name_may_come_at_once", at_once),
        case("prompts_and_resources_may_ask_too", prompts_and_resources),
        case(
            "a_tool_that_cannot_do_without_a_capability_says_which",
            missing_capability,
        ),
        case("a_changed_request_state_is_refused", tampered),
        case(
            "a_request_state_counts_for_one_principal_tool_and_arguments",
            bound,
        ),
        case(
            "a_request_state_is_worth_nothing_for_another_spec_or_process",
            other_process,
        ),
        case("a_question_that_changes_between_requests_ends_the_call", changed),
        case("an_answer_that_is_none_is_refused_as_a_request", wrong_answer),
        case("no_request_goes_to_a_client_of_2026_07_28", no_requests),
    ]
}

/// One request of a client that can do `able`; the answer's status and message.
async fn ask(
    service: &RunnerService,
    token: &str,
    method: &str,
    able: Value,
    mut params: Value,
) -> (StatusCode, Value) {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": able,
    });
    let answer = send(service, modern_with_meta(token, method, params)).await;
    assert_eq!(answer.messages().len(), 1, "{answer:?}");
    (answer.status, answer.json())
}

/// Calls `ask` of [`asking`] with `more` in the parameters; the result, or the error.
async fn call(service: &RunnerService, more: Value) -> Value {
    let (_, answer) = ask(service, ANN, "tools/call", everything(), with(more)).await;
    answer.get("result").unwrap_or(&answer["error"]).clone()
}

fn with(more: Value) -> Value {
    let mut params = json!({"name": "ask", "arguments": {}});
    for (name, value) in more.as_object().unwrap() {
        params[name] = value.clone();
    }
    params
}

fn accept(content: Value) -> Value {
    json!({"action": "accept", "content": content})
}

fn text(result: &Value) -> &str {
    result["content"][0]["text"]
        .as_str()
        .unwrap_or_else(|| panic!("{result}"))
}

async fn rounds() {
    let body = format!(
        "ctx.log('again'); const {{ content: {{ name }} }} = await ctx.elicit({NAME}); const sure = await ctx.elicit({{ message: `Is it \
         ${{name}}?`, key: 'sure' }}); return `${{name}}: ${{sure.action}}`;"
    );
    let service = asking(&body).into_service();
    let first = call(&service, json!({})).await;
    assert_eq!(first["resultType"], "input_required");
    let asked = &first["inputRequests"]["question-1"];
    assert_eq!(asked["method"], "elicitation/create");
    assert_eq!(asked["params"]["message"], "Who are you?");

    let answers = json!({"question-1": accept(json!({"name": "Ann"}))});
    let second = call(
        &service,
        json!({"requestState": first["requestState"], "inputResponses": answers}),
    )
    .await;
    assert_eq!(second["resultType"], "input_required");
    assert_eq!(second["inputRequests"]["sure"]["params"]["message"], "Is it Ann?");
    assert_eq!(second["inputRequests"].as_object().unwrap().len(), 1);
    assert_ne!(first["requestState"], second["requestState"]);

    // The first answer is in the state; another one to the same question comes too late.
    let answers = json!({"sure": {"action": "decline"}, "question-1": accept(json!({"name": "Ben"}))});
    let last = call(
        &service,
        json!({"requestState": second["requestState"], "inputResponses": answers}),
    )
    .await;
    assert_eq!(
        (text(&last), &last["resultType"]),
        ("Ann: decline", &json!("complete"))
    );
}

async fn unanswered() {
    let body = format!(
        "const all = await Promise.all([ctx.elicit({NAME}), ctx.roots({{ key: 'roots' }})]); return all[1][0].uri;"
    );
    let service = asking(&body).into_service();
    let first = call(&service, json!({})).await;
    assert_eq!(first["inputRequests"]["roots"], json!({"method": "roots/list"}));
    let answers = json!({"question-1": accept(json!({"name": "Ann"})), "nobody-asked": 7});
    let second = call(
        &service,
        json!({"requestState": first["requestState"], "inputResponses": answers}),
    )
    .await;
    assert_eq!(
        second["inputRequests"],
        json!({"roots": {"method": "roots/list"}})
    );
    let answers = json!({"roots": {"roots": [{"uri": "file:///home"}]}});
    let last = call(
        &service,
        json!({"requestState": second["requestState"], "inputResponses": answers}),
    )
    .await;
    assert_eq!(text(&last), "file:///home");
}

async fn at_once() {
    let body = "const { action } = await ctx.elicit({ message: 'Sure?', key: 'sure' }); return action;";
    let service = asking(body).into_service();
    let answered = call(
        &service,
        json!({"inputResponses": {"sure": {"action": "accept"}, "other": {}}}),
    )
    .await;
    assert_eq!(text(&answered), "accept");
    let asked = call(
        &service,
        json!({"inputResponses": {"wrong": {"action": "accept"}}}),
    )
    .await;
    assert_eq!(asked["resultType"], "input_required");

    // What has no name of its own could be any question.
    let service =
        asking("const { action } = await ctx.elicit({ message: 'Sure?' }); return action;").into_service();
    let asked = call(
        &service,
        json!({"inputResponses": {"question-1": {"action": "accept"}}}),
    )
    .await;
    assert_eq!(asked["resultType"], "input_required");
}

async fn prompts_and_resources() {
    let code = "export default async (input, ctx) => `hello ${(await ctx.elicit({ message: 'Who?', key: 'who', schema: { type: 'object', \
                properties: { name: { type: 'string' } } } })).content.name}`;";
    let more = json!({
        "resources": [{"uri": "notes://who", "name": "who", "implementation": code}],
        "prompts": [{"name": "greet", "implementation": code}],
    });
    let spec = spec(json!([tool("echo")]), more);
    let engine = InProcessEngine::insecure_in_process(&spec, EngineLimits::default()).unwrap();
    let service = guarded(spec, engine).into_service();
    let mut states = Vec::new();
    for (method, mut params) in [
        ("resources/read", json!({"uri": "notes://who"})),
        ("prompts/get", json!({"name": "greet"})),
    ] {
        let (_, first) = ask(&service, ANN, method, everything(), params.clone()).await;
        assert_eq!(first["result"]["resultType"], "input_required", "{first}");
        params["requestState"] = first["result"]["requestState"].clone();
        params["inputResponses"] = json!({"who": accept(json!({"name": "Ann"}))});
        let (_, last) = ask(&service, ANN, method, everything(), params.clone()).await;
        assert!(last["result"].to_string().contains("hello Ann"), "{last}");
        states.push((method, params));
    }
    // Nor does a state of the one count for the other.
    let [(_, read), (_, get)] = states.as_slice() else {
        panic!()
    };
    let mut get = get.clone();
    get["requestState"] = read["requestState"].clone();
    let (_, refused) = ask(&service, ANN, "prompts/get", everything(), get).await;
    assert_eq!(refused["error"]["code"], -32602);
}

async fn missing_capability() {
    let sample = "ctx.sample({ messages: [], maxTokens: 1 })";
    let service = asking(&format!("await {sample};")).into_service();
    let (status, answer) = ask(
        &service,
        ANN,
        "tools/call",
        json!({"elicitation": {}}),
        with(json!({})),
    )
    .await;
    assert_eq!(
        (status, &answer["error"]["code"]),
        (StatusCode::BAD_REQUEST, &json!(-32021))
    );
    assert_eq!(
        answer["error"]["data"]["requiredCapabilities"],
        json!({"sampling": {}})
    );

    // A tool that can do without goes on, and asks what it can.
    let body = format!(
        "const asked = await Promise.allSettled([{sample}, ctx.elicit({NAME})]); return asked[0].reason.message;"
    );
    let service = asking(&body).into_service();
    let (_, answer) = ask(
        &service,
        ANN,
        "tools/call",
        json!({"elicitation": {}}),
        with(json!({})),
    )
    .await;
    let asked: Vec<_> = answer["result"]["inputRequests"]
        .as_object()
        .unwrap()
        .keys()
        .collect();
    assert_eq!(asked, ["question-2"]);
    let (_, answer) = ask(&service, ANN, "tools/call", json!({}), with(json!({}))).await;
    assert_eq!(
        text(&answer["result"]),
        "the client cannot be asked: it did not declare sampling"
    );
    // An error of its own is one.
    let service = asking(&format!(
        "await {sample}.catch(() => {{}}); throw new Error('own');"
    ))
    .into_service();
    let (_, answer) = ask(&service, ANN, "tools/call", json!({}), with(json!({}))).await;
    assert!(text(&answer["result"]).starts_with("Error: own"));
}

async fn tampered() {
    let service = asking(&format!("await ctx.elicit({NAME}); return 'done';")).into_service();
    let state = call(&service, json!({})).await["requestState"]
        .as_str()
        .unwrap()
        .to_owned();
    let answers = json!({"question-1": accept(json!({"name": "Ann"}))});
    let (body, tag) = state.split_once('.').unwrap();
    let mut other = body.to_owned().into_bytes();
    let last = other.last_mut().unwrap();
    *last = if *last == b'A' { b'B' } else { b'A' };
    let other = String::from_utf8(other).unwrap();
    for state in [
        format!("{state}-TAMPERED"),
        format!("{other}.{tag}"),
        format!("{body}."),
        body.to_owned(),
        String::new(),
        "x".repeat(300_000),
    ] {
        let refused = call(
            &service,
            json!({"requestState": state, "inputResponses": answers}),
        )
        .await;
        assert_eq!(refused["code"], -32602, "{refused}");
        assert!(
            refused["message"]
                .as_str()
                .unwrap()
                .contains("not one that this server gave"),
            "{refused}"
        );
    }
    assert_eq!(
        text(
            &call(
                &service,
                json!({"requestState": state, "inputResponses": answers})
            )
            .await
        ),
        "done"
    );
}

async fn bound() {
    let mut asks = tool("ask");
    asks["implementation"] = json!(format!(
        "export default async (input, ctx) => {{ await ctx.elicit({NAME}); return 'done'; }}"
    ));
    let mut other = asks.clone();
    other["name"] = json!("other");
    let spec = spec(json!([asks, other]), json!({}));
    let engine = InProcessEngine::insecure_in_process(&spec, EngineLimits::default()).unwrap();
    let service = guarded(spec, engine).into_service();
    let arguments = json!({"text": "pay 10"});
    let (_, first) = ask(
        &service,
        ANN,
        "tools/call",
        everything(),
        with(json!({"arguments": arguments})),
    )
    .await;
    let answered = with(json!({
        "arguments": arguments, "requestState": first["result"]["requestState"],
        "inputResponses": {"question-1": accept(json!({"name": "Ann"}))},
    }));
    let changed = |name: &str, value: Value| {
        let mut params = answered.clone();
        params[name] = value;
        params
    };
    for (who, token, params) in [
        ("another user", BEN, answered.clone()),
        ("another client", "ann.other.mcp_read", answered.clone()),
        ("another tool", ANN, changed("name", json!("other"))),
        (
            "other arguments",
            ANN,
            changed("arguments", json!({"text": "pay 1000"})),
        ),
    ] {
        let (_, refused) = ask(&service, token, "tools/call", everything(), params).await;
        assert_eq!(refused["error"]["code"], -32602, "{who}: {refused}");
    }
    let (_, done) = ask(&service, ANN, "tools/call", everything(), answered).await;
    assert_eq!(text(&done["result"]), "done");
}

async fn other_process() {
    let body = format!("await ctx.elicit({NAME}); return 'done';");
    let (one, two) = (asking(&body).into_service(), asking(&body).into_service());
    let state = call(&one, json!({})).await["requestState"].clone();
    let answers = json!({"question-1": accept(json!({"name": "Ann"}))});
    let refused = call(&two, json!({"requestState": state, "inputResponses": answers})).await;
    assert_eq!(refused["code"], -32602);

    let (service, reloader) = asking(&body).into_reloadable_service();
    let state = call(&service, json!({})).await["requestState"].clone();
    reloader.replace(asking(&format!("{body} /* edited */")));
    let refused = call(
        &service,
        json!({"requestState": state, "inputResponses": answers}),
    )
    .await;
    assert_eq!(refused["code"], -32602);
}

async fn changed() {
    let service =
        asking("try { await ctx.elicit({ message: crypto.randomUUID() }); } catch {} return 'went on';")
            .into_service();
    let state = call(&service, json!({})).await["requestState"].clone();
    let answers = json!({"question-1": accept(json!({}))});
    let failed = call(
        &service,
        json!({"requestState": state, "inputResponses": answers}),
    )
    .await;
    assert_eq!(failed["isError"], true);
    assert!(
        text(&failed).contains("must not depend on chance or time"),
        "{failed}"
    );
}

async fn wrong_answer() {
    let service = asking(&format!(
        "await ctx.elicit({{ ...{NAME}, key: 'name' }}); return 'done';"
    ))
    .into_service();
    for answer in [
        json!(12345),
        json!({}),
        accept(json!({"name": 7})),
        accept(json!({"name": "x".repeat(70_000)})),
    ] {
        let refused = call(&service, json!({"inputResponses": {"name": answer}})).await;
        assert_eq!(refused["code"], -32602, "{refused}");
    }
}

async fn no_requests() {
    // `ask` above sees that there is one message; what it asks for stands in the result.
    let service = asking(&format!("ctx.progress(1); await ctx.elicit({NAME});")).into_service();
    assert_eq!(call(&service, json!({})).await["resultType"], "input_required");
}
