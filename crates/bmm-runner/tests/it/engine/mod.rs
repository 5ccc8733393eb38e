//! The engine: what a tool sees, what it may use, and what happens when it takes more.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bmm_cage::Launcher;
use bmm_runner::engine::{
    CagedEngine, EngineLimits, FetchRequest, FetchResponse, LogLevel, ToolCall, ToolEngine, ToolFailure,
    ToolHost, ToolOutput,
};
use futures_util::future::BoxFuture;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::specs::spec_of;

/// A trial for each of these tests, which take the launcher.
macro_rules! trials {
    ($launcher:ident: $($test:ident),* $(,)?) => {
        vec![$({
            let launcher = $launcher.clone();
            Trial::test(concat!("engine::", stringify!($test)), move || {
                $test(&launcher);
                Ok(())
            })
        }),*]
    };
}

mod calls;
mod corpora;
pub(crate) mod exhaustion;
mod globals;
mod host;
mod limits;
mod pool;

pub(crate) fn cases(launcher: &Launcher) -> Vec<Trial> {
    [
        calls::cases,
        exhaustion::cases,
        corpora::cases,
        globals::cases,
        host::cases,
        limits::cases,
        pool::cases,
    ]
    .into_iter()
    .flat_map(|cases| cases(launcher))
    .collect()
}

/// A module with one function of this body.
fn body(text: &str) -> String {
    format!("export default async (input, ctx) => {{ {text} }}")
}

struct Bench {
    runtime: tokio::runtime::Runtime,
    engine: Arc<dyn ToolEngine>,
    caged: Option<Arc<CagedEngine>>,
}

impl Bench {
    fn new(launcher: &Launcher, modules: &[String], limits: EngineLimits) -> Self {
        let runtime = runtime();
        let engine =
            Arc::new(CagedEngine::new(launcher, &spec_of(modules), limits).expect("the engine starts"));
        Self {
            runtime,
            caged: Some(Arc::clone(&engine)),
            engine,
        }
    }

    fn of(launcher: &Launcher, text: &str) -> Self {
        Self::new(launcher, &[body(text)], EngineLimits::default())
    }

    fn call_with(&self, tool: usize, input: Value, host: Arc<FakeHost>) -> Result<Value, ToolFailure> {
        let call = self.engine.call(ToolCall { tool, input }, host);
        self.runtime.block_on(call).map(|ToolOutput { value }| value)
    }

    fn call(&self, tool: usize) -> Result<Value, ToolFailure> {
        self.call_with(tool, json!({}), Arc::default())
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime")
}

fn once(launcher: &Launcher, text: &str) -> Result<Value, ToolFailure> {
    Bench::of(launcher, text).call(0)
}

/// What a limit test waits for: long enough to be an end by that limit, short enough to wait for.
fn limits() -> EngineLimits {
    let mut limits = EngineLimits::default();
    limits.wall = Duration::from_millis(600);
    limits.cpu = Duration::from_millis(300);
    limits
}

struct FakeHost {
    /// Fetches answer only once this many are under way.
    together: usize,
    under_way: AtomicUsize,
    enough: Semaphore,
    said: Mutex<Vec<String>>,
}

impl Default for FakeHost {
    fn default() -> Self {
        Self {
            together: 1,
            under_way: AtomicUsize::new(0),
            enough: Semaphore::new(0),
            said: Mutex::default(),
        }
    }
}

impl FakeHost {
    fn say(&self, line: String) {
        self.said.lock().expect("not poisoned").push(line);
    }

    fn said(&self) -> Vec<String> {
        self.said.lock().expect("not poisoned").clone()
    }
}

impl ToolHost for FakeHost {
    fn fetch(&self, request: FetchRequest) -> BoxFuture<'_, Result<FetchResponse, String>> {
        Box::pin(async move {
            let under_way = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
            if under_way >= self.together {
                self.enough.add_permits(1_000);
            }
            self.enough.acquire().await.expect("open").forget();
            if request.url.contains("never") {
                std::future::pending::<()>().await;
            }
            if request.url.contains("refused") {
                return Err("the host is not on the list".to_owned());
            }
            let body = json!({
                "url": request.url,
                "method": request.method,
                "headers": request.headers,
                "body": request.body.map(|body| String::from_utf8_lossy(&body).into_owned()),
            });
            Ok(FetchResponse {
                status: if request.url.contains("missing") { 404 } else { 200 },
                url: request.url,
                headers: vec![("content-type".to_owned(), "application/json".to_owned())],
                body: body.to_string().into(),
            })
        })
    }

    fn log(&self, level: LogLevel, message: &str) {
        self.say(format!("{level:?}: {message}"));
    }

    fn progress(&self, progress: f64, total: Option<f64>, message: Option<&str>) {
        self.say(format!("{progress} of {total:?}: {message:?}"));
    }

    fn basic_auth(&self, user: &str, secret: &str) -> Result<String, String> {
        Ok(format!("basic<{user}:{secret}>"))
    }

    fn hmac(&self, algorithm: &str, secret: &str, data: &[u8]) -> Result<String, String> {
        match algorithm {
            "sha256" => Ok(format!("mac<{secret}:{}>", data.len())),
            other => Err(format!("no {other} here")),
        }
    }

    fn secret_handle(&self, name: &str) -> Option<String> {
        (name == "API_KEY").then(|| "handle-of-the-key".to_owned())
    }
}
