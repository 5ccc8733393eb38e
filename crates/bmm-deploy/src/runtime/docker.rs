//! Runners as hardened containers of a Docker or Podman daemon.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bmm_cage::{Cage, Profile, contained};
use bollard::query_parameters::{KillContainerOptionsBuilder, ListContainersOptionsBuilder};
use futures_util::future::BoxFuture;
use tokio::time::{sleep, timeout};

use super::control::{self, ControlSocket, Guest};
use super::last_words::{describe, last_words};
use super::{Body, LaunchError, Launched, RunnerName, Runtime};
use crate::container::{
    ContainerId, ContainerLimits, ContainerPlan, ContainerSpec, Control, DaemonFacts, Docker, DockerError,
    Hardening, ImageId, SECCOMP_PROFILE, UidRange, compare, label,
};
use crate::hardening::HardeningReport;
use crate::seat::{RuntimeError, Seats};

/// Starts runners as containers, each listening on a socket that this process made and keeps.
pub struct DockerRuntime {
    docker: Docker,
    image: ImageId,
    instance: String,
    seats: Seats,
    facts: DaemonFacts,
    /// For a daemon that reads it from a file.
    seccomp_file: Option<PathBuf>,
    limits: ContainerLimits,
    hardening: Hardening,
    without: Option<Control>,
    cage: Cage,
    ours: Ours,
}

impl DockerRuntime {
    /// Runs `image` with `docker`. `instance` names this host among those that use the same daemon, now and after a restart: what
    /// carries it as a label and is not one of this runtime's is swept away. `run_dir` is as that of
    /// [`ProcessRuntime::new`](super::ProcessRuntime::new), and must be a directory of the daemon's machine.
    pub async fn new(
        docker: Docker,
        image: ImageId,
        instance: impl Into<String>,
        run_dir: impl Into<PathBuf>,
    ) -> Result<Self, DockerRuntimeError> {
        let run_dir = run_dir.into();
        let run_dir = std::path::absolute(&run_dir).unwrap_or(run_dir);
        let seats = Seats::new(&run_dir)?;
        let facts = docker.facts().await?;
        let seccomp_file = facts.podman.then(|| run_dir.join("seccomp.json"));
        prepare(&run_dir, seccomp_file.as_deref()).map_err(|source| RuntimeError { run_dir, source })?;
        let runtime = Self {
            docker,
            image,
            instance: instance.into(),
            seats,
            facts,
            seccomp_file,
            limits: ContainerLimits::default(),
            hardening: Hardening::Required,
            without: None,
            cage: Cage::new(Profile::Runner),
            ours: Ours::default(),
        };
        // Before the first start: a user is nobody else's.
        let there = containers(&runtime.docker).await?;
        runtime.ours.lock().others = there
            .iter()
            .filter(|one| !runtime.is_ours(one))
            .filter_map(|one| one.uid)
            .collect();
        Ok(runtime)
    }

    /// Other bounds.
    pub fn with_limits(mut self, limits: ContainerLimits) -> Self {
        self.limits = limits;
        self
    }

    /// For development: whatever the daemon does is taken, and said at every start.
    pub fn insecure_disable_hardening(mut self) -> Self {
        self.hardening = Hardening::Disabled;
        self
    }

    /// Leaves one wall out, and refuses the container for it: to see that its absence is noticed.
    #[doc(hidden)]
    pub fn insecure_without(mut self, control: Control) -> Self {
        self.without = Some(control);
        self
    }

