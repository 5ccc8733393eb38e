//! The RFC 8414 document.

use serde_json::{Value, json};

use super::config::AsConfig;

/// Paths of the endpoints, below the issuer's own.
pub(crate) const REGISTER: &str = "/oauth/register";
pub(crate) const AUTHORIZE: &str = "/oauth/authorize";
pub(crate) const CONSENT: &str = "/oauth/consent";
pub(crate) const TOKEN: &str = "/oauth/token";
pub(crate) const JWKS: &str = "/oauth/jwks";

/// What clients discover. It claims nothing that is not served, and holds no `null`: clients refuse both.
pub(crate) fn authorization_server(config: &AsConfig) -> Value {
    let issuer = &config.issuer;
    let mut document = json!({
        "issuer": issuer.as_str(),
        "authorization_endpoint": issuer.endpoint(AUTHORIZE),
        "token_endpoint": issuer.endpoint(TOKEN),
        "registration_endpoint": issuer.endpoint(REGISTER),
        "jwks_uri": issuer.endpoint(JWKS),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_methods_supported": ["none", "client_secret_basic", "client_secret_post"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
    });
    if let (false, Some(members)) = (config.scopes_supported.is_empty(), document.as_object_mut()) {
        members.insert(
            "scopes_supported".to_owned(),
            config.scopes_supported.clone().into(),
        );
    }
    document
}
