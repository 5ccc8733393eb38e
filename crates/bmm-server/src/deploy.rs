//! From an admitted spec to a server that serves, and what there is to show of it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use bmm_deploy::{Deployer, Deployment, Probe, Removed, Site, Target};
use bmm_oauth::AuthorizationServer;
use bmm_oauth::{BoxFuture, Clock, Issuer, ResourceUri, Scopes};
use bmm_runner::RunnerConfig;
use bmm_runner::probe::{ProbeTarget, SmokeCall, probe};
use bmm_spec::{CompiledSpec, Spec};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::client_lines::client_lines;
use crate::db::{Db, DbError, LOCAL_ORGANISATION, NewServer, OpenOrder, Order, ServerRow, UserRow};
use crate::pages::{SecretField, ServerCard};
use crate::resources::BASE_SCOPE;
use crate::secrets::{SecretError, SecretStore, SecretValue};

const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
const PROBE_TOKEN_TTL: Duration = Duration::from_secs(60);

/// How soon a secret that `bmm secret` stored, or an order of another command, is noticed.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);

/// A spec that may be deployed, with the file it came from.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) spec: CompiledSpec,
    pub(crate) source: Vec<u8>,
}

/// The stored servers and the deployer that runs them.
pub(crate) struct Deploys {
    db: Db,
    clock: Arc<dyn Clock>,
    secrets: SecretStore,
    site: Arc<Site>,
    issuer: Issuer,
    smoke_calls: SmokeCalls,
    deployer: Deployer,
    turns: Mutex<HashMap<String, Arc<Turn>>>,
}

/// A server's rolls come one after the other. Holds the revision of its secrets that was rolled last, with or without success.
type Turn = tokio::sync::Mutex<i64>;

/// Why a secret is not in use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetSecretError {
    #[error(transparent)]
    Refused(#[from] SecretError),
    #[error("it is stored, but the server did not start with it, and goes on with what it had: {0:#}")]
    NotInUse(anyhow::Error),
}

impl Deploys {
    pub(crate) fn new(
        db: Db,
        clock: Arc<dyn Clock>,
        secrets: SecretStore,
        site: Arc<Site>,
        issuer: Issuer,
        smoke_calls: SmokeCalls,
        deployer: Deployer,
    ) -> Self {
        Self {
            db,
            clock,
            secrets,
            site,
            issuer,
            smoke_calls,
            deployer,
            turns: Mutex::default(),
        }
    }

    /// Starts every stored server except those of `replaced` and those that were stopped. One that does not start is reported and does not hold up the others.
    pub(crate) async fn resume(
        self: &Arc<Self>,
        replaced: &[Admitted],
    ) -> anyhow::Result<Vec<anyhow::Error>> {
        let mut starts = JoinSet::new();
        for row in self.db.servers().await? {
            let is_replaced = |admitted: &Admitted| admitted.spec.slug.as_str() == row.slug;
            if row.stopped || replaced.iter().any(is_replaced) {
                continue;
            }
            let deploys = Arc::clone(self);
            // The deployer bounds how many start at once.
            starts.spawn(async move {
                let turn = deploys.turn(&row.slug);
                deploys.start_stored(&row, &mut *turn.lock().await).await.err()
            });
        }
        let mut failed = Vec::new();
        while let Some(start) = starts.join_next().await {
            failed.extend(start.context("a start was broken off")?);
        }
        Ok(failed)
    }

    /// Rolls to a new revision and keeps it once it serves. If it does not, the one before goes on and stays stored. What was stopped
    /// stays so unless it is given another spec.
    pub(crate) async fn replace(&self, admitted: Admitted) -> anyhow::Result<()> {
        let Admitted { spec, source } = admitted;
        let turn = self.turn(spec.slug.as_str());
        let mut turn = turn.lock().await;
        let stored = self.db.server(spec.slug.as_str()).await?;
        if let Some(row) = stored.as_ref().filter(|row| row.spec_digest == spec.spec_digest) {
            return match row.stopped {
                true => Ok(()),
                false => self.start_stored(row, &mut turn).await,
            };
        }
        let revision = self.db.next_revision(spec.slug.as_str()).await?;
        let new = NewServer {
            slug: spec.slug.to_string(),
            spec_digest: spec.spec_digest.clone(),
            source,
            compiled: serde_json::to_string(&spec)?,
        };
        self.roll(spec, &new.source, LOCAL_ORGANISATION, revision, &mut turn)
            .await?;
        self.db.put_server(&new, revision, self.clock.now()).await?;
        Ok(())
    }

