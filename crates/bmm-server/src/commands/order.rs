//! `bmm stop`, `bmm start` and `bmm rollback`: carried out by the bmm that runs, or noted for the next one.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::bail;
use bmm_oauth::{Clock as _, SystemClock};

use crate::cli::ServerArgs;
use crate::data_dir::{DataDir, default_path};
use crate::db::{Db, Order, Outcome};
use crate::deploy::{NoPrevious, went_back};
use crate::secrets::SecretError;

/// Calls in flight have a minute to end, and another revision some time to start.
const PATIENCE: Duration = Duration::from_secs(120);
const ASK_EVERY: Duration = Duration::from_millis(200);

pub(crate) async fn order(args: ServerArgs, order: Order) -> anyhow::Result<ExitCode> {
    let ServerArgs { slug, data_dir } = args;
    let path = data_dir.data_dir.map_or_else(default_path, Ok)?;
    let visit = DataDir::visit(&path)?;
    let said = if visit.is_served() {
        let db = Db::attach(&visit.database()).await?;
        let said = ask(&db, &slug, order).await;
        db.close().await;
        said?
    } else {
        let db = Db::open(&visit.database()).await?;
        let said = note(&db, &slug, order).await;
        db.close().await;
        said?
    };
    println!("{said}");
    Ok(ExitCode::SUCCESS)
}

/// Has the bmm that runs do it.
async fn ask(db: &Db, slug: &str, order: Order) -> anyhow::Result<String> {
    let Some(number) = db.give_order(slug, order).await? else {
        return Err(SecretError::NoServer(slug.to_owned()).into());
    };
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        match db.outcome(slug, number).await? {
            Outcome::Open => tokio::time::sleep(ASK_EVERY).await,
            Outcome::Done(text) => return Ok(text),
            Outcome::Failed(text) => bail!("{text}"),
            Outcome::Overtaken => bail!("overtaken by a later command"),
        }
    }
    bail!("not done yet; the bmm that is running, or the next one, does it as soon as it can")
}

/// For the next `bmm up`.
async fn note(db: &Db, slug: &str, order: Order) -> anyhow::Result<String> {
    let Some(row) = db.server(slug).await? else {
        return Err(SecretError::NoServer(slug.to_owned()).into());
    };
    // What an earlier bmm was asked to do and did not come to.
    db.withdraw_order(slug).await?;
    match order {
        Order::Stop => {
            db.set_stopped(slug, true).await?;
            Ok(format!("{slug} is stopped; no bmm is running"))
        }
        Order::Start => {
            db.set_stopped(slug, false).await?;
            Ok(format!("`bmm up` will start {slug}"))
        }
        Order::Rollback => {
            if !db.swap_revisions(slug, SystemClock.now()).await? {
                return Err(NoPrevious(slug.to_owned()).into());
            }
            let now = db.server(slug).await?.unwrap_or(row);
            Ok(went_back(&now))
        }
    }
}
