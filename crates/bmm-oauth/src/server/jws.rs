//! Signed statements that others make to the server: assertions of clients (RFC 7523) and of identity providers (ID-JAG). Read as strictly as
//! our own tokens: the header chooses nothing but a key id, and every claim has one type (RFC 8725).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::clock::Timestamp;
use crate::key_set::{KeySet, MAX_KID_BYTES};
pub(super) use crate::strict_json::Reason;
use crate::strict_json::{Object, Value};

/// Longest accepted statement, longest `jti`, in bytes.
const MAX_BYTES: usize = 8 * 1024;
const MAX_JTI_BYTES: usize = 256;
/// How far `iat` and `nbf` may lie in the future: another machine's clock. `exp` gets no such grace.
const CLOCK_SKEW_SECS: u64 = 30;

/// A compact JWS whose signature is not checked yet.
pub(super) struct Jws<'a> {
    header: Object,
    signing_input: &'a str,
    claims: Object,
    signature: &'a str,
}

impl<'a> Jws<'a> {
    /// Reads the parts. `crit`, and keys or key addresses inside the statement, are refused (RFC 8725 sections 3.1, 3.10, 3.11).
    pub(super) fn parse(text: &'a str) -> Result<Self, Reason> {
        if text.len() > MAX_BYTES {
            return Err("longer than 8 KiB");
        }
        let (signing_input, signature) = text.rsplit_once('.').ok_or("not a JWS")?;
        // Whoever has more than three parts has a dot in the payload, which is no base64url.
        let (header, payload) = signing_input.split_once('.').ok_or("not a JWS")?;
        let (header, claims) = (object(header)?, object(payload)?);
        if header.has_any(&["crit", "b64", "jwk", "jku", "x5u", "x5c"]) {
            return Err("header brings a key or critical extensions");
        }
        let kid = header.optional_text("kid")?;
        if kid.is_some_and(|kid| kid.is_empty() || kid.len() > MAX_KID_BYTES) {
            return Err("kid is empty or too long");
        }
        Ok(Self {
            header,
            signing_input,
            claims,
            signature,
        })
    }

    pub(super) fn kid(&self) -> Option<&str> {
        self.header.optional_text("kid").ok().flatten()
    }

    /// Whether it says to be one of these, in lower case and without the prefix that may be left out (RFC 7515 section 4.1.9).
    pub(super) fn is_typed(&self, types: &[&str]) -> Result<bool, Reason> {
        let typ = self.header.text("typ")?.to_ascii_lowercase();
        Ok(types.contains(&typ.strip_prefix("application/").unwrap_or(&typ)))
    }

    /// Whether it says what it is.
    pub(super) fn has_type(&self) -> bool {
        self.header.has_any(&["typ"])
    }

    /// What the statement claims, to find out whose keys must verify it. Trust none of it.
    pub(super) fn unverified(&self) -> &Object {
        &self.claims
    }

    /// The claims, if one of `keys` verifies the signature. A statement without a key id needs a set with one key of its algorithm.
    pub(super) fn verified(&self, keys: &KeySet) -> Result<&Object, Reason> {
        let algorithm = self.header.text("alg")?;
        let key = match self.kid() {
            Some(kid) => keys.get(kid).ok_or("unknown key id")?,
            None => keys.only(algorithm).ok_or("no key id, and not just one key")?,
        };
        if algorithm != key.algorithm().name() {
            return Err("alg is not the key's");
        }
        if !key.verifies(self.signing_input.as_bytes(), self.signature) {
            return Err("signature does not verify");
        }
        Ok(&self.claims)
    }
}

fn object(part: &str) -> Result<Object, Reason> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| "not base64url")?;
    Object::parse(&bytes).ok_or("not a JSON object with every member once")
}

/// Whether `aud` names one recipient only, and that is one of ours: who accepts a statement for several can use it at the others.
pub(super) fn is_for(claims: &Object, ours: &[&str]) -> bool {
    let audience = match claims.get("aud") {
        Some(Value::Array(audiences)) => match audiences.as_slice() {
            [only] => Some(only),
            _ => None,
        },
        audience => audience,
    };
    matches!(audience, Some(Value::Text(audience)) if ours.contains(&audience.as_str()))
}

/// A statement that is used once, and when its `jti` may be forgotten.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Single {
    pub(super) jti: String,
    pub(super) exp: Timestamp,
}

/// Whether the statement is valid now, and ends within `max_secs`, so that its `jti` needs to be remembered no longer.
pub(super) fn check_validity(claims: &Object, now: Timestamp, max_secs: u64) -> Result<Single, Reason> {
    let (exp, now) = (claims.whole("exp")?, now.as_secs());
    let soon = now.saturating_add(CLOCK_SKEW_SECS);
    if exp <= now {
        return Err("expired");
    }
    if exp > soon.saturating_add(max_secs) {
        return Err("valid for too long");
    }
    for begin in ["iat", "nbf"] {
        if claims.optional_whole(begin)?.is_some_and(|begin| begin > soon) {
            return Err("not yet valid");
        }
    }
    let jti = claims.text("jti")?;
    if jti.len() > MAX_JTI_BYTES {
        return Err("jti is too long");
    }
    Ok(Single {
        jti: jti.to_owned(),
        exp: Timestamp::from_secs(exp),
    })
}
