//! Tokens of upstreams, in memory.

use super::MemoryStore;
use crate::clock::Timestamp;
use crate::server::store::{StoreResult, UpstreamTokenRow, UpstreamTokenStore};
use crate::verifier::Subject;

impl UpstreamTokenStore for MemoryStore {
    fn upstream_token<'a>(&'a self, subject: &'a Subject) -> StoreResult<'a, Option<UpstreamTokenRow>> {
        self.with(|state| state.upstream_tokens.get(subject).cloned())
    }

    fn put_upstream_token(&self, mut row: UpstreamTokenRow) -> StoreResult<'_, bool> {
        self.with(|state| {
            let stands = state.upstream_tokens.get(&row.subject);
            let follows = match stands {
                None => row.revision == 1,
                Some(stands) => {
                    row.revision == stands.revision + 1
                        && [stands.generation, stands.generation + 1].contains(&row.generation)
                }
            };
            if follows {
                if let Some(stands) = stands.filter(|stands| stands.generation == row.generation) {
                    row.sealed = stands.sealed.clone();
                }
                state.upstream_tokens.insert(row.subject.clone(), row);
            }
            follows
        })
    }

    fn remove_upstream_token<'a>(&'a self, subject: &'a Subject) -> StoreResult<'a, ()> {
        self.with(|state| {
            state.upstream_tokens.remove(subject);
        })
    }

    fn sweep_upstream_tokens(&self, now: Timestamp, limit: u32) -> StoreResult<'_, u64> {
        self.with(|state| {
            let mut removed: u64 = 0;
            state.upstream_tokens.retain(|_, row| {
                let ended = row.ends_at <= now && removed < u64::from(limit);
                removed += u64::from(ended);
                !ended
            });
            removed
        })
    }
}
