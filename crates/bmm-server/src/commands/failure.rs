//! How a command says that it failed.

use std::process::ExitCode;

/// Says in one line why a command failed.
pub(crate) fn tell(error: &anyhow::Error) -> ExitCode {
    eprintln!("bmm: {error:#}");
    ExitCode::FAILURE
}
