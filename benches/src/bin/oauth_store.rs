//! Durable refresh rotations a second on SQLite: many families at once, whose rotations share commits, beside the same families one commit each. Both in
//! one run on one disk, in turns, each with what the disk's `fsync` gives just then: where that costs nothing, neither does a commit. With `--postgres`,
//! PostgreSQL too.
//!
//! ```console
//! $ cargo run --release -p bmm-benches --bin oauth_store -- --folder /var/tmp
//! ```

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bmm_oauth::{
    AuthorizationCode, AuthorizationRequest, Grant, NewRefresh, Once as _, OnceKind, Redemption, Replay,
    Rotation, Scopes, SecretHash, SqlStore, Store, Subject, Timestamp,
};
use clap::Parser;
use serde_json::json;
use tokio::sync::Semaphore;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const LATER: Timestamp = Timestamp::from_secs(1_900_000_000);
/// As long as the sealed answer of a real rotation.
const REPLAY_BYTES: usize = 900;

/// Command line.
#[derive(Parser)]
struct Args {
    /// Folder on the disk to measure; the databases are made in it and removed.
    #[arg(long, default_value = ".")]
    folder: PathBuf,
    /// A PostgreSQL database to measure too; tables are made in it.
    #[arg(long)]
    postgres: Option<String>,
    /// Families that rotate at once.
    #[arg(long, default_value_t = 64)]
    families: usize,
    /// Seconds of each turn.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Turns of each kind.
    #[arg(long, default_value_t = 3)]
    turns: usize,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let folder = tempfile::tempdir_in(&args.folder).context("making a folder for the databases")?;
    let turn = Duration::from_secs(args.seconds);
    let store = SqlStore::open(&folder.path().join("auth.db")).await?;
    store.migrate().await?;
    let families = Families::sign_in(Arc::new(store), args.families).await?;
    let mut ratios = Vec::new();
    for _ in 0..args.turns {
        let synced = fsyncs(folder.path())?;
        let alone = families.rotate(turn, 1).await?;
        let grouped = families.rotate(turn, args.families).await?;
        ratios.push(grouped / alone);
        println!(
            "{}",
            json!({
                "families": args.families,
                "fsyncs_per_s": synced.round(),
                "sqlite_one_commit_each_per_s": alone.round(),
                "sqlite_group_commit_per_s": grouped.round(),
                "ratio": (10.0 * grouped / alone).round() / 10.0,
            })
        );
    }
    println!("{}", json!({ "ratio": (10.0 * median(ratios)?).round() / 10.0 }));
    if let Some(url) = &args.postgres {
        let store = SqlStore::connect(url).await?;
        store.migrate().await?;
        let families = Families::sign_in(Arc::new(store), args.families).await?;
        let rate = families.rotate(turn, args.families).await?;
        println!(
            "{}",
            json!({ "families": args.families, "postgres_per_s": rate.round() })
        );
    }
    Ok(())
}

struct Families {
    store: Arc<SqlStore>,
    /// Sets the tokens of this run apart from those of an earlier one in the same database.
    run: u128,
    lines: Vec<tokio::sync::Mutex<Line>>,
}

/// A family, and its newest token.
struct Line {
    family: usize,
    number: u64,
}

impl Families {
    async fn sign_in(store: Arc<SqlStore>, count: usize) -> anyhow::Result<Arc<Self>> {
        let run = std::process::id().into();
        let families = Self {
            store,
            run,
            lines: (0..count)
                .map(|family| tokio::sync::Mutex::new(Line { family, number: 0 }))
                .collect(),
        };
        for family in 0..count {
            let code = SecretHash::of(&format!("code {run} {family}"));
            let grant = grant(format!("{run}-{family}"))?;
            families.store.put_code(code, self::code(&grant)).await?;
            let refresh = families.refresh(family, 0);
            let redeemed = families.store.redeem_code(code, grant, refresh, NOW).await?;
            ensure!(redeemed == Redemption::Redeemed, "the code is fresh");
        }
        // A write of another kind, so that the first rotation pays for no first statement.
        families
            .store
            .put(OnceKind::Consent, SecretHash::of("warm"), Vec::new(), NOW)
            .await?;
        Ok(Arc::new(families))
    }

    /// Rotations a second, with so many in flight.
    async fn rotate(self: &Arc<Self>, turn: Duration, in_flight: usize) -> anyhow::Result<f64> {
        let places = Arc::new(Semaphore::new(in_flight));
        let started = Instant::now();
        let walks: Vec<_> = (0..self.lines.len())
            .map(|family| {
                let (families, places) = (Arc::clone(self), Arc::clone(&places));
                tokio::spawn(async move {
                    let mut done = 0_u64;
                    while started.elapsed() < turn {
                        let _place = places.acquire().await?;
                        families.rotate_one(family).await?;
                        done += 1;
                    }
                    anyhow::Ok(done)
                })
            })
            .collect();
        let mut done = 0;
        for walk in walks {
            done += walk.await??;
        }
        Ok(done as f64 / started.elapsed().as_secs_f64())
    }

    async fn rotate_one(&self, family: usize) -> anyhow::Result<()> {
        let mut line = self.lines.get(family).context("a family")?.lock().await;
        let old = self.refresh(line.family, line.number).hash;
        line.number += 1;
        let replay = Replay {
            sealed: vec![7; REPLAY_BYTES],
            expires_at: LATER,
        };
        let successor = self.refresh(line.family, line.number);
        let rotated = self
            .store
            .rotate_refresh(old, successor, Some(replay), NOW)
            .await?;
        ensure!(rotated == Rotation::Rotated, "the token is the newest one");
        Ok(())
    }

    fn refresh(&self, family: usize, number: u64) -> NewRefresh {
        NewRefresh {
            hash: SecretHash::of(&format!("refresh {} {family} {number}", self.run)),
            expires_at: LATER,
        }
    }
}

fn grant(id: String) -> anyhow::Result<Grant> {
    Ok(Grant {
        id,
        client_id: "bench".to_owned(),
        subject: Subject::new("alice"),
        resource: "https://mcp.example.com/files/mcp".parse()?,
        scopes: Scopes::new(["mcp:read"])?,
        expires_at: LATER,
        revoked: false,
    })
}

fn code(grant: &Grant) -> AuthorizationCode {
    AuthorizationCode {
        request: AuthorizationRequest {
            client_id: grant.client_id.clone(),
            redirect_uri: "https://client.example/cb".to_owned(),
            redirect_uri_was_sent: true,
            state: None,
            code_challenge: "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM".to_owned(),
            resource: grant.resource.clone(),
            scopes: grant.scopes.clone(),
            dpop_jkt: None,
        },
        subject: grant.subject.clone(),
        grant_id: grant.id.clone(),
        expires_at: LATER,
    }
}

/// What the disk gives: blocks appended and synced, a second.
fn fsyncs(folder: &Path) -> anyhow::Result<f64> {
    let mut file = std::fs::File::create(folder.join("probe"))?;
    let (started, mut done) = (Instant::now(), 0_u32);
    while started.elapsed() < Duration::from_secs(1) {
        file.write_all(&[0; 4096])?;
        file.sync_data()?;
        done += 1;
    }
    Ok(f64::from(done) / started.elapsed().as_secs_f64())
}

fn median(mut ratios: Vec<f64>) -> anyhow::Result<f64> {
    ratios.sort_by(f64::total_cmp);
    ratios.get(ratios.len() / 2).copied().context("no turn was run")
}
