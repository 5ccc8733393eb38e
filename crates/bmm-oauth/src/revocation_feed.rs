//! Following the issuer's feed of revoked grants, so that a token ends within seconds although its signature is good for an hour.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::clock::{Clock, SystemClock, Timestamp};
use crate::strict_json::{Object, Reason, Value};
use crate::verifier::{BoxError, BoxFuture, VerifyError};

/// Fetches what was revoked after the given number: `GET <issuer>/oauth/revocations?after=<n>`, which answers at once if there is
/// something and otherwise after at most 20 s. `None` asks for all, and for an answer at once: leave `after` away. This crate dials
/// nothing itself: allow the answer 25 s and 4 MiB, and follow no redirect.
pub type FetchRevocations =
    Arc<dyn Fn(Option<u64>) -> BoxFuture<'static, Result<Bytes, BoxError>> + Send + Sync>;

/// A feed that has not answered for so long says nothing about now any more.
const LOST_AFTER: Duration = Duration::from_secs(60);
/// Longest wait for one answer, which may take 20 s to come.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// After a failure, and at least between the beginnings of two requests.
const RETRY_AFTER: Duration = Duration::from_secs(1);
const MIN_INTERVAL: Duration = Duration::from_millis(100);
/// How long a request waits for the feed's first answer.
const START_WITHIN: Duration = Duration::from_secs(3);
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// An answer with so many grants is one page, and more may follow: the issuer's `PAGE` (server/revocations.rs).
const FULL_PAGE: usize = 1000;
/// Most bytes of an answer, revoked grants at a time, and bytes of a grant id or an epoch.
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;
const MAX_REVOKED: usize = 250_000;
const MAX_NAME_BYTES: usize = 512;

/// The grants that are revoked, kept up to date by [`follow`](Self::follow). Clones share everything.
///
/// It fails closed: before the first answer, and when there has been none for 60 s, nothing can be verified
/// ([`VerifyError::Unavailable`]). A revoked grant is forgotten when the last token of it has expired (`until`).
#[derive(Clone)]
pub struct RevocationFeed(Arc<Inner>);

struct Inner {
    fetch: FetchRevocations,
    clock: Arc<dyn Clock>,
    known: RwLock<Known>,
    started: watch::Sender<bool>,
}

#[derive(Default)]
struct Known {
    epoch: Option<String>,
    /// Nothing before the first answer, and after the epoch changed.
    next: Option<u64>,
    /// Revoked grants, and until when their tokens would have lived.
    revoked: HashMap<String, Timestamp>,
    /// By the monotonic clock: setting the wall clock back must not make a lost feed look alive.
    heard_at: Option<Instant>,
    swept_at: Option<Instant>,
    /// More grants were revoked than are kept.
    overflowed: bool,
}

impl RevocationFeed {
    /// A feed that knows nothing until it is [followed](Self::follow).
    pub fn new(fetch: FetchRevocations) -> Self {
        Self::with_clock(fetch, Arc::new(SystemClock))
    }

    /// The same with the time from `clock`, which tells when an entry ends.
    pub fn with_clock(fetch: FetchRevocations, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Inner {
            fetch,
            clock,
            known: RwLock::default(),
            started: watch::Sender::new(false),
        }))
    }

    /// Follows the feed for as long as this is polled: `tokio::spawn(feed.clone().follow())`. It needs tokio's timer.
    pub async fn follow(self) {
        loop {
            let began = Instant::now();
            match self.0.poll().await {
                Ok(Heard::Everything) => {}
                // The rest of it is waiting there.
                Ok(Heard::Part) => continue,
                Err(error) => {
                    tracing::warn!(%error, "the feed of revoked grants does not answer");
                    sleep(RETRY_AFTER).await;
                }
            }
            // A server that answers at once whatever is asked must not keep us both busy.
            sleep_until(began + MIN_INTERVAL).await;
        }
    }

    /// Whether the feed has answered lately, so that tokens can be verified.
    pub fn is_live(&self) -> bool {
        self.0.read(Known::is_live)
    }

    /// How many revoked grants are known.
    pub fn known_grants(&self) -> usize {
        self.0.read(|known| known.revoked.len())
    }

    /// Whether tokens of this grant may be accepted now. Before the feed's first answer this waits for it a little.
    pub(crate) async fn check_when_started(&self, grant_id: &str) -> Result<(), VerifyError> {
        match self.check(grant_id) {
            Err(VerifyError::Unavailable(_)) if !*self.0.started.borrow() => {
                let mut started = self.0.started.subscribe();
                let _ = timeout(START_WITHIN, started.wait_for(|started| *started)).await;
                self.check(grant_id)
            }
            decided => decided,
        }
    }

    fn check(&self, grant_id: &str) -> Result<(), VerifyError> {
        self.0.read(|known| {
            if known.revoked.contains_key(grant_id) {
                Err(VerifyError::Invalid("the grant is revoked"))
            } else if known.is_live() {
                Ok(())
            } else {
                Err(VerifyError::Unavailable(
                    "the feed of revoked grants is lost".into(),
                ))
            }
        })
    }
}

