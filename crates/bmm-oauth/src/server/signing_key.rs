//! One private key: made, read back, and signing compact JWS. Parsed once, of one algorithm, which is the key's and never a token's.

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::key_error::KeyError;
use crate::access_token::Claims;
use crate::algorithm::Algorithm;
use crate::jwk::VerifyingKey;
use crate::strict_json::Object;

/// A private key that signs access tokens.
pub(super) struct SigningKey {
    kid: String,
    algorithm: Algorithm,
    pkcs8: Zeroizing<Vec<u8>>,
    pair: Pair,
    /// The JOSE header of its tokens, encoded.
    header: String,
    public: Value,
}

enum Pair {
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
    Rs256(RsaKeyPair),
}

impl SigningKey {
    /// A fresh key. An RSA key has 2048 bits, and takes a good part of a second.
    pub(super) fn generate(algorithm: Algorithm) -> Result<Self, KeyError> {
        let random = SystemRandom::new();
        let pkcs8 = match algorithm {
            Algorithm::Es256 => {
                let pair = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random);
                pair.map(|document| document.as_ref().to_vec())
            }
            Algorithm::EdDsa => {
                Ed25519KeyPair::generate_pkcs8(&random).map(|document| document.as_ref().to_vec())
            }
            Algorithm::Rs256 => RsaKeyPair::generate(KeySize::Rsa2048).and_then(|pair| {
                let document: Pkcs8V1Der<'_> = pair.as_der()?;
                Ok(document.as_ref().to_vec())
            }),
        };
        Self::from_pkcs8(algorithm, Zeroizing::new(pkcs8.map_err(|_| KeyError::Damaged)?))
    }

    /// Reads a key back. RSA keys below 2048 bits are refused.
    pub(super) fn from_pkcs8(algorithm: Algorithm, pkcs8: Zeroizing<Vec<u8>>) -> Result<Self, KeyError> {
        let pair = match algorithm {
            Algorithm::Es256 => {
                EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8).map(Pair::Es256)
            }
            Algorithm::EdDsa => Ed25519KeyPair::from_pkcs8(&pkcs8).map(Pair::EdDsa),
            Algorithm::Rs256 => RsaKeyPair::from_pkcs8(&pkcs8).map(Pair::Rs256),
        };
        let pair = pair.map_err(|_| KeyError::Damaged)?;
        let mut public = pair.jwk().ok_or(KeyError::Damaged)?;
        // Read as strictly as a stranger's: what we publish, others must be able to use.
        let kid = Object::parse(public.to_string().as_bytes())
            .and_then(|jwk| VerifyingKey::from_jwk(&jwk).ok())
            .filter(|key| key.algorithm() == algorithm)
            .map(|key| key.thumbprint().to_string())
            .ok_or(KeyError::Damaged)?;
        let members = public.as_object_mut().ok_or(KeyError::Damaged)?;
        members.insert("use".to_owned(), "sig".into());
        members.insert("alg".to_owned(), algorithm.name().into());
        members.insert("kid".to_owned(), kid.clone().into());
        let header = json!({ "typ": "at+jwt", "alg": algorithm.name(), "kid": kid });
        let key = Self {
            header: URL_SAFE_NO_PAD.encode(header.to_string()),
            kid,
            algorithm,
            pkcs8,
            pair,
            public,
        };
        // Tried once, so that it cannot fail later.
        key.pair.sign(b"").ok_or(KeyError::Damaged)?;
        Ok(key)
    }

    pub(super) fn kid(&self) -> &str {
        &self.kid
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(super) fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// The public key as a JWK.
    pub(super) fn public(&self) -> &Value {
        &self.public
    }

    /// An access token (RFC 9068) in the compact form.
    pub(super) fn sign(&self, claims: &Claims) -> String {
        let claims = serde_json::to_vec(claims).expect("claims are plain data");
        let mut token = String::with_capacity(self.header.len() + 2 * claims.len() + 400);
        token.push_str(&self.header);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(claims, &mut token);
        let signature = self
            .pair
            .sign(token.as_bytes())
            .expect("the key was tried when it was read");
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        token
    }
}

impl Pair {
    fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match self {
            Self::Es256(pair) => Some(pair.sign(&random, message).ok()?.as_ref().to_vec()),
            Self::EdDsa(pair) => Some(pair.try_sign(message).ok()?.as_ref().to_vec()),
            Self::Rs256(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .ok()?;
                Some(signature)
            }
        }
    }

    /// RFC 7518 section 6, RFC 8037 section 2.
    fn jwk(&self) -> Option<Value> {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Self::Es256(pair) => {
                let (tag, point) = pair.public_key().as_ref().split_first()?;
                let (x, y) = point.split_at_checked(32)?;
                (*tag == 4).then(|| json!({ "kty": "EC", "crv": "P-256", "x": text(x), "y": text(y) }))
            }
            Self::EdDsa(pair) => {
                let x = text(pair.public_key().as_ref());
                Some(json!({ "kty": "OKP", "crv": "Ed25519", "x": x }))
            }
            Self::Rs256(pair) => {
                let key = pair.public_key();
                let n = text(key.modulus().big_endian_without_leading_zero());
                let e = text(key.exponent().big_endian_without_leading_zero());
                Some(json!({ "kty": "RSA", "n": n, "e": e }))
            }
        }
    }
}
