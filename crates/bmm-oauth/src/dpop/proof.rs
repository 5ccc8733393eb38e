//! The proof checker: one header, one request, one verdict. Pure; whether a proof was seen before is asked elsewhere.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use url::Url;

use super::nonce::DpopNonces;
use crate::absolute_uri::{self, Http};
use crate::clock::Timestamp;
use crate::compact_jws::CompactJws;
use crate::jwk::{Thumbprint, VerifyingKey};
use crate::sha256::sha256;
use crate::strict_json::{Object, Reason, Value};

/// `dpop_signing_alg_values_supported`, and `algs` of a challenge.
pub(crate) const ALGORITHMS: [&str; 3] = ["ES256", "EdDSA", "RS256"];

/// How long ago a proof may have been made: MCP's profile of RFC 9449 says five minutes.
pub(super) const WINDOW_SECS: u64 = 300;
/// How far `iat` may lie ahead: for a clock that is fast, not for proofs that are made in store.
const AHEAD_SECS: u64 = 60;

/// Longest proof, which may hold an RSA key of 4096 bits, and longest `jti`, in bytes.
const MAX_PROOF_BYTES: usize = 4 * 1024;
const MAX_JTI_BYTES: usize = 256;

/// What a proof must be for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Requested<'a> {
    /// The request's method.
    pub(crate) method: &'a str,
    /// The request's URL as its client wrote it: configuration, never the `Host` header.
    pub(crate) url: &'a str,
    /// The access token that comes with it, at a resource.
    pub(crate) token: Option<&'a str>,
}

/// A proof that is good for its request, if it was not used before.
#[derive(Debug)]
pub(crate) struct Proof {
    /// Whose it is.
    pub(crate) key: Thumbprint,
    jti: String,
    issued_at: u64,
    nonce: Option<String>,
}

impl Proof {
    /// Reads the one `DPoP` header and checks it (RFC 9449 section 4.3). `Ok(None)`: there is none.
    pub(crate) fn of_request(
        headers: &HeaderMap,
        requested: &Requested<'_>,
        now: Timestamp,
    ) -> Result<Option<Self>, Reason> {
        let mut values = headers.get_all("dpop").iter();
        let Some(value) = values.next() else {
            return Ok(None);
        };
        if values.next().is_some() {
            return Err("more than one DPoP header");
        }
        let text = value.to_str().map_err(|_| "not ASCII")?;
        Self::check(text, requested, now).map(Some)
    }

    /// The cheap checks come first, the signature last.
    fn check(text: &str, requested: &Requested<'_>, now: Timestamp) -> Result<Self, Reason> {
        let jws = CompactJws::parse(text, MAX_PROOF_BYTES)?;
        jws.check_typ("dpop+jwt")?;
        let Some(Value::Object(jwk)) = jws.header.get("jwk") else {
            return Err("jwk is missing");
        };
        let claims = jws.claims()?;
        judge(&claims, requested, now)?;
        let key = VerifyingKey::from_jwk(jwk)?;
        jws.check_signature(&key)?;
        Ok(Self {
            key: key.thumbprint().clone(),
            jti: claims.text("jti")?.to_owned(),
            issued_at: claims.whole("iat")?,
            nonce: claims.optional_text("nonce")?.map(str::to_owned),
        })
    }

    /// Whether it holds a nonce that is given out these minutes.
    pub(crate) fn has_nonce_of(&self, nonces: &DpopNonces, now: Timestamp) -> bool {
        self.nonce
            .as_deref()
            .is_some_and(|nonce| nonces.accepts(nonce, now))
    }

    /// When it was made (`iat`).
    pub(super) fn issued_at(&self) -> u64 {
        self.issued_at
    }

    /// From when on it is too old to be accepted anyway: so long it must be remembered.
    #[cfg(feature = "server")]
    pub(crate) fn ends_at(&self) -> Timestamp {
        Timestamp::from_secs(self.issued_at + WINDOW_SECS + 1)
    }

    /// What identifies it among all proofs: its key and its `jti`.
    pub(crate) fn identity(&self) -> String {
        format!("{} {}", self.key, self.jti)
    }
}

