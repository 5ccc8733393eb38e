//! Documents that a stranger's word makes us fetch: through the checked connections of `bmm-net` alone, once for all who wait, within
//! budgets, and kept for a while whether it worked or not.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bmm_net::{DialError, FetchError, FetchLimits, Fetcher, normalize_host};
use bytes::Bytes;
use http::{Request, StatusCode, header};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::budget::{MinuteBudget, counted};
use crate::clock::Timestamp;

/// Most bytes of a document, and the time it may take. Clients wait no longer than 10 s for an answer of ours.
const LIMITS: FetchLimits = FetchLimits {
    max_bytes: 64 * 1024,
    timeout: Duration::from_secs(5),
};
/// A document that was good is used for so long after it should have been fetched again, if that cannot be done: no outage of its host, and
/// nobody who keeps us busy, locks out who is known.
const MAX_STALE: Duration = Duration::from_secs(24 * 3600);
/// Between two attempts at one document, whatever came of the first.
const COOL_DOWN: Duration = Duration::from_secs(30);
/// Documents that are kept, fetches that run at once, and fetches in a minute: for one host, for one address that asks, and altogether.
const MAX_DOCUMENTS: usize = 1000;
const MAX_AT_ONCE: usize = 64;
const MAX_PER_HOST: u32 = 30;
const MAX_PER_ADDRESS: u32 = 60;
const MAX_PER_MINUTE: u32 = 600;
/// Bytes that documents of one kind take in memory, about.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// Why there is no document. For the log only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfetched {
    #[error("too many fetches at the moment")]
    Busy,
    #[error("it could not be fetched")]
    Failed,
    #[error("it is not what it must be: {0}")]
    Invalid(&'static str),
}

impl Unfetched {
    /// How an event says it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Failed => "unreachable",
            Self::Invalid(_) => "invalid",
        }
    }
}

/// The way out, shared by everything that fetches.
pub(super) struct Outgoing {
    fetcher: Fetcher,
    strange: Allowance,
    /// For what was good before, so that a flood of new URLs takes nothing from it.
    known: Allowance,
    by_address: MinuteBudget<IpAddr>,
}

struct Allowance {
    at_once: Arc<Semaphore>,
    by_host: MinuteBudget<String>,
}

impl Default for Allowance {
    fn default() -> Self {
        Self {
            at_once: Arc::new(Semaphore::new(MAX_AT_ONCE)),
            by_host: MinuteBudget::default(),
        }
    }
}

impl Outgoing {
    pub(super) fn new(fetcher: Fetcher) -> Self {
        Self {
            fetcher,
            strange: Allowance::default(),
            known: Allowance::default(),
            by_address: MinuteBudget::default(),
        }
    }

    /// A place for one fetch, if it may be done now.
    fn place(
        &self,
        url: &str,
        known: bool,
        asked_by: Option<IpAddr>,
        now: Timestamp,
    ) -> Option<OwnedSemaphorePermit> {
        let allowance = if known { &self.known } else { &self.strange };
        let place = Arc::clone(&allowance.at_once).try_acquire_owned().ok()?;
        let host = Some(host_of(url));
        // Who asks for what is known is no matter: it is fetched once in a while, whoever asks.
        let address = asked_by.filter(|_| !known).map(counted);
        // Both first, so that what one refuses is not taken from the other.
        let may_fetch = self.by_address.has_left(address.as_ref(), MAX_PER_ADDRESS, now)
            && allowance.by_host.has_left(host.as_ref(), MAX_PER_HOST, now)
            && (known
                || self
                    .by_address
                    .spend(address, MAX_PER_ADDRESS, MAX_PER_MINUTE, now))
            && allowance.by_host.spend(host, MAX_PER_HOST, MAX_PER_MINUTE, now);
        may_fetch.then_some(place)
    }
}

/// What was asked for, as it came.
pub(super) struct Fetched<'a> {
    pub(super) url: &'a str,
    pub(super) content_type: &'a str,
    pub(super) max_age: Option<Duration>,
    pub(super) body: &'a [u8],
}

/// What is kept of a document.
pub(super) struct Useful<T> {
    pub(super) value: T,
    /// How long it holds. Zero: it is not used when it cannot be fetched again either.
    pub(super) ttl: Duration,
    /// How much memory it takes, about.
    pub(super) bytes: usize,
}

/// Reads a document.
pub(super) type Read<T> = dyn Fn(&Fetched<'_>) -> Result<Useful<T>, &'static str> + Send + Sync;

/// Documents of one kind, by URL.
pub(super) struct Documents<T> {
    outgoing: Arc<Outgoing>,
    read: Arc<Read<T>>,
    entries: Mutex<HashMap<String, Arc<Entry<T>>>>,
}

struct Entry<T> {
    state: Mutex<State<T>>,
    /// Held while a fetch is under way.
    flight: Arc<tokio::sync::Mutex<()>>,
}

struct State<T> {
    kept: Option<Kept<T>>,
    /// When what is kept was last asked for.
    used_at: Timestamp,
    /// Set before a fetch starts, so that its result does not matter for the next one.
    attempted_at: Option<Timestamp>,
    /// What came of the last attempt, if it failed.
    failure: Option<Unfetched>,
}

struct Kept<T> {
    value: Arc<T>,
    until: Timestamp,
    /// Until when it does where nothing newer can be had.
    stale_until: Timestamp,
    bytes: usize,
}

/// How new a document must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    /// One that still holds.
    Current,
    /// A newer one than is kept, if it is not too soon to ask.
    Newer,
}

