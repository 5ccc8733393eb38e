//! The keys that sign access tokens.

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bmm_vault::{Context, Vault};
use jsonwebtoken::jwk::{Jwk, ThumbprintHash};
use jsonwebtoken::{EncodingKey, Header};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use zeroize::{Zeroize, Zeroizing};

use super::store::{Store, StoreError};
use crate::access_token::Claims;
use crate::key_set::{Algorithm, KeySet};

/// The private keys of an issuer: one signs, all are published, so that tokens signed before a change of keys stay valid.
pub struct SigningKeys {
    active: SigningKey,
    retired: Vec<SigningKey>,
}

struct SigningKey {
    kid: String,
    algorithm: Algorithm,
    pkcs8: Zeroizing<Vec<u8>>,
    encoding: EncodingKey,
    public: Value,
}

/// Signing keys cannot be made, read or kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Keys of this algorithm cannot be made here.
    #[error("cannot make {} keys; use ES256", .0.name())]
    Unsupported(Algorithm),
    /// The key material is not what it should be.
    #[error("the signing keys are damaged")]
    Damaged,
    /// The keys do not open: another vault, or a row that was moved.
    #[error("cannot seal or open the signing keys")]
    Vault(#[source] bmm_vault::VaultError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl SigningKeys {
    /// A fresh key.
    pub fn create(algorithm: Algorithm) -> Result<Self, KeyError> {
        match algorithm {
            Algorithm::Es256 => {
                let pkcs8 =
                    EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
                        .map_err(|_| KeyError::Damaged)?;
                let active = SigningKey::from_pkcs8(algorithm, Zeroizing::new(pkcs8.as_ref().to_vec()))?;
                Ok(Self {
                    active,
                    retired: Vec::new(),
                })
            }
            other => Err(KeyError::Unsupported(other)),
        }
    }

    /// The keys kept in `store`, opened with `vault`; made and kept there if there are none.
    pub async fn load_or_create<S: Store + ?Sized>(vault: &Vault, store: &S) -> Result<Self, KeyError> {
        let place = Self::place();
        let sealed = match store.signing_keys().await? {
            Some(sealed) => sealed,
            None => {
                let fresh = Self::create(Algorithm::default())?.to_sealable_bytes();
                let sealed = vault.seal(&place, &fresh).map_err(KeyError::Vault)?;
                store.init_signing_keys(sealed).await?
            }
        };
        Self::from_bytes(&vault.open_value(&place, &sealed).map_err(KeyError::Vault)?)
    }

    /// Where they are sealed for.
    pub(super) fn place() -> Context {
        Context::new("oauth_signing_keys")
    }

    /// The private keys, to be sealed and kept. The form is versioned.
    pub fn to_sealable_bytes(&self) -> Zeroizing<Vec<u8>> {
        let keys = std::iter::once(&self.active).chain(&self.retired);
        let file = KeyFile {
            version: 1,
            keys: keys
                .map(|key| StoredKey {
                    alg: key.algorithm,
                    pkcs8: STANDARD.encode(&*key.pkcs8),
                })
                .collect(),
        };
        Zeroizing::new(serde_json::to_vec(&file).expect("the file is plain data"))
    }

    /// Reads what [`to_sealable_bytes`](Self::to_sealable_bytes) wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        let file: KeyFile = serde_json::from_slice(bytes).map_err(|_| KeyError::Damaged)?;
        if file.version != 1 {
            return Err(KeyError::Damaged);
        }
        let mut keys = file.keys.iter().map(|key| {
            let pkcs8 = Zeroizing::new(STANDARD.decode(&key.pkcs8).map_err(|_| KeyError::Damaged)?);
            SigningKey::from_pkcs8(key.alg, pkcs8)
        });
        let active = keys.next().ok_or(KeyError::Damaged)??;
        Ok(Self {
            active,
            retired: keys.collect::<Result<_, _>>()?,
        })
    }

    /// Signs with this set from now on, while `older` stays published.
    pub fn with_retired(mut self, older: Self) -> Self {
        self.retired.push(older.active);
        self.retired.extend(older.retired);
        self
    }

    /// The public keys as a JWK Set (RFC 7517).
    pub fn jwks(&self) -> Value {
        let keys: Vec<&Value> = std::iter::once(&self.active)
            .chain(&self.retired)
            .map(|key| &key.public)
            .collect();
        json!({ "keys": keys })
    }

    pub(crate) fn key_set(&self) -> KeySet {
        KeySet::parse(self.jwks().to_string().as_bytes()).expect("our own keys are a JWK Set")
    }

    pub(crate) fn sign(&self, claims: &Claims) -> String {
        let mut header = Header::new(self.active.algorithm.jws());
        header.typ = Some("at+jwt".to_owned());
        header.kid = Some(self.active.kid.clone());
        jsonwebtoken::encode(&header, claims, &self.active.encoding)
            .expect("the key was tried when it was read")
    }
}

impl fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKeys")
            .field("kid", &self.active.kid)
            .finish_non_exhaustive()
    }
}

impl SigningKey {
    fn from_pkcs8(algorithm: Algorithm, pkcs8: Zeroizing<Vec<u8>>) -> Result<Self, KeyError> {
        let encoding = match algorithm {
            Algorithm::Es256 => EncodingKey::from_ec_der(&pkcs8),
            other => return Err(KeyError::Unsupported(other)),
        };
        let jwk = Jwk::from_encoding_key(&encoding, algorithm.jws()).map_err(|_| KeyError::Damaged)?;
        // Try it once, so that signing cannot fail later.
        jsonwebtoken::crypto::sign(b"", &encoding, algorithm.jws()).map_err(|_| KeyError::Damaged)?;
        let kid = jwk
            .thumbprint(ThumbprintHash::SHA256)
            .map_err(|_| KeyError::Damaged)?;
        let mut public = serde_json::to_value(&jwk).map_err(|_| KeyError::Damaged)?;
        let members = public.as_object_mut().ok_or(KeyError::Damaged)?;
        members.insert("use".to_owned(), "sig".into());
        members.insert("kid".to_owned(), kid.clone().into());
        Ok(Self {
            kid,
            algorithm,
            pkcs8,
            encoding,
            public,
        })
    }
}

#[derive(Serialize, Deserialize)]
struct KeyFile {
    version: u32,
    /// The first one signs.
    keys: Vec<StoredKey>,
}

#[derive(Serialize, Deserialize)]
struct StoredKey {
    alg: Algorithm,
    pkcs8: String,
}

impl Drop for StoredKey {
    fn drop(&mut self) {
        self.pkcs8.zeroize();
    }
}
