//! The issuer's keys as fetched: bounded, cooled down, and usable while the issuer is away.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::jwk::VerifyingKey;
use crate::key_set::KeySet;
use crate::verifier::{BoxError, BoxFuture, VerifyError};

/// Fetches the bytes of the issuer's JWK Set. This crate dials nothing itself: bound the time and the size of the answer where you
/// do (more than 256 KiB is refused here), and follow no redirect.
pub type FetchJwks = Arc<dyn Fn() -> BoxFuture<'static, Result<Bytes, BoxError>> + Send + Sync>;

/// Keys are fetched again when they are this old.
const MAX_AGE: Duration = Duration::from_secs(300);
/// Keys this old are no longer used, however long the issuer is away.
const MAX_STALE: Duration = Duration::from_secs(24 * 3600);
/// Between two attempts to fetch, whatever came of the first.
const COOL_DOWN: Duration = Duration::from_secs(10);
/// A key id that a fetch did not bring leads to no further fetch for so long.
const UNKNOWN_FOR: Duration = Duration::from_secs(30);
/// Key ids remembered as unknown. One fetch adds as many as waited for it, so more do not come together in good faith.
const MAX_UNKNOWN: usize = 1024;
/// Requests that may wait for one fetch; the others are told to come back.
const MAX_WAITING: usize = 256;

/// Keys by id, fetched when they are needed.
///
/// An unknown key id costs a map lookup, except once per cool-down, when it leads to one fetch that others wait for.
pub(crate) struct RemoteKeys {
    fetch: FetchJwks,
    state: RwLock<State>,
    unknown: Mutex<HashMap<String, Timestamp>>,
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

impl RemoteKeys {
    pub(crate) fn new(fetch: FetchJwks) -> Self {
        Self {
            fetch,
            state: RwLock::default(),
            unknown: Mutex::default(),
            fetching: tokio::sync::Mutex::new(None),
            waiting: AtomicUsize::new(0),
        }
    }

    /// The keys, if nothing is to be done about them now.
    pub(crate) fn settled(&self, now: Timestamp) -> Option<Arc<KeySet>> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let settled = state.usable(now) && (state.fresh(now) || !state.cooled_down(now));
        settled.then(|| Arc::clone(&state.keys))
    }

    /// The key of this id, and the set it was found in.
    pub(crate) async fn key(
        &self,
        kid: &str,
        now: Timestamp,
    ) -> Result<(Arc<VerifyingKey>, Arc<KeySet>), VerifyError> {
        let state = self.state();
        match decide(&state, kid, now, || self.is_unknown(kid, now)) {
            Decision::Use(key) => return Ok((key, state.keys)),
            Decision::Unknown => return Err(UNKNOWN_KEY),
            Decision::NoKeys => return Err(no_keys()),
            // The key is good enough: one request fetches newer ones, the others do not wait for it.
            Decision::Renew(key) => match self.fetching.try_lock() {
                Ok(mut fetching) => self.fetch(&mut fetching, now).await,
                Err(_) => return Ok((key, state.keys)),
            },
            Decision::FetchOrWait => {
                let Some(_waiting) = Waiting::enter(&self.waiting) else {
                    return Err(no_keys());
                };
                let mut fetching = self.fetching.lock().await;
                // Whoever held the lock before may have brought what is needed, or used up the attempt.
                if matches!(decide(&self.state(), kid, now, || false), Decision::FetchOrWait) {
                    self.fetch(&mut fetching, now).await;
                }
            }
        }
        let state = self.state();
        match (state.keys.get(kid), state.usable(now)) {
            (Some(key), true) => Ok((Arc::clone(key), state.keys.clone())),
            (None, true) => {
                // Only an answer says that there is no such key; a failure to get one says nothing.
                if state.fetched_at >= state.attempted_at {
                    self.remember_unknown(kid, now);
                }
                Err(UNKNOWN_KEY)
            }
            (_, false) => Err(no_keys()),
        }
    }

    async fn fetch(&self, fetching: &mut Option<Fetching>, now: Timestamp) {
        let fetch = fetching.get_or_insert_with(|| {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            state.attempted_at = Some(now);
            state.in_flight = true;
            drop(state);
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
                // As old as the question: another request may have begun it, long ago.
                state.fetched_at = state.attempted_at;
            }
            Err(error) => tracing::warn!(%error, "cannot fetch the JWK Set"),
        }
    }

    fn state(&self) -> State {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn is_unknown(&self, kid: &str, now: Timestamp) -> bool {
        let unknown = self.unknown.lock().unwrap_or_else(PoisonError::into_inner);
        unknown
            .get(kid)
            .is_some_and(|since| now >= *since && now.since(*since) < UNKNOWN_FOR)
    }

    fn remember_unknown(&self, kid: &str, now: Timestamp) {
        let mut unknown = self.unknown.lock().unwrap_or_else(PoisonError::into_inner);
        if unknown.len() >= MAX_UNKNOWN {
            unknown.retain(|_, since| now >= *since && now.since(*since) < UNKNOWN_FOR);
        }
        if unknown.len() < MAX_UNKNOWN {
            unknown.insert(kid.to_owned(), now);
        }
    }
}

impl State {
    fn usable(&self, now: Timestamp) -> bool {
        self.fetched_at.is_some_and(|at| now.since(at) < MAX_STALE)
    }

    /// A time in the future was written before the clock was set back: it counts for nothing.
    fn fresh(&self, now: Timestamp) -> bool {
        self.fetched_at
            .is_some_and(|at| at <= now && now.since(at) < MAX_AGE)
    }

    fn cooled_down(&self, now: Timestamp) -> bool {
        self.attempted_at
            .is_none_or(|at| at > now || now.since(at) >= COOL_DOWN)
    }
}

const UNKNOWN_KEY: VerifyError = VerifyError::Invalid("unknown key id");

enum Decision {
    Use(Arc<VerifyingKey>),
    /// Usable, but old enough to look for newer ones.
    Renew(Arc<VerifyingKey>),
    FetchOrWait,
    Unknown,
    NoKeys,
}

/// What to do for a key id; `unknown` says whether a fetch lately did not bring it.
fn decide(state: &State, kid: &str, now: Timestamp, unknown: impl FnOnce() -> bool) -> Decision {
    let cooled_down = state.cooled_down(now);
    match (state.keys.get(kid), state.usable(now)) {
        (Some(key), true) if state.fresh(now) || !cooled_down => Decision::Use(Arc::clone(key)),
        (Some(key), true) => Decision::Renew(Arc::clone(key)),
        (None, true) if unknown() => Decision::Unknown,
        (_, _) if cooled_down || state.in_flight => Decision::FetchOrWait,
        (None, true) => Decision::Unknown,
        (_, false) => Decision::NoKeys,
    }
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