impl<T: Send + Sync + 'static> Documents<T> {
    pub(super) fn new(
        outgoing: Arc<Outgoing>,
        read: impl Fn(&Fetched<'_>) -> Result<Useful<T>, &'static str> + Send + Sync + 'static,
    ) -> Self {
        Self {
            outgoing,
            read: Arc::new(read),
            entries: Mutex::default(),
        }
    }

    /// The document, from memory if it is there. One that was good does if there is no newer one to be had; whoever wants a newer one
    /// hears why there is none.
    pub(super) async fn get(
        &self,
        url: &str,
        want: Want,
        asked_by: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<Arc<T>, Unfetched> {
        let entry = self.entry(url, now);
        match (self.current(&entry, url, want, asked_by, now).await, want) {
            (Err(why @ (Unfetched::Busy | Unfetched::Failed)), Want::Current) => entry.stale(now).ok_or(why),
            (result, _) => result,
        }
    }

    async fn current(
        &self,
        entry: &Arc<Entry<T>>,
        url: &str,
        want: Want,
        asked_by: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<Arc<T>, Unfetched> {
        match decide(&entry.state(), want, now) {
            Decision::Use(value) => return Ok(value),
            // Unless a fetch is under way: it may bring what is wanted.
            Decision::Refuse(why) if entry.flight.try_lock().is_ok() => return Err(why),
            Decision::Refuse(_) | Decision::Fetch => {}
        }
        let flight = Arc::clone(&entry.flight).lock_owned().await;
        // Whoever held it before may have brought what is needed, or used up the attempt.
        match decide(&entry.state(), want, now) {
            Decision::Use(value) => return Ok(value),
            Decision::Refuse(why) => return Err(why),
            Decision::Fetch => {}
        }
        let known = entry.state().kept.is_some();
        let Some(place) = self.outgoing.place(url, known, asked_by, now) else {
            return Err(Unfetched::Busy);
        };
        entry.state().attempted_at = Some(now);
        let (outgoing, read) = (Arc::clone(&self.outgoing), Arc::clone(&self.read));
        let (entry, url) = (Arc::clone(entry), url.to_owned());
        // On its own, so that the others get it even if the request that wanted it first goes away.
        let fetching = tokio::spawn(async move {
            let (_flight, _place) = (flight, place);
            let fetched = fetch(&outgoing.fetcher, &url, &*read).await;
            entry.take_in(fetched, now)
        });
        fetching.await.unwrap_or(Err(Unfetched::Failed))
    }

    /// The entry of this URL. What gives way to a new one is what was never good, then what nobody has asked for the longest.
    fn entry(&self, url: &str, now: Timestamp) -> Arc<Entry<T>> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.get(url) {
            entry.state().used_at = now;
            return Arc::clone(entry);
        }
        let mut bytes: usize = entries.values().map(|entry| entry.bytes()).sum();
        while entries.len() >= MAX_DOCUMENTS || bytes > MAX_BYTES {
            let worst = entries.iter().min_by_key(|(_, entry)| entry.worth());
            let Some(worst) = worst.map(|(url, _)| url.clone()) else {
                break;
            };
            bytes -= entries.remove(&worst).map_or(0, |entry| entry.bytes());
        }
        let entry = Arc::new(Entry {
            state: Mutex::new(State {
                kept: None,
                used_at: now,
                attempted_at: None,
                failure: None,
            }),
            flight: Arc::default(),
        });
        entries.insert(url.to_owned(), Arc::clone(&entry));
        entry
    }
}

impl<T> fmt::Debug for Documents<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Documents")
    }
}

impl<T> Entry<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_in(&self, fetched: Result<Useful<T>, Unfetched>, now: Timestamp) -> Result<Arc<T>, Unfetched> {
        let mut state = self.state();
        match fetched {
            Ok(useful) => {
                let value = Arc::new(useful.value);
                // What may not be kept at all is kept until it may be fetched again.
                let until = now.plus(useful.ttl.max(COOL_DOWN));
                let stale_until = match useful.ttl {
                    Duration::ZERO => until,
                    _ => until.plus(MAX_STALE),
                };
                state.failure = None;
                state.kept = Some(Kept {
                    value: Arc::clone(&value),
                    until,
                    stale_until,
                    bytes: useful.bytes,
                });
                Ok(value)
            }
            Err(why) => {
                state.failure = Some(why);
                // Its host took it back: it ends when it was to end.
                if let (Unfetched::Invalid(_), Some(kept)) = (why, &mut state.kept) {
                    kept.stale_until = kept.until;
                }
                Err(why)
            }
        }
    }

    /// What is kept, if it does where nothing newer can be had.
    fn stale(&self, now: Timestamp) -> Option<Arc<T>> {
        let state = self.state();
        let kept = state.kept.as_ref().filter(|kept| kept.stale_until > now)?;
        Some(Arc::clone(&kept.value))
    }

    fn bytes(&self) -> usize {
        self.state().kept.as_ref().map_or(0, |kept| kept.bytes)
    }

    fn worth(&self) -> (bool, Timestamp) {
        let state = self.state();
        (state.kept.is_some(), state.used_at)
    }
}

