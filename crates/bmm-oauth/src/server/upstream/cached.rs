//! A document of an upstream, fetched seldom: kept for an hour, not asked for again at once after a failure, and still used for a day
//! while the upstream is away.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::UpstreamError;
use crate::clock::Timestamp;

const MAX_AGE: Duration = Duration::from_secs(3600);
const MAX_STALE: Duration = Duration::from_secs(24 * 3600);
/// Between two attempts, whatever came of the first.
const COOL_DOWN: Duration = Duration::from_secs(10);

pub(super) struct Cached<T> {
    /// Held while fetching: everybody waits for the one fetch, which its client bounds.
    state: Arc<tokio::sync::Mutex<State<T>>>,
}

struct State<T> {
    value: Option<(Arc<T>, Timestamp)>,
    attempted_at: Option<Timestamp>,
}

impl<T: Send + Sync + 'static> Cached<T> {
    pub(super) fn new() -> Self {
        Self {
            state: Arc::new(tokio::sync::Mutex::new(State {
                value: None,
                attempted_at: None,
            })),
        }
    }

    /// The document; a newer one is fetched if it is old, or if it does not hold what is `wanted` (and may still not do so then). The fetch is a
    /// task of its own: a request that is dropped meanwhile leaves the others its result, and no attempt that came to nothing.
    pub(super) async fn get(
        &self,
        now: Timestamp,
        wanted: impl Fn(&T) -> bool,
        fetch: impl Future<Output = Result<T, UpstreamError>> + Send + 'static,
    ) -> Result<Arc<T>, UpstreamError> {
        let mut state = Arc::clone(&self.state).lock_owned().await;
        let known = state
            .value
            .as_ref()
            .filter(|(_, at)| now.since(*at) < MAX_STALE)
            .map(|(value, at)| (Arc::clone(value), now.since(*at) < MAX_AGE));
        if let Some((value, true)) = &known
            && wanted(value)
        {
            return Ok(Arc::clone(value));
        }
        let cooled_down = state.attempted_at.is_none_or(|at| now.since(at) >= COOL_DOWN);
        if !cooled_down {
            return known.map(|(value, _)| value).ok_or_else(|| {
                UpstreamError::Unreachable(
                    "it did not answer a moment ago, and is not asked again yet".into(),
                )
            });
        }
        state.attempted_at = Some(now);
        let fetched = tokio::spawn(async move {
            match (fetch.await, known) {
                (Ok(value), _) => {
                    let value = Arc::new(value);
                    state.value = Some((Arc::clone(&value), now));
                    Ok(value)
                }
                (Err(error), Some((value, _))) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "cannot fetch a newer document of the upstream"
                    );
                    Ok(value)
                }
                (Err(error), None) => Err(error),
            }
        });
        fetched
            .await
            .unwrap_or_else(|error| Err(UpstreamError::Unreachable(error.into())))
    }
}

impl<T> fmt::Debug for Cached<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cached")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_document_is_fetched_seldom_and_used_while_its_source_is_away() {
        let (cache, fetches) = (Cached::<u32>::new(), Arc::new(AtomicU32::new(0)));
        let get = async |second: u64, wanted: u32, answer: Option<u32>| {
            let count = Arc::clone(&fetches);
            let fetch = async move {
                count.fetch_add(1, Ordering::SeqCst);
                answer.ok_or(UpstreamError::Status(500))
            };
            let wanted = |value: &u32| *value >= wanted;
            cache
                .get(Timestamp::from_secs(second), wanted, fetch)
                .await
                .ok()
                .map(|value| *value)
        };
        assert_eq!(get(0, 1, None).await, None);
        assert_eq!(get(9, 1, Some(1)).await, None, "cooling down");
        assert_eq!(get(10, 1, Some(1)).await, Some(1));
        assert_eq!(get(11, 2, Some(2)).await, Some(1), "cooling down");
        assert_eq!(get(20, 2, Some(2)).await, Some(2), "something newer was wanted");
        assert_eq!(get(3_600, 2, Some(3)).await, Some(2));
        assert_eq!(
            get(3_620, 2, None).await,
            Some(2),
            "stale, since the source is away"
        );
        assert_eq!(get(20 + 24 * 3_600, 2, None).await, None, "too old");
        assert_eq!(fetches.load(Ordering::SeqCst), 5);
    }

    /// Whoever asks first and hangs up must not keep the others from an answer.
    #[tokio::test(start_paused = true)]
    async fn a_request_that_is_dropped_does_not_end_the_fetch() {
        let (cache, now) = (Cached::<u32>::new(), Timestamp::from_secs(100));
        let slow = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok(7)
        };
        let dropped = tokio::time::timeout(Duration::from_millis(100), cache.get(now, |_| true, slow));
        assert!(dropped.await.is_err());
        let other = cache.get(now, |_| true, async { Ok(8) }).await;
        assert_eq!(*other.unwrap(), 7);
    }
}
