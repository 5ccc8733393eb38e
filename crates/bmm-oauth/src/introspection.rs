//! Verification by asking the issuer about each token (RFC 7662): for opaque tokens, and where a revocation must count at once.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::access_token::{MAX_TOKEN_BYTES, check_audience, confirmation, name};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::issuer::Issuer;
use crate::resource_uri::ResourceUri;
use crate::strict_json::{Object, Reason, Value};
use crate::token_cache::{TokenCache, TokenHash};
use crate::verifier::{AuthInfo, BoxError, BoxFuture, Subject, Verified, Verifier, VerifyError};

/// Sends a form to the issuer's introspection endpoint and returns the body of a 200 answer; everything else is an error. This crate dials
/// nothing itself: authenticate there as a client, bound the time and the size of the answer (more than 64 KiB is refused here), and
/// follow no redirect. The form holds the token: do not log it.
pub type Introspect = Arc<dyn Fn(Bytes) -> BoxFuture<'static, Result<Bytes, BoxError>> + Send + Sync>;

/// An answer counts for so long: what was revoked since is refused after it.
const CACHE_TTL: Duration = Duration::from_secs(5);
/// Questions at a time. Anybody can send tokens; what that makes us ask must have a bound.
const MAX_QUESTIONS: usize = 64;
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// A [`Verifier`] that asks the issuer. The answer must say that the token is active, for exactly this resource, until when, for whom and
/// for which client; an issuer that does not say so much cannot be used.
///
/// Active answers are kept for 5 s, by the hash of the token and never beyond its expiry; others are not kept. When the issuer cannot
/// be asked there is no verdict ([`VerifyError::Unavailable`]).
pub struct IntrospectionVerifier {
    issuer: Issuer,
    resource: ResourceUri,
    introspect: Introspect,
    cache: TokenCache,
    cache_ttl: Duration,
    questions: Semaphore,
    clock: Arc<dyn Clock>,
}

impl IntrospectionVerifier {
    /// A verifier for tokens of `issuer` for `resource`.
    pub fn new(issuer: Issuer, resource: ResourceUri, introspect: Introspect) -> Self {
        Self {
            issuer,
            resource,
            introspect,
            cache: TokenCache::new(),
            cache_ttl: CACHE_TTL,
            questions: Semaphore::new(MAX_QUESTIONS),
            clock: Arc::new(SystemClock),
        }
    }

    /// Keeps active answers for whole seconds of `ttl`: that is how long a revoked token may still pass. Zero asks every time.
    pub fn with_cache_ttl(mut self, ttl: Duration) -> Self {
        self.cache_ttl = ttl;
        self
    }

    /// Takes the time from `clock`.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    async fn judge(&self, token: &str) -> Result<AuthInfo, VerifyError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(VerifyError::Invalid("longer than 8 KiB"));
        }
        let (hash, asked_at) = (TokenHash::of(token), self.clock.now());
        if let Some(info) = self.cache.get(&hash, &BY_ANSWER, asked_at) {
            return Ok(info);
        }
        let answer = self.ask(token).await.map_err(VerifyError::Unavailable)?;
        // Judged by the time of the answer, kept from the time of the question.
        let info = self.read(&answer, self.clock.now())?;
        self.cache
            .put(hash, info.clone(), asked_at.plus(self.cache_ttl), BY_ANSWER);
        Ok(info)
    }

    async fn ask(&self, token: &str) -> Result<Object, BoxError> {
        let Ok(_question) = self.questions.try_acquire() else {
            return Err("too many tokens are being asked about".into());
        };
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("token", token)
            .append_pair("token_type_hint", "access_token")
            .finish();
        let answer = (self.introspect)(Bytes::from(form)).await?;
        if answer.len() > MAX_ANSWER_BYTES {
            return Err("the answer is larger than 64 KiB".into());
        }
        Object::parse(&answer).ok_or_else(|| "the answer is not a JSON object".into())
    }

    fn read(&self, answer: &Object, now: Timestamp) -> Result<AuthInfo, VerifyError> {
        match answer.get("active") {
            Some(Value::Bool(true)) => self.active(answer, now).map_err(VerifyError::Invalid),
            Some(Value::Bool(false)) => Err(VerifyError::Invalid("not active")),
            _ => Err(VerifyError::Unavailable("the answer says no active".into())),
        }
    }

    /// The decision over an active token.
    fn active(&self, answer: &Object, now: Timestamp) -> Result<AuthInfo, Reason> {
        let issuer = answer.optional_text("iss")?;
        if issuer.is_some_and(|issuer| issuer != self.issuer.as_str()) {
            return Err("issued by somebody else");
        }
        check_audience(answer, &self.resource)?;
        let expires_at = Timestamp::from_secs(answer.whole("exp")?);
        let begins_at = answer.optional_whole("nbf")?;
        if expires_at <= now || begins_at.is_some_and(|at| at > now.as_secs()) {
            return Err("not valid now");
        }
        let bound_to = confirmation(answer)?;
        match answer.optional_text("token_type")? {
            Some(other) if bound_to.is_some() != other.eq_ignore_ascii_case("dpop") => {
                return Err("token_type and cnf do not agree");
            }
            _ => {}
        }
        let grant_id = match answer.get("grant_id") {
            Some(_) => name(answer, "grant_id")?,
            None => "",
        };
        Ok(AuthInfo::new(Verified {
            issuer: self.issuer.clone(),
            resource: self.resource.clone(),
            subject: Subject::new(name(answer, "sub")?),
            client_id: name(answer, "client_id")?.to_owned(),
            scopes: answer
                .optional_text("scope")?
                .unwrap_or_default()
                .parse()
                .map_err(|_| "scope is malformed")?,
            grant_id: grant_id.to_owned(),
            expires_at,
            bound_to,
        }))
    }
}

impl Verifier for IntrospectionVerifier {
    fn verify<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<AuthInfo, VerifyError>> {
        Box::pin(self.judge(token))
    }
}

/// No keys are involved: every answer is reached with the same.
const BY_ANSWER: [u8; 32] = [0; 32];
