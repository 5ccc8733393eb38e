//! The command line. Exit codes: 0 done, 1 failed, 64 wrong usage; `scan` has its own (see [`Command::Scan`]).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Exit code of a wrong command line or an unusable input (`EX_USAGE` of sysexits.h).
pub(crate) const EXIT_UNUSABLE: u8 = 64;

#[derive(Debug, Parser)]
#[command(name = "bmm", version, about = "Hosts MCP servers behind OAuth 2.1")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start everything on one port, with all state in one directory
    Up(UpArgs),
    /// Print a new single-use sign-in link for the `bmm up` that is running
    LoginLink(LoginLinkArgs),
    /// Set a secret that a server needs; its value is read from standard input
    Secret(SecretArgs),
    /// Look after the keys that seal secrets, tokens and signing keys
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Write a copy of everything but the key-encryption key, also while `bmm up` runs
    Backup(BackupArgs),
    /// Make a data directory from a backup and its key-encryption key
    Restore(RestoreArgs),
    /// Call a tool of an MCP server, signing in if need be
    Call(CallArgs),
    /// Scan a spec: exit code 0 pass, 1 warnings, 2 blocked, 64 unusable
    Scan(ScanArgs),
    /// Run one spec as an MCP server by itself, without sign-in
    Run(RunArgs),
}

#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    /// Spec files to deploy; the demo if none is given and nothing is stored
    pub(crate) specs: Vec<PathBuf>,
    /// Address to listen on
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:4000")]
    pub(crate) listen: SocketAddr,
    #[command(flatten)]
    pub(crate) data_dir: DataDirArg,
    /// How clients reach this server, if not at the address it listens on
    #[arg(long, value_name = "URL")]
    pub(crate) public_url: Option<String>,
    /// What runs the servers
    #[arg(long, value_enum, default_value = "process")]
    pub(crate) runtime: Runtime,
    /// Print one line of JSON once everything serves, for scripts
    #[arg(long)]
    pub(crate) json: bool,
    /// Allow plain http on an address that other machines reach: tokens and secrets can be read on the way
    #[arg(long)]
    pub(crate) insecure_http: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Runtime {
    /// Caged child processes of this one
    Process,
}

#[derive(Debug, Args)]
pub(crate) struct DataDirArg {
    /// Directory of all state [default: $XDG_DATA_HOME/bmm or ~/.local/share/bmm]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct LoginLinkArgs {
    #[command(flatten)]
    pub(crate) data_dir: DataDirArg,
}

#[derive(Debug, Args)]
pub(crate) struct SecretArgs {
    /// The server
    pub(crate) slug: String,
    /// The secret's name, one of the spec's `requiredSecrets`
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) data_dir: DataDirArg,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Show the keys, what each has sealed, and what is left to seal anew
    Status(KeysStatusArgs),
    /// Make a new data-encryption key and seal every value anew with it
    Rotate(KeysArgs),
    /// Make a new key-encryption key and wrap the data-encryption keys with it; no value is touched
    Rewrap(KeysArgs),
}

#[derive(Debug, Args)]
pub(crate) struct KeysArgs {
    #[command(flatten)]
    pub(crate) data_dir: DataDirArg,
}

#[derive(Debug, Args)]
pub(crate) struct KeysStatusArgs {
    #[command(flatten)]
    pub(crate) data_dir: DataDirArg,
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// The file to write; it must not exist
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) data_dir: DataDirArg,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// The backup
    pub(crate) file: PathBuf,
    /// The key-encryption key that was in use when the backup was made
    #[arg(long, value_name = "FILE")]
    pub(crate) kek: PathBuf,
    #[command(flatten)]
    pub(crate) data_dir: DataDirArg,
}

#[derive(Debug, Args)]
pub(crate) struct CallArgs {
    /// The server's MCP URL
    pub(crate) url: String,
    /// The tool's name; all tools are listed if it is left out
    pub(crate) tool: Option<String>,
    /// The tool's input, a JSON object
    #[arg(default_value = "{}")]
    pub(crate) input: String,
    /// A sign-in link of the server: signs in and consents without a browser
    #[arg(long, value_name = "URL")]
    pub(crate) sign_in_url: Option<String>,
    /// Where to keep the tokens (0600) [default: $XDG_CONFIG_HOME/bmm/credentials.json or ~/.config/bmm/credentials.json]
    #[arg(long, value_name = "FILE")]
    pub(crate) credentials: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ScanArgs {
    /// The spec file
    pub(crate) file: PathBuf,
    /// How to print the report
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) format: ReportFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportFormat {
    /// For people
    Text,
    /// One JSON document
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The spec file
    pub(crate) file: PathBuf,
    /// Serve Streamable HTTP on this loopback address instead of stdio
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) http: Option<SocketAddr>,
    /// Values of the spec's secrets: a JSON object from name to value, in a file of your own (0600)
    #[arg(long, value_name = "FILE")]
    pub(crate) secrets: Option<PathBuf>,
}

/// The parsed arguments, or the exit code after help or a complaint was printed.
pub(crate) fn parse() -> Result<Cli, ExitCode> {
    Cli::try_parse().map_err(|error| {
        let code = if error.use_stderr() { EXIT_UNUSABLE } else { 0 };
        // Nothing is left to do if the terminal is gone.
        let _ = error.print();
        ExitCode::from(code)
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
