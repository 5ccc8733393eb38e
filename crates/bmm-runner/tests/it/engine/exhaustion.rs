//! Runaway calls by the hundred: what they leave behind, and what a neighbour notices of them.
//!
//! In a process of its own, whose descriptors, children and memory are nobody else's. `BMM_SCALE=prove` makes it 1,000 calls.

use std::collections::BTreeMap;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bmm_cage::Launcher;
use bmm_runner::engine::{CagedEngine, EngineLimits, ToolCall, ToolEngine, ToolFailure};
use libtest_mimic::Trial;
use serde_json::json;

use super::limits::runaways;
use super::{FakeHost, body, runtime};
use crate::specs::spec_of;

/// Set in the process that does it.
const INSIDE: &str = "BMM_TEST_EXHAUSTION_INSIDE";
const LIMIT: Duration = Duration::from_millis(200);
/// The kill comes this much after the limit at the latest, and is over.
const GRACE: Duration = Duration::from_millis(150);
/// Calls at a time: as many as there are workers.
const ABREAST: usize = 2;
/// What the process may have grown by; an allocator keeps some of what it once had.
const GROWTH_KIB: u64 = 16 * 1024;

pub(super) fn cases(_launcher: &Launcher) -> Vec<Trial> {
    let name = "engine::exhaustion::runaway_calls_leave_nothing_behind_and_a_neighbour_hardly_notices";
    vec![
        Trial::test(name, || {
            let output = Command::new(std::env::current_exe()?).env(INSIDE, "1").output()?;
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            if !output.status.success() {
                return Err(format!("{said}\n{}", String::from_utf8_lossy(&output.stderr)).into());
            }
            println!("{said}");
            Ok(())
        })
        // needs the runaway bodies: cargo xtask test
        .with_ignored_flag(std::env::var_os("BMM_EVAL_DATA").is_none()),
    ]
}

/// The process that does it, if this is the one.
pub(crate) fn inside(launcher: &Launcher) -> Option<ExitCode> {
    std::env::var_os(INSIDE)?;
    run(launcher);
    Some(ExitCode::SUCCESS)
}

fn calls() -> usize {
    match std::env::var("BMM_SCALE").as_deref() {
        Ok("prove") => 1_000,
        _ => 79,
    }
}

fn run(launcher: &Launcher) {
    let runtime = runtime();
    let mut limits = EngineLimits::default();
    (limits.wall, limits.cpu, limits.workers) = (LIMIT, LIMIT, ABREAST as u32);
    let honest_work =
        body("const end = Date.now() + 150; let n = 0; while (Date.now() < end) n++; return n > 0");
    let runaways = runaways();
    // Everything has been used once: what stays from here on is a leak.
    {
        let once = CagedEngine::new(
            launcher,
            &spec_of(std::slice::from_ref(&honest_work)),
            limits.clone(),
        )
        .expect("it starts");
        runtime
            .block_on(call(&once, 0, json!({"n": 1})))
            .expect("answers");
    }
    left(|now| now.children == 0);
    let before = Belongings::now();
    assert_eq!(before.children, 0);

    let (mut beside_honest, mut beside_runaway, mut slowest) = (Vec::new(), Vec::new(), Duration::ZERO);
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    {
        let engine = |modules: &[String]| {
            Arc::new(CagedEngine::new(launcher, &spec_of(modules), limits.clone()).expect("it starts"))
        };
        let neighbour = engine(&[body("return [input.n].map((n) => n + 1)[0]")]);
        let honest = engine(&[honest_work]);
        let modules: Vec<String> = runaways.iter().map(|(_, text)| body(text)).collect();
        let engine = engine(&modules);
        let mut next = 0;
        while next < calls() {
            let tools: Vec<usize> = (next..calls().min(next + ABREAST))
                .map(|n| n % runaways.len())
                .collect();
            next += tools.len();
            let ended = runtime.block_on(beside(&neighbour, &mut beside_runaway, &engine, tools));
            for (tool, took, outcome) in ended {
                assert!(took <= LIMIT + GRACE, "{} took {took:?}", runaways[tool].0);
                slowest = slowest.max(took);
                let kind = outcome.map_or_else(|failure| format!("{failure:?}"), |_| "returned".to_owned());
                *outcomes
                    .entry(kind.chars().take_while(|c| c.is_alphanumeric()).collect())
                    .or_default() += 1;
            }
            // The same for a tool that works as hard, and honestly.
            runtime.block_on(beside(&neighbour, &mut beside_honest, &honest, vec![0; ABREAST]));
        }
        let workers = Belongings::now().children;
        assert!(workers <= 3 * (ABREAST + 1), "{workers} processes");
    }
    let after = left(|now| (now.descriptors, now.children) == (before.descriptors, before.children));
    assert_eq!(
        (after.descriptors, after.children),
        (before.descriptors, before.children)
    );
    assert!(
        after.rss_kib <= before.rss_kib + GROWTH_KIB,
        "{before:?} {after:?}"
    );

    let (honest, runaway) = (p99(&mut beside_honest), p99(&mut beside_runaway));
    println!(
        "{} runaway calls: {outcomes:?}, slowest {} ms; descriptors {}, processes {}, memory {} KiB before and {} KiB after; \
         neighbour p99 {} µs beside honest work ({} calls), {} µs beside runaways ({} calls), none failed",
        calls(),
        slowest.as_millis(),
        after.descriptors,
        after.children,
        before.rss_kib,
        after.rss_kib,
        honest.as_micros(),
        beside_honest.len(),
        runaway.as_micros(),
        beside_runaway.len(),
    );
    assert!(
        runaway <= 2 * honest,
        "p99 {runaway:?} beside runaways, {honest:?} beside honest work"
    );
}

