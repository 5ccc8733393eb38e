//! GitHub: OAuth without OpenID Connect. Its user API says who the user is.

use serde::Deserialize;

use super::code_grant::{AuthMethod, CodeGrant};
use super::http::{Http, SendUpstream};
use super::{
    ClientSecret, SignInAttempt, Upstream, UpstreamAnswer, UpstreamError, UpstreamResult, UpstreamTokens,
    UpstreamUser,
};
use crate::clock::Timestamp;
use crate::issuer::Issuer;

/// GitHub accounts, at github.com or a GitHub Enterprise Server. The subject is the account's number: login names can be given up and
/// taken by others.
///
/// Without scopes the token reads what is public. Tokens of OAuth Apps do not expire and have no refresh token; those of GitHub Apps do.
#[derive(Debug)]
pub struct GitHub {
    name: String,
    display_name: String,
    issuer: String,
    user_api: String,
    grant: CodeGrant,
    http: Http,
}

impl GitHub {
    /// Sign-in with github.com.
    pub fn new(client_id: impl Into<String>, client_secret: impl Into<ClientSecret>) -> Self {
        let (web, api) = ("https://github.com", "https://api.github.com/user");
        Self::at(
            web,
            api,
            "github",
            "GitHub",
            client_id.into(),
            client_secret.into(),
        )
    }

    /// Sign-in with the GitHub Enterprise Server at `base`, such as `https://github.example.com`. `name` as in
    /// [`Oidc::new`](super::Oidc::new).
    pub fn enterprise(
        name: &str,
        base: &Issuer,
        client_id: impl Into<String>,
        client_secret: impl Into<ClientSecret>,
    ) -> Self {
        let (web, api) = (base.endpoint(""), base.endpoint("/api/v3/user"));
        Self::at(&web, &api, name, name, client_id.into(), client_secret.into())
    }

    fn at(
        web: &str,
        user_api: &str,
        name: &str,
        display_name: &str,
        client_id: String,
        client_secret: ClientSecret,
    ) -> Self {
        Self {
            name: name.to_owned(),
            display_name: display_name.to_owned(),
            // What its metadata document says, and `iss` of its answers.
            issuer: format!("{web}/login/oauth"),
            user_api: user_api.to_owned(),
            grant: CodeGrant {
                client_id,
                client_secret: Some(client_secret),
                scopes: String::new(),
            },
            http: Http::default(),
        }
    }

    /// Asks for these scopes.
    pub fn with_scopes<'a>(mut self, scopes: impl IntoIterator<Item = &'a str>) -> Self {
        self.grant.scopes = scopes.into_iter().collect::<Vec<_>>().join(" ");
        self
    }

    /// What pages call it.
    pub fn with_display_name(mut self, display_name: impl Into<String>) -> Self {
        self.display_name = display_name.into();
        self
    }

    /// As [`Oidc::insecure_with_http`](super::Oidc::insecure_with_http).
    pub fn insecure_with_http(mut self, send: SendUpstream) -> Self {
        self.http = Http::new(send);
        self
    }

    fn token_endpoint(&self) -> String {
        format!("{}/access_token", self.issuer)
    }
}

impl Upstream for GitHub {
    fn name(&self) -> &str {
        &self.name
    }

    fn display_name(&self) -> &str {
        &self.display_name
    }

    fn issuer(&self) -> &str {
        &self.issuer
    }

    fn authorization_url<'a>(&'a self, attempt: &'a SignInAttempt) -> UpstreamResult<'a, String> {
        Box::pin(async move {
            let endpoint = format!("{}/authorize", self.issuer);
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
        struct User {
            id: u64,
            login: String,
        }
        Box::pin(async move {
            let bearer = zeroize::Zeroizing::new(format!("Bearer {}", tokens.access_token.as_str()));
            let headers = [
                ("authorization", bearer.as_str()),
                ("accept", "application/vnd.github+json"),
                ("x-github-api-version", "2022-11-28"),
            ];
            let user: User = self.http.get_json(&self.user_api, &headers).await?;
            if user.id == 0 {
                return Err(UpstreamError::Identity("the account has no number"));
            }
            Ok(UpstreamUser {
                id: user.id.to_string(),
                display_name: user.login,
            })
        })
    }

    fn refresh<'a>(&'a self, refresh_token: &'a str, _: Timestamp) -> UpstreamResult<'a, UpstreamTokens> {
        Box::pin(async move {
            let endpoint = self.token_endpoint();
            self.grant
                .refresh(&self.http, &endpoint, AuthMethod::Post, refresh_token)
                .await
        })
    }
}
