//! Verification keys by key id, and the strict reading of a JWK Set (RFC 7517 section 5).

use std::collections::HashMap;

use jsonwebtoken::DecodingKey;
use serde::{Deserialize, Serialize};

use crate::json_object;

/// Most bytes of a JWK Set, most keys in it, and most bytes of a key id.
pub(crate) const MAX_JWKS_BYTES: usize = 256 * 1024;
const MAX_KEYS: usize = 64;
pub(crate) const MAX_KID_BYTES: usize = 128;

/// A signature algorithm for access tokens. All are asymmetric: there is no name here for `none` or for HMAC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256: the default.
    #[default]
    #[serde(rename = "ES256")]
    Es256,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
    /// RSASSA-PKCS1-v1_5 with SHA-256, at least 2048 bits.
    #[serde(rename = "RS256")]
    Rs256,
}

impl Algorithm {
    /// The name in `alg`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
            Self::Rs256 => "RS256",
        }
    }

    pub(crate) fn jws(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Es256 => jsonwebtoken::Algorithm::ES256,
            Self::EdDsa => jsonwebtoken::Algorithm::EdDSA,
            Self::Rs256 => jsonwebtoken::Algorithm::RS256,
        }
    }
}

/// A public key that verifies exactly one algorithm, whatever a token's header says.
#[derive(Clone)]
pub(crate) struct VerifyingKey {
    algorithm: Algorithm,
    key: DecodingKey,
}

impl VerifyingKey {
    pub(crate) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(crate) fn verifies(&self, message: &[u8], signature: &str) -> bool {
        jsonwebtoken::crypto::verify(signature, message, &self.key, self.algorithm.jws()).unwrap_or(false)
    }
}

/// Keys by their ids. A key id is a key of this map and nothing else.
#[derive(Clone, Default)]
pub(crate) struct KeySet(HashMap<String, VerifyingKey>);

/// The bytes are not a usable JWK Set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeySetError {
    #[error("the JWK Set is larger than 256 KiB")]
    TooLarge,
    #[error("the JWK Set holds more than 64 keys")]
    TooManyKeys,
    #[error("the JWK Set is not JSON of the form {{\"keys\": […]}}")]
    Malformed,
    #[error("the JWK Set holds no usable signature key")]
    NoUsableKey,
}

impl KeySet {
    /// Reads a JWK Set. Keys of other kinds, for other uses or without a key id are passed over; symmetric ones always are.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, KeySetError> {
        #[derive(Deserialize)]
        struct Document {
            keys: Vec<serde_json::Value>,
        }
        if bytes.len() > MAX_JWKS_BYTES {
            return Err(KeySetError::TooLarge);
        }
        let document: Document = json_object::parse(bytes).ok_or(KeySetError::Malformed)?;
        if document.keys.len() > MAX_KEYS {
            return Err(KeySetError::TooManyKeys);
        }
        let mut keys = HashMap::new();
        for jwk in document.keys {
            let Ok(jwk) = serde_json::from_value::<Jwk>(jwk) else {
                continue;
            };
            if let Some((kid, key)) = jwk.into_key() {
                // Of two keys with one id neither can be told from the other: the first one stands.
                keys.entry(kid).or_insert(key);
            }
        }
        if keys.is_empty() {
            Err(KeySetError::NoUsableKey)
        } else {
            Ok(Self(keys))
        }
    }

    pub(crate) fn get(&self, kid: &str) -> Option<&VerifyingKey> {
        self.0.get(kid)
    }
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: String,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
}

impl Jwk {
    fn into_key(self) -> Option<(String, VerifyingKey)> {
        if self.kid.is_empty()
            || self.kid.len() > MAX_KID_BYTES
            || self.usage.is_some_and(|usage| usage != "sig")
        {
            return None;
        }
        let (algorithm, key) = match (self.kty.as_str(), self.crv.as_deref()) {
            ("EC", Some("P-256")) => (
                Algorithm::Es256,
                DecodingKey::from_ec_components(&self.x?, &self.y?),
            ),
            ("OKP", Some("Ed25519")) => (Algorithm::EdDsa, DecodingKey::from_ed_components(&self.x?)),
            ("RSA", None) => {
                let modulus = self.n?;
                // 2048 bits are 342 characters of base64url.
                if modulus.len() < 342 {
                    return None;
                }
                (
                    Algorithm::Rs256,
                    DecodingKey::from_rsa_components(&modulus, &self.e?),
                )
            }
            _ => return None,
        };
        if self.alg.is_some_and(|alg| alg != algorithm.name()) {
            return None;
        }
        Some((
            self.kid,
            VerifyingKey {
                algorithm,
                key: key.ok()?,
            },
        ))
    }
}
