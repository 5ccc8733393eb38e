//! Code that other people wrote for another host: the 5,204 actions of NangoHQ/integration-templates, each in a fresh context of its
//! own, against the requests and answers that its authors recorded. Run by hand:
//!
//! ```text
//! npm install zod@4.3.6 esbuild
//! echo "export * from 'zod'" | npx esbuild --bundle --minify --format=iife --global-name=zod --outfile=zod.js
//! BMM_TEST_INTEGRATIONS=<checkout>/integrations BMM_TEST_ZOD=zod.js cargo test -p bmm-runner --test it -- compat --nocapture
//! ```

mod source;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bmm_cage::Launcher;
use bmm_runner::engine::{
    CagedEngine, EngineLimits, FetchRequest, FetchResponse, LogLevel, ToolCall, ToolEngine, ToolFailure,
    ToolHost,
};
use bmm_spec::{Rule, Severity, Spec};
use futures_util::future::BoxFuture;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::specs::spec_of;
use source::Action;

pub(crate) fn cases(launcher: &Launcher) -> Vec<Trial> {
    let launcher = launcher.clone();
    // By hand, since it needs a checkout of other people's code: see the head of this file.
    let [Some(integrations), Some(zod)] = ["BMM_TEST_INTEGRATIONS", "BMM_TEST_ZOD"].map(std::env::var_os)
    else {
        return Vec::new();
    };
    let name = "compat::code_written_for_another_host_compiles_and_runs";
    vec![Trial::test(name, move || {
        code_written_for_another_host_compiles_and_runs(&launcher, Path::new(&integrations), Path::new(&zod));
        Ok(())
    })]
}

/// How many actions one engine gets: each carries the library with it.
const BATCH: usize = 32;
/// The library `nango`, for `ctx.modules`.
const SHIM: &str = include_str!("nango.js");

fn code_written_for_another_host_compiles_and_runs(launcher: &Launcher, integrations: &Path, zod: &Path) {
    let zod = std::fs::read_to_string(zod).expect("the library");
    let mut tally = Tally::default();
    let mut ready = Vec::new();
    for file in actions(integrations) {
        tally.count("actions");
        let name = file
            .strip_prefix(integrations)
            .expect("below")
            .display()
            .to_string();
        match Candidate::new(&file) {
            Ok(candidate) => {
                tally.count("compiled by bmm-spec");
                ready.push((name, candidate));
            }
            Err(why) => tally.note(&format!("not compiled by bmm-spec: {why}"), &name),
        }
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    for batch in ready.chunks(BATCH) {
        let modules: Vec<String> = batch
            .iter()
            .map(|(_, candidate)| candidate.module(&zod))
            .collect();
        let mut limits = EngineLimits::default();
        limits.workers = 1;
        let engine = CagedEngine::new(launcher, &spec_of(&modules), limits).expect("the engine starts");
        for (tool, (name, candidate)) in batch.iter().enumerate() {
            let call = ToolCall {
                tool,
                input: candidate.input(),
            };
            let outcome = runtime.block_on(engine.call(call, candidate.host()));
            tally.outcome(name, candidate, outcome.map(|output| output.value));
        }
    }
    tally.print();
    let (of, ran) = (tally.of("only offered globals, recorded"), tally.of("ran"));
    assert_eq!(tally.of("compiled by the engine"), tally.of("actions"));
    assert!(ran * 100 >= of * 95, "{ran} of {of} ran");
}

fn actions(integrations: &Path) -> Vec<PathBuf> {
    let below = |folder: &Path| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        paths.sort();
        paths
    };
    below(integrations)
        .iter()
        .flat_map(|integration| below(&integration.join("actions")))
        .filter(|file| file.extension().is_some_and(|extension| extension == "ts"))
        .collect()
}

/// An action that bmm-spec has compiled.
struct Candidate {
    /// One function expression.
    code: String,
    /// What it uses that is not offered: libraries, globals, what the scanner refuses.
    missing: Vec<String>,
    recording: Option<Value>,
}

