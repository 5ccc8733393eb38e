//! Cookies that tie a step to the browser of the step before it. Each holds one random secret, of which the store keeps the hash.

use http::{HeaderMap, HeaderValue, header};

use crate::issuer::Issuer;

/// A cookie's full name. `__Host-` keeps other hosts of the domain from planting it (RFC 6265bis section 4.1.3.2); browsers want
/// https for it.
pub(super) fn name(base: &str, issuer: &Issuer) -> String {
    let prefix = if issuer.is_https() { "__Host-" } else { "" };
    format!("{prefix}{base}")
}

/// The secret in the cookie of this name, if there is exactly one that we may have set.
pub(super) fn read(headers: &HeaderMap, name: &str) -> Option<String> {
    let cookies = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let pairs = cookies
        .flat_map(|cookies| cookies.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    let mut values = pairs.filter(|(n, _)| *n == name).map(|(_, value)| value);
    // Two of one name: somebody planted one.
    let value = values.next().filter(|_| values.next().is_none())?;
    let base64url = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    (value.len() == 43 && value.bytes().all(base64url)).then(|| value.to_owned())
}

/// Sets a cookie for `seconds`; with zero it is removed.
pub(super) fn set(name: &str, secret: &str, seconds: u32, issuer: &Issuer) -> HeaderValue {
    let secure = if issuer.is_https() { "; Secure" } else { "" };
    let cookie = format!("{name}={secret}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
    HeaderValue::from_str(&cookie).expect("names and secrets are letters, digits, dashes and underscores")
}