    /// Keeps a secret of a user's server and rolls the server, so that the secret is in use when this returns.
    pub(crate) async fn set_secret(
        &self,
        user: &UserRow,
        slug: &str,
        name: &str,
        value: &SecretValue,
    ) -> Result<(), SetSecretError> {
        self.secrets
            .set(&user.organisation, slug, name, value, self.clock.now())
            .await?;
        let turn = self.turn(slug);
        let mut turn = turn.lock().await;
        self.start_slug(slug, &mut turn)
            .await
            .map_err(SetSecretError::NotInUse)
    }

    /// Takes up what other commands store while we run: secrets and orders. Never returns.
    pub(crate) async fn follow(self: &Arc<Self>) {
        let mut ticks = interval(FOLLOW_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = self.take_up_orders().await {
                tracing::warn!(%error, "cannot look for orders");
            }
            if let Err(error) = self.take_up_secrets().await {
                tracing::warn!(%error, "cannot look for new secrets");
            }
        }
    }

    /// What a user sees of the servers of their organisation.
    pub(crate) async fn cards(&self, user: &UserRow) -> anyhow::Result<Vec<ServerCard>> {
        let routed: HashSet<String> = self
            .deployer
            .status()
            .into_iter()
            .filter(|instance| instance.routed)
            .map(|instance| instance.slug)
            .collect();
        let set: HashSet<_> = self.db.secret_names().await?.into_iter().collect();
        let rows = self.db.servers().await?;
        Ok(rows
            .iter()
            .filter(|row| row.organisation == user.organisation)
            .filter_map(|row| {
                // One that cannot be read must not hide the others.
                self.card(row, routed.contains(&row.slug), &set)
                    .inspect_err(
                        |error| tracing::error!(slug = row.slug, %error, "a stored spec cannot be read"),
                    )
                    .ok()
            })
            .collect())
    }

    /// Ends all servers once their calls have ended.
    pub(crate) async fn shut_down(&self) {
        self.deployer.shutdown().await;
    }

    /// Rolls every server whose secrets have changed since its last roll: one try per change.
    async fn take_up_secrets(self: &Arc<Self>) -> Result<(), DbError> {
        for (slug, revision) in self.db.secret_revisions().await? {
            // Whoever has the turn rolls just now; the next look shows whether that did it.
            let Ok(mut turn) = self.turn(&slug).try_lock_owned() else {
                continue;
            };
            if *turn >= revision {
                continue;
            }
            *turn = revision;
            let deploys = Arc::clone(self);
            tokio::spawn(async move {
                if let Err(error) = deploys.start_slug(&slug, &mut turn).await {
                    let error = format!("{error:#}");
                    tracing::error!(slug, error, "a server did not start with its new secrets");
                }
            });
        }
        Ok(())
    }

    async fn take_up_orders(self: &Arc<Self>) -> Result<(), DbError> {
        for order in self.db.open_orders().await? {
            // Whoever has the turn is at work on the server; the next look finds the order again.
            let Ok(mut turn) = self.turn(&order.slug).try_lock_owned() else {
                continue;
            };
            let deploys = Arc::clone(self);
            tokio::spawn(async move {
                let outcome = deploys.carry_out(&order, &mut turn).await;
                let outcome = outcome.map_err(|error| format!("{error:#}"));
                if let Err(error) = &outcome {
                    tracing::error!(slug = order.slug, order = ?order.order, error, "an order was not carried out");
                }
                if let Err(error) = deploys.db.close_order(&order, &outcome).await {
                    tracing::error!(slug = order.slug, %error, "cannot note what came of an order");
                }
            });
        }
        Ok(())
    }

