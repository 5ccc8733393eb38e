//! The command line. Exit codes: 0 done, 1 failed, 64 wrong usage; `scan` has its own (see [`Command::Scan`]).

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use bmm_deploy::pathmap::{Cidr, ConfigPath, Domain, Form, Port, ValueError};
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
    /// Take a server down once its calls have ended; it stays down until it is started
    Stop(ServerArgs),
    /// Start a server that was stopped
    Start(ServerArgs),
    /// Go back to the revision that a server had before; done twice, it comes back
    Rollback(ServerArgs),
    /// Look after the keys that seal secrets, tokens and signing keys
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Write a copy of everything but the key-encryption key, also while `bmm up` runs
    Backup(BackupArgs),
    /// Make a data directory from a backup and its key-encryption key
    Restore(RestoreArgs),
    /// Call a tool of an MCP server, signing in if need be
    Call(CallArgs),
    /// Make a spec of an OpenAPI description (3.0 or 3.1, JSON or YAML)
    Import(ImportArgs),
    /// Scan a spec, a running server, listed tools or bare code: exit code 0 pass, 1 warnings, 2 blocked, 64 unusable
    Scan(ScanArgs),
    /// Run one spec as an MCP server by itself, without sign-in
    Run(RunArgs),
    /// Look after the image that `bmm up --runtime docker` makes containers of
    #[command(subcommand)]
    Image(ImageCommand),
    /// Have nginx or Caddy lead requests to servers by themselves
    #[command(subcommand)]
    Pathmap(PathmapCommand),
    /// Run the examples written in a spec, without a network: exit code 0 all hold, 1 some do not, 64 unusable
    Test(TestArgs),
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
    #[command(flatten)]
    pub(crate) docker: DockerArg,
    #[command(flatten)]
    pub(crate) proxy: ProxyArgs,
    /// Before a revision is led to, also call its first read-only tool that has an example which needs no fetch, secret or scope: it
    /// must answer as the example says
    #[arg(long)]
    pub(crate) smoke_call: bool,
    /// Print one line of JSON once everything serves, for scripts
    #[arg(long)]
    pub(crate) json: bool,
    /// Allow plain http on an address that other machines reach: tokens and secrets can be read on the way
    #[arg(long)]
    pub(crate) insecure_http: bool,
}

/// For a proxy in front, and one that leads requests to servers by itself.
#[derive(Debug, Args)]
pub(crate) struct ProxyArgs {
    /// Addresses of proxies in front, whose X-Forwarded-For is taken for who asks; may be repeated
    #[arg(long, value_name = "CIDR")]
    pub(crate) trusted_proxy: Vec<Cidr>,
    /// Keep a path map of the servers in this directory, for `bmm pathmap watch`: nginx-map:DIR, nginx-if:DIR or caddy:DIR
    #[arg(long, value_name = "FORM:DIR")]
    pub(crate) path_map: Option<PathMapPlace>,
    /// Directory of sockets [default: run/ in the data directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) run_dir: Option<PathBuf>,
    /// Group that may connect to servers without passing through here: the proxy's, by name or number
    #[arg(long, value_name = "GROUP", requires = "path_map", requires = "run_dir")]
    pub(crate) socket_group: Option<String>,
}

/// A form and a directory.
#[derive(Clone, Debug)]
pub(crate) struct PathMapPlace {
    pub(crate) form: Form,
    pub(crate) dir: PathBuf,
}

