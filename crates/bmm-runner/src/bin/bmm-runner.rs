//! Runs one spec. Launched by a host it is the role `runner`; with a file it serves that spec on standard input and output.

use std::process::ExitCode;

use anyhow::Context as _;
use bmm_runner::engine::{CagedEngine, engine_limits};
use bmm_runner::{Connector, Runner, run};
use bmm_spec::CompiledSpec;

const USAGE: &str = "usage: bmm-runner FILE
  FILE is a spec, or a compiled spec; it is served on standard input and output, without secrets.
  A host launches this program in the role of a runner by itself.";

fn main() -> ExitCode {
    let launcher = bmm_runner::init();
    let mut arguments = std::env::args_os().skip(1);
    let (Some(file), None) = (arguments.next(), arguments.next()) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match serve(&launcher, std::path::Path::new(&file)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bmm-runner: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(launcher: &bmm_cage::Launcher, file: &std::path::Path) -> anyhow::Result<()> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let spec = compiled(&bytes)?;
    let engine = CagedEngine::new(launcher, &spec, engine_limits(&spec))?;
    let runner = Runner::new(spec, engine)?.with_connector(Connector::direct(bmm_net::Dialer::new()));
    tokio::runtime::Runtime::new()?.block_on(run::stdio(runner))?;
    Ok(())
}

/// A compiled spec has digests; anything else goes through the gate.
fn compiled(bytes: &[u8]) -> anyhow::Result<CompiledSpec> {
    if let Ok(spec) = serde_json::from_slice::<CompiledSpec>(bytes) {
        return Ok(spec);
    }
    let (spec, _report) = bmm_spec::admit(bytes)?;
    Ok(spec.compile()?)
}
