//! The token endpoint (RFC 6749 sections 4.1.3 and 6): codes become grants, refresh tokens their successors.

use axum::body::Body;
use axum::extract::{Request, State};
use http::{HeaderMap, Response, StatusCode};
use serde_json::{Value, json};

use super::authorization_server::AuthorizationServer;
use super::body::{has_content_type, read_body};
use super::client_auth::{authenticate, credentials};
use super::form::{Duplicated, MAX_FORM_BYTES, Parameters};
use super::secret::{SecretHash, pkce_matches, random_secret};
use super::store::{AuthorizationCode, Client, Grant, NewRefresh, Redemption, RefreshToken, Rotation};
use super::wire::{self, ErrorCode, OAuthError};
use crate::clock::Timestamp;
use crate::resource_uri::ResourceUri;
use crate::scope::Scopes;

pub(super) async fn handle(State(server): State<AuthorizationServer>, request: Request) -> Response<Body> {
    let response = match issue(&server, request).await {
        Ok(tokens) => {
            // Every refresh adds a row, and who refreshes need not authorize again for months.
            server.sweep_now_and_then().await;
            wire::json(StatusCode::OK, &tokens)
        }
        Err(error) => error.response(),
    };
    wire::readable_anywhere(response)
}

async fn issue(server: &AuthorizationServer, request: Request) -> Result<Value, OAuthError> {
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
    let credentials = credentials(&headers, &form)?;
    let client = authenticate(server.store.client(&credentials.client_id).await?, &credentials)?;
    match form.get("grant_type").map_err(|Duplicated| repeated())? {
        Some("authorization_code") => redeem(server, &client, &form).await,
        Some("refresh_token") => refresh(server, &client, &form).await,
        Some(_) => {
            let why = "grant_type must be authorization_code or refresh_token";
            Err(OAuthError::new(ErrorCode::UnsupportedGrantType, why))
        }
        None => Err(invalid_request("grant_type is missing")),
    }
}

async fn redeem(
    server: &AuthorizationServer,
    client: &Client,
    form: &Parameters,
) -> Result<Value, OAuthError> {
    let get = |name| form.get(name).map_err(|Duplicated| repeated());
    let hash = SecretHash::of(get("code")?.ok_or_else(|| invalid_request("code is missing"))?);
    let presented = Presented {
        client_id: &client.id,
        redirect_uri: get("redirect_uri")?,
        verifier: get("code_verifier")?
            .ok_or_else(|| invalid_request("code_verifier is missing; PKCE is required"))?,
        resource: requested_resource(form)?,
    };
    let code = server.store.code(hash).await?.ok_or_else(bad_code)?;
    // Everything is checked before the code is spent or its replay believed: who merely saw a code can do no harm with it.
    presented.check(&code)?;
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
    let (secret, successor) = new_refresh(server, &grant, now);
    match server
        .store
        .redeem_code(hash, grant.clone(), successor, now)
        .await?
    {
        Redemption::Redeemed => Ok(tokens(server, &grant, &grant.scopes, &secret)),
        Redemption::Gone => Err(bad_code()),
        Redemption::AlreadyUsed => {
            // RFC 6749 section 4.1.2: the client has it twice, or somebody else has its verifier too.
            tracing::warn!(
                client_id = client.id,
                grant_id = grant.id,
                "code replayed, grant revoked"
            );
            server.store.revoke_grant(&grant.id).await?;
            Err(bad_code())
        }
    }
}

/// What a token request brings to match a code.
struct Presented<'a> {
    client_id: &'a str,
    redirect_uri: Option<&'a str>,
    verifier: &'a str,
    resource: Option<ResourceUri>,
}

impl Presented<'_> {
    fn check(&self, code: &AuthorizationCode) -> Result<(), OAuthError> {
        let request = &code.request;
        let same_redirect = match self.redirect_uri {
            Some(uri) => uri == request.redirect_uri,
            None => !request.redirect_uri_was_sent,
        };
        if self.client_id != request.client_id
            || !same_redirect
            || !pkce_matches(&request.code_challenge, self.verifier)
        {
            return Err(bad_code());
        }
        check_resource(self.resource.as_ref(), &request.resource)
    }
}

