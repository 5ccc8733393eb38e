//! Private keys of the kinds that are accepted, for tokens, proofs and forgeries.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::app::RESOURCE;

/// A private key and its JWK.
pub(crate) enum Signer {
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
    Rs256(RsaKeyPair),
}

impl Signer {
    pub(crate) fn es256() -> Self {
        Self::Es256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    pub(crate) fn all() -> [(Self, &'static str); 3] {
        [
            (Self::es256(), "ES256"),
            (Self::EdDsa(Ed25519KeyPair::generate().unwrap()), "EdDSA"),
            (
                Self::Rs256(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()),
                "RS256",
            ),
        ]
    }

    pub(crate) fn jwk(&self, kid: &str) -> Value {
        let b64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Self::Es256(key) => {
                let point = key.public_key().as_ref();
                json!({ "kid": kid, "kty": "EC", "crv": "P-256", "x": b64(&point[1..33]), "y": b64(&point[33..]) })
            }
            Self::EdDsa(key) => {
                json!({ "kid": kid, "kty": "OKP", "crv": "Ed25519", "x": b64(key.public_key().as_ref()) })
            }
            Self::Rs256(key) => {
                let public = key.public_key();
                let n = public.modulus().big_endian_without_leading_zero();
                let e = public.exponent().big_endian_without_leading_zero();
                json!({ "kid": kid, "kty": "RSA", "n": b64(n), "e": b64(e) })
            }
        }
    }

    pub(crate) fn alg(&self) -> &'static str {
        match self {
            Self::Es256(_) => "ES256",
            Self::EdDsa(_) => "EdDSA",
            Self::Rs256(_) => "RS256",
        }
    }

    /// A proof for a request (RFC 9449 section 4.2), with some of its usual claims replaced (or dropped, if `null`).
    pub(crate) fn proof(&self, changes: Value) -> String {
        self.proof_with(changes, json!({}))
    }

    pub(crate) fn proof_with(&self, claims: Value, header: Value) -> String {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let mut jwk = self.jwk("");
        jwk.as_object_mut().unwrap().remove("kid");
        let usual_header = json!({ "typ": "dpop+jwt", "alg": self.alg(), "jwk": jwk });
        let jti = format!("jti {}", NEXT.fetch_add(1, Ordering::SeqCst));
        let usual_claims = json!({ "jti": jti, "htm": "POST", "htu": RESOURCE, "iat": 1_800_000_000_u64 });
        let changed = |mut usual: Value, changes: Value| {
            for (name, value) in changes.as_object().unwrap() {
                if value.is_null() {
                    usual.as_object_mut().unwrap().remove(name);
                } else {
                    usual[name] = value.clone();
                }
            }
            usual.to_string()
        };
        self.sign(&changed(usual_header, header), &changed(usual_claims, claims))
    }

    /// RFC 7638.
    pub(crate) fn thumbprint(&self) -> String {
        let jwk = self.jwk("");
        let members: BTreeMap<&str, &Value> = jwk
            .as_object()
            .unwrap()
            .iter()
            .filter(|(name, _)| *name != "kid")
            .map(|(name, value)| (name.as_str(), value))
            .collect();
        let text = serde_json::to_string(&members).unwrap();
        URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, text.as_bytes()))
    }

    pub(crate) fn sign(&self, header: &str, claims: &str) -> String {
        let message = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(claims)
        );
        let bytes = message.as_bytes();
        let signature = match self {
            Self::Es256(key) => key.sign(&SystemRandom::new(), bytes).unwrap().as_ref().to_vec(),
            Self::EdDsa(key) => key.sign(bytes).as_ref().to_vec(),
            Self::Rs256(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), bytes, &mut signature)
                    .unwrap();
                signature
            }
        };
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}
