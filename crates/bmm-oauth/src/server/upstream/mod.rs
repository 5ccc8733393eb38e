//! Where users sign in when the host keeps no session of its own: at an identity provider that the operator chose.
//!
//! What is the same for all of them stands here and in [`code_grant`]; what is peculiar to one stands in its own file.

mod cached;
mod code_grant;
mod forgejo;
mod github;
mod google;
mod http;
mod id_token;
mod oidc;

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

pub use forgejo::Forgejo;
pub use github::GitHub;
pub use google::Google;
pub use http::SendUpstream;
pub use oidc::Oidc;

use crate::clock::Timestamp;
use crate::verifier::{BoxError, BoxFuture, Subject};

/// An identity provider: [`Oidc`], [`Google`], [`GitHub`], [`Forgejo`], or one of your own.
///
/// It speaks OAuth's authorization code grant and says who the user is. It is told the time, and draws no random numbers: state, nonce
/// and PKCE verifier come with the attempt. Everything about browsers, cookies, consent and storing is the server's.
pub trait Upstream: Send + Sync + 'static {
    /// Its name in our paths (`/oauth/callback/<name>`) and tables: lower-case letters, digits and dashes, never to be changed.
    fn name(&self) -> &str;
    /// Its name on our pages.
    fn display_name(&self) -> &str;
    /// Its issuer identifier: `iss` of its answers (RFC 9207), and the namespace of its subjects.
    fn issuer(&self) -> &str;

    /// Where to send the browser.
    fn authorization_url<'a>(&'a self, attempt: &'a SignInAttempt) -> UpstreamResult<'a, String>;
    /// The code of the answer for tokens. One request; whatever comes back is kept before it is judged.
    fn exchange<'a>(
        &'a self,
        answer: &'a UpstreamAnswer,
        attempt: &'a SignInAttempt,
    ) -> UpstreamResult<'a, UpstreamTokens>;
    /// Who these tokens of this attempt are of.
    fn identify<'a>(
        &'a self,
        tokens: &'a UpstreamTokens,
        attempt: &'a SignInAttempt,
    ) -> UpstreamResult<'a, UpstreamUser>;
    /// Fresh tokens. [`UpstreamError::GrantEnded`] says that only the user can help.
    fn refresh<'a>(&'a self, refresh_token: &'a str, now: Timestamp) -> UpstreamResult<'a, UpstreamTokens>;

    /// Whether `iss` of an authorization response is this upstream's (RFC 9207 section 2.4): the same bytes.
    fn is_issuer(&self, iss: &str) -> bool {
        iss == self.issuer()
    }
}

/// What an [`Upstream`] answers with.
pub type UpstreamResult<'a, T> = BoxFuture<'a, Result<T, UpstreamError>>;

/// So that upstreams of several kinds fit into one list.
impl<U: Upstream + ?Sized> Upstream for Arc<U> {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn display_name(&self) -> &str {
        (**self).display_name()
    }

    fn issuer(&self) -> &str {
        (**self).issuer()
    }

    fn authorization_url<'a>(&'a self, attempt: &'a SignInAttempt) -> UpstreamResult<'a, String> {
        (**self).authorization_url(attempt)
    }

    fn exchange<'a>(
        &'a self,
        answer: &'a UpstreamAnswer,
        attempt: &'a SignInAttempt,
    ) -> UpstreamResult<'a, UpstreamTokens> {
        (**self).exchange(answer, attempt)
    }

    fn identify<'a>(
        &'a self,
        tokens: &'a UpstreamTokens,
        attempt: &'a SignInAttempt,
    ) -> UpstreamResult<'a, UpstreamUser> {
        (**self).identify(tokens, attempt)
    }

    fn refresh<'a>(&'a self, refresh_token: &'a str, now: Timestamp) -> UpstreamResult<'a, UpstreamTokens> {
        (**self).refresh(refresh_token, now)
    }

    fn is_issuer(&self, iss: &str) -> bool {
        (**self).is_issuer(iss)
    }
}

/// One user's way to an upstream and back.
#[derive(Clone)]
pub struct SignInAttempt {
    /// Our callback of this upstream.
    pub redirect_uri: String,
    /// `state`.
    pub state: Zeroizing<String>,
    /// `nonce` of OpenID Connect.
    pub nonce: String,
    /// PKCE: the upstream gets its S256 challenge first, and this with the code.
    pub code_verifier: Zeroizing<String>,
    /// Now.
    pub now: Timestamp,
}

impl fmt::Debug for SignInAttempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignInAttempt")
            .field("redirect_uri", &self.redirect_uri)
            .finish_non_exhaustive()
    }
}

/// What the browser brought back from an upstream, when it was not an error.
#[derive(Clone)]
pub struct UpstreamAnswer {
    /// `code`.
    pub code: Zeroizing<String>,
    /// `iss` (RFC 9207); if it is there, it has been checked.
    pub iss: Option<String>,
}

