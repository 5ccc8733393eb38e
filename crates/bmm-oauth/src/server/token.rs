//! The token endpoint, and the grant of an authorization code (RFC 6749 section 4.1.3).

use axum::body::Body;
use axum::extract::{Request, State};
use http::{HeaderMap, Response, StatusCode};
use serde_json::Value;

use super::authorization_server::AuthorizationServer;
use super::body::{has_content_type, read_body};
use super::client_auth::authenticate;
use super::client_credentials;
use super::dpop::{self, Proven};
use super::endpoints;
use super::form::{Duplicated, MAX_FORM_BYTES, Parameters};
use super::grant_steps::{
    about, check_resource, invalid_request, new_refresh, repeated, requested_resource, tokens,
};
use super::identity_assertion;
use super::presented::Presented;
use super::refresh::refresh;
use super::secret::{SecretHash, pkce_matches};
use super::store::{AuthorizationCode, Client, Grant, Redemption};
use super::wire::{self, ErrorCode, OAuthError};
use crate::events::{Event, EventKind};
use crate::jwk::Thumbprint;
use crate::resource_uri::ResourceUri;

pub(super) async fn handle(State(server): State<AuthorizationServer>, request: Request) -> Response<Body> {
    let mut event = server.event(EventKind::TokenRequested, request.extensions());
    let mut response = match issue(&server, request, &mut event).await {
        Ok(tokens) => wire::json(StatusCode::OK, &tokens),
        Err(error) => {
            event.outcome = error.outcome();
            error.response()
        }
    };
    // Every refresh adds a row, and who refreshes need not authorize again for months; assertions that are refused later leave one too.
    server.sweep_now_and_then().await;
    server.events.record(event);
    dpop::give_nonce(&server, response.headers_mut());
    wire::readable_anywhere(response)
}

async fn issue(
    server: &AuthorizationServer,
    request: Request,
    event: &mut Event,
) -> Result<Value, OAuthError> {
    let headers: HeaderMap = request.headers().clone();
    if !has_content_type(&headers, "application/x-www-form-urlencoded") {
        return Err(invalid_request(
            "send the parameters as application/x-www-form-urlencoded",
        ));
    }
    let body = read_body(request, MAX_FORM_BYTES).await?;
    let form = Parameters::parse(&body)
        .map_err(|error| OAuthError::new(ErrorCode::InvalidRequest, error.to_string()))?;
    if form.duplicated().is_some() {
        return Err(repeated());
    }
    let presented = Presented {
        headers: &headers,
        form: &form,
        endpoint: endpoints::TOKEN,
        address: event.address,
    };
    let client = authenticate(server, &presented).await?;
    event.client_id = Some(client.id.clone());
    let proven = dpop::proven(server, &headers, endpoints::TOKEN, event.address)?;
    match form.get("grant_type").map_err(|Duplicated| repeated())? {
        Some("authorization_code") => {
            event.kind = EventKind::CodeRedeemed;
            redeem(server, &client, &form, &proven, event).await
        }
        Some("refresh_token") => {
            event.kind = EventKind::TokenRefreshed;
            refresh(server, &client, &form, &proven, event).await
        }
        Some("client_credentials") if server.config.client_credentials => {
            event.kind = EventKind::ClientCredentialsIssued;
            client_credentials::issue(server, &client, &form, &proven, event).await
        }
        Some(identity_assertion::GRANT_TYPE) if !server.identity_providers.is_empty() => {
            event.kind = EventKind::AssertionExchanged;
            identity_assertion::exchange(server, &client, &form, &proven, event).await
        }
        Some(_) => {
            let why = "grant_type is not one that this server supports";
            Err(OAuthError::new(ErrorCode::UnsupportedGrantType, why))
        }
        None => Err(invalid_request("grant_type is missing")),
    }
}

async fn redeem(
    server: &AuthorizationServer,
    client: &Client,
    form: &Parameters,
    proven: &Proven,
    event: &mut Event,
) -> Result<Value, OAuthError> {
    let key = proven.key();
    let get = |name| form.get(name).map_err(|Duplicated| repeated());
    let hash = SecretHash::of(get("code")?.ok_or_else(|| invalid_request("code is missing"))?);
    let presented = ForCode {
        client_id: &client.id,
        redirect_uri: get("redirect_uri")?,
        verifier: get("code_verifier")?
            .ok_or_else(|| invalid_request("code_verifier is missing; PKCE is required"))?,
        resource: requested_resource(form)?,
        key,
    };
    let code = server.store.code(hash).await?.ok_or_else(bad_code)?;
    // Everything is checked before the code is spent or its replay believed: who merely saw a code can do no harm with it.
    presented.check(&code)?;
    proven.use_up(server).await?;
    let now = server.clock.now();
    let grant = Grant {
        id: code.grant_id,
        client_id: client.id.clone(),
        subject: code.subject,
        resource: code.request.resource,
        scopes: code.request.scopes,
        expires_at: now.plus(server.config.grant_ttl),
        revoked: false,
    };
    about(event, &grant);
    let (secret, successor) = new_refresh(server, client, &grant, key, now);
    match server
        .store
        .redeem_code(hash, grant.clone(), successor, now)
        .await?
    {
        Redemption::Redeemed => Ok(tokens(server, &grant, &grant.scopes, key, &secret)),
        Redemption::Gone => Err(bad_code()),
        Redemption::AlreadyUsed => {
            // RFC 6749 section 4.1.2: the client has it twice, or somebody else has its verifier too.
            event.kind = EventKind::CodeReplayed;
            server.revoke_grant(&grant.id).await?;
            Err(bad_code())
        }
    }
}

/// What a token request brings to match a code.
struct ForCode<'a> {
    client_id: &'a str,
    redirect_uri: Option<&'a str>,
    verifier: &'a str,
    resource: Option<ResourceUri>,
    key: Option<&'a Thumbprint>,
}

impl ForCode<'_> {
    fn check(&self, code: &AuthorizationCode) -> Result<(), OAuthError> {
        let request = &code.request;
        let same_redirect = match self.redirect_uri {
            Some(uri) => uri == request.redirect_uri,
            None => !request.redirect_uri_was_sent,
        };
        if self.client_id != request.client_id
            || !same_redirect
            || !pkce_matches(&request.code_challenge, self.verifier)
            // RFC 9449 section 10: a code for a key is worth nothing without it.
            || (request.dpop_jkt.is_some() && request.dpop_jkt.as_ref() != self.key)
        {
            return Err(bad_code());
        }
        check_resource(self.resource.as_ref(), &request.resource)
    }
}

fn bad_code() -> OAuthError {
    OAuthError::new(
        ErrorCode::InvalidGrant,
        "the code is not valid, or not for this client, redirect_uri or code_verifier",
    )
}
