//! A store in memory: for tests, and for hosts whose clients may sign in again after a restart.

mod upstream_token;

use std::collections::{BTreeMap, HashMap};
use std::future::ready;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{
    AuthorizationCode, Client, Grant, NewRefresh, Once, OnceKind, Redemption, RefreshToken, Replay,
    Revocations, RevokedGrant, Rotation, Store, StoreResult, UpstreamTokenRow,
};
use crate::clock::Timestamp;
use crate::server::secret::{SecretHash, random_id};
use crate::verifier::Subject;

/// A [`Store`] in memory. Clones share it.
#[derive(Clone, Default)]
pub struct MemoryStore(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    clients: HashMap<String, Client>,
    once: HashMap<(OnceKind, SecretHash), OnceRow>,
    codes: HashMap<SecretHash, CodeRow>,
    grants: HashMap<String, Grant>,
    refreshes: HashMap<SecretHash, RefreshRow>,
    revocations: Sequence,
    upstream_tokens: HashMap<Subject, UpstreamTokenRow>,
    signing_keys: Option<String>,
}

/// The sequence of revocations.
struct Sequence {
    epoch: String,
    last: u64,
    grants: BTreeMap<u64, String>,
    until: HashMap<String, Timestamp>,
}

struct OnceRow {
    value: Vec<u8>,
    expires_at: Timestamp,
}

struct CodeRow {
    code: AuthorizationCode,
    used: bool,
}

struct RefreshRow {
    grant_id: String,
    expires_at: Timestamp,
    rotated_at: Option<Timestamp>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn with<'a, T: Send + 'a>(&self, work: impl FnOnce(&mut State) -> T) -> StoreResult<'a, T> {
        let mut state: MutexGuard<'_, State> = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Box::pin(ready(Ok(work(&mut state))))
    }
}

impl std::fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MemoryStore")
    }
}

impl Once for MemoryStore {
    fn put(
        &self,
        kind: OnceKind,
        key: SecretHash,
        value: Vec<u8>,
        expires_at: Timestamp,
    ) -> StoreResult<'_, ()> {
        self.with(|state| {
            state.once.insert((kind, key), OnceRow { value, expires_at });
        })
    }

    fn take(&self, kind: OnceKind, key: SecretHash, now: Timestamp) -> StoreResult<'_, Option<Vec<u8>>> {
        self.with(|state| {
            let row = state.once.remove(&(kind, key))?;
            (row.expires_at > now).then_some(row.value)
        })
    }

    fn claim(
        &self,
        kind: OnceKind,
        key: SecretHash,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> StoreResult<'_, bool> {
        self.with(|state| {
            let held = state
                .once
                .get(&(kind, key))
                .is_some_and(|row| row.expires_at > now);
            let ours = !held && expires_at > now;
            if ours {
                let value = Vec::new();
                state.once.insert((kind, key), OnceRow { value, expires_at });
            }
            ours
        })
    }
}

