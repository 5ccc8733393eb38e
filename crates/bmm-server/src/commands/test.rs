//! `bmm test FILE`: do the examples written in a spec hold?

use std::process::ExitCode;

use bmm_cage::Launcher;
use bmm_runner::engine::{CagedEngine, engine_limits};
use bmm_runner::examples::{self, ExampleReport};

use bmm_spec::escape;

use crate::cli::{EXIT_UNUSABLE, TestArgs};
use crate::commands::spec_file;

/// Of what is said about one example.
const MAX_REASON_CHARS: usize = 4000;

pub(crate) async fn test(args: TestArgs, launcher: Launcher) -> anyhow::Result<ExitCode> {
    let bytes = spec_file::read(&args.file)?;
    let admitted =
        bmm_spec::admit(&bytes).and_then(|(valid, _report)| Ok((valid.spec().clone(), valid.compile()?)));
    let (spec, compiled) = match admitted {
        Ok(both) => both,
        Err(problems) => {
            eprintln!("{problems}");
            return Ok(ExitCode::from(EXIT_UNUSABLE));
        }
    };
    let engine = CagedEngine::new(&launcher, &compiled, engine_limits(&compiled))?;
    let reports = examples::run(&spec, &compiled, &engine).await?;
    for report in &reports {
        println!("{}", line(report));
    }
    let failed = reports.iter().filter(|report| report.outcome.is_err()).count();
    println!("{} passed, {failed} failed", reports.len() - failed);
    let untested: Vec<_> = spec
        .tools
        .iter()
        .filter(|tool| tool.examples.is_empty())
        .map(|tool| tool.name.as_str())
        .collect();
    if !untested.is_empty() {
        println!("without an example: {}", untested.join(", "));
    }
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The spec may be a stranger's: what it says must not drive the terminal.
fn line(report: &ExampleReport) -> String {
    let place = escape(&format!("{}: {}", report.tool, report.example));
    match &report.outcome {
        Ok(()) => format!("ok      {place} ({} ms)", report.took.as_millis()),
        Err(why) => {
            let why: String = why.to_string().chars().take(MAX_REASON_CHARS).collect();
            let why: Vec<String> = why.lines().map(escape).collect();
            format!("FAILED  {place}\n        {}", why.join("\n        "))
        }
    }
}
