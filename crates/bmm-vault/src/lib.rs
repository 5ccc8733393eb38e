//! Envelope encryption for values at rest, with a rotation that never stops the service.
//!
//! A key-encryption key ([`Kek`]: a file, or a PKCS#11 token) wraps data-encryption keys; one of these seals values, each
//! bound to the place it was sealed for ([`Context`]). A new KEK rewraps a handful of keys. A new data-encryption key is
//! staged, spread to every replica and promoted; then a sweep seals every row anew, in small batches, while the service
//! reads and writes them.
//!
#![cfg_attr(feature = "sql", doc = "```")]
#![cfg_attr(not(feature = "sql"), doc = "```ignore")]
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use bmm_vault::{Column, Context, RotationPolicy, SealedColumn, SqlConfig, SqlVault, SweepConfig, VaultDb};
//!
//! # #[allow(clippy::disallowed_methods)]
//! # fn now() -> std::time::SystemTime { std::time::SystemTime::now() }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), bmm_vault::SqlError> {
//! # let folder = tempfile::tempdir().expect("a folder");
//! # let (file, kek) = (folder.path().join("app.db"), folder.path().join("kek"));
//! // The vault's tables live beside yours. Each column of sealed values says where a row's value belongs.
//! let db = VaultDb::open(&file).await?; // or VaultDb::connect("postgres://…")
//! db.migrate().await?;
//! # let pool = sqlx::SqlitePool::connect(&format!("sqlite://{}", file.display())).await?;
//! # let table = "CREATE TABLE secrets (org TEXT, name TEXT, sealed TEXT, PRIMARY KEY (org, name))";
//! # sqlx::query(table).execute(&pool).await?;
//! let place = |org: &str, name: &str| Context::new("secrets").tenant(org).name(name);
//! let column = SealedColumn::new("secrets", "sealed", [Column::text("org"), Column::text("name")], move |row| {
//!     Some(place(row.text("org")?, row.text("name")?))
//! })?;
//!
//! // Makes key file and first key only where nothing is sealed; else they must be there and open, or do not serve.
//! let mut config = SqlConfig::default();
//! # config.rotation = RotationPolicy { propagation: Duration::ZERO, grace: Duration::ZERO, drain: Duration::ZERO, max_age: None };
//! let vault = Arc::new(SqlVault::open_local(db, &kek, config, vec![column], now()).await?);
//!
//! // Your own SQL stores the text; it opens in its place only.
//! let sealed = vault.seal(&place("42", "API_KEY"), b"s3cr3t", now()).await?;
//! # sqlx::query("INSERT INTO secrets VALUES ('42', 'API_KEY', $1)").bind(&sealed).execute(&pool).await?;
//! assert_eq!(*vault.open_value(&place("42", "API_KEY"), &sealed).await?, b"s3cr3t");
//! assert!(vault.open_value(&place("43", "API_KEY"), &sealed).await.is_err());
//!
//! // Every minute, on every replica: keys that are old or nearly spent are replaced and their values swept. Or at once:
//! vault.stage(None, now()).await?;
//! let keeper = vault.clone();
//! # let minutes = 2;
//! let keeping = tokio::spawn(async move {
//! # for _ in 0..minutes {
//!     keeper.maintain(SweepConfig::default(), now()).await?;
//!     // …and sleep a minute.
//! # }
//! #   Ok::<_, bmm_vault::SqlError>(())
//! });
//! # keeping.await.expect("no panic")?;
//! let status = vault.status().await?;
//! assert_eq!((status.active, status.rows_to_migrate()), (Some(2), 0));
//! # Ok(())
//! # }
//! ```
//!
//! Without a database of its own, [`Vault`] alone seals and opens, and [`WrappedKeys`] is what you store:
//!
//! ```
//! use bmm_vault::{Context, LocalKek, Vault, VaultError};
//!
//! # fn main() -> Result<(), VaultError> {
//! # let folder = tempfile::tempdir().expect("a folder");
//! # let path = folder.path().join("kek");
//! let vault = Vault::create(&LocalKek::create(&path)?)?; // once; never over an existing file
//! let stored = vault.wrapped(); // serde
//!
//! let vault = Vault::open(&LocalKek::load(&path)?, stored)?; // at every start
//! let place = Context::new("secrets").tenant("42").row("weather").name("API_KEY");
//! let sealed = vault.seal(&place, b"s3cr3t")?;
//! assert_eq!(*vault.open_value(&place, &sealed)?, b"s3cr3t");
//!
//! let elsewhere = Context::new("secrets").tenant("43").row("weather").name("API_KEY");
//! assert!(matches!(vault.open_value(&elsewhere, &sealed), Err(VaultError::Relocated)));
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! `sql`: [`SqlVault`](https://docs.rs/bmm-vault/latest/bmm_vault/struct.SqlVault.html), with keys and sweep in SQLite or
//! PostgreSQL. For PostgreSQL over TLS turn on one of sqlx's `tls-*` features in your own manifest. `pkcs11`: a KEK in a
//! token.
//!
//! # What you supply
//!
//! * A place for the KEK apart from the data, and in no backup of it: a backup of the database holds the wrapped keys and
//!   opens with the KEK only. With [`LocalKek`] that is a file of 32 bytes, mode 0600.
//! * A [`Context`] for each value: whatever tells its place from every other. Where an old value must not come back, a
//!   [`Context::version`] that you keep elsewhere.
//! * The time, as an argument, and somebody who calls `maintain` or `refresh` on every replica, twice within
//!   [`RotationPolicy::propagation`]. [`RotationPolicy::grace`] must be longer than any replica
//!   seals before it writes, [`RotationPolicy::drain`] longer than any reads before it opens.
//!
//! # What it defends
//!
//! Somebody who reads and writes everything that is stored, but does not hold the KEK, learns lengths, versions and which
//! key sealed what; and cannot make a value open that was not sealed for that very place. Neither values nor wrapped keys
//! can be moved: a value is bound to purpose, tenant, row, name, version and key, a wrapped key to purpose, tenant, its id
//! and the KEK. Each names its key by a commitment to it (SHA-256), so that nothing opens under two keys. A value that
//! does not open says why: cut off, changed, moved, of another version, format or vault, or of a key that is retired
//! ([`VaultError`]). Keys are zeroized when dropped, and nothing prints them. A start without the right keys is an error.
//!
//! # Not claimed
//!
//! * **A whole database rolled back opens**: an older copy of everything, keys and versions included, is what it was. So
//!   does a single older value of the same place, if nothing else tells its version. While a key is retiring or reinstated,
//!   rows of before open; once it is retired they do not, once it is destroyed they never will.
//! * Whoever can write the key table can make the vault refuse to start, hold a rotation back, or set a key's counts to zero.
//! * Whoever reads the service's memory reads its keys. Copies that a compiler, a swap file or a core dump makes are not
//!   zeroized.
//! * Counts of a key's values are stored at each refresh; a crash loses those since. Rotation is due at half of the budget,
//!   which leaves 2^31 values for that.
//! * Values from before envelopes ([`LocalKek::insecure_open_legacy`]) are bound to nothing until the first sweep.
//! * A PKCS#11 module is code in this process.

mod budget;
mod context;
mod error;
mod kek;
mod key;
mod rotation;
mod sealed;
#[cfg(feature = "sql")]
mod sql;
mod vault;
mod wrapped;

pub use budget::Budget;
pub use context::Context;
pub use error::VaultError;
pub use kek::{Kek, KekId, LocalKek};
#[cfg(feature = "pkcs11")]
pub use kek::{Pkcs11Config, Pkcs11Kek};
pub use rotation::{Due, RotationPolicy};
#[cfg(feature = "sql")]
pub use sql::{
    Column, ColumnStatus, Effect, KeyStatus, Maintained, PoisonRow, Progress, SealedColumn, SealedRow,
    SqlConfig, SqlError, SqlVault, Status, SweepConfig, SweepReport, Sweeper, VaultDb,
};
pub use vault::{KeyScope, Vault, VaultConfig};
pub use wrapped::{KeyState, WrappedKey, WrappedKeys};
