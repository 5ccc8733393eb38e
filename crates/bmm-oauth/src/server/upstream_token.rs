//! The tokens that users brought from upstreams: kept sealed, and refreshed by one replica at a time.
//!
//! A refresh token that rotates is spent by the request that uses it, so what comes back is stored before anything else is done, by a task
//! that does not end with its caller. Whoever holds fresh tokens writes them whatever became of the lease; whoever only failed writes
//! nothing over the change of another.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bmm_vault::{Context, Vault};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::authorization_server::AuthorizationServer;
use super::secret::random_number;
use super::store::{StoreError, UpstreamTokenRow};
use super::upstream::{Upstream, UpstreamError, UpstreamTokens};
use crate::clock::Timestamp;
use crate::events::{Event, EventKind, Outcome};
use crate::verifier::Subject;

/// Tokens are refreshed this long before they expire.
const AHEAD: Duration = Duration::from_secs(60);
/// Longer than any refresh takes (two requests of ten seconds each): a lease that has run out is of a replica that is gone.
const LEASE: Duration = Duration::from_secs(60);
/// How long a request waits for another one's refresh, and how often it looks.
const MAX_WAIT: Duration = Duration::from_secs(25);
const POLL: Duration = Duration::from_millis(50);
/// Times that fresh tokens are tried to be stored.
const WRITE_ATTEMPTS: u32 = 8;

/// A user's access token at an upstream. `Debug` does not show it, and it is wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct UpstreamToken {
    access_token: Zeroizing<String>,
    expires_at: Option<Timestamp>,
    upstream: String,
    generation: u64,
}

impl UpstreamToken {
    /// The access token.
    pub fn access_token(&self) -> &str {
        &self.access_token
    }

    /// When it expires, if the upstream said so.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.expires_at
    }

    /// The name of the upstream.
    pub fn upstream(&self) -> &str {
        &self.upstream
    }

    /// Another one with each new token of the user, and larger with each refresh: what was made with an older one (a child process, a
    /// connection) can be told apart.
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

