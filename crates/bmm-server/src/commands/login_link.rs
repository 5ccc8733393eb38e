//! `bmm login-link`: another sign-in link for the server that runs.

use std::process::ExitCode;

use anyhow::Context as _;
use bmm_oauth::{Clock as _, SystemClock};

use crate::cli::LoginLinkArgs;
use crate::data_dir::{DataDir, default_path};
use crate::db::Db;
use crate::session::sign_in_link;

/// The setting in which `bmm up` keeps the public URL it serves.
pub(crate) const PUBLIC_URL: &str = "public_url";

pub(crate) async fn login_link(args: LoginLinkArgs) -> anyhow::Result<ExitCode> {
    let path = args.data_dir.data_dir.map_or_else(default_path, Ok)?;
    let db = Db::attach(&DataDir::served_database(&path)?).await?;
    let public_url = db
        .setting(PUBLIC_URL)
        .await?
        .context("the server is still starting; try again")?;
    let now = SystemClock.now();
    let owner = db.local_owner(now).await?;
    println!("{}", sign_in_link(&db, &public_url, &owner, now).await?);
    db.close().await;
    Ok(ExitCode::SUCCESS)
}
