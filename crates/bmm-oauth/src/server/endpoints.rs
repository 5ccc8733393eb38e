//! Paths of the endpoints, below the issuer's own.

pub(super) const REGISTER: &str = "/oauth/register";
pub(super) const AUTHORIZE: &str = "/oauth/authorize";
pub(super) const CONSENT: &str = "/oauth/consent";
/// Followed by the name of an upstream.
pub(super) const CALLBACK: &str = "/oauth/callback";
pub(super) const TOKEN: &str = "/oauth/token";
pub(super) const REVOCATIONS: &str = "/oauth/revocations";
pub(super) const REVOKE: &str = "/oauth/revoke";
pub(super) const INTROSPECT: &str = "/oauth/introspect";
pub(super) const PUSH: &str = "/oauth/par";
pub(super) const JWKS: &str = "/oauth/jwks";
