//! Verification keys by key id, and the strict reading of a JWK Set (RFC 7517 section 5).

use std::collections::HashMap;
use std::sync::Arc;

use crate::jwk::VerifyingKey;
use crate::sha256::sha256;
use crate::strict_json::{Object, Value};

/// Most bytes of a JWK Set, most keys in it, and most bytes of a key id.
pub(crate) const MAX_JWKS_BYTES: usize = 256 * 1024;
const MAX_KEYS: usize = 64;
pub(crate) const MAX_KID_BYTES: usize = 128;

/// Keys by their ids. A key id is a key of this map and nothing else.
#[derive(Clone, Default)]
pub(crate) struct KeySet {
    keys: HashMap<String, Arc<VerifyingKey>>,
    fingerprint: [u8; 32],
}

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
    /// Reads a JWK Set. Keys of other kinds, for other uses, too weak or without a key id are passed over; symmetric and private ones
    /// always are.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, KeySetError> {
        if bytes.len() > MAX_JWKS_BYTES {
            return Err(KeySetError::TooLarge);
        }
        let document = Object::parse(bytes).ok_or(KeySetError::Malformed)?;
        let Some(Value::Array(jwks)) = document.get("keys") else {
            return Err(KeySetError::Malformed);
        };
        if jwks.len() > MAX_KEYS {
            return Err(KeySetError::TooManyKeys);
        }
        let mut keys = HashMap::new();
        for jwk in jwks {
            if let Some((kid, key)) = signature_key(jwk) {
                // Of two keys with one id neither can be told from the other: the first one stands.
                keys.entry(kid).or_insert_with(|| Arc::new(key));
            }
        }
        if keys.is_empty() {
            return Err(KeySetError::NoUsableKey);
        }
        Ok(Self {
            fingerprint: fingerprint(&keys),
            keys,
        })
    }

    pub(crate) fn get(&self, kid: &str) -> Option<&Arc<VerifyingKey>> {
        self.keys.get(kid)
    }

    /// Tells sets with other keys apart: a verdict that was reached with one set does not stand under another.
    pub(crate) fn fingerprint(&self) -> &[u8; 32] {
        &self.fingerprint
    }

    /// The key of this algorithm, if there is just one.
    #[cfg(feature = "server")]
    pub(crate) fn only(&self, algorithm: &str) -> Option<&Arc<VerifyingKey>> {
        let mut keys = self
            .keys
            .values()
            .filter(|key| key.algorithm().name() == algorithm);
        keys.next().filter(|_| keys.next().is_none())
    }
}

fn signature_key(jwk: &Value) -> Option<(String, VerifyingKey)> {
    let Value::Object(jwk) = jwk else { return None };
    let kid = jwk.text("kid").ok().filter(|kid| kid.len() <= MAX_KID_BYTES)?;
    let usage = jwk.optional_text("use").ok()?;
    if usage.is_some_and(|usage| usage != "sig") {
        return None;
    }
    Some((kid.to_owned(), VerifyingKey::from_jwk(jwk).ok()?))
}

fn fingerprint(keys: &HashMap<String, Arc<VerifyingKey>>) -> [u8; 32] {
    let mut lines: Vec<String> = keys
        .iter()
        .map(|(kid, key)| format!("{} {kid}\n", key.thumbprint()))
        .collect();
    lines.sort_unstable();
    sha256(lines.concat().as_bytes())
}
