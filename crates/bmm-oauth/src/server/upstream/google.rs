//! Google: OpenID Connect with its own ways.

use super::http::SendUpstream;
use super::oidc::{Oidc, Quirks};
use super::{
    ClientSecret, SignInAttempt, Upstream, UpstreamAnswer, UpstreamResult, UpstreamTokens, UpstreamUser,
};
use crate::clock::Timestamp;
use crate::issuer::Issuer;

/// Google accounts.
///
/// What is different from [`Oidc`]: ID tokens may spell the issuer without its scheme; the scope `offline_access` does not exist,
/// and a refresh token comes for `access_type=offline`, with the prompt `consent` every time, otherwise only the first time.
#[derive(Debug)]
pub struct Google(Oidc);

impl Google {
    /// Sign-in for anybody who has a Google account.
    pub fn new(client_id: impl Into<String>, client_secret: impl Into<ClientSecret>) -> Self {
        let issuer: Issuer = "https://accounts.google.com"
            .parse()
            .expect("an https URL without a path");
        let mut oidc = Oidc::new("google", issuer, client_id, client_secret).with_display_name("Google");
        oidc.quirks = Quirks {
            issuer_alias: Some("accounts.google.com"),
            ..Quirks::default()
        };
        Self(oidc)
    }

    /// Only accounts of this organisation (Google Workspace). The ID token is checked for it; that the page offers no others is
    /// comfort.
    pub fn with_hosted_domain(mut self, domain: impl Into<String>) -> Self {
        let domain = domain.into();
        self.0.quirks.parameters.push(("hd", domain.clone()));
        self.0.quirks.hosted_domain = Some(domain);
        self
    }

    /// Asks for these scopes as well, and for a refresh token.
    pub fn with_offline_scopes<'a>(mut self, scopes: impl IntoIterator<Item = &'a str>) -> Self {
        let scopes = ["profile"].into_iter().chain(scopes);
        self.0 = self.0.with_scopes(scopes).with_prompt("consent");
        self.0
            .quirks
            .parameters
            .push(("access_type", "offline".to_owned()));
        self
    }

    /// As [`Oidc::insecure_with_http`].
    pub fn insecure_with_http(mut self, send: SendUpstream) -> Self {
        self.0 = self.0.insecure_with_http(send);
        self
    }
}

impl Upstream for Google {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn display_name(&self) -> &str {
        self.0.display_name()
    }

    fn issuer(&self) -> &str {
        self.0.issuer()
    }

    fn authorization_url<'a>(&'a self, attempt: &'a SignInAttempt) -> UpstreamResult<'a, String> {
        self.0.authorization_url(attempt)
    }

    fn exchange<'a>(
        &'a self,
        answer: &'a UpstreamAnswer,
        attempt: &'a SignInAttempt,
    ) -> UpstreamResult<'a, UpstreamTokens> {
        self.0.exchange(answer, attempt)
    }

    fn identify<'a>(
        &'a self,
        tokens: &'a UpstreamTokens,
        attempt: &'a SignInAttempt,
    ) -> UpstreamResult<'a, UpstreamUser> {
        self.0.identify(tokens, attempt)
    }

    fn refresh<'a>(&'a self, refresh_token: &'a str, now: Timestamp) -> UpstreamResult<'a, UpstreamTokens> {
        self.0.refresh(refresh_token, now)
    }
}