    async fn bring_up(&self, name: &RunnerName, within: Duration) -> Result<Launched, LaunchError> {
        if self.hardening == Hardening::Disabled {
            tracing::warn!(
                slug = name.slug,
                "INSECURE: container hardening is disabled; this server runs with what the daemon gives to anybody"
            );
        }
        let place = self.ours.enter(self.facts.uids(), &self.instance, name.seat)?;
        let guest = if self.facts.rootless || self.facts.userns_remap {
            Guest::Mapped
        } else {
            Guest::User(place.uid)
        };
        let directory = format!("{}.{}", name.slug, name.seat);
        let control = ControlSocket::bind(self.seats.run_dir(), &directory, guest)?;
        let plan = self.plan(name, place.uid, control.directory())?;
        place.call(plan.name());
        let made = timeout(within, self.create(&plan)).await;
        let id = made.map_err(|_| LaunchError::DaemonTooSlow)??;
        tracing::trace!(container = plan.name(), "a container is there");
        // From here on it is removed whatever happens.
        let mut container = Container {
            docker: self.docker.clone(),
            id,
            pid: 0,
            held: Some((place, control)),
            end: None,
        };
        let up = timeout(within, self.meet(&plan, &mut container, within));
        let error = match up.await {
            Ok(Ok((channel, report))) => {
                return Ok(Launched {
                    channel,
                    report,
                    body: Box::new(container),
                });
            }
            Ok(Err(error)) => error,
            Err(_) => LaunchError::TooSlow,
        };
        container.kill().await;
        Err(error)
    }

    fn plan(&self, name: &RunnerName, uid: u32, control_dir: &Path) -> Result<ContainerPlan, LaunchError> {
        let spec = ContainerSpec {
            image: self.image.clone(),
            instance: self.instance.clone(),
            slug: name.slug.clone(),
            revision: name.revision.clone(),
            seat: name.seat,
            uid,
            control_dir: control_dir.to_owned(),
            limits: self.limits.clone(),
            oci_runtime: None,
            seccomp_file: self.seccomp_file.clone(),
            hardening: self.hardening,
        };
        let plan = spec.plan()?;
        Ok(match self.without {
            Some(control) => plan.insecure_without(control),
            None => plan,
        })
    }

    /// Makes the container. One of ours that still has its name is from an earlier life, and goes. (That the name is the reason
    /// is not said by every daemon in the same way.)
    async fn create(&self, plan: &ContainerPlan) -> Result<ContainerId, LaunchError> {
        let refused = match self.docker.create(plan).await {
            Err(refused @ DockerError::Refused { .. }) => refused,
            created => return Ok(created?),
        };
        let there = containers(&self.docker).await?;
        let Some(left) = there
            .iter()
            .find(|one| self.is_ours(one) && one.name == plan.name())
        else {
            return Err(refused.into());
        };
        tracing::info!(container = left.name, "removing what an earlier life has left");
        remove(&self.docker, &left.id).await;
        Ok(self.docker.create(plan).await?)
    }

    /// Starts the container, meets its first process, and lets it close its cage.
    async fn meet(
        &self,
        plan: &ContainerPlan,
        container: &mut Container,
        within: Duration,
    ) -> Result<(std::os::fd::OwnedFd, HardeningReport), LaunchError> {
        let (docker, id) = (self.docker.clone(), container.id.clone());
        docker.start(&id).await?;
        tracing::trace!(container = plan.name(), "it is started");
        let process = || -> BoxFuture<'static, Option<u32>> {
            let (docker, id) = (docker.clone(), id.clone());
            Box::pin(async move { pid_of(&docker, &id).await })
        };
        let Some((_, control)) = &mut container.held else {
            return Err(LaunchError::TooSlow);
        };
        let channel = tokio::select! {
            channel = control.accept(process) => channel?,
            code = docker.wait(&id) => return Err(ended_early(&docker, &id, code?).await),
        };
        // Its first process waits for its cage: what is seen now is what was built around it.
        let evidence = docker.evidence(&id).await?;
        container.pid = evidence.pid().unwrap_or(0);
        let found = compare(plan, &self.facts, &evidence);
        found.admit()?;
        if self.hardening == Hardening::Disabled {
            tracing::warn!(report = %found, "INSECURE");
        }
        let mut report = HardeningReport::from(&found);
        let closed = contained::close_cage(channel, &self.cage, within);
        let (channel, cage) = tokio::select! {
            closed = closed => closed?,
            code = docker.wait(&id) => return Err(ended_early(&docker, &id, code?).await),
        };
        let cage = HardeningReport::from(&cage);
        report.held.extend(cage.held.iter().map(own));
        report.missing.extend(cage.missing.into_iter().map(|mut missing| {
            missing.control = own(&missing.control);
            missing
        }));
        Ok((channel, report))
    }

    fn is_ours(&self, one: &Listed) -> bool {
        one.instance.as_deref() == Some(&self.instance)
    }
}

