//! The public keys of clients and of trusted issuers.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::outgoing::{Documents, Fetched, Outgoing, Unfetched, Useful, Want};
use crate::clock::Timestamp;
use crate::key_set::KeySet;

/// Key sets are fetched again when they are this old: a key that was withdrawn works no longer than that.
const MAX_AGE: Duration = Duration::from_secs(300);

/// Key sets at URLs.
#[derive(Debug)]
pub(super) struct RemoteKeys(Documents<KeySet>);

impl RemoteKeys {
    pub(super) fn new(outgoing: Arc<Outgoing>) -> Self {
        Self(Documents::new(outgoing, read))
    }

    /// The keys at `url`. If they do not hold `kid`, newer ones are looked for, once in a while.
    pub(super) async fn at(
        &self,
        url: &str,
        kid: Option<&str>,
        asked_by: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<Arc<KeySet>, Unfetched> {
        let keys = self.0.get(url, Want::Current, asked_by, now).await?;
        match kid {
            Some(kid) if keys.get(kid).is_none() => self.0.get(url, Want::Newer, asked_by, now).await,
            _ => Ok(keys),
        }
    }
}

/// The key set of a registration, if it can be used: asymmetric keys only, and nothing private among them.
pub(super) fn registered(jwks: &Value) -> Result<KeySet, &'static str> {
    let keys = jwks.get("keys").and_then(Value::as_array);
    let secret = |key: &Value| {
        ["d", "p", "q", "k"]
            .iter()
            .any(|member| key.get(member).is_some())
    };
    if keys.is_some_and(|keys| keys.iter().any(secret)) {
        return Err("jwks holds a private or symmetric key; send public keys only");
    }
    KeySet::parse(jwks.to_string().as_bytes())
        .map_err(|_| "jwks holds no usable key (ES256, EdDSA or RS256, with a kid)")
}

fn read(fetched: &Fetched<'_>) -> Result<Useful<KeySet>, &'static str> {
    Ok(Useful {
        value: KeySet::parse(fetched.body).map_err(|_| "no usable JWK Set")?,
        ttl: MAX_AGE,
        bytes: fetched.body.len(),
    })
}