impl fmt::Debug for UpstreamAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamAnswer")
            .field("iss", &self.iss)
            .finish_non_exhaustive()
    }
}

/// A user as an upstream knows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamUser {
    /// Their identifier there: stable and never given to another, so no login name and no mail address.
    pub id: String,
    /// What to call them on a page.
    pub display_name: String,
}

/// Tokens of an upstream's token endpoint. `Debug` shows none of them, and they are wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct UpstreamTokens {
    /// The access token. Empty if the answer to a refresh held a new refresh token, and nothing else of use.
    pub access_token: Zeroizing<String>,
    /// The refresh token; without one in the answer to a refresh, the old one stays good.
    pub refresh_token: Option<Zeroizing<String>>,
    /// Lifetime of the access token in seconds; unknown or endless without.
    pub expires_in: Option<u64>,
    /// The ID token.
    pub id_token: Option<Zeroizing<String>>,
}

impl fmt::Debug for UpstreamTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamTokens")
            .field("expires_in", &self.expires_in)
            .finish_non_exhaustive()
    }
}

/// The secret that an upstream gave us as its client. `Debug` hides it, and it is wiped when dropped.
#[derive(Clone)]
pub struct ClientSecret(Zeroizing<String>);

impl ClientSecret {
    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for ClientSecret {
    fn from(secret: String) -> Self {
        Self(Zeroizing::new(secret))
    }
}

impl From<&str> for ClientSecret {
    fn from(secret: &str) -> Self {
        Self(Zeroizing::new(secret.to_owned()))
    }
}

impl From<Zeroizing<String>> for ClientSecret {
    fn from(secret: Zeroizing<String>) -> Self {
        Self(secret)
    }
}

impl fmt::Debug for ClientSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientSecret(…)")
    }
}

/// Why an upstream did not do what was asked. It goes to the log; no token is in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpstreamError {
    /// No answer.
    #[error("the upstream cannot be reached")]
    Unreachable(#[source] BoxError),
    /// An answer of this status without an OAuth error.
    #[error("the upstream answered with status {0}")]
    Status(u16),
    /// An OAuth error (RFC 6749 section 5.2).
    #[error("the upstream refused with the error {0}")]
    Refused(String),
    /// The user's grant there has ended: they have to sign in again.
    #[error("the user's grant at the upstream has ended")]
    GrantEnded,
    /// An answer that cannot be used.
    #[error("the upstream's answer cannot be used: {0}")]
    Malformed(&'static str),
    /// The proof of who the user is does not hold.
    #[error("the upstream's proof of identity does not hold: {0}")]
    Identity(&'static str),
}

/// Longest user identifier of an upstream, in bytes (OpenID Connect Core section 2: 255).
const MAX_ID_BYTES: usize = 255;

/// The subject of a user of an upstream: `<issuer>#<id>`. An issuer has no `#`, so the first one ends it, and no two upstreams can
/// name the same subject. The identifier is percent-encoded, which makes the whole a URI, as RFC 7519 section 4.1.2 wants it.
pub(super) fn subject(issuer: &str, id: &str) -> Result<Subject, UpstreamError> {
    if id.is_empty() || id.len() > MAX_ID_BYTES || id.chars().any(char::is_control) {
        return Err(UpstreamError::Identity("the user's identifier is not usable"));
    }
    if issuer.contains('#') {
        return Err(UpstreamError::Identity("the issuer has a fragment"));
    }
    let mut text = format!("{issuer}#");
    for byte in id.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:@".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    Ok(Subject::new(text))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_subject_reads_like_its_issuer() {
        let of = |issuer, id| subject(issuer, id).map(|s| s.to_string()).ok();
        assert_eq!(
            of("https://github.com/login/oauth", "583231").as_deref(),
            Some("https://github.com/login/oauth#583231")
        );
        assert_eq!(
            of("https://a.example", "auth0|x y").as_deref(),
            Some("https://a.example#auth0%7Cx%20y")
        );
        let long = "x".repeat(256);
        for id in ["", "a\0b", "a\nb", &long] {
            assert_eq!(of("https://a.example", id), None, "{id:?}");
        }
        assert_eq!(of("https://a.example/#x", "1"), None);
    }

    proptest! {
        #[test]
        fn two_users_are_never_one_subject(
            a in ("https://[ab](/[ab#])?", "[ab%#:/]{1,2}"),
            b in ("https://[ab](/[ab#])?", "[ab%#:/]{1,2}"),
        ) {
            if let (Ok(first), Ok(second)) = (subject(&a.0, &a.1), subject(&b.0, &b.1)) {
                prop_assert_eq!(first == second, a == b);
            }
        }
    }
}