impl Store for MemoryStore {
    fn put_client(&self, client: Client, max_unused: u32) -> StoreResult<'_, ()> {
        self.with(|state| {
            state.clients.insert(client.id.clone(), client);
            let mut unused: Vec<(Timestamp, String)> = state
                .clients
                .values()
                .filter(|c| c.used_at.is_none())
                .map(|c| (c.created_at, c.id.clone()))
                .collect();
            let excess = unused.len().saturating_sub(max_unused as usize);
            if excess > 0 {
                unused.sort();
                for (_, id) in unused.into_iter().take(excess) {
                    state.clients.remove(&id);
                }
            }
        })
    }

    fn client<'a>(&'a self, id: &'a str) -> StoreResult<'a, Option<Client>> {
        self.with(|state| state.clients.get(id).cloned())
    }

    fn update_client(&self, client: Client) -> StoreResult<'_, bool> {
        self.with(|state| {
            let Some(row) = state.clients.get_mut(&client.id) else {
                return false;
            };
            *row = Client {
                created_at: row.created_at,
                used_at: row.used_at,
                ..client
            };
            true
        })
    }

    fn remove_client<'a>(&'a self, id: &'a str) -> StoreResult<'a, bool> {
        self.with(|state| state.clients.remove(id).is_some())
    }

    fn put_grant(&self, grant: Grant, now: Timestamp) -> StoreResult<'_, ()> {
        self.with(|state| {
            if let Some(client) = state.clients.get_mut(&grant.client_id) {
                client.used_at.get_or_insert(now);
            }
            state.grants.insert(grant.id.clone(), grant);
        })
    }

    fn put_code(&self, hash: SecretHash, code: AuthorizationCode) -> StoreResult<'_, ()> {
        self.with(|state| {
            state.codes.insert(hash, CodeRow { code, used: false });
        })
    }

    fn code(&self, hash: SecretHash) -> StoreResult<'_, Option<AuthorizationCode>> {
        self.with(|state| state.codes.get(&hash).map(|row| row.code.clone()))
    }

    fn redeem_code(
        &self,
        hash: SecretHash,
        grant: Grant,
        refresh: NewRefresh,
        now: Timestamp,
    ) -> StoreResult<'_, Redemption> {
        self.with(|state| {
            let Some(row) = state.codes.get_mut(&hash) else {
                return Redemption::Gone;
            };
            if row.used {
                return Redemption::AlreadyUsed;
            }
            if row.code.expires_at <= now {
                return Redemption::Gone;
            }
            row.used = true;
            row.code.expires_at = grant.expires_at;
            if let Some(client) = state.clients.get_mut(&grant.client_id) {
                client.used_at.get_or_insert(now);
            }
            state
                .refreshes
                .insert(refresh.hash, RefreshRow::new(&grant.id, refresh));
            state.grants.insert(grant.id.clone(), grant);
            Redemption::Redeemed
        })
    }

    fn refresh_token(&self, hash: SecretHash, now: Timestamp) -> StoreResult<'_, Option<RefreshToken>> {
        self.with(|state| {
            let row = state.refreshes.get(&hash)?;
            let grant = state.grants.get(&row.grant_id)?.clone();
            Some(RefreshToken {
                grant,
                expires_at: row.expires_at,
                rotated_at: row.rotated_at,
                replay: state.replay(hash, now),
            })
        })
    }

    fn rotate_refresh(
        &self,
        old: SecretHash,
        successor: NewRefresh,
        replay: Option<Replay>,
        now: Timestamp,
    ) -> StoreResult<'_, Rotation> {
        self.with(|state| {
            let kept = state.replay(old, now);
            let Some(row) = state.refreshes.get_mut(&old) else {
                return Rotation::Gone;
            };
            if let Some(rotated_at) = row.rotated_at {
                return Rotation::Spent {
                    rotated_at,
                    replay: kept,
                };
            }
            let alive = state
                .grants
                .get(&row.grant_id)
                .is_some_and(|grant| !grant.revoked && grant.expires_at > now);
            if !alive || row.expires_at <= now {
                return Rotation::Gone;
            }
            row.rotated_at = Some(now);
            let successor_row = RefreshRow::new(&row.grant_id, successor);
            state.refreshes.insert(successor.hash, successor_row);
            if let Some(Replay { sealed, expires_at }) = replay {
                let row = OnceRow {
                    value: sealed,
                    expires_at,
                };
                state.once.insert((OnceKind::RefreshReplay, old), row);
            }
            Rotation::Rotated
        })
    }

    fn revoke_grant<'a>(&'a self, grant_id: &'a str, until: Timestamp) -> StoreResult<'a, ()> {
        self.with(|state| {
            if let Some(grant) = state.grants.get_mut(grant_id) {
                grant.revoked = true;
            }
            state.revocations.add(grant_id, until);
        })
    }

    fn revoke_grants_of<'a>(
        &'a self,
        client_id: &'a str,
        now: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> StoreResult<'a, Vec<String>> {
        self.with(|state| {
            let grants = state.grants.values_mut();
            let live = grants.filter(|g| g.client_id == client_id && !g.revoked && g.expires_at > now);
            let mut revoked = Vec::new();
            for grant in live.take(limit as usize) {
                grant.revoked = true;
                state.revocations.add(&grant.id, until);
                revoked.push(grant.id.clone());
            }
            revoked
        })
    }

    fn is_revoked<'a>(&'a self, grant_id: &'a str) -> StoreResult<'a, bool> {
        self.with(|state| state.revocations.until.contains_key(grant_id))
    }

    fn revocations(&self, after: u64, limit: u32, now: Timestamp) -> StoreResult<'_, Revocations> {
        self.with(|state| state.revocations.page(after, limit as usize, now))
    }

    fn signing_keys(&self) -> StoreResult<'_, Option<String>> {
        self.with(|state| state.signing_keys.clone())
    }

    fn init_signing_keys(&self, sealed: String) -> StoreResult<'_, String> {
        self.with(|state| state.signing_keys.get_or_insert(sealed).clone())
    }

    fn replace_signing_keys(&self, old: String, new: String) -> StoreResult<'_, bool> {
        self.with(|state| {
            let stands = state.signing_keys.as_ref() == Some(&old);
            if stands {
                state.signing_keys = Some(new);
            }
            stands
        })
    }

    fn sweep(&self, now: Timestamp, unused_since: Timestamp, limit: u32) -> StoreResult<'_, u64> {
        self.with(|state| {
            let limit = limit as usize;
            let abandoned = |c: &Client| c.used_at.is_none() && c.created_at < unused_since;
            let removed = remove_some(&mut state.codes, limit, |row| row.code.expires_at <= now)
                + remove_some(&mut state.once, limit, |row| row.expires_at <= now)
                + remove_some(&mut state.refreshes, limit, |row| row.expires_at <= now)
                + state.revocations.forget(limit, now)
                + remove_some(&mut state.grants, limit, |grant| grant.expires_at <= now)
                + remove_some(&mut state.clients, limit, abandoned);
            removed as u64
        })
    }
}

