//! What a service does from time to time: every step that is due.

use std::time::SystemTime;

use super::error::SqlError;
use super::sweep::{SweepConfig, SweepReport, Sweeper};
use super::vault::SqlVault;
use crate::error::VaultError;
use crate::rotation::Due;

/// What [`SqlVault::maintain`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Maintained {
    /// The steps taken, for the audit log.
    pub steps: Vec<Due>,
    /// What was swept.
    pub sweep: SweepReport,
}

impl SqlVault {
    /// Refreshes, stages and promotes keys that are due, sweeps the values of retiring ones, and retires those that
    /// nothing is sealed with any more once their grace is over. Call it twice within
    /// [`RotationPolicy::propagation`](crate::RotationPolicy::propagation), on every replica.
    ///
    /// # Errors
    ///
    /// Of the database, or as [`Vault::reload`](crate::Vault::reload). What was done stays done; call it again later.
    pub async fn maintain(&self, sweep: SweepConfig, now: SystemTime) -> Result<Maintained, SqlError> {
        self.refresh().await?;
        let mut steps = Vec::new();
        for due in self.due(now) {
            let done = match &due {
                Due::Stage { tenant } => self.stage(tenant.as_deref(), now).await.map(drop),
                Due::Promote { id } => self.promote(id, now).await,
                Due::Retire { .. } => continue,
            };
            if taken(done)? {
                steps.push(due);
            }
        }
        let sweep = Sweeper::new(self, sweep).run(now, |_| {}).await?;
        for due in self.due(now) {
            if let Due::Retire { id } = &due
                && taken(self.retire(id, now).await)?
            {
                steps.push(due);
            }
        }
        Ok(Maintained { steps, sweep })
    }

    fn due(&self, now: SystemTime) -> Vec<Due> {
        let vault = self.vault();
        vault.wrapped().due(self.rotation(), &vault.config().budget, now)
    }
}

/// Whether a step was taken; another replica may have been faster, and values may turn up late or not open.
fn taken(done: Result<(), SqlError>) -> Result<bool, SqlError> {
    match done {
        Ok(()) => Ok(true),
        Err(
            SqlError::Vault(VaultError::KeyState { .. })
            | SqlError::TooEarly { .. }
            | SqlError::StillUsed { .. }
            | SqlError::Busy,
        ) => Ok(false),
        Err(error) => Err(error),
    }
}
