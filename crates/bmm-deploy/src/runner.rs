//! A runner from its introduction at the door to its end, whatever runs it.

use std::sync::Arc;
use std::time::Duration;

use bmm_cage::door::{self, DoorError, Reply};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use crate::deployment::Plan;
use crate::egress::EgressProxy;
use crate::hardening::HardeningReport;
use crate::runtime::{Body, LaunchError, Launched, RunnerName, Runtime};
use crate::seat::Seat;

/// A runner that serves.
pub(crate) struct Runner {
    body: Box<dyn Body>,
    report: HardeningReport,
    door: door::Host,
    _egress: Egress,
}

/// Why a runner did not come to serve.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(transparent)]
    Launch(#[from] LaunchError),
    #[error("the runner did not come up")]
    Door(#[from] DoorError),
    #[error("the runner did not come up: it ended with {0}")]
    Ended(String),
    #[error("the runner refused to start: {0}")]
    Refused(String),
}

/// Starts a runner on `seat` and waits until it says that it serves. On failure nothing is left behind but the seat.
pub(crate) async fn start(
    runtime: &dyn Runtime,
    plan: &Plan,
    seat: &Seat,
    egress: EgressProxy,
    within: Duration,
) -> Result<Runner, StartError> {
    let name = RunnerName {
        slug: plan.slug.clone(),
        revision: plan.revision.clone(),
        seat: seat.number,
    };
    let Launched {
        channel,
        report,
        mut body,
    } = runtime.launch(&name, within).await?;
    tracing::trace!(slug = name.slug, seat = name.seat, "a runner is there");
    match introduce(plan, seat, egress, within, channel).await {
        Ok((door, egress)) => {
            tracing::trace!(slug = name.slug, seat = name.seat, "it has what it needs");
            Ok(Runner {
                body,
                report,
                door,
                _egress: egress,
            })
        }
        Err(error) => {
            // One that ended by itself can tell how.
            let ended = match error {
                StartError::Door(DoorError::Closed) => timeout(LAST_MOMENT, body.wait()).await.ok(),
                _ => None,
            };
            body.kill().await;
            Err(ended.map_or(error, StartError::Ended))
        }
    }
}

impl Runner {
    pub(crate) fn pid(&self) -> u32 {
        self.body.pid()
    }

    pub(crate) fn report(&self) -> &HardeningReport {
        &self.report
    }

    /// Asks it to finish what is in flight, waits for its end and leaves nothing of it. What it says or closes meanwhile does not
    /// matter.
    pub(crate) async fn drain(&mut self) -> Result<String, DoorError> {
        self.door.drain().await?;
        let closed = async {
            // Words out of turn end it as well.
            let _ = self.door.closed().await;
            sleep(LAST_MOMENT).await;
        };
        // A runtime that cannot tell its end (a daemon that is away) is not waited for.
        let how = tokio::select! {
            how = self.body.wait() => how,
            () = closed => "its channel closed".to_owned(),
        };
        self.body.kill().await;
        Ok(how)
    }

    /// Waits for its end, and leaves nothing of it. A runner that closes its channel, or talks out of turn, is ended. Cancel-safe.
    pub(crate) async fn ended(&mut self) -> String {
        let closed = tokio::select! {
            how = self.body.wait() => {
                self.body.kill().await;
                return how;
            }
            closed = self.door.closed() => closed,
        };
        // It closes the channel on its way out; what hangs there is ended.
        let how = match closed {
            Ok(()) => timeout(LAST_MOMENT, self.body.wait()).await.ok(),
            Err(error) => {
                tracing::warn!(pid = self.pid(), %error, "the runner broke the door's rules");
                None
            }
        };
        self.body.kill().await;
        match how {
            Some(how) => how,
            None => self.body.wait().await,
        }
    }

    /// Ends it now.
    pub(crate) async fn kill(mut self) {
        // Whatever keeps the runtime from ending it: without its channel a runner ends by itself.
        drop(self.door);
        self.body.kill().await;
    }
}

/// What a runner may take to end once it has closed its channel, and its runtime to tell how (Podman looks four times a second).
const LAST_MOMENT: Duration = Duration::from_millis(500);

async fn introduce(
    plan: &Plan,
    seat: &Seat,
    proxy: EgressProxy,
    within: Duration,
    channel: std::os::fd::OwnedFd,
) -> Result<(door::Host, Egress), StartError> {
    let mut door = door::Host::new(channel)?;
    let (requests, guests_end) = door::egress::pair()?;
    let egress = tokio::spawn(proxy.serve(plan.slug.clone(), Arc::clone(&plan.allowed_domains), requests));
    let egress = Egress(egress.abort_handle());
    let answer = timeout(within, async {
        let bound = seat.bound();
        door.hand_over(&plan.config, &bound.listener, &guests_end).await?;
        drop(guests_end);
        door.reply(within).await
    });
    match answer.await.map_err(|_| DoorError::Timeout)?? {
        Reply::Ready => Ok((door, egress)),
        Reply::Failed(reason) => Err(StartError::Refused(reason)),
    }
}

/// The proxy of one runner; ends with it.
struct Egress(AbortHandle);

impl Drop for Egress {
    fn drop(&mut self) {
        self.0.abort();
    }
}
