//! Where metadata lives and what a protected resource says about itself: pure functions over the identifiers.

use serde_json::{Value, json};

use crate::absolute_uri;
use crate::issuer::Issuer;
use crate::resource_uri::ResourceUri;
use crate::scope::Scopes;

/// The well-known segment of RFC 9728. A server that is mounted by itself serves its document here.
pub const PROTECTED_RESOURCE_PATH: &str = "/.well-known/oauth-protected-resource";

/// The well-known segment of RFC 8414.
pub const AUTHORIZATION_SERVER_PATH: &str = "/.well-known/oauth-authorization-server";

/// The path, at the root of the resource's host, of its RFC 9728 document: the well-known segment inserted
/// before the resource's own path, whose trailing slash is dropped (RFC 9728 section 3.1).
///
/// ```
/// let resource = "https://mcp.example.com/weather/mcp".parse()?;
/// assert_eq!(bmm_oauth::metadata_path(&resource), "/.well-known/oauth-protected-resource/weather/mcp");
/// # Ok::<(), bmm_oauth::UriError>(())
/// ```
pub fn metadata_path(resource: &ResourceUri) -> String {
    format!(
        "{PROTECTED_RESOURCE_PATH}{}",
        resource.url().path().trim_end_matches('/')
    )
}

/// The absolute URL of the resource's RFC 9728 document, query string kept.
///
/// ```
/// let resource = "https://mcp.example.com/weather/mcp".parse()?;
/// let url = "https://mcp.example.com/.well-known/oauth-protected-resource/weather/mcp";
/// assert_eq!(bmm_oauth::metadata_url(&resource), url);
/// # Ok::<(), bmm_oauth::UriError>(())
/// ```
pub fn metadata_url(resource: &ResourceUri) -> String {
    let url = resource.url();
    let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
    format!("{}{}{query}", absolute_uri::origin(&url), metadata_path(resource))
}

/// The path of the issuer's RFC 8414 document: the well-known segment inserted before the issuer's path.
pub fn authorization_server_path(issuer: &Issuer) -> String {
    format!("{AUTHORIZATION_SERVER_PATH}{}", issuer.path())
}

/// The RFC 9728 document. Absent values are omitted: clients refuse `null`.
pub(crate) fn protected_resource(resource: &ResourceUri, issuer: &Issuer, scopes: &Scopes) -> Value {
    let mut document = json!({
        "resource": resource.as_str(),
        "authorization_servers": [issuer.as_str()],
        "bearer_methods_supported": ["header"],
    });
    if let (false, Some(members)) = (scopes.is_empty(), document.as_object_mut()) {
        members.insert("scopes_supported".to_owned(), scopes.iter().collect());
    }
    document
}
