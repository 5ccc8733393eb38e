//! Keys and sweeps in a database.

mod column;
mod database;
mod error;
mod keys;
mod maintain;
mod rows;
mod status;
mod sweep;
mod vault;

pub use column::{Column, SealedColumn, SealedRow};
pub use database::VaultDb;
pub use error::SqlError;
pub use maintain::Maintained;
pub use status::{ColumnStatus, KeyStatus, Status};
pub use sweep::{Effect, PoisonRow, Progress, SweepConfig, SweepReport, Sweeper};
pub use vault::{SqlConfig, SqlVault};
