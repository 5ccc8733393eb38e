//! Verification with keys fetched from the issuer, in a process of its own.

use std::sync::Arc;

use crate::access_token::{Expected, Unverified};
use crate::clock::{Clock, SystemClock};
use crate::issuer::Issuer;
use crate::remote_keys::{FetchJwks, RemoteKeys};
use crate::resource_uri::ResourceUri;
use crate::revocation_feed::RevocationFeed;
use crate::token_cache::{TokenCache, TokenHash};
use crate::verifier::{AuthInfo, BoxFuture, Verifier, VerifyError};

/// A [`Verifier`] for tokens of one issuer and one resource, with keys from the issuer's JWK Set.
///
/// An unknown key id costs a map lookup, except once per cool-down (10 s), when it leads to one fetch that others wait
/// for. A failed fetch leaves the known keys in use for up to 24 hours. Verdicts are kept, by the hash of the token, until the token expires
/// or the keys change; [`with_revocations`](Self::with_revocations) is asked every time.
pub struct JwksVerifier {
    expected: Expected,
    keys: RemoteKeys,
    revocations: Option<RevocationFeed>,
    cache: TokenCache,
    clock: Arc<dyn Clock>,
}

impl JwksVerifier {
    /// A verifier that fetches its keys when the first token arrives. By itself it learns nothing of revocations.
    pub fn new(issuer: Issuer, resource: ResourceUri, fetch: FetchJwks) -> Self {
        Self {
            expected: Expected { issuer, resource },
            keys: RemoteKeys::new(fetch),
            revocations: None,
            cache: TokenCache::new(),
            clock: Arc::new(SystemClock),
        }
    }

    /// Refuses tokens of the grants that `feed` says are revoked, and every token while the feed is lost.
    pub fn with_revocations(mut self, feed: RevocationFeed) -> Self {
        self.revocations = Some(feed);
        self
    }

    /// Takes the time from `clock`.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    async fn judge(&self, token: &str) -> Result<AuthInfo, VerifyError> {
        let now = self.clock.now();
        let hash = TokenHash::of(token);
        // Only while the keys need no attention: a hit must not keep a withdrawn key in use.
        if let Some(keys) = self.keys.settled(now)
            && let Some(info) = self.cache.get(&hash, keys.fingerprint(), now)
        {
            return Ok(info);
        }
        let token = Unverified::parse(token).map_err(VerifyError::Invalid)?;
        let (key, keys) = self.keys.key(token.kid(), now).await?;
        let info = token
            .verify(&key, &self.expected, now)
            .map_err(VerifyError::Invalid)?;
        self.cache
            .put(hash, info.clone(), info.expires_at(), *keys.fingerprint());
        Ok(info)
    }
}

impl Verifier for JwksVerifier {
    fn verify<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<AuthInfo, VerifyError>> {
        Box::pin(async move {
            let info = self.judge(token).await?;
            if let Some(feed) = &self.revocations {
                feed.check_when_started(info.grant_id()).await?;
            }
            Ok(info)
        })
    }
}
