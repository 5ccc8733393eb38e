//! The refresh grant (RFC 6749 section 6): a token is spent, its successor takes its place, and whoever repeats the request in time hears the
//! same answer again.

use std::time::Duration;

use serde_json::Value;

use super::authorization_server::{AuthorizationServer, CLOCK_SKEW};
use super::dpop::{self, Proven};
use super::form::{Duplicated, Parameters};
use super::grant_steps::{
    about, check_resource, invalid_request, new_refresh, repeated, requested_resource, tokens,
};
use super::replay::{self, SameRequest};
use super::resources::{ResourceInfo, resources_failed};
use super::secret::SecretHash;
use super::store::{Client, Grant, RefreshToken, Replay, Rotation};
use super::wire::{ErrorCode, OAuthError};
use crate::clock::Timestamp;
use crate::events::{Event, EventKind};
use crate::jwk::Thumbprint;
use crate::resource_uri::ResourceUri;
use crate::scope::Scopes;

/// The answer to a refresh request of an authenticated client.
pub(super) async fn refresh(
    server: &AuthorizationServer,
    client: &Client,
    form: &Parameters,
    proven: &Proven,
    event: &mut Event,
) -> Result<Value, OAuthError> {
    let key = proven.key();
    let asked = Asked::read(form, key)?;
    // Before anything else: who merely saw a bound token can neither use it nor end its family.
    if !dpop::may_use(asked.token, key) {
        return Err(bad_refresh());
    }
    let (hash, now) = (SecretHash::of(asked.token), server.clock.now());
    let token = server
        .store
        .refresh_token(hash, now)
        .await?
        .ok_or_else(bad_refresh)?;
    let grant = &token.grant;
    let verdict = judge(&token, &client.id, server.config.replay_window, now);
    if verdict != Verdict::Refuse {
        about(event, grant);
    }
    match verdict {
        Verdict::Rotate => proven.use_up(server).await?,
        Verdict::Repeat => {
            proven.use_up(server).await?;
            return asked.repeat(server, grant, token.replay.as_deref()).await;
        }
        Verdict::Stolen => return Err(end_family(server, grant, event).await?),
        Verdict::Refuse => return Err(bad_refresh()),
    }
    let scopes = asked.grantable(server, grant).await?;
    let (secret, successor) = new_refresh(server, client, grant, key, now);
    let answer = tokens(server, grant, &scopes, key, &secret);
    let replay = asked.keep(server, grant, &answer, now);
    match server.store.rotate_refresh(hash, successor, replay, now).await? {
        Rotation::Rotated => Ok(answer),
        // Another request was faster, here or at another replica: it is that one's answer that counts.
        Rotation::Spent { rotated_at, replay } => {
            match judge_spent(rotated_at, server.config.replay_window, now) {
                Verdict::Repeat => asked.repeat(server, grant, replay.as_deref()).await,
                Verdict::Refuse => Err(bad_refresh()),
                _ => Err(end_family(server, grant, event).await?),
            }
        }
        Rotation::Gone => Err(bad_refresh()),
    }
}

/// What the request asks for.
struct Asked<'a> {
    token: &'a str,
    scope: Option<&'a str>,
    scopes: Option<Scopes>,
    resource_text: Option<&'a str>,
    resource: Option<ResourceUri>,
    key: Option<&'a Thumbprint>,
}

impl<'a> Asked<'a> {
    fn read(form: &'a Parameters, key: Option<&'a Thumbprint>) -> Result<Self, OAuthError> {
        let get = |name| form.get(name).map_err(|Duplicated| repeated());
        let scope = get("scope")?;
        Ok(Self {
            token: get("refresh_token")?.ok_or_else(|| invalid_request("refresh_token is missing"))?,
            scope,
            scopes: scope
                .map(str::parse)
                .transpose()
                .map_err(|_| OAuthError::new(ErrorCode::InvalidScope, "scope is malformed"))?,
            resource_text: form.resources().first().copied(),
            resource: requested_resource(form)?,
            key,
        })
    }

    /// The scopes of the new access token: what is asked for, within what was granted and what the user may still have.
    async fn grantable(&self, server: &AuthorizationServer, grant: &Grant) -> Result<Scopes, OAuthError> {
        check_resource(self.resource.as_ref(), &grant.resource)?;
        let scopes = self.scopes.as_ref().unwrap_or(&grant.scopes);
        if !grant.scopes.covers(scopes) {
            let why = "more scopes than were granted";
            return Err(OAuthError::new(ErrorCode::InvalidScope, why));
        }
        let info = still_allowed(server, grant).await?;
        let allowed = scopes.intersection(&info.scopes_supported);
        if allowed.is_empty() && !scopes.is_empty() {
            return Err(bad_refresh());
        }
        Ok(allowed)
    }

    fn same_request<'b>(&'b self, grant: &'b Grant) -> SameRequest<'b> {
        SameRequest {
            client_id: &grant.client_id,
            grant_id: &grant.id,
            scope: self.scope,
            resource: self.resource_text,
            proof_key: self.key.map(Thumbprint::as_str),
        }
    }

    /// The answer as it is kept for the window; nothing without one.
    fn keep(
        &self,
        server: &AuthorizationServer,
        grant: &Grant,
        answer: &Value,
        now: Timestamp,
    ) -> Option<Replay> {
        let window = server.config.replay_window;
        (!window.is_zero()).then(|| Replay {
            sealed: replay::seal(self.token, &self.same_request(grant), &answer.to_string()),
            // The window includes its last second, by the clock of whichever replica is asked.
            expires_at: now.plus(window).plus(CLOCK_SKEW).plus(Duration::from_secs(1)),
        })
    }

