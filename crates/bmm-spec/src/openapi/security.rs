//! Security schemes as secrets: what an operation asks of its caller is what its owner must supply.

use super::{
    Skipped,
    document::{Distinct, Document, brief},
    text,
};
use crate::model::{RequiredSecret, SecretPlace};
use bmm_net::HostPattern;
use serde_json::Value;
use std::collections::BTreeMap;

/// How a request shows who makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Credential {
    /// `Authorization: Bearer …`
    Bearer { secret: String },
    /// `Authorization: Basic …`
    Basic { user: String, password: String },
    /// A header of its own.
    Header { name: String, secret: String },
    /// A query parameter.
    Query { name: String, secret: String },
    /// A cookie.
    Cookie { name: String, secret: String },
}

impl Credential {
    /// The place that only one credential of a request can have.
    pub(super) fn place(&self) -> String {
        match self {
            Self::Bearer { .. } | Self::Basic { .. } => "authorization".to_owned(),
            Self::Header { name, .. } => name.to_ascii_lowercase(),
            Self::Query { name, .. } => format!("?{name}"),
            Self::Cookie { .. } => "cookie".to_owned(),
        }
    }

    fn secrets(&self) -> Vec<&str> {
        match self {
            Self::Basic { user, password } => vec![user, password],
            Self::Bearer { secret }
            | Self::Header { secret, .. }
            | Self::Query { secret, .. }
            | Self::Cookie { secret, .. } => vec![secret],
        }
    }
}

/// Most alternatives of an operation, and most schemes of a document, that are looked at.
const MAX_ALTERNATIVES: usize = 20;
const MAX_SCHEMES: usize = 100;

/// The schemes of a document, and the secrets that operations came to need.
pub(super) struct Security<'d> {
    document: &'d Document,
    /// Name of the secret for operations that the document asks nothing of.
    bearer: Option<String>,
    schemes: BTreeMap<String, Result<Scheme, String>>,
    names: Distinct,
}

#[derive(Clone, Debug)]
struct Scheme {
    credential: Credential,
    /// What is preferred where there is a choice: a smaller number.
    rank: u8,
    secrets: Vec<RequiredSecret>,
}

impl<'d> Security<'d> {
    pub(super) fn new(document: &'d Document, bearer: Option<String>) -> Self {
        let mut security = Self {
            document,
            bearer,
            schemes: BTreeMap::new(),
            names: Distinct::default(),
        };
        if let Some(name) = security.bearer.clone() {
            security.names.name(&name, 64);
        }
        let schemes = document
            .root
            .pointer("/components/securitySchemes")
            .and_then(Value::as_object);
        for (name, scheme) in schemes.into_iter().flatten().take(MAX_SCHEMES) {
            let read = security.scheme(name, scheme);
            security.schemes.insert(name.clone(), read);
        }
        security
    }

    /// The credentials of an operation: of the alternatives that can be met, the one that is easiest for the owner.
    pub(super) fn of(
        &self,
        operation: &Value,
        pointer: &str,
        notes: &mut Vec<Skipped>,
    ) -> Result<Vec<Credential>, String> {
        let own = operation
            .get("security")
            .or_else(|| self.document.root.get("security"));
        let alternatives = own
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default();
        if alternatives.is_empty() {
            let bearer = self.bearer.iter().map(|secret| Credential::Bearer {
                secret: secret.clone(),
            });
            return Ok(bearer.collect());
        }
        if alternatives
            .iter()
            .any(|each| each.as_object().is_some_and(|each| each.is_empty()))
        {
            if alternatives.len() > 1 {
                notes.push(Skipped::new(
                    pointer,
                    "works without credentials, and is called without",
                ));
            }
            return Ok(Vec::new());
        }
        let mut best: Option<(u8, Vec<Credential>)> = None;
        let mut first_problem = None;
        for alternative in alternatives.iter().take(MAX_ALTERNATIVES) {
            match self.all(alternative) {
                Ok((rank, credentials)) if best.as_ref().is_none_or(|(least, _)| rank < *least) => {
                    best = Some((rank, credentials));
                }
                Ok(_) => {}
                Err(problem) => drop(first_problem.get_or_insert(problem)),
            }
        }
        best.map(|(_, credentials)| credentials)
            .ok_or_else(|| first_problem.unwrap_or_default())
    }

    /// What the owner must supply for the credentials that were used, each with the hosts it goes to.
    pub(super) fn secrets(&self, used: &[(Credential, HostPattern)], service: &str) -> Vec<RequiredSecret> {
        let bearer = self.bearer.iter().map(|name| RequiredSecret {
            name: name.clone(),
            description: format!("A token for {service}, sent as `Authorization: Bearer …`."),
            how_to_get_url: None,
            domains: Vec::new(),
            place: SecretPlace::Header,
        });
        let declared = self
            .schemes
            .values()
            .flatten()
            .flat_map(|scheme| scheme.secrets.clone());
        let mut secrets: Vec<RequiredSecret> = bearer.chain(declared).collect();
        for secret in &mut secrets {
            for (credential, host) in used {
                if credential.secrets().contains(&secret.name.as_str()) && !secret.domains.contains(host) {
                    secret.domains.push(host.clone());
                }
            }
        }
        secrets.retain(|secret| !secret.domains.is_empty());
        secrets
    }