impl fmt::Debug for UpstreamToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamToken")
            .field("upstream", &self.upstream)
            .field("generation", &self.generation)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpstreamTokenError {
    /// None is kept for this user.
    #[error("no upstream token is kept for this user")]
    NotKept,
    /// The upstream takes what is kept no more: the user has to sign in again.
    #[error("the user has to sign in at the upstream again")]
    NeedsSignIn,
    /// It is being refreshed by another replica, which takes too long.
    #[error("the upstream token is being refreshed; try again")]
    Busy,
    /// The upstream did not refresh it this time.
    #[error("the upstream token cannot be refreshed now")]
    Upstream(#[source] Arc<UpstreamError>),
    /// The store failed, or what it holds does not open.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is sealed.
#[derive(Serialize, Deserialize)]
struct Kept {
    access_token: Zeroizing<String>,
    refresh_token: Option<Zeroizing<String>>,
    expires_at: Option<Timestamp>,
}

impl AuthorizationServer {
    /// The user's access token at the upstream where they signed in, good for another minute at least. It is refreshed if need be: by one
    /// caller, whichever replica it is at, while the others wait.
    pub async fn upstream_token(&self, subject: &Subject) -> Result<UpstreamToken, UpstreamTokenError> {
        self.fresh_token(subject, None).await
    }

    /// A newer token than the one that the upstream has just refused.
    pub async fn renew_upstream_token(
        &self,
        subject: &Subject,
        refused: &UpstreamToken,
    ) -> Result<UpstreamToken, UpstreamTokenError> {
        self.fresh_token(subject, Some(refused.generation)).await
    }

    /// Forgets the user's tokens.
    pub async fn forget_upstream_token(&self, subject: &Subject) -> Result<(), StoreError> {
        self.store.remove_upstream_token(subject).await
    }

    async fn fresh_token(
        &self,
        subject: &Subject,
        refused: Option<u64>,
    ) -> Result<UpstreamToken, UpstreamTokenError> {
        let vault = self
            .upstream_vault
            .as_deref()
            .ok_or(UpstreamTokenError::NotKept)?;
        let give_up = tokio::time::Instant::now() + MAX_WAIT;
        loop {
            let row = self.store.upstream_token(subject).await?;
            let row = row.ok_or(UpstreamTokenError::NotKept)?;
            let now = self.clock.now();
            let kept = open(vault, &row)?;
            let upstream = self.sign_in.upstream(&row.upstream);
            match (judge(&row, &kept, refused, now), upstream) {
                (State::Good, _) => return Ok(token(&row, &kept)),
                (State::NeedsSignIn, _) => return Err(UpstreamTokenError::NeedsSignIn),
                // The operator has taken it out of the configuration.
                (_, None) => return Err(UpstreamTokenError::NotKept),
                (State::Leased, _) if tokio::time::Instant::now() >= give_up => {
                    return Err(UpstreamTokenError::Busy);
                }
                (State::Leased, _) => tokio::time::sleep(POLL).await,
                (State::Refreshable(refresh_token), Some(upstream)) => {
                    let leased = UpstreamTokenRow {
                        revision: row.revision + 1,
                        lease_until: Some(now.plus(LEASE)),
                        ..row
                    };
                    if !self.store.put_upstream_token(leased.clone()).await? {
                        continue;
                    }
                    let fallback = kept
                        .expires_at
                        .filter(|at| *at > now && refused.is_none())
                        .map(|_| token(&leased, &kept));
                    let refresh = refresh(self.clone(), Arc::clone(upstream), leased, refresh_token);
                    return match (tokio::spawn(refresh).await, fallback) {
                        (Ok(Ok(token)), _) => Ok(token),
                        (Ok(Err(UpstreamTokenError::Upstream(_))), Some(still_good)) => Ok(still_good),
                        (Ok(Err(error)), _) => Err(error),
                        (Err(_), _) => Err(UpstreamTokenError::Busy),
                    };
                }
            }
        }
    }
}

/// Keeps what a user brought from a sign-in, in place of what was kept before. Without a vault nothing is kept.
pub(super) async fn keep(
    server: &AuthorizationServer,
    upstream: &str,
    subject: &Subject,
    tokens: &UpstreamTokens,
) -> Result<(), StoreError> {
    let Some(vault) = server.upstream_vault.as_deref() else {
        return Ok(());
    };
    for _ in 0..WRITE_ATTEMPTS {
        let before = server.store.upstream_token(subject).await?;
        let now = server.clock.now();
        // Google gives a refresh token at the first sign-in only; it stays good.
        let older = before
            .as_ref()
            .filter(|row| row.upstream == upstream && !row.needs_sign_in)
            .and_then(|row| open(vault, row).ok())
            .and_then(|kept| kept.refresh_token);
        let (revision, generation) = before.map_or_else(
            || (0, first_generation(now)),
            |row| (row.revision, row.generation),
        );
        let mut row = UpstreamTokenRow {
            subject: subject.clone(),
            upstream: upstream.to_owned(),
            revision: revision + 1,
            generation: generation + 1,
            sealed: String::new(),
            lease_until: None,
            needs_sign_in: false,
            ends_at: now.plus(server.config.code_ttl).plus(server.config.grant_ttl),
        };
        row.sealed = seal(vault, &row, &kept(tokens, older, now))?;
        if server.store.put_upstream_token(row).await? {
            return Ok(());
        }
    }
    Err(contended())
}

/// Where the generations of a user begin of whom nothing is kept: at the time, and at random within the second. So a refresh that has gone on
/// since before the tokens were forgotten never takes the new ones for those that it began with. It fits into 53 bits.
fn first_generation(now: Timestamp) -> u64 {
    (now.as_secs() << 20) | u64::from(random_number() >> 12)
}

/// What to do with a row.
enum State {
    Good,
    Refreshable(Zeroizing<String>),
    Leased,
    NeedsSignIn,
}

fn judge(row: &UpstreamTokenRow, kept: &Kept, refused: Option<u64>, now: Timestamp) -> State {
    let was_refused = refused.is_some_and(|generation| row.generation <= generation);
    let expires_within = |span| kept.expires_at.is_some_and(|at| at <= now.plus(span));
    if row.needs_sign_in {
        return State::NeedsSignIn;
    }
    if !was_refused && !expires_within(AHEAD) {
        return State::Good;
    }
    match &kept.refresh_token {
        None if was_refused || expires_within(Duration::ZERO) => State::NeedsSignIn,
        None => State::Good,
        Some(_) if row.lease_until.is_some_and(|until| until > now) => State::Leased,
        Some(refresh_token) => State::Refreshable(refresh_token.clone()),
    }
}

/// Refreshes with the lease that `leased` is. Runs to its end whatever becomes of the caller.
async fn refresh(
    server: AuthorizationServer,
    upstream: Arc<dyn Upstream>,
    leased: UpstreamTokenRow,
    refresh_token: Zeroizing<String>,
) -> Result<UpstreamToken, UpstreamTokenError> {
    let mut event = Event::new(EventKind::UpstreamRefreshed, Outcome::Allowed, server.clock.now());
    event.subject = Some(leased.subject.clone());
    let error = match upstream.refresh(&refresh_token, server.clock.now()).await {
        Ok(tokens) => {
            let stored = store_fresh(&server, leased, refresh_token, &tokens).await;
            if stored.is_err() {
                event.outcome = Outcome::Refused("lost");
            }
            server.events.record(event);
            return stored;
        }
        Err(error) => error,
    };
    tracing::warn!(
        upstream = upstream.name(),
        error = &error as &dyn std::error::Error,
        "cannot refresh an upstream token"
    );
    let ended = matches!(error, UpstreamError::GrantEnded);
    event.outcome = Outcome::Refused(if ended { "invalid_grant" } else { "unreachable" });
    server.events.record(event);
    let (subject, generation) = (leased.subject.clone(), leased.generation);
    let released = UpstreamTokenRow {
        revision: leased.revision + 1,
        lease_until: None,
        needs_sign_in: ended,
        ..leased
    };
    if !server.store.put_upstream_token(released).await? && ended {
        // Somebody has changed the row meanwhile. If they brought newer tokens, our refresh token was an old one, and nothing has ended.
        let row = server.store.upstream_token(&subject).await?;
        let newer = row.filter(|row| row.generation != generation && !row.needs_sign_in);
        if let (Some(row), Some(vault)) = (newer, server.upstream_vault.as_deref()) {
            return Ok(token(&row, &open(vault, &row)?));
        }
    }
    Err(match ended {
        true => UpstreamTokenError::NeedsSignIn,
        false => UpstreamTokenError::Upstream(Arc::new(error)),
    })
}

/// Stores fresh tokens as the successors of the ones in `leased`, also if the lease has gone to somebody else: they cannot have got
/// anything with the refresh token that is spent now. Tokens that took the place of those in `leased` stay.
async fn store_fresh(
    server: &AuthorizationServer,
    leased: UpstreamTokenRow,
    refresh_token: Zeroizing<String>,
    tokens: &UpstreamTokens,
) -> Result<UpstreamToken, UpstreamTokenError> {
    let vault = server
        .upstream_vault
        .as_deref()
        .ok_or(UpstreamTokenError::NotKept)?;
    let fresh = kept(tokens, Some(refresh_token), server.clock.now());
    let mut row = UpstreamTokenRow {
        revision: leased.revision + 1,
        generation: leased.generation + 1,
        lease_until: None,
        needs_sign_in: false,
        ..leased
    };
    row.sealed = seal(vault, &row, &fresh)?;
    let mut last = contended();
    for attempt in 1..=WRITE_ATTEMPTS {
        match write_fresh(server, &mut row).await {
            Ok(Written::Ours) if fresh.access_token.is_empty() => return Err(unusable()),
            Ok(Written::Ours) => return Ok(token(&row, &fresh)),
            Ok(Written::Newer(newer)) => return Ok(token(&newer, &open(vault, &newer)?)),
            Ok(Written::Removed) => return Err(UpstreamTokenError::NotKept),
            Ok(Written::Again) => {}
            // They exist nowhere else: try again, for as long as the lease lasts.
            Err(error) => {
                last = error;
                tokio::time::sleep(POLL * attempt).await;
            }
        }
    }
    tracing::error!(
        error = &last as &dyn std::error::Error,
        upstream = row.upstream,
        "fresh upstream tokens are lost"
    );
    Err(last.into())
}

enum Written {
    Ours,
    Newer(UpstreamTokenRow),
    Removed,
    Again,
}

async fn write_fresh(
    server: &AuthorizationServer,
    row: &mut UpstreamTokenRow,
) -> Result<Written, StoreError> {
    if server.store.put_upstream_token(row.clone()).await? {
        return Ok(Written::Ours);
    }
    let Some(stands) = server.store.upstream_token(&row.subject).await? else {
        return Ok(Written::Removed);
    };
    if stands.generation + 1 != row.generation {
        return Ok(Written::Newer(stands));
    }
    row.revision = stands.revision + 1;
    Ok(Written::Again)
}

fn kept(tokens: &UpstreamTokens, older: Option<Zeroizing<String>>, now: Timestamp) -> Kept {
    Kept {
        access_token: tokens.access_token.clone(),
        refresh_token: tokens.refresh_token.clone().or(older),
        expires_at: tokens
            .expires_in
            .map(|seconds| now.plus(Duration::from_secs(seconds))),
    }
}

fn token(row: &UpstreamTokenRow, kept: &Kept) -> UpstreamToken {
    UpstreamToken {
        access_token: kept.access_token.clone(),
        expires_at: kept.expires_at,
        upstream: row.upstream.clone(),
        generation: row.generation,
    }
}

/// Where a user's tokens are sealed for: a row that was moved, or put back from an older copy beside newer numbers, does not open.
pub(super) fn place(subject: &str, upstream: &str, generation: u64) -> Context {
    Context::new("oauth_upstream_tokens")
        .row(subject)
        .name(upstream)
        .version(generation)
}

fn place_of(row: &UpstreamTokenRow) -> Context {
    place(row.subject.as_str(), &row.upstream, row.generation)
}

fn seal(vault: &Vault, row: &UpstreamTokenRow, kept: &Kept) -> Result<String, StoreError> {
    let plain = Zeroizing::new(serde_json::to_vec(kept).expect("tokens are plain data"));
    vault
        .seal(&place_of(row), &plain)
        .map_err(|error| StoreError::new("cannot seal an upstream token", error))
}

fn open(vault: &Vault, row: &UpstreamTokenRow) -> Result<Kept, StoreError> {
    let plain = vault
        .open_value(&place_of(row), &row.sealed)
        .map_err(|error| StoreError::new("an upstream token does not open", error))?;
    serde_json::from_slice(&plain).map_err(|_| StoreError::message("an upstream token is damaged"))
}

/// The upstream gave a new refresh token, which is kept, and no access token that can be used.
fn unusable() -> UpstreamTokenError {
    UpstreamTokenError::Upstream(Arc::new(UpstreamError::Malformed("no usable access token")))
}

fn contended() -> StoreError {
    StoreError::message("an upstream token is being changed by too many at once")
}
