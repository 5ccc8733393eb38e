//! `bmm`: hosts MCP servers behind OAuth 2.1. Start reading at `app.rs`.

mod app;
mod browser_guard;
mod cli;
mod client_lines;
mod commands;
mod containers;
mod data_dir;
mod db;
mod deploy;
mod key_care;
mod keys;
mod pages;
mod path_map;
mod public_url;
mod resources;
mod secrets;
mod serve;
mod session;
mod storage;
mod telemetry;
mod wall_clock;
mod web;

use std::process::ExitCode;

fn main() -> ExitCode {
    // First: in a caged child this does not return, and no thread may exist before it.
    let launcher = bmm_runner::init();

    let cli = match cli::parse() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    telemetry::init();
    // Whatever is written from here on is the owner's alone.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));

    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if matches!(cli.command, cli::Command::Run(_)) {
        // For one person, and the tools run in processes of their own: a second thread is one more to wake up for each call.
        runtime.worker_threads(1);
    }
    let runtime = match runtime.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return commands::failure::tell(&anyhow::Error::new(error).context("cannot start")),
    };
    let code = runtime.block_on(commands::run(cli, launcher));
    // A thread that blocks on a terminal or a slow resolver must not hold up the end.
    runtime.shutdown_background();
    code
}
