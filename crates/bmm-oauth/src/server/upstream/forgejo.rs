//! Forgejo and Gitea.

use serde::Deserialize;
use zeroize::Zeroizing;

use super::code_grant::{AuthMethod, CodeGrant};
use super::http::{Http, SendUpstream};
use super::{
    ClientSecret, SignInAttempt, Upstream, UpstreamAnswer, UpstreamError, UpstreamResult, UpstreamTokens,
    UpstreamUser,
};
use crate::clock::Timestamp;
use crate::issuer::Issuer;

/// Accounts of a Forgejo or Gitea. The subject is the account's number.
///
/// Its discovery document spells the issuer with or without a final slash, depending on the version, so it is not asked: the endpoints have
/// fixed paths, and the userinfo endpoint says who the user is. Every exchange and every refresh makes the refresh tokens of that user and
/// application before it worthless (where the operator has set `INVALIDATE_REFRESH_TOKENS`), so that there must be only one: tokens are
/// kept per user, not per client. There is no revocation endpoint; a user revokes at the settings page.
#[derive(Debug)]
pub struct Forgejo {
    name: String,
    display_name: String,
    base: Issuer,
    /// The base without a final slash.
    issuer: String,
    grant: CodeGrant,
    http: Http,
}

impl Forgejo {
    /// Sign-in with the instance at `base`, such as `https://codeberg.org`.
    pub fn new(base: Issuer, client_id: impl Into<String>, client_secret: impl Into<ClientSecret>) -> Self {
        Self {
            name: "forgejo".to_owned(),
            display_name: "Forgejo".to_owned(),
            issuer: base.endpoint(""),
            base,
            grant: CodeGrant {
                client_id: client_id.into(),
                client_secret: Some(client_secret.into()),
                scopes: String::new(),
            },
            http: Http::default(),
        }
    }

    /// Another name in paths and tables, for a second instance.
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// What pages call it.
    pub fn with_display_name(mut self, display_name: impl Into<String>) -> Self {
        self.display_name = display_name.into();
        self
    }

    /// Asks for these scopes, where the version knows scopes (`read:user` must be among them then). Without, the token can do what
    /// the user can.
    pub fn with_scopes<'a>(mut self, scopes: impl IntoIterator<Item = &'a str>) -> Self {
        self.grant.scopes = scopes.into_iter().collect::<Vec<_>>().join(" ");
        self
    }

    /// As [`Oidc::insecure_with_http`](super::Oidc::insecure_with_http).
    pub fn insecure_with_http(mut self, send: SendUpstream) -> Self {
        self.http = Http::new(send);
        self
    }

    fn token_endpoint(&self) -> String {
        self.base.endpoint("/login/oauth/access_token")
    }
}

impl Upstream for Forgejo {
    fn name(&self) -> &str {
        &self.name
    }

    fn display_name(&self) -> &str {
        &self.display_name
    }

    fn issuer(&self) -> &str {
        &self.issuer
    }

    fn is_issuer(&self, iss: &str) -> bool {
        iss.strip_suffix('/').unwrap_or(iss) == self.issuer
    }

    fn authorization_url<'a>(&'a self, attempt: &'a SignInAttempt) -> UpstreamResult<'a, String> {
        Box::pin(async move {
            let endpoint = self.base.endpoint("/login/oauth/authorize");
            self.grant.authorization_url(&endpoint, attempt, &[])
        })
    }

    fn exchange<'a>(
        &'a self,
        answer: &'a UpstreamAnswer,
        attempt: &'a SignInAttempt,
    ) -> UpstreamResult<'a, UpstreamTokens> {
        Box::pin(async move {
            let endpoint = self.token_endpoint();
            self.grant
                .exchange(&self.http, &endpoint, AuthMethod::Post, answer, attempt)
                .await
        })
    }

    fn identify<'a>(
        &'a self,
        tokens: &'a UpstreamTokens,
        _: &'a SignInAttempt,
    ) -> UpstreamResult<'a, UpstreamUser> {
        #[derive(Deserialize)]
        struct UserInfo {
            sub: String,
            preferred_username: Option<String>,
        }
        Box::pin(async move {
            let bearer = Zeroizing::new(format!("Bearer {}", tokens.access_token.as_str()));
            let url = self.base.endpoint("/login/oauth/userinfo");
            let user: UserInfo = self
                .http
                .get_json(&url, &[("authorization", bearer.as_str())])
                .await?;
            // A number, never a name that somebody else may take later.
            if user.sub.is_empty() || !user.sub.bytes().all(|b| b.is_ascii_digit()) {
                return Err(UpstreamError::Identity("the account has no number"));
            }
            let name = user.preferred_username.filter(|name| !name.is_empty());
            Ok(UpstreamUser {
                display_name: name.unwrap_or_else(|| user.sub.clone()),
                id: user.sub,
            })
        })
    }

    fn refresh<'a>(&'a self, refresh_token: &'a str, _: Timestamp) -> UpstreamResult<'a, UpstreamTokens> {
        Box::pin(async move {
            let endpoint = self.token_endpoint();
            let refreshed = self
                .grant
                .refresh(&self.http, &endpoint, AuthMethod::Post, refresh_token)
                .await;
            match refreshed {
                // What it says of a refresh token that is spent or unknown; that of a client it does not know is `invalid_client`.
                Err(UpstreamError::Refused(error)) if error == "unauthorized_client" => {
                    Err(UpstreamError::GrantEnded)
                }
                refreshed => refreshed,
            }
        })
    }
}