    /// What was done, in words. Done twice, it is done.
    async fn carry_out(&self, order: &OpenOrder, turn: &mut i64) -> anyhow::Result<String> {
        let slug = order.slug.as_str();
        match order.order {
            Order::Stop => {
                // First, so that it stays down whatever happens now.
                self.db.set_stopped(slug, true).await?;
                let removed = self.deployer.remove(slug).await;
                Ok(removed.map_or_else(|| format!("{slug} was not running"), |removed| stopped(&removed)))
            }
            Order::Start => {
                self.db.set_stopped(slug, false).await?;
                self.start_slug(slug, turn).await?;
                Ok(format!("{slug} serves at {}", self.site.mcp_url(slug)))
            }
            Order::Rollback => {
                let previous = match self.db.server(slug).await? {
                    // It was done, and only not noted.
                    Some(row) if order.revision == Some(row.revision) => return Ok(went_back(&row)),
                    _ => self.db.previous(slug).await?,
                };
                let previous = previous.ok_or_else(|| NoPrevious(slug.to_owned()))?;
                if order.revision != Some(previous.revision) {
                    return Err(anyhow!("another revision was deployed meanwhile"));
                }
                if !previous.stopped {
                    self.start_stored(&previous, turn).await?;
                }
                // Kept once it serves, as every revision.
                self.db.swap_revisions(slug, self.clock.now()).await?;
                Ok(went_back(&previous))
            }
        }
    }

    /// The turns are as many as the stored servers: a slug comes here once it is one of theirs.
    fn turn(&self, slug: &str) -> Arc<Turn> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(turns.entry(slug.to_owned()).or_default())
    }

    async fn start_slug(&self, slug: &str, turn: &mut i64) -> anyhow::Result<()> {
        match self.db.server(slug).await? {
            Some(row) if row.stopped => Ok(()),
            Some(row) => self.start_stored(&row, turn).await,
            None => Err(SecretError::NoServer(slug.to_owned()).into()),
        }
    }

    async fn start_stored(&self, row: &ServerRow, turn: &mut i64) -> anyhow::Result<()> {
        let spec: CompiledSpec = serde_json::from_str(&row.compiled)
            .with_context(|| format!("the stored spec of {} cannot be read", row.slug))?;
        spec.verify_digest()
            .with_context(|| format!("the stored spec of {} was changed", row.slug))?;
        self.roll(spec, &row.source, &row.organisation, row.revision, turn)
            .await
    }

    async fn roll(
        &self,
        spec: CompiledSpec,
        source: &[u8],
        organisation: &str,
        revision: i64,
        turn: &mut i64,
    ) -> anyhow::Result<()> {
        let slug = spec.slug.to_string();
        let sealed = self.secrets.sealed(&slug).await?;
        *turn = sealed.iter().map(|secret| secret.revision).max().unwrap_or(0);
        let secrets = self.secrets.open(organisation, &spec, &sealed).await?;
        // The deployer takes equal revisions for equal servers, and other secrets make another server.
        let revision = format!("{revision}.{turn}");
        let allowed_domains = spec.allowed_domains.clone();
        let public_url = resource(&self.site, &slug)?;
        let expectation = serde_json::to_vec(&Expectation::of(&spec, source, self.smoke_calls))?;
        let config = RunnerConfig::new(spec, public_url, self.issuer.clone()).with_secrets(secrets);
        let deployment = Deployment::new(slug, revision, config.to_bytes()?.to_vec())
            .with_egress(allowed_domains)
            .with_expectation(expectation);
        self.deployer.roll(deployment).await?;
        Ok(())
    }

    fn card(
        &self,
        row: &ServerRow,
        running: bool,
        set: &HashSet<(String, String)>,
    ) -> anyhow::Result<ServerCard> {
        let spec: CompiledSpec = serde_json::from_str(&row.compiled)?;
        let mcp_url = self.site.mcp_url(&row.slug);
        let example = example(&row.source);
        let example = example
            .as_ref()
            .map(|(tool, input)| (tool.as_str(), input.as_str()));
        let secrets = spec.required_secrets.into_iter().map(|secret| SecretField {
            is_set: set.contains(&(row.slug.clone(), secret.name.clone())),
            name: secret.name,
            description: secret.description,
            how_to_get_url: secret.how_to_get_url,
        });
        Ok(ServerCard {
            slug: row.slug.clone(),
            name: spec.name,
            description: spec.description,
            lines: client_lines(&row.slug, &mcp_url, example),
            mcp_url,
            revision: row.revision,
            running,
            secrets: secrets.collect(),
            tools: spec.tools.into_iter().map(|tool| tool.name).collect(),
        })
    }
}