    /// The answer that a request with this token got before. A user who may no longer use the resource gets none.
    async fn repeat(
        &self,
        server: &AuthorizationServer,
        grant: &Grant,
        sealed: Option<&[u8]>,
    ) -> Result<Value, OAuthError> {
        let kept = sealed.and_then(|sealed| replay::open(self.token, &self.same_request(grant), sealed));
        let answer = kept.and_then(|answer| serde_json::from_str(&answer).ok());
        still_allowed(server, grant).await?;
        answer.ok_or_else(bad_refresh)
    }
}

async fn still_allowed(server: &AuthorizationServer, grant: &Grant) -> Result<ResourceInfo, OAuthError> {
    let info = server.resources.lookup(&grant.resource, &grant.subject).await;
    info.map_err(resources_failed)?.ok_or_else(bad_refresh)
}

/// What is to be done with a refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Rotate,
    /// It was spent a moment ago: a client's retry, or two of its requests racing.
    Repeat,
    /// It was spent long ago: it, or its successor, is in two hands (RFC 9700 section 4.14.2).
    Stolen,
    Refuse,
}

/// The decision over a refresh token before it is rotated. Whose it is comes first: a stranger must not be able to end a grant.
fn judge(token: &RefreshToken, client_id: &str, window: Duration, now: Timestamp) -> Verdict {
    let grant = &token.grant;
    if grant.client_id != client_id || grant.revoked || grant.expires_at <= now {
        return Verdict::Refuse;
    }
    match token.rotated_at {
        Some(rotated_at) => judge_spent(rotated_at, window, now),
        None if token.expires_at <= now => Verdict::Refuse,
        None => Verdict::Rotate,
    }
}

/// The same for one that is spent. Without a window every second use is theft.
///
/// `rotated_at` is by the clock of the replica that rotated, `now` by ours: the one may lag behind the other by [`CLOCK_SKEW`]. So much the window
/// is wider, for a thief too; the alternative is to sign people out for a double click. A time further ahead than that is of a clock that
/// is wrong: nothing follows from it, neither an answer nor the end of the family.
fn judge_spent(rotated_at: Timestamp, window: Duration, now: Timestamp) -> Verdict {
    if window.is_zero() || now.since(rotated_at) > window + CLOCK_SKEW {
        Verdict::Stolen
    } else if rotated_at.since(now) > CLOCK_SKEW {
        Verdict::Refuse
    } else {
        Verdict::Repeat
    }
}

async fn end_family(
    server: &AuthorizationServer,
    grant: &Grant,
    event: &mut Event,
) -> Result<OAuthError, OAuthError> {
    event.kind = EventKind::RefreshReplayed;
    server.revoke_grant(&grant.id).await?;
    Ok(bad_refresh())
}

fn bad_refresh() -> OAuthError {
    OAuthError::new(
        ErrorCode::InvalidGrant,
        "the refresh token is not valid; sign in again",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verifier::Subject;

    const WINDOW: Duration = Duration::from_secs(30);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_secs(seconds)
    }

    fn token(rotated_at: Option<u64>) -> RefreshToken {
        RefreshToken {
            grant: Grant {
                id: "grant".to_owned(),
                client_id: "client".to_owned(),
                subject: Subject::new("alice"),
                resource: "https://mcp.example.com/mcp".parse().unwrap(),
                scopes: Scopes::empty(),
                expires_at: at(1000),
                revoked: false,
            },
            expires_at: at(500),
            rotated_at: rotated_at.map(at),
            replay: None,
        }
    }

    #[test]
    fn verdicts_change_at_their_second() {
        let judged = |rotated_at, now| judge(&token(rotated_at), "client", WINDOW, at(now));
        assert_eq!(judged(None, 499), Verdict::Rotate);
        assert_eq!(judged(None, 500), Verdict::Refuse);
        assert_eq!(judged(Some(100), 100), Verdict::Repeat);
        assert_eq!(judged(Some(100), 130), Verdict::Repeat);
        assert_eq!(
            judged(Some(100), 190),
            Verdict::Repeat,
            "the clock of the replica that rotated lags behind"
        );
        assert_eq!(judged(Some(100), 191), Verdict::Stolen);
        assert_eq!(
            judged(Some(100), 600),
            Verdict::Stolen,
            "also when it would have ended"
        );
        assert_eq!(judged(Some(100), 1000), Verdict::Refuse, "the grant has ended");
        assert_eq!(
            judged(Some(100), 40),
            Verdict::Repeat,
            "another replica's clock is ahead"
        );
        assert_eq!(
            judged(Some(100), 39),
            Verdict::Refuse,
            "too far ahead to be a clock that is right"
        );
        let strict = judge(&token(Some(100)), "client", Duration::ZERO, at(100));
        assert_eq!(strict, Verdict::Stolen, "without a window nothing is repeated");
    }

    #[test]
    fn a_strangers_and_a_revoked_grants_token_end_nothing() {
        for rotated_at in [None, Some(100), Some(1)] {
            let verdict = judge(&token(rotated_at), "stranger", WINDOW, at(110));
            assert_eq!(verdict, Verdict::Refuse);
            let mut revoked = token(rotated_at);
            revoked.grant.revoked = true;
            assert_eq!(judge(&revoked, "client", WINDOW, at(110)), Verdict::Refuse);
        }
    }
}
