//! What a client registered beyond its redirect URIs and its secret.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::resource_uri::ResourceUri;
use crate::server::secret::SecretHash;

/// What a client registered beyond its name, its redirect URIs and its secret. A store keeps it as one JSON value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ClientMetadata {
    /// How it may ask for tokens.
    pub grant_types: GrantTypes,
    /// Its public keys (RFC 7517), for `private_key_jwt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks: Option<Value>,
    /// Where its public keys are, in place of `jwks`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks_uri: Option<String>,
    /// Whether it must push its authorization requests (RFC 9126 section 6).
    pub require_pushed_authorization_requests: bool,
    /// Resources whose access tokens it may ask about (RFC 7662). The host enrols resource servers; nobody can register as one.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "resources")]
    pub resource_server_of: Vec<ResourceUri>,
    /// Hash of the token with which it manages its registration (RFC 7592).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registration_token: Option<SecretHash>,
}

/// Resources that were accepted when they were stored, be it by the operator's leave (`insecure_http`).
fn resources<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<ResourceUri>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let resources = texts.iter().map(|text| ResourceUri::insecure_http(text));
    resources.collect::<Result<_, _>>().map_err(D::Error::custom)
}

/// A way to ask for tokens (RFC 7591 section 2, `grant_types`). Who may use a code gets refresh tokens too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum GrantType {
    /// With a user's consent (RFC 6749 section 4.1).
    #[serde(rename = "authorization_code")]
    AuthorizationCode,
    /// For the client itself (RFC 6749 section 4.4).
    #[serde(rename = "client_credentials")]
    ClientCredentials,
    /// With another issuer's word for a user (RFC 7523, ID-JAG).
    #[serde(rename = "urn:ietf:params:oauth:grant-type:jwt-bearer")]
    JwtBearer,
}

/// The grant types of one client: by default the code alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GrantTypes(Vec<GrantType>);

impl GrantTypes {
    /// These, and no others.
    pub fn new(types: impl IntoIterator<Item = GrantType>) -> Self {
        Self(types.into_iter().collect())
    }

    /// Whether this one is among them.
    pub fn contains(&self, wanted: GrantType) -> bool {
        self.0.contains(&wanted)
    }
}

impl Default for GrantTypes {
    fn default() -> Self {
        Self::new([GrantType::AuthorizationCode])
    }
}
