//! What a running server lists, read within bounds of size and time.

use std::time::Duration;

use anyhow::bail;
use bmm_runner::client::{Client, CredentialsFile, Listing, ListingLimits, SignIn, StdioServer};
use serde_json::{Value, json};

use crate::cli::ScanArgs;
use crate::commands::{call, up};

/// What the server of the arguments lists, as one JSON object. A program that was started for it has ended.
pub(super) async fn list(args: &ScanArgs) -> anyhow::Result<Value> {
    let within = Duration::from_secs(args.timeout);
    let stopped = up::stop_signal()?;
    let listing = tokio::select! {
        listing = tokio::time::timeout(within, ask(args)) => {
            match listing {
                Ok(listing) => listing?,
                Err(_) => bail!("the server has not listed everything within {} s (--timeout)", within.as_secs()),
            }
        }
        () = stopped => bail!("interrupted"),
    };
    Ok(json!({
        "instructions": listing.server.instructions.unwrap_or_default(),
        "tools": listing.tools,
        "prompts": listing.prompts,
        "resources": listing.resources,
        "resourceTemplates": listing.resource_templates,
    }))
}

async fn ask(args: &ScanArgs) -> anyhow::Result<Listing> {
    let limits = ListingLimits::default();
    if let Some(url) = &args.target.url {
        let credentials = CredentialsFile::at(call::credentials_file(args.credentials.clone())?);
        let sign_in = match &args.sign_in_url {
            Some(link) => SignIn::script(link.clone()),
            None => SignIn::person(call::show_link),
        };
        let client = Client::connect(url, sign_in, credentials).await?;
        let listing = client.listing(&limits).await;
        client.close().await;
        return Ok(listing?);
    }
    let Some((program, arguments)) = args.command.split_first() else {
        bail!("name the command after `--`: bmm scan --stdio -- CMD ARGUMENT…");
    };
    let server = StdioServer::start(program, arguments).await?;
    Ok(server.listing(&limits).await?)
}
