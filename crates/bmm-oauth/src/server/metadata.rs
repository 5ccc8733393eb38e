//! The RFC 8414 document.

use serde_json::{Value, json};

use super::authorization_server::AuthorizationServer;
use super::endpoints::{AUTHORIZE, INTROSPECT, JWKS, PUSH, REGISTER, REVOKE, TOKEN};
use super::identity_assertion;

/// How clients authenticate (RFC 7591 section 2), and what their assertions may be signed with.
const AUTH_METHODS: [&str; 4] = [
    "none",
    "client_secret_basic",
    "client_secret_post",
    "private_key_jwt",
];
const SIGNING_ALGORITHMS: [&str; 3] = ["ES256", "EdDSA", "RS256"];

impl AuthorizationServer {
    /// The RFC 8414 document.
    pub fn metadata(&self) -> Value {
        document(self)
    }
}

/// What clients discover. It claims nothing that is not served, and holds no `null`: clients refuse both.
fn document(server: &AuthorizationServer) -> Value {
    let config = &server.config;
    let issuer = &config.issuer;
    let mut grant_types = vec!["authorization_code", "refresh_token"];
    if config.client_credentials {
        grant_types.push("client_credentials");
    }
    if !server.identity_providers.is_empty() {
        grant_types.push(identity_assertion::GRANT_TYPE);
    }
    let mut document = json!({
        "issuer": issuer.as_str(),
        "authorization_endpoint": issuer.endpoint(AUTHORIZE),
        "token_endpoint": issuer.endpoint(TOKEN),
        "registration_endpoint": issuer.endpoint(REGISTER),
        "revocation_endpoint": issuer.endpoint(REVOKE),
        "revocation_endpoint_auth_methods_supported": AUTH_METHODS,
        "revocation_endpoint_auth_signing_alg_values_supported": SIGNING_ALGORITHMS,
        "introspection_endpoint": issuer.endpoint(INTROSPECT),
        "introspection_endpoint_auth_methods_supported": &AUTH_METHODS[1..],
        "introspection_endpoint_auth_signing_alg_values_supported": SIGNING_ALGORITHMS,
        "pushed_authorization_request_endpoint": issuer.endpoint(PUSH),
        "require_pushed_authorization_requests": config.require_pushed_authorization_requests,
        "jwks_uri": issuer.endpoint(JWKS),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": grant_types,
        "token_endpoint_auth_methods_supported": AUTH_METHODS,
        "token_endpoint_auth_signing_alg_values_supported": SIGNING_ALGORITHMS,
        "code_challenge_methods_supported": ["S256"],
        "dpop_signing_alg_values_supported": crate::dpop::ALGORITHMS,
        "authorization_response_iss_parameter_supported": true,
    });
    if let (false, Some(members)) = (server.identity_providers.is_empty(), document.as_object_mut()) {
        let profiles = vec![identity_assertion::PROFILE];
        members.insert(
            "authorization_grant_profiles_supported".to_owned(),
            profiles.into(),
        );
    }
    if let (Some(_), Some(members)) = (&server.documents, document.as_object_mut()) {
        members.insert("client_id_metadata_document_supported".to_owned(), true.into());
    }
    if let (false, Some(members)) = (config.scopes_supported.is_empty(), document.as_object_mut()) {
        members.insert(
            "scopes_supported".to_owned(),
            config.scopes_supported.clone().into(),
        );
    }
    document
}
