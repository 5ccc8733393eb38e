//! Runners as caged child processes of the host.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bmm_cage::{Cage, Caged, End, Launcher, Profile};
use futures_util::future::BoxFuture;

use super::{Body, LaunchError, Launched, RunnerName, Runtime};
use crate::container::UidRange;
use crate::hardening::HardeningReport;
use crate::seat::{RuntimeError, Seats};

/// Starts runners with a [`Launcher`], each listening on a socket that this process made and keeps.
pub struct ProcessRuntime {
    launcher: Launcher,
    role: String,
    cage: Cage,
    seats: Seats,
}

impl ProcessRuntime {
    /// Runs `role` of `launcher`. `run_dir` holds one socket per running revision; it is made if it is missing, must be
    /// this user's alone (0700), and what an earlier process left in it is removed, so no two processes may share it.
    pub fn new(launcher: Launcher, role: &str, run_dir: impl Into<PathBuf>) -> Result<Self, RuntimeError> {
        Ok(Self {
            launcher,
            role: role.to_owned(),
            cage: Cage::new(Profile::Runner),
            seats: Seats::new(run_dir)?,
        })
    }

    /// Another cage: other limits, or no start unless every control holds.
    pub fn with_cage(mut self, cage: Cage) -> Self {
        self.cage = cage;
        self
    }

    /// Seats are numbered on, so there are as many in a row without a user in common as the range has.
    fn user_of(&self, seat: u64) -> Option<u32> {
        let instance = self.seats.run_dir().to_string_lossy();
        UidRange::HOST.uid(&instance, seat, &BTreeSet::new())
    }
}

impl Runtime for ProcessRuntime {
    fn seats(&self) -> &Seats {
        &self.seats
    }

    /// The launcher bounds the time; the user, where this process may give it one, is all that tells a runner from another.
    fn launch<'a>(
        &'a self,
        name: &'a RunnerName,
        _: Duration,
    ) -> BoxFuture<'a, Result<Launched, LaunchError>> {
        let (launcher, role, mut cage) = (self.launcher.clone(), self.role.clone(), self.cage.clone());
        cage.user = self.user_of(name.seat);
        Box::pin(async move {
            let launched = tokio::task::spawn_blocking(move || launcher.launch(&role, &cage));
            let mut caged = launched.await.map_err(io::Error::other)??;
            let channel = caged
                .channel()
                .ok_or_else(|| io::Error::other("a caged process without a channel"))?;
            Ok(Launched {
                channel,
                report: HardeningReport::from(caged.report()),
                body: Box::new(Process(Some(caged))),
            })
        })
    }

    /// Nothing to do: a caged process ends with its parent, and its socket went when the directory was taken over.
    fn sweep(&self) -> BoxFuture<'_, Result<usize, LaunchError>> {
        Box::pin(async { Ok(0) })
    }
}

impl fmt::Debug for ProcessRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessRuntime")
            .field("role", &self.role)
            .field("seats", &self.seats)
            .finish_non_exhaustive()
    }
}

/// `None` once it was ended.
struct Process(Option<Caged>);

impl Body for Process {
    fn pid(&self) -> u32 {
        self.0.as_ref().map_or(0, Caged::pid)
    }

    fn wait(&mut self) -> BoxFuture<'_, String> {
        Box::pin(async {
            match &mut self.0 {
                Some(caged) => describe(caged.wait().await),
                None => KILLED.to_owned(),
            }
        })
    }

    fn kill(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let Some(caged) = &mut self.0 else { return };
            caged.kill();
            if let Err(error) = caged.wait().await {
                tracing::warn!(%error, "cannot wait for a runner's end");
            }
            // Dropping may block, if waiting failed.
            let caged = self.0.take();
            let _ = tokio::task::spawn_blocking(move || drop(caged)).await;
        })
    }
}

const KILLED: &str = "killed";

fn describe(end: io::Result<End>) -> String {
    match end {
        Ok(End::Exited(code)) => format!("exit code {code}"),
        Ok(End::Killed(signal)) => format!("signal {signal}"),
        Err(error) => error.to_string(),
    }
}