enum Decision<T> {
    Use(Arc<T>),
    Fetch,
    Refuse(Unfetched),
}

fn decide<T>(state: &State<T>, want: Want, now: Timestamp) -> Decision<T> {
    let cooled_down = state.attempted_at.is_none_or(|at| now.since(at) >= COOL_DOWN);
    let kept = state.kept.as_ref().filter(|kept| kept.until > now);
    match (kept, want, state.failure) {
        (Some(kept), Want::Current, _) => Decision::Use(Arc::clone(&kept.value)),
        _ if cooled_down => Decision::Fetch,
        // The last attempt brought no newer one, and could not: that there is none is not known.
        (_, _, Some(why @ (Unfetched::Busy | Unfetched::Failed))) => Decision::Refuse(why),
        (Some(kept), ..) => Decision::Use(Arc::clone(&kept.value)),
        (None, _, failure) => Decision::Refuse(failure.unwrap_or(Unfetched::Failed)),
    }
}

async fn fetch<T>(fetcher: &Fetcher, url: &str, read: &Read<T>) -> Result<Useful<T>, Unfetched> {
    let request = Request::get(url)
        .header(header::ACCEPT, "application/json")
        .header(
            header::USER_AGENT,
            concat!("bmm-oauth/", env!("CARGO_PKG_VERSION")),
        )
        .body(Bytes::new())
        .map_err(|_| Unfetched::Invalid("not a URL"))?;
    let response = fetcher.fetch(request, LIMITS).await.map_err(|error| {
        tracing::info!(
            url,
            error = &error as &dyn std::error::Error,
            "cannot fetch a document"
        );
        match error {
            // Its owner has put it where nobody fetches it.
            FetchError::NotHttps
            | FetchError::UserInfo
            | FetchError::Host(_)
            | FetchError::Dial(DialError::Host(_) | DialError::Refused { .. }) => {
                Unfetched::Invalid("its host is out of reach")
            }
            FetchError::TooLarge { .. } => Unfetched::Invalid("it is too large"),
            _ => Unfetched::Failed,
        }
    })?;
    // The host's trouble is no word about the document.
    if is_trouble(response.status()) {
        tracing::info!(
            url,
            status = response.status().as_u16(),
            "cannot fetch a document"
        );
        return Err(Unfetched::Failed);
    }
    if response.status() != StatusCode::OK {
        return Err(Unfetched::Invalid("the status is not 200"));
    }
    let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let fetched = Fetched {
        url,
        content_type: text(header::CONTENT_TYPE)
            .and_then(|value| value.split(';').next())
            .unwrap_or_default()
            .trim(),
        max_age: text(header::CACHE_CONTROL).and_then(max_age),
        body: response.body(),
    };
    read(&fetched).map_err(|why| {
        tracing::info!(url, reason = why, "a fetched document is not usable");
        Unfetched::Invalid(why)
    })
}

fn is_trouble(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
        )
}

/// How long an answer may be kept (RFC 9111 section 5.2.2), if it says.
fn max_age(cache_control: &str) -> Option<Duration> {
    let mut directives = cache_control.split(',').map(str::trim);
    if directives
        .clone()
        .any(|d| d.eq_ignore_ascii_case("no-store") || d.eq_ignore_ascii_case("no-cache"))
    {
        return Some(Duration::ZERO);
    }
    let seconds = directives.find_map(|directive| {
        let (name, value) = directive.split_once('=')?;
        name.eq_ignore_ascii_case("max-age").then_some(value)
    });
    seconds?.trim_matches('"').parse().ok().map(Duration::from_secs)
}

/// The host of a URL, as budgets count it: one spelling of it.
fn host_of(url: &str) -> String {
    let host = url::Url::parse(url)
        .ok()
        .and_then(|url| url.host_str().map(str::to_owned));
    let host = host.unwrap_or_default();
    normalize_host(&host).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_about_keeping_is_understood() {
        for (text, seconds) in [
            ("max-age=60", Some(60)),
            ("public, Max-Age=\"5\"", Some(5)),
            ("max-age=60, no-store", Some(0)),
            ("No-Cache", Some(0)),
            ("private", None),
            ("max-age=-1", None),
        ] {
            assert_eq!(max_age(text).map(|age| age.as_secs()), seconds, "{text}");
        }
    }
}