impl Runtime for DockerRuntime {
    fn seats(&self) -> &Seats {
        &self.seats
    }

    fn launch<'a>(
        &'a self,
        name: &'a RunnerName,
        within: Duration,
    ) -> BoxFuture<'a, Result<Launched, LaunchError>> {
        Box::pin(self.bring_up(name, within))
    }

    fn sweep(&self) -> BoxFuture<'_, Result<usize, LaunchError>> {
        Box::pin(async {
            let (mut removed, mut failed) = (0, None);
            let (ours, others): (Vec<_>, Vec<_>) = containers(&self.docker)
                .await?
                .into_iter()
                .partition(|one| self.is_ours(one));
            self.ours.lock().others = others.iter().filter_map(|one| one.uid).collect();
            for left in ours {
                // Looked at one by one: one that is being made now was not there when the list was.
                if self.ours.has(&left.name) {
                    continue;
                }
                tracing::info!(container = left.name, "removing a container that nobody wants");
                match self.docker.remove(&left.id).await {
                    Ok(()) => removed += 1,
                    Err(error) => failed = Some(error),
                }
            }
            failed.map_or(Ok(removed), |error| Err(error.into()))
        })
    }
}

impl fmt::Debug for DockerRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DockerRuntime")
            .field("docker", &self.docker)
            .field("image", &self.image)
            .field("instance", &self.instance)
            .field("seats", &self.seats)
            .field("facts", &self.facts)
            .finish_non_exhaustive()
    }
}

/// There is no place to run containers.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DockerRuntimeError {
    /// The directory of sockets cannot be used.
    #[error(transparent)]
    RunDir(#[from] RuntimeError),
    /// The daemon does not answer as it should.
    #[error(transparent)]
    Docker(#[from] DockerError),
}

/// A container of ours.
struct Container {
    docker: Docker,
    id: ContainerId,
    pid: u32,
    /// Its user and name, and its directory; given back when nothing of it is left.
    held: Option<(Place, ControlSocket)>,
    end: Option<String>,
}

impl Body for Container {
    fn pid(&self) -> u32 {
        self.pid
    }

    fn wait(&mut self) -> BoxFuture<'_, String> {
        Box::pin(async {
            loop {
                if let Some(end) = &self.end {
                    return end.clone();
                }
                match self.docker.wait(&self.id).await {
                    Ok(code) => {
                        // Who ends as it should has said nothing that explains it.
                        let words = match code {
                            0 => String::new(),
                            _ => last_words(&self.docker, &self.id).await,
                        };
                        self.end = Some(describe(code, &words));
                    }
                    Err(error) if error.is_not_found() => {
                        self.end = Some("removed by somebody else".to_owned())
                    }
                    // The daemon is away. If the runner is too, its door says so.
                    Err(error) => {
                        tracing::debug!(container = %self.id, %error, "cannot wait");
                        sleep(PAUSE).await;
                    }
                }
            }
        })
    }

    fn kill(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            if self.held.is_none() {
                return;
            }
            remove(&self.docker, &self.id).await;
            self.end.get_or_insert_with(|| "killed".to_owned());
            self.held = None;
        })
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let Some(held) = self.held.take() else { return };
        let (docker, id) = (self.docker.clone(), self.id.clone());
        // Without a runtime the next life's sweep does it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                remove(&docker, &id).await;
                drop(held);
            });
        }
    }
}

/// Between two tries of a daemon that is away.
const PAUSE: Duration = Duration::from_millis(500);

/// How long a daemon that is away is waited for to remove a container; then it is left to the sweep.
const REMOVAL_TIMEOUT: Duration = Duration::from_secs(5);

