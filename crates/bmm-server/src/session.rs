//! Sign-in of this server: single-use links, and sessions in a cookie.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use bmm_oauth::{BoxFuture, Clock, Subject, Timestamp};
use bmm_oauth::{Session, User};
use http::header::{COOKIE, HeaderMap, HeaderValue};
use http::request::Parts;
use sha2::{Digest, Sha256};
use url::Url;
use zeroize::Zeroizing;

use crate::db::{Db, DbError, UserRow};
use crate::public_url::PublicUrl;

const SESSION_TTL: Duration = Duration::from_secs(30 * 24 * 3600);
const LINK_TTL: Duration = Duration::from_secs(600);

/// Signs people in and out.
pub(crate) struct Sessions {
    db: Db,
    clock: Arc<dyn Clock>,
    public_url: PublicUrl,
}

impl Sessions {
    pub(crate) fn new(db: Db, clock: Arc<dyn Clock>, public_url: PublicUrl) -> Self {
        Self {
            db,
            clock,
            public_url,
        }
    }

    /// Who this request's cookie signs in, if anybody.
    pub(crate) async fn user(&self, headers: &HeaderMap) -> Result<Option<UserRow>, DbError> {
        match self.cookie(headers) {
            Some(id) => self.db.session_user(&hash(id), self.clock.now()).await,
            None => Ok(None),
        }
    }

    /// Uses up the token of a sign-in link. `Some` is the cookie of a new session; one that the browser had before ends.
    pub(crate) async fn redeem(
        &self,
        token: &str,
        headers: &HeaderMap,
    ) -> Result<Option<HeaderValue>, DbError> {
        let now = self.clock.now();
        let Some(user_id) = self.db.take_login_token(&hash(token), now).await? else {
            return Ok(None);
        };
        if let Some(before) = self.cookie(headers) {
            self.db.delete_session(&hash(before)).await?;
        }
        let id = random_text()?;
        self.db
            .put_session(&hash(&id), &user_id, now, now.plus(SESSION_TTL))
            .await?;
        Ok(Some(self.set_cookie(&id, SESSION_TTL)))
    }

    /// Ends this request's session. The value makes the browser forget its cookie.
    pub(crate) async fn sign_out(&self, headers: &HeaderMap) -> Result<HeaderValue, DbError> {
        if let Some(id) = self.cookie(headers) {
            self.db.delete_session(&hash(id)).await?;
        }
        Ok(self.set_cookie("", Duration::ZERO))
    }

    /// The `__Host-` prefix makes browsers insist on Secure, Path=/ and no Domain; it needs https.
    fn cookie_name(&self) -> &'static str {
        if self.public_url.is_https() {
            "__Host-bmm_session"
        } else {
            "bmm_session"
        }
    }

    fn cookie<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        let name = self.cookie_name();
        headers
            .get_all(COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .find_map(|(found, value)| (found == name).then_some(value))
    }

    fn set_cookie(&self, value: &str, ttl: Duration) -> HeaderValue {
        let secure = if self.public_url.is_https() {
            "; Secure"
        } else {
            ""
        };
        let text = format!(
            "{}={value}; Path=/; Max-Age={}; HttpOnly; SameSite=Lax{secure}",
            self.cookie_name(),
            ttl.as_secs()
        );
        let mut value = HeaderValue::try_from(text).expect("base64url text and constants are a header value");
        value.set_sensitive(true);
        value
    }
}

impl Session for Sessions {
    fn current<'a>(&'a self, request: &'a Parts) -> BoxFuture<'a, Option<User>> {
        Box::pin(async move {
            let user = self.user(&request.headers).await;
            let user = user
                .inspect_err(|error| tracing::error!(%error, "cannot read sessions"))
                .ok()??;
            Some(User {
                subject: Subject::new(user.id),
                display_name: user.display_name,
            })
        })
    }

    fn sign_in_url(&self, return_to: &str) -> String {
        let mut url = Url::parse(&self.public_url.join("/login")).expect("an origin and a path are a URL");
        url.query_pairs_mut().append_pair("return_to", return_to);
        url.into()
    }
}

/// A new sign-in link for this user: valid once, for ten minutes.
pub(crate) async fn sign_in_link(
    db: &Db,
    public_url: &str,
    user: &UserRow,
    now: Timestamp,
) -> Result<String, DbError> {
    let token = random_text()?;
    db.put_login_token(&hash(&token), &user.id, now.plus(LINK_TTL), now)
        .await?;
    Ok(format!("{public_url}/login?token={}", *token))
}

/// `return_to` as a path of this server: the path and query of it if it is one, else `/`.
pub(crate) fn own_path(return_to: &str) -> String {
    let home = || "/".to_owned();
    // Browsers read a backslash as a slash and skip control characters; none belongs into a path of ours.
    if !return_to.starts_with('/') || return_to.contains(|c: char| c == '\\' || c.is_control()) {
        return home();
    }
    let Ok(base) = Url::parse("http://own.invalid") else {
        return home();
    };
    match base.join(return_to) {
        Ok(url) if url.origin() == base.origin() => {
            // Resolved, `/.//host` becomes `//host`: another host.
            match (url.path(), url.query()) {
                (path, _) if path.starts_with("//") => home(),
                (path, Some(query)) => format!("{path}?{query}"),
                (path, None) => path.to_owned(),
            }
        }
        _ => home(),
    }
}

/// 256 random bits as text.
fn random_text() -> Result<Zeroizing<String>, DbError> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bytes).map_err(|_| DbError::Randomness)?;
    Ok(Zeroizing::new(BASE64URL.encode(*bytes)))
}

/// What is stored of a secret of 256 bits: it needs no salt and no slow hash.
fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_paths_are_kept() {
        for path in [
            "/",
            "/a?b=c%20d",
            "/oauth/authorize?redirect_uri=https%3A%2F%2Fother.example%2F",
            "/a//b",
        ] {
            assert_eq!(own_path(path), path);
        }
    }

    #[test]
    fn everything_else_leads_home() {
        for path in [
            "",
            "a",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\/evil.example",
            "/\t/evil.example",
            "/\n/evil.example",
            "https://evil.example",
            "https:evil.example",
            "javascript:alert(1)",
            "/.//evil.example",
            "/a/..//evil.example",
            "/%2e//evil.example",
            " //evil.example",
        ] {
            assert_eq!(own_path(path), "/", "{path:?}");
        }
    }
}
