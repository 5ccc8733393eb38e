//! One read for many: of all who need to know the same, one asks, and the others take what came of it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

/// After a failure nobody asks again for so long: a database in trouble gets no crowd.
const FAILED_FOR: Duration = Duration::from_millis(250);
/// Callers that wait for one read; each holds a request.
const MAX_WAITING: usize = 4096;

/// A read that many need.
///
/// What it brings counts as fresh from when it began, since what changed while it went on may be missing. Who waited for it takes it
/// however old it is by then: otherwise a read that takes longer than it stays fresh would be made by one caller after the other.
#[derive(Debug)]
pub(super) struct SharedRead {
    fresh_for: Duration,
    reading: tokio::sync::Mutex<()>,
    waiting: Semaphore,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Counts the calls of `outdate`.
    era: u64,
    /// Counts the reads that have ended.
    reads: u64,
    last: Option<Last>,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    era: u64,
    began: Instant,
    ended: Instant,
    succeeded: bool,
}

/// Why nothing is known.
#[derive(Debug)]
pub(super) enum Unread<E> {
    /// This caller's own read failed.
    Failed(E),
    /// Another caller's, a moment ago.
    FailedBefore,
    /// Too many wait for it.
    Crowded,
}

impl SharedRead {
    pub(super) fn new(fresh_for: Duration) -> Self {
        Self {
            fresh_for,
            reading: tokio::sync::Mutex::default(),
            waiting: Semaphore::new(MAX_WAITING),
            state: Mutex::default(),
        }
    }

    /// From here on nobody takes what a read brings that has begun before.
    pub(super) fn outdate(&self) {
        self.state().era += 1;
    }

    /// Reads, unless somebody has just done so, or does so now.
    pub(super) async fn run<E>(&self, read: impl Future<Output = Result<(), E>>) -> Result<(), Unread<E>> {
        let (era, reads) = {
            let state = self.state();
            if let Some(last) = state.settled(self.fresh_for) {
                return last.outcome();
            }
            (state.era, state.reads)
        };
        let _place = self.waiting.try_acquire().map_err(|_| Unread::Crowded)?;
        let _one = self.reading.lock().await;
        let (era, began) = {
            let state = self.state();
            let ended_meanwhile = state.last.filter(|last| state.reads != reads && last.era >= era);
            if let Some(last) = state.settled(self.fresh_for).or(ended_meanwhile) {
                return last.outcome();
            }
            (state.era, Instant::now())
        };
        let outcome = read.await;
        let mut state = self.state();
        state.reads += 1;
        state.last = Some(Last {
            era,
            began,
            ended: Instant::now(),
            succeeded: outcome.is_ok(),
        });
        outcome.map_err(Unread::Failed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The last read, if nobody need read again now.
    fn settled(&self, fresh_for: Duration) -> Option<Last> {
        self.last.filter(|last| match last.succeeded {
            true => last.era == self.era && last.began.elapsed() < fresh_for,
            false => last.ended.elapsed() < FAILED_FOR,
        })
    }
}

impl Last {
    fn outcome<E>(self) -> Result<(), Unread<E>> {
        match self.succeeded {
            true => Ok(()),
            false => Err(Unread::FailedBefore),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::task::JoinSet;
    use tokio::time::{advance, sleep};

    use super::*;

    struct Source {
        shared: SharedRead,
        reads: AtomicUsize,
    }

    impl Source {
        fn new() -> Arc<Self> {
            Arc::new(Self {
                shared: SharedRead::new(Duration::from_secs(1)),
                reads: AtomicUsize::new(0),
            })
        }

        async fn read(&self, takes: Duration, outcome: Result<(), ()>) -> Result<(), Unread<()>> {
            let read = async {
                self.reads.fetch_add(1, Ordering::SeqCst);
                sleep(takes).await;
                outcome
            };
            self.shared.run(read).await
        }

        fn reads(&self) -> usize {
            self.reads.load(Ordering::SeqCst)
        }
    }

    async fn crowd(
        source: &Arc<Source>,
        count: usize,
        takes: Duration,
        outcome: Result<(), ()>,
    ) -> Vec<Result<(), Unread<()>>> {
        let callers: JoinSet<_> = (0..count)
            .map(|_| {
                let source = Arc::clone(source);
                async move { source.read(takes, outcome).await }
            })
            .collect();
        callers.join_all().await
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_read_serves_all_who_waited_for_it() {
        let (source, began) = (Source::new(), Instant::now());
        let answers = crowd(&source, 500, Duration::from_secs(3), Ok(())).await;
        assert!(answers.iter().all(Result::is_ok));
        assert_eq!((source.reads(), began.elapsed().as_secs()), (1, 3));
        // It is old now: who comes later reads again.
        source.read(Duration::ZERO, Ok(())).await.unwrap();
        source.read(Duration::ZERO, Ok(())).await.unwrap();
        assert_eq!(source.reads(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_told_to_all_who_waited_and_remembered_for_a_moment() {
        let (source, began) = (Source::new(), Instant::now());
        let answers = crowd(&source, 500, Duration::from_secs(5), Err(())).await;
        assert!(answers.iter().all(Result::is_err));
        assert_eq!((source.reads(), began.elapsed().as_secs()), (1, 5));
        let soon = source.read(Duration::ZERO, Ok(())).await;
        assert!(matches!(soon, Err(Unread::FailedBefore)));
        advance(FAILED_FOR).await;
        source.read(Duration::ZERO, Ok(())).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_that_waits_is_bounded() {
        let source = Source::new();
        let answers = crowd(&source, MAX_WAITING + 10, Duration::from_secs(1), Ok(())).await;
        let turned_away = answers.iter().filter(|a| matches!(a, Err(Unread::Crowded)));
        assert_eq!(turned_away.count(), 10);
    }

    /// What is outdated while it is being read is not taken by who came after that.
    #[tokio::test(start_paused = true)]
    async fn who_comes_after_a_change_takes_no_read_from_before() {
        let source = Source::new();
        let early = async { source.read(Duration::from_millis(500), Ok(())).await };
        let change = async {
            sleep(Duration::from_millis(100)).await;
            source.shared.outdate();
            source.read(Duration::from_millis(500), Ok(())).await
        };
        let (early, late) = tokio::join!(early, change);
        early.unwrap();
        late.unwrap();
        assert_eq!(source.reads(), 2);
    }

    /// A caller that hangs up while it reads leaves the place to the next one.
    #[tokio::test(start_paused = true)]
    async fn a_reader_that_goes_away_is_replaced() {
        let source = Source::new();
        let first = tokio::time::timeout(
            Duration::from_millis(100),
            source.read(Duration::from_secs(9), Ok(())),
        );
        let second = source.read(Duration::ZERO, Ok(()));
        let (first, second) = tokio::join!(first, second);
        assert!(first.is_err());
        second.unwrap();
    }
}
