//! The examples of a spec, run in the caged engine.

use bmm_cage::Launcher;
use bmm_runner::engine::{CagedEngine, EngineLimits};
use bmm_runner::examples::{self, ExampleFailure, ExampleReport};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::support::*;

pub(crate) fn cases(launcher: &Launcher) -> Vec<Trial> {
    let of = |run: fn(Launcher) -> std::pin::Pin<Box<dyn Future<Output = ()>>>| {
        let launcher = launcher.clone();
        move || run(launcher)
    };
    vec![
        case(
            "the_examples_of_the_example_specs_hold",
            of(|launcher| Box::pin(hold(launcher))),
        ),
        case(
            "an_example_that_does_not_hold_says_why",
            of(|launcher| Box::pin(say_why(launcher))),
        ),
        case(
            "a_recorded_fetch_is_checked_like_a_real_one",
            of(|launcher| Box::pin(checked(launcher))),
        ),
        case(
            "recordings_of_one_request_are_given_in_order_and_once",
            of(|launcher| Box::pin(in_order(launcher))),
        ),
    ]
}

async fn run(launcher: &Launcher, bytes: &[u8]) -> Vec<ExampleReport> {
    let (valid, _) = bmm_spec::admit(bytes).unwrap_or_else(|problems| panic!("{problems}"));
    let spec = valid.spec().clone();
    let compiled = valid.compile().unwrap();
    let engine = CagedEngine::new(launcher, &compiled, EngineLimits::default()).unwrap();
    examples::run(&spec, &compiled, &engine).await.unwrap()
}

/// The outcome of the one example of a tool with this code.
async fn outcome(launcher: &Launcher, code: &str, example: Value) -> Result<(), ExampleFailure> {
    let mut tool = tool("one");
    tool["implementation"] = json!(format!("export default async (input, ctx) => {{ {code} }}"));
    tool["examples"] = json!([example]);
    let spec = json!({
        "bmm": 1, "slug": "one", "name": "One", "description": "One tool, which talks to one host with a key.", "tools": [tool],
        "allowedDomains": ["api.example.com", "other.example.com"],
        "requiredSecrets": [{
            "name": "API_KEY", "description": "A key.", "howToGetUrl": "https://api.example.com/keys", "domains": ["api.example.com"],
        }],
    });
    let mut reports = run(launcher, spec.to_string().as_bytes()).await;
    assert_eq!((reports.len(), reports[0].example.as_str()), (1, "example 1"));
    reports.remove(0).outcome
}

async fn hold(launcher: Launcher) {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/specs");
    let mut run_examples = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        for report in run(&launcher, &std::fs::read(&path).unwrap()).await {
            let ExampleReport {
                tool,
                example,
                outcome,
                ..
            } = report;
            assert!(
                outcome.is_ok(),
                "{} {tool} {example}: {outcome:?}",
                path.display()
            );
            run_examples += 1;
        }
    }
    assert!(run_examples > 10, "{run_examples} examples");
}

async fn say_why(launcher: Launcher) {
    let of = async |code: &str, example: Value| outcome(&launcher, code, example).await;
    let plain = json!({"input": {}, "output": {"n": 1}});
    assert!(matches!(of("return { n: 1.0 }", plain.clone()).await, Ok(())));
    assert!(matches!(
        of("return { n: 2 }", plain.clone()).await,
        Err(ExampleFailure::Output { found, .. }) if *found == json!({"n": 2})
    ));
    assert!(matches!(
        of("return { n: 1, m: 1 }", plain.clone()).await,
        Err(ExampleFailure::Output { .. })
    ));
    assert!(matches!(
        of("throw new Error('no such city')", plain).await,
        Err(ExampleFailure::Failed { message }) if message.contains("no such city")
    ));
    let error = json!({"input": {}, "error": "no such city"});
    assert!(matches!(
        of("throw new Error('no such city')", error.clone()).await,
        Ok(())
    ));
    assert!(matches!(
        of("throw new Error('other')", error.clone()).await,
        Err(ExampleFailure::Failed { .. })
    ));
    assert!(matches!(
        of("return 1", error).await,
        Err(ExampleFailure::NoError { found, .. }) if found == json!(1)
    ));
    // Nothing expected: anything but a failure will do.
    assert!(matches!(of("return 1", json!({"input": {}})).await, Ok(())));
}

const FETCH: &str = "const r = await ctx.fetch(HOST + '/a', { headers: { authorization: `Bearer ${ctx.secrets.API_KEY}` } }); return r.status";

async fn checked(launcher: Launcher) {
    let of = async |host: &str, recorded: &str| {
        let example =
            json!({"input": {}, "output": 201, "fetches": [{"url": format!("{recorded}/a"), "status": 201}]});
        // Admission refuses a secret that it sees go to another host; this one is only known at run time.
        let host = format!("'{host}'").replace("other.", "other' + (0).toFixed(0).slice(1) + '.");
        outcome(&launcher, &FETCH.replace("HOST", &host), example).await
    };
    let ours = "https://api.example.com";
    assert!(matches!(of(ours, ours).await, Ok(())));
    // Allowed, but not for this secret: no recording helps.
    let other = "https://other.example.com";
    let refused = of(other, other).await;
    assert!(
        matches!(&refused, Err(ExampleFailure::Failed { message }) if message.contains("API_KEY")),
        "{refused:?}"
    );
    let missing = of(ours, other).await;
    assert!(
        matches!(&missing, Err(ExampleFailure::NotRecorded { requests }) if *requests == ["GET https://api.example.com/a"]),
        "{missing:?}"
    );
    // Code that swallows the error does not make it unseen.
    let swallowed = outcome(
        &launcher,
        "try { await ctx.fetch('https://api.example.com/') } catch {} return 1",
        json!({"input": {}, "output": 1}),
    )
    .await;
    assert!(
        matches!(swallowed, Err(ExampleFailure::NotRecorded { .. })),
        "{swallowed:?}"
    );
}

async fn in_order(launcher: Launcher) {
    let code = "const all = []; for (let i = 0; i < input.text.length; i++) { const r = await ctx.fetch('https://api.example.com/p', { method: 'POST', body: '1' }); all.push(await r.json()) } return all";
    let fetches = json!([
        {"method": "POST", "url": "https://api.example.com/p", "body": {"page": 1}},
        {"method": "POST", "url": "https://api.example.com/p", "body": {"page": 2}},
    ]);
    let with = |text: &str| json!({"input": {"text": text}, "output": [{"page": 1}, {"page": 2}], "fetches": fetches});
    assert!(matches!(outcome(&launcher, code, with("ab")).await, Ok(())));
    assert!(matches!(
        outcome(&launcher, code, with("abc")).await,
        Err(ExampleFailure::NotRecorded { .. })
    ));
    let unused = outcome(
        &launcher,
        code,
        json!({"input": {"text": "a"}, "output": [{"page": 1}], "fetches": fetches}),
    )
    .await;
    assert!(
        matches!(&unused, Err(ExampleFailure::NotFetched { requests }) if *requests == ["POST https://api.example.com/p"]),
        "{unused:?}"
    );
}
