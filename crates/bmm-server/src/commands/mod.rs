//! One module per command.

mod backup;
mod call;
pub(crate) mod failure;
mod image;
mod import;
mod keys;
mod login_link;
mod order;
mod pathmap;
mod progress;
mod restore;
mod run;
mod scan;
mod secret;
mod secrets_file;
mod spec_file;
mod test;
mod up;

use std::process::ExitCode;

use bmm_cage::Launcher;

use crate::cli::{Cli, Command};
use crate::db::Order;

/// Runs a command to its exit code.
pub(crate) async fn run(cli: Cli, launcher: Launcher) -> ExitCode {
    let done = match cli.command {
        Command::Up(args) => up::up(args, launcher).await,
        Command::LoginLink(args) => login_link::login_link(args).await,
        Command::Stop(args) => order::order(args, Order::Stop).await,
        Command::Start(args) => order::order(args, Order::Start).await,
        Command::Rollback(args) => order::order(args, Order::Rollback).await,
        Command::Secret(args) => secret::secret(args).await,
        Command::Keys(command) => keys::keys(command).await,
        Command::Backup(args) => backup::backup(args).await,
        Command::Restore(args) => restore::restore(args).await,
        Command::Call(args) => call::call(args).await,
        Command::Import(args) => import::import(&args),
        Command::Scan(args) => Ok(scan::scan(args).await),
        Command::Run(args) => run::run(args, launcher).await,
        Command::Image(command) => image::image(command).await,
        Command::Pathmap(command) => pathmap::pathmap(command).await,
        Command::Test(args) => test::test(args, launcher).await,
    };
    done.unwrap_or_else(|error| failure::tell(&error))
}