/// The decision over what the proof says.
fn judge(claims: &Object, requested: &Requested<'_>, now: Timestamp) -> Result<(), Reason> {
    // Methods are compared as they are: they are case-sensitive.
    if claims.text("htm")? != requested.method {
        return Err("htm is another method");
    }
    let htu = normalized(claims.text("htu")?).ok_or("htu is not an http URL")?;
    if Some(htu) != normalized(requested.url) {
        return Err("htu is another URL");
    }
    let issued_at = claims.whole("iat")?;
    let now_secs = now.as_secs();
    if issued_at > now_secs.saturating_add(AHEAD_SECS) || now_secs.saturating_sub(issued_at) > WINDOW_SECS {
        return Err("iat is too far from now");
    }
    // Not used by RFC 9449, but what they say must hold if they are there.
    let expires_at = claims.optional_whole("exp")?;
    let begins_at = claims.optional_whole("nbf")?;
    if expires_at.is_some_and(|at| at <= now_secs)
        || begins_at.is_some_and(|at| at > now_secs.saturating_add(AHEAD_SECS))
    {
        return Err("exp or nbf does not hold");
    }
    let ath = claims.optional_text("ath")?;
    let expected = requested
        .token
        .map(|token| URL_SAFE_NO_PAD.encode(sha256(token.as_bytes())));
    if expected.is_some() && ath != expected.as_deref() {
        return Err("ath is not the hash of the access token");
    }
    if claims.text("jti")?.len() > MAX_JTI_BYTES {
        return Err("jti is too long");
    }
    Ok(())
}

/// The URL without query and fragment, normalised by its syntax and scheme (RFC 9449 section 4.3, RFC 3986 section 6.2).
fn normalized(url: &str) -> Option<String> {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let mut url: Url = absolute_uri::parse(url, Http::Anywhere).ok()?;
    let path = normalized_escapes(url.path())?;
    url.set_path(&path);
    Some(url.into())
}

/// `%7e` is `~` and `%2f` is `%2F` (RFC 3986 sections 6.2.2.1 and 6.2.2.2). An escape that is none is refused.
fn normalized_escapes(path: &str) -> Option<String> {
    let mut pieces = path.split('%');
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (escape, rest) = piece.split_at_checked(2)?;
        let byte = u8::from_str_radix(escape, 16)
            .ok()
            .filter(|_| !escape.starts_with('+'))?;
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push_str(&escape.to_ascii_uppercase());
        }
        out.push_str(rest);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_are_equal_by_syntax_are_equal() {
        let same = [
            "https://server.example/a~b/mcp",
            "HTTPS://SERVER.example:443/a%7Eb/mcp?x=1#y",
            "https://server.example/x/../a%7eb/./mcp?",
        ];
        for url in same {
            assert_eq!(normalized(url), normalized(same[0]), "{url}");
        }
        for url in [
            "https://server.example/a~b/mcp/",
            "https://server.example/a~b%2Fmcp",
            "https://server.example:444/a~b/mcp",
            "http://server.example/a~b/mcp",
            "https://server.example/A~b/mcp",
            "https://evil.example/a~b/mcp",
        ] {
            assert_ne!(normalized(url), normalized(same[0]), "{url}");
        }
        for url in [
            "",
            "/mcp",
            "https:",
            "https://u@server.example/",
            "https://server.example/%zz",
            "https://server.example/%+1",
            "https://server.example/%2",
            "https://server.example/ a",
            "https://server.example\\a",
            "ftp://server.example/",
        ] {
            assert_eq!(normalized(url), None, "{url}");
        }
    }

    /// The proof of RFC 9449 section 7.1, with its token.
    #[test]
    fn the_proof_of_the_rfc_is_good_for_its_request_only() {
        let proof = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA";
        let token = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";
        let requested = Requested {
            method: "GET",
            url: "https://resource.example.org/protectedresource",
            token: Some(token),
        };
        let at = |seconds| Timestamp::from_secs(seconds);
        let good = Proof::check(proof, &requested, at(1_562_262_618)).unwrap();
        assert_eq!(good.key.as_str(), "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I");
        assert!(Proof::check(proof, &requested, at(1_562_262_618 + 300)).is_ok());
        assert!(Proof::check(proof, &requested, at(1_562_262_618 + 301)).is_err());
        assert!(Proof::check(proof, &requested, at(1_562_262_618 - 60)).is_ok());
        assert!(Proof::check(proof, &requested, at(1_562_262_618 - 61)).is_err());
        for other in [
            Requested {
                method: "POST",
                ..requested
            },
            Requested {
                method: "get",
                ..requested
            },
            Requested {
                url: "https://resource.example.org/other",
                ..requested
            },
            Requested {
                token: Some("other"),
                ..requested
            },
        ] {
            assert!(
                Proof::check(proof, &other, at(1_562_262_618)).is_err(),
                "{other:?}"
            );
        }
    }
}