    fn all(&self, alternative: &Value) -> Result<(u8, Vec<Credential>), String> {
        let names = alternative
            .as_object()
            .ok_or("its security requirement is no object")?;
        let (mut rank, mut credentials) = (0, Vec::<Credential>::new());
        for name in names.keys() {
            let shown = brief(name);
            let scheme = self
                .schemes
                .get(name)
                .ok_or_else(|| format!("the security scheme `{shown}` is not there"))?;
            let scheme = scheme
                .as_ref()
                .map_err(|why| format!("the security scheme `{shown}` {why}"))?;
            if credentials
                .iter()
                .any(|other| other.place() == scheme.credential.place())
            {
                return Err("two of its security schemes want the same header".to_owned());
            }
            rank = rank.max(scheme.rank);
            credentials.push(scheme.credential.clone());
        }
        Ok((rank, credentials))
    }

    fn scheme(&mut self, name: &str, scheme: &Value) -> Result<Scheme, String> {
        let document = self.document;
        let scheme = document.follow(scheme, "")?.value;
        let field = |key: &str| scheme.get(key).and_then(Value::as_str).unwrap_or_default();
        let description = field("description");
        let mut secret = |name: &str, what: String, place: SecretPlace| {
            let said = text::plain(description, 600);
            let name = self.names.name(&text::upper_snake(name), 64);
            RequiredSecret {
                name,
                description: if said.is_empty() {
                    what
                } else {
                    format!("{what} {said}")
                },
                how_to_get_url: text::first_url(description),
                domains: Vec::new(),
                place,
            }
        };
        let one = |secret: RequiredSecret, rank: u8, credential: fn(String) -> Credential| Scheme {
            credential: credential(secret.name.clone()),
            rank,
            secrets: vec![secret],
        };
        let bearer = |secret: String| Credential::Bearer { secret };
        match (
            field("type"),
            field("scheme").to_ascii_lowercase().as_str(),
            field("in"),
        ) {
            ("http", "bearer", _) => {
                let what = "The token sent as `Authorization: Bearer …`.".to_owned();
                Ok(one(secret(name, what, SecretPlace::Header), 0, bearer))
            }
            ("http", "basic", _) => {
                let user = secret(
                    &format!("{name}_username"),
                    "The user name of basic authentication.".to_owned(),
                    SecretPlace::Header,
                );
                let password = secret(
                    &format!("{name}_password"),
                    "The password of basic authentication.".to_owned(),
                    SecretPlace::Header,
                );
                let credential = Credential::Basic {
                    user: user.name.clone(),
                    password: password.name.clone(),
                };
                Ok(Scheme {
                    credential,
                    rank: 2,
                    secrets: vec![user, password],
                })
            }
            ("http", other, _) => Err(format!(
                "is HTTP authentication `{}`, which a tool cannot do",
                brief(other)
            )),
            ("apiKey", _, place) => {
                let key = field("name").to_owned();
                let (at, rank, what) = match place {
                    "header" if is_token(&key) => (
                        SecretPlace::Header,
                        1,
                        format!("The key sent in the header `{key}`."),
                    ),
                    "cookie" if is_token(&key) => (
                        SecretPlace::Header,
                        4,
                        format!("The value of the cookie `{key}`."),
                    ),
                    "query" if !key.is_empty() => (
                        SecretPlace::Query,
                        3,
                        format!("The key sent in the query parameter `{}`.", brief(&key)),
                    ),
                    _ => return Err("is an API key without a usable name and place".to_owned()),
                };
                let secret = secret(name, what, at);
                let value = secret.name.clone();
                let credential = match place {
                    "header" => Credential::Header {
                        name: key,
                        secret: value,
                    },
                    "cookie" => Credential::Cookie {
                        name: key,
                        secret: value,
                    },
                    _ => Credential::Query {
                        name: key,
                        secret: value,
                    },
                };
                Ok(Scheme {
                    credential,
                    rank,
                    secrets: vec![secret],
                })
            }
            ("oauth2" | "openIdConnect", ..) => {
                let what =
                    "An OAuth 2.0 access token, obtained by the owner and not renewed here.".to_owned();
                Ok(one(secret(name, what, SecretPlace::Header), 5, bearer))
            }
            (other, ..) => Err(format!(
                "is of the type `{}`, which a tool cannot do",
                brief(other)
            )),
        }
    }
}

/// A name of a header or cookie (RFC 9110, section 5.6.2).
pub(super) fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 128
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}