impl FromStr for PathMapPlace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (form, dir) = text
            .split_once(':')
            .filter(|(_, dir)| !dir.is_empty())
            .ok_or("a form and a directory are needed, as in nginx-map:/var/lib/bmm/pathmap")?;
        let form: Form = form.parse().map_err(|error| format!("{error}"))?;
        Ok(Self {
            form,
            dir: dir.into(),
        })
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum PathmapCommand {
    /// Write a virtual host for nginx or Caddy, have it tested and taken up; a second time changes nothing
    Install(PathmapInstallArgs),
    /// Combine the fragments that `bmm up --path-map` writes whenever they change, have them tested and taken up
    Watch(PathmapWatchArgs),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProxyKind {
    /// nginx, 1.18 or later
    Nginx,
    /// Caddy, 2.6 or later
    Caddy,
}

#[derive(Debug, Args)]
pub(crate) struct PathmapInstallArgs {
    /// The proxy
    pub(crate) proxy: ProxyKind,
    /// Host of the public URL, with :PORT if that has one
    #[arg(long, value_name = "HOST")]
    pub(crate) domain: Domain,
    /// Lead by nginx's `if` snippets to the built-in router, instead of by its `map` to the servers
    #[arg(long = "if")]
    pub(crate) by_if: bool,
    /// Where `bmm up` listens
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:4000")]
    pub(crate) bmm: SocketAddr,
    /// Address for the proxy to listen on; may be repeated [default: all, at the usual port]
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) listen: Vec<SocketAddr>,
    /// Certificate chain (PEM). Without it nginx speaks plain http, and Caddy gets a certificate by itself
    #[arg(long, value_name = "FILE", requires = "key", value_parser = config_path)]
    pub(crate) cert: Option<ConfigPath>,
    /// The certificate's key (PEM)
    #[arg(long, value_name = "FILE", requires = "cert", value_parser = config_path)]
    pub(crate) key: Option<ConfigPath>,
    /// Have Caddy speak plain http, behind something that does not
    #[arg(long, conflicts_with = "cert")]
    pub(crate) plain_http: bool,
    /// Addresses of proxies in front of this one, whose word on a client's address is taken; may be repeated
    #[arg(long, value_name = "CIDR")]
    pub(crate) trusted: Vec<Cidr>,
    /// Where nginx logs requests, without their queries [default: nowhere]
    #[arg(long, value_name = "FILE", value_parser = config_path)]
    pub(crate) access_log: Option<ConfigPath>,
    /// Only print the virtual host
    #[arg(long)]
    pub(crate) print: bool,
    #[command(flatten)]
    pub(crate) place: ProxyPlaceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PathmapWatchArgs {
    /// The directory that `bmm up --path-map` writes to
    pub(crate) dir: PathBuf,
    /// How the fragments are written: nginx-map, nginx-if or caddy
    #[arg(long, default_value = "nginx-map")]
    pub(crate) form: Form,
    /// Lead to public sockets in this directory only, run/public of the data directory or public of --run-dir: whoever writes
    /// fragments can then lead nobody to other sockets of this machine
    #[arg(long, value_name = "DIR", conflicts_with = "port")]
    pub(crate) sockets: Option<PathBuf>,
    /// With nginx-if, lead to this port only: the one that `bmm up` listens on
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Option<Port>,
    /// Look once, and end
    #[arg(long)]
    pub(crate) once: bool,
    #[command(flatten)]
    pub(crate) place: ProxyPlaceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ProxyPlaceArgs {
    /// Where configuration is, nginx/nginx.conf or caddy/Caddyfile below it
    #[arg(long, value_name = "DIR", default_value = "/etc")]
    pub(crate) prefix: PathBuf,
    /// The proxy's program [default: nginx or caddy]
    #[arg(long, value_name = "FILE")]
    pub(crate) executable: Option<PathBuf>,
    /// Have systemd reload this unit, instead of the proxy's program
    #[arg(long, value_name = "UNIT")]
    pub(crate) reload_unit: Option<String>,
}

fn config_path(text: &str) -> Result<ConfigPath, ValueError> {
    ConfigPath::new(text)
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Runtime {
    /// Caged child processes of this one
    Process,
    /// Hardened containers of a Docker daemon (20.10 or later)
    Docker,
}

#[derive(Debug, Args)]
pub(crate) struct DockerArg {
    /// API socket of the Docker daemon, on this machine
    #[arg(long, value_name = "PATH", default_value = "/var/run/docker.sock", value_parser = socket_path)]
    pub(crate) docker_socket: PathBuf,
    /// What containers run: a `bmm-runner` of this version (a static one makes an image of one file) [default: this program]
    #[arg(long, value_name = "FILE")]
    pub(crate) docker_runner: Option<PathBuf>,
}

/// Also as other tools write it: `unix:///run/docker.sock`.
fn socket_path(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text.strip_prefix("unix://").unwrap_or(text));
    if path.is_absolute() {
        Ok(path)
    } else {
        Err("an absolute path of a Unix socket is needed; containers run on this machine only".to_owned())
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Make the image of this program, if the daemon does not have it yet, and print its ID; no registry is asked
    Build(ImageArgs),
    /// Remove the images of other versions of this program that no container was made of
    Prune(ImageArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ImageArgs {
    #[command(flatten)]
    pub(crate) docker: DockerArg,
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
pub(crate) struct ServerArgs {
    /// The server
    pub(crate) slug: String,
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
pub(crate) struct ImportArgs {
    /// The OpenAPI description
    pub(crate) file: PathBuf,
    /// Name of the server in URLs [default: made of the API's title]
    #[arg(long)]
    pub(crate) slug: Option<bmm_spec::Slug>,
    /// Only operations with this tag; may be repeated
    #[arg(long = "tag", value_name = "TAG")]
    pub(crate) tags: Vec<String>,
    /// Only this operation, by its operationId or as `GET /path`; may be repeated
    #[arg(long = "operation", value_name = "OPERATION")]
    pub(crate) operations: Vec<String>,
    /// Where the service is, instead of what the description says
    #[arg(long, value_name = "URL")]
    pub(crate) server: Option<String>,
    /// Send this secret as bearer token with operations that the description asks no credentials of
    #[arg(long, value_name = "NAME")]
    pub(crate) bearer: Option<String>,
    /// Where to write the spec; must not exist [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ScanArgs {
    #[command(flatten)]
    pub(crate) target: ScanTarget,
    /// How to print the report
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) format: ReportFormat,
    /// Findings that were looked at and accepted: {"suppressions": [{"rule", "pointer", "sha256", "reason"}]}
    #[arg(long, value_name = "FILE")]
    pub(crate) suppress: Option<PathBuf>,
    /// How long a running server may take to list everything
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) timeout: u64,
    /// With --url, a sign-in link of the server: signs in and consents without a browser
    #[arg(long, value_name = "URL", requires = "url")]
    pub(crate) sign_in_url: Option<String>,
    /// With --url, where to keep the tokens (0600) [default: $XDG_CONFIG_HOME/bmm/credentials.json or ~/.config/bmm/credentials.json]
    #[arg(long, value_name = "FILE", requires = "url")]
    pub(crate) credentials: Option<PathBuf>,
    /// With --stdio, the server's command
    #[arg(last = true, value_name = "CMD", requires = "stdio")]
    pub(crate) command: Vec<OsString>,
}

/// What to scan, one of these.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct ScanTarget {
    /// The spec file
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// What the MCP server at this URL lists
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// What an MCP server on stdio lists: the command after `--` is run, and ended with everything it started
    #[arg(long, requires = "command")]
    pub(crate) stdio: bool,
    /// A tools/list result, or an array of tools, in a file
    #[arg(long, value_name = "FILE")]
    pub(crate) tools: Option<PathBuf>,
    /// Files of JavaScript or TypeScript, each judged alone
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(crate) code: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportFormat {
    /// For people
    Text,
    /// One JSON document
    Json,
    /// SARIF 2.1.0, for code hosts
    Sarif,
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

#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// The spec file
    pub(crate) file: PathBuf,
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

    #[test]
    fn every_command_in_the_documentation_for_operators_is_one() {
        let units = [
            include_str!("../../../docs/systemd/bmm.service"),
            include_str!("../../../docs/systemd/bmm-pathmap.service"),
            include_str!("../../../docs/quadlet/bmm.container"),
        ];
        let page = include_str!("../../../docs/operators.md");
        let units = units.map(|unit| unit.replace("\\\n", " "));
        let commands: Vec<&str> = units
            .iter()
            .flat_map(|unit| unit.lines())
            .chain(page.lines())
            .filter_map(|line| {
                line.strip_prefix("ExecStart=/usr/local/bin/bmm ")
                    .or_else(|| line.strip_prefix("Exec="))
                    .or_else(|| line.strip_prefix("$ bmm "))
            })
            .collect();
        assert!(commands.len() > 8, "{commands:?}");
        for command in commands {
            let words = std::iter::once("bmm").chain(command.split_whitespace());
            if let Err(error) = Cli::try_parse_from(words) {
                panic!("{command}: {error}");
            }
        }
    }
}
