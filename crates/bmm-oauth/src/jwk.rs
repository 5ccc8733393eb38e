//! Public keys as JWKs (RFC 7517, RFC 7518 section 6, RFC 8037), parsed once and bound to one algorithm each.

use std::fmt;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::algorithm::Algorithm;
use crate::sha256::sha256;
use crate::strict_json::{Object, Reason};

/// RSA moduli in bytes: 2048 bits at least, and no more than a verifier should be made to work.
const MIN_MODULUS_BYTES: usize = 256;
const MAX_MODULUS_BYTES: usize = 512;
/// An exponent of four bytes covers every one in use; a long one only makes verification slow.
const MAX_EXPONENT_BYTES: usize = 4;
/// Members of private and symmetric keys (RFC 7518 sections 6.2.2, 6.3.2, 6.4).
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// A public key that verifies exactly one algorithm, whatever a header says.
#[derive(Clone)]
pub(crate) struct VerifyingKey {
    algorithm: Algorithm,
    key: ParsedPublicKey,
    thumbprint: Thumbprint,
}

/// The SHA-256 thumbprint of a JWK (RFC 7638), base64url: the `jkt` of RFC 9449.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Thumbprint(String);

impl Thumbprint {
    /// Reads a thumbprint: 43 characters of base64url.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        (bytes.len() == 32).then(|| Self(text.to_owned()))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Thumbprint {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("not a JWK thumbprint")
    }
}

impl From<Thumbprint> for String {
    fn from(thumbprint: Thumbprint) -> Self {
        thumbprint.0
    }
}

impl fmt::Display for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl VerifyingKey {
    /// Reads a JWK that is public, of a kind this crate verifies, and strong enough. `alg`, where it is there, must be the key's.
    pub(crate) fn from_jwk(jwk: &Object) -> Result<Self, Reason> {
        if jwk.has_any(&PRIVATE_MEMBERS) {
            return Err("the key is private or symmetric");
        }
        let (algorithm, key, canonical) = match (jwk.text("kty")?, jwk.optional_text("crv")?) {
            ("EC", Some("P-256")) => {
                let (x, y) = (coordinate(jwk, "x")?, coordinate(jwk, "y")?);
                let point = [&[4], x.as_slice(), y.as_slice()].concat();
                let canonical = format!(
                    r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#,
                    encode(&x),
                    encode(&y)
                );
                (
                    Algorithm::Es256,
                    parsed(&ECDSA_P256_SHA256_FIXED, &point)?,
                    canonical,
                )
            }
            ("OKP", Some("Ed25519")) => {
                let x = coordinate(jwk, "x")?;
                let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, encode(&x));
                (Algorithm::EdDsa, parsed(&ED25519, &x)?, canonical)
            }
            ("RSA", None) => {
                let (n, e) = (unsigned(jwk, "n")?, unsigned(jwk, "e")?);
                let short = n.first().is_none_or(|byte| *byte < 0x80) && n.len() == MIN_MODULUS_BYTES;
                if n.len() < MIN_MODULUS_BYTES || short {
                    return Err("the modulus is shorter than 2048 bits");
                }
                if n.len() > MAX_MODULUS_BYTES || e.len() > MAX_EXPONENT_BYTES {
                    return Err("the modulus or the exponent is too long");
                }
                let canonical = format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, encode(&e), encode(&n));
                let der = RsaPublicKeyComponents { n, e }
                    .as_der()
                    .map_err(|_| "not an RSA key")?;
                let key = parsed(&RSA_PKCS1_2048_8192_SHA256, der.as_ref())?;
                (Algorithm::Rs256, key, canonical)
            }
            _ => return Err("a kind of key that is not used here"),
        };
        if jwk
            .optional_text("alg")?
            .is_some_and(|alg| alg != algorithm.name())
        {
            return Err("alg is not the key's");
        }
        Ok(Self {
            algorithm,
            key,
            thumbprint: Thumbprint(encode(&sha256(canonical.as_bytes()))),
        })
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(crate) fn thumbprint(&self) -> &Thumbprint {
        &self.thumbprint
    }

    /// Whether `signature` (base64url) is this key's over `message`.
    pub(crate) fn verifies(&self, message: &[u8], signature: &str) -> bool {
        let signature = URL_SAFE_NO_PAD.decode(signature);
        signature.is_ok_and(|signature| self.key.verify_sig(message, &signature).is_ok())
    }
}

