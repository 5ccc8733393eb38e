//! The values of servers' required secrets: sealed to their place at rest, open only on their way to a runner.

use std::fmt;

use bmm_oauth::Timestamp;
use bmm_runner::Secrets;
use bmm_spec::CompiledSpec;
use bmm_vault::{Context, Vault, VaultError};
use zeroize::Zeroizing;

use crate::db::{Db, DbError, SecretRow};

/// The largest value that is taken; a private key in PEM form is far below it.
pub(crate) const MAX_VALUE_BYTES: usize = 16 * 1024;

/// A value that may be kept. Wiped on drop, and shown by nothing.
pub(crate) struct SecretValue(Zeroizing<String>);

impl SecretValue {
    pub(crate) fn new(value: Zeroizing<String>) -> Result<Self, SecretError> {
        if value.is_empty() {
            Err(SecretError::Empty)
        } else if value.len() > MAX_VALUE_BYTES {
            Err(SecretError::TooLarge)
        } else {
            Ok(Self(value))
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(..)")
    }
}

/// Why a secret was not set, or not read. Never quotes a value.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
    #[error("there is no server {0}")]
    NoServer(String),
    #[error("{slug} needs no secret of this name; {}", known(.known))]
    NoSecret { slug: String, known: Vec<String> },
    #[error("the value is empty")]
    Empty,
    #[error("the value is larger than {} KiB", MAX_VALUE_BYTES / 1024)]
    TooLarge,
    #[error("the stored spec of {0} cannot be read")]
    Spec(String, #[source] serde_json::Error),
    #[error("the stored secret {name} of {slug} cannot be opened; set it again")]
    Sealed {
        slug: String,
        name: String,
        source: VaultError,
    },
    #[error("cannot seal the value")]
    Seal(#[source] VaultError),
    #[error(transparent)]
    Db(#[from] DbError),
}

/// The secrets of all servers.
pub(crate) struct SecretStore {
    db: Db,
    vault: Vault,
}

impl SecretStore {
    pub(crate) fn new(db: Db, vault: Vault) -> Self {
        Self { db, vault }
    }

    /// Keeps the value of a secret that a server of this organisation needs.
    pub(crate) async fn set(
        &self,
        organisation: &str,
        slug: &str,
        name: &str,
        value: &SecretValue,
        now: Timestamp,
    ) -> Result<(), SecretError> {
        let no_server = || SecretError::NoServer(slug.to_owned());
        let server = self.db.server(slug).await?;
        let server = server
            .filter(|server| server.organisation == organisation)
            .ok_or_else(no_server)?;
        let spec: CompiledSpec =
            serde_json::from_str(&server.compiled).map_err(|error| SecretError::Spec(server.slug, error))?;
        if !spec.required_secrets.iter().any(|secret| secret.name == name) {
            return Err(SecretError::NoSecret {
                slug: slug.to_owned(),
                known: spec.required_secrets.into_iter().map(|secret| secret.name).collect(),
            });
        }
        let sealed = self
            .vault
            .seal(&place(organisation, slug, name), value.as_str().as_bytes())
            .map_err(SecretError::Seal)?;
        if self.db.put_secret(slug, organisation, name, &sealed, now).await? {
            Ok(())
        } else {
            Err(no_server())
        }
    }

    /// What is stored for one server, still sealed.
    pub(crate) async fn sealed(&self, slug: &str) -> Result<Vec<SecretRow>, DbError> {
        self.db.secrets(slug).await
    }

    /// The values that this spec asks for, as far as they are set.
    pub(crate) fn open(&self, spec: &CompiledSpec, sealed: &[SecretRow]) -> Result<Secrets, SecretError> {
        let mut secrets = Secrets::new();
        let wanted = |row: &&SecretRow| spec.required_secrets.iter().any(|secret| secret.name == row.name);
        for row in sealed.iter().filter(wanted) {
            let cannot = |source| SecretError::Sealed {
                slug: row.slug.clone(),
                name: row.name.clone(),
                source,
            };
            let value = self
                .vault
                .open_value(&place(&row.organisation, &row.slug, &row.name), &row.sealed)
                .map_err(cannot)?;
            let value = std::str::from_utf8(&value).map_err(|_| cannot(VaultError::Malformed))?;
            secrets.insert(row.name.as_str(), value);
        }
        Ok(secrets)
    }
}

/// What a value is sealed to: moved to another row of the table it does not open.
fn place(organisation: &str, slug: &str, name: &str) -> Context {
    Context::new("server_secrets")
        .tenant(organisation)
        .row(slug)
        .name(name)
}

fn known(names: &[String]) -> String {
    match names {
        [] => "it needs none".to_owned(),
        names => format!("it needs {}", names.join(", ")),
    }
}