impl fmt::Debug for RevocationFeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RevocationFeed")
            .field("is_live", &self.is_live())
            .field("known_grants", &self.known_grants())
            .finish_non_exhaustive()
    }
}

impl Inner {
    async fn poll(&self) -> Result<Heard, BoxError> {
        let after = self.read(|known| known.next);
        let bytes = timeout(ANSWER_WITHIN, (self.fetch)(after)).await??;
        let answer = Answer::parse(&bytes)?;
        let now = self.clock.now();
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let heard = known.take(after, answer, now, Instant::now())?;
        drop(known);
        if heard == Heard::Everything {
            self.started.send_replace(true);
        }
        Ok(heard)
    }

    fn read<T>(&self, look: impl FnOnce(&Known) -> T) -> T {
        look(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Known {
    fn is_live(&self) -> bool {
        !self.overflowed && self.heard_at.is_some_and(|at| at.elapsed() < LOST_AFTER)
    }

    /// Takes in the answer to the question what came after `after`.
    fn take(
        &mut self,
        after: Option<u64>,
        answer: Answer,
        now: Timestamp,
        heard_at: Instant,
    ) -> Result<Heard, Reason> {
        let same_epoch = self.epoch.as_ref().is_none_or(|epoch| *epoch == answer.epoch);
        let page_is_full = answer.revoked.len() >= FULL_PAGE;
        if page_is_full && Some(answer.next) == after {
            return Err("the feed does not go forwards");
        }
        if self
            .swept_at
            .is_none_or(|at| heard_at.duration_since(at) >= SWEEP_INTERVAL)
        {
            self.revoked.retain(|_, until| *until > now);
            self.swept_at = Some(heard_at);
        }
        // What is revoked stays so: after a change of epoch the old entries end with their tokens, as ever.
        for (grant_id, until) in answer.revoked.into_iter().filter(|(_, until)| *until > now) {
            let full = self.revoked.len() >= MAX_REVOKED && !self.revoked.contains_key(&grant_id);
            if full {
                // Read it all again: when there is room, nothing may be missing.
                (self.overflowed, self.next, self.epoch) = (true, None, None);
                return Err("more grants are revoked than can be kept");
            }
            let known = self.revoked.entry(grant_id).or_insert(until);
            *known = until.max(*known);
        }
        self.epoch = Some(answer.epoch);
        if after.is_some() && (!same_epoch || Some(answer.next) < after) {
            // Another store, or an older copy of it, whose numbers are not those we know: start again. Until that is done this has told us nothing.
            self.next = None;
            return Ok(Heard::Part);
        }
        self.next = Some(answer.next);
        if page_is_full {
            return Ok(Heard::Part);
        }
        self.heard_at = Some(heard_at);
        self.overflowed = false;
        Ok(Heard::Everything)
    }
}

/// What an answer tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    /// All that was revoked by now.
    Everything,
    /// There is more to ask for at once.
    Part,
}

/// What the feed says.
struct Answer {
    epoch: String,
    next: u64,
    revoked: Vec<(String, Timestamp)>,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Result<Self, Reason> {
        if bytes.len() > MAX_ANSWER_BYTES {
            return Err("the answer is larger than 4 MiB");
        }
        let answer = Object::parse(bytes).ok_or("the answer is not a JSON object")?;
        let Some(Value::Array(entries)) = answer.get("revoked") else {
            return Err("revoked is not an array");
        };
        let entry = |entry: &Value| match entry {
            Value::Object(entry) => Ok((
                short(entry.text("grant_id")?)?,
                Timestamp::from_secs(entry.whole("until")?),
            )),
            _ => Err("an entry is not an object"),
        };
        Ok(Self {
            epoch: short(answer.text("epoch")?)?,
            next: answer.whole("next")?,
            revoked: entries.iter().map(entry).collect::<Result<_, _>>()?,
        })
    }
}

fn short(name: &str) -> Result<String, Reason> {
    if name.len() <= MAX_NAME_BYTES {
        Ok(name.to_owned())
    } else {
        Err("a name is too long")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(epoch: &str, next: u64, revoked: impl IntoIterator<Item = (String, u64)>) -> Answer {
        let revoked = revoked
            .into_iter()
            .map(|(id, until)| (id, Timestamp::from_secs(until)));
        Answer {
            epoch: epoch.to_owned(),
            next,
            revoked: revoked.collect(),
        }
    }

    #[test]
    fn more_than_can_be_kept_fails_closed_until_there_is_room() {
        let (mut known, start) = (Known::default(), Instant::now());
        let many = (0..=MAX_REVOKED).map(|n| (n.to_string(), 10));
        let now = Timestamp::from_secs(0);
        assert!(known.take(None, answer("a", 9, many), now, start).is_err());
        assert!(known.revoked.len() <= MAX_REVOKED && !known.is_live());
        assert_eq!(known.next, None, "it is read again");
        let later = Timestamp::from_secs(10);
        known
            .take(None, answer("a", 9, []), later, start + SWEEP_INTERVAL)
            .unwrap();
        assert!(known.revoked.is_empty() && !known.overflowed);
    }

    /// A verifier that starts must not take the first page for all there is.
    #[test]
    fn a_full_page_is_not_everything() {
        let (mut known, now, start) = (Known::default(), Timestamp::from_secs(0), Instant::now());
        let page = |from: usize, count: usize| (from..from + count).map(|n| (n.to_string(), 10));
        let first = answer("a", 1000, page(0, 1000));
        assert_eq!(known.take(None, first, now, start), Ok(Heard::Part));
        assert!(!known.is_live());
        let again = answer("a", 1000, page(0, 1000));
        assert!(
            known.take(Some(1000), again, now, start).is_err(),
            "it stands still"
        );
        let last = answer("a", 1002, page(1000, 2));
        assert_eq!(known.take(Some(1000), last, now, start), Ok(Heard::Everything));
        assert!(known.is_live() && known.revoked.contains_key("1001"));
    }

    /// A copy of the store was restored: it has given out fewer numbers, under the same epoch.
    #[test]
    fn a_feed_that_goes_back_is_read_again() {
        let (mut known, now, start) = (Known::default(), Timestamp::from_secs(0), Instant::now());
        let one = |id: &str| [(id.to_owned(), 10)];
        assert_eq!(
            known.take(None, answer("a", 9, one("x")), now, start),
            Ok(Heard::Everything)
        );
        assert_eq!(
            known.take(Some(9), answer("a", 2, one("y")), now, start),
            Ok(Heard::Part)
        );
        assert_eq!(known.next, None);
        assert_eq!(
            known.take(None, answer("a", 2, one("z")), now, start),
            Ok(Heard::Everything)
        );
        assert_eq!(known.revoked.len(), 3);
    }

    #[test]
    fn an_answer_that_is_not_in_the_form_is_none() {
        for text in [
            r#"{"epoch":"a","next":1}"#,
            r#"{"epoch":"a","next":"1","revoked":[]}"#,
            r#"{"epoch":"a","next":-1,"revoked":[]}"#,
            r#"{"epoch":1,"next":1,"revoked":[]}"#,
            r#"{"epoch":"","next":1,"revoked":[]}"#,
            r#"{"epoch":"a","next":1,"revoked":[{"grant_id":"x"}]}"#,
            r#"{"epoch":"a","next":1,"revoked":[{"grant_id":"","until":1}]}"#,
            r#"{"epoch":"a","next":1,"revoked":["x"]}"#,
            r#"{"epoch":"a","next":1,"next":2,"revoked":[]}"#,
            "[]",
            "",
        ] {
            assert!(Answer::parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(Answer::parse(&vec![b' '; MAX_ANSWER_BYTES + 1]).is_err());
    }
}
