//! Envelope encryption for values at rest: a key-encryption key (KEK) wraps data-encryption keys (DEKs), a DEK
//! seals values, and every value is bound to the place it was sealed for.
//!
//! ```
//! use bmm_vault::{Context, LocalKek, Vault, VaultError};
//!
//! # fn main() -> Result<(), VaultError> {
//! # let folder = std::env::temp_dir().join(format!("bmm-vault-doc-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder).expect("a folder for the example");
//! # let path = folder.join("kek");
//! # let _ = std::fs::remove_file(&path);
//! // Once: make a key file (0600, never over an existing one) and a vault; keep what `wrapped` gives.
//! let kek = LocalKek::create(&path)?;
//! let vault = Vault::create(&kek)?;
//! let stored = vault.wrapped();
//!
//! // At every start: the same file and the stored keys, or an error and no service.
//! let vault = Vault::open(&LocalKek::load(&path)?, stored)?;
//!
//! let place = Context::new("secrets").tenant("42").row("weather").name("API_KEY");
//! let sealed = vault.seal(&place, b"s3cr3t")?;
//! assert_eq!(vault.open_value(&place, &sealed)?.as_slice(), b"s3cr3t");
//!
//! // The same row moved to another tenant does not open.
//! let elsewhere = Context::new("secrets").tenant("43").row("weather").name("API_KEY");
//! assert!(matches!(vault.open_value(&elsewhere, &sealed), Err(VaultError::NotAuthentic)));
//! # std::fs::remove_dir_all(&folder).expect("the example's folder");
//! # Ok(())
//! # }
//! ```
//!
//! # What you supply
//!
//! A place for the key file ([`LocalKek`]) apart from the data, and a place for [`WrappedKeys`] beside it; a
//! [`Context`] per value that says where the value lives.
//!
//! # What it defends
//!
//! Somebody who reads or writes the stored values and wrapped keys, but not the KEK, learns nothing but lengths and
//! cannot make a value open that was not sealed for that very place. A value names its key by a commitment to it
//! (SHA-256), so that no value opens under two keys. Keys are zeroized when dropped and nothing prints them.
//!
//! # Not claimed
//!
//! A whole older copy of the data put back, value by value or all at once, opens: bind a
//! [`Context::version`] kept elsewhere where that matters. Lengths are visible. A KEK file is as safe as its disk.

mod context;
mod dek;
mod error;
mod kek;
mod vault;

pub use context::Context;
pub use error::VaultError;
pub use kek::LocalKek;
pub use vault::{Vault, WrappedKey, WrappedKeys};
