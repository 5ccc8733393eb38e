//! Any provider of OpenID Connect (Core 1.0, Discovery 1.0).

use serde::Deserialize;
use std::sync::Arc;

use super::cached::Cached;
use super::code_grant::{AuthMethod, CodeGrant};
use super::http::{Http, SendUpstream, endpoint};
use super::id_token::{Claims, Expected, Unverified};
use super::{
    ClientSecret, SignInAttempt, Upstream, UpstreamAnswer, UpstreamError, UpstreamResult, UpstreamTokens,
    UpstreamUser,
};
use crate::clock::Timestamp;
use crate::issuer::Issuer;
use crate::key_set::KeySet;

/// An OpenID Connect provider: its endpoints and keys are discovered, and its ID token says who the user is.
///
/// ```
/// # use bmm_oauth::Oidc;
/// let corporate = Oidc::new("corp", "https://login.example.com".parse()?, "our-client-id", "our-client-secret")
///     .with_display_name("Example Corp");
/// # Ok::<(), bmm_oauth::UriError>(())
/// ```
///
/// Its ID tokens must be signed with one of the algorithms of [`Algorithm`](crate::Algorithm).
#[derive(Debug)]
pub struct Oidc {
    name: String,
    display_name: String,
    issuer: Issuer,
    grant: CodeGrant,
    prompt: Option<String>,
    http: Http,
    metadata: Cached<Metadata>,
    keys: Cached<KeySet>,
    pub(super) quirks: Quirks,
}

/// Where a provider leaves the common way.
#[derive(Debug, Default)]
pub(super) struct Quirks {
    /// Another spelling of the issuer in its ID tokens.
    pub(super) issuer_alias: Option<&'static str>,
    /// More parameters of the authorization request.
    pub(super) parameters: Vec<(&'static str, String)>,
    /// The organisation that its accounts must belong to.
    pub(super) hosted_domain: Option<String>,
}

/// What is used of the discovery document.
#[derive(Debug)]
struct Metadata {
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    sends_iss: bool,
    auth_method: AuthMethod,
}

impl Oidc {
    /// The provider with this issuer identifier, at which we are registered as this confidential client. `name` stands in paths
    /// and tables: lower-case letters, digits and dashes, never to be changed. Asks for the scopes `openid profile`.
    pub fn new(
        name: impl Into<String>,
        issuer: Issuer,
        client_id: impl Into<String>,
        client_secret: impl Into<ClientSecret>,
    ) -> Self {
        Self::with_client(name.into(), issuer, client_id.into(), Some(client_secret.into()))
    }

    /// Like [`new`](Self::new), registered as a public client: PKCE alone protects the code.
    pub fn public(name: impl Into<String>, issuer: Issuer, client_id: impl Into<String>) -> Self {
        Self::with_client(name.into(), issuer, client_id.into(), None)
    }

    fn with_client(
        name: String,
        issuer: Issuer,
        client_id: String,
        client_secret: Option<ClientSecret>,
    ) -> Self {
        Self {
            display_name: name.clone(),
            name,
            issuer,
            grant: CodeGrant {
                client_id,
                client_secret,
                scopes: "openid profile".to_owned(),
            },
            prompt: None,
            http: Http::default(),
            metadata: Cached::new(),
            keys: Cached::new(),
            quirks: Quirks::default(),
        }
    }

    /// What pages call it; without this, its name.
    pub fn with_display_name(mut self, display_name: impl Into<String>) -> Self {
        self.display_name = display_name.into();
        self
    }

    /// Asks for these scopes and `openid`. Many providers give a refresh token for `offline_access` only, some of them only with
    /// the prompt `consent`.
    pub fn with_scopes<'a>(mut self, scopes: impl IntoIterator<Item = &'a str>) -> Self {
        let others = scopes.into_iter().filter(|scope| *scope != "openid");
        self.grant.scopes = std::iter::once("openid")
            .chain(others)
            .collect::<Vec<_>>()
            .join(" ");
        self
    }

    /// Sends this `prompt` (OpenID Connect Core section 3.1.2.1), such as `consent` or `select_account`.
    pub fn with_prompt(mut self, prompt: impl Into<String>) -> Self {
        self.prompt = Some(prompt.into());
        self
    }

    /// Sends all requests through `send`: for tests, and where another client does what ours does. It alone decides which addresses
    /// can be reached.
    pub fn insecure_with_http(mut self, send: SendUpstream) -> Self {
        self.http = Http::new(send);
        self
    }

    async fn metadata(&self, now: Timestamp) -> Result<Arc<Metadata>, UpstreamError> {
        let fetch = discover(self.http.clone(), self.issuer.clone());
        self.metadata.get(now, |_| true, fetch).await
    }

