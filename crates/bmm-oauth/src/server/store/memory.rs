//! A store in memory: for tests, and for hosts whose clients may sign in again after a restart.

use std::collections::HashMap;
use std::future::ready;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{
    AuthorizationCode, Client, Grant, NewRefresh, PendingConsent, Redemption, RefreshToken, Rotation, Store,
    StoreResult,
};
use crate::clock::Timestamp;
use crate::server::secret::SecretHash;

/// A [`Store`] in memory. Clones share it.
#[derive(Clone, Default)]
pub struct MemoryStore(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    clients: HashMap<String, Client>,
    consents: HashMap<SecretHash, PendingConsent>,
    codes: HashMap<SecretHash, CodeRow>,
    grants: HashMap<String, Grant>,
    refreshes: HashMap<SecretHash, RefreshRow>,
    signing_keys: Option<String>,
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

    fn put_consent(&self, handle: SecretHash, consent: PendingConsent) -> StoreResult<'_, ()> {
        self.with(|state| {
            state.consents.insert(handle, consent);
        })
    }

    fn take_consent(&self, handle: SecretHash) -> StoreResult<'_, Option<PendingConsent>> {
        self.with(|state| state.consents.remove(&handle))
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

    fn refresh_token(&self, hash: SecretHash) -> StoreResult<'_, Option<RefreshToken>> {
        self.with(|state| {
            let row = state.refreshes.get(&hash)?;
            let grant = state.grants.get(&row.grant_id)?.clone();
            Some(RefreshToken {
                grant,
                expires_at: row.expires_at,
                rotated_at: row.rotated_at,
            })
        })
    }

    fn rotate_refresh(
        &self,
        old: SecretHash,
        successor: NewRefresh,
        now: Timestamp,
    ) -> StoreResult<'_, Rotation> {
        self.with(|state| {
            let Some(row) = state.refreshes.get_mut(&old) else {
                return Rotation::Gone;
            };
            if let Some(rotated_at) = row.rotated_at {
                return Rotation::Spent { rotated_at };
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
            Rotation::Rotated
        })
    }

    fn revoke_grant<'a>(&'a self, grant_id: &'a str) -> StoreResult<'a, ()> {
        self.with(|state| {
            if let Some(grant) = state.grants.get_mut(grant_id) {
                grant.revoked = true;
            }
        })
    }

    fn is_revoked<'a>(&'a self, grant_id: &'a str) -> StoreResult<'a, bool> {
        self.with(|state| state.grants.get(grant_id).is_some_and(|grant| grant.revoked))
    }

    fn signing_keys(&self) -> StoreResult<'_, Option<String>> {
        self.with(|state| state.signing_keys.clone())
    }

    fn init_signing_keys(&self, sealed: String) -> StoreResult<'_, String> {
        self.with(|state| state.signing_keys.get_or_insert(sealed).clone())
    }

    fn sweep(&self, now: Timestamp, unused_since: Timestamp, limit: u32) -> StoreResult<'_, u64> {
        self.with(|state| {
            let limit = limit as usize;
            let abandoned = |c: &Client| c.used_at.is_none() && c.created_at < unused_since;
            // A code that was used stays as long as its grant, so that its replay is recognised.
            let grants = &state.grants;
            let code_ended = |row: &CodeRow| {
                row.code.expires_at <= now && !(row.used && grants.contains_key(&row.code.grant_id))
            };
            let removed = remove_some(&mut state.codes, limit, code_ended)
                + remove_some(&mut state.consents, limit, |consent| consent.expires_at <= now)
                + remove_some(&mut state.refreshes, limit, |row| row.expires_at <= now)
                + remove_some(&mut state.grants, limit, |grant| grant.expires_at <= now)
                + remove_some(&mut state.clients, limit, abandoned);
            removed as u64
        })
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
