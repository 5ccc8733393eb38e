//! Identity providers whose word for a user counts (enterprise-managed authorization).

use std::fmt;
use std::sync::Arc;

use bmm_net::{FetchLimits, Fetcher};
use bytes::Bytes;
use http::Request;

use crate::issuer::Issuer;
use crate::remote_keys::{FetchJwks, RemoteKeys};
use crate::verifier::{BoxError, Subject};

type SubjectOf = dyn Fn(&str) -> Option<Subject> + Send + Sync;

/// Another issuer that the host trusts to say who a user is, and that the user's organisation allows a client to act for them (ID-JAG,
/// `oauth-id-jag+jwt`). There is no consent page then: trust nobody who is not entitled to speak for these users.
#[derive(Clone)]
pub struct IdentityProvider {
    pub(super) issuer: Issuer,
    pub(super) keys: Arc<RemoteKeys>,
    subject_of: Arc<SubjectOf>,
}

impl IdentityProvider {
    /// An issuer, exactly as it stands in `iss`, with the function that fetches its JWK Set. A user is the subject `<iss>#<sub>`, so that no provider
    /// can speak for another's users, or for the host's own.
    pub fn new(issuer: Issuer, fetch_jwks: FetchJwks) -> Self {
        let prefix = issuer.to_string();
        Self {
            issuer,
            keys: Arc::new(RemoteKeys::new(fetch_jwks)),
            subject_of: Arc::new(move |sub| Some(Subject::new(format!("{prefix}#{sub}")))),
        }
    }

    /// An issuer whose JWK Set is at an https URL.
    pub fn with_jwks_at(issuer: Issuer, url: &str, fetcher: Fetcher) -> Self {
        let url: Arc<str> = url.into();
        let fetch: FetchJwks = Arc::new(move || {
            let (url, fetcher) = (Arc::clone(&url), fetcher.clone());
            Box::pin(async move {
                let request = Request::get(&*url).body(Bytes::new())?;
                let limits = FetchLimits {
                    max_bytes: 256 * 1024,
                    ..FetchLimits::default()
                };
                let response = fetcher.fetch(request, limits).await?;
                match response.status() {
                    http::StatusCode::OK => Ok(response.into_body()),
                    status => Err(BoxError::from(format!("the status is {status}"))),
                }
            })
        });
        Self::new(issuer, fetch)
    }

    /// Finds the subject of a user (`sub`) in another way; `None` is a user that is not known here.
    pub fn with_subjects(
        mut self,
        subject_of: impl Fn(&str) -> Option<Subject> + Send + Sync + 'static,
    ) -> Self {
        self.subject_of = Arc::new(subject_of);
        self
    }

    pub(super) fn subject(&self, sub: &str) -> Option<Subject> {
        (self.subject_of)(sub)
    }
}

impl fmt::Debug for IdentityProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdentityProvider")
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}