/// There is no revision to go back to.
#[derive(Debug, thiserror::Error)]
#[error("{0} has no earlier revision to go back to")]
pub(crate) struct NoPrevious(pub(crate) String);

/// What going back to this revision has come to.
pub(crate) fn went_back(to: &ServerRow) -> String {
    let (slug, revision) = (&to.slug, to.revision);
    match to.stopped {
        true => format!("{slug} is back at revision {revision}, and stopped"),
        false => format!("{slug} is back at revision {revision}"),
    }
}

/// What was taken down with a server.
fn stopped(removed: &Removed) -> String {
    let mut text = match removed.was_routed {
        true => format!("{} is stopped: no requests are led to it any more", removed.slug),
        false => format!("{} is stopped: no requests were led to it", removed.slug),
    };
    for runner in &removed.runners {
        let process = runner
            .pid
            .map_or_else(String::new, |pid| format!(" (process {pid})"));
        let how = runner.how.as_deref().unwrap_or("it never served");
        text.push_str(&format!(
            "\nthe runner of revision {}{process} has ended: {how}",
            runner.revision
        ));
    }
    text
}

/// Whether a new revision must also answer an example, if it has one that needs nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SmokeCalls {
    Off,
    On,
}

/// What a revision must show before it is routed. Goes with it, since the one before is asked too as long as it serves.
#[derive(Deserialize, Serialize)]
struct Expectation {
    manifest_digest: String,
    smoke_call: Option<SmokeCall>,
}

impl Expectation {
    fn of(spec: &CompiledSpec, source: &[u8], smoke_calls: SmokeCalls) -> Self {
        let source = (smoke_calls == SmokeCalls::On).then(|| Spec::parse(source).ok());
        Self {
            manifest_digest: spec.manifest_digest.clone(),
            smoke_call: source.flatten().as_ref().and_then(SmokeCall::of),
        }
    }
}

/// Asks a new revision what a client would ask it, with a token of our own.
pub(crate) struct HealthProbe {
    pub(crate) authorization_server: AuthorizationServer,
    pub(crate) site: Arc<Site>,
}

impl HealthProbe {
    async fn ask(&self, target: &Target) -> anyhow::Result<()> {
        let expected: Expectation = serde_json::from_slice(&target.expectation)?;
        let resource = resource(&self.site, &target.slug)?;
        let scopes = Scopes::new([BASE_SCOPE])?;
        let token = self
            .authorization_server
            .mint_probe_token(&resource, &scopes, PROBE_TOKEN_TTL);
        let (origin, routed) = (self.site.origin(), target.routed);
        let target = ProbeTarget {
            socket: &target.socket,
            host: origin.split_once("://").map_or(origin, |(_, host)| host),
            token: &token,
            manifest_digest: &expected.manifest_digest,
            // Once is enough: it is somebody's code that runs.
            smoke_call: expected.smoke_call.as_ref().filter(|_| !routed),
        };
        Ok(probe(&target, PROBE_TIMEOUT).await?)
    }
}

impl Probe for HealthProbe {
    fn check<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move { self.ask(target).await.map_err(|error| format!("{error:#}")) })
    }
}

/// The server's OAuth resource. Whether plain http will do was decided with the public URL.
fn resource(site: &Site, slug: &str) -> anyhow::Result<ResourceUri> {
    Ok(ResourceUri::insecure_http(&site.mcp_url(slug))?)
}

/// A call that works, from the first tool of the spec file that has an example.
fn example(source: &[u8]) -> Option<(String, String)> {
    let spec: serde_json::Value = serde_json::from_slice(source).ok()?;
    let mut tools = spec.get("tools")?.as_array()?.iter();
    tools.find_map(|tool| {
        let input = tool.get("examples")?.get(0)?.get("input")?;
        Some((tool.get("name")?.as_str()?.to_owned(), input.to_string()))
    })
}
