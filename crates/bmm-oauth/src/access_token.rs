//! RFC 9068 access tokens, read strictly. Defends against the confusions of RFC 8725: the header chooses nothing
//! but a key id, every claim has one type, and issuer and audience are compared exactly.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::issuer::Issuer;
use crate::json_object;
#[cfg(feature = "server")]
use crate::key_set::KeySet;
use crate::key_set::{MAX_KID_BYTES, VerifyingKey};
use crate::resource_uri::ResourceUri;
use crate::verifier::{AuthInfo, Subject};

/// Longest accepted token, in bytes.
pub(crate) const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// How far `iat` and `nbf` may lie in the future: another machine's clock. `exp` gets no such grace.
const CLOCK_SKEW_SECS: u64 = 5;

/// The claims of a token, as issued. All are required but `scope`, and none has more than one type except `aud`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Claims {
    pub(crate) iss: String,
    pub(crate) aud: Audience,
    pub(crate) sub: String,
    pub(crate) client_id: String,
    pub(crate) grant_id: String,
    pub(crate) jti: String,
    pub(crate) iat: u64,
    pub(crate) nbf: u64,
    pub(crate) exp: u64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) scope: String,
}

/// `aud`: RFC 7519 section 4.1.3 allows a string or an array. An array must hold just one: a token is for one resource.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Audience {
    One(String),
    Many(Vec<String>),
}

/// The three parts of a compact JWS, and what its header says. Nothing is verified yet.
pub(crate) struct Unverified<'a> {
    pub(crate) kid: String,
    algorithm: String,
    signing_input: &'a str,
    payload: &'a str,
    signature: &'a str,
}

/// Why a token is refused; for the log only.
pub(crate) type Reason = &'static str;

impl<'a> Unverified<'a> {
    /// Reads the header. `crit` and keys or key addresses inside the token are refused (RFC 8725 sections 3.1, 3.10, 3.11).
    pub(crate) fn parse(token: &'a str) -> Result<Self, Reason> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err("longer than 8 KiB");
        }
        let (signing_input, signature) = token.rsplit_once('.').ok_or("not a JWS")?;
        let (header, payload) = signing_input.split_once('.').ok_or("not a JWS")?;
        if payload.contains('.') {
            return Err("not a JWS of three parts");
        }
        let header = URL_SAFE_NO_PAD
            .decode(header)
            .map_err(|_| "header is not base64url")?;
        let header: Header = json_object::parse(&header).ok_or("header is not what it must be")?;
        if header.names_a_key() {
            return Err("header brings a key or critical extensions");
        }
        if !matches!(
            header.typ.to_ascii_lowercase().as_str(),
            "at+jwt" | "application/at+jwt"
        ) {
            return Err("typ is not at+jwt");
        }
        if header.kid.is_empty() || header.kid.len() > MAX_KID_BYTES {
            return Err("kid is empty or too long");
        }
        Ok(Self {
            kid: header.kid,
            algorithm: header.alg,
            signing_input,
            payload,
            signature,
        })
    }

    /// Checks signature and claims.
    pub(crate) fn verify(
        &self,
        key: &VerifyingKey,
        expected: &Expected,
        now: Timestamp,
    ) -> Result<AuthInfo, Reason> {
        if self.algorithm != key.algorithm().name() {
            return Err("alg is not the key's");
        }
        if !key.verifies(self.signing_input.as_bytes(), self.signature) {
            return Err("signature does not verify");
        }
        let payload = URL_SAFE_NO_PAD
            .decode(self.payload)
            .map_err(|_| "payload is not base64url")?;
        let claims: Claims =
            json_object::parse(&payload).ok_or("a claim is missing or has the wrong type")?;
        judge(claims, expected, now)
    }
}

/// Whose tokens are accepted, and for what.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    pub(crate) issuer: Issuer,
    pub(crate) resource: ResourceUri,
}

/// Verifies against a set of keys that is complete: an unknown key id is an invalid token.
#[cfg(feature = "server")]
pub(crate) fn verify(
    token: &str,
    keys: &KeySet,
    expected: &Expected,
    now: Timestamp,
) -> Result<AuthInfo, Reason> {
    let token = Unverified::parse(token)?;
    let key = keys.get(&token.kid).ok_or("unknown key id")?;
    token.verify(key, expected, now)
}

/// The decision over verified claims.
fn judge(claims: Claims, expected: &Expected, now: Timestamp) -> Result<AuthInfo, Reason> {
    if claims.iss != expected.issuer.as_str() {
        return Err("issued by somebody else");
    }
    let for_us = match &claims.aud {
        Audience::One(aud) => aud == expected.resource.as_str(),
        Audience::Many(auds) => matches!(auds.as_slice(), [aud] if aud == expected.resource.as_str()),
    };
    if !for_us {
        return Err("for another audience");
    }
    let soon = now.as_secs().saturating_add(CLOCK_SKEW_SECS);
    if claims.exp <= now.as_secs() {
        return Err("expired");
    }
    if claims.nbf > soon || claims.iat > soon {
        return Err("not yet valid");
    }
    if [&claims.sub, &claims.client_id, &claims.grant_id, &claims.jti]
        .iter()
        .any(|claim| claim.is_empty())
    {
        return Err("a required claim is empty");
    }
    Ok(AuthInfo {
        issuer: expected.issuer.clone(),
        resource: expected.resource.clone(),
        subject: Subject::new(claims.sub),
        client_id: claims.client_id,
        scopes: claims.scope.parse().map_err(|_| "scope is malformed")?,
        grant_id: claims.grant_id,
        expires_at: Timestamp::from_secs(claims.exp),
    })
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    typ: String,
    kid: String,
    #[serde(default, deserialize_with = "present")]
    crit: bool,
    #[serde(default, deserialize_with = "present")]
    b64: bool,
    #[serde(default, deserialize_with = "present")]
    jwk: bool,
    #[serde(default, deserialize_with = "present")]
    jku: bool,
    #[serde(default, deserialize_with = "present")]
    x5u: bool,
    #[serde(default, deserialize_with = "present")]
    x5c: bool,
}

impl Header {
    fn names_a_key(&self) -> bool {
        self.crit || self.b64 || self.jwk || self.jku || self.x5u || self.x5c
    }
}

/// Any value, `null` included, says that the member is there.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    serde::de::IgnoredAny::deserialize(deserializer).map(|_| true)
}
