//! `bmm call URL TOOL JSON`: a tool call from a terminal, sign-in included.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, bail};
use bmm_runner::client::{Client, CredentialsFile, SignIn};
use serde_json::Value;

use crate::cli::CallArgs;

pub(crate) async fn call(args: CallArgs) -> anyhow::Result<ExitCode> {
    let input: Value = serde_json::from_str(&args.input).context("the input is not JSON")?;
    if !input.is_object() {
        bail!("the input must be a JSON object, such as '{{\"text\": \"hello\"}}'");
    }
    let credentials = CredentialsFile::at(credentials_file(args.credentials)?);
    let sign_in = match args.sign_in_url {
        Some(url) => SignIn::script(url),
        None => SignIn::person(show_link),
    };
    let mut client = Client::connect(&args.url, sign_in, credentials).await?;
    let code = match args.tool {
        Some(tool) => {
            let outcome = client.call_tool(&tool, input).await?;
            println!("{outcome}");
            if outcome.is_error {
                ExitCode::FAILURE
            } else {
                ExitCode::SUCCESS
            }
        }
        None => {
            for tool in client.list_tools().await? {
                println!(
                    "{}: {}",
                    tool.name,
                    tool.description.lines().next().unwrap_or_default()
                );
            }
            ExitCode::SUCCESS
        }
    };
    client.close().await;
    Ok(code)
}

/// Prints the link, and opens it where there is a desktop.
pub(crate) fn show_link(url: &str) {
    eprintln!("Open this link to sign in:\n  {url}");
    let desktop = ["DISPLAY", "WAYLAND_DISPLAY"]
        .iter()
        .any(|name| std::env::var_os(name).is_some());
    if desktop && std::io::stderr().is_terminal() {
        // The link is printed already; a missing opener costs nothing.
        let _ = Command::new("xdg-open")
            .arg(url)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
    }
}

/// Where tokens are kept, if it is not said.
pub(crate) fn credentials_file(named: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    if let Some(file) = named {
        return Ok(file);
    }
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    absolute("XDG_CONFIG_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".config")))
        .map(|base| base.join("bmm/credentials.json"))
        .context("no home directory is known: name a file with --credentials")
}