impl Default for Sequence {
    fn default() -> Self {
        Self {
            epoch: random_id(),
            last: 0,
            grants: BTreeMap::new(),
            until: HashMap::new(),
        }
    }
}

impl Sequence {
    fn add(&mut self, grant_id: &str, until: Timestamp) {
        if let Some(known) = self.until.get_mut(grant_id) {
            *known = until.max(*known);
            return;
        }
        self.last += 1;
        self.grants.insert(self.last, grant_id.to_owned());
        self.until.insert(grant_id.to_owned(), until);
    }

    fn page(&self, after: u64, limit: usize, now: Timestamp) -> Revocations {
        let after = if after > self.last { 0 } else { after };
        let mut page = Revocations {
            epoch: self.epoch.clone(),
            next: self.last,
            revoked: Vec::new(),
        };
        for (number, grant_id) in self.grants.range(after + 1..) {
            let until = self.until.get(grant_id).copied().unwrap_or(now);
            if until <= now {
                continue;
            }
            page.revoked.push(RevokedGrant {
                grant_id: grant_id.clone(),
                until,
            });
            if page.revoked.len() >= limit {
                page.next = *number;
                break;
            }
        }
        page
    }

    fn forget(&mut self, limit: usize, now: Timestamp) -> usize {
        let removed = remove_some(&mut self.until, limit, |until| *until <= now);
        self.grants
            .retain(|_, grant_id| self.until.contains_key(grant_id));
        removed
    }
}

impl State {
    fn replay(&self, spent: SecretHash, now: Timestamp) -> Option<Vec<u8>> {
        let row = self.once.get(&(OnceKind::RefreshReplay, spent))?;
        (row.expires_at > now).then(|| row.value.clone())
    }
}

impl RefreshRow {
    fn new(grant_id: &str, refresh: NewRefresh) -> Self {
        Self {
            grant_id: grant_id.to_owned(),
            expires_at: refresh.expires_at,
            rotated_at: None,
        }
    }
}

fn remove_some<K: Hash + Eq + Clone, V>(
    map: &mut HashMap<K, V>,
    limit: usize,
    mut ended: impl FnMut(&V) -> bool,
) -> usize {
    let keys: Vec<K> = map
        .iter()
        .filter(|(_, v)| ended(v))
        .map(|(key, _)| key.clone())
        .take(limit)
        .collect();
    for key in &keys {
        map.remove(key);
    }
    keys.len()
}
