//! The values of servers' required secrets: sealed to their place at rest, open only on their way to a runner.

use std::fmt;
use std::sync::Arc;

use bmm_oauth::Timestamp;
use bmm_runner::Secrets;
use bmm_spec::CompiledSpec;
use bmm_vault::{Column, Context, SealedColumn, SqlError, SqlVault};
use zeroize::Zeroizing;

use crate::db::{Db, DbError, SecretRow};
use crate::wall_clock::wall;

/// The largest value that is taken; a private key in PEM form is far below it.
pub(crate) const MAX_VALUE_BYTES: usize = 8 * 1024;

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
    #[error("{slug} needs no secret of this name; {}", its_secrets(.known))]
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
        source: SqlError,
    },
    #[error("the stored secret {name} of {slug} is not text; set it again")]
    NotText { slug: String, name: String },
    #[error("cannot seal the value")]
    Seal(#[source] SqlError),
    #[error(transparent)]
    Db(#[from] DbError),
}

/// The secrets of all servers.
pub(crate) struct SecretStore {
    db: Db,
    vault: Arc<SqlVault>,
}

impl SecretStore {
    pub(crate) fn new(db: Db, vault: Arc<SqlVault>) -> Self {
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
                known: spec
                    .required_secrets
                    .into_iter()
                    .map(|secret| secret.name)
                    .collect(),
            });
        }
        let sealed = self
            .vault
            .seal(
                &place(organisation, slug, name),
                value.as_str().as_bytes(),
                wall(now),
            )
            .await
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

    /// The values that this spec of a server of this organisation asks for, as far as they are set.
    pub(crate) async fn open(
        &self,
        organisation: &str,
        spec: &CompiledSpec,
        sealed: &[SecretRow],
    ) -> Result<Secrets, SecretError> {
        let mut secrets = Secrets::new();
        let wanted = |row: &&SecretRow| spec.required_secrets.iter().any(|secret| secret.name == row.name);
        for row in sealed.iter().filter(wanted) {
            let (slug, name) = (row.slug.clone(), row.name.clone());
            let place = place(organisation, &slug, &name);
            let value = match self.vault.open_value(&place, &row.sealed).await {
                Ok(value) => value,
                Err(source) => return Err(SecretError::Sealed { slug, name, source }),
            };
            let Ok(value) = std::str::from_utf8(&value) else {
                return Err(SecretError::NotText { slug, name });
            };
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

/// The column of the values, for the vault's sweep.
pub(crate) fn sealed_column() -> SealedColumn {
    let key = [Column::text("slug"), Column::text("name")];
    SealedColumn::new("server_secrets", "sealed", key, |row| {
        Some(place(
            row.text("organisation")?,
            row.text("slug")?,
            row.text("name")?,
        ))
    })
    .and_then(|column| column.with_columns([Column::text("organisation")]))
    .expect("the names are plain")
}

fn its_secrets(names: &[String]) -> String {
    match names {
        [] => "it needs none".to_owned(),
        names => format!("it needs {}", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use bmm_vault::{SqlConfig, VaultDb};

    use super::*;
    use crate::db::{LOCAL_ORGANISATION, NewServer};

    fn spec(slug: &str) -> CompiledSpec {
        let secret = |name: &str| {
            format!(r#"{{"name": "{name}", "description": "A key.", "domains": ["api.example.com"]}}"#)
        };
        let source = format!(
            r#"{{"bmm": 1, "slug": "{slug}", "name": "S", "description": "A server.", "tools": [{{
                "name": "use", "description": "Uses both.", "inputSchema": {{"type": "object"}},
                "implementation": "export default async (input, ctx) => ctx.hmac('sha256', ctx.secrets.ONE, ctx.secrets.TWO);"
            }}], "requiredSecrets": [{}, {}], "allowedDomains": ["api.example.com"]}}"#,
            secret("ONE"),
            secret("TWO")
        );
        let admitted = bmm_spec::admit(source.as_bytes()).and_then(|(valid, _report)| valid.compile());
        admitted.expect("a spec")
    }

    async fn store() -> (tempfile::TempDir, Db, SecretStore) {
        let folder = tempfile::tempdir().expect("a folder");
        let db = Db::open(&folder.path().join("bmm.db")).await.expect("opens");
        let vault_db = VaultDb::open(&folder.path().join("bmm.db")).await.expect("opens");
        vault_db.migrate().await.expect("migrates");
        let (kek, columns) = (folder.path().join("kek"), vec![sealed_column()]);
        let now = wall(Timestamp::from_secs(1));
        let vault = SqlVault::open_local(vault_db, &kek, SqlConfig::default(), columns, now).await;
        let store = SecretStore::new(db.clone(), Arc::new(vault.expect("a vault")));
        for slug in ["a", "b"] {
            let new = NewServer {
                slug: slug.to_owned(),
                spec_digest: String::new(),
                source: Vec::new(),
                compiled: serde_json::to_string(&spec(slug)).expect("serializes"),
            };
            db.put_server(&new, 1, Timestamp::from_secs(1))
                .await
                .expect("puts");
            let value = SecretValue::new(Zeroizing::new(format!("value of {slug}"))).expect("a value");
            let set = store.set(LOCAL_ORGANISATION, slug, "ONE", &value, Timestamp::from_secs(1));
            set.await.expect("sets");
        }
        (folder, db, store)
    }

    #[tokio::test]
    async fn what_is_set_and_asked_for_is_opened() {
        let (_folder, _db, store) = store().await;
        let sealed = store.sealed("a").await.expect("reads");
        assert!(sealed.iter().all(|row| !row.sealed.contains("value of a")));
        let secrets = store
            .open(LOCAL_ORGANISATION, &spec("a"), &sealed)
            .await
            .expect("opens");
        assert_eq!(secrets.names().collect::<Vec<_>>(), ["ONE"]);

        let mut without = spec("a");
        without.required_secrets.clear();
        let opened = store.open(LOCAL_ORGANISATION, &without, &sealed).await;
        let secrets = opened.expect("opens");
        assert_eq!(secrets.names().count(), 0);
    }

    #[tokio::test]
    async fn a_secret_moved_to_another_place_does_not_open() {
        let (_folder, db, store) = store().await;
        let now = Timestamp::from_secs(2);
        let from_b = store.sealed("b").await.expect("reads").remove(0).sealed;
        let cannot = |opened: Result<Secrets, SecretError>| {
            let error = opened.expect_err("does not open");
            assert!(matches!(error, SecretError::Sealed { .. }), "{error}");
        };
        let sealed = store.sealed("a").await.expect("reads");
        cannot(store.open("other", &spec("a"), &sealed).await);
        for (name, sealed) in [("ONE", &from_b), ("TWO", &sealed[0].sealed)] {
            assert!(
                db.put_secret("a", LOCAL_ORGANISATION, name, sealed, now)
                    .await
                    .expect("puts")
            );
            let sealed = store.sealed("a").await.expect("reads");
            cannot(store.open(LOCAL_ORGANISATION, &spec("a"), &sealed).await);
        }
    }
}
