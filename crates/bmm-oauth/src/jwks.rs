//! Verification with keys fetched from the issuer: bounded, cooled down, and usable while the issuer is away.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;

use crate::access_token::{Expected, Unverified};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::issuer::Issuer;
use crate::key_set::{KeySet, VerifyingKey};
use crate::resource_uri::ResourceUri;
use crate::verifier::{AuthInfo, BoxError, BoxFuture, Verifier, VerifyError};

/// Fetches the bytes of the issuer's JWK Set. This crate dials nothing itself: bound the time and the size of the answer where you
/// do (more than 256 KiB is refused here), and follow no redirect.
pub type FetchJwks = Arc<dyn Fn() -> BoxFuture<'static, Result<Bytes, BoxError>> + Send + Sync>;

/// Keys are fetched again when they are this old.
const MAX_AGE: Duration = Duration::from_secs(300);
/// Keys this old are no longer used, however long the issuer is away.
const MAX_STALE: Duration = Duration::from_secs(24 * 3600);
/// Between two attempts to fetch, whatever came of the first.
const COOL_DOWN: Duration = Duration::from_secs(10);
/// Requests that may wait for one fetch; the others are told to come back.
const MAX_WAITING: usize = 256;

/// A [`Verifier`] for tokens of one issuer and one resource, with keys from the issuer's JWK Set.
///
/// An unknown key id costs a map lookup, except once per cool-down (10 s), when it leads to one fetch that others wait
/// for. A failed fetch leaves the known keys in use for up to 24 hours.
pub struct JwksVerifier {
    expected: Expected,
    fetch: FetchJwks,
    clock: Arc<dyn Clock>,
    state: RwLock<State>,
    /// The fetch under way. It stays here when the request that drives it goes away, and the next one drives on.
    fetching: tokio::sync::Mutex<Option<Fetching>>,
    waiting: AtomicUsize,
}

#[derive(Clone, Default)]
struct State {
    keys: Arc<KeySet>,
    fetched_at: Option<Timestamp>,
    /// Set before a fetch starts, so that its result does not matter for the next one.
    attempted_at: Option<Timestamp>,
    in_flight: bool,
}

type Fetching = BoxFuture<'static, Result<Bytes, BoxError>>;

impl JwksVerifier {
    /// A verifier that fetches its keys when the first token arrives.
    pub fn new(issuer: Issuer, resource: ResourceUri, fetch: FetchJwks) -> Self {
        Self {
            expected: Expected { issuer, resource },
            fetch,
            clock: Arc::new(SystemClock),
            state: RwLock::default(),
            fetching: tokio::sync::Mutex::new(None),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Takes the time from `clock`.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    async fn key(&self, kid: &str) -> Result<VerifyingKey, VerifyError> {
        let now = self.clock.now();
        match decide(&self.state(), kid, now) {
            Decision::Use(key) => return Ok(key),
            Decision::Unknown => return Err(UNKNOWN_KEY),
            Decision::NoKeys => return Err(no_keys()),
            // The key is good enough: one request fetches newer ones, the others do not wait for it.
            Decision::Renew(key) => match self.fetching.try_lock() {
                Ok(mut fetching) => self.fetch(&mut fetching, now).await,
                Err(_) => return Ok(key),
            },
            Decision::FetchOrWait => {
                let Some(_waiting) = Waiting::enter(&self.waiting) else {
                    return Err(no_keys());
                };
                let mut fetching = self.fetching.lock().await;
                // Whoever held the lock before may have brought what is needed, or used up the attempt.
                if matches!(decide(&self.state(), kid, now), Decision::FetchOrWait) {
                    self.fetch(&mut fetching, now).await;
                }
            }
        }
        let state = self.state();
        match (state.keys.get(kid), usable(&state, now)) {
            (Some(key), true) => Ok(key.clone()),
            (None, true) => Err(UNKNOWN_KEY),
            (_, false) => Err(no_keys()),
        }
    }

    async fn fetch(&self, fetching: &mut Option<Fetching>, now: Timestamp) {
        let fetch = fetching.get_or_insert_with(|| {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            state.attempted_at = Some(now);
            state.in_flight = true;
            (self.fetch)()
        });
        let fetched = fetch
            .await
            .and_then(|bytes| KeySet::parse(&bytes).map_err(BoxError::from));
        *fetching = None;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.in_flight = false;
        match fetched {
            Ok(keys) => {
                state.keys = Arc::new(keys);
                state.fetched_at = Some(now);
            }
            Err(error) => tracing::warn!(issuer = %self.expected.issuer, %error, "cannot fetch the JWK Set"),
        }
    }

    fn state(&self) -> State {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Verifier for JwksVerifier {
    fn verify<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<AuthInfo, VerifyError>> {
        Box::pin(async move {
            let token = Unverified::parse(token).map_err(VerifyError::Invalid)?;
            let key = self.key(&token.kid).await?;
            token
                .verify(&key, &self.expected, self.clock.now())
                .map_err(VerifyError::Invalid)
        })
    }
}

const UNKNOWN_KEY: VerifyError = VerifyError::Invalid("unknown key id");

enum Decision {
    Use(VerifyingKey),
    /// Usable, but old enough to look for newer ones.
    Renew(VerifyingKey),
    FetchOrWait,
    Unknown,
    NoKeys,
}

fn decide(state: &State, kid: &str, now: Timestamp) -> Decision {
    let cooled_down = state.attempted_at.is_none_or(|at| now.since(at) >= COOL_DOWN);
    let fresh = state.fetched_at.is_some_and(|at| now.since(at) < MAX_AGE);
    match (state.keys.get(kid), usable(state, now)) {
        (Some(key), true) if fresh || !cooled_down => Decision::Use(key.clone()),
        (Some(key), true) => Decision::Renew(key.clone()),
        (_, _) if cooled_down || state.in_flight => Decision::FetchOrWait,
        (None, true) => Decision::Unknown,
        (_, false) => Decision::NoKeys,
    }
}

fn usable(state: &State, now: Timestamp) -> bool {
    state.fetched_at.is_some_and(|at| now.since(at) < MAX_STALE)
}

fn no_keys() -> VerifyError {
    VerifyError::Unavailable("no usable keys of the issuer".into())
}

/// One of at most [`MAX_WAITING`] places.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn enter(count: &'a AtomicUsize) -> Option<Self> {
        let place = Self(count);
        (count.fetch_add(1, Ordering::SeqCst) < MAX_WAITING).then_some(place)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