    async fn verify(&self, token: &str, attempt: &SignInAttempt) -> Result<Claims, UpstreamError> {
        let token = Unverified::parse(token).map_err(UpstreamError::Identity)?;
        let metadata = self.metadata(attempt.now).await?;
        let http = self.http.clone();
        let fetch = async move {
            let bytes = http.get(&metadata.jwks_uri, &[]).await?;
            KeySet::parse(&bytes).map_err(|_| UpstreamError::Malformed("the JWK Set is not usable"))
        };
        let named = |keys: &KeySet| token.names_one_of(keys);
        let keys = self.keys.get(attempt.now, named, fetch).await?;
        let alias = self.quirks.issuer_alias.unwrap_or(self.issuer.as_str());
        let expected = Expected {
            issuers: &[self.issuer.as_str(), alias],
            client_id: &self.grant.client_id,
            nonce: &attempt.nonce,
            now: attempt.now,
        };
        token.verify(&keys, &expected).map_err(UpstreamError::Identity)
    }
}

impl Upstream for Oidc {
    fn name(&self) -> &str {
        &self.name
    }

    fn display_name(&self) -> &str {
        &self.display_name
    }

    fn issuer(&self) -> &str {
        self.issuer.as_str()
    }

    fn authorization_url<'a>(&'a self, attempt: &'a SignInAttempt) -> UpstreamResult<'a, String> {
        Box::pin(async move {
            let metadata = self.metadata(attempt.now).await?;
            let mut extra = vec![("nonce", attempt.nonce.as_str())];
            extra.extend(self.prompt.as_deref().map(|prompt| ("prompt", prompt)));
            extra.extend(
                self.quirks
                    .parameters
                    .iter()
                    .map(|(name, value)| (*name, value.as_str())),
            );
            self.grant
                .authorization_url(&metadata.authorization_endpoint, attempt, &extra)
        })
    }

    fn exchange<'a>(
        &'a self,
        answer: &'a UpstreamAnswer,
        attempt: &'a SignInAttempt,
    ) -> UpstreamResult<'a, UpstreamTokens> {
        Box::pin(async move {
            let metadata = self.metadata(attempt.now).await?;
            // RFC 9207 section 2.4: one who says that it always sends `iss` has not sent an answer without.
            if metadata.sends_iss && answer.iss.is_none() {
                return Err(UpstreamError::Identity(
                    "the answer does not say whose it is (iss)",
                ));
            }
            self.grant
                .exchange(
                    &self.http,
                    &metadata.token_endpoint,
                    metadata.auth_method,
                    answer,
                    attempt,
                )
                .await
        })
    }

    fn identify<'a>(
        &'a self,
        tokens: &'a UpstreamTokens,
        attempt: &'a SignInAttempt,
    ) -> UpstreamResult<'a, UpstreamUser> {
        Box::pin(async move {
            let token = tokens
                .id_token
                .as_ref()
                .ok_or(UpstreamError::Identity("there is no ID token"))?;
            let claims = self.verify(token, attempt).await?;
            let hosted_domain = self.quirks.hosted_domain.as_deref();
            if hosted_domain.is_some_and(|wanted| claims.hd.as_deref() != Some(wanted)) {
                return Err(UpstreamError::Identity("the account is not of the organisation"));
            }
            Ok(UpstreamUser {
                display_name: claims.display_name.unwrap_or_else(|| claims.sub.clone()),
                id: claims.sub,
            })
        })
    }

    fn refresh<'a>(&'a self, refresh_token: &'a str, now: Timestamp) -> UpstreamResult<'a, UpstreamTokens> {
        Box::pin(async move {
            let metadata = self.metadata(now).await?;
            self.grant
                .refresh(
                    &self.http,
                    &metadata.token_endpoint,
                    metadata.auth_method,
                    refresh_token,
                )
                .await
        })
    }
}

async fn discover(http: Http, issuer: Issuer) -> Result<Metadata, UpstreamError> {
    #[derive(Deserialize)]
    struct Document {
        issuer: String,
        authorization_endpoint: String,
        token_endpoint: String,
        jwks_uri: String,
        #[serde(default)]
        authorization_response_iss_parameter_supported: bool,
        token_endpoint_auth_methods_supported: Option<Vec<String>>,
    }
    let url = issuer.endpoint("/.well-known/openid-configuration");
    let document: Document = http.get_json(&url, &[]).await?;
    // Discovery section 4.3: the very same string, or somebody answers for somebody else.
    if document.issuer != issuer.as_str() {
        return Err(UpstreamError::Malformed(
            "the discovery document is another issuer's",
        ));
    }
    let endpoint = |url| endpoint(url, issuer.as_str());
    // Discovery section 3: without the member, Basic.
    let basic = document
        .token_endpoint_auth_methods_supported
        .is_none_or(|methods| methods.iter().any(|method| method == "client_secret_basic"));
    Ok(Metadata {
        authorization_endpoint: endpoint(document.authorization_endpoint)?,
        token_endpoint: endpoint(document.token_endpoint)?,
        jwks_uri: endpoint(document.jwks_uri)?,
        sends_iss: document.authorization_response_iss_parameter_supported,
        auth_method: if basic {
            AuthMethod::Basic
        } else {
            AuthMethod::Post
        },
    })
}
