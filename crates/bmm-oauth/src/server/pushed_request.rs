//! What was pushed (RFC 9126), until a browser brings its handle.

use serde::{Deserialize, Serialize};

use super::authorization_server::AuthorizationServer;
use super::form::Parameters;
use super::secret::SecretHash;
use super::store::{Client, OnceKind, StoreError};

pub(super) const PREFIX: &str = "urn:ietf:params:oauth:request_uri:";

/// A request as it was pushed: kept as [`OnceKind::PushedRequest`].
#[derive(Serialize, Deserialize)]
pub(super) struct Pushed {
    pub(super) client_id: String,
    pub(super) query: String,
}

impl Pushed {
    pub(super) async fn keep(
        &self,
        server: &AuthorizationServer,
        handle: &str,
        ttl: std::time::Duration,
    ) -> Result<(), StoreError> {
        let value = serde_json::to_vec(self).expect("a pushed request is plain data");
        let (kind, key) = (OnceKind::PushedRequest, SecretHash::of(handle));
        server
            .store
            .put(kind, key, value, server.clock.now().plus(ttl))
            .await
    }
}

/// A pushed request that the browser brought, and that nobody else can bring any more.
pub(super) struct Taken {
    pub(super) parameters: Parameters,
    pushed: Pushed,
    handle: String,
}

/// What became of `request_uri`.
pub(super) enum Resolved {
    /// It is not one of ours.
    NotPushed,
    /// It has been used or has ended, or is another client's.
    Gone,
    Taken(Box<Taken>),
}

/// Takes the request that `request_uri` names: for this client, once (RFC 9126 section 7.3).
pub(super) async fn resolve(
    server: &AuthorizationServer,
    client: &Client,
    parameters: &Parameters,
) -> Result<Resolved, StoreError> {
    let request_uri = parameters.get("request_uri").ok().flatten();
    let Some(handle) = request_uri.and_then(|uri| uri.strip_prefix(PREFIX)) else {
        return Ok(Resolved::NotPushed);
    };
    let (kind, key, now) = (
        OnceKind::PushedRequest,
        SecretHash::of(handle),
        server.clock.now(),
    );
    let Some(value) = server.store.take(kind, key, now).await? else {
        return Ok(Resolved::Gone);
    };
    let damaged = |error| StoreError::new("a pushed request is damaged", error);
    let pushed: Pushed = serde_json::from_slice(&value).map_err(damaged)?;
    match Parameters::parse(pushed.query.as_bytes()) {
        Ok(parameters) if pushed.client_id == client.id => Ok(Resolved::Taken(Box::new(Taken {
            parameters,
            pushed,
            handle: handle.to_owned(),
        }))),
        _ => Ok(Resolved::Gone),
    }
}

impl Taken {
    /// Puts it back for the same browser, which has to sign in first.
    pub(super) async fn put_back(&self, server: &AuthorizationServer) -> Result<(), StoreError> {
        self.pushed
            .keep(server, &self.handle, server.config.consent_ttl)
            .await
    }
}
