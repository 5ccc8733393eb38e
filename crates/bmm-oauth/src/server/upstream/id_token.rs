//! ID tokens (OpenID Connect Core section 3.1.3.7), read as strictly as every other signed statement: the header chooses nothing but a key
//! id, every claim has one type, and what must agree is compared exactly.

use crate::clock::Timestamp;
use crate::key_set::KeySet;
use crate::server::jws::{Jws, Reason};
use crate::strict_json::{Object, Value};

/// How far `iat` and `nbf` may lie in the future: another machine's clock. `exp` gets no such grace.
const CLOCK_SKEW_SECS: u64 = 60;

/// What a token must say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected<'a> {
    /// The accepted spellings of the issuer: one, but for Google's two.
    pub(super) issuers: &'a [&'a str],
    pub(super) client_id: &'a str,
    pub(super) nonce: &'a str,
    pub(super) now: Timestamp,
}

/// A token whose signature has not been checked.
pub(super) struct Unverified<'a>(Jws<'a>);

/// What is used of a verified token.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Claims {
    pub(super) sub: String,
    /// The first of `name`, `preferred_username` and `email` that is there.
    pub(super) display_name: Option<String>,
    /// The organisation of a Google account.
    pub(super) hd: Option<String>,
}

impl<'a> Unverified<'a> {
    pub(super) fn parse(token: &'a str) -> Result<Self, Reason> {
        let jws = Jws::parse(token)?;
        // An access token or a logout token of the same issuer says what it is; it is no ID token.
        if jws.has_type() && !jws.is_typed(&["jwt"])? {
            return Err("typ is not JWT");
        }
        Ok(Self(jws))
    }

    /// Whether these are the keys to try it with. Without a key id any are.
    pub(super) fn names_one_of(&self, keys: &KeySet) -> bool {
        self.0.kid().is_none_or(|kid| keys.get(kid).is_some())
    }

    /// Checks signature and claims.
    pub(super) fn verify(&self, keys: &KeySet, expected: &Expected<'_>) -> Result<Claims, Reason> {
        judge(self.0.verified(keys)?, expected)
    }
}

/// The decision over verified claims.
fn judge(claims: &Object, expected: &Expected<'_>) -> Result<Claims, Reason> {
    if !expected.issuers.contains(&claims.text("iss")?) {
        return Err("issued by somebody else");
    }
    let ours = |audience: &Value| matches!(audience, Value::Text(text) if text == expected.client_id);
    let azp = claims.optional_text("azp")?;
    let for_us = match claims.get("aud") {
        // One that several are meant to read says in `azp` who asked for it.
        Some(Value::Array(audiences)) => {
            audiences.iter().any(ours) && (audiences.len() == 1 || azp.is_some())
        }
        Some(audience) => ours(audience),
        None => false,
    };
    if !for_us || azp.is_some_and(|azp| azp != expected.client_id) {
        return Err("for another client");
    }
    let now = expected.now.as_secs();
    let soon = now.saturating_add(CLOCK_SKEW_SECS);
    if claims.whole("exp")? <= now {
        return Err("expired");
    }
    if claims.whole("iat")? > soon || claims.optional_whole("nbf")?.is_some_and(|nbf| nbf > soon) {
        return Err("not yet valid");
    }
    if claims.optional_text("nonce")? != Some(expected.nonce) {
        return Err("nonce is of another sign-in");
    }
    // Nothing hangs on these: some providers send `null`.
    let names = ["name", "preferred_username", "email"].map(|name| claims.get(name));
    let display_name = names.into_iter().find_map(|name| match name {
        Some(Value::Text(name)) if !name.is_empty() => Some(name.clone()),
        _ => None,
    });
    Ok(Claims {
        sub: claims.text("sub")?.to_owned(),
        display_name,
        hd: claims.optional_text("hd")?.map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::json;

    use super::*;

    const EXPECTED: Expected<'_> = Expected {
        issuers: &["https://id.example"],
        client_id: "us",
        nonce: "n",
        now: Timestamp::from_secs(1_000),
    };

    fn judged(changes: serde_json::Value) -> Result<(), Reason> {
        let mut claims = json!({"iss": "https://id.example", "aud": "us", "sub": "1", "exp": 1_001, "iat": 999, "nonce": "n"});
        for (name, value) in changes.as_object().unwrap() {
            match value {
                serde_json::Value::Null => claims.as_object_mut().unwrap().remove(name),
                value => claims
                    .as_object_mut()
                    .unwrap()
                    .insert(name.clone(), value.clone()),
            };
        }
        let claims = Object::parse(claims.to_string().as_bytes()).unwrap();
        judge(&claims, &EXPECTED).map(|_| ())
    }

    #[test]
    fn only_a_token_for_this_sign_in_counts() {
        for good in [
            json!({}),
            json!({"aud": ["us"]}),
            json!({"aud": ["us", "other"], "azp": "us"}),
            json!({"azp": "us"}),
            json!({"iat": 1_060}),
        ] {
            assert_eq!(judged(good.clone()), Ok(()), "{good}");
        }
        let bad = [
            (json!({"iss": "https://id.example/"}), "issued by somebody else"),
            (json!({"iss": "https://evil.example"}), "issued by somebody else"),
            (json!({"aud": "other"}), "for another client"),
            (json!({"aud": []}), "for another client"),
            (json!({"aud": ["other"]}), "for another client"),
            (json!({"aud": ["us", "other"]}), "for another client"),
            (
                json!({"aud": ["us", "other"], "azp": "other"}),
                "for another client",
            ),
            (json!({"azp": "other"}), "for another client"),
            (json!({"exp": 1_000}), "expired"),
            (json!({"iat": 1_061}), "not yet valid"),
            (json!({"nbf": 1_061}), "not yet valid"),
            (json!({"nonce": "m"}), "nonce is of another sign-in"),
            (json!({"nonce": null}), "nonce is of another sign-in"),
            (json!({"sub": null}), "unreadable"),
            (json!({"sub": 1}), "unreadable"),
            (json!({"exp": "1001"}), "unreadable"),
            (json!({"exp": 1001.5}), "unreadable"),
            (json!({"nbf": "0"}), "unreadable"),
            (json!({"iat": null}), "unreadable"),
        ];
        for (claims, reason) in bad {
            let judged = judged(claims.clone());
            match reason {
                "unreadable" => assert!(judged.is_err(), "{claims}"),
                reason => assert_eq!(judged, Err(reason), "{claims}"),
            }
        }
    }

    #[test]
    fn a_header_brings_no_key_and_names_no_other_kind_of_token() {
        let parsed = |header: serde_json::Value| {
            let token = format!("{}.e30.c2ln", URL_SAFE_NO_PAD.encode(header.to_string()));
            Unverified::parse(&token).map(|_| ())
        };
        assert_eq!(parsed(json!({"alg": "ES256", "kid": "k"})), Ok(()));
        assert_eq!(
            parsed(json!({"alg": "ES256", "kid": "k", "typ": "JWT", "x5t": "x"})),
            Ok(())
        );
        for name in ["crit", "b64", "jwk", "jku", "x5u", "x5c"] {
            let header = json!({"alg": "ES256", "kid": "k", name: null});
            assert_eq!(
                parsed(header),
                Err("header brings a key or critical extensions"),
                "{name}"
            );
        }
        assert_eq!(
            parsed(json!({"alg": "ES256", "kid": "k", "typ": "at+jwt"})),
            Err("typ is not JWT")
        );
    }
}