/// What is left when the thread that buries the workers of dropped engines is done.
fn left(is_all: impl Fn(&Belongings) -> bool) -> Belongings {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let now = Belongings::now();
        if is_all(&now) || Instant::now() > deadline {
            return now;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Calls these tools at once, and the neighbour over and over until the last of them has ended.
async fn beside(
    neighbour: &Arc<CagedEngine>,
    latencies: &mut Vec<Duration>,
    engine: &Arc<CagedEngine>,
    tools: Vec<usize>,
) -> Vec<(usize, Duration, Result<serde_json::Value, ToolFailure>)> {
    let over = Arc::new(AtomicBool::new(false));
    let calls: Vec<_> = tools
        .into_iter()
        .map(|tool| {
            let engine = Arc::clone(engine);
            tokio::spawn(async move {
                let before = Instant::now();
                let outcome = call(&engine, tool, json!({})).await;
                (tool, before.elapsed(), outcome)
            })
        })
        .collect();
    let waiting = tokio::spawn({
        let over = Arc::clone(&over);
        async move {
            let mut ended = Vec::new();
            for call in calls {
                ended.push(call.await.expect("no panic"));
            }
            over.store(true, Ordering::SeqCst);
            ended
        }
    });
    let mut n = 0;
    while !over.load(Ordering::SeqCst) {
        let before = Instant::now();
        assert_eq!(call(neighbour, 0, json!({"n": n})).await, Ok(json!(n + 1)));
        latencies.push(before.elapsed());
        n += 1;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    waiting.await.expect("no panic")
}

async fn call(
    engine: &CagedEngine,
    tool: usize,
    input: serde_json::Value,
) -> Result<serde_json::Value, ToolFailure> {
    let output = engine
        .call(ToolCall { tool, input }, Arc::new(FakeHost::default()) as _)
        .await?;
    Ok(output.value)
}

fn p99(latencies: &mut [Duration]) -> Duration {
    latencies.sort();
    latencies[latencies.len() * 99 / 100]
}

/// What a process holds.
#[derive(Debug)]
struct Belongings {
    descriptors: usize,
    /// Children and their children.
    children: usize,
    rss_kib: u64,
}

impl Belongings {
    fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
        let rss = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .expect("it is there");
        Self {
            descriptors: std::fs::read_dir("/proc/self/fd").expect("Linux").count(),
            children: descendants(std::process::id()),
            rss_kib: rss.trim().trim_end_matches(" kB").parse().expect("a number"),
        }
    }
}

fn descendants(of: u32) -> usize {
    let mut parents: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").expect("Linux").flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        // The name in parentheses may hold anything; the parent is the second field after it.
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        let after = stat.rsplit(')').next().unwrap_or_default();
        if let Some(parent) = after
            .split_whitespace()
            .nth(1)
            .and_then(|parent| parent.parse().ok())
        {
            parents.entry(parent).or_default().push(pid);
        }
    }
    let (mut found, mut look) = (0, vec![of]);
    while let Some(pid) = look.pop() {
        let children = parents.get(&pid).cloned().unwrap_or_default();
        found += children.len();
        look.extend(children);
    }
    found
}