async fn refresh(
    server: &AuthorizationServer,
    client: &Client,
    form: &Parameters,
) -> Result<Value, OAuthError> {
    let get = |name| form.get(name).map_err(|Duplicated| repeated());
    let hash =
        SecretHash::of(get("refresh_token")?.ok_or_else(|| invalid_request("refresh_token is missing"))?);
    let resource = requested_resource(form)?;
    let wanted: Option<Scopes> = get("scope")?
        .map(str::parse)
        .transpose()
        .map_err(|_| OAuthError::new(ErrorCode::InvalidScope, "scope is malformed"))?;
    let now = server.clock.now();
    let token = server.store.refresh_token(hash).await?.ok_or_else(bad_refresh)?;
    match judge(&token, &client.id, now) {
        Verdict::Proceed => {}
        Verdict::Refuse => return Err(bad_refresh()),
        Verdict::SpentAt(rotated_at) => return Err(replayed(server, &token.grant, rotated_at, now).await?),
    }
    let grant = token.grant;
    check_resource(resource.as_ref(), &grant.resource)?;
    let scopes = wanted.unwrap_or_else(|| grant.scopes.clone());
    if !grant.scopes.covers(&scopes) {
        return Err(OAuthError::new(
            ErrorCode::InvalidScope,
            "more scopes than were granted",
        ));
    }
    let info = server
        .resources
        .lookup(&grant.resource, &grant.subject)
        .await
        .ok_or_else(bad_refresh)?;
    let allowed = scopes.intersection(&info.scopes_supported);
    if allowed.is_empty() && !scopes.is_empty() {
        return Err(bad_refresh());
    }
    let (secret, successor) = new_refresh(server, &grant, now);
    match server.store.rotate_refresh(hash, successor, now).await? {
        Rotation::Rotated => Ok(tokens(server, &grant, &allowed, &secret)),
        Rotation::Spent { rotated_at } => Err(replayed(server, &grant, rotated_at, now).await?),
        Rotation::Gone => Err(bad_refresh()),
    }
}

enum Verdict {
    Proceed,
    Refuse,
    SpentAt(Timestamp),
}

/// The decision over a refresh token before it is rotated. Whose it is comes first: a stranger must not be able to end a grant.
fn judge(token: &RefreshToken, client_id: &str, now: Timestamp) -> Verdict {
    let grant = &token.grant;
    if grant.client_id != client_id || grant.revoked || grant.expires_at <= now {
        return Verdict::Refuse;
    }
    match token.rotated_at {
        Some(rotated_at) => Verdict::SpentAt(rotated_at),
        None if token.expires_at <= now => Verdict::Refuse,
        None => Verdict::Proceed,
    }
}

/// A spent token came again. Inside the window that is a client's retry, or two of its requests racing; afterwards it is
/// theft, of this token or of its successor, and the family ends (RFC 9700 section 4.14.2).
async fn replayed(
    server: &AuthorizationServer,
    grant: &Grant,
    rotated_at: Timestamp,
    now: Timestamp,
) -> Result<OAuthError, OAuthError> {
    if now.since(rotated_at) > server.config.replay_window {
        tracing::warn!(
            client_id = grant.client_id,
            grant_id = grant.id,
            "refresh token replayed, grant revoked"
        );
        server.store.revoke_grant(&grant.id).await?;
    }
    Ok(bad_refresh())
}

fn new_refresh(server: &AuthorizationServer, grant: &Grant, now: Timestamp) -> (String, NewRefresh) {
    let secret = random_secret();
    let expires_at = now.plus(server.config.refresh_idle_ttl).min(grant.expires_at);
    let refresh = NewRefresh {
        hash: SecretHash::of(&secret),
        expires_at,
    };
    (secret, refresh)
}

/// The answer of RFC 6749 section 5.1.
fn tokens(server: &AuthorizationServer, grant: &Grant, scopes: &Scopes, refresh_token: &str) -> Value {
    let ttl = server
        .config
        .access_token_ttl
        .min(grant.expires_at.since(server.clock.now()));
    let mut document = json!({
        "access_token": server.mint(grant, scopes, ttl),
        "token_type": "Bearer",
        "expires_in": ttl.as_secs(),
        "refresh_token": refresh_token,
    });
    if let (false, Some(members)) = (scopes.is_empty(), document.as_object_mut()) {
        members.insert("scope".to_owned(), scopes.to_string().into());
    }
    document
}

/// `resource`, if it is sent: one, and a URI (RFC 8707 section 2.2).
fn requested_resource(form: &Parameters) -> Result<Option<ResourceUri>, OAuthError> {
    let invalid = |why| OAuthError::new(ErrorCode::InvalidTarget, why);
    match form.resources().as_slice() {
        [] => Ok(None),
        [one] => ResourceUri::insecure_http(one)
            .map(Some)
            .map_err(|_| invalid("resource is not an absolute https URI")),
        _ => Err(invalid("ask for one resource at a time")),
    }
}

fn check_resource(requested: Option<&ResourceUri>, granted: &ResourceUri) -> Result<(), OAuthError> {
    match requested {
        Some(requested) if requested != granted => Err(OAuthError::new(
            ErrorCode::InvalidTarget,
            "the grant is for another resource",
        )),
        _ => Ok(()),
    }
}

fn bad_code() -> OAuthError {
    OAuthError::new(
        ErrorCode::InvalidGrant,
        "the code is not valid, or not for this client, redirect_uri or code_verifier",
    )
}

fn bad_refresh() -> OAuthError {
    OAuthError::new(
        ErrorCode::InvalidGrant,
        "the refresh token is not valid; sign in again",
    )
}

fn invalid_request(why: &'static str) -> OAuthError {
    OAuthError::new(ErrorCode::InvalidRequest, why)
}

fn repeated() -> OAuthError {
    invalid_request("a parameter is repeated")
}
