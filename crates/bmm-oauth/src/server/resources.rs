//! The seam that knows which resources exist and who may use them.

use super::wire::{ErrorCode, OAuthError};
use crate::resource_uri::ResourceUri;
use crate::scope::Scopes;
use crate::verifier::{BoxError, BoxFuture, Subject};

/// Which resources there are, and who may hold tokens for them. Asked when a user authorizes, and again at every refresh, so a
/// permission that is taken away ends with the access token's hour.
pub trait Resources: Send + Sync + 'static {
    /// The resource, if it exists and this subject may use it; the two are not told apart to the client. An error (the host's database
    /// is away) is no answer: the client is told to come back, and loses nothing.
    fn lookup<'a>(
        &'a self,
        resource: &'a ResourceUri,
        subject: &'a Subject,
    ) -> BoxFuture<'a, Result<Option<ResourceInfo>, BoxError>>;

    /// What anybody may know of a resource: its name and its scopes, for the consent page of somebody who has yet to sign in at an
    /// upstream. By default nothing; the page then shows the resource's URL and the scopes that were asked for.
    fn describe<'a>(
        &'a self,
        resource: &'a ResourceUri,
    ) -> BoxFuture<'a, Result<Option<ResourceInfo>, BoxError>> {
        let _ = resource;
        Box::pin(std::future::ready(Ok(None)))
    }
}

/// A resource as the authorization server sees it, for one subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceInfo {
    /// Its name on the consent page.
    pub name: String,
    /// What this subject may be granted; other scopes of a request are dropped.
    pub scopes_supported: Scopes,
    /// What a request without scopes gets.
    pub default_scopes: Scopes,
}

impl ResourceInfo {
    /// What is granted of `asked`: what there is of it, the default if nothing was asked, or nothing at all.
    pub(super) fn grantable(&self, asked: &Scopes) -> Option<Scopes> {
        if asked.is_empty() {
            return Some(self.default_scopes.clone());
        }
        Some(asked.intersection(&self.scopes_supported)).filter(|scopes| !scopes.is_empty())
    }
}

/// What a client hears when the host could not say.
pub(super) fn resources_failed(error: BoxError) -> OAuthError {
    tracing::error!(
        error = &*error as &dyn std::error::Error,
        "cannot look up a resource"
    );
    OAuthError::new(
        ErrorCode::TemporarilyUnavailable,
        "the server could not do this now, try again",
    )
}
