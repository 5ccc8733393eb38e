//! Runners as caged child processes of the host.

use std::fmt;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bmm_cage::door::{self, DoorError, Reply};
use bmm_cage::{Cage, CageError, CageReport, Caged, End, Launcher, Profile};
use tokio::task::AbortHandle;

use crate::deployment::Plan;
use crate::egress::EgressProxy;
use crate::socket;
use crate::upstream::Upstream;

/// Starts runners with a [`Launcher`], each listening on a socket that this process made and keeps.
pub struct ProcessRuntime {
    launcher: Launcher,
    role: String,
    cage: Cage,
    run_dir: PathBuf,
    next: AtomicU64,
}

impl ProcessRuntime {
    /// Runs `role` of `launcher`. `run_dir` holds one socket per running revision; it is made if it is missing, must be
    /// this user's alone (0700), and what an earlier process left in it is removed, so no two processes may share it.
    pub fn new(launcher: Launcher, role: &str, run_dir: impl Into<PathBuf>) -> Result<Self, RuntimeError> {
        let run_dir = run_dir.into();
        prepare(&run_dir).map_err(|source| RuntimeError {
            run_dir: run_dir.clone(),
            source,
        })?;
        Ok(Self {
            launcher,
            role: role.to_owned(),
            cage: Cage::new(Profile::Runner),
            run_dir,
            next: AtomicU64::new(1),
        })
    }

    /// Another cage: other limits, or no start unless every control holds.
    pub fn with_cage(mut self, cage: Cage) -> Self {
        self.cage = cage;
        self
    }

    /// A new place to serve from. Its number is unique while this process lives.
    pub(crate) fn seat(&self, slug: &str) -> io::Result<Seat> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.run_dir.join(format!("{slug}.{number}.sock"));
        let listener = socket::bind(&path)?;
        Ok(Seat {
            number,
            listener,
            upstream: Upstream::unix(path),
            left: AtomicBool::new(false),
        })
    }

    /// Starts a process on `seat` and waits until it says that it serves. On failure nothing is left behind but the seat.
    pub(crate) async fn start(
        &self,
        plan: &Plan,
        seat: &Seat,
        egress: EgressProxy,
        within: Duration,
    ) -> Result<Process, StartError> {
        let (launcher, role, cage) = (self.launcher.clone(), self.role.clone(), self.cage.clone());
        let launched = tokio::task::spawn_blocking(move || launcher.launch(&role, &cage));
        let mut caged = launched
            .await
            .map_err(|error| StartError::Io(io::Error::other(error)))??;
        match Process::introduce(plan, seat, egress, within, &mut caged).await {
            Ok((door, egress)) => Ok(Process {
                caged,
                door,
                _egress: egress,
            }),
            Err(error) => {
                end(caged).await;
                Err(error)
            }
        }
    }
}

impl fmt::Debug for ProcessRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessRuntime")
            .field("role", &self.role)
            .field("run_dir", &self.run_dir)
            .finish_non_exhaustive()
    }
}

/// The directory of sockets cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {} for the servers' sockets", run_dir.display())]
pub struct RuntimeError {
    /// The directory.
    pub run_dir: PathBuf,
    source: io::Error,
}

/// Where a revision serves from, whichever process does it: the listening socket outlives its process, and calls that come
/// in between wait in its queue.
pub(crate) struct Seat {
    pub(crate) number: u64,
    listener: UnixListener,
    pub(crate) upstream: Arc<Upstream>,
    left: AtomicBool,
}

impl Seat {
    /// Takes the socket's name away; who is connected stays so.
    pub(crate) fn leave(&self) {
        if self.left.swap(true, Ordering::Relaxed) {
            return;
        }
        if let Err(error) = std::fs::remove_file(self.upstream.socket()) {
            tracing::warn!(socket = %self.upstream.socket().display(), %error, "cannot remove a socket");
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.leave();
    }
}

/// A runner that serves.
pub(crate) struct Process {
    caged: Caged,
    door: door::Host,
    _egress: Egress,
}

impl Process {
    pub(crate) fn pid(&self) -> u32 {
        self.caged.pid()
    }

    pub(crate) fn report(&self) -> &CageReport {
        self.caged.report()
    }

    /// Asks it to finish what is in flight, and waits for its end. What it says or closes meanwhile does not matter.
    pub(crate) async fn drain(&mut self) -> Result<String, DoorError> {
        self.door.drain().await?;
        Ok(describe(self.caged.wait().await))
    }

    /// Waits for its end. A runner that closes its channel, or talks out of turn, is ended. Cancel-safe.
    pub(crate) async fn ended(&mut self) -> String {
        let closed = tokio::select! {
            end = self.caged.wait() => return describe(end),
            closed = self.door.closed() => closed,
        };
        if let Err(error) = closed {
            tracing::warn!(pid = self.pid(), %error, "the runner broke the door's rules");
            self.caged.kill();
        }
        // It closes the channel on its way out; what hangs there is ended.
        match tokio::time::timeout(Duration::from_millis(250), self.caged.wait()).await {
            Ok(end) => describe(end),
            Err(_) => {
                self.caged.kill();
                describe(self.caged.wait().await)
            }
        }
    }

    /// Ends it now.
    pub(crate) async fn kill(self) {
        end(self.caged).await;
    }

    async fn introduce(
        plan: &Plan,
        seat: &Seat,
        proxy: EgressProxy,
        within: Duration,
        caged: &mut Caged,
    ) -> Result<(door::Host, Egress), StartError> {
        let channel = caged.channel().ok_or(StartError::Door(DoorError::Closed))?;
        let mut door = door::Host::new(channel)?;
        let (requests, guests_end) = door::egress::pair()?;
        let egress =
            tokio::spawn(proxy.serve(plan.slug.clone(), Arc::clone(&plan.allowed_domains), requests));
        let egress = Egress(egress.abort_handle());
        let answer = tokio::time::timeout(within, async {
            door.hand_over(&plan.config, &seat.listener, &guests_end).await?;
            drop(guests_end);
            door.reply(within).await
        });
        match answer.await.map_err(|_| DoorError::Timeout)?? {
            Reply::Ready => Ok((door, egress)),
            Reply::Failed(reason) => Err(StartError::Refused(reason)),
        }
    }
}

/// Why a process did not come to serve.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("the runner cannot be started")]
    Cage(#[from] CageError),
    #[error("the runner did not come up")]
    Door(#[from] DoorError),
    #[error("the runner refused to start: {0}")]
    Refused(String),
    #[error("the runner cannot be started")]
    Io(#[from] io::Error),
}

/// The proxy of one process; ends with it.
struct Egress(AbortHandle);

impl Drop for Egress {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn end(mut caged: Caged) {
    caged.kill();
    if let Err(error) = caged.wait().await {
        tracing::warn!(%error, "cannot wait for a runner's end");
    }
    // Dropping may block, if waiting failed.
    let _ = tokio::task::spawn_blocking(move || drop(caged)).await;
}

fn describe(end: io::Result<End>) -> String {
    match end {
        Ok(End::Exited(code)) => format!("exit code {code}"),
        Ok(End::Killed(signal)) => format!("signal {signal}"),
        Err(error) => error.to_string(),
    }
}

fn prepare(run_dir: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(run_dir)?;
    let metadata = std::fs::symlink_metadata(run_dir)?;
    if !metadata.is_dir() || metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "not a directory of this user",
        ));
    }
    std::fs::set_permissions(run_dir, std::fs::Permissions::from_mode(0o700))?;
    for entry in std::fs::read_dir(run_dir)? {
        let entry = entry?;
        if entry.file_type()?.is_socket() {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
