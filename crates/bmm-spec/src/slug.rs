//! The name of a server in URLs.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, fmt, str::FromStr};

/// Longest slug, in characters.
pub const MAX_SLUG_CHARS: usize = 40;

/// First path segments that belong to the host itself, so no server can be called that.
///
/// A host that routes `/<slug>/…` next to its own pages tests its first segments against this list.
pub const RESERVED_SLUGS: &[&str] = &[
    "about",
    "account",
    "accounts",
    "admin",
    "api",
    "app",
    "apps",
    "assets",
    "audit",
    "auth",
    "authorize",
    "billing",
    "blog",
    "build",
    "builds",
    "bmm",
    "callback",
    "cdn",
    "config",
    "consent",
    "contact",
    "dashboard",
    "deploy",
    "docs",
    "download",
    "downloads",
    "embed",
    "error",
    "errors",
    "events",
    "explore",
    "favicon",
    "feed",
    "fonts",
    "help",
    "health",
    "healthz",
    "home",
    "icons",
    "images",
    "img",
    "import",
    "index",
    "internal",
    "invite",
    "jobs",
    "js",
    "jwks",
    "keys",
    "legal",
    "live",
    "livez",
    "local",
    "login",
    "logout",
    "mcp",
    "me",
    "metrics",
    "new",
    "null",
    "oauth",
    "oauth2",
    "openapi",
    "org",
    "orgs",
    "preview",
    "pricing",
    "privacy",
    "public",
    "ready",
    "readyz",
    "register",
    "root",
    "robots",
    "rss",
    "scan",
    "search",
    "secrets",
    "security",
    "server",
    "servers",
    "session",
    "sessions",
    "settings",
    "setup",
    "share",
    "sign-in",
    "sign-out",
    "sign-up",
    "signin",
    "signout",
    "signup",
    "sitemap",
    "sse",
    "static",
    "status",
    "support",
    "system",
    "team",
    "teams",
    "template",
    "templates",
    "terms",
    "token",
    "tokens",
    "undefined",
    "upload",
    "uploads",
    "user",
    "users",
    "v1",
    "v2",
    "webhook",
    "webhooks",
    "well-known",
    "wizard",
    "ws",
    "www",
];

/// A server's name in URLs: `^[a-z][a-z0-9-]*$`, at most 40 characters, not in [`RESERVED_SLUGS`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Slug(String);

/// Why a text is not a [`Slug`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SlugError {
    /// Other characters, empty, or a first character that is not a letter.
    #[error("a slug starts with a lower-case letter and goes on with lower-case letters, digits and hyphens")]
    Shape,
    /// More than [`MAX_SLUG_CHARS`].
    #[error("a slug has at most {MAX_SLUG_CHARS} characters")]
    TooLong,
    /// In [`RESERVED_SLUGS`].
    #[error("this slug is reserved for the host itself")]
    Reserved,
}

impl Slug {
    /// The slug as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Slug {
    type Err = SlugError;

    fn from_str(text: &str) -> Result<Self, SlugError> {
        if text.len() > MAX_SLUG_CHARS {
            return Err(SlugError::TooLong);
        }
        let mut bytes = text.bytes();
        let starts = bytes.next().is_some_and(|b| b.is_ascii_lowercase());
        if !starts || !bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
            return Err(SlugError::Shape);
        }
        if RESERVED_SLUGS.contains(&text) {
            return Err(SlugError::Reserved);
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Slug {
    type Error = SlugError;
    fn try_from(text: String) -> Result<Self, SlugError> {
        text.parse()
    }
}

impl From<Slug> for String {
    fn from(slug: Slug) -> Self {
        slug.0
    }
}

impl AsRef<str> for Slug {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Slug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl JsonSchema for Slug {
    fn schema_name() -> Cow<'static, str> {
        "Slug".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "Name of the server in URLs. Some words are reserved for the host.",
            "pattern": "^[a-z][a-z0-9-]*$",
            "maxLength": MAX_SLUG_CHARS,
        })
    }
}
