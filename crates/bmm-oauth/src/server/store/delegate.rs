//! A store behind a pointer is a store, so that a server shares it with its host.

use std::sync::Arc;

use super::{
    AuthorizationCode, Client, Grant, NewRefresh, Once, OnceKind, Redemption, RefreshToken, Replay,
    Revocations, Rotation, Store, StoreResult,
};
use crate::clock::Timestamp;
use crate::server::secret::SecretHash;

impl<S: Once + ?Sized> Once for Arc<S> {
    fn put(
        &self,
        kind: OnceKind,
        key: SecretHash,
        value: Vec<u8>,
        expires_at: Timestamp,
    ) -> StoreResult<'_, ()> {
        (**self).put(kind, key, value, expires_at)
    }

    fn take(&self, kind: OnceKind, key: SecretHash, now: Timestamp) -> StoreResult<'_, Option<Vec<u8>>> {
        (**self).take(kind, key, now)
    }

    fn claim(
        &self,
        kind: OnceKind,
        key: SecretHash,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> StoreResult<'_, bool> {
        (**self).claim(kind, key, expires_at, now)
    }
}

impl<S: Store + ?Sized> Store for Arc<S> {
    fn put_client(&self, client: Client, max_unused: u32) -> StoreResult<'_, ()> {
        (**self).put_client(client, max_unused)
    }

    fn client<'a>(&'a self, id: &'a str) -> StoreResult<'a, Option<Client>> {
        (**self).client(id)
    }

    fn update_client(&self, client: Client) -> StoreResult<'_, bool> {
        (**self).update_client(client)
    }

    fn remove_client<'a>(&'a self, id: &'a str) -> StoreResult<'a, bool> {
        (**self).remove_client(id)
    }

    fn put_grant(&self, grant: Grant, now: Timestamp) -> StoreResult<'_, ()> {
        (**self).put_grant(grant, now)
    }

    fn put_code(&self, hash: SecretHash, code: AuthorizationCode) -> StoreResult<'_, ()> {
        (**self).put_code(hash, code)
    }

    fn code(&self, hash: SecretHash) -> StoreResult<'_, Option<AuthorizationCode>> {
        (**self).code(hash)
    }

    fn redeem_code(
        &self,
        hash: SecretHash,
        grant: Grant,
        refresh: NewRefresh,
        now: Timestamp,
    ) -> StoreResult<'_, Redemption> {
        (**self).redeem_code(hash, grant, refresh, now)
    }

    fn refresh_token(&self, hash: SecretHash, now: Timestamp) -> StoreResult<'_, Option<RefreshToken>> {
        (**self).refresh_token(hash, now)
    }

    fn rotate_refresh(
        &self,
        old: SecretHash,
        successor: NewRefresh,
        replay: Option<Replay>,
        now: Timestamp,
    ) -> StoreResult<'_, Rotation> {
        (**self).rotate_refresh(old, successor, replay, now)
    }

    fn revoke_grant<'a>(&'a self, grant_id: &'a str, until: Timestamp) -> StoreResult<'a, ()> {
        (**self).revoke_grant(grant_id, until)
    }

    fn revoke_grants_of<'a>(
        &'a self,
        client_id: &'a str,
        now: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> StoreResult<'a, Vec<String>> {
        (**self).revoke_grants_of(client_id, now, until, limit)
    }

    fn is_revoked<'a>(&'a self, grant_id: &'a str) -> StoreResult<'a, bool> {
        (**self).is_revoked(grant_id)
    }

    fn revocations(&self, after: u64, limit: u32, now: Timestamp) -> StoreResult<'_, Revocations> {
        (**self).revocations(after, limit, now)
    }

    fn signing_keys(&self) -> StoreResult<'_, Option<String>> {
        (**self).signing_keys()
    }

    fn init_signing_keys(&self, sealed: String) -> StoreResult<'_, String> {
        (**self).init_signing_keys(sealed)
    }

    fn replace_signing_keys(&self, old: String, new: String) -> StoreResult<'_, bool> {
        (**self).replace_signing_keys(old, new)
    }

    fn sweep(&self, now: Timestamp, unused_since: Timestamp, limit: u32) -> StoreResult<'_, u64> {
        (**self).sweep(now, unused_since, limit)
    }
}
