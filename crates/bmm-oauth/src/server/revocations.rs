//! The feed of revocations, for verifiers in other processes: what was revoked after a number, at once if there is something, otherwise as soon as there is
//! or after 20 s; without a number all, at once. Nobody is turned away: where too many wait already, the answer comes at once, and whoever follows the feed asks
//! again in a moment. Grant ids are no secrets, and who asks learns no more than that some were revoked; so it is as public as the keys.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use http::{Response, StatusCode};
use tokio::time::{Instant, timeout_at};

use super::authorization_server::AuthorizationServer;
use super::form::Parameters;
use super::revocation_watch::{End, POLL};
use super::shared_read::Unread;
use super::store::{Revocations, StoreError};
use super::wire::{self, ErrorCode, OAuthError};
use crate::events::ClientAddress;

/// Most grants in one answer; the next ones come with the next question. Followers take a full page for a part (revocation_feed.rs).
const PAGE: u32 = 1000;
/// How long a question without news waits for some.
const PATIENCE: Duration = Duration::from_secs(20);

impl AuthorizationServer {
    /// What was revoked after the number `after` (0: all), in pages: ask again with `next` until it stays the same. This is what the feed
    /// (`GET <issuer>/oauth/revocations?after=<n>`) says, for a host that carries it itself.
    pub async fn revocations_after(&self, after: u64) -> Result<Revocations, StoreError> {
        self.store.revocations(after, PAGE, self.clock.now()).await
    }

    /// The same, but if there is nothing new it waits for it, 20 s at most.
    pub async fn await_revocations_after(&self, after: u64) -> Result<Revocations, StoreError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut news = std::pin::pin!(self.revocation_watch.news.notified());
            // From here on no news is missed.
            news.as_mut().enable();
            let is_over = Instant::now() >= deadline;
            if is_over || self.end_of_revocations().await?.number != after {
                let page = self.revocations_after(after).await?;
                if is_over || page.next != after {
                    return Ok(page);
                }
            }
            let _ = timeout_at(deadline.min(Instant::now() + POLL), news).await;
        }
    }

    /// The end of the sequence. Of many that ask, one reads.
    async fn end_of_revocations(&self) -> Result<End, StoreError> {
        let watch = &self.revocation_watch;
        let read = watch.end_is_read.run(async {
            let mut number = watch.end().number;
            loop {
                let page = self.revocations_after(number).await?;
                number = page.next;
                if page.revoked.len() < PAGE as usize {
                    let epoch = page.epoch;
                    watch.set_end(End { epoch, number });
                    return Ok(());
                }
            }
        });
        match read.await {
            Ok(()) => Ok(watch.end()),
            Err(Unread::Failed(error)) => Err(error),
            Err(Unread::FailedBefore) => Err(StoreError::message(
                "the revocations could not be read a moment ago",
            )),
            Err(Unread::Crowded) => Err(StoreError::message("too many requests wait for the revocations")),
        }
    }

    /// The same without waiting. If there is nothing new, only the one read that all share is needed.
    async fn known_revocations_after(&self, after: u64) -> Result<Revocations, StoreError> {
        let end = self.end_of_revocations().await?;
        if end.number != after {
            return self.revocations_after(after).await;
        }
        Ok(Revocations {
            epoch: end.epoch,
            next: after,
            revoked: Vec::new(),
        })
    }
}

/// `GET /oauth/revocations`
pub(super) async fn handle(State(server): State<AuthorizationServer>, request: Request) -> Response<Body> {
    let after = match after(request.uri().query().unwrap_or_default()) {
        Ok(after) => after,
        Err(error) => return error.response(),
    };
    let page = match after {
        Some(after) => {
            let address = ClientAddress::of(request.extensions());
            match server.revocation_watch.place(address) {
                Some(_place) => server.await_revocations_after(after).await,
                None => server.known_revocations_after(after).await,
            }
        }
        // Who knows nothing yet cannot serve anybody: it hears at once that there is nothing.
        None => server.revocations_after(0).await,
    };
    match page {
        Ok(page) => match serde_json::to_value(&page) {
            Ok(page) => wire::json(StatusCode::OK, &page),
            Err(error) => OAuthError::from(StoreError::new("revocations are plain data", error)).response(),
        },
        Err(error) => OAuthError::from(error).response(),
    }
}

/// What the asker knows already; nothing if it says nothing.
fn after(query: &str) -> Result<Option<u64>, OAuthError> {
    let invalid = || OAuthError::new(ErrorCode::InvalidRequest, "after must be one whole number");
    let parameters = Parameters::parse(query.as_bytes()).map_err(|_| invalid())?;
    match parameters.get("after").map_err(|_| invalid())? {
        None => Ok(None),
        // `parse` takes a sign.
        Some(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
            text.parse().map(Some).map_err(|_| invalid())
        }
        Some(_) => Err(invalid()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_read_strictly() {
        for (query, number) in [
            ("", None),
            ("after=", None),
            ("after=0", Some(0)),
            ("after=17", Some(17)),
            ("after=18446744073709551615", Some(u64::MAX)),
        ] {
            assert_eq!(after(query).unwrap(), number, "{query}");
        }
        for query in [
            "after=-1",
            "after=+1",
            "after=1.0",
            "after=x",
            "after=1&after=1",
            "after=18446744073709551616",
        ] {
            assert_eq!(
                after(query).unwrap_err().code,
                ErrorCode::InvalidRequest,
                "{query}"
            );
        }
    }
}
