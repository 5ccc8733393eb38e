//! The revoked grants whose access tokens may still live, in memory: so that verifying a token asks no database. What this store revokes is in it at once, what
//! another replica revokes within a second.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use super::error::SqlError;
use crate::clock::Timestamp;
use crate::server::shared_read::{SharedRead, Unread};
use crate::server::store::{Revocations, RevokedGrant};

/// How old what is known may be.
const FRESH: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct RevokedGrants {
    known: RwLock<Known>,
    is_read: SharedRead,
}

#[derive(Debug, Default)]
struct Known {
    ends_at: HashMap<String, Timestamp>,
    epoch: String,
    next: u64,
}

impl Known {
    fn add(&mut self, grant_id: String, ends_at: Timestamp) {
        let known = self.ends_at.entry(grant_id).or_insert(ends_at);
        *known = ends_at.max(*known);
    }
}

impl Default for RevokedGrants {
    fn default() -> Self {
        Self {
            known: RwLock::default(),
            is_read: SharedRead::new(FRESH),
        }
    }
}

impl RevokedGrants {
    /// Whether a grant is revoked. `read` reads a page of the sequence after a number.
    pub(super) async fn contains<R>(&self, grant_id: &str, read: impl Fn(u64) -> R) -> Result<bool, SqlError>
    where
        R: Future<Output = Result<Revocations, SqlError>>,
    {
        match self.is_read.run(self.catch_up(read)).await {
            Ok(()) => {}
            Err(Unread::Failed(error)) => return Err(error),
            Err(Unread::FailedBefore) => return Err(SqlError::FailedBefore),
            Err(Unread::Crowded) => return Err(SqlError::Crowded),
        }
        Ok(self.known(|known| known.ends_at.contains_key(grant_id)))
    }

    pub(super) fn insert(&self, grant_id: &str, ends_at: Timestamp) {
        self.change(|known| known.add(grant_id.to_owned(), ends_at));
    }

    /// Forgets the grants whose access tokens have all ended.
    pub(super) fn forget(&self, now: Timestamp) {
        self.change(|known| known.ends_at.retain(|_, ends_at| *ends_at > now));
    }

    async fn catch_up<R>(&self, read: impl Fn(u64) -> R) -> Result<(), SqlError>
    where
        R: Future<Output = Result<Revocations, SqlError>>,
    {
        loop {
            let after = self.known(|known| known.next);
            let page = read(after).await?;
            let same = self.known(|known| known.epoch.is_empty() || known.epoch == page.epoch);
            let done = page.next == after || page.revoked.is_empty();
            self.change(|known| {
                for RevokedGrant { grant_id, until } in page.revoked {
                    known.add(grant_id, until);
                }
                known.epoch = page.epoch;
                // Another store stands behind the URL: it is read from its beginning.
                known.next = if same { page.next } else { 0 };
            });
            if same && done {
                return Ok(());
            }
        }
    }

    fn known<T>(&self, look: impl FnOnce(&Known) -> T) -> T {
        look(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change<T>(&self, change: impl FnOnce(&mut Known) -> T) -> T {
        change(&mut self.known.write().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::task::JoinSet;
    use tokio::time::{Instant, sleep};

    use super::*;

    /// A database that takes longer for an answer than the answer stays fresh, and one that does not answer.
    #[tokio::test(start_paused = true)]
    async fn a_slow_or_failing_database_is_asked_once_for_all_requests() {
        for fails in [false, true] {
            let (grants, pages) = (Arc::new(RevokedGrants::default()), Arc::new(AtomicUsize::new(0)));
            let began = Instant::now();
            let requests: JoinSet<_> = (0..300)
                .map(|_| {
                    let (grants, pages) = (Arc::clone(&grants), Arc::clone(&pages));
                    let page = move |next| {
                        pages.fetch_add(1, Ordering::SeqCst);
                        async move {
                            sleep(Duration::from_secs(3)).await;
                            let (epoch, revoked) = ("epoch".to_owned(), Vec::new());
                            let page = Revocations { epoch, next, revoked };
                            if fails { Err(SqlError::Damaged) } else { Ok(page) }
                        }
                    };
                    async move { grants.contains("grant", page).await }
                })
                .collect();
            for answer in requests.join_all().await {
                assert_eq!(answer.is_err(), fails);
            }
            assert_eq!(pages.load(Ordering::SeqCst), 1);
            assert_eq!(began.elapsed().as_secs(), 3);
        }
    }
}
