//! The way from the consent to an upstream and back to the callback: single use, ten minutes, and for the browser that consented.
//!
//! The database holds no secret of it. `state` is stored as its hash; PKCE verifier and nonce are computed from `state` and the secret in
//! the browser's cookie, so that they come back with the browser or not at all.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue, Response, header};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::authorization_server::AuthorizationServer;
use super::authorize::{ErrorRedirect, see_other};
use super::cookie;
use super::endpoints;
use super::secret::{SecretHash, random_secret, sha256};
use super::store::{AuthorizationRequest, OnceKind, StoreError};
use super::upstream::{SignInAttempt, Upstream};
use super::wire::ErrorCode;
use crate::issuer::Issuer;

const TTL_SECS: u32 = 600;

/// What waits for the callback: kept as [`OnceKind::SignIn`] under the hash of `state`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Transaction {
    /// What the user has allowed.
    pub(super) request: AuthorizationRequest,
    /// Name of the upstream.
    pub(super) upstream: String,
    /// Hash of the cookie of the browser that consented.
    pub(super) browser: SecretHash,
}

/// Sends a browser that has just consented to the upstream. The cookie is a new one for each sign-in: one that somebody planted before
/// means nothing.
pub(super) async fn begin(
    server: &AuthorizationServer,
    upstream: &Arc<dyn Upstream>,
    request: AuthorizationRequest,
) -> Result<Response<Body>, StoreError> {
    let (state, browser) = (random_secret(), random_secret());
    let attempt = attempt(server, upstream.name(), &state, &browser);
    let location = match upstream.authorization_url(&attempt).await {
        Ok(location) => location,
        Err(error) => {
            tracing::warn!(
                upstream = upstream.name(),
                error = &error as &dyn std::error::Error,
                "cannot send a user to the upstream"
            );
            let error = ErrorRedirect {
                redirect_uri: request.redirect_uri,
                state: request.state,
                code: ErrorCode::TemporarilyUnavailable,
                description: "users cannot sign in at the moment",
            };
            return Ok(error.response(&server.config.issuer));
        }
    };
    let transaction = Transaction {
        request,
        upstream: upstream.name().to_owned(),
        browser: SecretHash::of(&browser),
    };
    let value = serde_json::to_vec(&transaction).expect("a transaction is plain data");
    let expires_at = server.clock.now().plus(Duration::from_secs(TTL_SECS.into()));
    server
        .store
        .put(OnceKind::SignIn, SecretHash::of(&state), value, expires_at)
        .await?;
    let issuer = &server.config.issuer;
    let mut response = see_other(&location);
    let cookie = cookie::set(&cookie_name(&state, issuer), &browser, TTL_SECS, issuer);
    response.headers_mut().append(header::SET_COOKIE, cookie);
    Ok(response)
}

/// The transaction of this `state`, for one caller only, and in time.
pub(super) async fn take(
    server: &AuthorizationServer,
    state: &str,
) -> Result<Option<Transaction>, StoreError> {
    let (key, now) = (SecretHash::of(state), server.clock.now());
    let value = server.store.take(OnceKind::SignIn, key, now).await?;
    value
        .map(|value| serde_json::from_slice(&value))
        .transpose()
        .map_err(|error| StoreError::new("a sign-in is damaged", error))
}

/// The secret that [`begin`] gave to the browser.
pub(super) fn browser_secret(headers: &HeaderMap, state: &str, issuer: &Issuer) -> Option<String> {
    cookie::read(headers, &cookie_name(state, issuer))
}

/// Removes that secret from the browser.
pub(super) fn forget_browser(state: &str, issuer: &Issuer) -> HeaderValue {
    cookie::set(&cookie_name(state, issuer), "", 0, issuer)
}

/// The attempt that belongs to this state and browser: the same on the way there and on the way back.
pub(super) fn attempt(
    server: &AuthorizationServer,
    upstream: &str,
    state: &str,
    browser: &str,
) -> SignInAttempt {
    let key = hmac::Key::new(hmac::HMAC_SHA256, browser.as_bytes());
    let derive = |purpose: &str| {
        let tag = hmac::sign(&key, format!("bmm-oauth {purpose}\0{state}").as_bytes());
        URL_SAFE_NO_PAD.encode(tag.as_ref())
    };
    SignInAttempt {
        redirect_uri: server
            .config
            .issuer
            .endpoint(&format!("{}/{upstream}", endpoints::CALLBACK)),
        nonce: derive("nonce"),
        code_verifier: Zeroizing::new(derive("code verifier")),
        state: Zeroizing::new(state.to_owned()),
        now: server.clock.now(),
    }
}

/// One cookie per sign-in, so that two pages at once do not end each other's.
fn cookie_name(state: &str, issuer: &Issuer) -> String {
    let hash = sha256(state.as_bytes());
    let id: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    cookie::name(&format!("bmm_sign_in_{id}"), issuer)
}
