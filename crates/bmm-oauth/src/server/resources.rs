//! The seam that knows which resources exist and who may use them.

use crate::resource_uri::ResourceUri;
use crate::scope::Scopes;
use crate::verifier::{BoxFuture, Subject};

/// Which resources there are, and who may hold tokens for them. Asked when a user authorizes, and again at every refresh, so a
/// permission that is taken away ends with the access token's hour.
pub trait Resources: Send + Sync + 'static {
    /// The resource, if it exists and this subject may use it; the two are not told apart to the client.
    fn lookup<'a>(
        &'a self,
        resource: &'a ResourceUri,
        subject: &'a Subject,
    ) -> BoxFuture<'a, Option<ResourceInfo>>;
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