impl Candidate {
    fn new(file: &Path) -> Result<Self, String> {
        let action = Action::read(file);
        let spec = json!({
            "bmm": 1, "slug": "compat", "name": "Compat", "description": "Code that was written for another host.",
            "allowedDomains": ["api.example.com"],
            "tools": [{
                "name": "action", "description": "An action of an integration.", "inputSchema": { "type": "object" },
                "implementation": action.module,
            }],
        });
        let spec = Spec::parse(spec.to_string().as_bytes()).map_err(|problems| problems.to_string())?;
        let mut report = bmm_spec::scan(&spec);
        let mut missing = action.missing;
        for finding in report.findings.drain(..) {
            // That it would not be admitted counts against it; whether it compiles is asked all the same.
            if finding.rule == Rule::UnknownGlobal || finding.severity >= Severity::High {
                missing.push(format!("{} {}", finding.rule, finding.message));
            }
        }
        let compiled = spec
            .validate(&report)
            .and_then(bmm_spec::ValidSpec::compile)
            .map_err(|problems| problems.to_string())?;
        let code = compiled.tools[0].code.trim_start();
        let code = code
            .strip_prefix("export default ")
            .expect("one function is exported");
        Ok(Self {
            code: code.to_owned(),
            missing,
            recording: recording(file),
        })
    }

    /// The action with its libraries, which stand behind it so that lines in errors stay its own.
    fn module(&self, zod: &str) -> String {
        let code = &self.code;
        let modules = "modules: { nango: nangoLibrary, zod }";
        format!(
            "const tool = {code}\n{zod}\n{SHIM}\nexport default (input, ctx) => tool(input, {{ ...ctx, {modules} }});\n"
        )
    }

    fn input(&self) -> Value {
        let recording = self.recording.as_ref().unwrap_or(&Value::Null);
        json!({
            "input": recording.get("input").unwrap_or(&json!({})),
            "connection": recording.pointer("/nango/getConnection").unwrap_or(&json!({})),
            "metadata": recording.pointer("/nango/getMetadata").unwrap_or(&json!({})),
        })
    }

    fn host(&self) -> Arc<dyn ToolHost> {
        let api = self.recording.as_ref().and_then(|recording| recording.get("api"));
        Arc::new(Recorded(api.cloned().unwrap_or_default()))
    }
}

/// What the authors recorded for their own tests, beside the action.
fn recording(file: &Path) -> Option<Value> {
    let name = file.file_stem()?.to_str()?;
    let tests = file.parent()?.parent()?.join("tests");
    let recorded = std::fs::read(tests.join(format!("{name}.test.json"))).ok()?;
    let recorded: Value = serde_json::from_slice(&recorded).ok()?;
    recorded.get("output")?;
    Some(recorded)
}

/// Answers requests as they were answered when the recording was made.
struct Recorded(Value);

impl Recorded {
    fn answer(&self, request: &Value) -> Option<&Value> {
        let endpoint = request["endpoint"].as_str()?.trim_start_matches('/');
        let answers = self.0.get(request["method"].as_str()?)?;
        // A query that the action wrote itself is not part of the recording's name.
        let path = endpoint.split('?').next()?;
        let answers = [endpoint, path]
            .iter()
            .find_map(|name| answers.get(name).or_else(|| answers.get(format!("/{name}"))))?;
        let Some(list) = answers.as_array() else {
            return Some(answers);
        };
        let same = |answer: &&Value| {
            let asked = |part: &str| answer.pointer(&format!("/request/{part}")).map(texts);
            asked("params").is_none_or(|params| params == texts(&request["params"]))
                && asked("data").is_none_or(|data| data == texts(&request["data"]))
        };
        list.iter().find(same).or(list.first())
    }
}

