//! Tokens bound to a client's key (RFC 9449), where they are issued.
//!
//! An access token says whose key it is for in `cnf`. The refresh token of a public client says it in its own text, after a dot: what is
//! stored is the hash of the whole, so nobody can take the binding off, and no store need know of it.

use std::net::IpAddr;

use http::{HeaderMap, HeaderValue, header};

use super::authorization_server::AuthorizationServer;
use super::secret::SecretHash;
use super::store::{Client, ClientAuthMethod, OnceKind};
use super::wire::{ErrorCode, OAuthError};
use crate::dpop::{Proof, Requested};
use crate::jwk::Thumbprint;

/// The proof that came with a request to an endpoint that knows them, if one did.
pub(super) struct Proven {
    proof: Option<Proof>,
    asked_by: Option<IpAddr>,
}

/// Reads the proof. It counts only once it is [used up](Proven::use_up).
pub(super) fn proven(
    server: &AuthorizationServer,
    headers: &HeaderMap,
    endpoint: &'static str,
    asked_by: Option<IpAddr>,
) -> Result<Proven, OAuthError> {
    let now = server.clock.now();
    let url = server.config.issuer.endpoint(endpoint);
    let requested = Requested {
        method: "POST",
        url: &url,
        token: None,
    };
    let proof = Proof::of_request(headers, &requested, now).map_err(|reason| {
        tracing::debug!(reason, "DPoP proof refused");
        invalid_proof()
    })?;
    if let (Some(proof), Some(nonces)) = (&proof, &server.dpop_nonces)
        && !proof.has_nonce_of(nonces, now)
    {
        let why = "the DPoP proof must hold the nonce of the DPoP-Nonce header";
        return Err(OAuthError::new(ErrorCode::UseDpopNonce, why));
    }
    Ok(Proven { proof, asked_by })
}

impl Proven {
    /// Whose key it proves.
    pub(super) fn key(&self) -> Option<&Thumbprint> {
        self.proof.as_ref().map(|proof| &proof.key)
    }

    /// Uses the proof up: the last step before something is issued, so that junk leaves nothing behind in the store.
    pub(super) async fn use_up(&self, server: &AuthorizationServer) -> Result<(), OAuthError> {
        let Some(proof) = &self.proof else { return Ok(()) };
        let id = SecretHash::of(&proof.identity());
        if server
            .claim(OnceKind::DpopProof, id, proof.ends_at(), self.asked_by)
            .await?
        {
            Ok(())
        } else {
            tracing::debug!(reason = "used before", "DPoP proof refused");
            Err(invalid_proof())
        }
    }
}

/// Tells the client the nonce for its next proof.
pub(super) fn give_nonce(server: &AuthorizationServer, headers: &mut HeaderMap) {
    let nonce = server
        .dpop_nonces
        .as_ref()
        .map(|nonces| nonces.current(server.clock.now()));
    if let Some(nonce) = nonce.and_then(|nonce| HeaderValue::from_str(&nonce).ok()) {
        headers.insert("dpop-nonce", nonce);
        headers.insert(
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static("dpop-nonce"),
        );
    }
}

/// `token_type` of an access token.
pub(super) fn token_type(key: Option<&Thumbprint>) -> &'static str {
    if key.is_some() { "DPoP" } else { "Bearer" }
}

/// The text of a refresh token. A client that authenticates needs no other binding (RFC 9449 section 5).
pub(super) fn refresh_token(secret: String, client: &Client, key: Option<&Thumbprint>) -> String {
    match key {
        Some(key) if client.auth_method == ClientAuthMethod::None => format!("{secret}.{key}"),
        _ => secret,
    }
}

/// Whether this key may use this refresh token: any key may use one that names none.
pub(super) fn may_use(token: &str, key: Option<&Thumbprint>) -> bool {
    match token.split_once('.') {
        Some((_, bound_to)) => key.is_some_and(|key| key.as_str() == bound_to),
        None => true,
    }
}

pub(super) fn invalid_proof() -> OAuthError {
    let why = "the DPoP proof is not valid for this request, or was used before";
    OAuthError::new(ErrorCode::InvalidDpopProof, why)
}
