//! Where the tokens that users brought from upstreams are kept: one row per user, and one way to write it.

use super::StoreResult;
use crate::clock::Timestamp;
use crate::verifier::Subject;

/// A user's tokens at an upstream, sealed.
#[derive(Clone, PartialEq, Eq)]
pub struct UpstreamTokenRow {
    /// Whose.
    pub subject: Subject,
    /// Name of the upstream.
    pub upstream: String,
    /// Counts the changes of the row; 1 at first.
    pub revision: u64,
    /// Counts the tokens, from a number that no earlier row of the subject had. What is sealed is bound to it.
    pub generation: u64,
    /// The tokens.
    pub sealed: String,
    /// Until when a replica may be refreshing them.
    pub lease_until: Option<Timestamp>,
    /// The upstream takes the refresh token no more.
    pub needs_sign_in: bool,
    /// When nobody can hold a grant for them any more.
    pub ends_at: Timestamp,
}

/// The sealed tokens are nobody's business.
impl std::fmt::Debug for UpstreamTokenRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UpstreamTokenRow")
            .field("subject", &self.subject)
            .field("upstream", &self.upstream)
            .field("revision", &self.revision)
            .field("generation", &self.generation)
            .field("needs_sign_in", &self.needs_sign_in)
            .finish_non_exhaustive()
    }
}

/// Tokens of upstreams. Every change is a compare-and-set over the row's revision, so that of any number of replicas that start from one
/// row, one gets its change in, and the others look again.
pub trait UpstreamTokenStore: Send + Sync + 'static {
    /// The row of this subject.
    fn upstream_token<'a>(&'a self, subject: &'a Subject) -> StoreResult<'a, Option<UpstreamTokenRow>>;

    /// In one step: writes `row` if it follows on what is stored, which is a row of the revision before it and of its generation or the one
    /// before, or none before revision 1. Says whether it did. `sealed` is written with a new generation only, since it may have been sealed anew meanwhile.
    fn put_upstream_token(&self, row: UpstreamTokenRow) -> StoreResult<'_, bool>;

    /// Removes the row of this subject.
    fn remove_upstream_token<'a>(&'a self, subject: &'a Subject) -> StoreResult<'a, ()>;

    /// Removes rows that ended before `now`, at most `limit`. Says how many went.
    fn sweep_upstream_tokens(&self, now: Timestamp, limit: u32) -> StoreResult<'_, u64>;
}

impl<S: UpstreamTokenStore + ?Sized> UpstreamTokenStore for std::sync::Arc<S> {
    fn upstream_token<'a>(&'a self, subject: &'a Subject) -> StoreResult<'a, Option<UpstreamTokenRow>> {
        (**self).upstream_token(subject)
    }

    fn put_upstream_token(&self, row: UpstreamTokenRow) -> StoreResult<'_, bool> {
        (**self).put_upstream_token(row)
    }

    fn remove_upstream_token<'a>(&'a self, subject: &'a Subject) -> StoreResult<'a, ()> {
        (**self).remove_upstream_token(subject)
    }

    fn sweep_upstream_tokens(&self, now: Timestamp, limit: u32) -> StoreResult<'_, u64> {
        (**self).sweep_upstream_tokens(now, limit)
    }
}