async fn remove(docker: &Docker, id: &ContainerId) {
    let removed = timeout(REMOVAL_TIMEOUT, async {
        // Podman asks politely before it removes, and waits. One that has ended already is no error worth a word.
        let at_once = KillContainerOptionsBuilder::default().signal("KILL").build();
        let _ = docker.client().kill_container(id.as_str(), Some(at_once)).await;
        while let Err(error) = docker.remove(id).await {
            tracing::debug!(container = %id, %error, "cannot remove");
            sleep(PAUSE).await;
        }
    });
    if removed.await.is_err() {
        tracing::warn!(container = %id, "the daemon does not remove a container; it is left to the sweep");
    }
}

/// The user and the name of one container, from before it is made until nothing of it is left.
struct Place {
    ours: Ours,
    uid: u32,
}

#[derive(Clone, Default)]
struct Ours(Arc<Mutex<Users>>);

#[derive(Default)]
struct Users {
    /// The names of this runtime's containers, by their users.
    ours: HashMap<u32, String>,
    /// The users of other instances' containers, as last seen.
    others: BTreeSet<u32>,
}

impl Ours {
    fn enter(&self, uids: UidRange, instance: &str, seat: u64) -> Result<Place, LaunchError> {
        let mut users = self.lock();
        let taken: BTreeSet<u32> = users.ours.keys().chain(&users.others).copied().collect();
        let uid = uids.uid(instance, seat, &taken).ok_or(LaunchError::NoUser)?;
        users.ours.insert(uid, String::new());
        Ok(Place {
            ours: self.clone(),
            uid,
        })
    }

    fn has(&self, name: &str) -> bool {
        self.lock().ours.values().any(|ours| ours == name)
    }

    fn lock(&self) -> MutexGuard<'_, Users> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    fn call(&self, name: &str) {
        self.ours.lock().ours.insert(self.uid, name.to_owned());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.ours.lock().ours.remove(&self.uid);
    }
}

/// A container of any bmm.
struct Listed {
    id: ContainerId,
    name: String,
    instance: Option<String>,
    uid: Option<u32>,
}

/// All containers of all instances, running and not.
async fn containers(docker: &Docker) -> Result<Vec<Listed>, DockerError> {
    let options = ListContainersOptionsBuilder::default()
        .all(true)
        .filters(&HashMap::from([("label", vec![label::INSTANCE])]))
        .build();
    let listed = docker.client().list_containers(Some(options)).await;
    let listed = listed.map_err(|error| DockerError::new("list containers", error))?;
    let listed = listed.into_iter().filter_map(|one| {
        let name = one.names?.into_iter().next()?;
        let mut labels = one.labels.unwrap_or_default();
        Some(Listed {
            id: ContainerId::from(one.id?),
            name: name.trim_start_matches('/').to_owned(),
            uid: labels.get(label::UID).and_then(|uid| uid.parse().ok()),
            instance: labels.remove(label::INSTANCE),
        })
    });
    Ok(listed.collect())
}

/// A control of the cage that a runner closes around itself, inside of the container's own.
fn own(control: impl fmt::Display) -> String {
    format!("runner's own {control}")
}

/// The number of a container's first process on this machine.
async fn pid_of(docker: &Docker, id: &ContainerId) -> Option<u32> {
    let inspected = docker.client().inspect_container(id.as_str(), None).await.ok()?;
    let pid = u32::try_from(inspected.state?.pid?).ok()?;
    (pid != 0).then_some(pid)
}

fn prepare(run_dir: &Path, seccomp_file: Option<&Path>) -> std::io::Result<()> {
    control::clear(run_dir)?;
    match seccomp_file {
        Some(path) => std::fs::write(path, SECCOMP_PROFILE),
        None => Ok(()),
    }
}

async fn ended_early(docker: &Docker, id: &ContainerId, code: i64) -> LaunchError {
    LaunchError::Ended(describe(code, &last_words(docker, id).await))
}
