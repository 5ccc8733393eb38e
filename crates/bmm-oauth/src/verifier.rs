//! What a verified access token says, and the seam that verifies one.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::issuer::Issuer;
use crate::jwk::Thumbprint;
use crate::resource_uri::ResourceUri;
use crate::scope::Scopes;

/// A boxed future, so that the seams of this crate are object-safe.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Any error, boxed.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Who a token speaks for, as the authorization server names them (`sub`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Subject(String);

impl Subject {
    /// A subject identifier: opaque, stable, unique within the issuer.
    pub fn new(subject: impl Into<String>) -> Self {
        Self(subject.into())
    }

    /// The identifier's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a verified access token says. [`RequireAuthLayer`](crate::RequireAuthLayer) puts it into the request's extensions;
/// holding one means that a [`Verifier`] accepted the token for [`resource`](Self::resource). Clones are cheap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthInfo(Arc<Verified>);

/// The fields of [`AuthInfo`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verified {
    pub(crate) issuer: Issuer,
    pub(crate) resource: ResourceUri,
    pub(crate) subject: Subject,
    pub(crate) client_id: String,
    pub(crate) scopes: Scopes,
    pub(crate) grant_id: String,
    pub(crate) expires_at: Timestamp,
    pub(crate) bound_to: Option<Thumbprint>,
}

impl AuthInfo {
    pub(crate) fn new(verified: Verified) -> Self {
        Self(Arc::new(verified))
    }

    /// Asserts an identity that no verifier of this crate has checked: for a [`Verifier`] of your own, and for tests.
    pub fn insecure_asserted(
        issuer: Issuer,
        resource: ResourceUri,
        subject: Subject,
        client_id: String,
        scopes: Scopes,
        grant_id: String,
        expires_at: Timestamp,
    ) -> Self {
        Self::new(Verified {
            issuer,
            resource,
            subject,
            client_id,
            scopes,
            grant_id,
            expires_at,
            bound_to: None,
        })
    }

    /// The same identity, from a token that only the holder of this key may use (`cnf.jkt`, RFC 9449 section 6.1).
    pub fn with_bound_to(self, key: Thumbprint) -> Self {
        Self::new(Verified {
            bound_to: Some(key),
            ..Arc::unwrap_or_clone(self.0)
        })
    }

    /// Who issued the token (`iss`).
    pub fn issuer(&self) -> &Issuer {
        &self.0.issuer
    }

    /// The one resource the token is for (`aud`).
    pub fn resource(&self) -> &ResourceUri {
        &self.0.resource
    }

    /// Who the token speaks for (`sub`); unique within [`issuer`](Self::issuer).
    pub fn subject(&self) -> &Subject {
        &self.0.subject
    }

    /// The client that holds the token (`client_id`).
    pub fn client_id(&self) -> &str {
        &self.0.client_id
    }

    /// What the token may be used for (`scope`).
    pub fn scopes(&self) -> &Scopes {
        &self.0.scopes
    }

    /// The consent the token descends from (`grant_id`): the same for all tokens of one sign-in, and what is revoked.
    pub fn grant_id(&self) -> &str {
        &self.0.grant_id
    }

    /// When the token stops being valid (`exp`).
    pub fn expires_at(&self) -> Timestamp {
        self.0.expires_at
    }

    /// The key whose holder alone may use the token (`cnf.jkt`). The layer has checked the proof.
    pub fn bound_to(&self) -> Option<&Thumbprint> {
        self.0.bound_to.as_ref()
    }
}

/// Why a token was not accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The token is not valid for this resource. The reason is for the log, never for the client.
    #[error("invalid access token: {0}")]
    Invalid(&'static str),
    /// The token could not be judged, for example because the keys could not be fetched.
    #[error("cannot verify access tokens now")]
    Unavailable(#[source] BoxError),
}

/// Judges access tokens for one resource. Implemented by [`JwksVerifier`](crate::JwksVerifier) and, with the feature `server`, by
/// the authorization server's own verifier.
pub trait Verifier: Send + Sync + 'static {
    /// What the token says, if it is valid now and for this verifier's resource.
    fn verify<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<AuthInfo, VerifyError>>;
}

impl<V: Verifier + ?Sized> Verifier for Arc<V> {
    fn verify<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<AuthInfo, VerifyError>> {
        (**self).verify(token)
    }
}