/// The values as text, whatever the order: parameters are recorded as the client saw them, not as they were sent.
fn texts(value: &Value) -> BTreeMap<String, String> {
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match value {
        Value::Object(map) => map
            .iter()
            .map(|(name, value)| (name.clone(), plain(value)))
            .collect(),
        Value::Null => BTreeMap::new(),
        other => BTreeMap::from([(String::new(), plain(other))]),
    }
}

impl ToolHost for Recorded {
    fn fetch(&self, request: FetchRequest) -> BoxFuture<'_, Result<FetchResponse, String>> {
        let asked: Value = serde_json::from_slice(&request.body.unwrap_or_default()).unwrap_or_default();
        let response = match self.answer(&asked) {
            Some(answer) => {
                let headers = answer
                    .get("headers")
                    .and_then(Value::as_object)
                    .into_iter()
                    .flatten();
                FetchResponse {
                    status: answer
                        .get("status")
                        .and_then(Value::as_u64)
                        .map_or(200, |status| status as u16),
                    url: request.url,
                    headers: headers
                        .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
                        .collect(),
                    body: json!({ "data": answer.get("response") }).to_string().into(),
                }
            }
            None => FetchResponse {
                status: 599,
                url: request.url,
                headers: Vec::new(),
                body: "nothing was recorded for this request".into(),
            },
        };
        Box::pin(async move { Ok(response) })
    }

    fn log(&self, _: LogLevel, _: &str) {}
    fn progress(&self, _: f64, _: Option<f64>, _: Option<&str>) {}
    fn basic_auth(&self, _: &str, _: &str) -> Result<String, String> {
        Err("there are no secrets here".to_owned())
    }
    fn hmac(&self, _: &str, _: &str, _: &[u8]) -> Result<String, String> {
        Err("there are no secrets here".to_owned())
    }
    fn secret_handle(&self, _: &str) -> Option<String> {
        None
    }
}

/// Counts, with the names of what is not as it should be.
#[derive(Default)]
struct Tally {
    counts: BTreeMap<String, usize>,
    notes: BTreeMap<String, Vec<String>>,
}

impl Tally {
    fn count(&mut self, what: &str) {
        *self.counts.entry(what.to_owned()).or_default() += 1;
    }

    fn of(&self, what: &str) -> usize {
        self.counts.get(what).copied().unwrap_or_default()
    }

    fn note(&mut self, what: &str, name: &str) {
        self.notes
            .entry(what.to_owned())
            .or_default()
            .push(name.to_owned());
    }

    fn outcome(&mut self, name: &str, candidate: &Candidate, outcome: Result<Value, ToolFailure>) {
        if let Err(failure @ ToolFailure::NotLoadable { .. }) = &outcome {
            return self.note(&format!("not compiled by the engine: {failure}"), name);
        }
        self.count("compiled by the engine");
        if !candidate.missing.is_empty() {
            return self.note(
                &format!("uses what is not offered: {}", candidate.missing.join(", ")),
                name,
            );
        }
        self.count("only offered globals");
        let Some(recording) = &candidate.recording else {
            return self.count("only offered globals, without a recording");
        };
        self.count("only offered globals, recorded");
        match outcome {
            Ok(output) => {
                self.count("ran");
                // A recording keeps nothing for what JSON has no value for.
                if output == recording["output"] {
                    self.count("ran, output as recorded");
                } else {
                    self.note("another output than recorded", name);
                }
            }
            Err(failure) => {
                let first: String = failure
                    .to_string()
                    .lines()
                    .next()
                    .unwrap_or_default()
                    .chars()
                    .take(110)
                    .collect();
                self.note(&format!("failed: {first}"), name);
            }
        }
    }

    fn print(&self) {
        for (what, count) in &self.counts {
            println!("{count:6}  {what}");
        }
        let mut notes: Vec<_> = self.notes.iter().collect();
        notes.sort_by_key(|(_, names)| std::cmp::Reverse(names.len()));
        for (what, names) in notes {
            println!(
                "{:6}  {what}  ({})",
                names.len(),
                names.iter().take(3).cloned().collect::<Vec<_>>().join(", ")
            );
        }
    }
}