fn parsed(algorithm: &'static dyn VerificationAlgorithm, bytes: &[u8]) -> Result<ParsedPublicKey, Reason> {
    ParsedPublicKey::new(algorithm, bytes).map_err(|_| "not a valid key")
}

/// 32 bytes, as all coordinates here are (RFC 7518 section 6.2.1.2).
fn coordinate(jwk: &Object, name: &str) -> Result<Vec<u8>, Reason> {
    let bytes = decode(jwk, name)?;
    if bytes.len() == 32 {
        Ok(bytes)
    } else {
        Err("a coordinate is not 32 bytes")
    }
}

/// `Base64urlUInt` (RFC 7518 section 2): no leading zero byte, so that a number has one text and a key one thumbprint.
fn unsigned(jwk: &Object, name: &str) -> Result<Vec<u8>, Reason> {
    let bytes = decode(jwk, name)?;
    match bytes.first() {
        None | Some(0) => Err("a number is empty or begins with a zero byte"),
        Some(_) => Ok(bytes),
    }
}

fn decode(jwk: &Object, name: &str) -> Result<Vec<u8>, Reason> {
    URL_SAFE_NO_PAD
        .decode(jwk.text(name)?)
        .map_err(|_| "a member is not base64url")
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(jwk: &str) -> Result<VerifyingKey, Reason> {
        VerifyingKey::from_jwk(&Object::parse(jwk.as_bytes()).unwrap())
    }

    /// The example of RFC 7638 section 3.1.
    const RSA_N: &str = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";

    #[test]
    fn the_thumbprint_is_that_of_the_rfc() {
        let jwk = format!(r#"{{"kty":"RSA","n":"{RSA_N}","e":"AQAB","alg":"RS256","kid":"2011-04-29"}}"#);
        assert_eq!(
            key(&jwk).unwrap().thumbprint().as_str(),
            "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
        );
    }

    /// RFC 8037 appendix A.3.
    #[test]
    fn the_thumbprint_of_an_ed25519_key_is_that_of_the_rfc() {
        let jwk = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
        assert_eq!(
            key(jwk).unwrap().thumbprint().as_str(),
            "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
        );
    }

    #[test]
    fn weak_private_and_odd_keys_are_refused() {
        let ed = r#""kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo""#;
        // 2047 bits: the same length in bytes, the first bit clear.
        let short = format!("Uvx7{}", RSA_N.get(4..).unwrap());
        for jwk in [
            format!(r#"{{{ed},"d":"AAAA"}}"#),
            format!(r#"{{{ed},"k":null}}"#),
            format!(r#"{{{ed},"alg":"ES256"}}"#),
            format!(r#"{{"kty":"RSA","n":"{RSA_N}","e":"AQAB","alg":"RS512"}}"#),
            format!(r#"{{"kty":"RSA","n":"{short}","e":"AQAB"}}"#),
            format!(
                r#"{{"kty":"RSA","n":"{}","e":"AQAB"}}"#,
                RSA_N.get(..172).unwrap()
            ),
            format!(r#"{{"kty":"RSA","n":"{RSA_N}","e":"AQABAQAB"}}"#),
            format!(r#"{{"kty":"RSA","n":"{}","e":"AQAB"}}"#, RSA_N.repeat(3)),
            r#"{"kty":"oct","k":"AAAA"}"#.to_owned(),
            r#"{"kty":"EC","crv":"P-384","x":"AAAA","y":"AAAA"}"#.to_owned(),
            // Not a point of the curve.
            format!(
                r#"{{"kty":"EC","crv":"P-256","x":"{0}","y":"{0}"}}"#,
                "A".repeat(43)
            ),
        ] {
            assert!(key(&jwk).is_err(), "{jwk}");
        }
    }
}
