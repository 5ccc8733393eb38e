//! RFC 9068 access tokens, read strictly. Defends against the confusions of RFC 8725: the header chooses nothing
//! but a key id, every claim has one type and stands once, and issuer and audience are compared exactly.

#[cfg(feature = "server")]
use serde::Serialize;

use crate::clock::Timestamp;
use crate::compact_jws::CompactJws;
use crate::issuer::Issuer;
use crate::jwk::{Thumbprint, VerifyingKey};
#[cfg(feature = "server")]
use crate::key_set::KeySet;
use crate::key_set::MAX_KID_BYTES;
use crate::resource_uri::ResourceUri;
use crate::strict_json::{Object, Reason, Value};
use crate::verifier::{AuthInfo, Subject, Verified};

/// Longest accepted token, in bytes.
pub(crate) const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// How far `iat` and `nbf` may lie in the future: another machine's clock. `exp` gets no such grace.
const CLOCK_SKEW_SECS: u64 = 5;

/// Longest `sub`, `client_id`, `jti` or grant id, in bytes.
const MAX_NAME_BYTES: usize = 512;

/// The claims of a token, as issued. [`judge`] reads them back and requires all but `scope` and `cnf`.
#[cfg(feature = "server")]
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Claims {
    pub(crate) iss: String,
    pub(crate) aud: String,
    pub(crate) sub: String,
    pub(crate) client_id: String,
    pub(crate) grant_id: String,
    pub(crate) jti: String,
    pub(crate) iat: u64,
    pub(crate) nbf: u64,
    pub(crate) exp: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) scope: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cnf: Option<Confirmation>,
}

/// `cnf` of a token that is bound to a key (RFC 9449 section 6.1).
#[cfg(feature = "server")]
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Confirmation {
    pub(crate) jkt: String,
}

/// A token that names its key. Nothing is verified yet.
pub(crate) struct Unverified<'a> {
    jws: CompactJws<'a>,
}

impl<'a> Unverified<'a> {
    /// Reads the header: an access token by its type (RFC 9068 section 4, RFC 8725 section 3.11), with a key id and no key.
    pub(crate) fn parse(token: &'a str) -> Result<Self, Reason> {
        let jws = CompactJws::parse(token, MAX_TOKEN_BYTES)?;
        jws.check_typ("at+jwt")?;
        if jws.header.has_any(&["jwk"]) {
            return Err("header brings a key");
        }
        if jws.header.text("kid")?.len() > MAX_KID_BYTES {
            return Err("kid is too long");
        }
        Ok(Self { jws })
    }

    /// Which key is said to have signed it.
    pub(crate) fn kid(&self) -> &str {
        self.jws.header.text("kid").unwrap_or_default()
    }

    /// Checks signature and claims.
    pub(crate) fn verify(
        &self,
        key: &VerifyingKey,
        expected: &Expected,
        now: Timestamp,
    ) -> Result<AuthInfo, Reason> {
        self.jws.check_signature(key)?;
        judge(&self.jws.claims()?, expected, now)
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
    let key = keys.get(token.kid()).ok_or("unknown key id")?;
    token.verify(key, expected, now)
}

/// The decision over verified claims.
fn judge(claims: &Object, expected: &Expected, now: Timestamp) -> Result<AuthInfo, Reason> {
    if claims.text("iss")? != expected.issuer.as_str() {
        return Err("issued by somebody else");
    }
    check_audience(claims, &expected.resource)?;
    let soon = now.as_secs().saturating_add(CLOCK_SKEW_SECS);
    let expires_at = claims.whole("exp")?;
    if expires_at <= now.as_secs() {
        return Err("expired");
    }
    if claims.whole("nbf")? > soon || claims.whole("iat")? > soon {
        return Err("not yet valid");
    }
    name(claims, "jti")?;
    Ok(AuthInfo::new(Verified {
        issuer: expected.issuer.clone(),
        resource: expected.resource.clone(),
        subject: Subject::new(name(claims, "sub")?),
        client_id: name(claims, "client_id")?.to_owned(),
        scopes: claims
            .optional_text("scope")?
            .unwrap_or_default()
            .parse()
            .map_err(|_| "scope is malformed")?,
        grant_id: name(claims, "grant_id")?.to_owned(),
        expires_at: Timestamp::from_secs(expires_at),
        bound_to: confirmation(claims)?,
    }))
}

/// `aud`: RFC 7519 section 4.1.3 allows a string or an array. An array must hold just one: a token is for one resource.
pub(crate) fn check_audience(claims: &Object, resource: &ResourceUri) -> Result<(), Reason> {
    let for_us = match claims.get("aud") {
        Some(Value::Text(aud)) => aud == resource.as_str(),
        Some(Value::Array(auds)) => {
            matches!(auds.as_slice(), [Value::Text(aud)] if aud == resource.as_str())
        }
        _ => false,
    };
    if for_us {
        Ok(())
    } else {
        Err("for another audience")
    }
}

/// The key a token is bound to. A binding that cannot be checked here must not be passed over (RFC 7800 section 3.1).
pub(crate) fn confirmation(claims: &Object) -> Result<Option<Thumbprint>, Reason> {
    match claims.get("cnf") {
        None => Ok(None),
        Some(Value::Object(cnf)) => {
            let only_jkt = cnf.len() == 1;
            let jkt = Thumbprint::parse(cnf.text("jkt")?).ok_or("cnf.jkt is no thumbprint")?;
            if only_jkt {
                Ok(Some(jkt))
            } else {
                Err("cnf binds in a way that is not checked here")
            }
        }
        Some(_) => Err("cnf is not an object"),
    }
}

/// An identifier: there, not empty, not long.
pub(crate) fn name<'a>(claims: &'a Object, member: &str) -> Result<&'a str, Reason> {
    let name = claims.text(member)?;
    if name.len() <= MAX_NAME_BYTES {
        Ok(name)
    } else {
        Err("an identifier is too long")
    }
}
