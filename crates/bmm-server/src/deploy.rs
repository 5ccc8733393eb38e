//! From an admitted spec to a server that serves, and what there is to show of it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use bmm_deploy::{Deployer, Deployment, Probe, Site, Target};
use bmm_oauth::AuthorizationServer;
use bmm_oauth::{BoxFuture, Clock, Issuer, ResourceUri, Scopes};
use bmm_runner::RunnerConfig;
use bmm_runner::probe::{ProbeTarget, probe};
use bmm_spec::CompiledSpec;
use tokio::task::JoinSet;

use crate::client_lines::client_lines;
use crate::db::{Db, NewServer, ServerRow, UserRow};
use crate::pages::ServerCard;
use crate::resources::BASE_SCOPE;

const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
const PROBE_TOKEN_TTL: Duration = Duration::from_secs(60);

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
    site: Arc<Site>,
    issuer: Issuer,
    expected: Arc<Expected>,
    deployer: Deployer,
}

impl Deploys {
    pub(crate) fn new(
        db: Db,
        clock: Arc<dyn Clock>,
        site: Arc<Site>,
        issuer: Issuer,
        expected: Arc<Expected>,
        deployer: Deployer,
    ) -> Self {
        Self {
            db,
            clock,
            site,
            issuer,
            expected,
            deployer,
        }
    }

    /// Starts every stored server except those of `replaced`. One that does not start is reported and does not hold up the others.
    pub(crate) async fn resume(
        self: &Arc<Self>,
        replaced: &[Admitted],
    ) -> anyhow::Result<Vec<anyhow::Error>> {
        let mut starts = JoinSet::new();
        for row in self.db.servers().await? {
            if replaced
                .iter()
                .any(|admitted| admitted.spec.slug.as_str() == row.slug)
            {
                continue;
            }
            let deploys = Arc::clone(self);
            // The deployer bounds how many start at once.
            starts.spawn(async move { deploys.start_stored(&row).await.err() });
        }
        let mut failed = Vec::new();
        while let Some(start) = starts.join_next().await {
            failed.extend(start.context("a start was broken off")?);
        }
        Ok(failed)
    }

    /// Rolls to a new revision and keeps it once it serves. If it does not, the one before goes on and stays stored.
    pub(crate) async fn replace(&self, admitted: Admitted) -> anyhow::Result<()> {
        let Admitted { spec, source } = admitted;
        let stored = self.db.server(spec.slug.as_str()).await?;
        if let Some(row) = stored.as_ref().filter(|row| row.spec_digest == spec.spec_digest) {
            return self.start_stored(row).await;
        }
        let revision = stored.map_or(1, |row| row.revision + 1);
        let new = NewServer {
            slug: spec.slug.to_string(),
            spec_digest: spec.spec_digest.clone(),
            source,
            compiled: serde_json::to_string(&spec)?,
        };
        self.roll(spec, revision).await?;
        self.db.put_server(&new, revision, self.clock.now()).await?;
        Ok(())
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
        let rows = self.db.servers().await?;
        rows.iter()
            .filter(|row| row.organisation == user.organisation)
            .map(|row| self.card(row, routed.contains(&row.slug)))
            .collect()
    }

    /// Ends all servers once their calls have ended.
    pub(crate) async fn shut_down(&self) {
        self.deployer.shutdown().await;
    }

    async fn start_stored(&self, row: &ServerRow) -> anyhow::Result<()> {
        let spec: CompiledSpec =
            serde_json::from_str(&row.compiled).context("the stored spec cannot be read")?;
        spec.verify_digest().context("the stored spec was changed")?;
        self.roll(spec, row.revision).await
    }

    async fn roll(&self, spec: CompiledSpec, revision: i64) -> anyhow::Result<()> {
        let slug = spec.slug.to_string();
        let revision = revision.to_string();
        let allowed_domains = spec.allowed_domains.clone();
        let public_url = resource(&self.site, &slug)?;
        self.expected.set(&slug, &revision, &spec.manifest_digest);
        let config = RunnerConfig::new(spec, public_url, self.issuer.clone());
        let deployment =
            Deployment::new(slug, revision, config.to_bytes()?.to_vec()).with_egress(allowed_domains);
        self.deployer.roll(deployment).await?;
        Ok(())
    }

    fn card(&self, row: &ServerRow, running: bool) -> anyhow::Result<ServerCard> {
        let spec: CompiledSpec = serde_json::from_str(&row.compiled)?;
        let mcp_url = self.site.mcp_url(&row.slug);
        let example = example(&row.source);
        let example = example
            .as_ref()
            .map(|(tool, input)| (tool.as_str(), input.as_str()));
        Ok(ServerCard {
            slug: row.slug.clone(),
            name: spec.name,
            description: spec.description,
            lines: client_lines(&row.slug, &mcp_url, example),
            mcp_url,
            revision: row.revision,
            running,
            tools: spec.tools.into_iter().map(|tool| tool.name).collect(),
        })
    }
}

/// The manifest digests that revisions must show before they are routed, by slug.
#[derive(Default)]
pub(crate) struct Expected {
    digests: RwLock<HashMap<String, (String, String)>>,
}

impl Expected {
    fn set(&self, slug: &str, revision: &str, digest: &str) {
        let mut digests = self
            .digests
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        digests.insert(slug.to_owned(), (revision.to_owned(), digest.to_owned()));
    }

    fn get(&self, target: &Target) -> Option<String> {
        let digests = self
            .digests
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let (revision, digest) = digests.get(&target.slug)?;
        (*revision == target.revision).then(|| digest.clone())
    }
}

/// Asks a new revision what a client would ask it, with a token of our own.
pub(crate) struct HealthProbe {
    pub(crate) authorization_server: AuthorizationServer,
    pub(crate) site: Arc<Site>,
    pub(crate) expected: Arc<Expected>,
}

impl HealthProbe {
    async fn ask(&self, target: &Target) -> anyhow::Result<()> {
        let manifest_digest = self
            .expected
            .get(target)
            .ok_or_else(|| anyhow!("this revision is not expected"))?;
        let resource = resource(&self.site, &target.slug)?;
        let scopes = Scopes::new([BASE_SCOPE])?;
        let token = self
            .authorization_server
            .mint_probe_token(&resource, &scopes, PROBE_TOKEN_TTL);
        let origin = self.site.origin();
        let target = ProbeTarget {
            socket: &target.socket,
            host: origin.split_once("://").map_or(origin, |(_, host)| host),
            token: &token,
            manifest_digest: &manifest_digest,
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
